//! Delivery at the boundary.

use hal::Exception;

use crate::{
    error::Result,
    task::{TaskCx, run::Restart},
};

/// What [`deliver`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// No signal was to be delivered.
    Nothing,
    /// One was taken and needs nothing more (ignored, a stop or an end was posted).
    Ignored,
    /// A handler's frame is set up; an interrupted call's result or restart is in it.
    Handler,
}

/// Takes one deliverable signal. `call`: the interrupted system call waiting to be begun again.
pub fn deliver(_cx: &mut TaskCx, _call: Option<(u64, Restart)>) -> Delivered {
    Delivered::Nothing
}

/// Turns a processor exception into its signal.
pub fn force_exception(cx: &mut TaskCx, _e: &Exception) {
    cx.exiting = true;
}

/// The stub has died below the task: its process ends.
pub fn stub_died(cx: &mut TaskCx, _signo: u8) {
    cx.exiting = true;
}

/// Puts back the mask saved by sigsuspend and its kin.
pub fn restore_saved_mask(cx: &mut TaskCx) {
    cx.saved_mask = None;
}

/// rt_sigreturn(2).
pub fn sigreturn(_cx: &mut TaskCx) -> Result<u64> {
    Err(abi::errno::ENOSYS)
}
