//! The copy-on-write overlay: read-only lower trees under a writable upper one.
//!
//! An overlay inode ([`OvlInode`]) stands for a lower object, an upper object, or both: a lower file that was copied up, or
//! a directory merged of both. Reading goes to the lower object until something changes it; the first change copies it
//! up: attributes at once, data when somebody writes. Names that are gone are whiteouts in the upper directory (character
//! device 0:0), a directory that hides what is below carries `trusted.overlay.opaque`.
//!
//! What a rename or a copy-up ties together (a moved directory and its lower part, the names of a hard link) is
//! remembered by keeping those inodes in memory ([`Shared::pin`]) as long as they have a name; so directories can be
//! renamed without copying what is below, and inode numbers never change.
//!
//! # Locks
//! `OvlInode::copy` (one copy-up of an inode at a time; child before parent), then `Shared::tree` (changes of names in the
//! upper tree), both of rank `INODE`; below them the locks of the layers. States and tables are leaves.
#![forbid(unsafe_code)]

mod copy;
mod dir;
mod file;
mod inode;
mod list;
mod mount;
mod restore;
mod save;

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use abi::{
    FileType, OpenFlags,
    errno::{EINVAL, EIO, ENOENT, EROFS},
    fs::OVERLAYFS_SUPER_MAGIC,
};
use kernel::{
    Machine, Result, locks,
    registry::Registry,
    task::Task,
    vfs::{
        Path,
        dentry::Dentry,
        file::{File, FileOps},
        inode::{FileSystem, FsStats, Inode},
        mount::Mount,
    },
};
use ksync::Mutex;
use rustc_hash::FxHashMap;

pub use inode::OvlInode;
pub use restore::{ReadAt, RestoreError};
pub use save::{Changes, SaveError};

/// Marks an upper directory that hides all lower ones of its name.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Marks a character device 0:0 that a user made: no whiteout.
const DEVICE: &[u8] = b"trusted.overlay.device";
/// Attributes of the overlay's own, which users do not see.
const PRIVATE: &[u8] = b"trusted.overlay.";
/// Set in the inode numbers of upper objects.
const UPPER_INO: u64 = 1 << 62;

/// One tree of the overlay.
pub(crate) struct Layer {
    root: Arc<dyn Inode>,
    fs: Arc<dyn FileSystem>,
    dev: u64,
    /// Files are opened on it when data is copied.
    mount: Arc<Mount>,
}

impl Layer {
    fn new(root: Arc<dyn Inode>, fs: Arc<dyn FileSystem>) -> Layer {
        let mount = Mount::new(fs.clone(), Dentry::new_root(root.clone()), b"overlay", 0);
        Layer { dev: fs.dev(), root, fs, mount }
    }

    /// An open file of an inode of this layer, for the kernel's own use.
    fn open(&self, inode: &Arc<dyn Inode>, flags: OpenFlags, task: &Task) -> Result<Arc<File>> {
        let ops = inode.clone().open(flags, task)?;
        Ok(self.file(inode.clone(), ops, flags | OpenFlags::NOATIME))
    }

