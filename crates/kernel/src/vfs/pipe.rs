//! Pipes and FIFOs (pipe(7)).
//!
//! Lock order: PIPE is held only while bytes move between the ring and a kernel buffer, never while guest memory is
//! touched.

mod buffer;

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use abi::{OpenFlags, SigInfo, Signal, errno};
use ksync::{Mutex, WaitQueue};

use self::buffer::Buffer;
use super::{
    file::{File, FileOps},
    inode::Inode,
    poll::PollEvents,
};
use crate::{
    error::Result,
    io::{Sink, Source},
    locks,
    task::{Task, TaskCx},
};

/// Writes up to this size are atomic (PIPE_BUF).
pub const PIPE_BUF: usize = 4096;
/// Default capacity in bytes.
pub const DEFAULT_CAPACITY: usize = 65536;
/// Bytes moved between locks.
const CHUNK: usize = 16384;

/// A pipe's buffer and the counts of its ends.
pub struct Pipe {
    ring: Mutex<Buffer>,
    readers: AtomicU32,
    writers: AtomicU32,
    /// Times a reading or writing end was opened (FIFO opens wait for a change).
    reader_opens: AtomicU32,
    writer_opens: AtomicU32,
    /// A FIFO: opening one end waits for the other. The ends of pipe(2) opened again do not (fifo(7)).
    named: bool,
    /// Woken on every change.
    read_wait: Arc<WaitQueue>,
    write_wait: Arc<WaitQueue>,
}

/// One end of a pipe, or a FIFO opened for reading and writing.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
}

impl Pipe {
    pub fn new() -> Arc<Pipe> {
        Pipe::make(false)
    }

    fn make(named: bool) -> Arc<Pipe> {
        Arc::new(Pipe {
            named,
            ring: Mutex::new(locks::PIPE, Buffer::new(DEFAULT_CAPACITY)),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            reader_opens: AtomicU32::new(0),
            writer_opens: AtomicU32::new(0),
            read_wait: Arc::new(WaitQueue::new()),
            write_wait: Arc::new(WaitQueue::new()),
        })
    }

    /// The two ends of pipe(2).
    pub fn ends(self: Arc<Self>) -> (Arc<PipeEnd>, Arc<PipeEnd>) {
        (self.clone().end(true, false), self.end(false, true))
    }

    fn end(self: Arc<Self>, reads: bool, writes: bool) -> Arc<PipeEnd> {
        if reads {
            self.readers.fetch_add(1, Ordering::SeqCst);
            self.reader_opens.fetch_add(1, Ordering::SeqCst);
            self.write_wait.wake_all(0);
        }
        if writes {
            self.writers.fetch_add(1, Ordering::SeqCst);
            self.writer_opens.fetch_add(1, Ordering::SeqCst);
            self.read_wait.wake_all(0);
        }
        Arc::new(PipeEnd { pipe: self, reads, writes })
    }

    /// Opens a FIFO (fifo(7)): waits for the other end unless O_NONBLOCK; ENXIO for a writer without readers then.
    pub fn open_fifo(inode: &Arc<dyn Inode>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        let pipe = {
            let mut slot = inode.common().fifo.lock();
            match slot.as_ref().and_then(std::sync::Weak::upgrade) {
                Some(p) => p,
                None => {
                    let p = Pipe::make(true);
                    *slot = Some(Arc::downgrade(&p));
                    p
                }
            }
        };
        let (reads, writes) = (flags.readable(), flags.writable());
        let nonblocking = flags.contains(OpenFlags::NONBLOCK);
        if writes && !reads && nonblocking && pipe.readers.load(Ordering::SeqCst) == 0 {
            return Err(errno::ENXIO);
        }
        let (r0, w0) = (pipe.reader_opens.load(Ordering::SeqCst), pipe.writer_opens.load(Ordering::SeqCst));
        let end = pipe.clone().end(reads, writes);
        if pipe.named && !nonblocking && reads != writes {
            let there = |count: &AtomicU32, opens: &AtomicU32, seen: u32| {
                let ok = count.load(Ordering::SeqCst) > 0 || opens.load(Ordering::SeqCst) != seen;
                ok.then_some(())
            };
            if reads {
                task.wait_on(&[&pipe.read_wait], None, || there(&pipe.writers, &pipe.writer_opens, w0))?;
            } else {
                task.wait_on(&[&pipe.write_wait], None, || there(&pipe.readers, &pipe.reader_opens, r0))?;
            }
        }
        Ok(end)
    }

