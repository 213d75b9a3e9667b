//! Pipes and FIFOs.

/// A pipe's buffer and ends.
pub struct Pipe {}
