//! The overlay of a host tree and a tmpfs behind the kernel's path walks, on a host in memory.
#![forbid(unsafe_code)]

use std::sync::Arc;

use abi::{
    OpenFlags, errno,
    fs::{AT_FDCWD, RENAME_EXCHANGE},
};
use fs_hostfs::{HostFs, Options};
use fs_overlay::Overlay;
use fs_tmpfs::TmpFs;
use hal::mock::{MockHost, Tree};
use kernel::{
    Machine, MachineConfig, MachineParts, Result,
    io::{BufSink, BufSource},
    registry::Registry,
    signal::{SignalActions, TaskSignals},
    task::{
        Cred, FsContext, Process, Task, TaskCx, TaskParts,
        run::{Dispatch, Restart},
    },
    vfs::{
        self, LookupFlags,
        fdtable::FdTable,
        file::File,
        inode::{Attr, Link},
        rw,
    },
};

struct NoCalls;

impl Dispatch for NoCalls {
    fn call(&self, _cx: &mut TaskCx, _nr: u64, _args: [u64; 6]) -> Result<u64> {
        Err(errno::ENOSYS)
    }
    fn restart_policy(&self, _nr: u64) -> Restart {
        Restart::Always
    }
    fn name(&self, _nr: u64) -> &'static str {
        "none"
    }
}

struct Guest {
    tree: Arc<Tree>,
    task: Arc<Task>,
    overlay: Arc<Overlay>,
}

fn guest(fill: impl Fn(&Arc<Tree>)) -> Guest {
    let host = MockHost::new();
    let tree = host.tree();
    fill(&tree);
    let config = MachineConfig {
        memory: 1 << 26,
        cpus: 1,
        hostname: "test".into(),
        cmdline: String::new(),
        no_reboot: false,
    };
    let mut registry = Registry::default();
    fs_tmpfs::register(&mut registry);
    fs_overlay::register(&mut registry);
    let parts = MachineParts { host: Arc::new(host.clone()), config, dispatch: Arc::new(NoCalls), registry };
    let machine = Machine::new(parts);
    let lower = HostFs::open(&machine, b"/", Options::default()).unwrap();
    let upper = TmpFs::new(&machine, Default::default());
    let overlay = Overlay::new(&machine, lower, upper).unwrap();
    let mounts = machine.vfs.set_root(overlay.clone(), "none", 0);
    let root = mounts.root();
    let actions = SignalActions::new([Default::default(); 64]);
    let limits = [(u64::MAX, u64::MAX); kernel::task::process::RLIMIT_COUNT];
    let task = Task::new(TaskParts {
        tid: 1,
        process: Process::new(1, actions, limits, None, 0),
        machine: machine.clone(),
        comm: b"test".to_vec(),
        mm: None,
        files: Arc::new(FdTable::default()),
        fs: FsContext::new(root.clone(), root, 0o022, mounts),
        cred: Arc::new(Cred::root()),
        signals: TaskSignals::default(),
        sched: Default::default(),
        exit_signal: 0,
    });
    machine.tree.lock().tasks.insert(1, task.clone());
    Guest { tree, task, overlay }
}

const NEW: OpenFlags = OpenFlags::RDWR.union(OpenFlags::CREAT);

