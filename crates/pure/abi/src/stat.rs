//! Records about files: stat(2), statx(2), statfs(2), getdents64(2), fcntl(2) locks, inotify(7) events.

use crate::fs::{FileType, major, minor};
use crate::time::Timespec;
use crate::wire::{put_i64, put_slice, put_u16, put_u32, put_u64, wire_struct};

/// What is known of an inode; encodes to `struct stat` and fills [`Statx`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Device number of the filesystem.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Names of the inode.
    pub nlink: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device file.
    pub rdev: u64,
    /// Length in bytes.
    pub size: i64,
    /// Preferred size of transfers, in bytes.
    pub blksize: i64,
    /// Space taken in units of 512 bytes.
    pub blocks: i64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of content.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
}

impl Stat {
    /// Size of `struct stat` in guest memory, in bytes.
    pub const SIZE: usize = 144;

    /// The type in the mode.
    pub const fn file_type(&self) -> Option<FileType> {
        FileType::from_mode(self.mode)
    }

    /// `struct stat` as the guest sees it.
    pub fn encode(&self) -> [u8; 144] {
        let mut out = [0; 144];
        put_u64(&mut out, 0, self.dev);
        put_u64(&mut out, 8, self.ino);
        put_u64(&mut out, 16, self.nlink);
        put_u32(&mut out, 24, self.mode);
        put_u32(&mut out, 28, self.uid);
        put_u32(&mut out, 32, self.gid);
        put_u64(&mut out, 40, self.rdev);
        put_i64(&mut out, 48, self.size);
        put_i64(&mut out, 56, self.blksize);
        put_i64(&mut out, 64, self.blocks);
        put_slice(&mut out, 72, &self.atime.encode());
        put_slice(&mut out, 88, &self.mtime.encode());
        put_slice(&mut out, 104, &self.ctime.encode());
        out
    }
}

// statx(2) mask bits.
pub const STATX_TYPE: u32 = 0x1;
pub const STATX_MODE: u32 = 0x2;
pub const STATX_NLINK: u32 = 0x4;
pub const STATX_UID: u32 = 0x8;
pub const STATX_GID: u32 = 0x10;
pub const STATX_ATIME: u32 = 0x20;
pub const STATX_MTIME: u32 = 0x40;
pub const STATX_CTIME: u32 = 0x80;
pub const STATX_INO: u32 = 0x100;
pub const STATX_SIZE: u32 = 0x200;
pub const STATX_BLOCKS: u32 = 0x400;
pub const STATX_BASIC_STATS: u32 = 0x7ff;
pub const STATX_BTIME: u32 = 0x800;
pub const STATX_MNT_ID: u32 = 0x1000;
pub const STATX_DIOALIGN: u32 = 0x2000;
pub const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
pub const STATX_SUBVOL: u32 = 0x8000;
pub const STATX__RESERVED: u32 = 0x80000000;
// statx(2) attributes.
pub const STATX_ATTR_COMPRESSED: u64 = 0x4;
pub const STATX_ATTR_IMMUTABLE: u64 = 0x10;
pub const STATX_ATTR_APPEND: u64 = 0x20;
pub const STATX_ATTR_NODUMP: u64 = 0x40;
pub const STATX_ATTR_ENCRYPTED: u64 = 0x800;
pub const STATX_ATTR_AUTOMOUNT: u64 = 0x1000;
pub const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
pub const STATX_ATTR_VERITY: u64 = 0x100000;
pub const STATX_ATTR_DAX: u64 = 0x200000;

/// The answer of statx(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statx {
    /// Which fields are filled, `STATX_*`.
    pub mask: u32,
    /// Fields that [`Stat`] has too.
    pub stat: Stat,
    /// `STATX_ATTR_*` bits that are on.
    pub attributes: u64,
    /// `STATX_ATTR_*` bits the filesystem knows.
    pub attributes_mask: u64,
    /// Creation time, with `STATX_BTIME`.
    pub btime: Timespec,
    /// Mount the file is on, with `STATX_MNT_ID`.
    pub mnt_id: u64,
    /// Memory alignment of direct transfers in bytes, with `STATX_DIOALIGN`.
    pub dio_mem_align: u32,
    /// File alignment of direct transfers in bytes, with `STATX_DIOALIGN`.
    pub dio_offset_align: u32,
}

impl Statx {
    /// Size of `struct statx` in guest memory, in bytes.
    pub const SIZE: usize = 256;

    /// The basic fields and nothing else.
    pub fn from_stat(stat: Stat) -> Statx {
        Statx { mask: STATX_BASIC_STATS, stat, ..Statx::default() }
    }

