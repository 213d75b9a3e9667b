//! How long the file is.

use super::{Inner, PageCache};

impl PageCache {
    /// Size of the file in bytes.
    pub fn len(&self) -> u64 {
        self.inner.lock().len
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The count that is raised ([`hal::Host::raise`]) with each change of the size.
    pub fn count(&self) -> u32 {
        (std::ptr::from_ref(self).addr() / 64) as u32 % hal::COUNTS
    }

    /// Changes the size, so that whoever finds it changed finds the count raised.
    pub(super) fn set_len(&self, inner: &mut Inner, len: u64) {
        if inner.len != len {
            inner.len = len;
            self.parts.host.raise(self.count());
        }
    }
}
