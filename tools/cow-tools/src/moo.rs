//! `uml_moo`: merging COW files, and what else can be done with them.

use crate::file::HostFile;
use crate::image::{Format, Source, convert};
use crate::output::Output;
use crate::{Failure, Result, fail, info, inplace, rebase, say};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use usage::programs::MOO;

/// What the command line asks for.
#[derive(Debug, Default)]
struct Options {
    in_place: bool,
    info: bool,
    rebase: Option<PathBuf>,
    backing: Option<PathBuf>,
    from: Option<Format>,
    to: Option<Format>,
    files: Vec<PathBuf>,
}

/// Runs the program with its arguments.
pub fn main(args: impl Iterator<Item = OsString>) -> Result<()> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut options = Options::default();
    let usage = |e: lexopt::Error| wrong(e.to_string());
    while let Some(arg) = parser.next().map_err(usage)? {
        let known = match &arg {
            Short(letter) => MOO.has_short(*letter),
            Long(word) => MOO.has_long(word),
            Value(_) => true,
        };
        if !known {
            return Err(wrong(arg.unexpected().to_string()));
        }
        match arg {
            Short('d') | Long("in-place") => options.in_place = true,
            Short('b') | Long("backing") => {
                options.backing = Some(parser.value().map_err(usage)?.into());
            }
            Long("info") => options.info = true,
            Long("rebase") => options.rebase = Some(parser.value().map_err(usage)?.into()),
            Long("from") => options.from = Some(format("--from", &mut parser)?),
            Long("to") => options.to = Some(format("--to", &mut parser)?),
            Short('h') | Long("help") => {
                return say(MOO.help());
            }
            Short('V') | Long("version") => {
                return say(concat!("uml_moo ", env!("CARGO_PKG_VERSION"), "\n"));
            }
            Long("completions") => {
                let shell = parser.value().and_then(|v| v.string()).map_err(usage)?;
                let text = MOO.completions(&shell);
                return say(text.ok_or_else(|| wrong(format!("--completions: unknown shell '{shell}'")))?);
            }
            Value(file) => options.files.push(file.into()),
            other => return Err(wrong(other.unexpected().to_string())),
        }
    }
    options.run()
}

impl Options {
    fn run(&self) -> Result<()> {
        let modes = [self.in_place, self.info, self.rebase.is_some()];
        if modes.iter().filter(|&&m| m).count() > 1 {
            return Err(wrong("-d, --info and --rebase exclude each other"));
        }
        if modes.contains(&true) && (self.from.is_some() || self.to.is_some()) {
            return Err(wrong("--from and --to only go with a new image"));
        }
        let backing = self.backing.as_deref();
        match (&self.files[..], modes) {
            ([cow], [true, ..]) => inplace::merge(cow, backing),
            ([cow], [_, true, _]) => info::print(cow, backing),
            ([cow], _) if let Some(to) = &self.rebase => rebase::rebase(cow, backing, to),
            ([cow, image], [false, false, false]) => self.merge(cow, image),
            (files, [false, false, false]) => {
                Err(misused(format!("needs a COW file and a new image, not {} names", files.len())))
            }
            (files, _) => Err(misused(format!("needs one COW file, not {} names", files.len()))),
        }
    }

    /// Merges (or converts) into a new image.
    fn merge(&self, cow: &Path, image: &Path) -> Result<()> {
        let to = self.to.unwrap_or(Format::Raw);
        let source = Source::open(cow, self.from, self.backing.as_deref())?;
        if self.backing.is_some() && to != Format::Cow && !matches!(source, Source::Cow(_)) {
            return Err(wrong("-b only goes with a COW file"));
        }
        let default;
        let base = match (&source, &self.backing) {
            (_, Some(given)) => Some(given.as_path()),
            (Source::Cow(device), None) => {
                default = device.backing().path().to_path_buf();
                Some(default.as_path())
            }
            _ => None,
        };
        // The original truncates its own input here.
        let mut inputs = vec![cow];
        inputs.extend(base);
        refuse_input(image, &inputs)?;
        let about = format!("Output file open: '{}'", image.display());
        let output = Output::create(image, true).map_err(fail(about))?;
        convert(&source, to, base, output, image)
    }
}

/// Refuses an output that is one of the inputs.
fn refuse_input(image: &Path, inputs: &[&Path]) -> Result<()> {
    let identity = |path: &Path| {
        std::fs::metadata(path).ok().map(|m| {
            use std::os::unix::fs::MetadataExt;
            (m.dev(), m.ino())
        })
    };
    match inputs.iter().find(|path| identity(path).is_some_and(|i| Some(i) == identity(image))) {
        Some(path) => Err(Failure::new(format!(
            "Output file open: '{}' is the input '{}'",
            image.display(),
            path.display()
        ))),
        None => Ok(()),
    }
}

fn format(option: &str, parser: &mut lexopt::Parser) -> Result<Format> {
    let name = parser.value().and_then(|v| v.string()).map_err(|e| wrong(e.to_string()))?;
    Format::from_name(&name).ok_or_else(|| wrong(format!("{option}: unknown format '{name}'")))
}

/// A wrong command line; the original's exit status for it is 1.
fn wrong(text: impl Into<String>) -> Failure {
    Failure::new(text)
}

/// A command line without the right number of names.
fn misused(text: String) -> Failure {
    wrong(format!("{text}\n{}", MOO.usage.trim_end()))
}

/// Opens a COW file that is going to be changed, or fails as the original does.
pub(crate) fn open_cow(path: &Path, writable: bool) -> Result<HostFile> {
    let file = if writable { HostFile::open_rw(path) } else { HostFile::open(path) };
    file.map_err(fail(format!("COW file open: '{}'", path.display())))
}
