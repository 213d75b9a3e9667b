//! One guest thread, as the kernel's task thread sees it.

use std::sync::Arc;

use abi::Stat;

use crate::{End, HostFile, Queue, Result, Space, Told};

/// General registers of a guest thread (x86-64; what `ptrace` calls `user_regs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

/// A processor exception of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// Host signal it arrived as (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP).
    pub signo: u8,
    /// `si_code` the host gave.
    pub code: i32,
    /// x86 trap number (14 = page fault, 13 = general protection, ...).
    pub trapno: u64,
    /// x86 error code (for a page fault: bit 1 = write, bit 4 = instruction fetch).
    pub error: u64,
    /// Faulting address (cr2), or 0.
    pub addr: u64,
}

/// Why [`Context::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest made a system call. `rip` already stands after the instruction; to restart it call
    /// [`Context::restart_syscall`].
    Syscall { nr: u64, args: [u64; 6] },
    /// A processor exception.
    Exception(Exception),
    /// [`Kicker::kick`] was called, or the host interrupted the guest; registers are at a guest boundary.
    Kicked,
    /// The stub thread or process is gone (killed by the host, or the guest destroyed its own stub). `signo` is the
    /// host signal that ended it, 0 if unknown. The context is dead: only dropping it is allowed.
    Died { signo: u8 },
}

/// A futex call as the guest made it (futex(2), futex_wait and its kin).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FutexCall {
    pub nr: u64,
    pub args: [u64; 6],
    /// Seconds and nanoseconds to be found at the address in the fourth argument, instead of what is there.
    pub time: Option<(i64, i64)>,
}

/// Values that the stub answers without leaving guest code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastIds {
    pub pid: u32,
    pub tid: u32,
    pub ppid: u32,
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
    /// False switches all in-stub answers off (tracing, seccomp inside the guest).
    pub enabled: bool,
}

/// Descriptors that a guest thread may answer calls about by itself: whatever is written to the one is gone, and the other
/// gives zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endless {
    pub null: Option<i32>,
    pub zero: Option<i32>,
    /// [`crate::Host::lending_epoch`] from before they were looked at.
    pub epoch: u64,
}

/// Calls and bytes about them. Claims of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndlessUse {
    pub reads: u32,
    pub writes: u32,
    pub read: u64,
    pub written: u64,
}

/// What is lent of an open file beside its attributes.
pub enum Contents<'a> {
    /// Of a regular file: its bytes from the position on, at most so many.
    File(&'a dyn HostFile, usize),
    /// Nothing, of a regular file.
    Unread,
    /// Of a directory: what getdents64(2) gives from the position to the end, and the position there.
    Listing(&'a [u8], u64),
    /// Nothing, of a directory.
    Unlisted,
}

/// An open file that a guest thread is lent: until it comes to the kernel next, it may answer calls about it by itself
/// (read, pread64, lseek, fstat and its kin, close; of directories getdents64, fstat, close; some of fcntl).
pub struct Lending<'a> {
    pub fd: i32,
    /// Where the file's position is, and the contents begin.
    pub pos: u64,
    /// What fstat(2) gives.
    pub stat: [u8; Stat::SIZE],
    /// What F_GETFL and F_GETFD give (fcntl(2)).
    pub flags: u32,
    pub fd_flags: u32,
    /// The lowest descriptor that is free, which F_DUPFD_CLOEXEC may give once.
    pub free: Option<i32>,
    pub contents: Contents<'a>,
    /// Nothing comes behind the position, where no contents are lent.
    pub at_end: bool,
    /// [`crate::Host::lending_epoch`] from before anything of this was looked at.
    pub epoch: u64,
}

/// What a guest thread did with a file that it was lent. All of it could be the guest's invention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Borrowed {
    /// Not beyond `i64::MAX`.
    pub pos: u64,
    pub closed: bool,
    /// [`Lending::free`] was given, before the closing.
    pub duplicated: bool,
    /// Calls that read, and bytes that they gave.
    pub reads: u32,
    pub bytes: u64,
}

