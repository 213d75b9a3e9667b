//! inotify: what is watched.

/// Watches on one inode.
#[derive(Default)]
pub struct Watches {}
