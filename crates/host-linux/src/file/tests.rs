use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;

/// A directory that is removed at the end of a test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("umlaut-file-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a test directory");
        Dir(path)
    }
    fn open(&self) -> Arc<dyn HostFile> {
        let flags = (OFlags::RDONLY | OFlags::DIRECTORY).bits();
        LinuxFile::open_path(self.0.as_os_str().as_encoded_bytes(), flags).expect("the test directory")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const CREATE: u32 = OFlags::RDWR.bits() | OFlags::CREATE.bits();

#[test]
fn names_that_lead_away_are_refused() {
    let tmp = Dir::new();
    let dir = tmp.open();
    symlink("/etc", tmp.0.join("out")).unwrap();
    std::fs::create_dir(tmp.0.join("sub")).unwrap();
    for bad in [&b".."[..], b"a/b", b"/etc", b"sub/..", b"../x", b"a\0b", b""] {
        assert!(dir.open_at(bad, 0, 0).is_err(), "{bad:?}");
        assert!(dir.stat_at(bad).is_err(), "{bad:?}");
        assert!(dir.access_at(bad, 4).is_err(), "{bad:?}");
        assert!(dir.readlink_at(bad).is_err(), "{bad:?}");
        assert!(dir.mkdir_at(bad, 0o700).is_err(), "{bad:?}");
        assert!(dir.mknod_at(bad, 0o10600, 0).is_err(), "{bad:?}");
        assert!(dir.symlink_at(bad, b"x").is_err(), "{bad:?}");
        assert!(dir.unlink_at(bad, true).is_err(), "{bad:?}");
        assert!(dir.link_at(&*dir, bad, b"n").is_err(), "{bad:?}");
        assert!(dir.link_at(&*dir, b"out", bad).is_err(), "{bad:?}");
        assert!(dir.rename_at(b"out", &*dir, bad, 0).is_err(), "{bad:?}");
        assert!(dir.rename_at(bad, &*dir, b"n", 0).is_err(), "{bad:?}");
        assert!(
            dir.set_attr_at(bad, &SetAttr { mode: Some(0o700), ..SetAttr::default() }).is_err(),
            "{bad:?}"
        );
    }
    // Links are never followed.
    assert_eq!(dir.open_at(b"out", 0, 0).err(), Some(errno::ELOOP));
    assert!(dir.open_at(b"out", OFlags::DIRECTORY.bits(), 0).is_err());
    assert_eq!(dir.stat_at(b"out").unwrap().mode & 0o170_000, 0o120_000);
    assert_eq!(dir.readlink_at(b"out").unwrap(), b"/etc");
    let dot = dir.open_at(b".", OFlags::DIRECTORY.bits(), 0).unwrap();
    assert_eq!(dot.stat().unwrap().ino, dir.stat().unwrap().ino);
}

#[test]
fn attributes_do_not_leave_through_links() {
    let tmp = Dir::new();
    let other = Dir::new();
    let target = other.0.join("target");
    std::fs::write(&target, b"keep").unwrap();
    std::fs::set_permissions(&target, PermissionsExt::from_mode(0o640)).unwrap();
    symlink(&target, tmp.0.join("l")).unwrap();
    let dir = tmp.open();
    let mode = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    assert_eq!(dir.set_attr_at(b"l", &mode), Err(errno::EOPNOTSUPP));
    assert_eq!(dir.set_attr_at(b"l", &SetAttr { size: Some(0), ..SetAttr::default() }), Err(errno::ELOOP));
    let when = abi::Timespec { sec: 5, nsec: 6 };
    dir.set_attr_at(b"l", &SetAttr { mtime: Some(when), ..SetAttr::default() }).unwrap();
    assert_eq!(dir.stat_at(b"l").unwrap().mtime, when);
    let meta = std::fs::metadata(&target).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.len()), (0o640, 4));
    assert_ne!(meta.mtime(), 5);
}

