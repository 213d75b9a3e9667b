//! Events that stop a tracee: new tasks, new programs, the end.

use std::sync::Arc;

use abi::{
    SigInfo, Signal,
    ptrace::*,
    sched::{CLONE_PTRACE, CLONE_UNTRACED, CLONE_VFORK},
};

use super::{
    Kind, follow,
    stop::{stop, trap_info},
};
use crate::{
    signal,
    task::{Pid, Task, TaskCx, Work, clone::CloneArgs, tree::Relations},
};

/// The tracer asked for this event.
fn asked(task: &Task, event: u32) -> bool {
    task.work().contains(Work::TRACED)
        && task.tracing.lock().link.as_ref().is_some_and(|l| l.options & 1 << event != 0)
}

fn event_stop(cx: &mut TaskCx, event: u32, message: u64) {
    let code = Signal::SIGTRAP.raw().cast_unsigned() | event << 8;
    stop(cx, Kind::Event, code, Some(trap_info(code.cast_signed())), Some(message));
}

fn event_of(a: &CloneArgs) -> u32 {
    if a.flags & CLONE_VFORK != 0 {
        PTRACE_EVENT_VFORK
    } else if a.exit_signal == Signal::SIGCHLD.raw().cast_unsigned() {
        PTRACE_EVENT_FORK
    } else {
        PTRACE_EVENT_CLONE
    }
}

/// A task is being made by one that is traced, under the tree's lock: is it traced from the beginning?
pub(crate) fn clone_follow(tree: &mut Relations, me: &Task, child: &Arc<Task>, a: &CloneArgs) {
    let event = a.flags & CLONE_UNTRACED == 0 && asked(me, event_of(a));
    if event || a.flags & CLONE_PTRACE != 0 {
        follow(tree, me, child);
    }
}

/// The child `tid` runs.
pub(crate) fn clone_event(cx: &mut TaskCx, a: &CloneArgs, tid: Pid) {
    let event = event_of(a);
    if a.flags & CLONE_UNTRACED == 0 && asked(&cx.task, event) {
        event_stop(cx, event, u64::from(tid.cast_unsigned()));
    }
}

/// The child `tid` has left the memory of its parent, the running task.
pub(crate) fn vfork_done(cx: &mut TaskCx, tid: Pid) {
    if asked(&cx.task, PTRACE_EVENT_VFORK_DONE) {
        event_stop(cx, PTRACE_EVENT_VFORK_DONE, u64::from(tid.cast_unsigned()));
    }
}

/// A new program is about to run; `old` was the thread's id.
pub(crate) fn exec_event(cx: &mut TaskCx, old: Pid) {
    if !cx.task.work().contains(Work::TRACED) {
        return;
    }
    if let Some((nr, _)) = cx.traced_call {
        cx.traced_call = Some((nr, Some(0)));
    }
    if asked(&cx.task, PTRACE_EVENT_EXEC) {
        event_stop(cx, PTRACE_EVENT_EXEC, u64::from(old.cast_unsigned()));
    } else if cx.task.tracing.lock().link.as_ref().is_some_and(|l| !l.seized) {
        let info = SigInfo::user(Signal::SIGTRAP, cx.task.pid(), cx.cred().uid);
        signal::send_to_task(&cx.task, info);
    }
}

/// The task is about to end.
pub(crate) fn exit_event(cx: &mut TaskCx) {
    if !asked(&cx.task, PTRACE_EVENT_EXIT) {
        return;
    }
    let status = cx.task.process.state.lock().group_exit.or(cx.exit_status).map_or(0, |s| s.wait_status());
    if status & 0x7f != 9 {
        event_stop(cx, PTRACE_EVENT_EXIT, u64::from(status));
    }
}
