//! Where things stand in a stub's address space and in the pages it shares with the kernel process.
//!
//! The region is the same in every stub and closed to the guest. It lies below every place where a host may put its
//! vDSO, its stack or the machine's own image (16 TiB of randomisation below the top of user space at most).

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Lowest guest address; what hosts allow to map (`vm.mmap_min_addr`) is never above it.
pub(crate) const GUEST_START: u64 = 0x1_0000;
/// End of user space with four-level page tables.
pub(crate) const USER_END: u64 = 0x7fff_ffff_f000;

/// First byte of the stub's own region, and the end of the guest's range.
pub(crate) const REGION: u64 = 0x6fe0_0000_0000;
/// Bytes of the region.
pub(crate) const REGION_LEN: u64 = 0x1_0000_0000;
/// Stub code, readable and executable.
pub(crate) const CODE: u64 = REGION;
/// Most bytes of stub code.
pub(crate) const CODE_LEN: u64 = 0x2000;
/// Constants of the machine, read-only in the stub.
pub(crate) const CONSTS: u64 = REGION + 0x1_0000;
/// The service thread's requests, read-only in the stub.
pub(crate) const REQUEST: u64 = REGION + 0x2_0000;
/// The service thread's replies.
pub(crate) const REPLY: u64 = REQUEST + PAGE;
/// Trampolines of patched system-call sites in code that stands near the region.
pub(crate) const TRAMPOLINES: u64 = REGION + 0x10_0000;
/// The slots of guest threads.
pub(crate) const SLOTS: u64 = REGION + 0x8000_0000;
/// Bytes of a slot, and its alignment: the signal handler finds its slot by masking the stack pointer.
pub(crate) const SLOT_LEN: u64 = 0x1_0000;
/// Slots that one stub can have.
pub(crate) const SLOTS_MAX: u64 = 0x7000;

/// Offsets in the page of constants.
pub(crate) mod consts {
    /// Descriptor of the control memory, and of the same opened read-only.
    pub(crate) const CTL_FD: usize = 0x00;
    pub(crate) const CTL_RO_FD: usize = 0x08;
    /// Process number of the machine.
    pub(crate) const OWNER: usize = 0x10;
    /// How often files on loan were recalled, see [`crate::layout::file`]; never 0.
    pub(crate) const EPOCH: usize = 0x40;
    /// `struct sock_fprog` of the strict filter, and its instructions.
    pub(crate) const STRICT: usize = 0x100;
    pub(crate) const STRICT_CODE: usize = 0x110;
    /// The same of the one that lets no futex call of the guest's pass.
    pub(crate) const CLOSED: usize = 0x400;
    pub(crate) const CLOSED_CODE: usize = 0x410;
    /// What is captured of which system call, see [`crate::layout::capture`].
    pub(crate) const CAPTURES: usize = 0xc00;
    pub(crate) const CAPTURES_LEN: usize = 0x200;
    /// Counts of [`hal::Host::raise`].
    pub(crate) const COUNTS: usize = 0x800;
    /// Which system calls the stub may answer, see [`crate::layout::served`].
    pub(crate) const SERVED: usize = 0xe00;
    pub(crate) const SERVED_LEN: usize = 0x200;
}

