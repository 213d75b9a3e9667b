//! Receive queues of stream sockets, and ends of files, as guest threads are told of them.

/// What is in a receive queue, for a guest thread to answer recvfrom(2) from by itself ([`crate::Context::tell_queue`]).
pub struct Queue<'a> {
    /// The descriptor by which it will ask.
    pub fd: i32,
    /// Which of the counts of [`crate::Host::raise`] says whether this is still true, and what it was before the queue and
    /// the descriptor were looked at.
    pub count: u32,
    pub value: u64,
    /// All that is there. If there is nothing, the answer is EAGAIN.
    pub bytes: &'a [u8],
}

/// Bytes that a guest thread was told of, and may have taken.
pub trait Told: Send + Sync {
    /// Ends it; whether the guest has taken them. All of them then, and nobody else may be given them. Never blocks.
    fn take_back(&self) -> bool;
}

/// Where a file ends and its position is, for a guest thread to answer `lseek(fd, 0, SEEK_END)` from ([`crate::Context::tell_end`]).
pub struct End {
    pub fd: i32,
    /// As in [`Queue`].
    pub count: u32,
    pub value: u64,
    pub size: u64,
}

/// Most queues that a guest thread is told of at a time, and most bytes of one.
pub const QUEUES: usize = 4;
pub const QUEUE_BYTES: usize = 0x360;
/// How many counts there are ([`crate::Host::raise`]). Things that share one make each other be asked for in vain.
pub const COUNTS: u32 = 128;
