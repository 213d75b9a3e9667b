//! Futexes (futex(2)), as far as the kernel sees them.
//!
//! Waits and wakes go from the guest straight to the host (the platform lets them through): the host's queues hold the
//! waiters, and the kernel wakes them by [`hal::Space::futex_wake`]. Tasks that a filter or a tracer watches come to the
//! kernel first, which then has their guest thread make the call ([`host`]). Words that hold thread ids (priority inheritance,
//! robust lists) hold the guest's ids, which the host does not know: those operations are here. Priority itself is not
//! inherited, as the host's scheduler decides; who gets a lock next is decided in order of arrival.

mod host;
mod pi;
mod requeue;
mod robust;

use abi::{
    errno::{EFAULT, EINVAL, ENOSYS},
    sched::*,
};

pub use hal::EndWord;
pub use host::later;
pub use pi::PiTable;
pub use robust::{AtEnd, exit_robust};

use crate::{error::Result, task::TaskCx};

/// Arguments of futex(2) beyond the operation.
#[derive(Clone, Copy, Debug)]
pub struct FutexArgs {
    pub addr: u64,
    pub op: u32,
    pub val: u32,
    /// A `timespec` address, or a count.
    pub timeout: u64,
    pub addr2: u64,
    pub val3: u32,
}

/// Does what the host could not do by itself, and what it was not let do: waits and wakes come here for tasks that a
/// filter or a tracer watches.
pub fn futex(cx: &mut TaskCx, a: &FutexArgs) -> Result<u64> {
    let shared = a.op & FUTEX_PRIVATE_FLAG == 0;
    let op = a.op & FUTEX_CMD_MASK;
    if matches!(op, FUTEX_WAIT | FUTEX_WAIT_BITSET | FUTEX_WAKE | FUTEX_WAKE_BITSET) {
        return host::call(cx, a);
    }
    if a.op & FUTEX_CLOCK_REALTIME != 0 && !matches!(op, FUTEX_LOCK_PI2 | FUTEX_WAIT_REQUEUE_PI) {
        return Err(ENOSYS);
    }
    match op {
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE => requeue(cx, a, op == FUTEX_CMP_REQUEUE, shared),
        FUTEX_WAKE_OP => wake_op(cx, a, shared),
        FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => {
            let realtime = op == FUTEX_LOCK_PI || a.op & FUTEX_CLOCK_REALTIME != 0;
            let deadline = pi::deadline(cx, a.timeout, realtime)?;
            pi::lock(cx, a.addr, shared, deadline)
        }
        FUTEX_TRYLOCK_PI => pi::try_lock(cx, a.addr, shared),
        FUTEX_UNLOCK_PI => pi::unlock(cx, a.addr, shared),
        FUTEX_WAIT_REQUEUE_PI => {
            let deadline = pi::deadline(cx, a.timeout, a.op & FUTEX_CLOCK_REALTIME != 0)?;
            requeue::wait(cx, a, shared, deadline)
        }
        FUTEX_CMP_REQUEUE_PI => requeue::requeue(cx, a, shared),
        _ => Err(ENOSYS),
    }
}

fn check_addr(addr: u64) -> Result<()> {
    if addr.is_multiple_of(4) { Ok(()) } else { Err(EINVAL) }
}

fn wake(cx: &mut TaskCx, addr: u64, count: u32, shared: bool) -> Result<u64> {
    check_addr(addr)?;
    let n = cx.mm.space.futex_wake(addr, count, shared)?;
    Ok(u64::from(n))
}

