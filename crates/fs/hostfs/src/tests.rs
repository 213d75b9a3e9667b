use std::time::Duration;

use abi::OpenFlags;
use hal::mock::{MockHost, Tree};
use kernel::{
    io::{BufSink, BufSource},
    mm::{MapSource, Mappable},
    task::Cred,
    vfs::inode::{AttrChange, DirOps, XattrOps},
};

use super::*;
use crate::open::{DirFile, Opened, RegularFile};

struct Setup {
    host: MockHost,
    tree: Arc<Tree>,
    fs: Arc<HostFs>,
    root: Arc<HostInode>,
}

fn mounted(options: Options) -> Setup {
    let host = MockHost::new();
    let tree = host.tree();
    let root = host.open_path(b"/", flags::O_PATH | flags::O_DIRECTORY).unwrap();
    let fs = HostFs::new(Arc::new(host.clone()), 77, root, options).unwrap();
    let root = fs.root_inode().unwrap();
    Setup { host, tree, fs, root }
}

fn setup() -> Setup {
    mounted(Options::default())
}

impl Setup {
    fn walk(&self, path: &str) -> Result<Arc<HostInode>> {
        path.split('/').filter(|n| !n.is_empty()).try_fold(self.root.clone(), |at, n| at.find(n.as_bytes()))
    }
    /// What somebody on the host does.
    fn outside(&self, dir: &str) -> Arc<dyn HostFile> {
        self.host.open_path(dir.as_bytes(), 0).unwrap()
    }
    fn pass_time(&self) {
        self.host.advance(Duration::from_millis(101));
    }
    fn open(&self, path: &str, flags: OpenFlags) -> Result<RegularFile> {
        let inode = self.walk(path)?;
        let (inode, opened) = inode.open_host(flags.writable(), flags.readable())?;
        Ok(RegularFile { inode, opened })
    }
}

fn as_inode(i: &Arc<HostInode>) -> Arc<dyn Inode> {
    i.clone()
}

fn downcast(i: &Arc<dyn Inode>) -> &HostInode {
    (**i).as_any().downcast_ref().unwrap()
}

fn read(f: &RegularFile, pos: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    let n = f.read_at(&mut BufSink::new(&mut buf), pos).unwrap();
    buf.truncate(n);
    buf
}

fn names(dir: &Arc<HostInode>, room: usize) -> Vec<String> {
    let dir = DirFile::open(dir.clone()).unwrap();
    let (mut out, mut pos) = (Vec::new(), 0);
    loop {
        let mut taken = 0;
        let next = dir
            .list(pos, &mut |name, _, _, _| {
                if taken == room {
                    return false;
                }
                taken += 1;
                out.push(String::from_utf8_lossy(name).into_owned());
                true
            })
            .unwrap();
        if taken == 0 {
            return out;
        }
        pos = next;
    }
}

#[test]
fn shows_the_tree() {
    let s = setup();
    s.tree.add_file("/bin/prog", b"hello");
    s.tree.add_link("/bin/l", "../etc");
    let prog = s.walk("/bin/prog").unwrap();
    let attr = prog.attr().unwrap();
    assert_eq!((attr.dev, attr.size, attr.uid, attr.mode), (77, 5, 1000, 0o100_755));
    assert_eq!(&*s.walk("/bin/l").unwrap().link_target().unwrap(), b"../etc");
    assert_eq!(s.walk("/bin/none").err(), Some(errno::ENOENT));
    assert!(s.walk("/bin/prog/x").is_err());
    assert!(Arc::ptr_eq(&s.walk("/bin/prog").unwrap(), &prog), "one inode while it is held");
    assert_eq!(s.fs.stats().unwrap().magic, 0x00c0_ffee);
    for room in [1, 2, 100] {
        assert_eq!(names(&s.walk("/bin").unwrap(), room), [".", "..", "l", "prog"]);
    }
}

#[test]
fn long_directories_come_in_batches() {
    let s = setup();
    for i in 0..250 {
        s.tree.add_file(&format!("/d/{i:03}"), b"");
    }
    let want: Vec<_> =
        [".".into(), "..".into()].into_iter().chain((0..250).map(|i| format!("{i:03}"))).collect();
    for room in [1, 7, 99, 100, 101, 1000] {
        assert_eq!(names(&s.walk("/d").unwrap(), room), want, "room for {room}");
    }
}

