//! Terminals: the line discipline with its locks and waiters, job control, ptys.
//!
//! A [`Tty`] stands between a [`TtyDriver`] (a console channel, a pty's master) and its readers. Input enters by
//! [`Tty::receive`], from any thread; output leaves through the driver, which never blocks: what it does not take waits
//! in the tty until [`Tty::output_ready`].
//!
//! Lock order: TTY (discipline), then LEAF (session). Signals are sent and drivers' wakers called with no lock held.

mod file;
mod ioctl;
mod job;
pub mod pty;

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use abi::{Signal, Termios, Winsize};
use ksync::{Mutex, WaitQueue};
use ldisc::{Effects, LineDiscipline, TtySignal};

pub use file::TtyFile;
pub use job::{leader_exits, release_ctty};

use crate::{locks, machine::Machine, task::Pid, vfs::poll::PollEvents};

/// The wire of a terminal. Methods are called with the tty locked and must neither block nor call back.
pub trait TtyDriver: Send + Sync {
    /// Takes output; returns how many bytes. Fewer than all: the driver calls [`Tty::output_ready`] when there is room.
    fn write(&self, data: &[u8]) -> usize;
    /// Bytes taken and not yet gone (TIOCOUTQ).
    fn queued(&self) -> usize {
        0
    }
    /// Throws away queued output.
    fn flush_output(&self) {}
    /// Settings changed (a pty in packet mode tells its master).
    fn settings_changed(&self, _old: &Termios, _new: &Termios) {}
    /// Output was stopped or started by flow control.
    fn flow_changed(&self, _stopped: bool) {}
    /// A reader made room for input.
    fn unthrottle(&self) {}
    /// The last open file of this side was closed.
    fn last_close(&self) {}
    /// The pty number, if it is one.
    fn pty_index(&self) -> Option<u32> {
        None
    }
}

pub(crate) struct State {
    pub(crate) ld: LineDiscipline,
    pub(crate) winsize: Winsize,
    /// Processed output that the driver has not taken.
    pending: Vec<u8>,
    pub(crate) exclusive: bool,
}

/// Whose terminal it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Job {
    pub(crate) session: Pid,
    pub(crate) foreground: Pid,
}

/// A terminal.
pub struct Tty {
    /// Name below /dev ("pts/0", "tty1").
    pub name: String,
    pub rdev: u64,
    machine: Weak<Machine>,
    pub(crate) state: Mutex<State>,
    pub(crate) job: Mutex<Job>,
    pub(crate) driver: Arc<dyn TtyDriver>,
    pub(crate) read_wait: Arc<WaitQueue>,
    pub(crate) write_wait: Arc<WaitQueue>,
    hung_up: AtomicBool,
    /// Open files of this side.
    pub(crate) opens: AtomicU32,
}

impl Tty {
    pub fn new(machine: &Arc<Machine>, name: String, rdev: u64, driver: Arc<dyn TtyDriver>) -> Arc<Tty> {
        Arc::new(Tty {
            name,
            rdev,
            machine: Arc::downgrade(machine),
            state: Mutex::new(
                locks::TTY,
                State {
                    ld: LineDiscipline::default(),
                    winsize: Winsize::default(),
                    pending: Vec::new(),
                    exclusive: false,
                },
            ),
            job: Mutex::new(locks::LEAF, Job::default()),
            driver,
            read_wait: Arc::new(WaitQueue::new()),
            write_wait: Arc::new(WaitQueue::new()),
            hung_up: AtomicBool::new(false),
            opens: AtomicU32::new(0),
        })
    }

    pub(crate) fn machine(&self) -> Option<Arc<Machine>> {
        self.machine.upgrade()
    }

    /// Input from the wire: processed, echoed, queued; signals are sent. Returns the bytes taken (fewer when readers are
    /// behind; the driver's `unthrottle` says when to go on).
    pub fn receive(&self, data: &[u8]) -> usize {
        let (fx, taken, readable) = {
            let mut s = self.state.lock();
            let n = s.ld.room_for(data);
            let fx = s.ld.input(&data[..n]);
            self.apply(&mut s, &fx);
            (fx, n, s.ld.has_news())
        };
        self.after(&fx, readable);
        taken
    }

    /// A break on the wire.
    pub fn receive_break(&self) {
        let (fx, readable) = {
            let mut s = self.state.lock();
            let fx = s.ld.input_break();
            self.apply(&mut s, &fx);
            (fx, s.ld.has_news())
        };
        self.after(&fx, readable);
    }

