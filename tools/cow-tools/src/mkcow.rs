//! `uml_mkcow`: a new COW file over a backing file.

use crate::file::{HostFile, absolute, path_bytes};
use crate::output::Output;
use crate::{Failure, Result, fail, say};
use cow::header::{ALIGNMENT, LARGE_ALIGNMENT, MAX_ALIGNMENT};
use cow::{Header, ReadStore, device};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use usage::programs::MKCOW;

/// Backing files of so many bytes get the large alignment, which may make the COW file 2 MiB longer (not larger).
const LARGE_FROM: u64 = 16 << 20;

/// Exit status of a wrong command line, as in the original.
const USAGE: u8 = 2;

/// Runs the program with its arguments.
pub fn main(args: impl Iterator<Item = OsString>) -> Result<()> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut force = false;
    let mut alignment = None;
    let mut files: Vec<PathBuf> = Vec::new();
    let usage = |e: lexopt::Error| wrong(e.to_string());
    while let Some(arg) = parser.next().map_err(usage)? {
        let known = match &arg {
            Short(letter) => MKCOW.has_short(*letter),
            Long(word) => MKCOW.has_long(word),
            Value(_) => true,
        };
        if !known {
            return Err(wrong(arg.unexpected().to_string()));
        }
        match arg {
            Short('f') | Long("force") => force = true,
            Long("align") => {
                let text = parser.value().and_then(|v| v.string()).map_err(usage)?;
                let bytes = parse_alignment(&text);
                alignment =
                    Some(bytes.ok_or_else(|| wrong(format!("--align: invalid number of bytes '{text}'")))?);
            }
            Short('h') | Long("help") => {
                return say(MKCOW.help());
            }
            Short('V') | Long("version") => {
                return say(concat!("uml_mkcow ", env!("CARGO_PKG_VERSION"), "\n"));
            }
            Long("completions") => {
                let shell = parser.value().and_then(|v| v.string()).map_err(usage)?;
                let text = MKCOW.completions(&shell);
                return say(text.ok_or_else(|| wrong(format!("--completions: unknown shell '{shell}'")))?);
            }
            Value(file) => files.push(file.into()),
            other => return Err(wrong(other.unexpected().to_string())),
        }
    }
    match &files[..] {
        [cow, backing] => make(cow, backing, force, alignment),
        _ => Err(misused(format!("needs a COW file and a backing file, not {} names", files.len()))),
    }
}

fn wrong(text: String) -> Failure {
    Failure { text, code: USAGE }
}

fn misused(text: String) -> Failure {
    wrong(format!("{text}\n{}", MKCOW.usage.trim_end()))
}

/// A number of bytes, with K or M behind it or not, that is a power of two and can be an alignment.
fn parse_alignment(text: &str) -> Option<u32> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 1 << 10),
        b'M' | b'm' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let bytes = digits.parse::<u32>().ok()?.checked_mul(unit)?;
    (bytes.is_power_of_two() && (512..=MAX_ALIGNMENT).contains(&bytes)).then_some(bytes)
}

/// Opens the backing file of a new COW file.
pub fn open_base(backing: &Path) -> Result<HostFile> {
    HostFile::open(backing).map_err(fail(format!("backing file '{}'", backing.display())))
}

/// The header of a new COW file over a backing file. It takes the open file, as closing another descriptor of it would
/// end a lock ([`HostFile::lock`]).
pub fn header_for(file: &HostFile) -> Result<Header> {
    let backing = file.path();
    let about = || format!("backing file '{}'", backing.display());
    let size = file.len().map_err(fail(about()))?;
    let mtime = file.mtime().map_err(fail(about()))?;
    let name = absolute(backing).map_err(fail(about()))?;
    Header::new(path_bytes(&name), size, mtime).map_err(fail(about()))
}

/// The alignment of a new COW file over a backing file of `size` bytes: of small ones the original's, of larger ones one
/// with which the host's cache can use its largest units.
pub fn default_alignment(size: u64) -> u32 {
    if size < LARGE_FROM { ALIGNMENT } else { LARGE_ALIGNMENT }
}

/// Makes the COW file. With `force` an existing one is replaced, unless somebody uses it.
fn make(cow: &Path, backing: &Path, force: bool, alignment: Option<u32>) -> Result<()> {
    let about = || format!("open COW file: '{}'", cow.display());
    let base = open_base(backing)?;
    let header = header_for(&base)?;
    let alignment = alignment.unwrap_or_else(|| default_alignment(header.size()));
    let header = header.with_alignment(alignment).map_err(fail("--align"))?;
    let output = Output::create(cow, force).map_err(fail(about()))?;
    if !output.is_blank() {
        return Err(Failure::new(format!("{}: no regular file", about())));
    }
    // The lock is held until the old file is gone.
    let old = match HostFile::open_rw(cow) {
        Ok(old) => Some(old),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(fail(about())(e)),
    };
    if let Some(old) = &old {
        if base.identity().map_err(fail(about()))? == old.identity().map_err(fail(about()))? {
            return Err(Failure::new(format!("'{}' is the backing file itself", cow.display())));
        }
        old.lock_or_fail(true)?;
    }
    let store = output.store().map_err(fail(about()))?;
    device::create(&store, &header).map_err(fail(format!("writing '{}'", cow.display())))?;
    output.commit().map_err(fail(about()))
}
