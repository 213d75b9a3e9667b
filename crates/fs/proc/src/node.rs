//! Inodes: which place of the tree a node is, and how places are found and listed.

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use abi::{FileType, OpenFlags, errno};
use kernel::{
    Result,
    io::Sink,
    task::{Cred, Pid, Task},
    vfs::{
        file::{DirSink, File, FileOps},
        inode::{Attr, AttrChange, DirOps, FileSystem, Inode, InodeCommon, Link},
    },
};

use crate::{
    ProcFs, fd, memory, process, sysctl, system,
    text::TextFile,
    tree::{self, Place},
};

/// A place in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Root,
    /// A row of [`system::FILES`].
    System(usize),
    /// A directory of such rows.
    SystemDir {
        row: usize,
        depth: usize,
    },
    /// /proc/self, /proc/thread-self.
    SelfLink {
        thread: bool,
    },
    /// /proc/mounts.
    MountsLink,
    /// A directory or file of /proc/sys, by its row (directories: any row below, and the depth).
    SysDir {
        row: usize,
        depth: usize,
    },
    Sysctl(usize),
    /// /proc/PID, or /proc/PID/task/TID.
    Task {
        tid: Pid,
        thread: bool,
    },
    /// A row of [`process::FILES`].
    TaskFile {
        tid: Pid,
        row: usize,
    },
    /// /proc/PID/task.
    Threads(Pid),
    /// /proc/PID/fd and fdinfo.
    Fds {
        tid: Pid,
        info: bool,
    },
    Fd {
        tid: Pid,
        fd: i32,
        info: bool,
    },
    /// /proc/PID/map_files and its links.
    MapFiles(Pid),
    MapFile {
        tid: Pid,
        start: u64,
        end: u64,
    },
    /// exe, cwd, root.
    Place {
        tid: Pid,
        row: usize,
    },
    /// /proc/PID/ns and its links.
    NsDir(Pid),
    Ns {
        tid: Pid,
        row: usize,
    },
}

/// An inode.
pub(crate) struct Node {
    fs: Weak<ProcFs>,
    pub(crate) what: What,
    common: InodeCommon,
}

