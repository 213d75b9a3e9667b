//! Clocks and sleeping (time(7)).

use abi::{
    Timespec, Timeval,
    cap::CAP_SYS_TIME,
    errno::{EINVAL, EOPNOTSUPP, EPERM, ETIMEDOUT},
    nr,
    time::*,
    wire::{get_u32, put_i32, put_i64},
};
use kernel::{ERESTART, Result, task::TaskCx, time::ClockId};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_CLOCK_GETTIME, "clock_gettime", clock_gettime),
    Row::new(nr::SYS_CLOCK_GETRES, "clock_getres", clock_getres),
    Row::new(nr::SYS_CLOCK_SETTIME, "clock_settime", clock_settime)
        .partial("the host's clock is not set: EPERM"),
    Row::new(nr::SYS_CLOCK_NANOSLEEP, "clock_nanosleep", clock_nanosleep).no_restart(),
    Row::new(nr::SYS_NANOSLEEP, "nanosleep", nanosleep).no_restart(),
    Row::new(nr::SYS_GETTIMEOFDAY, "gettimeofday", gettimeofday),
    Row::new(nr::SYS_SETTIMEOFDAY, "settimeofday", settimeofday)
        .partial("the host's clock is not set: EPERM"),
    Row::new(nr::SYS_TIME, "time", time),
    Row::new(nr::SYS_ADJTIMEX, "adjtimex", |cx, a| adjust(cx, a.u64(0))).partial("reads only"),
    Row::new(nr::SYS_CLOCK_ADJTIME, "clock_adjtime", clock_adjtime).partial("reads only"),
];

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

fn clock_gettime(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let now = ClockId::from_raw(cx, a.i32(0))?.now_ns(cx);
    cx.copy_out(a.u64(1), &Timespec::from_ns(signed(now)).encode())?;
    Ok(0)
}

/// Nanoseconds between ticks of the coarse clocks.
const COARSE_NS: i64 = 4_000_000;

fn clock_getres(cx: &mut TaskCx, a: Args) -> Result<u64> {
    ClockId::from_raw(cx, a.i32(0))?;
    let coarse = matches!(a.i32(0), CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE);
    if a.u64(1) != 0 {
        let res = Timespec::from_ns(if coarse { COARSE_NS } else { 1 });
        cx.copy_out(a.u64(1), &res.encode())?;
    }
    Ok(0)
}

fn clock_settime(cx: &mut TaskCx, a: Args) -> Result<u64> {
    Timespec::decode(&cx.read_array(a.u64(1))?).check()?;
    // Guests read the host's clock without asking us, so there is no other time to give them.
    match a.i32(0) {
        CLOCK_REALTIME => Err(EPERM),
        _ => Err(EINVAL),
    }
}

fn gettimeofday(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(0) != 0 {
        let now = cx.machine().clock.realtime_ns();
        cx.copy_out(a.u64(0), &Timeval::from_ns(signed(now)).encode())?;
    }
    if a.u64(1) != 0 {
        cx.copy_out(a.u64(1), &Timezone::default().encode())?;
    }
    Ok(0)
}

fn settimeofday(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(0) != 0 {
        Timeval::decode(&cx.read_array(a.u64(0))?).check()?;
    }
    Err(EPERM)
}

fn time(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let now = cx.machine().clock.realtime_ns() / 1_000_000_000;
    if a.u64(0) != 0 {
        cx.write_u64(a.u64(0), now)?;
    }
    Ok(now)
}

/// Sleeps until `deadline` (monotonic nanoseconds).
fn sleep_until(cx: &TaskCx, deadline: u64) -> Result<u64> {
    match cx.task.wait_on(&[], Some(deadline), || None::<()>) {
        Err(ETIMEDOUT) | Ok(()) => Ok(0),
        Err(e) => Err(e),
    }
}

