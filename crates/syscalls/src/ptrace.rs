//! ptrace(2); memory of other processes: process_vm_readv(2), process_vm_writev(2).

use abi::{
    SigInfo, SigSet,
    errno::{EFAULT, EINVAL, EIO, EPERM, ESRCH},
    nr,
    ptrace::*,
};
use kernel::{
    Result,
    ptrace::{self, Mode},
    task::TaskCx,
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_PTRACE, "ptrace", ptrace_call).partial("watching reads is refused"),
    Row::new(nr::SYS_PROCESS_VM_READV, "process_vm_readv", |cx, a| process_vm(cx, a, false)),
    Row::new(nr::SYS_PROCESS_VM_WRITEV, "process_vm_writev", |cx, a| process_vm(cx, a, true)),
];

/// Longest register set a tracer hands in.
const SET_MAX: usize = 64 << 10;

fn ptrace_call(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (request, tid, addr, data) = (a.u32(0), a.i32(1), a.u64(2), a.u64(3));
    if a.u64(0) > u64::from(u32::MAX) {
        return Err(EIO);
    }
    match request {
        PTRACE_TRACEME => ptrace::traceme(cx)?,
        PTRACE_ATTACH => ptrace::attach(cx, tid)?,
        PTRACE_SEIZE => ptrace::seize(cx, tid, addr, data)?,
        PTRACE_DETACH => {
            ptrace::detach(cx, tid, i32::try_from(data).map_err(|_| EIO)?)?;
        }
        PTRACE_KILL => ptrace::kill(cx, tid)?,
        PTRACE_INTERRUPT => ptrace::interrupt(cx, tid)?,
        PTRACE_LISTEN => ptrace::listen(cx, tid)?,
        PTRACE_CONT => ptrace::resume(cx, tid, Mode::Cont, data)?,
        PTRACE_SYSCALL => ptrace::resume(cx, tid, Mode::Syscall, data)?,
        PTRACE_SINGLESTEP => ptrace::resume(cx, tid, Mode::Step, data)?,
        PTRACE_SETOPTIONS => ptrace::set_options(cx, tid, data)?,
        PTRACE_PEEKTEXT | PTRACE_PEEKDATA => {
            let v = ptrace::peek(cx, tid, addr)?;
            cx.write_u64(data, v)?;
        }
        PTRACE_PEEKUSER => {
            let v = ptrace::user_word(cx, tid, addr)?;
            cx.write_u64(data, v)?;
        }
        PTRACE_POKETEXT | PTRACE_POKEDATA => ptrace::poke(cx, tid, addr, data)?,
        PTRACE_POKEUSER => ptrace::set_user_word(cx, tid, addr, data)?,
        PTRACE_GETREGS => {
            let r = ptrace::regs(cx, tid)?;
            cx.copy_out(data, &encode_regs(&r))?;
        }
        PTRACE_SETREGS => {
            let old = ptrace::regs(cx, tid)?;
            let b: [u8; USER_REGS * 8] = cx.read_array(data)?;
            ptrace::set_regs(cx, tid, &decode_regs(&b, &old))?;
        }
        PTRACE_GETFPREGS => {
            let b = ptrace::fp_regs(cx, tid)?;
            cx.copy_out(data, &b)?;
        }
        PTRACE_SETFPREGS => {
            let b: [u8; 512] = cx.read_array(data)?;
            ptrace::set_fp_regs(cx, tid, &b)?;
        }
        PTRACE_GETREGSET => get_set(cx, tid, addr, data)?,
        PTRACE_SETREGSET => set_set(cx, tid, addr, data)?,
        PTRACE_GETEVENTMSG => {
            let v = ptrace::event_message(cx, tid)?;
            cx.write_u64(data, v)?;
        }
        PTRACE_GETSIGINFO => {
            let i = ptrace::siginfo(cx, tid)?;
            cx.copy_out(data, &i.encode())?;
        }
        PTRACE_SETSIGINFO => {
            let i = SigInfo::decode(&cx.read_array(data)?);
            ptrace::set_siginfo(cx, tid, i)?;
        }
        PTRACE_GETSIGMASK => {
            let m = ptrace::sigmask(cx, tid)?;
            if addr != SigSet::SIZE as u64 {
                return Err(EINVAL);
            }
            cx.copy_out(data, &m.encode())?;
        }
        PTRACE_SETSIGMASK => {
            if addr != SigSet::SIZE as u64 {
                return Err(EINVAL);
            }
            let m = SigSet::decode(&cx.read_array(data)?);
            ptrace::set_sigmask(cx, tid, m)?;
        }
        PTRACE_PEEKSIGINFO => return peek_siginfo(cx, tid, addr, data),
        PTRACE_GET_SYSCALL_INFO => {
            let b = ptrace::syscall_info(cx, tid)?;
            let n = b.len().min(a.usize(2));
            cx.copy_out(data, &b[..n])?;
            return Ok(b.len() as u64);
        }
        _ => {
            ptrace::event_message(cx, tid)?;
            return Err(EIO);
        }
    }
    Ok(0)
}

