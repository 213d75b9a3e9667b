//! Host files, as hostfs and image drivers need them. Names are single components: the implementation refuses `/`, `..`
//! and follows no symbolic link, so that a tree cannot be left.

use std::sync::Arc;

use abi::Timespec;

use crate::Result;

/// Kind of a host node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    Char,
    Block,
}

/// Attributes of a host node, as `stat` gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStat {
    pub dev: u64,
    pub ino: u64,
    /// Type and permission bits (`st_mode`).
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
    /// Birth time, zero if the host has none.
    pub btime: Timespec,
}

/// One entry of a directory listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: Vec<u8>,
    pub ino: u64,
    /// `d_type` (DT_*).
    pub dtype: u8,
    /// Position after this entry, for the next listing.
    pub next: u64,
}

/// What happened to a watched host file, as inotify(7) puts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// IN_* bits.
    pub mask: u32,
    /// Ties the two halves of a rename together.
    pub cookie: u32,
    /// The entry of a directory that it is about; empty for the file itself.
    pub name: Vec<u8>,
}

/// Attribute changes; `None` leaves a field alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<Timespec>,
    pub mtime: Option<Timespec>,
}

/// An open host file or directory. All calls return the host's errno on failure.
pub trait HostFile: Send + Sync {
    /// Host descriptor number, for the platform's own mappings; -1 in mocks.
    fn raw_fd(&self) -> i32;
    fn stat(&self) -> Result<HostStat>;
    /// `(f_type, f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_namelen)` as 64-bit words.
    fn statfs(&self) -> Result<[u64; 8]>;
    fn pread(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;
    fn pwrite(&self, offset: u64, buf: &[u8]) -> Result<usize>;
    fn truncate(&self, size: u64) -> Result<()>;
    /// `fallocate` with the given mode bits.
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()>;
    fn sync(&self, data_only: bool) -> Result<()>;
    /// SEEK_DATA (`data`) or SEEK_HOLE.
    fn seek(&self, offset: u64, data: bool) -> Result<u64>;

    /// Opens an entry of this directory: `flags` are Linux open flags (O_NOFOLLOW and O_CLOEXEC are added).
    fn open_at(&self, name: &[u8], flags: u32, mode: u32) -> Result<Arc<dyn HostFile>>;
    /// `fstatat` with AT_SYMLINK_NOFOLLOW.
    fn stat_at(&self, name: &[u8]) -> Result<HostStat>;
    fn readlink_at(&self, name: &[u8]) -> Result<Vec<u8>>;
    /// Appends entries from position `from` (0 = start); `.` and `..` are left out. Appends nothing at the end.
    fn read_dir(&self, from: u64, out: &mut Vec<DirEntry>) -> Result<()>;
    fn mkdir_at(&self, name: &[u8], mode: u32) -> Result<()>;
    fn mknod_at(&self, name: &[u8], mode: u32, dev: u64) -> Result<()>;
    fn symlink_at(&self, name: &[u8], target: &[u8]) -> Result<()>;
    fn link_at(&self, old_dir: &dyn HostFile, old: &[u8], name: &[u8]) -> Result<()>;
    /// Gives this open file a name in `dir`; for files that have none yet (O_TMPFILE). EOPNOTSUPP where the host cannot.
    fn link_file_at(&self, _dir: &dyn HostFile, _name: &[u8]) -> Result<()> {
        Err(crate::errno::EOPNOTSUPP)
    }
    fn unlink_at(&self, name: &[u8], is_dir: bool) -> Result<()>;
    fn rename_at(&self, name: &[u8], new_dir: &dyn HostFile, new: &[u8], flags: u32) -> Result<()>;
    fn set_attr_at(&self, name: &[u8], attr: &SetAttr) -> Result<()>;
    fn set_attr(&self, attr: &SetAttr) -> Result<()>;
    /// `faccessat` of the machine's own identity; `mode` is R_OK|W_OK|X_OK.
    fn access_at(&self, name: &[u8], mode: u32) -> Result<()>;
    fn list_xattr(&self) -> Result<Vec<Vec<u8>>>;
    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>>;
    /// `flags` as of setxattr(2).
    fn set_xattr(&self, _name: &[u8], _value: &[u8], _flags: u32) -> Result<()> {
        Err(crate::errno::EOPNOTSUPP)
    }
    fn remove_xattr(&self, _name: &[u8]) -> Result<()> {
        Err(crate::errno::EOPNOTSUPP)
    }
}
