//! Open files and directories of tmpfs. The inode itself is the open file.

use std::{any::Any, sync::Arc, sync::atomic::AtomicU32};

use abi::{
    FileType,
    cap::CAP_FSETID,
    errno::{EINVAL, EISDIR, ENODEV, ENOSPC, ENOTDIR, EOPNOTSUPP, EPERM},
    fs::{
        F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE, FALLOC_FL_COLLAPSE_RANGE,
        FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_UNSHARE_RANGE,
        FALLOC_FL_ZERO_RANGE, S_IALLUGO,
    },
};
use kernel::{
    Result,
    io::{Sink, Source},
    mm::{MapSource, Mappable},
    task::Task,
    vfs::{
        file::{DirSink, File, FileOps},
        inode::Inode,
        permission,
    },
};

use crate::{
    PAGE, TmpInode,
    inode::{Data, Node, sealed},
};

/// Both kinds of seals that forbid write(2).
const NO_WRITE: u32 = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;

/// A source that ends early, where the filesystem is full.
struct Cut<'a> {
    inner: &'a mut dyn Source,
    left: usize,
}

impl Source for Cut<'_> {
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
}

impl TmpInode {
    /// Bytes of a write at `pos` that the instance's limit admits.
    fn admitted(&self, d: &Data, counted: u64, pos: u64, len: u64) -> u64 {
        let Some(room) = self.sb.room() else { return len };
        let end = pos.saturating_add(len);
        let (first, last) = (pos / PAGE * PAGE, end.div_ceil(PAGE).saturating_mul(PAGE));
        let file_end = d.cache.len().div_ceil(PAGE) * PAGE;
        // Pages that are there already cost nothing; where there may be holes, the whole range is counted.
        let [_, promised] = d.promised();
        let file_end = file_end.max(promised);
        let new = if counted >= file_end { last.saturating_sub(first.max(file_end)) } else { last - first };
        if new <= room {
            return len;
        }
        let old = (last - first).saturating_sub(new);
        (first + old + room / PAGE * PAGE).saturating_sub(pos).min(len)
    }

    fn write_data(&self, src: &mut dyn Source, pos: u64) -> Result<usize> {
        let d = self.data()?;
        if sealed(d, NO_WRITE) {
            return Err(EPERM);
        }
        let len = src.remaining() as u64;
        if len == 0 {
            return Ok(0);
        }
        let mut counted = d.counted.lock();
        if sealed(d, F_SEAL_GROW) && pos.saturating_add(len) > d.cache.len() {
            return Err(EPERM);
        }
        let admitted = self.admitted(d, *counted, pos, len);
        if admitted == 0 {
            return Err(ENOSPC);
        }
        let result = if admitted < len {
            d.cache.write(&mut Cut { inner: src, left: usize::try_from(admitted).unwrap_or(usize::MAX) }, pos)
        } else {
            d.cache.write(src, pos)
        };
        self.recount(d, &mut counted);
        // Memory that is full is a filesystem that is full.
        result.map_err(|e| if e == abi::errno::ENOMEM { ENOSPC } else { e })
    }
}

