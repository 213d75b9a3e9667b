//! Host calls that need `unsafe`.

pub(crate) mod file;
pub(crate) mod signal;
pub(crate) mod tty;
