//! New tasks: clone, clone3, fork, vfork, set_tid_address.

use abi::{
    errno::{E2BIG, EINVAL},
    nr,
    sched::{
        CLONE_ARGS_SIZE_VER0, CLONE_DETACHED, CLONE_INTO_CGROUP, CLONE_PARENT_SETTID, CLONE_PIDFD,
        CLONE_VFORK, CLONE_VM, CSIGNAL, CloneArgs as Record,
    },
    signal::Signal,
};
use kernel::{
    Result,
    futex::EndWord,
    task::{
        TaskCx,
        clone::{CloneArgs, clone as clone_task},
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_CLONE, "clone", clone).always().partial("no namespaces"),
    Row::new(nr::SYS_CLONE3, "clone3", clone3).always().partial("no namespaces, no cgroup"),
    Row::new(nr::SYS_FORK, "fork", fork).always(),
    Row::new(nr::SYS_VFORK, "vfork", vfork).always(),
    Row::new(nr::SYS_SET_TID_ADDRESS, "set_tid_address", set_tid_address),
];

/// Most namespaces of process ids inside each other (Linux's).
const MAX_PID_NS_LEVEL: u64 = 32;

fn start(cx: &mut TaskCx, args: &CloneArgs) -> Result<u64> {
    clone_task(cx, args).map(|tid| u64::from(tid.cast_unsigned()))
}

fn clone(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = u64::from(a.u32(0));
    // The old call has no pidfd argument of its own: the parent's thread id goes there.
    if flags & CLONE_PIDFD != 0 && flags & (CLONE_DETACHED | CLONE_PARENT_SETTID) != 0 {
        return Err(EINVAL);
    }
    let args = CloneArgs {
        flags: flags & !CSIGNAL,
        exit_signal: (flags & CSIGNAL) as u32,
        stack: a.u64(1),
        parent_tid: a.u64(2),
        child_tid: a.u64(3),
        tls: a.u64(4),
        pidfd: a.u64(2),
        wanted_tid: None,
    };
    start(cx, &args)
}

fn clone3(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let size = a.usize(1);
    if size > 4096 {
        return Err(E2BIG);
    }
    if size < CLONE_ARGS_SIZE_VER0 {
        return Err(EINVAL);
    }
    let mut bytes = vec![0; size];
    cx.copy_in(a.u64(0), &mut bytes)?;
    if bytes.iter().skip(Record::SIZE).any(|b| *b != 0) {
        return Err(E2BIG);
    }
    let mut known = [0; Record::SIZE];
    let n = size.min(Record::SIZE);
    known[..n].copy_from_slice(&bytes[..n]);
    let r = Record::decode(&known);
    let signal_ok = r.exit_signal == 0 || i32::try_from(r.exit_signal).ok().and_then(Signal::new).is_some();
    if r.flags & (CSIGNAL | CLONE_DETACHED) != 0
        || r.flags >= CLONE_INTO_CGROUP << 1
        || r.flags & CLONE_PIDFD != 0 && r.flags & CLONE_PARENT_SETTID != 0 && r.pidfd == r.parent_tid
        || !signal_ok
        || (r.stack == 0) != (r.stack_size == 0)
        || (r.set_tid == 0) != (r.set_tid_size == 0)
        || r.set_tid_size > MAX_PID_NS_LEVEL
        || r.flags & (abi::sched::CLONE_THREAD | abi::sched::CLONE_PARENT) != 0 && r.exit_signal != 0
    {
        return Err(EINVAL);
    }
    let wanted_tid = match r.set_tid_size {
        0 => None,
        n => {
            let mut ids = vec![0; n as usize * 4];
            cx.copy_in(r.set_tid, &mut ids)?;
            // One for each namespace of process ids, from the inner one; there is one.
            if n > 1 {
                return Err(EINVAL);
            }
            Some(i32::from_le_bytes([ids[0], ids[1], ids[2], ids[3]]))
        }
    };
    let args = CloneArgs {
        flags: r.flags,
        exit_signal: r.exit_signal as u32,
        stack: r.stack.checked_add(r.stack_size).ok_or(EINVAL)?,
        tls: r.tls,
        parent_tid: r.parent_tid,
        child_tid: r.child_tid,
        pidfd: r.pidfd,
        wanted_tid,
    };
    start(cx, &args)
}

fn fork(cx: &mut TaskCx, _: Args) -> Result<u64> {
    start(cx, &CloneArgs { exit_signal: Signal::SIGCHLD.raw().cast_unsigned(), ..CloneArgs::default() })
}

fn vfork(cx: &mut TaskCx, _: Args) -> Result<u64> {
    let exit_signal = Signal::SIGCHLD.raw().cast_unsigned();
    start(cx, &CloneArgs { flags: CLONE_VM | CLONE_VFORK, exit_signal, ..CloneArgs::default() })
}

fn set_tid_address(cx: &mut TaskCx, a: Args) -> Result<u64> {
    cx.task.at_end.lock().set(EndWord::ClearTid, a.u64(0));
    Ok(u64::from(cx.task.tid().cast_unsigned()))
}
