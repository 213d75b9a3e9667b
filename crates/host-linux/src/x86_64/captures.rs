//! Which arguments of which system calls the stub captures: the commonest of those that the kernel reads from guest memory.

use crate::layout::{capture::*, consts::CAPTURES_LEN};

/// openat2(2) and faccessat2(2), where the C library's names are young.
const OPENAT2: i64 = 437;
const FACCESSAT2: i64 = 439;

const ROWS: &[(i64, u8)] = &[
    (libc::SYS_open, STR_RDI),
    (libc::SYS_stat, STR_RDI),
    (libc::SYS_lstat, STR_RDI),
    (libc::SYS_access, STR_RDI),
    (libc::SYS_truncate, STR_RDI),
    (libc::SYS_chdir, STR_RDI),
    (libc::SYS_rename, STR_RDI),
    (libc::SYS_mkdir, STR_RDI),
    (libc::SYS_rmdir, STR_RDI),
    (libc::SYS_creat, STR_RDI),
    (libc::SYS_link, STR_RDI),
    (libc::SYS_unlink, STR_RDI),
    (libc::SYS_symlink, STR_RDI),
    (libc::SYS_readlink, STR_RDI),
    (libc::SYS_chmod, STR_RDI),
    (libc::SYS_chown, STR_RDI),
    (libc::SYS_lchown, STR_RDI),
    (libc::SYS_statfs, STR_RDI),
    (libc::SYS_openat, STR_RSI),
    (libc::SYS_mkdirat, STR_RSI),
    (libc::SYS_fchownat, STR_RSI),
    (libc::SYS_newfstatat, STR_RSI),
    (libc::SYS_unlinkat, STR_RSI),
    (libc::SYS_renameat, STR_RSI),
    (libc::SYS_renameat2, STR_RSI),
    (libc::SYS_linkat, STR_RSI),
    (libc::SYS_readlinkat, STR_RSI),
    (libc::SYS_fchmodat, STR_RSI),
    (libc::SYS_faccessat, STR_RSI),
    (libc::SYS_utimensat, STR_RSI),
    (libc::SYS_statx, STR_RSI),
    (OPENAT2, STR_RSI),
    (FACCESSAT2, STR_RSI),
    (libc::SYS_write, RSI_RDX),
    (libc::SYS_pwrite64, RSI_RDX),
    (libc::SYS_sendto, RSI_RDX),
    (libc::SYS_connect, RSI_RDX),
    (libc::SYS_bind, RSI_RDX),
    (libc::SYS_writev, RSI_RDX16),
    (libc::SYS_readv, RSI_RDX16),
    (libc::SYS_poll, RDI_RSI8),
    (libc::SYS_ppoll, RDI_RSI8),
    (libc::SYS_nanosleep, RDI_16),
    (libc::SYS_clock_nanosleep, RDX_16),
    (libc::SYS_rt_sigprocmask, RSI_8),
    (libc::SYS_rt_sigaction, RSI_32),
    (libc::SYS_epoll_ctl, R10_12),
];

/// The table as the stub reads it.
pub(crate) fn table() -> [u8; CAPTURES_LEN] {
    let mut table = [0; CAPTURES_LEN];
    for &(nr, kind) in ROWS {
        table[nr as usize] = kind;
    }
    table
}
