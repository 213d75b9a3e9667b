//! Page faults.

use abi::{
    Signal,
    errno::EFAULT,
    signal::{BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR},
};
use hal::{Backing, Exception, MapOp, PAGE_SIZE};

use std::sync::atomic::Ordering;

use super::{
    Inner, Limits, Mm, Vma, VmaFlags,
    withheld::{Asked, host_prot},
};
use crate::{
    error::Result,
    task::{TaskCx, Work},
};

/// What an access wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Exec,
}

/// Why a page cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped there (SIGSEGV, SEGV_MAPERR).
    NotMapped,
    /// The mapping forbids it (SIGSEGV, SEGV_ACCERR).
    Forbidden,
    /// The object has no such page (SIGBUS, BUS_ADRERR).
    NoPage,
}

/// What is to be done next about a fault.
enum Next {
    Done,
    /// Something was mapped; look again.
    Again,
    /// The machine is short of memory.
    Memory,
}

/// Most steps of one fault: growth of a stack, the mapping of a page cache, the grant of a piece, and some in case
/// others change the same.
const ROUNDS: u32 = 16;
/// Page-fault number and error bits of x86.
const PAGE_FAULT: u64 = 14;
const ERROR_WRITE: u64 = 2;
const ERROR_FETCH: u64 = 16;
/// `si_code` of a fault by a protection key.
const SEGV_PKUERR: i32 = 4;

fn allows(v: &Vma, access: Access) -> bool {
    match access {
        // x86 cannot forbid reading what may be written or executed.
        Access::Read => v.prot.read || v.prot.write || v.prot.exec,
        Access::Write => v.prot.write,
        Access::Exec => v.prot.exec,
    }
}

impl Mm {
    /// Makes the page of `addr` accessible if its vma allows the access (page cache fills, stack growth). EFAULT if not.
    pub fn fault_in(&self, addr: u64, write: bool) -> Result<()> {
        let access = if write { Access::Write } else { Access::Read };
        self.fault(addr, access, &Limits::NONE, &|| false).map_err(|_| EFAULT)
    }

    /// Stores bytes from outside the space, as far as they may be written. False if that is not all of them.
    pub(crate) fn store(&self, addr: u64, bytes: &[u8]) -> bool {
        let mut done = self.space.write(addr, bytes);
        while done < bytes.len() && self.fault_in(addr + done as u64, true).is_ok() {
            match self.space.write(addr + done as u64, &bytes[done..]) {
                0 => break,
                n => done += n,
            }
        }
        done == bytes.len()
    }

