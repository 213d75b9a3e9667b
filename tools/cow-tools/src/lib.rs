//! The COW tools `uml_mkcow` and `uml_moo`, as a library under two thin programs.
//!
//! - [`disk`]: a COW file as the disk of a machine: UML's rules of finding, checking and locking.
//! - [`file`]: host files as [`cow::Store`], locks, names.
//! - [`output`]: output files that appear whole or not at all.
//! - [`image`]: reading and writing raw, COW and qcow2 images, holes included.
//! - [`mkcow`], [`moo`], [`inplace`], [`rebase`], [`info`]: the work itself.
//! - [`progress`]: the progress bar, and stopping on a signal.

#![forbid(unsafe_code)]

pub mod disk;
pub mod file;
pub mod image;
pub mod info;
pub mod inplace;
pub mod mkcow;
pub mod moo;
pub mod output;
pub mod progress;
pub mod rebase;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use usage::plain;

/// Why a program ends early: one line for the user, and the exit status.
#[derive(Debug)]
pub struct Failure {
    /// What is said on standard error, without the program's name.
    pub text: String,
    /// The exit status.
    pub code: u8,
}

impl Failure {
    /// A failure of the work itself: status 1.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), code: 1 }
    }
}

/// The result of a step.
pub type Result<T> = std::result::Result<T, Failure>;

/// Runs a program and turns its failure into one line and an exit status.
pub fn run(name: &str, work: impl FnOnce() -> Result<()>) -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(format_args!("{name}: {}", failure.text));
            ExitCode::from(failure.code)
        }
    }
}

/// A failure from anything that can be shown, with what it is about in front.
pub(crate) fn fail<E: Display>(about: impl Display) -> impl FnOnce(E) -> Failure {
    move |e| Failure::new(format!("{about}: {}", plain(e)))
}

/// Prints on standard output. A reader who has gone wants no more, and that is no failure.
pub(crate) fn say(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(fail("standard output")),
    }
}

/// Prints a line on standard error, if that is read.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
