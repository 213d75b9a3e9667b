//! Directories of tmpfs: entries by name, and by a cookie that never changes, for listings.

use std::{collections::BTreeMap, sync::Arc};

use abi::{
    FileType,
    errno::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV},
    fs::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, S_IFCHR, S_IFREG},
};
use kernel::{
    Result,
    task::Task,
    vfs::{
        file::DirSink,
        inode::{DirOps, Inode},
    },
};
use ksync::MutexGuard;
use rustc_hash::FxHashMap;

use crate::{TmpInode, file::mode_of, inode::Node};

/// Cookies of `.` and `..`.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

type Entry = (Arc<[u8]>, Arc<TmpInode>);

/// The entries of one directory.
pub(crate) struct Entries {
    by_name: FxHashMap<Arc<[u8]>, u64>,
    by_cookie: BTreeMap<u64, Entry>,
    next: u64,
    parent: u64,
    /// Removed: nothing can be added.
    dead: bool,
}

impl Entries {
    pub(crate) fn new(parent: u64) -> Entries {
        Entries {
            by_name: FxHashMap::default(),
            by_cookie: BTreeMap::new(),
            next: DOT_DOT + 1,
            parent,
            dead: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<TmpInode>> {
        let cookie = self.by_name.get(name)?;
        self.by_cookie.get(cookie).map(|e| &e.1)
    }

    fn add(&mut self, name: &[u8], inode: Arc<TmpInode>) {
        let name: Arc<[u8]> = Arc::from(name);
        let cookie = self.next;
        self.next += 1;
        self.by_name.insert(name.clone(), cookie);
        self.by_cookie.insert(cookie, (name, inode));
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpInode>> {
        let cookie = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie).map(|e| e.1)
    }

    /// Puts another inode under a name that is there; the old one.
    fn replace(&mut self, name: &[u8], inode: Arc<TmpInode>) -> Option<Arc<TmpInode>> {
        let cookie = self.by_name.get(name)?;
        self.by_cookie.get_mut(cookie).map(|e| std::mem::replace(&mut e.1, inode))
    }

    pub(crate) fn take_all(&mut self) -> Vec<Arc<TmpInode>> {
        self.by_name.clear();
        std::mem::take(&mut self.by_cookie).into_values().map(|e| e.1).collect()
    }

    /// Lists from position `pos`; the new position.
    pub(crate) fn list(&self, ino: u64, mut pos: u64, sink: &mut DirSink<'_>) -> u64 {
        if self.dead {
            return pos;
        }
        let dir = FileType::Directory.d_type();
        if pos < DOT {
            if !sink(b".", ino, dir, DOT) {
                return pos;
            }
            pos = DOT;
        }
        if pos < DOT_DOT {
            if !sink(b"..", self.parent, dir, DOT_DOT) {
                return pos;
            }
            pos = DOT_DOT;
        }
        for (cookie, (name, inode)) in self.by_cookie.range(pos.saturating_add(1)..) {
            if !sink(name, inode.ino(), inode.kind().d_type(), *cookie) {
                return pos;
            }
            pos = *cookie;
        }
        pos
    }

    fn alive(&self) -> Result<()> {
        if self.dead { Err(ENOENT) } else { Ok(()) }
    }
}

impl TmpInode {
    pub(crate) fn entries(&self) -> Result<MutexGuard<'_, Entries>> {
        match &self.node {
            Node::Dir(e) => Ok(e.lock()),
            _ => Err(ENOTDIR),
        }
    }

    /// Adds a new inode under a name.
    pub(crate) fn add_entry(&self, name: &[u8], inode: Arc<TmpInode>) -> Result<()> {
        let mut e = self.entries()?;
        e.alive()?;
        if e.by_name.contains_key(name) {
            return Err(EEXIST);
        }
        let is_dir = inode.kind() == FileType::Directory;
        e.add(name, inode);
        drop(e);
        let now = self.sb.now();
        self.touch_modified(now);
        if is_dir {
            self.change_links(1, now);
        }
        Ok(())
    }

    fn make(&self, name: &[u8], mode: u32, rdev: u64, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let inode = TmpInode::new(&self.sb, self.ino(), mode, rdev, owner)?;
        self.add_entry(name, inode.clone())?;
        Ok(inode)
    }

    /// The entry of a name if it is this inode.
    fn check_entry(e: &Entries, name: &[u8], inode: &Arc<dyn Inode>) -> Result<Arc<TmpInode>> {
        let found = e.get(name).ok_or(ENOENT)?;
        let is_same = inode.as_any().downcast_ref::<TmpInode>().is_some_and(|i| std::ptr::eq(i, &**found));
        if is_same { Ok(found.clone()) } else { Err(ENOENT) }
    }

    /// The directory lost its last name.
    fn kill(&self, now: abi::Timespec) {
        let mut m = self.meta.lock();
        m.nlink = 0;
        m.ctime = now;
    }
}

impl DirOps for TmpInode {
    fn lookup(&self, name: &[u8], _task: &Task) -> Result<Arc<dyn Inode>> {
        self.entries()?.get(name).cloned().map(|i| i as Arc<dyn Inode>).ok_or(ENOENT)
    }
    fn create(&self, name: &[u8], mode: u32, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        self.make(name, mode_of(FileType::Regular, mode), 0, owner)
    }
    fn mkdir(&self, name: &[u8], mode: u32, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        self.make(name, mode_of(FileType::Directory, mode), 0, owner)
    }
    fn mknod(&self, name: &[u8], mode: u32, rdev: u64, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        self.make(name, mode, rdev, owner)
    }
    fn symlink(&self, name: &[u8], target: &[u8], owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let inode = TmpInode::new_link(&self.sb, target, owner)?;
        self.add_entry(name, inode.clone())?;
        Ok(inode)
    }

