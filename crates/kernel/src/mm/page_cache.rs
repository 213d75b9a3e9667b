//! Pages of a file in the machine's shared memory: read, write and mapped by guests alike.
//!
//! A file's pages lie in chunks: ranges of the shared memory object whose sizes grow with the position (64 KiB twice, then
//! doubling up to 1 GiB), so that a small file costs little, a large one maps as few host mappings, and a sparse one only
//! what is written. A [`Chunk`] frees its range when the last user lets go, so a reader that races with a truncation
//! reads stale bytes of this file and never those of another.
//!
//! Lock order: a file's own lock, then MM (of a mapper), then PAGE_CACHE. No lock of this module is held while bytes
//! move to or from a guest, or while a [`Filler`] works.

mod bitmap;
mod size;
mod stores;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Weak, atomic::AtomicI32},
};

use abi::errno::{EFBIG, ENXIO};
use hal::{Host, PAGE_SIZE, SharedMem};
use ksync::Mutex;

use self::bitmap::Bitmap;
pub use self::stores::Stores;
use super::{Mm, charge::Charge, shared::SharedAlloc};
use crate::{
    error::Result,
    io::{Sink, Source},
    locks,
    machine::Machine,
};

/// Largest size of a file in a page cache, in bytes.
pub const MAX_SIZE: u64 = 8 << 40;

const SMALLEST: u64 = super::shared::MIN_CHUNK;
const LARGEST: u64 = 1 << 30;
/// Pages filled and mapped around a fault of a cache with a filler.
const FILL_WINDOW: u64 = 64 * PAGE_SIZE;

/// Brings pages from where the file really lives. Called with no lock of the memory room held.
pub trait Filler: Send + Sync {
    /// Writes the file's bytes from `pos` (page-aligned) to shared memory at `offset`; what lies beyond the file's end
    /// is left alone (it is zero).
    fn fill(&self, pos: u64, mem: &dyn SharedMem, offset: u64, len: u64) -> Result<()>;
}

/// A range of shared memory that belongs to one file.
pub(super) struct Chunk {
    parts: Arc<Parts>,
    pub(super) offset: u64,
    size: u64,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.parts.mem.discard(self.offset, self.size);
        self.parts.alloc.free(self.offset, self.size);
    }
}

/// What all caches of a machine share.
struct Parts {
    mem: Arc<dyn SharedMem>,
    alloc: Arc<SharedAlloc>,
    charge: Arc<Charge>,
    host: Arc<dyn Host>,
}

struct Slot {
    chunk: Arc<Chunk>,
    /// Pages that hold data (without a filler: that were written; with one: that are up to date).
    present: Bitmap,
}

struct Inner {
    len: u64,
    /// By first position.
    chunks: BTreeMap<u64, Slot>,
    /// Pages present.
    pages: u64,
    /// Some guest may store through a shared mapping: any page of a chunk may hold data.
    stored_by_map: bool,
    /// Address spaces that map it (or did).
    mappers: Vec<Weak<Mm>>,
}

/// The cached contents of one file.
pub struct PageCache {
    parts: Arc<Parts>,
    filler: Option<Arc<dyn Filler>>,
    inner: Mutex<Inner>,
    /// Mappings that may store to it; -1: there may be none (F_SEAL_WRITE).
    stores: AtomicI32,
}

/// What a piece of the file is.
enum Piece {
    /// Data in a chunk, at this offset of the shared memory.
    Data(Arc<Chunk>, u64, u64),
    /// Zeros.
    Hole(u64),
}

/// A part of the file that can be mapped as one piece.
pub(super) struct Window {
    /// Keeps the range alive until it is mapped.
    pub(super) _chunk: Arc<Chunk>,
    /// First position, page-aligned.
    pub(super) pos: u64,
    pub(super) len: u64,
    /// Where it is in the shared memory.
    pub(super) offset: u64,
}

/// First position and size of the chunk that holds `pos`.
fn chunk_at(pos: u64) -> (u64, u64) {
    if pos < SMALLEST {
        (0, SMALLEST)
    } else if pos < LARGEST {
        let size = 1 << pos.ilog2();
        (size, size)
    } else {
        (pos & !(LARGEST - 1), LARGEST)
    }
}