impl Node {
    pub(crate) fn new(fs: Weak<ProcFs>, what: What) -> Arc<Node> {
        Arc::new(Node { fs, what, common: InodeCommon::new() })
    }
    fn fs(&self) -> Result<Arc<ProcFs>> {
        self.fs.upgrade().ok_or(errno::ENODEV)
    }
    fn tid(&self) -> Option<Pid> {
        match self.what {
            What::Task { tid, .. }
            | What::TaskFile { tid, .. }
            | What::Threads(tid)
            | What::Fds { tid, .. }
            | What::Fd { tid, .. }
            | What::Place { tid, .. }
            | What::MapFiles(tid)
            | What::MapFile { tid, .. }
            | What::NsDir(tid)
            | What::Ns { tid, .. } => Some(tid),
            _ => None,
        }
    }
    fn mode(&self) -> u32 {
        use abi::fs::{S_IFDIR, S_IFLNK, S_IFREG};
        match self.what {
            What::Root
            | What::SystemDir { .. }
            | What::SysDir { .. }
            | What::Task { .. }
            | What::Threads(_) => S_IFDIR | 0o555,
            What::NsDir(_) => S_IFDIR | 0o511,
            What::MapFiles(_) => S_IFDIR | 0o500,
            What::MapFile { .. } => S_IFLNK | 0o600,
            What::Fds { info, .. } => S_IFDIR | if info { 0o555 } else { 0o500 },
            What::System(i) => S_IFREG | system::FILES[i].mode,
            What::Sysctl(i) => S_IFREG | sysctl::FILES[i].mode,
            What::TaskFile { row, .. } => S_IFREG | process::FILES[row].mode,
            What::Fd { info: true, .. } => S_IFREG | 0o444,
            What::Fd { info: false, .. } => S_IFLNK | 0o700,
            What::SelfLink { .. } | What::MountsLink | What::Place { .. } | What::Ns { .. } => {
                S_IFLNK | 0o777
            }
        }
    }
    /// Stable numbers: place and task give them.
    fn number(&self) -> u64 {
        let (a, b) = match self.what {
            What::Root => return 1,
            What::System(i) => (1, i as u64),
            What::SystemDir { row, depth } => (14, (row as u64) << 8 | depth as u64),
            What::SelfLink { thread } => (2, u64::from(thread)),
            What::MountsLink => (2, 2),
            What::SysDir { row, depth } => (3, (row as u64) << 8 | depth as u64),
            What::Sysctl(i) => (4, i as u64),
            What::Task { thread, .. } => (5, u64::from(thread)),
            What::TaskFile { row, .. } => (6, row as u64),
            What::Threads(_) => (7, 0),
            What::Fds { info, .. } => (8, u64::from(info)),
            What::Fd { fd, info, .. } => (if info { 9 } else { 10 }, fd as u64),
            What::Place { row, .. } => (11, row as u64),
            What::NsDir(_) => (12, 0),
            What::Ns { row, .. } => (13, row as u64),
            What::MapFiles(_) => (15, 0),
            What::MapFile { start, .. } => (16, start >> 12),
        };
        ((self.tid().unwrap_or(0) as u64) << 32) | (a << 24) | ((b & 0xff_ffff) + 2)
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
            None => unreachable!("an inode is held by its mounted filesystem"),
        }
    }
    fn ino(&self) -> u64 {
        self.number()
    }
    fn process(&self) -> Option<Pid> {
        match self.what {
            What::Task { tid, thread: false } => Some(tid),
            _ => None,
        }
    }
    fn kind(&self) -> FileType {
        FileType::from_mode(self.mode()).unwrap_or(FileType::Regular)
    }
    fn attr(&self) -> Result<Attr> {
        let fs = Node::fs(self)?;
        let (mut uid, mut gid) = (0, 0);
        let mut time = fs.boot;
        let mut nlink = 1;
        if let Some(tid) = self.tid() {
            let m = fs.machine()?;
            let owner = process::owner(&m, tid).ok_or(errno::ENOENT)?;
            (uid, gid, time) = (owner.uid, owner.gid, owner.start);
        }
        if self.kind() == FileType::Directory {
            nlink = 2;
        }
        Ok(Attr {
            dev: fs.dev,
            ino: self.number(),
            mode: self.mode(),
            nlink,
            uid,
            gid,
            blksize: 1024,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            ..Attr::default()
        })
    }
    fn set_attr(&self, c: &AttrChange) -> Result<()> {
        // A truncating open is fine (echo 1 > /proc/sys/...); nothing else can be changed.
        if c.mode.is_some() || c.uid.is_some() || c.gid.is_some() { Err(errno::EPERM) } else { Ok(()) }
    }
    fn open(self: Arc<Self>, _flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        let m = Node::fs(&self)?.machine()?;
        match self.what {
            What::System(i) => {
                let f = &system::FILES[i];
                let (make, store) = (f.make, f.store);
                Ok(TextFile::new(
                    Box::new(move |t| make(&t.machine)),
                    store.map(|s| Box::new(move |t: &Task, d: &[u8]| s(&t.machine, d)) as _),
                ))
            }
            What::Sysctl(i) => Ok(TextFile::new(
                Box::new(move |t| sysctl::read(i, t)),
                Some(Box::new(move |t, d| sysctl::write(i, t, d))),
            )),
            What::TaskFile { tid, row } => process::open(&m, tid, row, task),
            What::Fd { tid, fd, info: true } => {
                Ok(TextFile::new(Box::new(move |t| fd::info(&t.machine, tid, fd)), None))
            }
            _ if self.kind() == FileType::Directory => Ok(Arc::new(Listing { node: self })),
            _ => Err(errno::EINVAL),
        }
    }
    fn permission(&self, _: &Cred, mask: u32) -> Result<()> {
        // Capabilities do not make a setting that is only to be read one to be written.
        match self.what {
            What::Sysctl(i) if mask & abi::fs::W_OK != 0 && sysctl::FILES[i].mode & 0o222 == 0 => {
                Err(errno::EACCES)
            }
            _ => Ok(()),
        }
    }
    fn dir(&self) -> Option<&dyn DirOps> {
        if self.kind() == FileType::Directory { Some(self) } else { None }
    }
    fn read_link(&self, task: &Task) -> Option<Result<Link>> {
        if self.kind() != FileType::Symlink {
            return None;
        }
        let text = |s: String| Ok(Link::Text(s.into_bytes()));
        Some(match self.what {
            What::SelfLink { thread: false } => text(task.pid().to_string()),
            What::SelfLink { thread: true } => text(format!("{}/task/{}", task.pid(), task.tid())),
            What::MountsLink => text("self/mounts".into()),
            What::Place { tid, row } => {
                Node::fs(self).and_then(|f| f.machine()).and_then(|m| process::place(&m, tid, row, task))
            }
            What::Fd { tid, fd, .. } => {
                Node::fs(self).and_then(|f| f.machine()).and_then(|m| fd::link(&m, tid, fd))
            }
            What::MapFile { tid, start, .. } => Node::fs(self).and_then(|f| f.machine()).and_then(|m| {
                process::check_access(&m, tid, task)?;
                memory::file_at(&m, tid, start)
            }),
            What::Ns { row, .. } => {
                text(format!("{}:[{}]", process::NAMESPACES[row].0, process::NAMESPACES[row].1))
            }
            _ => Err(errno::EINVAL),
        })
    }
}

