//! Receive queues: merging, parts, and the mark of the out-of-band byte.

use std::sync::Arc;

use hal::Told;

use crate::queue::{Budget, Record, Rx, Taken};

fn record(text: &str) -> Record {
    let charge = Budget::new(1 << 20).charge(text.len()).unwrap();
    Record::new(text.as_bytes().to_vec(), Default::default(), None, None, charge)
}

/// What one recv(2) with a large buffer would give, with the bytes out of band taken out or `inline`.
fn read(rx: &mut Rx, inline: bool) -> String {
    let (mut out, mut skipped) = (Vec::new(), Vec::new());
    while rx.pass_mark(!out.is_empty(), inline, &mut skipped)
        && let Some(Taken::Whole(r)) = rx.take(1000)
    {
        out.extend_from_slice(r.bytes());
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn small_writes_become_one_record() {
    let mut rx = Rx::default();
    rx.push_stream(record("ab"));
    rx.push_stream(record("cd"));
    assert_eq!((rx.records.len(), rx.bytes), (1, 4));
    assert!(matches!(rx.take(3), Some(Taken::Part(p, None)) if p == b"abc"));
    assert_eq!((read(&mut rx, false).as_str(), rx.bytes), ("d", 0));
}

#[test]
fn reading_stops_at_the_mark_and_leaves_the_byte_out() {
    let mut rx = Rx::default();
    rx.push_stream(record("ab"));
    rx.push_urgent(record("U"));
    rx.push_stream(record("cd"));
    assert!(!rx.at_mark());
    assert_eq!(read(&mut rx, false), "ab");
    assert!(rx.at_mark());
    assert_eq!(read(&mut rx, false), "cd");
    assert_eq!(rx.bytes, 0);
    assert!(rx.urgent().is_none());
}

#[test]
fn a_byte_that_was_read_leaves_its_mark() {
    let mut rx = Rx::default();
    rx.push_stream(record("ab"));
    rx.push_urgent(record("U"));
    rx.push_stream(record("cd"));
    rx.take_urgent();
    assert_eq!(rx.bytes, 4);
    assert_eq!(read(&mut rx, false), "ab");
    assert!(rx.at_mark());
    assert_eq!(read(&mut rx, false), "cd");
    // A mark alone is nothing to read.
    rx.push_urgent(record("V"));
    rx.take_urgent();
    assert!(!rx.has_ordinary(false));
}

#[test]
fn a_second_byte_makes_the_first_ordinary() {
    let mut rx = Rx::default();
    rx.push_urgent(record("1"));
    rx.push_urgent(record("2"));
    assert_eq!(rx.urgent().unwrap().bytes(), b"2");
    assert_eq!(read(&mut rx, false), "1");
    assert_eq!(read(&mut rx, true), "2");
}

/// Somebody who was told of bytes, and has taken them or not.
struct Reader {
    took: bool,
}

impl Told for Reader {
    fn take_back(&self) -> bool {
        self.took
    }
}

#[test]
fn what_was_told_is_there_unless_it_was_taken() {
    for (took, left) in [(true, "cd"), (false, "abcd")] {
        let mut rx = Rx::default();
        rx.push_stream(record("ab"));
        assert_eq!(rx.plain(), Some(&b"ab"[..]));
        rx.told = Some((Arc::new(Reader { took }), 2));
        // More may come before that is known.
        rx.push_stream(record("cd"));
        assert_eq!(rx.settle().is_some(), took);
        assert!(rx.settle().is_none());
        assert_eq!((read(&mut rx, false).as_str(), rx.bytes), (left, 0));
    }
}

#[test]
fn only_plain_bytes_are_told() {
    let mut rx = Rx::default();
    assert_eq!(rx.plain(), None);
    rx.push_urgent(record("U"));
    assert_eq!(rx.plain(), None);
    rx.push_stream(record("ab"));
    assert_eq!(rx.plain(), None);
    let mut rx = Rx::default();
    let budget = Budget::new(1000);
    let charge = budget.charge(100).unwrap();
    // Its sender waits for room.
    rx.push(Record::new(vec![1; 100], Default::default(), None, None, charge));
    assert_eq!(rx.plain(), None);
}
