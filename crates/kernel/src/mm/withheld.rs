//! Private memory that may not be written yet, because the machine may not have it (see [`super::charge`]).
//!
//! The list of mappings does not show it. The host maps such addresses without the right to write: they read as what is
//! there, or as zeros, and take no memory. The first store is a fault, which exposes a *piece*: small at first, larger
//! for a program that goes on where it was.

use hal::{MapOp, PAGE_SIZE, Prot};

use super::{Inner, Mm, Vma, oom};
use crate::error::Result;

/// Bytes exposed at a first store, and at most at one store.
const PIECE: u64 = 64 << 10;
const PIECE_MAX: u64 = 2 << 20;
/// What may be exposed is told to the host in steps of this: telling costs a host call.
const STEP: u64 = 256 << 10;
/// Parts of a program up to this size are exposed when it begins.
const PROGRAM: u64 = 1 << 20;

/// What the host may allow in `[start, end)` of a mapping that lies there.
pub(super) fn host_prot(i: &Inner, v: &Vma, start: u64, end: u64) -> Prot {
    if v.is_private() && i.withheld.touches(start, end) { unwritable(v.prot) } else { v.prot }
}

/// x86 cannot forbid reading what may be written.
fn unwritable(prot: Prot) -> Prot {
    Prot { read: prot.read || prot.write, write: false, ..prot }
}

/// Adds a change of protection, of which withheld parts get no right to write.
pub(super) fn push_protect(i: &Inner, v: &Vma, start: u64, end: u64, prot: Prot, ops: &mut Vec<MapOp>) {
    let mut push = |a: u64, b: u64, prot: Prot| {
        if let Some(MapOp::Protect { addr, len, prot: last }) = ops.last_mut()
            && *addr + *len == a
            && *last == prot
        {
            *len += b - a;
        } else if a < b {
            ops.push(MapOp::Protect { addr: a, len: b - a, prot });
        }
    };
    let mut at = start;
    if prot.write && !v.is_shared() {
        for (a, b) in i.withheld.within(start, end) {
            push(at, a, prot);
            push(a, b, unwritable(prot));
            at = b;
        }
    }
    push(at, end, prot);
}

/// What became of a store to memory that was withheld.
pub(super) enum Asked {
    Granted,
    /// Not before the machine has been looked at.
    Short,
}

impl Inner {
    /// Bytes exposed, as the list says.
    pub(super) fn exposed_now(&self) -> u64 {
        self.vmas.totals().private.saturating_sub(self.withheld.bytes())
    }
}

impl Mm {
    /// Tells the host, before it is asked to map them, that so many bytes may be exposed: guest code that maps memory by
    /// itself gets no more.
    pub(super) fn allow(&self, i: &mut Inner, bytes: u64) {
        if bytes > i.allowed {
            // Where there is little, what many processes are allowed beyond their need would be all there is.
            let step = if self.charge.is_overexposed(self.charge.limit()) { PIECE } else { STEP };
            let new = bytes.next_multiple_of(step);
            self.charge.allowed_changed(i.allowed, new);
            self.space.allow_data(new);
            i.allowed = new;
        }
    }

    /// Takes back what is allowed and not exposed, unless changes are under way that need it: all of it, or if it is much.
    pub(super) fn allow_less(&self, all: bool) {
        let Some(mut i) = self.inner.try_lock() else { return };
        let (step, spare) = if all { (PIECE, PIECE) } else { (STEP, 4 * STEP) };
        let new = i.exposed_now().next_multiple_of(step).max(step);
        if new + spare <= i.allowed && self.space.is_settled() {
            self.space.allow_data(new);
            self.charge.allowed_changed(i.allowed, new);
            i.allowed = new;
        }
    }

    /// Before `[start, end)` of a mapping is made: exposed or withheld?
    pub(super) fn expose(&self, i: &mut Inner, v: &Vma, start: u64, end: u64) {
        if !v.is_private() || start >= end {
            return;
        }
        if self.charge.expose(end - start) {
            self.allow(i, i.exposed_now() + (end - start));
        } else {
            i.withheld.add(start, end);
        }
    }

    /// The same for a part of a program, which begins to run with what it has to have.
    pub(super) fn expose_program(&self, i: &mut Inner, v: &Vma) {
        if v.is_private() && v.len() <= PROGRAM {
            self.charge.force(v.len());
            self.allow(i, i.exposed_now() + v.len());
        } else {
            self.expose(i, v, v.start, v.end);
        }
    }

    /// Before the protection of a range is changed: what may be written from then on is exposed or withheld.
    pub(super) fn expose_changed(&self, i: &mut Inner, start: u64, end: u64, prot: Prot) {
        let parts: Vec<_> = i
            .vmas
            .overlapping(start, end)
            .filter(|v| !v.is_shared() && v.prot.write != prot.write)
            .map(|v| (v.start.max(start), v.end.min(end)))
            .collect();
        let mut more = 0;
        for (a, b) in parts {
            if !prot.write {
                i.withheld.remove(a, b);
            } else if self.charge.expose(b - a) {
                more += b - a;
            } else {
                i.withheld.add(a, b);
            }
        }
        if more > 0 {
            // What is withheld of the range is not in the list as writable yet.
            self.allow(i, i.exposed + more);
        }
    }

