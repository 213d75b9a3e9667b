//! `uml_moo --info`: what a COW file is.

use crate::file::HostFile;
use crate::image::{backing_path, cow_header, device_failure};
use crate::moo::open_cow;
use crate::{Result, say};
use cow::{Format, Header, ReadStore, device};
use indicatif::BinaryBytes;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use usage::plain;

/// Prints what there is to know, one fact a line.
pub fn print(cow: &Path, given: Option<&Path>) -> Result<()> {
    let file = open_cow(cow, false)?;
    let header = cow_header(&file)?;
    let bitmap = device::read_bitmap(&&file, &header).map_err(device_failure(cow, cow))?;
    let backing = backing_path(&header, given);
    let used = bitmap.count();
    let share = if header.sectors() == 0 { 0.0 } else { used as f64 * 100.0 / header.sectors() as f64 };
    let disk = file.file().metadata().map_or(0, |m| m.blocks() * 512);
    let layout = match header.format() {
        Format::V3Broken64 => " (broken 64-bit layout)",
        Format::V1Be => " (big-endian)",
        _ => "",
    };
    let mut facts = vec![
        ("file:", cow.display().to_string()),
        ("format:", format!("COW version {}{layout}", header.format().version())),
        ("backing file:", format!("{} ({})", backing.display(), state(&header, &backing))),
        ("image size:", format!("{} ({} bytes)", BinaryBytes(header.size()), header.size())),
        ("sectors used:", format!("{used} of {} ({share:.2} % of the image)", header.sectors())),
        ("sector size:", format!("{} bytes", header.sector_size())),
        ("space on disk:", format!("{} ({disk} bytes)", BinaryBytes(disk))),
        ("bitmap at:", header.bitmap_offset().to_string()),
        ("data at:", header.data_offset().to_string()),
    ];
    if header.merging() {
        facts.push(("in-place merge:", "broken off; `uml_moo -d` finishes it".into()));
    }
    say(facts.iter().map(|(name, fact)| format!("{name:14} {fact}\n")).collect::<String>())
}

/// Whether the backing file is there and is the right one.
fn state(header: &Header, path: &Path) -> String {
    let look = || -> io::Result<(u64, i64)> {
        let file = HostFile::open(path)?;
        Ok((file.len()?, file.mtime()?))
    };
    match look() {
        Ok((size, mtime)) => match header.check_backing(size, mtime) {
            Ok(()) => "matches".to_string(),
            Err(mismatch) => mismatch.to_string(),
        },
        Err(e) => plain(e),
    }
}
