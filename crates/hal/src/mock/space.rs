//! Guest memory as a map of regions and private pages.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::lock;
use crate::{Backing, HostFile, MapOp, PAGE_SIZE, Prot, Result, SharedMem, Space, errno};

const PAGE: usize = PAGE_SIZE as usize;
type Page = [u8; PAGE];

/// Addresses a mock guest may use.
const RANGE: (u64, u64) = (0x1_0000, 0x7fff_0000_0000);

/// `MADV_DONTNEED` and `MADV_FREE` (madvise(2)).
const MADV_DONTNEED: u32 = 4;
const MADV_FREE: u32 = 8;

/// Splits an access into `(position in the buffer, address, bytes)` pieces that stay inside a page.
fn pieces(addr: u64, len: usize) -> impl Iterator<Item = (usize, u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let at = addr.wrapping_add(done as u64);
            let n = (PAGE - (at % PAGE_SIZE) as usize).min(len - done);
            done += n;
            (done - n, at, n)
        })
    })
}

/// The machine's shared memory object: sparse pages.
pub struct MockShared {
    size: u64,
    pages: Mutex<BTreeMap<u64, Box<Page>>>,
}

impl MockShared {
    pub(super) fn new(size: u64) -> MockShared {
        MockShared { size, pages: Mutex::default() }
    }
}

impl SharedMem for MockShared {
    fn size(&self) -> u64 {
        self.size
    }
    fn read(&self, offset: u64, buf: &mut [u8]) {
        let pages = lock(&self.pages);
        for (pos, at, n) in pieces(offset, buf.len()) {
            let start = (at % PAGE_SIZE) as usize;
            match pages.get(&(at / PAGE_SIZE)) {
                Some(page) => buf[pos..pos + n].copy_from_slice(&page[start..start + n]),
                None => buf[pos..pos + n].fill(0),
            }
        }
    }
    fn write(&self, offset: u64, buf: &[u8]) {
        let mut pages = lock(&self.pages);
        for (pos, at, n) in pieces(offset, buf.len()) {
            assert!(at < self.size, "write beyond the shared memory object");
            let start = (at % PAGE_SIZE) as usize;
            let page = pages.entry(at / PAGE_SIZE).or_insert_with(|| Box::new([0; PAGE]));
            page[start..start + n].copy_from_slice(&buf[pos..pos + n]);
        }
    }
    fn discard(&self, offset: u64, len: u64) {
        lock(&self.pages)
            .retain(|p, _| p * PAGE_SIZE < offset || p * PAGE_SIZE >= offset.saturating_add(len));
    }
    fn allocated(&self) -> u64 {
        lock(&self.pages).len() as u64 * PAGE_SIZE
    }
    fn seek(&self, offset: u64, end: u64, data: bool) -> Option<u64> {
        let pages = lock(&self.pages);
        let mut at = offset;
        while at < end {
            if data {
                let (&p, _) = pages.range(at / PAGE_SIZE..).next()?;
                return Some(at.max(p * PAGE_SIZE)).filter(|&a| a < end);
            }
            if !pages.contains_key(&(at / PAGE_SIZE)) {
                return Some(at);
            }
            at = (at / PAGE_SIZE + 1) * PAGE_SIZE;
        }
        None
    }
}

#[derive(Clone)]
struct Region {
    end: u64,
    prot: Prot,
    backing: Backing,
}

/// The backing as seen `by` bytes further on.
fn shifted(backing: &Backing, by: u64) -> Backing {
    let mut b = backing.clone();
    match &mut b {
        Backing::Anon => {}
        Backing::Shared { offset, .. } | Backing::File { offset, .. } => *offset += by,
    }
    b
}

#[derive(Clone, Default)]
struct Maps {
    regions: BTreeMap<u64, Region>,
    /// Private contents by page number.
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Maps {
    /// Makes `at` a region boundary.
    fn split(&mut self, at: u64) {
        if let Some((&start, r)) = self.regions.range_mut(..at).next_back()
            && r.end > at
        {
            let tail = Region { end: r.end, prot: r.prot, backing: shifted(&r.backing, at - start) };
            r.end = at;
            self.regions.insert(at, tail);
        }
    }

    /// Removes `[addr, addr + len)` and returns what was there.
    fn carve(&mut self, addr: u64, len: u64) -> Maps {
        let end = addr + len;
        self.split(addr);
        self.split(end);
        let mut out =
            Maps { regions: self.regions.split_off(&addr), pages: self.pages.split_off(&(addr / PAGE_SIZE)) };
        self.regions.append(&mut out.regions.split_off(&end));
        self.pages.append(&mut out.pages.split_off(&(end / PAGE_SIZE)));
        out
    }

    fn region(&self, addr: u64) -> Option<(u64, &Region)> {
        let (&start, r) = self.regions.range(..=addr).next_back()?;
        (addr < r.end).then_some((start, r))
    }
}

/// A guest address space in memory.
pub struct MockSpace {
    shared: Arc<MockShared>,
    maps: Mutex<Maps>,
    dead: AtomicBool,
}

impl MockSpace {
    pub(super) fn new(shared: Arc<MockShared>) -> MockSpace {
        MockSpace { shared, maps: Mutex::default(), dead: AtomicBool::new(false) }
    }