/// Offsets in the control page that opens a slot.
pub(crate) mod ctl {
    /// Who owns the thread, see [`crate::layout::state`].
    pub(crate) const STATE: usize = 0x00;
    /// Rounds that the stub spins before it sleeps.
    pub(crate) const SPIN: usize = 0x04;
    /// Set by the handler of the kick signal when it interrupted stub code.
    pub(crate) const INTERRUPTED: usize = 0x08;
    /// What the stub does when resumed, see [`crate::layout::flag`].
    pub(crate) const FLAGS: usize = 0x0c;
    /// Address of the `ucontext` of the signal frame.
    pub(crate) const UCONTEXT: usize = 0x10;
    /// FS base of the guest.
    pub(crate) const FS_BASE: usize = 0x18;
    /// GS base found at the event, and the one to install.
    pub(crate) const GS_BASE: usize = 0x20;
    /// Where patched sites enter the stub.
    pub(crate) const ENTRY: usize = 0x28;
    /// Top of the few words of stack that the patched path uses.
    pub(crate) const STACK: usize = 0x30;
    /// Compare-and-swap: address, expected and new value, value found, 1 if it could not be done.
    pub(crate) const CAS_ADDR: usize = 0x38;
    pub(crate) const CAS_OLD: usize = 0x40;
    pub(crate) const CAS_NEW: usize = 0x44;
    pub(crate) const CAS_FAULT: usize = 0x48;
    /// Pieces of memory that the stub copies before it resumes guest code.
    pub(crate) const OUT_COUNT: usize = 0x50;
    /// Bytes captured with a system call's arguments, and their guest address.
    pub(crate) const CAP_LEN: usize = 0x54;
    pub(crate) const CAP_ADDR: usize = 0x58;
    /// The pieces: guest address, bytes, offset in the slot.
    pub(crate) const OUT_LIST: usize = 0x60;
    pub(crate) const OUT_STEP: usize = 16;
    pub(crate) const OUT_MAX: usize = 4;
    /// Values answered in the stub: pid, tid, ppid, uid, euid, gid, egid; and whether they are valid.
    pub(crate) const FAST: usize = 0x100;
    pub(crate) const FAST_VALID: usize = 0x11c;
    /// What the stub may answer now: bits by the numbers in [`crate::layout::served`].
    pub(crate) const LENT: usize = 0x124;
    /// The blocked signals, and whether any are pending: then the stub changes nothing about signals.
    pub(crate) const BLOCKED: usize = 0x128;
    pub(crate) const PENDING: usize = 0x130;
    /// Whether there is anything in [`crate::layout::ends`].
    pub(crate) const ENDS: usize = 0x134;
    /// What is cleared at the thread's end, and where its list of robust futexes begins.
    pub(crate) const CLEAR_TID: usize = 0x1f0;
    pub(crate) const ROBUST: usize = 0x1f8;
    /// Errands before it goes on, see [`crate::errands`].
    pub(crate) const ERRAND_COUNT: usize = 0x120;
    pub(crate) const ERRANDS: usize = 0x200;
    pub(crate) const ERRANDS_MAX: usize = 8;
    /// A futex call that the stub makes: number, six arguments, result; and the time that it may name.
    pub(crate) const CALL: usize = 0x300;
    pub(crate) const CALL_RESULT: usize = 0x338;
    pub(crate) const CALL_TIME: usize = 0x340;
    /// The actions for signals, while they are lent: handlers, restorers, masks and (32 bits each) flags.
    pub(crate) const HANDLERS: usize = 0x360;
    pub(crate) const RESTORERS: usize = 0x560;
    pub(crate) const MASKS: usize = 0x880;
    pub(crate) const ACTION_FLAGS: usize = 0xa80;
    /// Top of the patched path's stack.
    pub(crate) const STACK_TOP: usize = 0x7f0;
    /// Registers of a thread that came by a patched site.
    pub(crate) const REGS: usize = 0x800;
    /// The buffer: first what was captured, behind it what is to be copied out. Its pages are there when they are needed.
    pub(crate) const BUFFER: usize = 0x1000;
    pub(crate) const BUFFER_END: usize = 0x7000;
    /// Longer ones are moved faster by the kernel process, in one copy.
    pub(crate) const CAP_LEN_MAX: usize = 0x3000;
    /// Most bytes that are copied out if little was captured.
    pub(crate) const OUT_LEN_MAX: usize = 0x4000;
}

/// Lowest offset in a slot where a signal frame may stand; below are the control page, the buffer and what is told ahead.
pub(crate) const FRAME_LOWEST: usize = names::END;

