//! The heap (brk(2)).

use hal::{PAGE_SIZE, Prot};

use super::{Limits, Mm, Vma, VmaFlags};

impl Mm {
    /// Sets the end of the heap; the end it has now, which is the old one if that cannot be.
    pub fn brk(&self, want: u64, limits: &Limits) -> u64 {
        let mut i = self.lock();
        let l = i.layout;
        if want < l.brk_start || want > self.range().1 - PAGE_SIZE {
            return l.brk;
        }
        let (old, new) = (l.brk.next_multiple_of(PAGE_SIZE), want.next_multiple_of(PAGE_SIZE));
        if new < old {
            let (gone, done) = self.remove(&mut i, new, old);
            if done.is_ok() {
                i.layout.brk = want;
            }
            let brk = i.layout.brk;
            drop(i);
            drop(gone);
            return brk;
        }
        if new > old {
            let t = i.vmas.totals();
            let image = self.image.lock();
            let data = (want - l.brk_start).saturating_add(image.end_data.saturating_sub(image.start_data));
            drop(image);
            // One page stays free before the next mapping, and the guard below a stack.
            let free = i.vmas.at_or_above(old).is_none_or(|v| {
                let guard = if v.flags.contains(VmaFlags::GROWSDOWN) { super::vma::GUARD } else { PAGE_SIZE };
                v.start >= new.saturating_add(guard)
            });
            let fits = t.all + (new - old) <= limits.address_space
                && data <= limits.data
                && t.data + (new - old) <= limits.data
                && self.charge.check_commit(new - old).is_ok()
                && i.vmas.count() < self.max_map_count();
            if !free || !fits {
                return l.brk;
            }
            let rwx = Prot { read: true, write: true, exec: true };
            let vma = Vma {
                start: old,
                end: new,
                prot: Prot { exec: false, ..rwx },
                max: rwx,
                flags: VmaFlags::ACCOUNT | i.default_flags,
                offset: 0,
                object: None,
                user: None,
            };
            let (gone, done) = self.enter(&mut i, vma, false);
            if done.is_err() {
                drop(i);
                drop(gone);
                return l.brk;
            }
        }
        i.layout.brk = want;
        want
    }
}
