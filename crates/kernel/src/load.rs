//! The load averages (getloadavg(3)): how many tasks wanted to run, over 1, 5 and 15 minutes.

use ksync::Mutex;

use crate::locks;

/// Nanoseconds between two looks.
const TICK: u64 = 5_000_000_000;
/// What is kept of the old value after a tick, of 2^16 (e to the power of -5 s through 60, 300 and 900 s).
const KEEP: [u64; 3] = [60_297, 64_453, 65_173];
const ONE: u64 = 1 << 16;

struct Inner {
    next_ns: u64,
    /// In units of 2^-16.
    values: [u64; 3],
}

/// Load averages of a machine.
pub struct LoadAverage(Mutex<Inner>);

impl Default for LoadAverage {
    fn default() -> Self {
        LoadAverage(Mutex::new(locks::LEAF, Inner { next_ns: TICK, values: [0; 3] }))
    }
}

impl LoadAverage {
    /// Called often, with the machine's age; `running` is asked when a tick is due.
    pub fn look(&self, uptime_ns: u64, running: impl FnOnce() -> u64) {
        if uptime_ns < self.0.lock().next_ns {
            return;
        }
        let now = running() * ONE;
        let mut i = self.0.lock();
        while i.next_ns <= uptime_ns {
            i.next_ns += TICK;
            for (v, keep) in i.values.iter_mut().zip(KEEP) {
                *v = (*v * keep + now * (ONE - keep)) / ONE;
            }
        }
    }

    /// Whole and hundredths.
    pub fn averages(&self) -> [(u64, u64); 3] {
        self.0.lock().values.map(|v| {
            let hundredths = (v * 100 + ONE / 2) / ONE;
            (hundredths / 100, hundredths % 100)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_for_a_minute_is_most_of_one() {
        let l = LoadAverage::default();
        for s in 1..=60 {
            l.look(s * 1_000_000_000, || 1);
        }
        assert_eq!(l.averages(), [(0, 63), (0, 18), (0, 6)]);
        l.look(3_600_000_000_000, || 0);
        assert_eq!(l.averages()[0], (0, 0));
    }
}
