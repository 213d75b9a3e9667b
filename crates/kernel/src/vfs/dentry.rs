//! The dentry cache: names already looked up.
//!
//! A dentry stands for one name and never changes what it stands for: creating a name replaces its negative dentry,
//! removing it puts a negative one in its place. Rename moves a dentry. A walk takes one short lock per component (the
//! entries of a directory); the directory lock (`DENTRY_DIR`) is taken only to ask the filesystem or to change names.
//!
//! Lock order: `DENTRY_DIR` of the parent before that of the child, two parents by [`lock_two`]. The maps and places are
//! leaves.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use abi::errno::{ENOENT, ENOTDIR};
use ksync::{Mutex, MutexGuard, RwLock};
use rustc_hash::FxSeededState;

use super::inode::Inode;
use crate::{error::Result, locks, task::Task};

type Entries = HashMap<Arc<[u8]>, Arc<Dentry>, FxSeededState>;

/// Names kept in memory per machine before unused ones are dropped.
pub const DENTRY_LIMIT: usize = 24_576;

/// Where a dentry hangs.
struct Place {
    name: Arc<[u8]>,
    parent: Option<Arc<Dentry>>,
}

/// What only a directory has.
struct Below {
    /// Known entries.
    children: RwLock<Entries>,
    /// Held while the filesystem is asked about this directory or changes it.
    lock: Mutex<()>,
}

/// One name in the cache. Without an inode it is a name known not to exist.
pub struct Dentry {
    inode: Option<Arc<dyn Inode>>,
    place: RwLock<Place>,
    /// Made when the directory is first looked into.
    below: OnceLock<Box<Below>>,
    hasher: FxSeededState,
    /// Mounts on this dentry, in any namespace.
    mounted: AtomicU32,
    /// Its name was removed: nothing can be created below, and paths show "(deleted)".
    removed: AtomicBool,
    /// It never had a name and may get one.
    linkable: AtomicBool,
    /// Used since the pruner last looked.
    used: AtomicBool,
}

impl Dentry {
    /// The root of a filesystem, or the one name of an anonymous file.
    pub fn new_root(inode: Arc<dyn Inode>) -> Arc<Dentry> {
        Dentry::new_named(inode, b"/")
    }

    /// A file without a name in directory `dir` (O_TMPFILE), shown as one that was removed. `linkable`: it may be given a
    /// name by linkat(2), once.
    pub fn new_unnamed(dir: &Arc<Dentry>, inode: Arc<dyn Inode>, linkable: bool) -> Arc<Dentry> {
        let name = format!("#{}", inode.ino());
        let hasher = dir.hasher.clone();
        let d = Dentry::make(Some(inode), Arc::from(name.as_bytes()), Some(dir.clone()), hasher);
        d.removed.store(true, Ordering::Release);
        d.linkable.store(linkable, Ordering::Release);
        d
    }

    /// A dentry outside of any tree (anonymous files).
    pub fn new_named(inode: Arc<dyn Inode>, name: &[u8]) -> Arc<Dentry> {
        // The address of the inode differs from run to run: enough to keep guests from choosing colliding names.
        let seed = Arc::as_ptr(&inode).cast::<u8>().addr().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Dentry::make(Some(inode), Arc::from(name), None, FxSeededState::with_seed(seed))
    }

    fn make(
        inode: Option<Arc<dyn Inode>>,
        name: Arc<[u8]>,
        parent: Option<Arc<Dentry>>,
        hasher: FxSeededState,
    ) -> Arc<Dentry> {
        Arc::new(Dentry {
            inode,
            place: RwLock::new(locks::LEAF, Place { name, parent }),
            below: OnceLock::new(),
            hasher,
            mounted: AtomicU32::new(0),
            removed: AtomicBool::new(false),
            linkable: AtomicBool::new(false),
            used: AtomicBool::new(false),
        })
    }

    fn below(&self) -> &Below {
        self.below.get_or_init(|| {
            Box::new(Below {
                children: RwLock::new(locks::LEAF, HashMap::with_hasher(self.hasher.clone())),
                lock: Mutex::new(locks::DENTRY_DIR, ()),
            })
        })
    }