/// The iovec of a register set.
fn buffer(cx: &mut TaskCx, iov: u64) -> Result<(u64, u64)> {
    Ok((cx.read_u64(iov)?, cx.read_u64(iov.wrapping_add(8))?))
}

fn read_set(cx: &TaskCx, tid: i32, kind: u64) -> Result<Vec<u8>> {
    match u32::try_from(kind) {
        Ok(NT_PRSTATUS) => Ok(encode_regs(&ptrace::regs(cx, tid)?).to_vec()),
        Ok(NT_PRFPREG) => ptrace::fp_regs(cx, tid),
        Ok(NT_X86_XSTATE) => ptrace::xstate(cx, tid),
        _ => {
            ptrace::regs(cx, tid)?;
            Err(EINVAL)
        }
    }
}

fn get_set(cx: &mut TaskCx, tid: i32, kind: u64, iov: u64) -> Result<()> {
    let b = read_set(cx, tid, kind)?;
    let (base, len) = buffer(cx, iov)?;
    if len % 8 != 0 {
        return Err(EINVAL);
    }
    let n = b.len().min(usize::try_from(len).unwrap_or(usize::MAX));
    cx.copy_out(base, &b[..n])?;
    cx.write_u64(iov.wrapping_add(8), n as u64)
}

fn set_set(cx: &mut TaskCx, tid: i32, kind: u64, iov: u64) -> Result<()> {
    let mut b = read_set(cx, tid, kind)?;
    let (base, len) = buffer(cx, iov)?;
    if len % 8 != 0 {
        return Err(EINVAL);
    }
    let n = b.len().min(usize::try_from(len).unwrap_or(usize::MAX)).min(SET_MAX);
    cx.copy_in(base, &mut b[..n])?;
    match u32::try_from(kind) {
        Ok(NT_PRSTATUS) => {
            let old = ptrace::regs(cx, tid)?;
            ptrace::set_regs(cx, tid, &decode_regs(&b, &old))?;
        }
        Ok(NT_PRFPREG) => ptrace::set_fp_regs(cx, tid, &b)?,
        _ if n < b.len() => return Err(EINVAL),
        _ => ptrace::set_xstate(cx, tid, &b)?,
    }
    cx.write_u64(iov.wrapping_add(8), n as u64)
}

fn peek_siginfo(cx: &mut TaskCx, tid: i32, args: u64, data: u64) -> Result<u64> {
    let from = cx.read_u64(args)?;
    let flags = cx.read_u32(args.wrapping_add(8))?;
    let count = cx.read_u32(args.wrapping_add(12))?.cast_signed();
    if flags & !PEEKSIGINFO_SHARED != 0 || count < 0 {
        return Err(EINVAL);
    }
    let max = usize::try_from(count).unwrap_or(0).min(4096);
    let found = ptrace::peek_siginfo(cx, tid, from, max, flags & PEEKSIGINFO_SHARED != 0)?;
    let bytes: Vec<u8> = found.iter().flat_map(|i| i.encode()).collect();
    cx.copy_out(data, &bytes)?;
    Ok(found.len() as u64)
}

/// Bytes moved between two looks at the caller's own memory.
const CHUNK: usize = 64 << 10;

fn process_vm(cx: &mut TaskCx, a: Args, write: bool) -> Result<u64> {
    if a.u64(5) != 0 {
        return Err(EINVAL);
    }
    let local = cx.read_iovecs(a.u64(1), a.u64(2))?;
    let remote = cx.read_iovecs(a.u64(3), a.u64(4))?;
    let task = cx.machine().tree.target(a.i32(0))?;
    if !ptrace::may_access(&cx.task, &task, true) {
        return Err(EPERM);
    }
    let mm = task.mm().ok_or(ESRCH)?;
    let mut done = 0u64;
    let (mut local, mut remote) = (local.into_iter(), remote.into_iter());
    let (mut here, mut there) = ((0u64, 0usize), (0u64, 0usize));
    let mut buf = Vec::new();
    loop {
        while here.1 == 0 {
            match local.next() {
                Some(l) => here = l,
                None => return Ok(done),
            }
        }
        while there.1 == 0 {
            match remote.next() {
                Some(r) => there = r,
                None => return Ok(done),
            }
        }
        let n = here.1.min(there.1).min(CHUNK);
        buf.resize(n, 0);
        let moved = if write {
            let got = cx.copy_in_some(here.0, &mut buf);
            ptrace::transfer(&mm, there.0, &mut buf[..got], true, false)
        } else {
            let got = ptrace::transfer(&mm, there.0, &mut buf, false, false);
            cx.copy_out_some(here.0, &buf[..got])
        };
        done += moved as u64;
        if moved < n {
            return if done == 0 { Err(EFAULT) } else { Ok(done) };
        }
        here = (here.0.wrapping_add(n as u64), here.1 - n);
        there = (there.0.wrapping_add(n as u64), there.1 - n);
    }
}
