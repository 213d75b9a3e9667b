//! What the tools do beyond the originals, and how they fail.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;

use common::{Dir, MTIME, Random, scribble};
use cow_tools::file::HostFile;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

#[test]
fn golden_files_merge_without_an_oracle() {
    let dir = Dir::new("golden");
    dir.golden();
    for cow in ["v1_le.cow", "v2_be.cow", "v3.cow", "v3_align512.cow", "v3_broken64.cow"] {
        dir.moo(&[cow, "new"]).ok();
        assert!(dir.read("new") == dir.read("merged64k.img"), "{cow}");
        fs::copy(dir.path("backing64k.img"), dir.path("copy")).unwrap();
        dir.stamp("copy");
        dir.moo(&["-b", "copy", "-d", cow]).ok();
        assert!(dir.read("copy") == dir.read("merged64k.img"), "{cow} in place");
    }
}

#[test]
fn the_tail_of_an_odd_image_is_kept() {
    let dir = Dir::new("tail");
    let mut random = Random(1);
    for size in [1, 513, 100_001] {
        let base = random.bytes(size);
        dir.backing("base", &base);
        dir.mkcow(&["-f", "cow", "base"]).silent();
        let disk = scribble(&dir.path("cow"), &base, 3, &mut random);
        dir.moo(&["cow", "new"]).silent();
        assert!(dir.read("new") == disk, "{size}");
        dir.moo(&["-d", "cow"]).silent();
        assert!(dir.read("base") == disk, "{size} in place");
    }
}

#[test]
fn holes_stay_holes() {
    let dir = Dir::new("holes");
    let base = fs::File::create(dir.path("base")).unwrap();
    base.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&base, &[7; 8192], 32 << 20).unwrap();
    dir.stamp("base");
    dir.mkcow(&["cow", "base"]).silent();
    let mut device_base = vec![0; 64 << 20];
    device_base[32 << 20..(32 << 20) + 8192].fill(7);
    let disk = scribble(&dir.path("cow"), &device_base, 5, &mut Random(2));
    let blocks = |name: &str| fs::metadata(dir.path(name)).unwrap().blocks() * 512;
    dir.moo(&["cow", "new"]).silent();
    assert!(dir.read("new") == disk);
    assert!(blocks("new") < 1 << 20, "{} bytes on disk", blocks("new"));
    dir.moo(&["--to", "qcow2", "cow", "new.qcow2"]).silent();
    assert!(blocks("new.qcow2") < 2 << 20, "{} bytes on disk", blocks("new.qcow2"));
    dir.moo(&["new.qcow2", "back"]).silent();
    assert!(dir.read("back") == disk);
    assert!(blocks("back") < 2 << 20, "{} bytes on disk", blocks("back"));
    dir.moo(&["-d", "cow"]).silent();
    assert!(dir.read("base") == disk);
    assert!(blocks("base") < 1 << 20, "{} bytes on disk", blocks("base"));
}

#[test]
fn an_in_place_merge_parts_all_cow_files() {
    let dir = Dir::new("inplace");
    let base = vec![3; 65536];
    dir.backing("base", &base);
    dir.mkcow(&["cow", "base"]).silent();
    dir.mkcow(&["sibling", "base"]).silent();
    let disk = scribble(&dir.path("cow"), &base, 4, &mut Random(3));
    dir.moo(&["-d", "cow"]).silent();
    assert!(dir.read("base") == disk);
    for cow in ["cow", "sibling"] {
        dir.moo(&[cow, "new"]).fails(1, &["mtime mismatch", "base"]);
        dir.moo(&["-d", cow]).fails(1, &["mtime mismatch", "base"]);
    }
    assert!(!dir.path("new").exists());
}

#[test]
fn a_file_in_use_is_left_alone() {
    let dir = Dir::new("locks");
    dir.backing("base", &[1; 4096]);
    dir.mkcow(&["cow", "base"]).silent();
    let me = std::process::id().to_string();
    let before = (dir.read("cow"), dir.read("base"));
    for (file, exclusive) in [("cow", true), ("cow", false), ("base", true), ("base", false)] {
        let held = HostFile::open_rw(&dir.path(file)).unwrap();
        held.lock(exclusive).unwrap().unwrap();
        dir.moo(&["-d", "cow"]).fails(1, &[file, "in use by process", &me]);
        if file == "cow" {
            dir.mkcow(&["-f", "cow", "base"]).fails(1, &["cow", "in use by process", &me]);
            dir.write("copy", &[1; 4096]);
            dir.moo(&["--rebase", "copy", "cow"]).fails(1, &["cow", "in use by process", &me]);
        }
        if exclusive {
            // As with the original a merge into a new image goes on, but not without a word.
            let run = dir.moo(&["cow", "new"]);
            run.ok();
            assert!(run.stderr().contains("in use by process"), "{run:?}");
        }
    }
    assert!((dir.read("cow"), dir.read("base")) == before);
    dir.moo(&["-d", "cow"]).silent();
}

