//! /proc/PID/mem: the memory of a process as a file. Positions are addresses; protections do not count, as for a debugger.

use std::{
    any::Any,
    sync::{Arc, Weak, atomic::Ordering},
};

use abi::errno;
use kernel::{
    Result,
    io::{Sink, Source},
    mm::Mm,
    task::{Process, Task},
    vfs::file::{File, FileOps},
};

/// Bytes moved at once.
const CHUNK: usize = 64 << 10;

/// The memory of a program, for an open file.
pub(crate) struct Memory {
    /// Weak: an open file does not keep a program's memory.
    mm: Weak<Mm>,
    process: Arc<Process>,
    /// Which program it was opened for; another one's memory is not to be seen through it.
    generation: u64,
}

impl Memory {
    /// ESRCH for a task that ended.
    pub(crate) fn of(task: &Task) -> Result<Memory> {
        let mm = task.mm().ok_or(errno::ESRCH)?;
        let process = task.process.clone();
        let generation = process.exec_generation.load(Ordering::SeqCst);
        Ok(Memory { mm: Arc::downgrade(&mm), process, generation })
    }

    /// It, while the program still runs.
    pub(crate) fn get(&self) -> Option<Arc<Mm>> {
        // Who ends lets go of it a little after its parent knows.
        let mm = self.mm.upgrade().filter(|mm| mm.is_in_use())?;
        (self.process.exec_generation.load(Ordering::SeqCst) == self.generation).then_some(mm)
    }
}

pub(crate) struct MemFile(pub(crate) Memory);

impl FileOps for MemFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, _: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let Some(mm) = self.0.get() else { return Ok(0) };
        let mut buf = vec![0; dst.remaining().min(CHUNK)];
        if buf.is_empty() {
            return Ok(0);
        }
        // A look below a stack does not make it grow.
        if !mm.covers(pos) {
            return Err(errno::EIO);
        }
        let n = mm.space.read_forced(pos, &mut buf);
        // Pages that are mapped but not there yet come by a look through the kernel's list.
        let n =
            if n == 0 && mm.fault_in(pos, false).is_ok() { mm.space.read_forced(pos, &mut buf) } else { n };
        // What was read while another program came is not shown.
        if self.0.get().is_none() {
            return Ok(0);
        }
        if n == 0 { Err(errno::EIO) } else { dst.put(&buf[..n]) }
    }
    fn write(&self, _: &File, _: &Task, src: &mut dyn Source, pos: u64) -> Result<usize> {
        let Some(mm) = self.0.get() else { return Ok(0) };
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        let n = src.take(&mut buf)?;
        if n == 0 {
            return Ok(0);
        }
        let done = mm.space.write_forced(pos, &buf[..n]);
        if done == 0 { Err(errno::EIO) } else { Ok(done) }
    }
    fn has_no_end(&self) -> bool {
        true
    }
}
