//! The control memory: 64 KiB slots that the kernel process shares with one stub each.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use hal::{Result, errno};

use crate::{
    layout::{PAGE, SLOT_LEN},
    sys::memory::{self, Window},
};

/// Most slots of a machine.
const MAX: u32 = 1 << 17;
/// Free slots that keep their memory.
const WARM: usize = 256;

/// The control memory and who has which part of it.
pub(crate) struct Slots {
    fd: OwnedFd,
    window: Window,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    list: Vec<u32>,
    /// Slots from here on were never used. Slot 0 holds the constants.
    fresh: u32,
}

impl Slots {
    pub(crate) fn new() -> Result<Slots> {
        let size = u64::from(MAX) * SLOT_LEN;
        let fd = memory::create(c"umlaut-control", size, false)?;
        let window = Window::map(&fd, size)?;
        Ok(Slots { fd, window, free: Mutex::new(Free { list: Vec::new(), fresh: 1 }) })
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Takes a slot whose control page is zero. EAGAIN if all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Slot> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match free.list.pop() {
            Some(i) => i,
            None if free.fresh < MAX => {
                free.fresh += 1;
                free.fresh - 1
            }
            None => return Err(errno::EAGAIN),
        };
        Ok(Slot { slots: self.clone(), base: u64::from(index) * SLOT_LEN, used: SLOT_LEN })
    }

    /// Takes a slot of which nobody maps more than the first two pages.
    pub(crate) fn take_pages(self: &Arc<Self>) -> Result<Slot> {
        let mut slot = self.take()?;
        slot.used = 2 * PAGE;
        Ok(slot)
    }

    /// Whether memory stands behind a range.
    fn holds(&self, from: u64, to: u64) -> bool {
        // Nobody uses the descriptor's own position.
        rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Data(from)).is_ok_and(|at| at < to)
    }

    /// Slots in use.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.fresh as usize - 1 - free.list.len()
    }
}

/// One slot; dropping it gives it back. Nobody else may have it mapped then.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    base: u64,
    /// Bytes that somebody may map.
    used: u64,
}

impl Slot {
    /// Where it stands in the control memory.
    pub(crate) fn offset(&self) -> u64 {
        self.base
    }

    pub(crate) fn u32(&self, at: usize) -> &std::sync::atomic::AtomicU32 {
        assert!((at as u64) < SLOT_LEN);
        self.slots.window.u32(self.base + at as u64)
    }

    pub(crate) fn u64(&self, at: usize) -> &std::sync::atomic::AtomicU64 {
        assert!((at as u64) < SLOT_LEN);
        self.slots.window.u64(self.base + at as u64)
    }

    /// Reads a word; its meaning is for the caller to doubt.
    pub(crate) fn get32(&self, at: usize) -> u32 {
        self.u32(at).load(Relaxed)
    }

    pub(crate) fn set32(&self, at: usize, value: u32) {
        self.u32(at).store(value, Relaxed);
    }

    pub(crate) fn get64(&self, at: usize) -> u64 {
        self.u64(at).load(Relaxed)
    }

    pub(crate) fn set64(&self, at: usize, value: u64) {
        self.u64(at).store(value, Relaxed);
    }

    fn inside(&self, at: usize, len: usize) -> u64 {
        assert!(at.checked_add(len).is_some_and(|e| e as u64 <= SLOT_LEN));
        self.base + at as u64
    }

    pub(crate) fn read(&self, at: usize, buf: &mut [u8]) {
        self.slots.window.read(self.inside(at, buf.len()), buf);
    }

    pub(crate) fn write(&self, at: usize, buf: &[u8]) {
        self.slots.window.write(self.inside(at, buf.len()), buf);
    }

    /// Reads from a file of the host into the slot.
    pub(crate) fn pread(&self, at: usize, len: usize, fd: i32, offset: u64) -> Result<usize> {
        self.slots.window.pread(self.inside(at, len), len, fd, offset)
    }

    pub(crate) fn zero(&self, at: usize, len: usize) {
        self.slots.window.zero(self.inside(at, len), len);
    }

    /// Makes a range of pages zero; of those behind the first, few have memory mostly, or none.
    pub(crate) fn wipe(&self, from: usize, to: usize) {
        let page = PAGE as usize;
        self.zero(from, page);
        let (low, high) = (self.base + (from + page) as u64, self.base + to as u64);
        if self.slots.holds(low, high) && memory::punch(&self.slots.fd, low, high - low).is_err() {
            self.zero(from + page, to - from - page);
        }
    }

    /// Gives the memory behind the slot back but for the control page.
    pub(crate) fn shrink(&self) {
        // Failure costs memory and nothing else.
        let _ = memory::punch(&self.slots.fd, self.base + PAGE, SLOT_LEN - PAGE);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut free = self.slots.free.lock().unwrap_or_else(PoisonError::into_inner);
        let warm = free.list.len() < WARM;
        // The next owner is another guest process: nothing of this one's may remain where the stub or the host wrote.
        if warm || memory::punch(&self.slots.fd, self.base, SLOT_LEN).is_err() {
            drop(free);
            let (low, high) = (self.base + 2 * PAGE, self.base + SLOT_LEN - 2 * PAGE);
            self.slots.window.zero(self.base, 2 * PAGE as usize);
            if self.used > 2 * PAGE {
                self.slots.window.zero(high, 2 * PAGE as usize);
                // Asking is cheaper than punching, and mostly there is nothing.
                if self.slots.holds(low, high) && memory::punch(&self.slots.fd, low, high - low).is_err() {
                    self.slots.window.zero(low, (high - low) as usize);
                }
            }
            free = self.slots.free.lock().unwrap_or_else(PoisonError::into_inner);
        }
        free.list.push((self.base / SLOT_LEN) as u32);
    }
}