    /// Resolves a fault. If memory is short it waits until there is some, or until `give_up` says that nobody wants it any
    /// more.
    pub fn fault(
        &self,
        addr: u64,
        access: Access,
        limits: &Limits,
        give_up: &dyn Fn() -> bool,
    ) -> core::result::Result<(), Fault> {
        let mut looked = false;
        for _ in 0..ROUNDS {
            match self.resolve(addr, access, limits, looked)? {
                Next::Done => return Ok(()),
                Next::Again => {}
                Next::Memory => {
                    looked = self.await_memory(give_up);
                    if self.is_doomed() || give_up() {
                        return Ok(());
                    }
                    if !looked {
                        // Others do not end, however long they are waited for.
                        self.doom();
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// One step of [`Mm::fault`]. `looked`: the machine was looked at and has memory.
    fn resolve(
        &self,
        addr: u64,
        access: Access,
        limits: &Limits,
        looked: bool,
    ) -> core::result::Result<Next, Fault> {
        let page = addr & !(PAGE_SIZE - 1);
        let mut i = self.lock();
        let v = match i.vmas.find(page) {
            Some(v) => v,
            None => {
                self.grow(&mut i, page, limits).ok_or(Fault::NotMapped)?;
                return Ok(Next::Again);
            }
        };
        if !allows(v, access) {
            return Err(Fault::Forbidden);
        }
        let mapped = v.cache().is_none() || i.mapped.touches(page, page + PAGE_SIZE);
        if access == Access::Write && mapped && i.withheld.touches(page, page + PAGE_SIZE) {
            let v = v.clone();
            let asked = self.grant(&mut i, &v, page, looked).map_err(|_| Fault::NoPage)?;
            drop(i);
            drop(v);
            return Ok(match asked {
                Asked::Granted => Next::Done,
                Asked::Short => Next::Memory,
            });
        }
        let Some(cache) = v.cache().cloned() else { return Ok(Next::Done) };
        let pos = v.pos(page);
        if cache.has_filler() {
            drop(i);
            cache.prepare(pos).map_err(|_| Fault::NoPage)?;
            i = self.lock();
        }
        // The list may have changed while the page was brought in; then the access is tried again.
        let Some(v) =
            i.vmas.find(page).filter(|v| v.cache().is_some_and(|c| std::sync::Arc::ptr_eq(c, &cache)))
        else {
            return Ok(Next::Done);
        };
        let v = v.clone();
        let Some((low, high)) = i.mapped.gap_around(page, v.start, v.end) else { return Ok(Next::Done) };
        let pos = v.pos(page);
        let window = cache.window(pos, v.pos(low), v.pos(high)).map_err(|_| Fault::NoPage)?;
        let w = window.ok_or(Fault::NoPage)?;
        let start = v.start + (w.pos - v.offset);
        let prot = host_prot(&i, &v, start, start + w.len);
        let whole = prot == v.prot;
        if !whole {
            i.withheld.add(start, start + w.len);
            self.recount(&mut i);
        }
        let op = MapOp::Map {
            addr: start,
            len: w.len,
            prot,
            backing: Backing::Shared { offset: w.offset, private: !v.is_shared() },
            huge: false,
        };
        self.apply(&[op], false).map_err(|_| Fault::NoPage)?;
        i.mapped.add(start, start + w.len);
        drop(i);
        drop(v);
        Ok(if whole { Next::Done } else { Next::Again })
    }

    /// Extends a growing mapping down to `page`.
    fn grow(&self, i: &mut Inner, page: u64, limits: &Limits) -> Option<()> {
        let v = i.vmas.at_or_above(page).filter(|v| v.flags.contains(VmaFlags::GROWSDOWN))?;
        let (start, end) = (v.start, v.end);
        let len = start - page;
        let t = i.vmas.totals();
        let locked = v.flags.contains(VmaFlags::LOCKED) && !limits.may_lock;
        if end - page > limits.stack.max(PAGE_SIZE)
            || t.all + len > limits.address_space
            || locked && t.locked + len > limits.locked
            || page < self.range().0
            || i.vmas.below(start).is_some_and(|b| b.end.saturating_add(super::vma::GUARD) > page)
            || i.vmas.count() >= self.max_map_count()
        {
            return None;
        }
        let mut grown = v.clone();
        grown.end = start;
        grown.start = page;
        let mut ops = Vec::new();
        self.expose(i, &grown, page, start);
        self.backing_ops(i, &grown, page, start, &mut ops).ok()?;
        self.apply(&ops, false).ok()?;
        // A growing mapping does not join by itself.
        for mut whole in i.vmas.carve(start, end) {
            whole.start = page;
            i.vmas.insert(whole);
        }
        self.recount(i);
        Some(())
    }
}

/// Resolves an exception of the running task. What remains is an error of the program: the exception as its signal tells
/// it.
pub fn handle_fault(cx: &mut TaskCx, e: &Exception) -> core::result::Result<(), Exception> {
    if e.trapno != PAGE_FAULT || e.code == SEGV_PKUERR || i32::from(e.signo) != Signal::SIGSEGV.raw() {
        return Err(*e);
    }
    let access = if e.error & ERROR_WRITE != 0 {
        Access::Write
    } else if e.error & ERROR_FETCH != 0 {
        Access::Exec
    } else {
        Access::Read
    };
    let limits = Limits::of(&cx.task);
    // Whatever else there is to be done comes before memory; the access is made again afterwards.
    let wanted_elsewhere =
        || cx.task.dying.load(Ordering::Relaxed) || cx.task.work().intersects(Work::INTERRUPTS);
    let (signal, code) = match cx.mm.fault(e.addr, access, &limits, &wanted_elsewhere) {
        Ok(()) => return Ok(()),
        Err(Fault::NotMapped) => (Signal::SIGSEGV, SEGV_MAPERR),
        Err(Fault::Forbidden) => (Signal::SIGSEGV, SEGV_ACCERR),
        Err(Fault::NoPage) => (Signal::SIGBUS, BUS_ADRERR),
    };
    Err(Exception { signo: signal.raw().unsigned_abs().try_into().unwrap_or(e.signo), code, ..*e })
}
