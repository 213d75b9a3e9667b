//! Resource limits and usage: getrlimit, setrlimit, prlimit64, getrusage, times.

use std::sync::Arc;

use abi::{
    cap::{CAP_SYS_PTRACE, CAP_SYS_RESOURCE},
    errno::{EINVAL, EPERM, ESRCH},
    nr,
    procinfo::{Rlimit, Tms},
    sched::*,
};
use kernel::{
    Result,
    task::{Process, TaskCx},
};

use crate::{args::Args, table::Row, wait::rusage};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_GETRLIMIT, "getrlimit", getrlimit),
    Row::new(nr::SYS_SETRLIMIT, "setrlimit", setrlimit),
    Row::new(nr::SYS_PRLIMIT64, "prlimit64", prlimit64),
    Row::new(nr::SYS_GETRUSAGE, "getrusage", getrusage),
    Row::new(nr::SYS_TIMES, "times", times),
];

fn resource(n: u32) -> Result<usize> {
    usize::try_from(n).ok().filter(|n| *n < RLIM_NLIMITS).ok_or(EINVAL)
}

fn set(cx: &TaskCx, p: &Arc<Process>, resource: usize, new: Rlimit) -> Result<()> {
    if new.cur > new.max {
        return Err(EINVAL);
    }
    if resource == RLIMIT_NOFILE as usize
        && new.max > cx.machine().tunables.nr_open.load(std::sync::atomic::Ordering::Relaxed)
    {
        return Err(EPERM);
    }
    let may_raise = cx.cred().has(CAP_SYS_RESOURCE);
    {
        let mut limits = p.rlimits.lock();
        if new.max > limits[resource].1 && !may_raise {
            return Err(EPERM);
        }
        limits[resource] = (new.cur, new.max);
    }
    if resource == RLIMIT_CPU as usize && new.cur != RLIM_INFINITY {
        kernel::time::watch(cx.machine(), p);
    }
    Ok(())
}

fn get(p: &Process, resource: usize) -> Rlimit {
    let (cur, max) = p.rlimits.lock()[resource];
    Rlimit { cur, max }
}

fn getrlimit(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let limit = get(&cx.task.process, resource(a.u32(0))?);
    cx.copy_out(a.u64(1), &limit.encode())?;
    Ok(0)
}

fn setrlimit(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let new = Rlimit::decode(&cx.read_array(a.u64(1))?);
    let p = cx.task.process.clone();
    set(cx, &p, resource(a.u32(0))?, new)?;
    Ok(0)
}

/// The process of prlimit(2), if the caller may look at it.
fn target(cx: &TaskCx, pid: i32) -> Result<Arc<Process>> {
    if pid == 0 || pid == cx.task.tid() {
        return Ok(cx.task.process.clone());
    }
    let t = cx.machine().tree.task(pid).ok_or(ESRCH)?;
    let (me, it) = (cx.cred(), t.cred());
    let same = [it.uid, it.euid, it.suid].iter().all(|u| *u == me.uid)
        && [it.gid, it.egid, it.sgid].iter().all(|g| *g == me.gid);
    if same || t.pid() == cx.task.pid() || me.has(CAP_SYS_RESOURCE) || me.has(CAP_SYS_PTRACE) {
        Ok(t.process.clone())
    } else {
        Err(EPERM)
    }
}

fn prlimit64(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let r = resource(a.u32(1))?;
    let new = match a.u64(2) {
        0 => None,
        addr => Some(Rlimit::decode(&cx.read_array(addr)?)),
    };
    let p = target(cx, a.i32(0))?;
    let old = get(&p, r);
    if let Some(n) = new {
        set(cx, &p, r, n)?;
    }
    if a.u64(3) != 0 {
        cx.copy_out(a.u64(3), &old.encode())?;
    }
    Ok(0)
}

fn getrusage(cx: &mut TaskCx, a: Args) -> Result<u64> {
    cx.sample_cpu_time();
    let usage = match a.i32(0) {
        RUSAGE_SELF => cx.task.process.usage(),
        RUSAGE_CHILDREN => cx.task.process.state.lock().children_usage,
        RUSAGE_THREAD => cx.task.usage(),
        _ => return Err(EINVAL),
    };
    cx.copy_out(a.u64(1), &rusage(&usage).encode())?;
    Ok(0)
}

/// Clock ticks are hundredths of a second.
fn ticks(ns: u64) -> i64 {
    (ns / 10_000_000).cast_signed()
}

fn times(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(0) != 0 {
        cx.sample_cpu_time();
        let (user, system) = cx.task.process.cpu_time_ns();
        let children = cx.task.process.state.lock().children_usage;
        let tms = Tms {
            utime: ticks(user),
            stime: ticks(system),
            cutime: ticks(children.user_ns),
            cstime: ticks(children.system_ns),
        };
        cx.copy_out(a.u64(0), &tms.encode())?;
    }
    Ok(ticks(cx.machine().clock.boottime_ns()).cast_unsigned())
}
