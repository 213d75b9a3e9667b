//! Clocks and timers. One clock for the machine; every timer hangs on one timer thread.
//!
//! A process's timers (setitimer(2), timer_create(2), RLIMIT_CPU) are state behind [`ProcessTimers`]; what is armed of
//! them holds only weak references. Timers of processor time are watched by sampling ([`cpu_watch`]).

mod clock;
mod clock_id;
mod cpu_watch;
mod itimer;
mod posix;
mod timers;

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use abi::{SigFields, SigInfo, signal::SI_TIMER};

pub use clock::Clock;
pub use clock_id::ClockId;
pub use cpu_watch::watch;
pub use itimer::{Itimer, get_itimer, set_itimer};
pub use posix::{Notify, PosixTimer, TimerLine, create, delete, get_overrun, get_timer, list, set_timer};
pub use timers::{Expiry, TimerId, Timers};

use crate::{machine::Machine, task::Process};

/// Timers of one process.
#[derive(Default)]
pub struct ProcessTimers {
    /// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
    pub itimers: [Itimer; 3],
    pub posix: BTreeMap<i32, PosixTimer>,
    next_id: i32,
    /// Tells apart what was armed now from what was armed before.
    generation: u64,
    /// The sampler of processor time, if it is armed.
    watch: Option<TimerId>,
    /// Seconds of processor time at which RLIMIT_CPU signals next; 0: at the limit.
    cpu_limit_next: u64,
}

/// A signal of a process was taken: an expired POSIX timer counts its overruns and runs on.
pub fn signal_taken(process: &Arc<Process>, info: &mut SigInfo) {
    if let (SI_TIMER, SigFields::Timer { id, overrun, .. }) = (info.code, &mut info.fields) {
        *overrun = posix::delivered(process, *id);
    }
}

/// Timers over execve(2): POSIX timers are deleted, interval timers stay.
pub fn exec_timers(machine: &Machine, process: &Process) {
    let posix = std::mem::take(&mut process.timers.lock().posix);
    for t in posix.values() {
        t.disarm(machine);
    }
}

/// The process has ended: nothing of it fires any more.
pub fn process_exits(machine: &Machine, process: &Process) {
    let timers = std::mem::take(&mut *process.timers.lock());
    for t in timers.posix.values() {
        t.disarm(machine);
    }
    for id in timers.itimers.iter().filter_map(|t| t.armed).chain(timers.watch) {
        machine.timers.disarm(id);
    }
}

/// What an armed timer of a process remembers.
struct Armed {
    machine: Weak<Machine>,
    process: Weak<Process>,
    /// [`ProcessTimers::generation`] when it was armed.
    generation: u64,
}

impl Armed {
    fn get(&self) -> Option<(Arc<Machine>, Arc<Process>)> {
        Some((self.machine.upgrade()?, self.process.upgrade()?))
    }
}

/// Expirations of a repeating timer up to `now` (at least 1), when the one at `deadline` is due.
fn expirations(deadline: u64, interval: u64, now: u64) -> u64 {
    now.saturating_sub(deadline).checked_div(interval).map_or(1, |n| n + 1)
}
