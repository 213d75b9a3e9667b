//! New programs: execve, execveat.

use abi::{
    errno::EINVAL,
    fs::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW},
    nr,
};
use kernel::{
    Result,
    task::{
        TaskCx,
        exec::{self, ExecRequest},
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] =
    &[Row::new(nr::SYS_EXECVE, "execve", execve), Row::new(nr::SYS_EXECVEAT, "execveat", execveat)];

fn run(cx: &mut TaskCx, dirfd: i32, path: u64, argv: u64, envp: u64, at_flags: u32) -> Result<u64> {
    let path = cx.read_path(path)?;
    let limit = exec::limit(&cx.task);
    let [args, env] = exec::read_strings(cx, [argv, envp], path.len() as u64 + 1, limit)?;
    exec::exec(cx, ExecRequest { dirfd, path: &path, at_flags, args, env })?;
    Ok(0)
}

fn execve(cx: &mut TaskCx, a: Args) -> Result<u64> {
    run(cx, AT_FDCWD, a.u64(0), a.u64(1), a.u64(2), 0)
}

fn execveat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(4);
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(EINVAL);
    }
    run(cx, a.i32(0), a.u64(1), a.u64(2), a.u64(3), flags)
}
