//! The virtual file system: names, inodes, mounts, open files.
//!
//! Filesystems implement [`inode::FileSystem`], [`inode::Inode`] and [`inode::DirOps`]; open files [`file::FileOps`]. The
//! VFS owns the dentry cache, the mount tree, path walks, permission checks and descriptors.

pub(crate) mod ahead;
mod anon;
pub mod attr;
pub mod dentry;
pub mod epoll;
pub mod eventfd;
pub mod events;
pub mod fdtable;
pub mod file;
pub mod handle;
pub mod inherited;
pub mod inode;
pub mod lock;
pub mod mount;
pub mod names;
pub mod notify;
pub mod open;
pub mod path;
pub mod permission;
pub mod pipe;
pub mod poll;
pub mod pseudo;
pub mod rename;
pub mod rw;
pub mod signalfd;
pub mod splice;
pub mod timerfd;

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use dentry::{Dentry, DentryQueue};
use inode::FileSystem;
use mount::{Mount, MountNs};
pub use names::{link, mkdir, mknod, rmdir, symlink, unlink};
pub use open::{open, open_exec};
pub use path::{LookupFlags, Path, resolve, resolve_parent};
pub use rename::rename;

use crate::{error::Result, task::Task};

/// VFS state of a machine.
#[derive(Default)]
pub struct Vfs {
    pub(crate) dentries: DentryQueue,
    /// The first namespace.
    root_ns: OnceLock<Arc<MountNs>>,
    renames: rename::RenameLock,
    lock_waits: lock::LockWaits,
    /// What may not be followed, linked and opened in directories that everybody writes to.
    pub protected: permission::Protected,
    /// Counts of inotify(7).
    inotify: Arc<notify::Counts>,
    /// A path went through a descriptor's link in /proc, so that attributes told ahead may hang on it ([`ahead`]).
    walks_descriptors: AtomicBool,
    /// Files whose handles are out.
    pub handles: handle::Handles,
    /// Where memfd_create(2) makes its files.
    memfds: OnceLock<Arc<dyn FileSystem>>,
    /// Where anonymous files live.
    anon: OnceLock<Arc<Mount>>,
}

impl Vfs {
    /// Mounts the root filesystem; once, at boot. The first task's `FsContext` is made of the namespace and its root.
    pub fn set_root(&self, fs: Arc<dyn FileSystem>, source: &str, flags: u32) -> Arc<MountNs> {
        let root = Dentry::new_root(fs.root());
        self.root_ns.get_or_init(|| MountNs::new(Mount::new(fs, root, source.as_bytes(), flags))).clone()
    }

    /// Is anything watched at all (inotify)?
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.inotify.any()
    }

    /// A filesystem was unmounted for the last time: who watches it hears of that (IN_UNMOUNT).
    pub fn unmounted(&self, fs: &dyn FileSystem) {
        self.inotify.unmounted(fs);
    }

    /// The first namespace; `None` before [`Vfs::set_root`].
    pub fn root_ns(&self) -> Option<&Arc<MountNs>> {
        self.root_ns.get()
    }

    /// Mounts a filesystem on a path, as `task` sees it. `flags`: MS_*.
    pub fn mount_at(
        &self,
        task: &Task,
        path: &[u8],
        fs: Arc<dyn FileSystem>,
        source: &str,
        flags: u32,
    ) -> Result<Arc<Mount>> {
        let at = resolve(task, abi::fs::AT_FDCWD, path, LookupFlags::FOLLOW)?;
        let root = Dentry::new_root(fs.root());
        let mount = Mount::new(fs, root, source.as_bytes(), flags);
        task.fs().mounts.attach(mount.clone(), &at)?;
        Ok(mount)
    }
}
