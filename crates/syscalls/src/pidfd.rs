//! Process descriptors: pidfd_open, pidfd_send_signal, pidfd_getfd.

use abi::{
    SigInfo, Signal,
    cap::CAP_SYS_PTRACE,
    errno::{EBADF, EINVAL, ENOENT, EPERM, ESRCH},
    nr,
    sched::{PIDFD_NONBLOCK, PIDFD_THREAD},
    signal::SI_TKILL,
};
use kernel::{
    Result,
    signal::{self, may_signal, try_send_to_process, try_send_to_task},
    task::{
        TaskCx,
        pidfd::{self, Target},
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_PIDFD_OPEN, "pidfd_open", pidfd_open),
    Row::new(nr::SYS_PIDFD_SEND_SIGNAL, "pidfd_send_signal", pidfd_send_signal),
    Row::new(nr::SYS_PIDFD_GETFD, "pidfd_getfd", pidfd_getfd),
];

fn pidfd_open(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (pid, flags) = (a.i32(0), a.u32(1));
    if flags & !(PIDFD_NONBLOCK | PIDFD_THREAD) != 0 || pid <= 0 {
        return Err(EINVAL);
    }
    let nonblocking = flags & PIDFD_NONBLOCK != 0;
    if flags & PIDFD_THREAD != 0 {
        let task = cx.machine().tree.task(pid).ok_or(ESRCH)?;
        let fd = pidfd::open(cx, task.process.clone(), Some(task), nonblocking)?;
        return Ok(u64::from(fd.cast_unsigned()));
    }
    let process = match cx.machine().tree.process(pid) {
        Some(p) => p,
        // A thread that leads no process.
        None if cx.machine().tree.task(pid).is_some() => return Err(ENOENT),
        None => return Err(ESRCH),
    };
    let fd = pidfd::open(cx, process, None, nonblocking)?;
    Ok(u64::from(fd.cast_unsigned()))
}

// Flags of pidfd_send_signal(2): whom a signal goes to.
const SIGNAL_THREAD: u32 = 1;
const SIGNAL_THREAD_GROUP: u32 = 2;
const SIGNAL_PROCESS_GROUP: u32 = 4;

fn pidfd_send_signal(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(3);
    if !matches!(flags, 0 | SIGNAL_THREAD | SIGNAL_THREAD_GROUP | SIGNAL_PROCESS_GROUP) {
        return Err(EINVAL);
    }
    let target = pidfd::target_of(cx, a.i32(0))?;
    let s = if a.i32(1) == 0 { None } else { Some(Signal::check(a.i32(1))?) };
    let process = match &target {
        Target::Process(p) => p.clone(),
        Target::Thread(t) => t.process.clone(),
    };
    // A thread is meant where the flags or, without any, the descriptor say so.
    let thread = match target {
        Target::Thread(t) if matches!(flags, 0 | SIGNAL_THREAD) => Some(t),
        Target::Process(p) if flags == SIGNAL_THREAD => Some(cx.machine().tree.task(p.pid).ok_or(ESRCH)?),
        _ => None,
    };
    let (me, uid) = (cx.task.pid(), cx.cred().uid);
    let info = match (a.u64(2), s) {
        (0, Some(s)) if thread.is_some() => Some(SigInfo::tkill(s, me, uid)),
        (0, Some(s)) => Some(SigInfo::user(s, me, uid)),
        (0, None) => None,
        (addr, _) => {
            let info = SigInfo::decode(&cx.read_array(addr)?);
            if info.signo != a.i32(1) {
                return Err(EINVAL);
            }
            let to_group = flags == SIGNAL_PROCESS_GROUP;
            if (process.pid != me || to_group) && (info.code >= 0 || info.code == SI_TKILL) {
                return Err(EPERM);
            }
            Some(info)
        }
    };
    if flags == SIGNAL_PROCESS_GROUP {
        // The group that has its id, not the one that it is in.
        return signal::kill_group(cx, process.pid, s, info).map(|()| 0);
    }
    may_signal(cx, &process, s)?;
    match (thread, s, info) {
        (Some(t), Some(_), Some(info)) => try_send_to_task(&t, info)?,
        (None, Some(_), Some(info)) => try_send_to_process(&process, info)?,
        _ => {}
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
    // It has two owners now, and is lent no more.
    task.recall_file();
    if let Some(count) = file.ops.size_count() {
        cx.machine().host.raise(count);
    }
    let fd = cx.files.install(&cx.task, file, true)?;
    Ok(u64::from(fd.cast_unsigned()))
}
