//! The end of memory: samples what guest processes really use, and kills the largest when it is more than the machine
//! has. The machine itself lives on.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use abi::{SigInfo, Signal};

use super::Mm;
use crate::{
    error::Result,
    machine::Machine,
    task::{Process, RunState, Task},
};

/// Bytes a second a guest may take into use without being noticed; the time between samples follows from it.
const FASTEST: u64 = 4 << 30;
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// Starts the thread that watches. It ends with the machine.
pub fn start(machine: &Arc<Machine>) -> Result<()> {
    let weak = Arc::downgrade(machine);
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
    let users = sample(m);
    let limit = m.memory.limit();
    let cache = m.memory.cache_bytes();
    let mut private: u64 = users.iter().map(|u| u.1).sum();
    let largest = users.iter().map(|u| u.1).max().unwrap_or(0);
    // Pages that forks share count in each of them: before that is too much they are counted in proportion, which takes
    // longer. One that is too large by itself needs no such count.
    if private + cache > limit && largest + cache <= limit {
        private = users.iter().filter_map(|(t, _)| Some(t.mm()?.space.proportional_bytes())).sum();
    }
    m.memory.set_resident(private);
    let used = private + cache;
    if used > limit {
        kill_largest(m, users, used);
        return SHORTEST;
    }
    Duration::from_millis((limit - used) / (FASTEST / 1000)).clamp(SHORTEST, LONGEST)
}

/// Processes with their private resident bytes; each address space is counted once.
fn sample(m: &Machine) -> Vec<(Arc<Task>, u64)> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for t in m.tree.tasks() {
        if let Some(mm) = t.mm()
            && seen.insert(Arc::<Mm>::as_ptr(&mm))
        {
            out.push((t, mm.space.resident_bytes().0));
        }
    }
    out
}

fn kill_largest(m: &Machine, mut users: Vec<(Arc<Task>, u64)>, used: u64) {
    use std::sync::atomic::Ordering;
    // Linux's badness: what is used, moved by thousandths of all memory (oom_score_adj).
    let thousandth = i64::try_from(m.memory.limit() / 1000).unwrap_or(i64::MAX);
    let adjust = |t: &Task| i64::from(t.process.oom_score_adj.load(Ordering::Relaxed));
    users.retain(|(t, _)| adjust(t) != -1000);
    users.sort_by_key(|(t, used)| {
        let used = i64::try_from(*used).unwrap_or(i64::MAX);
        std::cmp::Reverse(used.saturating_add(adjust(t).saturating_mul(thousandth)))
    });
    // Those that end already give their memory back soon. It is counted no more, but what others take meanwhile is.
    let ends = |t: &Task| t.process.state.lock().group_exit.is_some();
    let soon: u64 = users.iter().filter(|(t, _)| ends(t)).map(|u| u.1).sum();
    if used.saturating_sub(soon) <= m.memory.limit() {
        return;
    }
    users.retain(|(t, _)| !ends(t));
    let victim = users.iter().find(|(t, _)| !t.process.is_init.load(Ordering::Relaxed)).or(users.first());
    let Some((task, size)) = victim else { return };
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
    kill(&task.process);
}

fn kill(p: &Arc<Process>) {
    p.send(SigInfo::kernel(Signal::SIGKILL));
}
