//! Reading and writing open files: positions, O_APPEND, limits.

use std::sync::{Arc, atomic::Ordering};

use abi::{
    FileType, OpenFlags,
    errno::{EBADF, EFBIG, EINVAL, EISDIR, ENXIO, EOVERFLOW, ESPIPE},
    fs::{SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET},
};

use super::{
    events,
    file::{File, raise_sigxfsz},
};
use crate::{
    error::Result,
    io::{BufSink, BufSource, Sink, Source},
    task::{Task, process::RLIM_INFINITY},
};

const RLIMIT_FSIZE: usize = 1;

fn is_dir(file: &File) -> bool {
    file.path.dentry.inode_ref().is_some_and(|i| i.kind() == FileType::Directory)
}

/// EINVAL unless all of the range lies at offsets that there can be.
fn check_range(pos: u64, len: usize) -> Result<()> {
    let end = pos.checked_add(len as u64).ok_or(EINVAL)?;
    if i64::try_from(end).is_err() { Err(EINVAL) } else { Ok(()) }
}

fn read_at(task: &Task, file: &File, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
    check_range(pos, dst.remaining())?;
    match file.ops.read(file, task, dst, pos) {
        Err(EINVAL) if is_dir(file) => Err(EISDIR),
        other => other,
    }
}

fn count(task: &Task, writing: usize, n: usize) {
    task.stats.io[writing].fetch_add(n as u64, Ordering::Relaxed);
    task.stats.io[2 + writing].fetch_add(1, Ordering::Relaxed);
}

fn done_reading(task: &Task, file: &File, n: usize) -> usize {
    count(task, 0, n);
    if n > 0 && task.machine.vfs.is_watched() {
        events::accessed(file);
    }
    n
}

/// read(2).
pub fn read(task: &Task, file: &File, dst: &mut dyn Sink) -> Result<usize> {
    if !file.readable() {
        return Err(EBADF);
    }
    let n = if file.ops.is_stream() {
        file.ops.read(file, task, dst, 0)?
    } else {
        let mut pos = file.pos();
        let n = read_at(task, file, dst, *pos)?;
        *pos += n as u64;
        n
    };
    Ok(done_reading(task, file, n))
}

/// pread64(2).
pub fn pread(task: &Task, file: &File, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
    if !file.readable() {
        return Err(EBADF);
    }
    if let Some(s) = file.ops.seekable() {
        return s.read_at(dst, pos);
    }
    if file.ops.is_stream() {
        return Err(ESPIPE);
    }
    let n = read_at(task, file, dst, pos)?;
    Ok(done_reading(task, file, n))
}

/// A source cut short.
struct Limited<'a> {
    inner: &'a mut dyn Source,
    left: usize,
}

impl Source for Limited<'_> {
    fn remaining(&self) -> usize {
        self.inner.remaining().min(self.left)
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.left);
        let got = self.inner.take(&mut buf[..n])?;
        self.left -= got;
        Ok(got)
    }
    fn take_shared(&mut self, mem: &dyn hal::SharedMem, offset: u64, len: usize) -> Result<usize> {
        let got = self.inner.take_shared(mem, offset, len.min(self.left))?;
        self.left -= got;
        Ok(got)
    }
    fn take_file(&mut self, file: &dyn hal::HostFile, offset: u64, len: usize) -> Result<usize> {
        let got = self.inner.take_file(file, offset, len.min(self.left))?;
        self.left -= got;
        Ok(got)
    }
}

/// Writes at a position; RLIMIT_FSIZE and the largest offset cut a write of a regular file short.
fn write_at(task: &Task, file: &File, src: &mut dyn Source, pos: u64) -> Result<usize> {
    let offered = src.remaining();
    check_range(pos, offered)?;
    let regular = file.path.dentry.inode_ref().filter(|i| i.kind() == FileType::Regular);
    let (Some(inode), true) = (regular, offered > 0) else {
        return file.ops.write(file, task, src, pos);
    };
    super::permission::drop_capabilities(&**inode)?;
    let limit = task.process.rlimit(RLIMIT_FSIZE);
    if limit != RLIM_INFINITY && pos >= limit {
        raise_sigxfsz(task);
        return Err(EFBIG);
    }
    let room = limit.min(i64::MAX as u64).saturating_sub(pos);
    if room == 0 {
        return Err(EFBIG);
    }
    if offered as u64 > room {
        let mut cut = Limited { inner: src, left: usize::try_from(room).unwrap_or(usize::MAX) };
        return file.ops.write(file, task, &mut cut, pos);
    }
    file.ops.write(file, task, src, pos)
}

/// Writes where O_APPEND says; the position after it.
fn append(task: &Task, file: &File, src: &mut dyn Source) -> Result<(usize, u64)> {
    let inode = file.path.inode()?;
    let _appending = inode.common().append.lock();
    let end = file.ops.size().or_else(|_| inode.attr().map(|a| a.size))?;
    let n = write_at(task, file, src, end)?;
    Ok((n, end + n as u64))
}

