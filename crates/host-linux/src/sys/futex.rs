//! Futexes on words that other processes map too (futex(2)).

use std::{ptr, sync::atomic::AtomicU32, time::Duration};

/// All bits of a bit set.
pub(crate) const ANY: u32 = !0;

/// Sleeps while the word holds `expected`, until woken with one of the bits, or for `timeout`. May return early.
pub(crate) fn wait(word: &AtomicU32, expected: u32, bits: u32, timeout: Option<Duration>) {
    let deadline = timeout.map(|t| {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills in the structure it is given.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
        let ns = now.tv_nsec as u64 + u64::from(t.subsec_nanos());
        let s = now.tv_sec as u64 + t.as_secs() + ns / 1_000_000_000;
        libc::timespec { tv_sec: s as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
    });
    let at = deadline.as_ref().map_or(ptr::null(), |d| d as *const libc::timespec);
    // SAFETY: the word outlives the call, and the host only reads it.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            expected,
            at,
            ptr::null::<u32>(),
            bits,
        );
    }
}

/// Wakes all sleepers on the word that wait for one of the bits. All of them: guest code may sleep on its own words
/// beside those for whom the wake-up is meant.
pub(crate) fn wake_all(word: &AtomicU32, bits: u32) {
    // SAFETY: the host takes the address as a name and touches no memory.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_BITSET,
            i32::MAX,
            ptr::null::<u32>(),
            ptr::null::<u32>(),
            bits,
        );
    }
}
