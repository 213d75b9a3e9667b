//! Signals (signal(7)): pending sets, actions, sending, delivery, stops.
//!
//! Posting a signal takes the target's pending lock and sets [`Work::SIGNAL`]; everything else happens on the target's
//! own thread at its boundary ([`deliver`]).
//!
//! Lock order: PROCESS (threads, job state), then TASK (pending sets: the process's before the task's), then LEAF
//! (actions).
//!
//! [`Work::SIGNAL`]: crate::task::Work::SIGNAL

mod actions;
mod deliver;
mod force;
mod frame;
mod mask;
mod queue;
mod send;
mod stop;
mod target;
mod temp;
mod wait;

use abi::signal::SigSet;

pub use actions::{SignalActions, child_policy, exec_reset, is_ignored, set_action};
pub use deliver::{Delivered, deliver, die, restore_saved_mask, sigreturn};
pub use force::{force_exception, force_fault, force_info, stub_died};
pub use frame::{alt_stack, set_alt_stack};
pub use mask::{Mask, retarget, set_mask, signals_changed};
pub use queue::Pending;
pub(crate) use send::queue_for_process;
pub use send::{
    send_to_group, send_to_process, send_to_task, sigpipe, try_send_to_process, try_send_to_task,
};
pub(crate) use stop::{enter_group_stop, leave_group_stop};
pub use stop::{job_stop, thread_left};
pub use target::{kill, kill_group, may_signal, task_of};
pub use temp::set_temporary_mask;
pub use wait::{dequeue, pending, sigtimedwait};

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
    pub mask: Mask,
    pub pending: Pending,
    pub alt_stack: AltStack,
    /// Signals that sigtimedwait(2) waits for now.
    pub(crate) awaited: SigSet,
}

/// What a process owns of signals.
#[derive(Default)]
pub struct ProcessSignals {
    pub pending: Pending,
}
