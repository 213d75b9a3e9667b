//! Hands out ranges of the machine's shared memory object.

use ksync::Mutex;

use crate::{error::Result, locks};

/// Smallest range handed out.
pub const MIN_CHUNK: u64 = 1 << 16;

/// A power-of-two allocator over the offsets of the shared memory object. Address space is plentiful (it is sparse); what
/// a range really uses is counted by the host.
pub struct SharedAlloc {
    inner: Mutex<Inner>,
}

struct Inner {
    next: u64,
    end: u64,
    /// Free ranges by log2 of their size.
    free: Vec<Vec<u64>>,
}

impl SharedAlloc {
    pub fn new(size: u64) -> SharedAlloc {
        SharedAlloc {
            inner: Mutex::new(locks::LEAF, Inner { next: 0, end: size, free: vec![Vec::new(); 64] }),
        }
    }

    /// A zeroed range of `size` bytes (a power of two, at least [`MIN_CHUNK`]), aligned to its size up to 1 GiB. ENOMEM if
    /// offsets run out.
    pub fn alloc(&self, size: u64) -> Result<u64> {
        debug_assert!(size.is_power_of_two() && size >= MIN_CHUNK);
        let class = size.trailing_zeros() as usize;
        let mut i = self.inner.lock();
        if let Some(off) = i.free.get_mut(class).and_then(Vec::pop) {
            return Ok(off);
        }
        let align = size.min(1 << 30);
        let off = i.next.next_multiple_of(align);
        let end = off.checked_add(size).filter(|e| *e <= i.end).ok_or(abi::errno::ENOMEM)?;
        // What alignment skips goes to the smaller classes: the piece at `next` is as large as its own alignment.
        while i.next < off {
            let at = i.next;
            let piece = 1u64 << at.trailing_zeros();
            i.free[piece.trailing_zeros() as usize].push(at);
            i.next = at + piece;
        }
        i.next = end;
        Ok(off)
    }

    /// Takes a range back. The caller has discarded its pages and unmapped them everywhere.
    pub fn free(&self, offset: u64, size: u64) {
        let class = size.trailing_zeros() as usize;
        if let Some(list) = self.inner.lock().free.get_mut(class) {
            list.push(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_aligned_disjoint_and_gaps_are_used() {
        let a = SharedAlloc::new(1 << 30);
        let mut got: Vec<(u64, u64)> = Vec::new();
        for size in [1 << 16, 1 << 20, 1 << 16, 1 << 24, 1 << 17, 1 << 19, 1 << 16] {
            let off = a.alloc(size).unwrap();
            assert_eq!(off % size, 0);
            assert!(got.iter().all(|(o, s)| off + size <= *o || o + s <= off));
            got.push((off, size));
        }
        // The small ones went into the gap below the first large one.
        assert!(got[2].0 < 1 << 20 && got[4].0 < 1 << 20);
        a.free(got[1].0, got[1].1);
        assert_eq!(a.alloc(1 << 20), Ok(got[1].0));
        assert_eq!(a.alloc(1 << 31), Err(abi::errno::ENOMEM));
    }
}
