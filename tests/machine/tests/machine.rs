//! The suite's entry: `cargo test -p machine-tests [-- FILTER]`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use libtest_mimic::Arguments;
use machine_tests::lab::Lab;

fn main() -> ExitCode {
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