/// End of the last page of a file of `len` bytes.
fn end_of_pages(len: u64) -> u64 {
    len.next_multiple_of(PAGE_SIZE)
}

impl Inner {
    /// The longest piece from `pos` that is all data or all hole, at most `max` bytes, within one chunk.
    fn piece(&self, pos: u64, max: u64) -> Piece {
        let (start, size) = chunk_at(pos);
        let max = max.min(start + size - pos);
        let Some(slot) = self.chunks.get(&start) else { return Piece::Hole(max) };
        let at = pos - start;
        if self.stored_by_map {
            return Piece::Data(slot.chunk.clone(), slot.chunk.offset + at, max);
        }
        let first = at / PAGE_SIZE;
        let (set, run) = slot.present.run(first, (at + max).div_ceil(PAGE_SIZE));
        let n = ((first + run) * PAGE_SIZE - at).min(max);
        if set { Piece::Data(slot.chunk.clone(), slot.chunk.offset + at, n) } else { Piece::Hole(n) }
    }

    fn slot(&mut self, parts: &Arc<Parts>, pos: u64) -> Result<(u64, &mut Slot)> {
        let (start, size) = chunk_at(pos);
        let slot = match self.chunks.entry(start) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => {
                let offset = parts.alloc.alloc(size)?;
                let chunk = Arc::new(Chunk { parts: parts.clone(), offset, size });
                e.insert(Slot { chunk, present: Bitmap::default() })
            }
        };
        Ok((start, slot))
    }
}

impl PageCache {
    /// An empty cache whose holes read as zeros.
    pub fn new(machine: &Arc<Machine>) -> Arc<PageCache> {
        PageCache::with_filler(machine, None)
    }

    /// A cache whose missing pages come from `filler`.
    pub fn with_filler(machine: &Arc<Machine>, filler: Option<Arc<dyn Filler>>) -> Arc<PageCache> {
        Arc::new(PageCache {
            parts: Arc::new(Parts {
                mem: machine.shared_mem.clone(),
                alloc: machine.shared_alloc.clone(),
                charge: machine.memory.clone(),
                host: machine.host.clone(),
            }),
            filler,
            stores: AtomicI32::new(0),
            inner: Mutex::new(
                locks::PAGE_CACHE,
                Inner {
                    len: 0,
                    chunks: BTreeMap::new(),
                    pages: 0,
                    stored_by_map: false,
                    mappers: Vec::new(),
                },
            ),
        })
    }

    /// Bytes of pages that hold data (`st_blocks`).
    pub fn allocated(&self) -> u64 {
        let (chunks, len) = {
            let i = self.inner.lock();
            if !i.stored_by_map || self.filler.is_some() {
                return i.pages * PAGE_SIZE;
            }
            let chunks: Vec<_> = i.chunks.iter().map(|(s, c)| (*s, c.chunk.clone())).collect();
            (chunks, end_of_pages(i.len))
        };
        let mut sum = 0;
        for (start, c) in chunks {
            let end = c.offset + c.size.min(len.saturating_sub(start));
            let mut at = c.offset;
            while let Some(data) = self.parts.mem.seek(at, end, true) {
                let hole = self.parts.mem.seek(data, end, false).unwrap_or(end);
                sum += hole - data;
                at = hole;
            }
        }
        sum
    }

