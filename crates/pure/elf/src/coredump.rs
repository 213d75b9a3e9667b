//! Core dumps (core(5)): the headers and notes that debuggers read. Only written, never read.

use crate::{HEADER_LEN, PF_R, PF_W, PF_X, PHDR_LEN, PT_LOAD};

const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const PT_NOTE: u32 = 4;
const PAGE: u64 = 4096;

pub const NT_PRSTATUS: u32 = 1;
pub const NT_FPREGSET: u32 = 2;
pub const NT_PRPSINFO: u32 = 3;
pub const NT_AUXV: u32 = 6;
pub const NT_X86_XSTATE: u32 = 0x202;
pub const NT_FILE: u32 = 0x4649_4c45;
pub const NT_SIGINFO: u32 = 0x5349_4749;

/// Most loadable segments: their number must fit the file header, the notes' included.
pub const LOADS_MAX: usize = 65_000;

/// Words of a general register set.
pub const REGS: usize = 27;

/// One thread (`struct elf_prstatus`).
#[derive(Clone, Copy, Debug, Default)]
pub struct PrStatus {
    pub signo: i32,
    pub code: i32,
    pub errno: i32,
    pub cursig: i16,
    pub pending: u64,
    pub blocked: u64,
    pub pid: i32,
    pub ppid: i32,
    pub pgrp: i32,
    pub sid: i32,
    /// User, system, children's user and system time in nanoseconds.
    pub times: [u64; 4],
    pub regs: [u64; REGS],
}

impl PrStatus {
    pub fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(336);
        for w in [self.signo, self.code, self.errno] {
            b.extend(w.to_le_bytes());
        }
        b.extend(self.cursig.to_le_bytes());
        b.extend([0; 2]);
        b.extend(self.pending.to_le_bytes());
        b.extend(self.blocked.to_le_bytes());
        for w in [self.pid, self.ppid, self.pgrp, self.sid] {
            b.extend(w.to_le_bytes());
        }
        for ns in self.times {
            b.extend((ns / 1_000_000_000).to_le_bytes());
            b.extend((ns / 1000 % 1_000_000).to_le_bytes());
        }
        for w in self.regs {
            b.extend(w.to_le_bytes());
        }
        // A floating-point set follows.
        b.extend(1i32.to_le_bytes());
        b.extend([0; 4]);
        b
    }
}

/// The process (`struct elf_prpsinfo`).
#[derive(Clone, Debug, Default)]
pub struct PrPsInfo<'a> {
    pub nice: i8,
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
    pub ppid: i32,
    pub pgrp: i32,
    pub sid: i32,
    /// Cut to 15 and 79 bytes.
    pub name: &'a [u8],
    pub args: &'a [u8],
}

impl PrPsInfo<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let mut b = vec![0, b'R', 0, self.nice.to_le_bytes()[0], 0, 0, 0, 0];
        b.extend(0u64.to_le_bytes());
        b.extend(self.uid.to_le_bytes());
        b.extend(self.gid.to_le_bytes());
        for w in [self.pid, self.ppid, self.pgrp, self.sid] {
            b.extend(w.to_le_bytes());
        }
        for (text, room) in [(self.name, 16), (self.args, 80)] {
            let kept = &text[..text.len().min(room - 1)];
            b.extend(kept);
            b.extend(std::iter::repeat_n(0, room - kept.len()));
        }
        b
    }
}

/// A mapped file of [`files`].
pub struct MappedFile {
    pub start: u64,
    pub end: u64,
    /// Bytes into the file.
    pub offset: u64,
    pub name: Vec<u8>,
}

/// The contents of [`NT_FILE`].
pub fn files(list: &[MappedFile]) -> Vec<u8> {
    let mut b = (list.len() as u64).to_le_bytes().to_vec();
    b.extend(PAGE.to_le_bytes());
    for f in list {
        for w in [f.start, f.end, f.offset / PAGE] {
            b.extend(w.to_le_bytes());
        }
    }
    for f in list {
        b.extend(f.name.iter().filter(|c| **c != 0));
        b.push(0);
    }
    b
}

