//! Sending.

use std::sync::Arc;

use abi::signal::SigInfo;

use crate::{
    error::Result,
    machine::Machine,
    task::{Pid, Process, Task},
};

/// Sends to one thread.
pub fn send_to_task(_task: &Arc<Task>, _info: SigInfo) {}
/// Sends to a process; any thread may take it.
pub fn send_to_process(_process: &Arc<Process>, _info: SigInfo) {}
/// Sends to all members of a process group. ESRCH if there is none.
pub fn send_to_group(_machine: &Machine, _pgid: Pid, _info: SigInfo) -> Result<()> {
    Err(abi::errno::ESRCH)
}
/// Recomputes [`crate::task::Work::SIGNAL`] after the mask or the actions of a task changed.
pub fn signals_changed(_task: &Task) {}

/// The process ignores this signal (or its default is to ignore it).
pub fn is_ignored(process: &Process, s: abi::Signal) -> bool {
    process.actions.read().table.lock()[s.index()].handler == 1
}
