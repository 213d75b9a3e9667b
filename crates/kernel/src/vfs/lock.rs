//! File locks: POSIX, open file description, flock.

/// Locks held on one inode.
#[derive(Default)]
pub struct FileLocks {}