    pub fn inode(&self) -> Option<Arc<dyn Inode>> {
        self.inode.clone()
    }
    pub fn inode_ref(&self) -> Option<&Arc<dyn Inode>> {
        self.inode.as_ref()
    }
    /// The inode of a name that exists; ENOENT.
    pub fn existing(&self) -> Result<&Arc<dyn Inode>> {
        self.inode.as_ref().ok_or(ENOENT)
    }
    pub fn name(&self) -> Arc<[u8]> {
        self.place.read().name.clone()
    }
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.read().parent.clone()
    }
    /// Name and parent at one moment.
    pub fn place(&self) -> (Arc<[u8]>, Option<Arc<Dentry>>) {
        let p = self.place.read();
        (p.name.clone(), p.parent.clone())
    }
    /// Name and parent, if somebody watches the parent (inotify).
    pub(super) fn watched_place(&self) -> Option<(Arc<[u8]>, Arc<Dentry>)> {
        let p = self.place.read();
        let parent = p.parent.as_ref()?;
        let watched = parent.inode.as_ref()?.common().made()?.watches.any();
        watched.then(|| (p.name.clone(), parent.clone()))
    }
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
    pub(super) fn is_linkable(&self) -> bool {
        self.linkable.load(Ordering::Acquire)
    }
    pub(super) fn set_linked(&self) {
        self.linkable.store(false, Ordering::Release);
    }
    pub fn is_mount_point(&self) -> bool {
        self.mounted.load(Ordering::Acquire) != 0
    }
    pub(super) fn add_mount(&self) {
        self.mounted.fetch_add(1, Ordering::AcqRel);
    }
    pub(super) fn remove_mount(&self) {
        self.mounted.fetch_sub(1, Ordering::AcqRel);
    }
    /// True if `self` is `other` or below it.
    pub fn is_within(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, other) {
                return true;
            }
            match at.parent() {
                Some(p) => at = p,
                None => return false,
            }
        }
    }

    /// Excludes changes to this directory (and questions to its filesystem about names that are not cached).
    pub fn lock_dir(&self) -> MutexGuard<'_, ()> {
        self.below().lock.lock()
    }

    /// The cached entry of a name, positive or negative.
    pub fn cached(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        let d = self.below.get()?.children.read().get(name).cloned()?;
        if !d.used.load(Ordering::Relaxed) {
            d.used.store(true, Ordering::Relaxed);
        }
        Some(d)
    }

    /// Looks a name up, in the cache and then in the filesystem. A name that does not exist gives a negative dentry.
    /// ENOTDIR if this is no directory.
    pub fn lookup(self: &Arc<Self>, name: &[u8], task: &Task) -> Result<Arc<Dentry>> {
        let inode = self.existing()?;
        let ops = inode.dir().ok_or(ENOTDIR)?;
        if let Some(d) = self.cached(name)
            && (!ops.volatile() || d.is_mount_point() || ops.revalidate(name, d.inode.as_ref()))
        {
            return Ok(d);
        }
        let guard = self.lock_dir();
        self.lookup_locked(&guard, name, task)
    }

    /// The cached entry of a file whose opening finds out whether the name still leads to it.
    pub(super) fn checked_by_opening(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        let ops = self.inode.as_ref()?.dir().filter(|o| o.volatile())?;
        let d = self.cached(name).filter(|d| !d.is_mount_point())?;
        ops.opening_checks(name, d.inode.as_ref()?).then_some(d)
    }

    /// [`Dentry::lookup`] by one who holds the directory lock.
    pub fn lookup_locked(
        self: &Arc<Self>,
        _guard: &MutexGuard<'_, ()>,
        name: &[u8],
        task: &Task,
    ) -> Result<Arc<Dentry>> {
        let inode = self.existing()?;
        let ops = inode.dir().ok_or(ENOTDIR)?;
        if let Some(d) = self.cached(name) {
            if !ops.volatile() || d.is_mount_point() || ops.revalidate(name, d.inode.as_ref()) {
                return Ok(d);
            }
            self.forget(name, &d);
            // Entries hold their parent: a tree that is let go must be taken apart.
            d.shrink();
        }
        let found = match ops.lookup(name, task) {
            Ok(inode) => Some(inode),
            Err(ENOENT) => None,
            Err(e) => return Err(e),
        };
        Ok(self.insert(name, found, task))
    }

    /// Puts an entry into the cache, replacing what was known of the name. The caller holds the directory lock.
    pub(super) fn insert(
        self: &Arc<Self>,
        name: &[u8],
        inode: Option<Arc<dyn Inode>>,
        task: &Task,
    ) -> Arc<Dentry> {
        let name: Arc<[u8]> = Arc::from(name);
        let d = Dentry::make(inode, name.clone(), Some(self.clone()), self.hasher.clone());
        let old = self.below().children.write().insert(name, d.clone());
        drop(old);
        task.machine.vfs.dentries.added(&d);
        d
    }

    /// Takes an entry out of the cache if it still is this one.
    pub(super) fn forget(&self, name: &[u8], entry: &Arc<Dentry>) {
        let Some(below) = self.below.get() else { return };
        let mut children = below.children.write();
        let old = match children.get(name) {
            Some(d) if Arc::ptr_eq(d, entry) => children.remove_entry(name),
            _ => None,
        };
        drop(children);
        drop(old);
    }

    /// The name is gone from the filesystem: the dentry stays with those who hold it. The caller holds the parent's
    /// directory lock.
    pub(super) fn set_removed(self: &Arc<Self>, parent: &Arc<Dentry>, task: &Task) {
        let name = self.name();
        self.removed.store(true, Ordering::Release);
        self.shrink();
        let volatile = parent.inode.as_ref().and_then(|i| i.dir()).is_none_or(|d| d.volatile());
        if volatile {
            parent.forget(&name, self);
        } else {
            parent.insert(&name, None, task);
        }
    }

    /// Moves this dentry to another name; what was there before is removed. The caller holds both directory locks.
    pub(super) fn moved(
        self: &Arc<Self>,
        from: &Arc<Dentry>,
        to: &Arc<Dentry>,
        new_name: &[u8],
        task: &Task,
    ) {
        let old_name = self.name();
        let new_name: Arc<[u8]> = Arc::from(new_name);
        from.forget(&old_name, self);
        let victim = to.below().children.write().insert(new_name.clone(), self.clone());
        if let Some(v) = &victim {
            v.removed.store(true, Ordering::Release);
            v.shrink();
        }
        let old =
            std::mem::replace(&mut *self.place.write(), Place { name: new_name, parent: Some(to.clone()) });
        drop(old);
        if from.inode.as_ref().and_then(|i| i.dir()).is_some_and(|d| !d.volatile()) {
            from.insert(&old_name, None, task);
        }
    }

    /// Exchanges two dentries (RENAME_EXCHANGE). The caller holds both directory locks.
    pub(super) fn exchanged(
        self: &Arc<Self>,
        dir: &Arc<Dentry>,
        other: &Arc<Dentry>,
        other_dir: &Arc<Dentry>,
    ) {
        let (a, b) = (self.name(), other.name());
        let o1 = dir.below().children.write().insert(a.clone(), other.clone());
        let o2 = other_dir.below().children.write().insert(b.clone(), self.clone());
        let p1 =
            std::mem::replace(&mut *self.place.write(), Place { name: b, parent: Some(other_dir.clone()) });
        let p2 = std::mem::replace(&mut *other.place.write(), Place { name: a, parent: Some(dir.clone()) });
        drop((o1, o2, p1, p2));
    }

    /// Drops all cached entries below (the filesystem is unmounted).
    pub(super) fn shrink(self: &Arc<Self>) {
        let mut stack = vec![self.clone()];
        while let Some(d) = stack.pop() {
            let Some(below) = d.below.get() else { continue };
            let children: Vec<_> = below.children.write().drain().collect();
            stack.extend(children.into_iter().map(|c| c.1));
        }
    }

    /// Drops this entry from its directory if nobody but the cache holds it.
    fn prune(self: Arc<Self>) {
        let (name, Some(parent)) = self.place() else { return };
        let mut children = parent.below().children.write();
        // The map and this reference: no one else can take one while the map is locked.
        let unused = Arc::strong_count(&self) == 2
            && !self.is_mount_point()
            && children.get(&name).is_some_and(|d| Arc::ptr_eq(d, &self));
        let gone = if unused { children.remove_entry(&name) } else { None };
        drop(children);
        drop(gone);
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // A chain of removed directories may be as long as the guest likes: no recursion.
        let mut next = self.place.write().parent.take();
        while let Some(parent) = next {
            next = match Arc::into_inner(parent) {
                Some(p) => p.place.write().parent.take(),
                None => None,
            };
        }
    }
}

