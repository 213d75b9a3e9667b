//! A COW file and its backing file as one block device.
//!
//! **Safe against a crash at any moment.** A write goes to the data area at once; its bits are set
//! in memory and reach the file with [`Device::flush`], which first makes the data durable, then writes the
//! bitmap, then makes that durable. So a bit in the file always stands for data that is in the file. After a
//! crash of the process or of the host each sector holds what it held at the last flush or something
//! written to it since. That is the contract of a disk with a volatile cache; whoever wants more flushes more often.
//!
//! No locks: reading needs `&self`, changing `&mut self`, and the owner decides how to share.

use crate::bitmap::Bitmap;
use crate::header::{Header, HeaderError, MAX_HEADER_LEN, Mismatch};
use crate::store::{ReadStore, Store};
use std::fmt;

/// How much bitmap is read or written in one go, bytes; a multiple of [`crate::bitmap::BLOCK`].
const BITMAP_IO: u64 = 1 << 18;
/// A bitmap of up to so many bytes (that of a disk of 4 GiB) gets its blocks on the disk when the file is made, so
/// that a flush need not wait for the host to find some and to note where.
const BITMAP_READY: u64 = 1 << 20;
/// How many zeros are written in one go where holes are not possible, bytes.
const ZEROS_IO: u64 = 1 << 16;

/// Whether a device may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Writes are refused.
    ReadOnly,
    /// Writes go to the COW file.
    ReadWrite,
}

