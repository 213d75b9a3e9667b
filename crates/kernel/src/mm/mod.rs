//! Guest memory: address spaces, mappings, faults, the page cache and what is shared.
//!
//! Private anonymous memory is private memory of the stub: the host faults it and this module never sees it. What is
//! shared lives in the machine's shared memory object ([`page_cache::PageCache`]); host files of hostfs are mapped as
//! they are. The kernel's list of vmas is the authority for /proc and for what a fault means.
//!
//! A page cache is mapped eagerly, as far as the file reaches; which of its addresses the host has mapped is remembered
//! ([`Inner::mapped`]). A fault elsewhere in such a vma maps more, or is a SIGBUS beyond the end.
//!
//! Lock order: MM (one address space's list), then PAGE_CACHE. Files and caches are never dropped under MM: what leaves
//! the list is collected and dropped after the lock.

mod advise;
mod brk;
pub mod charge;
mod fault;
mod fork;
mod load;
mod lock;
mod map;
pub mod oom;
pub mod page_cache;
mod protect;
mod query;
mod ranges;
mod remap;
mod segments;
pub mod shared;
mod unmap;
mod vma;
mod withheld;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use abi::errno::ENOMEM;
use hal::{HostFile, MapOp, PAGE_SIZE, Space};
use ksync::{Mutex, MutexGuard};

pub use fault::{Access, Fault, handle_fault};
pub use load::{mapped_program, private_vma};
pub use map::MapRequest;
pub use page_cache::PageCache;
pub use query::MapLine;
pub use remap::RemapRequest;
pub use segments::MmUse;
pub use vma::{MapUser, MapUsers, Mapped, Source, Totals, Vma, VmaFlags, VmaTree};

use self::{charge::Charge, ranges::RangeSet};
use crate::{
    error::Result,
    locks,
    task::Task,
    vfs::{file::File, open::ExecGuard},
};

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
    /// Who counts its mappings.
    fn users(&self) -> Option<Arc<dyn MapUsers>> {
        None
    }
}

/// Lowest address a program may map (vm.mmap_min_addr).
pub const MMAP_MIN_ADDR: u64 = 65536;
/// Up to this many mappings, changes do not run into the host's limit and need not be waited for.
const LAZY_COUNT: usize = 20_000;
/// Larger mappings wait for the host's answer: it may refuse them.
const LAZY_LEN: u64 = 256 << 20;

/// Limits of the calling process that mappings are held to (getrlimit(2)), in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub address_space: u64,
    pub data: u64,
    pub stack: u64,
    pub locked: u64,
    /// CAP_IPC_LOCK: `locked` does not count.
    pub may_lock: bool,
}

impl Limits {
    /// Those of a task.
    pub fn of(task: &Task) -> Limits {
        let may_lock = task.cred().has(abi::cap::CAP_IPC_LOCK);
        let l = task.process.rlimits.lock();
        let soft = |r: u32| l[r as usize].0;
        Limits {
            address_space: soft(abi::sched::RLIMIT_AS),
            data: soft(abi::sched::RLIMIT_DATA),
            stack: soft(abi::sched::RLIMIT_STACK),
            locked: soft(abi::sched::RLIMIT_MEMLOCK),
            may_lock,
        }
    }
    /// None.
    pub const NONE: Limits =
        Limits { address_space: u64::MAX, data: u64::MAX, stack: u64::MAX, locked: u64::MAX, may_lock: true };
}

/// Where things are placed in an address space; set by exec.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Mappings are placed below this, downward.
    pub mmap_base: u64,
    pub brk_start: u64,
    pub brk: u64,
}

/// What /proc shows of the program in an address space.
#[derive(Clone, Default)]
pub struct Image {
    pub exe: Option<Arc<File>>,
    /// Keeps the program from being written (ETXTBSY).
    pub guard: Option<Arc<ExecGuard>>,
    pub start_code: u64,
    pub end_code: u64,
    /// Addresses of its interpreter, the dynamic linker.
    pub interp: (u64, u64),
    pub start_data: u64,
    pub end_data: u64,
    pub start_stack: u64,
    pub arg: (u64, u64),
    pub env: (u64, u64),
    /// The auxiliary vector as the program found it.
    pub auxv: Vec<u8>,
}

/// The mappings of an address space, under its lock.
pub(crate) struct Inner {
    vmas: VmaTree,
    /// Addresses of page-cache mappings that the host has mapped.
    mapped: RangeSet,
    layout: Layout,
    /// Private writable addresses that the host does not let be written yet.
    withheld: RangeSet,
    /// Bytes exposed, and how many may be, as the host and the charge were told.
    exposed: u64,
    allowed: u64,
    /// Flags of new mappings (mlockall(2) MCL_FUTURE).
    default_flags: VmaFlags,
    /// Committed bytes told to the charge.
    committed: u64,
    peak: u64,
}

