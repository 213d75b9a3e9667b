//! File calls that have no safe form elsewhere.

use std::{
    ffi::CString,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use hal::{Errno, HostFile, Result, errno};

/// fchmodat2(2), in Linux since 6.6 under the same number everywhere.
const SYS_FCHMODAT2: libc::c_long = 452;

/// The errno of the last failed call.
pub(crate) fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().and_then(Errno::from_raw).unwrap_or(errno::EIO)
}

/// Changes permission bits without following a link. ENOSYS before Linux 6.6; EOPNOTSUPP for links.
pub(crate) fn fchmodat2_nofollow(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    let name = CString::new(name).map_err(|_| errno::EINVAL)?;
    // SAFETY: the name is a NUL-terminated string that lives through the call, and the call writes no memory.
    let ret = unsafe {
        libc::syscall(SYS_FCHMODAT2, dir.as_raw_fd(), name.as_ptr(), mode & 0o7777, libc::AT_SYMLINK_NOFOLLOW)
    };
    if ret == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Changes permission bits of the file behind a descriptor, O_PATH ones included. ENOSYS before Linux 6.6.
pub(crate) fn fchmodat2_empty(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: the name is a constant, and the call writes no memory.
    let ret = unsafe {
        libc::syscall(SYS_FCHMODAT2, fd.as_raw_fd(), c"".as_ptr(), mode & 0o7777, libc::AT_EMPTY_PATH)
    };
    if ret == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The descriptor behind a host file, for calls that name two; EXDEV for a file of another kind of host.
pub(crate) fn borrow(file: &dyn HostFile) -> Result<BorrowedFd<'_>> {
    match file.raw_fd() {
        // SAFETY: a host file keeps its descriptor open as long as it lives, and the result borrows it.
        fd if fd >= 0 => Ok(unsafe { BorrowedFd::borrow_raw(fd) }),
        _ => Err(errno::EXDEV),
    }
}

/// A close-on-exec duplicate of an inherited descriptor; EBADF if the number names none.
pub(crate) fn fcntl_dup(fd: i32) -> Result<OwnedFd> {
    // SAFETY: a plain call on a number.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) } {
        -1 => Err(last_errno()),
        // SAFETY: the descriptor is new and nobody else knows it.
        new => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
    }
}