/// How a mapping is named in map_files.
fn range_name((start, end): (u64, u64)) -> String {
    format!("{start:x}-{end:x}")
}

fn system_place(p: Place) -> What {
    match p {
        Place::Row(i) => What::System(i),
        Place::Dir { row, depth } => What::SystemDir { row, depth },
    }
}

fn system_list(row: usize, depth: usize) -> impl Iterator<Item = (String, What)> {
    tree::list(&system::paths(), row, depth).into_iter().map(|(n, p)| (n.to_string(), system_place(p)))
}

fn parse_id(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let n: i32 = text.parse().ok()?;
    (n >= 0 && n.to_string() == text).then_some(n)
}

impl Node {
    /// What `name` is in this directory.
    fn find(&self, name: &[u8]) -> Option<What> {
        let m = Node::fs(self).ok()?.machine().ok()?;
        let row = |names: &mut dyn Iterator<Item = &'static str>| {
            names.collect::<Vec<_>>().into_iter().position(|n| n.as_bytes() == name)
        };
        match self.what {
            What::Root => match name {
                b"self" => Some(What::SelfLink { thread: false }),
                b"thread-self" => Some(What::SelfLink { thread: true }),
                b"mounts" => Some(What::MountsLink),
                b"sys" => Some(What::SysDir { row: 0, depth: 0 }),
                _ => match parse_id(name) {
                    Some(tid) => process::exists(&m, tid).then_some(What::Task { tid, thread: false }),
                    None => tree::find(&system::paths(), 0, 0, name).map(system_place),
                },
            },
            What::SystemDir { row, depth } => {
                tree::find(&system::paths(), row, depth, name).map(system_place)
            }
            What::SysDir { row, depth } => sysctl::find(row, depth, name),
            What::Task { tid, thread } => match name {
                b"task" if !thread => Some(What::Threads(tid)),
                b"fd" => Some(What::Fds { tid, info: false }),
                b"fdinfo" => Some(What::Fds { tid, info: true }),
                b"ns" => Some(What::NsDir(tid)),
                b"map_files" if !thread => Some(What::MapFiles(tid)),
                b"children" if !thread => None,
                _ => match process::PLACES.iter().position(|p| p.as_bytes() == name) {
                    Some(row) => Some(What::Place { tid, row }),
                    None => {
                        row(&mut process::FILES.iter().map(|f| f.name)).map(|row| What::TaskFile { tid, row })
                    }
                },
            },
            What::Threads(pid) => {
                let tid = parse_id(name)?;
                process::thread_ids(&m, pid).contains(&tid).then_some(What::Task { tid, thread: true })
            }
            What::Fds { tid, info } => {
                let n = parse_id(name)?;
                fd::numbers(&m, tid).contains(&n).then_some(What::Fd { tid, fd: n, info })
            }
            What::MapFiles(tid) => memory::file_ranges(&m, tid)
                .into_iter()
                .find(|r| range_name(*r).as_bytes() == name)
                .map(|(start, end)| What::MapFile { tid, start, end }),
            What::NsDir(tid) => {
                row(&mut process::NAMESPACES.iter().map(|n| n.0)).map(|row| What::Ns { tid, row })
            }
            _ => None,
        }
    }

    /// Names in this directory, in the order of listing.
    fn names(&self) -> Result<Vec<(String, What)>> {
        let m = Node::fs(self)?.machine()?;
        let mut out = Vec::new();
        match self.what {
            What::Root => {
                let fixed = [
                    ("self", What::SelfLink { thread: false }),
                    ("thread-self", What::SelfLink { thread: true }),
                    ("mounts", What::MountsLink),
                    ("sys", What::SysDir { row: 0, depth: 0 }),
                ];
                out.extend(fixed.map(|(n, w)| (n.to_string(), w)));
                out.extend(system_list(0, 0));
                out.extend(
                    process::ids(&m)
                        .into_iter()
                        .map(|tid| (tid.to_string(), What::Task { tid, thread: false })),
                );
            }
            What::SystemDir { row, depth } => out.extend(system_list(row, depth)),
            What::SysDir { row, depth } => out.extend(sysctl::list(row, depth)),
            What::Task { tid, thread } => {
                if !process::exists(&m, tid) {
                    return Err(errno::ENOENT);
                }
                if !thread {
                    out.push(("task".into(), What::Threads(tid)));
                }
                out.push(("fd".into(), What::Fds { tid, info: false }));
                out.push(("fdinfo".into(), What::Fds { tid, info: true }));
                out.push(("ns".into(), What::NsDir(tid)));
                if !thread {
                    out.push(("map_files".into(), What::MapFiles(tid)));
                }
                out.extend(
                    process::PLACES
                        .iter()
                        .enumerate()
                        .map(|(row, n)| (n.to_string(), What::Place { tid, row })),
                );
                out.extend(
                    process::FILES
                        .iter()
                        .enumerate()
                        .filter(|(_, f)| thread || f.name != "children")
                        .map(|(row, f)| (f.name.to_string(), What::TaskFile { tid, row })),
                );
            }
            What::Threads(pid) => out.extend(
                process::thread_ids(&m, pid)
                    .into_iter()
                    .map(|tid| (tid.to_string(), What::Task { tid, thread: true })),
            ),
            What::Fds { tid, info } => out.extend(
                fd::numbers(&m, tid).into_iter().map(|n| (n.to_string(), What::Fd { tid, fd: n, info })),
            ),
            What::MapFiles(tid) => out.extend(
                memory::file_ranges(&m, tid)
                    .into_iter()
                    .map(|(start, end)| (range_name((start, end)), What::MapFile { tid, start, end })),
            ),
            What::NsDir(tid) => out.extend(
                process::NAMESPACES
                    .iter()
                    .enumerate()
                    .map(|(row, n)| (n.0.to_string(), What::Ns { tid, row })),
            ),
            _ => return Err(errno::ENOTDIR),
        }
        Ok(out)
    }
}

