//! New mappings (mmap(2)).

use std::sync::Arc;

use abi::{
    MapFlags,
    errno::{EACCES, EAGAIN, EEXIST, EINVAL, ENODEV, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM},
    fs::MS_NOEXEC,
    mm::{MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE},
};
use hal::{Backing, MapOp, PAGE_SIZE, Prot};

use super::{
    Inner, LAZY_COUNT, LAZY_LEN, Limits, MapSource, MapUser, Mapped, Mm, PageCache, Source, Vma, VmaFlags,
    is_aligned, page_len, withheld::host_prot,
};
use crate::{
    error::Result,
    machine::Machine,
    vfs::{file::File, open::WriteGuard},
};

/// Arguments of mmap(2).
pub struct MapRequest<'a> {
    pub addr: u64,
    pub len: u64,
    pub prot: Prot,
    pub flags: MapFlags,
    /// `None`: anonymous.
    pub file: Option<&'a Arc<File>>,
    /// Page-aligned position in the file.
    pub offset: u64,
    pub limits: Limits,
}

/// Windows of a page cache mapped at once; faults map the rest.
const EAGER: usize = 64;
/// Size of a large page.
const HUGE: u64 = 2 << 20;

/// What is to be mapped, after all checks that need no address.
struct Plan {
    prot: Prot,
    max: Prot,
    flags: VmaFlags,
    object: Option<Arc<Mapped>>,
    offset: u64,
    user: Option<MapUser>,
}

const RWX: Prot = Prot { read: true, write: true, exec: true };

impl Mm {
    /// Maps memory or a file; the address.
    pub fn mmap(&self, machine: &Arc<Machine>, r: &MapRequest<'_>) -> Result<u64> {
        if r.len == 0 {
            return Err(EINVAL);
        }
        let len = page_len(r.len)?;
        if r.offset.checked_add(len).is_none() {
            return Err(EOVERFLOW);
        }
        let fixed = r.flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
        if fixed {
            self.check_fixed(r.addr, len)?;
        } else if len > self.range().1 {
            return Err(ENOMEM);
        }
        let plan = self.plan(machine, r, len)?;

        let mut i = self.lock();
        let addr = if fixed {
            if r.flags.contains(MapFlags::FIXED_NOREPLACE) && i.vmas.overlaps(r.addr, r.addr + len) {
                return Err(EEXIST);
            }
            r.addr
        } else {
            self.place(&i, r.addr, len, r.flags)?
        };
        let mut plan = plan;
        plan.flags |= i.default_flags;
        if r.flags.contains(MapFlags::LOCKED) {
            plan.flags |= VmaFlags::LOCKED;
        }
        self.check_room(&i, addr, len, &plan, &r.limits)?;
        let vma = Vma {
            start: addr,
            end: addr + len,
            prot: plan.prot,
            max: plan.max,
            flags: plan.flags,
            offset: plan.offset,
            object: plan.object,
            user: plan.user,
        };
        let (old, done) = self.enter(&mut i, vma, fixed);
        let populate = r.flags.contains(MapFlags::POPULATE) && !r.flags.contains(MapFlags::NONBLOCK)
            || plan.flags.contains(VmaFlags::LOCKED) && !plan.flags.contains(VmaFlags::LOCK_ON_FAULT);
        drop(i);
        drop(old);
        done?;
        if populate {
            self.populate(addr, len);
        }
        Ok(addr)
    }

    /// Address rules of MAP_FIXED.
    fn check_fixed(&self, addr: u64, len: u64) -> Result<()> {
        if !is_aligned(addr) {
            return Err(EINVAL);
        }
        let (low, high) = self.range();
        if addr.checked_add(len).is_none_or(|e| e > high) {
            return Err(ENOMEM);
        }
        if addr < low {
            return Err(EPERM);
        }
        Ok(())
    }

    /// Checks the request against the file and the machine, in Linux's order.
    fn plan(&self, machine: &Arc<Machine>, r: &MapRequest<'_>, len: u64) -> Result<Plan> {
        let kind = r.flags.bits() & MapFlags::TYPE;
        let shared = kind != MAP_PRIVATE;
        if r.flags.contains(MapFlags::LOCKED) && !r.limits.may_lock && r.limits.locked == 0 {
            return Err(EPERM);
        }
        let grows = r.flags.contains(MapFlags::GROWSDOWN);
        let mut flags = VmaFlags::empty();
        flags.set(VmaFlags::SHARED, shared);
        flags.set(VmaFlags::GROWSDOWN, grows);
        flags.set(VmaFlags::NORESERVE, r.flags.contains(MapFlags::NORESERVE));
        flags.set(VmaFlags::NOHUGE, r.flags.contains(MapFlags::STACK));
        let mut plan = Plan { prot: r.prot, max: RWX, flags, object: None, offset: 0, user: None };
        match r.file {
            None => {
                if !(kind == MAP_PRIVATE || kind == MAP_SHARED) || shared && grows {
                    return Err(EINVAL);
                }
                if shared {
                    let cache = PageCache::new(machine);
                    cache.resize(len)?;
                    plan.object = Some(Arc::new(Mapped {
                        file: None,
                        source: Source::Cache(cache),
                        _writer: None,
                        _stores: None,
                    }));
                }
            }
            Some(file) => self.plan_file(machine, file, r, len, &mut plan)?,
        }
        if plan.object.is_none() {
            plan.offset = 0;
            if len >= HUGE && plan.prot.write && !flags.contains(VmaFlags::NOHUGE) && !grows {
                plan.flags |= VmaFlags::HUGE;
            }
        }
        if !shared && plan.prot.write && !r.flags.contains(MapFlags::NORESERVE) {
            self.charge.check_commit(len)?;
            plan.flags |= VmaFlags::ACCOUNT;
        }
        Ok(plan)
    }

