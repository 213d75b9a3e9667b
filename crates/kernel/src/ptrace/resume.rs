//! Letting a tracee go on.

use abi::{
    SigInfo, Signal,
    errno::{EIO, ESRCH},
};

use super::stop::with_stopped;
use crate::{
    error::Result,
    task::{Pid, TaskCx, Work},
};

/// How a tracee goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Cont,
    /// To the next entry or exit of a system call.
    Syscall,
    /// One instruction.
    Step,
}

/// An order to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resume {
    pub(crate) mode: Mode,
    /// Signal to deliver, 0 for none.
    pub(crate) signal: i32,
}

/// PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SINGLESTEP. EIO for a bad signal.
pub fn resume(cx: &TaskCx, tid: Pid, mode: Mode, signal: u64) -> Result<()> {
    with_stopped(cx, tid, |t| {
        let signal = i32::try_from(signal).ok().filter(|s| (0..=64).contains(s)).ok_or(EIO)?;
        if let Some(l) = &mut t.link {
            l.calls = mode == Mode::Syscall;
        }
        t.resume = Some(Resume { mode, signal });
        Ok(())
    })?;
    wake(cx, tid);
    Ok(())
}

fn wake(cx: &TaskCx, tid: Pid) {
    if let Some(t) = cx.machine().tree.task(tid) {
        t.waiter.notify();
    }
}

/// PTRACE_KILL: SIGKILL, if it stands stopped.
pub fn kill(cx: &TaskCx, tid: Pid) -> Result<()> {
    let task = cx.machine().tree.task(tid).ok_or(ESRCH)?;
    if task.tracing.lock().link.as_ref().is_none_or(|l| l.tracer != cx.task.tid()) {
        return Err(ESRCH);
    }
    crate::signal::send_to_process(&task.process, SigInfo::kernel(Signal::SIGKILL));
    Ok(())
}

/// PTRACE_INTERRUPT: stops a seized tracee. EIO for one that was attached otherwise.
pub fn interrupt(cx: &TaskCx, tid: Pid) -> Result<()> {
    let task = cx.machine().tree.task(tid).ok_or(ESRCH)?;
    let (listening, stands) = {
        let mut t = task.tracing.lock();
        let listening = t.stop.as_ref().is_some_and(|s| s.listening);
        let stands = t.stop.is_some();
        let link = t.link.as_mut().filter(|l| l.tracer == cx.task.tid()).ok_or(ESRCH)?;
        if !link.seized {
            return Err(EIO);
        }
        link.interrupt = true;
        (listening, stands)
    };
    if !listening {
        // One that stands already stops again as soon as it goes on.
        task.post(Work::STOP);
    }
    if stands {
        task.waiter.notify();
    }
    Ok(())
}

/// PTRACE_LISTEN: a group-stopped tracee stays so, and reports when that changes. EIO if it is no such stop.
pub fn listen(cx: &TaskCx, tid: Pid) -> Result<()> {
    with_stopped(cx, tid, |t| {
        let seized = t.link.as_ref().is_some_and(|l| l.seized);
        let s = t.stop.as_mut().ok_or(ESRCH)?;
        if !seized || s.code >> 8 != abi::ptrace::PTRACE_EVENT_STOP {
            return Err(EIO);
        }
        (s.listening, s.waited) = (true, true);
        Ok(())
    })?;
    wake(cx, tid);
    Ok(())
}
