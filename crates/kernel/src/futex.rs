//! Futexes (futex(2)), as far as the kernel sees them: plain waits and wakes go from the guest straight to the host.

use std::sync::atomic::Ordering;

use crate::task::TaskCx;

/// Stores 0 at the address given by set_tid_address(2) and wakes who waits there; for a task that leaves its memory to
/// others.
pub fn clear_tid(cx: &mut TaskCx) {
    let addr = cx.task.clear_child_tid.swap(0, Ordering::Relaxed);
    if addr != 0 && cx.write_u32(addr, 0).is_ok() {
        let _ = cx.mm.space.futex_wake(addr, 1, true);
        let _ = cx.mm.space.futex_wake(addr, 1, false);
    }
}

/// The task leaves its memory by execve(2).
pub fn exec_leaves(cx: &mut TaskCx) {
    exit_robust(cx);
    if std::sync::Arc::strong_count(&cx.mm) > 2 {
        clear_tid(cx);
    }
    cx.task.clear_child_tid.store(0, Ordering::Relaxed);
}

/// Gives up the robust futexes of a task that ends (set_robust_list(2)).
pub fn exit_robust(cx: &mut TaskCx) {
    cx.task.robust_list.store(0, Ordering::Relaxed);
}
