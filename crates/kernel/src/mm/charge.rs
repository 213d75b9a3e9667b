//! What the machine's memory limit (`mem=`) means.
//!
//! Three rules, from the strictest to the laxest:
//! 1. Page-cache pages (tmpfs, shared anonymous memory) are counted as they are written; a write that would bring the
//!    count above the limit fails with ENOMEM.
//! 2. A single private writable mapping larger than all memory is refused with ENOMEM, as Linux does with
//!    `vm.overcommit_memory` 0 (1 and 2: [`Policy`]); MAP_NORESERVE mappings are not counted.
//! 3. Private memory belongs to the host and is not seen page by page: [`super::oom`] samples it, and kills the largest
//!    guest process when the sum is above the limit.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;

/// What root may set in /proc/sys/vm, with Linux's defaults.
pub struct Policy {
    /// 0: a single mapping must fit the machine; 1: anything goes; 2: the sum must fit the commit limit.
    pub overcommit_memory: AtomicU64,
    /// Percent of memory that may be committed.
    pub overcommit_ratio: AtomicU64,
    /// The same in KiB; in force if it is not 0.
    pub overcommit_kbytes: AtomicU64,
    pub max_map_count: AtomicU64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            overcommit_memory: 0.into(),
            overcommit_ratio: 50.into(),
            overcommit_kbytes: 0.into(),
            max_map_count: 65530.into(),
        }
    }
}

/// Counts of one machine.
pub struct Charge {
    pub policy: Policy,
    limit: u64,
    cache: AtomicU64,
    resident: AtomicU64,
    committed: AtomicU64,
    oom_kills: AtomicU64,
}

impl Charge {
    /// `limit` in bytes.
    pub fn new(limit: u64) -> Charge {
        let policy = Policy::default();
        Charge {
            policy,
            limit,
            cache: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            oom_kills: AtomicU64::new(0),
        }
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

    /// Processes killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills.load(Ordering::Relaxed)
    }
    pub(super) fn count_oom_kill(&self) {
        self.oom_kills.fetch_add(1, Ordering::Relaxed);
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

    /// Bytes that may be committed under rule 2's strict mode (CommitLimit).
    pub fn commit_limit(&self) -> u64 {
        match self.policy.overcommit_kbytes.load(Ordering::Relaxed) {
            0 => self.limit / 100 * self.policy.overcommit_ratio.load(Ordering::Relaxed),
            k => k << 10,
        }
    }

    /// Rule 2 for a new private writable mapping of `bytes`.
    pub fn check_commit(&self, bytes: u64) -> Result<()> {
        let fits = match self.policy.overcommit_memory.load(Ordering::Relaxed) {
            0 => bytes <= self.limit,
            1 => true,
            _ => self.committed_bytes().saturating_add(bytes) <= self.commit_limit(),
        };
        if fits { Ok(()) } else { Err(abi::errno::ENOMEM) }
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
