//! Listing directories: getdents, getdents64.

use abi::{
    FileType,
    errno::{EINVAL, ENOENT, ENOTDIR},
    nr,
    stat::{push_dirent, push_dirent64},
};
use kernel::{Result, task::TaskCx};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_GETDENTS, "getdents", getdents),
    Row::new(nr::SYS_GETDENTS64, "getdents64", getdents64),
];

type Push = fn(&mut Vec<u8>, usize, u64, i64, u8, &[u8]) -> bool;

/// Most bytes filled at once, whatever the guest's buffer.
const MAX_FILL: usize = 64 << 10;

fn list(cx: &mut TaskCx, a: Args, push: Push) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    if file.path.inode()?.kind() != FileType::Directory {
        return Err(ENOTDIR);
    }
    // Not even "." and ".." are left of a removed one; readdir(3) takes this for the end.
    if file.path.dentry.is_removed() {
        return Err(ENOENT);
    }
    let max = (a.u32(2) as usize).min(MAX_FILL);
    let mut out = Vec::with_capacity(max.min(32 << 10));
    let mut full = false;
    let task = cx.task.clone();
    let start;
    {
        let mut pos = file.pos();
        start = *pos;
        cx.lists(&file, start == 0);
        let new = file.ops.read_dir(&file, &task, start, &mut |name, ino, kind, next| {
            full = !push(&mut out, max, ino, next.cast_signed(), kind, name);
            if !full {
                cx.listed(name);
            }
            !full
        })?;
        *pos = new;
    }
    if task.machine.vfs.is_watched() {
        kernel::vfs::events::accessed(&file);
    }
    if out.is_empty() {
        // Not even one entry fits, or there are no more.
        return if full { Err(EINVAL) } else { Ok(0) };
    }
    if let Err(e) = cx.copy_out(a.u64(1), &out) {
        // Nothing was listed.
        *file.pos() = start;
        return Err(e);
    }
    Ok(out.len() as u64)
}

fn getdents(cx: &mut TaskCx, a: Args) -> Result<u64> {
    list(cx, a, push_dirent)
}

fn getdents64(cx: &mut TaskCx, a: Args) -> Result<u64> {
    list(cx, a, push_dirent64)
}
