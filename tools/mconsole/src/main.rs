//! `uml_mconsole`: talks to the management console of a machine.
//!
//! [`machine`] finds it, [`talk`] asks one question, [`console`] carries out lines, [`prompt`] reads them. The
//! protocol is in the crate `mconsole`.

#![forbid(unsafe_code)]

mod args;
mod console;
mod machine;
mod prompt;
mod talk;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use usage::plain;

use crate::args::{Action, Options, USAGE};
use crate::console::{Console, Outcome, complain};
use crate::machine::{Machine, printable, running};

fn main() -> ExitCode {
    let (options, action) = match args::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(e) => {
            if e == USAGE {
                let _ = writeln!(io::stderr(), "{e}");
            } else {
                complain(&e, 1);
            }
            return ExitCode::FAILURE;
        }
    };
    let status = match action {
        Action::Print(text) => io::stdout().write_all(text.as_bytes()).map(|()| 0),
        Action::List => list(&options).map(|()| 0),
        Action::Talk(name, command) => {
            let machine = Machine::find(&name, options.uml_dir.as_deref());
            let mut console = Console { machine, options, stop: Arc::default() };
            match command {
                Some(command) => match console.run(&command) {
                    Outcome::Done(status) => Ok(status),
                    Outcome::Quit => Ok(0),
                },
                None => prompt::interact(&mut console).map(|()| 0),
            }
        }
    };
    match status {
        Ok(status) => ExitCode::from(status),
        // A reader who has gone wants no more.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => ExitCode::from(complain(&plain(&e), 1)),
    }
}

fn list(options: &Options) -> io::Result<()> {
    let machines = running(options.uml_dir.as_deref());
    let width = machines.iter().map(|m| m.umid.len()).max().unwrap_or(0).max(4);
    let mut out = io::stdout().lock();
    if !machines.is_empty() {
        writeln!(out, "{:width$} {:>7} SOCKET", "UMID", "PID")?;
    }
    for machine in machines {
        let pid = machine.pid.map_or("-".into(), |pid| pid.to_string());
        let socket = machine.socket.to_string_lossy();
        writeln!(out, "{:width$} {pid:>7} {}", printable(&machine.umid), printable(&socket))?;
    }
    Ok(())
}
