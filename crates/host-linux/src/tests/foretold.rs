//! Attributes of names told ahead to the stub.

use hal::{Foreseen, Host};

use super::{
    lent::{Program, TOO_LONG},
    *,
};
use crate::layout::{REGION, SLOTS, names};

const STAT_AT: u32 = libc::SYS_newfstatat as u32;
const LSTAT: u32 = libc::SYS_lstat as u32;
const CWD: u64 = libc::AT_FDCWD as i64 as u64;
const LINK: u64 = libc::AT_SYMLINK_NOFOLLOW as u64;
/// Where the path stands, and where the attributes go.
const PATH: u64 = DATA + 0x100;
const OUT: u64 = DATA + 0x800;

fn tell(p: &mut Program, dirfd: i32, flags: u32, prefix: &[u8], told: &[&[u8]]) -> usize {
    let epoch = p.host.lending_epoch();
    let answers: Vec<(&[u8], [u8; abi::Stat::SIZE])> =
        told.iter().enumerate().map(|(i, name)| (*name, [i as u8 + 1; abi::Stat::SIZE])).collect();
    p.c.foretell(&Foreseen { dirfd, flags, prefix, answers: &answers, epoch })
}

/// What the stub answers to `newfstatat(dirfd, path, OUT, flags)`: the number of the name, as it was told.
fn asked(p: &mut Program, dirfd: u64, path: &[u8], flags: u64) -> Option<u8> {
    let text = [path, &[0]].concat();
    assert_eq!(p.c.write(PATH, &text), text.len());
    assert_eq!(p.c.write(OUT, &[0; abi::Stat::SIZE]), abi::Stat::SIZE);
    let r = p.ask([dirfd, PATH, OUT, flags]);
    let stat = p.data(OUT, abi::Stat::SIZE);
    assert!(stat.iter().all(|b| *b == stat[0]));
    assert_eq!(r, (stat[0] != 0).then_some(0));
    r.map(|_| stat[0])
}

#[test]
fn names_are_answered_in_their_order() {
    let mut p = Program::new(STAT_AT);
    assert_eq!(asked(&mut p, CWD, b"d/a", LINK), None);
    assert_eq!(tell(&mut p, libc::AT_FDCWD, LINK as u32, b"d/", &[b"a", b"bb", b"c", b"d"]), 4);
    assert_eq!(asked(&mut p, CWD, b"d/a", LINK), Some(1));
    // Passed over, and so not told any more.
    assert_eq!(asked(&mut p, CWD, b"d/c", LINK), Some(3));
    assert_eq!(asked(&mut p, CWD, b"d/bb", LINK), None);
    for (dirfd, path, flags) in [
        (5, &b"d/d"[..], LINK),
        (CWD, b"d/d", 0),
        (CWD, b"e/d", LINK),
        (CWD, b"/d/d", LINK),
        (CWD, b"d/", LINK),
        (CWD, b"d", LINK),
        (CWD, b"", LINK),
        (CWD, b"d/dd", LINK),
        (CWD, b"", LINK | libc::AT_EMPTY_PATH as u64),
    ] {
        assert_eq!(asked(&mut p, dirfd, path, flags), None, "{path:?}");
    }
    assert_eq!(asked(&mut p, CWD, b"d/c", LINK), Some(3));
    assert_eq!(asked(&mut p, CWD, b"d/d", LINK), Some(4));
    assert_eq!(asked(&mut p, CWD, b"d/d", LINK), Some(4));
    assert_eq!(asked(&mut p, CWD, b"d/c", LINK), None);
    assert_eq!(p.c.foretold_used(), 4);
    assert_eq!(p.c.foretold_used(), 0);
}

#[test]
fn nothing_is_answered_that_was_recalled_or_forgotten() {
    let mut p = Program::new(STAT_AT);
    tell(&mut p, 7, 0, b"", &[b"a", b"b", b"c"]);
    assert_eq!(asked(&mut p, 7, b"a", 0), Some(1));
    p.host.recall_files();
    assert_eq!(asked(&mut p, 7, b"b", 0), None);
    tell(&mut p, 7, 0, b"", &[b"b", b"c"]);
    assert_eq!(asked(&mut p, 7, b"b", 0), Some(1));
    p.c.foretold_used();
    assert_eq!(asked(&mut p, 7, b"c", 0), None);
    tell(&mut p, 7, 0, b"", &[b"b", b"c"]);
    p.c.forget_program();
    assert_eq!(asked(&mut p, 7, b"b", 0), None);
    tell(&mut p, 7, 0, b"", &[b"b", b"c"]);
    std::thread::sleep(TOO_LONG);
    assert_eq!(asked(&mut p, 7, b"b", 0), None);
}

#[test]
fn as_many_as_there_is_room_for() {
    let mut p = Program::new(STAT_AT);
    let long = [b'x'; 255];
    let many: Vec<Vec<u8>> = (0..100u8).map(|i| [&[i + 20][..], &long[..200]].concat()).collect();
    let many: Vec<&[u8]> = many.iter().map(|n| &n[..]).collect();
    let told = tell(&mut p, 7, 0, b"", &many);
    assert!((20..=64).contains(&told));
    assert_eq!(asked(&mut p, 7, many[told - 1], 0), Some(told as u8));
    assert_eq!(asked(&mut p, 7, many[told], 0), None);
    let short: Vec<[u8; 1]> = (1..=100).map(|i| [i]).collect();
    let short: Vec<&[u8]> = short.iter().map(|n| &n[..]).collect();
    assert_eq!(tell(&mut p, 7, 0, b"", &short), names::MOST);
    assert_eq!(tell(&mut p, 7, 0, &[b'p'; names::PREFIX_MAX + 1], &short), 0);
}

#[test]
fn bad_addresses_come_to_the_kernel() {
    let mut p = Program::new(LSTAT);
    tell(&mut p, libc::AT_FDCWD, LINK as u32, b"", &[b"a", b"b"]);
    assert_eq!(p.c.write(PATH, b"a\0"), 2);
    let wild = [0, 8, TEXT, REGION - 8, SLOTS, u64::MAX - 8];
    for at in wild {
        assert_eq!(p.ask([PATH, at, 0, 0]), None, "{at:#x}");
        if at != TEXT {
            assert_eq!(p.ask([at, OUT, 0, 0]), None, "{at:#x}");
        }
    }
    assert_eq!(p.ask([PATH, OUT, 0, 0]), Some(0));
    assert_eq!(p.data(OUT, 1), [1]);
}

#[test]
fn garbage_in_the_slot_harms_nobody_else() {
    let mut p = Program::new(STAT_AT);
    for at in [names::DIRFD, names::LEFT, names::NEXT, names::USED, names::PREFIX_LEN] {
        for value in [0u64, 1, 63, 65, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, u64::MAX] {
            tell(&mut p, 7, 0, b"d/", &[b"a", b"b"]);
            p.store(at, value);
            let _ = asked(&mut p, 7, b"d/x", 0);
            // The kernel process believes at most what it told.
            assert!(p.c.foretold_used() <= 2, "{at:#x} {value:#x}");
        }
    }
    tell(&mut p, 7, 0, b"d/", &[b"a", b"b"]);
    assert_eq!(asked(&mut p, 7, b"d/a", 0), Some(1));
}
