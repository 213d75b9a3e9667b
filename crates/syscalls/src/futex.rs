//! Futexes: futex, set_robust_list, get_robust_list.

use abi::{
    cap::CAP_SYS_PTRACE,
    errno::{EINVAL, EPERM, ESRCH},
    nr,
    sched::{FUTEX_CMP_REQUEUE, FUTEX_PRIVATE_FLAG},
};
use kernel::{
    Result,
    futex::{self, EndWord, FutexArgs},
    task::TaskCx,
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_FUTEX, "futex", futex).partial("priority is not inherited"),
    Row::new(nr::SYS_FUTEX_WAITV, "futex_waitv", waitv).partial("as the host has it, from Linux 5.16"),
    Row::new(nr::SYS_FUTEX_WAKE, "futex_wake", wake).partial("as the host has it, from Linux 6.7"),
    Row::new(nr::SYS_FUTEX_WAIT, "futex_wait", wait).partial("as the host has it, from Linux 6.7"),
    Row::new(nr::SYS_FUTEX_REQUEUE, "futex_requeue", requeue),
    Row::new(nr::SYS_SET_ROBUST_LIST, "set_robust_list", set_robust_list),
    Row::new(nr::SYS_GET_ROBUST_LIST, "get_robust_list", get_robust_list),
];

/// A futex of four bytes, in the flags of the later calls.
const FUTEX2_SIZE_U32: u32 = 2;

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

// Guest code calls the host itself for these, unless it is watched; one that comes here otherwise the host does not have.

fn waitv(cx: &mut TaskCx, a: Args) -> Result<u64> {
    futex::later(cx, nr::SYS_FUTEX_WAITV, all(a))
}

fn wake(cx: &mut TaskCx, a: Args) -> Result<u64> {
    futex::later(cx, nr::SYS_FUTEX_WAKE, all(a))
}

fn wait(cx: &mut TaskCx, a: Args) -> Result<u64> {
    futex::later(cx, nr::SYS_FUTEX_WAIT, all(a))
}

fn all(a: Args) -> [u64; 6] {
    std::array::from_fn(|i| a.u64(i))
}

/// Two records of `struct futex_waitv`: value, address, flags and a reserved word each.
fn requeue(cx: &mut TaskCx, a: Args) -> Result<u64> {
    const RECORD: u64 = 24;
    if a.u32(1) != 0 {
        return Err(EINVAL);
    }
    let waiter = |cx: &mut TaskCx, i: u64| {
        let at = a.u64(0).wrapping_add(i * RECORD);
        let value = cx.read_u64(at)?;
        let addr = cx.read_u64(at.wrapping_add(8))?;
        let flags = cx.read_u32(at.wrapping_add(16))?;
        if flags & !FUTEX_PRIVATE_FLAG != FUTEX2_SIZE_U32 || cx.read_u32(at.wrapping_add(20))? != 0 {
            return Err(EINVAL);
        }
        Ok((u32::try_from(value).map_err(|_| EINVAL)?, addr, flags & FUTEX_PRIVATE_FLAG))
    };
    let (expected, from, private) = waiter(cx, 0)?;
    let (_, to, other) = waiter(cx, 1)?;
    if private != other {
        return Err(EINVAL);
    }
    let args = FutexArgs {
        addr: from,
        op: FUTEX_CMP_REQUEUE | private,
        val: a.u32(2),
        timeout: u64::from(a.u32(3)),
        addr2: to,
        val3: expected,
    };
    futex::futex(cx, &args)
}

fn set_robust_list(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(1) != HEAD_LEN {
        return Err(EINVAL);
    }
    cx.task.at_end.lock().set(EndWord::RobustHead, a.u64(0));
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
    let head = task.at_end.lock().get(EndWord::RobustHead);
    cx.write_u64(a.u64(2), HEAD_LEN)?;
    cx.write_u64(a.u64(1), head)?;
    Ok(0)
}