/// Locks two directories in an order all agree on; the second guard is `None` if they are the same.
pub fn lock_two<'a>(
    a: &'a Arc<Dentry>,
    b: &'a Arc<Dentry>,
) -> (MutexGuard<'a, ()>, Option<MutexGuard<'a, ()>>) {
    if Arc::ptr_eq(a, b) {
        return (a.lock_dir(), None);
    }
    let a_first = if b.is_within(a) {
        true
    } else if a.is_within(b) {
        false
    } else {
        Arc::as_ptr(a) < Arc::as_ptr(b)
    };
    if a_first {
        let first = a.lock_dir();
        (first, Some(b.lock_dir()))
    } else {
        let first = b.lock_dir();
        (first, Some(a.lock_dir()))
    }
}

/// All dentries of a machine in the order of their making, for pruning: a clock that gives each used one another round.
pub struct DentryQueue {
    queue: Mutex<std::collections::VecDeque<Weak<Dentry>>>,
    len: AtomicU32,
}

impl Default for DentryQueue {
    fn default() -> Self {
        DentryQueue {
            queue: Mutex::new(locks::LEAF, std::collections::VecDeque::new()),
            len: AtomicU32::new(0),
        }
    }
}

impl DentryQueue {
    fn added(&self, d: &Arc<Dentry>) {
        let mut victims: smallvec::SmallVec<[Weak<Dentry>; 4]> = smallvec::SmallVec::new();
        {
            let mut q = self.queue.lock();
            q.push_back(Arc::downgrade(d));
            while q.len() > DENTRY_LIMIT && victims.len() < 4 {
                victims.extend(q.pop_front());
            }
            self.len.store(q.len() as u32, Ordering::Relaxed);
        }
        for v in victims {
            // References are dropped with no lock held.
            let Some(d) = v.upgrade() else { continue };
            if d.used.swap(false, Ordering::Relaxed) || d.is_mount_point() {
                self.queue.lock().push_back(v);
                continue;
            }
            let again = Arc::downgrade(&d);
            d.prune();
            if again.strong_count() > 0 {
                self.queue.lock().push_back(again);
            }
        }
    }

    /// Dentries remembered now (some may be gone).
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
