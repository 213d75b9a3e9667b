//! Mounts and mount namespaces.
//!
//! A [`Mount`] shows a filesystem, or a part of one, at a dentry of another mount. A namespace keeps which mount stands on
//! which place. Changes are serialised by `MOUNTS`; walks take only the short lock of the table, and only at a dentry
//! that is a mount point. Which changes happen elsewhere, too, is said in [`propagate`].

pub mod propagate;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use abi::{
    errno::{EBUSY, EINVAL, ELOOP, ENOTDIR},
    fs::{MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_NOSYMFOLLOW, MS_RDONLY, MS_RELATIME},
};
use ksync::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};

use self::propagate::{Branch, Kind, Propagation};
use super::{dentry::Dentry, inode::FileSystem, path::Path};
use crate::{error::Result, locks};

/// Flags a mount keeps (MS_*).
pub const MOUNT_FLAGS: u32 =
    MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_NOSYMFOLLOW;

/// One mount.
pub struct Mount {
    /// As in /proc/PID/mountinfo.
    pub id: u64,
    pub fs: Arc<dyn FileSystem>,
    /// What is shown: the root of the filesystem, or a part (bind mounts).
    pub root: Arc<Dentry>,
    /// First field of /proc/mounts.
    pub source: Vec<u8>,
    flags: AtomicU32,
    /// The whole filesystem was made read-only (a remount without MS_BIND).
    fs_read_only: AtomicBool,
    propagation: RwLock<Propagation>,
    /// Marked by MNT_EXPIRE, until somebody walks in.
    expiring: AtomicBool,
    /// Where it is mounted; `None` for the root of a namespace, internal mounts and detached ones.
    place: RwLock<Option<Path>>,
}

impl Mount {
    /// A mount that stands nowhere yet.
    pub fn new(fs: Arc<dyn FileSystem>, root: Arc<Dentry>, source: &[u8], flags: u32) -> Arc<Mount> {
        static NEXT: AtomicU64 = AtomicU64::new(20);
        Arc::new(Mount {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            fs,
            root,
            source: source.to_vec(),
            flags: AtomicU32::new(flags & MOUNT_FLAGS),
            fs_read_only: AtomicBool::new(false),
            propagation: RwLock::new(locks::LEAF, Propagation::default()),
            expiring: AtomicBool::new(false),
            place: RwLock::new(locks::LEAF, None),
        })
    }
    /// MS_* flags of this mount.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags & MOUNT_FLAGS, Ordering::Relaxed);
    }
    pub fn read_only(&self) -> bool {
        self.flags() & MS_RDONLY != 0 || self.fs_read_only()
    }
    /// The filesystem is read-only through whatever mount.
    pub fn fs_read_only(&self) -> bool {
        self.fs_read_only.load(Ordering::Relaxed)
    }
    pub fn propagation(&self) -> Propagation {
        *self.propagation.read()
    }
    fn set_propagation(&self, p: Propagation) {
        *self.propagation.write() = p;
    }
    /// Marks the mount for MNT_EXPIRE; whether it was before.
    pub fn mark_expiring(&self) -> bool {
        self.expiring.swap(true, Ordering::Relaxed)
    }
    pub fn is_expiring(&self) -> bool {
        self.expiring.load(Ordering::Relaxed)
    }
    /// Another mount of the same filesystem, showing `root`.
    fn twin(&self, root: Arc<Dentry>) -> Arc<Mount> {
        let twin = Mount::new(self.fs.clone(), root, &self.source, self.flags());
        twin.fs_read_only.store(self.fs_read_only(), Ordering::Relaxed);
        twin
    }
    /// The place it covers.
    pub fn place(&self) -> Option<Path> {
        self.place.read().clone()
    }
    /// The mount it stands on.
    pub fn parent(&self) -> Option<Arc<Mount>> {
        self.place.read().as_ref().map(|p| p.mount.clone())
    }
    /// Its root as a place.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path { mount: self.clone(), dentry: self.root.clone() }
    }
    fn set_place(&self, place: Option<Path>) {
        let old = std::mem::replace(&mut *self.place.write(), place);
        drop(old);
    }
}

