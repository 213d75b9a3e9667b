//! Clock numbers (clock_gettime(2), clock_getcpuclockid(3)).

use std::sync::Arc;

use abi::{errno::EINVAL, time::*};

use crate::{
    error::Result,
    task::{Process, Task, TaskCx},
};

/// What counts as processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuKind {
    /// User and system time.
    All,
    /// User time.
    User,
}

/// A clock that can be read.
#[derive(Clone)]
pub enum ClockId {
    Realtime,
    Monotonic,
    Boottime,
    /// Processor time of a process.
    Process(Arc<Process>, CpuKind),
    /// Processor time of a thread.
    Thread(Arc<Task>, CpuKind),
}

impl ClockId {
    /// The clock of a number. EINVAL if there is none.
    pub fn from_raw(cx: &TaskCx, id: i32) -> Result<ClockId> {
        Ok(match id {
            CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_TAI => ClockId::Realtime,
            CLOCK_MONOTONIC | CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE => ClockId::Monotonic,
            CLOCK_BOOTTIME => ClockId::Boottime,
            CLOCK_PROCESS_CPUTIME_ID => ClockId::Process(cx.task.process.clone(), CpuKind::All),
            CLOCK_THREAD_CPUTIME_ID => ClockId::Thread(cx.task.clone(), CpuKind::All),
            i if i < 0 => cpu_clock(cx, i)?,
            _ => return Err(EINVAL),
        })
    }

    /// The number it is known by.
    pub fn number(&self) -> i32 {
        match self {
            ClockId::Realtime => CLOCK_REALTIME,
            ClockId::Monotonic => CLOCK_MONOTONIC,
            ClockId::Boottime => CLOCK_BOOTTIME,
            ClockId::Process(..) => CLOCK_PROCESS_CPUTIME_ID,
            ClockId::Thread(..) => CLOCK_THREAD_CPUTIME_ID,
        }
    }

    /// Nanoseconds on this clock.
    pub fn now_ns(&self, cx: &mut TaskCx) -> u64 {
        let clock = &cx.machine().clock;
        match self {
            ClockId::Realtime => clock.realtime_ns(),
            ClockId::Monotonic => clock.monotonic_ns(),
            ClockId::Boottime => clock.boottime_ns(),
            _ => {
                cx.sample_cpu_time();
                self.cpu_ns()
            }
        }
    }

    /// Processor time; 0 for other clocks.
    pub fn cpu_ns(&self) -> u64 {
        let (times, kind) = match self {
            ClockId::Process(p, kind) => (p.cpu_time_ns(), *kind),
            ClockId::Thread(t, kind) => (t.cpu_time_ns(), *kind),
            _ => return 0,
        };
        match kind {
            CpuKind::All => times.0 + times.1,
            CpuKind::User => times.0,
        }
    }

    pub fn is_cpu(&self) -> bool {
        matches!(self, ClockId::Process(..) | ClockId::Thread(..))
    }

    /// The monotonic moment at which this clock shows `at`; `None` for processor time.
    pub fn to_monotonic(&self, cx: &TaskCx, at: u64) -> Option<u64> {
        let clock = &cx.machine().clock;
        let now = match self {
            ClockId::Realtime => clock.realtime_ns(),
            ClockId::Monotonic => return Some(at),
            ClockId::Boottime => clock.boottime_ns(),
            _ => return None,
        };
        let mono = clock.monotonic_ns();
        Some(if at >= now { mono.saturating_add(at - now) } else { mono.saturating_sub(now - at) })
    }
}

/// Negative numbers name the processor time of a process or thread: the inverted id above three bits, of which the lowest
/// two say what is counted and the third means a thread.
fn cpu_clock(cx: &TaskCx, id: i32) -> Result<ClockId> {
    let kind = match id & 3 {
        0 | 2 => CpuKind::All,
        1 => CpuKind::User,
        _ => return Err(EINVAL),
    };
    let pid = !(id >> 3);
    if id & 4 != 0 {
        if pid == 0 {
            return Ok(ClockId::Thread(cx.task.clone(), kind));
        }
        let t = cx.machine().tree.task(pid).filter(|t| t.pid() == cx.task.pid());
        return t.map(|t| ClockId::Thread(t, kind)).ok_or(EINVAL);
    }
    if pid == 0 {
        return Ok(ClockId::Process(cx.task.process.clone(), kind));
    }
    let p = cx.machine().tree.process(pid);
    p.map(|p| ClockId::Process(p, kind)).ok_or(EINVAL)
}