#[test]
fn reads_and_writes_reach_the_host() {
    let s = setup();
    s.tree.add_file("/f", &[b'a'; 10_000]);
    let f = s.open("/f", OpenFlags::RDWR).unwrap();
    assert_eq!(read(&f, 9_990, 100), [b'a'; 10]);
    assert_eq!(read(&f, 0, 100_000).len(), 10_000);
    assert_eq!(read(&f, 20_000, 10), b"");
    assert_eq!(f.write_at(&mut BufSource(&[b'b'; 9_000]), 5_000, OpenFlags::RDWR), Ok(9_000));
    assert_eq!(f.write_at(&mut BufSource(b"tail"), 14_000, OpenFlags::RDWR), Ok(4));
    assert_eq!(f.inode.attr().unwrap().size, 14_004, "no time has passed");
    let mut buf = [0; 6];
    let host = s.outside("/").open_at(b"f", 0, 0).unwrap();
    assert_eq!(host.pread(13_998, &mut buf), Ok(6));
    assert_eq!(&buf, b"bbtail");
}

#[test]
fn one_host_file_is_shared_and_upgraded() {
    let s = setup();
    s.tree.add_file("/f", b"x");
    let a = s.open("/f", OpenFlags::empty()).unwrap();
    let b = s.open("/f", OpenFlags::empty()).unwrap();
    assert!(Arc::ptr_eq(&a.opened, &b.opened));
    let w = s.open("/f", OpenFlags::RDWR).unwrap();
    assert!(!Arc::ptr_eq(&a.opened, &w.opened));
    let c = s.open("/f", OpenFlags::empty()).unwrap();
    assert!(Arc::ptr_eq(&w.opened, &c.opened));
    assert!(matches!(a.opened.map_source(false), Ok(MapSource::Host(_))));
    assert_eq!(a.opened.map_source(true).err(), Some(errno::EACCES));
    assert!(w.opened.map_source(true).is_ok());
}

#[test]
fn changes_of_the_host_are_seen_in_time() {
    let s = setup();
    s.tree.add_file("/d/f", b"1");
    let d = s.walk("/d").unwrap();
    let f = as_inode(&d.find(b"f").unwrap());
    assert_eq!(d.find(b"new").err(), Some(errno::ENOENT));
    assert!(d.volatile());
    let out = s.outside("/d");
    out.open_at(b"f", flags::O_RDWR, 0).unwrap().pwrite(0, b"123").unwrap();
    s.tree.add_file("/d/new", b"");
    assert!(d.revalidate(b"f", Some(&f)) && d.revalidate(b"new", None), "believed for a while");
    // Opening asks again.
    assert_eq!(s.open("/d/f", OpenFlags::empty()).unwrap().inode.attr().unwrap().size, 3);
    s.pass_time();
    assert!(!d.revalidate(b"new", None));
    assert!(d.revalidate(b"f", Some(&f)));
    // Another file under the same name.
    out.unlink_at(b"f", false).unwrap();
    s.tree.add_file("/d/f", b"another");
    s.pass_time();
    assert!(!d.revalidate(b"f", Some(&f)));
    assert_eq!(f.attr().unwrap().nlink, 0);
    assert_eq!(d.find(b"f").unwrap().attr().unwrap().size, 7);
}

#[test]
fn replaced_file_opens_as_the_new_one() {
    let s = setup();
    s.tree.add_file("/f", b"old");
    let old = s.walk("/f").unwrap();
    s.outside("/").unlink_at(b"f", false).unwrap();
    s.tree.add_file("/f", b"newer");
    let (inode, opened) = old.open_host(false, true).unwrap();
    assert!(!Arc::ptr_eq(&inode, &old));
    assert_eq!(read(&RegularFile { inode, opened }, 0, 10), b"newer");
}

