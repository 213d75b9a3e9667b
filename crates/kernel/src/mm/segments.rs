//! Mappings that are counted (System V shared memory): how they end, one by one and all at once.

use std::sync::{Arc, Weak, atomic::Ordering};

use abi::errno::EINVAL;

use super::{Mm, Vma};
use crate::error::Result;

impl Mm {
    /// Takes out what is left of the attachment at `addr` (shmdt(2)). EINVAL if there is none.
    pub fn detach_segment(&self, addr: u64, size_of: impl Fn(&Vma) -> Option<u64>) -> Result<()> {
        if !super::is_aligned(addr) {
            return Err(EINVAL);
        }
        let mut i = self.lock();
        // Every piece of an attachment lies as far above its address as its position in the segment says.
        let of_it = |v: &Vma| v.user.is_some() && v.start >= addr && v.start - addr == v.offset;
        let (_, high) = self.range();
        let first = i.vmas.overlapping(addr, high).find(|v| of_it(v)).ok_or(EINVAL)?;
        let size = size_of(first).ok_or(EINVAL)?;
        let file = first.file().cloned();
        let same = |v: &Vma| match (v.file(), &file) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.ops, &b.ops),
            _ => false,
        };
        let end = addr.saturating_add(size).min(high);
        let ranges: Vec<(u64, u64)> =
            i.vmas.overlapping(addr, end).filter(|v| of_it(v) && same(v)).map(|v| (v.start, v.end)).collect();
        let mut gone = Vec::new();
        let mut done = Ok(());
        for (start, end) in ranges {
            let (mut old, result) = self.remove(&mut i, start, end);
            gone.append(&mut old);
            done = done.and(result);
        }
        drop(i);
        drop(gone);
        done
    }

    /// Takes out every counted mapping: nobody runs here any more.
    fn drop_counted(&self, pid: i32) {
        let mut i = self.lock();
        let counted: Vec<(u64, u64)> =
            i.vmas.iter().filter(|v| v.user.is_some()).map(|v| (v.start, v.end)).collect();
        let mut gone = Vec::new();
        for (start, end) in counted {
            gone.append(&mut self.remove(&mut i, start, end).0);
        }
        drop(i);
        for v in &gone {
            crate::ipc::shm::left_by(v, pid);
        }
    }
}

impl Mm {
    /// Whether a task runs here that has not begun to end.
    pub fn is_in_use(&self) -> bool {
        self.tasks.load(Ordering::SeqCst) > 0
    }
}

/// That a task runs in an address space. What the last one leaves is counted off before anybody learns of its end.
pub struct MmUse {
    mm: Weak<Mm>,
    pid: i32,
}

impl MmUse {
    pub fn new(mm: &Arc<Mm>, pid: i32) -> MmUse {
        mm.tasks.fetch_add(1, Ordering::SeqCst);
        MmUse { mm: Arc::downgrade(mm), pid }
    }
}

impl Drop for MmUse {
    fn drop(&mut self) {
        if let Some(mm) = self.mm.upgrade()
            && mm.tasks.fetch_sub(1, Ordering::SeqCst) == 1
        {
            mm.drop_counted(self.pid);
        }
    }
}
