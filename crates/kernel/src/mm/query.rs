//! What others ask of an address space: /proc, mincore(2), msync(2).

use std::sync::Arc;

use abi::errno::{EBUSY, EINVAL, ENOMEM};
use hal::PAGE_SIZE;

use super::{Mm, Source, Totals, VmaFlags, is_aligned};
use crate::{error::Result, vfs::file::File};

/// One mapping as /proc/PID/maps and smaps show it.
#[derive(Clone)]
pub struct MapLine {
    pub start: u64,
    pub end: u64,
    pub prot: hal::Prot,
    pub shared: bool,
    pub offset: u64,
    pub flags: VmaFlags,
    pub file: Option<Arc<File>>,
    /// `[heap]`, `[stack]`, "/dev/zero (deleted)" for shared anonymous memory, or empty.
    pub name: &'static str,
}

impl Mm {
    /// All mappings, in order of address.
    pub fn maps(&self) -> Vec<MapLine> {
        let stack = self.image.lock().start_stack;
        let i = self.lock();
        let l = i.layout;
        i.vmas
            .iter()
            .map(|v| MapLine {
                start: v.start,
                end: v.end,
                prot: v.prot,
                shared: v.is_shared(),
                offset: v.offset,
                flags: v.flags,
                file: v.file().cloned(),
                name: match &v.object {
                    Some(o) if o.file.is_none() => "/dev/zero (deleted)",
                    Some(_) => "",
                    None if v.start <= stack && stack <= v.end => "[stack]",
                    None if l.brk > l.brk_start && v.start < l.brk && v.end > l.brk_start => "[heap]",
                    None => "",
                },
            })
            .collect()
    }

    /// Whether a range is private memory that can be written and that the host looks after, as far as can be told at once.
    pub(crate) fn is_plain(&self, addr: u64, len: usize) -> bool {
        let Some(i) = self.inner.try_lock() else { return false };
        let Some(end) = addr.checked_add(len as u64) else { return false };
        if i.withheld.touches(addr, end) {
            return false;
        }
        let mut at = addr;
        // More than one where a program's data end and what begins as zero follows.
        while at < end {
            match i.vmas.find(at) {
                Some(v) if v.prot.write && !v.is_shared() && v.cache().is_none() => at = v.end,
                _ => return false,
            }
        }
        true
    }

    /// Is anything mapped at an address?
    pub fn covers(&self, addr: u64) -> bool {
        self.lock().vmas.find(addr).is_some()
    }

    /// The shared object behind an address, as a number that tells objects apart, and the position in it. `None` for
    /// private memory.
    pub fn shared_place(&self, addr: u64) -> Option<(usize, u64)> {
        let i = self.lock();
        let v = i.vmas.find(addr).filter(|v| v.is_shared())?;
        let object = v.object.as_ref()?;
        let id = match (&object.source, object.file.as_ref().and_then(|f| f.inode())) {
            (Source::Cache(c), _) => Arc::as_ptr(c).addr(),
            (Source::Host(_), Some(inode)) => Arc::as_ptr(&inode).addr(),
            (Source::Host(f), None) => Arc::as_ptr(f).addr(),
        };
        Some((id, v.pos(addr)))
    }

    /// Sums over the mappings.
    pub fn totals(&self) -> Totals {
        self.lock().vmas.totals()
    }
    /// Highest size so far in bytes (VmPeak).
    pub fn peak(&self) -> u64 {
        self.lock().peak
    }
    pub fn map_count(&self) -> usize {
        self.lock().vmas.count()
    }

    /// Which pages are resident: bit 0 of one byte each. ENOMEM if some are not mapped.
    pub fn mincore(&self, addr: u64, len: u64) -> Result<Vec<u8>> {
        if !is_aligned(addr) {
            return Err(EINVAL);
        }
        let end = addr.checked_add(super::page_len(len)?).ok_or(ENOMEM)?;
        let i = self.lock();
        let mut out = vec![0u8; ((end - addr) / PAGE_SIZE) as usize];
        let mut at = addr;
        for v in i.vmas.overlapping(addr, end) {
            if v.start > at {
                return Err(ENOMEM);
            }
            let to = v.end.min(end);
            let known = if v.cache().is_some() { i.mapped.within(at, to) } else { vec![(at, to)] };
            for (a, b) in known {
                let range = ((a - addr) / PAGE_SIZE) as usize..((b - addr) / PAGE_SIZE) as usize;
                self.space.mincore(a, &mut out[range])?;
            }
            at = to;
        }
        if at < end { Err(ENOMEM) } else { Ok(out) }
    }

    /// What is behind the pages from `addr` on (/proc/PID/pagemap); 0 where nothing is mapped.
    pub fn page_bits(&self, addr: u64, out: &mut [u64]) {
        out.fill(0);
        let end = addr.saturating_add(out.len() as u64 * PAGE_SIZE);
        let i = self.lock();
        for v in i.vmas.overlapping(addr, end) {
            let (from, to) = (v.start.max(addr), v.end.min(end));
            let range = ((from - addr) / PAGE_SIZE) as usize..((to - addr) / PAGE_SIZE) as usize;
            if let Some(part) = out.get_mut(range) {
                self.space.page_bits(from, part);
            }
        }
    }

    /// The files to be written out for a range (msync(2)); caches that guests share have nothing to write. ENOMEM if parts
    /// are not mapped: the files found are to be written all the same.
    pub fn msync_files(&self, addr: u64, len: u64, invalidate: bool) -> Result<(Vec<Arc<File>>, Result<()>)> {
        let end = addr.checked_add(super::page_len(len)?).ok_or(ENOMEM)?;
        let i = self.lock();
        let mut files: Vec<Arc<File>> = Vec::new();
        let mut at = addr;
        let mut holes = false;
        for v in i.vmas.overlapping(addr, end) {
            holes |= v.start > at;
            at = v.end;
            if invalidate && v.flags.contains(VmaFlags::LOCKED) {
                return Err(EBUSY);
            }
            if let Some(f) = v.file()
                && v.is_shared()
                && !files.iter().any(|g| Arc::ptr_eq(f, g))
            {
                files.push(f.clone());
            }
        }
        holes |= at < end;
        Ok((files, if holes { Err(ENOMEM) } else { Ok(()) }))
    }
}
