//! Waits that end with a lock: FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI, as condition variables use them.
//!
//! Who waits at the first word stands in the table as *parked*. Requeueing takes the parked in their order: it takes the lock for
//! one if that is free, else makes it one of the lock's waiters. The table stays locked over each such step.

use std::sync::{Arc, atomic::Ordering};

use abi::{
    errno::{EAGAIN, EDEADLK, EFAULT, EINVAL, ESRCH, ETIMEDOUT},
    sched::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS},
};

use super::{
    FutexArgs, check_addr,
    pi::{Key, Waiter, key, leave_queue},
};
use crate::{error::Result, task::TaskCx};

/// Who waits to be moved to a lock.
pub(super) struct Parked {
    waiter: Arc<Waiter>,
    /// The lock.
    to: Key,
}

/// Tries to change the lock's word while others keep changing it.
const PATIENCE: u32 = 1000;

/// Waits at `a.addr` while it holds `a.val`, and has the lock at `a.addr2` when it returns. EAGAIN if the value is another, or
/// the wait ended by a signal when it had been moved; ETIMEDOUT; EINVAL if both words are one.
pub(super) fn wait(cx: &mut TaskCx, a: &FutexArgs, shared: bool, deadline: Option<u64>) -> Result<u64> {
    check_addr(a.addr)?;
    check_addr(a.addr2)?;
    let (from, to) = (key(cx, a.addr, shared), key(cx, a.addr2, shared));
    if from == to {
        return Err(EINVAL);
    }
    let w = Waiter::new(cx);
    let parked = Parked { waiter: w.clone(), to };
    cx.machine().futexes.lock().parked.entry(from).or_default().push_back(parked);
    // Whoever changes the value and then moves the waiters finds this one, or this one finds the change.
    let value = cx.read_u32(a.addr);
    if value != Ok(a.val) && unpark(cx, &from, &w) {
        return value.and(Err(EAGAIN));
    }
    let done = cx.task.wait_on(&[&w.queue], deadline, || w.granted.load(Ordering::SeqCst).then_some(()));
    match done {
        Ok(()) => Ok(0),
        Err(e) if unpark(cx, &from, &w) => Err(e),
        // Begun again, it would find another value.
        Err(e) if leave_queue(cx, &to, &w) => Err(if e == ETIMEDOUT { e } else { EAGAIN }),
        Err(_) => Ok(0),
    }
}

/// Stops being parked; false if it has been moved.
fn unpark(cx: &TaskCx, from: &Key, w: &Arc<Waiter>) -> bool {
    let mut t = cx.machine().futexes.lock();
    let Some(list) = t.parked.get_mut(from) else { return false };
    let before = list.len();
    list.retain(|p| !Arc::ptr_eq(&p.waiter, w));
    let was = list.len() < before;
    if list.is_empty() {
        t.parked.remove(from);
    }
    was
}

/// Moves waiters of `a.addr`, one and up to `a.timeout` more, to the lock at `a.addr2`; how many. EAGAIN if the first word is
/// not `a.val3`; EINVAL unless `a.val` is 1, or for waiters of another lock.
pub(super) fn requeue(cx: &mut TaskCx, a: &FutexArgs, shared: bool) -> Result<u64> {
    check_addr(a.addr)?;
    check_addr(a.addr2)?;
    let more = i32::try_from(a.timeout & 0xffff_ffff).map_err(|_| EINVAL)?;
    let (from, to) = (key(cx, a.addr, shared), key(cx, a.addr2, shared));
    if a.val != 1 || from == to {
        return Err(EINVAL);
    }
    if cx.read_u32(a.addr)? != a.val3 {
        return Err(EAGAIN);
    }
    let most = u64::from(more.unsigned_abs()) + 1;
    let mut moved = 0;
    while moved < most && move_one(cx, &from, &to, a.addr2)? {
        moved += 1;
    }
    Ok(moved)
}

/// Moves the waiter that is parked longest; false if there is none.
fn move_one(cx: &mut TaskCx, from: &Key, to: &Key, addr: u64) -> Result<bool> {
    let machine = cx.machine().clone();
    let table = &machine.futexes;
    for _ in 0..PATIENCE {
        let found = cx.read_u32(addr)?;
        let owner = (found & FUTEX_TID_MASK).cast_signed();
        if owner != 0 && machine.tree.task(owner).is_none() {
            // It may have ended just now, and given the lock up.
            if cx.read_u32(addr)? == found {
                return Err(ESRCH);
            }
            continue;
        }
        let mut t = table.lock();
        let Some(list) = t.parked.get(from) else { return Ok(false) };
        let Some(first) = list.front() else { return Ok(false) };
        if first.to != *to {
            return Err(EINVAL);
        }
        let (w, others) = (first.waiter.clone(), list.len() > 1 || t.is_awaited(to));
        let new = if owner == 0 {
            let waiters = if others { FUTEX_WAITERS } else { 0 };
            found & FUTEX_OWNER_DIED | w.tid.cast_unsigned() | waiters
        } else if owner == w.tid {
            return Err(EDEADLK);
        } else {
            found | FUTEX_WAITERS
        };
        match cx.ctx.compare_exchange_u32(addr, found, new) {
            Ok(v) if v == found => {}
            Ok(_) => continue,
            Err(EFAULT) => {
                drop(t);
                cx.fault_in(addr, true)?;
                continue;
            }
            Err(e) => return Err(e),
        }
        if let Some(list) = t.parked.get_mut(from) {
            list.pop_front();
            if list.is_empty() {
                t.parked.remove(from);
            }
        }
        if owner == 0 {
            w.granted.store(true, Ordering::SeqCst);
            drop(t);
            w.queue.wake_all(0);
        } else {
            table.push(&mut t, *to, addr, owner, w);
        }
        return Ok(true);
    }
    // Somebody keeps changing the word.
    Err(EAGAIN)
}