/// Sleeps for a span; on interruption tells what is left of it in `remain`, if that is an address.
fn sleep_for(cx: &mut TaskCx, ns: u64, remain: u64) -> Result<u64> {
    let deadline = cx.deadline(Some(ns)).unwrap_or(u64::MAX);
    let result = sleep_until(cx, deadline);
    if result == Err(ERESTART) && remain != 0 {
        let left = deadline.saturating_sub(cx.machine().clock.monotonic_ns());
        cx.copy_out(remain, &Timespec::from_ns(signed(left)).encode())?;
    }
    result
}

fn nanosleep(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let t = Timespec::decode(&cx.read_array(a.u64(0))?).check()?;
    sleep_for(cx, t.to_ns().cast_unsigned(), a.u64(1))
}

fn clock_nanosleep(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let absolute = a.u32(1) & TIMER_ABSTIME != 0;
    match a.i32(0) {
        CLOCK_THREAD_CPUTIME_ID => return Err(EINVAL),
        CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE => return Err(EOPNOTSUPP),
        _ => {}
    }
    let clock = ClockId::from_raw(cx, a.i32(0))?;
    let t = Timespec::decode(&cx.read_array(a.u64(2))?).check()?.to_ns().cast_unsigned();
    if clock.is_cpu() {
        return sleep_cpu(cx, &clock, absolute, t, a.u64(3));
    }
    if !absolute {
        return sleep_for(cx, t, a.u64(3));
    }
    let deadline = clock.to_monotonic(cx, t).ok_or(EINVAL)?;
    sleep_until(cx, deadline)
}

/// Sleeps until others have used processor time.
fn sleep_cpu(cx: &mut TaskCx, clock: &ClockId, absolute: bool, t: u64, remain: u64) -> Result<u64> {
    let end = if absolute { t } else { clock.now_ns(cx).saturating_add(t) };
    loop {
        let left = end.saturating_sub(clock.now_ns(cx));
        if left == 0 {
            return Ok(0);
        }
        let look = cx.machine().clock.monotonic_ns().saturating_add(left.clamp(1_000_000, 50_000_000));
        if let Err(e) = sleep_until(cx, look) {
            if !absolute && remain != 0 {
                cx.copy_out(remain, &Timespec::from_ns(signed(left)).encode())?;
            }
            return Err(e);
        }
    }
}

/// Bytes of `struct timex`.
const TIMEX_SIZE: usize = 208;
/// The clock is not synchronized by us: the status bit, and the answer.
const STA_UNSYNC: i32 = 0x40;
const TIME_ERROR: u64 = 5;

fn adjust(cx: &mut TaskCx, addr: u64) -> Result<u64> {
    let mut timex: [u8; TIMEX_SIZE] = cx.read_array(addr)?;
    // Reading with ADJ_OFFSET_SS_READ is no change.
    const READ_ONLY: u32 = 0xa001;
    let modes = get_u32(&timex, 0);
    if modes != 0 && modes != READ_ONLY {
        return Err(if cx.cred().has(CAP_SYS_TIME) { EOPNOTSUPP } else { EPERM });
    }
    let now = Timeval::from_ns(signed(cx.machine().clock.realtime_ns()));
    for (at, value) in [
        (8, 0),
        (16, 0),
        (24, 16_000_000),
        (32, 16_000_000),
        (48, 2),
        (56, 1),
        (64, 32_768_000),
        (72, now.sec),
        (80, now.usec),
        (88, 10_000),
    ] {
        put_i64(&mut timex, at, value);
    }
    put_i32(&mut timex, 40, STA_UNSYNC);
    timex[96..].fill(0);
    cx.copy_out(addr, &timex)?;
    Ok(TIME_ERROR)
}

fn clock_adjtime(cx: &mut TaskCx, a: Args) -> Result<u64> {
    match a.i32(0) {
        CLOCK_REALTIME => adjust(cx, a.u64(1)),
        _ => {
            ClockId::from_raw(cx, a.i32(0))?;
            Err(EOPNOTSUPP)
        }
    }
}
