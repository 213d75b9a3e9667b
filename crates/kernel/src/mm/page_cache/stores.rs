//! Who may store to a file through mappings, and files to which nobody may any more (F_SEAL_WRITE).

use std::sync::{Arc, atomic::Ordering};

use abi::errno::{EBUSY, EPERM};

use super::PageCache;
use crate::error::Result;

/// Counts a mapping that may store to a file, as long as it lives.
pub struct Stores(Arc<PageCache>);

impl Drop for Stores {
    fn drop(&mut self) {
        self.0.stores.fetch_sub(1, Ordering::AcqRel);
    }
}

impl PageCache {
    /// Counts a mapping that may store; EPERM if there may be none.
    pub(in crate::mm) fn admit_stores(self: &Arc<Self>) -> Result<Stores> {
        let one_more = |n: i32| if n < 0 { None } else { n.checked_add(1) };
        self.stores.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| EPERM)?;
        Ok(Stores(self.clone()))
    }

    /// From now on no mapping may store; EBUSY while one may. True if that was not so before.
    pub fn deny_stores(&self) -> Result<bool> {
        match self.stores.compare_exchange(0, -1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(true),
            Err(n) if n < 0 => Ok(false),
            Err(_) => Err(EBUSY),
        }
    }

    /// Takes back what [`PageCache::deny_stores`] did.
    pub fn allow_stores(&self) {
        let _ = self.stores.compare_exchange(-1, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}
