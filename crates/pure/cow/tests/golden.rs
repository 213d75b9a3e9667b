//! Files made by the real programs, or field by field after them, read and written again.

#![forbid(unsafe_code)]

use cow::device::{self, read_bitmap, read_header};
use cow::mem::MemFile;
use cow::{Access, Device, Error, Format, Header, HeaderError, Mismatch};
use std::fs;
use std::path::Path;

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).expect(name)
}

/// The 1 MiB backing file of the real kernel's COW file: sector n is n big-endian, then the byte n.
fn backing_1m() -> Vec<u8> {
    (0..2048u32)
        .flat_map(|n| {
            let mut sector = vec![n as u8; 512];
            sector[..4].copy_from_slice(&n.to_be_bytes());
            sector
        })
        .collect()
}

/// The bytes of an `od -A x -t x1z` dump in which repeated and trailing lines are left out.
fn undump(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with(['#', '*'])) {
        let mut words = line.split_whitespace();
        let at = usize::from_str_radix(words.next().unwrap(), 16).unwrap();
        out.resize(at, 0);
        out.extend(words.take_while(|w| w.len() == 2).map(|w| u8::from_str_radix(w, 16).unwrap()));
    }
    out
}

#[test]
fn every_version_merges_to_the_same_image() {
    let merged = data("merged64k.img");
    for (name, format, data_offset) in [
        ("v1_le.cow", Format::V1Le, 512),
        ("v2_be.cow", Format::V2, 4608),
        ("v3.cow", Format::V3, 12288),
        ("v3_align512.cow", Format::V3, 5120),
        ("v3_broken64.cow", Format::V3Broken64, 12288),
    ] {
        let file = MemFile::new(data(name));
        let backing = MemFile::new(data("backing64k.img"));
        let device = Device::open(&file, &backing, 1_000_000_000, Access::ReadOnly).expect(name);
        let header = device.header();
        assert_eq!(header.format(), format, "{name}");
        assert_eq!(header.data_offset(), data_offset, "{name}");
        assert_eq!(header.backing(), b"backing64k.img");
        assert_eq!((header.mtime(), header.size(), header.sector_size()), (1_000_000_000, 65536, 512));
        let set: Vec<_> = device.bitmap().set_runs(0..u64::MAX).collect();
        assert_eq!(set, [0..1, 5..6, 9..10, 127..128], "{name}");
        let mut image = vec![0xee; 65536];
        device.read_at(&mut image, 0).unwrap();
        assert!(image == merged, "{name}");
        assert_eq!(file.ops() + backing.ops(), 0, "a reader changed a file");
        // What is written back is what was read, byte for byte.
        let bytes = header.to_bytes();
        assert!(bytes == data(name)[..bytes.len()], "{name}");
    }
}

#[test]
fn reads_what_a_real_kernel_wrote() {
    let file = MemFile::new(data("uml_v3_1m.cow"));
    let head = undump(std::str::from_utf8(&data("uml_v3_1m.head.hex")).unwrap());
    assert!(file.bytes()[..head.len()] == head);
    let backing = MemFile::new(backing_1m());
    let device = Device::open(&file, &backing, 1_000_000_000, Access::ReadWrite).unwrap();
    assert_eq!(device.header().backing(), b"/tmp/g/backing.img");
    let set: Vec<_> = device.bitmap().set_runs(0..2048).collect();
    assert_eq!(set, [0..16, 1000..1008, 2040..2048]);
    let text = |sector: u64, len| {
        let mut buf = vec![0; len];
        device.read_at(&mut buf, sector * 512).unwrap();
        String::from_utf8(buf).unwrap()
    };
    assert_eq!(text(3, 12), "SECTOR-THREE");
    assert_eq!(text(8, 4), "\0\0\0\0");
    assert_eq!(text(1000, 11), "SECTOR-1000");
    assert_eq!(text(2047, 11), "LAST-SECTOR");
    let mut sector = [0; 512];
    device.read_at(&mut sector, 999 * 512).unwrap();
    assert_eq!(sector[..5], [0, 0, 3, 0xe7, 0xe7]);
}

#[test]
fn creates_what_uml_mkcow_creates() {
    let want = undump(std::str::from_utf8(&data("mkcow_v3_1m.hex")).unwrap());
    let file = MemFile::new(Vec::new());
    let header = Header::new(b"/tmp/g/backing.img", 1 << 20, 1_000_000_000).unwrap();
    device::create(&file, &header).unwrap();
    assert!(file.bytes() == want);
    assert_eq!(file.bytes().len(), 1_060_864);
    assert_eq!(read_header(&&file).unwrap(), header);
}

#[test]
fn every_truncation_is_refused() {
    for name in ["v1_le.cow", "v2_be.cow", "v3.cow", "v3_align512.cow", "v3_broken64.cow"] {
        let whole = data(name);
        let header = Header::parse(&whole).unwrap();
        for len in (0..9).chain((9..whole.len()).step_by(37)).chain([whole.len() - 1]) {
            let file = MemFile::new(whole[..len].to_vec());
            let error = read_header(&&file).and_then(|h| read_bitmap(&&file, &h)).expect_err(name);
            match error {
                Error::Header(HeaderError::NotCow) => assert!(len < 4, "{name} {len}"),
                Error::Header(HeaderError::Short { .. }) => assert!(len < header.format().header_len()),
                // A version 3 header cut in its first bytes has no name to tell the layouts apart.
                Error::Truncated { have, .. } => assert_eq!(have, len as u64),
                other => panic!("{name} cut to {len}: {other}"),
            }
        }
    }
}

#[test]
fn the_backing_file_must_be_the_same() {
    let file = MemFile::new(data("v3.cow"));
    let open = |backing: Vec<u8>, mtime| {
        Device::open(&file, &MemFile::new(backing), mtime, Access::ReadOnly).err().map(|e| e.to_string())
    };
    let right = data("backing64k.img");
    assert_eq!(open(right.clone(), 1_000_000_000), None);
    assert_eq!(
        open(right.clone(), 1_000_000_001).as_deref(),
        Some("mtime mismatch (1000000000 vs 1000000001) of COW header vs backing file")
    );
    assert_eq!(
        open(right[..65535].to_vec(), 1).as_deref(),
        Some("Size mismatch (65536 vs 65535) of COW header vs backing file")
    );
    let header = Header::parse(&file.bytes()).unwrap();
    // Times beyond 32 bits are compared whole.
    let later = 1_000_000_000 + (1 << 32);
    assert_eq!(
        header.check_backing(65536, later),
        Err(Mismatch::Mtime { header: 1_000_000_000, actual: later })
    );
}
