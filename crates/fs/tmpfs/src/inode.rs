//! Inodes of tmpfs.

use std::{
    any::Any,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use abi::{
    FileType, OpenFlags, Timespec,
    errno::{EINVAL, EPERM},
    fs::{F_SEAL_EXEC, F_SEAL_SEAL, S_IALLUGO, S_IFMT},
};
use kernel::{
    Result, locks,
    mm::PageCache,
    task::Task,
    vfs::{
        file::FileOps,
        inode::{Attr, AttrChange, DirOps, FileSystem, Inode, InodeCommon, Link, XattrOps},
        permission,
    },
};
use ksync::Mutex;

use crate::{PAGE, Super, TmpFs, dir::Entries, xattr::Xattrs};

/// Attributes kept here; the rest follows from the contents.
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u32,
    pub(crate) atime: Timespec,
    pub(crate) mtime: Timespec,
    pub(crate) ctime: Timespec,
    btime: Timespec,
}

/// Contents of a regular file.
pub(crate) struct Data {
    pub(crate) cache: Arc<PageCache>,
    pub(crate) seals: AtomicU32,
    /// Bytes of pages that the instance's usage holds for this file; held over changes of the size and contents.
    pub(crate) counted: Mutex<u64>,
    /// Pages promised beyond the end (FALLOC_FL_KEEP_SIZE): first and last byte plus one; empty without. They exist as a
    /// count only, and turn into real ones when the file grows. Changed under `counted`.
    pub(crate) promised: [AtomicU64; 2],
}

impl Data {
    /// Bytes of pages in use, those promised included.
    pub(crate) fn used(&self) -> u64 {
        let [start, end] = self.promised();
        let real_end = self.cache.len().next_multiple_of(PAGE);
        self.cache.allocated() + end.saturating_sub(start.max(real_end))
    }

    pub(crate) fn promised(&self) -> [u64; 2] {
        [0, 1].map(|i| self.promised[i].load(Ordering::Relaxed))
    }

    pub(crate) fn promise(&self, start: u64, end: u64) {
        self.promised[0].store(start, Ordering::Relaxed);
        self.promised[1].store(end, Ordering::Relaxed);
    }
}

/// What kind of inode it is, with what that needs.
pub(crate) enum Node {
    File(Data),
    Dir(Mutex<Entries>),
    Link(Box<[u8]>),
    /// Device number; 0 for FIFOs and sockets.
    Special(u64),
}

/// A file, directory, link or node.
pub struct TmpInode {
    pub(crate) me: Weak<TmpInode>,
    pub(crate) sb: Arc<Super>,
    common: InodeCommon,
    ino: u64,
    kind: FileType,
    pub(crate) meta: Mutex<Meta>,
    pub(crate) node: Node,
    pub(crate) xattrs: Mutex<Xattrs>,
}

impl TmpInode {
    fn build(sb: &Arc<Super>, ino: u64, mode: u32, ids: (u32, u32), node: Node) -> Arc<TmpInode> {
        let now = sb.now();
        let kind = FileType::from_mode(mode).unwrap_or(FileType::Regular);
        let meta = Meta {
            mode: kind.mode() | mode & S_IALLUGO,
            uid: ids.0,
            gid: ids.1,
            nlink: if kind == FileType::Directory { 2 } else { 1 },
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        };
        Arc::new_cyclic(|me| TmpInode {
            me: me.clone(),
            sb: sb.clone(),
            common: InodeCommon::new(),
            ino,
            kind,
            meta: Mutex::new(locks::LEAF, meta),
            node,
            xattrs: Mutex::new(locks::LEAF, Xattrs::default()),
        })
    }

    pub(crate) fn new_root(sb: &Arc<Super>, ino: u64, mode: u32, uid: u32, gid: u32) -> Arc<TmpInode> {
        let node = Node::Dir(Mutex::new(locks::INODE, Entries::new(ino)));
        TmpInode::build(sb, ino, mode, (uid, gid), node)
    }

    /// A new inode of the kind that `mode` says. ENOSPC.
    pub(crate) fn new(
        sb: &Arc<Super>,
        parent: u64,
        mode: u32,
        rdev: u64,
        owner: (u32, u32),
    ) -> Result<Arc<TmpInode>> {
        let machine = sb.machine()?;
        sb.add_inode()?;
        let node = match mode & S_IFMT {
            abi::fs::S_IFREG => Node::File(Data {
                cache: PageCache::new(&machine),
                seals: AtomicU32::new(F_SEAL_SEAL),
                counted: Mutex::new(locks::INODE, 0),
                promised: Default::default(),
            }),
            abi::fs::S_IFDIR => Node::Dir(Mutex::new(locks::INODE, Entries::new(parent))),
            _ => Node::Special(rdev),
        };
        Ok(TmpInode::build(sb, machine.new_ino(), mode, owner, node))
    }

    pub(crate) fn new_link(sb: &Arc<Super>, target: &[u8], owner: (u32, u32)) -> Result<Arc<TmpInode>> {
        let machine = sb.machine()?;
        sb.add_inode()?;
        let node = Node::Link(target.into());
        Ok(TmpInode::build(sb, machine.new_ino(), abi::fs::S_IFLNK | 0o777, owner, node))
    }

    pub(crate) fn permissions(&self) -> u32 {
        self.meta.lock().mode & S_IALLUGO
    }

