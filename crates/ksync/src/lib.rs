//! Locks with a checked order, and the one wait primitive's parts.
//!
//! [`Mutex`] and [`RwLock`] are `std`'s with a rank: debug builds panic when a thread takes a lock whose rank is not
//! above every rank it already holds, so that the documented order is tested and not hoped for. A [`Waiter`] is what one
//! task sleeps on; a [`WaitQueue`] is what wakes it.
#![forbid(unsafe_code)]

mod lock;
mod wait;

pub use lock::{Mutex, MutexGuard, Rank, RwLock, RwLockReadGuard, RwLockWriteGuard, assert_no_locks_held};
pub use wait::{Place, WaitQueue, WaitToken, Waiter, Wake, stand_at, woke_others};
