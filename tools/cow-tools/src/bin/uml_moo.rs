//! Merges a COW file with its backing file.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cow_tools::run("uml_moo", || cow_tools::moo::main(std::env::args_os().skip(1)))
}
