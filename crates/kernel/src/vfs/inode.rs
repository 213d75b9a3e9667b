//! What a filesystem offers: inodes with small sets of operations. What an inode cannot do is `None`, not an error stub.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use abi::{FileType, OpenFlags, Timespec};

use super::{file::FileOps, lock::FileLocks, notify::Watches, path::Path, pipe::Pipe};
use crate::{
    error::Result,
    locks,
    task::{Cred, Task},
};
use ksync::Mutex;

/// Attributes of an inode (`stat`, `statx`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Device of the filesystem (`st_dev`).
    pub dev: u64,
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    /// 512-byte units.
    pub blocks: u64,
    pub blksize: u32,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Timespec,
}

impl Attr {
    /// What stat(2) shows.
    pub fn as_stat(&self) -> abi::Stat {
        abi::Stat {
            dev: self.dev,
            ino: self.ino,
            nlink: u64::from(self.nlink),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size: self.size.cast_signed(),
            blksize: i64::from(self.blksize),
            blocks: self.blocks.cast_signed(),
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
        }
    }
}

/// Attribute changes; `None` leaves a field alone. The caller has checked permissions; times are final values.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttrChange {
    /// Permission bits only.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<Timespec>,
    pub mtime: Option<Timespec>,
    pub ctime: Option<Timespec>,
}

/// Target of a symbolic link.
pub enum Link {
    /// Text to walk.
    Text(Vec<u8>),
    /// A place reached without a walk (`/proc/PID/{exe,cwd,root,fd/N}`).
    Jump(Path),
    /// Text to show for something that has no place (`pipe:[1]`) and the open file to reopen on `open`.
    Open(Vec<u8>, Arc<super::file::File>),
}

/// What the kernel itself attaches to any inode. Embedded by every inode implementation; made when first used, as most
/// inodes are only looked at.
#[derive(Default)]
pub struct InodeCommon(OnceLock<Box<CommonParts>>);

/// Locks, watches and bindings of an inode.
pub struct CommonParts {
    /// POSIX, OFD and flock locks.
    pub locks: FileLocks,
    /// inotify watches.
    pub watches: Watches,
    /// The pipe of a FIFO while somebody has it open.
    pub fifo: Mutex<Option<std::sync::Weak<Pipe>>>,
    /// The socket bound here (owned by the socket family).
    pub socket: Mutex<Option<std::sync::Weak<dyn Any + Send + Sync>>>,
    /// Held while bytes are put at the end (O_APPEND).
    pub append: Mutex<()>,
    /// Writers minus executors, for ETXTBSY: > 0 open for writing, < 0 being executed.
    pub writers: std::sync::atomic::AtomicI32,
    /// Known to have no file capabilities: a write need not look for any.
    plain: std::sync::atomic::AtomicBool,
}

impl InodeCommon {
    pub const fn new() -> InodeCommon {
        InodeCommon(OnceLock::new())
    }

    /// The parts, if anybody has used them: for those who only release or report.
    #[inline]
    pub fn made(&self) -> Option<&CommonParts> {
        self.0.get().map(|p| &**p)
    }
}

impl std::ops::Deref for InodeCommon {
    type Target = CommonParts;
    fn deref(&self) -> &CommonParts {
        self.0.get_or_init(|| Box::new(CommonParts::new()))
    }
}

