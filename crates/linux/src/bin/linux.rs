//! `linux`: the machine by User Mode Linux's command line.
#![forbid(unsafe_code)]

use std::{
    env,
    os::unix::{ffi::OsStringExt, process::CommandExt},
    process::{Command, exit, id},
};

use cmdline::{Config, Request};
use kernel::machine::{End, RELEASE};
use umlaut_machine::{
    machine::{Failure, Outcome, open_host, run},
    umid::UmidDir,
    uml,
};

/// Exit status of a panic: what a shell shows for SIGABRT.
const PANIC: i32 = 134;

fn main() {
    let taken = host_linux::signals::block();
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
    match boot(&config, &args, taken) {
        Ok(o) => match o.end {
            End::PowerOff | End::Halt => exit(o.exit_code),
            End::Restart if config.no_reboot => exit(o.exit_code),
            End::Restart => {
                let me = env::current_exe().unwrap_or_else(|_| "linux".into());
                let error = Command::new(me).args(env::args_os().skip(1)).exec();
                eprintln!("linux: cannot restart: {error}");
                exit(1);
            }
            // Linux panics when init ends; the status tells the same.
            End::InitExited(status) => {
                eprintln!("Kernel panic - not syncing: Attempted to kill init! exitcode={status}");
                exit(PANIC);
            }
            End::Panic => exit(PANIC),
        },
        Err(f) => {
            eprintln!("linux: {}", f.line);
            exit(f.status);
        }
    }
}

fn boot(config: &Config, args: &[Vec<u8>], taken: host_linux::signals::Taken) -> Result<Outcome, Failure> {
    uml::refuse_unbuilt(config, args)?;
    for line in config.problems.iter().chain(&config.without_effect) {
        eprintln!("{line}");
    }
    let _umid = match &config.umid {
        None => None,
        Some(name) => {
            let home = env::var("HOME").ok();
            let dir = config.uml_dir.as_ref().map(|d| String::from_utf8_lossy(d).into_owned());
            Some(UmidDir::claim(name, dir.as_deref(), home.as_deref(), id()).map_err(Failure::new)?)
        }
    };
    let host = open_host(config.ncpus)?;
    let setup = uml::setup(&host, config)?;
    run(host, taken, setup)
}
