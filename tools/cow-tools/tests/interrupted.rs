//! Merges that do not come to their end leave input that can be used.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;

use common::{Dir, MOO, Random, scribble};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const SIZE: usize = 48 << 20;

/// A large backing file, and a COW file with much in it; returns what the disk holds.
fn pair(dir: &Dir) -> Vec<u8> {
    let base: Vec<u8> = Random(1).bytes(4096).repeat(SIZE / 4096);
    dir.backing("base", &base);
    dir.mkcow(&["cow", "base"]).silent();
    scribble(&dir.path("cow"), &base, 1500, &mut Random(2))
}

#[test]
fn killed_at_any_time_in_place() {
    let dir = Dir::new("kill");
    let disk = pair(&dir);
    let (base, cow) = (dir.read("base"), dir.read("cow"));
    let mut killed = 0;
    let mut resumed = 0;
    for step in 0..14 {
        dir.backing("base", &base);
        dir.write("cow", &cow);
        let mut child = dir.command(MOO).args(["-d", "cow"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(step * 4));
        child.kill().unwrap();
        if child.wait().unwrap().signal() != Some(9) {
            break;
        }
        killed += 1;
        let marked = cow::Header::parse(&dir.read("cow")).unwrap().merging();
        let told = dir.moo(&["--info", "cow"]).stdout().contains("broken off");
        assert_eq!(told, marked);
        // The input gives a new image as before, and the merge can be run again.
        dir.moo(&["cow", "new"]).ok();
        assert!(dir.read("new") == disk, "after {step} steps");
        let again = dir.moo(&["-d", "cow"]);
        if again.code() == Some(0) {
            resumed += u32::from(marked);
        } else {
            // It had just ended.
            again.fails(1, &["mtime mismatch"]);
        }
        assert!(dir.read("base") == disk, "after {step} steps");
        dir.moo(&["-d", "cow"]).fails(1, &["mtime mismatch"]);
    }
    eprintln!("{killed} killed, {resumed} of them within the merge");
    assert!(killed > 0);
}

#[test]
fn a_marked_cow_file_is_merged_whatever_the_time() {
    let dir = Dir::new("marked");
    dir.backing("base", &[1; 65536]);
    dir.mkcow(&["cow", "base"]).silent();
    let disk = scribble(&dir.path("cow"), &[1; 65536], 4, &mut Random(3));
    let mut bytes = dir.read("cow");
    let mut header = cow::Header::parse(&bytes).unwrap();
    assert!(header.set_merging(true));
    bytes[..4128].copy_from_slice(&header.to_bytes());
    dir.write("cow", &bytes);
    dir.write("base", &[1; 65536]);
    dir.moo(&["--rebase", "base", "cow"]).fails(1, &["--rebase", "broken off"]);
    let run = dir.moo(&["cow", "new"]);
    run.ok();
    assert!(run.stderr().contains("broken off"), "{run:?}");
    assert!(dir.read("new") == disk);
    dir.moo(&["-d", "cow"]).silent();
    assert!(dir.read("base") == disk);
    assert!(!cow::Header::parse(&dir.read("cow")).unwrap().merging());
    // The size still has to be right.
    bytes[12..20].copy_from_slice(&4096u64.to_be_bytes());
    dir.write("cow", &bytes);
    dir.moo(&["cow", "new"]).fails(1, &["Size mismatch"]);
}

#[test]
fn an_error_in_the_middle_leaves_a_pair_that_fits() {
    let dir = Dir::new("error");
    let disk = pair(&dir);
    let before = std::fs::metadata(dir.path("base")).unwrap();
    let sibling = dir.mkcow(&["sibling", "base"]);
    sibling.silent();
    // Half of the backing file is beyond what a file may have (bash counts in KiB).
    let script = format!("ulimit -f {}; trap '' XFSZ; exec {MOO} -d cow", SIZE / 2 / 1024);
    let run = common::Run(dir.command("bash").args(["-c", &script]).output().unwrap());
    run.fails(1, &["base", "File too large", "'cow' can still be used"]);
    let merged = dir.read("base");
    assert!(merged[..SIZE / 4] == disk[..SIZE / 4], "nothing was merged, so nothing was tested");
    assert!(merged != disk);
    assert!(std::fs::metadata(dir.path("base")).unwrap().mtime() != before.mtime());
    // The sibling no longer fits the changed file, and knows.
    dir.moo(&["sibling", "new"]).fails(1, &["mtime mismatch"]);
    dir.moo(&["cow", "new"]).silent();
    assert!(dir.read("new") == disk);
    dir.moo(&["-d", "cow"]).silent();
    assert!(dir.read("base") == disk);
}

#[test]
fn a_signal_stops_a_merge_in_order() {
    let dir = Dir::new("signal");
    let disk = pair(&dir);
    let (base, cow) = (dir.read("base"), dir.read("cow"));
    for (step, number) in [(1, 2), (6, 15), (12, 1), (20, 2), (30, 15)] {
        dir.backing("base", &base);
        dir.write("cow", &cow);
        let child =
            dir.command(MOO).args(["-d", "cow"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(step * 2));
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        let signal = match number {
            1 => rustix::process::Signal::HUP,
            2 => rustix::process::Signal::INT,
            _ => rustix::process::Signal::TERM,
        };
        rustix::process::kill_process(pid, signal).unwrap();
        let run = common::Run(child.wait_with_output().unwrap());
        match (run.code(), run.0.status.signal()) {
            // Ended before the signal came.
            (Some(0), _) => assert!(dir.read("base") == disk),
            // Before there was anything to put in order.
            (None, Some(n)) if n == number => {}
            (Some(code), _) => {
                assert_eq!(code, 128 + number, "{run:?}");
                assert!(run.stderr().contains("'cow' can still be used"), "{run:?}");
                assert!(!cow::Header::parse(&dir.read("cow")).unwrap().merging());
                dir.moo(&["cow", "new"]).silent();
                assert!(dir.read("new") == disk);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_interrupted_new_image_is_no_image() {
    let dir = Dir::new("new");
    let disk = pair(&dir);
    dir.write("old", b"what was there before");
    let names = dir.names();
    let mut killed = 0;
    for step in 0..12 {
        for out in ["new", "old"] {
            let mut child = dir.command(MOO).args(["cow", out]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(step * 3));
            child.kill().unwrap();
            if child.wait().unwrap().signal() == Some(9) {
                killed += 1;
            }
            // A kill in the last moment may find the whole image there.
            if dir.path("new").exists() {
                assert!(dir.read("new") == disk);
                std::fs::remove_file(dir.path("new")).unwrap();
            }
            if dir.read("old") != b"what was there before" {
                assert!(dir.read("old") == disk);
                dir.write("old", b"what was there before");
            }
            let left: Vec<_> = dir.names().into_iter().filter(|n| !n.ends_with(".tmp")).collect();
            assert_eq!(left, names);
        }
    }
    assert!(killed > 0);
    dir.moo(&["cow", "new"]).silent();
    assert!(dir.read("new") == disk);
}
