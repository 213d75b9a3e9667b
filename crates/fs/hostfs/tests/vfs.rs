//! hostfs behind the kernel's path walks, on a host in memory.
#![forbid(unsafe_code)]

use std::sync::Arc;

use abi::{OpenFlags, errno, fs::AT_FDCWD};
use hal::{Host, HostFile, mock::MockHost};
use kernel::{
    Machine, MachineConfig, MachineParts, Result,
    io::{BufSink, BufSource},
    registry::Registry,
    signal::{SignalActions, TaskSignals},
    task::{
        Cred, FsContext, Process, Task, TaskCx, TaskParts,
        run::{Dispatch, Restart},
    },
    vfs::{self, LookupFlags, fdtable::FdTable, file::File},
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
    host: MockHost,
    task: Arc<Task>,
}

/// A machine whose root is the hostfs mount with these options, and a task of root in it.
fn guest(host: MockHost, options: &str) -> Guest {
    let config = MachineConfig {
        memory: 1 << 26,
        cpus: 1,
        hostname: "test".into(),
        cmdline: String::new(),
        no_reboot: false,
    };
    let mut registry = Registry::default();
    fs_hostfs::register(&mut registry, b"", false);
    let parts = MachineParts { host: Arc::new(host.clone()), config, dispatch: Arc::new(NoCalls), registry };
    let machine = Machine::new(parts);
    let ty = machine.registry.filesystems["hostfs"].clone();
    let fs = ty.mount(&machine, b"none", options.as_bytes(), false, None).unwrap();
    let mounts = machine.vfs.set_root(fs, "none", 0);
    let root = mounts.root();
    let actions = SignalActions::new([Default::default(); 64]);
    let limits = [(u64::MAX, u64::MAX); kernel::task::process::RLIMIT_COUNT];
    let task = Task::new(TaskParts {
        tid: 1,
        process: Process::new(1, actions, limits, None, 0),
        machine,
        comm: b"test".to_vec(),
        mm: None,
        files: Arc::new(FdTable::default()),
        fs: FsContext::new(root.clone(), root, 0o022, mounts),
        cred: Arc::new(Cred::root()),
        signals: TaskSignals::default(),
        sched: Default::default(),
        exit_signal: 0,
    });
    Guest { host, task }
}

impl Guest {
    fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<File>> {
        vfs::open(&self.task, AT_FDCWD, path.as_bytes(), flags, 0o666)
    }
    fn size(&self, path: &str) -> Result<u64> {
        let at = vfs::resolve(&self.task, AT_FDCWD, path.as_bytes(), LookupFlags::FOLLOW)?;
        Ok(at.inode()?.attr()?.size)
    }
    fn outside(&self, dir: &str) -> Arc<dyn HostFile> {
        self.host.open_path(dir.as_bytes(), 0).unwrap()
    }
}

fn write(g: &Guest, f: &File, pos: u64, data: &[u8]) -> Result<usize> {
    f.ops.write(f, &g.task, &mut BufSource(data), pos)
}

fn read(g: &Guest, f: &File) -> Vec<u8> {
    let mut buf = vec![0; 4096];
    let n = f.ops.read(f, &g.task, &mut BufSink::new(&mut buf), 0).unwrap();
    buf.truncate(n);
    buf
}

const NEW: OpenFlags = OpenFlags::RDWR.union(OpenFlags::CREAT);

#[test]
fn a_file_is_made_written_moved_and_removed() {
    let g = guest(MockHost::new(), "/");
    vfs::mkdir(&g.task, AT_FDCWD, b"/d", 0o777).unwrap();
    let f = g.open("/d/f", NEW).unwrap();
    assert_eq!(write(&g, &f, 0, b"hello"), Ok(5));
    assert_eq!(g.size("/d/f"), Ok(5));
    assert_eq!(g.outside("/d").stat_at(b"f").unwrap().mode, 0o100_644);
    vfs::rename(&g.task, AT_FDCWD, b"/d", AT_FDCWD, b"/e", 0).unwrap();
    assert_eq!(g.size("/d/f"), Err(errno::ENOENT));
    assert_eq!(read(&g, &g.open("/e/f", OpenFlags::empty()).unwrap()), b"hello");
    vfs::unlink(&g.task, AT_FDCWD, b"/e/f").unwrap();
    assert_eq!(read(&g, &f), b"hello", "still open");
    assert_eq!(g.size("/e/f"), Err(errno::ENOENT));
    let again = g.open("/e/f", NEW | OpenFlags::EXCL).unwrap();
    assert_eq!(read(&g, &again), b"");
    assert_eq!(write(&g, &again, 0, b"abc"), Ok(3));
    let cut = g.open("/e/f", OpenFlags::RDWR | OpenFlags::TRUNC).unwrap();
    assert_eq!((g.size("/e/f"), read(&g, &cut)), (Ok(0), Vec::new()));
    vfs::unlink(&g.task, AT_FDCWD, b"/e/f").unwrap();
    vfs::rmdir(&g.task, AT_FDCWD, b"/e").unwrap();
    let mut left = Vec::new();
    g.outside("/").read_dir(0, &mut left).unwrap();
    assert_eq!(left, []);
}

#[test]
fn links_are_walked_inside_the_mount() {
    let host = MockHost::new();
    host.tree().add_file("/srv/t/etc/name", b"inside");
    host.tree().add_link("/srv/t/abs", "/etc/name");
    host.tree().add_link("/srv/t/up", "../../../etc/name");
    host.tree().add_file("/etc/name", b"the host's own");
    let g = guest(host, "srv/t");
    for path in ["/abs", "/up", "/../../etc/name", "/etc/../../etc/name"] {
        assert_eq!(g.size(path), Ok(6), "{path}");
    }
}

#[test]
fn what_the_host_does_is_seen_in_time() {
    let g = guest(MockHost::new(), "/");
    assert_eq!(g.size("/new"), Err(errno::ENOENT));
    g.host.tree().add_file("/new", b"1");
    g.host.advance(std::time::Duration::from_nanos(fs_hostfs::ATTR_TTL_NS + 1));
    assert_eq!(g.size("/new"), Ok(1));
    g.outside("/").unlink_at(b"new", false).unwrap();
    g.host.tree().add_file("/new", b"another");
    g.host.advance(std::time::Duration::from_nanos(fs_hostfs::ATTR_TTL_NS + 1));
    assert_eq!(g.size("/new"), Ok(7));
    g.outside("/").unlink_at(b"new", false).unwrap();
    g.host.advance(std::time::Duration::from_nanos(fs_hostfs::ATTR_TTL_NS + 1));
    assert_eq!(g.size("/new"), Err(errno::ENOENT));
}

#[test]
fn hard_links_and_unnamed_files() {
    let g = guest(MockHost::new(), "/");
    let f = g.open("/a", NEW).unwrap();
    vfs::link(&g.task, AT_FDCWD, b"/a", AT_FDCWD, b"/b", 0).unwrap();
    vfs::unlink(&g.task, AT_FDCWD, b"/a").unwrap();
    assert_eq!(write(&g, &f, 0, b"xy"), Ok(2));
    assert_eq!(g.size("/b"), Ok(2));
    assert_eq!(g.size("/a"), Err(errno::ENOENT));
    // The host in memory has no O_TMPFILE; that must be said as Linux does.
    assert_eq!(g.open("/", OpenFlags::TMPFILE | OpenFlags::RDWR).err(), Some(errno::EOPNOTSUPP));
}
