//! The device view: a model of its content, its failures, and a crash after every change.

#![forbid(unsafe_code)]

use cow::device;
use cow::mem::{MemError, MemFile};
use cow::{Access, Device, Error, Header};

const SECTOR: usize = 512;

/// A small generator of numbers; the tests must not differ from run to run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

fn backing(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i / SECTOR + i) as u8 | 1).collect()
}

fn new_cow(size: usize) -> MemFile {
    let file = MemFile::new(Vec::new());
    device::create(&file, &Header::new(b"/img", size as u64, 7).unwrap()).unwrap();
    MemFile::new(file.bytes())
}

/// A version 1 file: its bitmap follows the header without a gap.
fn old_cow(size: usize) -> MemFile {
    let mut bytes = vec![0; 280];
    bytes[..8].copy_from_slice(b"MOOO\x01\0\0\0");
    bytes[8] = b'b';
    bytes[264] = 7;
    bytes[268..276].copy_from_slice(&(size as u64).to_le_bytes());
    bytes[277] = 2;
    let header = Header::parse(&bytes).unwrap();
    bytes.resize(header.file_len() as usize, 0);
    MemFile::new(bytes)
}

fn open<'a>(cow: &'a MemFile, base: &'a MemFile) -> Device<&'a MemFile, &'a MemFile> {
    Device::open(cow, base, 7, Access::ReadWrite).unwrap()
}

/// One random change of device and model; tells which sectors it touched.
fn change(random: &mut Random, device: &mut Device<&MemFile, &MemFile>, model: &mut [u8]) -> (usize, usize) {
    let size = model.len() as u64;
    let mut at = random.below(size);
    let mut len = random.below((size - at).min(6000) + 1);
    if random.below(3) > 0 {
        (at, len) = (at / 512 * 512, len / 512 * 512);
    }
    let range = at as usize..(at + len) as usize;
    match random.below(4) {
        0 => {
            device.discard(at, len).unwrap();
            model[range.clone()].fill(0);
        }
        1 => {
            device.write_zeroes(at, len).unwrap();
            model[range.clone()].fill(0);
        }
        _ => {
            let new: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            device.write_at(&new, at).unwrap();
            model[range.clone()].copy_from_slice(&new);
        }
    }
    (range.start / SECTOR, range.end.div_ceil(SECTOR))
}

#[test]
fn behaves_like_plain_memory() {
    for (seed, size) in [(1, 65536), (2, 40960), (3, 20000), (4, 513), (5, 4096)] {
        for old in [false, true] {
            // Version 1 only with sizes that its bitmap covers.
            if old && size % 4096 != 0 {
                continue;
            }
            let cow = if old { old_cow(size) } else { new_cow(size) };
            let base = MemFile::new(backing(size));
            let mut device = open(&cow, &base);
            assert_eq!(device.size(), size.next_multiple_of(SECTOR) as u64);
            let mut model = backing(size);
            model.resize(device.size() as usize, 0);
            let mut random = Random(seed);
            for round in 0..200 {
                change(&mut random, &mut device, &mut model);
                let mut got = vec![0xee; model.len()];
                device.read_at(&mut got, 0).unwrap();
                assert!(got == model, "size {size}, round {round}");
                let at = random.below(size as u64) as usize;
                let end = at + random.below((model.len() - at) as u64) as usize;
                device.read_at(&mut got[at..end], at as u64).unwrap();
                assert!(got == model);
                if random.below(10) == 0 {
                    device.flush().unwrap();
                    let again = MemFile::new(cow.bytes());
                    open(&again, &base).read_at(&mut got, 0).unwrap();
                    assert!(got == model, "after reopening, size {size}, round {round}");
                }
            }
            assert_eq!(base.ops(), 0);
            assert!(base.bytes() == backing(size));
        }
    }
}