/// Receive queues that the thread was told of ([`hal::Queue`]): [`hal::QUEUES`] places.
pub(crate) mod queues {
    pub(crate) const START: usize = 0x7000;
    pub(crate) const STEP: usize = 0x380;
    pub(crate) const FD: usize = 0x00;
    /// What is there: one of the numbers below.
    pub(crate) const STATE: usize = 0x04;
    /// Number in [`super::consts::COUNTS`], and what it must be.
    pub(crate) const COUNT: usize = 0x08;
    pub(crate) const LEN: usize = 0x0c;
    pub(crate) const VALUE: usize = 0x10;
    pub(crate) const BYTES: usize = 0x20;
    pub(crate) const MOST: usize = hal::QUEUE_BYTES;
    /// Nothing that is known.
    pub(crate) const NOTHING: u32 = 0;
    /// Bytes that the stub may give to the guest, if it makes this [`TAKEN`].
    pub(crate) const GIVEN: u32 = 1;
    pub(crate) const TAKEN: u32 = 2;
    /// No bytes.
    pub(crate) const EMPTY: u32 = 3;
}

/// Ends of files that the thread was told of ([`hal::End`]), by the low bits of their descriptors.
pub(crate) mod ends {
    pub(crate) const START: usize = 0x7e00;
    pub(crate) const STEP_SHIFT: usize = 5;
    pub(crate) const PLACES: usize = 16;
    pub(crate) const FD: usize = 0x00;
    /// Number in [`super::consts::COUNTS`], or one beyond them if nothing is known, and what the count must be.
    pub(crate) const COUNT: usize = 0x04;
    pub(crate) const VALUE: usize = 0x08;
    pub(crate) const SIZE: usize = 0x10;
}

const _: () = assert!(
    queues::START >= ctl::BUFFER_END
        && queues::START + hal::QUEUES * queues::STEP <= ends::START
        && ends::START + (ends::PLACES << ends::STEP_SHIFT) <= names::START
        && queues::BYTES + queues::MOST <= queues::STEP
        && consts::COUNTS + hal::COUNTS as usize * 8 <= consts::CAPTURES
);

/// Attributes of names told ahead ([`hal::Foreseen`]): a head, and the answers.
pub(crate) mod names {
    pub(crate) const START: usize = 0x8000;
    pub(crate) const END: usize = 0xb000;
    /// [`super::consts::EPOCH`] from before the names were looked up, and the processor's counter.
    pub(crate) const EPOCH: usize = START;
    pub(crate) const SINCE: usize = START + 0x08;
    pub(crate) const DIRFD: usize = START + 0x10;
    pub(crate) const FLAGS: usize = START + 0x14;
    /// Changed by the stub: answers left, offset in the slot of the next, and how many were given.
    pub(crate) const LEFT: usize = START + 0x18;
    pub(crate) const NEXT: usize = START + 0x1c;
    pub(crate) const USED: usize = START + 0x20;
    pub(crate) const PREFIX_LEN: usize = START + 0x24;
    pub(crate) const PREFIX: usize = START + 0x28;
    pub(crate) const PREFIX_MAX: usize = 0x1d8;
    pub(crate) const ANSWERS: usize = START + 0x200;
    /// An answer: its length, `struct stat`, the name with its NUL; in units of eight bytes.
    pub(crate) const STAT: usize = 8;
    pub(crate) const NAME: usize = STAT + abi::Stat::SIZE;
    pub(crate) const MOST: usize = 64;
}

/// Bits of a slot's state word.
pub(crate) mod state {
    /// The kernel owns the thread (it is stopped or about to stop).
    pub(crate) const KERNEL: u32 = 1;
    /// Handed on to the service thread, which will resume it.
    pub(crate) const SERVICE: u32 = 2;
    /// Position of the event's kind.
    pub(crate) const KIND_SHIFT: u32 = 8;
    /// Set by whoever wants the kernel's waiter to look again.
    pub(crate) const POKE: u32 = 1 << 29;
    /// The kernel's thread sleeps.
    pub(crate) const KERNEL_SLEEPS: u32 = 1 << 30;
    /// The stub's thread sleeps.
    pub(crate) const STUB_SLEEPS: u32 = 1 << 31;
}

