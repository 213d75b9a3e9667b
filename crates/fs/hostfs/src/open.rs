//! Open files and directories of hostfs.

use std::{
    any::Any,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use abi::{OpenFlags, Timespec, errno};
use hal::{DirEntry, HostFile, HostStat};
use kernel::{
    Result,
    io::{Sink, Source},
    mm::{MapSource, Mappable},
    task::Task,
    vfs::{
        file::{DirSink, File, FileOps},
        inode::Inode,
    },
};

use crate::{HostInode, dirs, lock};

/// What is written in pieces of up to this size goes through the kernel's stack.
const SMALL: usize = 4096;
/// Up to here the stub fetches what was read from where the host put it.
const SHARED: usize = 16 << 10;
/// Up to here a second copy costs no more than the two hand-overs that reaching into guest memory takes.
const BOUNCE: usize = 64 << 10;
/// Buffers of that size kept for the next reads.
const SPARE: usize = 4;
/// `DT_DIR`.
const DT_DIR: u8 = 4;

/// A host file that guest openings share.
pub(crate) struct Opened {
    pub(crate) file: Arc<dyn HostFile>,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Change time of the file when it was opened.
    pub(crate) ctime: Timespec,
    /// And its size, in bytes.
    pub(crate) size: u64,
    /// Kept by [`crate::parked`].
    pub(crate) parked: AtomicBool,
}

impl Opened {
    pub(crate) fn new(
        file: Arc<dyn HostFile>,
        readable: bool,
        writable: bool,
        stat: &HostStat,
    ) -> Arc<Opened> {
        let (ctime, size) = (stat.ctime, stat.size);
        Arc::new(Opened { file, readable, writable, ctime, size, parked: AtomicBool::new(false) })
    }

    /// True if no guest file uses it, and it is only kept for the next. `opened` is the asker's own reference.
    pub(crate) fn is_idle(opened: &Arc<Opened>) -> bool {
        opened.parked.load(Ordering::Relaxed) && Arc::strong_count(opened) <= 2
    }
}

impl Mappable for Opened {
    fn map_source(&self, shared_write: bool) -> Result<MapSource> {
        if !self.readable || (shared_write && !self.writable) {
            return Err(errno::EACCES);
        }
        Ok(MapSource::Host(self.file.clone()))
    }
}

/// A regular file.
pub(crate) struct RegularFile {
    pub(crate) inode: Arc<HostInode>,
    pub(crate) opened: Arc<Opened>,
}

impl RegularFile {
    pub(crate) fn read_at(&self, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let file = &*self.opened.file;
        let mut done = 0;
        while dst.remaining() > 0 {
            let at = pos + done as u64;
            // What was last seen of the size only chooses the way: programs offer large buffers to small files.
            let left = usize::try_from(self.inode.size_seen().saturating_sub(at)).unwrap_or(usize::MAX);
            let wanted = dst.remaining().min(left.saturating_add(1).next_multiple_of(SMALL));
            let moved = if wanted <= SHARED {
                dst.put_file(file, at, wanted).map(|n| (n, n < wanted))
            } else if wanted > BOUNCE {
                dst.put_file(file, at, dst.remaining().min(left)).map(|n| (n, n == 0))
            } else {
                self.bounce(dst, at)
            };
            match moved {
                Ok((n, is_last)) => {
                    done += n;
                    if is_last {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Reads by a buffer of the kernel's. The bytes moved, and whether the file or the guest's memory ended there.
    fn bounce(&self, dst: &mut dyn Sink, pos: u64) -> Result<(usize, bool)> {
        let buffers = &self.inode.fs_ref().buffers;
        let mut buf = lock(buffers).pop().unwrap_or_else(|| vec![0; BOUNCE]);
        let want = dst.remaining().min(BOUNCE);
        let result = self.opened.file.pread(pos, &mut buf[..want]).and_then(|got| match got {
            0 => Ok((0, true)),
            _ => dst.put(&buf[..got]).map(|put| (put, put < want)),
        });
        let mut spare = lock(buffers);
        if spare.len() < SPARE {
            spare.push(buf);
        }
        result
    }

    pub(crate) fn write_at(&self, src: &mut dyn Source, pos: u64, flags: OpenFlags) -> Result<usize> {
        let file = &*self.opened.file;
        let offered = src.remaining();
        let result = if offered <= SMALL {
            let mut buf = [0; SMALL];
            let n = src.take(&mut buf[..offered])?;
            write_all(file, pos, &buf[..n])
        } else {
            let mut done = 0;
            loop {
                let left = src.remaining();
                if left == 0 {
                    break Ok(done);
                }
                match src.take_file(file, pos + done as u64, left) {
                    Ok(0) => break Ok(done),
                    Ok(n) => done += n,
                    Err(e) if done == 0 => break Err(e),
                    Err(_) => break Ok(done),
                }
            }
        };
        self.inode.invalidate();
        if matches!(result, Ok(n) if n > 0) && flags.contains(OpenFlags::DSYNC) {
            file.sync(!flags.contains(OpenFlags::SYNC))?;
        }
        result
    }
}

/// Writes a taken buffer; short only when the host's error comes in the middle.
fn write_all(file: &dyn HostFile, pos: u64, buf: &[u8]) -> Result<usize> {
    let mut done = 0;
    loop {
        match file.pwrite(pos + done as u64, &buf[done..]) {
            Ok(0) => return Ok(done),
            Ok(n) if done + n >= buf.len() => return Ok(done + n),
            Ok(n) => done += n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
        }
    }
}

impl FileOps for RegularFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, _task: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        self.read_at(dst, pos)
    }
    fn write(&self, file: &File, _task: &Task, src: &mut dyn Source, pos: u64) -> Result<usize> {
        self.write_at(src, pos, file.flags())
    }
    fn size(&self) -> Result<u64> {
        Ok(self.opened.file.stat()?.size)
    }
    fn seek_data(&self, pos: u64, data: bool) -> Result<u64> {
        self.opened.file.seek(pos, data)
    }
    fn host_contents(&self) -> Option<Arc<dyn HostFile>> {
        Some(self.opened.file.clone())
    }
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        Some(self.opened.clone())
    }
    fn sync(&self, data_only: bool) -> Result<()> {
        self.opened.file.sync(data_only)
    }
    fn truncate(&self, size: u64) -> Result<()> {
        if self.inode.fs_ref().options.append {
            return Ok(());
        }
        self.opened.file.truncate(size)?;
        self.inode.invalidate();
        Ok(())
    }
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.opened.file.allocate(mode, offset, len)?;
        self.inode.invalidate();
        Ok(())
    }
}

/// Position after `.`; the first entry of the host has another one on every filesystem known.
const AFTER_DOT: u64 = i64::MAX as u64 - 2;
/// Position after `..`, where the host's listing begins.
const AFTER_DOTDOT: u64 = i64::MAX as u64 - 1;

/// The last batch of entries.
#[derive(Default)]
struct Batch {
    entries: Vec<DirEntry>,
    /// First entry not yet given out, and the position that leads to it.
    next: usize,
    pos: u64,
}

/// An open directory.
pub(crate) struct DirFile {
    inode: Arc<HostInode>,
    /// `None` for a sealed directory, which is empty.
    file: Option<Arc<dyn HostFile>>,
    batch: Mutex<Batch>,
}

impl DirFile {
    pub(crate) fn open(inode: Arc<HostInode>) -> Result<DirFile> {
        let file = if inode.is_sealed() { None } else { Some(dirs::for_listing(&inode)?) };
        Ok(DirFile { inode, file, batch: Mutex::default() })
    }

    pub(crate) fn list(&self, mut pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        if pos == 0 {
            if !sink(b".", self.inode.ino(), DT_DIR, AFTER_DOT) {
                return Ok(pos);
            }
            pos = AFTER_DOT;
        }
        if pos == AFTER_DOT {
            if !sink(b"..", self.inode.parent_ino(), DT_DIR, AFTER_DOTDOT) {
                return Ok(pos);
            }
            pos = AFTER_DOTDOT;
        }
        let Some(file) = &self.file else { return Ok(pos) };
        let numbers = self.inode.fs_ref().ino(self.inode.host_dev(), 0);
        // Taken out, so that no lock is held while the sink copies to guest memory.
        let mut batch = std::mem::take(&mut *lock(&self.batch));
        if pos == AFTER_DOTDOT || batch.pos != pos || batch.next >= batch.entries.len() {
            let from = if pos == AFTER_DOTDOT { 0 } else { pos };
            batch.entries.clear();
            batch.next = 0;
            batch.pos = pos;
            file.read_dir(from, &mut batch.entries)?;
        }
        // One batch, as the host's own call gives: who wants more asks again, and is told of the end by the host.
        while let Some(e) = batch.entries.get(batch.next) {
            if !sink(&e.name, e.ino ^ numbers, e.dtype, e.next) {
                break;
            }
            pos = e.next;
            batch.pos = pos;
            batch.next += 1;
        }
        *lock(&self.batch) = batch;
        Ok(pos)
    }
}

impl FileOps for DirFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, _task: &Task, _dst: &mut dyn Sink, _pos: u64) -> Result<usize> {
        Err(errno::EISDIR)
    }
    fn read_dir(&self, _file: &File, _task: &Task, pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        self.list(pos, sink)
    }
    fn sync(&self, data_only: bool) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |f| f.sync(data_only))
    }
}
