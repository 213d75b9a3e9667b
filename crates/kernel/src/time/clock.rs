//! The machine's clock: the host's, with room for an offset or a virtual source.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use abi::Timespec;
use hal::Host;

/// The one clock.
pub struct Clock {
    host: Arc<dyn Host>,
    /// Added to the host's realtime (clock_settime(2)).
    realtime_offset: AtomicI64,
    /// Host monotonic time when the machine started.
    boot_ns: u64,
}

impl Clock {
    pub fn new(host: Arc<dyn Host>) -> Clock {
        let boot_ns = host.monotonic_ns();
        Clock { host, realtime_offset: AtomicI64::new(0), boot_ns }
    }
    /// CLOCK_MONOTONIC. Equal to the host's, as the guest reads it from the host's vDSO without a trap.
    pub fn monotonic_ns(&self) -> u64 {
        self.host.monotonic_ns()
    }
    pub fn boottime_ns(&self) -> u64 {
        self.host.boottime_ns()
    }
    pub fn realtime_ns(&self) -> u64 {
        self.host.realtime_ns().saturating_add_signed(self.realtime_offset.load(Ordering::Relaxed))
    }
    /// Now, for file times.
    pub fn now(&self) -> Timespec {
        Timespec::from_ns(self.realtime_ns() as i64)
    }
    /// Nanoseconds since the machine started.
    pub fn uptime_ns(&self) -> u64 {
        self.monotonic_ns().saturating_sub(self.boot_ns)
    }
    pub fn boot_monotonic_ns(&self) -> u64 {
        self.boot_ns
    }
}
