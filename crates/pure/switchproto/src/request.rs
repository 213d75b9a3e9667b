//! Requests for a port, as they come over the control socket.
//!
//! | version | bytes | layout |
//! | --- | --- | --- |
//! | 3 | 122 | magic, version, type, address |
//! | 1 | 124 | magic, type, MAC, address |
//! | 0 | 120 | type, MAC, address |
//!
//! The type is 0 (new port). Versions 1 and 3 are answered with the 110-byte address of the switch's data socket,
//! version 0 with nothing. A version 3 request may be followed by a description, which vde clients send; in its
//! type the bits from 8 up name a wanted port.

use std::fmt;

use crate::addr::{AddrError, SockAddr, WIRE_LEN};
use crate::frame::Mac;

/// First word of requests from version 1 on.
pub const MAGIC: u32 = 0xfeed_face;

/// Most bytes a description may have.
pub const DESCRIPTION_MAX: usize = 128;

/// Bytes of the longest request, description included.
pub const REQUEST_MAX: usize = V3_LEN + DESCRIPTION_MAX;

const V0_LEN: usize = 4 + 6 + WIRE_LEN;
const V1_LEN: usize = 8 + 6 + WIRE_LEN;
const V3_LEN: usize = 12 + WIRE_LEN;

/// The form of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Without magic and without an answer.
    V0,
    /// With magic and MAC.
    V1,
    /// With magic and version; the current one.
    V3,
}

/// A client's wish for a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The form it came in.
    pub version: Version,
    /// Versions 0 and 1 name a MAC, which switches ignore; zero in version 3.
    pub mac: Mac,
    /// Version 3: the wanted port, 0 for any.
    pub wanted: u32,
    /// Where the client wants its frames.
    pub addr: SockAddr,
}

/// Why bytes are not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// A version that has no meaning here.
    Version(u32),
    /// A type other than "new port".
    Type(u32),
    /// No address of a Unix socket.
    Addr(AddrError),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Version(2) => write!(f, "Version 2 is not supported"),
            RequestError::Version(n) => {
                write!(f, "Request for a version {n} port, which this uml_switch doesn't support")
            }
            RequestError::Type(n) => write!(f, "Bad request type : {n}"),
            RequestError::Addr(e) => write!(f, "Bad request : {e}"),
        }
    }
}

impl std::error::Error for RequestError {}

/// What the bytes read so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Good so far; more bytes are needed.
    Partial,
    /// A request, and how many bytes it took.
    Complete(Request, usize),
}

impl Request {
    /// Reads a request from the start of `bytes`, which may hold less than one or more.
    ///
    /// # Errors
    /// As soon as the bytes cannot become a request.
    pub fn parse(bytes: &[u8]) -> Result<Progress, RequestError> {
        let Some(first) = word(bytes, 0) else { return Ok(Progress::Partial) };
        if first != MAGIC {
            if first != 0 {
                return Err(RequestError::Type(first));
            }
            return Self::finish(bytes, Version::V0, 0, Some(4), V0_LEN);
        }
        match word(bytes, 4) {
            None => Ok(Progress::Partial),
            Some(0) => Self::finish(bytes, Version::V1, 0, Some(8), V1_LEN),
            Some(1) => Err(RequestError::Type(1)),
            Some(3) => match word(bytes, 8) {
                None => Ok(Progress::Partial),
                Some(kind) if kind & 0xff == 0 => Self::finish(bytes, Version::V3, kind >> 8, None, V3_LEN),
                Some(kind) => Err(RequestError::Type(kind)),
            },
            Some(version) => Err(RequestError::Version(version)),
        }
    }

    /// Reads MAC and address of a request of `len` bytes; the address is its last part.
    fn finish(
        bytes: &[u8],
        version: Version,
        wanted: u32,
        mac_at: Option<usize>,
        len: usize,
    ) -> Result<Progress, RequestError> {
        let Some(request) = bytes.get(..len) else { return Ok(Progress::Partial) };
        let addr = SockAddr::parse(&request[len - WIRE_LEN..]).map_err(RequestError::Addr)?;
        let mut mac = Mac([0; 6]);
        if let Some(at) = mac_at {
            mac.0.copy_from_slice(&request[at..at + 6]);
        }
        Ok(Progress::Complete(Request { version, mac, wanted, addr }, len))
    }

    /// A version 3 request for any port, with frames to `addr`.
    pub fn new(addr: SockAddr) -> Request {
        Request { version: Version::V3, mac: Mac([0; 6]), wanted: 0, addr }
    }

    /// The bytes that go over the control socket.
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(V1_LEN);
        let mut put = |word: u32| bytes.extend_from_slice(&word.to_ne_bytes());
        match self.version {
            Version::V0 => put(0),
            Version::V1 => {
                put(MAGIC);
                put(0);
            }
            Version::V3 => {
                put(MAGIC);
                put(3);
                put(self.wanted << 8);
            }
        }
        if self.version != Version::V3 {
            bytes.extend_from_slice(&self.mac.0);
        }
        bytes.extend_from_slice(&self.addr.emit());
        bytes
    }

    /// Whether the client waits for the address of the data socket.
    pub fn wants_reply(&self) -> bool {
        self.version != Version::V0
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(version: Version) -> Request {
        let mac = if version == Version::V3 { Mac([0; 6]) } else { Mac([0xfe, 0xfd, 0, 0, 0, 1]) };
        let wanted = if version == Version::V3 { 5 } else { 0 };
        Request { version, mac, wanted, addr: SockAddr::abstract_name(b"\0\0ab").unwrap() }
    }

    #[test]
    fn every_version_survives_the_round_trip_and_every_cut() {
        for version in [Version::V0, Version::V1, Version::V3] {
            let request = sample(version);
            let bytes = request.emit();
            for cut in 0..bytes.len() {
                assert_eq!(Request::parse(&bytes[..cut]), Ok(Progress::Partial), "{version:?} cut at {cut}");
            }
            assert_eq!(Request::parse(&bytes), Ok(Progress::Complete(request.clone(), bytes.len())));
            let mut more = bytes.clone();
            more.extend_from_slice(b"descr user=x PID=1");
            assert_eq!(Request::parse(&more), Ok(Progress::Complete(request, bytes.len())));
        }
    }

    #[test]
    fn other_versions_and_types_are_named() {
        let with = |words: &[u32]| {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            Request::parse(&bytes).unwrap_err().to_string()
        };
        assert_eq!(with(&[MAGIC, 2]), "Version 2 is not supported");
        assert_eq!(with(&[MAGIC, 9]), "Request for a version 9 port, which this uml_switch doesn't support");
        assert_eq!(with(&[MAGIC, 3, 7]), "Bad request type : 7");
        assert_eq!(with(&[MAGIC, 1]), "Bad request type : 1");
        assert_eq!(with(&[u32::from_ne_bytes(*b"GET ")]), Request::parse(b"GET /").unwrap_err().to_string());
    }

    #[test]
    fn the_address_is_checked() {
        let mut bytes = sample(Version::V3).emit();
        bytes[12] = 9;
        assert!(matches!(Request::parse(&bytes), Err(RequestError::Addr(AddrError::Family(_)))));
    }
}