    fn plan_file(
        &self,
        machine: &Arc<Machine>,
        file: &Arc<File>,
        r: &MapRequest<'_>,
        len: u64,
        plan: &mut Plan,
    ) -> Result<()> {
        let shared = plan.flags.contains(VmaFlags::SHARED);
        match r.flags.bits() & MapFlags::TYPE {
            MAP_PRIVATE | MAP_SHARED => {}
            MAP_SHARED_VALIDATE => {
                if r.flags.bits()
                    & !(MapFlags::LEGACY | MAP_SHARED_VALIDATE | MapFlags::FIXED_NOREPLACE.bits())
                    != 0
                {
                    return Err(EOPNOTSUPP);
                }
            }
            _ => return Err(EINVAL),
        }
        if shared {
            if r.prot.write && !file.writable() {
                return Err(EACCES);
            }
            plan.max.write = file.writable();
        }
        if !file.readable() {
            return Err(EACCES);
        }
        if file.path.mount.flags() & MS_NOEXEC != 0 {
            if r.prot.exec {
                return Err(EPERM);
            }
            plan.max.exec = false;
        }
        let mappable = file.ops.mappable().ok_or(ENODEV)?;
        if plan.flags.contains(VmaFlags::GROWSDOWN) {
            return Err(EINVAL);
        }
        let mut found = mappable.map_source(shared && plan.max.write);
        if matches!(found, Err(EPERM)) && shared && !r.prot.write {
            // Sealed: it may be looked at.
            plan.max.write = false;
            found = mappable.map_source(false);
        }
        let source = match found? {
            MapSource::Host(f) => Source::Host(f),
            MapSource::Cache(c) => Source::Cache(c),
            MapSource::Zero if shared => {
                let cache = PageCache::new(machine);
                cache.resize(r.offset + len)?;
                Source::Cache(cache)
            }
            MapSource::Zero => return Ok(()),
        };
        let writer = if shared && plan.max.write {
            file.inode().map(|inode| WriteGuard::new(&inode)).transpose()?
        } else {
            None
        };
        let stores = match &source {
            Source::Cache(c) if shared && plan.max.write => Some(c.admit_stores()?),
            _ => None,
        };
        let file = Some(file.clone());
        plan.object = Some(Arc::new(Mapped { file, source, _writer: writer, _stores: stores }));
        plan.offset = r.offset;
        plan.user = mappable.users().map(MapUser::new);
        Ok(())
    }

    /// An address for a mapping without MAP_FIXED.
    pub(super) fn place(&self, i: &Inner, hint: u64, len: u64, flags: MapFlags) -> Result<u64> {
        let (low, high) = self.range();
        let hint = hint & !(PAGE_SIZE - 1);
        if hint != 0 {
            let at = hint.max(low);
            let end = at.checked_add(len).filter(|e| *e <= high);
            if let Some(end) = end
                && i.vmas.at_or_above(at).is_none_or(|v| {
                    let floor = if v.flags.contains(VmaFlags::GROWSDOWN) {
                        v.start.saturating_sub(super::vma::GUARD)
                    } else {
                        v.start
                    };
                    floor >= end
                })
                && (!flags.contains(MapFlags::MAP_32BIT) || end <= 1 << 31)
            {
                return Ok(at);
            }
        }
        if flags.contains(MapFlags::MAP_32BIT) {
            return i.vmas.gap_up(len, low.max(0x4000_0000), 0x8000_0000).ok_or(ENOMEM);
        }
        let base = i.layout.mmap_base.min(high);
        // Large anonymous memory begins where a large page can.
        let huge = len.is_multiple_of(HUGE) && flags.contains(MapFlags::ANONYMOUS);
        let aligned = if huge { i.vmas.gap_down(len, low, base, HUGE) } else { None };
        aligned
            .or_else(|| i.vmas.gap_down(len, low, base, PAGE_SIZE))
            .or_else(|| i.vmas.gap_up(len, low, high))
            .ok_or(ENOMEM)
    }

