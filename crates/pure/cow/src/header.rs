//! The header of a COW file: four layouts, one value.
//!
//! | layout | integers | name field | bytes |
//! | --- | --- | --- | --- |
//! | version 1 | byte order of the host that wrote it | 256 | 280 |
//! | version 2 | big-endian | 4096 | 4120 |
//! | version 3 | big-endian | 4096 | 4128 |
//! | version 3, broken | big-endian, time stamp in 8 bytes | 4096 | 4136 |
//!
//! The broken layout was written by 64-bit builds of 2005; it is told apart by four zero bytes where
//! the right layout has the start of the backing file's name. New files are always version 3.

use std::fmt;

/// The magic number, as stored big-endian.
pub const MAGIC: u32 = 0x4f4f_4f4d;
/// Bytes that are enough to parse any header.
pub const MAX_HEADER_LEN: usize = 4136;
/// Longest backing file name a new (version 3) header can hold, in bytes.
pub const MAX_NAME_LEN: usize = 4095;
/// Sector size of every file written today, in bytes.
pub const SECTOR_SIZE: u32 = 512;
/// Alignment of bitmap and data area in new files, in bytes: the page size of x86-64, as UML writes it.
pub const ALIGNMENT: u32 = 4096;
/// An alignment, in bytes, with which the host's page cache can hold the data in large folios. It costs no space on
/// the disk, and every reader of version 3 goes by the header's alignment.
pub const LARGE_ALIGNMENT: u32 = 1 << 20;
/// Largest alignment accepted, in bytes.
pub const MAX_ALIGNMENT: u32 = 1 << 30;

/// Stands at the very end of the name field, far behind the name's NUL, while an in-place merge is under
/// way. Readers of the format stop at the first NUL, so only those that look for it see it.
const MERGE_MARK: &[u8; 8] = b"MERGING\0";

/// Largest offset a file may have on Linux.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// Which of the on-disk layouts a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Version 1 from a little-endian host.
    V1Le,
    /// Version 1 from a big-endian host.
    V1Be,
    /// Version 2.
    V2,
    /// Version 3.
    V3,
    /// Version 3 with an 8-byte time stamp.
    V3Broken64,
}

/// Byte positions of one layout's fields.
struct Fields {
    len: usize,
    name: usize,
    name_len: usize,
    mtime: usize,
    size: usize,
    sector_size: usize,
    /// Position of the alignment and the bitmap format; absent before version 3.
    alignment: Option<usize>,
}

impl Format {
    fn fields(self) -> Fields {
        match self {
            Format::V1Le | Format::V1Be => Fields {
                len: 280,
                name: 8,
                name_len: 256,
                mtime: 264,
                size: 268,
                sector_size: 276,
                alignment: None,
            },
            Format::V2 => Fields {
                len: 4120,
                name: 8,
                name_len: 4096,
                mtime: 4104,
                size: 4108,
                sector_size: 4116,
                alignment: None,
            },
            Format::V3 => Fields {
                len: 4128,
                name: 32,
                name_len: 4096,
                mtime: 8,
                size: 12,
                sector_size: 20,
                alignment: Some(24),
            },
            Format::V3Broken64 => Fields {
                len: 4136,
                name: 36,
                name_len: 4096,
                mtime: 8,
                size: 16,
                sector_size: 24,
                alignment: Some(28),
            },
        }
    }

    /// The version number in the file.
    pub fn version(self) -> u32 {
        match self {
            Format::V1Le | Format::V1Be => 1,
            Format::V2 => 2,
            Format::V3 | Format::V3Broken64 => 3,
        }
    }

    /// Length of the header in bytes.
    ///
    /// The broken layout is one 36-byte prefix and the name; its C structure was padded to 4136 bytes,
    /// and that is the length from which the bitmap's place follows.
    pub fn header_len(self) -> usize {
        self.fields().len
    }

    /// Longest name the layout holds, in bytes, without the NUL.
    pub fn max_name_len(self) -> usize {
        self.fields().name_len - 1
    }
}