    fn apply(&self, s: &mut State, fx: &Effects) {
        if fx.flush_output {
            s.pending.clear();
            self.driver.flush_output();
        }
        if let Some(stopped) = fx.flow {
            self.driver.flow_changed(stopped);
        }
        s.pending.extend_from_slice(&fx.echo);
        self.push(s);
    }

    fn after(&self, fx: &Effects, readable: bool) {
        if readable {
            self.read_wait.wake_all(PollEvents::IN.bits());
        }
        if fx.flow == Some(false) || fx.flush_output {
            self.write_wait.wake_all(PollEvents::OUT.bits());
        }
        for s in &fx.signals {
            let signal = match s {
                TtySignal::Interrupt => Signal::SIGINT,
                TtySignal::Quit => Signal::SIGQUIT,
                TtySignal::Suspend => Signal::SIGTSTP,
            };
            self.signal_foreground(signal);
        }
    }

    /// Hands pending output to the driver.
    fn push(&self, s: &mut State) {
        if s.pending.is_empty() || s.ld.stopped() {
            return;
        }
        let n = self.driver.write(&s.pending);
        s.pending.drain(..n);
    }

    /// The driver has room again.
    pub fn output_ready(&self) {
        let empty = {
            let mut s = self.state.lock();
            self.push(&mut s);
            s.pending.is_empty()
        };
        if empty {
            self.write_wait.wake_all(PollEvents::OUT.bits());
        }
    }

    /// One try to write: bytes taken, 0 if output must wait.
    pub(crate) fn try_write(&self, data: &[u8]) -> usize {
        let mut s = self.state.lock();
        self.push(&mut s);
        if !s.pending.is_empty() || s.ld.stopped() {
            return 0;
        }
        let n = data.len().min(2048);
        let out = s.ld.output(&data[..n]);
        s.pending = out;
        self.push(&mut s);
        n
    }

    pub(crate) fn can_write(&self) -> bool {
        let mut s = self.state.lock();
        self.push(&mut s);
        s.pending.is_empty() && !s.ld.stopped()
    }

    /// Bytes not yet on the wire.
    pub(crate) fn output_queued(&self) -> usize {
        self.state.lock().pending.len() + self.driver.queued()
    }

    /// Kernel messages: output without waiting or job control; what does not fit is dropped.
    pub fn print(&self, text: &[u8]) {
        let mut s = self.state.lock();
        let out = s.ld.output(text);
        if s.pending.len() < 65536 {
            s.pending.extend_from_slice(&out);
        }
        self.push(&mut s);
    }

    pub fn win_size(&self) -> Winsize {
        self.state.lock().winsize
    }

    /// New size; SIGWINCH to the foreground group if it differs.
    pub fn set_win_size(&self, w: Winsize) {
        let changed = {
            let mut s = self.state.lock();
            std::mem::replace(&mut s.winsize, w) != w
        };
        if changed {
            self.signal_foreground(Signal::SIGWINCH);
        }
    }

    pub fn termios(&self) -> Termios {
        *self.state.lock().ld.termios()
    }

    /// New settings without waiting.
    pub fn set_termios(&self, t: Termios) {
        let readable = {
            let mut s = self.state.lock();
            let old = *s.ld.termios();
            let was_stopped = s.ld.stopped();
            s.ld.set_termios(t);
            self.driver.settings_changed(&old, &t);
            if was_stopped && !s.ld.stopped() {
                self.push(&mut s);
            }
            s.ld.has_news()
        };
        if readable {
            self.read_wait.wake_all(PollEvents::IN.bits());
        }
        self.write_wait.wake_all(PollEvents::OUT.bits());
    }

    /// The line is gone: readers see end of file, writers EIO, the session is told.
    pub fn hangup(&self) {
        if self.hung_up.swap(true, Ordering::SeqCst) {
            return;
        }
        self.state.lock().pending.clear();
        self.hangup_session();
        self.read_wait.wake_all(0);
        self.write_wait.wake_all(0);
    }

    pub fn is_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::SeqCst)
    }
    pub(crate) fn last_close(&self) {
        self.state.lock().exclusive = false;
        self.driver.last_close();
    }
    /// A line that was hung up can be used again (a console channel that came back).
    pub fn revive(&self) {
        self.hung_up.store(false, Ordering::SeqCst);
    }
}
