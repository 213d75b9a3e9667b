//! How arguments are shown: one letter for each, by call.
//!
//! | letter | argument |
//! |---|---|
//! | f, d | descriptor; directory descriptor (AT_FDCWD) |
//! | p | path |
//! | v | array of strings |
//! | w, r | bytes written (the next argument is the length); bytes that were read (the result is the length) |
//! | i, u, h, m | signed, unsigned, hexadecimal, octal number |
//! | x | pointer |
//! | s | signal |
//! | T | timespec |
//! | 2 | two descriptors that were made |
//! | a | socket address (the next argument is the length) |
//! | O P M A W C K F E t c q D G o y R | names of that kind, see [`names`] |

/// Letters of a call's arguments, and of its result (`i`, `x` for an address, `m`).
pub type Spec = (&'static str, char);

/// How to show a call; all six arguments as numbers if it is not in the list.
pub fn spec(name: &str) -> Spec {
    match CALLS.binary_search_by_key(&name, |c| c.0) {
        Ok(at) => (CALLS[at].1, CALLS[at].2),
        Err(_) => ("hhhhhh", 'i'),
    }
}

/// Sorted by name.
const CALLS: &[(&str, &str, char)] = &[
    ("accept", "fxx", 'i'),
    ("accept4", "fxxx", 'i'),
    ("access", "pA", 'i'),
    ("alarm", "u", 'i'),
    ("arch_prctl", "xx", 'i'),
    ("bind", "fau", 'i'),
    ("brk", "x", 'x'),
    ("chdir", "p", 'i'),
    ("chmod", "pm", 'i'),
    ("chown", "pii", 'i'),
    ("clock_gettime", "cx", 'i'),
    ("clock_nanosleep", "cuTx", 'i'),
    ("clone", "Cxxxx", 'i'),
    ("clone3", "xu", 'i'),
    ("close", "f", 'i'),
    ("close_range", "uux", 'i'),
    ("connect", "fau", 'i'),
    ("copy_file_range", "fxfxux", 'i'),
    ("creat", "pm", 'i'),
    ("dup", "f", 'i'),
    ("dup2", "ff", 'i'),
    ("dup3", "ffO", 'i'),
    ("epoll_create1", "x", 'i'),
    ("epoll_ctl", "fEfx", 'i'),
    ("epoll_pwait", "fxiixu", 'i'),
    ("epoll_wait", "fxii", 'i'),
    ("eventfd2", "ux", 'i'),
    ("execve", "pvx", 'i'),
    ("execveat", "dpvxt", 'i'),
    ("exit", "i", 'i'),
    ("exit_group", "i", 'i'),
    ("faccessat", "dpA", 'i'),
    ("faccessat2", "dpAt", 'i'),
    ("fadvise64", "fuuu", 'i'),
    ("fallocate", "fxuu", 'i'),
    ("fchdir", "f", 'i'),
    ("fchmod", "fm", 'i'),
    ("fchmodat", "dpm", 'i'),
    ("fchown", "fii", 'i'),
    ("fchownat", "dpiit", 'i'),
    ("fcntl", "fGx", 'i'),
    ("fdatasync", "f", 'i'),
    ("flock", "fx", 'i'),
    ("fork", "", 'i'),
    ("fstat", "fx", 'i'),
    ("fstatfs", "fx", 'i'),
    ("fsync", "f", 'i'),
    ("ftruncate", "fu", 'i'),
    ("futex", "xFuxxu", 'i'),
    ("getcwd", "xu", 'i'),
    ("getdents64", "fxu", 'i'),
    ("getegid", "", 'i'),
    ("geteuid", "", 'i'),
    ("getgid", "", 'i'),
    ("getpeername", "fxx", 'i'),
    ("getpgid", "i", 'i'),
    ("getpgrp", "", 'i'),
    ("getpid", "", 'i'),
    ("getppid", "", 'i'),
    ("getrandom", "xux", 'i'),
    ("getrusage", "ix", 'i'),
    ("getsid", "i", 'i'),
    ("getsockname", "fxx", 'i'),
    ("getsockopt", "fiixx", 'i'),
    ("gettid", "", 'i'),
    ("getuid", "", 'i'),
    ("getxattr", "ppxu", 'i'),
    ("inotify_add_watch", "fpx", 'i'),
    ("ioctl", "fxx", 'i'),
    ("kill", "is", 'i'),
    ("lchown", "pii", 'i'),
    ("link", "pp", 'i'),
    ("linkat", "dpdpt", 'i'),
    ("listen", "fi", 'i'),
    ("lseek", "fiW", 'i'),
    ("lstat", "px", 'i'),
    ("madvise", "xuD", 'i'),
    ("memfd_create", "px", 'i'),
    ("mkdir", "pm", 'i'),
    ("mkdirat", "dpm", 'i'),
    ("mknod", "pmx", 'i'),
    ("mknodat", "dpmx", 'i'),
    ("mmap", "xuPMfh", 'x'),
    ("mount", "pppxx", 'i'),
    ("mprotect", "xuP", 'i'),
    ("mremap", "xuuxx", 'x'),
    ("munmap", "xu", 'i'),
    ("nanosleep", "Tx", 'i'),
    ("newfstatat", "dpxt", 'i'),
    ("open", "pOm", 'i'),
    ("openat", "dpOm", 'i'),
    ("openat2", "dpxu", 'i'),
    ("pause", "", 'i'),
    ("pidfd_open", "ix", 'i'),
    ("pidfd_send_signal", "fsxx", 'i'),
    ("pipe", "2", 'i'),
    ("pipe2", "2O", 'i'),
    ("poll", "xui", 'i'),
    ("ppoll", "xuTxu", 'i'),
    ("prctl", "ixxxx", 'i'),
    ("pread64", "fruu", 'i'),
    ("prlimit64", "iRxx", 'i'),
    ("pselect6", "ixxxTx", 'i'),
    ("pwrite64", "fwuu", 'i'),
    ("read", "fru", 'i'),
    ("readlink", "pru", 'i'),
    ("readlinkat", "dpru", 'i'),
    ("readv", "fxu", 'i'),
    ("recvfrom", "fruxxx", 'i'),
    ("recvmsg", "fxx", 'i'),
    ("rename", "pp", 'i'),
    ("renameat", "dpdp", 'i'),
    ("renameat2", "dpdpx", 'i'),
    ("rmdir", "p", 'i'),
    ("rseq", "xuxx", 'i'),
    ("rt_sigaction", "sxxu", 'i'),
    ("rt_sigprocmask", "qxxu", 'i'),
    ("rt_sigreturn", "", 'i'),
    ("rt_sigsuspend", "xu", 'i'),
    ("sched_getaffinity", "iux", 'i'),
    ("sched_yield", "", 'i'),
    ("sendfile", "ffxu", 'i'),
    ("sendmsg", "fxx", 'i'),
    ("sendto", "fwuxau", 'i'),
    ("set_robust_list", "xu", 'i'),
    ("set_tid_address", "x", 'i'),
    ("setpgid", "ii", 'i'),
    ("setrlimit", "Rx", 'i'),
    ("setsid", "", 'i'),
    ("setsockopt", "fiixu", 'i'),
    ("setuid", "i", 'i'),
    ("shutdown", "fi", 'i'),
    ("sigaltstack", "xx", 'i'),
    ("socket", "oyi", 'i'),
    ("socketpair", "oyi2", 'i'),
    ("splice", "fxfxux", 'i'),
    ("stat", "px", 'i'),
    ("statfs", "px", 'i'),
    ("statx", "dptxx", 'i'),
    ("symlink", "pp", 'i'),
    ("symlinkat", "pdp", 'i'),
    ("sync", "", 'i'),
    ("tgkill", "iis", 'i'),
    ("time", "x", 'i'),
    ("timerfd_create", "cx", 'i'),
    ("tkill", "is", 'i'),
    ("truncate", "pu", 'i'),
    ("umask", "m", 'm'),
    ("umount2", "px", 'i'),
    ("uname", "x", 'i'),
    ("unlink", "p", 'i'),
    ("unlinkat", "dpt", 'i'),
    ("utimensat", "dpxt", 'i'),
    ("vfork", "", 'i'),
    ("wait4", "ixKx", 'i'),
    ("waitid", "iixKx", 'i'),
    ("write", "fwu", 'i'),
    ("writev", "fxu", 'i'),
];

/// Names of bits or values: whether they are bits, the mask of a value among the bits, and the names.
pub struct Names {
    pub bits: bool,
    /// What of the number is a value and not bits (the access mode among open flags).
    pub value_mask: u64,
    pub names: &'static [(u64, &'static str)],
}

