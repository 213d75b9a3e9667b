//! Stops: the tracee's side, and the tracer's view of them.

use abi::{
    SigInfo, Signal,
    errno::ESRCH,
    ptrace::*,
    signal::{CLD_TRAPPED, SA_NOCLDSTOP, SIG_IGN, SigFields},
};

use super::{Kind, Mode, Stop, Tracing, regs, resume::Resume};
use crate::{
    error::Result,
    signal,
    task::{Pid, RunState, Task, TaskCx, Work, process::JobState},
};

/// Runs `f` on a tracee of the caller that stands stopped. ESRCH if it is not one.
pub(super) fn with_stopped<T>(cx: &TaskCx, tid: Pid, f: impl FnOnce(&mut Tracing) -> Result<T>) -> Result<T> {
    let task = cx.machine().tree.task(tid).ok_or(ESRCH)?;
    let mut t = task.tracing.lock();
    let mine = t.link.as_ref().is_some_and(|l| l.tracer == cx.task.tid());
    let stands = t.resume.is_none() && t.stop.as_ref().is_some_and(|s| !s.listening);
    if mine && stands { f(&mut t) } else { Err(ESRCH) }
}

/// As [`with_stopped`], with the stop.
pub(super) fn stopped<T>(cx: &TaskCx, tid: Pid, f: impl FnOnce(&mut Stop) -> Result<T>) -> Result<T> {
    with_stopped(cx, tid, |t| t.stop.as_mut().ok_or(ESRCH).and_then(f))
}

/// Tells the tracer of a stop: SIGCHLD, and its waits.
fn notify(task: &Task, code: u32) {
    let tree = task.machine.tree.lock();
    let Some(pid) = task.tracing.lock().link.as_ref().map(|l| l.tracer_pid) else { return };
    let Some(tracer) = tree.nodes.get(&pid).map(|n| n.process.clone()) else { return };
    let action = tracer.action(Signal::SIGCHLD);
    let mut told = None;
    if action.handler != SIG_IGN && action.flags & SA_NOCLDSTOP == 0 {
        let fields = SigFields::Chld {
            pid: task.tid(),
            uid: task.cred().uid,
            status: (code & 0x7f).cast_signed(),
            utime: 0,
            stime: 0,
        };
        told = signal::queue_for_process(&tracer, SigInfo::new(Signal::SIGCHLD, CLD_TRAPPED, fields))
            .unwrap_or(None);
    }
    drop(tree);
    if let Some(t) = told {
        t.interrupt();
    }
    tracer.child_wait.wake_all(0);
}

/// What a stop was left with.
pub(super) struct Left {
    pub(super) signal: i32,
    /// The record of a signal-delivery stop, as the tracer left it.
    pub(super) info: Option<SigInfo>,
    pub(super) regs: UserRegs,
    /// The tracer wrote registers.
    pub(super) changed: bool,
}

/// Stands stopped for the tracer. `None` if there is none (any more), or the task is to end.
pub(super) fn stop(
    cx: &mut TaskCx,
    kind: Kind,
    code: u32,
    info: Option<SigInfo>,
    message: Option<u64>,
) -> Option<Left> {
    let task = cx.task.clone();
    if !task.work().contains(Work::TRACED) || kind != Kind::Event && task.work().contains(Work::EXIT) {
        return None;
    }
    let shown = regs::shown(cx);
    let fpu = cx.ctx.fpu().unwrap_or_default();
    cx.step = false;
    {
        let mut t = task.tracing.lock();
        let link = t.link.as_mut()?;
        if let Some(m) = message {
            link.message = m;
        }
        t.resume = None;
        t.stop = Some(Stop {
            kind,
            code,
            info,
            regs: shown,
            fpu,
            fpu_changed: false,
            waited: false,
            listening: false,
        });
    }
    task.set_run_state(RunState::Tracing);
    notify(&task, code);
    let through_end = kind == Kind::Event && code >> 8 == PTRACE_EVENT_EXIT;
    let resumed = await_resume(&task, through_end);
    task.set_run_state(RunState::Running);
    let (stop, debug) = {
        let mut t = task.tracing.lock();
        t.resume = None;
        (t.stop.take()?, t.debug.active())
    };
    let resume = resumed?;
    cx.step = resume.mode == Mode::Step;
    cx.watching = debug;
    let changed = stop.regs != shown;
    if stop.fpu_changed {
        let _ = cx.ctx.set_fpu(Some(&stop.fpu));
    }
    if changed {
        regs::take_over(cx, kind, &stop.regs);
    }
    Some(Left { signal: resume.signal, info: stop.info, regs: stop.regs, changed })
}