#[test]
fn refuses_what_is_outside_or_forbidden() {
    let base = MemFile::new(backing(4096));
    let cow = new_cow(4096);
    let mut device = open(&cow, &base);
    assert_eq!(device.write_at(&[0; 2], 4095), Err(Error::Range));
    assert_eq!(device.read_at(&mut [0; 1], 4096), Err(Error::Range));
    assert_eq!(device.discard(u64::MAX, 2), Err(Error::Range));
    assert_eq!(device.read_at(&mut [], 4096), Ok(()));
    let mut device = Device::open(&cow, &base, 7, Access::ReadOnly).unwrap();
    assert_eq!(device.write_at(&[0; 512], 0), Err(Error::ReadOnly));
    assert_eq!(device.discard(0, 512), Err(Error::ReadOnly));
    assert_eq!(device.flush(), Ok(()));
    assert_eq!(cow.ops(), 0);
}

#[test]
fn sectors_without_a_bit_stay_the_backing_files() {
    let base = MemFile::new(backing(4608));
    let cow = old_cow(4608);
    let mut device = open(&cow, &base);
    assert_eq!(device.write_at(&[0; 512], 4096), Err(Error::NoBit));
    assert_eq!(device.write_at(&[1; 512], 3584), Ok(()));
    let mut got = [0; 1024];
    device.read_at(&mut got, 3584).unwrap();
    assert!(got[..512] == [1; 512] && got[512..] == backing(4608)[4096..]);
}

#[test]
fn without_holes_zeros_are_written() {
    let base = MemFile::new(backing(300_000));
    let cow = new_cow(300_000);
    cow.without_holes();
    let mut device = open(&cow, &base);
    assert_eq!(device.discard(512, 1024), Err(Error::Unsupported));
    assert_eq!(cow.ops(), 0);
    device.write_zeroes(100, 250_000).unwrap();
    let mut got = vec![1; 300_000];
    device.read_at(&mut got, 0).unwrap();
    let mut want = backing(300_000);
    want[100..250_100].fill(0);
    assert!(got == want);
}

#[test]
fn a_hole_behind_the_end_of_the_file_lies_within_it() {
    // Found by fuzzing: a discard set bits for sectors that the file was too short to hold.
    let base = MemFile::new(backing(8192));
    let header = Header::new(b"/img", 8192, 7).unwrap();
    let mut bytes = new_cow(8192).bytes();
    bytes.truncate(header.data_offset() as usize + 512);
    let cow = MemFile::new(bytes);
    let mut device = open(&cow, &base);
    device.discard(4096, 2048).unwrap();
    device.flush().unwrap();
    let again = MemFile::new(cow.bytes());
    let mut got = vec![1; 2048];
    open(&again, &base).read_at(&mut got, 4096).unwrap();
    assert!(got == [0; 2048]);
    // Making the file long enough must not touch what has made it so already.
    let mut bytes = new_cow(8192).bytes();
    bytes.truncate(header.data_offset() as usize + 512);
    let cow = MemFile::new(bytes);
    let mut device = open(&cow, &base);
    device.write_at(&[9; 512], 7680).unwrap();
    device.discard(4096, 2048).unwrap();
    device.read_at(&mut got[..512], 7680).unwrap();
    assert!(got[..512] == [9; 512]);
}

#[test]
fn a_false_size_costs_no_memory() {
    let header = Header::new(b"/img", 1 << 62, 7).unwrap();
    let cow = MemFile::new(header.to_bytes());
    assert!(matches!(device::read_bitmap(&&cow, &header), Err(Error::Truncated { .. })));
}

#[test]
fn a_failed_write_or_flush_loses_nothing() {
    for failing in 0..12 {
        let base = MemFile::new(backing(8192));
        let cow = new_cow(8192);
        let mut device = open(&cow, &base);
        let mut model = backing(8192);
        cow.fail_after(Some(failing));
        for n in 0..4u8 {
            let range = usize::from(n) * 1024..usize::from(n) * 1024 + 512;
            match device.write_at(&[n; 512], range.start as u64) {
                Ok(()) => model[range].fill(n),
                Err(e) => assert_eq!(e, Error::Cow(MemError::Injected)),
            }
            let flushed = device.flush();
            assert!(flushed.is_ok() || flushed == Err(Error::Cow(MemError::Injected)));
        }
        cow.fail_after(None);
        device.flush().unwrap();
        let again = MemFile::new(cow.bytes());
        let mut got = vec![0; 8192];
        open(&again, &base).read_at(&mut got, 0).unwrap();
        assert!(got == model, "failing after {failing}");
    }
}

