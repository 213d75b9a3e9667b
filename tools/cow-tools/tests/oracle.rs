//! Against the original uml_mkcow and uml_moo of Debian's uml-utilities: what one writes the other reads,
//! byte for byte.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;

use common::{Dir, MKCOW, MOO, MTIME, Random, scribble};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

const THEIR_MOO: &str = "/usr/bin/uml_moo";
const THEIR_MKCOW: &str = "/usr/bin/uml_mkcow";

/// Whether the originals are here; root gets them installed. Says why not.
fn originals() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        let there = || Path::new(THEIR_MOO).exists() && Path::new(THEIR_MKCOW).exists();
        if !there() && rustix::process::getuid().is_root() {
            for args in [&["update", "-q"][..], &["install", "-y", "-q", "uml-utilities"]] {
                let _ = Command::new("apt-get")
                    .args(args)
                    .env("DEBIAN_FRONTEND", "noninteractive")
                    .stdin(std::process::Stdio::null())
                    .output();
            }
        }
        if !there() {
            eprintln!("skipped: no uml-utilities ({THEIR_MOO}) and no way to install them");
        }
        there()
    })
}

#[test]
fn new_cow_files_are_the_same_bytes() {
    if !originals() {
        return;
    }
    let dir = Dir::new("mkcow");
    std::fs::create_dir(dir.path("sub")).unwrap();
    std::os::unix::fs::symlink("sub", dir.path("link")).unwrap();
    for (n, size) in [0, 1, 511, 512, 4096, 4608, 1_000_000, 1 << 20, 5 << 20].into_iter().enumerate() {
        let base = format!("sub/base{n}");
        dir.backing(&base, &Random(n as u64).bytes(size));
        for name in [base.clone(), format!("link/base{n}"), format!("./sub/../link/base{n}")] {
            let _ = std::fs::remove_file(dir.path("theirs"));
            let _ = std::fs::remove_file(dir.path("ours"));
            dir.run(THEIR_MKCOW, &["theirs", &name]).ok();
            dir.mkcow(&["ours", &name]).silent();
            assert!(dir.read("ours") == dir.read("theirs"), "over {name} of {size} bytes");
        }
    }
}

#[test]
fn each_merges_what_the_other_made() {
    if !originals() {
        return;
    }
    for (n, size) in [512, 4096, 65536, 1 << 20, 3 << 20].into_iter().enumerate() {
        let dir = Dir::new("merge");
        let mut random = Random(n as u64);
        let base = random.image(size);
        dir.backing("base", &base);
        dir.run(THEIR_MKCOW, &["theirs", "base"]).ok();
        dir.mkcow(&["ours", "base"]).silent();
        for cow in ["theirs", "ours"] {
            let disk = scribble(&dir.path(cow), &base, 12, &mut random);
            dir.run(THEIR_MOO, &[cow, "by-theirs"]).ok();
            dir.moo(&[cow, "by-ours"]).silent();
            assert!(dir.read("by-theirs") == disk, "{cow} merged by the original, {size} bytes");
            assert!(dir.read("by-ours") == disk, "{cow} merged by us, {size} bytes");
            // In place, on copies that the COW file is told of with -b.
            dir.backing("copy1", &base);
            dir.backing("copy2", &base);
            dir.run(THEIR_MOO, &["-d", "-b", "copy1", cow]).ok();
            dir.moo(&["-d", "-b", "copy2", cow]).silent();
            assert!(dir.read("copy1") == disk && dir.read("copy2") == disk, "{cow} in place, {size} bytes");
        }
    }
}

