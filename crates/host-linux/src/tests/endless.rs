//! Descriptors of /dev/null and /dev/zero that the stub answers about.

use hal::{Endless, EndlessUse, Host};

use super::{lent::Program, *};
use crate::layout::{REGION, SLOTS, endless};

const READ: u32 = libc::SYS_read as u32;
const WRITE: u32 = libc::SYS_write as u32;
/// Anywhere in guest memory.
const AT: u64 = DATA + 0x200;

fn lend(p: &mut Program, null: Option<i32>, zero: Option<i32>) {
    let epoch = p.host.lending_epoch();
    p.c.lend_endless(&Endless { null, zero, epoch });
}

#[test]
fn writes_are_answered_until_they_are_taken_back() {
    let mut p = Program::new(WRITE);
    assert_eq!(p.ask([1, AT, 7, 0]), None);
    lend(&mut p, Some(1), Some(2));
    assert_eq!(p.ask([1, AT, 7, 0]), Some(7));
    // As with Linux, nobody looks at what is thrown away.
    assert_eq!(p.ask([1, 8, 0x1000_0000, 0]), Some(0x1000_0000));
    for args in [
        [2, AT, 7, 0],
        [1 << 32 | 3, AT, 7, 0],
        [1, REGION - 8, 1, 0],
        [1, AT, u64::MAX, 0],
        [1, AT, 1 << 31, 0],
    ] {
        assert_eq!(p.ask(args), None, "{args:x?}");
    }
    let used = EndlessUse { writes: 2, written: 7 + 0x1000_0000, ..EndlessUse::default() };
    assert_eq!(p.c.endless_used(), used);
    assert_eq!(p.c.endless_used(), EndlessUse::default());
    p.host.recall_files();
    assert_eq!(p.ask([1, AT, 7, 0]), None);
    lend(&mut p, Some(1), None);
    assert_eq!(p.ask([1, AT, 7, 0]), Some(7));
    p.c.lend_endless(&Endless::default());
    assert_eq!(p.ask([1, AT, 7, 0]), None);
    assert_eq!(p.ask([u64::MAX, AT, 7, 0]), None);
}

#[test]
fn zeros_are_read() {
    let mut p = Program::new(READ);
    lend(&mut p, Some(2), Some(1));
    assert_eq!(p.c.write(AT, &[7; 100]), 100);
    assert_eq!(p.ask([1, AT, 60, 0]), Some(60));
    assert_eq!(p.data(AT, 100), [[0; 60].as_slice(), &[7; 40]].concat());
    let more = u64::from(endless::READ_MAX) + 1;
    for args in [[2, AT, 7, 0], [1, 8, 7, 0], [1, TEXT, 7, 0], [1, SLOTS, 7, 0], [1, AT, more, 0]] {
        assert_eq!(p.ask(args), None, "{args:x?}");
    }
    assert_eq!(p.c.endless_used(), EndlessUse { reads: 1, read: 60, ..EndlessUse::default() });
}