/// Why bytes are not a usable COW header, or a value cannot become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// No magic number: some other kind of file.
    NotCow,
    /// The file ends within the header.
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes the header needs.
        need: usize,
    },
    /// A version other than 1, 2, 3.
    Version(u32),
    /// The sector size is no power of two from 512 to 65536.
    SectorSize(u32),
    /// The alignment is zero or beyond reason.
    Alignment(u32),
    /// The bitmap format is unknown.
    CowFormat(u32),
    /// The size leads beyond the largest file offset.
    TooLarge(u64),
    /// The name is empty, or without its final NUL.
    Name,
    /// The name does not fit into the header.
    NameTooLong {
        /// Bytes of the name.
        len: usize,
        /// Bytes the layout holds.
        max: usize,
    },
    /// The backing file's time stamp (seconds) does not fit into the header's unsigned 32 bits.
    MtimeRange(i64),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::NotCow => write!(f, "not a COW file (no magic number)"),
            HeaderError::Short { have, need } => {
                write!(f, "truncated COW header: {have} of {need} bytes")
            }
            HeaderError::Version(v) => write!(f, "unknown COW version {v}"),
            HeaderError::SectorSize(s) => write!(f, "invalid sector size {s} in COW header"),
            HeaderError::Alignment(a) => write!(f, "invalid alignment {a} in COW header"),
            HeaderError::CowFormat(c) => write!(f, "unknown bitmap format {c} in COW header"),
            HeaderError::TooLarge(s) => write!(f, "impossible backing file size {s} in COW header"),
            HeaderError::Name => write!(f, "COW header without a valid backing file name"),
            HeaderError::NameTooLong { len, max } => {
                write!(f, "backing file name of {len} bytes, the COW header holds {max}")
            }
            HeaderError::MtimeRange(t) => {
                write!(f, "modification time {t} of the backing file does not fit into a COW header")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

/// A backing file that is not the one the COW file was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The sizes in bytes differ.
    Size {
        /// In the COW header.
        header: u64,
        /// Of the file.
        actual: u64,
    },
    /// The modification times (whole seconds) differ.
    Mtime {
        /// In the COW header.
        header: u32,
        /// Of the file.
        actual: i64,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Size { header, actual } => {
                write!(f, "Size mismatch ({header} vs {actual}) of COW header vs backing file")
            }
            Mismatch::Mtime { header, actual } => {
                write!(f, "mtime mismatch ({header} vs {actual}) of COW header vs backing file")
            }
        }
    }
}

impl std::error::Error for Mismatch {}

/// A valid header. Its fields cannot be changed to something a file could not hold, so the offsets
/// derived from it never overflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    format: Format,
    backing: Vec<u8>,
    mtime: u32,
    size: u64,
    sector_size: u32,
    alignment: u32,
    merging: bool,
}

impl Header {
    /// Makes the header of a new version 3 file.
    ///
    /// `backing` is the (absolute) name of the backing file, `size` its bytes, `mtime` its modification time
    /// in seconds.
    pub fn new(backing: &[u8], size: u64, mtime: i64) -> Result<Header, HeaderError> {
        let mut header = Header {
            format: Format::V3,
            backing: Vec::new(),
            mtime: 0,
            size,
            sector_size: SECTOR_SIZE,
            alignment: ALIGNMENT,
            merging: false,
        };
        header.set_backing(backing)?;
        header.set_mtime(mtime)?;
        header.validate()?;
        Ok(header)
    }

    /// The same with another alignment (bytes) of bitmap and data. Only for a file not yet made: they move.
    pub fn with_alignment(self, alignment: u32) -> Result<Header, HeaderError> {
        let header = Header { alignment, ..self };
        if header.format != Format::V3 {
            return Err(HeaderError::Alignment(alignment));
        }
        header.validate()?;
        Ok(header)
    }

