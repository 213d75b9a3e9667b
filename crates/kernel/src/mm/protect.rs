//! mprotect(2).

use abi::errno::{EACCES, EINVAL, ENOMEM};
use hal::{MapOp, Prot};

use super::{Inner, LAZY_COUNT, Mm, Vma, VmaFlags, is_aligned, page_len, withheld::push_protect};
use crate::error::Result;

impl Mm {
    /// Changes the protection of a range. `grows_down`: from the start of a growing mapping (PROT_GROWSDOWN). What comes
    /// before the first part that cannot be changed is changed, as in Linux.
    pub fn mprotect(&self, addr: u64, len: u64, prot: Prot, grows_down: bool) -> Result<()> {
        if !is_aligned(addr) {
            return Err(EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let end = addr.checked_add(page_len(len)?).ok_or(ENOMEM)?;
        let mut i = self.lock();
        let mut start = addr;
        if grows_down {
            let v = i.vmas.at_or_above(addr).filter(|v| v.start < end).ok_or(ENOMEM)?;
            if !v.flags.contains(VmaFlags::GROWSDOWN) {
                return Err(EINVAL);
            }
            start = v.start;
        }
        if i.vmas.count() + i.vmas.splits(start, end) > self.max_map_count() {
            return Err(ENOMEM);
        }
        let (to, result) = self.changeable(&i, start, end, prot);
        let mut ops = Vec::new();
        if start < to {
            self.expose_changed(&mut i, start, to, prot);
            protect_ops(&i, start, to, prot, &mut ops);
            i.vmas.update(start, to, |v| {
                v.prot = prot;
                if prot.write && !v.is_shared() && !v.flags.contains(VmaFlags::NORESERVE) {
                    v.flags |= VmaFlags::ACCOUNT;
                }
            });
            let lazy = i.vmas.count() < LAZY_COUNT;
            self.recount(&mut i);
            self.apply(&ops, lazy)?;
        }
        result
    }

    /// How far from `start` the protection can be set, and what stops it.
    fn changeable(&self, i: &Inner, start: u64, end: u64, prot: Prot) -> (u64, Result<()>) {
        let mut at = start;
        for v in i.vmas.overlapping(start, end) {
            if v.start > at {
                return (at, Err(ENOMEM));
            }
            if !allows(v, prot) {
                return (at, Err(EACCES));
            }
            let fresh =
                prot.write && !v.is_shared() && !v.flags.intersects(VmaFlags::ACCOUNT | VmaFlags::NORESERVE);
            if fresh && self.charge.check_commit(v.len()).is_err() {
                return (at, Err(ENOMEM));
            }
            at = v.end.min(end);
        }
        (at, if at < end { Err(ENOMEM) } else { Ok(()) })
    }
}

fn allows(v: &Vma, p: Prot) -> bool {
    (!p.read || v.max.read) && (!p.write || v.max.write) && (!p.exec || v.max.exec)
}

/// Host changes for a new protection: of page caches only what is mapped.
fn protect_ops(i: &Inner, start: u64, end: u64, prot: Prot, ops: &mut Vec<MapOp>) {
    for v in i.vmas.overlapping(start, end) {
        let (a, b) = (v.start.max(start), v.end.min(end));
        if v.prot == prot {
            continue;
        }
        if v.cache().is_some() {
            i.mapped.within(a, b).into_iter().for_each(|(a, b)| push_protect(i, v, a, b, prot, ops));
        } else {
            push_protect(i, v, a, b, prot, ops);
        }
    }
}
