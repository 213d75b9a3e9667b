//! The first stub: a copy of the machine that gives up everything but the stub's own pages.

use core::arch::asm;

use super::{code, filter::Insn};
use crate::{layout, sys::process::SchedAttr};

/// Signals that the stub's handler takes.
const HANDLED: [i32; 7] =
    [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGURG];

/// What the first stub is made of. Everything is prepared before the process is split: afterwards there is neither an
/// allocator nor a lock that could be trusted.
pub(crate) struct Recipe {
    /// Descriptors of the code and of the control memory, both opened read-only.
    pub(crate) code_fd: i32,
    pub(crate) ctl_ro_fd: i32,
    /// Where in the control memory the constants and the stub's request and reply pages stand.
    pub(crate) consts_offset: u64,
    pub(crate) pages_offset: u64,
    /// Ranges to unmap.
    pub(crate) gone: [(u64, u64); 3],
    pub(crate) filter: Vec<Insn>,
    /// Where libc registered its restartable sequence, relative to the thread pointer; length 0 if it did not.
    pub(crate) rseq: (isize, u32),
    /// Gives stubs the host's own slices.
    pub(crate) sched: Option<SchedAttr>,
}

/// `struct sigaction` of the kernel.
#[repr(C)]
struct KernelSigaction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Insn,
}

/// Where glibc registered the calling thread's restartable sequence.
pub(crate) fn libc_rseq() -> (isize, u32) {
    unsafe extern "C" {
        static __rseq_offset: isize;
        static __rseq_size: core::ffi::c_uint;
    }
    // SAFETY: glibc (2.35 and later) defines both and does not change them after start-up.
    unsafe { (__rseq_offset, __rseq_size) }
}

/// Splits off the first stub. Returns its process number, or the host's negated errno.
///
/// The new process is a child of the calling thread and gets SIGKILL when that thread ends.
pub(crate) fn split(recipe: &Recipe) -> i64 {
    // No exit signal: nobody's SIGCHLD handling is disturbed, and nobody's `wait` finds these children by accident.
    let flags = libc::CLONE_FILES as u64;
    // SAFETY: without CLONE_VM the child has a copy of this memory and this stack; it runs `child`, which never
    // returns, allocates nothing and takes no lock.
    let pid = unsafe { raw(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]) };
    if pid == 0 {
        // SAFETY: this is the new process.
        unsafe { child(recipe) }
    }
    pid
}

/// A system call that touches no memory of Rust's but what its arguments say.
unsafe fn raw(nr: i64, a: [u64; 6]) -> i64 {
    let result: i64;
    // SAFETY: the caller answers for the call; the kernel clobbers rcx and r11 alone.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            out("rcx") _, out("r11") _,
        );
    }
    result
}

/// Ends the new process with a status that says which step failed.
unsafe fn fail(step: u64) -> ! {
    loop {
        // SAFETY: ends this process.
        unsafe { raw(libc::SYS_exit_group, [step, 0, 0, 0, 0, 0]) };
    }
}

/// Statuses of a first stub that could not be made.
pub(crate) mod failed {
    pub(crate) const RSEQ: i32 = 91;
    pub(crate) const NO_NEW_PRIVS: i32 = 92;
    pub(crate) const MAP: i32 = 93;
    pub(crate) const SIGNAL: i32 = 94;
    pub(crate) const SECCOMP: i32 = 95;
}

unsafe fn child(recipe: &Recipe) -> ! {
    // SAFETY: a fresh single-threaded process that works on its own copy of memory; each call is checked where its
    // failure would weaken what follows.
    unsafe {
        let call = |nr: i64, a: [u64; 6]| raw(nr, a);
        // The host writes to the sequence area at every preemption; it is about to be unmapped.
        let (offset, len) = recipe.rseq;
        if len != 0 {
            let thread_pointer: u64;
            asm!("rdfsbase {}", out(reg) thread_pointer);
            let area = thread_pointer.wrapping_add_signed(offset as i64);
            let sizes = [32u64, 64, 96, 128, 160, 192, 224, 256];
            if !sizes.iter().any(|&n| call(libc::SYS_rseq, [area, n, 1, 0x5305_3053, 0, 0]) == 0) {
                fail(failed::RSEQ as u64);
            }
        }
        if let Some(attr) = &recipe.sched {
            call(libc::SYS_sched_setattr, [0, &raw const *attr as u64, 0, 0, 0, 0]);
        }
        call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64, 0, 0, 0, 0]);
        call(libc::SYS_prctl, [libc::PR_SET_NAME as u64, c"umlaut-stub".as_ptr() as u64, 0, 0, 0, 0]);
        // A limit of one byte stops core dumps to files and to pipes alike (core(5)).
        let no_core = [1u64, 1];
        call(libc::SYS_setrlimit, [libc::RLIMIT_CORE as u64, no_core.as_ptr() as u64, 0, 0, 0, 0]);
        if call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0]) != 0 {
            fail(failed::NO_NEW_PRIVS as u64);
        }
        let map = |addr: u64, len: u64, prot: i32, fd: i32, offset: u64| {
            let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
            if call(libc::SYS_mmap, [addr, len, prot as u64, flags, fd as u64, offset]) != addr as i64 {
                fail(failed::MAP as u64);
            }
        };
        // Nothing else may remain in the region, whatever the machine had there.
        if call(libc::SYS_munmap, [layout::REGION, layout::REGION_LEN, 0, 0, 0, 0]) != 0 {
            fail(failed::MAP as u64);
        }
        map(layout::CODE, layout::CODE_LEN, libc::PROT_READ | libc::PROT_EXEC, recipe.code_fd, 0);
        map(layout::CONSTS, layout::PAGE, libc::PROT_READ, recipe.ctl_ro_fd, recipe.consts_offset);
        let all = !0u64;
        for signo in 1..=64 {
            if [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(&signo) {
                continue;
            }
            let ours = HANDLED.contains(&signo);
            let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART | 0x0400_0000;
            // Faults stay deliverable inside the handler: its one access to guest memory may fault.
            let faults = 1u64 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1);
            let action = KernelSigaction {
                handler: if ours { code::handler() } else { libc::SIG_IGN as u64 },
                flags: if ours { flags as u64 } else { 0 },
                restorer: code::restorer(),
                mask: all & !faults,
            };
            let r = call(libc::SYS_rt_sigaction, [signo as u64, &raw const action as u64, 0, 8, 0, 0]);
            if r != 0 && ours {
                fail(failed::SIGNAL as u64);
            }
        }
        call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as u64, &raw const all as u64, 0, 8, 0, 0]);
        let program = Program { len: recipe.filter.len() as u16, filter: recipe.filter.as_ptr() };
        // 4: do not pay for speculation barriers.
        if call(libc::SYS_seccomp, [1, 4, &raw const program as u64, 0, 0, 0]) != 0 {
            fail(failed::SECCOMP as u64);
        }
        let [(a, a_len), (b, b_len), (c, c_len)] = recipe.gone;
        asm!(
            "jmp {start}",
            start = in(reg) code::zygote(),
            in("rdi") a, in("rsi") a_len, in("r12") b, in("r13") b_len, in("r14") c, in("r15") c_len,
            in("r8") recipe.pages_offset,
            options(noreturn),
        )
    }
}
