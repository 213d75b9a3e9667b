//! Inodes of the overlay.

use std::{
    any::Any,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
};

use abi::{
    FileType, OpenFlags,
    errno::{EIO, ENODATA, ENOENT, EOPNOTSUPP, EROFS},
    fs::W_OK,
};
use kernel::{
    Result, locks,
    task::{Cred, Task},
    vfs::{
        file::FileOps,
        inode::{Attr, AttrChange, DirOps, FileSystem, Inode, InodeCommon, Link, XattrOps},
    },
};
use ksync::{Mutex, RwLock};

use crate::{Key, Lower, Lowers, PRIVATE, Shared, UPPER_INO, file::OvlFile, list::OvlDir};

/// No upper object.
pub(crate) const PURE_LOWER: u8 = 0;
/// Attributes were copied up; data is still read below.
pub(crate) const META_ONLY: u8 = 1;
/// The upper object has everything (or is all there is).
pub(crate) const COMPLETE: u8 = 2;

/// Where an inode hangs, for its copy-up.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) parent: Option<Arc<OvlInode>>,
    pub(crate) name: Arc<[u8]>,
}

/// A file, directory, link or node of the overlay.
pub struct OvlInode {
    pub(crate) me: Weak<OvlInode>,
    pub(crate) shared: Arc<Shared>,
    common: InodeCommon,
    ino: u64,
    kind: FileType,
    pub(crate) upper: RwLock<Option<Arc<dyn Inode>>>,
    /// How far it was copied up; set after `upper`, and read first on the hot paths.
    pub(crate) level: AtomicU8,
    /// Lower objects: directories that merge, topmost first; one file.
    pub(crate) lowers: Lowers,
    /// Entries of a lower directory may change without the kernel.
    pub(crate) volatile: bool,
    pub(crate) place: Mutex<Option<Place>>,
    /// Names of the lower file that the overlay hides.
    pub(crate) hidden: AtomicU32,
    /// Held while it is copied up.
    pub(crate) copy: Mutex<()>,
}

impl OvlInode {
    pub(crate) fn make(
        shared: &Arc<Shared>,
        upper: Option<Arc<dyn Inode>>,
        lowers: Lowers,
        place: Option<Place>,
    ) -> Arc<OvlInode> {
        let (ino, kind) = match (&upper, lowers.first()) {
            (_, Some(l)) => (shared.lower_ino(l.layer, l.inode.ino()), l.inode.kind()),
            (Some(u), None) => (u.ino() | UPPER_INO, u.kind()),
            (None, None) => (0, FileType::Directory),
        };
        let volatile = lowers.iter().any(|l| l.inode.dir().is_some_and(|d| d.volatile()));
        let level = if upper.is_some() { COMPLETE } else { PURE_LOWER };
        Arc::new_cyclic(|me| OvlInode {
            me: me.clone(),
            shared: shared.clone(),
            common: InodeCommon::new(),
            ino,
            kind,
            upper: RwLock::new(locks::LEAF, upper),
            level: AtomicU8::new(level),
            lowers,
            volatile,
            place: Mutex::new(locks::LEAF, place),
            hidden: AtomicU32::new(0),
            copy: Mutex::new(locks::INODE, ()),
        })
    }

    pub(crate) fn root(shared: &Arc<Shared>) -> Result<Arc<OvlInode>> {
        let lowers: Lowers =
            (1u16..).zip(&shared.lowers).map(|(layer, l)| Lower { layer, inode: l.root.clone() }).collect();
        let upper = shared.upper.as_ref().map(|u| u.root.clone());
        let root =
            OvlInode::make(shared, upper, lowers, Some(Place { parent: None, name: Arc::from(&b"/"[..]) }));
        for key in root.keys() {
            shared.remember(key, root.clone());
        }
        Ok(root)
    }

    /// Stands in for the root of an overlay that is gone.
    pub(crate) fn dead_root(shared: &Arc<Shared>) -> Arc<OvlInode> {
        OvlInode::make(shared, None, Lowers::new(), None)
    }

