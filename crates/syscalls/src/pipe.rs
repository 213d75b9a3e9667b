//! pipe, pipe2.

use std::sync::Arc;

use abi::{OpenFlags, errno::EINVAL, nr};
use kernel::{
    Result,
    task::TaskCx,
    vfs::{
        fdtable,
        file::{File, FileOps},
        pipe::Pipe,
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] =
    &[Row::new(nr::SYS_PIPE, "pipe", pipe), Row::new(nr::SYS_PIPE2, "pipe2", pipe2)];

fn pipe(cx: &mut TaskCx, a: Args) -> Result<u64> {
    make(cx, a.u64(0), OpenFlags::empty())
}

fn pipe2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = OpenFlags::from_bits_retain(a.u32(1));
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT).contains(flags) {
        return Err(EINVAL);
    }
    make(cx, a.u64(0), flags)
}

fn make(cx: &mut TaskCx, addr: u64, flags: OpenFlags) -> Result<u64> {
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    let status = flags - OpenFlags::CLOEXEC;
    let pipe = Pipe::new();
    let (r, w) = pipe.clone().ends();
    let vfs = &cx.machine().vfs;
    let path = vfs.anon_path(cx.machine(), "pipe");
    vfs.own_anon(&path, &cx.task);
    // Opened again through /proc/PID/fd, the place leads to the same pipe.
    if let Ok(inode) = path.inode() {
        *inode.common().fifo.lock() = Some(Arc::downgrade(&pipe));
    }
    let task = cx.task.clone();
    let open = |ops: Arc<dyn FileOps>, access| File::new(ops, path.clone(), status | access);
    let read = cx.files.install(&task, open(r, OpenFlags::empty()), cloexec)?;
    let undo = |cx: &TaskCx, fd: i32| {
        if let Ok(f) = cx.files.remove(fd) {
            fdtable::close(&task, &cx.files, f);
        }
    };
    let write = match cx.files.install(&task, open(w, OpenFlags::WRONLY), cloexec) {
        Ok(fd) => fd,
        Err(e) => {
            undo(cx, read);
            return Err(e);
        }
    };
    let mut raw = [0; 8];
    raw[..4].copy_from_slice(&read.to_le_bytes());
    raw[4..].copy_from_slice(&write.to_le_bytes());
    if let Err(e) = cx.copy_out(addr, &raw) {
        undo(cx, read);
        undo(cx, write);
        return Err(e);
    }
    Ok(0)
}
