//! The signal mask of a thread and the flag that says that something can be delivered.

use std::sync::atomic::Ordering;

use abi::SigSet;

use crate::task::{Process, Task, Work};

/// Recomputes [`Work::SIGNAL`] after the mask or the actions of a task changed.
pub fn signals_changed(task: &Task) {
    let shared = task.process.signals.lock();
    let own = task.signals.lock();
    let ready = shared.pending.set().union(own.pending.set()).minus(own.mask);
    if ready.is_empty() {
        task.clear_work(Work::SIGNAL);
    } else {
        task.post(Work::SIGNAL);
    }
}

/// Sets the running task's mask; the old one. SIGKILL and SIGSTOP are never blocked.
pub fn set_mask(task: &Task, mask: SigSet) -> SigSet {
    let mask = mask.minus(SigSet::UNBLOCKABLE);
    let old = std::mem::replace(&mut task.signals.lock().mask, mask);
    if !old.minus(mask).is_empty() {
        signals_changed(task);
    }
    if !mask.minus(old).is_empty() {
        retarget(&task.process, Some(task));
    }
    old
}

/// Finds other threads for signals pending on the process, when `except` can no longer take them.
pub fn retarget(process: &Process, except: Option<&Task>) {
    let set = process.signals.lock().pending.set();
    if set.is_empty() {
        return;
    }
    for t in process.threads() {
        if except.is_none_or(|e| !std::ptr::eq(e, &*t)) && !t.dying.load(Ordering::Relaxed) {
            signals_changed(&t);
        }
    }
}
