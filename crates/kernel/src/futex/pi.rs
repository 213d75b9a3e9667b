//! Locks whose word holds the owner's thread id (FUTEX_LOCK_PI and its kin).

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use abi::{
    Timespec,
    errno::{EAGAIN, EDEADLK, EFAULT, EINVAL, EPERM, ESRCH},
    sched::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS},
};
use ksync::{Mutex, MutexGuard, WaitQueue};

use super::{check_addr, compare_exchange};
use crate::{
    error::Result,
    locks,
    task::{Pid, TaskCx},
};

/// What a word is, whoever looks: the address in one address space, or the place in a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Private(usize, u64),
    Shared(usize, u64),
}

pub(super) struct Waiter {
    pub(super) tid: Pid,
    pub(super) granted: AtomicBool,
    pub(super) queue: WaitQueue,
}

impl Waiter {
    /// The running task.
    pub(super) fn new(cx: &TaskCx) -> Arc<Waiter> {
        Arc::new(Waiter { tid: cx.task.tid(), granted: AtomicBool::new(false), queue: WaitQueue::new() })
    }
}

struct Lock {
    owner: Pid,
    /// The word's address in the owner's space is found again through who ends: kept with the key.
    addr: u64,
    waiters: VecDeque<Arc<Waiter>>,
}

/// Locks that somebody waits for, and who waits to be moved to one.
#[derive(Default)]
pub(super) struct Tables {
    locks: HashMap<Key, Lock>,
    pub(super) parked: HashMap<Key, VecDeque<super::requeue::Parked>>,
}

impl Tables {
    /// Somebody waits for this lock.
    pub(super) fn is_awaited(&self, k: &Key) -> bool {
        self.locks.contains_key(k)
    }
}

/// The priority-inheriting futexes of a machine.
pub struct PiTable {
    tables: Mutex<Tables>,
    /// Locks in the table.
    count: AtomicUsize,
}

impl PiTable {
    pub(super) fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock()
    }

    /// `w` waits for the lock `k`, whose word is at `addr` and names `owner`.
    pub(super) fn push(&self, t: &mut Tables, k: Key, addr: u64, owner: Pid, w: Arc<Waiter>) {
        let l = t.locks.entry(k).or_insert_with(|| Lock { owner, addr, waiters: VecDeque::new() });
        l.owner = owner;
        l.waiters.push_back(w);
        self.count.store(t.locks.len(), Ordering::SeqCst);
    }
}

impl Default for PiTable {
    fn default() -> Self {
        PiTable { tables: Mutex::new(locks::LEAF, Tables::default()), count: AtomicUsize::new(0) }
    }
}

pub(super) fn key(cx: &TaskCx, addr: u64, shared: bool) -> Key {
    match if shared { cx.mm.shared_place(addr) } else { None } {
        Some((object, pos)) => Key::Shared(object, pos),
        None => Key::Private(Arc::as_ptr(&cx.mm).addr(), addr),
    }
}

/// An absolute timeout as a monotonic deadline; `None` waits for ever. EINVAL, EFAULT.
pub(super) fn deadline(cx: &mut TaskCx, at: u64, realtime: bool) -> Result<Option<u64>> {
    if at == 0 {
        return Ok(None);
    }
    let raw: [u8; 16] = cx.read_array(at)?;
    let t = Timespec::decode(&raw);
    let ns = u64::try_from(t.nsec).ok().filter(|n| *n < 1_000_000_000).ok_or(EINVAL)?;
    let abs = u64::try_from(t.sec).map_err(|_| EINVAL)?.saturating_mul(1_000_000_000).saturating_add(ns);
    let clock = &cx.machine().clock;
    if !realtime {
        return Ok(Some(abs));
    }
    Ok(Some(clock.monotonic_ns().saturating_add(abs.saturating_sub(clock.realtime_ns()))))
}

/// Takes the lock if it is free. `Ok(false)`: somebody else has it.
fn take(cx: &mut TaskCx, addr: u64, waited_for: bool) -> Result<Option<u32>> {
    let me = cx.task.tid().cast_unsigned();
    loop {
        let found = cx.read_u32(addr)?;
        let owner = found & FUTEX_TID_MASK;
        if owner == me {
            return Err(EDEADLK);
        }
        if owner != 0 {
            return Ok(Some(found));
        }
        let waiters = if waited_for { FUTEX_WAITERS } else { 0 };
        let new = found & FUTEX_OWNER_DIED | me | waiters;
        if compare_exchange(cx, addr, found, new)? == found {
            return Ok(None);
        }
    }
}

fn waited_for(cx: &TaskCx, k: &Key) -> bool {
    let t = &cx.machine().futexes;
    t.count.load(Ordering::SeqCst) > 0 && t.lock().is_awaited(k)
}

pub(super) fn try_lock(cx: &mut TaskCx, addr: u64, shared: bool) -> Result<u64> {
    check_addr(addr)?;
    let k = key(cx, addr, shared);
    let waited = waited_for(cx, &k);
    match take(cx, addr, waited)? {
        None => Ok(0),
        Some(_) => Err(EAGAIN),
    }
}