#[test]
fn bad_input_leaves_nothing_behind() {
    let dir = Dir::new("bad");
    dir.golden();
    dir.backing("base", &[1; 65536]);
    dir.mkcow(&["cow", "base"]).silent();
    scribble(&dir.path("cow"), &[1; 65536], 3, &mut Random(4));
    let cow = dir.read("cow");
    dir.write("cut-header", &cow[..100]);
    dir.write("cut-bitmap", &cow[..8193]);
    dir.write("cut-data", &cow[..13000]);
    dir.write("text", b"some text that is no COW file");
    let old = dir.read("base");
    let before = dir.names();
    let moo: &[(&[&str], &[&str])] = &[
        (&["missing", "out"], &["missing", "No such file"]),
        (&["cut-header", "out"], &["cut-header", "truncated", "100"]),
        (&["cut-bitmap", "out"], &["cut-bitmap", "truncated", "8193"]),
        (&["cut-data", "out"], &["cut-data", "truncated", "13000"]),
        (&["-d", "cut-data"], &["cut-data", "truncated"]),
        (&["--info", "cut-data"], &["cut-data", "truncated"]),
        (&["text", "out"], &["text", "not a COW file"]),
        (&["-b", "missing", "cow", "out"], &["missing", "No such file"]),
        (&["cow", "none/out"], &["none/out", "No such file"]),
        (&["cow", "cow"], &["is the input"]),
        (&["cow", "base"], &["is the input"]),
        (&["-d", "-b", "cow", "cow"], &["cow"]),
        (&["--colour", "cow"], &["--colour"]),
        (&["-z", "cow"], &["-z"]),
        (&["--from", "vmdk", "cow", "out"], &["--from", "vmdk"]),
        (&["--to"], &["--to"]),
        (&["--to", "cow", "--from", "raw", "base", "out"], &["--to cow", "-b"]),
        (&["--to", "cow", "--from", "raw", "-b", "base", "text", "out"], &["--to cow", "29", "65536"]),
        (&["--from", "qcow2", "text", "out"], &["text"]),
        (&["-d", "--info", "cow"], &["-d", "--info"]),
        (&["-d", "--to", "raw", "cow"], &["--to"]),
        (&["--rebase", "missing", "cow"], &["--rebase", "missing"]),
        (&["--rebase", "text", "cow"], &["Size mismatch", "text"]),
        (&["/dev/null", "out"], &["/dev/null", "neither a regular file"]),
        (&[".", "out"], &["Is a directory"]),
        (&["--completions", "tcsh"], &["tcsh"]),
    ];
    for (args, words) in moo {
        dir.moo(args).fails(1, words);
        assert_eq!(dir.names(), before, "{args:?} left something behind");
        assert!(dir.read("cow") == cow && dir.read("base") == old, "{args:?} changed its input");
    }
    let mkcow: &[(&[&str], i32, &[&str])] = &[
        (&["new", "missing"], 1, &["missing", "No such file"]),
        (&["-f", "cow", "missing"], 1, &["missing", "No such file"]),
        (&["cow", "base"], 1, &["cow", "File exists"]),
        (&["new", "."], 1, &["Is a directory"]),
        (&["none/new", "base"], 1, &["none/new", "No such file"]),
        (&["-f", "base", "base"], 1, &["base", "backing file itself"]),
        (&["-q", "new", "base"], 2, &["-q"]),
        (&["--size=1", "new", "base"], 2, &["--size"]),
        (&["--align", "5000", "new", "base"], 2, &["--align", "5000"]),
        (&["--align", "9999999M", "new", "base"], 2, &["--align", "9999999M"]),
        (&["--align", "2048M", "new", "base"], 2, &["--align", "2048M"]),
        (&["--align", "", "new", "base"], 2, &["--align"]),
    ];
    for (args, code, words) in mkcow {
        dir.mkcow(args).fails(*code, words);
        assert_eq!(dir.names(), before, "{args:?} left something behind");
        assert!(dir.read("cow") == cow && dir.read("base") == old, "{args:?} changed its input");
    }
}

#[test]
fn a_wrong_number_of_names_shows_the_usage() {
    let dir = Dir::new("usage");
    for (run, code) in [(dir.moo(&[]), 1), (dir.moo(&["-d"]), 1), (dir.mkcow(&["a", "b", "c"]), 2)] {
        assert_eq!(run.code(), Some(code));
        assert!(run.stderr().contains("usage:"), "{run:?}");
    }
    for run in [dir.moo(&["--help"]), dir.mkcow(&["-h"])] {
        run.ok();
        assert!(run.stdout().contains("--version"));
    }
}