#[test]
fn reads_writes_and_holes() {
    let tmp = Dir::new();
    let dir = tmp.open();
    let f = dir.open_at(b"f", CREATE, 0o640).unwrap();
    assert_eq!(f.pwrite(1 << 20, b"tail"), Ok(4));
    let mut buf = [1; 8];
    assert_eq!(f.pread((1 << 20) - 4, &mut buf), Ok(8));
    assert_eq!(&buf, b"\0\0\0\0tail");
    assert_eq!(f.pread(2 << 20, &mut buf), Ok(0));
    assert_eq!(f.seek(0, false).unwrap(), 0);
    assert!(f.seek(0, true).unwrap() <= 1 << 20);
    assert_eq!(f.seek(2 << 20, true), Err(errno::ENXIO));
    f.truncate(3).unwrap();
    let s = f.stat().unwrap();
    assert_eq!((s.size, s.mode & 0o170_000, s.nlink), (3, 0o100_000, 1));
    assert_eq!(dir.stat_at(b"f").unwrap(), s);
    f.sync(true).unwrap();
    assert_eq!(f.allocate(0xffff, 0, 1), Err(errno::EOPNOTSUPP));
    assert_eq!(dir.open_at(b"f", CREATE | OFlags::EXCL.bits(), 0).err(), Some(errno::EEXIST));
    assert_eq!(dir.open_at(b"f", OFlags::DIRECTORY.bits(), 0).err(), Some(errno::ENOTDIR));
    assert!(dir.statfs().unwrap()[7] > 0);
}

#[test]
fn big_directory_is_listed_once_and_from_any_entry() {
    let tmp = Dir::new();
    let dir = tmp.open();
    for i in 0..3000 {
        std::fs::write(tmp.0.join(format!("file-with-a-rather-long-name-{i}")), b"").unwrap();
    }
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let had = all.len();
        dir.read_dir(from, &mut all).unwrap();
        if all.len() == had {
            break;
        }
        from = all.last().unwrap().next;
    }
    assert_eq!(all.len(), 3000);
    assert!(all.iter().all(|e| e.dtype == 8 && e.ino != 0));
    let mut rest = Vec::new();
    dir.read_dir(all[2990].next, &mut rest).unwrap();
    assert_eq!(rest, all[2991..]);
    let mut again = Vec::new();
    dir.read_dir(0, &mut again).unwrap();
    assert_eq!(again[0], all[0]);
}

#[test]
fn the_end_of_a_listing_is_the_directorys() {
    let tmp = Dir::new();
    // Filesystems that hash names put `.` and `..` anywhere: with so many directories, behind the last name in some.
    for i in 0..64 {
        std::fs::create_dir(tmp.0.join(format!("d{i}"))).unwrap();
        std::fs::write(tmp.0.join(format!("d{i}/file")), b"").unwrap();
        let fd = std::fs::File::open(tmp.0.join(format!("d{i}"))).unwrap();
        let dir = LinuxFile::from_fd(fd.into());
        let mut all = Vec::new();
        dir.read_dir(0, &mut all).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].next, *dir.dir_pos.lock().unwrap(), "going on needs no seek");
        dir.read_dir(all[0].next, &mut all).unwrap();
        assert_eq!(all.len(), 1);
    }
}

#[test]
fn links_renames_and_removal() {
    let tmp = Dir::new();
    let dir = tmp.open();
    dir.mkdir_at(b"d", 0o700).unwrap();
    let d = dir.open_at(b"d", OFlags::DIRECTORY.bits(), 0).unwrap();
    dir.open_at(b"f", CREATE, 0o600).unwrap();
    d.link_at(&*dir, b"f", b"g").unwrap();
    assert_eq!(dir.stat_at(b"f").unwrap().nlink, 2);
    assert_eq!(dir.rename_at(b"f", &*d, b"g", RenameFlags::NOREPLACE.bits()), Err(errno::EEXIST));
    dir.symlink_at(b"s", b"anything at all").unwrap();
    dir.rename_at(b"s", &*d, b"g", RenameFlags::EXCHANGE.bits()).unwrap();
    assert_eq!(d.readlink_at(b"g").unwrap(), b"anything at all");
    assert_eq!(dir.stat_at(b"s").unwrap().mode & 0o170_000, 0o100_000);
    dir.mknod_at(b"p", 0o010_600, 0).unwrap();
    // A FIFO without a writer must not stop us.
    dir.open_at(b"p", 0, 0).unwrap();
    assert_eq!(dir.unlink_at(b"d", false), Err(errno::EISDIR));
    assert_eq!(dir.unlink_at(b"d", true), Err(errno::ENOTEMPTY));
    d.unlink_at(b"g", false).unwrap();
    dir.unlink_at(b"d", true).unwrap();
    assert_eq!(dir.stat_at(b"d"), Err(errno::ENOENT));
    assert_eq!(d.open_at(b"x", CREATE, 0o600).err(), Some(errno::ENOENT));
}