/// The waiters stand in the host's queues, so the host moves them. Guests may not do it themselves with words that other
/// processes see: the kernel process's own waiters would be among them.
fn requeue(cx: &mut TaskCx, a: &FutexArgs, compare: bool, shared: bool) -> Result<u64> {
    check_addr(a.addr)?;
    check_addr(a.addr2)?;
    let moved = u32::try_from(a.timeout & 0xffff_ffff).unwrap_or(u32::MAX);
    if a.val.cast_signed() < 0 || moved.cast_signed() < 0 {
        return Err(EINVAL);
    }
    let expected = compare.then_some(a.val3);
    for _ in 0..2 {
        match cx.mm.space.futex_requeue(a.addr, a.val, a.addr2, moved, expected, shared) {
            // The host cannot bring in pages that it does not know of yet.
            Err(EFAULT) => {
                cx.read_u32(a.addr)?;
                cx.read_u32(a.addr2)?;
            }
            done => return done.map(u64::from),
        }
    }
    Err(EFAULT)
}

/// FUTEX_WAKE_OP: changes the second word, wakes at the first, and at the second if its old value compares.
fn wake_op(cx: &mut TaskCx, a: &FutexArgs, shared: bool) -> Result<u64> {
    check_addr(a.addr)?;
    check_addr(a.addr2)?;
    // Arguments are signed 12-bit numbers.
    let signed = |v: u32| ((v << 20).cast_signed()) >> 20;
    let (op, cmp) = (a.val3 >> 28 & 7, a.val3 >> 24 & 15);
    let (oparg, cmparg) = (signed(a.val3 >> 12), signed(a.val3));
    let oparg = if a.val3 >> 28 & FUTEX_OP_OPARG_SHIFT != 0 {
        1i32.wrapping_shl(oparg.cast_unsigned())
    } else {
        oparg
    };
    let arg = oparg.cast_unsigned();
    let old = loop {
        let old = cx.read_u32(a.addr2)?;
        let new = match op {
            FUTEX_OP_SET => arg,
            FUTEX_OP_ADD => old.wrapping_add(arg),
            FUTEX_OP_OR => old | arg,
            FUTEX_OP_ANDN => old & !arg,
            FUTEX_OP_XOR => old ^ arg,
            _ => return Err(ENOSYS),
        };
        if compare_exchange(cx, a.addr2, old, new)? == old {
            break old.cast_signed();
        }
    };
    let both = match cmp {
        FUTEX_OP_CMP_EQ => old == cmparg,
        FUTEX_OP_CMP_NE => old != cmparg,
        FUTEX_OP_CMP_LT => old < cmparg,
        FUTEX_OP_CMP_LE => old <= cmparg,
        FUTEX_OP_CMP_GT => old > cmparg,
        FUTEX_OP_CMP_GE => old >= cmparg,
        _ => return Err(ENOSYS),
    };
    let mut woken = wake(cx, a.addr, a.val, shared)?;
    if both {
        woken += wake(cx, a.addr2, (a.timeout & 0xffff_ffff) as u32, shared)?;
    }
    Ok(woken)
}

/// Atomic compare and exchange of a guest word, with its page brought in. EFAULT.
fn compare_exchange(cx: &mut TaskCx, addr: u64, old: u32, new: u32) -> Result<u32> {
    for _ in 0..2 {
        match cx.ctx.compare_exchange_u32(addr, old, new) {
            Err(EFAULT) => cx.fault_in(addr, true)?,
            other => return other,
        }
    }
    Err(EFAULT)
}

/// Stores 0 at the address given by set_tid_address(2) and wakes who waits there; for a task that leaves its memory to
/// others.
pub fn clear_tid(cx: &mut TaskCx) {
    let addr = cx.task.at_end.lock().take(EndWord::ClearTid);
    if addr != 0 && cx.write_u32(addr, 0).is_ok() {
        cx.ctx.flush();
        // As Linux does: who waits with a private key is not woken.
        let _ = cx.mm.space.futex_wake_later(addr);
    }
}

/// The task leaves its memory, by execve(2) or at its end: tells user space through it.
pub fn leave_memory(cx: &mut TaskCx) {
    exit_robust(cx);
    pi::leave(cx);
    // Held by the task twice: in its context and in what others see of it.
    if std::sync::Arc::strong_count(&cx.mm) > 2 {
        clear_tid(cx);
    }
    cx.task.at_end.lock().set(EndWord::ClearTid, 0);
}
