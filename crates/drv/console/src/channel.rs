//! One line: a guest terminal and its host channel.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicBool, Ordering},
};

use abi::{Winsize, errno};
use hal::{Interest, Stream, Watch, WinSize};
use kernel::{
    Machine, Result, locks,
    tty::{Tty, TtyDriver},
};
use ksync::Mutex;

use crate::{Channel, LineConfig};

/// Bytes of output kept while the host does not take them.
const BUFFER: usize = 4096;

/// A guest terminal on a host channel.
pub struct Line {
    tty: OnceLock<Arc<Tty>>,
    driver: Arc<Driver>,
    machine: Weak<Machine>,
    config: LineConfig,
}

struct Driver {
    state: Mutex<State>,
    /// Input that the terminal did not take yet waits for its readers.
    throttled: AtomicBool,
    tty: OnceLock<Weak<Tty>>,
}

#[derive(Default)]
struct State {
    input: Option<Arc<dyn Stream>>,
    output: Option<Arc<dyn Stream>>,
    buffer: Vec<u8>,
    /// Input read from the host and not taken by the terminal.
    held: Vec<u8>,
    eof: bool,
    watches: Vec<Box<dyn Watch>>,
}

fn to_guest(w: WinSize) -> Winsize {
    Winsize { row: w.rows, col: w.cols, xpixel: w.xpixel, ypixel: w.ypixel }
}

impl Line {
    pub(crate) fn new(machine: &Arc<Machine>, config: &LineConfig, minor: u32) -> Arc<Line> {
        let driver = Arc::new(Driver {
            state: Mutex::new(locks::LEAF, State::default()),
            throttled: AtomicBool::new(false),
            tty: OnceLock::new(),
        });
        let name = format!("{}{}", if config.serial { "ttyS" } else { "tty" }, config.index);
        let tty = Tty::new(machine, name, abi::makedev(crate::TTY_MAJOR, minor), driver.clone());
        let _ = driver.tty.set(Arc::downgrade(&tty));
        Arc::new(Line {
            tty: OnceLock::from(tty),
            driver,
            machine: Arc::downgrade(machine),
            config: config.clone(),
        })
    }

    pub(crate) fn tty(&self) -> &Arc<Tty> {
        self.tty.get_or_init(|| unreachable!("set at creation"))
    }

    /// Opens the channel unless it is open.
    pub(crate) fn open(&self) -> Result<()> {
        let mut s = self.driver.state.lock();
        if s.input.is_some() || s.output.is_some() {
            return Ok(());
        }
        let machine = self.machine.upgrade().ok_or(errno::ENODEV)?;
        let mut pty: Option<(Arc<dyn Stream>, String)> = None;
        let mut half = |c: &Channel| -> Result<Option<Arc<dyn Stream>>> {
            Ok(match c {
                Channel::None | Channel::Null => None,
                Channel::Stream(s) => Some(s.clone()),
                Channel::Pts => {
                    if pty.is_none() {
                        pty = Some(machine.host.new_pty()?);
                    }
                    pty.as_ref().map(|p| p.0.clone())
                }
            })
        };
        let (input, output) = (half(&self.config.input)?, half(&self.config.output)?);
        s.input = input.clone();
        s.output = output.clone();
        drop(s);
        let tty = self.tty().clone();
        tty.revive();
        if let Some((_, path)) = pty {
            let kind = if self.config.serial { "Serial line" } else { "Virtual console" };
            let text = format!("{kind} {} assigned device '{path}'", self.config.index);
            machine.log.print(5, machine.clock.uptime_ns(), text);
        }
        let size_of =
            output.iter().chain(&input).find_map(|s| if s.is_terminal() { s.win_size() } else { None });
        if let Some(w) = size_of {
            tty.set_win_size(to_guest(w));
        }
        let mut watches = Vec::new();
        if let Some(i) = &input {
            if i.is_terminal() {
                i.set_raw()?;
            }
            let d = self.driver.clone();
            watches.push(i.watch(Interest { read: true, write: false }, Box::new(move || d.pump()))?);
        }
        if let Some(o) = &output {
            if o.is_terminal() {
                let t = Arc::downgrade(&tty);
                o.on_resize(Box::new(move |w| {
                    if let Some(t) = t.upgrade() {
                        t.set_win_size(to_guest(w));
                    }
                }));
            }
            let d = self.driver.clone();
            watches.push(o.watch(Interest { read: false, write: true }, Box::new(move || d.room()))?);
        }
        self.driver.state.lock().watches = watches;
        // What came before the watch.
        self.driver.pump();
        Ok(())
    }

