//! The inputs of a conversion are locked from its beginning to its end.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;

use common::{Dir, MOO, Random, scribble};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use std::fs::File;
use std::process::Child;

const SIZE: usize = 48 << 20;

/// How often the file was seen locked, and not locked since it first was, while the process ran.
fn watch(file: &File, child: &mut Child) -> (u32, u32) {
    let (mut locked, mut free) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        match fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).unwrap() {
            Some(_) => locked += 1,
            None if locked > 0 => free += 1,
            None => {}
        }
    }
    (locked, free)
}

#[test]
fn the_backing_file_is_locked_until_the_end() {
    let dir = Dir::new("held");
    let base: Vec<u8> = Random(1).bytes(4096).repeat(SIZE / 4096);
    dir.backing("base", &base);
    dir.mkcow(&["cow", "base"]).silent();
    let disk = scribble(&dir.path("cow"), &base, 1500, &mut Random(2));
    dir.moo(&["cow", "raw"]).ok();
    for args in [
        &["--to", "cow", "cow", "new"][..],
        &["--to", "cow", "-b", "base", "cow", "new"],
        &["--from", "raw", "--to", "cow", "-b", "base", "raw", "new"],
        &["cow", "new"],
    ] {
        let file = File::options().read(true).write(true).open(dir.path("base")).unwrap();
        let mut child = dir.command(MOO).args(args).spawn().unwrap();
        let (locked, free) = watch(&file, &mut child);
        assert!(child.wait().unwrap().success(), "{args:?}");
        // Between giving up its files and its end a process can be seen without locks.
        assert!(locked > 10 * free, "{args:?}: {locked} times locked, {free} times free");
        let from = if args.contains(&"--to") { "cow" } else { "raw" };
        dir.moo(&["--from", from, "--to", "raw", "new", "again"]).ok();
        assert!(dir.read("again") == disk, "{args:?}");
    }
}
