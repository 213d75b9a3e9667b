//! Makes a COW file over a backing file.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cow_tools::run("uml_mkcow", || cow_tools::mkcow::main(std::env::args_os().skip(1)))
}
