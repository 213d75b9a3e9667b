//! Reading and writing: read, write and their vectored and positioned kin, lseek, sendfile, copy_file_range.

use abi::{
    FileType,
    errno::{EBADF, EFAULT, EINVAL, EISDIR, EOPNOTSUPP, EOVERFLOW, ESPIPE, EXDEV},
    fs::{RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, RWF_NOWAIT, RWF_SYNC, SEEK_END},
    nr,
};
use kernel::{
    Result,
    task::{TaskCx, cx::MAX_RW, lent::After},
    vfs::rw::{self, Append},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_READ, "read", read),
    Row::new(nr::SYS_WRITE, "write", write),
    Row::new(nr::SYS_PREAD64, "pread64", pread64),
    Row::new(nr::SYS_PWRITE64, "pwrite64", pwrite64),
    Row::new(nr::SYS_READV, "readv", readv),
    Row::new(nr::SYS_WRITEV, "writev", writev),
    Row::new(nr::SYS_PREADV, "preadv", preadv),
    Row::new(nr::SYS_PWRITEV, "pwritev", pwritev),
    Row::new(nr::SYS_PREADV2, "preadv2", preadv2),
    Row::new(nr::SYS_PWRITEV2, "pwritev2", pwritev2),
    Row::new(nr::SYS_LSEEK, "lseek", lseek),
    Row::new(nr::SYS_SENDFILE, "sendfile", sendfile),
    Row::new(nr::SYS_COPY_FILE_RANGE, "copy_file_range", copy_file_range),
];

/// Largest user address plus one: buffers beyond it are EFAULT even if nothing is moved.
const USER_END: u64 = 0x7fff_ffff_f000;

fn buffer(a: Args) -> Result<[(u64, usize); 1]> {
    let (addr, len) = (a.u64(1), a.u64(2));
    if i64::try_from(len).is_err() {
        return Err(EINVAL);
    }
    if addr.checked_add(len).is_none_or(|end| end > USER_END) {
        return Err(EFAULT);
    }
    Ok([(addr, (len as usize).min(MAX_RW))])
}

fn position(v: i64) -> Result<u64> {
    u64::try_from(v).map_err(|_| EINVAL)
}

fn read(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    if !file.readable() {
        return Err(EBADF);
    }
    let iov = buffer(a)?;
    let task = cx.task.clone();
    let n = rw::read(&task, &file, &mut cx.user_io(&iov))?;
    cx.lend(a.i32(0), &file, After::Reading { wanted: iov[0].1, short: n < iov[0].1 });
    cx.lend_endless(a.i32(0), &file);
    Ok(n as u64)
}

fn write(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    if !file.writable() {
        return Err(EBADF);
    }
    let iov = buffer(a)?;
    let task = cx.task.clone();
    let n = rw::write(&task, &file, &mut cx.user_io(&iov))?;
    cx.lend_endless(a.i32(0), &file);
    Ok(n as u64)
}

fn pread64(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let pos = position(a.i64(3))?;
    let file = cx.files.get_io(a.i32(0))?;
    let iov = buffer(a)?;
    let task = cx.task.clone();
    Ok(rw::pread(&task, &file, &mut cx.user_io(&iov), pos)? as u64)
}

fn pwrite64(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let pos = position(a.i64(3))?;
    let file = cx.files.get_io(a.i32(0))?;
    let iov = buffer(a)?;
    let task = cx.task.clone();
    Ok(rw::pwrite(&task, &file, &mut cx.user_io(&iov), pos, Append::AsOpened)? as u64)
}

/// Vectored reading; `pos` of `None` uses the file's own.
fn read_vector(cx: &mut TaskCx, a: Args, pos: Option<u64>) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    if !file.readable() {
        return Err(EBADF);
    }
    let iov = cx.read_iovecs(a.u64(1), a.u64(2))?;
    let task = cx.task.clone();
    let mut io = cx.user_io(&iov);
    let n = match pos {
        None => rw::read(&task, &file, &mut io)?,
        Some(pos) => rw::pread(&task, &file, &mut io, pos)?,
    };
    Ok(n as u64)
}

fn write_vector(cx: &mut TaskCx, a: Args, pos: Option<u64>, append: Append) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    if !file.writable() {
        return Err(EBADF);
    }
    let iov = cx.read_iovecs(a.u64(1), a.u64(2))?;
    let task = cx.task.clone();
    let mut io = cx.user_io(&iov);
    let n = match pos {
        None => rw::write(&task, &file, &mut io)?,
        Some(pos) => rw::pwrite(&task, &file, &mut io, pos, append)?,
    };
    Ok(n as u64)
}

fn readv(cx: &mut TaskCx, a: Args) -> Result<u64> {
    read_vector(cx, a, None)
}

fn writev(cx: &mut TaskCx, a: Args) -> Result<u64> {
    write_vector(cx, a, None, Append::AsOpened)
}

fn preadv(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let pos = position(a.i64(3))?;
    read_vector(cx, a, Some(pos))
}

fn pwritev(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let pos = position(a.i64(3))?;
    write_vector(cx, a, Some(pos), Append::AsOpened)
}

/// Position of preadv2 and pwritev2: -1 is the file's own.
fn position_or_own(v: i64) -> Result<Option<u64>> {
    if v == -1 { Ok(None) } else { position(v).map(Some) }
}