#[test]
fn unnamed_file_gets_a_name() {
    let tmp = Dir::new();
    let dir = tmp.open();
    let f = match dir.open_at(b".", (OFlags::TMPFILE | OFlags::RDWR).bits(), 0o600) {
        Err(errno::EOPNOTSUPP) => {
            println!("skipped: the temporary directory has no O_TMPFILE");
            return;
        }
        f => f.unwrap(),
    };
    f.pwrite(0, b"data").unwrap();
    assert_eq!(f.stat().unwrap().nlink, 0);
    f.link_file_at(&*dir, b"named").unwrap();
    assert_eq!(dir.stat_at(b"named").unwrap().size, 4);
    assert_eq!(f.link_file_at(&*dir, b"../x"), Err(errno::EINVAL));
}

#[test]
fn attributes_change_by_name_and_through_path_descriptors() {
    let tmp = Dir::new();
    let dir = tmp.open();
    dir.open_at(b"f", CREATE, 0o600).unwrap();
    let when = abi::Timespec { sec: 1_000_000_000, nsec: 123_456_789 };
    let attr = SetAttr { mode: Some(0o4751), mtime: Some(when), size: Some(10), ..SetAttr::default() };
    dir.set_attr_at(b"f", &attr).unwrap();
    let s = dir.stat_at(b"f").unwrap();
    assert_eq!((s.mode & 0o7777, s.mtime, s.size), (0o4751, when, 10));
    assert_ne!(s.atime, when);
    let held = dir.open_at(b"f", OFlags::PATH.bits(), 0).unwrap();
    let earlier = abi::Timespec { sec: 7, nsec: 8 };
    held.set_attr(&SetAttr { mode: Some(0o400), atime: Some(earlier), ..SetAttr::default() }).unwrap();
    let s = held.stat().unwrap();
    assert_eq!((s.mode & 0o7777, s.mtime, s.atime), (0o400, when, earlier));
    held.set_attr(&SetAttr { uid: Some(s.uid), gid: Some(s.gid), ..SetAttr::default() }).unwrap();
    assert_eq!(
        dir.set_attr_at(b"f", &SetAttr { uid: Some(u32::MAX), ..SetAttr::default() }),
        Err(errno::EINVAL)
    );
    dir.access_at(b"f", 4).unwrap();
    assert_eq!(dir.access_at(b"f", 1), Err(errno::EACCES), "nobody may execute it");
    dir.access_at(b".", 7).unwrap();
}

#[test]
fn xattrs_are_seen() {
    let tmp = Dir::new();
    let dir = tmp.open();
    let path = tmp.0.join("f");
    std::fs::write(&path, b"").unwrap();
    let value = vec![7; 3000];
    if fs::setxattr(&path, "user.umlaut", &value, fs::XattrFlags::empty()).is_err() {
        println!("skipped: the temporary directory takes no user attributes");
        return;
    }
    for flags in [0, OFlags::PATH.bits()] {
        let f = dir.open_at(b"f", flags, 0).unwrap();
        assert!(f.list_xattr().unwrap().contains(&b"user.umlaut".to_vec()));
        assert_eq!(f.get_xattr(b"user.umlaut").unwrap(), value);
        assert_eq!(f.get_xattr(b"user.none"), Err(errno::ENODATA));
    }
}
