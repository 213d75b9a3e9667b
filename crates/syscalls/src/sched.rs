//! Scheduling (sched(7)): kept and shown; the host's scheduler decides.

use std::sync::Arc;

use abi::{
    cap::{CAP_SYS_ADMIN, CAP_SYS_NICE},
    errno::{E2BIG, EACCES, EFAULT, EINVAL, EPERM, ESRCH},
    nr,
    sched::*,
    time::Timespec,
};
use kernel::{
    Result,
    task::{SchedParams, Task, TaskCx},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_SCHED_YIELD, "sched_yield", |_, _| {
        std::thread::yield_now();
        Ok(0)
    }),
    Row::new(nr::SYS_SCHED_SETPARAM, "sched_setparam", setparam).partial("kept, not obeyed"),
    Row::new(nr::SYS_SCHED_GETPARAM, "sched_getparam", getparam),
    Row::new(nr::SYS_SCHED_SETSCHEDULER, "sched_setscheduler", setscheduler).partial("kept, not obeyed"),
    Row::new(nr::SYS_SCHED_GETSCHEDULER, "sched_getscheduler", getscheduler),
    Row::new(nr::SYS_SCHED_GET_PRIORITY_MAX, "sched_get_priority_max", |_, a| range(a).map(|r| r.1)),
    Row::new(nr::SYS_SCHED_GET_PRIORITY_MIN, "sched_get_priority_min", |_, a| range(a).map(|r| r.0)),
    Row::new(nr::SYS_SCHED_RR_GET_INTERVAL, "sched_rr_get_interval", rr_get_interval),
    Row::new(nr::SYS_SCHED_SETAFFINITY, "sched_setaffinity", setaffinity),
    Row::new(nr::SYS_SCHED_GETAFFINITY, "sched_getaffinity", getaffinity),
    Row::new(nr::SYS_SCHED_SETATTR, "sched_setattr", setattr).partial("kept, not obeyed; no deadline policy"),
    Row::new(nr::SYS_SCHED_GETATTR, "sched_getattr", getattr),
    Row::new(nr::SYS_GETPRIORITY, "getpriority", getpriority),
    Row::new(nr::SYS_SETPRIORITY, "setpriority", setpriority).partial("kept, not obeyed"),
    Row::new(nr::SYS_IOPRIO_SET, "ioprio_set", ioprio_set).partial("kept, not obeyed"),
    Row::new(nr::SYS_IOPRIO_GET, "ioprio_get", ioprio_get),
    Row::new(nr::SYS_GETCPU, "getcpu", getcpu),
];

fn target(cx: &TaskCx, pid: i32) -> Result<Arc<Task>> {
    match pid {
        0 => Ok(cx.task.clone()),
        p if p < 0 => Err(EINVAL),
        p => cx.machine().tree.task(p).ok_or(ESRCH),
    }
}

/// [`target`] for affinities: a negative number is just nobody's.
fn bound(cx: &TaskCx, pid: i32) -> Result<Arc<Task>> {
    if pid < 0 { Err(ESRCH) } else { target(cx, pid) }
}

/// The caller may change the scheduling of `t` (sched(7)).
fn owns(cx: &TaskCx, t: &Task) -> bool {
    let (me, it) = (cx.cred(), t.cred());
    me.euid == it.uid || me.euid == it.euid || me.has(CAP_SYS_NICE)
}

/// Lowest and highest priority of a policy.
fn range(a: Args) -> Result<(u64, u64)> {
    match a.i32(0) {
        SCHED_FIFO | SCHED_RR => Ok((1, 99)),
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok((0, 0)),
        _ => Err(EINVAL),
    }
}

fn is_rt(policy: i32) -> bool {
    matches!(policy, SCHED_FIFO | SCHED_RR)
}

/// Checks and stores a policy.
fn change(cx: &TaskCx, t: &Task, policy: i32, priority: i32, reset: bool, nice: Option<i32>) -> Result<u64> {
    if !matches!(policy, SCHED_NORMAL | SCHED_FIFO | SCHED_RR | SCHED_BATCH | SCHED_IDLE) {
        return Err(EINVAL);
    }
    let valid = if is_rt(policy) { (1..=99).contains(&priority) } else { priority == 0 };
    if !valid {
        return Err(EINVAL);
    }
    let now = *t.sched.lock();
    if !cx.cred().has(CAP_SYS_NICE) {
        let limit = t.process.rlimit(RLIMIT_RTPRIO as usize);
        let old = now.policy.cast_signed();
        if is_rt(policy)
            && (policy != old && limit == 0
                || priority > now.priority && u64::from(priority.cast_unsigned()) > limit)
        {
            return Err(EPERM);
        }
        if !owns(cx, t) || now.reset_on_fork && !reset {
            return Err(EPERM);
        }
        if let Some(n) = nice
            && n < now.nice
            && !nice_allowed(cx, t, n)
        {
            return Err(EPERM);
        }
    }
    let mut s = t.sched.lock();
    s.policy = policy.cast_unsigned();
    s.priority = priority;
    s.reset_on_fork = reset;
    if let Some(n) = nice {
        s.nice = n;
    }
    Ok(0)
}

