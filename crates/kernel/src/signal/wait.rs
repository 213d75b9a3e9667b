//! Taking signals without handlers: sigtimedwait(2), signalfd(2).

use abi::{SigInfo, SigSet};

use super::signals_changed;
use crate::{error::Result, task::Task};

/// Signals pending for a task, its process's included.
pub fn pending(task: &Task) -> SigSet {
    let shared = task.process.signals.lock().pending.set();
    shared.union(task.signals.lock().pending.set())
}

/// Takes a pending signal out of `set`.
pub fn dequeue(task: &Task, set: SigSet) -> Option<SigInfo> {
    let mut info = {
        let mut shared = task.process.signals.lock();
        let mut own = task.signals.lock();
        own.pending.take(set).or_else(|| shared.pending.take(set))
    };
    if let Some(i) = &mut info {
        signals_changed(task);
        crate::time::signal_taken(&task.process, i);
    }
    info
}

/// Waits for a signal of `set`. EAGAIN after the deadline (monotonic nanoseconds); ERESTART on other work.
pub fn sigtimedwait(task: &Task, set: SigSet, deadline: Option<u64>) -> Result<SigInfo> {
    let set = set.minus(SigSet::UNBLOCKABLE);
    task.signals.lock().awaited = set;
    let result = task.wait_on(&[], deadline, || dequeue(task, set));
    task.signals.lock().awaited = SigSet::EMPTY;
    result.map_err(|e| if e == abi::errno::ETIMEDOUT { abi::errno::EAGAIN } else { e })
}