impl FileOps for TmpInode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, _task: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let Node::File(d) = &self.node else { return Err(EISDIR) };
        let want = dst.remaining();
        let n = d.cache.read(dst, pos, want)?;
        if n > 0 && file.wants_atime() {
            self.touch_accessed(self.sb.now());
        }
        Ok(n)
    }

    fn write(&self, _file: &File, task: &Task, src: &mut dyn Source, pos: u64) -> Result<usize> {
        let n = self.write_data(src, pos)?;
        if n > 0 {
            let now = self.sb.now();
            let mut m = self.meta.lock();
            m.mtime = now;
            m.ctime = now;
            let cleared = permission::without_privilege_bits(m.mode);
            if cleared != m.mode {
                drop(m);
                if !task.cred().has(CAP_FSETID) {
                    self.meta.lock().mode = cleared;
                }
            }
        }
        Ok(n)
    }

    fn size(&self) -> Result<u64> {
        match &self.node {
            Node::File(d) => Ok(d.cache.len()),
            _ => Err(EINVAL),
        }
    }

    fn size_count(&self) -> Option<u32> {
        match &self.node {
            Node::File(d) => Some(d.cache.count()),
            _ => None,
        }
    }

    fn seek_data(&self, pos: u64, data: bool) -> Result<u64> {
        self.data()?.cache.seek(pos, data)
    }

    fn read_dir(&self, file: &File, _task: &Task, pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        let Node::Dir(entries) = &self.node else { return Err(ENOTDIR) };
        if file.wants_atime() {
            self.touch_accessed(self.sb.now());
        }
        Ok(entries.lock().list(self.ino(), pos, sink))
    }

    fn can_poll(&self) -> bool {
        false
    }

    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        match &self.node {
            Node::File(_) => self.me.upgrade().map(|m| m as Arc<dyn Mappable>),
            _ => None,
        }
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn check_resize(&self, size: u64) -> Result<()> {
        let d = self.data()?;
        let now = d.cache.len();
        if size < now && sealed(d, F_SEAL_SHRINK) || size > now && sealed(d, F_SEAL_GROW) {
            return Err(EPERM);
        }
        Ok(())
    }

    fn truncate(&self, size: u64) -> Result<()> {
        let change = kernel::vfs::inode::AttrChange { size: Some(size), ..Default::default() };
        self.set_attr(&change)
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let d = self.data()?;
        if mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE) != 0 {
            return Err(EOPNOTSUPP);
        }
        let mut counted = d.counted.lock();
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if mode & FALLOC_FL_PUNCH_HOLE != 0 {
            if sealed(d, NO_WRITE) {
                return Err(EPERM);
            }
            if end > d.cache.len() {
                d.promise(0, 0);
            }
            d.cache.punch(offset, len)?;
        } else {
            if mode & FALLOC_FL_ZERO_RANGE != 0 && sealed(d, NO_WRITE) {
                return Err(EPERM);
            }
            let grows = mode & FALLOC_FL_KEEP_SIZE == 0 && end > d.cache.len();
            if grows && sealed(d, F_SEAL_GROW) {
                return Err(EPERM);
            }
            if self.admitted(d, *counted, offset, len) < len {
                return Err(ENOSPC);
            }
            if mode & FALLOC_FL_ZERO_RANGE != 0 {
                d.cache.punch(offset, len)?;
            }
            if grows {
                d.cache.resize(end)?;
            }
            let size_end = d.cache.len().next_multiple_of(PAGE);
            let (first, last) = ((offset / PAGE * PAGE).max(size_end), end.next_multiple_of(PAGE));
            if last > first {
                let [start, until] = d.promised();
                let known = until > size_end;
                d.promise(if known { start.min(first) } else { first }, until.max(last));
            }
            let until = end.min(d.cache.len());
            let full = |e| if e == abi::errno::ENOMEM { ENOSPC } else { e };
            if until > offset {
                d.cache.allocate(offset, until - offset).map_err(full)?;
            }
        }
        self.recount(d, &mut counted);
        drop(counted);
        self.touch_modified(self.sb.now());
        Ok(())
    }

    fn deny_stores(&self, deny: bool) -> Result<()> {
        let d = self.data()?;
        if deny {
            d.cache.deny_stores()?;
        } else if !sealed(d, F_SEAL_WRITE) {
            d.cache.allow_stores();
        }
        Ok(())
    }

    fn seals(&self) -> Option<&AtomicU32> {
        match &self.node {
            Node::File(d) => Some(&d.seals),
            _ => None,
        }
    }
}

impl Mappable for TmpInode {
    fn map_source(&self, shared_write: bool) -> Result<MapSource> {
        let Node::File(d) = &self.node else { return Err(ENODEV) };
        if shared_write && sealed(d, NO_WRITE) {
            return Err(EPERM);
        }
        Ok(MapSource::Cache(d.cache.clone()))
    }
}

/// Permission bits, for tests and the device filesystem.
pub(crate) fn mode_of(kind: FileType, permissions: u32) -> u32 {
    kind.mode() | permissions & S_IALLUGO
}
