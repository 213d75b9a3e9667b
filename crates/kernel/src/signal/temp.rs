//! Masks that hold for one system call: sigsuspend, ppoll, pselect, epoll_pwait.

use abi::{SigSet, Signal};

use crate::task::TaskCx;

/// Sets `mask` until the present system call has returned, or until the handler it lets in has its frame (which then
/// carries the old mask).
pub fn set_temporary_mask(cx: &mut TaskCx, mut mask: SigSet) {
    mask.remove(Signal::SIGKILL);
    mask.remove(Signal::SIGSTOP);
    let old = {
        let mut own = cx.task.signals.lock();
        let old = own.mask.get();
        own.mask.set(mask);
        old
    };
    // A call that is begun again has its old mask saved already.
    cx.saved_mask.get_or_insert(old);
    super::signals_changed(&cx.task);
}
