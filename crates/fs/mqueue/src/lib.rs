//! mqueue: the names of POSIX message queues (mq_overview(7)). The queues themselves are the kernel's
//! ([`kernel::ipc::mqueue`]); an instance shows those of the IPC namespace it was mounted in.
#![forbid(unsafe_code)]

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
};

use abi::{FileType, OpenFlags, Timespec, errno};
use kernel::{
    Machine, Result,
    io::Sink,
    ipc::{
        IpcNs,
        mqueue::{FILE_SIZE, Queue, QueueFile},
    },
    locks,
    registry::{FsType, Registry},
    task::{Task, TaskCx},
    vfs::{
        file::{DirSink, File, FileOps},
        inode::{Attr, AttrChange, DirOps, FileSystem, FsStats, Inode, InodeCommon},
    },
};
use ksync::Mutex;

/// f_type of mqueue (statfs(2)).
const MAGIC: u64 = 0x1980_0202;
const ROOT_INO: u64 = 1;

/// Adds the filesystem type to a machine.
pub fn register(r: &mut Registry) {
    r.filesystems.insert("mqueue", Arc::new(Type));
}

struct Type;

impl FsType for Type {
    fn name(&self) -> &'static str {
        "mqueue"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        if !options.is_empty() {
            return Err(errno::EINVAL);
        }
        let ns = task.map_or_else(|| machine.ipc.clone(), |cx| cx.task.ipc());
        let now = machine.clock.now();
        Ok(Arc::new_cyclic(|me| MqueueFs {
            me: me.clone(),
            ns: Arc::downgrade(&ns),
            dev: machine.new_dev(),
            root: OnceLock::new(),
            dir: Mutex::new(locks::LEAF, DirMeta { mode: 0o1777, uid: 0, gid: 0, time: now }),
            nodes: Mutex::new(locks::LEAF, BTreeMap::new()),
        }))
    }
}

/// Owner and mode of the directory.
#[derive(Clone, Copy)]
struct DirMeta {
    mode: u32,
    uid: u32,
    gid: u32,
    time: Timespec,
}

struct MqueueFs {
    me: Weak<MqueueFs>,
    /// Weak: the namespace holds an instance itself.
    ns: Weak<IpcNs>,
    dev: u64,
    root: OnceLock<Arc<Node>>,
    dir: Mutex<DirMeta>,
    /// Inodes handed out, so that one queue has one inode.
    nodes: Mutex<BTreeMap<u64, Weak<Node>>>,
}

impl MqueueFs {
    fn ns(&self) -> Result<Arc<IpcNs>> {
        self.ns.upgrade().ok_or(errno::ENODEV)
    }
    fn node(&self, queue: Option<Arc<Queue>>) -> Arc<Node> {
        Arc::new(Node { fs: self.me.clone(), queue, common: InodeCommon::new() })
    }
    fn node_of(&self, queue: Arc<Queue>) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(n) = nodes.get(&queue.ino).and_then(Weak::upgrade) {
            return n;
        }
        nodes.retain(|_, n| n.strong_count() > 0);
        let ino = queue.ino;
        let node = self.node(Some(queue));
        nodes.insert(ino, Arc::downgrade(&node));
        node
    }
}

impl FileSystem for MqueueFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "mqueue"
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.get_or_init(|| self.node(None)).clone()
    }
    fn stats(&self) -> Result<FsStats> {
        Ok(FsStats { magic: MAGIC, block_size: 4096, name_max: 255, ..FsStats::default() })
    }
}

/// The directory, or a queue.
struct Node {
    fs: Weak<MqueueFs>,
    queue: Option<Arc<Queue>>,
    common: InodeCommon,
}

