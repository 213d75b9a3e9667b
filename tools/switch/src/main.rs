//! `uml_switch`: an Ethernet switch for user-mode machines, as a daemon without privilege.
//!
//! [`args`] reads the command line, [`server`] runs the loop, [`fabric`] carries the frames. The protocol and the
//! switching logic that needs no I/O are in the crate `switchproto`.

#![forbid(unsafe_code)]

mod args;
mod capture;
mod fabric;
mod log;
mod manage;
mod port;
mod seat;
mod server;
mod sockets;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use host_linux::tap::Tap;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use usage::plain;
use usage::programs::SWITCH;

use crate::args::{Action, Options};
use crate::server::{End, Parts, Server};

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

fn main() -> ExitCode {
    let done = match args::parse(std::env::args_os()) {
        Ok(Action::Run(options)) => run(&options),
        Ok(Action::Ask(socket, command)) => ask(&socket, &command),
        Ok(Action::Print(text)) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(e) => Err(e.to_string()),
        },
        Err(e) => {
            complain(&format!("{e}\n{}", SWITCH.help()));
            return ExitCode::FAILURE;
        }
    };
    done.unwrap_or_else(|e| {
        complain(&plain(e));
        ExitCode::FAILURE
    })
}

/// Says what is wrong, if that is read.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "uml_switch: {text}");
}

fn run(options: &Options) -> Result<ExitCode, String> {
    // From here on signals wait, so that no socket file is left behind.
    let signals = SIGNALS.iter().copied().collect::<SigSet>();
    // A switch in the background must not be stopped for looking at its terminal.
    let blocked = signals | SigSet::from(Signal::SIGTTIN);
    blocked.thread_block().map_err(|e| format!("cannot block signals: {e}"))?;
    let signal_fd = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|e| format!("cannot receive signals: {e}"))?;
    let descriptors = raise_file_limit();
    let mut files = sockets::Files::default();
    let manage = match &options.manage {
        None => None,
        Some(path) => {
            // Only this user may command the switch.
            let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
            let listener = sockets::listen(path, "management", &mut files);
            rustix::process::umask(old);
            Some(listener?)
        }
    };
    let control = sockets::listen(&options.control, "control", &mut files)?;
    let (data, reply) = sockets::data(options.data.as_deref(), &mut files)?;
    let capture = match &options.pcap {
        None => None,
        Some(path) => Some(
            capture::Capture::create(path).map_err(|e| format!("cannot write '{}': {e}", path.display()))?,
        ),
    };
    let mut fabric = fabric::Fabric::new(data, options.hub, capture, seed(), descriptors / 3, options.age);
    let mut attached = attached(options);
    let mut tap_failure = None;
    if let Some(name) = &options.tap {
        match open_tap(name) {
            Ok(tap) => {
                fabric.add_tap(tap);
                attached += &format!(" tap device '{name}'");
            }
            // As the original does: the switch is of use without it.
            Err(e) => tap_failure = Some(format!("cannot attach the tap device '{name}': {e}")),
        }
    }
    fabric.set_defaults(&options.port);
    if options.daemon {
        nix::unistd::daemon(false, true).map_err(|e| format!("cannot detach: {e}"))?;
    }
    let log = log::Log::start(options.quiet).map_err(|e| format!("cannot start a thread: {e}"))?;
    if options.data.is_some() {
        log.announce("Control protocol 0 compatibility");
    }
    if options.hub {
        log.announce(format!("{} will be a hub instead of a switch", options.program));
    }
    log.announce(attached);
    if let Some(e) = tap_failure {
        log.warn(e);
    }
    let parts = Parts { fabric, log, control, manage, reply, busy_poll: options.busy_poll };
    let mut server = Server::new(parts).map_err(|e| format!("cannot wait for clients: {e}"))?;
    let end = server.run(&signal_fd).map_err(|e| format!("cannot wait for clients: {e}"))?;
    let now = std::time::Duration::ZERO;
    server.fabric.sweep(now, &server.log);
    match end {
        End::Signal(number) => {
            server.log.announce(format!("Caught signal {number}, cleaning up and exiting"));
            drop((server, files, signal_fd));
            die_of(number);
            Ok(ExitCode::FAILURE)
        }
        End::Stdin => {
            server.log.announce("EOF on stdin, cleaning up and exiting");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn attached(options: &Options) -> String {
    let control = options.control.display();
    match &options.data {
        None => format!("{} attached to unix socket '{control}'", options.program),
        Some(data) => {
            format!("{} attached to unix sockets '{control}' and '{}'", options.program, data.display())
        }
    }
}

fn open_tap(name: &str) -> io::Result<Tap> {
    let tap = Tap::open(name)?;
    rustix::io::ioctl_fionbio(&tap, true)?;
    Ok(tap)
}

/// Each port takes a descriptor or two: allow as many as we may, and say how many that are.
fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Fewer ports are no reason not to start.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Loss on a lab line is no secret: without randomness it is merely the same each time.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

/// Dies of a signal that was held back, so that the parent sees why.
fn die_of(number: i32) {
    if let Ok(signal) = Signal::try_from(number) {
        let _ = SigSet::from(signal).thread_unblock();
        let _ = nix::sys::signal::raise(signal);
    }
}

/// Sends a command to a running switch and prints its answer; ERR is failure.
fn ask(socket: &Path, command: &str) -> Result<ExitCode, String> {
    let bad = |e: io::Error| format!("cannot ask '{}': {e}", socket.display());
    if command.contains('\n') {
        return Err("one command at a time".into());
    }
    let mut stream = UnixStream::connect(socket).map_err(bad)?;
    stream.write_all(format!("{command}\nquit\n").as_bytes()).map_err(bad)?;
    let mut out = io::stdout().lock();
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(bad)?;
        if line == "OK" {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(error) = line.strip_prefix("ERR ") {
            return Err(error.to_string());
        }
        writeln!(out, "{line}").map_err(|e| e.to_string())?;
    }
    if command.trim() == "quit" {
        Ok(ExitCode::SUCCESS)
    } else {
        Err("the switch gave no full answer".into())
    }
}
