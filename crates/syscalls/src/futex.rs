//! Futexes: futex, set_robust_list, get_robust_list.

use std::sync::atomic::Ordering;

use abi::{
    cap::CAP_SYS_PTRACE,
    errno::{EINVAL, EPERM, ESRCH},
    nr,
};
use kernel::{
    Result,
    futex::{self, FutexArgs},
    task::TaskCx,
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_FUTEX, "futex", futex)
        .partial("no requeueing to priority-inheriting locks; priority is not inherited"),
    Row::new(nr::SYS_SET_ROBUST_LIST, "set_robust_list", set_robust_list),
    Row::new(nr::SYS_GET_ROBUST_LIST, "get_robust_list", get_robust_list),
];

/// Bytes of `struct robust_list_head`.
const HEAD_LEN: u64 = 24;

fn futex(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let args = FutexArgs {
        addr: a.u64(0),
        op: a.u32(1),
        val: a.u32(2),
        timeout: a.u64(3),
        addr2: a.u64(4),
        val3: a.u32(5),
    };
    futex::futex(cx, &args)
}

fn set_robust_list(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(1) != HEAD_LEN {
        return Err(EINVAL);
    }
    cx.task.robust_list.store(a.u64(0), Ordering::Relaxed);
    Ok(0)
}

fn get_robust_list(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let task = match a.i32(0) {
        0 => cx.task.clone(),
        tid => cx.machine().tree.task(tid).ok_or(ESRCH)?,
    };
    let (me, other) = (cx.cred(), task.cred());
    let same = other.uid == me.uid && other.euid == me.uid && other.suid == me.uid;
    if task.pid() != cx.task.pid() && !same && !me.has(CAP_SYS_PTRACE) {
        return Err(EPERM);
    }
    let head = task.robust_list.load(Ordering::Relaxed);
    cx.write_u64(a.u64(2), HEAD_LEN)?;
    cx.write_u64(a.u64(1), head)?;
    Ok(0)
}
