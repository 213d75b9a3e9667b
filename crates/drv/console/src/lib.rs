//! Consoles and serial lines (`conN=`, `sslN=`): guest terminals on host channels, /dev/console and /dev/tty; and host
//! descriptors passed straight to a program ([`HostFile`](stream_file::StreamFile)).
//!
//! Input goes host stream → poller thread → [`Tty::receive`]; output goes [`TtyDriver::write`] → host stream, what the
//! host does not take at once waits in a bounded buffer. A dead or slow terminal never blocks the kernel.
#![forbid(unsafe_code)]

mod channel;
mod stream_file;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use abi::{OpenFlags, errno};
use hal::Stream;
use kernel::{
    Machine, Result,
    registry::{DeviceDriver, DeviceNode, Registry},
    task::Task,
    tty::{Tty, TtyFile},
    vfs::{file::FileOps, inode::Inode},
};

pub use channel::Line;
pub use stream_file::StreamFile;

/// Major of virtual consoles and serial lines.
const TTY_MAJOR: u32 = 4;
/// Major of /dev/tty, /dev/console.
const AUX_MAJOR: u32 = 5;
/// First minor of serial lines.
const SERIAL_MINOR: u32 = 64;
/// Virtual consoles of a machine.
pub const CONSOLES: u32 = 16;
/// Serial lines of a machine.
pub const SERIALS: u32 = 64;

/// Where a half of a line goes on the host.
#[derive(Clone)]
pub enum Channel {
    /// The line does not exist.
    None,
    /// Output is discarded, input never comes.
    Null,
    /// A ready host stream (`fd:N`, `tty:/dev/x`).
    Stream(Arc<dyn Stream>),
    /// A new host pty at each first open (`pts`, `pty`).
    Pts,
}

/// One configured line.
#[derive(Clone)]
pub struct LineConfig {
    pub serial: bool,
    pub index: u32,
    pub input: Channel,
    pub output: Channel,
}

/// The lines of a machine.
pub struct Consoles {
    lines: BTreeMap<u32, LineConfig>,
    open: OnceLock<BTreeMap<u32, Arc<Line>>>,
    /// Minor of the line that /dev/console is.
    console: u32,
}

impl Consoles {
    /// Registers devices for the configured lines. `console`: which line kernel messages and init use.
    pub fn register(r: &mut Registry, lines: Vec<LineConfig>, console: (bool, u32)) -> Arc<Consoles> {
        let minor = |serial: bool, index: u32| if serial { SERIAL_MINOR + index } else { index };
        let lines: BTreeMap<u32, LineConfig> = lines
            .into_iter()
            .filter(|l| !matches!((&l.input, &l.output), (Channel::None, Channel::None)))
            .map(|l| (minor(l.serial, l.index), l))
            .collect();
        let mut node = |name: String, mode: u32, major: u32, minor: u32| {
            let mode = abi::fs::S_IFCHR | mode;
            r.device_nodes.push(DeviceNode { name, mode, rdev: abi::makedev(major, minor) });
        };
        node("tty".into(), 0o666, AUX_MAJOR, 0);
        node("console".into(), 0o600, AUX_MAJOR, 1);
        for (minor, l) in &lines {
            let (name, mode) = if l.serial { ("ttyS", 0o660) } else { ("tty", 0o620) };
            node(format!("{name}{}", l.index), mode, TTY_MAJOR, *minor);
        }
        let consoles =
            Arc::new(Consoles { lines, open: OnceLock::new(), console: minor(console.0, console.1) });
        for (major, minor) in [(TTY_MAJOR, None), (AUX_MAJOR, Some(0)), (AUX_MAJOR, Some(1))] {
            r.char_drivers.insert((major, minor), consoles.clone());
        }
        consoles
    }

    /// Creates the terminals and opens the console's channel.
    pub fn start(&self, machine: &Arc<Machine>) -> Result<()> {
        let lines: BTreeMap<_, _> =
            self.lines.iter().map(|(minor, l)| (*minor, Line::new(machine, l, *minor))).collect();
        if let Some(l) = lines.get(&self.console) {
            l.open()?;
        }
        let _ = self.open.set(lines);
        Ok(())
    }

    fn line(&self, minor: u32) -> Option<&Arc<Line>> {
        self.open.get()?.get(&minor)
    }

    /// The terminal behind /dev/console.
    pub fn console(&self) -> Option<Arc<Tty>> {
        self.line(self.console).map(|l| l.tty().clone())
    }

    /// Writes out what is buffered, waiting at most `ms` milliseconds; for the machine's end.
    pub fn drain(&self, machine: &Machine, ms: u64) {
        let end = machine.clock.monotonic_ns() + ms * 1_000_000;
        let lines: Vec<_> = self.open.get().into_iter().flat_map(|m| m.values()).collect();
        while lines.iter().any(|l| l.flush() > 0) && machine.clock.monotonic_ns() < end {
            machine.host.sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Puts host terminals back into their own mode.
    pub fn restore(&self) {
        for l in self.open.get().into_iter().flat_map(|m| m.values()) {
            l.restore();
        }
    }
}

impl DeviceDriver for Consoles {
    fn name(&self) -> &'static str {
        "console"
    }
    fn open(&self, rdev: u64, _: &Arc<dyn Inode>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        let (tty, flags) = match (abi::major(rdev), abi::minor(rdev)) {
            (AUX_MAJOR, 0) => {
                let tty = task.process.tty.lock().clone().ok_or(errno::ENXIO)?;
                (tty, flags | OpenFlags::NOCTTY)
            }
            // Opening /dev/console never gives a controlling terminal (tty_ioctl(4)).
            (AUX_MAJOR, _) => {
                let line = self.line(self.console).ok_or(errno::ENODEV)?;
                line.open()?;
                (line.tty().clone(), flags | OpenFlags::NOCTTY)
            }
            (_, minor) => {
                let line = self.line(minor).ok_or(errno::ENODEV)?;
                line.open()?;
                (line.tty().clone(), flags)
            }
        };
        TtyFile::open(tty, flags, task)
    }
}
