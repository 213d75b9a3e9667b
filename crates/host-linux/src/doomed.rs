//! Stubs that were killed and may run for another moment: until they are collected nobody may get pages that they map.

use std::{
    collections::BTreeSet,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::*},
    },
    time::{Duration, Instant},
};

use crate::engine::lock;

/// Longest wait. A thread with SIGKILL pending does not come back to its own code from wherever in the host it is, and
/// leaves it at the next interrupt at the latest; what takes longer is bookkeeping of the host's.
const LIMIT: Duration = Duration::from_secs(2);

/// The killed stubs of a machine that are not collected yet and have shared pages mapped.
#[derive(Default)]
pub(crate) struct Doomed {
    count: AtomicUsize,
    list: Mutex<List>,
    changed: Condvar,
}

#[derive(Default)]
struct List {
    next: u64,
    here: BTreeSet<u64>,
}

impl Doomed {
    /// Enters a stub that is about to be killed.
    pub(crate) fn enter(&self) -> u64 {
        let mut list = lock(&self.list);
        list.next += 1;
        let ticket = list.next;
        list.here.insert(ticket);
        self.count.store(list.here.len(), SeqCst);
        ticket
    }

    /// It was collected.
    pub(crate) fn leave(&self, ticket: u64) {
        let mut list = lock(&self.list);
        list.here.remove(&ticket);
        self.count.store(list.here.len(), SeqCst);
        drop(list);
        self.changed.notify_all();
    }

    /// Waits until those that are in now have left.
    pub(crate) fn wait(&self) {
        if self.count.load(SeqCst) == 0 {
            return;
        }
        let end = Instant::now() + LIMIT;
        let mut list = lock(&self.list);
        let last = list.next;
        while list.here.first().is_some_and(|&t| t <= last) {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            list = self.changed.wait_timeout(list, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn waits_for_those_inside_and_not_for_later_ones() {
        let d = Arc::new(Doomed::default());
        d.wait();
        let first = d.enter();
        let (other, begun) = (d.clone(), Instant::now());
        let waiter = std::thread::spawn(move || {
            other.wait();
            begun.elapsed()
        });
        std::thread::sleep(Duration::from_millis(50));
        let second = d.enter();
        d.leave(first);
        let took = waiter.join().unwrap();
        assert!(took >= Duration::from_millis(50) && took < LIMIT, "{took:?}");
        d.leave(second);
        d.wait();
    }
}
