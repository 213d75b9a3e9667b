//! The end of memory: samples what guest processes really use, and kills the largest when it is more than the machine
//! has. The machine itself lives on.
//!
//! A thread does that again and again. It may be late, as any thread may; who needs memory that the last sample has not
//! left takes one itself ([`relieve`]), so that nobody's growth depends on that thread.

use std::{
    collections::HashSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use abi::{SigInfo, Signal};

use super::Mm;
use crate::{
    error::Result,
    machine::Machine,
    task::{RunState, Task},
};

/// Bytes a second a guest may take into use without being noticed; the time between samples follows from it.
const FASTEST: u64 = 4 << 30;
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);
/// Between two samples of somebody who waits for memory, and how long he waits: killed processes give theirs back soon,
/// if they get a processor to end on.
const AGAIN: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the thread that watches. It ends with the machine.
pub fn start(machine: &Arc<Machine>) -> Result<()> {
    let weak = Arc::downgrade(machine);
    machine.memory.set_machine(weak.clone());
    let host = machine.host.clone();
    machine.host.spawn(
        "oom",
        Box::new(move || {
            let mut pause = SHORTEST;
            loop {
                host.sleep(pause);
                let Some(m) = Weak::upgrade(&weak).filter(|m| m.end_requested().is_none()) else { return };
                pause = watch(&m);
            }
        }),
    )
}

/// One sample; how long to sleep until the next.
fn watch(m: &Arc<Machine>) -> Duration {
    m.load.look(m.clock.uptime_ns(), || {
        m.tree.tasks().iter().filter(|t| t.run_state() == RunState::Running).count() as u64
    });
    let (used, limit) = (look(m), m.memory.limit());
    if used > limit {
        return SHORTEST;
    }
    Duration::from_millis((limit - used) / (FASTEST / 1000)).clamp(SHORTEST, LONGEST)
}

/// Samples, and kills if it must. What is used.
fn look(m: &Machine) -> u64 {
    let since = m.memory.since();
    let users = sample(m);
    let limit = m.memory.limit();
    let cache = m.memory.cache_bytes();
    let mut private: u64 = users.iter().map(|u| u.2).sum();
    let largest = users.iter().map(|u| u.2).max().unwrap_or(0);
    // Pages that forks share count in each of them: before that is too much they are counted in proportion, which takes
    // longer. One that is too large by itself needs no such count.
    if private + cache > limit && largest + cache <= limit {
        private = users.iter().map(|u| u.1.space.proportional_bytes()).sum();
    }
    m.memory.set_resident(private, since);
    users.iter().for_each(|u| u.1.allow_less(false));
    let used = private + cache;
    if used > limit {
        kill_largest(m, users, used);
    }
    used
}

/// Waits until a sample leaves memory. False if that takes too long; true as well if `give_up` says so.
pub(super) fn relieve(m: &Arc<Machine>, give_up: &dyn Fn() -> bool) -> bool {
    let end = m.clock.monotonic_ns().saturating_add(u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX));
    while !give_up() {
        // One at a time: two who do not see each other's victim would kill two.
        if m.memory.begin_look() {
            let used = look(m);
            if used <= m.memory.limit() && m.memory.is_overexposed(0) {
                // Much may be written that is not used, and nobody would ask.
                for (_, mm, _) in sample(m) {
                    // A failure has ended it.
                    let _ = mm.withhold_all();
                    mm.allow_less(true);
                }
            }
            m.memory.end_look();
            if used <= m.memory.limit() {
                return true;
            }
        }
        if m.clock.monotonic_ns() >= end {
            return false;
        }
        m.host.sleep(AGAIN);
    }
    true
}

/// Address spaces with one of their tasks and their private resident bytes.
fn sample(m: &Machine) -> Vec<(Arc<Task>, Arc<Mm>, u64)> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for t in m.tree.tasks() {
        if let Some(mm) = t.mm()
            && seen.insert(Arc::<Mm>::as_ptr(&mm))
        {
            let used = mm.space.resident_bytes().0;
            out.push((t, mm, used));
        }
    }
    out
}

fn kill_largest(m: &Machine, mut users: Vec<(Arc<Task>, Arc<Mm>, u64)>, used: u64) {
    // Linux's badness: what is used, moved by thousandths of all memory (oom_score_adj).
    let thousandth = i64::try_from(m.memory.limit() / 1000).unwrap_or(i64::MAX);
    let adjust = |t: &Task| i64::from(t.process.oom_score_adj.load(Ordering::Relaxed));
    users.retain(|(t, ..)| adjust(t) != -1000);
    users.sort_by_key(|(t, _, used)| {
        let used = i64::try_from(*used).unwrap_or(i64::MAX);
        std::cmp::Reverse(used.saturating_add(adjust(t).saturating_mul(thousandth)))
    });
    // Those that end already give their memory back soon. It is counted no more, but what others take meanwhile is.
    let ends = |t: &Task, mm: &Mm| mm.is_doomed() || t.process.state.lock().group_exit.is_some();
    let soon: u64 = users.iter().filter(|(t, mm, _)| ends(t, mm)).map(|u| u.2).sum();
    if used.saturating_sub(soon) <= m.memory.limit() {
        return;
    }
    users.retain(|(t, mm, _)| !ends(t, mm));
    let victim = users.iter().find(|(t, ..)| !t.process.is_init.load(Ordering::Relaxed)).or(users.first());
    let Some((task, mm, size)) = victim else { return };
    let comm = String::from_utf8_lossy(&task.comm.lock()).into_owned();
    m.log.print(
        3,
        m.clock.uptime_ns(),
        format!(
            "Out of memory: Killed process {} ({comm}) anon-rss:{}kB, machine {}kB of {}kB",
            task.pid(),
            size / 1024,
            used / 1024,
            m.memory.limit() / 1024
        ),
    );
    m.memory.count_oom_kill();
    // Its end first, so that it is known for what it died; then its stub, which takes memory until it is gone.
    task.process.send(SigInfo::kernel(Signal::SIGKILL));
    mm.doom();
}

/// Whether somebody who waits for memory samples. One does at a time.
#[derive(Default)]
pub(super) struct Looking(AtomicBool);

impl Looking {
    pub(super) fn begin(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
    pub(super) fn end(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
