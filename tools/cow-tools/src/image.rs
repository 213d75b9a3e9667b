//! Disk images of three formats: reading any, writing any, holes staying holes.

use crate::file::{HostFile, path_from_bytes};
use crate::mkcow::{header_for, open_base};
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, Result, complain, fail};
use cow::header::LARGE_ALIGNMENT;
use cow::{Access, Device, Error, Format as CowFormat, Header, ReadStore, Store, device};
use imago::file::File as Qcow2File;
use imago::qcow2::{Qcow2, Qcow2CreateBuilder};
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, Mapping, StorageOpenOptions,
};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes read and written in one go.
const CHUNK: u64 = 1 << 20;
/// Grain of holes in a raw image, bytes.
const RAW_GRAIN: usize = 4096;
/// Grain of holes in a qcow2 image: its cluster, bytes.
const QCOW2_GRAIN: usize = 65536;

/// A format of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The plain bytes of the disk.
    Raw,
    /// UML's COW file.
    Cow,
    /// QEMU's format.
    Qcow2,
}

impl Format {
    /// The format of a name in [`usage::programs::FORMATS`].
    pub fn from_name(name: &str) -> Option<Format> {
        match name {
            "raw" => Some(Format::Raw),
            "cow" => Some(Format::Cow),
            "qcow2" => Some(Format::Qcow2),
            _ => None,
        }
    }
}

/// A COW file over its backing file.
pub type CowDevice = Device<HostFile, HostFile>;

/// An image to read.
#[derive(Debug)]
pub enum Source {
    /// A raw image and its size in bytes.
    Raw(HostFile, u64),
    /// A COW file and its backing file.
    Cow(Box<CowDevice>),
    /// A qcow2 image.
    Qcow2(FormatAccess<Qcow2File>),
}

/// Reads the header of a COW file.
pub fn cow_header(file: &HostFile) -> Result<Header> {
    let header = device::read_header(&file)
        .map_err(fail(format!("Reading COW header failed: '{}'", file.path().display())))?;
    if header.format() == CowFormat::V3Broken64 {
        complain(format_args!("uml_moo: '{}' has the broken 64-bit version 3 header", file.path().display()));
    }
    Ok(header)
}

/// The name of the backing file: the one given, else the header's.
pub fn backing_path(header: &Header, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| path_from_bytes(header.backing()).to_path_buf(), Path::to_path_buf)
}

/// Opens the backing file, writable or not, and checks that it is the one the header means.
pub fn open_backing(header: &Header, given: Option<&Path>, writable: bool) -> Result<HostFile> {
    let path = backing_path(header, given);
    let about = || format!("Stating backing file: '{}'", path.display());
    let file = if writable { HostFile::open_rw(&path) } else { HostFile::open(&path) };
    let file = file.map_err(fail(about()))?;
    let size = file.len().map_err(fail(about()))?;
    let mtime = file.mtime().map_err(fail(about()))?;
    match header.check_backing(size, mtime) {
        Ok(()) => Ok(file),
        // The merge that was broken off had changed the time stamp itself.
        Err(cow::Mismatch::Mtime { .. }) if header.merging() => Ok(file),
        Err(mismatch) => Err(Failure::new(format!("{mismatch} \"{}\"", path.display()))),
    }
}

/// A failure of the device view, with the file it is about.
pub fn device_failure(cow: &Path, backing: &Path) -> impl Fn(Error<io::Error>) -> Failure {
    move |error| {
        let path = if matches!(error, Error::Backing(_)) { backing } else { cow };
        Failure::new(format!("'{}': {error}", path.display()))
    }
}

/// Keeps writers away from an input, or warns of one that is there.
fn lock_or_warn(file: &HostFile) {
    if let Err(Failure { text, .. }) = file.lock_or_fail(false) {
        complain(format_args!("uml_moo: warning: {text}; the result may be inconsistent"));
    }
}

impl Source {
    /// Opens an image. Without a format a COW or qcow2 file is recognised; a raw image is not guessed.
    pub fn open(path: &Path, format: Option<Format>, backing: Option<&Path>) -> Result<Source> {
        let about = format!("COW file open: '{}'", path.display());
        let file = HostFile::open(path).map_err(fail(&about))?;
        let mut magic = [0; 4];
        file.read_at(&mut magic, 0).map_err(fail(&about))?;
        let guess = if &magic == b"QFI\xfb" { Format::Qcow2 } else { Format::Cow };
        let source = match format.unwrap_or(guess) {
            Format::Raw => {
                let size = file.len().map_err(fail(&about))?;
                Source::Raw(file, size)
            }
            Format::Cow => Source::open_cow(file, backing)?,
            Format::Qcow2 => Source::open_qcow2(path, file)?,
        };
        Ok(source)
    }

