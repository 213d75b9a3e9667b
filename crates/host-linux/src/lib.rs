//! The host, for Linux: the one crate that touches the machine below, and the only one with `unsafe`.

pub mod dgram;
mod file;
mod poller;
pub mod signals;
mod stream;
mod sys;
pub mod tap;

pub use file::LinuxFile;
pub use stream::Streams;
