//! Programs in ELF format, as execve(2) needs them: the header and the program headers of a 64-bit x86 executable
//! (elf(5)). Takes bytes that anybody may have written and checks all that the loader relies on.
#![forbid(unsafe_code)]

use abi::{PAGE_SIZE, Prot, mm::TASK_SIZE};

pub mod coredump;

#[cfg(test)]
mod tests;

/// Bytes of the file header.
pub const HEADER_LEN: usize = 64;
/// Bytes of one program header.
pub const PHDR_LEN: usize = 56;
/// Largest program header table, in bytes.
pub const TABLE_MAX: usize = 65536;
/// Longest interpreter name with its NUL (PATH_MAX).
pub const INTERP_MAX: u64 = 4096;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

/// Why it is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not ELF at all.
    NotElf,
    /// ELF for something else: another class, byte order, machine, or no executable.
    Foreign,
    /// Contradicts itself.
    Malformed,
}

type Result<T> = core::result::Result<T, Error>;

/// Where a program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At the addresses it names.
    Fixed,
    /// Anywhere (position-independent).
    Relocatable,
}

/// What the file header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub entry: u64,
    /// Place of the program headers in the file.
    pub table_offset: u64,
    /// Number of program headers, at least 1.
    pub table_count: u16,
}

/// A part of the file in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub addr: u64,
    /// Bytes in memory; what exceeds `file_len` is zero.
    pub len: u64,
    pub offset: u64,
    pub file_len: u64,
    pub prot: Prot,
}

impl Segment {
    /// Address of the first page.
    pub fn start(&self) -> u64 {
        self.addr & !(PAGE_SIZE - 1)
    }
    /// Last address plus one.
    pub fn end(&self) -> u64 {
        self.addr + self.len
    }
    /// Last address with bytes of the file, plus one.
    pub fn file_end(&self) -> u64 {
        self.addr + self.file_len
    }
}

/// What the program headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// In order of address, on disjoint pages; at least one.
    pub segments: Vec<Segment>,
    /// Place and length of the interpreter's name, its NUL included.
    pub interp: Option<(u64, u64)>,
    /// Wants an executable stack; `None` if it does not say.
    pub exec_stack: Option<bool>,
    /// Where the program headers are in memory.
    pub table_addr: Option<u64>,
    /// Largest alignment a segment asks for, a power of two, at least a page.
    pub align: u64,
}

impl Program {
    /// First page of all.
    pub fn low(&self) -> u64 {
        self.segments.first().map_or(0, Segment::start)
    }
    /// Last address of all, plus one.
    pub fn high(&self) -> u64 {
        self.segments.iter().map(Segment::end).max().unwrap_or(0)
    }
}

fn u16_at(b: &[u8], at: usize) -> Result<u16> {
    b.get(at..at + 2).and_then(|s| s.try_into().ok()).map(u16::from_le_bytes).ok_or(Error::Malformed)
}
fn u32_at(b: &[u8], at: usize) -> Result<u32> {
    b.get(at..at + 4).and_then(|s| s.try_into().ok()).map(u32::from_le_bytes).ok_or(Error::Malformed)
}
fn u64_at(b: &[u8], at: usize) -> Result<u64> {
    b.get(at..at + 8).and_then(|s| s.try_into().ok()).map(u64::from_le_bytes).ok_or(Error::Malformed)
}

/// Reads the file header out of the first bytes of a file.
pub fn header(b: &[u8]) -> Result<Header> {
    if !b.starts_with(b"\x7fELF") {
        return Err(Error::NotElf);
    }
    if b.len() < HEADER_LEN {
        return Err(Error::Malformed);
    }
    // Class 64, little endian.
    if b[4] != 2 || b[5] != 1 || u16_at(b, 18)? != EM_X86_64 {
        return Err(Error::Foreign);
    }
    let kind = match u16_at(b, 16)? {
        ET_EXEC => Kind::Fixed,
        ET_DYN => Kind::Relocatable,
        _ => return Err(Error::Foreign),
    };
    let table_count = u16_at(b, 56)?;
    if usize::from(u16_at(b, 54)?) != PHDR_LEN
        || table_count == 0
        || usize::from(table_count) * PHDR_LEN > TABLE_MAX
    {
        return Err(Error::Malformed);
    }
    Ok(Header { kind, entry: u64_at(b, 24)?, table_offset: u64_at(b, 32)?, table_count })
}

impl Header {
    /// Bytes of the program header table.
    pub fn table_len(&self) -> usize {
        usize::from(self.table_count) * PHDR_LEN
    }
}