    /// Parses the start of a COW file. [`MAX_HEADER_LEN`] bytes are enough; fewer are, when the file has no more.
    pub fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
        let format = detect(bytes)?;
        let at = format.fields();
        let bytes = bytes.get(..at.len).ok_or(HeaderError::Short { have: bytes.len(), need: at.len })?;
        let order = if format == Format::V1Le { u32::from_le_bytes } else { u32::from_be_bytes };
        let u32_at = |pos: usize| order(array(bytes, pos));
        let size: [u8; 8] = array(bytes, at.size);
        let size = if format == Format::V1Le { u64::from_le_bytes(size) } else { u64::from_be_bytes(size) };
        let sector_size = u32_at(at.sector_size);
        let (alignment, cow_format) = match at.alignment {
            Some(pos) => (u32_at(pos), u32_at(pos + 4)),
            None => (sector_size, 0),
        };
        if cow_format != 0 {
            return Err(HeaderError::CowFormat(cow_format));
        }
        let field = &bytes[at.name..at.name + at.name_len];
        let end = field.iter().position(|&b| b == 0).ok_or(HeaderError::Name)?;
        if end == 0 {
            return Err(HeaderError::Name);
        }
        let header = Header {
            format,
            backing: field[..end].to_vec(),
            mtime: u32_at(at.mtime),
            size,
            sector_size,
            alignment,
            merging: field[end + 1..].ends_with(MERGE_MARK),
        };
        header.validate()?;
        Ok(header)
    }

    /// The header as it stands in the file, [`Format::header_len`] bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let at = self.format.fields();
        let mut out = vec![0; at.len];
        let order = if self.format == Format::V1Le { u32::to_le_bytes } else { u32::to_be_bytes };
        let size =
            if self.format == Format::V1Le { self.size.to_le_bytes() } else { self.size.to_be_bytes() };
        let mut put = |pos: usize, value: &[u8]| out[pos..pos + value.len()].copy_from_slice(value);
        put(0, &order(MAGIC));
        put(4, &order(self.format.version()));
        put(at.mtime, &order(self.mtime));
        put(at.size, &size);
        put(at.sector_size, &order(self.sector_size));
        if let Some(pos) = at.alignment {
            put(pos, &order(self.alignment));
        }
        put(at.name, &self.backing);
        if self.merging {
            put(at.name + at.name_len - MERGE_MARK.len(), MERGE_MARK);
        }
        out
    }

    /// Refuses values from which no sound layout follows.
    fn validate(&self) -> Result<(), HeaderError> {
        if !self.sector_size.is_power_of_two() || !(512..=65536).contains(&self.sector_size) {
            return Err(HeaderError::SectorSize(self.sector_size));
        }
        if self.alignment == 0 || self.alignment > MAX_ALIGNMENT {
            return Err(HeaderError::Alignment(self.alignment));
        }
        // The bitmap is at most 1/4096 of the size and the alignments add at most 2 GiB: with 1/64 of the
        // offset range kept free for them nothing below can overflow.
        if self.size > MAX_OFFSET - (MAX_OFFSET >> 6) {
            return Err(HeaderError::TooLarge(self.size));
        }
        Ok(())
    }

    /// The layout of the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Name of the backing file as stored; a relative one counts from the reader's working directory.
    pub fn backing(&self) -> &[u8] {
        &self.backing
    }

    /// Sets the name of the backing file. Bitmap and data keep their places.
    pub fn set_backing(&mut self, name: &[u8]) -> Result<(), HeaderError> {
        let max = self.format.max_name_len();
        if name.is_empty() || name.contains(&0) {
            return Err(HeaderError::Name);
        }
        if name.len() > max {
            return Err(HeaderError::NameTooLong { len: name.len(), max });
        }
        self.backing = name.to_vec();
        self.merging &= self.has_room_for_mark();
        Ok(())
    }

    /// Modification time of the backing file, seconds.
    pub fn mtime(&self) -> u32 {
        self.mtime
    }

    /// Sets the modification time, in seconds, that the backing file must have.
    pub fn set_mtime(&mut self, mtime: i64) -> Result<(), HeaderError> {
        self.mtime = u32::try_from(mtime).map_err(|_| HeaderError::MtimeRange(mtime))?;
        Ok(())
    }

    /// Size of the backing file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes per sector.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Alignment of bitmap and data area in bytes. Before version 3 this is the sector size, and only
    /// the data area has it.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Whether an in-place merge into the backing file was begun and has not ended.
    pub fn merging(&self) -> bool {
        self.merging
    }

    /// Notes that an in-place merge is under way. Returns whether the header has room to say so, which
    /// fails only with a name that fills its field.
    pub fn set_merging(&mut self, merging: bool) -> bool {
        self.merging = merging && self.has_room_for_mark();
        self.merging == merging
    }

    fn has_room_for_mark(&self) -> bool {
        self.backing.len() + 1 + MERGE_MARK.len() <= self.format.fields().name_len
    }

    /// Number of sectors, the last of them possibly incomplete.
    pub fn sectors(&self) -> u64 {
        self.size.div_ceil(u64::from(self.sector_size))
    }

    /// Place of the bitmap in the file.
    pub fn bitmap_offset(&self) -> u64 {
        let len = self.format.header_len() as u64;
        match self.format {
            Format::V1Le | Format::V1Be | Format::V2 => len,
            Format::V3 | Format::V3Broken64 => round_up(len, self.alignment),
        }
    }

    /// Length of the bitmap in bytes.
    ///
    /// Versions 1 and 2 round down, by an old mistake that is now part of the format: up to seven
    /// sectors at the end of the image have no bit ([`Header::bits`]).
    pub fn bitmap_len(&self) -> u64 {
        match self.format {
            Format::V1Le | Format::V1Be | Format::V2 => {
                (self.size + u64::from(self.sector_size) - 1) / (8 * u64::from(self.sector_size))
            }
            Format::V3 | Format::V3Broken64 => self.sectors().div_ceil(8),
        }
    }

    /// Sectors that have a bit. Those behind are always the backing file's.
    pub fn bits(&self) -> u64 {
        self.sectors().min(self.bitmap_len() * 8)
    }

    /// Place of the data area in the file.
    pub fn data_offset(&self) -> u64 {
        round_up(self.bitmap_offset() + self.bitmap_len(), self.alignment)
    }

    /// Apparent length of a whole COW file.
    pub fn file_len(&self) -> u64 {
        self.data_offset() + self.size
    }

    /// Checks a backing file by UML's rule: the same size and the same modification time in whole seconds,
    /// size first.
    pub fn check_backing(&self, size: u64, mtime: i64) -> Result<(), Mismatch> {
        if size != self.size {
            return Err(Mismatch::Size { header: self.size, actual: size });
        }
        if mtime != i64::from(self.mtime) {
            return Err(Mismatch::Mtime { header: self.mtime, actual: mtime });
        }
        Ok(())
    }
}