    fn file(&self, inode: Arc<dyn Inode>, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Arc<File> {
        let dentry = Dentry::new_named(inode, b"");
        File::new(ops, Path { mount: self.mount.clone(), dentry }, flags)
    }
}

/// A lower object: which layer, and what.
#[derive(Clone)]
pub(crate) struct Lower {
    layer: u16,
    inode: Arc<dyn Inode>,
}

/// Lower objects of an inode; mostly there is one.
pub(crate) type Lowers = smallvec::SmallVec<[Lower; 1]>;

/// What tells objects apart: layer (0 is the upper one) and inode number there.
type Key = (u16, u64);

/// What all inodes of an overlay share.
pub(crate) struct Shared {
    machine: Weak<Machine>,
    dev: u64,
    upper: Option<Layer>,
    lowers: Vec<Layer>,
    /// Number of each lower layer's filesystem, part of inode numbers.
    fs_index: Vec<u64>,
    inodes: Mutex<FxHashMap<Key, Weak<OvlInode>>>,
    pinned: Mutex<FxHashMap<u64, Arc<OvlInode>>>,
    /// Held while names in the upper tree change.
    tree: Mutex<()>,
    fs: std::sync::OnceLock<Weak<Overlay>>,
    /// Any live task: layers want one for look-ups and openings.
    task: Mutex<Weak<Task>>,
    /// What lower objects were when they were first touched; kept only for a machine that will be saved.
    bases: Mutex<Option<FxHashMap<Key, ::layer::Stamp>>>,
    /// As mount(2) gave them.
    options: String,
}

/// A mounted overlay.
pub struct Overlay {
    shared: Arc<Shared>,
    root: Arc<OvlInode>,
}

impl Overlay {
    /// An overlay of one whole filesystem under another.
    pub fn new(
        machine: &Arc<Machine>,
        lower: Arc<dyn FileSystem>,
        upper: Arc<dyn FileSystem>,
    ) -> Result<Arc<Overlay>> {
        let lower_root = lower.root();
        // The root looks as it does below.
        let a = lower_root.attr()?;
        let change = kernel::vfs::inode::AttrChange {
            mode: Some(a.mode & abi::fs::S_IALLUGO),
            uid: Some(a.uid),
            gid: Some(a.gid),
            atime: Some(a.atime),
            mtime: Some(a.mtime),
            ..Default::default()
        };
        upper.root().set_attr(&change)?;
        let lowers = vec![Layer::new(lower_root, lower)];
        let upper = Layer::new(upper.root(), upper);
        Overlay::build(machine, Some(upper), lowers, String::new())
    }

    /// An overlay of parts of filesystems, the topmost lower layer first.
    pub(crate) fn build(
        machine: &Arc<Machine>,
        upper: Option<Layer>,
        lowers: Vec<Layer>,
        options: String,
    ) -> Result<Arc<Overlay>> {
        if lowers.is_empty() || lowers.len() > 500 {
            return Err(EINVAL);
        }
        let mut devs = Vec::new();
        let mut fs_index = Vec::new();
        for l in &lowers {
            let at = devs.iter().position(|d| *d == l.dev).unwrap_or_else(|| {
                devs.push(l.dev);
                devs.len() - 1
            });
            fs_index.push(at as u64);
        }
        let shared = Arc::new(Shared {
            machine: Arc::downgrade(machine),
            dev: machine.new_dev(),
            upper,
            lowers,
            fs_index,
            inodes: Mutex::new(locks::LEAF, FxHashMap::default()),
            pinned: Mutex::new(locks::LEAF, FxHashMap::default()),
            tree: Mutex::new(locks::INODE, ()),
            fs: std::sync::OnceLock::new(),
            task: Mutex::new(locks::LEAF, Weak::new()),
            bases: Mutex::new(locks::LEAF, None),
            options,
        });
        let root = OvlInode::root(&shared)?;
        let fs = Arc::new(Overlay { shared: shared.clone(), root });
        let _ = shared.fs.set(Arc::downgrade(&fs));
        Ok(fs)
    }

    /// The writable tree, where all changes are (with whiteouts for what was removed).
    pub fn upper_root(&self) -> Option<Arc<dyn Inode>> {
        self.shared.upper.as_ref().map(|u| u.root.clone())
    }
}

impl Shared {
    fn machine(&self) -> Result<Arc<Machine>> {
        self.machine.upgrade().ok_or(EIO)
    }

    /// Something changed of what guest code may have been lent ([`hal::Host::recall_files`]).
    fn recall_files(&self) {
        if let Ok(machine) = self.machine() {
            machine.host.recall_files();
        }
    }

    fn upper(&self) -> Result<&Layer> {
        self.upper.as_ref().ok_or(EROFS)
    }

    /// Some live task.
    fn task(&self) -> Result<Arc<Task>> {
        if let Some(t) = self.task.lock().upgrade() {
            return Ok(t);
        }
        let machine = self.machine()?;
        let found = machine.tree.lock().tasks.values().next().cloned().ok_or(EIO)?;
        *self.task.lock() = Arc::downgrade(&found);
        Ok(found)
    }

    fn layer(&self, lower: &Lower) -> &Layer {
        &self.lowers[usize::from(lower.layer) - 1]
    }

