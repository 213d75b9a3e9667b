//! Calls on stub processes.

use std::mem::MaybeUninit;

use hal::{Errno, Result, errno};

use super::file::last_errno;
use crate::layout;

/// Host number of this process.
pub(crate) fn own_pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

/// Real user and group of this process.
pub(crate) fn own_ids() -> (u32, u32) {
    // SAFETY: takes nothing.
    unsafe { (libc::getuid(), libc::getgid()) }
}

/// Whether a process of the host has this number.
pub fn process_exists(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    // SAFETY: signal 0 only asks; a process of somebody else's answers EPERM.
    pid > 0 && (unsafe { libc::kill(pid, 0) } == 0 || last_errno() == errno::EPERM)
}

/// The call of prctl(2) by which a thread has its system calls dispatched to itself, as signals, and its operation that
/// names the addresses where they are (Linux 6.17; older hosts know the opposite alone).
pub(crate) const SYSCALL_DISPATCH: i32 = 59;
pub(crate) const DISPATCH_INSIDE: i32 = 2;

/// Whether the host dispatches system calls by where they are made.
pub(crate) fn can_dispatch() -> bool {
    let call = |op: i32, from: u64, len: u64| {
        // SAFETY: no code of this process stands in that range, in which the host would turn calls into signals.
        unsafe { libc::prctl(SYSCALL_DISPATCH, op, from, len, 0) }
    };
    let can = call(DISPATCH_INSIDE, layout::CODE, layout::CODE_LEN) == 0;
    if can {
        call(0, 0, 0);
    }
    can
}

/// Sends SIGKILL.
pub(crate) fn kill(pid: i32) {
    // SAFETY: plain numbers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Sends a signal to one thread, or only asks whether it is there (0).
pub(crate) fn signal_thread(pid: i32, tid: i32, signo: i32) -> Result<()> {
    // SAFETY: plain numbers.
    if unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signo) } != 0 {
        return Err(last_errno());
    }
    Ok(())
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) pid: i32,
    /// Signal that ended it, or 0.
    pub(crate) signo: i32,
    /// Exit status, if no signal did.
    pub(crate) status: i32,
}

/// Waits for an end among the children of the calling thread (`pid` 0: any) and leaves it to be collected.
pub(crate) fn await_child(pid: i32, collect: bool) -> Result<Ended> {
    let (which, id) = if pid == 0 { (libc::P_ALL, 0) } else { (libc::P_PID, pid as u32) };
    let mut flags = libc::WEXITED | libc::__WALL | libc::__WNOTHREAD;
    if !collect {
        flags |= libc::WNOWAIT;
    }
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        // SAFETY: the call fills in the structure, which was zeroed before and so is valid in any case.
        let (r, info) =
            unsafe { (libc::waitid(which, id, info.as_mut_ptr(), flags), info.assume_init_ref()) };
        if r == 0 {
            // SAFETY: after a success of waitid these fields hold.
            let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
            let by_signal = info.si_code == libc::CLD_KILLED || info.si_code == libc::CLD_DUMPED;
            let (signo, status) = if by_signal { (value, 0) } else { (0, value) };
            return Ok(Ended { pid, signo, status });
        }
        match last_errno() {
            errno::EINTR => {}
            e => return Err(e),
        }
    }
}

/// Copies from or to another process (process_vm_readv(2)); returns the bytes copied before the first that cannot be.
fn vm_copy(pid: i32, addr: u64, local: libc::iovec, write: bool) -> Result<usize> {
    let mut local = local;
    let mut addr = addr;
    let mut total = 0;
    let nr = if write { libc::SYS_process_vm_writev } else { libc::SYS_process_vm_readv };
    // One call stops at 2 GiB, and in the middle only at a page that cannot be reached.
    while local.iov_len > 0 {
        let remote = libc::iovec { iov_base: addr as *mut _, iov_len: local.iov_len };
        // SAFETY: the local piece is memory of the caller's that it lends for the call; the remote one is another
        // process's, checked by the host.
        let n =
            unsafe { libc::syscall(nr, pid, &raw const local, 1usize, &raw const remote, 1usize, 0usize) };
        if n <= 0 {
            return match last_errno() {
                _ if n == 0 || total > 0 => Ok(total),
                errno::EFAULT => Ok(0),
                e => Err(e),
            };
        }
        let n = n as usize;
        total += n;
        addr += n as u64;
        local.iov_len -= n;
        local.iov_base = local.iov_base.cast::<u8>().wrapping_add(n).cast();
    }
    Ok(total)
}

/// Reads another process's memory.
pub(crate) fn vm_read(pid: i32, addr: u64, buf: &mut [u8]) -> Result<usize> {
    vm_copy(pid, addr, libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() }, false)
}