    fn open_cow(file: HostFile, backing: Option<&Path>) -> Result<Source> {
        let header = cow_header(&file)?;
        let backing = open_backing(&header, backing, false)?;
        if header.merging() {
            complain(format_args!(
                "uml_moo: an in-place merge of '{}' was broken off; `uml_moo -d` would finish it",
                file.path().display()
            ));
        }
        // The original merges a file in use without a word. Such a result may be half old and half new.
        for side in [&file, &backing] {
            lock_or_warn(side);
        }
        let paths = (file.path().to_path_buf(), backing.path().to_path_buf());
        Device::open_unchecked(file, backing, header, Access::ReadOnly)
            .map(|device| Source::Cow(Box::new(device)))
            .map_err(|e| device_failure(&paths.0, &paths.1)(e))
    }

    fn open_qcow2(path: &Path, file: HostFile) -> Result<Source> {
        let about = format!("qcow2 image '{}'", path.display());
        let options = StorageOpenOptions::new().filename(path);
        let storage = Qcow2File::from_open_file(file.into_file(), options).map_err(fail(&about))?;
        let qcow2 = Qcow2::<Qcow2File>::builder(storage)
            // An image from elsewhere must not make us read other files of this host.
            .open(DenyImplicitOpenGate::default())
            .map_err(fail(about))?;
        Ok(Source::Qcow2(FormatAccess::new(qcow2)))
    }

    /// Size of the disk in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Source::Raw(_, size) => *size,
            Source::Cow(device) => device.header().size(),
            Source::Qcow2(image) => image.size(),
        }
    }

    /// Fills the buffer from `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        match self {
            Source::Raw(file, _) => {
                file.read_at(buf, offset).map_err(fail(format!("'{}'", file.path().display())))
            }
            Source::Cow(device) => device
                .read_at(buf, offset)
                .map_err(device_failure(device.cow().path(), device.backing().path())),
            Source::Qcow2(image) => image.read(buf, offset).map_err(fail("reading the qcow2 image")),
        }
    }

    /// The stretch from `from` on: its end, at most a chunk away if it is data, and whether it may hold
    /// anything but zeros.
    fn extent(&self, from: u64) -> Result<(u64, bool)> {
        let size = self.size();
        let (end, data) = match self {
            Source::Raw(file, _) => {
                file.extent(from, size).map_err(fail(format!("'{}'", file.path().display())))?
            }
            Source::Cow(device) => {
                let sector = u64::from(device.sector_size());
                let (changed, sectors) = device.bitmap().run(from / sector, size.div_ceil(sector));
                if changed {
                    (size, true)
                } else {
                    let stop = ((from / sector + sectors) * sector).min(size);
                    let backing = device.backing();
                    let (end, data) = backing
                        .extent(from, size)
                        .map_err(fail(format!("'{}'", backing.path().display())))?;
                    if data { (size, true) } else { (end.min(stop), false) }
                }
            }
            Source::Qcow2(image) => {
                let (mapping, len) =
                    image.get_mapping(from, size - from).map_err(fail("reading the qcow2 image"))?;
                let end = if len == 0 { size } else { (from + len).min(size) };
                (end, len == 0 || !matches!(mapping, Mapping::Zero { .. }))
            }
        };
        Ok(if data { (end.min(from + CHUNK), true) } else { (end, false) })
    }
}

/// An image to write.
#[derive(Debug)]
enum Sink {
    /// A raw image; whether it begins as zeros.
    Raw(HostFile, bool),
    /// A qcow2 image.
    Qcow2(FormatAccess<Qcow2File>),
    /// A COW file that keeps what differs from its backing file.
    Cow(Box<CowDevice>),
}

/// Copies an image into an output, and makes the output final.
pub fn convert(
    source: &Source,
    format: Format,
    backing: Option<&Path>,
    output: Output,
    path: &Path,
) -> Result<()> {
    let about = format!("writing '{}'", path.display());
    let mut sink = Sink::create(source.size(), format, backing, &output, path)?;
    let progress = Progress::new(source.size())?;
    let mut buf = vec![0; CHUNK as usize];
    let mut at = 0;
    while at < source.size() {
        let (end, data) = source.extent(at)?;
        if !data && sink.has_zeros() {
            progress.advance(end - at)?;
            at = end;
            continue;
        }
        let len = (end - at).min(CHUNK);
        let part = &mut buf[..len as usize];
        if data {
            source.read_at(part, at)?;
        } else {
            part.fill(0);
        }
        sink.write(part, at).map_err(fail(&about))?;
        progress.advance(len)?;
        at += len;
    }
    sink.finish().map_err(fail(&about))?;
    // The sink stays until the end: closing its backing file ends this process's lock on it.
    output.commit().map_err(fail(&about))
}