    fn capacity(&self) -> usize {
        self.ring.lock().capacity()
    }
}

impl PipeEnd {
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// F_GETPIPE_SZ.
    pub fn size(&self) -> usize {
        self.pipe.capacity()
    }

    /// F_SETPIPE_SZ: rounds up to a power of two of pages; EBUSY if more is buffered, EPERM above
    /// `limit` (fs.pipe-max-size).
    pub fn set_size(&self, size: usize, limit: u64, privileged: bool) -> Result<usize> {
        let size =
            size.max(4096).checked_next_power_of_two().filter(|s| *s <= 1 << 31).ok_or(errno::EINVAL)?;
        if size as u64 > limit && !privileged {
            return Err(errno::EPERM);
        }
        let mut ring = self.pipe.ring.lock();
        if ring.len() > size {
            return Err(errno::EBUSY);
        }
        ring.set_capacity(size);
        drop(ring);
        self.pipe.write_wait.wake_all(PollEvents::OUT.bits());
        Ok(size)
    }

    /// Copies buffered bytes without taking them (tee(2)).
    pub fn peek(&self, max: usize) -> Vec<u8> {
        self.pipe.ring.lock().peek(max)
    }

    /// Waits until there are bytes to take; false at the end.
    pub(super) fn wait_data(&self, task: &Task, nonblocking: bool) -> Result<bool> {
        let p = &self.pipe;
        task.wait_unless(nonblocking, &[&p.read_wait], || {
            let ended = p.writers.load(Ordering::SeqCst) == 0;
            match p.ring.lock().is_empty() {
                false => Some(true),
                true => ended.then_some(false),
            }
        })
    }

    /// Waits until bytes can be put; how many. EPIPE, with its signal, if nobody will read them.
    pub(super) fn wait_space(&self, task: &Task, nonblocking: bool) -> Result<usize> {
        let p = &self.pipe;
        let space = task.wait_unless(nonblocking, &[&p.write_wait], || {
            if p.readers.load(Ordering::SeqCst) == 0 {
                return Some(None);
            }
            let space = p.ring.lock().space();
            (space > 0).then_some(Some(space))
        })?;
        if space.is_none() {
            raise_sigpipe(task);
        }
        space.ok_or(errno::EPIPE)
    }

    /// Takes up to `max` bytes.
    pub(super) fn take(&self, max: usize) -> Vec<u8> {
        let p = &self.pipe;
        let mut ring = p.ring.lock();
        let mut out = vec![0; max.min(ring.len())];
        let n = ring.pop_bytes(&mut out);
        out.truncate(n);
        drop(ring);
        p.write_wait.wake_all(PollEvents::OUT.bits());
        out
    }

    /// Puts bytes back in front.
    pub(super) fn put_back(&self, data: &[u8]) {
        self.pipe.ring.lock().unpop(data, false);
        self.pipe.read_wait.wake_all(PollEvents::IN.bits());
    }

    /// Appends what fits; how much.
    pub(super) fn push(&self, data: &[u8]) -> usize {
        let n = self.pipe.ring.lock().push(data);
        self.pipe.read_wait.wake_all(PollEvents::IN.bits());
        n
    }
}

