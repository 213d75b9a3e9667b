//! UML's locking rules, each between two processes.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cow::Access::{ReadOnly, ReadWrite};
use cow_tools::disk::{Locking, open};
use cow_tools::file::HostFile;

use crate::common::{Dir, Random, scribble};
use crate::{part, start, tell};

/// Opens a file as a machine does, says so, and keeps it until it is told to let go.
pub fn hold(file: &Path, how: &str) {
    let access = if how.ends_with("ro") { ReadOnly } else { ReadWrite };
    let mut line = String::new();
    if how.starts_with("cow") {
        let _disk = open(file, None, access, Locking::Locked).expect("open");
        tell("held");
        let _ = std::io::stdin().read_line(&mut line);
    } else {
        // A raw image.
        let image =
            if access == ReadOnly { HostFile::open(file) } else { HostFile::open_rw(file) }.expect("open");
        image.lock_or_fail(access == ReadWrite).expect("lock");
        tell("held");
        let _ = std::io::stdin().read_line(&mut line);
    }
}

/// Opens a disk to be written, and says what came of it.
pub fn attempt_to_write(file: &Path) {
    let mut disk = open(file, None, ReadWrite, Locking::Locked).expect("open");
    tell(match disk.write_at(&[1; 512], 0) {
        Ok(()) => "writable",
        Err(cow::Error::ReadOnly) => "read-only",
        Err(_) => "broken",
    });
}

struct Holder(Child);