/// Runs `f`; with RWF_NOWAIT, EAGAIN where it would wait. Memory of files is at hand, or as near as the host has it.
fn patiently(cx: &mut TaskCx, flags: u32, f: impl FnOnce(&mut TaskCx) -> Result<u64>) -> Result<u64> {
    if flags & RWF_NOWAIT == 0 {
        return f(cx);
    }
    let task = cx.task.clone();
    task.without_waiting(|| f(cx))
}

/// Checks the flags of preadv2(2) and pwritev2(2); reads take those of writes, too, which mean nothing to them.
fn check_rw_flags(flags: u32) -> Result<()> {
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND | RWF_NOAPPEND | RWF_NOWAIT) != 0 {
        return Err(EOPNOTSUPP);
    }
    if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 { Err(EINVAL) } else { Ok(()) }
}

fn preadv2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    check_rw_flags(a.u32(5))?;
    let pos = position_or_own(a.i64(3))?;
    patiently(cx, a.u32(5), |cx| read_vector(cx, a, pos))
}

fn pwritev2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(5);
    check_rw_flags(flags)?;
    let pos = position_or_own(a.i64(3))?;
    let append = match flags & (RWF_APPEND | RWF_NOAPPEND) {
        RWF_APPEND => Append::Always,
        RWF_NOAPPEND => Append::Never,
        _ => Append::AsOpened,
    };
    let file = cx.files.get_io(a.i32(0))?;
    // The file's own position counts, or moves, although the bytes go elsewhere than it says with write(2).
    let n = match (pos, append) {
        (None, Append::Always) if !file.ops.is_stream() => {
            let n = write_vector(cx, a, Some(0), append)?;
            rw::seek(&file, 0, SEEK_END)?;
            n
        }
        (None, Append::Never) if !file.ops.is_stream() => {
            let at = *file.pos();
            let n = write_vector(cx, a, Some(at), append)?;
            *file.pos() = at + n;
            n
        }
        _ => patiently(cx, flags, |cx| write_vector(cx, a, pos, append))?,
    };
    if flags & (RWF_DSYNC | RWF_SYNC) != 0 {
        file.ops.sync(flags & RWF_SYNC == 0)?;
    }
    Ok(n)
}

fn lseek(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    let at = rw::seek(&file, a.i64(1), a.u32(2))?;
    if a.i64(1) == 0 && a.u32(2) == SEEK_END {
        cx.tell_end(a.i32(0), &file);
    }
    Ok(at)
}

fn sendfile(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let to = cx.files.get_io(a.i32(0))?;
    let from = cx.files.get_io(a.i32(1))?;
    if !from.readable() || !to.writable() {
        return Err(EBADF);
    }
    if from.ops.is_stream() {
        // Only files with pages can be sent from; a pipe needs splice(2).
        return Err(if a.u64(2) != 0 { ESPIPE } else { EINVAL });
    }
    if to.flags().contains(abi::OpenFlags::APPEND) {
        return Err(EINVAL);
    }
    let addr = a.u64(2);
    let mut pos = match addr {
        0 => None,
        addr => Some(position(cx.read_u64(addr)?.cast_signed())?),
    };
    let task = cx.task.clone();
    let len = a.usize(3).min(MAX_RW);
    let n = rw::transfer(&task, &from, pos.as_mut(), &to, None, len)?;
    if let Some(p) = pos {
        cx.write_u64(addr, p)?;
    }
    Ok(n as u64)
}

fn copy_file_range(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u32(5) != 0 {
        return Err(EINVAL);
    }
    let from = cx.files.get_io(a.i32(0))?;
    let to = cx.files.get_io(a.i32(2))?;
    let (inode_from, inode_to) = (from.path.inode()?.clone(), to.path.inode()?.clone());
    for i in [&inode_from, &inode_to] {
        match i.kind() {
            FileType::Regular => {}
            FileType::Directory => return Err(EISDIR),
            _ => return Err(EINVAL),
        }
    }
    if !from.readable() || !to.writable() || to.flags().contains(abi::OpenFlags::APPEND) {
        return Err(EBADF);
    }
    if inode_from.fs().type_name() != inode_to.fs().type_name() || from.ops.is_stream() || to.ops.is_stream()
    {
        return Err(EXDEV);
    }
    let mut place = |arg: usize| -> Result<Option<u64>> {
        match a.u64(arg) {
            0 => Ok(None),
            addr => Ok(Some(position(cx.read_u64(addr)?.cast_signed())?)),
        }
    };
    let (mut pos_in, mut pos_out) = (place(1)?, place(3)?);
    let len = a.usize(4).min(MAX_RW);
    let start_in = pos_in.unwrap_or_else(|| *from.pos());
    let start_out = pos_out.unwrap_or_else(|| *to.pos());
    let (end_in, end_out) = match (start_in.checked_add(len as u64), start_out.checked_add(len as u64)) {
        (Some(i), Some(o)) if o <= i64::MAX as u64 && i <= i64::MAX as u64 => (i, o),
        _ => return Err(EOVERFLOW),
    };
    if std::sync::Arc::ptr_eq(&inode_from, &inode_to) && start_in < end_out && start_out < end_in && len > 0 {
        return Err(EINVAL);
    }
    let task = cx.task.clone();
    let n = rw::transfer(&task, &from, pos_in.as_mut(), &to, pos_out.as_mut(), len)?;
    for (arg, pos) in [(1, pos_in), (3, pos_out)] {
        if let Some(p) = pos {
            cx.write_u64(a.u64(arg), p)?;
        }
    }
    Ok(n as u64)
}
