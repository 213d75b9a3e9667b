//! Timers: alarm, interval timers, POSIX timers.

use std::sync::Arc;

use abi::{
    Itimerspec, Itimerval, Signal, Timespec, Timeval,
    errno::{EFAULT, EINVAL, EOPNOTSUPP},
    nr,
    time::*,
};
use kernel::{
    Result,
    task::TaskCx,
    time::{self, ClockId, Notify},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_ALARM, "alarm", alarm),
    Row::new(nr::SYS_GETITIMER, "getitimer", getitimer),
    Row::new(nr::SYS_SETITIMER, "setitimer", setitimer),
    Row::new(nr::SYS_TIMER_CREATE, "timer_create", timer_create).partial("no alarm clocks"),
    Row::new(nr::SYS_TIMER_SETTIME, "timer_settime", timer_settime),
    Row::new(nr::SYS_TIMER_GETTIME, "timer_gettime", timer_gettime),
    Row::new(nr::SYS_TIMER_GETOVERRUN, "timer_getoverrun", timer_getoverrun),
    Row::new(nr::SYS_TIMER_DELETE, "timer_delete", timer_delete),
];

fn ns(v: i64) -> u64 {
    u64::try_from(v).unwrap_or(0)
}

fn signed(v: u64) -> i64 {
    i64::try_from(v).unwrap_or(i64::MAX)
}

fn which(a: Args) -> Result<usize> {
    usize::try_from(a.i32(0)).ok().filter(|w| *w < 3).ok_or(EINVAL)
}

fn itimerval((value, interval): (u64, u64)) -> Itimerval {
    // What is left is never shown as nothing.
    let value = if value == 0 { 0 } else { value.max(1000) };
    Itimerval { interval: Timeval::from_ns(signed(interval)), value: Timeval::from_ns(signed(value)) }
}

/// Answers the seconds that were left of the old alarm, rounded, at least 1.
fn alarm(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let value = u64::from(a.u32(0)) * 1_000_000_000;
    let machine = cx.machine().clone();
    let (left, _) = time::set_itimer(&machine, &cx.task.process, 0, value, 0);
    Ok(if left == 0 { 0 } else { ((left + 500_000_000) / 1_000_000_000).max(1) })
}

fn getitimer(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let which = which(a)?;
    cx.sample_cpu_time();
    let now = time::get_itimer(cx.machine(), &cx.task.process, which);
    cx.copy_out(a.u64(1), &itimerval(now).encode())?;
    Ok(0)
}

fn setitimer(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let new = match a.u64(1) {
        // An old kernel's kindness that is still there: no value switches the timer off.
        0 => Itimerval::default(),
        addr => Itimerval::decode(&cx.read_array(addr)?).check()?,
    };
    let which = which(a)?;
    cx.sample_cpu_time();
    let machine = cx.machine().clone();
    let (value, interval) = (ns(new.value.to_ns()), ns(new.interval.to_ns()));
    let old = time::set_itimer(&machine, &cx.task.process, which, value, interval);
    if a.u64(2) != 0 {
        cx.copy_out(a.u64(2), &itimerval(old).encode())?;
    }
    Ok(0)
}

fn timer_create(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let clock = match a.i32(0) {
        CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE => return Err(EOPNOTSUPP),
        id => ClockId::from_raw(cx, id)?,
    };
    let (notify, value) = match a.u64(1) {
        0 => (None, None),
        addr => {
            let e = SigEvent::decode(&cx.read_array(addr)?);
            (Some(notify(cx, &e)?), Some(e.value))
        }
    };
    let id = time::create(cx, clock, notify, value)?;
    if cx.write_u32(a.u64(2), id.cast_unsigned()).is_err() {
        time::delete(cx, id)?;
        return Err(EFAULT);
    }
    Ok(0)
}

fn notify(cx: &TaskCx, e: &SigEvent) -> Result<Notify> {
    match e.notify {
        SIGEV_NONE => Ok(Notify::Nothing),
        // SIGEV_THREAD is made of a signal by the C library.
        SIGEV_SIGNAL | SIGEV_THREAD => Ok(Notify::Process(Signal::check(e.signo)?)),
        SIGEV_THREAD_ID => {
            let s = Signal::check(e.signo)?;
            let t = cx.machine().tree.task(e.tid).filter(|t| t.pid() == cx.task.pid()).ok_or(EINVAL)?;
            Ok(Notify::Thread(s, Arc::downgrade(&t)))
        }
        _ => Err(EINVAL),
    }
}

fn itimerspec((value, interval): (u64, u64)) -> Itimerspec {
    Itimerspec { interval: Timespec::from_ns(signed(interval)), value: Timespec::from_ns(signed(value)) }
}

fn timer_settime(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(2) == 0 {
        return Err(EINVAL);
    }
    let new = Itimerspec::decode(&cx.read_array(a.u64(2))?).check()?;
    let absolute = a.u32(1) & TIMER_ABSTIME != 0;
    let (value, interval) = (ns(new.value.to_ns()), ns(new.interval.to_ns()));
    let old = time::set_timer(cx, a.i32(0), absolute, value, interval)?;
    if a.u64(3) != 0 {
        cx.copy_out(a.u64(3), &itimerspec(old).encode())?;
    }
    Ok(0)
}

fn timer_gettime(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let now = time::get_timer(cx, a.i32(0))?;
    cx.copy_out(a.u64(1), &itimerspec(now).encode())?;
    Ok(0)
}

fn timer_getoverrun(cx: &mut TaskCx, a: Args) -> Result<u64> {
    time::get_overrun(cx, a.i32(0)).map(|n| u64::from(n.cast_unsigned()))
}

fn timer_delete(cx: &mut TaskCx, a: Args) -> Result<u64> {
    time::delete(cx, a.i32(0))?;
    Ok(0)
}