#[test]
fn new_files_have_the_right_mode() {
    let dir = Dir::new("mode");
    dir.backing("base", &[1; 4096]);
    dir.mkcow(&["cow", "base"]).silent();
    dir.moo(&["cow", "new"]).silent();
    let mode = |name: &str| fs::metadata(dir.path(name)).unwrap().mode() & 0o777;
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let want = 0o644 & !umask.bits();
    assert_eq!((mode("cow"), mode("new")), (want, want));
    // An existing file keeps its own, and a link stays a link.
    fs::set_permissions(dir.path("new"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("new", dir.path("link")).unwrap();
    dir.moo(&["cow", "link"]).silent();
    assert_eq!(mode("new"), 0o600);
    assert!(fs::symlink_metadata(dir.path("link")).unwrap().is_symlink());
    assert_eq!(dir.names(), ["base", "cow", "link", "new"]);
}

#[test]
fn force_forgets_the_old_changes() {
    let dir = Dir::new("force");
    dir.backing("base", &[1; 65536]);
    dir.mkcow(&["cow", "base"]).silent();
    let fresh = dir.read("cow");
    scribble(&dir.path("cow"), &[1; 65536], 3, &mut Random(5));
    assert!(dir.read("cow") != fresh);
    dir.mkcow(&["--force", "cow", "base"]).silent();
    assert!(dir.read("cow") == fresh);
}

#[test]
fn info_tells_what_a_file_is() {
    let dir = Dir::new("info");
    dir.golden();
    let run = dir.moo(&["--info", "v3.cow"]);
    run.ok();
    for line in [
        "format:        COW version 3",
        "backing file:  backing64k.img (matches)",
        "image size:    64.00 KiB (65536 bytes)",
        "sectors used:  4 of 128 (3.12 % of the image)",
        "data at:       12288",
    ] {
        assert!(run.stdout().lines().any(|l| l == line), "no '{line}' in\n{}", run.stdout());
    }
    dir.write("backing64k.img", b"short");
    assert!(dir.moo(&["--info", "v3.cow"]).stdout().contains("Size mismatch (65536 vs 5)"));
    let broken = dir.moo(&["--info", "v3_broken64.cow", "-b", "merged64k.img"]);
    assert!(broken.stdout().contains("merged64k.img (mtime mismatch"), "{broken:?}");
    assert!(broken.stdout().contains("version 3 (broken 64-bit layout)"), "{broken:?}");
}

#[test]
fn rebase_verifies_the_copy() {
    let dir = Dir::new("rebase");
    let mut random = Random(6);
    let base = random.image(1 << 20);
    dir.backing("base", &base);
    dir.mkcow(&["cow", "base"]).silent();
    let disk = scribble(&dir.path("cow"), &base, 6, &mut random);
    let header = dir.read("cow")[..4128].to_vec();
    // One byte that the COW file does not cover.
    let bare = (0..base.len())
        .find(|&i| i % 512 == 9 && disk[i / 512 * 512..][..512] == base[i / 512 * 512..][..512]);
    let bare = bare.unwrap();
    let mut wrong = base.clone();
    wrong[bare] ^= 1;
    dir.write("wrong", &wrong);
    let sector = format!("sector {}", bare / 512);
    dir.moo(&["--rebase", "wrong", "cow"]).fails(1, &["--rebase", "wrong", "differs", &sector]);
    assert!(dir.read("cow")[..4128] == header);
    dir.write("copy", &base);
    dir.moo(&["--rebase", "copy", "cow"]).silent();
    dir.moo(&["cow", "new"]).silent();
    assert!(dir.read("new") == disk);
    // With nothing to compare, the time decides.
    let stamp = fs::metadata(dir.path("copy")).unwrap().modified().unwrap();
    fs::rename(dir.path("copy"), dir.path("moved")).unwrap();
    dir.moo(&["--rebase", "base", "cow"]).fails(1, &["--rebase", "cannot verify", "No such file"]);
    dir.moo(&["--rebase", "moved", "cow"]).silent();
    dir.moo(&["cow", "new"]).silent();
    assert!(dir.read("new") == disk);
    assert_eq!(fs::metadata(dir.path("moved")).unwrap().modified().unwrap(), stamp);
    // Every version keeps its layout.
    dir.golden();
    for cow in ["v1_le.cow", "v2_be.cow", "v3_align512.cow", "v3_broken64.cow"] {
        dir.write("other64k", &dir.read("backing64k.img"));
        dir.moo(&["--rebase", "other64k", cow]).ok();
        dir.moo(&[cow, "new"]).ok();
        assert!(dir.read("new") == dir.read("merged64k.img"), "{cow}");
    }
}

#[test]
fn qcow2_in_and_out() {
    let dir = Dir::new("qcow2");
    let mut random = Random(7);
    let base = random.image((3 << 20) + 512);
    dir.backing("base", &base);
    dir.mkcow(&["cow", "base"]).silent();
    let disk = scribble(&dir.path("cow"), &base, 9, &mut random);
    dir.moo(&["--to", "qcow2", "cow", "image"]).silent();
    dir.moo(&["image", "raw"]).silent();
    assert!(dir.read("raw") == disk);
    dir.moo(&["--from", "qcow2", "--to", "cow", "-b", "base", "image", "cow2"]).silent();
    dir.moo(&["cow2", "raw2"]).silent();
    assert!(dir.read("raw2") == disk);
    // What equals the backing file is not kept.
    assert!(
        fs::metadata(dir.path("cow2")).unwrap().blocks() <= fs::metadata(dir.path("cow")).unwrap().blocks()
    );
    dir.moo(&["--from", "raw", "--to", "qcow2", "raw", "image2"]).silent();
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("skipped: no qemu-img to compare the qcow2 images with");
        return;
    }
    for image in ["image", "image2"] {
        dir.run("qemu-img", &["check", "-q", "-f", "qcow2", image]).ok();
        dir.run("qemu-img", &["compare", "-q", "-f", "qcow2", "-F", "raw", image, "raw"]).ok();
    }
    dir.run("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", "raw", "compressed"]).ok();
    dir.moo(&["compressed", "raw3"]).silent();
    assert!(dir.read("raw3") == disk);
    // An image must not make us read files that nobody named.
    dir.run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base", "overlay"]).ok();
    dir.moo(&["overlay", "out"]).fails(1, &["overlay", "base", "denied"]);
    assert!(!dir.path("out").exists());
}

