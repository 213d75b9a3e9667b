//! Who may look at and trace whom (ptrace(2), "Ptrace access mode checking").

use abi::cap::CAP_SYS_PTRACE;

use crate::task::{Task, TaskCx};

/// `by` may read and write the memory of `target`, and trace it. With `real` the real ids count
/// (PTRACE_MODE_REALCREDS), else those of file access.
pub fn may_access(by: &Task, target: &Task, real: bool) -> bool {
    if target.pid() == by.pid() {
        return true;
    }
    let (me, it) = (by.cred(), target.cred());
    if me.has(CAP_SYS_PTRACE) {
        return true;
    }
    let (uid, gid) = if real { (me.uid, me.gid) } else { (me.fsuid, me.fsgid) };
    [it.uid, it.euid, it.suid].iter().all(|u| *u == uid)
        && [it.gid, it.egid, it.sgid].iter().all(|g| *g == gid)
        && target.process.state.lock().dumpable == 1
        && it.cap_permitted & !me.cap_permitted == 0
}

/// The tracer of the running task may trace whatever it becomes: who made the bond could have traced anything. With
/// PTRACE_TRACEME that was the tracee itself.
pub fn tracer_may(cx: &TaskCx) -> bool {
    cx.task.tracing.lock().link.as_ref().is_none_or(|l| l.privileged)
}
