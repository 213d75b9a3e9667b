//! Files: flags of open(2) and the calls on paths, modes, locks, mounts (inode(7), fcntl(2), mount(2)).

use bitflags::bitflags;

pub use crate::stat::*;

/// Longest path a call accepts, with its NUL, in bytes.
pub const PATH_MAX: usize = 4096;
/// Longest file name in bytes.
pub const NAME_MAX: usize = 255;
/// Most symbolic links followed in one path.
pub const MAXSYMLINKS: u32 = 40;
/// Most bytes one read(2) or write(2) moves.
pub const MAX_RW_COUNT: usize = 0x7fff_f000;
/// Largest file offset.
pub const MAX_LFS_FILESIZE: i64 = i64::MAX;

bitflags! {
    /// Flags of open(2) and `F_GETFL`. The access mode is two bits wide, see [`OpenFlags::access`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        /// Access mode: write only.
        const WRONLY = O_WRONLY;
        /// Access mode: read and write.
        const RDWR = O_RDWR;
        /// Create the file.
        const CREAT = O_CREAT;
        /// With `CREAT`: fail if it exists.
        const EXCL = O_EXCL;
        /// Do not make it the controlling terminal.
        const NOCTTY = O_NOCTTY;
        /// Cut to length 0.
        const TRUNC = O_TRUNC;
        /// Write at the end.
        const APPEND = O_APPEND;
        /// Do not block.
        const NONBLOCK = O_NONBLOCK;
        /// Write data through.
        const DSYNC = O_DSYNC;
        /// Signal on readiness.
        const ASYNC = O_ASYNC;
        /// Bypass caches.
        const DIRECT = O_DIRECT;
        /// Accept files beyond 2 GiB; always set.
        const LARGEFILE = O_LARGEFILE;
        /// Fail unless it is a directory.
        const DIRECTORY = O_DIRECTORY;
        /// Do not follow a symbolic link at the end.
        const NOFOLLOW = O_NOFOLLOW;
        /// Leave the access time.
        const NOATIME = O_NOATIME;
        /// Close on execve(2).
        const CLOEXEC = O_CLOEXEC;
        /// The part of `O_SYNC` which `DSYNC` lacks.
        const SYNC_ONLY = O_SYNC & !O_DSYNC;
        /// A handle without access.
        const PATH = O_PATH;
        /// The part of `O_TMPFILE` which `DIRECTORY` lacks.
        const TMPFILE_ONLY = O_TMPFILE & !O_DIRECTORY;
    }
}

impl OpenFlags {
    /// `O_SYNC`: write data and metadata through.
    pub const SYNC: OpenFlags = OpenFlags::from_bits_retain(O_SYNC);
    /// `O_TMPFILE`: an unnamed file.
    pub const TMPFILE: OpenFlags = OpenFlags::from_bits_retain(O_TMPFILE);
    /// Flags `F_SETFL` changes.
    pub const SETFL: OpenFlags = OpenFlags::APPEND
        .union(OpenFlags::NONBLOCK)
        .union(OpenFlags::ASYNC)
        .union(OpenFlags::DIRECT)
        .union(OpenFlags::NOATIME);

    /// The access mode: `O_RDONLY`, `O_WRONLY`, `O_RDWR` or 3 (only ioctls).
    pub const fn access(self) -> u32 {
        self.bits() & O_ACCMODE
    }

    /// May the file be read through the descriptor?
    pub const fn readable(self) -> bool {
        matches!(self.access(), O_RDONLY | O_RDWR) && !self.contains(OpenFlags::PATH)
    }

    /// May the file be written through the descriptor?
    pub const fn writable(self) -> bool {
        matches!(self.access(), O_WRONLY | O_RDWR) && !self.contains(OpenFlags::PATH)
    }
}

