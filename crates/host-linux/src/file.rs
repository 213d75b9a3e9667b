//! Host files: [`HostFile`] over descriptors.
//!
//! Every call names one component relative to an open directory and follows no symbolic link, so a tree cannot be left
//! through it. Descriptors opened here are close-on-exec and never block at opening (FIFOs swapped in under us).

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use hal::{DirEntry, Errno, HostFile, HostStat, Result, SetAttr, errno};
use rustix::{
    fs::{
        self, Access, AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, StatxFlags,
        Uid,
    },
    io,
};

use crate::sys;

/// Bytes of a `getdents64` batch.
const DIR_BATCH: usize = 64 << 10;

/// The guest has the host's error numbers.
pub(crate) fn host_errno(e: io::Errno) -> Errno {
    Errno::from_raw(e.raw_os_error()).unwrap_or(errno::EIO)
}

/// Repeats a call that a signal of the machine's own interrupted.
pub(crate) fn retry<T>(f: impl FnMut() -> io::Result<T>) -> Result<T> {
    io::retry_on_intr(f).map_err(host_errno)
}

/// Refuses all that is not one plain component.
fn plain(name: &[u8]) -> Result<&[u8]> {
    match name {
        b"." | b".." => Err(errno::EINVAL),
        _ => dot_or_plain(name),
    }
}

/// As [`plain`], for the calls that may also mean the directory itself.
fn dot_or_plain(name: &[u8]) -> Result<&[u8]> {
    match name {
        b"" => Err(errno::ENOENT),
        b".." => Err(errno::EINVAL),
        n if n.iter().any(|&b| b == b'/' || b == 0) => Err(errno::EINVAL),
        n if n.len() > 255 => Err(errno::ENAMETOOLONG),
        n => Ok(n),
    }
}

/// Open flags that make sense for a host file; all others are dropped.
fn open_flags(flags: u32) -> OFlags {
    let known = OFlags::RWMODE
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::TRUNC
        | OFlags::APPEND
        | OFlags::DIRECTORY
        | OFlags::PATH
        | OFlags::SYNC
        | OFlags::DSYNC
        | OFlags::NOATIME
        | OFlags::DIRECT
        | OFlags::TMPFILE;
    let safe = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    (OFlags::from_bits_retain(flags) & known) | safe
}

fn timespec(t: abi::Timespec) -> fs::Timespec {
    fs::Timespec { tv_sec: t.sec, tv_nsec: t.nsec }
}

/// `stat` of `name` below `dir`; an empty name is the descriptor itself.
fn stat_of(dir: BorrowedFd<'_>, name: &[u8]) -> Result<HostStat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    match fs::statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
        Ok(s) => {
            let time = |t: fs::StatxTimestamp| abi::Timespec { sec: t.tv_sec, nsec: i64::from(t.tv_nsec) };
            let has_btime = s.stx_mask & StatxFlags::BTIME.bits() != 0;
            Ok(HostStat {
                dev: fs::makedev(s.stx_dev_major, s.stx_dev_minor),
                ino: s.stx_ino,
                mode: u32::from(s.stx_mode),
                nlink: s.stx_nlink,
                uid: s.stx_uid,
                gid: s.stx_gid,
                rdev: fs::makedev(s.stx_rdev_major, s.stx_rdev_minor),
                size: s.stx_size,
                blocks: s.stx_blocks,
                blksize: s.stx_blksize,
                atime: time(s.stx_atime),
                mtime: time(s.stx_mtime),
                ctime: time(s.stx_ctime),
                btime: if has_btime { time(s.stx_btime) } else { abi::Timespec::default() },
            })
        }
        // Old container run-times refuse statx.
        Err(io::Errno::NOSYS | io::Errno::PERM) => old_stat_of(dir, name),
        Err(e) => Err(host_errno(e)),
    }
}

fn old_stat_of(dir: BorrowedFd<'_>, name: &[u8]) -> Result<HostStat> {
    let s = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH).map_err(host_errno)?;
    let time = |sec: i64, nsec: u64| abi::Timespec { sec, nsec: nsec as i64 };
    Ok(HostStat {
        dev: s.st_dev,
        ino: s.st_ino,
        mode: s.st_mode,
        nlink: s.st_nlink as u32,
        uid: s.st_uid,
        gid: s.st_gid,
        rdev: s.st_rdev,
        size: s.st_size as u64,
        blocks: s.st_blocks as u64,
        blksize: s.st_blksize as u32,
        atime: time(s.st_atime, s.st_atime_nsec),
        mtime: time(s.st_mtime, s.st_mtime_nsec),
        ctime: time(s.st_ctime, s.st_ctime_nsec),
        btime: abi::Timespec::default(),
    })
}

