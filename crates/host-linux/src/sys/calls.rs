//! The one list of host calls that the kernel process makes once it runs. The filter that confines it is made of this
//! list ([`crate::confine`]): a wrapper that makes another call adds a row here.
//!
//! Order matters on hosts before Linux 5.11 only, which walk the filter for every call; later ones remember which calls
//! are allowed whatever their arguments.

use libc::*;

/// When a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allow {
    Always,
    /// Only for a machine that may write to host files.
    Writing,
    /// The argument's lower half under the mask is one of the values.
    Arg(usize, u32, &'static [u32]),
    /// Refused with ENOSYS and not reported: libc has another way.
    Absent,
}
use Allow::*;

const fn row(nr: c_long, allow: Allow) -> (c_long, Allow) {
    (nr, allow)
}

/// fchmodat2(2), setxattrat(2) and its kin are newer than our libc's table.
const SYS_FCHMODAT2: c_long = 452;

/// Requests on terminals. TIOCSTI, which types into the user's shell, is not among them.
const TERMINAL: &[u32] = &[
    TCGETS as u32,
    TCSETS as u32,
    TCSETSW as u32,
    TCSETSF as u32,
    TCGETS2 as u32,
    TCSETS2 as u32,
    TCSETSW2 as u32,
    TCSETSF2 as u32,
    TCFLSH as u32,
    TCXONC as u32,
    TCSBRK as u32,
    TIOCGWINSZ as u32,
    TIOCSWINSZ as u32,
    TIOCGPGRP as u32,
    TIOCGSID as u32,
    TIOCGPTN as u32,
    TIOCGPTLCK as u32,
    TIOCSPTLCK as u32,
    TIOCOUTQ as u32,
    FIONREAD as u32,
];

/// All calls.
pub(crate) const CALLS: &[(c_long, Allow)] = &[
    // What every system call of a guest needs.
    row(SYS_futex, Always),
    row(SYS_process_vm_readv, Always),
    row(SYS_process_vm_writev, Always),
    row(SYS_pread64, Always),
    row(SYS_preadv, Always),
    row(SYS_read, Always),
    row(SYS_write, Always),
    row(SYS_writev, Always),
    row(SYS_readv, Always),
    row(SYS_pwrite64, Always),
    row(SYS_pwritev, Always),
    row(SYS_sched_yield, Always),
    row(SYS_clock_gettime, Always),
    row(SYS_statx, Always),
    row(SYS_openat, Always),
    row(SYS_openat2, Always),
    row(SYS_close, Always),
    row(SYS_sched_setaffinity, Always),
    row(SYS_sched_getaffinity, Always),
    row(SYS_getcpu, Always),
    row(SYS_fallocate, Always),
    row(SYS_lseek, Always),
    row(SYS_fcntl, Always),
    row(SYS_epoll_wait, Always),
    row(SYS_epoll_pwait, Always),
    row(SYS_epoll_ctl, Always),
    row(SYS_epoll_create1, Always),
    row(SYS_eventfd2, Always),
    row(SYS_poll, Always),
    row(SYS_ppoll, Always),
    row(SYS_nanosleep, Always),
    row(SYS_clock_nanosleep, Always),
    row(SYS_restart_syscall, Always),
    row(SYS_getrandom, Always),
    // Memory of its own; none of it becomes code.
    row(SYS_munmap, Always),
    row(SYS_madvise, Always),
    row(SYS_brk, Always),
    row(SYS_mremap, Always),
    row(SYS_mmap, Arg(2, PROT_EXEC as u32, &[0])),
    row(SYS_mprotect, Arg(2, PROT_EXEC as u32, &[0])),
    // Threads of its own. libc asks for clone3 first, whose flags a filter cannot see.
    row(SYS_clone3, Absent),
    row(SYS_clone, Arg(0, (CLONE_THREAD | CLONE_VM) as u32, &[(CLONE_THREAD | CLONE_VM) as u32])),
    row(SYS_set_robust_list, Always),
    row(SYS_rseq, Always),
    row(SYS_sigaltstack, Always),
    row(SYS_rt_sigprocmask, Always),
    row(SYS_rt_sigreturn, Always),
    row(SYS_rt_sigtimedwait, Always),
    row(SYS_prctl, Arg(0, !0, &[PR_SET_NAME as u32])),
    row(SYS_exit, Always),
    row(SYS_exit_group, Always),
    row(SYS_getpid, Always),
    row(SYS_gettid, Always),
    row(SYS_getpgrp, Always),
    row(SYS_getuid, Always),
    row(SYS_geteuid, Always),
    // Stubs. Where the host has Landlock's scopes no other process can be reached.
    row(SYS_waitid, Always),
    row(SYS_kill, Arg(1, !0, &[SIGKILL as u32])),
    row(SYS_prlimit64, Arg(1, !0, &[RLIMIT_DATA])),
    row(SYS_tgkill, Arg(2, !0, &[0, SIGURG as u32])),
    // Host files, read.
    row(SYS_fstat, Always),
    row(SYS_newfstatat, Always),
    row(SYS_statfs, Always),
    row(SYS_fstatfs, Always),
    row(SYS_getdents64, Always),
    row(SYS_readlinkat, Always),
    row(SYS_readlink, Always),
    row(SYS_access, Always),
    row(SYS_faccessat, Always),
    row(SYS_faccessat2, Always),
    row(SYS_getxattr, Always),
    row(SYS_fgetxattr, Always),
    row(SYS_listxattr, Always),
    row(SYS_flistxattr, Always),
    // What others do to host files that the guest watches.
    row(SYS_inotify_init1, Always),
    row(SYS_inotify_add_watch, Always),
    row(SYS_inotify_rm_watch, Always),
    // Streams that were inherited; sockets cannot be made.
    row(SYS_recvfrom, Always),
    row(SYS_sendto, Arg(4, !0, &[0])),
    row(SYS_ioctl, Arg(1, !0, TERMINAL)),
    // Host files, changed: below `--bind` and where `--save` goes.
    row(SYS_ftruncate, Writing),
    row(SYS_fsync, Writing),
    row(SYS_fdatasync, Writing),
    row(SYS_mkdirat, Writing),
    row(SYS_mknodat, Writing),
    row(SYS_symlinkat, Writing),
    row(SYS_linkat, Writing),
    row(SYS_unlinkat, Writing),
    row(SYS_renameat, Writing),
    row(SYS_renameat2, Writing),
    row(SYS_chmod, Writing),
    row(SYS_fchmod, Writing),
    row(SYS_fchmodat, Writing),
    row(SYS_FCHMODAT2, Writing),
    row(SYS_fchown, Writing),
    row(SYS_fchownat, Writing),
    row(SYS_utimensat, Writing),
    row(SYS_setxattr, Writing),
    row(SYS_fsetxattr, Writing),
    row(SYS_removexattr, Writing),
    row(SYS_fremovexattr, Writing),
];