// open(2).
pub const O_RDONLY: u32 = 0o0;
pub const O_WRONLY: u32 = 0o1;
pub const O_RDWR: u32 = 0o2;
pub const O_ACCMODE: u32 = 0o3;
pub const O_CREAT: u32 = 0o100;
pub const O_EXCL: u32 = 0o200;
pub const O_NOCTTY: u32 = 0o400;
pub const O_TRUNC: u32 = 0o1000;
pub const O_APPEND: u32 = 0o2000;
pub const O_NONBLOCK: u32 = 0o4000;
pub const O_DSYNC: u32 = 0o10000;
pub const O_ASYNC: u32 = 0o20000;
pub const O_DIRECT: u32 = 0o40000;
pub const O_LARGEFILE: u32 = 0o100000;
pub const O_DIRECTORY: u32 = 0o200000;
pub const O_NOFOLLOW: u32 = 0o400000;
pub const O_NOATIME: u32 = 0o1000000;
pub const O_CLOEXEC: u32 = 0o2000000;
pub const O_SYNC: u32 = 0o4010000;
pub const O_PATH: u32 = 0o10000000;
pub const O_TMPFILE: u32 = 0o20200000;

// openat2(2).
pub const RESOLVE_NO_XDEV: u64 = 0x1;
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x2;
pub const RESOLVE_NO_SYMLINKS: u64 = 0x4;
pub const RESOLVE_BENEATH: u64 = 0x8;
pub const RESOLVE_IN_ROOT: u64 = 0x10;
pub const RESOLVE_CACHED: u64 = 0x20;

// Flags and the special descriptor of path calls.
pub const AT_FDCWD: i32 = -100;
pub const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
pub const AT_EACCESS: u32 = 0x200;
pub const AT_REMOVEDIR: u32 = 0x200;
pub const AT_SYMLINK_FOLLOW: u32 = 0x400;
pub const AT_NO_AUTOMOUNT: u32 = 0x800;
pub const AT_EMPTY_PATH: u32 = 0x1000;
pub const AT_STATX_SYNC_TYPE: u32 = 0x6000;
pub const AT_STATX_SYNC_AS_STAT: u32 = 0x0;
pub const AT_STATX_FORCE_SYNC: u32 = 0x2000;
pub const AT_STATX_DONT_SYNC: u32 = 0x4000;
pub const AT_RECURSIVE: u32 = 0x8000;
pub const AT_HANDLE_FID: u32 = 0x200;

// access(2).
pub const F_OK: u32 = 0;
pub const X_OK: u32 = 1;
pub const W_OK: u32 = 2;
pub const R_OK: u32 = 4;

// Modes (inode(7)).
pub const S_IFMT: u32 = 0o170000;
pub const S_IFSOCK: u32 = 0o140000;
pub const S_IFLNK: u32 = 0o120000;
pub const S_IFREG: u32 = 0o100000;
pub const S_IFBLK: u32 = 0o60000;
pub const S_IFDIR: u32 = 0o40000;
pub const S_IFCHR: u32 = 0o20000;
pub const S_IFIFO: u32 = 0o10000;
pub const S_ISUID: u32 = 0o4000;
pub const S_ISGID: u32 = 0o2000;
pub const S_ISVTX: u32 = 0o1000;
pub const S_IRWXU: u32 = 0o700;
pub const S_IRUSR: u32 = 0o400;
pub const S_IWUSR: u32 = 0o200;
pub const S_IXUSR: u32 = 0o100;
pub const S_IRWXG: u32 = 0o70;
pub const S_IRGRP: u32 = 0o40;
pub const S_IWGRP: u32 = 0o20;
pub const S_IXGRP: u32 = 0o10;
pub const S_IRWXO: u32 = 0o7;
pub const S_IROTH: u32 = 0o4;
pub const S_IWOTH: u32 = 0o2;
pub const S_IXOTH: u32 = 0o1;
/// Bits chmod(2) changes.
pub const S_IALLUGO: u32 = 0o7777;

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Named pipe.
    Fifo,
    /// Character device.
    Char,
    /// Directory.
    Directory,
    /// Block device.
    Block,
    /// Regular file.
    Regular,
    /// Symbolic link.
    Symlink,
    /// Unix domain socket.
    Socket,
}

