//! The memory that guest address spaces share.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use hal::{Errno, Result, SharedMem, errno};

use crate::{
    doomed::Doomed,
    sys::memory::{self, Window},
};

/// Sizes to try, largest first: a limit on the kernel process's address space may forbid the large ones.
const SIZES: [u64; 5] = [16 << 40, 4 << 40, 1 << 40, 256 << 30, 64 << 30];

/// One sparse memory object, mapped whole in the kernel process.
pub(crate) struct GuestMem {
    fd: OwnedFd,
    window: Window,
    doomed: Arc<Doomed>,
}

impl GuestMem {
    pub(crate) fn new(doomed: Arc<Doomed>) -> Result<GuestMem> {
        let mut last = errno::ENOMEM;
        for size in SIZES {
            let fd = memory::create(c"umlaut-memory", size, false)?;
            match Window::map(&fd, size) {
                Ok(window) => return Ok(GuestMem { fd, window, doomed }),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    pub(crate) fn raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    pub(crate) fn window(&self) -> &Window {
        &self.window
    }
}

impl SharedMem for GuestMem {
    fn size(&self) -> u64 {
        self.window.len()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) {
        self.window.read(offset, buf);
    }

    fn write(&self, offset: u64, buf: &[u8]) {
        self.window.write(offset, buf);
    }

    fn discard(&self, offset: u64, len: u64) {
        // Somebody who is about to die may still store there, and read what the next owner stores.
        self.doomed.wait();
        if memory::punch(&self.fd, offset, len).is_err() {
            // Whoever gets the pages next relies on zeros.
            self.window.zero(offset, len as usize);
        }
    }

    fn allocated(&self) -> u64 {
        rustix::fs::fstat(&self.fd).map_or(0, |s| s.st_blocks as u64 * 512)
    }

    fn seek(&self, offset: u64, end: u64, data: bool) -> Option<u64> {
        use rustix::fs::SeekFrom;
        // Nobody uses the descriptor's own position.
        let whence = if data { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) };
        match rustix::fs::seek(&self.fd, whence) {
            Ok(at) if at < end => Some(at),
            _ => None,
        }
    }
}

/// The errno of a refused range.
pub(crate) const OUTSIDE: Errno = errno::EINVAL;
