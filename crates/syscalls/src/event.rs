//! eventfd(2), timerfd_*, signalfd(4).

use std::{any::Any, sync::Arc};

use abi::{
    Itimerspec, OpenFlags, SigSet, Timespec,
    errno::EINVAL,
    nr,
    poll::{
        EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME,
        TFD_TIMER_CANCEL_ON_SET,
    },
    time::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME},
};
use kernel::{
    Result,
    task::TaskCx,
    vfs::{
        eventfd::EventFd,
        file::FileOps,
        signalfd::SignalFd,
        timerfd::{TimerClock, TimerFd},
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_EVENTFD, "eventfd", eventfd),
    Row::new(nr::SYS_EVENTFD2, "eventfd2", eventfd2),
    Row::new(nr::SYS_TIMERFD_CREATE, "timerfd_create", timerfd_create),
    Row::new(nr::SYS_TIMERFD_SETTIME, "timerfd_settime", timerfd_settime),
    Row::new(nr::SYS_TIMERFD_GETTIME, "timerfd_gettime", timerfd_gettime),
    Row::new(nr::SYS_SIGNALFD, "signalfd", signalfd),
    Row::new(nr::SYS_SIGNALFD4, "signalfd4", signalfd4),
];

/// The CLOEXEC and NONBLOCK bits are those of open(2) in all three families.
fn install(cx: &mut TaskCx, name: &str, ops: Arc<dyn FileOps>, flags: u32) -> Result<u64> {
    let status = OpenFlags::RDWR | OpenFlags::from_bits_retain(flags & EFD_NONBLOCK);
    let file = cx.machine().vfs.anon_file(cx.machine(), name, ops, status);
    Ok(cx.files.install(&cx.task, file, flags & EFD_CLOEXEC != 0)? as u64)
}

fn eventfd(cx: &mut TaskCx, a: Args) -> Result<u64> {
    install(cx, "[eventfd]", EventFd::new(u64::from(a.u32(0)), false), 0)
}

fn eventfd2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(1);
    if flags & !(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    let ops = EventFd::new(u64::from(a.u32(0)), flags & EFD_SEMAPHORE != 0);
    install(cx, "[eventfd]", ops, flags)
}

fn timerfd_create(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u32(1) & !(TFD_CLOEXEC | TFD_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    let clock = match a.i32(0) {
        CLOCK_REALTIME => TimerClock::Realtime,
        CLOCK_MONOTONIC => TimerClock::Monotonic,
        CLOCK_BOOTTIME => TimerClock::Boottime,
        _ => return Err(EINVAL),
    };
    let ops = TimerFd::new(cx.machine(), clock);
    install(cx, "[timerfd]", ops, a.u32(1))
}

fn timer_of(cx: &TaskCx, fd: i32) -> Result<Arc<TimerFd>> {
    let any: Arc<dyn Any + Send + Sync> = cx.files.get_io(fd)?.ops.clone();
    any.downcast::<TimerFd>().map_err(|_| EINVAL)
}

fn spec((left, interval): (u64, u64)) -> Itimerspec {
    let t = |ns: u64| Timespec::from_ns(i64::try_from(ns).unwrap_or(i64::MAX));
    Itimerspec { interval: t(interval), value: t(left) }
}

fn timerfd_settime(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(1);
    // TFD_TIMER_CANCEL_ON_SET has an effect only when the clock is set; that is not offered to timers.
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(EINVAL);
    }
    let new = Itimerspec::decode(&cx.read_array(a.u64(2))?).check()?;
    let timer = timer_of(cx, a.i32(0))?;
    let ns = |t: Timespec| u64::try_from(t.to_ns()).unwrap_or(0);
    let old = timer.set(flags & TFD_TIMER_ABSTIME != 0, ns(new.value), ns(new.interval));
    if a.u64(3) != 0 {
        cx.copy_out(a.u64(3), &spec(old).encode())?;
    }
    Ok(0)
}

fn timerfd_gettime(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let now = timer_of(cx, a.i32(0))?.get();
    cx.copy_out(a.u64(1), &spec(now).encode())?;
    Ok(0)
}

fn signalfd(cx: &mut TaskCx, a: Args) -> Result<u64> {
    do_signalfd(cx, a, 0)
}

fn signalfd4(cx: &mut TaskCx, a: Args) -> Result<u64> {
    do_signalfd(cx, a, a.u32(3))
}

fn do_signalfd(cx: &mut TaskCx, a: Args, flags: u32) -> Result<u64> {
    if flags & !(EFD_CLOEXEC | EFD_NONBLOCK) != 0 || a.u64(2) != 8 {
        return Err(EINVAL);
    }
    let mask = SigSet::decode(&cx.read_array(a.u64(1))?).minus(SigSet::UNBLOCKABLE);
    if a.i32(0) == -1 {
        let ops = SignalFd::new(mask, &cx.task);
        return install(cx, "[signalfd]", ops, flags);
    }
    let file = cx.files.get_io(a.i32(0))?;
    file.ops.as_any().downcast_ref::<SignalFd>().ok_or(EINVAL)?.set_mask(mask);
    Ok(a.i32(0) as u64)
}
