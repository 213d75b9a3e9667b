//! Ranked locks.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Mutex as StdMutex, MutexGuard as StdGuard, PoisonError, RwLock as StdRwLock,
        RwLockReadGuard as StdRead, RwLockWriteGuard as StdWrite,
    },
};

/// Place of a lock in the order: a thread takes locks in rising rank only. Equal ranks nest only where the rank says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    pub level: u16,
    /// Several locks of this rank may be held at once (their own module orders them, for instance parent before child).
    pub nests: bool,
    pub name: &'static str,
}

impl Rank {
    pub const fn new(level: u16, name: &'static str) -> Rank {
        Rank { level, nests: false, name }
    }
    pub const fn nesting(level: u16, name: &'static str) -> Rank {
        Rank { level, nests: true, name }
    }
}

#[cfg(debug_assertions)]
mod held {
    use super::Rank;
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn push(rank: Rank) {
        HELD.with(|h| {
            let mut h = h.borrow_mut();
            if let Some(top) = h.iter().max()
                && (rank.level < top.level || rank.level == top.level && !rank.nests)
            {
                let all: Vec<_> = h.iter().map(|r| r.name).collect();
                drop(h);
                panic!("lock order: {} (rank {}) taken while holding {:?}", rank.name, rank.level, all);
            }
            h.push(rank);
        });
    }

    pub(super) fn pop(rank: Rank) {
        HELD.with(|h| {
            let mut h = h.borrow_mut();
            if let Some(i) = h.iter().rposition(|r| *r == rank) {
                h.remove(i);
            }
        });
    }

    pub(super) fn names() -> Vec<&'static str> {
        HELD.with(|h| h.borrow().iter().map(|r| r.name).collect())
    }
}

/// Panics in debug builds if the calling thread holds any ranked lock (called before blocking and before running guest
/// code).
#[inline]
pub fn assert_no_locks_held(what: &str) {
    #[cfg(debug_assertions)]
    {
        let held = held::names();
        assert!(held.is_empty(), "{what} with locks held: {held:?}");
    }
    let _ = what;
}

macro_rules! guard {
    ($name:ident, $std:ident, $doc:literal) => {
        #[doc = $doc]
        #[must_use]
        pub struct $name<'a, T: ?Sized> {
            guard: $std<'a, T>,
            #[cfg(debug_assertions)]
            rank: Rank,
        }
        impl<T: ?Sized> Deref for $name<'_, T> {
            type Target = T;
            #[inline]
            fn deref(&self) -> &T {
                &self.guard
            }
        }
        #[cfg(debug_assertions)]
        impl<T: ?Sized> Drop for $name<'_, T> {
            fn drop(&mut self) {
                held::pop(self.rank);
            }
        }
    };
}
guard!(MutexGuard, StdGuard, "Holds a [`Mutex`].");
guard!(RwLockReadGuard, StdRead, "Holds a [`RwLock`] for reading.");
guard!(RwLockWriteGuard, StdWrite, "Holds a [`RwLock`] for writing.");

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// A mutual-exclusion lock with a rank.
pub struct Mutex<T: ?Sized> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: StdMutex<T>,
}

impl<T> Mutex<T> {
    pub const fn new(rank: Rank, value: T) -> Mutex<T> {
        let _ = rank;
        Mutex {
            #[cfg(debug_assertions)]
            rank,
            inner: StdMutex::new(value),
        }
    }
}

impl<T: ?Sized> Mutex<T> {
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank);
        MutexGuard {
            // Panics abort the process, so a poisoned lock is never seen.
            guard: self.inner.lock().unwrap_or_else(PoisonError::into_inner),
            #[cfg(debug_assertions)]
            rank: self.rank,
        }
    }

    /// Takes the lock if it is free; not subject to the order, as it cannot deadlock.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = self.inner.try_lock().ok()?;
        #[cfg(debug_assertions)]
        held::push(Rank { nests: true, level: u16::MAX, name: self.rank.name });
        Some(MutexGuard {
            guard,
            #[cfg(debug_assertions)]
            rank: Rank { nests: true, level: u16::MAX, name: self.rank.name },
        })
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader-writer lock with a rank.
pub struct RwLock<T: ?Sized> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: StdRwLock<T>,
}

impl<T> RwLock<T> {
    pub const fn new(rank: Rank, value: T) -> RwLock<T> {
        let _ = rank;
        RwLock {
            #[cfg(debug_assertions)]
            rank,
            inner: StdRwLock::new(value),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank);
        RwLockReadGuard {
            guard: self.inner.read().unwrap_or_else(PoisonError::into_inner),
            #[cfg(debug_assertions)]
            rank: self.rank,
        }
    }

    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank);
        RwLockWriteGuard {
            guard: self.inner.write().unwrap_or_else(PoisonError::into_inner),
            #[cfg(debug_assertions)]
            rank: self.rank,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Rank = Rank::new(1, "low");
    const HIGH: Rank = Rank::new(2, "high");

    #[test]
    fn rising_order_is_allowed() {
        let (a, b) = (Mutex::new(LOW, 1), RwLock::new(HIGH, 2));
        let g = a.lock();
        assert_eq!(*g + *b.read(), 3);
    }

    #[test]
    #[cfg(debug_assertions)]
    fn order_is_recorded_and_released() {
        let a = Mutex::new(LOW, ());
        let g = a.lock();
        assert_eq!(held::names(), ["low"]);
        drop(g);
        assert_no_locks_held("test");
    }
}