pub(super) fn lock(cx: &mut TaskCx, addr: u64, shared: bool, deadline: Option<u64>) -> Result<u64> {
    check_addr(addr)?;
    let k = key(cx, addr, shared);
    loop {
        let waited = waited_for(cx, &k);
        let Some(found) = take(cx, addr, waited)? else { return Ok(0) };
        let owner = (found & FUTEX_TID_MASK).cast_signed();
        if cx.machine().tree.task(owner).is_none() {
            // It may have ended just now, and given the lock up.
            if cx.read_u32(addr)? == found {
                return Err(ESRCH);
            }
            continue;
        }
        let marked = found | FUTEX_WAITERS;
        if found != marked && compare_exchange(cx, addr, found, marked)? != found {
            continue;
        }
        let w = Waiter::new(cx);
        let table = &cx.machine().futexes;
        table.push(&mut table.lock(), k, addr, owner, w.clone());
        // Who unlocked in between saw no waiter.
        let now = cx.read_u32(addr);
        if now != Ok(marked) && leave_queue(cx, &k, &w) {
            now?;
            continue;
        }
        let waited =
            cx.task.wait_on(&[&w.queue], deadline, || w.granted.load(Ordering::SeqCst).then_some(()));
        return match waited {
            Ok(()) => Ok(0),
            // The lock may have come with the signal.
            Err(e) => {
                if leave_queue(cx, &k, &w) {
                    Err(e)
                } else {
                    Ok(0)
                }
            }
        };
    }
}

/// Stops waiting; false if the lock was granted already.
pub(super) fn leave_queue(cx: &TaskCx, k: &Key, w: &Arc<Waiter>) -> bool {
    let t = &cx.machine().futexes;
    let locks = &mut t.lock().locks;
    if w.granted.load(Ordering::SeqCst) {
        return false;
    }
    if let Some(l) = locks.get_mut(k) {
        l.waiters.retain(|x| !Arc::ptr_eq(x, w));
        if l.waiters.is_empty() {
            locks.remove(k);
        }
    }
    t.count.store(locks.len(), Ordering::SeqCst);
    true
}

/// Hands the lock to who waits longest, or frees it. The table stays locked over the exchange, so that nobody stops
/// waiting in between. `died`: the owner ends without unlocking.
fn hand_over(cx: &mut TaskCx, k: &Key, addr: u64, died: bool) -> Result<()> {
    let machine = cx.machine().clone();
    let t = &machine.futexes;
    let me = cx.task.tid().cast_unsigned();
    for _ in 0..64 {
        let found = cx.read_u32(addr)?;
        let owner = found & FUTEX_TID_MASK;
        // A robust lock was given up by the list already.
        let given_up = died && owner == 0 && found & FUTEX_OWNER_DIED != 0;
        if owner != me && !given_up {
            return Err(EPERM);
        }
        let mut tables = t.lock();
        let locks = &mut tables.locks;
        let next = locks.get(k).and_then(|l| l.waiters.front().cloned());
        let more = locks.get(k).is_some_and(|l| l.waiters.len() > 1);
        let mut new = next.as_ref().map_or(0, |w| w.tid.cast_unsigned());
        if more {
            new |= FUTEX_WAITERS;
        }
        if died {
            new |= FUTEX_OWNER_DIED;
        }
        match cx.ctx.compare_exchange_u32(addr, found, new) {
            Ok(v) if v == found => {
                if let (Some(w), Some(l)) = (next, locks.get_mut(k)) {
                    l.waiters.pop_front();
                    l.owner = w.tid;
                    if l.waiters.is_empty() {
                        locks.remove(k);
                    }
                    t.count.store(locks.len(), Ordering::SeqCst);
                    w.granted.store(true, Ordering::SeqCst);
                    drop(tables);
                    w.queue.wake_all(0);
                }
                return Ok(());
            }
            Ok(_) => {}
            Err(EFAULT) => {
                drop(tables);
                cx.fault_in(addr, true)?;
            }
            Err(e) => return Err(e),
        }
    }
    // Somebody keeps changing the word.
    Err(EAGAIN)
}

pub(super) fn unlock(cx: &mut TaskCx, addr: u64, shared: bool) -> Result<u64> {
    check_addr(addr)?;
    let k = key(cx, addr, shared);
    hand_over(cx, &k, addr, false).map(|()| 0)
}

/// A task ends: locks that others wait for pass on, marked.
pub(super) fn leave(cx: &mut TaskCx) {
    let machine = cx.machine().clone();
    let t = &machine.futexes;
    if t.count.load(Ordering::SeqCst) == 0 {
        return;
    }
    let me = cx.task.tid();
    let mm = Arc::as_ptr(&cx.mm).addr();
    let mine: Vec<(Key, u64)> = {
        let tables = t.lock();
        let owned = tables.locks.iter().filter(|(_, l)| l.owner == me);
        let here = owned.filter(|(k, _)| !matches!(k, Key::Private(m, _) if *m != mm));
        here.map(|(k, l)| (*k, l.addr)).collect()
    };
    for (k, addr) in mine {
        // The waiter's address of a shared word may be another here: then the word is not ours to find.
        if key(cx, addr, matches!(k, Key::Shared(..))) == k {
            let _ = hand_over(cx, &k, addr, true);
        }
    }
}
