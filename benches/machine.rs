//! `cargo bench -p machine-tests [-- [--quick] FILTER]`: the machine against its host, row by row. `--quick` measures each
//! row once and with small batches: enough to see a change of a third, not of a tenth.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // cargo adds `--bench`; the first plain word is a filter for the rows.
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let quick = std::env::args().any(|a| a == "--quick");
    match machine_tests::bench::measure(&filter, quick) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
