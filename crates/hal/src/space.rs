//! A guest address space (one stub process) and the memory that spaces share.

use std::sync::Arc;

use crate::{HostFile, Result};

/// Access allowed to a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prot {
    pub read: bool,
    pub write: bool,
    pub exec: bool,
}

/// What stands behind a mapping.
#[derive(Clone)]
pub enum Backing {
    /// Zero pages private to the space; copy-on-write across a fork.
    Anon,
    /// A range of the machine's [`SharedMem`], from byte `offset`. `private` maps it copy-on-write.
    Shared { offset: u64, private: bool },
    /// A host file from byte `offset`. `private` maps it copy-on-write.
    File { file: Arc<dyn HostFile>, offset: u64, private: bool },
}

/// One change of an address space. Addresses and lengths are page-aligned and inside the guest's range.
#[derive(Clone)]
pub enum MapOp {
    /// Maps over whatever is there. `huge` advises large pages.
    Map {
        addr: u64,
        len: u64,
        prot: Prot,
        backing: Backing,
        huge: bool,
    },
    Unmap {
        addr: u64,
        len: u64,
    },
    Protect {
        addr: u64,
        len: u64,
        prot: Prot,
    },
    /// `madvise` with an advice that the host implements for the guest's purpose (DONTNEED, FREE, HUGEPAGE, ...).
    Advise {
        addr: u64,
        len: u64,
        advice: u32,
    },
    /// Moves and resizes pages (`mremap` with a fixed destination). `keep` leaves the old range mapped
    /// (MREMAP_DONTUNMAP).
    Remap {
        old: u64,
        old_len: u64,
        new: u64,
        new_len: u64,
        keep: bool,
    },
}

/// One guest address space. Shared by the tasks that use it.
pub trait Space: Send + Sync {
    /// Applies changes in order; on error those before it are done. Host errors (ENOMEM, ...) come back unchanged.
    fn apply(&self, ops: &[MapOp]) -> Result<()>;
    /// Like [`Space::apply`] for changes whose success is foreseeable: may return before they are done, but no thread of
    /// this space executes guest code started by a later [`crate::Context::run`] of the caller before they are. An
    /// unforeseen failure kills the space.
    fn apply_lazy(&self, ops: &[MapOp]) -> Result<()> {
        self.apply(ops)
    }
    /// Whether a new program may begin in it after [`Space::clear`]. If not, nothing of the old one could be trusted to
    /// be gone.
    fn is_reusable(&self) -> bool {
        true
    }
    /// Maps the bytes of files as they are from now on till [`Space::clear`], and no copies with sites of system calls
    /// rewritten: the program is about to read code that it does not run.
    fn map_plain_texts(&self) {}
    /// Unmaps everything of the guest (exec by the only user of the space).
    fn clear(&self) -> Result<()>;
    /// Guest addresses usable: `[start, end)`; what lies outside is the stub's and the host's.
    fn range(&self) -> (u64, u64);
    /// Where the host's vDSO image is mapped in the guest (AT_SYSINFO_EHDR), 0 if none.
    fn vdso(&self) -> u64;

    /// Copies in; returns the bytes copied before the first unreadable address. Honours page protections.
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize;
    /// Copies out; returns the bytes copied before the first unwritable address. Honours page protections.
    fn write(&self, addr: u64, buf: &[u8]) -> usize;
    /// As `read`/`write` but ignoring page protections, as a debugger does (private copies of read-only pages).
    fn read_forced(&self, addr: u64, buf: &mut [u8]) -> usize;
    fn write_forced(&self, addr: u64, buf: &[u8]) -> usize;
    /// Copies between guest memory and shared memory without a bounce; returns the bytes copied.
    fn read_to_shared(&self, addr: u64, offset: u64, len: usize) -> usize;
    fn write_from_shared(&self, addr: u64, offset: u64, len: usize) -> usize;
    /// Reads a host file straight into guest memory, as `pread` would; EFAULT if the first byte cannot be stored.
    fn read_file(&self, file: &dyn HostFile, offset: u64, addr: u64, len: usize) -> Result<usize>;
    /// Writes guest memory to a host file, as `pwrite` would.
    fn write_file(&self, file: &dyn HostFile, offset: u64, addr: u64, len: usize) -> Result<usize>;

    /// Wakes up to `count` threads that wait in a host futex at a guest address (`shared`: the key is not private).
    fn futex_wake(&self, addr: u64, count: u32, shared: bool) -> Result<u32>;
    /// Wakes a thread that waits there with a key that is not private; may return before that is done.
    fn futex_wake_later(&self, addr: u64) -> Result<()> {
        self.futex_wake(addr, 1, true).map(drop)
    }
    /// As FUTEX_REQUEUE of futex(2): wakes up to `count` waiters of `addr` and lets up to `moved` others wait at `to`; with
    /// `expected` EAGAIN if the word at `addr` is another. Returns what futex(2) does.
    fn futex_requeue(
        &self,
        addr: u64,
        count: u32,
        to: u64,
        moved: u32,
        expected: Option<u32>,
        shared: bool,
    ) -> Result<u32>;
    /// As membarrier(2), for the threads of this space (and all others where the command says so).
    fn membarrier(&self, command: u32) -> Result<u32>;
    /// Which pages are resident, one byte each (`mincore`).
    fn mincore(&self, addr: u64, out: &mut [u8]) -> Result<()>;
    /// What is behind each page from `addr` on, as bits 55 to 63 of /proc/PID/pagemap (proc(5)); the bits below are 0. All
    /// are 0 where the host does not tell.
    fn page_bits(&self, addr: u64, out: &mut [u64]);
    /// Bytes resident: private, and shared (from the host's accounting; sampled).
    fn resident_bytes(&self) -> (u64, u64);
    /// Private bytes resident, where each page that forks share counts in proportion. Slow: walks all pages.
    fn proportional_bytes(&self) -> u64 {
        self.resident_bytes().0
    }
    /// Private writable memory that may be mapped at most, in bytes, whoever asks the host for it.
    fn allow_data(&self, _bytes: u64) {}
    /// Whether no change is under way that was not waited for.
    fn is_settled(&self) -> bool {
        true
    }
    /// Whether somebody reads and changes the code of this space (a debugger): then it holds what the program put there, and
    /// nothing of ours.
    fn watch(&self, _on: bool) {}
    /// Ends the stub at once; all its contexts return [`crate::Event::Died`].
    fn kill(&self);
}

/// The memory object that spaces map shared: page cache, tmpfs, shared anonymous memory. Sparse; offsets are handed out
/// by the kernel.
pub trait SharedMem: Send + Sync {
    /// Bytes addressable.
    fn size(&self) -> u64;
    fn read(&self, offset: u64, buf: &mut [u8]);
    fn write(&self, offset: u64, buf: &[u8]);
    /// Gives pages back; they read as zero afterwards. Page-aligned.
    fn discard(&self, offset: u64, len: u64);
    /// Bytes really allocated by the host.
    fn allocated(&self) -> u64;
    /// First byte of data (or of a hole) at or after `offset`, below `end`.
    fn seek(&self, offset: u64, end: u64, data: bool) -> Option<u64>;
}