impl Guest {
    fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<File>> {
        vfs::open(&self.task, AT_FDCWD, path.as_bytes(), flags, 0o666)
    }
    fn read(&self, path: &str) -> Result<String> {
        let f = self.open(path, OpenFlags::empty())?;
        self.read_file(&f)
    }
    fn read_file(&self, f: &File) -> Result<String> {
        let mut buf = vec![0; 1 << 16];
        let n = rw::pread(&self.task, f, &mut BufSink::new(&mut buf), 0)?;
        Ok(String::from_utf8_lossy(&buf[..n]).into_owned())
    }
    fn write(&self, path: &str, flags: OpenFlags, data: &str) -> Result<()> {
        let f = self.open(path, flags)?;
        assert_eq!(rw::write(&self.task, &f, &mut BufSource(data.as_bytes()))?, data.len());
        Ok(())
    }
    fn attr(&self, path: &str) -> Result<Attr> {
        let at = vfs::resolve(&self.task, AT_FDCWD, path.as_bytes(), LookupFlags::empty())?;
        at.inode()?.attr()
    }
    fn list(&self, path: &str) -> Vec<String> {
        let f = self.open(path, OpenFlags::DIRECTORY).unwrap();
        let (mut names, mut pos) = (Vec::new(), 0);
        // One entry at a time: positions must lead on.
        loop {
            let mut got = None;
            let next = f.ops.read_dir(&f, &self.task, pos, &mut |name, ino, _, _| {
                if got.is_some() {
                    return false;
                }
                got = Some((String::from_utf8_lossy(name).into_owned(), ino));
                true
            });
            pos = next.unwrap();
            let Some((name, ino)) = got else { break };
            if name != "." && name != ".." {
                let at = format!("{path}/{name}");
                assert_eq!(self.attr(&at).map(|a| a.ino), Ok(ino), "inode number of {at}");
                names.push(name);
            }
        }
        names.sort();
        names
    }
    fn unlink(&self, path: &str) -> Result<()> {
        vfs::unlink(&self.task, AT_FDCWD, path.as_bytes())
    }
    fn rmdir(&self, path: &str) -> Result<()> {
        vfs::rmdir(&self.task, AT_FDCWD, path.as_bytes())
    }
    fn mkdir(&self, path: &str) -> Result<()> {
        vfs::mkdir(&self.task, AT_FDCWD, path.as_bytes(), 0o777).map(drop)
    }
    fn mv(&self, from: &str, to: &str) -> Result<()> {
        vfs::rename(&self.task, AT_FDCWD, from.as_bytes(), AT_FDCWD, to.as_bytes(), 0)
    }
    fn link(&self, from: &str, to: &str) -> Result<()> {
        vfs::link(&self.task, AT_FDCWD, from.as_bytes(), AT_FDCWD, to.as_bytes(), 0)
    }
    fn chmod(&self, path: &str, mode: u32) -> Result<()> {
        let at = vfs::resolve(&self.task, AT_FDCWD, path.as_bytes(), LookupFlags::FOLLOW)?;
        vfs::attr::chmod(&self.task, &at, mode)
    }
    /// Names in the upper tree, whiteouts marked.
    fn upper(&self, path: &str) -> Vec<String> {
        let mut at = self.overlay.upper_root().unwrap();
        for name in path.split('/').filter(|n| !n.is_empty()) {
            at = at.dir().unwrap().lookup(name.as_bytes(), &self.task).unwrap();
        }
        let ops = at.clone().open(OpenFlags::DIRECTORY, &self.task).unwrap();
        let f = self.open("/", OpenFlags::DIRECTORY).unwrap();
        let mut names = Vec::new();
        ops.read_dir(&f, &self.task, 0, &mut |name, _, kind, _| {
            if name != b"." && name != b".." {
                let mark = if kind == abi::fs::DT_CHR { "!" } else { "" };
                names.push(format!("{mark}{}", String::from_utf8_lossy(name)));
            }
            true
        })
        .unwrap();
        names.sort();
        names
    }
}

#[test]
fn writing_copies_up_and_leaves_the_host_alone() {
    let g = guest(|t| {
        t.add_file("/etc/conf", b"old text");
    });
    let before = g.attr("/etc/conf").unwrap();
    let reader = g.open("/etc/conf", OpenFlags::empty()).unwrap();
    assert_eq!(g.read_file(&reader).unwrap(), "old text");
    assert!(g.upper("/").is_empty(), "reading copies nothing");
    g.write("/etc/conf", OpenFlags::WRONLY, "NEW").unwrap();
    assert_eq!(g.read("/etc/conf").unwrap(), "NEW text");
    assert_eq!(g.read_file(&reader).unwrap(), "NEW text", "one who had it open sees the change");
    let after = g.attr("/etc/conf").unwrap();
    assert_eq!((after.ino, after.dev, after.nlink), (before.ino, before.dev, 1));
    assert_eq!(g.upper("/etc"), ["conf"]);
    let f = g.tree.root();
    let etc = hal::HostFile::open_at(&*f, b"etc", 0, 0).unwrap();
    let mut buf = [0; 8];
    etc.open_at(b"conf", 0, 0).unwrap().pread(0, &mut buf).unwrap();
    assert_eq!(&buf, b"old text");
}

