//! `cargo bench -p machine-tests [-- FILTER]`: the machine against its host, row by row.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // cargo adds `--bench`; the first plain word is a filter for the rows.
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    match machine_tests::bench::measure(&filter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
