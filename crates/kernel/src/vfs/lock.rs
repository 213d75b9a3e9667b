//! File locks: POSIX (fcntl F_SETLK), open file description (F_OFD_SETLK), flock(2).
//!
//! POSIX and OFD locks are ranges and conflict with each other; a flock covers the whole file and conflicts only with
//! flocks. A POSIX lock belongs to a descriptor table, the others to an open file description.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use abi::errno::{EAGAIN, EDEADLK, ENOLCK};
use ksync::{Mutex, WaitQueue};

use crate::{
    error::Result,
    locks,
    task::{Pid, Task},
};

/// Most ranges locked on one file.
const MAX_LOCKS: usize = 65_536;

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// POSIX: a descriptor table, by its id.
    Table(u64),
    /// OFD: an open file description, by its id.
    File(u64),
    /// flock of an open file description.
    Flock(u64),
}

impl Owner {
    fn is_flock(self) -> bool {
        matches!(self, Owner::Flock(_))
    }
}

/// A range of bytes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    /// The whole file, however it grows.
    pub const ALL: Range = Range { start: 0, end: i64::MAX as u64 };

    fn overlaps(self, other: Range) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// A lock held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    pub owner: Owner,
    pub exclusive: bool,
    pub range: Range,
    /// Process that took it; -1 for OFD locks.
    pub pid: Pid,
}

impl Lock {
    fn conflicts(&self, other: &Lock) -> bool {
        self.owner != other.owner
            && self.owner.is_flock() == other.owner.is_flock()
            && (self.exclusive || other.exclusive)
            && self.range.overlaps(other.range)
    }
}

/// Locks held on one inode.
pub struct FileLocks {
    held: Mutex<Vec<Lock>>,
    /// Some lock was ever taken: closing files without locks costs nothing.
    used: AtomicBool,
    wait: WaitQueue,
}

impl Default for FileLocks {
    fn default() -> Self {
        FileLocks {
            held: Mutex::new(locks::LEAF, Vec::new()),
            used: AtomicBool::new(false),
            wait: WaitQueue::new(),
        }
    }
}

/// Which descriptor tables wait for which, to find deadlocks of POSIX locks. One per machine.
pub struct LockWaits(Mutex<HashMap<u64, u64>>);

impl Default for LockWaits {
    fn default() -> Self {
        LockWaits(Mutex::new(locks::LEAF, HashMap::new()))
    }
}

impl LockWaits {
    /// Notes that `waiter` waits for `holder`; EDEADLK if that closes a circle.
    fn enter(&self, waiter: u64, holder: u64) -> Result<()> {
        let mut waits = self.0.lock();
        let mut at = holder;
        for _ in 0..=waits.len() {
            if at == waiter {
                return Err(EDEADLK);
            }
            match waits.get(&at) {
                Some(next) => at = *next,
                None => break,
            }
        }
        waits.insert(waiter, holder);
        Ok(())
    }
    fn leave(&self, waiter: u64) {
        self.0.lock().remove(&waiter);
    }
}

/// Takes `range` out of what `owner` holds.
fn cut(held: &mut Vec<Lock>, owner: Owner, range: Range) {
    let mut rest = Vec::new();
    held.retain_mut(|l| {
        if l.owner != owner || !l.range.overlaps(range) {
            return true;
        }
        let (left, right) = (l.range.start < range.start, l.range.end > range.end);
        let whole = l.range;
        if right {
            rest.push(Lock { range: Range { start: range.end + 1, end: whole.end }, ..*l });
        }
        l.range.end = range.start.saturating_sub(1);
        left
    });
    held.extend(rest);
}

/// Adds a lock and joins it with neighbours of the same kind.
fn add(held: &mut Vec<Lock>, mut lock: Lock) {
    held.retain(|l| {
        let joins = l.owner == lock.owner
            && l.exclusive == lock.exclusive
            && l.range.start <= lock.range.end.saturating_add(1)
            && lock.range.start <= l.range.end.saturating_add(1);
        if joins {
            lock.range.start = lock.range.start.min(l.range.start);
            lock.range.end = lock.range.end.max(l.range.end);
        }
        !joins
    });
    held.push(lock);
}

impl FileLocks {
    /// The first lock in the way of `lock`.
    pub fn conflict(&self, lock: &Lock) -> Option<Lock> {
        self.held.lock().iter().filter(|l| l.conflicts(lock)).min_by_key(|l| l.range.start).copied()
    }

