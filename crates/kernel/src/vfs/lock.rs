//! File locks: POSIX, open file description, flock.

use ksync::{Mutex, WaitQueue};

use crate::locks;

/// Locks held on one inode.
pub struct FileLocks {
    inner: Mutex<Held>,
    wait: WaitQueue,
}

#[derive(Default)]
struct Held {}

impl Default for FileLocks {
    fn default() -> Self {
        FileLocks { inner: Mutex::new(locks::LEAF, Held::default()), wait: WaitQueue::new() }
    }
}

impl FileLocks {
    /// Gives up all POSIX locks of a descriptor table.
    pub fn release_posix(&self, _table: u64) {
        let _ = (&self.inner, &self.wait);
    }
    /// Gives up the locks of an open file description that ends.
    pub fn release_file(&self, _file_id: u64) {}
}