fn setparam(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let priority = cx.read_u32(a.u64(1))?.cast_signed();
    let t = target(cx, a.i32(0))?;
    let now = *t.sched.lock();
    change(cx, &t, now.policy.cast_signed(), priority, now.reset_on_fork, None)
}

fn getparam(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(1) == 0 {
        return Err(EINVAL);
    }
    let p = target(cx, a.i32(0))?.sched.lock().priority;
    cx.write_u32(a.u64(1), p.cast_unsigned())?;
    Ok(0)
}

fn setscheduler(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.i32(1) < 0 || a.u64(2) == 0 {
        return Err(EINVAL);
    }
    let priority = cx.read_u32(a.u64(2))?.cast_signed();
    let t = target(cx, a.i32(0))?;
    change(cx, &t, a.i32(1) & !SCHED_RESET_ON_FORK, priority, a.i32(1) & SCHED_RESET_ON_FORK != 0, None)
}

fn getscheduler(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let s = *target(cx, a.i32(0))?.sched.lock();
    let reset = if s.reset_on_fork { SCHED_RESET_ON_FORK.cast_unsigned() } else { 0 };
    Ok(u64::from(s.policy | reset))
}

fn rr_get_interval(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let s = *target(cx, a.i32(0))?.sched.lock();
    let ns = match s.policy.cast_signed() {
        SCHED_RR => 100_000_000,
        SCHED_FIFO => 0,
        _ => 4_000_000,
    };
    cx.copy_out(a.u64(1), &Timespec::from_ns(ns).encode())?;
    Ok(0)
}

/// Processors there are, one bit each.
fn online(cx: &TaskCx) -> u64 {
    match cx.machine().config.cpus {
        0 => 1,
        n if n >= 64 => u64::MAX,
        n => (1 << n) - 1,
    }
}

fn setaffinity(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let len = a.usize(1).min(128);
    let mut bytes = vec![0; len];
    cx.copy_in(a.u64(2), &mut bytes)?;
    let t = bound(cx, a.i32(0))?;
    if !owns(cx, &t) {
        return Err(EPERM);
    }
    bytes.resize(8.max(len), 0);
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    let mask = u64::from_le_bytes(first) & online(cx);
    if mask == 0 {
        return Err(EINVAL);
    }
    // All there are is no confinement.
    t.set_affinity(if mask == online(cx) { u64::MAX } else { mask });
    Ok(0)
}

/// Answers the bytes written.
fn getaffinity(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let len = a.u32(1) as usize;
    if len < 8 || !len.is_multiple_of(8) {
        return Err(EINVAL);
    }
    let mask = bound(cx, a.i32(0))?.sched.lock().affinity & online(cx);
    cx.write_u64(a.u64(2), mask)?;
    Ok(8)
}

fn setattr(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(1) == 0 || a.i32(0) < 0 || a.u32(2) != 0 {
        return Err(EINVAL);
    }
    let size = match cx.read_u32(a.u64(1))? as usize {
        0 => SCHED_ATTR_SIZE_VER0,
        n if !(SCHED_ATTR_SIZE_VER0..=4096).contains(&n) => {
            cx.write_u32(a.u64(1), SchedAttr::SIZE as u32)?;
            return Err(E2BIG);
        }
        n => n,
    };
    let mut bytes = vec![0; size.max(SchedAttr::SIZE)];
    cx.copy_in(a.u64(1), &mut bytes[..size])?;
    if bytes[SchedAttr::SIZE..].iter().any(|b| *b != 0) {
        cx.write_u32(a.u64(1), SchedAttr::SIZE as u32)?;
        return Err(E2BIG);
    }
    let mut known = [0; SchedAttr::SIZE];
    known.copy_from_slice(&bytes[..SchedAttr::SIZE]);
    let attr = SchedAttr::decode(&known);
    let t = target(cx, a.i32(0))?;
    if attr.flags & !(SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_KEEP_POLICY | SCHED_FLAG_KEEP_PARAMS) != 0 {
        return Err(EINVAL);
    }
    let now = *t.sched.lock();
    let policy = if attr.flags & SCHED_FLAG_KEEP_POLICY != 0 { now.policy } else { attr.policy };
    let (priority, nice) = if attr.flags & SCHED_FLAG_KEEP_PARAMS != 0 {
        (now.priority, None)
    } else {
        (attr.priority.cast_signed(), Some(attr.nice.clamp(-20, 19)))
    };
    let nice = nice.filter(|_| !is_rt(policy.cast_signed()));
    change(cx, &t, policy.cast_signed(), priority, attr.flags & SCHED_FLAG_RESET_ON_FORK != 0, nice)
}