#[test]
fn a_closed_file_is_opened_again_only_if_it_changed() {
    let s = setup();
    let open = |path: &str| s.open(path, OpenFlags::empty()).unwrap();
    let held = |f: RegularFile| Arc::downgrade(&f.opened);
    s.tree.add_file("/f", b"old");
    // As a dentry does.
    let inode = s.walk("/f").unwrap();
    let first = held(open("/f"));
    let again = open("/f");
    assert!(std::ptr::eq(first.as_ptr(), &*again.opened), "kept open");
    drop(again);
    s.outside("/").set_attr_at(b"f", &hal::SetAttr { mode: Some(0o400), ..Default::default() }).unwrap();
    let changed = held(open("/f"));
    assert!(first.upgrade().is_none() && changed.upgrade().is_some(), "the host decides anew about its mode");
    // Another file under the name, before any look-up notices.
    s.outside("/").unlink_at(b"f", false).unwrap();
    s.tree.add_file("/f", b"newer");
    let (newer, opened) = inode.open_host(false, true).unwrap();
    assert!(!Arc::ptr_eq(&inode, &newer));
    assert_eq!(read(&RegularFile { inode: newer, opened }, 0, 10), b"newer");
    assert!(changed.upgrade().is_none());
    // Few, small, and none that was written or that the guest removed.
    s.tree.add_file("/large", &vec![0; parked::SIZE as usize + 1]);
    assert!(held(open("/large")).upgrade().is_none());
    assert!(held(s.open("/f", OpenFlags::RDWR).unwrap()).upgrade().is_none());
    let inode = as_inode(&s.walk("/f").unwrap());
    let gone = held(open("/f"));
    assert!(gone.upgrade().is_some());
    s.root.unlink(b"f", &inode).unwrap();
    assert!(gone.upgrade().is_none());
    for i in 0..500 {
        s.tree.add_file(&format!("/{i}"), b"");
    }
    let all: Vec<_> = (0..500).map(|i| held(open(&format!("/{i}")))).collect();
    let kept = all.iter().filter(|f| f.upgrade().is_some()).count();
    assert_eq!(kept, parked::FILES);
    s.fs.parked.clear();
    assert!(all.iter().all(|f| f.upgrade().is_none()));
}

#[test]
fn an_opening_checks_the_name_by_itself() {
    let s = setup();
    s.tree.add_file("/f", b"old");
    let f = s.walk("/f").unwrap();
    let as_f = as_inode(&f);
    drop(s.open("/f", OpenFlags::empty()).unwrap());
    assert!(!s.root.opening_checks(b"f", &as_f), "what is fresh is believed");
    s.pass_time();
    assert!(s.root.opening_checks(b"f", &as_f) && !s.root.opening_checks(b"g", &as_f));
    assert!(f.clone().open_checked().is_some());
    assert!(f.is_fresh(), "the host was asked");
    // Somebody has it open: its name counts for as long as attributes do.
    let used = s.open("/f", OpenFlags::empty()).unwrap();
    s.pass_time();
    assert!(!s.root.opening_checks(b"f", &as_f) && f.clone().open_checked().is_none());
    drop(used);
    // Another mode, and another file under the name.
    s.outside("/").set_attr_at(b"f", &hal::SetAttr { mode: Some(0o600), ..Default::default() }).unwrap();
    assert!(s.root.opening_checks(b"f", &as_f) && f.clone().open_checked().is_none());
    assert!(!f.is_fresh(), "nothing was learned");
    s.outside("/").unlink_at(b"f", false).unwrap();
    s.tree.add_file("/f", b"new");
    assert!(f.clone().open_checked().is_none() && !s.root.revalidate(b"f", Some(&as_f)));
}

#[test]
fn as_many_files_are_kept_open_as_the_host_allows() {
    let s = setup();
    let keep = |limit: u64, sizes: &[u64]| {
        let kept = parked::Parked::new(limit);
        let all: Vec<_> = sizes
            .iter()
            .map(|&size| {
                let stat = HostStat { size, ..Default::default() };
                let opened = Opened::new(s.outside("/"), true, false, &stat);
                kept.push(&opened);
                Arc::downgrade(&opened)
            })
            .collect();
        all.iter().filter(|o| o.strong_count() > 0).count()
    };
    assert_eq!(keep(100, &[1; 1000]), parked::FILES);
    assert_eq!(keep(4000, &[1; 1000]), 500);
    assert_eq!(keep(9000, &[1; 5000]), 4500);
    assert_eq!(keep(u64::MAX, &[1; 10_000]), 8192);
    assert_eq!(keep(u64::MAX, &[parked::SIZE; 1000]), 128, "256 MiB");
}