const fn bits(value_mask: u64, names: &'static [(u64, &'static str)]) -> Names {
    Names { bits: true, value_mask, names }
}

const fn values(names: &'static [(u64, &'static str)]) -> Names {
    Names { bits: false, value_mask: !0, names }
}

static OPEN: Names = bits(
    3,
    &[
        (0, "O_RDONLY"),
        (1, "O_WRONLY"),
        (2, "O_RDWR"),
        (0o100, "O_CREAT"),
        (0o200, "O_EXCL"),
        (0o400, "O_NOCTTY"),
        (0o1000, "O_TRUNC"),
        (0o2000, "O_APPEND"),
        (0o4000, "O_NONBLOCK"),
        (0o4010000, "O_SYNC"),
        (0o10000, "O_DSYNC"),
        (0o20000, "O_ASYNC"),
        (0o40000, "O_DIRECT"),
        (0o100000, "O_LARGEFILE"),
        (0o20200000, "O_TMPFILE"),
        (0o200000, "O_DIRECTORY"),
        (0o400000, "O_NOFOLLOW"),
        (0o1000000, "O_NOATIME"),
        (0o2000000, "O_CLOEXEC"),
        (0o10000000, "O_PATH"),
    ],
);
static PROT: Names = bits(0, &[(0, "PROT_NONE"), (1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")]);
static MAP: Names = bits(
    15,
    &[
        (1, "MAP_SHARED"),
        (2, "MAP_PRIVATE"),
        (3, "MAP_SHARED_VALIDATE"),
        (0x10, "MAP_FIXED"),
        (0x20, "MAP_ANONYMOUS"),
        (0x100, "MAP_GROWSDOWN"),
        (0x800, "MAP_DENYWRITE"),
        (0x2000, "MAP_LOCKED"),
        (0x4000, "MAP_NORESERVE"),
        (0x8000, "MAP_POPULATE"),
        (0x20000, "MAP_STACK"),
        (0x100000, "MAP_FIXED_NOREPLACE"),
    ],
);
static ACCESS: Names = bits(0, &[(0, "F_OK"), (1, "X_OK"), (2, "W_OK"), (4, "R_OK")]);
static WHENCE: Names =
    values(&[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END"), (3, "SEEK_DATA"), (4, "SEEK_HOLE")]);
static CLONE: Names = bits(
    0xff,
    &[
        (17, "SIGCHLD"),
        (0x100, "CLONE_VM"),
        (0x200, "CLONE_FS"),
        (0x400, "CLONE_FILES"),
        (0x800, "CLONE_SIGHAND"),
        (0x1000, "CLONE_PIDFD"),
        (0x4000, "CLONE_VFORK"),
        (0x8000, "CLONE_PARENT"),
        (0x10000, "CLONE_THREAD"),
        (0x40000, "CLONE_SYSVSEM"),
        (0x80000, "CLONE_SETTLS"),
        (0x100000, "CLONE_PARENT_SETTID"),
        (0x200000, "CLONE_CHILD_CLEARTID"),
        (0x1000000, "CLONE_CHILD_SETTID"),
    ],
);
static WAIT: Names = bits(
    0,
    &[
        (0, "0"),
        (1, "WNOHANG"),
        (2, "WSTOPPED"),
        (4, "WEXITED"),
        (8, "WCONTINUED"),
        (0x0100_0000, "WNOWAIT"),
        (0x2000_0000, "__WNOTHREAD"),
        (0x4000_0000, "__WALL"),
        (0x8000_0000, "__WCLONE"),
    ],
);
static FUTEX: Names = bits(
    0x7f,
    &[
        (0, "FUTEX_WAIT"),
        (1, "FUTEX_WAKE"),
        (3, "FUTEX_REQUEUE"),
        (4, "FUTEX_CMP_REQUEUE"),
        (5, "FUTEX_WAKE_OP"),
        (6, "FUTEX_LOCK_PI"),
        (7, "FUTEX_UNLOCK_PI"),
        (8, "FUTEX_TRYLOCK_PI"),
        (9, "FUTEX_WAIT_BITSET"),
        (10, "FUTEX_WAKE_BITSET"),
        (0x80, "FUTEX_PRIVATE_FLAG"),
        (0x100, "FUTEX_CLOCK_REALTIME"),
    ],
);
static EPOLL: Names = values(&[(1, "EPOLL_CTL_ADD"), (2, "EPOLL_CTL_DEL"), (3, "EPOLL_CTL_MOD")]);
static AT: Names = bits(
    0,
    &[
        (0, "0"),
        (0x100, "AT_SYMLINK_NOFOLLOW"),
        // The same bit is AT_EACCESS for faccessat.
        (0x200, "AT_REMOVEDIR"),
        (0x400, "AT_SYMLINK_FOLLOW"),
        (0x800, "AT_NO_AUTOMOUNT"),
        (0x1000, "AT_EMPTY_PATH"),
        (0x2000, "AT_STATX_FORCE_SYNC"),
        (0x4000, "AT_STATX_DONT_SYNC"),
    ],
);
static CLOCK: Names = values(&[
    (0, "CLOCK_REALTIME"),
    (1, "CLOCK_MONOTONIC"),
    (2, "CLOCK_PROCESS_CPUTIME_ID"),
    (3, "CLOCK_THREAD_CPUTIME_ID"),
    (4, "CLOCK_MONOTONIC_RAW"),
    (5, "CLOCK_REALTIME_COARSE"),
    (6, "CLOCK_MONOTONIC_COARSE"),
    (7, "CLOCK_BOOTTIME"),
]);
static MASK: Names = values(&[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")]);
static ADVICE: Names = values(&[
    (0, "MADV_NORMAL"),
    (3, "MADV_WILLNEED"),
    (4, "MADV_DONTNEED"),
    (8, "MADV_FREE"),
    (10, "MADV_DONTFORK"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
]);
static FCNTL: Names = values(&[
    (0, "F_DUPFD"),
    (1, "F_GETFD"),
    (2, "F_SETFD"),
    (3, "F_GETFL"),
    (4, "F_SETFL"),
    (5, "F_GETLK"),
    (6, "F_SETLK"),
    (7, "F_SETLKW"),
    (8, "F_SETOWN"),
    (9, "F_GETOWN"),
    (36, "F_OFD_GETLK"),
    (37, "F_OFD_SETLK"),
    (38, "F_OFD_SETLKW"),
    (1030, "F_DUPFD_CLOEXEC"),
    (1031, "F_SETPIPE_SZ"),
    (1032, "F_GETPIPE_SZ"),
    (1033, "F_ADD_SEALS"),
    (1034, "F_GET_SEALS"),
]);
static FAMILY: Names = values(&[(1, "AF_UNIX"), (2, "AF_INET"), (10, "AF_INET6"), (16, "AF_NETLINK")]);
static SOCKET: Names = bits(
    15,
    &[
        (1, "SOCK_STREAM"),
        (2, "SOCK_DGRAM"),
        (3, "SOCK_RAW"),
        (5, "SOCK_SEQPACKET"),
        (0o4000, "SOCK_NONBLOCK"),
        (0o2000000, "SOCK_CLOEXEC"),
    ],
);
static LIMIT: Names = values(&[
    (0, "RLIMIT_CPU"),
    (1, "RLIMIT_FSIZE"),
    (2, "RLIMIT_DATA"),
    (3, "RLIMIT_STACK"),
    (4, "RLIMIT_CORE"),
    (5, "RLIMIT_RSS"),
    (6, "RLIMIT_NPROC"),
    (7, "RLIMIT_NOFILE"),
    (8, "RLIMIT_MEMLOCK"),
    (9, "RLIMIT_AS"),
]);

/// The names behind a letter.
pub fn names(letter: char) -> Option<&'static Names> {
    Some(match letter {
        'O' => &OPEN,
        'P' => &PROT,
        'M' => &MAP,
        'A' => &ACCESS,
        'W' => &WHENCE,
        'C' => &CLONE,
        'K' => &WAIT,
        'F' => &FUTEX,
        'E' => &EPOLL,
        't' => &AT,
        'c' => &CLOCK,
        'q' => &MASK,
        'D' => &ADVICE,
        'G' => &FCNTL,
        'o' => &FAMILY,
        'y' => &SOCKET,
        'R' => &LIMIT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_known() {
        assert!(CALLS.windows(2).all(|w| w[0].0 < w[1].0), "not sorted");
        for (name, letters, _) in CALLS {
            assert!((0..abi::nr::COUNT).any(|n| abi::nr::name(n) == Some(name)), "{name} is no call");
            assert!(letters.len() <= 6);
            for l in letters.chars() {
                assert!("fdpvwriuxhmsT2a".contains(l) || names(l).is_some(), "{name}: {l}");
            }
        }
        assert_eq!(spec("read").0, "fru");
        assert_eq!(spec("no_such_call").0, "hhhhhh");
    }
}
