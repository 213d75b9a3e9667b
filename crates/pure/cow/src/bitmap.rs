//! The bitmap of changed sectors, as it is held in memory.
//!
//! Bit *n* is bit `n % 8`, counted from the least significant, of byte `n / 8`. In memory the bytes
//! are gathered in little-endian words, so that runs of equal bits are found a word at a time.
//! What has changed since it was last written is tracked in blocks of [`BLOCK`] bytes.

use std::collections::TryReserveError;
use std::ops::Range;

/// Unit, in bytes of bitmap, in which changes are written back.
pub const BLOCK: u64 = 4096;

const BLOCK_BITS: u64 = BLOCK * 8;

/// A bitmap of a fixed number of bits.
#[derive(Debug)]
pub struct Bitmap {
    words: Vec<u64>,
    bits: u64,
    /// One flag for each block of [`BLOCK`] bytes.
    dirty: Vec<bool>,
    any_dirty: bool,
}

impl Bitmap {
    /// An empty bitmap of `bits` bits. Fails when there is no memory for it.
    pub fn new(bits: u64) -> Result<Bitmap, TryReserveError> {
        // A length beyond usize asks for more than there can be, which try_reserve then says.
        let len = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let mut words = Vec::new();
        words.try_reserve_exact(len(bits.div_ceil(64)))?;
        words.resize(len(bits.div_ceil(64)), 0);
        let mut dirty = Vec::new();
        dirty.try_reserve_exact(len(bits.div_ceil(BLOCK_BITS)))?;
        dirty.resize(len(bits.div_ceil(BLOCK_BITS)), false);
        Ok(Bitmap { words, bits, dirty, any_dirty: false })
    }

    /// Number of bits.
    pub fn len(&self) -> u64 {
        self.bits
    }

    /// Whether it has no bits at all.
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// Length in bytes in the file.
    pub fn byte_len(&self) -> u64 {
        self.bits.div_ceil(8)
    }

    /// Takes over bytes of the file, beginning at byte `start` of the bitmap, a multiple of 8. Bits past the
    /// end are dropped. Nothing becomes dirty.
    pub fn load(&mut self, start: u64, bytes: &[u8]) {
        debug_assert_eq!(start % 8, 0);
        let first = (start / 8) as usize;
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            if let Some(slot) = self.words.get_mut(first + i) {
                *slot = u64::from_le_bytes(word);
            }
        }
        if !self.bits.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (self.bits % 64)) - 1;
        }
    }

    /// Gives the bytes from `start` (a multiple of 8) of the bitmap as they belong into the file.
    pub fn store(&self, start: u64, out: &mut [u8]) {
        debug_assert_eq!(start % 8, 0);
        let first = (start / 8) as usize;
        for (i, chunk) in out.chunks_mut(8).enumerate() {
            let word = self.words.get(first + i).copied().unwrap_or(0).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Whether the bit is set; bits past the end are not.
    pub fn get(&self, bit: u64) -> bool {
        bit < self.bits && self.words[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// Sets a range of bits and returns whether any was clear. Bits past the end are left out.
    pub fn set(&mut self, range: Range<u64>) -> bool {
        let end = range.end.min(self.bits);
        let mut changed = false;
        let mut at = range.start;
        while at < end {
            let index = (at / 64) as usize;
            let stop = end.min((at / 64 + 1) * 64);
            let mask = mask(at % 64, stop - at);
            if self.words[index] & mask != mask {
                self.words[index] |= mask;
                self.dirty[(at / BLOCK_BITS) as usize] = true;
                self.any_dirty = true;
                changed = true;
            }
            at = stop;
        }
        changed
    }

    /// The value of bit `start` and the number of bits from there, at most `max`, that have it.
    pub fn run(&self, start: u64, max: u64) -> (bool, u64) {
        let value = self.get(start);
        let end = start.saturating_add(max);
        let stop = end.min(self.bits);
        let mut at = start;
        while at < stop {
            let word = self.words[(at / 64) as usize];
            let word = if value { !word } else { word };
            let rest = word >> (at % 64);
            if rest != 0 {
                at += u64::from(rest.trailing_zeros());
                return (value, at.min(stop) - start);
            }
            at = (at / 64 + 1) * 64;
        }
        // Past the end all bits count as clear.
        (value, if value { stop.max(start) - start } else { end - start })
    }

    /// All maximal runs of set bits within a range, in order.
    pub fn set_runs(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = range.start;
        let end = range.end.min(self.bits);
        std::iter::from_fn(move || {
            while at < end {
                let (value, len) = self.run(at, end - at);
                let from = at;
                at += len;
                if value {
                    return Some(from..at);
                }
            }
            None
        })
    }

    /// Number of set bits.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// The highest set bit.
    pub fn last(&self) -> Option<u64> {
        let index = self.words.iter().rposition(|&w| w != 0)?;
        Some(index as u64 * 64 + 63 - u64::from(self.words[index].leading_zeros()))
    }

    /// Whether anything has changed since [`Bitmap::mark_clean`].
    pub fn is_dirty(&self) -> bool {
        self.any_dirty
    }

    /// The next range of changed bytes at or behind byte `from`, at most `max` bytes long (`max` a
    /// multiple of [`BLOCK`]), starting at a multiple of [`BLOCK`].
    pub fn next_dirty(&self, from: u64, max: u64) -> Option<Range<u64>> {
        if !self.any_dirty {
            return None;
        }
        let skip = from.div_ceil(BLOCK) as usize;
        let first = skip + self.dirty.get(skip..)?.iter().position(|&d| d)?;
        let len = self.dirty[first..].iter().take((max / BLOCK) as usize).take_while(|&&d| d).count();
        let start = first as u64 * BLOCK;
        Some(start..(start + len as u64 * BLOCK).min(self.byte_len()))
    }

    /// Notes that all changes have reached the file.
    pub fn mark_clean(&mut self) {
        self.dirty.fill(false);
        self.any_dirty = false;
    }
}

/// `len` ones (1 to 64) from bit `from` up.
fn mask(from: u64, len: u64) -> u64 {
    (u64::MAX >> (64 - len)) << from
}