/// Attributes of names in one directory, in the order in which they will probably be asked for ([`Context::foretell`]).
pub struct Foreseen<'a> {
    /// What fstatat(2) is called with: the descriptor (AT_FDCWD for stat(2) and lstat(2)), AT_* flags, and the path up to
    /// the name.
    pub dirfd: i32,
    pub flags: u32,
    pub prefix: &'a [u8],
    /// Names, and what fstatat(2) gives.
    pub answers: &'a [(&'a [u8], [u8; Stat::SIZE])],
    /// [`crate::Host::lending_epoch`] from before anything of this was looked up.
    pub epoch: u64,
}

/// Makes a guest thread return to the kernel. Kept by whoever may interrupt the task.
pub trait Kicker: Send + Sync {
    /// The running [`Context::run`], or the next one, returns [`Event::Kicked`] soon. Never blocks. May be called at any
    /// time, also after the context is gone.
    fn kick(&self);
    /// The processors that the thread may run on, one bit each (sched_setaffinity(2)): obeyed when it is resumed next.
    fn set_affinity(&self, mask: u64) {
        let _ = mask;
    }
}

/// What the stub of one guest thread shares with the kernel about signals: it may change the blocked ones itself, while
/// none are pending. Used from any thread of the kernel. Guest code can write all of this.
pub trait SignalWords: Send + Sync {
    /// The signals that are blocked now, one bit each.
    fn blocked(&self) -> u64;
    /// Only while the guest thread is stopped.
    fn set_blocked(&self, set: u64);
    /// While signals are pending the stub changes nothing. Who has queued one says so, *then* reads what is blocked: either
    /// he sees what the stub made of it, or the stub sees him and takes it back.
    fn set_pending(&self, any: bool);
    /// The action for a signal, numbered from 0, while actions are lent ([`Context::lend_actions`]): handler, flags, restorer
    /// and mask of rt_sigaction(2). Only the thread's own call changes several words at once.
    fn action(&self, signal: usize) -> [u64; 4];
    /// Only while the guest thread is stopped.
    fn set_action(&self, signal: usize, action: [u64; 4]);
}

/// Flags of an action that are kept (rt_sigaction(2)).
pub const ACTION_FLAGS: u32 = 0xdc00_0807;

/// Addresses of one guest thread that are looked at when it ends, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndWord {
    /// Where its list of robust futexes begins (set_robust_list(2)).
    RobustHead,
    /// What is cleared (set_tid_address(2)).
    ClearTid,
}

/// Keeps them where the thread's stub may change them. Used from any thread of the kernel. Guest code can write them.
pub trait EndWords: Send + Sync {
    fn get(&self, word: EndWord) -> u64;
    /// Only while the guest thread is stopped.
    fn set(&self, word: EndWord, addr: u64);
}

/// Reads the processor time of one guest thread, from any thread of the kernel.
pub trait CpuClock: Send + Sync {
    /// User and system nanoseconds used so far, as [`Context::cpu_time_ns`]. After the context's end: the last value known,
    /// or zeros.
    fn cpu_time_ns(&self) -> (u64, u64);
}

/// One guest thread. Owned by the host thread of its task; never shared.
///
/// Dropping it ends the guest thread; dropping the last context and handle of a space ends the stub process.
pub trait Context: Send {
    /// Resumes the guest and waits until it needs the kernel.
    fn run(&mut self) -> Event;

    /// Told before [`Context::run`] when the calling kernel thread has woken another one: it should not keep its processor
    /// busy while the guest runs.
    fn make_way(&mut self) {}
    /// A number for this guest thread, not 0, and the processor that it has.
    fn place(&self) -> (u64, u32) {
        (0, 0)
    }
    /// The task waited, and was woken by one that had this place.
    fn woken_from(&mut self, place: (u64, u32)) {
        let _ = place;
    }

