//! Waiting for children: wait4, waitid.

use abi::{
    errno::{EAGAIN, ECHILD, EINVAL, ESRCH},
    nr,
    procinfo::Rusage,
    sched::*,
    signal::{SigFields, SigInfo, Signal},
    time::Timeval,
};
use kernel::{
    Result,
    task::{
        TaskCx, pidfd,
        process::Usage,
        wait::{Report, Selector, wait},
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] =
    &[Row::new(nr::SYS_WAIT4, "wait4", wait4), Row::new(nr::SYS_WAITID, "waitid", waitid)];

/// The record of getrusage(2).
pub(crate) fn rusage(u: &Usage) -> Rusage {
    let n = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
    Rusage {
        utime: Timeval::from_ns(n(u.user_ns)),
        stime: Timeval::from_ns(n(u.system_ns)),
        maxrss: n(u.max_rss_kib),
        minflt: n(u.minor_faults),
        majflt: n(u.major_faults),
        inblock: 0,
        oublock: 0,
        nvcsw: n(u.waits),
        nivcsw: n(u.preemptions),
    }
}

fn group_of_caller(cx: &TaskCx) -> Result<i32> {
    cx.machine().tree.pgid(cx.task.pid()).ok_or(ECHILD)
}

fn wait4(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (pid, options) = (a.i32(0), a.u32(2));
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL) != 0 {
        return Err(EINVAL);
    }
    let which = match pid {
        -1 => Selector::Any,
        0 => Selector::Group(group_of_caller(cx)?),
        i32::MIN => return Err(ESRCH),
        p if p < 0 => Selector::Group(-p),
        p => Selector::Pid(p),
    };
    let Some(report) = wait(cx, which, options | WEXITED)? else { return Ok(0) };
    if a.u64(1) != 0 {
        cx.write_u32(a.u64(1), report.change.wait_status())?;
    }
    if a.u64(3) != 0 {
        cx.copy_out(a.u64(3), &rusage(&report.usage).encode())?;
    }
    Ok(u64::from(report.pid.cast_unsigned()))
}

fn waitid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (kind, id, options) = (a.i32(0), a.i32(1), a.u32(3));
    let known = WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL;
    if options & !known != 0 || options & (WEXITED | WSTOPPED | WCONTINUED) == 0 {
        return Err(EINVAL);
    }
    let which = match kind {
        P_ALL => Selector::Any,
        P_PID if id > 0 => Selector::Pid(id),
        P_PGID if id > 0 => Selector::Group(id),
        P_PIDFD if id >= 0 => {
            let (process, nonblocking) = pidfd::process_of(cx, id)?;
            let found =
                wait(cx, Selector::Pid(process.pid), if nonblocking { options | WNOHANG } else { options })?;
            if found.is_none() && nonblocking && options & WNOHANG == 0 {
                return Err(EAGAIN);
            }
            return answer(cx, a, found);
        }
        P_PGID if id == 0 => Selector::Group(group_of_caller(cx)?),
        _ => return Err(EINVAL),
    };
    let report = wait(cx, which, options)?;
    answer(cx, a, report)
}

fn answer(cx: &mut TaskCx, a: Args, report: Option<Report>) -> Result<u64> {
    if a.u64(2) != 0 {
        let mut bytes = [0; SigInfo::SIZE];
        if let Some(r) = &report {
            bytes = siginfo(r).encode();
        }
        // Only these fields belong to the answer; the rest of the record stays as it was.
        cx.copy_out(a.u64(2), &bytes[..12])?;
        cx.copy_out(a.u64(2).wrapping_add(16), &bytes[16..28])?;
    }
    if let (Some(r), true) = (&report, a.u64(4) != 0) {
        cx.copy_out(a.u64(4), &rusage(&r.usage).encode())?;
    }
    Ok(0)
}

fn siginfo(r: &Report) -> SigInfo {
    let (code, status) = r.change.code_and_status();
    let fields = SigFields::Chld { pid: r.pid, uid: r.uid, status, utime: 0, stime: 0 };
    SigInfo::new(Signal::SIGCHLD, code, fields)
}
