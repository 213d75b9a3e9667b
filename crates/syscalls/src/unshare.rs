//! What tasks share and may part with: unshare, setns.

use std::sync::Arc;

use abi::{
    errno::{EBADF, EINVAL},
    nr,
    sched::*,
};
use kernel::{
    Result,
    ipc::sem::unshare_undo,
    task::{TaskCx, clone::check_namespaces},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_UNSHARE, "unshare", unshare).partial("no namespaces"),
    Row::new(nr::SYS_SETNS, "setns", setns).partial("as a kernel without namespaces"),
];

/// Flags that unshare(2) knows, namespaces apart.
const PLAIN: u64 = CLONE_THREAD | CLONE_FS | CLONE_SIGHAND | CLONE_VM | CLONE_FILES | CLONE_SYSVSEM;
const NAMESPACES: u64 = CLONE_NEWNS
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWNET
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWCGROUP
    | CLONE_NEWTIME;

fn unshare(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let mut flags = a.u64(0);
    if flags & !(PLAIN | NAMESPACES) != 0 {
        return Err(EINVAL);
    }
    check_namespaces(cx, flags)?;
    // What shares memory shares handlers, and what shares handlers is a thread.
    if flags & CLONE_VM != 0 {
        flags |= CLONE_SIGHAND;
    }
    if flags & CLONE_SIGHAND != 0 {
        flags |= CLONE_THREAD;
    }
    let process = &cx.task.process;
    let handlers_are_shared = || Arc::strong_count(&process.actions.read()) > 1;
    // Held by the task twice: in its context and in what others see of it.
    if flags & CLONE_THREAD != 0 && process.threads().len() > 1
        || flags & CLONE_SIGHAND != 0 && handlers_are_shared()
        || flags & CLONE_VM != 0 && Arc::strong_count(&cx.mm) > 2
    {
        return Err(EINVAL);
    }
    if flags & CLONE_FS != 0 {
        let own = cx.fs().fork();
        let old = std::mem::replace(&mut *cx.task.fs.write(), own);
        drop(old);
    }
    if flags & CLONE_FILES != 0 {
        cx.unshare_files();
    }
    if flags & CLONE_SYSVSEM != 0 {
        unshare_undo(&cx.task);
    }
    Ok(0)
}

/// There is no namespace to enter: whatever descriptor is given, it is of none.
fn setns(cx: &mut TaskCx, a: Args) -> Result<u64> {
    cx.files.get(a.i32(0)).map_err(|_| EBADF)?;
    Err(EINVAL)
}
