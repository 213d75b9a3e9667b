//! Interval timers (getitimer(2), alarm(2)).

use std::sync::Arc;

use abi::{SigInfo, Signal};

use super::{Armed, Expiry, TimerId, expirations, watch};
use crate::{machine::Machine, signal::send_to_process, task::Process};

/// Shortest period of a repeating timer, in nanoseconds: one thread serves all.
pub(super) const MIN_INTERVAL: u64 = 50_000;

/// setitimer(2) state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Itimer {
    /// Absolute deadline (monotonic, or processor time used), 0 if off.
    pub deadline_ns: u64,
    pub interval_ns: u64,
    pub(super) armed: Option<TimerId>,
    pub(super) generation: u64,
}

/// Number of ITIMER_REAL in the table.
const REAL: usize = 0;

/// Where a timer's clock stands.
fn now(machine: &Machine, process: &Process, which: usize) -> u64 {
    if which == REAL {
        return machine.clock.monotonic_ns();
    }
    let (user, system) = process.cpu_time_ns();
    if which == 1 { user } else { user + system }
}

/// Time until the next expiration (0 if off) and the interval, in nanoseconds. `which`: ITIMER_*, below 3.
pub fn get_itimer(machine: &Machine, process: &Process, which: usize) -> (u64, u64) {
    let now = now(machine, process, which);
    let t = process.timers.lock().itimers[which];
    if t.deadline_ns == 0 {
        return (0, 0);
    }
    // Due but not served yet: as little as can be shown.
    (t.deadline_ns.saturating_sub(now).max(1000), t.interval_ns)
}

/// Sets a timer to expire in `value` nanoseconds (0: off), then each `interval`; returns what [`get_itimer`] told before.
pub fn set_itimer(
    machine: &Arc<Machine>,
    process: &Arc<Process>,
    which: usize,
    value: u64,
    interval: u64,
) -> (u64, u64) {
    let old = get_itimer(machine, process, which);
    let deadline = if value == 0 { 0 } else { now(machine, process, which).saturating_add(value) };
    let mut timers = process.timers.lock();
    timers.generation += 1;
    let generation = timers.generation;
    let before = timers.itimers[which].armed;
    let armed = (which == REAL && deadline != 0).then(|| {
        let what = RealTimer(Armed {
            machine: Arc::downgrade(machine),
            process: Arc::downgrade(process),
            generation,
        });
        machine.timers.arm(deadline, Arc::new(what))
    });
    let interval_ns = if deadline == 0 { 0 } else { interval };
    timers.itimers[which] = Itimer { deadline_ns: deadline, interval_ns, armed, generation };
    drop(timers);
    if let Some(id) = before {
        machine.timers.disarm(id);
    }
    if which != REAL && deadline != 0 {
        watch(machine, process);
    }
    old
}

/// ITIMER_REAL on the timer thread.
struct RealTimer(Armed);

impl Expiry for RealTimer {
    fn expired(&self, now_ns: u64) -> Option<u64> {
        let (machine, process) = self.0.get()?;
        {
            let mut timers = process.timers.lock();
            let t = &mut timers.itimers[REAL];
            if t.generation != self.0.generation || t.deadline_ns == 0 {
                return None;
            }
            if t.interval_ns == 0 {
                t.deadline_ns = 0;
                t.armed = None;
            } else {
                let n = expirations(t.deadline_ns, t.interval_ns, now_ns);
                t.deadline_ns =
                    t.deadline_ns.saturating_add(n.saturating_mul(t.interval_ns)).max(now_ns + MIN_INTERVAL);
                let again = RealTimer(Armed {
                    machine: self.0.machine.clone(),
                    process: self.0.process.clone(),
                    generation: self.0.generation,
                });
                t.armed = Some(machine.timers.arm(t.deadline_ns, Arc::new(again)));
            }
        }
        send_to_process(&process, SigInfo::kernel(Signal::SIGALRM));
        None
    }
}
