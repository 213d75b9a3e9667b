//! Ends of files that the stub was told of.

use hal::{Context, End, Host};

use super::{
    served::{enable, refused, rounds, served},
    *,
};

const SEEK: u32 = libc::SYS_lseek as u32;
const TO_END: u64 = libc::SEEK_END as u64;

#[test]
fn the_end_is_told_until_the_count_moves() {
    let host = host();
    let args = [5, 0, TO_END];
    let mut c = rounds(&host, SEEK, &args);
    let tell = |c: &mut dyn Context, fd: i32, count: u32, size: u64| {
        c.tell_end(&End { fd, count, value: host.raised(count), size })
    };
    refused(&mut *c, SEEK, &args);
    assert!(tell(&mut *c, 5, 9, 1 << 40));
    (0..3).for_each(|_| assert_eq!(served(&mut *c), 1 << 40));
    host.raise(8);
    assert_eq!(served(&mut *c), 1 << 40);
    host.raise(9);
    refused(&mut *c, SEEK, &args);
    // One of several is forgotten, or all, or the one that another takes the place of.
    assert!(tell(&mut *c, 5, 9, 7) && tell(&mut *c, 6, 9, 8));
    c.forget_ends(Some(6));
    c.forget_ends(Some(21));
    assert_eq!(served(&mut *c), 7);
    c.forget_ends(Some(5));
    refused(&mut *c, SEEK, &args);
    for forget in [|c: &mut dyn Context| c.forget_ends(None), |c: &mut dyn Context| c.forget_program()] {
        assert!(tell(&mut *c, 5, 0, 7));
        assert_eq!(served(&mut *c), 7);
        forget(&mut *c);
        refused(&mut *c, SEEK, &args);
        // What was told before is not there again with another.
        assert!(tell(&mut *c, 4, 0, 7));
        refused(&mut *c, SEEK, &args);
    }
    assert!(tell(&mut *c, 5, 0, 7) && tell(&mut *c, 21, 0, 9));
    refused(&mut *c, SEEK, &args);
    assert!(!tell(&mut *c, 5, hal::COUNTS, 7) && !tell(&mut *c, -1, 0, 7));
    assert!(tell(&mut *c, 5, 0, 7));
    c.set_fast_ids(&hal::FastIds::default());
    refused(&mut *c, SEEK, &args);
    enable(&mut *c);
    assert_eq!(served(&mut *c), 7);
}

#[test]
fn other_seeks_are_refused() {
    let host = host();
    for args in [[5, 0, 0], [5, 1, TO_END], [5, u64::MAX, TO_END], [5, 0, 1], [6, 0, TO_END], [21, 0, TO_END]]
    {
        let mut c = rounds(&host, SEEK, &args);
        assert!(c.tell_end(&End { fd: 5, count: 0, value: host.raised(0), size: 7 }));
        (0..2).for_each(|_| refused(&mut *c, SEEK, &args));
    }
}
