//! The Linux x86-64 guest ABI as plain values: numbers, flags, and the byte images of kernel structures.
//!
//! Nothing here does I/O or looks at the machine it runs on. Each structure has `encode`, to the exact bytes the
//! guest reads, and where the guest passes it in, `decode`. Constants keep their Linux names; a group of them is
//! described by the manual page named above it.
//!
//! | module | content |
//! |---|---|
//! | [`errno`], [`nr`] | error and system call numbers |
//! | [`signal`], [`sigframe`] | signals, siginfo, the frame of a handler |
//! | [`fs`], [`stat`], [`xattr`] | files, records about them, mounts |
//! | [`mm`] | mappings |
//! | [`sched`], [`cap`], [`procinfo`] | tasks, capabilities, records about processes |
//! | [`ptrace`] | tracing |
//! | [`time`], [`poll`], [`net`], [`ioctl`] | clocks, readiness, sockets, terminals |
//! | [`ipc`] | System V IPC, POSIX message queues |
//! | [`elf`] | auxiliary vector |
#![forbid(unsafe_code)]

pub mod cap;
pub mod elf;
pub mod errno;
pub mod fs;
pub mod ioctl;
pub mod ipc;
pub mod mm;
pub mod net;
pub mod nr;
pub mod poll;
pub mod procinfo;
pub mod ptrace;
pub mod sched;
pub mod sigframe;
pub mod signal;
pub mod stat;
pub mod time;
pub mod wire;
pub mod xattr;

pub use cap::{CapData, CapHeader};
pub use errno::{Errno, Result};
pub use fs::{FileType, OpenFlags, major, makedev, minor};
pub use ioctl::{Termios, Winsize};
pub use mm::{MapFlags, PAGE_SIZE, Prot};
pub use net::{IoVec, MsgHdr, UCred, UnixAddr};
pub use poll::{EpollEvent, PollFd};
pub use procinfo::{Rlimit, Rusage, Sysinfo, Tms, Utsname};
pub use sigframe::{SigContext, UContext};
pub use signal::{SigAction, SigFields, SigInfo, SigSet, SigStack, Signal};
pub use stat::{Flock, Stat, Statfs, Statx};
pub use time::{Itimerspec, Itimerval, Timespec, Timeval};

#[cfg(test)]
mod tests;
