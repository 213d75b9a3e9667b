//! Inodes and open files.

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use abi::{FileType, OpenFlags, errno};
use kernel::{
    Result,
    io::Sink,
    locks,
    task::Task,
    vfs::{
        file::{DirSink, File, FileOps},
        inode::{Attr, AttrChange, DirOps, FileSystem, Inode, InodeCommon, Link},
    },
};
use ksync::Mutex;

use crate::{SysFs, tree::Kind};

/// An entry of the tree.
pub(crate) struct Node {
    fs: Weak<SysFs>,
    number: usize,
    common: InodeCommon,
}

impl Node {
    pub(crate) fn new(fs: Weak<SysFs>, number: usize) -> Arc<Node> {
        Arc::new(Node { fs, number, common: InodeCommon::new() })
    }
    fn fs(&self) -> Result<Arc<SysFs>> {
        self.fs.upgrade().ok_or(errno::ENODEV)
    }
    fn kind_of(fs: &SysFs, number: usize) -> FileType {
        match fs.tree.get(number) {
            Some(Kind::Dir(_)) => FileType::Directory,
            Some(Kind::Link(_)) => FileType::Symlink,
            _ => FileType::Regular,
        }
    }
}

/// st_size of a file: what one read can give at most.
const FILE_SIZE: u64 = 4096;

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
        self.number as u64 + 1
    }
    fn kind(&self) -> FileType {
        self.fs.upgrade().map_or(FileType::Regular, |fs| Node::kind_of(&fs, self.number))
    }
    fn attr(&self) -> Result<Attr> {
        use abi::fs::{S_IFDIR, S_IFLNK, S_IFREG};
        let fs = Node::fs(self)?;
        let (mode, nlink, size) = match Node::kind_of(&fs, self.number) {
            FileType::Directory => (S_IFDIR | 0o755, 2, 0),
            FileType::Symlink => (S_IFLNK | 0o777, 1, 0),
            _ => (S_IFREG | 0o444, 1, FILE_SIZE),
        };
        Ok(Attr {
            dev: fs.dev,
            ino: self.ino(),
            mode,
            nlink,
            size,
            blksize: 4096,
            atime: fs.boot,
            mtime: fs.boot,
            ctime: fs.boot,
            btime: fs.boot,
            ..Attr::default()
        })
    }
    fn set_attr(&self, _: &AttrChange) -> Result<()> {
        Err(errno::EPERM)
    }
    fn open(self: Arc<Self>, _: OpenFlags, _: &Task) -> Result<Arc<dyn FileOps>> {
        match self.kind() {
            FileType::Directory => Ok(Arc::new(Listing { node: self })),
            _ => Ok(Arc::new(Text { node: self, text: Mutex::new(locks::LEAF, None) })),
        }
    }
    fn dir(&self) -> Option<&dyn DirOps> {
        if self.kind() == FileType::Directory { Some(self) } else { None }
    }
    fn read_link(&self, _: &Task) -> Option<Result<Link>> {
        let fs = self.fs.upgrade()?;
        match fs.tree.get(self.number) {
            Some(Kind::Link(target)) => Some(Ok(Link::Text(target.clone().into_bytes()))),
            _ => None,
        }
    }
}

impl DirOps for Node {
    fn lookup(&self, name: &[u8], _: &Task) -> Result<Arc<dyn Inode>> {
        let fs = Node::fs(self)?;
        let name = std::str::from_utf8(name).map_err(|_| errno::ENOENT)?;
        match fs.tree.get(self.number) {
            Some(Kind::Dir(names)) => Ok(Node::new(self.fs.clone(), *names.get(name).ok_or(errno::ENOENT)?)),
            _ => Err(errno::ENOTDIR),
        }
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

/// An open file: its text is made when it is read from the start.
struct Text {
    node: Arc<Node>,
    text: Mutex<Option<Arc<String>>>,
}

impl FileOps for Text {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, task: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let kept = self.text.lock().clone().filter(|_| pos != 0);
        let text = match kept {
            Some(t) => t,
            None => {
                let fs = Node::fs(&self.node)?;
                let Some(Kind::File(make)) = fs.tree.get(self.node.number) else { return Err(errno::EIO) };
                let t = Arc::new(make(&task.machine));
                *self.text.lock() = Some(t.clone());
                t
            }
        };
        let from = usize::try_from(pos).unwrap_or(usize::MAX).min(text.len());
        let rest = &text.as_bytes()[from..];
        if rest.is_empty() { Ok(0) } else { dst.put(&rest[..rest.len().min(dst.remaining())]) }
    }
    fn size(&self) -> Result<u64> {
        Ok(FILE_SIZE)
    }
    fn can_poll(&self) -> bool {
        true
    }
}

/// An open directory.
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
        let fs = Node::fs(&self.node)?;
        let Some(Kind::Dir(names)) = fs.tree.get(self.node.number) else { return Err(errno::ENOTDIR) };
        let own = [(".", self.node.number), ("..", self.node.number)];
        let all = own.into_iter().chain(names.iter().map(|(n, i)| (n.as_str(), *i)));
        let mut at = pos;
        for (place, (name, number)) in all.enumerate().skip(usize::try_from(pos).unwrap_or(usize::MAX)) {
            let next = place as u64 + 1;
            if !sink(name.as_bytes(), number as u64 + 1, Node::kind_of(&fs, number).d_type(), next) {
                return Ok(at);
            }
            at = next;
        }
        Ok(at)
    }
}