#[test]
fn attributes_are_copied_without_data() {
    let g = guest(|t| {
        t.add_file("/big", &[b'x'; 10_000]);
    });
    let (size, ino) = (g.attr("/big").unwrap().size, g.attr("/big").unwrap().ino);
    g.chmod("/big", 0o4711).unwrap();
    let a = g.attr("/big").unwrap();
    assert_eq!((a.mode, a.size, a.ino, a.nlink), (0o104_711, size, ino, 1));
    assert_eq!(g.read("/big").unwrap().len(), 10_000);
    let f = g.open("/big", OpenFlags::RDWR).unwrap();
    assert_eq!(rw::pwrite(&g.task, &f, &mut BufSource(b"yy"), 9_999, rw::Append::AsOpened), Ok(2));
    assert_eq!(g.attr("/big").unwrap().size, 10_001);
    assert!(g.read("/big").unwrap().ends_with("xyy"));
}

#[test]
fn removed_names_stay_removed_and_can_come_back() {
    let g = guest(|t| {
        t.add_file("/d/a", b"a");
        t.add_file("/d/b", b"b");
        t.add_file("/d/sub/c", b"c");
    });
    g.unlink("/d/a").unwrap();
    assert_eq!(g.attr("/d/a").err(), Some(errno::ENOENT));
    assert_eq!(g.unlink("/d/a"), Err(errno::ENOENT));
    assert_eq!(g.list("/d"), ["b", "sub"]);
    assert_eq!(g.upper("/d"), ["!a"]);
    assert_eq!(g.rmdir("/d/sub"), Err(errno::ENOTEMPTY));
    g.unlink("/d/sub/c").unwrap();
    g.rmdir("/d/sub").unwrap();
    assert_eq!(g.list("/d"), ["b"]);
    g.mkdir("/d/sub").unwrap();
    assert!(g.list("/d/sub").is_empty(), "a new directory shows nothing of the old one");
    g.write("/d/a", NEW, "again").unwrap();
    assert_eq!(g.read("/d/a").unwrap(), "again");
    assert_eq!(g.list("/d"), ["a", "b", "sub"]);
    g.unlink("/d/a").unwrap();
    assert_eq!(g.attr("/d/a").err(), Some(errno::ENOENT));
    g.unlink("/d/b").unwrap();
    g.rmdir("/d/sub").unwrap();
    g.rmdir("/d").unwrap();
    assert_eq!(g.attr("/d").err(), Some(errno::ENOENT));
}

#[test]
fn directories_move_with_all_that_is_below() {
    let g = guest(|t| {
        t.add_file("/src/deep/er/f", b"one");
        t.add_file("/src/g", b"two");
        t.add_dir("/dst");
    });
    let ino = g.attr("/src/deep/er/f").unwrap().ino;
    g.mv("/src", "/dst/moved").unwrap();
    assert_eq!(g.attr("/src").err(), Some(errno::ENOENT));
    assert_eq!(g.read("/dst/moved/deep/er/f").unwrap(), "one");
    assert_eq!(g.attr("/dst/moved/deep/er/f").unwrap().ino, ino);
    assert_eq!(g.list("/dst/moved"), ["deep", "g"]);
    g.write("/dst/moved/deep/er/f", OpenFlags::WRONLY, "ONE").unwrap();
    assert_eq!(g.read("/dst/moved/deep/er/f").unwrap(), "ONE");
    g.mv("/dst/moved/deep", "/up").unwrap();
    assert_eq!(g.read("/up/er/f").unwrap(), "ONE");
    assert_eq!(g.list("/dst/moved"), ["g"]);
    // The old name is free again, and nothing shows through.
    g.mkdir("/src").unwrap();
    assert!(g.list("/src").is_empty());
    g.mv("/src", "/dst/moved/deep").unwrap();
    assert!(g.list("/dst/moved/deep").is_empty());
}

