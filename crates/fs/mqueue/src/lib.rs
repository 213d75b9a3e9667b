//! mqueue: the names of POSIX message queues (mq_overview(7)). The queues themselves are the kernel's
//! ([`kernel::ipc::mqueue`]); an instance shows those of the IPC namespace it was mounted in.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use abi::{Errno, FileType, OpenFlags, Timespec, errno};
use kernel::{
    Machine, Result,
    ipc::{
        IpcNs,
        mqueue::{FILE_SIZE, Queue, QueueFile},
    },
    locks,
    registry::{FsType, Registry},
    task::{Task, TaskCx},
    vfs::{
        file::FileOps,
        inode::{Attr, AttrChange, FileSystem},
        pseudo::{Entry, Pseudo, Tree},
    },
};
use ksync::Mutex;

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
        let queues = Queues {
            ns: Arc::downgrade(&ns),
            dir: Mutex::new(locks::LEAF, DirMeta { mode: 0o1777, uid: 0, gid: 0, time: now }),
        };
        Ok(Pseudo::new(machine.new_dev(), queues))
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

/// The queues of a namespace, as files of one directory.
struct Queues {
    /// Weak: the namespace holds an instance itself.
    ns: Weak<IpcNs>,
    dir: Mutex<DirMeta>,
}

impl Queues {
    fn ns(&self) -> Result<Arc<IpcNs>> {
        self.ns.upgrade().ok_or(errno::ENODEV)
    }
}

impl Tree for Queues {
    /// A queue, or the directory.
    type Place = Option<Arc<Queue>>;
    const NAME: &'static str = "mqueue";
    const MAGIC: u64 = 0x1980_0202;
    const VOLATILE: bool = true;
    // Making one by open(2) has no task to charge it to; mq_open(3) does.
    const NO_CREATE: Errno = errno::EACCES;

    fn root(&self) -> Option<Arc<Queue>> {
        None
    }
    fn ino(&self, queue: &Option<Arc<Queue>>) -> u64 {
        queue.as_ref().map_or(ROOT_INO, |q| q.ino)
    }
    fn kind(&self, queue: &Option<Arc<Queue>>) -> FileType {
        if queue.is_some() { FileType::Regular } else { FileType::Directory }
    }
    fn attr(&self, queue: &Option<Arc<Queue>>) -> Result<Attr> {
        Ok(match queue {
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
                    ..Attr::default()
                }
            }
            None => {
                let m = *self.dir.lock();
                Attr {
                    mode: abi::fs::S_IFDIR | m.mode,
                    nlink: 2,
                    uid: m.uid,
                    gid: m.gid,
                    size: self.ns()?.mqueue.list().len() as u64 * 20,
                    atime: m.time,
                    mtime: m.time,
                    ctime: m.time,
                    btime: m.time,
                    ..Attr::default()
                }
            }
        })
    }
    fn set_attr(&self, queue: &Option<Arc<Queue>>, c: &AttrChange) -> Result<()> {
        match queue {
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
                let mut m = self.dir.lock();
                m.mode = c.mode.map_or(m.mode, |v| v & 0o7777);
                m.uid = c.uid.unwrap_or(m.uid);
                m.gid = c.gid.unwrap_or(m.gid);
                m.time = c.mtime.unwrap_or(m.time);
            }
        }
        Ok(())
    }
    fn lookup(&self, _: &Option<Arc<Queue>>, name: &[u8], _: &Task) -> Result<Option<Arc<Queue>>> {
        self.ns()?.mqueue.find(name).map(Some).ok_or(errno::ENOENT)
    }
    fn stands_for(&self, _: &Self::Place, name: &[u8], known: Option<&Self::Place>) -> bool {
        let now = self.ns().ok().and_then(|ns| ns.mqueue.find(name));
        now.map(|q| q.ino) == known.and_then(Option::as_ref).map(|q| q.ino)
    }
    fn entries(&self, _: &Option<Arc<Queue>>, _: &Task) -> Result<Vec<Entry>> {
        // Positions are inode numbers, which only grow: no queue is listed twice or left out when others go.
        let mut queues = self.ns()?.mqueue.list();
        queues.sort_by_key(|q| q.1);
        let entry = |(name, ino)| Entry { name, ino, kind: FileType::Regular, next: ino + 1 };
        Ok(queues.into_iter().map(entry).collect())
    }
    fn unlink(&self, _: &Option<Arc<Queue>>, name: &[u8]) -> Result<()> {
        self.ns()?.mqueue.remove(name)
    }
    fn open(
        &self,
        _: Arc<Pseudo<Self>>,
        queue: &Option<Arc<Queue>>,
        _: OpenFlags,
        _: &Task,
    ) -> Result<Arc<dyn FileOps>> {
        let queue = queue.clone().ok_or(errno::EISDIR)?;
        Ok(Arc::new(QueueFile(queue)))
    }
}