    /// Takes a lock, or gives what is in the way.
    fn try_take(&self, lock: Lock) -> Result<core::result::Result<(), Lock>> {
        self.used.store(true, Ordering::Relaxed);
        let mut held = self.held.lock();
        if let Some(l) = held.iter().find(|l| l.conflicts(&lock)) {
            return Ok(Err(*l));
        }
        if held.len() >= MAX_LOCKS {
            return Err(ENOLCK);
        }
        let weaker = held.iter().any(|l| l.owner == lock.owner && l.exclusive && !lock.exclusive);
        cut(&mut held, lock.owner, lock.range);
        add(&mut held, lock);
        drop(held);
        if weaker {
            self.wait.wake_all(0);
        }
        Ok(Ok(()))
    }

    /// Takes a lock; waits for it if `wait`, else EAGAIN. EDEADLK if waiting would never end (POSIX locks).
    pub fn take(&self, task: &Task, lock: Lock, wait: bool) -> Result<()> {
        if let Owner::Flock(_) = lock.owner {
            // A conversion gives the old lock up first (flock(2)).
            self.release(lock.owner, Range::ALL);
        }
        if !wait {
            return self.try_take(lock)?.map_err(|_| EAGAIN);
        }
        let waits = &task.machine.vfs.lock_waits;
        let mut entered = None;
        let result = task.wait_on(&[&self.wait], None, || match self.try_take(lock) {
            Ok(Ok(())) => Some(Ok(())),
            Ok(Err(other)) => {
                if let (Owner::Table(me), Owner::Table(holder)) = (lock.owner, other.owner) {
                    entered = Some(me);
                    if let Err(e) = waits.enter(me, holder) {
                        return Some(Err(e));
                    }
                }
                None
            }
            Err(e) => Some(Err(e)),
        });
        if let Some(me) = entered {
            waits.leave(me);
        }
        result?
    }

    /// Gives a range up.
    pub fn release(&self, owner: Owner, range: Range) {
        if !self.used.load(Ordering::Relaxed) {
            return;
        }
        let mut held = self.held.lock();
        let before = held.iter().any(|l| l.owner == owner && l.range.overlaps(range));
        cut(&mut held, owner, range);
        drop(held);
        if before {
            self.wait.wake_all(0);
        }
    }

    /// True if there has never been a lock.
    pub(super) fn is_unused(&self) -> bool {
        !self.used.load(Ordering::SeqCst)
    }

    /// Gives up all POSIX locks of a descriptor table.
    pub fn release_posix(&self, table: u64) {
        self.release(Owner::Table(table), Range::ALL);
    }

    /// Gives up the locks of an open file description that ends.
    pub fn release_file(&self, file_id: u64) {
        self.release(Owner::File(file_id), Range::ALL);
        self.release(Owner::Flock(file_id), Range::ALL);
    }

    /// All locks (/proc/locks).
    pub fn list(&self) -> Vec<Lock> {
        self.held.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(owner: u64, exclusive: bool, start: u64, end: u64) -> Lock {
        Lock { owner: Owner::Table(owner), exclusive, range: Range { start, end }, pid: 1 }
    }

    #[test]
    fn ranges_split_and_join() {
        let l = FileLocks::default();
        assert_eq!(l.try_take(lock(1, true, 0, 99)), Ok(Ok(())));
        l.release(Owner::Table(1), Range { start: 40, end: 59 });
        assert!(l.conflict(&lock(2, false, 40, 59)).is_none());
        assert_eq!(l.conflict(&lock(2, false, 40, 60)).map(|l| l.range), Some(Range { start: 60, end: 99 }));
        assert_eq!(l.try_take(lock(1, true, 40, 59)), Ok(Ok(())));
        assert_eq!(l.list().len(), 1);
        assert_eq!(l.list()[0].range, Range { start: 0, end: 99 });
    }

    #[test]
    fn readers_share_and_kinds_are_apart() {
        let l = FileLocks::default();
        assert_eq!(l.try_take(lock(1, false, 0, 9)), Ok(Ok(())));
        assert_eq!(l.try_take(lock(2, false, 5, 20)), Ok(Ok(())));
        assert!(l.try_take(lock(3, true, 9, 9)).is_ok_and(|r| r.is_err()));
        let flock = Lock { owner: Owner::Flock(7), exclusive: true, range: Range::ALL, pid: 1 };
        assert_eq!(l.try_take(flock), Ok(Ok(())));
        l.release_posix(1);
        l.release_posix(2);
        assert_eq!(l.try_take(lock(3, true, 9, 9)), Ok(Ok(())));
    }

    #[test]
    fn circles_of_waiting_are_found() {
        let w = LockWaits::default();
        assert_eq!(w.enter(1, 2), Ok(()));
        assert_eq!(w.enter(2, 3), Ok(()));
        assert_eq!(w.enter(3, 1), Err(EDEADLK));
        w.leave(2);
        assert_eq!(w.enter(3, 1), Ok(()));
    }
}
