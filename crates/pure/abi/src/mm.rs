//! Memory management: protections, mapping flags, advice (mmap(2), madvise(2), mremap(2)).

use bitflags::bitflags;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;
/// Binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// First address above what a 64-bit program can use.
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// `value` rounded down to a page boundary.
pub const fn page_down(value: u64) -> u64 {
    value & !(PAGE_SIZE - 1)
}

/// `value` rounded up to a page boundary; `None` if that overflows.
pub const fn page_up(value: u64) -> Option<u64> {
    match value.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(page_down(sum)),
        None => None,
    }
}

/// Is the address on a page boundary?
pub const fn is_page_aligned(addr: u64) -> bool {
    addr & (PAGE_SIZE - 1) == 0
}

bitflags! {
    /// Access a mapping allows: `PROT_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Prot: u32 {
        /// Pages may be read.
        const READ = PROT_READ;
        /// Pages may be written.
        const WRITE = PROT_WRITE;
        /// Pages may be executed.
        const EXEC = PROT_EXEC;
        /// mprotect(2): down to the start of a growing mapping.
        const GROWSDOWN = PROT_GROWSDOWN;
        /// mprotect(2): up to the end of a growing mapping.
        const GROWSUP = PROT_GROWSUP;
        /// Atomic operations wanted (without effect on x86).
        const SEM = PROT_SEM;
    }

    /// Flags of mmap(2): `MAP_*`. The lowest four bits are the mapping's type, see [`MapFlags::TYPE`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MapFlags: u32 {
        /// Changes are shared.
        const SHARED = MAP_SHARED;
        /// Changes are private.
        const PRIVATE = MAP_PRIVATE;
        /// At exactly this address, replacing what is there.
        const FIXED = MAP_FIXED;
        /// No file.
        const ANONYMOUS = MAP_ANONYMOUS;
        /// Below 2 GiB.
        const MAP_32BIT = MAP_32BIT;
        /// Grows downward on faults.
        const GROWSDOWN = MAP_GROWSDOWN;
        /// Ignored.
        const DENYWRITE = MAP_DENYWRITE;
        /// Ignored.
        const EXECUTABLE = MAP_EXECUTABLE;
        /// Lock pages in memory.
        const LOCKED = MAP_LOCKED;
        /// Do not reserve swap.
        const NORESERVE = MAP_NORESERVE;
        /// Fault pages in now.
        const POPULATE = MAP_POPULATE;
        /// With `POPULATE`: do not read files.
        const NONBLOCK = MAP_NONBLOCK;
        /// A stack; ignored.
        const STACK = MAP_STACK;
        /// Huge pages.
        const HUGETLB = MAP_HUGETLB;
        /// With `SHARED_VALIDATE`: synchronous faults.
        const SYNC = MAP_SYNC;
        /// At exactly this address, unless something is there.
        const FIXED_NOREPLACE = MAP_FIXED_NOREPLACE;
    }
}

impl Prot {
    /// The three access bits.
    pub const RWX: Prot = Prot::READ.union(Prot::WRITE).union(Prot::EXEC);
    /// Read and write.
    pub const RW: Prot = Prot::READ.union(Prot::WRITE);
    /// Read and execute.
    pub const RX: Prot = Prot::READ.union(Prot::EXEC);
}

impl MapFlags {
    /// Mask of the type bits: one of `MAP_SHARED`, `MAP_PRIVATE`, `MAP_SHARED_VALIDATE`.
    pub const TYPE: u32 = MAP_TYPE;
    /// Flags which every mapping accepts; `MAP_SHARED_VALIDATE` refuses others with `EOPNOTSUPP`.
    pub const LEGACY: u32 = MAP_SHARED
        | MAP_PRIVATE
        | MAP_FIXED
        | MAP_ANONYMOUS
        | MAP_DENYWRITE
        | MAP_EXECUTABLE
        | MAP_GROWSDOWN
        | MAP_LOCKED
        | MAP_NORESERVE
        | MAP_POPULATE
        | MAP_NONBLOCK
        | MAP_STACK
        | MAP_HUGETLB
        | MAP_32BIT
        | (MAP_HUGE_MASK << MAP_HUGE_SHIFT);
}

// Protection.
pub const PROT_NONE: u32 = 0x0;
pub const PROT_READ: u32 = 0x1;
pub const PROT_WRITE: u32 = 0x2;
pub const PROT_EXEC: u32 = 0x4;
pub const PROT_SEM: u32 = 0x8;
pub const PROT_GROWSDOWN: u32 = 0x1000000;
pub const PROT_GROWSUP: u32 = 0x2000000;

