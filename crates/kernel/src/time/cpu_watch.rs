//! Timers of processor time: ITIMER_VIRTUAL, ITIMER_PROF, POSIX timers on CPU clocks, RLIMIT_CPU.
//!
//! A sampler on the timer thread looks at the time a process has used. A process with `n` threads cannot use more than
//! `n` seconds in a second, so what is left, divided by `n`, says when to look next.

use std::sync::{Arc, atomic::Ordering};

use abi::{SigInfo, Signal, sched::RLIMIT_CPU};

use super::{Armed, Expiry, expirations, posix};
use crate::{
    machine::Machine,
    signal::send_to_process,
    task::{
        Process, Work,
        process::{ExitStatus, RLIM_INFINITY},
    },
};

/// Shortest time between two looks, in nanoseconds.
const STEP_MIN: u64 = 1_000_000;
/// Longest, so that new threads are seen.
const STEP_MAX: u64 = 250_000_000;

/// Starts the sampler of a process, or lets it look at once, after a timer or limit was set.
pub fn watch(machine: &Arc<Machine>, process: &Arc<Process>) {
    rearm(machine, process, machine.clock.monotonic_ns() + STEP_MIN);
}

fn rearm(machine: &Arc<Machine>, process: &Arc<Process>, at: u64) {
    let what =
        Watch(Armed { machine: Arc::downgrade(machine), process: Arc::downgrade(process), generation: 0 });
    let mut timers = process.timers.lock();
    let old = timers.watch.replace(machine.timers.arm(at, Arc::new(what)));
    drop(timers);
    if let Some(id) = old {
        machine.timers.disarm(id);
    }
}

struct Watch(Armed);

impl Expiry for Watch {
    fn expired(&self, now_ns: u64) -> Option<u64> {
        let (machine, process) = self.0.get()?;
        let threads = process.threads();
        if threads.is_empty() {
            return None;
        }
        // Where the host cannot tell of other threads, each is asked to tell of itself for the next look.
        for t in &threads {
            if t.cpu_clock.lock().is_none() {
                t.post(Work::NOTIFY);
            }
        }
        let left = [serve_itimers(&process), posix::serve_cpu(&process), serve_limit(&process)];
        let left = left.into_iter().flatten().min();
        match left {
            Some(ns) => {
                let step = (ns / threads.len() as u64).clamp(STEP_MIN, STEP_MAX);
                rearm(&machine, &process, now_ns.saturating_add(step));
            }
            None => process.timers.lock().watch = None,
        }
        None
    }
}

/// Fires what is due; processor time left until the next, if any is armed.
fn serve_itimers(process: &Arc<Process>) -> Option<u64> {
    let (user, system) = process.cpu_time_ns();
    let mut left = None::<u64>;
    let mut fire = Vec::new();
    let mut timers = process.timers.lock();
    for (which, now, signal) in [(1, user, Signal::SIGVTALRM), (2, user + system, Signal::SIGPROF)] {
        let t = &mut timers.itimers[which];
        if t.deadline_ns == 0 {
            continue;
        }
        if now >= t.deadline_ns {
            fire.push(signal);
            if t.interval_ns == 0 {
                t.deadline_ns = 0;
                continue;
            }
            let n = expirations(t.deadline_ns, t.interval_ns, now);
            t.deadline_ns = t.deadline_ns.saturating_add(n.saturating_mul(t.interval_ns));
        }
        let rest = t.deadline_ns - now;
        left = Some(left.map_or(rest, |l| l.min(rest)));
    }
    drop(timers);
    for s in fire {
        send_to_process(process, SigInfo::kernel(s));
    }
    left
}

/// RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one (getrlimit(2)).
fn serve_limit(process: &Arc<Process>) -> Option<u64> {
    let (soft, hard) = process.rlimits.lock()[RLIMIT_CPU as usize];
    if soft == RLIM_INFINITY && hard == RLIM_INFINITY {
        return None;
    }
    let (user, system) = process.cpu_time_ns();
    let used = user + system;
    let sec = |s: u64| s.saturating_mul(1_000_000_000);
    if hard != RLIM_INFINITY && used >= sec(hard) {
        if !process.is_init.load(Ordering::Relaxed) {
            process.group_exit(ExitStatus::Signal { signo: 9, core: false });
        }
        return None;
    }
    let next = process.timers.lock().cpu_limit_next.max(soft);
    if next != RLIM_INFINITY && used >= sec(next) {
        process.timers.lock().cpu_limit_next = (used / 1_000_000_000).saturating_add(1);
        send_to_process(process, SigInfo::kernel(Signal::SIGXCPU));
        return Some(1_000_000_000);
    }
    Some(sec(next.min(hard)).saturating_sub(used))
}
