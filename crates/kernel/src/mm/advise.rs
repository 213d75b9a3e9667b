//! madvise(2).

use std::sync::Arc;

use abi::{
    errno::{EACCES, EINVAL, ENOMEM, EPERM},
    mm::*,
};
use hal::MapOp;

use super::{Inner, LAZY_COUNT, Mm, PageCache, VmaFlags, is_aligned};
use crate::error::Result;

/// What an advice does to the flags of a mapping: set, cleared.
fn flag_change(advice: i32) -> Option<(VmaFlags, VmaFlags)> {
    let both = VmaFlags::RANDOM | VmaFlags::SEQUENTIAL;
    let none = VmaFlags::empty();
    Some(match advice {
        MADV_NORMAL => (none, both),
        MADV_RANDOM => (VmaFlags::RANDOM, both),
        MADV_SEQUENTIAL => (VmaFlags::SEQUENTIAL, both),
        MADV_DONTFORK => (VmaFlags::DONTFORK, none),
        MADV_DOFORK => (none, VmaFlags::DONTFORK),
        MADV_WIPEONFORK => (VmaFlags::WIPEONFORK, none),
        MADV_KEEPONFORK => (none, VmaFlags::WIPEONFORK),
        MADV_DONTDUMP => (VmaFlags::DONTDUMP, none),
        MADV_DODUMP => (none, VmaFlags::DONTDUMP),
        MADV_HUGEPAGE => (VmaFlags::HUGE, VmaFlags::NOHUGE),
        MADV_NOHUGEPAGE => (VmaFlags::NOHUGE, VmaFlags::HUGE),
        _ => return None,
    })
}

/// Advice that is known and changes nothing here: read-ahead and reclaim are the host's.
fn is_hint(advice: i32) -> bool {
    matches!(advice, MADV_WILLNEED | MADV_COLD | MADV_PAGEOUT)
}

impl Mm {
    /// Follows an advice for a range. Unmapped parts are ENOMEM, after the mapped ones were done.
    pub fn madvise(&self, addr: u64, len: u64, advice: i32, privileged: bool) -> Result<()> {
        if matches!(advice, MADV_HWPOISON | MADV_SOFT_OFFLINE) {
            return Err(if privileged { EINVAL } else { EPERM });
        }
        let acts = matches!(
            advice,
            MADV_DONTNEED
                | MADV_DONTNEED_LOCKED
                | MADV_FREE
                | MADV_REMOVE
                | MADV_POPULATE_READ
                | MADV_POPULATE_WRITE
        );
        if flag_change(advice).is_none() && !is_hint(advice) && !acts || !is_aligned(addr) {
            return Err(EINVAL);
        }
        let len = page_up(len).ok_or(EINVAL)?;
        let end = addr.checked_add(len).ok_or(EINVAL)?;
        if len == 0 {
            return Ok(());
        }
        if matches!(advice, MADV_POPULATE_READ | MADV_POPULATE_WRITE) {
            return self.advise_populate(addr, end, advice);
        }
        let mut i = self.lock();
        let (parts, whole) = self.parts(&i, addr, end);
        let result = match flag_change(advice) {
            Some((set, clear)) => self.advise_flags(&mut i, &parts, advice, set, clear),
            None if is_hint(advice) => {
                // Pages that are locked are not let go.
                let locked = |a: u64| i.vmas.find(a).is_some_and(|v| v.flags.contains(VmaFlags::LOCKED));
                let refused = advice != MADV_WILLNEED && parts.iter().any(|p| locked(p.0));
                if refused { Err(EINVAL) } else { Ok(Vec::new()) }
            }
            None => self.advise_pages(&mut i, &parts, advice),
        };
        drop(i);
        for (cache, pos, n) in result? {
            cache.punch(pos, n)?;
        }
        if whole { Ok(()) } else { Err(ENOMEM) }
    }

    /// The mapped parts of a range, and whether they are all of it.
    fn parts(&self, i: &Inner, start: u64, end: u64) -> (Vec<(u64, u64)>, bool) {
        let parts: Vec<_> =
            i.vmas.overlapping(start, end).map(|v| (v.start.max(start), v.end.min(end))).collect();
        let covered: u64 = parts.iter().map(|(a, b)| b - a).sum();
        (parts, covered == end - start)
    }