/// Waits to be resumed. `None`: the task is to end.
fn await_resume(task: &Task, through_end: bool) -> Option<Resume> {
    let process = task.process.clone();
    loop {
        let mut again = false;
        let got = task.wait_stopped(&process.stop_wait, through_end, || {
            let mut t = task.tracing.lock();
            if let Some(r) = t.resume.take() {
                return Some(r);
            }
            // PTRACE_LISTEN: it reports again when the stop ends or it is interrupted.
            let listening = t.stop.as_ref().is_some_and(|s| s.listening);
            let interrupt = t.link.as_ref().is_some_and(|l| l.interrupt);
            drop(t);
            if !listening || !interrupt && matches!(process.state.lock().job, JobState::Stopped(_)) {
                return None;
            }
            again = true;
            Some(Resume { mode: Mode::Cont, signal: 0 })
        });
        if !again {
            return got.ok();
        }
        let job = process.state.lock().job;
        let code = {
            let mut t = task.tracing.lock();
            if let Some(l) = &mut t.link {
                l.interrupt = false;
            }
            let s = t.stop.as_mut()?;
            (s.listening, s.waited) = (false, false);
            s.code = match job {
                JobState::Stopped(n) => u32::from(n),
                JobState::Running => Signal::SIGTRAP.raw().cast_unsigned(),
            } | PTRACE_EVENT_STOP << 8;
            s.code
        };
        notify(task, code);
    }
}

/// A stop was asked for, by job control or the tracer.
pub(crate) fn requested_stop(cx: &mut TaskCx) {
    let task = cx.task.clone();
    task.clear_work(Work::STOP);
    let asked = task.tracing.lock().link.as_mut().map(|l| (std::mem::take(&mut l.interrupt), l.seized));
    let Some((interrupt, seized)) = asked else {
        // The tracer has gone; a stop of job control is still one.
        if matches!(task.process.state.lock().job, JobState::Stopped(_)) {
            let _ = task.mark(Work::STOP);
        }
        return;
    };
    let event = if seized { PTRACE_EVENT_STOP << 8 } else { 0 };
    if let Some(signo) = signal::enter_group_stop(&task) {
        let signo = u32::from(signo);
        stop(cx, Kind::Group, signo | event, None, None);
        signal::leave_group_stop(&task);
    } else if interrupt {
        let trap = Signal::SIGTRAP.raw();
        stop(cx, Kind::Group, trap.cast_unsigned() | PTRACE_EVENT_STOP << 8, Some(trap_info(trap)), None);
    }
}

/// The record of a stop that is no signal's.
pub(super) fn trap_info(code: i32) -> SigInfo {
    SigInfo::new(Signal::SIGTRAP, code, SigFields::Kill { pid: 0, uid: 0 })
}

/// A handler was entered while stepping: the step is done.
pub(crate) fn handler_trap(cx: &mut TaskCx) {
    let trap = Signal::SIGTRAP.raw();
    let info = SigInfo::user(Signal::SIGTRAP, cx.task.pid(), cx.cred().uid);
    let left = stop(cx, Kind::Signal, trap.cast_unsigned(), Some(info), None);
    super::signal::send_left(cx, left);
}