// mmap(2) flags.
pub const MAP_SHARED: u32 = 0x1;
pub const MAP_PRIVATE: u32 = 0x2;
pub const MAP_SHARED_VALIDATE: u32 = 0x3;
pub const MAP_TYPE: u32 = 0xf;
pub const MAP_FIXED: u32 = 0x10;
pub const MAP_ANONYMOUS: u32 = 0x20;
pub const MAP_32BIT: u32 = 0x40;
pub const MAP_GROWSDOWN: u32 = 0x100;
pub const MAP_DENYWRITE: u32 = 0x800;
pub const MAP_EXECUTABLE: u32 = 0x1000;
pub const MAP_LOCKED: u32 = 0x2000;
pub const MAP_NORESERVE: u32 = 0x4000;
pub const MAP_POPULATE: u32 = 0x8000;
pub const MAP_NONBLOCK: u32 = 0x10000;
pub const MAP_STACK: u32 = 0x20000;
pub const MAP_HUGETLB: u32 = 0x40000;
pub const MAP_SYNC: u32 = 0x80000;
pub const MAP_FIXED_NOREPLACE: u32 = 0x100000;
pub const MAP_UNINITIALIZED: u32 = 0x4000000;
pub const MAP_HUGE_SHIFT: u32 = 26;
pub const MAP_HUGE_MASK: u32 = 0x3f;

// madvise(2).
pub const MADV_NORMAL: i32 = 0;
pub const MADV_RANDOM: i32 = 1;
pub const MADV_SEQUENTIAL: i32 = 2;
pub const MADV_WILLNEED: i32 = 3;
pub const MADV_DONTNEED: i32 = 4;
pub const MADV_FREE: i32 = 8;
pub const MADV_REMOVE: i32 = 9;
pub const MADV_DONTFORK: i32 = 10;
pub const MADV_DOFORK: i32 = 11;
pub const MADV_MERGEABLE: i32 = 12;
pub const MADV_UNMERGEABLE: i32 = 13;
pub const MADV_HUGEPAGE: i32 = 14;
pub const MADV_NOHUGEPAGE: i32 = 15;
pub const MADV_DONTDUMP: i32 = 16;
pub const MADV_DODUMP: i32 = 17;
pub const MADV_WIPEONFORK: i32 = 18;
pub const MADV_KEEPONFORK: i32 = 19;
pub const MADV_COLD: i32 = 20;
pub const MADV_PAGEOUT: i32 = 21;
pub const MADV_POPULATE_READ: i32 = 22;
pub const MADV_POPULATE_WRITE: i32 = 23;
pub const MADV_DONTNEED_LOCKED: i32 = 24;
pub const MADV_COLLAPSE: i32 = 25;
pub const MADV_HWPOISON: i32 = 100;
pub const MADV_SOFT_OFFLINE: i32 = 101;
pub const MADV_GUARD_INSTALL: i32 = 102;
pub const MADV_GUARD_REMOVE: i32 = 103;

// mremap(2).
pub const MREMAP_MAYMOVE: u32 = 1;
pub const MREMAP_FIXED: u32 = 2;
pub const MREMAP_DONTUNMAP: u32 = 4;

// msync(2).
pub const MS_ASYNC: u32 = 1;
pub const MS_INVALIDATE: u32 = 2;
pub const MS_SYNC: u32 = 4;

// mlockall(2), mlock2(2).
pub const MCL_CURRENT: u32 = 1;
pub const MCL_FUTURE: u32 = 2;
pub const MCL_ONFAULT: u32 = 4;
pub const MLOCK_ONFAULT: u32 = 1;

// memfd_create(2).
pub const MFD_CLOEXEC: u32 = 0x1;
pub const MFD_ALLOW_SEALING: u32 = 0x2;
pub const MFD_HUGETLB: u32 = 0x4;
pub const MFD_NOEXEC_SEAL: u32 = 0x8;
pub const MFD_EXEC: u32 = 0x10;

// pkey_alloc(2).
pub const PKEY_DISABLE_ACCESS: u32 = 1;
pub const PKEY_DISABLE_WRITE: u32 = 2;

// membarrier(2) commands.
pub const MEMBARRIER_CMD_QUERY: u32 = 0;
pub const MEMBARRIER_CMD_GLOBAL: u32 = 1;
pub const MEMBARRIER_CMD_GLOBAL_EXPEDITED: u32 = 2;
pub const MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED: u32 = 4;
pub const MEMBARRIER_CMD_PRIVATE_EXPEDITED: u32 = 8;
pub const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: u32 = 16;
pub const MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE: u32 = 32;
pub const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: u32 = 64;
