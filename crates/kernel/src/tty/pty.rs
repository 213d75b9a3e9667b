//! Pseudo terminals (pty(7)): a master file and a slave [`Tty`] back to back.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use abi::{Termios, errno, ioctl::*};
use ksync::{Mutex, WaitQueue};

use super::{Tty, TtyDriver};
use crate::{
    error::Result,
    io::{Sink, Source},
    locks,
    machine::Machine,
    ring::Ring,
    task::{Pid, Task, TaskCx},
    vfs::{
        file::{File, FileOps},
        poll::PollEvents,
    },
};

/// Major number of pty slaves.
pub const SLAVE_MAJOR: u32 = 136;
/// Bytes of output kept for a master.
const BUFFER: usize = 16384;
/// Most ptys of a machine (/proc/sys/kernel/pty/max).
pub const MAX_PTYS: u32 = 4096;

/// The ptys that exist.
pub struct PtyTable {
    slaves: Mutex<BTreeMap<u32, Pair>>,
}

/// A slave and what ties it to its master.
type Pair = (Arc<Tty>, Arc<Link>);

impl Default for PtyTable {
    fn default() -> Self {
        PtyTable { slaves: Mutex::new(locks::LEAF, BTreeMap::new()) }
    }
}

impl PtyTable {
    /// The slave of a number, ready to be opened. ENXIO if there is none, EIO while it is locked (unlockpt(3)).
    pub fn open_slave(&self, index: u32) -> Result<Arc<Tty>> {
        let slaves = self.slaves.lock();
        let (tty, link) = slaves.get(&index).ok_or(errno::ENXIO)?;
        if link.locked.load(Ordering::SeqCst) {
            return Err(errno::EIO);
        }
        link.slave_closed.store(false, Ordering::SeqCst);
        Ok(tty.clone())
    }
    pub fn indexes(&self) -> Vec<u32> {
        self.slaves.lock().keys().copied().collect()
    }

    /// A new pair: opens /dev/ptmx. ENOSPC when there are too many.
    pub fn open_master(self: &Arc<Self>, machine: &Arc<Machine>) -> Result<Arc<PtyMaster>> {
        let link = Arc::new(Link {
            ring: Mutex::new(locks::LEAF, Ring::new(BUFFER)),
            read_wait: Arc::new(WaitQueue::new()),
            write_wait: Arc::new(WaitQueue::new()),
            packet: AtomicBool::new(false),
            status: AtomicU8::new(0),
            locked: AtomicBool::new(true),
            slave_closed: AtomicBool::new(false),
            index: OnceLock::new(),
        });
        let mut slaves = self.slaves.lock();
        let index = (0..MAX_PTYS).find(|i| !slaves.contains_key(i)).ok_or(errno::ENOSPC)?;
        let rdev = abi::makedev(SLAVE_MAJOR + (index >> 8), index & 0xff);
        let tty = Tty::new(machine, format!("pts/{index}"), rdev, link.clone());
        let _ = link.index.set(index);
        slaves.insert(index, (tty.clone(), link.clone()));
        drop(slaves);
        // A pty does not hang up on close. Nobody else can open it yet: it is locked.
        tty.set_termios(Termios { cflag: Termios::SANE.cflag & !HUPCL, ..Termios::SANE });
        Ok(Arc::new(PtyMaster { index, tty, link, table: self.clone() }))
    }
}

/// What lies between the two sides.
struct Link {
    /// Output of the slave that the master has not read.
    ring: Mutex<Ring>,
    read_wait: Arc<WaitQueue>,
    write_wait: Arc<WaitQueue>,
    packet: AtomicBool,
    /// TIOCPKT_* events not yet read.
    status: AtomicU8,
    locked: AtomicBool,
    slave_closed: AtomicBool,
    index: OnceLock<u32>,
}

impl Link {
    fn post(&self, set: u8, clear: u8) {
        if self.packet.load(Ordering::Relaxed) {
            let _ = self.status.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| Some(s & !clear | set));
            self.read_wait.wake_all((PollEvents::IN | PollEvents::PRI).bits());
        }
    }
}

impl TtyDriver for Link {
    fn write(&self, data: &[u8]) -> usize {
        let n = self.ring.lock().push(data);
        if n > 0 {
            self.read_wait.wake_all(PollEvents::IN.bits());
        }
        n
    }
    fn queued(&self) -> usize {
        self.ring.lock().len()
    }
    fn flush_output(&self) {
        let mut r = self.ring.lock();
        let n = r.len();
        let mut gone = vec![0; n];
        r.pop(&mut gone);
        drop(r);
        self.post(TIOCPKT_FLUSHWRITE, 0);
    }
    fn settings_changed(&self, old: &Termios, new: &Termios) {
        let flow = |t: &Termios| t.iflag & IXON != 0 && t.cc[VSTOP] == 0x13 && t.cc[VSTART] == 0x11;
        if flow(old) != flow(new) {
            if flow(new) {
                self.post(TIOCPKT_DOSTOP, TIOCPKT_NOSTOP);
            } else {
                self.post(TIOCPKT_NOSTOP, TIOCPKT_DOSTOP);
            }
        }
        if old.lflag & EXTPROC != 0 || new.lflag & EXTPROC != 0 {
            self.post(TIOCPKT_IOCTL, 0);
        }
    }
    fn flow_changed(&self, stopped: bool) {
        if stopped {
            self.post(TIOCPKT_STOP, TIOCPKT_START);
        } else {
            self.post(TIOCPKT_START, TIOCPKT_STOP);
        }
    }
    fn unthrottle(&self) {
        self.write_wait.wake_all(PollEvents::OUT.bits());
    }
    fn last_close(&self) {
        self.slave_closed.store(true, Ordering::SeqCst);
        self.read_wait.wake_all(PollEvents::HUP.bits());
    }
    fn pty_index(&self) -> Option<u32> {
        self.index.get().copied()
    }
}

