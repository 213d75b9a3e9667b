//! What the machine's memory limit (`mem=`) means.
//!
//! Three rules, from the strictest to the laxest:
//! 1. Page-cache pages (tmpfs, shared anonymous memory) are counted as they are written; a write that would bring the
//!    count above the limit fails with ENOMEM.
//! 2. A single private writable mapping larger than all memory is refused with ENOMEM, as Linux does with
//!    `vm.overcommit_memory` 0 (1 and 2: [`Policy`]); MAP_NORESERVE mappings are not counted.
//! 3. Private memory belongs to the host and is not seen page by page: [`super::oom`] samples it, and kills the largest
//!    guest process when the sum is above the limit.
//!
//! A sample may come late, as late as the host likes; what the guest can take meanwhile must not depend on that. So
//! there is a bound on what it can take *without asking*: memory is *exposed*, mapped with the right to write, only
//! while all that is exposed fits the machine, and while what was exposed since the last sample fits what that left free.
//! What is mapped beyond is *withheld* ([`super::withheld`]): the host lets it be read, and a first store asks. Then a
//! little more is exposed, after a sample of the asker's own if need be.

use std::sync::{
    OnceLock, Weak,
    atomic::{AtomicU64, Ordering},
};

use crate::{error::Result, machine::Machine};

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
    /// Private bytes that guests may write without asking, as the host was told.
    exposed: AtomicU64,
    /// Those of them that were exposed since the last sample.
    since: AtomicU64,
    /// Who samples.
    machine: OnceLock<Weak<Machine>>,
    looking: super::oom::Looking,
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
            exposed: AtomicU64::new(0),
            since: AtomicU64::new(0),
            machine: OnceLock::new(),
            looking: Default::default(),
        }
    }

    /// From now on the machine samples.
    pub(super) fn set_machine(&self, machine: Weak<Machine>) {
        let _ = self.machine.set(machine);
    }
    pub(super) fn machine(&self) -> Option<std::sync::Arc<Machine>> {
        self.machine.get()?.upgrade()
    }

    /// Begins a sample of somebody who waits; false if another has one going.
    pub(super) fn begin_look(&self) -> bool {
        self.looking.begin()
    }
    pub(super) fn end_look(&self) {
        self.looking.end();
    }

    /// Whether `bytes` fit what the last sample left free.
    fn has_credit(&self, bytes: u64) -> bool {
        let since = self.since.load(Ordering::Relaxed).saturating_add(bytes);
        since.saturating_add(self.cache_bytes()).saturating_add(self.resident_bytes()) <= self.limit
    }

    /// Whether `bytes` of a new mapping may be written without asking. If so they are counted from now on.
    pub(super) fn expose(&self, bytes: u64) -> bool {
        let all = self.exposed.load(Ordering::Relaxed).saturating_add(self.cache_bytes());
        let fits = all.saturating_add(bytes) <= self.limit && self.has_credit(bytes);
        if fits {
            self.force(bytes);
        }
        fits
    }
    /// The same for a store that asks; what is withheld elsewhere does not count then.
    pub(super) fn grant(&self, bytes: u64) -> bool {
        let fits = !self.is_overexposed(bytes) && self.has_credit(bytes);
        if fits {
            self.force(bytes);
        }
        fits
    }
    /// Counts `bytes` that must be exposed.
    pub(super) fn force(&self, bytes: u64) {
        self.since.fetch_add(bytes, Ordering::Relaxed);
    }
    /// Whether so much would be exposed with `bytes` more that some must be withheld again.
    pub(super) fn is_overexposed(&self, bytes: u64) -> bool {
        self.exposed.load(Ordering::Relaxed).saturating_add(bytes) > self.limit.saturating_mul(2)
    }
    /// The host was told that an address space may expose more, or less.
    pub(super) fn allowed_changed(&self, before: u64, now: u64) {
        if now >= before {
            self.exposed.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.exposed.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
    /// An address space exposes less than before.
    pub(super) fn give_back(&self, less: u64) {
        let _ = self
            .since
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |s| (s > 0).then(|| s.saturating_sub(less)));
    }
    /// Exposed since the last sample. To be asked before one.
    pub(super) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
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
    /// The result of a sample, and what [`Charge::since`] said before it.
    pub(super) fn set_resident(&self, bytes: u64, since: u64) {
        self.resident.store(bytes, Ordering::Relaxed);
        let _ =
            self.since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |s| Some(s.saturating_sub(since)));
    }
}