    fn advise_flags(
        &self,
        i: &mut Inner,
        parts: &[(u64, u64)],
        advice: i32,
        set: VmaFlags,
        clear: VmaFlags,
    ) -> Result<Vec<(Arc<PageCache>, u64, u64)>> {
        let mut ops = Vec::new();
        for &(a, b) in parts {
            let Some(v) = i.vmas.find(a) else { continue };
            if advice == MADV_WIPEONFORK && v.object.is_some() {
                return Err(EINVAL);
            }
            if i.vmas.count() + i.vmas.splits(a, b) > self.max_map_count() {
                return Err(ENOMEM);
            }
            if matches!(advice, MADV_HUGEPAGE | MADV_NOHUGEPAGE) && v.cache().is_none() {
                ops.push(MapOp::Advise { addr: a, len: b - a, advice: advice.cast_unsigned() });
            }
            i.vmas.update(a, b, |v| v.flags = (v.flags - clear) | set);
        }
        // Large pages are a wish: a host without them is no error of the guest.
        let _ = self.space.apply(&ops);
        Ok(Vec::new())
    }

    /// Advice that drops pages. Returns pages of shared objects to be punched without the lock.
    fn advise_pages(
        &self,
        i: &mut Inner,
        parts: &[(u64, u64)],
        advice: i32,
    ) -> Result<Vec<(Arc<PageCache>, u64, u64)>> {
        let mut ops = Vec::new();
        let mut punches = Vec::new();
        let mut result = Ok(());
        for &(a, b) in parts {
            let Some(v) = i.vmas.find(a) else { continue };
            let locked = v.flags.contains(VmaFlags::LOCKED) && advice != MADV_DONTNEED_LOCKED;
            let refused = match advice {
                MADV_FREE => locked || v.object.is_some(),
                MADV_REMOVE => locked || v.object.is_none(),
                _ => locked,
            };
            if refused {
                result = Err(EINVAL);
                break;
            }
            let host_advice = if advice == MADV_FREE { MADV_FREE } else { MADV_DONTNEED }.cast_unsigned();
            match v.cache() {
                _ if advice == MADV_REMOVE && !(v.is_shared() && v.max.write) => {
                    result = Err(EACCES);
                    break;
                }
                None if advice == MADV_REMOVE => {
                    result = Err(EINVAL);
                    break;
                }
                Some(c) if advice == MADV_REMOVE => punches.push((c.clone(), v.pos(a), b - a)),
                Some(_) if v.is_shared() => {}
                Some(_) => {
                    let mapped = i.mapped.within(a, b).into_iter();
                    ops.extend(mapped.map(|(a, b)| MapOp::Advise {
                        addr: a,
                        len: b - a,
                        advice: host_advice,
                    }));
                }
                None => ops.push(MapOp::Advise { addr: a, len: b - a, advice: host_advice }),
            }
        }
        self.apply(&ops, i.vmas.count() < LAZY_COUNT)?;
        result.map(|()| punches)
    }

    /// MADV_POPULATE_READ and _WRITE: faults the pages in. EFAULT where an access would fail.
    fn advise_populate(&self, start: u64, end: u64, advice: i32) -> Result<()> {
        let write = advice == MADV_POPULATE_WRITE;
        let (parts, whole) = {
            let i = self.lock();
            for v in i.vmas.overlapping(start, end) {
                if if write { !v.prot.write } else { !v.prot.read } {
                    return Err(EINVAL);
                }
            }
            self.parts(&i, start, end)
        };
        for (a, b) in parts {
            self.map_caches(a, b, write)?;
            if write {
                self.grant_all(a, b)?;
            }
            let op = MapOp::Advise { addr: a, len: b - a, advice: advice.cast_unsigned() };
            self.space.apply(&[op])?;
        }
        if whole { Ok(()) } else { Err(ENOMEM) }
    }

    /// Maps what the host has not mapped yet of page caches in a range. EFAULT beyond the end of a file.
    fn map_caches(&self, start: u64, end: u64, write: bool) -> Result<()> {
        let mut at = start;
        while at < end {
            let gap = {
                let i = self.lock();
                let Some(v) = i.vmas.at_or_above(at).filter(|v| v.start < end) else { return Ok(()) };
                if v.cache().is_none() {
                    at = v.end;
                    continue;
                }
                at = at.max(v.start);
                i.mapped.gap_around(at, v.start, v.end)
            };
            match gap {
                Some(_) => self.fault_in(at, write)?,
                // Mapped as far as the set says.
                None => at = self.lock().mapped.within(at, end).first().map_or(end, |r| r.1),
            }
        }
        Ok(())
    }
}
