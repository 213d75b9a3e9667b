//! Process descriptors: pidfd_open, pidfd_send_signal, pidfd_getfd.

use abi::{
    SigInfo, Signal,
    cap::CAP_SYS_PTRACE,
    errno::{EBADF, EINVAL, EPERM, ESRCH},
    nr,
    sched::PIDFD_NONBLOCK,
    signal::SI_TKILL,
};
use kernel::{
    Result,
    signal::{may_signal, try_send_to_process},
    task::{TaskCx, pidfd},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_PIDFD_OPEN, "pidfd_open", pidfd_open).partial("no PIDFD_THREAD"),
    Row::new(nr::SYS_PIDFD_SEND_SIGNAL, "pidfd_send_signal", pidfd_send_signal),
    Row::new(nr::SYS_PIDFD_GETFD, "pidfd_getfd", pidfd_getfd),
];

fn pidfd_open(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (pid, flags) = (a.i32(0), a.u32(1));
    if flags & !PIDFD_NONBLOCK != 0 || pid <= 0 {
        return Err(EINVAL);
    }
    let process = match cx.machine().tree.process(pid) {
        Some(p) => p,
        // A thread that leads no process.
        None if cx.machine().tree.task(pid).is_some() => return Err(EINVAL),
        None => return Err(ESRCH),
    };
    let fd = pidfd::open(cx, process, flags & PIDFD_NONBLOCK != 0)?;
    Ok(u64::from(fd.cast_unsigned()))
}

fn pidfd_send_signal(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u32(3) != 0 {
        return Err(EINVAL);
    }
    let process = pidfd::process_to_signal(cx, a.i32(0))?;
    let s = if a.i32(1) == 0 { None } else { Some(Signal::check(a.i32(1))?) };
    let info = match (a.u64(2), s) {
        (0, Some(s)) => Some(SigInfo::user(s, cx.task.pid(), cx.cred().uid)),
        (0, None) => None,
        (addr, _) => {
            let info = SigInfo::decode(&cx.read_array(addr)?);
            if info.signo != a.i32(1) {
                return Err(EINVAL);
            }
            if process.pid != cx.task.pid() && (info.code >= 0 || info.code == SI_TKILL) {
                return Err(EPERM);
            }
            Some(info)
        }
    };
    may_signal(cx, &process, s)?;
    if let (Some(_), Some(info)) = (s, info) {
        try_send_to_process(&process, info)?;
    }
    Ok(0)
}

fn pidfd_getfd(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u32(2) != 0 {
        return Err(EINVAL);
    }
    let (process, _) = pidfd::process_of(cx, a.i32(0))?;
    let task = process.threads().into_iter().next().ok_or(ESRCH)?;
    let (me, it) = (cx.cred(), task.cred());
    let same = [it.uid, it.euid, it.suid].iter().all(|u| *u == me.fsuid)
        && [it.gid, it.egid, it.sgid].iter().all(|g| *g == me.fsgid);
    if !(same && process.state.lock().dumpable == 1 || me.has(CAP_SYS_PTRACE)) {
        return Err(EPERM);
    }
    let file = task.files().ok_or(ESRCH)?.get(a.i32(1)).map_err(|_| EBADF)?;
    let fd = cx.files.install(&cx.task, file, true)?;
    Ok(u64::from(fd.cast_unsigned()))
}