impl FileType {
    /// The type in a mode's `S_IFMT` bits; `None` for bits that name none (0 among them).
    pub const fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & S_IFMT {
            S_IFIFO => FileType::Fifo,
            S_IFCHR => FileType::Char,
            S_IFDIR => FileType::Directory,
            S_IFBLK => FileType::Block,
            S_IFREG => FileType::Regular,
            S_IFLNK => FileType::Symlink,
            S_IFSOCK => FileType::Socket,
            _ => return None,
        })
    }

    /// The `S_IFMT` bits.
    pub const fn mode(self) -> u32 {
        match self {
            FileType::Fifo => S_IFIFO,
            FileType::Char => S_IFCHR,
            FileType::Directory => S_IFDIR,
            FileType::Block => S_IFBLK,
            FileType::Regular => S_IFREG,
            FileType::Symlink => S_IFLNK,
            FileType::Socket => S_IFSOCK,
        }
    }

    /// `d_type` of directory entries (`DT_*`).
    pub const fn d_type(self) -> u8 {
        (self.mode() >> 12) as u8
    }

    /// The type a `d_type` names; `None` for `DT_UNKNOWN` and others.
    pub const fn from_d_type(d_type: u8) -> Option<FileType> {
        if d_type > 15 { None } else { FileType::from_mode((d_type as u32) << 12) }
    }

    /// Is it a character or block device?
    pub const fn is_device(self) -> bool {
        matches!(self, FileType::Char | FileType::Block)
    }
}

// d_type.
pub const DT_UNKNOWN: u8 = 0;
pub const DT_FIFO: u8 = 1;
pub const DT_CHR: u8 = 2;
pub const DT_DIR: u8 = 4;
pub const DT_BLK: u8 = 6;
pub const DT_REG: u8 = 8;
pub const DT_LNK: u8 = 10;
pub const DT_SOCK: u8 = 12;
pub const DT_WHT: u8 = 14;

// lseek(2).
pub const SEEK_SET: u32 = 0;
pub const SEEK_CUR: u32 = 1;
pub const SEEK_END: u32 = 2;
pub const SEEK_DATA: u32 = 3;
pub const SEEK_HOLE: u32 = 4;

// fcntl(2) commands.
pub const F_DUPFD: u32 = 0;
pub const F_GETFD: u32 = 1;
pub const F_SETFD: u32 = 2;
pub const F_GETFL: u32 = 3;
pub const F_SETFL: u32 = 4;
pub const F_GETLK: u32 = 5;
pub const F_SETLK: u32 = 6;
pub const F_SETLKW: u32 = 7;
pub const F_SETOWN: u32 = 8;
pub const F_GETOWN: u32 = 9;
pub const F_SETSIG: u32 = 10;
pub const F_GETSIG: u32 = 11;
pub const F_SETOWN_EX: u32 = 15;
pub const F_GETOWN_EX: u32 = 16;
pub const F_GETOWNER_UIDS: u32 = 17;
pub const F_OFD_GETLK: u32 = 36;
pub const F_OFD_SETLK: u32 = 37;
pub const F_OFD_SETLKW: u32 = 38;
pub const F_SETLEASE: u32 = 1024;
pub const F_GETLEASE: u32 = 1025;
pub const F_NOTIFY: u32 = 1026;
pub const F_DUPFD_QUERY: u32 = 1027;
pub const F_CREATED_QUERY: u32 = 1028;
pub const F_CANCELLK: u32 = 1029;
pub const F_DUPFD_CLOEXEC: u32 = 1030;
pub const F_SETPIPE_SZ: u32 = 1031;
pub const F_GETPIPE_SZ: u32 = 1032;
pub const F_ADD_SEALS: u32 = 1033;
pub const F_GET_SEALS: u32 = 1034;
pub const F_GET_RW_HINT: u32 = 1035;
pub const F_SET_RW_HINT: u32 = 1036;
pub const F_GET_FILE_RW_HINT: u32 = 1037;
pub const F_SET_FILE_RW_HINT: u32 = 1038;
pub const FD_CLOEXEC: u32 = 1;
// Lock types and owners.
pub const F_RDLCK: i16 = 0;
pub const F_WRLCK: i16 = 1;
pub const F_UNLCK: i16 = 2;
pub const F_OWNER_TID: i32 = 0;
pub const F_OWNER_PID: i32 = 1;
pub const F_OWNER_PGRP: i32 = 2;
// flock(2).
pub const LOCK_SH: u32 = 1;
pub const LOCK_EX: u32 = 2;
pub const LOCK_NB: u32 = 4;
pub const LOCK_UN: u32 = 8;
// Seals of memfds.
pub const F_SEAL_SEAL: u32 = 0x1;
pub const F_SEAL_SHRINK: u32 = 0x2;
pub const F_SEAL_GROW: u32 = 0x4;
pub const F_SEAL_WRITE: u32 = 0x8;
pub const F_SEAL_FUTURE_WRITE: u32 = 0x10;
pub const F_SEAL_EXEC: u32 = 0x20;
// dnotify (fcntl(2) F_NOTIFY).
pub const DN_ACCESS: u32 = 0x1;
pub const DN_MODIFY: u32 = 0x2;
pub const DN_CREATE: u32 = 0x4;
pub const DN_DELETE: u32 = 0x8;
pub const DN_RENAME: u32 = 0x10;
pub const DN_ATTRIB: u32 = 0x20;
pub const DN_MULTISHOT: u32 = 0x80000000;

