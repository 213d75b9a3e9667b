//! The list of an address space's mappings.

use std::{collections::BTreeMap, sync::Arc};

use hal::{HostFile, PAGE_SIZE, Prot};

use super::page_cache::{PageCache, Stores};
use crate::vfs::{file::File, open::WriteGuard};

bitflags::bitflags! {
    /// Properties of a mapping.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VmaFlags: u32 {
        /// Stores reach the object.
        const SHARED = 1;
        /// Grows downward on faults below it.
        const GROWSDOWN = 1 << 1;
        const NORESERVE = 1 << 2;
        /// mlock(2).
        const LOCKED = 1 << 3;
        const LOCK_ON_FAULT = 1 << 4;
        /// madvise(2).
        const DONTFORK = 1 << 5;
        const WIPEONFORK = 1 << 6;
        const DONTDUMP = 1 << 7;
        const RANDOM = 1 << 8;
        const SEQUENTIAL = 1 << 9;
        const HUGE = 1 << 10;
        const NOHUGE = 1 << 11;
        /// The main thread's stack.
        const STACK = 1 << 12;
        /// Counted as committed memory.
        const ACCOUNT = 1 << 13;
    }
}

/// What gives the bytes of a mapped file.
#[derive(Clone)]
pub enum Source {
    Host(Arc<dyn HostFile>),
    Cache(Arc<PageCache>),
}

/// A mapped object. Shared by the pieces a mapping was split into.
pub struct Mapped {
    /// The open file; `None` for shared anonymous memory.
    pub file: Option<Arc<File>>,
    pub source: Source,
    /// Held while stores may reach a file.
    pub(super) _writer: Option<WriteGuard>,
    /// The same for pages of a cache.
    pub(super) _stores: Option<Stores>,
}

/// Counts the mappings of an object (System V shared memory: `shm_nattch`). Called with an address space locked: it takes
/// none but leaf locks, unless the last mapping is closed, which no lock is held for.
pub trait MapUsers: Send + Sync {
    fn opened(&self);
    fn closed(&self);
}

/// One counted mapping.
pub struct MapUser(Arc<dyn MapUsers>);

impl MapUser {
    pub fn new(users: Arc<dyn MapUsers>) -> MapUser {
        users.opened();
        MapUser(users)
    }
}

impl Clone for MapUser {
    fn clone(&self) -> MapUser {
        MapUser::new(self.0.clone())
    }
}

impl Drop for MapUser {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// One mapping: `[start, end)`.
#[derive(Clone)]
pub struct Vma {
    pub start: u64,
    pub end: u64,
    pub prot: Prot,
    /// What mprotect(2) may set.
    pub max: Prot,
    pub flags: VmaFlags,
    /// Position in the object of `start`; 0 for anonymous memory.
    pub offset: u64,
    /// `None`: private anonymous memory.
    pub object: Option<Arc<Mapped>>,
    /// Counts this mapping, where somebody wants to know.
    pub user: Option<MapUser>,
}

impl Vma {
    pub fn len(&self) -> u64 {
        self.end - self.start
    }
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
    pub fn is_shared(&self) -> bool {
        self.flags.contains(VmaFlags::SHARED)
    }
    pub fn cache(&self) -> Option<&Arc<PageCache>> {
        match &self.object.as_ref()?.source {
            Source::Cache(c) => Some(c),
            Source::Host(_) => None,
        }
    }
    pub fn file(&self) -> Option<&Arc<File>> {
        self.object.as_ref()?.file.as_ref()
    }
    /// Position in the object of `addr`, which lies in the mapping or at its end.
    pub fn pos(&self, addr: u64) -> u64 {
        self.offset + (addr - self.start)
    }
    /// Private and writable: pages of the host's that the guest takes without asking.
    pub(super) fn is_private(&self) -> bool {
        self.prot.write && !self.is_shared()
    }
    /// The same without stacks: what RLIMIT_DATA and the commit rule count.
    fn is_data(&self) -> bool {
        self.prot.write && !self.is_shared() && !self.flags.contains(VmaFlags::STACK)
    }

    /// The part from `addr` on; `self` keeps what is below.
    fn split_off(&mut self, addr: u64) -> Vma {
        let mut upper = self.clone();
        if self.object.is_some() {
            upper.offset = self.pos(addr);
        }
        upper.start = addr;
        self.end = addr;
        upper
    }

    /// May `next`, which begins at this one's end, be one with it?
    fn joins(&self, next: &Vma) -> bool {
        if self.end != next.start
            || self.prot != next.prot
            || self.max != next.max
            || self.flags != next.flags
            || self.flags.contains(VmaFlags::GROWSDOWN)
        {
            return false;
        }
        match (&self.object, &next.object) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                let same = Arc::ptr_eq(a, b)
                    || a.file.as_ref().zip(b.file.as_ref()).is_some_and(|(x, y)| Arc::ptr_eq(x, y));
                same && self.pos(self.end) == next.offset
            }
            _ => false,
        }
    }
}

/// Sums over all mappings, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// VmSize, RLIMIT_AS.
    pub all: u64,
    /// VmData, RLIMIT_DATA.
    pub data: u64,
    /// VmLck, RLIMIT_MEMLOCK.
    pub locked: u64,
    /// VmExe and VmLib.
    pub exec: u64,
    /// VmStk.
    pub stack: u64,
    /// Private memory that may be written, as the commit rule counts it.
    pub committed: u64,
    /// All private memory that may be written.
    pub private: u64,
}

