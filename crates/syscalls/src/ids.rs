//! Process, thread, group, session and user ids: what tells them and setpgid, setsid.

use abi::nr;
use kernel::{
    Result,
    task::{TaskCx, groups},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_GETPID, "getpid", |cx, _| pid(cx.task.pid())),
    Row::new(nr::SYS_GETTID, "gettid", |cx, _| pid(cx.task.tid())),
    Row::new(nr::SYS_GETPPID, "getppid", |cx, _| pid(cx.machine().tree.ppid(cx.task.pid()))),
    Row::new(nr::SYS_GETUID, "getuid", |cx, _| Ok(u64::from(cx.cred().uid))),
    Row::new(nr::SYS_GETEUID, "geteuid", |cx, _| Ok(u64::from(cx.cred().euid))),
    Row::new(nr::SYS_GETGID, "getgid", |cx, _| Ok(u64::from(cx.cred().gid))),
    Row::new(nr::SYS_GETEGID, "getegid", |cx, _| Ok(u64::from(cx.cred().egid))),
    Row::new(nr::SYS_GETPGRP, "getpgrp", |cx, _| pid(groups::ids_of(cx, 0)?.0)),
    Row::new(nr::SYS_GETPGID, "getpgid", |cx, a| pid(groups::ids_of(cx, a.i32(0))?.0)),
    Row::new(nr::SYS_GETSID, "getsid", |cx, a| pid(groups::ids_of(cx, a.i32(0))?.1)),
    Row::new(nr::SYS_SETPGID, "setpgid", setpgid),
    Row::new(nr::SYS_SETSID, "setsid", |cx, _| pid(groups::setsid(cx)?)),
];

fn pid(p: i32) -> Result<u64> {
    Ok(u64::from(p.cast_unsigned()))
}

fn setpgid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    groups::setpgid(cx, a.i32(0), a.i32(1))?;
    Ok(0)
}
