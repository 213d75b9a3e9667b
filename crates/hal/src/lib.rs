//! The one door to the host: traits and plain types only.
//!
//! Everything the kernel needs from the machine below it is a method here: guest address spaces and threads,
//! the memory shared between them, host files, terminals, clocks, entropy, threads. `host-linux` implements
//! the traits for Linux; [`mock`] implements them in memory, so that the kernel is tested with no host at all.
//!
//! Guest memory is never a Rust reference: it is copied in and out, and may change at any moment.
#![forbid(unsafe_code)]

mod context;
mod file;
mod host;
pub mod mock;
mod queue;
mod space;
mod stream;

pub use context::{
    ACTION_FLAGS, Borrowed, Contents, Context, CpuClock, EndWord, EndWords, Endless, EndlessUse, Event,
    Exception, FastIds, Foreseen, FutexCall, Kicker, Lending, Regs, SignalWords,
};
pub use file::{DirEntry, FileChange, HostFile, HostStat, NodeKind, SetAttr};
pub use host::{CpuInfo, Host, HostFacts, Limits};
pub use queue::{COUNTS, End, QUEUE_BYTES, QUEUES, Queue, Told};
pub use space::{Backing, MapOp, Prot, SharedMem, Space};
pub use stream::{Interest, Ready, Stream, Watch, WinSize};

pub use abi::{Errno, errno};

/// Result of a host operation; the errno is the host's, which has the guest's numbers.
pub type Result<T> = core::result::Result<T, Errno>;

/// Bytes of a page, on every architecture we run on so far.
pub const PAGE_SIZE: u64 = 4096;