impl Totals {
    fn count(&mut self, v: &Vma, add: bool) {
        let change = |t: &mut u64, on: bool| {
            if on {
                *t = if add { *t + v.len() } else { *t - v.len() };
            }
        };
        change(&mut self.all, true);
        change(&mut self.data, v.is_data());
        change(&mut self.locked, v.flags.contains(VmaFlags::LOCKED));
        change(&mut self.exec, v.prot.exec && !v.prot.write);
        change(&mut self.stack, v.flags.contains(VmaFlags::STACK));
        change(&mut self.committed, v.flags.contains(VmaFlags::ACCOUNT));
        change(&mut self.private, v.is_private());
    }
}

/// Space kept free below a growing mapping (stack_guard_gap).
pub(super) const GUARD: u64 = 256 * PAGE_SIZE;

/// All mappings, by address. Neighbours that can be one are one.
#[derive(Clone, Default)]
pub struct VmaTree {
    map: BTreeMap<u64, Vma>,
    totals: Totals,
}

impl VmaTree {
    pub fn count(&self) -> usize {
        self.map.len()
    }
    pub fn totals(&self) -> Totals {
        self.totals
    }
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.map.values()
    }

    /// The mapping that holds `addr`.
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..=addr).next_back().map(|(_, v)| v).filter(|v| addr < v.end)
    }
    /// The first mapping that ends above `addr`.
    pub fn at_or_above(&self, addr: u64) -> Option<&Vma> {
        self.find(addr).or_else(|| self.map.range(addr..).next().map(|(_, v)| v))
    }
    /// The last mapping that ends at or below `addr`.
    pub(super) fn below(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..addr).next_back().map(|(_, v)| v).filter(|v| v.end <= addr)
    }
    /// Mappings that touch `[start, end)`, in order.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Vma> {
        let first = self.find(start).map_or(start, |v| v.start);
        self.map.range(first..end.max(first)).map(|(_, v)| v)
    }
    /// Is anything mapped in `[start, end)`?
    pub fn overlaps(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_some()
    }

    fn add(&mut self, v: Vma) {
        self.totals.count(&v, true);
        self.map.insert(v.start, v);
    }
    fn take(&mut self, start: u64) -> Option<Vma> {
        let v = self.map.remove(&start)?;
        self.totals.count(&v, false);
        Some(v)
    }

    /// Makes `addr` a boundary.
    fn split(&mut self, addr: u64) {
        let Some(start) = self.find(addr).map(|v| v.start).filter(|s| *s < addr) else { return };
        if let Some(mut lower) = self.take(start) {
            let upper = lower.split_off(addr);
            self.add(lower);
            self.add(upper);
        }
    }

    /// Removes and returns what is mapped in `[start, end)`.
    pub(super) fn carve(&mut self, start: u64, end: u64) -> Vec<Vma> {
        self.split(start);
        self.split(end);
        let keys: Vec<u64> = self.map.range(start..end).map(|(k, _)| *k).collect();
        keys.into_iter().filter_map(|k| self.take(k)).collect()
    }

    /// Adds a mapping where nothing is, joining it with its neighbours.
    pub(super) fn insert(&mut self, mut v: Vma) {
        if let Some(s) = self.below(v.start).filter(|b| b.joins(&v)).map(|b| b.start)
            && let Some(b) = self.take(s)
        {
            v.start = b.start;
            v.offset = b.offset;
        }
        if let Some(n) = self.map.get(&v.end).filter(|n| v.joins(n)).map(|n| n.start)
            && let Some(n) = self.take(n)
        {
            v.end = n.end;
        }
        self.add(v);
    }

    /// Changes the mappings of `[start, end)` by `f`, splitting and joining.
    pub(super) fn update(&mut self, start: u64, end: u64, mut f: impl FnMut(&mut Vma)) {
        for mut v in self.carve(start, end) {
            f(&mut v);
            self.insert(v);
        }
    }

    /// How many more mappings there are after boundaries at `start` and `end`.
    pub(super) fn splits(&self, start: u64, end: u64) -> usize {
        let inside = |a| usize::from(self.find(a).is_some_and(|v| v.start < a));
        inside(start) + inside(end)
    }

    /// First address from which nothing may be placed below the mapping, its guard gap included.
    fn floor_of(v: &Vma) -> u64 {
        if v.flags.contains(VmaFlags::GROWSDOWN) { v.start.saturating_sub(GUARD) } else { v.start }
    }

    /// The highest free range of `len` bytes in `[low, high)`, aligned down to `align`.
    pub(super) fn gap_down(&self, len: u64, low: u64, high: u64, align: u64) -> Option<u64> {
        let mut top = high;
        if let Some(v) = self.at_or_above(high) {
            top = top.min(Self::floor_of(v));
        }
        let mut below = self.map.range(..high).rev();
        loop {
            let v = below.next().map(|(_, v)| v);
            let bottom = v.map_or(low, |v| v.end.max(low));
            if let Some(at) = top.checked_sub(len).map(|a| a & !(align - 1))
                && at >= bottom
            {
                return Some(at);
            }
            top = top.min(Self::floor_of(v?));
            if top < low {
                return None;
            }
        }
    }

    /// The lowest free range of `len` bytes in `[low, high)`.
    pub(super) fn gap_up(&self, len: u64, low: u64, high: u64) -> Option<u64> {
        let mut at = low;
        loop {
            let end = at.checked_add(len).filter(|e| *e <= high)?;
            match self.at_or_above(at) {
                Some(v) if Self::floor_of(v) < end => at = v.end,
                _ => return Some(at),
            }
        }
    }
}

#[cfg(test)]
#[path = "vma_tests.rs"]
mod tests;
