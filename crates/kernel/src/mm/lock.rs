//! Locked memory (mlock(2)): counted and shown. The pages are brought in; the host may still swap them.

use abi::errno::{EAGAIN, EINVAL, ENOMEM, EPERM};
use hal::PAGE_SIZE;

use super::{Limits, Mm, VmaFlags, page_len};
use crate::error::Result;

const BOTH: VmaFlags = VmaFlags::LOCKED.union(VmaFlags::LOCK_ON_FAULT);

impl Mm {
    /// Locks or unlocks a range. `flags`: none to unlock, LOCKED, perhaps with LOCK_ON_FAULT.
    pub fn mlock(&self, addr: u64, len: u64, flags: VmaFlags, limits: &Limits) -> Result<()> {
        let locking = flags.contains(VmaFlags::LOCKED);
        if locking && !limits.may_lock && limits.locked == 0 {
            return Err(EPERM);
        }
        let start = addr & !(PAGE_SIZE - 1);
        let len = page_len(len.checked_add(addr - start).ok_or(EINVAL)?).map_err(|_| EINVAL)?;
        let end = start.checked_add(len).ok_or(EINVAL)?;
        if len == 0 {
            return Ok(());
        }
        let mut i = self.lock();
        let mut at = start;
        let mut new = 0;
        for v in i.vmas.overlapping(start, end) {
            if v.start > at {
                break;
            }
            let to = v.end.min(end);
            if !v.flags.contains(VmaFlags::LOCKED) {
                new += to - at;
            }
            at = to;
        }
        let whole = at == end;
        if locking && !limits.may_lock && i.vmas.totals().locked + new > limits.locked {
            return Err(ENOMEM);
        }
        if i.vmas.count() + i.vmas.splits(start, end) > self.max_map_count() {
            return Err(ENOMEM);
        }
        // As in Linux, what comes before a hole is locked.
        i.vmas.update(start, at, |v| v.flags = (v.flags - BOTH) | flags);
        drop(i);
        if locking && !flags.contains(VmaFlags::LOCK_ON_FAULT) {
            self.populate(start, at - start);
        }
        if whole { Ok(()) } else { Err(ENOMEM) }
    }

    /// mlockall(2): `now` for what is mapped, `later` for what will be. `None` leaves alone.
    pub fn mlockall(&self, now: Option<VmaFlags>, later: VmaFlags, limits: &Limits) -> Result<()> {
        let any = later.contains(VmaFlags::LOCKED) || now.is_some_and(|f| f.contains(VmaFlags::LOCKED));
        if any && !limits.may_lock && limits.locked == 0 {
            return Err(EPERM);
        }
        let mut i = self.lock();
        let locks_now = now.is_some_and(|f| f.contains(VmaFlags::LOCKED));
        if locks_now && !limits.may_lock && i.vmas.totals().all > limits.locked {
            return Err(if limits.locked == 0 { EAGAIN } else { ENOMEM });
        }
        i.default_flags = later;
        if let Some(f) = now {
            i.vmas.update(0, u64::MAX, |v| v.flags = (v.flags - BOTH) | f);
        }
        let end = self.range().1;
        drop(i);
        if locks_now && !now.is_some_and(|f| f.contains(VmaFlags::LOCK_ON_FAULT)) {
            self.populate(0, end);
        }
        Ok(())
    }
}
