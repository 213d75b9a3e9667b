//! Clocks and timers. One clock for the machine; every timer hangs on one timer thread.

mod clock;
mod timers;

pub use clock::Clock;
pub use timers::{Expiry, ProcessTimers, TimerId, Timers};