    /// Registers at the last event. `rax` at a system call is the call's number until a result is set.
    fn regs(&mut self) -> Regs;
    /// Replaces all general registers and the segment bases.
    fn set_regs(&mut self, regs: &Regs);
    /// Sets the result register of the system call being handled.
    fn set_result(&mut self, value: u64);
    /// Sets the thread pointer (`arch_prctl(ARCH_SET_FS)`).
    fn set_tls(&mut self, fs_base: u64);
    /// Makes the guest execute the system call of the last [`Event::Syscall`] again, with its original registers.
    fn restart_syscall(&mut self);
    /// The floating-point and vector state as an XSAVE image in signal-frame layout (software-reserved bytes and end
    /// magic filled in). May have to resume the stub for an instant.
    fn fpu(&mut self) -> Result<Vec<u8>>;
    /// Replaces the vector state by an image in the layout of [`Context::fpu`]; `None` resets it. Invalid images give
    /// EINVAL (from a guest's forged signal frame) and change nothing.
    fn set_fpu(&mut self, image: Option<&[u8]>) -> Result<()>;

    /// The machine's processor that the guest thread runs on; `None` if the host places it.
    fn cpu(&self) -> Option<u32> {
        None
    }

    /// The address space this thread runs in.
    fn space(&self) -> Arc<dyn Space>;
    /// A handle that others use to interrupt this thread.
    fn kicker(&self) -> Arc<dyn Kicker>;
    /// Creates a thread in the same space. Vector state is inherited, general registers are `regs`.
    fn spawn_thread(&mut self, regs: &Regs) -> Result<Box<dyn Context>>;
    /// Creates a copy-on-write copy of the space with one thread. Vector state is inherited, registers are `regs`.
    fn fork(&mut self, regs: &Regs) -> Result<Box<dyn Context>>;
    /// A thread to go on in this one's stead, with the same state, whose futex calls come here as [`Event::Syscall`] if
    /// `trap`; otherwise the host serves them. Threads and forks made of it are of the same kind.
    fn respawn(&mut self, trap: bool) -> Result<Box<dyn Context>> {
        let _ = trap;
        Err(crate::errno::ENOSYS)
    }
    /// Whether futex calls come here.
    fn traps_futexes(&self) -> bool {
        false
    }
    /// Has the host serve a futex call that came here, on this thread; its result. EINTR if [`Kicker::kick`] ended it.
    fn host_futex(&mut self, call: &FutexCall) -> Result<u64> {
        let _ = call;
        Err(crate::errno::ENOSYS)
    }
    /// Values that may be answered in the stub.
    fn set_fast_ids(&mut self, ids: &FastIds);
    /// An updater for the in-stub parent id, usable from other tasks (reparenting).
    fn set_fast_ppid_later(&self) -> Arc<dyn Fn(u32) + Send + Sync>;

    /// Lets the stub keep the blocked signals, and change them where the guest asks for it, from now on; `None` if it cannot.
    fn lend_signals(&mut self) -> Option<Arc<dyn SignalWords>> {
        None
    }

    /// Lets the stub change the actions for signals in [`SignalWords`], too, or no longer.
    fn lend_actions(&mut self, lend: bool) {
        let _ = lend;
    }

    /// Lets the stub keep these addresses, and change them where the guest asks for it, from now on; `None` if it cannot.
    fn lend_end_words(&mut self) -> Option<Arc<dyn EndWords>> {
        None
    }