#[test]
fn absent_names_are_not_asked_for_twice() {
    let s = setup();
    assert_eq!(s.root.find(b"f").err(), Some(errno::ENOENT));
    s.tree.add_file("/f", b"1");
    assert_eq!(s.root.find(b"f").err(), Some(errno::ENOENT), "believed for a while");
    s.pass_time();
    assert!(s.root.find(b"f").is_ok());
    // What the guest makes is there at once.
    assert_eq!(s.root.find(b"g").err(), Some(errno::ENOENT));
    s.root.create(b"g", 0o600, (0, 0)).unwrap();
    assert!(s.root.find(b"g").is_ok());
}

#[test]
fn listing_a_directory_opens_it_once() {
    let s = setup();
    s.tree.add_file("/d/f", b"");
    let d = s.walk("/d").unwrap();
    s.fs.dirs.shrink(0);
    assert!(d.held_handle().is_none());
    let listing = DirFile::open(d.clone()).unwrap();
    assert!(d.held_handle().is_some(), "serves look-ups too");
    let mut seen = 0;
    let end = listing.list(0, &mut |_, _, _, _| {
        seen += 1;
        true
    });
    assert!(d.find(b"f").is_ok());
    assert_eq!((seen, listing.list(end.unwrap(), &mut |_, _, _, _| panic!("the end"))), (3, end));
    // Another directory under the name.
    let s = setup();
    s.tree.add_dir("/d");
    let d = s.walk("/d").unwrap();
    s.outside("/").unlink_at(b"d", true).unwrap();
    s.tree.add_file("/d/other", b"");
    assert_eq!(DirFile::open(d).err(), Some(errno::ENOENT));
}

#[test]
fn immutable_trees_are_believed_for_ever() {
    let s = mounted(Options { immutable: true, ..Options::default() });
    s.tree.add_file("/f", b"1");
    let f = as_inode(&s.walk("/f").unwrap());
    assert_eq!(s.root.find(b"g").err(), Some(errno::ENOENT));
    s.host.advance(Duration::from_secs(1 << 20));
    assert!(s.root.revalidate(b"f", Some(&f)) && s.root.revalidate(b"g", None));
    assert!(!s.root.volatile());
    assert_eq!(s.fs.options(), "immutable");
}

#[test]
fn names_are_made_moved_and_removed() {
    let s = setup();
    let root = as_inode(&s.root);
    let owner = (0, 0);
    let d = s.root.mkdir(b"d", 0o750, owner).unwrap();
    assert_eq!((d.attr().unwrap().mode, d.attr().unwrap().uid), (0o040_750, 1000), "the host's owner");
    let f = s.root.create(b"f", 0o640, owner).unwrap();
    assert_eq!(s.root.create(b"f", 0o640, owner).err(), Some(errno::EEXIST));
    s.root.symlink(b"l", b"target", owner).unwrap();
    s.root.mknod(b"p", 0o010_600, 0, owner).unwrap();
    s.root.link(b"f2", &f).unwrap();
    assert_eq!(f.attr().unwrap().nlink, 2);
    assert_eq!(s.root.rename(b"f", &d, b"g", 4).err(), Some(errno::EINVAL), "RENAME_WHITEOUT");
    s.root.rename(b"f", &d, b"g", 0).unwrap();
    assert!(Arc::ptr_eq(&as_inode(&s.walk("/d/g").unwrap()), &f));
    // The directory moves with what is in it, also when its handle is not open.
    s.root.rename(b"d", &root, b"e", 0).unwrap();
    s.fs.dirs.shrink(0);
    s.pass_time();
    assert_eq!(f.attr().unwrap().nlink, 2);
    f.set_attr(&AttrChange { mode: Some(0o600), size: Some(9), ..AttrChange::default() }).unwrap();
    assert_eq!(s.outside("/e").stat_at(b"g").unwrap().size, 9);
    let e = s.walk("/e").unwrap();
    e.unlink(b"g", &f).unwrap();
    assert_eq!(f.attr().unwrap().nlink, 1);
    s.root.rmdir(b"e", &as_inode(&e)).unwrap();
    assert_eq!(s.walk("/e").err(), Some(errno::ENOENT));
    assert_eq!(e.create(b"x", 0o600, owner).err(), Some(errno::ENOENT));
}