fn done_writing(task: &Task, file: &File, n: usize) -> usize {
    count(task, 1, n);
    if n > 0 && task.machine.vfs.is_watched() {
        events::modified(file);
    }
    n
}

/// write(2).
pub fn write(task: &Task, file: &File, src: &mut dyn Source) -> Result<usize> {
    if !file.writable() {
        return Err(EBADF);
    }
    let n = if file.ops.is_stream() {
        file.ops.write(file, task, src, 0)?
    } else {
        let mut pos = file.pos();
        if file.flags().contains(OpenFlags::APPEND) && is_regular(file) {
            let (n, end) = append(task, file, src)?;
            *pos = end;
            n
        } else {
            let n = write_at(task, file, src, *pos)?;
            *pos += n as u64;
            n
        }
    };
    Ok(done_writing(task, file, n))
}

fn is_regular(file: &File) -> bool {
    file.path.dentry.inode_ref().is_some_and(|i| i.kind() == FileType::Regular)
}

/// pwrite64(2). A file opened with O_APPEND, or `to_end`, takes the bytes at its end.
pub fn pwrite(task: &Task, file: &File, src: &mut dyn Source, pos: u64, to_end: Append) -> Result<usize> {
    if !file.writable() {
        return Err(EBADF);
    }
    if let Some(s) = file.ops.seekable() {
        return s.write_at(src, pos);
    }
    if file.ops.is_stream() {
        return Err(ESPIPE);
    }
    let at_end = match to_end {
        Append::Always => true,
        Append::AsOpened => file.flags().contains(OpenFlags::APPEND),
        Append::Never => false,
    };
    let n =
        if at_end && is_regular(file) { append(task, file, src)?.0 } else { write_at(task, file, src, pos)? };
    Ok(done_writing(task, file, n))
}

/// Does a positioned write go to the end?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    AsOpened,
    Always,
    Never,
}

/// lseek(2).
pub fn seek(file: &File, offset: i64, whence: u32) -> Result<u64> {
    if file.flags().contains(OpenFlags::PATH) {
        return Err(EBADF);
    }
    if let Some(s) = file.ops.seekable() {
        return s.seek(offset, whence);
    }
    if file.ops.is_stream() {
        return Err(ESPIPE);
    }
    if file.ops.stays_at_start() && whence <= SEEK_HOLE {
        *file.pos() = 0;
        return Ok(0);
    }
    if file.ops.has_no_end() && whence > SEEK_CUR {
        return Err(EINVAL);
    }
    let size = || file.ops.size().or_else(|_| file.path.inode()?.attr().map(|a| a.size));
    let mut pos = file.pos();
    let new = match whence {
        SEEK_SET => offset,
        SEEK_CUR => i64::try_from(*pos).ok().and_then(|p| p.checked_add(offset)).ok_or(EOVERFLOW)?,
        SEEK_END => i64::try_from(size()?).ok().and_then(|s| s.checked_add(offset)).ok_or(EOVERFLOW)?,
        SEEK_DATA | SEEK_HOLE => {
            let at = u64::try_from(offset).map_err(|_| ENXIO)?;
            if at >= size()? {
                return Err(ENXIO);
            }
            file.ops.seek_data(at, whence == SEEK_DATA)?.cast_signed()
        }
        _ => return Err(EINVAL),
    };
    *pos = u64::try_from(new).map_err(|_| EINVAL)?;
    Ok(*pos)
}

/// Bytes moved at once between two files.
const CHUNK: usize = 128 << 10;

/// Moves up to `len` bytes from one file to another by a kernel buffer (sendfile, copy_file_range). A position that is
/// given is used and advanced instead of the file's own.
pub fn transfer(
    task: &Task,
    from: &Arc<File>,
    mut from_pos: Option<&mut u64>,
    to: &Arc<File>,
    mut to_pos: Option<&mut u64>,
    len: usize,
) -> Result<usize> {
    if !from.readable() || !to.writable() {
        return Err(EBADF);
    }
    let mut buf = vec![0; len.min(CHUNK)];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(buf.len());
        let start = match &from_pos {
            Some(p) => **p,
            None => *from.pos(),
        };
        let mut sink = BufSink::new(&mut buf[..want]);
        let got = match pread(task, from, &mut sink, start) {
            Ok(n) => n,
            Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
        };
        if got == 0 {
            break;
        }
        let mut src = BufSource(&buf[..got]);
        let put = match &to_pos {
            Some(p) => pwrite(task, to, &mut src, **p, Append::AsOpened),
            None => write(task, to, &mut src),
        };
        let put = match put {
            Ok(n) => n,
            Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
        };
        // Only what was written counts as read.
        match &mut from_pos {
            Some(p) => **p = start + put as u64,
            None => *from.pos() = start + put as u64,
        }
        if let Some(p) = &mut to_pos {
            **p += put as u64;
        }
        done += put;
        if put < got {
            break;
        }
    }
    Ok(done)
}
