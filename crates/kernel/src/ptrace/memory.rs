//! Memory of others: PTRACE_PEEKDATA and its kin, process_vm_readv(2), /proc/PID/mem.

use abi::errno::{EIO, ESRCH};
use hal::PAGE_SIZE;

use super::stop::with_stopped;
use crate::{
    error::Result,
    mm::Mm,
    task::{Pid, TaskCx},
};

/// Copies between `buf` and an address space, page by page, bringing pages in. With `forced` as a debugger does: without
/// regard to protections, where there is a mapping. The bytes copied.
pub fn transfer(mm: &Mm, addr: u64, buf: &mut [u8], write: bool, forced: bool) -> usize {
    let mut done = 0;
    while done < buf.len() {
        let at = addr.wrapping_add(done as u64);
        let n = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(buf.len() - done);
        let piece = &mut buf[done..done + n];
        let mut go = || match (write, forced) {
            (false, false) => mm.space.read(at, piece),
            (true, false) => mm.space.write(at, piece),
            (false, true) => mm.space.read_forced(at, piece),
            (true, true) => mm.space.write_forced(at, piece),
        };
        let mut moved = go();
        if moved < n && (mm.fault_in(at, write).is_ok() || forced && mm.fault_in(at, false).is_ok()) {
            moved = go();
        }
        done += moved;
        if moved < n {
            break;
        }
    }
    done
}

/// PTRACE_PEEKTEXT, PTRACE_PEEKDATA: a word. EIO if it is not mapped.
pub fn peek(cx: &TaskCx, tid: Pid, addr: u64) -> Result<u64> {
    with_stopped(cx, tid, |_| Ok(()))?;
    let mm = cx.machine().tree.task(tid).and_then(|t| t.mm()).ok_or(ESRCH)?;
    let mut b = [0; 8];
    if transfer(&mm, addr, &mut b, false, true) == 8 { Ok(u64::from_le_bytes(b)) } else { Err(EIO) }
}

/// PTRACE_POKETEXT, PTRACE_POKEDATA.
pub fn poke(cx: &TaskCx, tid: Pid, addr: u64, v: u64) -> Result<()> {
    with_stopped(cx, tid, |_| Ok(()))?;
    let mm = cx.machine().tree.task(tid).and_then(|t| t.mm()).ok_or(ESRCH)?;
    if transfer(&mm, addr, &mut v.to_le_bytes(), true, true) == 8 { Ok(()) } else { Err(EIO) }
}