impl FileOps for PipeEnd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }

    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _pos: u64) -> Result<usize> {
        let p = &self.pipe;
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = dst.remaining().min(CHUNK);
            let mut stack = [0u8; 512];
            let mut heap;
            let buf = if want <= stack.len() {
                &mut stack[..want]
            } else {
                heap = vec![0; want.min(p.ring.lock().len().max(1))];
                &mut heap[..]
            };
            let ((n, packet), was_full) = {
                let mut ring = p.ring.lock();
                let full = ring.space() < PIPE_BUF;
                (ring.pop(buf), full)
            };
            if n > 0 {
                match dst.put(&buf[..n]) {
                    Ok(m) => {
                        done += m;
                        if m < n {
                            p.ring.lock().unpop(&buf[m..n], false);
                        }
                        if was_full {
                            p.write_wait.wake_all(PollEvents::OUT.bits());
                        }
                        if m < n || packet {
                            break;
                        }
                    }
                    Err(e) => {
                        p.ring.lock().unpop(&buf[..n], packet);
                        return if done > 0 { Ok(done) } else { Err(e) };
                    }
                }
                continue;
            }
            if done > 0 {
                break;
            }
            let eof = task.wait_unless(file.nonblocking(), &[&p.read_wait], || {
                if !p.ring.lock().is_empty() {
                    Some(false)
                } else if p.writers.load(Ordering::SeqCst) == 0 {
                    // A writer may have written and gone between the two looks.
                    Some(p.ring.lock().is_empty())
                } else {
                    None
                }
            })?;
            if eof {
                break;
            }
        }
        Ok(done)
    }

    fn write(&self, file: &File, task: &Task, src: &mut dyn Source, _pos: u64) -> Result<usize> {
        let p = &self.pipe;
        let total = src.remaining();
        let mut done = 0;
        let mut stack = [0u8; 512];
        let mut heap = Vec::new();
        let packets = file.flags().contains(OpenFlags::DIRECT);
        while done < total {
            let want = (total - done).min(if packets { PIPE_BUF } else { CHUNK });
            let buf = if want <= stack.len() {
                &mut stack[..want]
            } else {
                heap.resize(want, 0);
                &mut heap[..]
            };
            let n = match src.take(buf) {
                Ok(n) => n,
                Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
            };
            // The bytes are out of guest memory now; they go in whole if the write is small (atomic), else piecewise.
            let atomic = total <= PIPE_BUF || packets;
            let mut off = 0;
            while off < n {
                let step = task.wait_unless(file.nonblocking(), &[&p.write_wait], || {
                    if p.readers.load(Ordering::SeqCst) == 0 {
                        return Some(Err(errno::EPIPE));
                    }
                    let mut ring = p.ring.lock();
                    if packets {
                        return ring.push_packet(&buf[..n]).then_some(Ok(n));
                    }
                    let space = ring.space();
                    if space == 0 || atomic && space < n {
                        return None;
                    }
                    Some(Ok(ring.push(&buf[off..n])))
                });
                match step {
                    Ok(Ok(m)) => {
                        off += m;
                        // Also when it was not empty: edge-triggered pollers count each write.
                        p.read_wait.wake_all(PollEvents::IN.bits());
                    }
                    Ok(Err(e)) | Err(e) => {
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

    fn poll(&self, _file: &File) -> PollEvents {
        let p = &self.pipe;
        let mut e = PollEvents::empty();
        let (len, space) = {
            let r = p.ring.lock();
            (r.len(), r.space())
        };
        if self.reads {
            if len > 0 {
                e |= PollEvents::IN | PollEvents::RDNORM;
            }
            // A FIFO that never had a writer is not hung up.
            if p.writers.load(Ordering::SeqCst) == 0 && p.writer_opens.load(Ordering::SeqCst) > 0 {
                e |= PollEvents::HUP;
            }
        }
        if self.writes {
            if space >= PIPE_BUF {
                e |= PollEvents::OUT | PollEvents::WRNORM;
            }
            if p.readers.load(Ordering::SeqCst) == 0 {
                e |= PollEvents::ERR;
            }
        }
        e
    }

    fn signals_io(&self) -> bool {
        true
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        let mut q = Vec::with_capacity(2);
        if self.reads {
            q.push(self.pipe.read_wait.clone());
        }
        if self.writes {
            q.push(self.pipe.write_wait.clone());
        }
        q
    }

    fn ioctl(&self, _file: &File, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            abi::ioctl::FIONREAD => {
                let n = self.pipe.ring.lock().len();
                cx.write_u32(arg, n as u32)?;
                Ok(0)
            }
            _ => Err(errno::ENOTTY),
        }
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let p = &self.pipe;
        if self.reads && p.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
            p.write_wait.wake_all(PollEvents::ERR.bits());
        }
        if self.writes && p.writers.fetch_sub(1, Ordering::SeqCst) == 1 {
            p.read_wait.wake_all(PollEvents::HUP.bits());
        }
    }
}

/// SIGPIPE to the writing thread.
pub fn raise_sigpipe(task: &Task) {
    if let Some(t) = task.machine.tree.task(task.tid()) {
        t.send(SigInfo::user(Signal::SIGPIPE, task.pid(), task.cred().uid));
    }
}
