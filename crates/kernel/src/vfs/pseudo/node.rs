//! Inodes of pseudo filesystems.

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use abi::{
    FileType, OpenFlags,
    errno::{ENODEV, EPERM},
};

use super::{Pseudo, Tree, file::Listing};
use crate::{
    error::Result,
    task::{Cred, Pid, Task},
    vfs::{
        file::FileOps,
        inode::{Attr, AttrChange, DirOps, FileSystem, Inode, InodeCommon, Link},
    },
};

/// A place that somebody has looked up.
pub(super) struct Node<T: Tree> {
    fs: Weak<Pseudo<T>>,
    ino: u64,
    pub(super) place: T::Place,
    common: InodeCommon,
}

impl<T: Tree> Node<T> {
    pub(super) fn new(fs: Weak<Pseudo<T>>, ino: u64, place: T::Place) -> Node<T> {
        Node { fs, ino, place, common: InodeCommon::new() }
    }
    pub(super) fn pseudo(&self) -> Result<Arc<Pseudo<T>>> {
        self.fs.upgrade().ok_or(ENODEV)
    }
}

impl<T: Tree> Inode for Node<T> {
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
        self.ino
    }
    fn kind(&self) -> FileType {
        self.fs.upgrade().map_or(FileType::Regular, |fs| fs.tree.kind(&self.place))
    }
    fn attr(&self) -> Result<Attr> {
        let fs = self.pseudo()?;
        let attr = fs.tree.attr(&self.place)?;
        Ok(Attr { dev: fs.dev, ino: self.ino, blksize: T::BLOCK_SIZE, ..attr })
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        self.pseudo()?.tree.set_attr(&self.place, change)
    }
    fn open(self: Arc<Self>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        if self.kind() == FileType::Directory {
            return Ok(Arc::new(Listing { node: self }));
        }
        let fs = self.pseudo()?;
        fs.tree.open(fs.clone(), &self.place, flags, task)
    }
    fn dir(&self) -> Option<&dyn DirOps> {
        if self.kind() == FileType::Directory { Some(self) } else { None }
    }
    fn read_link(&self, task: &Task) -> Option<Result<Link>> {
        let fs = self.fs.upgrade()?;
        (fs.tree.kind(&self.place) == FileType::Symlink).then(|| fs.tree.link(&self.place, task))
    }
    fn process(&self) -> Option<Pid> {
        self.fs.upgrade()?.tree.process(&self.place)
    }
    fn permission(&self, _: &Cred, mask: u32) -> Result<()> {
        self.pseudo()?.tree.permission(&self.place, mask)
    }
}

impl<T: Tree> DirOps for Node<T> {
    fn lookup(&self, name: &[u8], task: &Task) -> Result<Arc<dyn Inode>> {
        let fs = self.pseudo()?;
        let place = fs.tree.lookup(&self.place, name, task)?;
        Ok(fs.node(place))
    }
    fn volatile(&self) -> bool {
        T::VOLATILE
    }
    fn revalidate(&self, name: &[u8], inode: Option<&Arc<dyn Inode>>) -> bool {
        if !T::VOLATILE {
            return true;
        }
        let Ok(fs) = self.pseudo() else { return false };
        let known = inode.and_then(|i| i.as_any().downcast_ref::<Node<T>>()).map(|node| &node.place);
        fs.tree.stands_for(&self.place, name, known)
    }
    fn create(&self, _: &[u8], _: u32, _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(T::NO_CREATE)
    }
    fn mkdir(&self, _: &[u8], _: u32, _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(EPERM)
    }
    fn mknod(&self, _: &[u8], _: u32, _: u64, _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(EPERM)
    }
    fn symlink(&self, _: &[u8], _: &[u8], _: (u32, u32)) -> Result<Arc<dyn Inode>> {
        Err(EPERM)
    }
    fn link(&self, _: &[u8], _: &Arc<dyn Inode>) -> Result<()> {
        Err(EPERM)
    }
    fn unlink(&self, name: &[u8], _: &Arc<dyn Inode>) -> Result<()> {
        self.pseudo()?.tree.unlink(&self.place, name)
    }
    fn rmdir(&self, _: &[u8], _: &Arc<dyn Inode>) -> Result<()> {
        Err(EPERM)
    }
    fn rename(&self, _: &[u8], _: &Arc<dyn Inode>, _: &[u8], _: u32) -> Result<()> {
        Err(EPERM)
    }
}
