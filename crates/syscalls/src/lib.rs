//! The system-call table and its handlers: parse, validate, one call into the kernel, encode.
//!
//! One file per family. Adding a system call is one function and one [`table::Row`] in its family's `ROWS`; a new family
//! adds its name to [`table::FAMILIES`]. `docs/COMPATIBILITY.md` is generated from the rows.
#![forbid(unsafe_code)]

pub mod args;
pub mod table;

mod clone;
mod cred;
mod dir;
mod epoll;
mod event;
mod exec;
mod exit;
mod fdops;
mod futex;
mod handle;
mod ids;
mod inotify;
mod misc;
mod mmap;
mod mount;
mod mqueue;
mod open;
mod path;
mod pidfd;
mod pipe;
mod poll;
mod prctl;
mod ptrace;
mod rlimit;
mod rw;
mod sched;
mod seccomp;
mod signal;
mod socket;
mod sockmsg;
mod splice;
mod stat;
mod sysv;
mod time;
mod timer;
mod uname;
mod unshare;
mod wait;
mod xattr;

pub use args::Args;
pub use table::Table;
