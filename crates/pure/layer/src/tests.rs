//! What is written is read again; what is wrong is refused.

use proptest::prelude::*;

use crate::*;

fn stamp(mode: u32) -> Stamp {
    Stamp { mode, uid: 1, gid: 2, nlink: 1, size: 3, mtime: (4, 5), ctime: (6, 7) }
}

fn node(path: &str, mode: u32, base: Option<Stamp>, content: Content) -> Node {
    Node {
        path: path.into(),
        mode,
        uid: 10,
        gid: 11,
        atime: (1, 2),
        mtime: (-3, 4),
        xattrs: vec![(b"user.a".to_vec(), b"v".to_vec())],
        base,
        content,
    }
}

/// A file of these entries; data are zeros.
fn write(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    header(&mut out, b"/", 99);
    let mut frames = 1;
    for e in entries {
        match e {
            Entry::Gone(g) => gone(&mut out, g),
            Entry::Node(n, extents) => {
                crate::node(&mut out, n);
                for x in extents {
                    data(&mut out, x.offset, &vec![0; usize::try_from(x.len).unwrap()]);
                    frames += 1;
                }
            }
        }
        frames += 1;
    }
    end(&mut out, frames);
    out
}

fn n(node: Node) -> Entry {
    Entry::Node(Box::new(node), Vec::new())
}

fn good() -> Vec<Entry> {
    let dir = 0o40755;
    let file = 0o100_644;
    vec![
        n(node("", dir, Some(stamp(dir)), Content::Dir)),
        Entry::Gone(Gone { path: b"old".to_vec(), base: stamp(dir) }),
        Entry::Gone(Gone { path: b"old/x".to_vec(), base: stamp(file) }),
        n(node("old", 0o120_777, None, Content::Symlink(b"../..".to_vec()))),
        n(node("dir", dir, None, Content::Dir)),
        Entry::Node(
            Box::new(node("dir/f", file, None, Content::File { size: 100 })),
            vec![Extent { offset: 10, len: 20, at: 0 }, Extent { offset: 50, len: 50, at: 0 }],
        ),
        n(node("dir/l", file, None, Content::Link(b"dir/f".to_vec()))),
        n(node("mode", 0o100_600, Some(stamp(file)), Content::Base)),
        n(node("fifo", 0o10644, None, Content::Special(0))),
        n(node("null", 0o20666, None, Content::Special(0x103))),
    ]
}

fn forget_places(mut l: Layer) -> Layer {
    for e in &mut l.entries {
        if let Entry::Node(_, x) = e {
            x.iter_mut().for_each(|x| x.at = 0);
        }
    }
    l
}

#[test]
fn round_trip() {
    let file = write(&good());
    let layer = Layer::parse(&file).unwrap();
    // Data are where the index says.
    for e in &layer.entries {
        if let Entry::Node(_, x) = e {
            for x in x {
                let at = usize::try_from(x.at).unwrap();
                assert!(file[at..at + usize::try_from(x.len).unwrap()].iter().all(|b| *b == 0));
            }
        }
    }
    assert_eq!(forget_places(layer), Layer { tree: b"/".to_vec(), saved: 99, entries: good() });
    for cut in 0..file.len() {
        assert!(Layer::parse(&file[..cut]).is_err(), "cut at {cut}");
    }
    for at in 8..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1;
        assert!(Layer::parse(&bad).is_err(), "changed at {at}");
    }
}

#[test]
fn paths_stay_inside() {
    for path in ["..", ".", "a/..", "../a", "/a", "a//b", "a/", "a/./b", "a\0b", "a/../../b"] {
        let bad = write(&[n(node(path, 0o100_644, None, Content::File { size: 0 }))]);
        assert_eq!(Layer::parse(&bad), Err(Error::Bad("a path")), "{path:?}");
        let bad = write(&[Entry::Gone(Gone { path: path.into(), base: stamp(0o100_644) })]);
        assert_eq!(Layer::parse(&bad), Err(Error::Bad("a path")), "{path:?}");
    }
    let long = "x".repeat(256);
    assert!(Layer::parse(&write(&[n(node(&long, 0o40755, None, Content::Dir))])).is_err());
}

#[test]
fn frames_must_fit_together() {
    let dir = 0o40755;
    let file = 0o100_644;
    let f = |p: &str| n(node(p, file, None, Content::File { size: 5 }));
    let cases: Vec<Vec<Entry>> = vec![
        // Below a link, a file, a removed directory.
        vec![n(node("l", 0o120_777, None, Content::Symlink(b"/etc".to_vec()))), f("l/passwd")],
        vec![f("a"), f("a/b")],
        vec![Entry::Gone(Gone { path: b"d".to_vec(), base: stamp(dir) }), f("d/a")],
        // Twice.
        vec![f("a"), f("a")],
        // Something of the tree below what is new.
        vec![n(node("d", dir, None, Content::Dir)), n(node("d/x", file, Some(stamp(file)), Content::Base))],
        vec![
            n(node("d", dir, None, Content::Dir)),
            Entry::Gone(Gone { path: b"d/x".to_vec(), base: stamp(file) }),
        ],
        // Content of another kind.
        vec![n(node("a", dir, None, Content::File { size: 0 }))],
        vec![n(node("a", file, None, Content::Base))],
        vec![n(node("a", file, Some(stamp(dir)), Content::Base))],
        vec![n(node("a", file, None, Content::Link(b"b".to_vec()))), f("b")],
        vec![n(node("", dir, None, Content::Dir))],
        // Data beyond the end, or in the wrong order.
        vec![Entry::Node(
            Box::new(node("a", file, None, Content::File { size: 5 })),
            vec![Extent { offset: 4, len: 2, at: 0 }],
        )],
        vec![Entry::Node(
            Box::new(node("a", file, None, Content::File { size: 9 })),
            vec![Extent { offset: 4, len: 2, at: 0 }, Extent { offset: 5, len: 1, at: 0 }],
        )],
    ];
    for (i, c) in cases.iter().enumerate() {
        assert!(matches!(Layer::parse(&write(c)), Err(Error::Bad(_))), "case {i}");
    }
}

#[test]
fn changes_are_noticed() {
    let s = stamp(0o100_644);
    assert!(s.holds(&Stamp { nlink: 7, ..s }));
    for other in [
        Stamp { size: 9, ..s },
        Stamp { mtime: (4, 6), ..s },
        Stamp { ctime: (0, 7), ..s },
        Stamp { mode: 0o100_600, ..s },
        Stamp { uid: 0, ..s },
    ] {
        assert!(!s.holds(&other));
    }
    let d = stamp(0o40755);
    assert!(d.holds(&Stamp { mtime: (9, 9), ctime: (9, 9), ..d }));
    assert!(!d.holds(&Stamp { mode: 0o40700, ..d }));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut file = MAGIC.to_vec();
        // A right checksum, so that fields are reached.
        file.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        file.extend(crc32fast::hash(&bytes).to_le_bytes());
        file.extend(&bytes);
        let _ = Layer::parse(&file);
    }
}
