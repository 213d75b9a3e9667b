//! inotify: what is watched.

/// Watches on one inode.
#[derive(Default)]
pub struct Watches {}

impl Watches {
    /// Something happened to the inode, or to entry `name` of it if it is a directory. `mask`: IN_* bits (IN_ISDIR
    /// included); `cookie` ties the two halves of a rename. Called with no lock held, often: must be cheap without watches.
    pub fn event(&self, _mask: u32, _cookie: u32, _name: Option<&[u8]>) {}
}
