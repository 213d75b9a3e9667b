//! The bytes that the original uml_switch and a UML kernel exchange, read and written by this crate.
//!
//! They were recorded on a little-endian machine, and the protocol is in host byte order.

#![forbid(unsafe_code)]
#![cfg(target_endian = "little")]

use switchproto::{Mac, Progress, Request, SockAddr, Version};

/// The section of the recording that starts with `title`.
fn golden(title: &str) -> Vec<u8> {
    let text = include_str!("../testdata/requests.txt");
    let mut bytes = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("== ") {
            inside = heading.starts_with(title);
        } else if inside && line.starts_with("      ") {
            let hex = line.split_whitespace().skip(1);
            bytes.extend(hex.map(|byte| u8::from_str_radix(byte, 16).expect("hex byte")));
        }
    }
    assert!(!bytes.is_empty(), "no section {title}");
    bytes
}

#[test]
fn recorded_requests_parse_and_are_written_alike() {
    for (title, version, len, mac) in [
        ("v3 request", Version::V3, 122, [0; 6]),
        ("v1 request", Version::V1, 124, [0xfe, 0xfd, 0, 0, 0, 1]),
        ("v0 request", Version::V0, 120, [0xfe, 0xfd, 0, 0, 0, 2]),
    ] {
        let bytes = golden(title);
        assert_eq!(bytes.len(), len, "{title}");
        let Ok(Progress::Complete(request, used)) = Request::parse(&bytes) else { panic!("{title}") };
        assert_eq!((request.version, request.mac, used), (version, Mac(mac), len), "{title}");
        assert!(request.addr.as_abstract().is_some(), "{title}");
        assert_eq!(request.emit(), bytes, "{title}");
        assert_eq!(request.wants_reply(), version != Version::V0);
    }
}

#[test]
fn the_recorded_reply_is_an_address() {
    let bytes = golden("reply");
    let addr = SockAddr::parse(&bytes).expect("reply");
    assert_eq!(addr.as_abstract().map(|name| &name[..7]), Some(&[0x7f, 0, 0, 0x66, 0x6c, 0, 0][..]));
    assert_eq!(&addr.emit()[..], &bytes[..]);
}