    pub(super) fn fork(&self) -> MockSpace {
        let maps = lock(&self.maps).clone();
        MockSpace { shared: self.shared.clone(), maps: Mutex::new(maps), dead: AtomicBool::new(false) }
    }

    /// True after [`Space::kill`].
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn page_bytes(&self, maps: &Maps, at: u64) -> Option<Page> {
        let (start, r) = maps.region(at)?;
        let mut page = [0; PAGE];
        if let Some(own) = maps.pages.get(&(at / PAGE_SIZE)) {
            return Some(**own);
        }
        let by = at / PAGE_SIZE * PAGE_SIZE - start;
        match &r.backing {
            Backing::Anon => {}
            Backing::Shared { offset, .. } => self.shared.read(offset + by, &mut page),
            Backing::File { file, offset, .. } => {
                // A page wholly behind the end of the file is SIGBUS on Linux.
                if file.pread(offset + by, &mut page).ok()? == 0 {
                    return None;
                }
            }
        }
        Some(page)
    }

    fn load(&self, addr: u64, buf: &mut [u8], forced: bool) -> usize {
        let maps = lock(&self.maps);
        for (pos, at, n) in pieces(addr, buf.len()) {
            let allowed = maps.region(at).is_some_and(|(_, r)| forced || r.prot.read);
            let Some(page) = allowed.then(|| self.page_bytes(&maps, at)).flatten() else { return pos };
            let start = (at % PAGE_SIZE) as usize;
            buf[pos..pos + n].copy_from_slice(&page[start..start + n]);
        }
        buf.len()
    }

    fn store(&self, addr: u64, buf: &[u8], forced: bool) -> usize {
        let mut maps = lock(&self.maps);
        for (pos, at, n) in pieces(addr, buf.len()) {
            let Some((start, r)) = maps.region(at) else { return pos };
            if !(forced || r.prot.write) {
                return pos;
            }
            let piece = &buf[pos..pos + n];
            match &r.backing {
                Backing::Shared { offset, private: false } => self.shared.write(offset + (at - start), piece),
                Backing::File { file, offset, private: false } => {
                    if file.pwrite(offset + (at - start), piece).is_err() {
                        return pos;
                    }
                }
                _ => {
                    let Some(mut page) = self.page_bytes(&maps, at) else { return pos };
                    let from = (at % PAGE_SIZE) as usize;
                    page[from..from + n].copy_from_slice(piece);
                    maps.pages.insert(at / PAGE_SIZE, Arc::new(page));
                }
            }
        }
        buf.len()
    }

    /// See [`crate::Context::compare_exchange_u32`].
    pub(super) fn compare_exchange_u32(&self, addr: u64, old: u32, new: u32) -> Result<u32> {
        if !addr.is_multiple_of(4) {
            return Err(errno::EINVAL);
        }
        let mut word = [0; 4];
        if self.load(addr, &mut word, false) != 4 {
            return Err(errno::EFAULT);
        }
        let found = u32::from_ne_bytes(word);
        if found == old && self.store(addr, &new.to_ne_bytes(), false) != 4 {
            return Err(errno::EFAULT);
        }
        Ok(found)
    }