// renameat2(2).
pub const RENAME_NOREPLACE: u32 = 1;
pub const RENAME_EXCHANGE: u32 = 2;
pub const RENAME_WHITEOUT: u32 = 4;
// fallocate(2).
pub const FALLOC_FL_KEEP_SIZE: u32 = 0x1;
pub const FALLOC_FL_PUNCH_HOLE: u32 = 0x2;
pub const FALLOC_FL_COLLAPSE_RANGE: u32 = 0x8;
pub const FALLOC_FL_ZERO_RANGE: u32 = 0x10;
pub const FALLOC_FL_INSERT_RANGE: u32 = 0x20;
pub const FALLOC_FL_UNSHARE_RANGE: u32 = 0x40;
// posix_fadvise(2).
pub const POSIX_FADV_NORMAL: i32 = 0;
pub const POSIX_FADV_RANDOM: i32 = 1;
pub const POSIX_FADV_SEQUENTIAL: i32 = 2;
pub const POSIX_FADV_WILLNEED: i32 = 3;
pub const POSIX_FADV_DONTNEED: i32 = 4;
pub const POSIX_FADV_NOREUSE: i32 = 5;
// close_range(2).
pub const CLOSE_RANGE_UNSHARE: u32 = 2;
pub const CLOSE_RANGE_CLOEXEC: u32 = 4;
// splice(2).
pub const SPLICE_F_MOVE: u32 = 1;
pub const SPLICE_F_NONBLOCK: u32 = 2;
pub const SPLICE_F_MORE: u32 = 4;
pub const SPLICE_F_GIFT: u32 = 8;
// preadv2(2).
pub const RWF_HIPRI: u32 = 0x1;
pub const RWF_DSYNC: u32 = 0x2;
pub const RWF_SYNC: u32 = 0x4;
pub const RWF_NOWAIT: u32 = 0x8;
pub const RWF_APPEND: u32 = 0x10;
pub const RWF_NOAPPEND: u32 = 0x20;
// sync_file_range(2).
pub const SYNC_FILE_RANGE_WAIT_BEFORE: u32 = 1;
pub const SYNC_FILE_RANGE_WRITE: u32 = 2;
pub const SYNC_FILE_RANGE_WAIT_AFTER: u32 = 4;