impl Node {
    fn fs(&self) -> Result<Arc<MqueueFs>> {
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
            None => unreachable!("an inode is held by its mounted filesystem"),
        }
    }
    fn ino(&self) -> u64 {
        self.queue.as_ref().map_or(ROOT_INO, |q| q.ino)
    }
    fn kind(&self) -> FileType {
        if self.queue.is_some() { FileType::Regular } else { FileType::Directory }
    }
    fn attr(&self) -> Result<Attr> {
        let fs = Node::fs(self)?;
        let base = Attr { dev: fs.dev, ino: self.ino(), blksize: 4096, ..Attr::default() };
        Ok(match &self.queue {
            Some(q) => {
                let m = *q.meta.lock();
                Attr {
                    mode: abi::fs::S_IFREG | m.mode,
                    nlink: 1,
                    uid: m.uid,
                    gid: m.gid,
                    size: FILE_SIZE,
                    atime: m.atime,
                    mtime: m.mtime,
                    ctime: m.ctime,
                    btime: m.ctime,
                    ..base
                }
            }
            None => {
                let m = *fs.dir.lock();
                Attr {
                    mode: abi::fs::S_IFDIR | m.mode,
                    nlink: 2,
                    uid: m.uid,
                    gid: m.gid,
                    size: fs.ns()?.mqueue.list().len() as u64 * 20,
                    atime: m.time,
                    mtime: m.time,
                    ctime: m.time,
                    btime: m.time,
                    ..base
                }
            }
        })
    }
    fn set_attr(&self, c: &AttrChange) -> Result<()> {
        let fs = Node::fs(self)?;
        match &self.queue {
            Some(q) => {
                let mut m = q.meta.lock();
                m.mode = c.mode.map_or(m.mode, |v| v & 0o7777);
                m.uid = c.uid.unwrap_or(m.uid);
                m.gid = c.gid.unwrap_or(m.gid);
                m.atime = c.atime.unwrap_or(m.atime);
                m.mtime = c.mtime.unwrap_or(m.mtime);
                m.ctime = c.ctime.unwrap_or(m.ctime);
            }
            None => {
                let mut m = fs.dir.lock();
                m.mode = c.mode.map_or(m.mode, |v| v & 0o7777);
                m.uid = c.uid.unwrap_or(m.uid);
                m.gid = c.gid.unwrap_or(m.gid);
                m.time = c.mtime.unwrap_or(m.time);
            }
        }
        Ok(())
    }
    fn open(self: Arc<Self>, _flags: OpenFlags, _task: &Task) -> Result<Arc<dyn FileOps>> {
        Ok(match &self.queue {
            Some(q) => Arc::new(QueueFile(q.clone())),
            None => Arc::new(Listing { node: self }),
        })
    }
    fn dir(&self) -> Option<&dyn DirOps> {
        if self.queue.is_none() { Some(self) } else { None }
    }
}

impl DirOps for Node {
    fn lookup(&self, name: &[u8], _task: &Task) -> Result<Arc<dyn Inode>> {
        let fs = Node::fs(self)?;
        let queue = fs.ns()?.mqueue.find(name).ok_or(errno::ENOENT)?;
        Ok(fs.node_of(queue))
    }
    fn volatile(&self) -> bool {
        true
    }
    fn revalidate(&self, name: &[u8], inode: Option<&Arc<dyn Inode>>) -> bool {
        let Ok(ns) = Node::fs(self).and_then(|fs| fs.ns()) else { return false };
        ns.mqueue.find(name).map(|q| q.ino) == inode.map(|i| i.ino())
    }
    fn create(&self, _: &[u8], _: u32, _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        // Making one by open(2) has no task to charge it to; mq_open(3) does.
        Err(errno::EACCES)
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
    fn unlink(&self, name: &[u8], _: &Arc<dyn Inode>) -> Result<()> {
        Node::fs(self)?.ns()?.mqueue.remove(name)
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
    fn read(&self, _: &File, _: &Task, _: &mut dyn Sink, _: u64) -> Result<usize> {
        Err(errno::EISDIR)
    }
    fn read_dir(&self, _: &File, _: &Task, pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        // Positions are inode numbers, which only grow: no queue is listed twice or left out when others go.
        let (dir, file) = (FileType::Directory.d_type(), FileType::Regular.d_type());
        let mut at = pos;
        for (name, next) in [(&b"."[..], 1), (b"..", 2)] {
            if at < next {
                if !sink(name, ROOT_INO, dir, next) {
                    return Ok(at);
                }
                at = next;
            }
        }
        let mut queues = Node::fs(&self.node)?.ns()?.mqueue.list();
        queues.sort_by_key(|q| q.1);
        for (name, ino) in queues.into_iter().filter(|q| q.1 >= pos.max(2)) {
            if !sink(&name, ino, file, ino + 1) {
                return Ok(at);
            }
            at = ino + 1;
        }
        Ok(at)
    }
}
