//! What root may set while the machine runs, beyond what rooms keep themselves (/proc/sys; Linux's defaults).

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use ksync::Mutex;

use crate::locks;

/// Settings of a machine.
pub struct Tunables {
    /// Most tasks (kernel.threads-max).
    pub threads_max: AtomicU64,
    /// Highest hard limit of descriptors (fs.nr_open).
    pub nr_open: AtomicU64,
    /// Largest pipe of who has no CAP_SYS_RESOURCE, in bytes (fs.pipe-max-size).
    pub pipe_max_size: AtomicU64,
    /// Where core dumps go.
    pub core: crate::coredump::Settings,
    /// Settings of mechanisms that this kernel does not have (swap, write-back): kept and shown.
    pub kept: Mutex<BTreeMap<&'static str, String>>,
}

impl Tunables {
    /// The defaults of a machine with `memory` bytes.
    pub fn new(memory: u64) -> Tunables {
        Tunables {
            // An eighth of memory for stacks of 16 KiB.
            threads_max: (memory / (8 * 16384)).clamp(20, 4_194_303).into(),
            nr_open: (1 << 20).into(),
            pipe_max_size: (1 << 20).into(),
            core: Default::default(),
            kept: Mutex::new(locks::LEAF, BTreeMap::new()),
        }
    }
}
