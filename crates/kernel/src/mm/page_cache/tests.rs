use std::sync::Arc;

use hal::mock::MockHost;
use hal::{Host, SharedMem};

use super::*;
use crate::io::{BufSink, BufSource};

fn cache_of(limit: u64) -> (PageCache, MockHost) {
    let host = MockHost::new();
    let mem = host.shared_mem();
    let alloc = Arc::new(SharedAlloc::new(mem.size()));
    let parts = Parts { alloc, mem, charge: Arc::new(Charge::new(limit)), host: Arc::new(host.clone()) };
    let inner =
        Inner { len: 0, chunks: BTreeMap::new(), pages: 0, stored_by_map: false, mappers: Vec::new() };
    let c = PageCache {
        parts: Arc::new(parts),
        filler: None,
        inner: Mutex::new(locks::PAGE_CACHE, inner),
        stores: Default::default(),
    };
    (c, host)
}

fn read(c: &PageCache, pos: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xee; len];
    let n = c.read(&mut BufSink::new(&mut buf), pos, len).unwrap();
    buf.truncate(n);
    buf
}

fn write(c: &PageCache, pos: u64, data: &[u8]) -> Result<usize> {
    c.write(&mut BufSource(data), pos)
}

#[test]
fn data_holes_and_ends() {
    let (c, _h) = cache_of(1 << 30);
    assert_eq!(write(&c, 10, b"hello"), Ok(5));
    assert_eq!(c.len(), 15);
    assert_eq!(read(&c, 8, 100), b"\0\0hello");
    assert_eq!(write(&c, 300_000, &[7; 200_000]), Ok(200_000));
    assert_eq!(read(&c, 299_999, 3), [0, 7, 7]);
    assert_eq!(read(&c, 499_999, 3), [7]);
    assert_eq!(c.seek(0, false), Ok(4096));
    assert_eq!(c.seek(4096, true), Ok(300_000 / 4096 * 4096));
    assert_eq!(c.seek(300_000, false), Ok(500_000));
    assert_eq!(c.seek(500_000, true), Err(ENXIO));
}

#[test]
fn truncation_forgets_and_zeroes() {
    let (c, h) = cache_of(1 << 30);
    write(&c, 0, &[1; 200_000]).unwrap();
    c.resize(100).unwrap();
    assert_eq!(c.allocated(), 4096);
    c.resize(200_000).unwrap();
    assert_eq!(read(&c, 99, 3), [1, 0, 0]);
    assert!(read(&c, 4096, 100_000).iter().all(|b| *b == 0));
    c.resize(0).unwrap();
    assert_eq!((c.allocated(), c.parts.charge.cache_bytes()), (0, 0));
    assert_eq!(h.shared_mem().allocated(), 0);
}

#[test]
fn punched_pages_are_given_back() {
    let (c, h) = cache_of(1 << 30);
    write(&c, 0, &[1; 40_960]).unwrap();
    c.punch(5000, 10_000).unwrap();
    assert_eq!(c.allocated(), 40_960 - 8192 + 4096);
    assert_eq!(h.shared_mem().allocated(), c.allocated());
    let all = read(&c, 0, 50_000);
    assert_eq!(all.len(), 40_960);
    assert!(all.iter().enumerate().all(|(i, b)| (*b == 0) == (5000..15_000).contains(&i)));
    c.punch(100, 5).unwrap();
    assert_eq!(read(&c, 98, 9), [1, 1, 0, 0, 0, 0, 0, 1, 1]);
}

#[test]
fn sparse_giants_cost_what_is_written() {
    let (c, h) = cache_of(1 << 20);
    assert_eq!(write(&c, MAX_SIZE - 1, b"xy"), Ok(1));
    assert_eq!(write(&c, MAX_SIZE, b"x"), Err(EFBIG));
    assert_eq!(c.resize(MAX_SIZE + 1), Err(EFBIG));
    assert_eq!(c.len(), MAX_SIZE);
    assert_eq!(h.shared_mem().allocated(), 4096);
    // The limit counts what is written, and stops a write where it is reached.
    assert_eq!(write(&c, 0, &vec![1; 2 << 20]), Ok(512 << 10));
    assert_eq!(write(&c, 512 << 10, &vec![1; 2 << 20]), Err(abi::errno::ENOMEM));
}

#[test]
fn windows_end_with_the_file_and_the_chunk() {
    let (c, _h) = cache_of(1 << 30);
    write(&c, 0, &[1; 70_000]).unwrap();
    let w = c.window(0, 0, 1 << 30).unwrap().unwrap();
    assert_eq!((w.pos, w.len), (0, 65_536));
    let w = c.window(69_999, 0, 1 << 30).unwrap().unwrap();
    assert_eq!((w.pos, w.len), (65_536, 8192));
    assert!(c.window(73_728, 0, 1 << 30).unwrap().is_none());
}

struct Pattern;
impl Filler for Pattern {
    fn fill(&self, pos: u64, mem: &dyn SharedMem, offset: u64, len: u64) -> Result<()> {
        for p in 0..len / PAGE_SIZE {
            mem.write(offset + p * PAGE_SIZE, &[((pos / PAGE_SIZE + p) % 251) as u8 + 1; 4096]);
        }
        Ok(())
    }
}

#[test]
fn missing_pages_come_from_the_filler() {
    let (mut c, _h) = cache_of(1 << 30);
    c.filler = Some(Arc::new(Pattern));
    c.resize(1 << 20).unwrap();
    assert_eq!(read(&c, 4095, 2), [1, 2]);
    assert_eq!(write(&c, 100 * 4096 + 5, b"z"), Ok(1));
    assert_eq!(read(&c, 100 * 4096 + 4, 3), [101, b'z', 101]);
    assert!(c.window(200 * 4096, 0, 1 << 20).unwrap().is_none());
    c.prepare(200 * 4096).unwrap();
    let w = c.window(200 * 4096, 0, 1 << 20).unwrap().unwrap();
    assert_eq!(w.pos, 200 * 4096);
}