/// Kinds of event beside signal numbers.
pub(crate) mod kind {
    /// A system call by a patched site; registers are in [`super::ctl::REGS`].
    pub(crate) const PATCHED: u32 = 0x40;
    /// The patched path found itself interrupted before it left.
    pub(crate) const PATCHED_KICK: u32 = 0x41;
    /// A compare-and-swap was done.
    pub(crate) const CAS: u32 = 0x42;
    /// A piece could not be copied out.
    pub(crate) const COPY_FAULT: u32 = 0x43;
    /// An errand failed.
    pub(crate) const ERRAND_FAULT: u32 = 0x44;
    /// A futex call was made.
    pub(crate) const CALLED: u32 = 0x45;
}

const _: () = assert!(TRAMPOLINES < SLOTS && SLOTS + SLOTS_MAX * SLOT_LEN <= REGION + REGION_LEN);

/// Orders to a resumed stub thread.
pub(crate) mod flag {
    /// Install the FS base.
    pub(crate) const FS: u32 = 1;
    /// Install the guest's own GS base.
    pub(crate) const GS: u32 = 2;
    /// Come back with a signal frame (from the patched path).
    pub(crate) const FRAME: u32 = 4;
    /// End this thread.
    pub(crate) const EXIT: u32 = 8;
    /// Compare and swap a word of guest memory, and come back.
    pub(crate) const CAS: u32 = 0x10;
    /// Copy the pieces of [`super::ctl::OUT_LIST`], after the errands and before all else.
    pub(crate) const COPY: u32 = 0x20;
    /// Make the calls of [`super::ctl::ERRANDS`] first of all.
    pub(crate) const ERRANDS: u32 = 0x40;
    /// Make the futex call of [`super::ctl::CALL`], and come back.
    pub(crate) const CALL: u32 = 0x80;
}

/// Offsets in an errand: the call's number, its first three arguments (the third of 32 bits), and its result.
pub(crate) mod errand {
    pub(crate) const NR: usize = 0;
    pub(crate) const THIRD: usize = 4;
    pub(crate) const ADDR: usize = 8;
    pub(crate) const LEN: usize = 16;
    pub(crate) const EXPECT: usize = 24;
    pub(crate) const STEP: usize = 32;
    /// As an expected result: any will do. No call returns it.
    pub(crate) const ANY: u64 = 1;
}

/// What the stub captures of a system call's arguments, by number, in a table of [`consts::CAPTURES`]. The bytes are as the
/// guest could have them; they save the kernel process a host call.
pub(crate) mod capture {
    /// A string that the first or second argument points to.
    pub(crate) const STR_RDI: u8 = 1;
    pub(crate) const STR_RSI: u8 = 2;
    /// Bytes at the second argument, as many as the third says, or sixteen times that.
    pub(crate) const RSI_RDX: u8 = 3;
    pub(crate) const RSI_RDX16: u8 = 4;
    /// Bytes at the first argument, eight times what the second says.
    pub(crate) const RDI_RSI8: u8 = 5;
    /// Bytes of fixed length.
    pub(crate) const RDI_16: u8 = 6;
    pub(crate) const RSI_8: u8 = 7;
    pub(crate) const RSI_32: u8 = 8;
    pub(crate) const RDX_16: u8 = 9;
    pub(crate) const R10_12: u8 = 10;
    /// Longest string; longer ones are not captured.
    pub(crate) const STR_MAX: u32 = 512;
}

