//! Host files: a [`Store`] over a file descriptor, UML's locks, names.

use crate::{Failure, Result, fail};
use cow::{ReadStore, Store};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A pipe would keep whoever opens it waiting for its other end (open(2)); files and disks do not care.
const WITHOUT_WAITING: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// An open host file that remembers its name.
#[derive(Debug)]
pub struct HostFile {
    file: File,
    path: PathBuf,
}

/// What identifies a backing file, and itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    dev: u64,
    ino: u64,
}

impl HostFile {
    /// Opens for reading.
    pub fn open(path: &Path) -> io::Result<HostFile> {
        HostFile::check(File::options().read(true).custom_flags(WITHOUT_WAITING).open(path)?, path)
    }

    /// Opens for reading and writing.
    pub fn open_rw(path: &Path) -> io::Result<HostFile> {
        HostFile::check(
            File::options().read(true).write(true).custom_flags(WITHOUT_WAITING).open(path)?,
            path,
        )
    }

    /// Takes over an open file.
    pub fn from_file(file: File, path: &Path) -> HostFile {
        HostFile { file, path: path.to_path_buf() }
    }

    /// Only regular files and block devices have a size to count on.
    fn check(file: File, path: &Path) -> io::Result<HostFile> {
        let kind = file.metadata()?.file_type();
        let block = std::os::unix::fs::FileTypeExt::is_block_device(&kind);
        if kind.is_dir() {
            return Err(Errno::ISDIR.into());
        }
        if !kind.is_file() && !block {
            return Err(io::Error::other("neither a regular file nor a block device"));
        }
        Ok(HostFile::from_file(file, path))
    }

    /// The name it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The open file, for whoever goes on with it.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Device and inode number.
    pub fn identity(&self) -> io::Result<Identity> {
        let meta = self.file.metadata()?;
        Ok(Identity { dev: meta.dev(), ino: meta.ino() })
    }

    /// Modification time in seconds.
    pub fn mtime(&self) -> io::Result<i64> {
        Ok(self.file.metadata()?.mtime())
    }

    /// Sets the modification time, in whole seconds.
    pub fn set_mtime(&self, seconds: i64) -> io::Result<()> {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: time,
        };
        Ok(rustix::fs::futimens(&self.file, &times)?)
    }

    /// Locks the whole file as UML does: a POSIX record lock, exclusive or shared, without waiting.
    ///
    /// The inner result is the holder's process id (0 if it cannot be told) when somebody else has it. The
    /// lock ends when this process closes *any* descriptor of the file (fcntl(2)).
    pub fn lock(&self, exclusive: bool) -> io::Result<std::result::Result<(), i32>> {
        let operation = if exclusive {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        match rustix::fs::fcntl_lock(&self.file, operation) {
            Ok(()) => Ok(Ok(())),
            // A filesystem without locks cannot have a holder either.
            Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Ok(())),
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let kind = if exclusive { FlockType::WriteLock } else { FlockType::ReadLock };
                let holder = rustix::process::fcntl_getlk(&self.file, &Flock::from(kind)).ok().flatten();
                Ok(Err(holder.and_then(|f| f.pid).map_or(0, |p| p.as_raw_nonzero().get())))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Locks, or fails with a line that says who holds the file.
    pub fn lock_or_fail(&self, exclusive: bool) -> Result<()> {
        match self.lock(exclusive) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(pid)) => {
                let who = if pid > 0 { format!("process {pid}") } else { "another process".to_string() };
                Err(Failure::new(format!("'{}' is in use by {who}", self.path.display())))
            }
            Err(e) => Err(fail(format!("locking '{}'", self.path.display()))(e)),
        }
    }

    /// The next stretch at or behind `from`: its end, and whether it may hold anything but zeros.
    pub fn extent(&self, from: u64, size: u64) -> io::Result<(u64, bool)> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
            Ok(data) if data > from => Ok((data.min(size), false)),
            Ok(_) => {
                let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(from)).unwrap_or(size);
                Ok((if hole > from { hole.min(size) } else { size }, true))
            }
            // No data up to the end.
            Err(Errno::NXIO) => Ok((size, false)),
            Err(_) => Ok((size, true)),
        }
    }
}

impl ReadStore for HostFile {
    type Error = io::Error;

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => {
                    buf[done..].fill(0);
                    break;
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        // Also right for a block device, whose metadata says 0.
        Ok(rustix::fs::seek(&self.file, SeekFrom::End(0))?)
    }
}

impl Store for HostFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<bool> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// The name of a backing file as a COW header holds it: absolute, the directory part without symbolic
/// links, the last component as given.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    Ok(dir.canonicalize()?.join(name))
}

/// A name from a header as a path.
pub fn path_from_bytes(name: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(name))
}

/// A path as the bytes of a header.
pub fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
