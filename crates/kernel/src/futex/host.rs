//! Futex calls of watched tasks: made by the guest thread on the kernel's order, in the host's queues with all others.

use abi::{
    Timespec,
    errno::{EFAULT, EINTR, EINVAL, ENOSYS},
    nr::{SYS_FUTEX, SYS_FUTEX_WAIT, SYS_FUTEX_WAITV, SYS_FUTEX_WAKE},
    sched::*,
};
use hal::FutexCall;

use super::FutexArgs;
use crate::{
    error::{ERESTART, Result},
    task::{TaskCx, run::Restart},
};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Waits and wakes of futex(2).
pub(super) fn call(cx: &mut TaskCx, a: &FutexArgs) -> Result<u64> {
    let command = a.op & FUTEX_CMD_MASK;
    let waits = matches!(command, FUTEX_WAIT | FUTEX_WAIT_BITSET);
    if a.op & FUTEX_CLOCK_REALTIME != 0 && !waits {
        return Err(ENOSYS);
    }
    let (mut op, mut val3, mut time) = (a.op, a.val3, None);
    if waits && a.timeout != 0 {
        let raw: [u8; 16] = cx.read_array(a.timeout)?;
        let t = Timespec::decode(&raw);
        let nsec = u64::try_from(t.nsec).ok().filter(|n| *n < SECOND).ok_or(EINVAL)?;
        let sec = u64::try_from(t.sec).map_err(|_| EINVAL)?;
        time = Some((t.sec, t.nsec));
        if command == FUTEX_WAIT && a.op & FUTEX_CLOCK_REALTIME == 0 {
            // The time is from now on. As a moment it stays the same when the wait is begun again.
            let end = cx.deadline(Some(sec.saturating_mul(SECOND).saturating_add(nsec))).unwrap_or(u64::MAX);
            time = Some(((end / SECOND).cast_signed(), (end % SECOND).cast_signed()));
            op = a.op & !FUTEX_CMD_MASK | FUTEX_WAIT_BITSET;
            val3 = FUTEX_BITSET_MATCH_ANY;
        }
    }
    let args = [a.addr, u64::from(op), u64::from(a.val), a.timeout, a.addr2, u64::from(val3)];
    cx.restart_as = time.is_some().then_some(Restart::NoHandler);
    make(cx, &FutexCall { nr: u64::from(SYS_FUTEX), args, time })
}

/// futex_waitv(2), futex_wake and futex_wait, as far as the host has them: their times are moments.
pub fn later(cx: &mut TaskCx, nr: u32, args: [u64; 6]) -> Result<u64> {
    debug_assert!([SYS_FUTEX_WAITV, SYS_FUTEX_WAKE, SYS_FUTEX_WAIT].contains(&nr));
    let timed = match nr {
        SYS_FUTEX_WAITV => args[3] != 0,
        SYS_FUTEX_WAIT => args[4] != 0,
        _ => false,
    };
    cx.restart_as = timed.then_some(Restart::NoHandler);
    make(cx, &FutexCall { nr: u64::from(nr), args, time: None })
}

fn make(cx: &mut TaskCx, call: &FutexCall) -> Result<u64> {
    if !cx.ctx.traps_futexes() {
        // The host does not have it, or it would not have come here.
        return Err(ENOSYS);
    }
    let mut brought_in = false;
    loop {
        match cx.ctx.host_futex(call) {
            Err(EINTR) if cx.task.work().is_empty() => {}
            Err(EINTR) => return Err(ERESTART),
            // The host cannot bring in pages that it does not know of yet.
            Err(EFAULT) if call.nr == u64::from(SYS_FUTEX) && !brought_in => {
                brought_in = true;
                cx.read_u32(call.args[0])?;
            }
            done => return done,
        }
    }
}
