//! Raw mode of host terminals, and its undoing at any end of the process.
//!
//! What must be restored stands in a process-wide table of atomics (a terminal's mode is as global as the process
//! itself), so that a panic hook and a handler of a fatal signal can restore too, with no lock and no allocation.

use std::{
    os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering},
    },
};

use hal::{Result, errno};

use super::{
    file::{fcntl_dup, last_errno},
    signal::SignalSet,
};

struct Slot {
    /// Device number of the terminal while the slot is in use.
    rdev: AtomicU64,
    /// How many streams want it raw.
    users: AtomicU32,
    /// A duplicate of our own, so that the number stays valid; closed when the slot is free again.
    fd: AtomicI32,
    /// The mode to restore; leaked, because a handler may be reading it. Null = nothing to restore.
    saved: AtomicPtr<libc::termios>,
}

impl Slot {
    const fn free() -> Slot {
        Slot {
            rdev: AtomicU64::new(0),
            users: AtomicU32::new(0),
            fd: AtomicI32::new(-1),
            saved: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

/// Most terminals that one process holds raw at once.
const SLOTS: usize = 32;
static RAW: [Slot; SLOTS] = [const { Slot::free() }; SLOTS];
/// Serialises changes; restoring at the end does without.
static CHANGE: Mutex<()> = Mutex::new(());

fn get(fd: i32) -> Result<libc::termios> {
    // SAFETY: termios is plain data; the call fills it in.
    let mut mode: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `mode` is valid for writing.
    if unsafe { libc::tcgetattr(fd, &mut mode) } == 0 { Ok(mode) } else { Err(last_errno()) }
}

fn make_raw(fd: i32, mode: &libc::termios) -> Result<()> {
    let mut raw = *mode;
    // SAFETY: changes the structure only.
    unsafe { libc::cfmakeraw(&mut raw) };
    // SAFETY: reads the structure only.
    if unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw) } == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Makes a new pty's line raw, for good.
pub(crate) fn make_raw_for_good(fd: i32) -> Result<()> {
    make_raw(fd, &get(fd)?)
}

fn is_used_for(slot: &Slot, rdev: u64) -> bool {
    slot.users.load(Ordering::Relaxed) > 0 && slot.rdev.load(Ordering::Relaxed) == rdev
}

/// Frees a slot: closes its descriptor, after which nothing can be restored.
fn free(slot: &Slot) {
    slot.saved.store(ptr::null_mut(), Ordering::Release);
    slot.users.store(0, Ordering::Relaxed);
    // SAFETY: the number came from a duplicate that only this slot owned.
    drop(unsafe { OwnedFd::from_raw_fd(slot.fd.swap(-1, Ordering::Relaxed)) });
}

/// Puts the terminal in raw mode, once per device; [`leave_raw`] must be called as often.
pub(crate) fn enter_raw(fd: i32, rdev: u64) -> Result<()> {
    let _guard = CHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = RAW.iter().find(|s| is_used_for(s, rdev)) {
        slot.users.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    let slot = RAW.iter().find(|s| s.users.load(Ordering::Relaxed) == 0).ok_or(errno::EMFILE)?;
    let mode = get(fd)?;
    slot.fd.store(fcntl_dup(fd)?.into_raw_fd(), Ordering::Relaxed);
    slot.rdev.store(rdev, Ordering::Relaxed);
    slot.users.store(1, Ordering::Relaxed);
    slot.saved.store(Box::into_raw(Box::new(mode)), Ordering::Release);
    make_raw(fd, &mode).inspect_err(|_| free(slot))
}

/// One user of raw mode less; the last one restores the former mode.
pub(crate) fn leave_raw(rdev: u64) {
    let _guard = CHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = RAW.iter().find(|s| is_used_for(s, rdev))
        && slot.users.fetch_sub(1, Ordering::Relaxed) == 1
    {
        restore_slot(slot);
        free(slot);
    }
}

fn restore_slot(slot: &Slot) {
    let saved = slot.saved.swap(ptr::null_mut(), Ordering::AcqRel);
    if saved.is_null() {
        return;
    }
    let fd = slot.fd.load(Ordering::Relaxed);
    // SAFETY: plain calls on numbers. A background process must leave the terminal to whoever has it now; -1 (it is
    // not our controlling terminal) forbids nothing.
    let foreground = unsafe {
        let group = libc::tcgetpgrp(fd);
        group == -1 || group == libc::getpgrp()
    };
    if foreground {
        let stop = SignalSet::of(&[libc::SIGTTOU]).block();
        // SAFETY: `saved` came from a leaked box and is never freed.
        unsafe { libc::tcsetattr(fd, libc::TCSANOW, saved) };
        stop.set_mask();
    }
}

/// Restores every terminal. Callable from a signal handler and from a panic hook.
pub(crate) fn restore_all() {
    RAW.iter().for_each(restore_slot);
}

/// Puts those terminals back in raw mode that should be (after SIGCONT, when the shell has set its own mode).
pub(crate) fn reenter_all() {
    let _guard = CHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    for slot in &RAW {
        let saved = slot.saved.load(Ordering::Acquire);
        let fd = slot.fd.load(Ordering::Relaxed);
        // SAFETY: a plain call on a number.
        let foreground = unsafe { libc::tcgetpgrp(fd) == libc::getpgrp() };
        if !saved.is_null() && foreground {
            // SAFETY: `saved` came from a leaked box and is never freed or changed.
            let mode = unsafe { *saved };
            // A terminal that went away meanwhile needs no mode.
            let _ = make_raw(fd, &mode);
        }
    }
}
