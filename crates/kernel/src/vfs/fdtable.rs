//! Descriptors of a process.

use std::sync::Arc;

use ksync::Mutex;

use super::file::File;
use crate::{error::Result, locks};

/// A descriptor's entry.
#[derive(Clone)]
pub struct Entry {
    pub file: Arc<File>,
    pub cloexec: bool,
}

/// Descriptor table (shared with CLONE_FILES).
pub struct FdTable {
    pub(super) slots: Mutex<Vec<Option<Entry>>>,
}

impl Default for FdTable {
    fn default() -> Self {
        FdTable { slots: Mutex::new(locks::FILES, Vec::new()) }
    }
}

impl FdTable {
    /// A copy for a new process; the open files are shared.
    pub fn fork(&self) -> Arc<FdTable> {
        let slots = self.slots.lock().clone();
        Arc::new(FdTable { slots: Mutex::new(locks::FILES, slots) })
    }

    /// The open file of a descriptor; EBADF.
    pub fn get(&self, fd: i32) -> Result<Arc<File>> {
        let slots = self.slots.lock();
        usize::try_from(fd)
            .ok()
            .and_then(|i| slots.get(i))
            .and_then(|e| e.as_ref())
            .map(|e| e.file.clone())
            .ok_or(abi::errno::EBADF)
    }
}