impl Sink {
    fn create(
        size: u64,
        format: Format,
        backing: Option<&Path>,
        output: &Output,
        path: &Path,
    ) -> Result<Sink> {
        let about = format!("writing '{}'", path.display());
        if format != Format::Raw && !output.is_blank() {
            return Err(Failure::new(format!(
                "'{}' is no regular file; only --to raw can write it",
                path.display()
            )));
        }
        let store = output.store().map_err(fail(&about))?;
        match format {
            Format::Raw => {
                if output.is_blank() {
                    store.file().set_len(size).map_err(fail(&about))?;
                } else if store.len().is_ok_and(|have| have < size) {
                    return Err(Failure::new(format!("'{}' is smaller than the image", path.display())));
                }
                Ok(Sink::Raw(store, output.is_blank()))
            }
            Format::Qcow2 => {
                let file = output.file().try_clone().map_err(fail(&about))?;
                let options = StorageOpenOptions::new().write(true);
                let storage = Qcow2File::from_open_file(file, options).map_err(fail(&about))?;
                let image = Qcow2CreateBuilder::<Qcow2File>::new(storage)
                    // The format counts in sectors.
                    .size(size.next_multiple_of(512))
                    .create_open(DenyImplicitOpenGate::default(), |image| {
                        Ok(Qcow2::<Qcow2File>::builder(image).write(true))
                    })
                    .map_err(fail(&about))?;
                Ok(Sink::Qcow2(FormatAccess::new(image)))
            }
            Format::Cow => {
                let Some(base) = backing else {
                    return Err(Failure::new("--to cow needs the backing file, -b FILE"));
                };
                let base_file = open_base(base)?;
                lock_or_warn(&base_file);
                let header = header_for(&base_file)?.with_alignment(LARGE_ALIGNMENT).map_err(fail(&about))?;
                if header.size() != size {
                    return Err(Failure::new(format!(
                        "--to cow: the image has {size} bytes, its backing file '{}' {}",
                        base.display(),
                        header.size()
                    )));
                }
                device::create(&store, &header).map_err(fail(&about))?;
                let failure = device_failure(path, base);
                let device = Device::open_unchecked(store, base_file, header, Access::ReadWrite);
                Ok(Sink::Cow(Box::new(device.map_err(failure)?)))
            }
        }
    }

    /// Whether what is not written reads as zeros.
    fn has_zeros(&self) -> bool {
        match self {
            Sink::Raw(_, blank) => *blank,
            Sink::Qcow2(_) => true,
            Sink::Cow(_) => false,
        }
    }

    fn write(&mut self, buf: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Sink::Raw(file, true) => {
                for_each_piece(buf, offset, RAW_GRAIN, is_data, |part, at| file.write_at(part, at))
            }
            Sink::Raw(file, false) => file.write_at(buf, offset),
            Sink::Qcow2(image) => {
                for_each_piece(buf, offset, QCOW2_GRAIN, is_data, |part, at| image.write(part, at))
            }
            Sink::Cow(device) => {
                let mut old = vec![0; buf.len()];
                device.backing().read_at(&mut old, offset)?;
                let grain = device.sector_size() as usize;
                let differs = |part: &[u8], from: usize| part != &old[from..from + part.len()];
                for_each_piece(buf, offset, grain, differs, |part, at| {
                    device.write_at(part, at).map_err(|e| io::Error::other(e.to_string()))
                })
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Sink::Raw(..) => Ok(()),
            Sink::Qcow2(image) => {
                image.flush()?;
                image.sync()
            }
            Sink::Cow(device) => {
                // The file keeps the length a COW file has, also where its last sector is incomplete.
                device.flush().map_err(|e| io::Error::other(e.to_string()))?;
                device.cow().file().set_len(device.header().file_len())
            }
        }
    }
}

fn is_data(part: &[u8], _: usize) -> bool {
    !is_zero(part)
}

/// Whether all bytes are zero.
pub fn is_zero(part: &[u8]) -> bool {
    // Comparing the buffer with itself moved by one byte is memcmp(3), and as fast.
    part.first().is_none_or(|&b| b == 0) && part.get(1..).is_none_or(|rest| rest == &part[..rest.len()])
}

/// Calls `write` for each longest stretch of pieces of `grain` bytes that `wanted` (given the piece and its
/// place in the buffer) picks.
pub fn for_each_piece<E>(
    buf: &[u8],
    offset: u64,
    grain: usize,
    wanted: impl Fn(&[u8], usize) -> bool,
    mut write: impl FnMut(&[u8], u64) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut start = None;
    let mut at = 0;
    for piece in buf.chunks(grain) {
        match (wanted(piece, at), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                write(&buf[from..at], offset + from as u64)?;
                start = None;
            }
            _ => {}
        }
        at += piece.len();
    }
    match start {
        Some(from) => write(&buf[from..], offset + from as u64),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{for_each_piece, is_data, is_zero};

    #[test]
    fn zeros_are_told_from_data() {
        assert!(is_zero(&[]) && is_zero(&[0]) && is_zero(&[0; 4096]));
        for at in [0, 1, 2048, 4095] {
            let mut buf = [0; 4096];
            buf[at] = 1;
            assert!(!is_zero(&buf), "{at}");
        }
        assert!(!is_zero(&[7; 9]));
    }

    #[test]
    fn pieces_are_joined() {
        let mut seen = Vec::new();
        let done: Result<(), ()> =
            for_each_piece(&[0, 0, 1, 0, 0, 2, 0, 0, 3], 100, 2, is_data, |part, at| {
                seen.push((part.to_vec(), at));
                Ok(())
            });
        assert_eq!(done, Ok(()));
        assert_eq!(seen, [(vec![1, 0, 0, 2], 102), (vec![3], 108)]);
    }
}
