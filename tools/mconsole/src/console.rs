//! Carries out lines: those of the client itself, and those for the machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mconsole::client::{
    self, CLIENT_VERSION, LOCAL_HELP, Line, NO_ANSWER, absolute_names, exit_status, log_requests,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};

use usage::plain;

use crate::args::Options;
use crate::machine::{Machine, is_served, printable};
use crate::talk::{Failure, ask};

/// The largest file `log -f` takes.
const LOG_FILE_MAX: u64 = 16 << 20;

/// What a line came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with this exit status if it was the only line.
    Done(u8),
    /// The user wants to leave.
    Quit,
}

/// A conversation with a machine, which may change.
pub struct Console {
    /// The machine.
    pub machine: Machine,
    /// How to look for machines and how long to wait.
    pub options: Options,
    /// Set when an answer is not to be waited for any longer.
    pub stop: Arc<AtomicBool>,
}

impl Console {
    /// Carries out a line.
    pub fn run(&mut self, line: &[u8]) -> Outcome {
        let status = match Line::parse(line) {
            Line::Empty => 0,
            Line::Quit => return Outcome::Quit,
            Line::Switch(name) => self.switch(OsStr::from_bytes(name)),
            Line::Help => {
                let status = self.send(b"help", None);
                print(LOCAL_HELP.as_bytes());
                status
            }
            Line::Version => {
                print(format!("{CLIENT_VERSION}\n").as_bytes());
                0
            }
            Line::Int => self.interrupt(),
            Line::Log(text) => self.log(text),
            Line::LogFile(file) => self.log_file(Path::new(OsStr::from_bytes(file))),
            Line::Umlfs(argument) => self.umlfs(argument),
            Line::Send(command) => match client::addressed(command) {
                Some((name, command)) => self.send_to_other(OsStr::from_bytes(name), command),
                None => self.send_fixed(command),
            },
        };
        Outcome::Done(status)
    }

    fn switch(&mut self, name: &OsStr) -> u8 {
        if name.is_empty() {
            return complain("switch to which machine?", 1);
        }
        let machine = Machine::find(name, self.options.uml_dir.as_deref());
        if !machine.socket.as_deref().is_some_and(is_served) {
            return complain(&format!("nobody serves '{}', staying", name.display()), 1);
        }
        print(format!("Switched to '{}'\n", name.display()).as_bytes());
        self.machine = machine;
        0
    }

    fn send_to_other(&mut self, name: &OsStr, command: &[u8]) -> u8 {
        let other = Machine::find(name, self.options.uml_dir.as_deref());
        let ours = std::mem::replace(&mut self.machine, other);
        let status = self.send_fixed(command);
        self.machine = ours;
        status
    }

    fn send_fixed(&self, command: &[u8]) -> u8 {
        match std::env::current_dir() {
            Ok(cwd) => self.send(&absolute_names(command, cwd.as_os_str().as_bytes()), None),
            // Without a directory there are no names relative to it that could be meant.
            Err(_) => self.send(command, None),
        }
    }

    /// Sends a command, prints the answer or what is wrong, and returns the exit status.
    fn send(&self, command: &[u8], passed: Option<OwnedFd>) -> u8 {
        let answer = match &self.machine.socket {
            None => Err(Failure::NoMachine),
            Some(socket) => {
                self.stop.store(false, Ordering::Relaxed);
                ask(socket, command, passed, self.options.timeout, &self.stop)
            }
        };
        match answer {
            Ok(answer) => {
                let word: &[u8] = if answer.err == 0 { b"OK " } else { b"ERR " };
                print(&[word, &answer.text, b"\n"].concat());
                exit_status(answer.err)
            }
            Err(failure) => {
                if let Failure::Gone(_, text) | Failure::Silent(_, text) = &failure
                    && !text.is_empty()
                {
                    print(&[text, &b"\n"[..]].concat());
                }
                complain(
                    &failure.to_string(),
                    if matches!(failure, Failure::TooLong) { 1 } else { NO_ANSWER },
                )
            }
        }
    }

    fn log(&self, text: &[u8]) -> u8 {
        for request in log_requests(text) {
            let status = self.send(&request, None);
            if status != 0 {
                return status;
            }
        }
        0
    }

    fn log_file(&self, file: &Path) -> u8 {
        match read_log(file) {
            Ok(text) => self.log(&text),
            Err(e) => complain(&format!("cannot read '{}': {}", file.display(), plain(&e)), 1),
        }
    }

    fn interrupt(&self) -> u8 {
        // A machine that is gone may have left its number to somebody else.
        let served = self.machine.socket.as_deref().is_some_and(is_served);
        let pid = self.machine.pid().filter(|_| served).and_then(Pid::from_raw);
        let Some(pid) = pid else {
            print(b"Cannot determine the PID of your UML session, not sending signal.\n");
            return 0;
        };
        match kill_process(pid, Signal::INT) {
            Ok(()) => 0,
            Err(e) => complain(&format!("cannot interrupt process {}: {e}", pid.as_raw_nonzero()), 1),
        }
    }

    fn umlfs(&self, argument: &[u8]) -> u8 {
        let number = str::from_utf8(argument).ok().and_then(|text| text.parse::<i32>().ok());
        let Some(number) = number.filter(|&n| n >= 0) else {
            return complain("umlfs needs the number of an open descriptor", 1);
        };
        let copy = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .and_then(|us| pidfd_getfd(us, number, PidfdGetfdFlags::empty()));
        match copy {
            Ok(descriptor) => self.send(&[b"umlfs ", argument].concat(), Some(descriptor)),
            Err(e) => complain(&format!("descriptor {number}: {e}"), 1),
        }
    }
}

/// The content of a file for the machine's log. What it is does not tell how much will come.
fn read_log(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file)?.take(LOG_FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LOG_FILE_MAX {
        return Err(io::Error::other("the file is too large for a log"));
    }
    Ok(text)
}

/// Prints; on a terminal without what the machine might want to do to it.
pub fn print(text: &[u8]) {
    let mut out = io::stdout().lock();
    // Whoever closed our output does not want it.
    let _ = if out.is_terminal() {
        out.write_all(printable(&String::from_utf8_lossy(text)).as_bytes())
    } else {
        out.write_all(text)
    };
    let _ = out.flush();
}

/// Says what is wrong, if that is read, and returns the status.
pub fn complain(what: &str, status: u8) -> u8 {
    let _ = writeln!(io::stderr(), "uml_mconsole: {}", printable(what));
    status
}