impl DirOps for Node {
    fn lookup(&self, name: &[u8], _task: &Task) -> Result<Arc<dyn Inode>> {
        let what = self.find(name).ok_or(errno::ENOENT)?;
        Ok(Node::new(self.fs.clone(), what))
    }
    fn volatile(&self) -> bool {
        true
    }
    fn revalidate(&self, name: &[u8], inode: Option<&Arc<dyn Inode>>) -> bool {
        let cached = inode.and_then(|i| i.as_any().downcast_ref::<Node>()).map(|n| n.what);
        self.find(name) == cached
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

/// An open directory.
struct Listing {
    node: Arc<Node>,
}

/// Positions of tasks begin here: a task's place does not move when others come and go.
const TASKS: u64 = 1 << 32;

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
    fn read(&self, _: &File, _: &Task, _: &mut dyn Sink, _: u64) -> Result<usize> {
        Err(errno::EISDIR)
    }
    fn read_dir(&self, _: &File, _: &Task, pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        let dir = FileType::Directory.d_type();
        let ino = self.node.number();
        let mut at = pos;
        for (i, name) in [&b"."[..], b".."].into_iter().enumerate() {
            let next = i as u64 + 1;
            if at < next {
                if !sink(name, ino, dir, next) {
                    return Ok(at);
                }
                at = next;
            }
        }
        for (i, (name, what)) in self.node.names()?.into_iter().enumerate() {
            let place = match what {
                What::Task { tid, .. } => TASKS + tid as u64,
                What::Fd { fd, .. } => TASKS + fd as u64,
                _ => i as u64 + 2,
            };
            if place < at {
                continue;
            }
            let child = Node::new(self.node.fs.clone(), what);
            if !sink(name.as_bytes(), child.number(), child.kind().d_type(), place + 1) {
                return Ok(at);
            }
            at = place + 1;
        }
        Ok(at)
    }
}
