//! Guest memory: address spaces, mappings, faults, the page cache and what is shared.
//!
//! Private anonymous memory is private memory of the stub: the host faults it and this module never sees it. What is
//! shared lives in the machine's shared memory object ([`page_cache::PageCache`]); host files of hostfs are mapped as
//! they are. The kernel's list of vmas is the authority for /proc and for what a fault means.

pub mod charge;
pub mod page_cache;
pub mod shared;

use std::sync::Arc;

use hal::{Exception, HostFile, Space};

pub use page_cache::PageCache;

use crate::{error::Result, task::TaskCx};

/// What stands behind a mapping of a file.
#[derive(Clone)]
pub enum MapSource {
    /// The host maps this file itself; file offsets are the same.
    Host(Arc<dyn HostFile>),
    /// Pages of a page cache; offsets are positions in it.
    Cache(Arc<PageCache>),
    /// Private zero pages (/dev/zero).
    Zero,
}

/// A file that can be mapped.
pub trait Mappable: Send + Sync {
    /// What to map. `shared_write`: stores must reach the file. EACCES, ENODEV as mmap(2) says.
    fn map_source(&self, shared_write: bool) -> Result<MapSource>;
}

/// One address space.
pub struct Mm {
    pub space: Arc<dyn Space>,
}

impl Mm {
    pub fn new(space: Arc<dyn Space>) -> Arc<Mm> {
        Arc::new(Mm { space })
    }

    /// A copy-on-write copy for a new process, and its first guest thread with registers `regs` and the vector state of
    /// `ctx`, which runs in this space.
    pub fn fork(
        self: &Arc<Self>,
        ctx: &mut dyn hal::Context,
        regs: &hal::Regs,
    ) -> Result<(Arc<Mm>, Box<dyn hal::Context>)> {
        let child = ctx.fork(regs)?;
        Ok((Mm::new(child.space()), child))
    }

    /// Unmaps what maps `cache` from `from` on, which is gone.
    pub(crate) fn cache_truncated(&self, _cache: &PageCache, _from: u64) {}

    /// Makes the page of `addr` accessible if its vma allows the access (page cache fills, stack growth). EFAULT if not.
    pub fn fault_in(&self, _addr: u64, _write: bool) -> Result<()> {
        Err(abi::errno::EFAULT)
    }
}

/// Resolves a page fault of the running task; false if it is an error of the program.
pub fn handle_fault(cx: &mut TaskCx, e: &Exception) -> bool {
    e.trapno == 14 && cx.mm.fault_in(e.addr, e.error & 2 != 0).is_ok()
}
