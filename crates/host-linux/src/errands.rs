//! Changes of memory that a guest thread makes itself when it goes on, instead of the service thread: no other thread need
//! be woken for them.
//!
//! They are private anonymous memory mapped, any memory unmapped or made read-only, and advice that drops or describes
//! pages; the filter lets guest threads make these calls below the region, whoever asks for them. Guest code that does so on
//! its own account changes what only itself can see: it maps nothing that is anybody else's, gets no right to store or to
//! run code that it did not have, and the kernel process believes its own books, not the guest's memory. Nothing that the
//! kernel process gives to somebody else depends on an errand.

use crate::{
    layout::{REGION, ctl, errand},
    service::Op,
    slots::Slot,
};

/// Flags of mmap(2) that errands have, no more and no less.
pub(crate) const MAP_FLAGS: u32 =
    (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED) as u32;
/// Advice of madvise(2).
pub(crate) const ADVICE: [u32; 2] = [libc::MADV_DONTNEED as u32, libc::MADV_HUGEPAGE as u32];
/// Protections of mprotect(2): those by which rights to store and to run code can only be lost. What a guest has mapped it
/// may read.
pub(crate) const PROTS: [u32; 2] = [libc::PROT_NONE as u32, libc::PROT_READ as u32];
/// Upper halves of addresses below this are an errand's: what begins there and is shorter than 4 GiB ends below the region.
pub(crate) const ADDR_HIGH: u32 = (REGION >> 32) as u32 - 1;

/// Whether a guest thread may do this itself.
pub(crate) fn suits(op: &Op) -> bool {
    let [addr, len, third, flags, ..] = op.args;
    let call = match op.nr as i64 {
        libc::SYS_mmap => flags == u64::from(MAP_FLAGS),
        libc::SYS_munmap => true,
        libc::SYS_mprotect => PROTS.iter().any(|&p| u64::from(p) == third),
        libc::SYS_madvise => ADVICE.iter().any(|&a| u64::from(a) == third),
        _ => false,
    };
    call && addr >> 32 < u64::from(ADDR_HIGH) && len >> 32 == 0
}

/// Whether it does the same, in effect, at any moment before the call returns for which it was deferred, whatever other
/// threads of the space have done meanwhile.
pub(crate) fn is_timeless(op: &Op) -> bool {
    op.nr as i64 == libc::SYS_madvise
}

/// Writes the list down for a stopped thread; it must fit.
pub(crate) fn give(slot: &Slot, ops: &[Op]) {
    debug_assert!(ops.len() <= ctl::ERRANDS_MAX);
    for (i, op) in ops.iter().enumerate().take(ctl::ERRANDS_MAX) {
        let at = ctl::ERRANDS + i * errand::STEP;
        slot.set32(at + errand::NR, op.nr as u32);
        slot.set32(at + errand::THIRD, op.args[2] as u32);
        slot.set64(at + errand::ADDR, op.args[0]);
        slot.set64(at + errand::LEN, op.args[1]);
        // Other threads may have unmapped meanwhile what the advice is about.
        let expect = if is_timeless(op) || op.takes_any() { errand::ANY } else { op.expect };
        slot.set64(at + errand::EXPECT, expect);
    }
    slot.set32(ctl::ERRAND_COUNT, ops.len() as u32);
}