    /// Tries to write out what is buffered; returns what is left.
    pub(crate) fn flush(&self) -> usize {
        self.tty().output_ready();
        let mut s = self.driver.state.lock();
        s.flush();
        s.buffer.len()
    }

    pub(crate) fn restore(&self) {
        let s = self.driver.state.lock();
        let streams: Vec<_> = s.input.iter().chain(&s.output).cloned().collect();
        drop(s);
        for s in streams {
            s.restore();
        }
    }
}

impl State {
    fn flush(&mut self) {
        let Some(out) = &self.output else {
            self.buffer.clear();
            return;
        };
        while !self.buffer.is_empty() {
            match out.write(&self.buffer) {
                Ok(n) => {
                    self.buffer.drain(..n);
                }
                Err(errno::EAGAIN) => break,
                // A dead terminal: output vanishes, as on a line without a carrier.
                Err(_) => self.buffer.clear(),
            }
        }
    }
}

impl Driver {
    fn tty(&self) -> Option<Arc<Tty>> {
        self.tty.get().and_then(Weak::upgrade)
    }

    /// The host takes output again.
    fn room(&self) {
        self.state.lock().flush();
        if let Some(t) = self.tty() {
            t.output_ready();
        }
    }

    /// Moves host input to the terminal.
    fn pump(&self) {
        let Some(tty) = self.tty() else { return };
        loop {
            let mut held = {
                let mut s = self.state.lock();
                if s.held.is_empty() {
                    let Some(input) = s.input.clone().filter(|_| !s.eof) else { return };
                    let mut buf = [0u8; 1024];
                    match input.read(&mut buf) {
                        Ok(0) => {
                            s.eof = true;
                            drop(s);
                            end_of_input(&tty);
                            return;
                        }
                        Ok(n) => s.held.extend_from_slice(&buf[..n]),
                        Err(errno::EAGAIN) => return,
                        Err(_) => {
                            s.eof = true;
                            drop(s);
                            tty.hangup();
                            return;
                        }
                    }
                }
                std::mem::take(&mut s.held)
            };
            self.throttled.store(true, Ordering::SeqCst);
            let n = tty.receive(&held);
            if n < held.len() {
                held.drain(..n);
                let mut s = self.state.lock();
                held.extend_from_slice(&s.held);
                s.held = held;
                return;
            }
            self.throttled.store(false, Ordering::SeqCst);
        }
    }
}

/// The host's end of file: readers see it as a typed end of file; output goes on.
fn end_of_input(tty: &Tty) {
    let t = tty.termios();
    if t.lflag & abi::ioctl::ICANON != 0 {
        tty.receive(&[t.cc[abi::ioctl::VEOF]]);
    } else {
        tty.hangup();
    }
}

impl TtyDriver for Driver {
    fn write(&self, data: &[u8]) -> usize {
        let mut s = self.state.lock();
        s.flush();
        if s.output.is_none() {
            return data.len();
        }
        let n = data.len().min(BUFFER.saturating_sub(s.buffer.len()));
        s.buffer.extend_from_slice(&data[..n]);
        s.flush();
        n
    }
    fn queued(&self) -> usize {
        self.state.lock().buffer.len()
    }
    fn flush_output(&self) {
        self.state.lock().buffer.clear();
    }
    fn unthrottle(&self) {
        if self.throttled.swap(false, Ordering::SeqCst) {
            self.pump();
        }
    }
}
