//! devpts: the names of pty slaves, and the ptmx device (pts(4)).
//!
//! All instances of a machine show the same ptys: `ptmx` has no instance of its own yet (mount option `newinstance` is
//! accepted, as Linux accepts and ignores it).
#![forbid(unsafe_code)]

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use abi::{FileType, OpenFlags, Timespec, errno};
use kernel::{
    Machine, Result, locks,
    registry::{DeviceDriver, DeviceNode, FsType, Registry},
    task::{Task, TaskCx},
    tty::{
        TtyFile,
        pty::{PtyTable, SLAVE_MAJOR},
    },
    vfs::{
        file::{DirSink, File, FileOps},
        inode::{Attr, AttrChange, DirOps, FileSystem, FsStats, Inode, InodeCommon},
    },
};
use ksync::Mutex;

/// f_type of devpts (statfs(2)).
const MAGIC: u64 = 0x1cd1;
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
/// Inode number of pty 0.
const FIRST_INO: u64 = 3;
/// /dev/ptmx.
const PTMX_MAJOR: u32 = 5;
const PTMX_MINOR: u32 = 2;

/// What the filesystem and the devices share.
struct Shared {
    table: Arc<PtyTable>,
    state: Mutex<State>,
}

struct State {
    /// Ownership of each slave; entries of closed ptys are dropped lazily.
    meta: BTreeMap<u32, Meta>,
    gid: Option<u32>,
    mode: u32,
    ptmx_mode: u32,
    dev: u64,
}

#[derive(Clone, Copy)]
struct Meta {
    uid: u32,
    gid: u32,
    mode: u32,
    time: Timespec,
}

/// Adds the filesystem type and the devices to a machine.
pub fn register(r: &mut Registry) {
    let state = State { meta: BTreeMap::new(), gid: None, mode: 0o600, ptmx_mode: 0o666, dev: 0 };
    let shared =
        Arc::new(Shared { table: Arc::new(PtyTable::default()), state: Mutex::new(locks::LEAF, state) });
    r.filesystems.insert("devpts", Arc::new(Type { shared: shared.clone() }));
    let driver = Arc::new(Driver { shared });
    r.char_drivers.insert((PTMX_MAJOR, Some(PTMX_MINOR)), driver.clone());
    for major in SLAVE_MAJOR..SLAVE_MAJOR + 8 {
        r.char_drivers.insert((major, None), driver.clone());
    }
    let rdev = abi::makedev(PTMX_MAJOR, PTMX_MINOR);
    r.device_nodes.push(DeviceNode { name: "ptmx".into(), mode: abi::fs::S_IFCHR | 0o666, rdev });
}

struct Driver {
    shared: Arc<Shared>,
}

impl DeviceDriver for Driver {
    fn name(&self) -> &'static str {
        "pts"
    }
    fn open(&self, rdev: u64, _: &Arc<dyn Inode>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        if abi::major(rdev) == PTMX_MAJOR {
            let master = self.shared.table.open_master(&task.machine)?;
            let cred = task.cred();
            let mut s = self.shared.state.lock();
            let meta = Meta {
                uid: cred.fsuid,
                gid: s.gid.unwrap_or(cred.fsgid),
                mode: s.mode,
                time: task.machine.clock.now(),
            };
            s.meta.insert(master.index, meta);
            return Ok(master);
        }
        let index = (abi::major(rdev) - SLAVE_MAJOR) << 8 | abi::minor(rdev);
        TtyFile::open(self.shared.table.open_slave(index)?, flags, task)
    }
}

struct Type {
    shared: Arc<Shared>,
}

impl FsType for Type {
    fn name(&self) -> &'static str {
        "devpts"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        _task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        let text = std::str::from_utf8(options).map_err(|_| errno::EINVAL)?;
        let mut s = self.shared.state.lock();
        for opt in text.split(',').filter(|o| !o.is_empty()) {
            let number = |v: &str| v.parse::<u32>().map_err(|_| errno::EINVAL);
            let octal = |v: &str| u32::from_str_radix(v, 8).map_err(|_| errno::EINVAL);
            match opt.split_once('=') {
                Some(("gid", v)) => s.gid = Some(number(v)?),
                Some(("uid", v)) => {
                    number(v)?;
                }
                Some(("mode", v)) => s.mode = octal(v)? & 0o777,
                Some(("ptmxmode", v)) => s.ptmx_mode = octal(v)? & 0o777,
                Some(("max", v)) => {
                    number(v)?;
                }
                None if opt == "newinstance" => {}
                _ => return Err(errno::EINVAL),
            }
        }
        if s.dev == 0 {
            s.dev = machine.new_dev();
        }
        let dev = s.dev;
        drop(s);
        Ok(Arc::new_cyclic(|me| DevPts {
            me: me.clone(),
            shared: self.shared.clone(),
            dev,
            slaves: Mutex::new(locks::LEAF, BTreeMap::new()),
            root: std::sync::OnceLock::new(),
            boot: machine.clock.now(),
        }))
    }
}

