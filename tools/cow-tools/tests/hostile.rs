//! Pipes where files are wanted, readers that leave, disks that are full.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;

use common::{Dir, MKCOW, MOO, Random, Run};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let dir = Dir::new("pipe");
    dir.golden();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path("pipe"), 0o600.into()).unwrap();
    let words = ["neither a regular file nor a block device"];
    dir.moo(&["pipe", "out"]).fails(1, &words);
    dir.moo(&["-d", "pipe"]).fails(1, &words);
    dir.moo(&["--info", "pipe"]).fails(1, &words);
    dir.moo(&["-b", "pipe", "v3.cow", "out"]).fails(1, &words);
    dir.moo(&["--rebase", "pipe", "v3.cow"]).fails(1, &words);
    dir.mkcow(&["cow", "pipe"]).fails(1, &words);
    dir.mkcow(&["-f", "pipe", "backing64k.img"]).fails(1, &["no regular file"]);
}

/// Runs a program whose output is a pipe that nobody reads, or a full device.
fn with_output(dir: &Dir, program: &str, args: &[&str], full: bool) -> Run {
    let out = || match full {
        true => Stdio::from(File::options().write(true).open("/dev/full").unwrap()),
        false => Stdio::from(rustix::pipe::pipe().unwrap().1),
    };
    Run(dir.command(program).args(args).stdout(out()).stderr(out()).output().unwrap())
}

#[test]
fn who_does_not_read_is_no_reason_to_crash() {
    let dir = Dir::new("closed");
    dir.golden();
    for args in [&["--info", "v3.cow"][..], &["--help"], &["--version"], &["--completions", "bash"]] {
        assert_eq!(with_output(&dir, MOO, args, false).code(), Some(0), "{args:?}");
        assert_eq!(with_output(&dir, MOO, args, true).code(), Some(1), "{args:?}");
    }
    for (program, code) in [(MOO, 1), (MKCOW, 2)] {
        for full in [false, true] {
            let run = with_output(&dir, program, &["--frob"], full);
            assert_eq!((run.code(), run.0.status.signal()), (Some(code), None), "{program}");
        }
    }
}

#[test]
fn a_full_disk_is_named_and_the_input_stays_usable() {
    let dir = Dir::new("full");
    let disk = Random(11).bytes(6 << 20);
    dir.backing("base", &disk);
    dir.write("empty", b"");
    dir.mkcow(&["cow", "base"]).silent();
    // A filesystem of 2 MiB, seen by the shell alone. Its backing file is a hole, which the merge has to fill.
    let script = "set -e; mkdir small; mount -t tmpfs -o size=2M small small; truncate -s 6M small/base
$MOO cow small/out 2>first && exit 10; [ -z \"$(ls small/out 2>/dev/null)\" ]
$MOO --to qcow2 cow small/out 2>second && exit 11; [ -z \"$(ls small/out 2>/dev/null)\" ]
$MOO --from raw --to cow -b small/base base changed
$MOO -d changed 2>third && exit 12
$MOO --info changed >info; $MOO changed merged; cmp merged base; exit 42";
    let run =
        Run(dir.command("unshare").args(["-r", "-m", "sh", "-c", script]).env("MOO", MOO).output().unwrap());
    if run.stderr().contains("unshare:") || run.stderr().contains("mount:") {
        println!("skipped: no namespace with a filesystem of its own: {}", run.stderr());
        return;
    }
    assert_eq!(run.code(), Some(42), "{run:?}");
    let said = |name: &str| String::from_utf8(dir.read(name)).unwrap();
    for name in ["first", "second", "third"] {
        let text = said(name);
        assert!(text.contains("No space left on device") && text.lines().count() == 1, "{name}: {text}");
    }
    assert!(said("third").contains("'changed' can still be used"), "{}", said("third"));
    assert!(said("info").contains("(matches)"), "{}", said("info"));
}