/// `fstat` for any descriptor.
pub(crate) fn stat_fd(fd: BorrowedFd<'_>) -> Result<HostStat> {
    stat_of(fd, b"")
}

/// An open host file or directory.
#[derive(Debug)]
pub struct LinuxFile {
    fd: OwnedFd,
    /// Where the directory position stands; held while entries are read.
    dir_pos: Mutex<u64>,
}

impl LinuxFile {
    /// Takes over an open descriptor.
    pub fn from_fd(fd: OwnedFd) -> LinuxFile {
        LinuxFile { fd, dir_pos: Mutex::new(0) }
    }

    /// Opens by path, following links. Only for names from the command line; see [`hal::Host::open_path`].
    pub fn open_path(path: &[u8], flags: u32) -> Result<Arc<dyn HostFile>> {
        let fd = retry(|| fs::openat(fs::CWD, path, open_flags(flags), Mode::from_raw_mode(0o666)))?;
        Ok(Arc::new(LinuxFile::from_fd(fd)))
    }

    /// The name under which /proc reopens this descriptor's file. For O_PATH descriptors, on which few calls work.
    fn proc_name(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    fn is_path_only(&self) -> bool {
        fs::fcntl_getfl(&self.fd).is_ok_and(|f| f.contains(OFlags::PATH))
    }

    /// A child that is looked at only, whatever its type.
    fn path_at(&self, name: &[u8]) -> Result<LinuxFile> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = retry(|| fs::openat(&self.fd, name, flags, Mode::empty()))?;
        Ok(LinuxFile::from_fd(fd))
    }

    fn chmod_at(&self, name: &[u8], mode: u32) -> Result<()> {
        match sys::file::fchmodat2_nofollow(self.fd.as_fd(), name, mode) {
            Err(errno::ENOSYS | errno::EPERM) => {}
            done => return done,
        }
        // Before Linux 6.6: through a descriptor, so that no link swapped in meanwhile is followed.
        self.path_at(name)?.set_attr(&SetAttr { mode: Some(mode), ..SetAttr::default() })
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match fs::fchmod(&self.fd, mode) {
            Err(io::Errno::BADF) => {
                if stat_fd(self.fd.as_fd())?.mode & 0o170_000 == 0o120_000 {
                    return Err(errno::EOPNOTSUPP);
                }
                match fs::chmod(self.proc_name(), mode) {
                    // No /proc: by the descriptor alone (Linux 6.6).
                    Err(io::Errno::NOENT) => sys::file::fchmodat2_empty(self.fd.as_fd(), mode.as_raw_mode()),
                    done => done.map_err(host_errno),
                }
            }
            done => done.map_err(host_errno),
        }
    }
}

/// What a [`SetAttr`] says about times, if anything.
fn times(attr: &SetAttr) -> Option<fs::Timestamps> {
    if attr.atime.is_none() && attr.mtime.is_none() {
        return None;
    }
    let omit = abi::Timespec { sec: 0, nsec: abi::time::UTIME_OMIT };
    Some(fs::Timestamps {
        last_access: timespec(attr.atime.unwrap_or(omit)),
        last_modification: timespec(attr.mtime.unwrap_or(omit)),
    })
}

/// What a [`SetAttr`] says about the owner, if anything.
fn owner(attr: &SetAttr) -> Option<(Option<Uid>, Option<Gid>)> {
    (attr.uid.is_some() || attr.gid.is_some())
        .then(|| (attr.uid.map(Uid::from_raw), attr.gid.map(Gid::from_raw)))
}

/// The numbers mean "leave alone" to chown(2), so they cannot be an owner.
fn check_owner(attr: &SetAttr) -> Result<()> {
    if attr.uid == Some(u32::MAX) || attr.gid == Some(u32::MAX) { Err(errno::EINVAL) } else { Ok(()) }
}