    /// Inode number of a lower object.
    fn lower_ino(&self, layer: u16, ino: u64) -> u64 {
        ino ^ self.fs_index[usize::from(layer) - 1] << 56
    }

    fn find(&self, key: Key) -> Option<Arc<OvlInode>> {
        self.inodes.lock().get(&key).and_then(Weak::upgrade)
    }

    /// Remembers an inode under a key; one that somebody else was faster with wins.
    fn remember(&self, key: Key, inode: Arc<OvlInode>) -> Arc<OvlInode> {
        let mut table = self.inodes.lock();
        if let Some(other) = table.get(&key).and_then(Weak::upgrade) {
            drop(table);
            // The loser goes with no lock held.
            drop(inode);
            return other;
        }
        table.insert(key, Arc::downgrade(&inode));
        inode
    }

    /// Takes keys of an inode that ends out of the table.
    fn forget(&self, keys: &[Key]) {
        let mut table = self.inodes.lock();
        for k in keys {
            if table.get(k).is_some_and(|w| w.strong_count() == 0) {
                table.remove(k);
            }
        }
    }

    /// Keeps an inode in memory.
    fn pin(&self, inode: &Arc<OvlInode>) {
        let old = self.pinned.lock().insert(inode.ino(), inode.clone());
        drop(old);
    }

    fn unpin(&self, inode: &OvlInode) {
        let old = self.pinned.lock().remove(&inode.ino());
        drop(old);
    }

    fn filesystem(self: &Arc<Self>) -> Arc<dyn FileSystem> {
        match self.fs.get().and_then(Weak::upgrade) {
            Some(fs) => fs,
            // Mounts keep the overlay alive; an inode that outlives its mount stands for itself.
            None => Arc::new(Overlay { shared: self.clone(), root: OvlInode::dead_root(self) }),
        }
    }
}

/// A whiteout: character device 0:0 without the mark.
fn is_whiteout(inode: &dyn Inode) -> bool {
    inode.kind() == FileType::Char
        && inode.attr().is_ok_and(|a| a.rdev == 0)
        && inode.xattr().is_none_or(|x| x.get(DEVICE).is_err())
}

/// The entry of a layer's directory, whiteouts included.
fn entry(dir: &Arc<dyn Inode>, name: &[u8], task: &Task) -> Result<Option<Arc<dyn Inode>>> {
    match dir.dir().ok_or(abi::errno::ENOTDIR)?.lookup(name, task) {
        Ok(i) => Ok(Some(i)),
        Err(ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn is_opaque(dir: &dyn Inode) -> bool {
    dir.xattr().is_some_and(|x| x.get(OPAQUE).is_ok_and(|v| v == b"y"))
}

impl FileSystem for Overlay {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "overlay"
    }
    fn dev(&self) -> u64 {
        self.shared.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }
    fn stats(&self) -> Result<FsStats> {
        let fs = match &self.shared.upper {
            Some(u) => &u.fs,
            None => &self.shared.lowers[0].fs,
        };
        let mut stats = FsStats { magic: OVERLAYFS_SUPER_MAGIC as u64, ..fs.stats()? };
        // The machine's own tree is the host's too: what that takes up is in use. Those of mount(2) answer for the upper
        // tree alone, as on Linux.
        if self.shared.options.is_empty()
            && self.shared.upper.is_some()
            && let Ok(lower) = self.shared.lowers[0].fs.stats()
        {
            let bytes = lower.blocks.saturating_sub(lower.blocks_free).saturating_mul(lower.block_size);
            stats.blocks = stats.blocks.saturating_add(bytes / stats.block_size.max(1));
            stats.files = stats.files.saturating_add(lower.files.saturating_sub(lower.files_free));
        }
        Ok(stats)
    }
    fn options(&self) -> String {
        self.shared.options.clone()
    }
    fn sync(&self) -> Result<()> {
        self.shared.upper.as_ref().map_or(Ok(()), |u| u.fs.sync())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let all = std::mem::take(&mut *self.shared.pinned.lock());
        drop(all);
    }
}

/// Adds the type overlay.
pub fn register(r: &mut Registry) {
    r.filesystems.insert("overlay", Arc::new(mount::OverlayType));
}