    /// The page cache of a regular file.
    pub fn cache(&self) -> Option<&Arc<PageCache>> {
        match &self.node {
            Node::File(d) => Some(&d.cache),
            _ => None,
        }
    }

    pub(crate) fn data(&self) -> Result<&Data> {
        match &self.node {
            Node::File(d) => Ok(d),
            _ => Err(EINVAL),
        }
    }

    /// Contents changed.
    pub(crate) fn touch_modified(&self, now: Timespec) {
        let mut m = self.meta.lock();
        m.mtime = now;
        m.ctime = now;
    }
    pub(crate) fn touch_changed(&self, now: Timespec) {
        self.meta.lock().ctime = now;
    }
    pub(crate) fn touch_accessed(&self, now: Timespec) {
        let mut m = self.meta.lock();
        if permission::relatime_due(m.atime, m.mtime, m.ctime, now) {
            m.atime = now;
        }
    }

    /// Adds to the count of names and sets the change time; the new count.
    pub(crate) fn change_links(&self, by: i32, now: Timespec) -> u32 {
        let mut m = self.meta.lock();
        m.nlink = m.nlink.saturating_add_signed(by);
        m.ctime = now;
        m.nlink
    }

    fn resize(&self, size: u64) -> Result<()> {
        let d = self.data()?;
        let mut counted = d.counted.lock();
        if size <= d.cache.len() {
            d.promise(0, 0);
        }
        d.cache.resize(size)?;
        self.recount(d, &mut counted);
        Ok(())
    }

    /// Brings the usage of the instance up to date.
    pub(crate) fn recount(&self, d: &Data, counted: &mut u64) {
        let now = d.used();
        if now != *counted {
            self.sb.recount(*counted, now);
            *counted = now;
        }
    }
}

impl Inode for TmpInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn common(&self) -> &InodeCommon {
        &self.common
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        TmpFs::of(&self.sb)
    }
    fn ino(&self) -> u64 {
        self.ino
    }
    fn kind(&self) -> FileType {
        self.kind
    }
    fn attr(&self) -> Result<Attr> {
        let (size, blocks, rdev) = match &self.node {
            Node::File(d) => (d.cache.len(), d.used() / 512, 0),
            Node::Dir(e) => (e.lock().len() as u64 * 20 + 40, 0, 0),
            Node::Link(t) => (t.len() as u64, 0, 0),
            Node::Special(rdev) => (0, 0, *rdev),
        };
        let m = self.meta.lock();
        Ok(Attr {
            dev: self.sb.dev,
            ino: self.ino,
            mode: m.mode,
            nlink: m.nlink,
            uid: m.uid,
            gid: m.gid,
            rdev,
            size,
            blocks,
            blksize: 4096,
            atime: m.atime,
            mtime: m.mtime,
            ctime: m.ctime,
            btime: m.btime,
        })
    }
    fn set_attr(&self, c: &AttrChange) -> Result<()> {
        if let (Some(mode), Node::File(d)) = (c.mode, &self.node)
            && sealed(d, F_SEAL_EXEC)
            && (mode ^ self.meta.lock().mode) & 0o111 != 0
        {
            return Err(EPERM);
        }
        if let Some(size) = c.size {
            self.resize(size)?;
        }
        let mut m = self.meta.lock();
        if let Some(mode) = c.mode {
            m.mode = m.mode & !S_IALLUGO | mode & S_IALLUGO;
        }
        m.uid = c.uid.unwrap_or(m.uid);
        m.gid = c.gid.unwrap_or(m.gid);
        m.atime = c.atime.unwrap_or(m.atime);
        m.mtime = c.mtime.unwrap_or(m.mtime);
        m.ctime = c.ctime.unwrap_or(m.ctime);
        Ok(())
    }
    fn owner_mode(&self) -> Result<(u32, u32, u32)> {
        let m = self.meta.lock();
        Ok((m.mode, m.uid, m.gid))
    }
    fn open(self: Arc<Self>, _flags: OpenFlags, _task: &Task) -> Result<Arc<dyn FileOps>> {
        // The inode is its own open file: there is nothing to keep per opening.
        Ok(self)
    }
    fn dir(&self) -> Option<&dyn DirOps> {
        match &self.node {
            Node::Dir(_) => Some(self),
            _ => None,
        }
    }
    fn read_link(&self, _task: &Task) -> Option<Result<Link>> {
        match &self.node {
            Node::Link(t) => Some(Ok(Link::Text(t.to_vec()))),
            _ => None,
        }
    }
    fn xattr(&self) -> Option<&dyn XattrOps> {
        Some(self)
    }
}

impl Drop for TmpInode {
    fn drop(&mut self) {
        let bytes = match &mut self.node {
            Node::File(d) => *d.counted.get_mut(),
            Node::Dir(e) => {
                // A tree may be as deep as the guest likes: no recursion.
                let mut stack = e.get_mut().take_all();
                while let Some(inode) = stack.pop() {
                    if let Some(mut i) = Arc::into_inner(inode)
                        && let Node::Dir(e) = &mut i.node
                    {
                        stack.extend(e.get_mut().take_all());
                    }
                }
                0
            }
            _ => 0,
        };
        self.sb.remove_inode(bytes);
    }
}

/// Seals of a file, for checks.
pub(crate) fn sealed(d: &Data, seals: u32) -> bool {
    d.seals.load(Ordering::SeqCst) & seals != 0
}
