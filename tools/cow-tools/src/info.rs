//! `uml_moo --info`: what a COW file is.

use crate::Result;
use crate::file::HostFile;
use crate::image::{backing_path, cow_header, device_failure};
use crate::moo::open_cow;
use cow::{Format, Header, ReadStore, device};
use indicatif::BinaryBytes;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    println!("file:          {}", cow.display());
    println!("format:        COW version {}{layout}", header.format().version());
    println!("backing file:  {} ({})", backing.display(), state(&header, &backing));
    println!("image size:    {} ({} bytes)", BinaryBytes(header.size()), header.size());
    println!("sectors used:  {used} of {} ({share:.2} % of the image)", header.sectors());
    println!("sector size:   {} bytes", header.sector_size());
    println!("space on disk: {} ({disk} bytes)", BinaryBytes(disk));
    println!("bitmap at:     {}", header.bitmap_offset());
    println!("data at:       {}", header.data_offset());
    if header.merging() {
        println!("in-place merge: broken off; `uml_moo -d` finishes it");
    }
    Ok(())
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
        Err(e) => e.to_string(),
    }
}