    /// Keys under which it is found.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::with_capacity(2);
        if let Some(u) = &*self.upper.read() {
            keys.push((0, u.ino()));
        }
        if let Some(l) = self.lowers.first() {
            keys.push((l.layer, l.inode.ino()));
        }
        keys
    }

    pub(crate) fn arc(&self) -> Result<Arc<OvlInode>> {
        self.me.upgrade().ok_or(EIO)
    }

    #[inline]
    pub(crate) fn level(&self) -> u8 {
        self.level.load(Ordering::Acquire)
    }

    /// It was copied up so far. What was lent of the file below counts no more.
    pub(crate) fn set_level(&self, level: u8) {
        self.level.store(level, Ordering::Release);
        self.shared.recall_files();
    }

    /// One more name of the lower file is hidden or covered.
    pub(crate) fn hide_name(&self) {
        self.hidden.fetch_add(1, Ordering::Relaxed);
        self.shared.recall_files();
    }

    pub(crate) fn upper_inode(&self) -> Option<Arc<dyn Inode>> {
        if self.level() == PURE_LOWER {
            return None;
        }
        self.upper.read().clone()
    }

    /// The object that has the attributes.
    fn meta(&self) -> Result<Arc<dyn Inode>> {
        match self.upper_inode() {
            Some(u) => Ok(u),
            None => self.lowers.first().map(|l| l.inode.clone()).ok_or(ENOENT),
        }
    }

    /// Runs `f` on the object that has the attributes, without counting a reference where possible.
    fn with_meta<T>(&self, f: impl FnOnce(&Arc<dyn Inode>) -> Result<T>) -> Result<T> {
        match self.lowers.first() {
            Some(l) if self.level() == PURE_LOWER => f(&l.inode),
            _ => f(&self.meta()?),
        }
    }

    pub(crate) fn place(&self) -> Option<Place> {
        self.place.lock().clone()
    }
    pub(crate) fn set_place(&self, place: Option<Place>) {
        let old = std::mem::replace(&mut *self.place.lock(), place);
        drop(old);
    }

    /// Names left, given the upper object's count.
    pub(crate) fn names(&self, upper_links: u32) -> u32 {
        let below = match self.lowers.first() {
            Some(l) => {
                l.inode.attr().map_or(1, |a| a.nlink).saturating_sub(self.hidden.load(Ordering::Relaxed))
            }
            None => 0,
        };
        below.saturating_add(upper_links)
    }
}

/// Directories of the upper layer are shown as multiples of this, in bytes.
const DIR_BLOCK: u64 = 4096;

