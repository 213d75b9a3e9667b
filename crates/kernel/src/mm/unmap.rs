//! munmap(2), and the unmapping of truncated files.

use std::sync::Arc;

use abi::errno::{EINVAL, ENOMEM};
use hal::MapOp;

use super::{Inner, LAZY_COUNT, Mm, PageCache, Vma, is_aligned, page_len};
use crate::error::Result;

impl Mm {
    /// Removes all mappings of a range.
    pub fn munmap(&self, addr: u64, len: u64) -> Result<()> {
        let (_, high) = self.range();
        let len = page_len(len).map_err(|_| EINVAL)?;
        let end = addr.checked_add(len).filter(|e| *e <= high).ok_or(EINVAL)?;
        if !is_aligned(addr) || len == 0 {
            return Err(EINVAL);
        }
        let mut i = self.lock();
        let inside = i.vmas.find(addr).is_some_and(|v| v.start < addr && v.end > end);
        if inside && i.vmas.count() + 1 > self.max_map_count() {
            return Err(ENOMEM);
        }
        let (old, done) = self.remove(&mut i, addr, end);
        drop(i);
        drop(old);
        done
    }

    /// Takes a range out of the list and the host.
    pub(super) fn remove(&self, i: &mut Inner, start: u64, end: u64) -> (Vec<Vma>, Result<()>) {
        let old = i.vmas.carve(start, end);
        if old.is_empty() {
            return (old, Ok(()));
        }
        let lazy = !self.forget_mapped(i, &old) && i.vmas.count() < LAZY_COUNT;
        let done = self.apply(&[MapOp::Unmap { addr: start, len: end - start }], lazy);
        self.recount(i);
        (old, done)
    }

    /// Unmaps what maps `cache` from position `from` on: those pages are gone.
    pub(crate) fn cache_truncated(&self, cache: &PageCache, from: u64) {
        let mut i = self.lock();
        self.unmap_cache(&mut i, cache, from);
    }

    /// [`Mm::cache_truncated`] with the lock held.
    pub(super) fn unmap_cache(&self, i: &mut Inner, cache: &PageCache, from: u64) {
        let mut ranges = Vec::new();
        for v in i.vmas.iter() {
            if v.cache().is_some_and(|c| std::ptr::eq(Arc::as_ptr(c), cache)) && v.pos(v.end) > from {
                let start = if v.offset >= from { v.start } else { v.start + (from - v.offset) };
                ranges.push((start, v.end));
            }
        }
        let mut ops = Vec::new();
        for (start, end) in ranges {
            let gone = i.mapped.remove(start, end);
            ops.extend(gone.into_iter().map(|(a, b)| MapOp::Unmap { addr: a, len: b - a }));
        }
        if self.apply(&ops, false).is_err() {
            // The pages will belong to others: this space must not keep them.
            self.space.kill();
        }
    }
}