#[test]
fn files_replace_each_other() {
    let g = guest(|t| {
        t.add_file("/a", b"lower a");
        t.add_file("/b", b"lower b");
        t.add_dir("/d");
    });
    g.mv("/a", "/b").unwrap();
    assert_eq!(g.read("/b").unwrap(), "lower a");
    assert_eq!(g.list("/"), ["b", "d"]);
    g.write("/c", NEW, "upper").unwrap();
    g.mv("/c", "/b").unwrap();
    assert_eq!(g.read("/b").unwrap(), "upper");
    assert_eq!(g.mv("/b", "/d"), Err(errno::EISDIR));
    assert_eq!(g.mv("/d", "/b"), Err(errno::ENOTDIR));
    g.write("/e", NEW, "e").unwrap();
    vfs::rename(&g.task, AT_FDCWD, b"/e", AT_FDCWD, b"/d", RENAME_EXCHANGE).unwrap();
    assert_eq!(g.read("/d").unwrap(), "e");
    assert!(g.list("/e").is_empty());
}

#[test]
fn hard_links_stay_one_file() {
    let g = guest(|t| {
        t.add_file("/x", b"text");
        let root = t.root();
        hal::HostFile::link_at(&*root, &*root, b"x", b"y").unwrap();
    });
    assert_eq!(g.attr("/x").unwrap().nlink, 2);
    g.write("/x", OpenFlags::WRONLY, "TE").unwrap();
    assert_eq!(g.read("/y").unwrap(), "TExt", "the other name sees the change");
    assert_eq!(g.attr("/y").unwrap().ino, g.attr("/x").unwrap().ino);
    assert_eq!(g.attr("/y").unwrap().nlink, 2);
    g.link("/y", "/z").unwrap();
    assert_eq!(g.attr("/z").unwrap().nlink, 3);
    g.unlink("/x").unwrap();
    assert_eq!(g.attr("/z").unwrap().nlink, 2);
    g.unlink("/y").unwrap();
    assert_eq!(g.attr("/z").unwrap().nlink, 1);
    assert_eq!(g.read("/z").unwrap(), "TExt");
    assert_eq!(g.list("/"), ["z"]);
}

#[test]
fn links_and_attributes_come_along() {
    let g = guest(|t| {
        t.add_link("/l", "target");
        let ino = t.add_file("/f", b"f");
        t.set_xattr(ino, b"user.note", b"hi");
    });
    let owner = |path: &str, uid| {
        let at = vfs::resolve(&g.task, AT_FDCWD, path.as_bytes(), LookupFlags::empty()).unwrap();
        vfs::attr::chown(&g.task, &at, Some(uid), None).unwrap();
    };
    owner("/l", 7);
    owner("/f", 8);
    assert_eq!((g.attr("/l").unwrap().uid, g.attr("/f").unwrap().uid), (7, 8));
    let at = vfs::resolve(&g.task, AT_FDCWD, b"/l", LookupFlags::empty()).unwrap();
    assert!(matches!(at.inode().unwrap().read_link(&g.task), Some(Ok(Link::Text(t))) if t == b"target"));
    let at = vfs::resolve(&g.task, AT_FDCWD, b"/f", LookupFlags::empty()).unwrap();
    let x = at.inode().unwrap().xattr().unwrap();
    assert_eq!(x.get(b"user.note").unwrap(), b"hi");
    assert_eq!(x.list().unwrap(), [b"user.note".to_vec()]);
    x.set(b"user.more", b"1", 0).unwrap();
    assert_eq!(x.set(b"trusted.overlay.opaque", b"y", 0), Err(errno::EOPNOTSUPP));
}

#[test]
fn truncating_open_copies_no_data_and_removed_files_live_on() {
    let g = guest(|t| {
        t.add_file("/t", b"long text");
    });
    g.write("/t", OpenFlags::WRONLY | OpenFlags::TRUNC, "x").unwrap();
    assert_eq!(g.read("/t").unwrap(), "x");
    let f = g.open("/t", OpenFlags::RDWR).unwrap();
    g.unlink("/t").unwrap();
    assert_eq!(rw::write(&g.task, &f, &mut BufSource(b"yz")), Ok(2));
    assert_eq!(g.read_file(&f).unwrap(), "yz");
    assert_eq!(f.path.inode().unwrap().attr().unwrap().nlink, 0);
    assert!(g.list("/").is_empty());
}
