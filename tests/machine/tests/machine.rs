//! The suite's entry: `cargo test -p machine-tests [-- FILTER]`.

#![forbid(unsafe_code)]

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use libtest_mimic::Arguments;
use machine_tests::lab::Lab;

/// SIGINT and SIGQUIT in a mask of /proc/PID/status.
const KEYS: u64 = 1 << 1 | 1 << 2;

/// Begins again with the signals of the keyboard as they are by default: whoever is started in the background ignores them,
/// and would hand that on to the programs under test.
fn heed_keys() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if ignored & KEYS != 0 && std::env::var_os("UMLAUT_KEYS_HEEDED").is_none() {
        let again = Command::new("env")
            .args(["--default-signal=INT,QUIT", "UMLAUT_KEYS_HEEDED=1"])
            .args(std::env::args_os())
            .exec();
        eprintln!("machine tests: SIGINT and SIGQUIT stay ignored: {again}");
    }
}

fn main() -> ExitCode {
    heed_keys();
    let arguments = Arguments::from_args();
    let lab = match Lab::new() {
        Ok(lab) => lab,
        Err(error) => {
            eprintln!("machine tests: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = machine_tests::trials(&lab);
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(lab);
    conclusion.exit_code()
}