/// Finds the layout from the magic number, the version and, for version 3, the place of the name.
fn detect(bytes: &[u8]) -> Result<Format, HeaderError> {
    // A file too short for the magic number is no COW file; one that has it but ends there is a truncated one.
    let magic: [u8; 4] = bytes.get(..4).and_then(|b| b.try_into().ok()).ok_or(HeaderError::NotCow)?;
    let little = match magic {
        m if m == MAGIC.to_be_bytes() => false,
        m if m == MAGIC.to_le_bytes() => true,
        _ => return Err(HeaderError::NotCow),
    };
    if bytes.len() < 8 {
        return Err(HeaderError::Short { have: bytes.len(), need: 8 });
    }
    let version: [u8; 4] = array(bytes, 4);
    let version = if little { u32::from_le_bytes(version) } else { u32::from_be_bytes(version) };
    match (version, little) {
        (1, true) => Ok(Format::V1Le),
        (1, false) => Ok(Format::V1Be),
        // Versions 2 and 3 are big-endian everywhere; with a little-endian magic number nothing wrote them.
        (2, false) => Ok(Format::V2),
        (3, false) => match bytes.get(32..36) {
            Some([0, 0, 0, 0]) => Ok(Format::V3Broken64),
            _ => Ok(Format::V3),
        },
        _ => Err(HeaderError::Version(version)),
    }
}

fn round_up(value: u64, to: u32) -> u64 {
    value.div_ceil(u64::from(to)) * u64::from(to)
}

/// The `N` bytes at `pos`, which the caller knows to be there.
fn array<const N: usize>(bytes: &[u8], pos: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[pos..pos + N]);
    out
}
