//! The signal mask of a thread and the flag that says that something can be delivered.

use std::sync::{Arc, atomic::Ordering};

use abi::SigSet;

use hal::SignalWords;

use crate::task::{Process, Task, Work};

/// The signals that a thread blocks. While it has a guest thread, whose stub may change them, they are kept there.
#[derive(Default)]
pub struct Mask {
    own: SigSet,
    lent: Option<Arc<dyn SignalWords>>,
}

impl Mask {
    pub fn new(set: SigSet) -> Mask {
        Mask { own: set, lent: None }
    }

    /// The blocked signals; never SIGKILL nor SIGSTOP.
    pub fn get(&self) -> SigSet {
        let set = self.lent.as_ref().map_or(self.own, |w| SigSet(w.blocked()));
        set.minus(SigSet::UNBLOCKABLE)
    }

    /// Where it is kept.
    pub(super) fn words(&self) -> Option<Arc<dyn SignalWords>> {
        self.lent.clone()
    }

    /// Only the task itself changes it, or another while it stands stopped.
    pub(super) fn set(&mut self, set: SigSet) {
        match &self.lent {
            Some(words) => words.set_blocked(set.bits()),
            None => self.own = set,
        }
    }

    /// Whether anything is pending that concerns the thread. What is queued is announced before the mask is looked at.
    pub(super) fn announce(&self, pending: bool) {
        if let Some(words) = &self.lent {
            words.set_pending(pending);
        }
    }

    /// Keeps it with a guest thread from now on, or (`None`) with none: before the present one ends.
    pub(crate) fn keep_in(&mut self, words: Option<Arc<dyn SignalWords>>) {
        let set = self.get();
        self.lent = words;
        self.set(set);
    }
}

/// Recomputes [`Work::SIGNAL`] after the mask or the actions of a task changed.
pub fn signals_changed(task: &Task) {
    let shared = task.process.signals.lock();
    let own = task.signals.lock();
    let pending = shared.pending.set().union(own.pending.set());
    own.mask.announce(!pending.is_empty());
    let ready = pending.minus(own.mask.get());
    if ready.is_empty() {
        task.clear_work(Work::SIGNAL);
    } else {
        task.post(Work::SIGNAL);
    }
}

/// Sets the running task's mask; the old one. SIGKILL and SIGSTOP are never blocked.
pub fn set_mask(task: &Task, mask: SigSet) -> SigSet {
    let mask = mask.minus(SigSet::UNBLOCKABLE);
    let old = {
        let mut own = task.signals.lock();
        let old = own.mask.get();
        own.mask.set(mask);
        old
    };
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
