//! Any bytes as a COW header: no panic, and what was parsed is written and parsed again the same.

#![no_main]

use cow::device::read_bitmap;
use cow::mem::MemFile;
use cow::{Error, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut header) = Header::parse(data) else { return };
    let bytes = header.to_bytes();
    assert_eq!(bytes.len(), header.format().header_len());
    assert_eq!(Header::parse(&bytes).as_ref(), Ok(&header));

    // The layout: nothing overlaps, nothing overflows.
    assert!(header.bitmap_offset() >= bytes.len() as u64);
    assert!(header.data_offset() >= header.bitmap_offset() + header.bitmap_len());
    assert!(header.file_len() <= i64::MAX as u64);
    assert!(header.bits() <= header.sectors());
    assert!(header.sectors() - header.bits() < 8);

    // A file that ends with the header holds no bitmap, or an empty one.
    let file = MemFile::new(bytes);
    match read_bitmap(&&file, &header) {
        Ok(bitmap) => assert!(bitmap.is_empty()),
        Err(Error::Truncated { have, need }) => assert!(have < need),
        Err(other) => panic!("{other}"),
    }

    let merging = header.merging();
    if header.set_merging(!merging) {
        assert_eq!(Header::parse(&header.to_bytes()).as_ref(), Ok(&header));
    }
});
