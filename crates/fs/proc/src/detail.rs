//! Files about one task that are neither stat nor status: scheduling, I/O, timers, out-of-memory score.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use abi::{cap::CAP_SYS_RESOURCE, errno};
use kernel::{Machine, Result, task::Task};

use crate::{process::About, text::number};

pub(crate) fn io(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let n = a.process.io_counts();
    Ok(format!(
        "rchar: {}\nwchar: {}\nsyscr: {}\nsyscw: {}\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n",
        n[0], n[1], n[2], n[3]
    )
    .into_bytes())
}

pub(crate) fn sched(m: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let task = a.task.as_ref().ok_or(errno::ESRCH)?;
    let comm = String::from_utf8_lossy(&a.comm()).into_owned();
    let (user, system) = task.cpu_time_ns();
    let p = *task.sched.lock();
    let voluntary = task.stats.waits.load(Ordering::Relaxed);
    let involuntary = task.stats.preemptions.load(Ordering::Relaxed);
    let prio = if matches!(p.policy, 1 | 2) { 99 - p.priority } else { 120 + p.nice };
    let mut s =
        format!("{comm} ({}, #threads: {})\n{}\n", task.tid(), a.process.threads().len(), "-".repeat(67));
    let ms = |ns: u64| format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000);
    let rows = [
        ("se.exec_start", ms(m.clock.uptime_ns())),
        ("se.sum_exec_runtime", ms(user + system)),
        ("nr_switches", (voluntary + involuntary).to_string()),
        ("nr_voluntary_switches", voluntary.to_string()),
        ("nr_involuntary_switches", involuntary.to_string()),
        ("policy", p.policy.to_string()),
        ("prio", prio.to_string()),
    ];
    for (name, value) in rows {
        let _ = writeln!(s, "{name:<45}:{value:>21}");
    }
    Ok(s.into_bytes())
}

/// Time run, time waited for a processor (the host's secret), and turns.
pub(crate) fn schedstat(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let (user, system) = a.task.as_ref().map_or((0, 0), |t| t.cpu_time_ns());
    let turns = a
        .task
        .as_ref()
        .map_or(0, |t| t.stats.waits.load(Ordering::Relaxed) + t.stats.preemptions.load(Ordering::Relaxed));
    Ok(format!("{} 0 {turns}\n", user + system).into_bytes())
}

/// The call that it waits in: number, arguments, stack and instruction pointers.
pub(crate) fn syscall(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let Some(s) = a.task.as_ref().ok_or(errno::ESRCH)?.standing(a.is_asker) else {
        return Ok(b"running\n".to_vec());
    };
    let call = s.call.map_or_else(
        || "-1".to_string(),
        |(nr, args)| args.iter().fold(nr.to_string(), |line, a| format!("{line} {a:#x}")),
    );
    Ok(format!("{call} {:#x} {:#x}\n", s.stack, s.instruction).into_bytes())
}

pub(crate) fn timers(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let mut s = String::new();
    for t in kernel::time::list(&a.process) {
        let _ = write!(
            s,
            "ID: {}\nsignal: {}/{:016x}\nnotify: {}/{}.{}\nClockID: {}\n",
            t.id,
            t.signal,
            t.value,
            if t.signal == 0 { "none" } else { "signal" },
            if t.thread.is_some() { "tid" } else { "pid" },
            t.thread.unwrap_or(a.process.pid),
            t.clock,
        );
    }
    Ok(s.into_bytes())
}

/// Children begun by this thread are children of its process: shown with the leader.
pub(crate) fn children(m: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let tree = m.tree.lock();
    let pids = match &a.task {
        Some(t) if t.is_leader() => tree.nodes.get(&a.process.pid).map(|n| n.children.clone()),
        _ => None,
    };
    let mut pids = pids.unwrap_or_default();
    pids.sort_unstable();
    Ok(pids.iter().map(|p| format!("{p} ")).collect::<String>().into_bytes())
}

pub(crate) fn oom_score_adj(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    Ok(format!("{}\n", a.process.oom_score_adj.load(Ordering::Relaxed)).into_bytes())
}

pub(crate) fn set_oom_score_adj(_: &Arc<Machine>, a: &About, by: &Task, data: &[u8]) -> Result<()> {
    let new =
        i32::try_from(number(data)?).ok().filter(|n| (-1000..=1000).contains(n)).ok_or(errno::EINVAL)?;
    let old = &a.process.oom_score_adj;
    if new < old.load(Ordering::Relaxed) && !by.cred().has(CAP_SYS_RESOURCE) {
        return Err(errno::EACCES);
    }
    old.store(new, Ordering::Relaxed);
    Ok(())
}

/// Thousandths of the machine's memory that it uses, and its adjustment; as Linux, on a scale to 2000 around 666.
pub(crate) fn oom_score(m: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let adj = i64::from(a.process.oom_score_adj.load(Ordering::Relaxed));
    let used = a.mm().map_or(0, |mm| mm.space.resident_bytes().0);
    let share = i64::try_from(used / (m.memory.limit() / 1000).max(1)).unwrap_or(1000);
    let score = if adj == -1000 { 0 } else { ((1000 + share + adj) * 2 / 3).max(0) };
    Ok(format!("{score}\n").into_bytes())
}

pub(crate) fn coredump_filter(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    Ok(format!("{:08x}\n", a.process.coredump_filter.load(Ordering::Relaxed)).into_bytes())
}

pub(crate) fn set_coredump_filter(_: &Arc<Machine>, a: &About, _: &Task, data: &[u8]) -> Result<()> {
    let bits = u32::try_from(number(data)?).map_err(|_| errno::EINVAL)?;
    a.process.coredump_filter.store(bits & 0x1ff, Ordering::Relaxed);
    Ok(())
}

pub(crate) fn timer_slack(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let task = a.task.as_ref().ok_or(errno::ESRCH)?;
    let ns = task.sched.lock().timer_slack_ns;
    Ok(format!("{ns}\n").into_bytes())
}

pub(crate) fn set_timer_slack(_: &Arc<Machine>, a: &About, by: &Task, data: &[u8]) -> Result<()> {
    let task = a.task.as_ref().ok_or(errno::ESRCH)?;
    if task.tid() != by.tid() && !by.cred().has(abi::cap::CAP_SYS_NICE) {
        return Err(errno::EPERM);
    }
    let ns = u64::try_from(number(data)?).map_err(|_| errno::EINVAL)?;
    task.sched.lock().timer_slack_ns = if ns == 0 { 50_000 } else { ns };
    Ok(())
}
