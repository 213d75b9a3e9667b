//! What the machine's memory limit (`mem=`) means.
//!
//! Three rules, from the strictest to the laxest:
//! 1. Page-cache pages (tmpfs, shared anonymous memory) are counted as they are written; a write that would bring the
//!    count above the limit fails with ENOMEM.
//! 2. A single private writable mapping larger than all memory is refused with ENOMEM, as Linux does with
//!    `vm.overcommit_memory` 0; MAP_NORESERVE mappings are not counted.
//! 3. Private memory belongs to the host and is not seen page by page: [`super::oom`] samples it, and kills the largest
//!    guest process when the sum is above the limit.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;

/// Counts of one machine.
pub struct Charge {
    limit: u64,
    cache: AtomicU64,
    resident: AtomicU64,
    committed: AtomicU64,
}

impl Charge {
    /// `limit` in bytes.
    pub fn new(limit: u64) -> Charge {
        Charge { limit, cache: AtomicU64::new(0), resident: AtomicU64::new(0), committed: AtomicU64::new(0) }
    }

    /// The machine's memory in bytes (MemTotal).
    pub fn limit(&self) -> u64 {
        self.limit
    }
    /// Bytes of page cache written (Cached, Shmem).
    pub fn cache_bytes(&self) -> u64 {
        self.cache.load(Ordering::Relaxed)
    }
    /// Private bytes resident when last sampled (AnonPages).
    pub fn resident_bytes(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }
    /// Bytes not in use now (MemFree).
    pub fn free_bytes(&self) -> u64 {
        self.limit.saturating_sub(self.cache_bytes()).saturating_sub(self.resident_bytes())
    }
    /// Private writable bytes mapped, used or not (Committed_AS).
    pub fn committed_bytes(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Counts bytes about to be written to a page cache. ENOMEM above the limit.
    pub fn add_cache(&self, bytes: u64) -> Result<()> {
        let now = self.cache.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if now.saturating_add(self.resident_bytes()) > self.limit {
            self.cache.fetch_sub(bytes, Ordering::Relaxed);
            return Err(abi::errno::ENOMEM);
        }
        Ok(())
    }
    pub fn sub_cache(&self, bytes: u64) {
        self.cache.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Rule 2 for a new private writable mapping of `bytes`.
    pub fn check_commit(&self, bytes: u64) -> Result<()> {
        if bytes > self.limit { Err(abi::errno::ENOMEM) } else { Ok(()) }
    }
    pub(super) fn add_committed(&self, bytes: u64) {
        self.committed.fetch_add(bytes, Ordering::Relaxed);
    }
    pub(super) fn sub_committed(&self, bytes: u64) {
        self.committed.fetch_sub(bytes, Ordering::Relaxed);
    }
    pub(super) fn set_resident(&self, bytes: u64) {
        self.resident.store(bytes, Ordering::Relaxed);
    }
}
