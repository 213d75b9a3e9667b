//! vfork(2): the parent sleeps while its child runs on its memory.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ksync::WaitQueue;

use super::Task;

/// Opens once: when the child execs or ends.
#[derive(Default)]
pub struct Gate {
    open: AtomicBool,
    wait: WaitQueue,
}

impl Task {
    /// Lets a parent that waits in vfork(2) go on. Called by exec when the old memory is left, and at the end.
    pub fn release_vfork(&self) {
        let gate = self.vfork.lock().take();
        if let Some(g) = gate {
            g.open.store(true, Ordering::SeqCst);
            g.wait.wake_all(0);
        }
    }

    /// Waits for the child behind `gate`; a signal does not end the wait, a kill does.
    pub(super) fn wait_vfork(&self, gate: &Arc<Gate>) {
        // Killed meanwhile: the boundary sees it.
        let _ = self.wait_killable(&gate.wait, || gate.open.load(Ordering::SeqCst).then_some(()));
    }
}