/// What each sector may hold after a crash: what it held at the last flush, and everything since.
struct Allowed {
    /// For the log length at which it became so: the contents each sector may have.
    steps: Vec<(usize, Vec<Vec<Vec<u8>>>)>,
}

#[test]
fn a_crash_after_any_change_leaves_each_sector_old_or_new() {
    for (seed, old) in [(11, false), (12, false), (13, true), (14, true)] {
        let size = 24576;
        let cow = if old { old_cow(size) } else { new_cow(size) };
        let base = MemFile::new(backing(size));
        let mut device = open(&cow, &base);
        let mut random = Random(seed);
        let mut model = backing(size);
        let sectors = |m: &[u8]| m.chunks(SECTOR).map(|s| vec![s.to_vec()]).collect::<Vec<_>>();
        let mut may = sectors(&model);
        let mut allowed = Allowed { steps: vec![(0, may.clone())] };
        for _ in 0..60 {
            let before = cow.ops();
            if random.below(5) == 0 {
                device.flush().unwrap();
                // The flush has held only once it returned.
                may = sectors(&model);
                allowed.steps.push((cow.ops(), may.clone()));
                continue;
            }
            let (first, last) = change(&mut random, &mut device, &mut model);
            for n in first..last {
                // A torn request may have done any of its parts; each is a whole sector or lies in one.
                may[n].push(model[n * SECTOR..(n + 1) * SECTOR].to_vec());
            }
            allowed.steps.push((before, may.clone()));
        }
        let may_at = |ops: usize| &allowed.steps.iter().rfind(|s| s.0 <= ops).unwrap().1;
        let check = |bytes: Vec<u8>, ops: usize, how: &str| {
            let file = MemFile::new(bytes);
            let device = open(&file, &base);
            let mut got = vec![0; size];
            device.read_at(&mut got, 0).unwrap();
            for (n, sector) in got.chunks(SECTOR).enumerate() {
                assert!(
                    may_at(ops)[n].iter().any(|m| m == sector),
                    "seed {seed}: sector {n} is neither old nor new, {how} after {ops} changes"
                );
            }
        };
        for ops in 0..=cow.ops() {
            check(cow.after_kill(ops, 0), ops, "killed");
            // A killed write ends at a page of the host's cache, here at a sector.
            for part in 1..8 {
                check(cow.after_kill(ops, part * SECTOR), ops, "killed within a write");
            }
            for _ in 0..12 {
                check(cow.after_power_cut(ops, || random.below(2) == 0), ops, "power cut");
            }
            check(cow.after_power_cut(ops, || false), ops, "power cut");
        }
    }
}

#[test]
fn bits_never_precede_their_data() {
    // The order itself: between a write to the data area and the bitmap there is a sync.
    let base = MemFile::new(backing(8192));
    let cow = new_cow(8192);
    let mut device = open(&cow, &base);
    device.write_at(&[9; 512], 0).unwrap();
    let bitmap = device.header().bitmap_offset() as usize;
    assert_eq!(cow.bytes()[bitmap], 0);
    assert_eq!(cow.ops(), 1);
    device.flush().unwrap();
    assert_eq!(cow.ops(), 4, "data, sync, bitmap, sync");
    assert_eq!(cow.after_kill(2, 0)[bitmap], 0);
    assert_eq!(cow.after_kill(3, 0)[bitmap], 1);
    device.write_at(&[8; 512], 0).unwrap();
    device.flush().unwrap();
    assert_eq!(cow.ops(), 6, "no bit changed, so one sync is enough");
}
