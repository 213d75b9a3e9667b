//! The header's rules, one by one.

#![forbid(unsafe_code)]

use cow::header::{ALIGNMENT, MAGIC, MAX_NAME_LEN};
use cow::{Format, Header, HeaderError};

fn v1(size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 280];
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4] = 1;
    bytes[8] = b'b';
    bytes[268..276].copy_from_slice(&size.to_le_bytes());
    bytes[276..].copy_from_slice(&512u32.to_le_bytes());
    bytes
}

fn v3() -> Vec<u8> {
    Header::new(b"/img", 1 << 20, 7).unwrap().to_bytes()
}

#[test]
fn places_of_bitmap_and_data() {
    let header = Header::new(b"/img", 1 << 20, 7).unwrap();
    assert_eq!(header.bitmap_offset(), 8192);
    assert_eq!(header.bitmap_len(), 256);
    assert_eq!(header.data_offset(), 12288);
    assert_eq!(header.file_len(), 1_060_864);
    assert_eq!(header.alignment(), ALIGNMENT);
    for (size, bytes, bits) in [(0, 0, 0), (1, 1, 1), (511, 1, 1), (4096, 1, 8), (4097, 2, 9), (4608, 2, 9)] {
        let header = Header::new(b"/img", size, 7).unwrap();
        assert_eq!((header.bitmap_len(), header.bits()), (bytes, bits), "{size}");
    }
    assert_eq!(Header::new(b"/img", 0, 7).unwrap().file_len(), 8192);
    let large = header.clone().with_alignment(1 << 20).unwrap();
    assert_eq!((large.bitmap_offset(), large.data_offset()), (1 << 20, 2 << 20));
    assert_eq!(Header::parse(&large.to_bytes()).unwrap(), large);
    assert_eq!(header.with_alignment(0), Err(HeaderError::Alignment(0)));
}

#[test]
fn versions_1_and_2_lose_the_last_bits() {
    for (size, bytes, bits) in [(4096, 1, 8), (4608, 1, 8), (4097, 1, 8), (7680, 1, 8), (7681, 2, 16)] {
        let header = Header::parse(&v1(size)).unwrap();
        assert_eq!(header.bitmap_len(), bytes, "{size}");
        assert_eq!(header.bits(), bits.min(header.sectors()), "{size}");
        assert_eq!(header.data_offset(), 512);
    }
}

#[test]
fn version_1_is_read_in_both_byte_orders() {
    let mut big = v1(1 << 20);
    for range in [0..4, 4..8, 264..268, 268..276, 276..280] {
        big[range].reverse();
    }
    let header = Header::parse(&big).unwrap();
    assert_eq!(header.format(), Format::V1Be);
    assert_eq!((header.size(), header.sector_size()), (1 << 20, 512));
    assert_eq!(header.to_bytes(), big);
}

#[test]
fn versions_2_and_3_are_big_endian_only() {
    for version in [2u32, 3] {
        let mut bytes = v3();
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        assert_eq!(Header::parse(&bytes), Err(HeaderError::Version(version)));
    }
}

#[test]
fn refuses_senseless_fields() {
    let with = |at: usize, value: &[u8]| {
        let mut bytes = v3();
        bytes[at..at + value.len()].copy_from_slice(value);
        Header::parse(&bytes)
    };
    assert_eq!(with(0, b"OOOO"), Err(HeaderError::NotCow));
    assert_eq!(with(4, &[0, 0, 0, 4]), Err(HeaderError::Version(4)));
    assert_eq!(with(4, &[0, 0, 0, 0]), Err(HeaderError::Version(0)));
    assert_eq!(with(20, &[0; 4]), Err(HeaderError::SectorSize(0)));
    assert_eq!(with(20, &[0, 0, 2, 1]), Err(HeaderError::SectorSize(513)));
    assert_eq!(with(24, &[0; 4]), Err(HeaderError::Alignment(0)));
    assert_eq!(with(24, &[255; 4]), Err(HeaderError::Alignment(u32::MAX)));
    assert_eq!(with(28, &[0, 0, 0, 1]), Err(HeaderError::CowFormat(1)));
    assert_eq!(with(12, &[255; 8]), Err(HeaderError::TooLarge(u64::MAX)));
    assert_eq!(with(32, &[b'x'; 4096]), Err(HeaderError::Name));
    assert_eq!(Header::parse(&v3()[..4127]), Err(HeaderError::Short { have: 4127, need: 4128 }));
    assert_eq!(Header::parse(b"OOOM\0\0\0"), Err(HeaderError::Short { have: 7, need: 8 }));
    assert_eq!(Header::parse(b"OOO"), Err(HeaderError::NotCow));
    assert_eq!(Header::parse(b""), Err(HeaderError::NotCow));
}

#[test]
fn a_name_ends_at_its_nul() {
    // A shorter name written over a longer one leaves the rest of the longer one behind.
    let mut bytes = v3();
    bytes[32..52].copy_from_slice(b"/tmp/g/other.img\0g\0\0");
    assert_eq!(Header::parse(&bytes).unwrap().backing(), b"/tmp/g/other.img");
}

#[test]
fn names_fit_or_are_refused() {
    let long = vec![b'n'; MAX_NAME_LEN];
    let header = Header::new(&long, 1, 1).unwrap();
    assert_eq!(Header::parse(&header.to_bytes()).unwrap(), header);
    let longer = vec![b'n'; MAX_NAME_LEN + 1];
    assert_eq!(Header::new(&longer, 1, 1), Err(HeaderError::NameTooLong { len: 4096, max: 4095 }));
    assert_eq!(Header::new(b"", 1, 1), Err(HeaderError::Name));
    assert_eq!(Header::new(b"a\0b", 1, 1), Err(HeaderError::Name));
    let mut old = Header::parse(&v1(512)).unwrap();
    assert_eq!(old.set_backing(&[b'n'; 256]), Err(HeaderError::NameTooLong { len: 256, max: 255 }));
    assert_eq!(old.backing(), b"b");
}

#[test]
fn times_beyond_32_bits_are_refused() {
    assert_eq!(Header::new(b"/i", 1, u32::MAX.into()).unwrap().mtime(), u32::MAX);
    assert_eq!(Header::new(b"/i", 1, 1 << 32), Err(HeaderError::MtimeRange(1 << 32)));
    assert_eq!(Header::new(b"/i", 1, -1), Err(HeaderError::MtimeRange(-1)));
}

#[test]
fn the_merge_mark_is_behind_the_name() {
    for bytes in [v1(512), v3()] {
        let mut header = Header::parse(&bytes).unwrap();
        assert!(!header.merging());
        assert!(header.set_merging(true));
        let marked = header.to_bytes();
        let again = Header::parse(&marked).unwrap();
        assert!(again.merging());
        assert_eq!(again.backing(), header.backing());
        assert!(header.set_merging(false));
        assert_eq!(header.to_bytes(), bytes);
    }
    let mut full = Header::new(&[b'n'; MAX_NAME_LEN], 1, 1).unwrap();
    assert!(!full.set_merging(true));
    assert!(!full.merging());
}