    /// Sets the size. Pages beyond it are discarded and unmapped from everybody (SIGBUS from then on); what is added
    /// reads as zeros. EFBIG beyond [`MAX_SIZE`].
    pub fn resize(&self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(EFBIG);
        }
        let mut dropped = Vec::new();
        let mut mappers = Vec::new();
        let cut = end_of_pages(size);
        let zero_from;
        {
            let mut i = self.inner.lock();
            zero_from = size.min(i.len);
            let shrinks = end_of_pages(i.len) > cut;
            self.set_len(&mut i, size);
            if shrinks {
                mappers = i.mappers.iter().filter_map(Weak::upgrade).collect();
                let gone = i.chunks.split_off(&cut);
                let mut pages = 0;
                for slot in gone.into_values() {
                    pages += slot.present.count();
                    dropped.push(slot.chunk);
                }
                if let Some((start, slot)) = i.chunks.iter_mut().next_back()
                    && start + slot.chunk.size > cut
                {
                    pages += slot.present.clear((cut - start) / PAGE_SIZE, u64::MAX);
                }
                i.pages -= pages;
                self.parts.charge.sub_cache(pages * PAGE_SIZE);
            }
        }
        for mm in &mappers {
            mm.cache_truncated(self, cut);
        }
        // Nobody maps what is beyond now. A store that raced ahead of the unmapping goes with the discard.
        let kept = {
            let i = self.inner.lock();
            i.chunks
                .range(..=cut)
                .next_back()
                .map(|(s, slot)| (*s, slot.chunk.clone()))
                .filter(|(s, c)| s + c.size > cut)
        };
        if let Some((start, chunk)) = kept
            && !mappers.is_empty() | !dropped.is_empty() | (zero_from == size)
        {
            let at = cut - start;
            self.parts.mem.discard(chunk.offset + at, chunk.size - at);
        }
        self.zero_tail(zero_from);
        drop(dropped);
        Ok(())
    }

    /// Zeroes what follows `pos` in its page.
    fn zero_tail(&self, pos: u64) {
        let n = end_of_pages(pos) - pos;
        if n > 0 {
            self.zero(pos, n);
        }
    }

    /// Stores zeros where there is data, within one page.
    fn zero(&self, pos: u64, len: u64) {
        let piece = self.inner.lock().piece(pos, len);
        if let Piece::Data(_chunk, offset, n) = piece {
            self.parts.mem.write(offset, &ZEROS[..n as usize]);
        }
    }

    /// Reads up to `len` bytes from `pos`; fewer at the end of the file.
    pub fn read(&self, dst: &mut dyn Sink, pos: u64, len: usize) -> Result<usize> {
        let want = (len.min(dst.remaining())) as u64;
        let mut done = 0u64;
        while done < want {
            let at = pos + done;
            self.fill_range(at, want - done)?;
            let piece = {
                let i = self.inner.lock();
                if at >= i.len {
                    break;
                }
                i.piece(at, (want - done).min(i.len - at))
            };
            let moved = match piece {
                Piece::Data(_chunk, offset, n) => dst.put_shared(&*self.parts.mem, offset, n as usize),
                Piece::Hole(n) => dst.put(&ZEROS[..n.min(ZEROS.len() as u64) as usize]),
            };
            match moved {
                Ok(0) => break,
                Ok(m) => done += m as u64,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done as usize)
    }

    /// Writes at `pos`, growing the file. EFBIG beyond [`MAX_SIZE`], ENOMEM when the machine's memory is full.
    pub fn write(&self, src: &mut dyn Source, pos: u64) -> Result<usize> {
        let want = src.remaining() as u64;
        if want == 0 {
            return Ok(0);
        }
        if pos >= MAX_SIZE {
            return Err(EFBIG);
        }
        let want = want.min(MAX_SIZE - pos);
        let (len, stored) = {
            let i = self.inner.lock();
            (i.len, i.stored_by_map)
        };
        if pos > len && stored {
            // A guest may have stored behind the old end, in its page.
            self.zero_tail(len);
        }
        let mut done = 0u64;
        while done < want {
            let at = pos + done;
            let moved = self.write_piece(src, at, want - done);
            match moved {
                Ok(0) => break,
                Ok(m) => {
                    done += m;
                    let mut i = self.inner.lock();
                    let len = i.len.max(at + m);
                    self.set_len(&mut i, len);
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done as usize)
    }

    /// Writes within one chunk; the bytes moved.
    fn write_piece(&self, src: &mut dyn Source, at: u64, max: u64) -> Result<u64> {
        let (start, size) = chunk_at(at);
        // Short steps, so that a large write is charged as it goes.
        let n = max.min(start + size - at).min(4 << 20);
        if self.filler.is_some() {
            // Pages that are overwritten only in part must be there before.
            for edge in [at, at + n - 1] {
                self.fill_range(edge / PAGE_SIZE * PAGE_SIZE, 1)?;
            }
        }
        let (chunk, offset) = {
            let mut i = self.inner.lock();
            let (_, slot) = i.slot(&self.parts, at)?;
            let first = (at - start) / PAGE_SIZE;
            let last = (at + n - start).div_ceil(PAGE_SIZE);
            let new = (last - first) - slot.present.count_in(first, last);
            if new > 0 {
                self.parts.charge.add_cache(new * PAGE_SIZE)?;
                slot.present.set(first, last);
            }
            let out = (slot.chunk.clone(), slot.chunk.offset + (at - start));
            i.pages += new;
            out
        };
        let moved = src.take_shared(&*self.parts.mem, offset, n as usize)? as u64;
        drop(chunk);
        Ok(moved)
    }

    /// Makes `[off, off + len)` read as zeros, giving whole pages back (FALLOC_FL_PUNCH_HOLE). The size stays.
    pub fn punch(&self, off: u64, len: u64) -> Result<()> {
        let end = off.saturating_add(len).min(MAX_SIZE);
        if off >= end {
            return Ok(());
        }
        let (first, last) = (off.next_multiple_of(PAGE_SIZE), end / PAGE_SIZE * PAGE_SIZE);
        if first > last {
            // Within one page.
            self.zero(off, end - off);
            return Ok(());
        }
        if off < first {
            self.zero(off, first - off);
        }
        if last < end {
            self.zero(last, end - last);
        }
        let mut ranges: Vec<(Arc<Chunk>, u64, u64)> = Vec::new();
        {
            let mut i = self.inner.lock();
            let mut cleared = 0;
            for (start, slot) in i.chunks.range_mut(chunk_at(first).0..) {
                let a = first.max(*start);
                let b = last.min(start + slot.chunk.size);
                if *start >= last {
                    break;
                }
                if a < b {
                    cleared += slot.present.clear((a - start) / PAGE_SIZE, (b - start) / PAGE_SIZE);
                    ranges.push((slot.chunk.clone(), slot.chunk.offset + (a - start), b - a));
                }
            }
            i.pages -= cleared;
            self.parts.charge.sub_cache(cleared * PAGE_SIZE);
        }
        for (_chunk, offset, n) in ranges {
            self.parts.mem.discard(offset, n);
        }
        Ok(())
    }

    /// Makes pages of `[off, off + len)` present, as zeros where they were not, and charges them (fallocate). The size
    /// stays. ENOMEM when the machine's memory is full.
    pub fn allocate(&self, off: u64, len: u64) -> Result<()> {
        let end = off.saturating_add(len);
        if end > MAX_SIZE {
            return Err(EFBIG);
        }
        let mut at = off / PAGE_SIZE * PAGE_SIZE;
        while at < end {
            let (start, size) = chunk_at(at);
            let to = end.min(start + size);
            let mut i = self.inner.lock();
            let (_, slot) = i.slot(&self.parts, at)?;
            let (first, last) = ((at - start) / PAGE_SIZE, (to - start).div_ceil(PAGE_SIZE));
            let new = (last - first) - slot.present.count_in(first, last);
            self.parts.charge.add_cache(new * PAGE_SIZE)?;
            slot.present.set(first, last);
            i.pages += new;
            at = to;
        }
        Ok(())
    }

    /// SEEK_DATA or SEEK_HOLE: the next data (or hole) at or after `off`. ENXIO at the end, or when no data follows.
    pub fn seek(&self, off: u64, data: bool) -> Result<u64> {
        let mut at = off;
        loop {
            let (piece, len, stored) = {
                let i = self.inner.lock();
                if at >= i.len {
                    return if data || off >= i.len { Err(ENXIO) } else { Ok(i.len) };
                }
                (i.piece(at, i.len - at), i.len, i.stored_by_map)
            };
            match piece {
                Piece::Hole(n) if data => at += n,
                Piece::Hole(_) => return Ok(at),
                Piece::Data(_chunk, offset, n) if stored => {
                    match self.parts.mem.seek(offset, offset + n, data) {
                        Some(found) => return Ok((at + (found - offset)).min(len)),
                        None => at += n,
                    }
                }
                Piece::Data(..) if data => return Ok(at),
                Piece::Data(_, _, n) => at += n,
            }
        }
    }

    /// Brings pages of `[pos, pos + len)` that are not up to date from the filler, in windows.
    fn fill_range(&self, pos: u64, len: u64) -> Result<()> {
        let Some(filler) = &self.filler else { return Ok(()) };
        let mut at = pos / PAGE_SIZE * PAGE_SIZE;
        let end = pos.saturating_add(len);
        while at < end {
            let (chunk, offset, n) = {
                let mut i = self.inner.lock();
                if at >= i.len {
                    return Ok(());
                }
                let file_end = end_of_pages(i.len);
                let (start, size) = chunk_at(at);
                let (_, slot) = i.slot(&self.parts, at)?;
                let first = (at - start) / PAGE_SIZE;
                let (set, run) = slot.present.run(first, size / PAGE_SIZE);
                if set {
                    at += run * PAGE_SIZE;
                    continue;
                }
                let n = (run * PAGE_SIZE)
                    .min(file_end - at)
                    .min(FILL_WINDOW.max(end.next_multiple_of(PAGE_SIZE) - at));
                (slot.chunk.clone(), slot.chunk.offset + (at - start), n)
            };
            self.parts.charge.add_cache(n)?;
            let filled = filler.fill(at, &*self.parts.mem, offset, n);
            let mut i = self.inner.lock();
            let (start, _) = chunk_at(at);
            let mut new = 0;
            // A truncation may have come between: then the pages are not those of this file any more.
            if filled.is_ok()
                && let Some(slot) = i.chunks.get_mut(&start)
                && Arc::ptr_eq(&slot.chunk, &chunk)
            {
                let (first, last) = ((at - start) / PAGE_SIZE, (at - start + n) / PAGE_SIZE);
                new = (last - first) - slot.present.count_in(first, last);
                slot.present.set(first, last);
                i.pages += new;
            }
            drop(i);
            self.parts.charge.sub_cache(n - new * PAGE_SIZE);
            filled?;
            at += n;
        }
        Ok(())
    }

    /// Makes the page of `pos` ready to be mapped; no lock may be held.
    pub(super) fn prepare(&self, pos: u64) -> Result<()> {
        self.fill_range(pos, 1)
    }

    /// Pages are brought one window at a time.
    pub(super) fn has_filler(&self) -> bool {
        self.filler.is_some()
    }

    /// Remembers who maps the file. `stores`: through a mapping that may write to it.
    pub(super) fn add_mapper(&self, mm: &Weak<Mm>, stores: bool) {
        let mut i = self.inner.lock();
        i.stored_by_map |= stores;
        if i.mappers.iter().any(|m| Weak::ptr_eq(m, mm)) {
            return;
        }
        if i.mappers.len() == i.mappers.capacity() {
            i.mappers.retain(|m| m.strong_count() > 0);
        }
        i.mappers.push(mm.clone());
    }

    /// The part of the file around `pos` that can be mapped in one piece, within `[from, to)` (page-aligned). `None`
    /// beyond the end of the file (SIGBUS), or if pages are not up to date.
    pub(super) fn window(&self, pos: u64, from: u64, to: u64) -> Result<Option<Window>> {
        let mut i = self.inner.lock();
        let end = end_of_pages(i.len);
        if pos >= end {
            return Ok(None);
        }
        let (start, size) = chunk_at(pos);
        let (mut a, mut b) = (from.max(start), to.min(start + size).min(end));
        let filled = self.filler.is_some();
        let (_, slot) = i.slot(&self.parts, pos)?;
        if filled {
            let page = (pos - start) / PAGE_SIZE;
            let (set, run) = slot.present.run(page, (b - start) / PAGE_SIZE);
            if !set {
                return Ok(None);
            }
            b = b.min(pos + run * PAGE_SIZE);
            a = a.max(pos);
        }
        Ok(Some(Window {
            offset: slot.chunk.offset + (a - start),
            _chunk: slot.chunk.clone(),
            pos: a,
            len: b - a,
        }))
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        let pages = self.inner.get_mut().pages;
        self.parts.charge.sub_cache(pages * PAGE_SIZE);
    }
}

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
