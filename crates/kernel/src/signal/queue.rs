//! Pending signals.

use std::collections::VecDeque;

use abi::{SigFields, SigInfo, SigSet, Signal, signal::SI_TIMER};

/// Signals sent and not delivered yet. A standard signal is there once; real-time signals queue in order.
#[derive(Default)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// The signals that are pending.
    pub fn set(&self) -> SigSet {
        self.set
    }
    /// The records queued.
    pub fn records(&self) -> impl Iterator<Item = &SigInfo> {
        self.queue.iter()
    }
    /// Records queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a signal; false if it merged with one that is pending already.
    pub fn push(&mut self, signal: Signal, info: SigInfo) -> bool {
        if self.set.has(signal) {
            if !signal.is_rt() {
                return false;
            }
            // An expired timer queues one record however often it expires (timer_getoverrun(2)).
            if let (SI_TIMER, SigFields::Timer { id, .. }) = (info.code, info.fields) {
                let same = |q: &SigInfo| {
                    q.code == SI_TIMER
                        && matches!(q.fields, SigFields::Timer { id: other, .. } if other == id)
                };
                if self.queue.iter().any(same) {
                    return false;
                }
            }
        }
        self.set.add(signal);
        self.queue.push_back(info);
        true
    }

    /// Takes the first signal out of `wanted`, those that an instruction raised before others.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signal = self.set.intersect(wanted).first_to_deliver()?;
        let at = self.queue.iter().position(|i| i.signo == signal.raw());
        let info = at.and_then(|i| self.queue.remove(i)).unwrap_or(SigInfo::user(signal, 0, 0));
        if !signal.is_rt() || !self.queue.iter().any(|i| i.signo == signal.raw()) {
            self.set.remove(signal);
        }
        Some(info)
    }

    /// Forgets signals.
    pub fn discard(&mut self, set: SigSet) {
        if self.set.intersect(set).is_empty() {
            return;
        }
        self.set = self.set.minus(set);
        self.queue.retain(|i| i.signal().is_some_and(|s| !set.has(s)));
    }

    /// Forgets the records of a deleted timer.
    pub fn discard_timer(&mut self, timer: i32) {
        let of_timer = |i: &SigInfo| {
            i.code == SI_TIMER && matches!(i.fields, SigFields::Timer { id, .. } if id == timer)
        };
        if self.queue.iter().any(of_timer) {
            self.queue.retain(|i| !of_timer(i));
            self.set = self.queue.iter().filter_map(SigInfo::signal).collect();
        }
    }
}