/// The master side, an open file.
pub struct PtyMaster {
    pub index: u32,
    pub tty: Arc<Tty>,
    link: Arc<Link>,
    table: Arc<PtyTable>,
}

impl PtyMaster {
    /// The slave may be opened (TIOCSPTLCK 0 was done).
    pub fn is_locked(&self) -> bool {
        self.link.locked.load(Ordering::SeqCst)
    }

    fn hung_up(&self) -> bool {
        self.link.slave_closed.load(Ordering::SeqCst) && self.tty.opens.load(Ordering::SeqCst) == 0
    }
}

impl FileOps for PtyMaster {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }

    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _pos: u64) -> Result<usize> {
        let packet = self.link.packet.load(Ordering::Relaxed);
        let max = dst.remaining().min(BUFFER + 1);
        if max == 0 {
            return Ok(0);
        }
        let data = task.wait_unless(file.nonblocking(), &[&self.link.read_wait], || {
            if packet {
                let status = self.link.status.swap(0, Ordering::SeqCst);
                if status != 0 {
                    return Some(Ok(vec![status]));
                }
            }
            let mut ring = self.link.ring.lock();
            if ring.is_empty() {
                return self.hung_up().then_some(Err(errno::EIO));
            }
            let lead = usize::from(packet);
            let mut buf = vec![TIOCPKT_DATA; lead + ring.len().min(max - lead)];
            ring.pop(&mut buf[lead..]);
            Some(Ok(buf))
        })??;
        let n = match dst.put(&data) {
            Ok(n) => n,
            Err(e) => {
                let lead = usize::from(packet).min(data.len());
                self.link.ring.lock().unpop(&data[lead..]);
                return Err(e);
            }
        };
        if n < data.len() {
            self.link.ring.lock().unpop(&data[n..]);
        }
        self.tty.output_ready();
        Ok(n)
    }

    fn write(&self, file: &File, task: &Task, src: &mut dyn Source, _pos: u64) -> Result<usize> {
        let mut done = 0;
        let mut buf = [0u8; 1024];
        while src.remaining() > 0 {
            let want = src.remaining().min(buf.len());
            let n = match src.take(&mut buf[..want]) {
                Ok(n) => n,
                Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
            };
            let mut off = 0;
            while off < n {
                let step = task.wait_unless(file.nonblocking(), &[&self.link.write_wait], || {
                    let m = self.tty.receive(&buf[off..n]);
                    (m > 0).then_some(m)
                });
                match step {
                    Ok(m) => off += m,
                    Err(e) => return if done + off > 0 { Ok(done + off) } else { Err(e) },
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
        let mut e = PollEvents::empty();
        if !self.link.ring.lock().is_empty() {
            e |= PollEvents::IN | PollEvents::RDNORM;
        }
        if self.link.packet.load(Ordering::Relaxed) && self.link.status.load(Ordering::Relaxed) != 0 {
            e |= PollEvents::IN | PollEvents::PRI;
        }
        if self.tty.state.lock().ld.has_room() {
            e |= PollEvents::OUT | PollEvents::WRNORM;
        }
        if self.hung_up() {
            e |= PollEvents::HUP;
        }
        e
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.link.read_wait.clone(), self.link.write_wait.clone()]
    }

    fn ioctl(&self, file: &File, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            TIOCGPTN => cx.write_u32(arg, self.index)?,
            TIOCSPTLCK => {
                let lock = cx.read_u32(arg)? != 0;
                self.link.locked.store(lock, Ordering::SeqCst);
            }
            TIOCGPTLCK => cx.write_u32(arg, u32::from(self.is_locked()))?,
            TIOCPKT => {
                let on = cx.read_u32(arg)? != 0;
                self.link.packet.store(on, Ordering::SeqCst);
                self.link.status.store(0, Ordering::SeqCst);
            }
            TIOCGPKT => cx.write_u32(arg, u32::from(self.link.packet.load(Ordering::SeqCst)))?,
            TIOCSIG => {
                let s = abi::Signal::new(arg as i32).ok_or(errno::EINVAL)?;
                if !matches!(s, abi::Signal::SIGINT | abi::Signal::SIGQUIT | abi::Signal::SIGTSTP) {
                    return Err(errno::EINVAL);
                }
                self.tty.signal_foreground(s);
            }
            FIONREAD => {
                let n = self.link.ring.lock().len();
                cx.write_u32(arg, n as u32)?;
            }
            TIOCGPGRP => {
                // On a master it needs no controlling terminal.
                let fg: Pid = self.tty.job.lock().foreground;
                cx.write_u32(arg, fg as u32)?;
            }
            TIOCGSID => {
                let sid = self.tty.job.lock().session;
                if sid == 0 {
                    return Err(errno::ENOTTY);
                }
                cx.write_u32(arg, sid as u32)?;
            }
            TCFLSH => self.tty.flush(arg)?,
            TIOCSCTTY | TIOCNOTTY => return Err(errno::ENOTTY),
            _ => return self.tty.clone().ioctl(file, cx, cmd, arg),
        }
        Ok(0)
    }
}

impl Drop for PtyMaster {
    fn drop(&mut self) {
        // The slave's name goes first, so that nobody opens a dead line.
        let gone = self.table.slaves.lock().remove(&self.index);
        drop(gone);
        self.tty.hangup();
    }
}