/// Appends a note.
pub fn note(out: &mut Vec<u8>, name: &str, kind: u32, data: &[u8]) {
    let pad = |out: &mut Vec<u8>| out.resize(out.len().next_multiple_of(4), 0);
    out.extend((name.len() as u32 + 1).to_le_bytes());
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend(data);
    pad(out);
}

/// Memory of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub start: u64,
    pub end: u64,
    pub read: bool,
    pub write: bool,
    pub exec: bool,
    /// Bytes that are in the file, from the start on.
    pub kept: u64,
}

/// All that comes before the memory, up to a page boundary; the kept bytes of each segment follow without gaps.
pub fn headers(notes: &[u8], loads: &[Load]) -> Vec<u8> {
    let loads = &loads[..loads.len().min(LOADS_MAX)];
    let count = loads.len() + 1;
    let mut b = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    b.extend(ET_CORE.to_le_bytes());
    b.extend(EM_X86_64.to_le_bytes());
    b.extend(1u32.to_le_bytes());
    b.extend(0u64.to_le_bytes());
    b.extend((HEADER_LEN as u64).to_le_bytes());
    b.extend(0u64.to_le_bytes());
    b.extend(0u32.to_le_bytes());
    for w in [HEADER_LEN, PHDR_LEN, count, 0, 0, 0] {
        b.extend((w as u16).to_le_bytes());
    }
    let notes_at = (HEADER_LEN + count * PHDR_LEN) as u64;
    let mut segment = |kind: u32, flags: u32, words: [u64; 6]| {
        b.extend(kind.to_le_bytes());
        b.extend(flags.to_le_bytes());
        words.iter().for_each(|w| b.extend(w.to_le_bytes()));
    };
    let len = notes.len() as u64;
    segment(PT_NOTE, 0, [notes_at, 0, 0, len, 0, 4]);
    let mut at = (notes_at + len).next_multiple_of(PAGE);
    for l in loads {
        let flag = |on: bool, f: u32| if on { f } else { 0 };
        let flags = flag(l.read, PF_R) | flag(l.write, PF_W) | flag(l.exec, PF_X);
        segment(PT_LOAD, flags, [at, l.start, 0, l.kept, l.end - l.start, PAGE]);
        at += l.kept;
    }
    b.extend(notes);
    b.resize(b.len().next_multiple_of(PAGE as usize), 0);
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_structures() {
        assert_eq!(PrStatus::default().encode().len(), 336);
        let long = [b'x'; 200];
        let info = PrPsInfo { name: &long, args: &long, ..PrPsInfo::default() }.encode();
        assert_eq!(info.len(), 136);
        assert_eq!((info[40 + 14], info[40 + 15], info[56 + 78], info[56 + 79]), (b'x', 0, b'x', 0));
        let mut s = PrStatus { pid: 7, ..PrStatus::default() };
        s.regs[0] = 9;
        let b = s.encode();
        assert_eq!((b[32], b[112]), (7, 9));
    }

    #[test]
    fn notes_and_headers_are_aligned() {
        let mut n = Vec::new();
        note(&mut n, "CORE", NT_AUXV, &[1, 2, 3]);
        assert_eq!(n.len(), 12 + 8 + 4);
        let load =
            |start, kept| Load { start, end: start + 0x3000, read: true, write: false, exec: false, kept };
        let h = headers(&n, &[load(0x1000, 0x3000), load(0x8000, 0), load(0x10000, 0x1000)]);
        assert_eq!(h.len(), 4096);
        assert_eq!(u16::from_le_bytes([h[56], h[57]]), 4);
        let offset = |i: usize| {
            let at = HEADER_LEN + i * PHDR_LEN + 8;
            u64::from_le_bytes(h[at..at + 8].try_into().unwrap())
        };
        assert_eq!((offset(0), offset(1), offset(2), offset(3)), (64 + 4 * 56, 4096, 0x4000, 0x4000));
        assert_eq!(&h[64 + 4 * 56..][..n.len()], &n[..]);
    }

    #[test]
    fn mapped_files() {
        let b = files(&[MappedFile { start: 0x1000, end: 0x2000, offset: 0x3000, name: b"/a".to_vec() }]);
        assert_eq!(b.len(), 16 + 24 + 3);
        assert_eq!((b[0], b[32], &b[40..]), (1, 3, &b"/a\0"[..]));
    }
}