#[test]
fn the_original_reads_every_alignment() {
    if !originals() {
        return;
    }
    let dir = Dir::new("align");
    let mut random = Random(8);
    let base = random.image(1 << 20);
    dir.backing("base", &base);
    for align in ["512", "4K", "64K", "1M", "1048576"] {
        dir.mkcow(&["-f", "--align", align, "cow", "base"]).silent();
        let disk = scribble(&dir.path("cow"), &base, 9, &mut random);
        dir.run(THEIR_MOO, &["cow", "merged"]).ok();
        assert!(dir.read("merged") == disk, "{align}");
    }
    // Large images get the large alignment; with the original's they are the original's byte for byte.
    std::fs::File::create(dir.path("large")).unwrap().set_len(16 << 20).unwrap();
    dir.stamp("large");
    dir.run(THEIR_MKCOW, &["theirs", "large"]).ok();
    dir.mkcow(&["--align", "4K", "ours", "large"]).silent();
    assert!(dir.read("ours") == dir.read("theirs"));
    for cow in ["theirs", "fast"] {
        if cow == "fast" {
            dir.mkcow(&["fast", "large"]).silent();
            assert_eq!(cow::Header::parse(&dir.read(cow)).unwrap().alignment(), 1 << 20);
        }
        let disk = scribble(&dir.path(cow), &vec![0; 16 << 20], 9, &mut random);
        dir.run(THEIR_MOO, &[cow, "merged-theirs"]).ok();
        dir.moo(&[cow, "merged-ours"]).silent();
        assert!(dir.read("merged-theirs") == disk && dir.read("merged-ours") == disk, "{cow}");
    }
    // Its length is longer, the space it takes is not.
    let meta = std::fs::metadata(dir.path("cow")).unwrap();
    assert_eq!(meta.len(), 3 << 20);
    assert!(std::os::unix::fs::MetadataExt::blocks(&meta) * 512 < 1 << 20);
}

#[test]
fn every_version_merges_alike() {
    if !originals() {
        return;
    }
    let dir = Dir::new("versions");
    dir.golden();
    for cow in ["v1_le.cow", "v2_be.cow", "v3.cow", "v3_align512.cow", "v3_broken64.cow"] {
        dir.run(THEIR_MOO, &[cow, "theirs"]).ok();
        dir.moo(&[cow, "ours"]).ok();
        assert!(dir.read("theirs") == dir.read("ours"), "{cow}");
        assert!(dir.read("ours") == dir.read("merged64k.img"), "{cow}");
    }
}

#[test]
fn the_original_reads_what_we_write_into_every_version() {
    if !originals() {
        return;
    }
    let dir = Dir::new("written");
    dir.golden();
    let mut random = Random(11);
    for cow in ["v1_le.cow", "v2_be.cow", "v3.cow", "v3_align512.cow", "v3_broken64.cow"] {
        // The golden files name their backing file relatively; this makes the name absolute.
        dir.write("copy64k.img", &dir.read("backing64k.img"));
        dir.moo(&["--rebase", "copy64k.img", cow]).ok();
        let disk = scribble(&dir.path(cow), &dir.read("merged64k.img"), 9, &mut random);
        dir.run(THEIR_MOO, &[cow, "theirs"]).ok();
        dir.moo(&[cow, "ours"]).ok();
        assert!(dir.read("theirs") == disk, "{cow} merged by the original");
        assert!(dir.read("ours") == disk, "{cow} merged by us");
    }
}

#[test]
fn the_original_reads_a_cow_file_we_moved() {
    if !originals() {
        return;
    }
    let dir = Dir::new("moved");
    let mut random = Random(5);
    let base = random.image(1 << 20);
    dir.backing("base", &base);
    dir.run(THEIR_MKCOW, &["cow", "base"]).ok();
    let disk = scribble(&dir.path("cow"), &base, 9, &mut random);
    dir.write("other", &base);
    dir.moo(&["--rebase", "other", "cow"]).silent();
    std::fs::remove_file(dir.path("base")).unwrap();
    dir.run(THEIR_MOO, &["cow", "merged"]).ok();
    assert!(dir.read("merged") == disk);
    // And one we made from an image.
    dir.write("disk", &disk);
    dir.moo(&["--from", "raw", "--to", "cow", "-b", "other", "disk", "cow2"]).silent();
    dir.run(THEIR_MOO, &["cow2", "merged2"]).ok();
    assert!(dir.read("merged2") == disk);
}

