//! The timer thread: a heap of deadlines and what to do at each.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ksync::{Mutex, Waiter};

use crate::{locks, time::Clock};

/// Called on the timer thread when a deadline has passed; must not block. A new absolute deadline (monotonic ns) sets the
/// timer again.
pub trait Expiry: Send + Sync {
    fn expired(&self, now_ns: u64) -> Option<u64>;
}

/// Names an armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId {
    deadline: u64,
    seq: u64,
}

/// All armed timers of a machine.
pub struct Timers {
    queue: Mutex<BTreeMap<TimerId, Arc<dyn Expiry>>>,
    seq: AtomicU64,
    waiter: Waiter,
    ended: AtomicBool,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            queue: Mutex::new(locks::TIMERS, BTreeMap::new()),
            seq: AtomicU64::new(0),
            waiter: Waiter::new(),
            ended: AtomicBool::new(false),
        }
    }
}

impl Timers {
    /// Arms a timer for an absolute monotonic deadline.
    pub fn arm(&self, deadline: u64, what: Arc<dyn Expiry>) -> TimerId {
        let id = TimerId { deadline, seq: self.seq.fetch_add(1, Ordering::Relaxed) };
        let mut q = self.queue.lock();
        let first = q.first_key_value().is_none_or(|(k, _)| id < *k);
        q.insert(id, what);
        drop(q);
        if first {
            self.waiter.notify();
        }
        id
    }

    /// Disarms; harmless if it has expired.
    pub fn disarm(&self, id: TimerId) {
        let gone = self.queue.lock().remove(&id);
        drop(gone);
    }

    /// Body of the timer thread.
    pub fn run(&self, clock: &Clock) {
        self.waiter.attach();
        while !self.ended.load(Ordering::Relaxed) {
            self.waiter.clear();
            let now = clock.monotonic_ns();
            let due = {
                let mut q = self.queue.lock();
                match q.first_key_value() {
                    Some((k, _)) if k.deadline <= now => q.pop_first(),
                    _ => None,
                }
            };
            if let Some((_, what)) = due {
                if let Some(again) = what.expired(now) {
                    self.arm(again.max(now + 1), what);
                }
                continue;
            }
            let next = self.queue.lock().first_key_value().map(|(k, _)| k.deadline);
            self.waiter.park(next.map(|d| Duration::from_nanos(d.saturating_sub(now))));
        }
    }

    /// Ends the timer thread.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.waiter.notify();
    }
}