    fn link(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let target = inode.as_any().downcast_ref::<TmpInode>().and_then(|i| i.me.upgrade()).ok_or(EXDEV)?;
        if !Arc::ptr_eq(&target.sb, &self.sb) {
            return Err(EXDEV);
        }
        self.add_entry(name, target.clone())?;
        target.change_links(1, self.sb.now());
        Ok(())
    }

    fn unlink(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let mut e = self.entries()?;
        let found = TmpInode::check_entry(&e, name, inode)?;
        if found.kind() == FileType::Directory {
            return Err(EISDIR);
        }
        let gone = e.remove(name);
        drop(e);
        drop(gone);
        let now = self.sb.now();
        self.touch_modified(now);
        found.change_links(-1, now);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let mut e = self.entries()?;
        let found = TmpInode::check_entry(&e, name, inode)?;
        {
            // Parent before child.
            let mut below = found.entries()?;
            if below.len() > 0 {
                return Err(ENOTEMPTY);
            }
            below.dead = true;
        }
        let gone = e.remove(name);
        drop(e);
        drop(gone);
        let now = self.sb.now();
        found.kill(now);
        self.touch_modified(now);
        self.change_links(-1, now);
        Ok(())
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], flags: u32) -> Result<()> {
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0 {
            return Err(EINVAL);
        }
        let to_dir = new_dir.as_any().downcast_ref::<TmpInode>().ok_or(EXDEV)?;
        if !Arc::ptr_eq(&to_dir.sb, &self.sb) {
            return Err(EXDEV);
        }
        let same_dir = std::ptr::eq(self, to_dir);
        let whiteout = if flags & RENAME_WHITEOUT != 0 {
            Some(TmpInode::new(&self.sb, self.ino(), S_IFCHR, 0, (0, 0))?)
        } else {
            None
        };
        // Whoever renames between directories holds the VFS's rename lock, so any fixed order will do.
        let (mut first, mut second) = if same_dir {
            (self.entries()?, None)
        } else if self.ino() < to_dir.ino() {
            let f = self.entries()?;
            (f, Some(to_dir.entries()?))
        } else {
            let t = to_dir.entries()?;
            let f = self.entries()?;
            (f, Some(t))
        };
        let moving = first.get(name).cloned().ok_or(ENOENT)?;
        let target = second.as_ref().unwrap_or(&first).get(new_name).cloned();
        second.as_ref().unwrap_or(&first).alive()?;
        let is_dir = moving.kind() == FileType::Directory;
        let now = self.sb.now();
        if flags & RENAME_EXCHANGE != 0 {
            let other = target.ok_or(ENOENT)?;
            first.replace(name, other.clone());
            second.as_mut().unwrap_or(&mut first).replace(new_name, moving.clone());
            drop((second, first));
            if !same_dir {
                for (inode, parent, from) in [(&moving, to_dir, self), (&other, self, to_dir)] {
                    if inode.kind() == FileType::Directory {
                        inode.entries()?.parent = parent.ino();
                        from.change_links(-1, now);
                        parent.change_links(1, now);
                    }
                }
            }
            other.touch_changed(now);
        } else {
            if let Some(t) = &target {
                if flags & RENAME_NOREPLACE != 0 {
                    return Err(EEXIST);
                }
                if Arc::ptr_eq(t, &moving) {
                    return Ok(());
                }
                match (is_dir, t.kind() == FileType::Directory) {
                    (true, false) => return Err(ENOTDIR),
                    (false, true) => return Err(EISDIR),
                    _ => {}
                }
                if is_dir {
                    let mut below = t.entries()?;
                    if below.len() > 0 {
                        return Err(ENOTEMPTY);
                    }
                    below.dead = true;
                }
            }
            let gone = first.remove(name);
            let replaced = {
                let to = second.as_mut().unwrap_or(&mut first);
                let old = to.remove(new_name);
                to.add(new_name, moving.clone());
                old
            };
            if let Some(w) = &whiteout {
                first.add(name, w.clone());
            }
            drop((second, first));
            drop(gone);
            if let Some(t) = &replaced {
                if is_dir {
                    t.kill(now);
                    to_dir.change_links(-1, now);
                } else {
                    t.change_links(-1, now);
                }
            }
            if is_dir && !same_dir {
                moving.entries()?.parent = to_dir.ino();
                self.change_links(-1, now);
                to_dir.change_links(1, now);
            }
        }
        self.touch_modified(now);
        to_dir.touch_modified(now);
        moving.touch_changed(now);
        Ok(())
    }

    fn tmpfile(&self, mode: u32, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let inode = TmpInode::new(&self.sb, self.ino(), S_IFREG | mode, 0, owner)?;
        inode.change_links(-1, self.sb.now());
        Ok(inode)
    }
}
