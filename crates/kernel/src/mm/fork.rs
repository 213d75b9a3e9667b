//! A copy of an address space for a new process.

use std::sync::Arc;

use hal::{Backing, Context, MapOp, Regs};

use super::{Inner, Mm, VmaFlags, withheld::host_prot};
use crate::error::Result;

impl Mm {
    /// A copy-on-write copy for a new process, and its first guest thread with registers `regs` and the vector state of
    /// `ctx`, which runs in this space.
    pub fn fork(self: &Arc<Self>, ctx: &mut dyn Context, regs: &Regs) -> Result<(Arc<Mm>, Box<dyn Context>)> {
        let image = self.image();
        let i = self.lock();
        let child_ctx = ctx.fork(regs)?;
        let inner = Inner {
            vmas: i.vmas.clone(),
            mapped: i.mapped.clone(),
            withheld: i.withheld.clone(),
            exposed: i.exposed,
            allowed: i.allowed,
            layout: i.layout,
            // mlock(2): locks are not inherited.
            default_flags: VmaFlags::empty(),
            committed: i.committed,
            peak: i.vmas.totals().all,
        };
        let exposed = i.exposed;
        let fits = self.charge.expose(exposed);
        let child = Mm::with(child_ctx.space(), self.charge.clone(), inner, image);
        let done = child.settle().and_then(|()| if fits { Ok(()) } else { child.withhold_all() });
        if !fits {
            child.allow_less(true);
        }
        // Only now: a truncation that did not see the child as a mapper yet waits for this lock.
        drop(i);
        done?;
        Ok((child, child_ctx))
    }

    /// What a child does not get, or gets differently.
    fn settle(&self) -> Result<()> {
        let mut i = self.lock();
        let mut gone = Vec::new();
        let mut ops = Vec::new();
        let mut caches = Vec::new();
        let mut special = false;
        for v in i.vmas.iter() {
            special |= v.flags.intersects(VmaFlags::DONTFORK | VmaFlags::WIPEONFORK | VmaFlags::LOCKED);
            if let Some(c) = v.cache() {
                caches.push((c.clone(), v.is_shared() && v.max.write));
            }
        }
        if special {
            let all: Vec<_> = i.vmas.iter().map(|v| (v.start, v.end, v.flags, v.prot)).collect();
            for (start, end, flags, wanted) in all {
                if flags.contains(VmaFlags::DONTFORK) {
                    gone.append(&mut i.vmas.carve(start, end));
                    ops.push(MapOp::Unmap { addr: start, len: end - start });
                } else if flags.contains(VmaFlags::WIPEONFORK) {
                    let huge = flags.contains(VmaFlags::HUGE);
                    let prot = i.vmas.find(start).map_or(wanted, |v| host_prot(&i, v, start, end));
                    if prot.write != wanted.write {
                        i.withheld.add(start, end);
                    }
                    ops.push(MapOp::Map {
                        addr: start,
                        len: end - start,
                        prot,
                        backing: Backing::Anon,
                        huge,
                    });
                }
                if flags.contains(VmaFlags::LOCKED) {
                    i.vmas.update(start, end, |v| v.flags -= VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT);
                }
            }
            self.forget_mapped(&mut i, &gone);
        }
        for (cache, stores) in caches {
            cache.add_mapper(&self.me, stores);
            // A truncation may have come before the child was known.
            let end = cache.len().next_multiple_of(hal::PAGE_SIZE);
            self.unmap_cache(&mut i, &cache, end);
        }
        self.recount(&mut i);
        let done = self.apply(&ops, false);
        drop(i);
        drop(gone);
        done
    }
}
