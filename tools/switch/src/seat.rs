//! The processor the loop runs on.
//!
//! The host wakes a client on the processor of whoever sends it something, if no other is idle. It shares ours then,
//! and as it uses less of it, it comes first: each frame of a batch wakes it anew, it takes that one and sleeps
//! again, and two changes of process are paid for one frame. Moving away from it makes it read while we send.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Between two looks at how often others took our processor.
const EVERY: Duration = Duration::from_millis(5);

/// So often in that time is too often. The scheduler's own slices end less than ten times.
const OFTEN: i64 = 25;

/// What was seen last.
#[derive(Debug, Default)]
pub struct Seat {
    looked: Duration,
    preempted: i64,
}

impl Seat {
    /// Moves to another processor if this one is taken from us again and again; `now` is the loop's time.
    pub fn look(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.looked);
        if passed < EVERY {
            return;
        }
        self.looked = now;
        let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return };
        let preempted = usage.involuntary_context_switches();
        let often = preempted - self.preempted > OFTEN;
        self.preempted = preempted;
        // Of a loop that slept meanwhile the count says nothing.
        if often {
            Self::change();
        }
    }

    /// Goes to the next of the processors we may use, and may use all of them again from there.
    fn change() {
        let Ok(all) = sched_getaffinity(None) else { return };
        let here = sched_getcpu();
        let after = (here + 1..CpuSet::MAX_CPU).chain(0..here);
        if let Some(there) = after.into_iter().find(|&cpu| all.is_set(cpu)) {
            let mut one = CpuSet::new();
            one.set(there);
            // Where that is refused we stay.
            let _ = sched_setaffinity(None, &one);
            let _ = sched_setaffinity(None, &all);
        }
    }
}
