//! What kernel functions answer.

use abi::Errno;

/// Result of a kernel operation. The error is what the guest sees, or [`ERESTART`].
pub type Result<T> = core::result::Result<T, Errno>;

/// "Interrupted": the operation did nothing yet and may be begun again. Never reaches a guest: the run loop turns it into
/// EINTR or a restart, as the system call's table row says. A number outside the errnos a guest can see.
pub const ERESTART: Errno = match Errno::from_raw(512) {
    Some(e) => e,
    None => Errno::EINTR,
};