/// Reads the program headers; `table` holds [`Header::table_len`] bytes from [`Header::table_offset`].
pub fn program(h: &Header, table: &[u8]) -> Result<Program> {
    let mut p = Program { align: PAGE_SIZE, ..Program::default() };
    if table.len() < h.table_len() {
        return Err(Error::Malformed);
    }
    let mut first_load: Option<(u64, u64)> = None;
    for e in table[..h.table_len()].chunks_exact(PHDR_LEN) {
        let flags = u32_at(e, 4)?;
        let (offset, addr) = (u64_at(e, 8)?, u64_at(e, 16)?);
        let (file_len, len, align) = (u64_at(e, 32)?, u64_at(e, 40)?, u64_at(e, 48)?);
        match u32_at(e, 0)? {
            PT_LOAD if len > 0 => {
                let s = Segment { addr, len, offset, file_len, prot: prot(flags) };
                check(&s)?;
                first_load.get_or_insert((offset, addr));
                if h.table_offset >= offset && h.table_offset - offset < file_len {
                    p.table_addr.get_or_insert(addr + (h.table_offset - offset));
                }
                if align.is_power_of_two() && align <= TASK_SIZE / 2 {
                    p.align = p.align.max(align);
                }
                p.segments.push(s);
            }
            PT_INTERP if p.interp.is_none() => {
                if !(2..=INTERP_MAX).contains(&file_len) || offset.checked_add(file_len).is_none() {
                    return Err(Error::Malformed);
                }
                p.interp = Some((offset, file_len));
            }
            PT_PHDR => p.table_addr = Some(addr),
            PT_GNU_STACK => p.exec_stack = Some(flags & PF_X != 0),
            _ => {}
        }
    }
    p.segments.sort_by_key(|s| s.addr);
    let apart =
        p.segments.windows(2).all(|w| abi::mm::page_up(w[0].end()).is_some_and(|e| e <= w[1].start()));
    if p.segments.is_empty() || !apart {
        return Err(Error::Malformed);
    }
    Ok(p)
}

fn prot(flags: u32) -> Prot {
    let mut p = Prot::empty();
    p.set(Prot::READ, flags & PF_R != 0);
    p.set(Prot::WRITE, flags & PF_W != 0);
    p.set(Prot::EXEC, flags & PF_X != 0);
    p
}

fn check(s: &Segment) -> Result<()> {
    let in_memory = s.addr.checked_add(s.len).is_some_and(|e| e <= TASK_SIZE);
    let in_file = s.offset.checked_add(s.file_len).is_some_and(|e| e < i64::MAX as u64);
    // What has no bytes in the file needs no place in it that could be mapped.
    let congruent = s.file_len == 0 || s.addr % PAGE_SIZE == s.offset % PAGE_SIZE;
    if in_memory && in_file && congruent && s.file_len <= s.len { Ok(()) } else { Err(Error::Malformed) }
}

/// The interpreter's name out of its bytes: without the NUL that must end it.
pub fn interp_name(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.split_last() {
        Some((0, name)) if !name.is_empty() => {
            Ok(name.split(|b| *b == 0).next().filter(|n| !n.is_empty()).ok_or(Error::Malformed)?)
        }
        _ => Err(Error::Malformed),
    }
}

/// A `#!` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script<'a> {
    pub interp: &'a [u8],
    /// All that follows, as one argument.
    pub arg: Option<&'a [u8]>,
}

/// Bytes of a file that are looked at for a `#!` line.
pub const SCRIPT_MAX: usize = 256;

/// Reads a `#!` line out of the first (at most [`SCRIPT_MAX`]) bytes of a file. `None` if there is none, or its
/// interpreter's name is missing or does not end within the bytes.
pub fn script(head: &[u8]) -> Option<Script<'_>> {
    let head = &head[..head.len().min(SCRIPT_MAX)];
    let line = head.strip_prefix(b"#!")?;
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let (line, cut) = match line.iter().position(|b| *b == b'\n') {
        Some(end) => (&line[..end], false),
        None => (line, head.len() == SCRIPT_MAX),
    };
    let line = line.split(|b| *b == 0).next().unwrap_or_default();
    let start = line.iter().position(|b| !blank(b))?;
    let line = &line[start..];
    let word = line.iter().position(blank);
    if word.is_none() && cut {
        return None;
    }
    let (interp, rest) = line.split_at(word.unwrap_or(line.len()));
    let from = rest.iter().position(|b| !blank(b));
    let arg = from.map(|f| {
        let to = rest.iter().rposition(|b| !blank(b)).map_or(f, |t| t + 1);
        &rest[f..to]
    });
    Some(Script { interp, arg })
}