/// Why a device could not be opened or an operation failed. `E` is the error of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The COW file failed.
    Cow(E),
    /// The backing file failed.
    Backing(E),
    /// The COW file has no valid header.
    Header(HeaderError),
    /// The backing file is not the one the COW file was made for.
    Mismatch(Mismatch),
    /// The COW file ends before its bitmap does, or before a sector it should hold.
    Truncated {
        /// Length of the COW file in bytes.
        have: u64,
        /// Bytes it would need.
        need: u64,
    },
    /// No memory for the bitmap.
    Memory,
    /// The range is not within the device.
    Range,
    /// The device is read-only.
    ReadOnly,
    /// The sector has no bit, see [`Header::bitmap_len`]; it cannot be changed.
    NoBit,
    /// The COW file cannot give space back.
    Unsupported,
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Cow(e) => write!(f, "COW file: {e}"),
            Error::Backing(e) => write!(f, "backing file: {e}"),
            Error::Header(e) => e.fmt(f),
            Error::Mismatch(e) => e.fmt(f),
            Error::Truncated { have, need } => write!(f, "truncated COW file: {have} of {need} bytes"),
            Error::Memory => write!(f, "not enough memory for the COW bitmap"),
            Error::Range => write!(f, "range outside the device"),
            Error::ReadOnly => write!(f, "the device is read-only"),
            Error::NoBit => write!(f, "the last sectors of a version 1 or 2 COW file cannot be changed"),
            Error::Unsupported => write!(f, "the COW file's filesystem cannot punch holes"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Error<E> {}

/// Reads and checks the header at the start of a file.
pub fn read_header<C: ReadStore>(cow: &C) -> Result<Header, Error<C::Error>> {
    let len = cow.len().map_err(Error::Cow)?.min(MAX_HEADER_LEN as u64);
    let mut buf = [0; MAX_HEADER_LEN];
    let buf = &mut buf[..len as usize];
    cow.read_at(buf, 0).map_err(Error::Cow)?;
    Header::parse(buf).map_err(Error::Header)
}

/// Makes an empty file a COW file without changed sectors. The header comes last, so that an interrupted
/// attempt is not taken for one.
pub fn create<C: Store>(cow: &C, header: &Header) -> Result<(), C::Error> {
    // The file gets its whole length, as UML gives it; the data offset is never 0.
    cow.write_at(&[0], header.file_len() - 1)?;
    if header.bitmap_len() <= BITMAP_READY {
        cow.write_at(&vec![0; header.bitmap_len() as usize], header.bitmap_offset())?;
    }
    cow.write_at(&header.to_bytes(), 0)
}

/// The block device.
#[derive(Debug)]
pub struct Device<C, B> {
    cow: C,
    backing: B,
    header: Header,
    bitmap: Bitmap,
    data_offset: u64,
    size: u64,
    sector: u64,
    /// The sector size as a power of two: the hot paths do not divide.
    shift: u32,
    /// Whether the COW file may end before its data area does, as one cut short behind its last data does.
    short: bool,
    access: Access,
}

impl<C, B> Device<C, B>
where
    C: Store,
    B: ReadStore<Error = C::Error>,
{
    /// Opens a COW file over its backing file, whose modification time the caller knows (seconds).
    ///
    /// Locking both files, and finding the backing file by [`Header::backing`], is the caller's part.
    pub fn open(cow: C, backing: B, backing_mtime: i64, access: Access) -> Result<Self, Error<C::Error>> {
        let header = read_header(&cow)?;
        let size = backing.len().map_err(Error::Backing)?;
        header.check_backing(size, backing_mtime).map_err(Error::Mismatch)?;
        Self::open_unchecked(cow, backing, header, access)
    }

    /// Opens with a header already read and a backing file the caller answers for.
    pub fn open_unchecked(
        cow: C,
        backing: B,
        header: Header,
        access: Access,
    ) -> Result<Self, Error<C::Error>> {
        let bitmap = read_bitmap(&cow, &header)?;
        let sector = u64::from(header.sector_size());
        let shift = sector.trailing_zeros();
        let short = cow.len().map_err(Error::Cow)? < header.file_len();
        let (data_offset, size) = (header.data_offset(), header.sectors() << shift);
        Ok(Device { cow, backing, header, bitmap, data_offset, size, sector, shift, short, access })
    }

    /// Size of the device in bytes: the backing file's, rounded up to whole sectors.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes per sector.
    pub fn sector_size(&self) -> u32 {
        self.header.sector_size()
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Which sectors are in the COW file.
    pub fn bitmap(&self) -> &Bitmap {
        &self.bitmap
    }

    /// The COW file.
    pub fn cow(&self) -> &C {
        &self.cow
    }

    /// The backing file.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// Fills the buffer from `offset` (bytes; any alignment).
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error<C::Error>> {
        let end = self.end(offset, buf.len() as u64)?;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let first = at >> self.shift;
            let (changed, sectors) = self.bitmap.run(first, self.sectors_to(end) - first);
            let stop = end.min((first + sectors) << self.shift);
            let (part, tail) = rest.split_at_mut((stop - at) as usize);
            if changed {
                self.cow.read_at(part, self.data_offset + at).map_err(Error::Cow)?;
            } else {
                self.backing.read_at(part, at).map_err(Error::Backing)?;
            }
            rest = tail;
            at = stop;
        }
        Ok(())
    }

    /// Writes the buffer at `offset` (bytes; any alignment, whole sectors are fastest).
    ///
    /// When it fails, each sector of the range holds its old or its new content.
    pub fn write_at(&mut self, buf: &[u8], offset: u64) -> Result<(), Error<C::Error>> {
        self.check_write(offset, buf.len() as u64)?;
        let (head, whole, _) = self.split(offset, buf.len() as u64);
        let (head, rest) = buf.split_at(head as usize);
        let (whole, tail) = rest.split_at(whole as usize);
        let mut at = offset;
        if !head.is_empty() {
            self.write_partial(head, at)?;
            at += head.len() as u64;
        }
        if !whole.is_empty() {
            self.cow.write_at(whole, self.data_offset + at).map_err(Error::Cow)?;
            self.mark(at, whole.len() as u64);
            at += whole.len() as u64;
        }
        if !tail.is_empty() {
            self.write_partial(tail, at)?;
        }
        Ok(())
    }

    /// Gives the space of a range back; it then reads as zeros. (Not as the backing file: what a guest
    /// has discarded must not come back as something older.)
    ///
    /// [`Error::Unsupported`] when the COW file cannot do so; nothing has changed then.
    pub fn discard(&mut self, offset: u64, len: u64) -> Result<(), Error<C::Error>> {
        self.check_write(offset, len)?;
        let (head, whole, tail) = self.split(offset, len);
        if whole > 0 {
            let at = offset + head;
            if self.short {
                // A hole does not make the file longer, but a set bit stands for bytes within it.
                // (Writes may have made it longer since.)
                if self.cow.len().map_err(Error::Cow)? < self.header.file_len() {
                    self.cow.write_at(&[0], self.header.file_len() - 1).map_err(Error::Cow)?;
                }
                self.short = false;
            }
            if !self.cow.punch_hole(self.data_offset + at, whole).map_err(Error::Cow)? {
                return Err(Error::Unsupported);
            }
            self.mark(at, whole);
        }
        self.zero_edges(offset, head, whole, tail)
    }

    /// Makes a range read as zeros, by a hole where possible.
    pub fn write_zeroes(&mut self, offset: u64, len: u64) -> Result<(), Error<C::Error>> {
        match self.discard(offset, len) {
            Err(Error::Unsupported) => {}
            done => return done,
        }
        let zeros = vec![0; len.min(ZEROS_IO) as usize];
        let mut at = offset;
        while at < offset + len {
            // Every step but the first starts at a sector.
            let step = (ZEROS_IO - at % self.sector).min(offset + len - at);
            self.write_at(&zeros[..step as usize], at)?;
            at += step;
        }
        Ok(())
    }

    /// Returns once everything written before survives a crash of the host.
    pub fn flush(&mut self) -> Result<(), Error<C::Error>> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        self.cow.sync().map_err(Error::Cow)?;
        if !self.bitmap.is_dirty() {
            return Ok(());
        }
        // The data is durable; from here on bits may appear in the file in any order.
        let mut buf = Vec::new();
        let mut from = 0;
        while let Some(range) = self.bitmap.next_dirty(from, BITMAP_IO) {
            buf.resize((range.end - range.start) as usize, 0);
            self.bitmap.store(range.start, &mut buf);
            self.cow.write_at(&buf, self.header.bitmap_offset() + range.start).map_err(Error::Cow)?;
            from = range.end;
        }
        self.cow.sync().map_err(Error::Cow)?;
        self.bitmap.mark_clean();
        Ok(())
    }

    /// The end of a range, checked to lie within the device.
    fn end(&self, offset: u64, len: u64) -> Result<u64, Error<C::Error>> {
        offset.checked_add(len).filter(|&end| end <= self.size).ok_or(Error::Range)
    }

    /// Number of sectors from the start to a byte, the one it is in included.
    fn sectors_to(&self, end: u64) -> u64 {
        (end + self.sector - 1) >> self.shift
    }

    fn check_write(&self, offset: u64, len: u64) -> Result<(), Error<C::Error>> {
        let end = self.end(offset, len)?;
        if self.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        if len > 0 && self.sectors_to(end) > self.bitmap.len() {
            return Err(Error::NoBit);
        }
        Ok(())
    }

    /// Splits a range into its bytes before, in and behind whole sectors.
    fn split(&self, offset: u64, len: u64) -> (u64, u64, u64) {
        let into = offset & (self.sector - 1);
        let head = if into == 0 { 0 } else { (self.sector - into).min(len) };
        let tail = (len - head) & (self.sector - 1);
        (head, len - head - tail, tail)
    }

    /// Notes that whole sectors are in the COW file.
    fn mark(&mut self, offset: u64, len: u64) {
        let first = offset >> self.shift;
        self.bitmap.set(first..first + (len >> self.shift));
    }

    /// Writes within one sector.
    fn write_partial(&mut self, part: &[u8], offset: u64) -> Result<(), Error<C::Error>> {
        let index = offset >> self.shift;
        if self.bitmap.get(index) {
            return self.cow.write_at(part, self.data_offset + offset).map_err(Error::Cow);
        }
        let start = index * self.sector;
        let mut sector = vec![0; self.sector as usize];
        self.backing.read_at(&mut sector, start).map_err(Error::Backing)?;
        let into = (offset - start) as usize;
        sector[into..into + part.len()].copy_from_slice(part);
        self.cow.write_at(&sector, self.data_offset + start).map_err(Error::Cow)?;
        self.mark(start, self.sector);
        Ok(())
    }

    /// Writes zeros over the incomplete sectors at both ends of a range.
    fn zero_edges(&mut self, offset: u64, head: u64, whole: u64, tail: u64) -> Result<(), Error<C::Error>> {
        let zeros = vec![0; head.max(tail) as usize];
        if head > 0 {
            self.write_partial(&zeros[..head as usize], offset)?;
        }
        if tail > 0 {
            self.write_partial(&zeros[..tail as usize], offset + head + whole)?;
        }
        Ok(())
    }
}

/// Reads the bitmap and checks that the file is long enough for what it claims to hold.
pub fn read_bitmap<C: ReadStore>(cow: &C, header: &Header) -> Result<Bitmap, Error<C::Error>> {
    let have = cow.len().map_err(Error::Cow)?;
    let offset = header.bitmap_offset();
    // Also keeps a false size from making us ask for memory that no honest file would need.
    let need = offset + header.bitmap_len();
    if have < need {
        return Err(Error::Truncated { have, need });
    }
    let mut bitmap = Bitmap::new(header.bits()).map_err(|_| Error::Memory)?;
    let mut buf = Vec::new();
    let mut at = 0;
    while at < bitmap.byte_len() {
        buf.resize((bitmap.byte_len() - at).min(BITMAP_IO) as usize, 0);
        cow.read_at(&mut buf, offset + at).map_err(Error::Cow)?;
        bitmap.load(at, &buf);
        at += buf.len() as u64;
    }
    if let Some(last) = bitmap.last() {
        // An incomplete last sector may be stored incomplete.
        let end = ((last + 1) * u64::from(header.sector_size())).min(header.size());
        let need = header.data_offset() + end;
        if have < need {
            return Err(Error::Truncated { have, need });
        }
    }
    Ok(bitmap)
}