struct DevPts {
    me: Weak<DevPts>,
    shared: Arc<Shared>,
    dev: u64,
    /// Inodes handed out, so that one pty has one inode.
    slaves: Mutex<BTreeMap<u32, Weak<Node>>>,
    root: std::sync::OnceLock<Arc<Node>>,
    boot: Timespec,
}

impl DevPts {
    fn node(&self, what: What) -> Arc<Node> {
        Arc::new(Node { fs: self.me.clone(), what, common: InodeCommon::new() })
    }
}

impl FileSystem for DevPts {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "devpts"
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.get_or_init(|| self.node(What::Root)).clone()
    }
    fn stats(&self) -> Result<FsStats> {
        Ok(FsStats { magic: MAGIC, block_size: 4096, name_max: 255, ..FsStats::default() })
    }
    fn options(&self) -> String {
        let s = self.shared.state.lock();
        let gid = s.gid.map_or(String::new(), |g| format!("gid={g},"));
        format!("{gid}mode={:03o},ptmxmode={:03o}", s.mode, s.ptmx_mode)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Root,
    Ptmx,
    Slave(u32),
}

struct Node {
    fs: Weak<DevPts>,
    what: What,
    common: InodeCommon,
}

impl Node {
    fn fs(&self) -> Result<Arc<DevPts>> {
        self.fs.upgrade().ok_or(errno::ENODEV)
    }
}

impl Inode for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn common(&self) -> &InodeCommon {
        &self.common
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        match self.fs.upgrade() {
            Some(fs) => fs,
            // An inode outlives its filesystem only inside a lazily unmounted tree, which keeps it.
            None => unreachable!("an inode is held by its mounted filesystem"),
        }
    }
    fn ino(&self) -> u64 {
        match self.what {
            What::Root => ROOT_INO,
            What::Ptmx => PTMX_INO,
            What::Slave(i) => FIRST_INO + u64::from(i),
        }
    }
    fn kind(&self) -> FileType {
        if self.what == What::Root { FileType::Directory } else { FileType::Char }
    }
    fn attr(&self) -> Result<Attr> {
        let fs = Node::fs(self)?;
        let s = fs.shared.state.lock();
        let meta = match self.what {
            What::Root => Meta { uid: 0, gid: 0, mode: abi::fs::S_IFDIR | 0o755, time: fs.boot },
            What::Ptmx => Meta { uid: 0, gid: 0, mode: abi::fs::S_IFCHR | s.ptmx_mode, time: fs.boot },
            What::Slave(i) => {
                let m = *s.meta.get(&i).ok_or(errno::ENOENT)?;
                Meta { mode: abi::fs::S_IFCHR | m.mode, ..m }
            }
        };
        let rdev = match self.what {
            What::Root => 0,
            What::Ptmx => abi::makedev(PTMX_MAJOR, PTMX_MINOR),
            What::Slave(i) => abi::makedev(SLAVE_MAJOR + (i >> 8), i & 0xff),
        };
        Ok(Attr {
            dev: fs.dev,
            ino: self.ino(),
            mode: meta.mode,
            nlink: if self.what == What::Root { 2 } else { 1 },
            uid: meta.uid,
            gid: meta.gid,
            rdev,
            blksize: 1024,
            atime: meta.time,
            mtime: meta.time,
            ctime: meta.time,
            btime: meta.time,
            ..Attr::default()
        })
    }
    fn set_attr(&self, c: &AttrChange) -> Result<()> {
        let fs = Node::fs(self)?;
        let mut s = fs.shared.state.lock();
        match self.what {
            What::Slave(i) => {
                let m = s.meta.get_mut(&i).ok_or(errno::ENOENT)?;
                m.mode = c.mode.map_or(m.mode, |v| v & 0o7777);
                m.uid = c.uid.unwrap_or(m.uid);
                m.gid = c.gid.unwrap_or(m.gid);
                m.time = c.mtime.unwrap_or(m.time);
                Ok(())
            }
            What::Ptmx => {
                s.ptmx_mode = c.mode.map_or(s.ptmx_mode, |v| v & 0o777);
                Ok(())
            }
            What::Root => Err(errno::EPERM),
        }
    }
    fn open(self: Arc<Self>, _flags: OpenFlags, _task: &Task) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(Listing { node: self }))
    }
    fn dir(&self) -> Option<&dyn DirOps> {
        if self.what == What::Root { Some(self) } else { None }
    }
}