#[derive(Default)]
struct Table {
    /// Topmost mount on (mount, dentry); a covered one is found as the top one's place.
    by_place: FxHashMap<(u64, usize), Arc<Mount>>,
    /// In the order of mounting, the root first.
    order: Vec<Arc<Mount>>,
}

/// The mounts that a task sees.
pub struct MountNs {
    table: RwLock<Table>,
    /// Held over changes.
    changes: Mutex<()>,
    /// For the next group of peers.
    next_group: AtomicU64,
    /// Counts changes, for pollers of /proc/mounts.
    generation: AtomicU64,
}

fn key(at: &Path) -> (u64, usize) {
    (at.mount.id, Arc::as_ptr(&at.dentry).addr())
}

/// It stands on a mount that is shared.
fn is_on_shared(mount: &Mount) -> bool {
    mount.parent().is_some_and(|p| p.propagation().group.is_some())
}

impl MountNs {
    /// A namespace with one mount.
    pub fn new(root: Arc<Mount>) -> Arc<MountNs> {
        let table = Table { by_place: FxHashMap::default(), order: vec![root] };
        Arc::new(MountNs {
            table: RwLock::new(locks::LEAF, table),
            changes: Mutex::new(locks::MOUNTS, ()),
            next_group: AtomicU64::new(1),
            generation: AtomicU64::new(0),
        })
    }

    /// The root of the namespace, with what is mounted over it.
    pub fn root(&self) -> Path {
        let root = self.table.read().order[0].clone();
        self.cross(root.root_path())
    }