/// Reads an xattr-like value whose size may change between asking and reading.
fn grow(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> Result<Vec<u8>> {
    let mut buf = vec![0; 256];
    loop {
        match read(&mut buf) {
            Ok(n) => {
                buf.truncate(n);
                return Ok(buf);
            }
            // 64 KiB is the most that Linux allows for either (xattr(7)).
            Err(io::Errno::RANGE) if buf.len() < 64 << 10 => buf.resize(buf.len() * 4, 0),
            Err(e) => return Err(host_errno(e)),
        }
    }
}

impl HostFile for LinuxFile {
    fn raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    fn stat(&self) -> Result<HostStat> {
        stat_fd(self.fd.as_fd())
    }

    fn statfs(&self) -> Result<[u64; 8]> {
        let s = retry(|| fs::fstatfs(&self.fd))?;
        Ok([
            s.f_type as u64,
            s.f_bsize as u64,
            s.f_blocks,
            s.f_bfree,
            s.f_bavail,
            s.f_files,
            s.f_ffree,
            s.f_namelen as u64,
        ])
    }

    fn pread(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        retry(|| io::pread(&self.fd, &mut *buf, offset))
    }

    fn pwrite(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        retry(|| io::pwrite(&self.fd, buf, offset))
    }

    fn truncate(&self, size: u64) -> Result<()> {
        retry(|| fs::ftruncate(&self.fd, size))
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        retry(|| fs::fallocate(&self.fd, FallocateFlags::from_bits_retain(mode), offset, len))
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        retry(|| if data_only { fs::fdatasync(&self.fd) } else { fs::fsync(&self.fd) })
    }

    fn seek(&self, offset: u64, data: bool) -> Result<u64> {
        let to = if data { fs::SeekFrom::Data(offset) } else { fs::SeekFrom::Hole(offset) };
        retry(|| fs::seek(&self.fd, to))
    }

    fn open_at(&self, name: &[u8], flags: u32, mode: u32) -> Result<Arc<dyn HostFile>> {
        let name = dot_or_plain(name)?;
        let flags = open_flags(flags) | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let fd = match retry(|| fs::openat(&self.fd, name, flags, mode)) {
            // Only the owner may ask for it, and it is no more than advice.
            Err(errno::EPERM) if flags.contains(OFlags::NOATIME) => {
                retry(|| fs::openat(&self.fd, name, flags - OFlags::NOATIME, mode))?
            }
            other => other?,
        };
        Ok(Arc::new(LinuxFile::from_fd(fd)))
    }

    fn stat_at(&self, name: &[u8]) -> Result<HostStat> {
        stat_of(self.fd.as_fd(), dot_or_plain(name)?)
    }

    fn readlink_at(&self, name: &[u8]) -> Result<Vec<u8>> {
        let target =
            retry(|| fs::readlinkat(&self.fd, plain(name).map_err(|_| io::Errno::INVAL)?, Vec::new()))?;
        Ok(target.into_bytes())
    }

    fn read_dir(&self, from: u64, out: &mut Vec<DirEntry>) -> Result<()> {
        let mut pos = self.dir_pos.lock().unwrap_or_else(PoisonError::into_inner);
        if *pos != from {
            retry(|| fs::seek(&self.fd, fs::SeekFrom::Start(from)))?;
            *pos = from;
        }
        let mut buf = [MaybeUninit::<u8>::uninit(); DIR_BATCH];
        let mut dir = RawDir::new(&self.fd, &mut buf);
        let had = out.len();
        while let Some(entry) = dir.next() {
            let entry = entry.map_err(host_errno)?;
            *pos = entry.next_entry_cookie();
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                // Filesystems that hash names put these anywhere: who goes on after the entry before need not see them.
                if let Some(before) = out[had..].last_mut() {
                    before.next = *pos;
                }
            } else {
                let dtype = match entry.file_type() {
                    FileType::Unknown => 0,
                    t => ((t.as_raw_mode() & 0o170_000) >> 12) as u8,
                };
                out.push(DirEntry { name: name.to_vec(), ino: entry.ino(), dtype, next: *pos });
            }
            if dir.is_buffer_empty() && out.len() > had {
                break;
            }
        }
        Ok(())
    }

    fn mkdir_at(&self, name: &[u8], mode: u32) -> Result<()> {
        let name = plain(name)?;
        retry(|| fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode & 0o7777)))
    }

    fn mknod_at(&self, name: &[u8], mode: u32, dev: u64) -> Result<()> {
        let name = plain(name)?;
        let kind = FileType::from_raw_mode(mode);
        retry(|| fs::mknodat(&self.fd, name, kind, Mode::from_raw_mode(mode & 0o7777), dev))
    }

    fn symlink_at(&self, name: &[u8], target: &[u8]) -> Result<()> {
        let name = plain(name)?;
        retry(|| fs::symlinkat(target, &self.fd, name))
    }

    fn link_at(&self, old_dir: &dyn HostFile, old: &[u8], name: &[u8]) -> Result<()> {
        let (old, name) = (plain(old)?, plain(name)?);
        let from = sys::file::borrow(old_dir)?;
        retry(|| fs::linkat(from, old, &self.fd, name, AtFlags::empty()))
    }

    fn link_file_at(&self, dir: &dyn HostFile, name: &[u8]) -> Result<()> {
        let name = plain(name)?;
        let to = sys::file::borrow(dir)?;
        // AT_EMPTY_PATH would need a capability (linkat(2)).
        match fs::linkat(fs::CWD, self.proc_name(), to, name, AtFlags::SYMLINK_FOLLOW) {
            // No /proc: since Linux 6.10 also without the capability, for one's own descriptors.
            Err(io::Errno::NOENT) => retry(|| fs::linkat(&self.fd, "", to, name, AtFlags::EMPTY_PATH)),
            done => done.map_err(host_errno),
        }
    }

    fn unlink_at(&self, name: &[u8], is_dir: bool) -> Result<()> {
        let name = plain(name)?;
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        retry(|| fs::unlinkat(&self.fd, name, flags))
    }

    fn rename_at(&self, name: &[u8], new_dir: &dyn HostFile, new: &[u8], flags: u32) -> Result<()> {
        let (name, new) = (plain(name)?, plain(new)?);
        let to = sys::file::borrow(new_dir)?;
        let flags = RenameFlags::from_bits_retain(flags);
        retry(|| fs::renameat_with(&self.fd, name, to, new, flags))
    }

    fn set_attr_at(&self, name: &[u8], attr: &SetAttr) -> Result<()> {
        let name = plain(name)?;
        check_owner(attr)?;
        if let Some(size) = attr.size {
            self.open_at(name, OFlags::WRONLY.bits(), 0)?.truncate(size)?;
        }
        if let Some((uid, gid)) = owner(attr) {
            retry(|| fs::chownat(&self.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
        }
        // After the owner: a change of owner clears set-id bits.
        if let Some(mode) = attr.mode {
            self.chmod_at(name, mode)?;
        }
        if let Some(times) = times(attr) {
            retry(|| fs::utimensat(&self.fd, name, &times, AtFlags::SYMLINK_NOFOLLOW))?;
        }
        Ok(())
    }

    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        check_owner(attr)?;
        if let Some(size) = attr.size {
            self.truncate(size)?;
        }
        if let Some((uid, gid)) = owner(attr) {
            retry(|| fs::chownat(&self.fd, "", uid, gid, AtFlags::EMPTY_PATH))?;
        }
        if let Some(mode) = attr.mode {
            self.chmod(mode)?;
        }
        if let Some(times) = times(attr) {
            match fs::futimens(&self.fd, &times) {
                Err(io::Errno::BADF) => {
                    // By the descriptor alone since Linux 5.8.
                    match fs::utimensat(&self.fd, "", &times, AtFlags::EMPTY_PATH) {
                        Err(io::Errno::INVAL) => {
                            retry(|| fs::utimensat(fs::CWD, self.proc_name(), &times, AtFlags::empty()))?
                        }
                        done => done.map_err(host_errno)?,
                    }
                }
                done => done.map_err(host_errno)?,
            }
        }
        Ok(())
    }

    fn access_at(&self, name: &[u8], mode: u32) -> Result<()> {
        let name = dot_or_plain(name)?;
        let access = Access::from_bits_truncate(mode);
        match fs::accessat(&self.fd, name, access, AtFlags::SYMLINK_NOFOLLOW) {
            // Before Linux 5.8, or a filter that does not know faccessat2.
            Err(io::Errno::NOSYS | io::Errno::PERM) => {
                let held = self.path_at(name)?;
                if held.stat()?.mode & 0o170_000 == 0o120_000 {
                    return Ok(());
                }
                retry(|| fs::access(held.proc_name(), access))
            }
            done => done.map_err(host_errno),
        }
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        let list = if self.is_path_only() {
            let name = self.proc_name();
            grow(|buf| fs::listxattr(&name, buf))?
        } else {
            grow(|buf| fs::flistxattr(&self.fd, buf))?
        };
        Ok(list.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        if name.contains(&0) {
            return Err(errno::EINVAL);
        }
        if self.is_path_only() {
            let path = self.proc_name();
            grow(|buf| fs::getxattr(&path, name, buf))
        } else {
            grow(|buf| fs::fgetxattr(&self.fd, name, buf))
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        if name.contains(&0) {
            return Err(errno::EINVAL);
        }
        let flags = fs::XattrFlags::from_bits_retain(flags);
        if self.is_path_only() {
            retry(|| fs::setxattr(self.proc_name(), name, value, flags))
        } else {
            retry(|| fs::fsetxattr(&self.fd, name, value, flags))
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        if name.contains(&0) {
            return Err(errno::EINVAL);
        }
        if self.is_path_only() {
            retry(|| fs::removexattr(self.proc_name(), name))
        } else {
            retry(|| fs::fremovexattr(&self.fd, name))
        }
    }
}

#[cfg(test)]
mod tests;