    /// Exposes a piece around `page`, which is withheld and which the host has mapped. `always`: whatever the charge says,
    /// but as little as can be.
    pub(super) fn grant(&self, i: &mut Inner, v: &Vma, page: u64, always: bool) -> Result<Asked> {
        let Some((low, high)) = i.withheld.range_of(page) else { return Ok(Asked::Granted) };
        let (low, high) = (low.max(v.start), high.min(v.end));
        // As much as there is already before or behind, if the program goes on from there.
        let upward = page - low < PIECE;
        let before = if upward { low - v.start } else { v.end - high };
        let size = before.next_power_of_two().clamp(PIECE, PIECE_MAX);
        let size = if always { PIECE } else { size };
        let (start, end) = if upward {
            // To where a large page may end.
            (low, high.min((low / size + 1) * size).max(page + PAGE_SIZE))
        } else if high - page <= PIECE {
            (low.max(high.saturating_sub(size)), high)
        } else {
            let start = low.max(page & !(PIECE - 1));
            (start, high.min(start + PIECE))
        };
        if always {
            self.charge.force(end - start);
        } else if !self.charge.grant(end - start) {
            return Ok(Asked::Short);
        }
        i.withheld.remove(start, end);
        let mut ops = Vec::new();
        if v.cache().is_some() {
            for (a, b) in i.mapped.within(start, end) {
                push_protect(i, v, a, b, v.prot, &mut ops);
            }
        } else {
            push_protect(i, v, start, end, v.prot, &mut ops);
        }
        self.recount(i);
        self.apply(&ops, true)?;
        Ok(Asked::Granted)
    }

    /// Exposes all of a range that was withheld, asking as stores would. ENOMEM if the machine has not so much.
    pub(super) fn grant_all(&self, start: u64, end: u64) -> Result<()> {
        loop {
            let next = {
                let i = self.lock();
                let part = i.withheld.within(start, end).into_iter().next();
                // Page caches are mapped piece by piece, and stores ask for each.
                part.filter(|p| i.vmas.find(p.0).is_some_and(|v| v.cache().is_none()))
            };
            let Some((at, _)) = next else { return Ok(()) };
            if self.is_doomed() || self.fault_in(at, true).is_err() {
                return Err(abi::errno::ENOMEM);
            }
        }
    }

    /// Withholds a range of a mapping, by changes of the host's that are still to be made.
    pub(super) fn withhold(&self, i: &mut Inner, v: &Vma, start: u64, end: u64, ops: &mut Vec<MapOp>) {
        i.withheld.add(start, end);
        if v.cache().is_some() {
            for (a, b) in i.mapped.within(start, end) {
                push_protect(i, v, a, b, v.prot, ops);
            }
        } else {
            push_protect(i, v, start, end, v.prot, ops);
        }
    }

    /// Withholds everything that is private.
    pub(super) fn withhold_all(&self) -> Result<()> {
        let mut guard = self.lock();
        let i = &mut *guard;
        let parts: Vec<Vma> = i.vmas.iter().filter(|v| v.is_private()).cloned().collect();
        let mut ops = Vec::new();
        for v in &parts {
            self.withhold(i, v, v.start, v.end, &mut ops);
        }
        self.recount(i);
        let done = self.apply(&ops, false);
        if done.is_err() {
            // It could write what is not counted.
            self.space.kill();
        }
        drop(guard);
        drop(parts);
        done
    }

    /// Moves what is withheld of `[old, old + len)` to `new`, and says where the host's mappings end within.
    pub(super) fn move_withheld(
        i: &mut Inner,
        old: u64,
        len: u64,
        new: u64,
        keep_old: bool,
    ) -> Vec<(u64, u64)> {
        let parts = i.withheld.within(old, old + len);
        let mut pieces = Vec::new();
        let mut at = old;
        for &(a, b) in &parts {
            pieces.extend([(at, a), (a, b)]);
            at = b;
        }
        pieces.push((at, old + len));
        pieces.retain(|(a, b)| a < b);
        if !keep_old {
            i.withheld.remove(old, old + len);
        }
        for (a, b) in parts {
            i.withheld.add(new + (a - old), new + (b - old));
        }
        pieces
    }

    /// Waits until the machine has memory again, or `give_up` says so; false if it has not.
    pub(super) fn await_memory(&self, give_up: &dyn Fn() -> bool) -> bool {
        match self.charge.machine() {
            Some(machine) => oom::relieve(&machine, &|| give_up() || self.is_doomed()),
            None => true,
        }
    }
}

const _: () = assert!(PIECE.is_multiple_of(PAGE_SIZE));
