//! System calls that the stub answers itself, at the sites that were rewritten.
//!
//! A handler begins with the guest's arguments in their registers (rdi, rsi, rdx, r10, r8, r9), rbx = slot, a few words of
//! stack, and all registers of the guest saved in the control page. It leaves rbx, rbp and r13 alone and ends in one of two
//! ways: with the result in rax at `.Lserved`, or, with nothing changed that the kernel process would not find, at
//! `.Lrefuse`, where the call goes to the kernel process as every other does. Whatever is unusual it refuses. Guest addresses
//! above `{guest_last}` it refuses, too; before each instruction that touches guest memory stands `on_fault .Lrefuse`. A kick
//! that comes meanwhile is found at the way out.
//!
//! To add one: a number in [`crate::layout::served`], rows in [`ROWS`], the label in `.Lhandlers`, and a bit in the slot's
//! word [`crate::layout::ctl::LENT`] while it may answer ([`crate::context::LinuxContext::lend`]).

mod checks;
mod endless;
mod ends;
mod files;
mod names;
mod queues;
mod signals;
mod thread;

pub(crate) use {
    checks::checks, endless::endless, ends::ends, files::files, names::names, queues::queues,
    signals::signals, thread::thread,
};

use crate::layout::{consts::SERVED_LEN, served::*};

/// arch_prctl(2).
pub(crate) const ARCH_SET_FS: u32 = 0x1002;
pub(crate) const ARCH_GET_FS: u32 = 0x1003;

/// Bytes of `struct robust_list_head`.
pub(crate) const ROBUST_HEAD_LEN: u32 = 24;

const ROWS: &[(i64, u8)] = &[
    (libc::SYS_arch_prctl, ARCH_PRCTL),
    (libc::SYS_read, READ),
    (libc::SYS_pread64, PREAD64),
    (libc::SYS_lseek, LSEEK),
    (libc::SYS_fstat, FSTAT),
    (libc::SYS_newfstatat, NEWFSTATAT),
    (libc::SYS_close, CLOSE),
    (libc::SYS_fadvise64, FADVISE64),
    (libc::SYS_ioctl, IOCTL),
    (libc::SYS_stat, STAT),
    (libc::SYS_lstat, LSTAT),
    (libc::SYS_rt_sigprocmask, SIGPROCMASK),
    (libc::SYS_set_robust_list, SET_ROBUST_LIST),
    (libc::SYS_rt_sigaction, SIGACTION),
    (libc::SYS_set_tid_address, SET_TID_ADDRESS),
    (libc::SYS_rseq, RSEQ),
    (libc::SYS_write, WRITE),
    (libc::SYS_fcntl, FCNTL),
    (libc::SYS_getdents64, GETDENTS64),
    (libc::SYS_recvfrom, RECVFROM),
];

/// The table as the stub reads it.
pub(crate) fn table() -> [u8; SERVED_LEN] {
    let mut table = [0; SERVED_LEN];
    for &(nr, handler) in ROWS {
        table[nr as usize] = handler;
    }
    table
}
