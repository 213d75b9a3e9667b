//! The virtual file system: names, inodes, mounts, open files.
//!
//! Filesystems implement [`inode::FileSystem`], [`inode::Inode`] and [`inode::DirOps`]; open files [`file::FileOps`]. The
//! VFS owns the dentry cache, the mount tree, path walks, permission checks and descriptors.

pub mod dentry;
pub mod fdtable;
pub mod file;
pub mod inode;
pub mod lock;
pub mod mount;
pub mod notify;
pub mod path;
pub mod pipe;
pub mod poll;

/// VFS state of a machine.
#[derive(Default)]
pub struct Vfs {}
