//! Unix socket addresses as `uml_switch` and its clients exchange them.
//!
//! The whole `sockaddr_un` of 110 bytes goes over the wire. An abstract address (first path byte NUL) is named by
//! all 108 bytes of its path, padding included; a file name ends at its NUL. See unix(7).

use std::fmt;

/// Size of a `sockaddr_un` in bytes.
pub const WIRE_LEN: usize = 110;

/// AF_UNIX.
const FAMILY: u16 = 1;

/// Offset of the path.
const PATH: usize = 2;

/// Why 110 bytes are no usable address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddrError {
    /// Not 110 bytes.
    Length,
    /// The family is not AF_UNIX.
    Family(u16),
    /// A file name without its NUL: longer than any the kernel binds portably.
    Unterminated,
}

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddrError::Length => write!(f, "address of the wrong size"),
            AddrError::Family(family) => write!(f, "address of family {family}, not of a Unix socket"),
            AddrError::Unterminated => write!(f, "socket name too long"),
        }
    }
}

impl std::error::Error for AddrError {}

/// A checked Unix socket address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SockAddr {
    /// As the kernel reports it as the source of a datagram: 110 bytes, or up to a file name's NUL.
    bytes: Vec<u8>,
}

impl SockAddr {
    /// Reads an address off the wire.
    ///
    /// # Errors
    /// [`AddrError`] for bytes that are no address of a Unix socket.
    pub fn parse(wire: &[u8]) -> Result<SockAddr, AddrError> {
        if wire.len() != WIRE_LEN {
            return Err(AddrError::Length);
        }
        let family = u16::from_ne_bytes([wire[0], wire[1]]);
        if family != FAMILY {
            return Err(AddrError::Family(family));
        }
        let len = match wire[PATH] {
            0 => WIRE_LEN,
            _ => {
                let path = &wire[PATH..];
                PATH + 1 + path.iter().position(|&b| b == 0).ok_or(AddrError::Unterminated)?
            }
        };
        Ok(SockAddr { bytes: wire[..len].to_vec() })
    }

    /// The abstract address with `name` (without its leading NUL), padded with NULs to the whole 108 bytes.
    ///
    /// `None` when `name` is longer than 107 bytes.
    pub fn abstract_name(name: &[u8]) -> Option<SockAddr> {
        let mut bytes = vec![0; WIRE_LEN];
        bytes[..PATH].copy_from_slice(&FAMILY.to_ne_bytes());
        bytes.get_mut(PATH + 1..PATH + 1 + name.len())?.copy_from_slice(name);
        Some(SockAddr { bytes })
    }

    /// The address of the socket file `path`; `None` when it is empty, holds a NUL or has more than 107 bytes.
    pub fn path(path: &[u8]) -> Option<SockAddr> {
        if path.is_empty() || path.contains(&0) || path.len() >= WIRE_LEN - PATH {
            return None;
        }
        let mut bytes = FAMILY.to_ne_bytes().to_vec();
        bytes.extend_from_slice(path);
        bytes.push(0);
        Some(SockAddr { bytes })
    }

    /// The 110 bytes that go over the wire.
    pub fn emit(&self) -> [u8; WIRE_LEN] {
        let mut wire = [0; WIRE_LEN];
        wire[..self.bytes.len()].copy_from_slice(&self.bytes);
        wire
    }

    /// The bytes to hand to the kernel, and those it reports as a sender.
    pub fn kernel_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of an abstract address without the leading NUL: always 107 bytes. `None` for a file.
    pub fn as_abstract(&self) -> Option<&[u8]> {
        (self.bytes.get(PATH) == Some(&0)).then(|| &self.bytes[PATH + 1..])
    }

    /// The file name; `None` for an abstract address.
    pub fn as_path(&self) -> Option<&[u8]> {
        (self.bytes.get(PATH) != Some(&0)).then(|| &self.bytes[PATH..self.bytes.len() - 1])
    }
}

impl fmt::Debug for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_path() {
            Some(path) => write!(f, "{}", path.escape_ascii()),
            None => {
                let name = self.as_abstract().unwrap_or_default();
                let end = name.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
                write!(f, "@{}", name[..end].escape_ascii())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_emitted_parses_the_same() {
        for addr in [
            SockAddr::abstract_name(b"\x7f\0\0abc").unwrap(),
            SockAddr::abstract_name(&[9; 107]).unwrap(),
            SockAddr::path(b"/tmp/a").unwrap(),
            SockAddr::path(&[b'x'; 107]).unwrap(),
        ] {
            assert_eq!(SockAddr::parse(&addr.emit()), Ok(addr));
        }
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert_eq!(SockAddr::abstract_name(&[1; 108]), None);
        assert_eq!(SockAddr::path(&[b'x'; 108]), None);
        assert_eq!(SockAddr::path(b"a\0b"), None);
        assert_eq!(SockAddr::path(b""), None);
    }

    #[test]
    fn bad_bytes_are_refused() {
        let mut wire = [b'x'; WIRE_LEN];
        wire[..2].copy_from_slice(&1u16.to_ne_bytes());
        assert_eq!(SockAddr::parse(&wire), Err(AddrError::Unterminated));
        wire[..2].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(SockAddr::parse(&wire), Err(AddrError::Family(2)));
        assert_eq!(SockAddr::parse(&wire[1..]), Err(AddrError::Length));
    }

    #[test]
    fn a_file_name_ends_at_its_nul() {
        let mut wire = SockAddr::path(b"/tmp/a").unwrap().emit();
        wire[50] = 7;
        let addr = SockAddr::parse(&wire).unwrap();
        assert_eq!(addr.kernel_bytes(), SockAddr::path(b"/tmp/a").unwrap().kernel_bytes());
        assert_eq!((addr.as_path(), addr.as_abstract()), (Some(&b"/tmp/a"[..]), None));
        assert_eq!(format!("{:?} {:?}", addr, SockAddr::abstract_name(b"\0z").unwrap()), "/tmp/a @\\x00z");
    }
}