#[test]
fn backing_files_get_absolute_names() {
    let dir = Dir::new("names");
    dir.backing("base", &[1; 512]);
    dir.mkcow(&["cow", "base"]).silent();
    let header = cow::Header::parse(&dir.read("cow")).unwrap();
    assert_eq!(header.backing(), dir.path("base").as_os_str().as_encoded_bytes());
    assert_eq!((header.mtime(), header.size()), (MTIME as u32, 512));
    // The original cannot do this one.
    assert_eq!(cow_tools::file::absolute("/etc".as_ref()).unwrap().as_os_str(), "/etc");
    let long = "n".repeat(200);
    let mut name = String::new();
    while name.len() < 4096 {
        name = format!("{name}{long}/");
    }
    dir.mkcow(&["cow2", &format!("{name}x")]).fails(1, &["backing file", "name too long"]);
}

/// What a program writes to a terminal as its standard error.
fn on_terminal(mut command: Command) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::Read;
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).unwrap();
    let mut child = command.env("TERM", "xterm").stderr(theirs).spawn().unwrap();
    // The command holds the terminal open as long as it is there.
    drop(command);
    let mut text = Vec::new();
    let mut buf = [0; 4096];
    let mut ours = fs::File::from(ours);
    // The end shows as EIO once nobody has the other side.
    while let Ok(n @ 1..) = ours.read(&mut buf) {
        text.extend_from_slice(&buf[..n]);
    }
    assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&text));
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn long_work_shows_a_bar_on_a_terminal_only() {
    let dir = Dir::new("bar");
    let base: Vec<u8> = Random(9).bytes(4096).repeat(16384);
    dir.backing("base", &base);
    dir.mkcow(&["cow", "base"]).silent();
    let disk = scribble(&dir.path("cow"), &base, 4000, &mut Random(10));
    let run = |args: &[&str]| {
        let mut command = dir.command(common::MOO);
        command.args(args);
        on_terminal(command)
    };
    let text = run(&["cow", "new"]);
    assert!(text.contains("64.00 MiB"), "no bar: {text:?}");
    assert!(dir.read("new") == disk);
    dir.moo(&["cow", "new"]).silent();
    // So do a comparison, and a merge in place, of which the COW file's own sectors are the work.
    dir.write("copy", &base);
    assert!(run(&["--rebase", "copy", "cow"]).contains("64.00 MiB"));
    let text = run(&["-d", "cow"]);
    assert!(text.contains(" MiB/"), "no bar: {text:?}");
    assert!(dir.read("copy") == disk);
    // Short work shows none.
    dir.backing("small", &[1; 65536]);
    dir.mkcow(&["small-cow", "small"]).silent();
    assert_eq!(run(&["small-cow", "new"]), "");
}
