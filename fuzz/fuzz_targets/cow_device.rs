//! Any bytes as a COW file and then as operations on it, against the plainest model of a disk.
//!
//! The first half of the input is the file (up to 32 KiB), the second half operations of 6 bytes each.

#![no_main]

use cow::device::{read_bitmap, read_header};
use cow::mem::MemFile;
use cow::{Access, Device, Error};
use libfuzzer_sys::fuzz_target;

/// Largest disk, bytes: the model is a plain vector.
const MAX_DISK: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let (image, ops) = data.split_at(data.len().min(32 << 10).min(data.len() / 6 * 5));
    let file = MemFile::new(image.to_vec());
    let Ok(header) = read_header(&&file) else { return };
    if header.size() > MAX_DISK {
        // No more memory may be asked for than the file holds of a bitmap.
        if let Ok(bitmap) = read_bitmap(&&file, &header) {
            assert!(bitmap.byte_len() <= image.len() as u64);
        }
        return;
    }
    let base: Vec<u8> = (0..header.size()).map(|n| (n ^ (n >> 9)) as u8).collect();
    let backing = MemFile::new(base.clone());
    let mtime = i64::from(header.mtime());
    let Ok(mut device) = Device::open(&file, &backing, mtime, Access::ReadWrite) else { return };
    let size = device.size();
    assert_eq!(size, header.sectors() * u64::from(header.sector_size()));

    let mut model = vec![0; size as usize];
    device.read_at(&mut model, 0).expect("the whole disk is readable");
    for op in ops.chunks_exact(6) {
        let at = u64::from(u16::from_le_bytes([op[1], op[2]])) * 16;
        let len = usize::from(u16::from_le_bytes([op[3], op[4]]));
        let inside = at.checked_add(len as u64).filter(|&end| end <= size).is_some();
        let range = || at as usize..at as usize + len;
        let done = match op[0] % 4 {
            0 => device.write_at(&vec![op[5]; len], at).map(|()| op[5]),
            1 => device.discard(at, len as u64).map(|()| 0),
            2 => device.write_zeroes(at, len as u64).map(|()| 0),
            _ => {
                device.flush().expect("flush");
                continue;
            }
        };
        match done {
            Ok(byte) => model[range()].fill(byte),
            Err(Error::Range) => assert!(!inside),
            Err(Error::NoBit) => assert!(header.bits() < header.sectors()),
            // A large alignment may put the data beyond what a file in memory may have.
            Err(Error::Cow(_)) => return,
            Err(other) => panic!("{other}"),
        }
    }
    let mut now = vec![0; size as usize];
    device.read_at(&mut now, 0).expect("read");
    assert!(now == model);
    device.flush().expect("flush");

    let again = MemFile::new(file.bytes());
    let device = Device::open(&again, &backing, mtime, Access::ReadOnly).expect("what was flushed opens");
    device.read_at(&mut now, 0).expect("read");
    assert!(now == model, "not what was flushed");
    assert!(backing.bytes() == base && backing.ops() == 0, "the backing file was written");
});