fn getattr(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let size = a.u32(2) as usize;
    if a.u64(1) == 0 || !(SCHED_ATTR_SIZE_VER0..=4096).contains(&size) || a.u32(3) != 0 {
        return Err(EINVAL);
    }
    let s = *target(cx, a.i32(0))?.sched.lock();
    let n = size.min(SchedAttr::SIZE);
    let attr = SchedAttr {
        size: n as u32,
        policy: s.policy,
        flags: if s.reset_on_fork { SCHED_FLAG_RESET_ON_FORK } else { 0 },
        nice: s.nice,
        priority: s.priority.cast_unsigned(),
        ..SchedAttr::default()
    };
    cx.copy_out(a.u64(1), &attr.encode()[..n])?;
    Ok(0)
}

/// The tasks that `which` and `who` of getpriority(2) or ioprio_get(2) name. The numbers of the kinds are given.
fn chosen(cx: &TaskCx, which: i32, who: i32, kinds: [i32; 3]) -> Result<Vec<Arc<Task>>> {
    let tree = cx.machine().tree.lock();
    let tasks: Vec<Arc<Task>> = if which == kinds[0] {
        let tid = if who == 0 { cx.task.tid() } else { who };
        tree.tasks.get(&tid).cloned().into_iter().collect()
    } else if which == kinds[1] {
        let group = if who == 0 { tree.nodes.get(&cx.task.pid()).map_or(0, |n| n.pgid) } else { who };
        tree.group(group).iter().flat_map(|p| p.threads()).collect()
    } else if which == kinds[2] {
        let uid = if who == 0 { cx.cred().uid } else { who.cast_unsigned() };
        tree.tasks.values().filter(|t| t.cred().uid == uid).cloned().collect()
    } else {
        return Err(EINVAL);
    };
    if tasks.is_empty() { Err(ESRCH) } else { Ok(tasks) }
}

const PRIO_KINDS: [i32; 3] = [PRIO_PROCESS, PRIO_PGRP, PRIO_USER];
const IOPRIO_KINDS: [i32; 3] = [IOPRIO_WHO_PROCESS, IOPRIO_WHO_PGRP, IOPRIO_WHO_USER];

/// Answers 20 minus the nice value, so that no answer looks like an error.
fn getpriority(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let tasks = chosen(cx, a.i32(0), a.i32(1), PRIO_KINDS)?;
    let best = tasks.iter().map(|t| t.sched.lock().nice).min().unwrap_or(0);
    Ok(u64::from((20 - best).cast_unsigned()))
}

/// RLIMIT_NICE lets a task go down to 20 minus the limit.
fn nice_allowed(cx: &TaskCx, t: &Task, nice: i32) -> bool {
    let room = t.process.rlimit(RLIMIT_NICE as usize);
    u64::from((20 - nice).cast_unsigned()) <= room || cx.cred().has(CAP_SYS_NICE)
}

fn setpriority(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let nice = a.i32(2).clamp(-20, 19);
    let mut result = Ok(0);
    for t in chosen(cx, a.i32(0), a.i32(1), PRIO_KINDS)? {
        if !owns(cx, &t) {
            result = Err(EPERM);
        } else if nice < t.sched.lock().nice && !nice_allowed(cx, &t, nice) {
            result = Err(EACCES);
        } else {
            t.sched.lock().nice = nice;
        }
    }
    result
}

fn ioprio_set(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let prio = a.i32(2);
    let class = prio >> 13;
    let known = match class {
        // No class has no level.
        0 => prio == 0,
        1 if cx.cred().has(CAP_SYS_ADMIN) || cx.cred().has(CAP_SYS_NICE) => true,
        1 => return Err(EPERM),
        2 | 3 => true,
        _ => false,
    };
    if !known {
        return Err(EINVAL);
    }
    for t in chosen(cx, a.i32(0), a.i32(1), IOPRIO_KINDS)? {
        if !owns(cx, &t) {
            return Err(EPERM);
        }
        t.sched.lock().ioprio = prio;
    }
    Ok(0)
}

fn ioprio_get(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let tasks = chosen(cx, a.i32(0), a.i32(1), IOPRIO_KINDS)?;
    // Without a setting the best-effort class at the level of the nice value counts.
    let shown = |s: &SchedParams| if s.ioprio == 0 { (2 << 13) | ((s.nice + 20) / 5) } else { s.ioprio };
    let best = tasks.iter().map(|t| shown(&t.sched.lock())).min().ok_or(ESRCH)?;
    Ok(u64::from(best.cast_unsigned()))
}

fn getcpu(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let mask = cx.task.sched.lock().affinity & online(cx);
    let placed = cx.ctx.cpu().filter(|n| *n < 64 && mask >> n & 1 != 0);
    let cpu = placed.unwrap_or_else(|| mask.trailing_zeros().min(63));
    for addr in [(a.u64(0), cpu), (a.u64(1), 0)] {
        if addr.0 != 0 {
            cx.write_u32(addr.0, addr.1).map_err(|_| EFAULT)?;
        }
    }
    Ok(0)
}
