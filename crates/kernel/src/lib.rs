//! The kernel: tasks, memory, signals, files, terminals, time. Knows the host only through `hal`, and modules
//! (filesystems, drivers, socket families, the system-call table) only through [`registry`] and [`task::run::Dispatch`].
#![forbid(unsafe_code)]

pub mod coredump;
pub mod error;
pub mod futex;
pub mod io;
pub mod ipc;
pub mod load;
pub mod locks;
pub mod log;
pub mod machine;
pub mod meter;
pub mod mm;
pub mod net;
pub mod ptrace;
pub mod registry;
mod ring;
pub mod seccomp;
pub mod signal;
pub mod task;
pub mod time;
pub mod tty;
pub mod tunables;
pub mod vfs;

pub use error::{ERESTART, Result};
pub use machine::{Machine, MachineConfig, MachineParts};
