//! A file in memory that remembers what was done to it, to replay crashes.
//!
//! [`MemFile`] serves tests and fuzzing of whatever stands on a [`Store`]. Its log lets a test ask what
//! the file would be had the process been killed, or the host lost power, at any point:
//! [`MemFile::after_kill`], [`MemFile::after_power_cut`].

use crate::store::{ReadStore, Store};
use std::cell::{Cell, RefCell};
use std::fmt;

/// What a disk writes as a whole, bytes.
const ATOM: usize = 512;

/// One change, as it was asked for.
#[derive(Clone, Debug)]
pub enum Op {
    /// Bytes written at an offset.
    Write(u64, Vec<u8>),
    /// A hole of a length at an offset.
    Punch(u64, u64),
    /// All before is durable.
    Sync,
}

/// The error of a [`MemFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemError {
    /// A failure asked for by [`MemFile::fail_after`].
    Injected,
    /// A write beyond [`MemFile::MAX_LEN`].
    NoSpace,
}

impl fmt::Display for MemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemError::Injected => "injected failure",
            MemError::NoSpace => "no space",
        })
    }
}

/// The file.
#[derive(Debug, Default)]
pub struct MemFile {
    start: Vec<u8>,
    bytes: RefCell<Vec<u8>>,
    log: RefCell<Vec<Op>>,
    budget: Cell<Option<usize>>,
    no_holes: Cell<bool>,
}

impl MemFile {
    /// Longest file, bytes.
    pub const MAX_LEN: u64 = 1 << 26;

    /// A file with a content and an empty log.
    pub fn new(bytes: Vec<u8>) -> MemFile {
        MemFile { start: bytes.clone(), bytes: RefCell::new(bytes), ..MemFile::default() }
    }

    /// The content now.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    /// Number of changes and syncs so far.
    pub fn ops(&self) -> usize {
        self.log.borrow().len()
    }

    /// Makes every change after the next `n` fail; `None` makes none fail.
    pub fn fail_after(&self, n: Option<usize>) {
        self.budget.set(n);
    }

    /// Makes holes impossible, as on a filesystem without fallocate(2).
    pub fn without_holes(&self) {
        self.no_holes.set(true);
    }

    /// The content after the process was killed when `ops` changes were done, and `part` bytes of the next.
    pub fn after_kill(&self, ops: usize, part: usize) -> Vec<u8> {
        let log = self.log.borrow();
        let mut bytes = self.start.clone();
        for op in &log[..ops] {
            apply(&mut bytes, op);
        }
        if let Some(Op::Write(at, data)) = log.get(ops) {
            apply(&mut bytes, &Op::Write(*at, data[..part.min(data.len())].to_vec()));
        }
        bytes
    }

    /// The content after the host lost power when `ops` changes were done: all up to the last sync is there, and of
    /// what came later those disk sectors that `keep` chooses, each with any of its later contents.
    pub fn after_power_cut(&self, ops: usize, mut keep: impl FnMut() -> bool) -> Vec<u8> {
        let log = &self.log.borrow()[..ops];
        let synced = log.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |i| i + 1);
        let mut bytes = self.start.clone();
        for op in &log[..synced] {
            apply(&mut bytes, op);
        }
        let mut newer = bytes.clone();
        for op in &log[synced..] {
            let range = match op {
                Op::Write(at, data) => *at as usize..*at as usize + data.len(),
                Op::Punch(at, len) => *at as usize..(*at + *len) as usize,
                Op::Sync => continue,
            };
            apply(&mut newer, op);
            if bytes.len() < newer.len() {
                bytes.resize(newer.len(), 0);
            }
            let mut atom = range.start / ATOM * ATOM;
            while atom < range.end.min(newer.len()) {
                let end = (atom + ATOM).min(newer.len());
                if keep() {
                    bytes[atom..end].copy_from_slice(&newer[atom..end]);
                }
                atom = end;
            }
        }
        bytes
    }

    fn change(&self, op: Op) -> Result<(), MemError> {
        if let Some(left) = self.budget.get() {
            if left == 0 {
                return Err(MemError::Injected);
            }
            self.budget.set(Some(left - 1));
        }
        apply(&mut self.bytes.borrow_mut(), &op);
        self.log.borrow_mut().push(op);
        Ok(())
    }
}

fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(_, data) if data.is_empty() => {}
        Op::Write(at, data) => {
            let at = *at as usize;
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[at..at + data.len()].copy_from_slice(data);
        }
        Op::Punch(at, len) => {
            let end = bytes.len().min((at + len) as usize);
            if let Some(hole) = bytes.get_mut(*at as usize..end) {
                hole.fill(0);
            }
        }
        Op::Sync => {}
    }
}

impl ReadStore for MemFile {
    type Error = MemError;

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), MemError> {
        let bytes = self.bytes.borrow();
        let from = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
        let have = &bytes[from..];
        let n = have.len().min(buf.len());
        buf[..n].copy_from_slice(&have[..n]);
        buf[n..].fill(0);
        Ok(())
    }

    fn len(&self) -> Result<u64, MemError> {
        Ok(self.bytes.borrow().len() as u64)
    }
}

impl Store for MemFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), MemError> {
        if offset.saturating_add(buf.len() as u64) > MemFile::MAX_LEN {
            return Err(MemError::NoSpace);
        }
        self.change(Op::Write(offset, buf.to_vec()))
    }

    fn sync(&self) -> Result<(), MemError> {
        self.change(Op::Sync)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<bool, MemError> {
        if self.no_holes.get() {
            return Ok(false);
        }
        if offset.saturating_add(len) > MemFile::MAX_LEN {
            return Err(MemError::NoSpace);
        }
        self.change(Op::Punch(offset, len))?;
        Ok(true)
    }
}