impl CommonParts {
    fn new() -> CommonParts {
        CommonParts {
            locks: FileLocks::default(),
            watches: Watches::default(),
            fifo: Mutex::new(locks::INODE, None),
            socket: Mutex::new(locks::INODE, None),
            append: Mutex::new(locks::FILE_POS, ()),
            writers: std::sync::atomic::AtomicI32::new(0),
            plain: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// True if nobody writes to the file or locks it, or has ever locked it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.writers.load(std::sync::atomic::Ordering::SeqCst) <= 0 && self.locks.is_unused()
    }

    /// File capabilities may have been set.
    pub fn capabilities_set(&self) {
        self.plain.store(false, std::sync::atomic::Ordering::Release);
    }

    /// True if nobody has to look for file capabilities; from then on until [`InodeCommon::capabilities_set`].
    pub(super) fn is_plain(&self) -> bool {
        self.plain.load(std::sync::atomic::Ordering::Acquire)
    }
    pub(super) fn set_plain(&self) {
        self.plain.store(true, std::sync::atomic::Ordering::Release);
    }

    /// Counts a writer (1) or an executor (-1); `None` while there are any of the other kind.
    pub(super) fn change_writers(&self, by: i32) -> Option<()> {
        use std::sync::atomic::Ordering::{AcqRel, Acquire};
        let allowed = |n: i32| if n == 0 || (n > 0) == (by > 0) { n.checked_add(by) } else { None };
        self.writers.fetch_update(AcqRel, Acquire, allowed).ok().map(|_| ())
    }
}

/// A file, directory, link or node of a filesystem.
pub trait Inode: Any + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn common(&self) -> &InodeCommon;
    fn fs(&self) -> Arc<dyn FileSystem>;
    fn ino(&self) -> u64;
    fn kind(&self) -> FileType;
    fn attr(&self) -> Result<Attr>;
    fn set_attr(&self, change: &AttrChange) -> Result<()>;
    /// `(mode, uid, gid)`: what permission checks need, asked for each component of a walk. Cheaper than [`Inode::attr`]
    /// where a filesystem can make it so.
    fn owner_mode(&self) -> Result<(u32, u32, u32)> {
        self.attr().map(|a| (a.mode, a.uid, a.gid))
    }
    /// True if the attributes are those of a host file, and whoever changes them from inside calls
    /// [`hal::Host::recall_files`].
    fn attr_lasts(&self) -> bool {
        false
    }
    /// Opens a regular file or directory (or a pseudo file). Devices, FIFOs and sockets are opened by the VFS through
    /// their registries and never reach this. `flags` hold the access mode and O_TRUNC has already been done.
    fn open(self: Arc<Self>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>>;
    /// Opens a regular file for reading that a walk left unchecked ([`DirOps::opening_checks`]), if its name still leads
    /// to it; `None` if that is to be found out by another walk.
    fn open_checked(self: Arc<Self>) -> Option<Arc<dyn FileOps>> {
        None
    }
    /// Directory operations, if it is a directory.
    fn dir(&self) -> Option<&dyn DirOps> {
        None
    }
    /// Target, if it is a symbolic link; `None` otherwise. `task` is who looks (`/proc/self`).
    fn read_link(&self, _task: &Task) -> Option<Result<Link>> {
        None
    }
    fn xattr(&self) -> Option<&dyn XattrOps> {
        None
    }
    /// The host's object that this stands for, if others may change it there: to be watched, not read.
    fn host_file(&self) -> Option<Arc<dyn hal::HostFile>> {
        None
    }
    /// Somebody else changed it on the host: what is remembered of it counts no more.
    fn host_changed(&self) {}
    /// The host's file (see [`super::inherited`]): opened by [`Inode::open`] whatever its type.
    fn is_inherited(&self) -> bool {
        false
    }
    /// The process whose directory in /proc it is.
    fn process(&self) -> Option<crate::task::Pid> {
        None
    }
    /// Extra permission rule beyond owner and mode (hostfs: what the host allows). `mask` is R_OK|W_OK|X_OK.
    fn permission(&self, _cred: &Cred, _mask: u32) -> Result<()> {
        Ok(())
    }
}

/// Operations of a directory. Names are single components, never `.`, `..`, empty or longer than 255 bytes. The caller
/// holds the directory's dentry lock, has checked permissions and existence through the dentry cache; the filesystem
/// still answers correctly if the state below has changed (EEXIST, ENOENT).
pub trait DirOps: Send + Sync {
    /// ENOENT if there is no such entry.
    fn lookup(&self, name: &[u8], task: &Task) -> Result<Arc<dyn Inode>>;
    /// True if the cached inode still is what `name` stands for (asked on each walk when [`DirOps::volatile`]).
    fn revalidate(&self, _name: &[u8], _inode: Option<&Arc<dyn Inode>>) -> bool {
        true
    }
    /// True if [`Inode::open_checked`] finds out what [`DirOps::revalidate`] would, so that a walk which ends with the
    /// opening of the file need not ask as well.
    fn opening_checks(&self, _name: &[u8], _inode: &Arc<dyn Inode>) -> bool {
        false
    }
    /// Entries may change without the kernel (hostfs, proc): cached dentries are revalidated before use.
    fn volatile(&self) -> bool {
        false
    }
    /// Creates a regular file. `mode` has the umask applied; `owner` gives the new inode's ids.
    fn create(&self, name: &[u8], mode: u32, owner: (u32, u32)) -> Result<Arc<dyn Inode>>;
    fn mkdir(&self, name: &[u8], mode: u32, owner: (u32, u32)) -> Result<Arc<dyn Inode>>;
    /// FIFOs, sockets and devices; `mode` includes the type.
    fn mknod(&self, name: &[u8], mode: u32, rdev: u64, owner: (u32, u32)) -> Result<Arc<dyn Inode>>;
    fn symlink(&self, name: &[u8], target: &[u8], owner: (u32, u32)) -> Result<Arc<dyn Inode>>;
    fn link(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()>;
    fn unlink(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()>;
    /// ENOTEMPTY if it has entries.
    fn rmdir(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()>;
    /// `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT; EINVAL for those it does not know. `new_dir` is of
    /// the same filesystem.
    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], flags: u32) -> Result<()>;
    /// An unnamed regular file (O_TMPFILE).
    fn tmpfile(&self, _mode: u32, _owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(abi::errno::EOPNOTSUPP)
    }
}

/// Extended attributes (xattr(7)). Names carry their namespace prefix.
pub trait XattrOps: Send + Sync {
    /// ENODATA if absent.
    fn get(&self, name: &[u8]) -> Result<Vec<u8>>;
    /// `flags`: XATTR_CREATE, XATTR_REPLACE.
    fn set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()>;
    fn remove(&self, name: &[u8]) -> Result<()>;
    fn list(&self) -> Result<Vec<Vec<u8>>>;
}

/// What `statfs` answers; the id and flags are added by the VFS.
#[derive(Clone, Copy, Debug, Default)]
pub struct FsStats {
    pub magic: u64,
    pub block_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_avail: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u64,
}

/// A mounted filesystem instance (super block).
pub trait FileSystem: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    /// Name of its type ("tmpfs").
    fn type_name(&self) -> &'static str;
    /// Device number shown in `st_dev`.
    fn dev(&self) -> u64;
    fn root(&self) -> Arc<dyn Inode>;
    fn stats(&self) -> Result<FsStats>;
    /// Options beyond the generic ones, as /proc/mounts shows them ("size=1024k"); empty if none.
    fn options(&self) -> String {
        String::new()
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    /// New options on remount.
    fn remount(&self, _options: &str) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::InodeCommon;

    #[test]
    fn parts_are_made_by_their_first_use() {
        let common = InodeCommon::new();
        assert!(common.made().is_none());
        common.locks.release_posix(1);
        assert!(common.made().is_some());
        assert!(size_of::<InodeCommon>() <= 16, "every inode has one");
    }
}
