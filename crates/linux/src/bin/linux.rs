//! `linux`: the machine by User Mode Linux's command line.
#![forbid(unsafe_code)]

use std::{
    env,
    os::unix::ffi::OsStringExt,
    process::{exit, id},
};

use cmdline::{Config, Request};
use host_linux::{
    confine,
    parent::{self, Again, Ended, Side},
    signals::{self, Taken},
};
use kernel::machine::{End, RELEASE};
use umlaut_machine::{
    machine::{Failure, Outcome, open_host, run},
    umid::UmidDir,
    uml,
};

/// Exit status of a panic: what a shell shows for SIGABRT.
const PANIC: i32 = 134;

fn main() {
    let taken = signals::block();
    let args: Vec<Vec<u8>> = env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    let config = match cmdline::parse(&args) {
        Ok(Request::Help) => return print!("{}", cmdline::help(RELEASE)),
        Ok(Request::Version) => return println!("{RELEASE}"),
        Ok(Request::ShowConfig) => {
            return print!("{}", cmdline::show_config(RELEASE, &[("HOSTFS", true), ("SMP", true)]));
        }
        Ok(Request::Boot(c)) => c,
        Err(e) => {
            eprintln!("linux: {e}");
            exit(1);
        }
    };
    match live(&config, &args, taken) {
        Ok(status) => exit(status),
        Err(f) => {
            eprintln!("linux: {}", f.line);
            exit(f.status);
        }
    }
}

/// Starts machines, each in a process of its own, until one does not ask for the next; the status of the last.
fn live(config: &Config, args: &[Vec<u8>], taken: Taken) -> Result<i32, Failure> {
    uml::refuse_unbuilt(config, args)?;
    for line in config.problems.iter().chain(&config.without_effect) {
        eprintln!("{line}");
    }
    let umid = match &config.umid {
        None => None,
        Some(name) => {
            let home = env::var("HOME").ok();
            let dir = config.uml_dir.as_ref().map(|d| String::from_utf8_lossy(d).into_owned());
            Some(UmidDir::claim(name, dir.as_deref(), home.as_deref(), id()).map_err(Failure::new)?)
        }
    };
    loop {
        let side = parent::start(&taken).map_err(|e| Failure::new(format!("cannot start a process: {e}")))?;
        match side {
            // Ends here: what the parent holds is not the machine's to give back.
            Side::Machine(again) => exit(machine(config, taken, again)),
            Side::Parent(Ended::Restart) => {}
            Side::Parent(Ended::Exited(status)) => return Ok(status),
            Side::Parent(Ended::Killed(signo)) => {
                drop(umid);
                parent::die_of(signo);
            }
        }
    }
}

/// The machine, in the process that is confined for it; its exit status.
fn machine(config: &Config, taken: Taken, again: Again) -> i32 {
    match boot(config, taken) {
        Ok(o) => match o.end {
            End::PowerOff | End::Halt => o.exit_code,
            End::Restart => {
                if !config.no_reboot {
                    again.ask();
                }
                o.exit_code
            }
            // Linux panics when init ends; the status tells the same.
            End::InitExited(status) => {
                let code = status.wait_status();
                eprintln!("Kernel panic - not syncing: Attempted to kill init! exitcode={code:#010x}");
                PANIC
            }
            End::Panic => PANIC,
        },
        Err(f) => {
            eprintln!("linux: {}", f.line);
            f.status
        }
    }
}

fn boot(config: &Config, taken: Taken) -> Result<Outcome, Failure> {
    confine::files(&uml::reach(config))
        .map_err(|e| Failure::new(format!("cannot confine the machine: {e}")))?;
    let host = open_host(config.ncpus)?;
    let setup = uml::setup(&host, config)?;
    run(host, taken, setup)
}