impl DirOps for Node {
    fn lookup(&self, name: &[u8], _task: &Task) -> Result<Arc<dyn Inode>> {
        let fs = Node::fs(self)?;
        if name == b"ptmx" {
            return Ok(fs.node(What::Ptmx));
        }
        let text = std::str::from_utf8(name).map_err(|_| errno::ENOENT)?;
        let index: u32 = text.parse().map_err(|_| errno::ENOENT)?;
        if text != index.to_string() || !fs.shared.table.indexes().contains(&index) {
            return Err(errno::ENOENT);
        }
        let mut slaves = fs.slaves.lock();
        if let Some(n) = slaves.get(&index).and_then(Weak::upgrade) {
            return Ok(n);
        }
        let node = fs.node(What::Slave(index));
        slaves.insert(index, Arc::downgrade(&node));
        Ok(node)
    }
    fn volatile(&self) -> bool {
        true
    }
    fn revalidate(&self, name: &[u8], inode: Option<&Arc<dyn Inode>>) -> bool {
        let Ok(fs) = Node::fs(self) else { return false };
        let there = name == b"ptmx"
            || std::str::from_utf8(name)
                .ok()
                .and_then(|t| t.parse().ok())
                .is_some_and(|i: u32| fs.shared.table.indexes().contains(&i));
        there == inode.is_some()
    }
    fn create(&self, _: &[u8], _: u32, _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(errno::EPERM)
    }
    fn mkdir(&self, _: &[u8], _: u32, _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(errno::EPERM)
    }
    fn mknod(&self, _: &[u8], _: u32, _: u64, _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(errno::EPERM)
    }
    fn symlink(&self, _: &[u8], _: &[u8], _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(errno::EPERM)
    }
    fn link(&self, _: &[u8], _: &Arc<dyn Inode>) -> Result<()> {
        Err(errno::EPERM)
    }
    fn unlink(&self, _: &[u8], _: &Arc<dyn Inode>) -> Result<()> {
        Err(errno::EPERM)
    }
    fn rmdir(&self, _: &[u8], _: &Arc<dyn Inode>) -> Result<()> {
        Err(errno::EPERM)
    }
    fn rename(&self, _: &[u8], _: &Arc<dyn Inode>, _: &[u8], _: u32) -> Result<()> {
        Err(errno::EPERM)
    }
}

/// The open directory.
struct Listing {
    node: Arc<Node>,
}

impl FileOps for Listing {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn can_poll(&self) -> bool {
        false
    }
    fn size(&self) -> Result<u64> {
        Ok(0)
    }
    fn read(&self, _: &File, _: &Task, _: &mut dyn kernel::io::Sink, _: u64) -> Result<usize> {
        Err(errno::EISDIR)
    }
    fn read_dir(&self, _: &File, _: &Task, pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        // Positions are inode numbers, so that ptys that come and go move nobody's place; `.` and `..` come first.
        let (dir, chr) = (FileType::Directory.d_type(), FileType::Char.d_type());
        let fs = Node::fs(&self.node)?;
        let fixed = [(&b"."[..], ROOT_INO, dir, 1), (b"..", ROOT_INO, dir, 2), (b"ptmx", PTMX_INO, chr, 3)];
        let mut at = pos;
        for (name, ino, kind, next) in fixed {
            if at < next {
                if !sink(name, ino, kind, next) {
                    return Ok(at);
                }
                at = next;
            }
        }
        for i in fs.shared.table.indexes() {
            let ino = FIRST_INO + u64::from(i);
            if ino >= at {
                if !sink(i.to_string().as_bytes(), ino, chr, ino + 1) {
                    return Ok(at);
                }
                at = ino + 1;
            }
        }
        Ok(at)
    }
}