/// Who answers a system call in the stub: numbers in a table of [`consts::SERVED`] by the call's, and of bits in
/// [`ctl::LENT`]. 0 is nobody.
pub(crate) mod served {
    pub(crate) const ARCH_PRCTL: u8 = 1;
    pub(crate) const READ: u8 = 2;
    pub(crate) const PREAD64: u8 = 3;
    pub(crate) const LSEEK: u8 = 4;
    pub(crate) const FSTAT: u8 = 5;
    pub(crate) const NEWFSTATAT: u8 = 6;
    pub(crate) const CLOSE: u8 = 7;
    pub(crate) const FADVISE64: u8 = 8;
    pub(crate) const IOCTL: u8 = 9;
    /// Those about a file on loan.
    pub(crate) const FILES: u32 = 1 << READ
        | 1 << PREAD64
        | 1 << LSEEK
        | 1 << FSTAT
        | 1 << NEWFSTATAT
        | 1 << CLOSE
        | 1 << FADVISE64
        | 1 << IOCTL
        | 1 << FCNTL;
    pub(crate) const STAT: u8 = 10;
    pub(crate) const LSTAT: u8 = 11;
    pub(crate) const SIGPROCMASK: u8 = 12;
    pub(crate) const SET_ROBUST_LIST: u8 = 13;
    pub(crate) const SIGACTION: u8 = 14;
    pub(crate) const SET_TID_ADDRESS: u8 = 15;
    pub(crate) const RSEQ: u8 = 16;
    pub(crate) const WRITE: u8 = 17;
    pub(crate) const RECVFROM: u8 = 20;
    /// Those about descriptors in [`hal::Endless`].
    pub(crate) const ENDLESS: u32 = 1 << READ | 1 << WRITE;
    pub(crate) const FCNTL: u8 = 18;
    pub(crate) const GETDENTS64: u8 = 19;
    /// Those about a directory on loan.
    pub(crate) const DIRECTORIES: u32 =
        1 << FSTAT | 1 << NEWFSTATAT | 1 << CLOSE | 1 << FCNTL | 1 << GETDENTS64;
    /// Those about names told ahead.
    pub(crate) const NAMES: u32 = 1 << NEWFSTATAT | 1 << STAT | 1 << LSTAT;
    /// The calls that are about nothing but the thread's own registers, or not there: always lent.
    pub(crate) const ALWAYS: u32 = 1 << ARCH_PRCTL | 1 << RSEQ;
}

/// Offsets in the control page of what is known of a file on loan ([`hal::Lending`]).
pub(crate) mod file {
    /// [`super::consts::EPOCH`] when it was lent; 0 if there is none.
    pub(crate) const EPOCH: usize = 0xc00;
    /// And the processor's counter.
    pub(crate) const SINCE: usize = 0xc08;
    pub(crate) const FD: usize = 0xc10;
    /// Set by the stub.
    pub(crate) const CLOSED: usize = 0xc14;
    pub(crate) const POS: usize = 0xc18;
    /// The contents: position of the first byte, how many, where in the slot, and whether the file ends there.
    pub(crate) const FROM: usize = 0xc20;
    pub(crate) const LEN: usize = 0xc28;
    pub(crate) const AT: usize = 0xc2c;
    pub(crate) const ENDS: usize = 0xc30;
    /// Counted by the stub: calls that read, and bytes.
    pub(crate) const READS: usize = 0xc34;
    pub(crate) const BYTES: usize = 0xc38;
    /// `struct stat`.
    pub(crate) const STAT: usize = 0xc40;
    /// What F_GETFL and F_GETFD give.
    pub(crate) const FLAGS: usize = 0xcd0;
    pub(crate) const FD_FLAGS: usize = 0xcd4;
    /// What F_DUPFD_CLOEXEC gives, or -1; set by the stub once it did.
    pub(crate) const FREE: usize = 0xcd8;
    pub(crate) const DUPLICATED: usize = 0xcdc;
    /// A directory's position behind what is lent of its listing.
    pub(crate) const LISTED: usize = 0xce0;
    /// Nothing is believed longer than so many times the counter's step, as a power of two: 33 ms at 1 GHz, 7 at 5.
    /// Tests of what is believed must not depend on a host that is busy elsewhere meanwhile: there it is 16 times as long.
    pub(crate) const TIME: u32 = if cfg!(test) { 29 } else { 25 };
}

