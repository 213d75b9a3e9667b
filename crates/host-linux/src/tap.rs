//! Tap devices: a virtual Ethernet card of the host whose other end is a descriptor.
//!
//! Opening a tap that its owner has made ready needs no privilege; making one does (CAP_NET_ADMIN). See
//! Documentation/networking/tuntap.rst for the calls.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Longest name of a network interface in bytes, without its NUL.
pub const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// The device all taps are cloned from.
pub const CLONE_DEVICE: &str = "/dev/net/tun";

/// An open tap; reading takes the next frame the host sent, writing gives it one. One frame per call, no header.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
}

impl Tap {
    /// Opens the tap called `name`, making it if it is not there (then with privilege); an empty name lets the
    /// kernel choose, `tap%d` numbers it.
    ///
    /// # Errors
    /// Of open(2) on the clone device and of TUNSETIFF: `PermissionDenied`, `ResourceBusy` (already open),
    /// `InvalidInput` (name too long, or no tap).
    pub fn open(name: &str) -> io::Result<Tap> {
        Tap::open_from(Path::new(CLONE_DEVICE), name)
    }

    /// Like [`Tap::open`], with another clone device.
    ///
    /// # Errors
    /// As [`Tap::open`].
    pub fn open_from(clone_device: &Path, name: &str) -> io::Result<Tap> {
        let file = OpenOptions::new().read(true).write(true).open(clone_device)?;
        let mut request = request_named(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call returns.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        let name = request.ifr_name.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect();
        Ok(Tap { file, name })
    }

    /// The interface's name, as the kernel gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Keeps the interface when the descriptor is closed, or lets it go.
    ///
    /// # Errors
    /// Of TUNSETPERSIST.
    pub fn set_persistent(&self, keep: bool) -> io::Result<()> {
        self.set(libc::TUNSETPERSIST as _, u32::from(keep))
    }

    /// Lets the user `uid` open the interface without privilege.
    ///
    /// # Errors
    /// Of TUNSETOWNER.
    pub fn set_owner(&self, uid: u32) -> io::Result<()> {
        self.set(libc::TUNSETOWNER as _, uid)
    }

    /// Lets the group `gid` open the interface without privilege.
    ///
    /// # Errors
    /// Of TUNSETGROUP.
    pub fn set_group(&self, gid: u32) -> io::Result<()> {
        self.set(libc::TUNSETGROUP as _, gid)
    }

    fn set(&self, call: libc::Ioctl, value: u32) -> io::Result<()> {
        // SAFETY: these calls take their argument by value and touch no memory of ours.
        let done = unsafe { libc::ioctl(self.file.as_raw_fd(), call, libc::c_ulong::from(value)) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<Tap> for OwnedFd {
    fn from(tap: Tap) -> OwnedFd {
        tap.file.into()
    }
}

/// An ifreq that names an interface; the rest is zero.
fn request_named(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is a plain C structure for which all-zero is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() > NAME_MAX || name.bytes().any(|b| b == 0 || b == b'/' || b.is_ascii_whitespace()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name for a network interface"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_before_the_kernel_sees_them() {
        for name in ["sixteen-bytes-xx", "a b", "../x", "a\0b"] {
            assert_eq!(
                request_named(name).err().map(|e| e.kind()),
                Some(io::ErrorKind::InvalidInput),
                "{name}"
            );
        }
        assert!(request_named("fifteen-bytes-x").is_ok());
    }

    #[test]
    fn a_device_that_is_no_clone_device_is_an_error() {
        assert!(Tap::open_from(Path::new("/dev/null"), "tapx").is_err());
    }
}
