//! The head of an Ethernet frame: where it goes and where it comes from.

use std::fmt;
use std::str::FromStr;

/// Bytes of the Ethernet header: the shortest frame.
pub const HEADER_LEN: usize = 14;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether the address is that of a group: broadcast or multicast.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = &'static str;

    /// Reads six hexadecimal bytes separated by colons.
    fn from_str(text: &str) -> Result<Mac, Self::Err> {
        let bad = "an Ethernet address is six hexadecimal bytes separated by ':'";
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().ok_or(bad)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad)?;
        }
        if parts.next().is_some() { Err(bad) } else { Ok(Mac(mac)) }
    }
}

/// Destination and source of `frame`; `None` when it is shorter than a header.
pub fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let header = frame.get(..HEADER_LEN)?;
    let (mut dst, mut src) = ([0; 6], [0; 6]);
    dst.copy_from_slice(&header[..6]);
    src.copy_from_slice(&header[6..12]);
    Some((Mac(dst), Mac(src)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let mac = Mac([0xfe, 0xfd, 0, 1, 0xa, 0xff]);
        assert_eq!(mac.to_string(), "fe:fd:00:01:0a:ff");
        assert_eq!("fe:FD:0:1:a:ff".parse(), Ok(mac));
        for bad in ["", "fe:fd:00:01:0a", "fe:fd:00:01:0a:ff:1", "fe:fd:00:01:0a:+f", "fe:fd:00:01:0a:100"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_short_frame_has_no_addresses() {
        assert_eq!(addresses(&[0xff; 13]), None);
        let (dst, src) = addresses(&[0xff, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 8, 0]).unwrap();
        assert!(dst.is_group() && !src.is_group());
    }
}
