//! inotify_init1(2), inotify_add_watch, inotify_rm_watch.

use abi::{
    OpenFlags,
    errno::EINVAL,
    fs::{IN_CLOEXEC, IN_NONBLOCK},
    nr,
};
use kernel::{Result, task::TaskCx, vfs::notify::Inotify};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_INOTIFY_INIT, "inotify_init", init),
    Row::new(nr::SYS_INOTIFY_INIT1, "inotify_init1", init1),
    Row::new(nr::SYS_INOTIFY_ADD_WATCH, "inotify_add_watch", add_watch),
    Row::new(nr::SYS_INOTIFY_RM_WATCH, "inotify_rm_watch", rm_watch),
];

fn init(cx: &mut TaskCx, _: Args) -> Result<u64> {
    make(cx, 0)
}

fn init1(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u32(0) & !(IN_CLOEXEC | IN_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    make(cx, a.u32(0))
}

fn make(cx: &mut TaskCx, flags: u32) -> Result<u64> {
    let ops = Inotify::new(&cx.task)?;
    let status = OpenFlags::from_bits_retain(flags & IN_NONBLOCK);
    let file = cx.machine().vfs.anon_file(cx.machine(), "inotify", ops, status);
    Ok(cx.files.install(&cx.task, file, flags & IN_CLOEXEC != 0)? as u64)
}

fn add_watch(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    let path = cx.read_path(a.u64(1))?;
    Ok(Inotify::of(&file)?.add(&cx.task, &path, a.u32(2))? as u64)
}

fn rm_watch(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    Inotify::of(&file)?.remove(a.i32(1))?;
    Ok(0)
}