#[test]
fn exchange_swaps_places() {
    let s = setup();
    let root = as_inode(&s.root);
    s.tree.add_file("/a/1", b"x");
    s.tree.add_file("/b/22", b"y");
    let (a, b) = (s.walk("/a").unwrap(), s.walk("/b").unwrap());
    s.root.rename(b"a", &root, b"b", 2).unwrap();
    s.fs.dirs.shrink(0);
    s.pass_time();
    assert!(a.find(b"1").is_ok() && b.find(b"22").is_ok());
    assert!(Arc::ptr_eq(&s.walk("/b").unwrap(), &a));
}

#[test]
fn unlinked_open_file_lives_on() {
    let s = setup();
    let inode = s.root.create(b"f", 0o600, (0, 0)).unwrap();
    let f = s.open("/f", OpenFlags::RDWR).unwrap();
    assert!(Arc::ptr_eq(&as_inode(&f.inode), &inode));
    s.root.unlink(b"f", &inode).unwrap();
    assert_eq!(f.write_at(&mut BufSource(b"still"), 0, OpenFlags::RDWR), Ok(5));
    assert_eq!((inode.attr().unwrap().nlink, inode.attr().unwrap().size), (0, 5));
    inode.set_attr(&AttrChange { size: Some(2), mode: Some(0o400), ..AttrChange::default() }).unwrap();
    assert_eq!(read(&f, 0, 10), b"st");
    // The name is free for another file, which is not confused with the old one.
    let other = s.root.create(b"f", 0o600, (0, 0)).unwrap();
    assert_eq!(other.attr().unwrap().size, 0);
    assert!(!Arc::ptr_eq(&other, &inode));
}

#[test]
fn handles_are_few_and_come_back() {
    let s = setup();
    for i in 0..1000 {
        s.tree.add_file(&format!("/d{i}/sub/f"), b"x");
    }
    let all: Vec<_> = (0..1000).map(|i| s.walk(&format!("/d{i}/sub")).unwrap()).collect();
    assert!(s.fs.dirs.len() <= DIR_HANDLES);
    assert!(all.iter().all(|d| d.find(b"f").is_ok()));
    assert!(s.fs.dirs.len() <= DIR_HANDLES);
    // The host moved a directory away: what was below cannot be reached by its names any more.
    s.fs.dirs.shrink(0);
    let out = s.outside("/");
    out.rename_at(b"d0", &*out, b"elsewhere", 0).unwrap();
    assert_eq!(all[0].find(b"f").err(), Some(errno::ENOENT));
    assert!(all[1].find(b"f").is_ok());
    assert!(s.walk("/elsewhere/sub/f").is_ok());
}

#[test]
fn deep_trees_can_be_walked_and_let_go() {
    let s = setup();
    let mut at = as_inode(&s.root);
    for _ in 0..3000 {
        at = downcast(&at).mkdir(b"d", 0o700, (0, 0)).unwrap();
    }
    s.fs.dirs.shrink(0);
    downcast(&at).create(b"f", 0o600, (0, 0)).unwrap();
    assert!(s.fs.dirs.len() <= DIR_HANDLES);
    drop(at);
    assert!(lock(&s.fs.inodes).len() <= 2 + 3000);
    lock(&s.fs.stash).take();
    assert_eq!(lock(&s.fs.inodes).len(), 1, "only the root is held");
}

#[test]
fn append_only_trees_lose_nothing() {
    let s = mounted(Options { append: true, shown: "/srv".into(), ..Options::default() });
    s.tree.add_file("/f", b"one");
    let inode = as_inode(&s.walk("/f").unwrap());
    assert_eq!(s.root.unlink(b"f", &inode).err(), Some(errno::EPERM));
    inode.set_attr(&AttrChange { size: Some(0), ..AttrChange::default() }).unwrap();
    let f = s.open("/f", OpenFlags::RDWR).unwrap();
    assert_eq!(f.write_at(&mut BufSource(b"two"), 0, OpenFlags::RDWR), Ok(3));
    assert_eq!(read(&f, 0, 10), b"onetwo");
    assert_eq!(s.fs.options(), "/srv,append");
}

