//! Pseudo filesystems: trees that are computed, not stored. A filesystem says what there is (a [`Tree`]); inodes,
//! directories and their open files are made of it here.

mod file;
mod node;

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
};

use abi::{
    Errno, FileType, OpenFlags,
    errno::{EINVAL, EPERM},
};

use super::{
    file::FileOps,
    inode::{Attr, AttrChange, FileSystem, FsStats, Inode, Link},
};
use crate::{
    error::Result,
    locks,
    task::{Pid, Task},
};
pub use file::{Make, Store, Text};
use ksync::Mutex;
use node::Node;

/// What a pseudo filesystem shows.
pub trait Tree: Any + Send + Sync + Sized {
    /// A place in the tree: what an inode stands for.
    type Place: Send + Sync;
    /// Name of the filesystem's type.
    const NAME: &'static str;
    /// f_type (statfs(2)).
    const MAGIC: u64;
    /// st_blksize.
    const BLOCK_SIZE: u32 = 4096;
    /// Entries come and go without the VFS: names are checked by [`Tree::stands_for`] at each walk.
    const VOLATILE: bool = false;
    /// A place that is looked up twice has one inode. Without it nothing is kept of inodes, and their numbers need not
    /// tell all places apart.
    const ONE_INODE: bool = true;
    /// What making a regular file is refused with; anything else made or renamed is EPERM.
    const NO_CREATE: Errno = EPERM;

    fn root(&self) -> Self::Place;
    /// Inode number: one for each place, from 1 (see [`Tree::ONE_INODE`]).
    fn ino(&self, place: &Self::Place) -> u64;
    fn kind(&self, place: &Self::Place) -> FileType;
    /// Attributes; device, inode number and block size are filled in by the caller.
    fn attr(&self, place: &Self::Place) -> Result<Attr>;
    fn set_attr(&self, _place: &Self::Place, _change: &AttrChange) -> Result<()> {
        Err(EPERM)
    }
    /// ENOENT if the directory has no such entry.
    fn lookup(&self, dir: &Self::Place, name: &[u8], task: &Task) -> Result<Self::Place>;
    /// Whether a name stands for this place now, or for none; asked of volatile trees alone.
    fn stands_for(&self, _dir: &Self::Place, _name: &[u8], _place: Option<&Self::Place>) -> bool {
        true
    }
    /// The entries of a directory but `.` and `..`, by rising position.
    fn entries(&self, dir: &Self::Place, task: &Task) -> Result<Vec<Entry>>;
    fn unlink(&self, _dir: &Self::Place, _name: &[u8]) -> Result<()> {
        Err(EPERM)
    }
    /// Opens a regular file.
    fn open(
        &self,
        _fs: Arc<Pseudo<Self>>,
        _place: &Self::Place,
        _flags: OpenFlags,
        _task: &Task,
    ) -> Result<Arc<dyn FileOps>> {
        Err(EINVAL)
    }
    /// The target of a symbolic link; `task` is who looks.
    fn link(&self, _place: &Self::Place, _task: &Task) -> Result<Link> {
        Err(EINVAL)
    }
    /// As [`Inode::process`].
    fn process(&self, _place: &Self::Place) -> Option<Pid> {
        None
    }
    /// As [`Inode::permission`].
    fn permission(&self, _place: &Self::Place, _mask: u32) -> Result<()> {
        Ok(())
    }
    /// As [`FileSystem::options`].
    fn options(&self) -> String {
        String::new()
    }
}

/// One entry of a directory.
pub struct Entry {
    pub name: Vec<u8>,
    pub ino: u64,
    pub kind: FileType,
    /// The position after it, above 2. It stays the same while entries come and go.
    pub next: u64,
}

/// A mounted instance.
pub struct Pseudo<T: Tree> {
    me: Weak<Pseudo<T>>,
    dev: u64,
    tree: T,
    root: OnceLock<Arc<Node<T>>>,
    /// Inodes handed out, so that one place has one inode.
    nodes: Mutex<BTreeMap<u64, Weak<Node<T>>>>,
}

impl<T: Tree> Pseudo<T> {
    pub fn new(dev: u64, tree: T) -> Arc<Pseudo<T>> {
        Arc::new_cyclic(|me| Pseudo {
            me: me.clone(),
            dev,
            tree,
            root: OnceLock::new(),
            nodes: Mutex::new(locks::LEAF, BTreeMap::new()),
        })
    }

    pub fn tree(&self) -> &T {
        &self.tree
    }

    fn node(&self, place: T::Place) -> Arc<Node<T>> {
        let ino = self.tree.ino(&place);
        if !T::ONE_INODE {
            return Arc::new(Node::new(self.me.clone(), ino, place));
        }
        let mut nodes = self.nodes.lock();
        if let Some(known) = nodes.get(&ino).and_then(Weak::upgrade) {
            return known;
        }
        nodes.retain(|_, n| n.strong_count() > 0);
        let node = Arc::new(Node::new(self.me.clone(), ino, place));
        nodes.insert(ino, Arc::downgrade(&node));
        node
    }
}

impl<T: Tree> FileSystem for Pseudo<T> {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        T::NAME
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.get_or_init(|| self.node(self.tree.root())).clone()
    }
    fn stats(&self) -> Result<FsStats> {
        Ok(FsStats { magic: T::MAGIC, block_size: 4096, name_max: 255, ..FsStats::default() })
    }
    fn options(&self) -> String {
        self.tree.options()
    }
}