// mount(2).
pub const MS_RDONLY: u32 = 0x1;
pub const MS_NOSUID: u32 = 0x2;
pub const MS_NODEV: u32 = 0x4;
pub const MS_NOEXEC: u32 = 0x8;
pub const MS_SYNCHRONOUS: u32 = 0x10;
pub const MS_REMOUNT: u32 = 0x20;
pub const MS_MANDLOCK: u32 = 0x40;
pub const MS_DIRSYNC: u32 = 0x80;
pub const MS_NOSYMFOLLOW: u32 = 0x100;
pub const MS_NOATIME: u32 = 0x400;
pub const MS_NODIRATIME: u32 = 0x800;
pub const MS_BIND: u32 = 0x1000;
pub const MS_MOVE: u32 = 0x2000;
pub const MS_REC: u32 = 0x4000;
pub const MS_SILENT: u32 = 0x8000;
pub const MS_POSIXACL: u32 = 0x10000;
pub const MS_UNBINDABLE: u32 = 0x20000;
pub const MS_PRIVATE: u32 = 0x40000;
pub const MS_SLAVE: u32 = 0x80000;
pub const MS_SHARED: u32 = 0x100000;
pub const MS_RELATIME: u32 = 0x200000;
pub const MS_KERNMOUNT: u32 = 0x400000;
pub const MS_I_VERSION: u32 = 0x800000;
pub const MS_STRICTATIME: u32 = 0x1000000;
pub const MS_LAZYTIME: u32 = 0x2000000;
pub const MS_MGC_VAL: u32 = 0xc0ed0000;
pub const MS_MGC_MSK: u32 = 0xffff0000;
// umount2(2).
pub const MNT_FORCE: u32 = 1;
pub const MNT_DETACH: u32 = 2;
pub const MNT_EXPIRE: u32 = 4;
pub const UMOUNT_NOFOLLOW: u32 = 8;
// Flags of statfs(2).
pub const ST_RDONLY: u64 = 0x1;
pub const ST_NOSUID: u64 = 0x2;
pub const ST_NODEV: u64 = 0x4;
pub const ST_NOEXEC: u64 = 0x8;
pub const ST_SYNCHRONOUS: u64 = 0x10;
pub const ST_VALID: u64 = 0x20;
pub const ST_MANDLOCK: u64 = 0x40;
pub const ST_NOATIME: u64 = 0x400;
pub const ST_NODIRATIME: u64 = 0x800;
pub const ST_RELATIME: u64 = 0x1000;
pub const ST_NOSYMFOLLOW: u64 = 0x2000;
// fsopen(2) and its relatives.
pub const FSOPEN_CLOEXEC: u32 = 0x1;
pub const FSMOUNT_CLOEXEC: u32 = 0x1;
pub const OPEN_TREE_CLONE: u32 = 0x1;
pub const OPEN_TREE_CLOEXEC: u32 = 0x80000;
pub const MOVE_MOUNT_F_SYMLINKS: u32 = 0x1;
pub const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
pub const MOVE_MOUNT_T_SYMLINKS: u32 = 0x10;
pub const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
pub const MOUNT_ATTR_RDONLY: u32 = 0x1;
pub const MOUNT_ATTR_NOSUID: u32 = 0x2;
pub const MOUNT_ATTR_NODEV: u32 = 0x4;
pub const MOUNT_ATTR_NOEXEC: u32 = 0x8;
pub const MOUNT_ATTR_NOATIME: u32 = 0x10;
pub const MOUNT_ATTR_STRICTATIME: u32 = 0x20;
pub const MOUNT_ATTR_NODIRATIME: u32 = 0x80;
pub const MOUNT_ATTR_IDMAP: u32 = 0x100000;
pub const MOUNT_ATTR_NOSYMFOLLOW: u32 = 0x200000;
pub const FSCONFIG_SET_FLAG: u32 = 0;
pub const FSCONFIG_SET_STRING: u32 = 1;
pub const FSCONFIG_SET_BINARY: u32 = 2;
pub const FSCONFIG_SET_PATH: u32 = 3;
pub const FSCONFIG_SET_PATH_EMPTY: u32 = 4;
pub const FSCONFIG_SET_FD: u32 = 5;
pub const FSCONFIG_CMD_CREATE: u32 = 6;
pub const FSCONFIG_CMD_RECONFIGURE: u32 = 7;

