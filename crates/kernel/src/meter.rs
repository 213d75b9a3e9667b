//! What `--stats` counts in the kernel itself: faults, and how long tasks wait. Only a [`crate::task::run::Dispatch`] that
//! has a meter is told; all others cost a branch on ways that are slow anyhow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Powers of two of nanoseconds, up to half a minute.
const BUCKETS: usize = 36;

/// Durations: how many, how long together, the longest, and their distribution.
#[derive(Debug)]
pub struct Durations {
    count: AtomicU64,
    total_ns: AtomicU64,
    max_ns: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Durations {
    fn default() -> Self {
        Durations {
            count: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl Durations {
    pub fn add(&self, ns: u64) {
        self.count.fetch_add(1, Relaxed);
        self.total_ns.fetch_add(ns, Relaxed);
        self.max_ns.fetch_max(ns, Relaxed);
        // Bucket n holds what is below 2^n.
        let n = (u64::BITS - ns.leading_zeros()) as usize;
        self.buckets[n.min(BUCKETS - 1)].fetch_add(1, Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
    pub fn total_ns(&self) -> u64 {
        self.total_ns.load(Relaxed)
    }
    pub fn max_ns(&self) -> u64 {
        self.max_ns.load(Relaxed)
    }
    pub fn mean_ns(&self) -> u64 {
        self.total_ns().checked_div(self.count()).unwrap_or(0)
    }
    /// At least so many hundredths took no longer than this (a power of two, or the longest).
    pub fn percentile_ns(&self, hundredths: u64) -> u64 {
        let wanted = self.count().saturating_mul(hundredths).div_ceil(100);
        let mut seen = 0;
        for (n, b) in self.buckets.iter().enumerate() {
            seen += b.load(Relaxed);
            if seen >= wanted {
                return if n + 1 == BUCKETS { self.max_ns() } else { self.max_ns().min(1 << n) };
            }
        }
        self.max_ns()
    }
}

/// The kernel's counts.
#[derive(Debug, Default)]
pub struct Meter {
    /// Faults that the kernel served, and the time it took.
    pub faults: Durations,
    /// Exceptions that became signals.
    pub exceptions: AtomicU64,
    /// Waits of tasks.
    pub waits: Durations,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_summed_up() {
        let d = Durations::default();
        assert_eq!((d.mean_ns(), d.percentile_ns(99)), (0, 0));
        for _ in 0..99 {
            d.add(100);
        }
        d.add(1_000_000);
        assert_eq!((d.count(), d.total_ns(), d.max_ns()), (100, 1_009_900, 1_000_000));
        assert_eq!(d.mean_ns(), 10_099);
        assert_eq!(d.percentile_ns(50), 128);
        assert_eq!(d.percentile_ns(99), 128);
        assert_eq!(d.percentile_ns(100), 1_000_000);
        d.add(0);
        d.add(u64::MAX / 2);
        assert_eq!(d.percentile_ns(100), u64::MAX / 2);
    }
}