    /// All mounts, the root first.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.table.read().order.clone()
    }
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Goes down into what is mounted at a place.
    #[inline]
    pub fn cross(&self, mut at: Path) -> Path {
        while at.dentry.is_mount_point() {
            let Some(m) = self.table.read().by_place.get(&key(&at)).cloned() else { break };
            if m.is_expiring() {
                m.expiring.store(false, Ordering::Relaxed);
            }
            at = m.root_path();
        }
        at
    }

    /// True if the mount is part of this namespace.
    pub fn contains(&self, mount: &Arc<Mount>) -> bool {
        self.table.read().order.iter().any(|m| Arc::ptr_eq(m, mount))
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Mounts on a place (which has been crossed: a walk's result), and wherever it propagates to. ENOTDIR if one is a
    /// directory and the other is not, EINVAL if the place is not in this namespace, ENOSPC for too many mounts.
    pub fn attach(&self, mount: Arc<Mount>, at: &Path) -> Result<()> {
        let _changes = self.changes.lock();
        let tree = self.tree(&mount.root_path(), false, false);
        self.graft(&tree, at)
    }

    /// Mounts a tree of new mounts.
    fn graft(&self, tree: &[Branch], at: &Path) -> Result<()> {
        let Some(top) = tree.first() else { return Ok(()) };
        let at = self.place_for(&top.mount, at)?;
        let plan = self.plan(tree, &at)?;
        self.stand_tree(tree, &at);
        self.carry_out(&plan, tree, &at);
        Ok(())
    }

    /// Where exactly a mount would stand, if it may.
    fn place_for(&self, mount: &Mount, at: &Path) -> Result<Path> {
        let is_dir = |d: &Arc<Dentry>| d.inode_ref().is_some_and(|i| i.dir().is_some());
        if is_dir(&mount.root) != is_dir(&at.dentry) {
            return Err(ENOTDIR);
        }
        if at.dentry.is_removed() {
            return Err(abi::errno::ENOENT);
        }
        // Another mount may have come between the walk and now.
        let at = self.cross(at.clone());
        if self.contains(&at.mount) { Ok(at) } else { Err(EINVAL) }
    }

    /// Mounts on a place without further effect.
    fn stand(&self, mount: &Arc<Mount>, at: Path) {
        at.dentry.add_mount();
        let mut t = self.table.write();
        t.by_place.insert(key(&at), mount.clone());
        t.order.push(mount.clone());
        drop(t);
        mount.set_place(Some(at));
        self.changed();
    }

    /// Mounts standing on `mount`, directly.
    fn children(&self, mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let all = self.mounts();
        all.into_iter().filter(|m| m.parent().is_some_and(|p| Arc::ptr_eq(&p, mount))).collect()
    }

    /// The opposite of [`MountNs::stand`].
    fn take_away(&self, mount: &Arc<Mount>) {
        let Some(at) = mount.place() else { return };
        let mut t = self.table.write();
        let gone = t.by_place.remove(&key(&at));
        t.order.retain(|m| !Arc::ptr_eq(m, mount));
        drop(t);
        drop(gone);
        at.dentry.remove_mount();
        mount.set_place(None);
        self.changed();
    }

    /// umount2(2). `busy`: somebody uses the mount (open files, working directories), as far as the caller knows. EBUSY if
    /// it is used or carries mounts, unless `lazy`. EINVAL if it is not a mount's root or is the root of the namespace.
    /// The mounts that are gone, here and where it propagated to.
    pub fn detach(
        &self,
        at: &Path,
        lazy: bool,
        busy: impl Fn(&Arc<Mount>) -> bool,
    ) -> Result<Vec<Arc<Mount>>> {
        let _changes = self.changes.lock();
        let mount = &at.mount;
        if !Arc::ptr_eq(&at.dentry, &mount.root) || mount.place().is_none() || !self.contains(mount) {
            return Err(EINVAL);
        }
        let above = self.children(mount);
        if !lazy && (!above.is_empty() || busy(mount) || self.echoes_are_busy(mount, &busy)) {
            return Err(EBUSY);
        }
        let mut all = vec![mount.clone()];
        let mut i = 0;
        while i < all.len() {
            let more = self.children(&all[i]);
            all.extend(more);
            i += 1;
        }
        let elsewhere = self.unmounted_elsewhere(&all);
        for m in all.iter().rev() {
            self.take_away(m);
            self.change_propagation(m, Kind::Private);
        }
        for m in elsewhere.iter().rev() {
            self.detach_echo(m);
        }
        all.extend(elsewhere);
        if !lazy && !self.mounts().iter().any(|m| Arc::ptr_eq(&m.fs, &mount.fs)) {
            let _ = mount.fs.sync();
            mount.root.shrink();
        }
        Ok(all)
    }

    /// A bind mount of `from` on `at`; with `recursive` also what is mounted below.
    pub fn bind(&self, from: &Path, at: &Path, recursive: bool) -> Result<()> {
        let _changes = self.changes.lock();
        if !self.contains(&from.mount) || from.mount.propagation().unbindable {
            return Err(EINVAL);
        }
        let old = self.tree(from, recursive, true);
        let mut new = propagate::twins(&old);
        if let Some(top) = new.first_mut() {
            top.mount = from.mount.twin(from.dentry.clone());
        }
        for (o, n) in old.iter().zip(&new) {
            n.mount.set_propagation(o.mount.propagation());
        }
        self.graft(&new, at)
    }

    /// Mounts at or below a place, parents first.
    fn below(&self, top: &Path) -> Vec<Arc<Mount>> {
        let mut found: Vec<Arc<Mount>> = Vec::new();
        let mut ids = FxHashSet::default();
        let mut left: Vec<(Arc<Mount>, Path)> =
            self.mounts().into_iter().filter_map(|m| m.place().map(|p| (m, p))).collect();
        // Again where one that was moved, or came to stand on another, is older than what it stands on.
        loop {
            let before = found.len();
            left.retain(|(m, place)| {
                let direct = Arc::ptr_eq(&place.mount, &top.mount) && place.dentry.is_within(&top.dentry);
                let is_below = direct || ids.contains(&place.mount.id);
                if is_below {
                    ids.insert(m.id);
                    found.push(m.clone());
                }
                !is_below
            });
            if found.len() == before {
                return found;
            }
        }
    }

    /// Makes the filesystem of `mount` read-only or writable through all of its mounts.
    pub fn set_fs_read_only(&self, mount: &Mount, read_only: bool) {
        for m in self.mounts().iter().filter(|m| Arc::ptr_eq(&m.fs, &mount.fs)) {
            m.fs_read_only.store(read_only, Ordering::Relaxed);
        }
    }

    /// Moves a mount (MS_MOVE). EINVAL if it is none or the root, if it stands on a shared mount, if one is a directory and the
    /// other not, or if the place is shared and something may not be bound there; ELOOP if `at` is below it.
    pub fn move_mount(&self, from: &Path, at: &Path) -> Result<()> {
        let _changes = self.changes.lock();
        let mount = &from.mount;
        if !Arc::ptr_eq(&from.dentry, &mount.root) || mount.place().is_none() || !self.contains(mount) {
            return Err(EINVAL);
        }
        let is_dir = |d: &Arc<Dentry>| d.inode_ref().is_some_and(|i| i.dir().is_some());
        if is_dir(&mount.root) != is_dir(&at.dentry) || is_on_shared(mount) {
            return Err(EINVAL);
        }
        let tree = self.tree(from, true, false);
        let is_unbindable = |b: &Branch| b.mount.propagation().unbindable;
        if at.mount.propagation().group.is_some() && tree.iter().any(is_unbindable) {
            return Err(EINVAL);
        }
        let mut up = Some(at.mount.clone());
        while let Some(m) = up {
            if Arc::ptr_eq(&m, mount) {
                return Err(ELOOP);
            }
            up = m.parent();
        }
        let at = self.place_for(mount, at)?;
        let plan = self.plan(&tree, &at)?;
        self.take_away(mount);
        self.stand(mount, at.clone());
        self.carry_out(&plan, &tree, &at);
        Ok(())
    }

    /// pivot_root(2): `new_root` (a mount) becomes the root, the old root goes to `put_old` below it.
    pub fn pivot_root(&self, new_root: &Path, put_old: &Path, old_root: &Path) -> Result<()> {
        let _changes = self.changes.lock();
        let (new, old) = (&new_root.mount, &old_root.mount);
        if Arc::ptr_eq(new, old) || Arc::ptr_eq(&put_old.mount, old) {
            return Err(EBUSY);
        }
        if !Arc::ptr_eq(&new_root.dentry, &new.root)
            || !Arc::ptr_eq(&old_root.dentry, &old.root)
            || !self.contains(new)
            || new.place().is_none()
            || put_old.mount.propagation().group.is_some()
            || is_on_shared(new)
            || is_on_shared(old)
        {
            return Err(EINVAL);
        }
        // put_old must be reachable from new_root.
        let mut at = put_old.clone();
        while !Arc::ptr_eq(&at.mount, new) {
            at = at.mount.place().ok_or(EINVAL)?;
        }
        if !at.dentry.is_within(&new_root.dentry) {
            return Err(EINVAL);
        }
        let put_old = self.place_for(old, put_old)?;
        let old_place = old.place();
        self.take_away(new);
        match old_place {
            None => {
                // The namespace's root changes: the first in the order.
                let mut t = self.table.write();
                t.order.insert(0, new.clone());
                t.order.retain({
                    let old = old.clone();
                    move |m| !Arc::ptr_eq(m, &old)
                });
                drop(t);
            }
            Some(place) => {
                self.take_away(old);
                self.stand(new, place);
            }
        }
        self.stand(old, put_old);
        Ok(())
    }

    /// A copy for CLONE_NEWNS: the same mounts under new ids. `places` are moved to the copies.
    pub fn copy(&self, places: &mut [&mut Path]) -> Result<Arc<MountNs>> {
        let _changes = self.changes.lock();
        let all = self.mounts();
        let copy_of = |m: &Arc<Mount>| m.twin(m.root.clone());
        let mut pairs = vec![(all[0].clone(), copy_of(&all[0]))];
        let ns = MountNs::new(pairs[0].1.clone());
        for m in &all[1..] {
            let Some(place) = m.place() else { continue };
            let Some(parent) = pairs.iter().find(|(o, _)| Arc::ptr_eq(o, &place.mount)).map(|p| p.1.clone())
            else {
                continue;
            };
            let copy = copy_of(m);
            let at = Path { mount: parent, dentry: place.dentry };
            ns.stand(&copy, at);
            pairs.push((m.clone(), copy));
        }
        for p in places.iter_mut() {
            if let Some((_, new)) = pairs.iter().find(|(o, _)| Arc::ptr_eq(o, &p.mount)) {
                p.mount = new.clone();
            }
        }
        Ok(ns)
    }
}

impl Drop for MountNs {
    fn drop(&mut self) {
        for m in self.mounts() {
            if let Some(at) = m.place() {
                at.dentry.remove_mount();
                m.set_place(None);
            }
        }
    }
}