/// Offsets in the control page of the descriptors in [`hal::Endless`] (-1: none), and what was done with them.
pub(crate) mod endless {
    pub(crate) const EPOCH: usize = 0xd00;
    pub(crate) const NULL: usize = 0xd08;
    pub(crate) const ZERO: usize = 0xd0c;
    pub(crate) const READS: usize = 0xd10;
    pub(crate) const WRITES: usize = 0xd14;
    pub(crate) const READ: usize = 0xd18;
    pub(crate) const WRITTEN: usize = 0xd20;
    /// More zeros are written by the kernel process.
    pub(crate) const READ_MAX: u32 = 0x8000;
}

/// Offsets in the request page.
pub(crate) mod request {
    pub(crate) const SEQ: usize = 0x00;
    pub(crate) const SPIN: usize = 0x04;
    pub(crate) const COUNT: usize = 0x08;
    /// Address of the state word of a thread that the service thread lets go on when the batch is done, or 0.
    pub(crate) const CHAIN: usize = 0x10;
    /// Where in the control memory the stub finds [`DONE`] of this page.
    pub(crate) const FENCE: usize = 0x18;
    /// Four words, of which one gets the sequence number when a batch is done, by `pwrite64`: the fence. The stub maps
    /// this page read-only, so what stands here guest code cannot forge. Index bit 0: the last operation's result was
    /// an error; bit 1: the batch stopped there.
    pub(crate) const DONE: usize = 0x20;
    pub(crate) const DONE_STEP: usize = 8;
    pub(crate) const OPS: usize = 0x100;
    pub(crate) const OP_LEN: usize = 64;
    pub(crate) const OPS_MAX: usize = 60;
    /// In an operation: system call number, mode, six arguments, expected result.
    pub(crate) const OP_MODE: usize = 4;
    pub(crate) const OP_ARGS: usize = 8;
    pub(crate) const OP_EXPECT: usize = 56;
    /// Mode: any result will do.
    pub(crate) const ANY: u32 = 1;
}

/// Offsets in the reply page.
pub(crate) mod reply {
    pub(crate) const SEQ: usize = 0x00;
    /// Operations done.
    pub(crate) const DONE: usize = 0x08;
    /// Process number, written once by a new stub before it runs anything of the guest.
    pub(crate) const PID: usize = 0x10;
    pub(crate) const RESULTS: usize = 0x100;
    /// Buffer for `mincore`.
    pub(crate) const BYTES: usize = 0x400;
    pub(crate) const BYTES_LEN: usize = 0xc00;
    /// The kernel's thread sleeps on the sequence word.
    pub(crate) const SLEEPS: u32 = 1 << 31;
}

/// Order of the registers in [`ctl::REGS`], which is the processor's own numbering.
pub(crate) mod reg {
    pub(crate) const RAX: usize = 0;
    pub(crate) const RCX: usize = 1;
    pub(crate) const RDX: usize = 2;
    pub(crate) const RBX: usize = 3;
    pub(crate) const RSP: usize = 4;
    pub(crate) const RBP: usize = 5;
    pub(crate) const RSI: usize = 6;
    pub(crate) const RDI: usize = 7;
    pub(crate) const R8: usize = 8;
    pub(crate) const R9: usize = 9;
    pub(crate) const R10: usize = 10;
    pub(crate) const R11: usize = 11;
    pub(crate) const R12: usize = 12;
    pub(crate) const R13: usize = 13;
    pub(crate) const R14: usize = 14;
    pub(crate) const R15: usize = 15;
}