#[test]
fn exit_statuses_are_the_same() {
    if !originals() {
        return;
    }
    let dir = Dir::new("status");
    dir.backing("base", &[1; 4096]);
    dir.backing("changed", &[1; 4096]);
    dir.backing("longer", &[1; 8192]);
    dir.write("text", b"not a COW file");
    dir.write("short", b"OOOM\0\0\0\x03");
    dir.write("empty", b"");
    for cow in ["cow", "mtime", "size", "gone"] {
        let base = if cow == "mtime" { "changed" } else { "base" };
        dir.mkcow(&[cow, base]).silent();
    }
    dir.write("changed", &[1; 4096]);
    let moo: &[&[&str]] = &[
        &[],
        &["cow"],
        &["missing", "out"],
        &["text", "out"],
        &["short", "out"],
        &["empty", "out"],
        &["mtime", "out"],
        &["-b", "changed", "cow", "out"],
        &["-b", "longer", "cow", "out"],
        &["-b", "missing", "cow", "out"],
        &["-b", "base", "cow", "out"],
        &["cow", "missing/out"],
        &["cow", "."],
        &["cow", "out"],
        &["-d", "missing"],
        &["-d", "mtime"],
        &["-d", "text"],
        &["-d", "cow", "out"],
        &["-x", "cow", "out"],
        &["cow", "out", "more"],
        &["-d", "cow"],
        // The merge in place has changed the time.
        &["-d", "size"],
    ];
    // Left out on purpose: the original ignores a third name, and takes an unknown option for a file's name.
    let mkcow: &[&[&str]] = &[
        &[],
        &["new"],
        &["-f", "new"],
        &["-x"],
        &["new", "missing"],
        &["-f", "new", "missing"],
        &["missing/new", "base"],
        &[".", "base"],
        &["made", "base"],
        &["made", "base"],
        &["-f", "made", "base"],
        &["-f", "made2", "base"],
    ];
    for (theirs, ours, lists) in [(THEIR_MOO, MOO, moo), (THEIR_MKCOW, MKCOW, mkcow)] {
        for args in lists {
            let reset = || {
                dir.backing("base", &[1; 4096]);
                // The original leaves an empty file behind when it fails.
                let _ = std::fs::remove_file(dir.path("new"));
            };
            let last_of_all = args == &["-d", "size"];
            if !last_of_all {
                reset();
            }
            let made_before = dir.path("made").exists();
            let a = dir.run(theirs, args).code();
            if !last_of_all {
                reset();
            }
            if !made_before && args.contains(&"made") {
                std::fs::remove_file(dir.path("made")).unwrap();
            }
            let b = dir.run(ours, args).code();
            assert_eq!(b, a, "{ours} {args:?}");
        }
    }
}

#[test]
fn messages_that_others_may_look_for() {
    if !originals() {
        return;
    }
    let dir = Dir::new("messages");
    dir.backing("base", &[1; 4096]);
    dir.backing("longer", &[1; 8192]);
    dir.write("other", &[1; 4096]);
    dir.mkcow(&["cow", "base"]).silent();
    dir.write("text", b"not a COW file");
    let now = std::os::unix::fs::MetadataExt::mtime(&std::fs::metadata(dir.path("other")).unwrap());
    for (args, words) in [
        (
            &["-b", "longer", "cow", "out"][..],
            "Size mismatch (4096 vs 8192) of COW header vs backing file \"longer\"".into(),
        ),
        (
            &["-b", "other", "cow", "out"],
            format!("mtime mismatch ({MTIME} vs {now}) of COW header vs backing file \"other\""),
        ),
        (&["text", "out"], "Reading COW header failed".into()),
        (&["missing", "out"], "COW file open: ".into()),
        (&["cow", "nowhere/out"], "Output file open: ".into()),
        (&["-b", "missing", "cow", "out"], "Stating backing file: ".into()),
    ] {
        let theirs = dir.run(THEIR_MOO, args).stderr();
        let ours = dir.moo(args);
        assert!(theirs.contains(&words), "the original says: {theirs}");
        ours.fails(1, &[&words]);
    }
}
