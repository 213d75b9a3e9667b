//! A COW file as the disk of a machine: found, checked, locked and opened by UML's rules.
//!
//! 1. The COW file is opened for reading and writing; where that is not allowed, for reading.
//! 2. It is locked as a whole without waiting: exclusively to be written, shared to be read ([`HostFile::lock`]). So
//!    there is one writer, or there are any number of readers.
//! 3. The backing file is the one the header names, unless another is asked for that the header fits (same size
//!    and modification time in whole seconds); then the header names that from now on.
//! 4. The backing file is opened for reading only, checked, and locked shared: any number of COW files may stand on it,
//!    but nobody who keeps to these rules writes it meanwhile.
//!
//! The locks belong to the process (fcntl(2)): they end with it, however it ends, and two disks of one process do
//! not exclude each other.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cow::{Access, Device, Store};

use crate::file::{HostFile, absolute, path_bytes};
use crate::image::{CowDevice, backing_path, cow_header, device_failure, open_backing};
use crate::{Failure, Result, fail};

/// Whether a disk keeps others away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// As the rules say.
    Locked,
    /// Not at all: the flag `c` (shared) of a machine's disk.
    Shared,
}

/// Opens a COW file and its backing file. `backing` is the backing file to use, if it is not left to the header.
///
/// # Errors
/// One line: a file that cannot be opened, is in use (with the process that has it), is no COW file, or does not
/// fit the other.
pub fn open(cow: &Path, backing: Option<&Path>, access: Access, locking: Locking) -> Result<CowDevice> {
    let (file, access) = open_allowed(cow, access)?;
    if locking == Locking::Locked {
        file.lock_or_fail(access == Access::ReadWrite)?;
    }
    let mut header = cow_header(&file)?;
    let named = backing_path(&header, None);
    let base = match backing {
        Some(other) if !is_same(other, &named) => match open_backing(&header, Some(other), false) {
            Ok(base) => {
                if access == Access::ReadWrite {
                    let about = format!("'{}'", cow.display());
                    let name = absolute(other).map_err(fail(&about))?;
                    header.set_backing(path_bytes(&name)).map_err(fail(&about))?;
                    file.write_at(&header.to_bytes(), 0).and_then(|()| file.sync()).map_err(fail(&about))?;
                }
                base
            }
            // The one it was made for is right, if that is there.
            Err(failure) => open_backing(&header, None, false).map_err(|_| failure)?,
        },
        _ => open_backing(&header, None, false)?,
    };
    if file.identity().ok() == base.identity().ok() {
        return Err(Failure::new(format!("'{}' is its own backing file", cow.display())));
    }
    if locking == Locking::Locked {
        base.lock_or_fail(false)?;
    }
    let base_path = base.path().to_path_buf();
    Device::open_unchecked(file, base, header, access).map_err(device_failure(cow, &base_path))
}

/// Opens as wished, or only for reading where writing is not allowed.
fn open_allowed(path: &Path, access: Access) -> Result<(HostFile, Access)> {
    let about = format!("COW file open: '{}'", path.display());
    if access == Access::ReadWrite {
        match HostFile::open_rw(path) {
            Ok(file) => return Ok((file, Access::ReadWrite)),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) => {}
            Err(e) => return Err(fail(about)(e)),
        }
    }
    Ok((HostFile::open(path).map_err(fail(about))?, Access::ReadOnly))
}

/// Whether two names are one file: as names, or as what they lead to. Nothing is opened for this: closing it again
/// would end the locks this process may have on the file.
fn is_same(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    a == b || identity(a).is_some_and(|id| Some(id) == identity(b))
}