/// One address space.
pub struct Mm {
    // First: the stub must be gone before pages are given to others.
    pub space: Arc<dyn Space>,
    charge: Arc<Charge>,
    me: Weak<Mm>,
    inner: Mutex<Inner>,
    image: Mutex<Image>,
    /// Tasks that run in it.
    tasks: AtomicUsize,
    /// Its guest was ended for want of memory.
    doomed: AtomicBool,
}

impl Mm {
    /// An empty address space over an empty stub.
    pub fn new(space: Arc<dyn Space>, charge: Arc<Charge>) -> Arc<Mm> {
        let (_, end) = space.range();
        let layout = Layout { mmap_base: end, brk_start: 0, brk: 0 };
        let inner = Inner {
            vmas: VmaTree::default(),
            mapped: RangeSet::default(),
            withheld: RangeSet::default(),
            exposed: 0,
            allowed: 0,
            layout,
            default_flags: VmaFlags::empty(),
            committed: 0,
            peak: 0,
        };
        Mm::with(space, charge, inner, Image::default())
    }

    fn with(space: Arc<dyn Space>, charge: Arc<Charge>, inner: Inner, image: Image) -> Arc<Mm> {
        charge.add_committed(inner.committed);
        charge.allowed_changed(0, inner.allowed);
        Arc::new_cyclic(|me| Mm {
            space,
            charge,
            me: me.clone(),
            inner: Mutex::new(locks::MM, inner),
            image: Mutex::new(locks::LEAF, image),
            tasks: AtomicUsize::new(0),
            doomed: AtomicBool::new(false),
        })
    }

    /// Most mappings of one address space (vm.max_map_count).
    fn max_map_count(&self) -> usize {
        usize::try_from(self.charge.policy.max_map_count.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Ends the guest at once: it takes no more memory from now on, however long its tasks need to learn of it.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::SeqCst);
        self.space.kill();
    }
    pub(super) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::SeqCst)
    }

    /// First and last-plus-one address that can be mapped.
    pub fn range(&self) -> (u64, u64) {
        let (start, end) = self.space.range();
        (start.max(MMAP_MIN_ADDR), end)
    }

    pub fn image(&self) -> Image {
        self.image.lock().clone()
    }
    /// Is this code of the dynamic linker, as exec mapped it?
    pub fn is_linker(&self, addr: u64) -> bool {
        let (from, to) = self.image.lock().interp;
        (from..to).contains(&addr)
    }
    pub fn set_image(&self, image: Image) {
        let old = std::mem::replace(&mut *self.image.lock(), image);
        drop(old);
    }
    /// The program's open file (/proc/PID/exe).
    pub fn exe(&self) -> Option<Arc<File>> {
        self.image.lock().exe.clone()
    }

    /// Sets where mappings and the heap are placed (exec).
    pub fn set_layout(&self, layout: Layout) {
        self.lock().layout = layout;
    }
    pub fn layout(&self) -> Layout {
        self.lock().layout
    }

    /// Forgets and unmaps everything: exec by the only user of the space.
    pub fn clear(&self) -> Result<()> {
        let old = {
            let mut i = self.lock();
            self.space.clear()?;
            i.mapped = RangeSet::default();
            i.withheld = RangeSet::default();
            i.default_flags = VmaFlags::empty();
            i.peak = 0;
            let old = std::mem::take(&mut i.vmas);
            self.recount(&mut i);
            old
        };
        drop(old);
        self.set_image(Image::default());
        Ok(())
    }

    /// Does the changes; without waiting for them if nothing can go wrong. Host errors are ENOMEM for the guest.
    fn apply(&self, ops: &[MapOp], lazy: bool) -> Result<()> {
        if ops.is_empty() {
            return Ok(());
        }
        let done = if lazy { self.space.apply_lazy(ops) } else { self.space.apply(ops) };
        done.map_err(|_| ENOMEM)
    }

    /// Tells the charge what changed, and keeps the peak.
    fn recount(&self, i: &mut Inner) {
        let t = i.vmas.totals();
        i.peak = i.peak.max(t.all);
        match t.committed.cmp(&i.committed) {
            std::cmp::Ordering::Greater => self.charge.add_committed(t.committed - i.committed),
            std::cmp::Ordering::Less => self.charge.sub_committed(i.committed - t.committed),
            std::cmp::Ordering::Equal => {}
        }
        i.committed = t.committed;
        let exposed = i.exposed_now();
        if exposed < i.exposed {
            self.charge.give_back(i.exposed - exposed);
        }
        i.exposed = exposed;
        self.allow(i, exposed);
    }
}

impl Drop for Mm {
    fn drop(&mut self) {
        // Somebody may hold the space a little longer; nobody may run in it while its pages are given away.
        self.space.kill();
        let i = self.inner.get_mut();
        self.charge.sub_committed(i.committed);
        self.charge.give_back(i.exposed);
        self.charge.allowed_changed(i.allowed, 0);
    }
}

/// Page-aligns a length. ENOMEM if that overflows.
fn page_len(len: u64) -> Result<u64> {
    abi::mm::page_up(len).ok_or(ENOMEM)
}

fn is_aligned(addr: u64) -> bool {
    addr.is_multiple_of(PAGE_SIZE)
}
