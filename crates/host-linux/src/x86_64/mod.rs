//! What knows the processor: signal frames and floating-point state, rewriting of system-call sites.

pub(crate) mod frame;
pub(crate) mod patch;