    fn apply_one(&self, maps: &mut Maps, op: &MapOp) -> Result<()> {
        let check = |addr: u64, len: u64| {
            let end = addr.checked_add(len).ok_or(errno::EINVAL)?;
            let aligned = addr.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE) && len > 0;
            if aligned && addr >= RANGE.0 && end <= RANGE.1 { Ok(end) } else { Err(errno::EINVAL) }
        };
        match op {
            MapOp::Map { addr, len, prot, backing, .. } => {
                let end = check(*addr, *len)?;
                maps.carve(*addr, *len);
                maps.regions.insert(*addr, Region { end, prot: *prot, backing: backing.clone() });
            }
            MapOp::Unmap { addr, len } => {
                check(*addr, *len)?;
                maps.carve(*addr, *len);
            }
            MapOp::Protect { addr, len, prot } => {
                check(*addr, *len)?;
                let mut part = maps.carve(*addr, *len);
                for r in part.regions.values_mut() {
                    r.prot = *prot;
                }
                maps.regions.append(&mut part.regions);
                maps.pages.append(&mut part.pages);
            }
            MapOp::Advise { addr, len, advice } => {
                let end = check(*addr, *len)?;
                if matches!(*advice, MADV_DONTNEED | MADV_FREE) {
                    maps.pages.retain(|p, _| p * PAGE_SIZE < *addr || p * PAGE_SIZE >= end);
                }
            }
            MapOp::Remap { old, old_len, new, new_len, keep } => {
                check(*old, *old_len)?;
                check(*new, *new_len)?;
                let mut part = maps.carve(*old, *old_len);
                let Some(last) = part.regions.values().next_back().cloned() else {
                    return Err(errno::EFAULT);
                };
                if *keep {
                    maps.regions.extend(part.regions.iter().map(|(a, r)| (*a, r.clone())));
                }
                part.carve(old + new_len.min(old_len), old_len - new_len.min(old_len));
                maps.carve(*new, *new_len);
                let mut end = 0;
                for (start, r) in part.regions {
                    end = r.end;
                    maps.regions.insert(start - old + new, Region { end: r.end - old + new, ..r });
                }
                if new_len > old_len && end == old + old_len {
                    // Growth continues the last region's backing.
                    let tail = maps.regions.range_mut(..new + old_len).next_back();
                    if let Some((_, r)) = tail {
                        r.end = new + new_len;
                        r.prot = last.prot;
                    }
                }
                for (p, page) in part.pages {
                    maps.pages.insert(p - old / PAGE_SIZE + new / PAGE_SIZE, page);
                }
            }
        }
        Ok(())
    }
}

impl Space for MockSpace {
    fn apply(&self, ops: &[MapOp]) -> Result<()> {
        let mut maps = lock(&self.maps);
        ops.iter().try_for_each(|op| self.apply_one(&mut maps, op))
    }
    fn clear(&self) -> Result<()> {
        *lock(&self.maps) = Maps::default();
        Ok(())
    }
    fn range(&self) -> (u64, u64) {
        RANGE
    }
    fn vdso(&self) -> u64 {
        0
    }
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.load(addr, buf, false)
    }
    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        self.store(addr, buf, false)
    }
    fn read_forced(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.load(addr, buf, true)
    }
    fn write_forced(&self, addr: u64, buf: &[u8]) -> usize {
        self.store(addr, buf, true)
    }
    fn read_to_shared(&self, addr: u64, offset: u64, len: usize) -> usize {
        let mut buf = vec![0; len];
        let n = self.read(addr, &mut buf);
        self.shared.write(offset, &buf[..n]);
        n
    }
    fn write_from_shared(&self, addr: u64, offset: u64, len: usize) -> usize {
        let mut buf = vec![0; len];
        self.shared.read(offset, &mut buf);
        self.write(addr, &buf)
    }
    fn read_file(&self, file: &dyn HostFile, offset: u64, addr: u64, len: usize) -> Result<usize> {
        let mut buf = vec![0; len];
        let n = file.pread(offset, &mut buf)?;
        match self.write(addr, &buf[..n]) {
            0 if n > 0 => Err(errno::EFAULT),
            stored => Ok(stored),
        }
    }
    fn write_file(&self, file: &dyn HostFile, offset: u64, addr: u64, len: usize) -> Result<usize> {
        let mut buf = vec![0; len];
        match self.read(addr, &mut buf) {
            0 if len > 0 => Err(errno::EFAULT),
            n => file.pwrite(offset, &buf[..n]),
        }
    }
    fn membarrier(&self, _command: u32) -> Result<u32> {
        Err(errno::ENOSYS)
    }

    fn futex_requeue(
        &self,
        _addr: u64,
        _count: u32,
        _to: u64,
        _moved: u32,
        _expected: Option<u32>,
        _shared: bool,
    ) -> Result<u32> {
        Ok(0)
    }

    fn futex_wake(&self, _addr: u64, _count: u32, _shared: bool) -> Result<u32> {
        Ok(0)
    }
    fn mincore(&self, addr: u64, out: &mut [u8]) -> Result<()> {
        let maps = lock(&self.maps);
        for (i, b) in out.iter_mut().enumerate() {
            let at = addr + i as u64 * PAGE_SIZE;
            maps.region(at).ok_or(errno::ENOMEM)?;
            *b = u8::from(maps.pages.contains_key(&(at / PAGE_SIZE)));
        }
        Ok(())
    }
    fn page_bits(&self, addr: u64, out: &mut [u64]) {
        let maps = lock(&self.maps);
        for (i, b) in out.iter_mut().enumerate() {
            let there = maps.pages.contains_key(&(addr / PAGE_SIZE + i as u64));
            *b = u64::from(there) << 63;
        }
    }
    fn resident_bytes(&self) -> (u64, u64) {
        (lock(&self.maps).pages.len() as u64 * PAGE_SIZE, 0)
    }
    fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}