/// Writes another process's memory.
pub(crate) fn vm_write(pid: i32, addr: u64, buf: &[u8]) -> Result<usize> {
    vm_copy(pid, addr, libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() }, true)
}

/// Reads into a piece of a window.
pub(crate) fn vm_read_into(pid: i32, addr: u64, piece: libc::iovec) -> Result<usize> {
    vm_copy(pid, addr, piece, false)
}

/// Writes from a piece of a window.
pub(crate) fn vm_write_from(pid: i32, addr: u64, piece: libc::iovec) -> Result<usize> {
    vm_copy(pid, addr, piece, true)
}

/// Bytes in nanoseconds of a clock (clock_gettime(2)).
pub(crate) fn clock_ns(clock: i32) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills in the structure it is given.
    unsafe { libc::clock_gettime(clock, &mut t) };
    (t.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(t.tv_nsec as u64)
}

/// Processor time of a process in nanoseconds; 0 if it is gone (clock_getcpuclockid(3)).
pub(crate) fn process_time_ns(pid: i32) -> u64 {
    clock_ns(!pid << 3 | 2)
}

/// The clock of the calling thread's processor time, which other threads of the process can read.
pub(crate) fn own_thread_clock() -> i32 {
    !own_tid() << 3 | 6
}

/// Fills the buffer with unpredictable bytes.
pub(crate) fn random(buf: &mut [u8]) {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut buf[done..];
        // SAFETY: writes at most the bytes of the slice.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n > 0 {
            done += n as usize;
        }
    }
}

/// Raises the soft limit of descriptors to the hard one.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take the structure for their own duration.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// The hard limit of private writable memory.
pub(crate) fn hard_data_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the call takes the structure for its own duration.
    unsafe { libc::getrlimit(libc::RLIMIT_DATA, &mut limit) };
    limit.rlim_max
}

/// Sets another process's soft limit of private writable memory; the hard one stays what it is.
pub(crate) fn limit_data(pid: i32, bytes: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes.min(hard), rlim_max: hard };
    // SAFETY: the structure outlives the call, which reads it alone.
    if unsafe { libc::prlimit(pid, libc::RLIMIT_DATA, &limit, std::ptr::null_mut()) } != 0 {
        return Err(last_errno());
    }
    Ok(())
}

/// The processors that this process may use (sched_getaffinity(2)).
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: fills in the set, which was zeroed before and so is valid in any case.
    let set = unsafe {
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
        set.assume_init()
    };
    // SAFETY: looks at bits below the set's size.
    (0..libc::CPU_SETSIZE as usize).filter(|&c| unsafe { libc::CPU_ISSET(c, &set) }).collect()
}

/// Confines a thread (0: the calling one) to processors.
pub(crate) fn set_affinity(tid: i32, cpus: &[usize]) {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: an all-zero set is the empty one; members are below its size.
    unsafe {
        let set = set.assume_init_mut();
        cpus.iter().filter(|&&c| c < libc::CPU_SETSIZE as usize).for_each(|&c| libc::CPU_SET(c, set));
        libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), set);
    }
}

/// `struct sched_attr` (sched_setattr(2)).
#[derive(Default)]
#[repr(C)]
pub(crate) struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of an ordinary thread: its slice in nanoseconds; 0 for the host's own.
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl SchedAttr {
    /// An ordinary thread's, as nice as the caller.
    pub(crate) fn with_slice(ns: u64) -> SchedAttr {
        // SAFETY: takes plain numbers; an error would be taken for a nice value of -1, which is refused if it matters.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        SchedAttr { size: size_of::<SchedAttr>() as u32, nice, runtime: ns, ..SchedAttr::default() }
    }
}

/// Whether the calling thread is an ordinary one (SCHED_OTHER).
pub(crate) fn is_ordinary() -> bool {
    // SAFETY: takes plain numbers.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}

/// Sets the length of the calling thread's slices, which threads made from now on inherit. A thread with shorter slices
/// than the running one takes the processor from it when it wakes (Linux 6.12; earlier hosts ignore it).
pub(crate) fn set_slice(ns: u64) {
    if is_ordinary() {
        let attr = SchedAttr::with_slice(ns);
        // SAFETY: the structure outlives the call, which reads it alone.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    }
}

/// The processor that the calling thread runs on now.
pub(crate) fn current_cpu() -> usize {
    // SAFETY: takes nothing.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// Host thread number of the calling thread.
pub(crate) fn own_tid() -> i32 {
    thread_local! {
        // SAFETY: takes nothing.
        static TID: i32 = unsafe { libc::syscall(libc::SYS_gettid) as i32 };
    }
    TID.with(|t| *t)
}

/// The host's error as ours; EIO for numbers that are none.
pub(crate) fn from_ret(ret: u64) -> Result<u64> {
    match Errno::from_ret(ret) {
        Some(e) => Err(e),
        None => Ok(ret),
    }
}
