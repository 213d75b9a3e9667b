//! mremap(2).

use abi::{
    MapFlags,
    errno::{EAGAIN, EFAULT, EINVAL, ENOMEM},
    mm::{MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE},
};
use hal::{Backing, MapOp, PAGE_SIZE};

use super::{Inner, Limits, Mm, Source, Vma, VmaFlags, is_aligned, page_len, withheld::push_protect};
use crate::error::Result;

/// Arguments of mremap(2).
#[derive(Clone, Copy, Debug)]
pub struct RemapRequest {
    pub old: u64,
    pub old_len: u64,
    pub new_len: u64,
    pub flags: u32,
    /// With MREMAP_FIXED; a hint with MREMAP_DONTUNMAP.
    pub new: u64,
    pub limits: Limits,
}

impl Mm {
    /// Resizes or moves a mapping; its address.
    pub fn mremap(&self, r: &RemapRequest) -> Result<u64> {
        let has = |f| r.flags & f != 0;
        if r.flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0
            || has(MREMAP_FIXED | MREMAP_DONTUNMAP) && !has(MREMAP_MAYMOVE)
            || has(MREMAP_DONTUNMAP) && r.old_len != r.new_len
            || !is_aligned(r.old)
        {
            return Err(EINVAL);
        }
        let old_len = page_len(r.old_len).map_err(|_| EINVAL)?;
        let new_len = page_len(r.new_len).map_err(|_| EINVAL)?;
        if new_len == 0 {
            return Err(EINVAL);
        }
        let old_end = r.old.checked_add(old_len).ok_or(EINVAL)?;
        let mut gone = Vec::new();
        let mut i = self.lock();
        let result = self.remap_locked(&mut i, r, old_len, old_end, new_len, &mut gone);
        self.recount(&mut i);
        drop(i);
        drop(gone);
        result
    }

    fn remap_locked(
        &self,
        i: &mut Inner,
        r: &RemapRequest,
        old_len: u64,
        old_end: u64,
        new_len: u64,
        gone: &mut Vec<Vma>,
    ) -> Result<u64> {
        let has = |f| r.flags & f != 0;
        let moving = has(MREMAP_FIXED | MREMAP_DONTUNMAP);
        if has(MREMAP_FIXED) {
            let new_end = r.new.checked_add(new_len).ok_or(EINVAL)?;
            let (low, high) = self.range();
            if !is_aligned(r.new) || new_end > high || r.new < low {
                return Err(EINVAL);
            }
            if r.new < old_end && r.old < new_end {
                return Err(EINVAL);
            }
        }
        let v = i.vmas.find(r.old).cloned().ok_or(EFAULT)?;
        if !moving && old_len > new_len {
            // Shrinking may span several mappings.
            let (old, done) = self.remove(i, r.old + new_len, old_end);
            gone.extend(old);
            return done.map(|()| r.old);
        }
        if old_end > v.end {
            return Err(EFAULT);
        }
        if old_len == 0 && !v.is_shared() {
            return Err(EINVAL);
        }
        if !moving && old_len == new_len {
            return Ok(r.old);
        }
        let grow = new_len.saturating_sub(old_len);
        self.check_growth(i, &v, grow, has(MREMAP_DONTUNMAP).then_some(old_len), &r.limits)?;
        if v.object.is_some() && v.pos(r.old).checked_add(new_len).is_none() {
            return Err(EINVAL);
        }
        if !moving && old_len > 0 && old_end == v.end && self.extend(i, &v, grow)? {
            return Ok(r.old);
        }
        if !has(MREMAP_MAYMOVE) {
            return Err(ENOMEM);
        }
        if i.vmas.count() + 4 > self.max_map_count() {
            return Err(ENOMEM);
        }
        let new = if has(MREMAP_FIXED) {
            let (old, done) = self.remove(i, r.new, r.new + new_len);
            gone.extend(old);
            done?;
            r.new
        } else {
            let kind = if v.object.is_some() { MapFlags::empty() } else { MapFlags::ANONYMOUS };
            self.place(i, if has(MREMAP_DONTUNMAP) { r.new } else { 0 }, new_len, kind)?
        };
        // A fixed destination shrinks on the way.
        let kept = old_len.min(new_len);
        if kept < old_len {
            let (old, done) = self.remove(i, r.old + kept, old_end);
            gone.extend(old);
            done?;
        }
        self.move_to(i, &v, r.old, kept, new, new_len, has(MREMAP_DONTUNMAP), gone)?;
        Ok(new)
    }

    fn check_growth(&self, i: &Inner, v: &Vma, grow: u64, kept: Option<u64>, l: &Limits) -> Result<()> {
        let more = grow + kept.unwrap_or(0);
        let t = i.vmas.totals();
        if v.flags.contains(VmaFlags::LOCKED) && !l.may_lock && t.locked + more > l.locked {
            return Err(EAGAIN);
        }
        if t.all + more > l.address_space {
            return Err(ENOMEM);
        }
        let data = v.prot.write && !v.is_shared() && !v.flags.contains(VmaFlags::STACK);
        if data && t.data + more > l.data {
            return Err(ENOMEM);
        }
        if v.flags.contains(VmaFlags::ACCOUNT) {
            self.charge.check_commit(v.len() + more)?;
        }
        Ok(())
    }