// f_type of statfs(2).
pub const TMPFS_MAGIC: i64 = 0x1021994;
pub const PROC_SUPER_MAGIC: i64 = 0x9fa0;
pub const SYSFS_MAGIC: i64 = 0x62656572;
pub const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
pub const RAMFS_MAGIC: i64 = 0x858458f6;
pub const EXT4_SUPER_MAGIC: i64 = 0xef53;
pub const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c7630;
pub const HOSTFS_SUPER_MAGIC: i64 = 0xc0ffee;
pub const PIPEFS_MAGIC: i64 = 0x50495045;
pub const SOCKFS_MAGIC: i64 = 0x534f434b;
pub const ANON_INODE_FS_MAGIC: i64 = 0x9041934;
pub const CGROUP_SUPER_MAGIC: i64 = 0x27e0eb;
pub const CGROUP2_SUPER_MAGIC: i64 = 0x63677270;
pub const NSFS_MAGIC: i64 = 0x6e736673;
pub const HUGETLBFS_MAGIC: i64 = 0x958458f6;
pub const MQUEUE_MAGIC: i64 = 0x19800202;
pub const SECURITYFS_MAGIC: i64 = 0x73636673;
pub const DEBUGFS_MAGIC: i64 = 0x64626720;
pub const TRACEFS_MAGIC: i64 = 0x74726163;
pub const BPF_FS_MAGIC: i64 = 0xcafe4a11;
pub const BINFMTFS_MAGIC: i64 = 0x42494e4d;
pub const FUSE_SUPER_MAGIC: i64 = 0x65735546;
pub const V9FS_MAGIC: i64 = 0x1021997;
pub const PID_FS_MAGIC: i64 = 0x50494446;

// inotify(7).
pub const IN_ACCESS: u32 = 0x1;
pub const IN_MODIFY: u32 = 0x2;
pub const IN_ATTRIB: u32 = 0x4;
pub const IN_CLOSE_WRITE: u32 = 0x8;
pub const IN_CLOSE_NOWRITE: u32 = 0x10;
pub const IN_CLOSE: u32 = 0x18;
pub const IN_OPEN: u32 = 0x20;
pub const IN_MOVED_FROM: u32 = 0x40;
pub const IN_MOVED_TO: u32 = 0x80;
pub const IN_MOVE: u32 = 0xc0;
pub const IN_CREATE: u32 = 0x100;
pub const IN_DELETE: u32 = 0x200;
pub const IN_DELETE_SELF: u32 = 0x400;
pub const IN_MOVE_SELF: u32 = 0x800;
pub const IN_UNMOUNT: u32 = 0x2000;
pub const IN_Q_OVERFLOW: u32 = 0x4000;
pub const IN_IGNORED: u32 = 0x8000;
pub const IN_ONLYDIR: u32 = 0x1000000;
pub const IN_DONT_FOLLOW: u32 = 0x2000000;
pub const IN_EXCL_UNLINK: u32 = 0x4000000;
pub const IN_MASK_CREATE: u32 = 0x10000000;
pub const IN_MASK_ADD: u32 = 0x20000000;
pub const IN_ISDIR: u32 = 0x40000000;
pub const IN_ONESHOT: u32 = 0x80000000;
pub const IN_ALL_EVENTS: u32 = 0xfff;
pub const IN_CLOEXEC: u32 = 0o2000000;
pub const IN_NONBLOCK: u32 = 0o4000;

/// A device number of its parts, in the 64-bit encoding of `st_dev` and `st_rdev` (makedev(3)).
pub const fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | minor & 0xff
}

/// The major part of a device number.
pub const fn major(dev: u64) -> u32 {
    ((dev >> 32) & 0xffff_f000 | (dev >> 8) & 0xfff) as u32
}

/// The minor part of a device number.
pub const fn minor(dev: u64) -> u32 {
    ((dev >> 12) & 0xffff_ff00 | dev & 0xff) as u32
}