    /// Limits of the process, and the number of mappings.
    fn check_room(&self, i: &Inner, addr: u64, len: u64, plan: &Plan, l: &Limits) -> Result<()> {
        if i.vmas.count() + 1 + i.vmas.splits(addr, addr + len) > self.max_map_count() {
            return Err(ENOMEM);
        }
        let t = i.vmas.totals();
        let replaced: u64 =
            i.vmas.overlapping(addr, addr + len).map(|v| v.end.min(addr + len) - v.start.max(addr)).sum();
        if t.all - replaced + len > l.address_space {
            return Err(ENOMEM);
        }
        if plan.prot.write && !plan.flags.contains(VmaFlags::SHARED) && t.data + len > l.data {
            return Err(ENOMEM);
        }
        if plan.flags.contains(VmaFlags::LOCKED) && !l.may_lock && t.locked + len > l.locked {
            return Err(EAGAIN);
        }
        Ok(())
    }

    /// Puts a mapping into the list and the host. Returns what it replaced, to be dropped without the lock. On an error
    /// nothing is mapped there any more.
    pub(super) fn enter(&self, i: &mut Inner, vma: Vma, replace: bool) -> (Vec<Vma>, Result<()>) {
        let (start, end) = (vma.start, vma.end);
        let mut ops = Vec::new();
        let mut old = Vec::new();
        let mut sync = false;
        if replace {
            old = i.vmas.carve(start, end);
            sync = self.forget_mapped(i, &old);
            if !old.is_empty() && vma.cache().is_some() {
                ops.push(MapOp::Unmap { addr: start, len: end - start });
            }
        }
        self.expose(i, &vma, start, end);
        let added = self.backing_ops(i, &vma, start, end, &mut ops);
        let lazy = !sync && vma.object.is_none() && end - start <= LAZY_LEN && i.vmas.count() < LAZY_COUNT;
        let done = added.and_then(|()| self.apply(&ops, lazy));
        if done.is_ok() {
            i.vmas.insert(vma);
        } else {
            i.mapped.remove(start, end);
            i.withheld.remove(start, end);
            // What was there may be gone or not: make it gone.
            let _ = self.space.apply(&[MapOp::Unmap { addr: start, len: end - start }]);
            old.push(vma);
        }
        self.recount(i);
        (old, done)
    }

    /// The host mappings of `[start, end)` of a vma; for a page cache, as far as it reaches.
    pub(super) fn backing_ops(
        &self,
        i: &mut Inner,
        vma: &Vma,
        start: u64,
        end: u64,
        ops: &mut Vec<MapOp>,
    ) -> Result<()> {
        let (prot, private) = (host_prot(i, vma, start, end), !vma.is_shared());
        let huge = vma.flags.contains(VmaFlags::HUGE);
        let map = |addr, len, backing| MapOp::Map { addr, len, prot, backing, huge };
        match vma.object.as_ref().map(|o| &o.source) {
            None => ops.push(map(start, end - start, Backing::Anon)),
            Some(Source::Host(file)) => {
                let backing = Backing::File { file: file.clone(), offset: vma.pos(start), private };
                ops.push(map(start, end - start, backing));
            }
            Some(Source::Cache(cache)) => {
                cache.add_mapper(&self.me, vma.is_shared() && vma.max.write);
                if cache.has_filler() {
                    return Ok(());
                }
                let (mut at, to) = (vma.pos(start), vma.pos(end));
                for _ in 0..EAGER {
                    let Some(w) = (if at < to { cache.window(at, at, to)? } else { None }) else { break };
                    let addr = start + (w.pos - vma.pos(start));
                    ops.push(map(addr, w.len, Backing::Shared { offset: w.offset, private }));
                    i.mapped.add(addr, addr + w.len);
                    at = w.pos + w.len;
                }
            }
        }
        Ok(())
    }

    /// Mappings left the list: their page-cache addresses are not mapped any more, and nothing is withheld there. True if
    /// there were such addresses (the change must then be waited for, as the pages may be given to others).
    pub(super) fn forget_mapped(&self, i: &mut Inner, old: &[Vma]) -> bool {
        let mut any = false;
        for v in old {
            if v.cache().is_some() {
                i.mapped.remove(v.start, v.end);
                any = true;
            }
            if i.withheld.bytes() != 0 {
                i.withheld.remove(v.start, v.end);
            }
        }
        any
    }

    /// Brings pages in, as far as possible (MAP_POPULATE, mlock(2)).
    pub(super) fn populate(&self, addr: u64, len: u64) {
        let parts: Vec<(u64, u64, bool)> = {
            let i = self.lock();
            let parts = i.vmas.overlapping(addr, addr + len).filter(|v| v.prot.read || v.prot.write);
            parts
                .filter(|v| v.cache().is_none())
                .map(|v| (v.start.max(addr), v.end.min(addr + len), v.prot.write && !v.is_shared()))
                .collect()
        };
        for (start, end, write) in parts {
            if write && self.grant_all(start, end).is_err() {
                return;
            }
            let advice = if write { abi::mm::MADV_POPULATE_WRITE } else { abi::mm::MADV_POPULATE_READ };
            // What cannot be brought in faults later.
            let op = MapOp::Advise { addr: start, len: end - start, advice: advice.cast_unsigned() };
            let _ = self.space.apply(&[op]);
        }
    }
}