impl Inode for OvlInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn common(&self) -> &InodeCommon {
        &self.common
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.shared.filesystem()
    }
    fn ino(&self) -> u64 {
        self.ino
    }
    fn kind(&self) -> FileType {
        self.kind
    }

    fn attr_lasts(&self) -> bool {
        self.level() == PURE_LOWER && self.lowers.first().is_some_and(|l| l.inode.attr_lasts())
    }
    fn attr(&self) -> Result<Attr> {
        let level = self.level();
        let mut a = self.with_meta(|i| i.attr())?;
        if level == META_ONLY
            && let Some(l) = self.lowers.first()
        {
            let data = l.inode.attr()?;
            a.size = data.size;
            a.blocks = data.blocks;
        }
        if self.kind == FileType::Directory {
            if level != PURE_LOWER {
                // Made or changed ones are as large as those below: whole blocks, as disks have.
                a.size = a.size.max(1).next_multiple_of(DIR_BLOCK);
                a.blocks = a.size / 512;
            }
            if level != PURE_LOWER && !self.lowers.is_empty() && a.nlink > 0 {
                // What is below is not counted: 1 says so (as overlayfs does).
                a.nlink = 1;
            }
        } else if let Some(l) = self.lowers.first() {
            a.nlink = if level == PURE_LOWER {
                a.nlink.saturating_sub(self.hidden.load(Ordering::Relaxed))
            } else {
                let _ = l;
                self.names(a.nlink)
            };
        }
        a.dev = self.shared.dev;
        a.ino = self.ino;
        Ok(a)
    }

    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        let upper = match change.size {
            Some(size) => self.copy_up(crate::copy::Extent::Data(size))?,
            None => self.copy_up(crate::copy::Extent::Attributes)?,
        };
        upper.set_attr(change)
    }

    fn owner_mode(&self) -> Result<(u32, u32, u32)> {
        self.with_meta(|i| i.owner_mode())
    }

    fn open(self: Arc<Self>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        if self.kind == FileType::Directory {
            return Ok(Arc::new(OvlDir::new(self)));
        }
        if flags.access() != abi::fs::O_RDONLY {
            let upper = self.copy_up(crate::copy::Extent::Data(u64::MAX))?;
            return upper.open(flags, task);
        }
        if self.level() == COMPLETE {
            return self.meta()?.open(flags, task);
        }
        let lower = self.lowers.first().ok_or(ENOENT)?.inode.clone();
        let ops = lower.open(flags, task)?;
        Ok(Arc::new(OvlFile::new(self, ops)))
    }

    fn open_checked(self: Arc<Self>) -> Option<Arc<dyn FileOps>> {
        if self.level() != PURE_LOWER {
            return None;
        }
        let ops = self.lowers.first()?.inode.clone().open_checked()?;
        Some(Arc::new(OvlFile::new(self, ops)))
    }

    fn dir(&self) -> Option<&dyn DirOps> {
        (self.kind == FileType::Directory).then_some(self)
    }

    fn read_link(&self, task: &Task) -> Option<Result<Link>> {
        if self.kind != FileType::Symlink {
            return None;
        }
        match self.meta() {
            Ok(i) => i.read_link(task),
            Err(e) => Some(Err(e)),
        }
    }

    fn xattr(&self) -> Option<&dyn XattrOps> {
        Some(self)
    }

    fn host_file(&self) -> Option<Arc<dyn hal::HostFile>> {
        // What was copied up has no part below that shows, unless it is a directory.
        if self.level() != PURE_LOWER && self.kind != FileType::Directory {
            return None;
        }
        self.lowers.first()?.inode.host_file()
    }
    fn host_changed(&self) {
        if let Some(l) = self.lowers.first() {
            l.inode.host_changed();
        }
    }
    fn permission(&self, cred: &Cred, mask: u32) -> Result<()> {
        if mask & W_OK != 0 && self.shared.upper.is_none() {
            return Err(EROFS);
        }
        if self.level() != COMPLETE
            && let Some(l) = self.lowers.first()
        {
            // Nobody writes below; what the machine itself may not read cannot be read.
            return l.inode.permission(cred, mask & !W_OK);
        }
        self.with_meta(|i| i.permission(cred, mask))
    }
}

impl XattrOps for OvlInode {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        if name.starts_with(PRIVATE) {
            return Err(ENODATA);
        }
        self.with_meta(|i| i.xattr().ok_or(EOPNOTSUPP)?.get(name))
    }
    fn set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        if name.starts_with(PRIVATE) {
            return Err(EOPNOTSUPP);
        }
        let upper = self.copy_up(crate::copy::Extent::Attributes)?;
        upper.xattr().ok_or(EOPNOTSUPP)?.set(name, value, flags)
    }
    fn remove(&self, name: &[u8]) -> Result<()> {
        // Nothing is copied for an attribute that is not there.
        self.get(name)?;
        let upper = self.copy_up(crate::copy::Extent::Attributes)?;
        upper.xattr().ok_or(EOPNOTSUPP)?.remove(name)
    }
    fn list(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = self.with_meta(|i| i.xattr().map_or(Ok(Vec::new()), |x| x.list()))?;
        names.retain(|n| !n.starts_with(PRIVATE));
        Ok(names)
    }
}

impl Drop for OvlInode {
    fn drop(&mut self) {
        let keys = self.keys();
        self.shared.forget(&keys);
        // Parents may end with their last child, however deep they are: no recursion.
        let mut next = self.place.get_mut().take().and_then(|p| p.parent);
        while let Some(parent) = next {
            next = match Arc::into_inner(parent) {
                Some(mut p) => p.place.get_mut().take().and_then(|p| p.parent),
                None => None,
            };
        }
    }
}