    /// `struct statx` as the guest sees it.
    pub fn encode(&self) -> [u8; 256] {
        let mut out = [0; 256];
        let s = &self.stat;
        put_u32(&mut out, 0, self.mask);
        put_u32(&mut out, 4, s.blksize as u32);
        put_u64(&mut out, 8, self.attributes);
        put_u32(&mut out, 16, u32::try_from(s.nlink).unwrap_or(u32::MAX));
        put_u32(&mut out, 20, s.uid);
        put_u32(&mut out, 24, s.gid);
        put_u16(&mut out, 28, s.mode as u16);
        put_u64(&mut out, 32, s.ino);
        put_i64(&mut out, 40, s.size);
        put_i64(&mut out, 48, s.blocks);
        put_u64(&mut out, 56, self.attributes_mask);
        for (at, time) in [(64, s.atime), (80, self.btime), (96, s.ctime), (112, s.mtime)] {
            put_i64(&mut out, at, time.sec);
            put_u32(&mut out, at + 8, time.nsec as u32);
        }
        put_u32(&mut out, 128, major(s.rdev));
        put_u32(&mut out, 132, minor(s.rdev));
        put_u32(&mut out, 136, major(s.dev));
        put_u32(&mut out, 140, minor(s.dev));
        put_u64(&mut out, 144, self.mnt_id);
        put_u32(&mut out, 152, self.dio_mem_align);
        put_u32(&mut out, 156, self.dio_offset_align);
        out
    }
}

wire_struct! {
    /// The answer of statfs(2).
    Statfs [120] {
        /// Magic number of the filesystem type.
        kind: i64 @ 0,
        /// Preferred size of transfers, in bytes.
        bsize: i64 @ 8,
        /// Blocks in all, in units of `frsize`.
        blocks: u64 @ 16,
        /// Free blocks.
        bfree: u64 @ 24,
        /// Free blocks for ordinary users.
        bavail: u64 @ 32,
        /// Inodes in all.
        files: u64 @ 40,
        /// Free inodes.
        ffree: u64 @ 48,
        /// Filesystem id, two 32-bit words.
        fsid: u64 @ 56,
        /// Longest file name, in bytes.
        namelen: i64 @ 64,
        /// Size of a block, in bytes.
        frsize: i64 @ 72,
        /// `ST_*` bits.
        flags: u64 @ 80,
    }
}

wire_struct! {
    /// A record lock (fcntl(2)).
    Flock [32] {
        /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
        kind: i16 @ 0,
        /// What `start` counts from, `SEEK_*`.
        whence: i16 @ 2,
        /// First byte.
        start: i64 @ 8,
        /// Bytes; 0 reaches to the end of the file, however it grows.
        len: i64 @ 16,
        /// Holder of a lock in the way.
        pid: i32 @ 24,
    }
}

wire_struct! {
    /// Receiver of a file's signals (fcntl(2) `F_SETOWN_EX`).
    FOwnerEx [8] {
        /// `F_OWNER_*`.
        kind: i32 @ 0,
        /// Thread, process or group.
        pid: i32 @ 4,
    }
}

wire_struct! {
    /// How to open a file (openat2(2)).
    OpenHow [24] {
        /// `O_*` flags.
        flags: u64 @ 0,
        /// Mode of a new file.
        mode: u64 @ 8,
        /// `RESOLVE_*` bits.
        resolve: u64 @ 16,
    }
}

wire_struct! {
    /// Access and modification time of utime(2), in seconds.
    Utimbuf [16] {
        /// Access time.
        actime: i64 @ 0,
        /// Modification time.
        modtime: i64 @ 8,
    }
}

/// Appends a `linux_dirent64` record (getdents64(2)); answers `false` and appends nothing if the buffer would grow
/// beyond `max` bytes.
pub fn push_dirent64(out: &mut Vec<u8>, max: usize, ino: u64, next: i64, d_type: u8, name: &[u8]) -> bool {
    push_record(out, max, 19, name, |record, _| {
        put_u64(record, 0, ino);
        put_i64(record, 8, next);
        record[18] = d_type;
    })
}

/// Appends a record of the old getdents(2), where the type is the last byte.
pub fn push_dirent(out: &mut Vec<u8>, max: usize, ino: u64, next: i64, d_type: u8, name: &[u8]) -> bool {
    push_record(out, max, 18, name, |record, end| {
        put_u64(record, 0, ino);
        put_i64(record, 8, next);
        record[end - 1] = d_type;
    })
}

/// Both kinds hold their length at byte 16, a name with a NUL at `name_at`, and are a multiple of 8 bytes long.
fn push_record(
    out: &mut Vec<u8>,
    max: usize,
    name_at: usize,
    name: &[u8],
    fill: impl FnOnce(&mut [u8], usize),
) -> bool {
    // The old kind needs a byte for the type behind the NUL, the new one has a byte less in its header for it.
    let tail = if name_at == 18 { 2 } else { 1 };
    let len = (name_at + name.len() + tail).next_multiple_of(8);
    let (Ok(reclen), true) = (u16::try_from(len), out.len() + len <= max) else { return false };
    let start = out.len();
    out.resize(start + len, 0);
    let record = &mut out[start..];
    put_u16(record, 16, reclen);
    put_slice(record, name_at, name);
    fill(record, len);
    true
}

/// An inotify(7) record: header and name, padded with NULs to a multiple of 16 bytes.
pub fn encode_inotify_event(wd: i32, mask: u32, cookie: u32, name: &[u8]) -> Vec<u8> {
    let padded = if name.is_empty() { 0 } else { (name.len() + 1).next_multiple_of(16) };
    let mut out = Vec::with_capacity(16 + padded);
    out.extend_from_slice(&wd.to_le_bytes());
    out.extend_from_slice(&mask.to_le_bytes());
    out.extend_from_slice(&cookie.to_le_bytes());
    out.extend_from_slice(&(padded as u32).to_le_bytes());
    out.extend_from_slice(name);
    out.resize(16 + padded, 0);
    out
}
