//! Signals (signal(7)): pending sets, actions, sending, delivery, stops.
//!
//! Posting a signal takes the target's pending lock and sets [`Work::SIGNAL`]; everything else happens on the target's
//! own thread at its boundary ([`deliver`]).
//!
//! Lock order: TASK (pending sets of task or process), then LEAF (actions).

mod deliver;
mod frame;
mod queue;
mod send;
mod stop;
mod temp;

use abi::signal::{SigAction, SigSet};

pub use deliver::{Delivered, deliver, force_exception, restore_saved_mask, sigreturn, stub_died};
pub use queue::Pending;
pub use send::{is_ignored, send_to_group, send_to_process, send_to_task, signals_changed};
pub use stop::job_stop;
pub use temp::set_temporary_mask;

/// Dispositions, indexed by signal number minus one. Shared with CLONE_SIGHAND.
pub struct SignalActions {
    pub table: ksync::Mutex<[SigAction; 64]>,
}

/// Alternate stack (sigaltstack(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct AltStack {
    pub sp: u64,
    pub size: u64,
    pub flags: u32,
}

/// What a thread owns of signals.
#[derive(Default)]
pub struct TaskSignals {
    pub mask: SigSet,
    pub pending: Pending,
    pub alt_stack: AltStack,
}

/// What a process owns of signals.
#[derive(Default)]
pub struct ProcessSignals {
    pub pending: Pending,
}
