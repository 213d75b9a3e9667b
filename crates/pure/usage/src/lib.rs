//! What each tool takes on its command line, as data.
//!
//! Help texts and the shell completions under `completions/` are made from these tables ([`programs`]), the programs
//! refuse what is not in them, and tests compare them with the manual pages; so none can fall behind the others.

#![forbid(unsafe_code)]

mod complete;
pub mod programs;

use std::fmt::{Display, Write};

/// An error's text without the errno's number that the standard library adds: it tells a user nothing.
pub fn plain(error: impl Display) -> String {
    let text = error.to_string();
    let cut = text.split_once(" (os error ").and_then(|(before, rest)| {
        let (number, after) = rest.split_once(')')?;
        number.parse::<u32>().ok().map(|_| format!("{before}{after}"))
    });
    cut.unwrap_or(text)
}

/// What a word on the command line is, for completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The name of a file.
    File,
    /// The name of a directory.
    Dir,
    /// One of a few words; what ends in `=` goes on.
    Word(&'static [&'static str]),
    /// A user.
    User,
    /// A group.
    Group,
    /// A network interface.
    Interface,
    /// A running machine.
    Machine,
    /// Something nobody can guess.
    Free,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The letter after one dash.
    pub short: Option<char>,
    /// The word after the program's dashes.
    pub long: Option<&'static str>,
    /// Name and kind of the value.
    pub value: Option<(&'static str, Value)>,
    /// What it does, in a line.
    pub help: &'static str,
}

/// One program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The usage text of errors and `--help`, ending in a newline.
    pub usage: &'static str,
    /// What stands before an option that is a word: `--`, or `-` in the oldest of the tools.
    pub dash: &'static str,
    /// Its options.
    pub options: &'static [Opt],
    /// What the words are that belong to no option, in their order; the last is for all that follow, too.
    pub operands: &'static [Value],
}

impl Opt {
    /// The option as it can be typed: `-b` and `--backing`.
    pub fn names(&self, dash: &str) -> Vec<String> {
        let short = self.short.map(|c| format!("-{c}"));
        short.into_iter().chain(self.long.map(|w| format!("{dash}{w}"))).collect()
    }

    /// The option as it is written: `-b, --backing FILE`.
    fn spelled(&self, dash: &str) -> String {
        let value = self.value.map(|(name, _)| format!(" {name}")).unwrap_or_default();
        self.names(dash).join(", ") + &value
    }
}

impl Program {
    /// The text of the help option.
    pub fn help(&self) -> String {
        let mut out = self.usage.to_string();
        for opt in self.options {
            let _ = writeln!(out, "  {:24} {}", opt.spelled(self.dash), opt.help);
        }
        out
    }

    /// Whether there is an option of this letter.
    pub fn has_short(&self, letter: char) -> bool {
        self.options.iter().any(|opt| opt.short == Some(letter))
    }

    /// Whether there is an option of this word.
    pub fn has_long(&self, word: &str) -> bool {
        self.options.iter().any(|opt| opt.long == Some(word))
    }
}
