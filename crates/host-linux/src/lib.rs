//! The host, for Linux: the one crate that touches the machine below, and the only one with `unsafe`.
//!
//! Guest code runs in *stub* processes, one per guest address space, which seccomp keeps from asking anything of the
//! host; `docs/PLATFORM.md` explains how and why that holds. [`LinuxHost`] is the value that the kernel gets.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("guest code runs on x86-64 Linux hosts only");

mod changes;
pub mod check;
mod company;
pub mod confine;
mod context;
pub mod dgram;
mod doomed;
mod engine;
mod errands;
mod facts;
mod file;
mod host;
mod idle;
mod layout;
pub mod parent;
mod placement;
mod poller;
mod service;
mod shared;
pub mod signals;
mod sites;
mod slots;
mod space;
mod stream;
mod stub;
mod sys;
pub mod tap;
mod texts;
mod thread;
mod vdso;
mod watchdog;
mod x86_64;

#[cfg(test)]
mod tests;

pub use file::LinuxFile;
pub use host::{LinuxHost, StartError};
pub use stream::Streams;
pub use sys::process::process_exists;

/// Host user and process number of this process.
pub fn own_ids() -> (u32, u32) {
    (sys::process::own_ids().0, sys::process::own_pid().cast_unsigned())
}
