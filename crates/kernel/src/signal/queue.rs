//! Pending signals.

/// Signals sent and not delivered yet.
#[derive(Default)]
pub struct Pending {}
