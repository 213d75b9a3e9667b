//! Open terminals: the slave side of ptys, consoles, serial lines, /dev/tty.

use std::{
    any::Any,
    sync::{Arc, atomic::Ordering},
};

use abi::{OpenFlags, Signal, errno};
use ksync::WaitQueue;

use super::Tty;
use crate::{
    error::Result,
    io::{Sink, Source},
    task::{Task, TaskCx},
    vfs::{
        file::{File, FileOps},
        poll::PollEvents,
    },
};

/// A terminal opened as a file.
pub struct TtyFile {
    pub tty: Arc<Tty>,
}

impl TtyFile {
    /// Opens a terminal; a session leader without one gets it as its controlling terminal unless O_NOCTTY.
    pub fn open(tty: Arc<Tty>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        if tty.is_hung_up() {
            return Err(errno::EIO);
        }
        if tty.state.lock().exclusive && !task.cred().has(abi::cap::CAP_SYS_ADMIN) {
            return Err(errno::EBUSY);
        }
        tty.opens.fetch_add(1, Ordering::SeqCst);
        let file = Arc::new(TtyFile { tty: tty.clone() });
        if !flags.contains(OpenFlags::NOCTTY) && flags.readable() {
            // Fails where the opener leads no session or has a terminal: then it simply gets none.
            let _ = tty.set_controlling(task, false);
        }
        Ok(file)
    }

    fn read_raw(&self, file: &File, task: &Task, max: usize, min: u8, time: u8) -> Result<Vec<u8>> {
        let tty = &self.tty;
        let tenths = |t: u8| u64::from(t) * 100_000_000;
        let mut got = Vec::new();
        let want = if time > 0 && min == 0 { 1 } else { usize::from(min) }.min(max);
        // VTIME alone counts from the call, with VMIN from each byte (termios(3)).
        let mut deadline = (time > 0 && min == 0).then(|| task.machine.clock.monotonic_ns() + tenths(time));
        loop {
            let before = got.len();
            {
                let mut s = tty.state.lock();
                if let Some(b) = s.ld.read(max - before) {
                    got.extend_from_slice(&b);
                }
            }
            if got.len() >= want || (min == 0 && time == 0) || tty.is_hung_up() {
                return Ok(got);
            }
            if file.nonblocking() {
                return if got.is_empty() { Err(errno::EAGAIN) } else { Ok(got) };
            }
            if min > 0 && time > 0 && got.len() > before {
                deadline = Some(task.machine.clock.monotonic_ns() + tenths(time));
            }
            let more = task.wait_on(&[&tty.read_wait], deadline, || {
                (tty.state.lock().ld.available() > 0 || tty.is_hung_up()).then_some(())
            });
            match more {
                Ok(()) => {}
                Err(errno::ETIMEDOUT) => return Ok(got),
                Err(e) => return if got.is_empty() { Err(e) } else { Ok(got) },
            }
        }
    }
}

impl FileOps for TtyFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }

    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _pos: u64) -> Result<usize> {
        let tty = &self.tty;
        let max = dst.remaining().min(ldisc::INPUT_MAX);
        if max == 0 {
            return Ok(0);
        }
        tty.check_background(task, Signal::SIGTTIN)?;
        let mode = tty.state.lock().ld.min_time();
        let data = match mode {
            Some((min, time)) => self.read_raw(file, task, max, min, time)?,
            None => task.wait_unless(file.nonblocking(), &[&tty.read_wait], || {
                if tty.is_hung_up() {
                    return Some(Vec::new());
                }
                let mut s = tty.state.lock();
                // Settings may change to raw while a reader waits.
                if s.ld.readable() { s.ld.read(max) } else { None }
            })?,
        };
        tty.driver.unthrottle();
        let n = match dst.put(&data) {
            Ok(n) => n,
            Err(e) => {
                tty.state.lock().ld.unread(&data);
                return Err(e);
            }
        };
        if n < data.len() {
            tty.state.lock().ld.unread(&data[n..]);
        }
        Ok(n)
    }

    fn write(&self, file: &File, task: &Task, src: &mut dyn Source, _pos: u64) -> Result<usize> {
        let tty = &self.tty;
        if tty.state.lock().ld.termios().lflag & abi::ioctl::TOSTOP != 0 {
            tty.check_background(task, Signal::SIGTTOU)?;
        }
        let mut done = 0;
        let mut buf = [0u8; 2048];
        while src.remaining() > 0 {
            let want = src.remaining().min(buf.len());
            let n = match src.take(&mut buf[..want]) {
                Ok(n) => n,
                Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
            };
            let mut off = 0;
            while off < n {
                let step = task.wait_unless(file.nonblocking(), &[&tty.write_wait], || {
                    if tty.is_hung_up() {
                        return Some(Err(errno::EIO));
                    }
                    let m = tty.try_write(&buf[off..n]);
                    if m > 0 { Some(Ok(m)) } else { None }
                });
                match step {
                    Ok(Ok(m)) => off += m,
                    Ok(Err(e)) | Err(e) => return if done + off > 0 { Ok(done + off) } else { Err(e) },
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
        let tty = &self.tty;
        if tty.is_hung_up() {
            return PollEvents::IN | PollEvents::HUP | PollEvents::ERR | PollEvents::OUT;
        }
        let mut e = PollEvents::empty();
        if tty.state.lock().ld.readable() {
            e |= PollEvents::IN | PollEvents::RDNORM;
        }
        if tty.can_write() {
            e |= PollEvents::OUT | PollEvents::WRNORM;
        }
        e
    }
    fn signals_io(&self) -> bool {
        true
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.tty.read_wait.clone(), self.tty.write_wait.clone()]
    }

    fn ioctl(&self, file: &File, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        self.tty.clone().ioctl(file, cx, cmd, arg)
    }
}

impl Drop for TtyFile {
    fn drop(&mut self) {
        if self.tty.opens.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tty.last_close();
        }
    }
}