    /// Copies guest memory in; returns the bytes copied before the first address that cannot be read. May use bytes
    /// that the stub captured with the system call's arguments.
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize;
    /// Copies to guest memory; may be delayed until the guest resumes. Returns the bytes that could be written.
    fn write(&mut self, addr: u64, buf: &[u8]) -> usize;
    /// The bytes from `addr` on that the stub captured with the arguments of the present system call; how many they are, at
    /// most the buffer's. 0 says nothing about the memory.
    fn captured(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        let _ = (addr, buf);
        0
    }
    /// As [`Context::write`] of all bytes, but done only when the guest resumes, or by [`Context::flush`]: for the results
    /// of a system call, where the caller knows that the memory is private and writable. If the guest takes it away
    /// meanwhile, the call gives EFAULT after all. False if it cannot be done so; then nothing is.
    fn write_later(&mut self, addr: u64, buf: &[u8]) -> bool {
        let _ = (addr, buf);
        false
    }
    /// Reads up to `len` bytes of a host file to guest memory in the same way; the bytes read, 0 at the end of the file.
    /// `None` if it cannot be done so.
    fn read_file_later(
        &mut self,
        file: &dyn HostFile,
        offset: u64,
        addr: u64,
        len: usize,
    ) -> Option<Result<usize>> {
        let _ = (file, offset, addr, len);
        None
    }
    /// Lends an open file to the guest thread, which is about to be resumed; false if that cannot be done. What was lent
    /// is to be taken back as soon as [`Context::run`] returns, and before others may look at the file.
    fn lend_file(&mut self, lending: &Lending<'_>) -> bool {
        let _ = lending;
        false
    }
    /// Ends what [`Context::lend_file`] began; `None` if nothing was lent. With `keep` it may be lent again, unless it was
    /// closed, when the system call that came is done; till then no long results may be left for later.
    fn take_file_back(&mut self, keep: bool) -> Option<Borrowed> {
        let _ = keep;
        None
    }
    /// Lends again what was kept; false if there is nothing.
    fn lend_file_again(&mut self) -> bool {
        false
    }
    /// Lends descriptors of files without contents of their own, in place of those lent before; they may be used until
    /// lent anew or files are recalled.
    fn lend_endless(&mut self, files: &Endless) {
        let _ = files;
    }
    /// What the guest thread says it did with them since it was asked last.
    fn endless_used(&mut self) -> EndlessUse {
        EndlessUse::default()
    }
    /// Tells the guest thread attributes that it will probably ask for, so that it may answer by itself until files are
    /// recalled, a tenth of a second or so has passed, or this is called again. How many it took.
    fn foretell(&mut self, foreseen: &Foreseen<'_>) -> usize {
        let _ = foreseen;
        0
    }
    /// Ends that; how many answers it used, as it says.
    fn foretold_used(&mut self) -> usize {
        0
    }
    /// Tells the guest thread of a receive queue, in one of [`crate::QUEUES`] places, until another is told there. What it is
    /// told of bytes holds until [`Context::run`] returns, or until they are taken back. `None` if it cannot be told.
    fn tell_queue(&mut self, place: usize, queue: &Queue<'_>) -> Option<Arc<dyn Told>> {
        let _ = (place, queue);
        None
    }
    /// Tells the guest thread where a file ends, until that is forgotten or another takes its place; false if it cannot.
    fn tell_end(&mut self, end: &End) -> bool {
        let _ = end;
        false
    }
    /// Forgets what was told of the end of one file, or of all.
    fn forget_ends(&mut self, fd: Option<i32>) {
        let _ = fd;
    }
    /// Another program begins here: what the old one read and wrote is gone from wherever the new one could find it.
    fn forget_program(&mut self) {}
    /// Does now what was left for later.
    fn flush(&mut self) {}
    /// Atomically compares and swaps a 32-bit word of guest memory, aligned. Returns the value found.
    fn compare_exchange_u32(&mut self, addr: u64, old: u32, new: u32) -> Result<u32>;

    /// User and system time that this guest thread used on the host, in nanoseconds.
    fn cpu_time_ns(&self) -> (u64, u64);
    /// A handle by which others read this thread's processor time; `None` if the host has no such means. Called on the
    /// kernel thread that runs the context, whose own time from then on is the system time.
    fn cpu_clock(&self) -> Option<Arc<dyn CpuClock>> {
        None
    }
}
