//! Any bytes as a saved layer: no panic, and what was accepted stays in its tree.
//!
//! The input is a list of frame bodies (16-bit length, bytes), so that checksums do not stop it.

#![no_main]

use layer::{Entry, Layer, MAGIC};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Layer::parse(data);
    let mut file = MAGIC.to_vec();
    let mut rest = data;
    while let [a, b, body @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*a, *b])).min(body.len());
        file.extend(u32::try_from(len).unwrap_or(0).to_le_bytes());
        file.extend(crc32fast::hash(&body[..len]).to_le_bytes());
        file.extend(&body[..len]);
        rest = &body[len..];
    }
    let Ok(layer) = Layer::parse(&file) else { return };
    for e in &layer.entries {
        let path = match e {
            Entry::Gone(g) => &g.path,
            Entry::Node(n, extents) => {
                for x in extents {
                    assert!(x.at + x.len <= file.len() as u64);
                }
                &n.path
            }
        };
        assert!(!path.starts_with(b"/") && !path.split(|b| *b == b'/').any(|c| c == b".." || c == b"."));
    }
});
