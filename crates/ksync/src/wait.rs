//! Waiters and wait queues.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// Something a queue can wake. It must not block; it may still be called when it was removed from the queue meanwhile.
pub trait Wake: Send + Sync {
    /// `events` says what happened (POLL* bits; 0 = anything).
    fn wake(&self, events: u32);
}

thread_local! {
    static WOKE: Cell<bool> = const { Cell::new(false) };
    static PLACE: Cell<Place> = const { Cell::new(Place { who: 0, cpu: 0 }) };
}

/// Who wakes others, and on which processor: numbers that are compared for equality alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 0 for nobody.
    pub who: u64,
    pub cpu: u32,
}

/// Whom the calling thread will wake others for.
pub fn stand_at(place: Place) {
    PLACE.set(place);
}

/// Whether the calling thread has woken another one since it asked last.
pub fn woke_others() -> bool {
    WOKE.replace(false)
}

/// What one thread sleeps on.
#[derive(Default)]
pub struct Waiter {
    notified: AtomicU32,
    thread: Mutex<Option<Thread>>,
    /// [`Place`] of the last who notified.
    who: AtomicU64,
    cpu: AtomicU32,
}

impl Waiter {
    pub fn new() -> Waiter {
        Waiter::default()
    }

    /// Makes the calling thread the one that [`Waiter::park`]s here.
    pub fn attach(&self) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
    }

    /// Ends the present or the next `park`.
    pub fn notify(&self) {
        if self.notified.swap(1, Ordering::SeqCst) == 0
            && let Some(t) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner)
        {
            let place = PLACE.get();
            self.cpu.store(place.cpu, Ordering::Relaxed);
            self.who.store(place.who, Ordering::Relaxed);
            t.unpark();
            WOKE.set(true);
        }
    }

    /// Where the last notification came from, if it was told and not asked for yet.
    pub fn woken_from(&self) -> Option<Place> {
        let who = self.who.load(Ordering::Relaxed);
        if who == 0 {
            return None;
        }
        self.who.store(0, Ordering::Relaxed);
        Some(Place { who, cpu: self.cpu.load(Ordering::Relaxed) })
    }

    /// Forgets a past notification. To be called before the condition is checked.
    pub fn clear(&self) {
        self.notified.store(0, Ordering::SeqCst);
    }

    /// Sleeps until notified or for `timeout`; false if the time ran out. The thread must be attached.
    pub fn park(&self, timeout: Option<Duration>) -> bool {
        match timeout {
            None => {
                while self.notified.load(Ordering::SeqCst) == 0 {
                    thread::park();
                }
                true
            }
            Some(t) => {
                let start = Instant::now();
                while self.notified.load(Ordering::SeqCst) == 0 {
                    // A notification of the past may end this early.
                    let Some(left) = t.checked_sub(start.elapsed()).filter(|l| !l.is_zero()) else {
                        return false;
                    };
                    thread::park_timeout(left);
                }
                true
            }
        }
    }
}

impl Wake for Waiter {
    fn wake(&self, _events: u32) {
        self.notify();
    }
}

/// Names an entry of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitToken(u64);

/// One who waits, and for what: POLL* bits, 0 for anything.
struct Entry {
    id: u64,
    events: u32,
    waiter: Arc<dyn Wake>,
}

/// The waiters for one thing. Cheap when nobody waits.
#[derive(Default)]
pub struct WaitQueue {
    len: AtomicUsize,
    next: AtomicU64,
    entries: Mutex<Vec<Entry>>,
}

impl WaitQueue {
    pub const fn new() -> WaitQueue {
        WaitQueue { len: AtomicUsize::new(0), next: AtomicU64::new(0), entries: Mutex::new(Vec::new()) }
    }

    /// Adds a waiter; it is woken by every wake from now on, until removed.
    pub fn add(&self, w: Arc<dyn Wake>) -> WaitToken {
        self.add_for(w, 0)
    }

    /// As [`WaitQueue::add`], but wakes that name other events only pass it over. `events`: POLL* bits, 0 for anything.
    pub fn add_for(&self, waiter: Arc<dyn Wake>, events: u32) -> WaitToken {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut e = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        e.push(Entry { id, events, waiter });
        self.len.store(e.len(), Ordering::SeqCst);
        drop(e);
        // The caller checks its condition after this; the waker changes the condition before it looks at `len`.
        fence(Ordering::SeqCst);
        WaitToken(id)
    }

    pub fn remove(&self, token: WaitToken) {
        let mut e = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = e.iter().position(|x| x.id == token.0) {
            e.swap_remove(i);
        }
        self.len.store(e.len(), Ordering::SeqCst);
    }

    /// Wakes all waiters for this. `events`: POLL* bits of what happened, 0 for anything.
    pub fn wake_all(&self, events: u32) {
        fence(Ordering::SeqCst);
        if self.len.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Outside the lock: whoever is woken on this processor would run at once, and into the lock.
        let e = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let concerns = |e: &&Entry| events == 0 || e.events == 0 || e.events & events != 0;
        if let [only] = &e[..] {
            let only = Some(only).filter(concerns).map(|e| e.waiter.clone());
            drop(e);
            if let Some(w) = only {
                w.wake(events);
            }
            return;
        }
        let all: Vec<_> = e.iter().filter(concerns).map(|e| e.waiter.clone()).collect();
        drop(e);
        for w in all {
            w.wake(events);
        }
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn who_waits_for_something_else_is_passed_over() {
        let (q, others) = (WaitQueue::new(), Arc::new(Waiter::new()));
        let w = Arc::new(Waiter::new());
        for among in [false, true] {
            let token = q.add_for(w.clone(), 1);
            let more = among.then(|| q.add(others.clone()));
            for (events, woken) in [(4, 0), (5, 1), (0, 1)] {
                w.clear();
                q.wake_all(events);
                assert_eq!(w.notified.load(Ordering::SeqCst), woken, "{events} {among}");
            }
            q.remove(token);
            more.into_iter().for_each(|t| q.remove(t));
        }
        assert_eq!(others.notified.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn where_a_wake_came_from_is_told_once() {
        let w = Waiter::new();
        w.attach();
        w.notify();
        assert_eq!(w.woken_from(), None);
        let place = Place { who: 7, cpu: 1 };
        stand_at(place);
        w.clear();
        w.notify();
        assert_eq!((w.woken_from(), w.woken_from()), (Some(place), None));
    }

    #[test]
    fn a_wake_between_check_and_sleep_is_not_lost() {
        let q = Arc::new(WaitQueue::new());
        let w = Arc::new(Waiter::new());
        let done = Arc::new(AtomicBool::new(false));
        for _ in 0..200 {
            done.store(false, Ordering::SeqCst);
            let (q2, d2) = (q.clone(), done.clone());
            w.attach();
            let token = q.add(w.clone());
            let t = thread::spawn(move || {
                d2.store(true, Ordering::SeqCst);
                q2.wake_all(0);
            });
            loop {
                w.clear();
                if done.load(Ordering::SeqCst) {
                    break;
                }
                assert!(w.park(Some(Duration::from_secs(5))), "wake-up lost");
            }
            q.remove(token);
            t.join().unwrap();
        }
        assert!(q.is_empty());
    }
}
