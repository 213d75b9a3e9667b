//! Tests of what is expected of a program that asks for names.

use super::*;

fn listing(names: &[&str]) -> Listing {
    let mut l = Listing::default();
    names.iter().for_each(|n| l.push(n.as_bytes()));
    l
}

#[test]
fn names_are_kept_and_sorted() {
    let mut l = listing(&["b", "aa", "", "c"]);
    assert_eq!((0..4).map(|i| l.name(i)).collect::<Vec<_>>(), [&b"b"[..], b"aa", b"", b"c"]);
    l.sort();
    assert_eq!((0..4).map(|i| l.name(i)).collect::<Vec<_>>(), [&b""[..], b"aa", b"b", b"c"]);
}

#[test]
fn questions_in_order_are_expected() {
    let mut l = listing(&["a", "b", "c", "d", "e"]);
    assert!(!l.asked(b"a"), "one question shows nothing");
    assert!(l.asked(b"b") && l.asked(b"d"));
    assert_eq!(l.next, 4);
    assert!(!l.asked(b"x"));
    assert!(!l.asked(b"a"), "from the beginning");
    assert!(l.asked(b"b"));
}

#[test]
fn a_question_elsewhere_begins_anew() {
    let mut a = Ahead::default();
    for (name, sorted) in [("1", 0), ("10", 1), ("100", 2), ("11", 3), ("1", 0), ("2", 1)] {
        assert!(a.ask(-100, 0, b"d/", name.as_bytes()));
        assert_eq!(a.sorted, sorted, "{name}");
    }
    for (dirfd, flags, prefix) in [(-100, 256, "d/"), (3, 256, "d/"), (3, 256, "e/")] {
        a.listing = Some(listing(&["x"]));
        assert!(a.ask(dirfd, flags, prefix.as_bytes(), b"z"));
        assert!(a.listing.is_none() && a.sorted == 0);
        assert_eq!(a.past.len(), 1);
    }
}

#[test]
fn who_followed_one_listing_will_follow_the_next() {
    let mut a = Ahead { listing: Some(listing(&["a", "b", "c"])), ..Ahead::default() };
    assert_eq!(a.expects(b"a"), 0..0);
    assert_eq!(a.expects(b"b"), 2..3);
    a.told = 1;
    a.settle(1);
    a.listing = Some(listing(&["d", "e", "f"]));
    assert_eq!(a.expects(b"d"), 1..3);
    // The same question again is about the same.
    assert_eq!(a.expects(b"d"), 0..0);
    assert_eq!(a.expects(b"e"), 2..3);
}

#[test]
fn a_listing_that_is_left_again_and_again_tells_little() {
    let mut a = Ahead { listing: Some(listing(&["a"; 40])), is_follower: true, ..Ahead::default() };
    let mut told = Vec::new();
    for _ in 0..4 {
        let names = a.expects(b"a");
        told.push(names.len());
        a.told = names.len();
        a.settle(0);
        (a.is_follower, a.vain) = (true, 0);
        let next = a.listing.as_ref().unwrap().next;
        a.listing.as_mut().unwrap().hits = 2;
        assert!(next < 20);
    }
    assert_eq!(told, [8, 2, 0, 0]);
}

#[test]
fn who_asks_twice_is_told_the_same_again() {
    let mut a = Ahead::default();
    a.ask(3, 0, b"", b"n");
    assert!(!a.repeats);
    a.ask(3, 0, b"", b"n");
    assert!(a.repeats);
    a.told_again = true;
    a.settle(1);
    assert!(a.repeats);
    a.told_again = true;
    a.settle(0);
    assert!(!a.repeats);
}

#[test]
fn who_asks_for_little_is_left_alone() {
    let mut a = Ahead::default();
    let mut batches = Vec::new();
    for _ in 0..4 {
        a.told = a.batch.max(FEWEST);
        a.settle(a.told);
        batches.push(a.batch);
    }
    assert_eq!(batches, [16, 32, 64, 64]);
    for _ in 0..VAIN {
        assert!(a.ask(-100, 0, b"", b"n"));
        a.told = 48;
        a.settle(3);
    }
    assert_eq!((0..REST).filter(|_| a.ask(-100, 0, b"", b"n")).count(), 0);
    assert!(a.ask(-100, 0, b"", b"n"));
}
