//! Host calls that need `unsafe`.

pub(crate) mod calls;
pub(crate) mod confine;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod memory;
pub(crate) mod parent;
pub(crate) mod process;
pub(crate) mod signal;
pub(crate) mod tty;