    /// Grows a mapping where it is, if the addresses behind it are free.
    fn extend(&self, i: &mut Inner, v: &Vma, grow: u64) -> Result<bool> {
        let end = v.end + grow;
        let free = end <= self.range().1
            && i.vmas.at_or_above(v.end).is_none_or(|n| {
                let guard = if n.flags.contains(VmaFlags::GROWSDOWN) { super::vma::GUARD } else { 0 };
                n.start.saturating_sub(guard) >= end
            });
        if !free {
            return Ok(false);
        }
        let mut tail = v.clone();
        tail.start = v.end;
        tail.end = end;
        if v.object.is_some() {
            tail.offset = v.pos(v.end);
        }
        let (_, done) = self.enter(i, tail, false);
        done.map(|()| true)
    }

    /// Moves `[old, old + kept)` of `v` to `new` and grows it there to `new_len`.
    #[allow(clippy::too_many_arguments)]
    fn move_to(
        &self,
        i: &mut Inner,
        v: &Vma,
        old: u64,
        kept: u64,
        new: u64,
        new_len: u64,
        keep_old: bool,
        gone: &mut Vec<Vma>,
    ) -> Result<()> {
        if keep_old && v.is_private() {
            self.allow(i, i.exposed_now() + kept);
        }
        let mut moved = v.clone();
        moved.start = new;
        moved.end = new + new_len;
        if v.object.is_some() {
            moved.offset = v.pos(old);
        }
        let whole_pages = match v.object.as_ref().map(|o| &o.source) {
            // The object has the pages: a new mapping is as good as the old one.
            Some(_) if v.is_shared() => false,
            Some(Source::Cache(_)) => {
                self.move_private_cache(i, old, kept, new, keep_old)?;
                false
            }
            _ => true,
        };
        let mut ops = Vec::new();
        if whole_pages {
            // Where some is withheld the host has several mappings, and moves one at a time.
            for (a, b) in Mm::move_withheld(i, old, kept, new, keep_old) {
                let (len, to) = (b - a, new + (a - old));
                let op = MapOp::Remap { old: a, old_len: len, new: to, new_len: len, keep: keep_old };
                if self.space.apply(&[op]).is_err() {
                    self.allow(i, i.exposed_now() + len);
                    self.copy_pages(v, a, len, to, keep_old)?;
                    push_protect(i, &moved, to, to + len, moved.prot, &mut ops);
                }
            }
            if new_len > kept {
                self.expose(i, &moved, new + kept, new + new_len);
                self.backing_ops(i, &moved, new + kept, new + new_len, &mut ops)?;
            }
        } else if !v.is_shared() {
            Mm::move_withheld(i, old, kept, new, keep_old);
            self.expose(i, &moved, new + kept, new + new_len);
        } else {
            self.backing_ops(i, &moved, new, new + new_len, &mut ops)?;
            if !keep_old && kept > 0 {
                ops.push(MapOp::Unmap { addr: old, len: kept });
            }
        }
        if keep_old && v.is_private() && kept > 0 && !self.charge.expose(kept) {
            // There are two of it now.
            self.withhold(i, v, old, old + kept, &mut ops);
        }
        self.apply(&ops, false)?;
        if keep_old {
            i.vmas.update(old, old + kept, |v| v.flags -= VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT);
        } else {
            let out = i.vmas.carve(old, old + kept);
            self.forget_mapped(i, &out);
            gone.extend(out);
        }
        i.vmas.insert(moved);
        Ok(())
    }

    /// Moves the mapped parts of a private page-cache mapping, with the pages that were copied on write.
    fn move_private_cache(&self, i: &mut Inner, old: u64, len: u64, new: u64, keep_old: bool) -> Result<()> {
        let parts = i.mapped.within(old, old + len);
        let mut ops = Vec::new();
        for (a, b) in parts {
            // One host mapping at a time: they end where chunks end, so page by page where that is not known.
            let mut at = a;
            while at < b {
                let n = PAGE_SIZE.min(b - at);
                ops.push(MapOp::Remap {
                    old: at,
                    old_len: n,
                    new: new + (at - old),
                    new_len: n,
                    keep: keep_old,
                });
                at += n;
            }
            i.mapped.add(new + (a - old), new + (b - old));
        }
        self.apply(&ops, false)
    }

    /// Moves pages by copying them, where the host cannot move several of its mappings at once.
    fn copy_pages(&self, v: &Vma, old: u64, len: u64, new: u64, keep_old: bool) -> Result<()> {
        if v.object.is_some() {
            return Err(ENOMEM);
        }
        let prot = hal::Prot { read: true, write: true, exec: false };
        let huge = v.flags.contains(VmaFlags::HUGE);
        let map = |addr, prot| MapOp::Map { addr, len, prot, backing: Backing::Anon, huge };
        self.apply(&[map(new, prot)], false)?;
        let mut buf = vec![0; 1 << 16];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(buf.len() as u64) as usize;
            let got = self.space.read_forced(old + done, &mut buf[..n]);
            if got == 0 || self.space.write_forced(new + done, &buf[..got]) != got {
                return Err(ENOMEM);
            }
            done += got as u64;
        }
        let last = if keep_old { map(old, v.prot) } else { MapOp::Unmap { addr: old, len } };
        self.apply(&[MapOp::Protect { addr: new, len, prot: v.prot }, last], false)
    }
}