impl Holder {
    fn start(dir: &Dir, file: &str, how: &str) -> Holder {
        let mut child = start(&["hold", dir.path(file).to_str().expect("text"), how]);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("pipe")).read_line(&mut line).expect("read");
        assert_eq!(line, "held\n", "{file} {how}");
        Holder(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("kill");
        let mut rest = Vec::new();
        let _ = self.0.stdout.take().expect("pipe").read_to_end(&mut rest);
        self.0.wait().expect("wait");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn disks(name: &str) -> Dir {
    let dir = Dir::new(name);
    dir.backing("base", &[7; 65536]);
    for cow in ["a", "b"] {
        dir.mkcow(&[cow, "base"]).silent();
    }
    dir
}

/// What opening a disk comes to: nothing, or who has it.
fn attempt(dir: &Dir, file: &str, access: cow::Access) -> Result<(), String> {
    open(&dir.path(file), None, access, Locking::Locked).map(drop).map_err(|failure| failure.text)
}

fn attempt_raw(dir: &Dir, file: &str, exclusive: bool) -> Result<(), String> {
    let path = dir.path(file);
    let image = if exclusive { HostFile::open_rw(&path) } else { HostFile::open(&path) }.expect("open");
    image.lock_or_fail(exclusive).map_err(|failure| failure.text)
}

pub fn one_writer_or_many_readers() {
    let dir = disks("lock-cow");
    for (held, tried, allowed) in [
        ("cow", ReadWrite, false),
        ("cow", ReadOnly, false),
        ("cow-ro", ReadWrite, false),
        ("cow-ro", ReadOnly, true),
    ] {
        let holder = Holder::start(&dir, "a", held);
        let result = attempt(&dir, "a", tried);
        if allowed {
            assert_eq!(result, Ok(()), "{held} {tried:?}");
        } else {
            // Refused at once, and with the process that has it.
            let want = format!("'{}' is in use by process {}", dir.path("a").display(), holder.0.id());
            assert_eq!(result, Err(want), "{held} {tried:?}");
        }
        // Who wants no locks asks nobody.
        assert!(open(&dir.path("a"), None, tried, Locking::Shared).is_ok());
        // The lock ends with the process, however that ends.
        holder.kill();
        assert_eq!(attempt(&dir, "a", ReadWrite), Ok(()));
    }
}

pub fn backing_files_are_shared() {
    let dir = disks("lock-base");
    let holder = Holder::start(&dir, "a", "cow");
    // Another COW file over the same backing file, to be written; and the backing file itself, to be read.
    assert_eq!(attempt(&dir, "b", ReadWrite), Ok(()));
    assert_eq!(attempt_raw(&dir, "base", false), Ok(()));
    // But not the backing file to be written.
    let want = format!("'{}' is in use by process {}", dir.path("base").display(), holder.0.id());
    assert_eq!(attempt_raw(&dir, "base", true), Err(want));
    holder.kill();
    assert_eq!(attempt_raw(&dir, "base", true), Ok(()));
    // While it is written as an image, no COW file stands on it.
    let holder = Holder::start(&dir, "base", "raw");
    let want = format!("'{}' is in use by process {}", dir.path("base").display(), holder.0.id());
    assert_eq!(attempt(&dir, "a", ReadWrite), Err(want.clone()));
    assert_eq!(attempt(&dir, "a", ReadOnly), Err(want));
    holder.kill();
    // While it is read, any number do.
    let _reader = Holder::start(&dir, "base", "raw-ro");
    let _a = Holder::start(&dir, "a", "cow");
    let _b = Holder::start(&dir, "b", "cow-ro");
    // A merge into the backing file needs both files for itself: a reader of either is enough to refuse it.
    for cow in ["a", "b"] {
        dir.moo(&["-d", cow]).fails(1, &["in use by process"]);
    }
}

pub fn one_process_does_not_exclude_itself() {
    let dir = disks("lock-self");
    let first = open(&dir.path("a"), None, ReadWrite, Locking::Locked).expect("first");
    let second = open(&dir.path("a"), None, ReadWrite, Locking::Locked).expect("second");
    drop((first, second));
    // Closing any descriptor of a file ends the process's locks on it; looking at names must not do so.
    let disk = open(&dir.path("a"), None, ReadWrite, Locking::Locked).expect("again");
    let _other = open(&dir.path("b"), Some(&dir.path("./base")), ReadWrite, Locking::Locked).expect("other");
    let program = std::env::current_exe().expect("this program");
    let run = part(&program, &["hold", dir.path("base").to_str().expect("text"), "raw"])
        .stderr(Stdio::piped())
        .output();
    let run = run.expect("run");
    assert!(!run.status.success(), "the backing file could be locked to be written");
    assert!(String::from_utf8_lossy(&run.stderr).contains("is in use by process"), "{run:?}");
    drop(disk);
}

pub fn read_only_where_writing_is_not_allowed() {
    let dir = disks("lock-ro");
    std::fs::set_permissions(dir.path("a"), std::fs::Permissions::from_mode(0o444)).expect("mode");
    // A copy, where any user may run it. Made by another process, as a child that another test starts meanwhile would
    // keep our descriptor for a moment, and what is open for writing cannot be run.
    let program = dir.path("program");
    let from = std::env::current_exe().expect("this program");
    assert!(Command::new("cp").arg(from).arg(&program).status().expect("cp").success());
    let mut child = part(&program, &["try", dir.path("a").to_str().expect("text")]);
    if rustix::process::geteuid().is_root() {
        // Root may write any file.
        child.uid(65534).gid(65534);
    }
    let run = child.output().expect("run");
    assert_eq!(String::from_utf8_lossy(&run.stdout), "read-only\n", "{run:?}");
    let mut disk = open(&dir.path("b"), None, ReadOnly, Locking::Locked).expect("open");
    assert!(matches!(disk.write_at(&[1; 512], 0), Err(cow::Error::ReadOnly)));
    let mut sector = [0; 512];
    disk.read_at(&mut sector, 512).expect("read");
    assert!(sector == [7; 512]);
}

pub fn another_backing_file() {
    let dir = disks("lock-other");
    let disk = scribble(&dir.path("a"), &[7; 65536], 5, &mut Random(4));
    let cow = dir.path("a");
    let named =
        || cow::Header::parse(&std::fs::read(&cow).expect("read")).expect("header").backing().to_vec();
    let read = |base: Option<&Path>| {
        let device = open(&cow, base, ReadWrite, Locking::Locked).map_err(|failure| failure.text)?;
        let mut bytes = vec![0; disk.len()];
        device.read_at(&mut bytes, 0).expect("read");
        assert!(bytes == disk);
        Ok::<_, String>(())
    };
    // The same file by another name changes nothing.
    std::os::unix::fs::symlink("base", dir.path("link")).expect("link");
    let before = named();
    assert_eq!(read(Some(&dir.path("link"))), Ok(()));
    assert_eq!(named(), before);
    // One that does not fit, by size or by time: the header's is used.
    dir.backing("longer", &[7; 70000]);
    dir.write("newer", &[7; 65536]);
    for other in ["longer", "newer"] {
        assert_eq!(read(Some(&dir.path(other))), Ok(()), "{other}");
        assert_eq!(named(), before, "{other}");
    }
    // Moved, with its time kept, and named: the header names it from now on.
    std::fs::rename(dir.path("base"), dir.path("moved")).expect("rename");
    std::fs::remove_file(dir.path("link")).expect("remove");
    assert!(read(None).is_err());
    assert!(read(Some(&dir.path("newer"))).expect_err("newer").contains("mtime mismatch"));
    assert!(read(Some(&dir.path("longer"))).expect_err("longer").contains("Size mismatch (65536 vs 70000)"));
    assert_eq!(read(Some(&dir.path("moved"))), Ok(()));
    assert_eq!(named(), dir.path("moved").as_os_str().as_encoded_bytes());
    assert_eq!(read(None), Ok(()));
    // Right size and a fraction of a second do not matter, a whole second does.
    let stamp = |seconds: u64, nanos: u32| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, nanos);
        let file = std::fs::File::options().write(true).open(dir.path("moved")).expect("open");
        file.set_modified(time).expect("time");
    };
    stamp(1_000_000_000, 999_999_999);
    assert_eq!(read(None), Ok(()));
    stamp(1_000_000_001, 0);
    assert!(read(None).expect_err("a second later").contains("mtime mismatch (1000000000 vs 1000000001)"));
}
