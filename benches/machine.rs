//! `cargo bench -p machine-tests [-- [--quick] [--list] [--lock FILE] FILTER]`: the machine against its host, row by row.
//! `--quick` measures each row once and with small batches: enough to see a change of a third, not of a tenth. `--lock`
//! holds a lock (flock(2)) on the file for each row alone, where several people or jobs share a machine.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use machine_tests::bench::{Options, measure};

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => options.quick = true,
            "--list" => options.list = true,
            "--lock" => options.lock = words.next().map(Into::into),
            // cargo adds `--bench`; the first plain word is a filter for the rows.
            _ if word.starts_with('-') || !options.filter.is_empty() => {}
            _ => options.filter = word,
        }
    }
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
