//! Descriptors come and go: open, openat, openat2, creat, close, close_range, dup, dup2, dup3.

use std::sync::Arc;

use abi::{
    OpenFlags,
    errno::{E2BIG, EAGAIN, EBADF, EINVAL},
    fs::{
        AT_FDCWD, CLOSE_RANGE_CLOEXEC, CLOSE_RANGE_UNSHARE, O_ACCMODE, O_CREAT, O_DIRECTORY, O_PATH,
        O_TMPFILE, O_TRUNC, O_WRONLY, RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT,
        RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, S_IALLUGO,
    },
    nr,
    stat::OpenHow,
};
use kernel::{
    Result,
    task::{TaskCx, lent::After},
    vfs::{
        LookupFlags,
        fdtable::{self, RLIMIT_NOFILE},
        file::File,
        open::open_with,
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_OPEN, "open", open),
    Row::new(nr::SYS_OPENAT, "openat", openat),
    Row::new(nr::SYS_OPENAT2, "openat2", openat2),
    Row::new(nr::SYS_CREAT, "creat", creat),
    Row::new(nr::SYS_CLOSE, "close", close),
    Row::new(nr::SYS_CLOSE_RANGE, "close_range", close_range),
    Row::new(nr::SYS_DUP, "dup", dup),
    Row::new(nr::SYS_DUP2, "dup2", dup2),
    Row::new(nr::SYS_DUP3, "dup3", dup3),
];

fn open_path(cx: &mut TaskCx, dirfd: i32, path: u64, flags: u32, mode: u32, how: LookupFlags) -> Result<u64> {
    let bits = OpenFlags::from_bits_truncate(flags);
    if flags & O_TMPFILE & !O_DIRECTORY != 0
        && (flags & O_TMPFILE != O_TMPFILE || flags & O_ACCMODE == 0 || flags & O_CREAT != 0)
    {
        return Err(EINVAL);
    }
    if flags & O_PATH == 0 && flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY {
        return Err(EINVAL);
    }
    let path = cx.read_path(path)?;
    let file = open_with(&cx.task, dirfd, &path, bits, mode, how)?;
    let fd = cx.files.install(&cx.task, file.clone(), bits.contains(OpenFlags::CLOEXEC))?;
    cx.lend(fd, &file, After::Opening);
    Ok(fd as u64)
}

fn open(cx: &mut TaskCx, a: Args) -> Result<u64> {
    open_path(cx, AT_FDCWD, a.u64(0), a.u32(1), a.u32(2), LookupFlags::empty())
}

fn openat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    open_path(cx, a.i32(0), a.u64(1), a.u32(2), a.u32(3), LookupFlags::empty())
}

fn creat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    open_path(cx, AT_FDCWD, a.u64(0), O_CREAT | O_TRUNC | O_WRONLY, a.u32(1), LookupFlags::empty())
}

fn openat2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    const KNOWN: u64 = RESOLVE_NO_XDEV
        | RESOLVE_NO_MAGICLINKS
        | RESOLVE_NO_SYMLINKS
        | RESOLVE_BENEATH
        | RESOLVE_IN_ROOT
        | RESOLVE_CACHED;
    let size = a.usize(3);
    if size < OpenHow::SIZE {
        return Err(EINVAL);
    }
    if size > 4096 {
        return Err(E2BIG);
    }
    let how = OpenHow::decode(&cx.read_array(a.u64(2))?);
    let mut rest = vec![0; size - OpenHow::SIZE];
    cx.copy_in(a.u64(2) + OpenHow::SIZE as u64, &mut rest)?;
    if rest.iter().any(|b| *b != 0) {
        return Err(E2BIG);
    }
    let flags = u32::try_from(how.flags).map_err(|_| EINVAL)?;
    // Unlike openat, nothing is ignored here.
    if flags & !(OpenFlags::all().bits() | O_ACCMODE) != 0 || how.resolve & !KNOWN != 0 {
        return Err(EINVAL);
    }
    let creates = flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE;
    if how.mode & !u64::from(S_IALLUGO) != 0 || !creates && how.mode != 0 {
        return Err(EINVAL);
    }
    const WITH_PATH: OpenFlags =
        OpenFlags::PATH.union(OpenFlags::DIRECTORY).union(OpenFlags::NOFOLLOW).union(OpenFlags::CLOEXEC);
    if flags & O_PATH != 0 && flags & !WITH_PATH.bits() != 0 {
        return Err(EINVAL);
    }
    if how.resolve & RESOLVE_BENEATH != 0 && how.resolve & RESOLVE_IN_ROOT != 0 {
        return Err(EINVAL);
    }
    let lookup = LookupFlags::from_resolve(how.resolve);
    if lookup.contains(LookupFlags::CACHED) && (creates || flags & O_TRUNC != 0) {
        return Err(EAGAIN);
    }
    open_path(cx, a.i32(0), a.u64(1), flags, how.mode as u32, lookup)
}

/// Does what closing means for a file taken out of the table.
fn finish_close(cx: &TaskCx, file: Arc<File>) {
    fdtable::close(&cx.task, &cx.files, file);
}

fn close(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let fd = a.i32(0);
    let file = cx.files.remove(fd)?;
    cx.close(fd, file);
    Ok(0)
}

fn close_range(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (first, last, flags) = (a.u32(0), a.u32(1), a.u32(2));
    if flags & !(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE) != 0 || first > last {
        return Err(EINVAL);
    }
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        cx.unshare_files();
    }
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        cx.files.cloexec_range(first, last);
    } else {
        for f in cx.files.take_range(first, last) {
            finish_close(cx, f);
        }
    }
    Ok(0)
}

fn limit(cx: &TaskCx) -> u64 {
    cx.task.process.rlimit(RLIMIT_NOFILE)
}

fn dup(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get(a.i32(0))?;
    Ok(cx.files.alloc(0, limit(cx), file, false)? as u64)
}

fn dup_to(cx: &mut TaskCx, file: Arc<File>, new: i32, cloexec: bool) -> Result<u64> {
    if let Some(old) = cx.files.set(new, limit(cx), file, cloexec)? {
        finish_close(cx, old);
    }
    Ok(new as u64)
}

fn dup2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (old, new) = (a.i32(0), a.i32(1));
    let file = cx.files.get(old)?;
    if old == new {
        return Ok(new as u64);
    }
    dup_to(cx, file, new, false)
}

fn dup3(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (old, new, flags) = (a.i32(0), a.i32(1), a.u32(2));
    if flags & !abi::fs::O_CLOEXEC != 0 || old == new {
        return Err(EINVAL);
    }
    if new < 0 {
        return Err(EBADF);
    }
    let file = cx.files.get(old)?;
    dup_to(cx, file, new, flags != 0)
}