#[test]
fn permission_is_the_hosts() {
    let s = setup();
    let ino = s.tree.add_file("/f", b"");
    let f = s.walk("/f").unwrap();
    let root = Cred::root();
    f.permission(&root, 7).unwrap();
    s.outside("/").set_attr_at(b"f", &hal::SetAttr { mode: Some(0o400), ..Default::default() }).unwrap();
    s.pass_time();
    // As a walk does.
    assert!(s.root.revalidate(b"f", Some(&as_inode(&f))));
    f.permission(&root, 4).unwrap();
    assert_eq!(f.permission(&root, 2), Err(errno::EACCES), "even for the guest's root");
    s.tree.set_xattr(ino, b"user.note", b"1");
    s.tree.set_xattr(ino, b"system.posix_acl_access", b"2");
    assert_eq!(XattrOps::list(&*f).unwrap(), [b"user.note"]);
    assert_eq!(f.get(b"user.note").unwrap(), b"1");
    assert_eq!(f.get(b"system.posix_acl_access"), Err(errno::EOPNOTSUPP));
    assert_eq!(f.set(b"user.note", b"", 0), Err(errno::EOPNOTSUPP));
}

#[test]
fn host_proc_is_shown_empty() {
    let s = setup();
    let proc = s.tree.add_dir("/proc");
    s.tree.add_file("/proc/self/mem", b"secret");
    s.tree.set_filesystem(proc, 9, PROC_MAGIC);
    let dir = s.walk("/proc").unwrap();
    assert_eq!(dir.find(b"self").err(), Some(errno::ENOENT));
    assert_eq!(names(&dir, 10), [".", ".."]);
    assert_eq!(dir.create(b"x", 0o600, (0, 0)).err(), Some(errno::EPERM));
    // The same when the tree itself begins there.
    let root = s.host.open_path(b"/proc", 0).unwrap();
    let fs = HostFs::new(Arc::new(s.host.clone()), 78, root, Options::default()).unwrap();
    assert_eq!(fs.root_inode().unwrap().find(b"self").err(), Some(errno::ENOENT));
}

#[test]
fn other_host_filesystems_have_their_own_inode_numbers() {
    let s = setup();
    let a = s.tree.add_dir("/a");
    let f = s.tree.add_file("/f", b"");
    s.tree.set_filesystem(a, 5, 0xef53);
    assert_eq!(s.walk("/f").unwrap().ino(), f);
    assert_ne!(s.walk("/a").unwrap().ino(), a);
}

#[test]
fn start_directory_stays_in_the_jail() {
    let s = setup();
    s.tree.add_file("/srv/j/etc/mine", b"");
    s.tree.add_file("/etc/shadow", b"");
    s.tree.add_link("/srv/j/abs", "/etc");
    s.tree.add_link("/srv/j/up", "../../etc");
    s.tree.add_link("/srv/j/loop", "loop");
    s.tree.add_file("/srv/j/file", b"");
    let jail = || s.host.open_path(b"/srv/j", 0).unwrap();
    for path in ["/etc", "/../../../etc", "/abs", "/up", "//./abs/../etc/"] {
        let dir = resolve::beneath(jail(), path.as_bytes()).unwrap();
        assert!(dir.stat_at(b"mine").is_ok(), "{path}");
        assert!(dir.stat_at(b"shadow").is_err(), "{path}");
    }
    let fails = |path: &str| resolve::beneath(jail(), path.as_bytes()).err();
    assert_eq!(fails("/loop"), Some(errno::ELOOP));
    assert_eq!(fails("/file"), Some(errno::ENOTDIR));
    assert_eq!(fails("/none"), Some(errno::ENOENT));
    assert_eq!(fails(&"/etc/..".repeat(1000)), Some(errno::ENAMETOOLONG));
}

#[test]
fn mount_options() {
    let parsed = |o: &str| {
        let (path, options) = parse_options(o.as_bytes(), false);
        (String::from_utf8(path).unwrap(), options)
    };
    let plain = |shown: &str| Options { shown: shown.into(), ..Options::default() };
    assert_eq!(parsed(""), (String::new(), plain("")));
    assert_eq!(parsed("tmp/x"), ("/tmp/x".into(), plain("/tmp/x")));
    assert_eq!(parsed("hostfs=/a"), ("/a".into(), plain("/a")));
    assert_eq!(parsed("/a,b"), ("/a,b".into(), plain("/a,b")));
    let both = Options { append: true, immutable: true, shown: "/a".into() };
    assert_eq!(parsed("append,/a,immutable"), ("/a".into(), both));
}
