//! What knows the processor: signal frames and floating-point state, rewriting of system-call sites.

pub(crate) mod captures;
pub(crate) mod frame;
mod gap;
pub(crate) mod patch;

/// A clock of the processor, for short times only: its pace is measured at start.
pub(crate) fn cycles() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}
