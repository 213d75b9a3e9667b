//! A host descriptor as a guest file: the standard streams of `umlaut run` when they are not terminals.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use abi::errno;
use hal::{HostFile, Interest, Stream, Watch};
use kernel::{
    Result,
    io::{Sink, Source},
    mm::{MapSource, Mappable},
    task::Task,
    vfs::{
        file::{File, FileOps},
        inherited::{Inherited, Seekable},
        inode::Attr,
        pipe::raise_sigpipe,
        poll::PollEvents,
    },
};
use ksync::WaitQueue;

/// Bytes moved at once.
const CHUNK: usize = 65536;

/// A host byte stream opened as a file.
pub struct StreamFile {
    stream: Arc<dyn Stream>,
    wait: Arc<WaitQueue>,
    /// Registered when somebody first has to wait.
    watches: OnceLock<Vec<Box<dyn Watch>>>,
}

impl StreamFile {
    pub fn new(stream: Arc<dyn Stream>) -> Arc<StreamFile> {
        Arc::new(StreamFile { stream, wait: Arc::new(WaitQueue::new()), watches: OnceLock::new() })
    }

    /// Starts telling waiters of changes.
    fn watch(&self) {
        self.watches.get_or_init(|| {
            [Interest { read: true, write: false }, Interest { read: false, write: true }]
                .into_iter()
                .filter_map(|i| {
                    let q = self.wait.clone();
                    self.stream.watch(i, Box::new(move || q.wake_all(0))).ok()
                })
                .collect()
        });
    }

    fn again<T>(&self, file: &File, task: &Task, mut f: impl FnMut() -> Result<T>) -> Result<T> {
        match f() {
            Err(errno::EAGAIN) if !file.nonblocking() => {}
            other => return other,
        }
        self.watch();
        task.wait_on(&[&self.wait], None, || match f() {
            Err(errno::EAGAIN) => None,
            other => Some(other),
        })?
    }
}

impl Inherited for StreamFile {
    fn attr(&self) -> Result<Attr> {
        let s = self.stream.stat()?;
        Ok(Attr {
            mode: s.mode,
            nlink: s.nlink,
            rdev: s.rdev,
            size: s.size,
            blocks: s.blocks,
            blksize: s.blksize,
            atime: s.atime,
            mtime: s.mtime,
            ctime: s.ctime,
            btime: s.btime,
            ..Attr::default()
        })
    }
}

impl Seekable for StreamFile {
    fn seek(&self, offset: i64, whence: u32) -> Result<u64> {
        self.stream.lseek(offset, whence)
    }
    fn read_at(&self, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let mut buf = vec![0; dst.remaining().min(CHUNK)];
        let n = self.stream.pread(&mut buf, pos)?;
        if n == 0 { Ok(0) } else { dst.put(&buf[..n]) }
    }
    fn write_at(&self, src: &mut dyn Source, pos: u64) -> Result<usize> {
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        let n = src.take(&mut buf)?;
        self.stream.pwrite(&buf[..n], pos)
    }
}

/// A regular file of the host: mapped as it is. Who may do what follows from how it was opened, which mmap(2) looks at.
struct Mapped(Arc<dyn HostFile>);

impl Mappable for Mapped {
    fn map_source(&self, _shared_write: bool) -> Result<MapSource> {
        Ok(MapSource::Host(self.0.clone()))
    }
}

impl FileOps for StreamFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn seekable(&self) -> Option<&dyn Seekable> {
        self.stream.is_regular().then_some(self)
    }
    fn truncate(&self, size: u64) -> Result<()> {
        self.stream.truncate(size)
    }
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        Some(Arc::new(Mapped(self.stream.as_file()?)))
    }
    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _: u64) -> Result<usize> {
        let mut buf = vec![0; dst.remaining().min(CHUNK)];
        let n = self.again(file, task, || self.stream.read(&mut buf))?;
        if n == 0 { Ok(0) } else { dst.put(&buf[..n]) }
    }
    fn write(&self, file: &File, task: &Task, src: &mut dyn Source, _: u64) -> Result<usize> {
        let total = src.remaining();
        let mut buf = vec![0; total.min(CHUNK)];
        let mut done = 0;
        while done < total {
            let want = buf.len().min(total - done);
            let n = match src.take(&mut buf[..want]) {
                Ok(n) => n,
                Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
            };
            let mut off = 0;
            while off < n {
                match self.again(file, task, || self.stream.write(&buf[off..n])) {
                    Ok(m) => off += m,
                    Err(e) => {
                        if e == errno::EPIPE {
                            raise_sigpipe(task);
                        }
                        return if done + off > 0 { Ok(done + off) } else { Err(e) };
                    }
                }
            }
            done += n;
            if n < want {
                break;
            }
        }
        Ok(done)
    }
    fn poll(&self, _: &File) -> PollEvents {
        let r = self.stream.ready();
        let mut e = PollEvents::empty();
        if r.read {
            e |= PollEvents::IN | PollEvents::RDNORM;
        }
        if r.write {
            e |= PollEvents::OUT | PollEvents::WRNORM;
        }
        if r.hangup {
            e |= PollEvents::HUP;
        }
        if r.error {
            e |= PollEvents::ERR;
        }
        e
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        if self.stream.is_regular() {
            return Vec::new();
        }
        self.watch();
        vec![self.wait.clone()]
    }
}
