//! Directory operations of hostfs: names looked up, made, moved and removed.

use std::sync::Arc;

use abi::{FileType, errno, fs as flags};
use hal::HostFile;
use kernel::{
    Result,
    task::Task,
    vfs::inode::{DirOps, Inode},
};

use super::{HostInode, Place};
use crate::{Key, dirs, lock, open::Opened};

impl DirOps for HostInode {
    fn lookup(&self, name: &[u8], _task: &Task) -> Result<Arc<dyn Inode>> {
        let inode = self.find(name)?;
        Ok(inode)
    }

    fn volatile(&self) -> bool {
        !self.fs.options.immutable
    }

    fn revalidate(&self, name: &[u8], inode: Option<&Arc<dyn Inode>>) -> bool {
        let known = inode.and_then(|i| i.as_any().downcast_ref::<HostInode>());
        match known {
            Some(i) if i.is_fresh() => return true,
            None if self.is_known_absent(name) => return true,
            _ => {}
        }
        let Ok(me) = self.arc() else { return false };
        let found = match dirs::handle(&me) {
            Ok(_) if self.is_sealed() => Err(errno::ENOENT),
            Ok(dir) => dir.stat_at(name),
            Err(e) => Err(e),
        };
        match (known, found) {
            (Some(i), Ok(stat)) if Key::of(&stat) == i.key => {
                if !i.is_at(self, name) {
                    if i.kind == FileType::Directory {
                        return false;
                    }
                    i.set_place(Place::at(me, name));
                }
                i.update(&stat);
                true
            }
            (None, Err(errno::ENOENT)) => {
                self.note_absent(name);
                true
            }
            _ => false,
        }
    }

    fn opening_checks(&self, name: &[u8], inode: &Arc<dyn Inode>) -> bool {
        // If it is fresh, nobody need be asked by name; if it is in use, the name is all that is asked for.
        let known = inode.as_any().downcast_ref::<HostInode>();
        known.is_some_and(|i| !i.is_fresh() && i.is_at(self, name) && i.idle().is_some())
    }

    fn create(&self, name: &[u8], mode: u32, _owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let (me, dir) = self.for_change()?;
        let append = if self.fs.options.append { flags::O_APPEND } else { 0 };
        let how = flags::O_CREAT | flags::O_EXCL | flags::O_RDWR | append;
        let file = self.fs.with_descriptors(|| dir.open_at(name, how, mode & flags::S_IALLUGO))?;
        self.changed();
        let stat = file.stat()?;
        let inode = self.fs.intern(&stat, &me, name)?;
        let opened = Opened::new(file, true, true, &stat);
        let old = lock(&self.fs.stash).replace((inode.key, opened));
        drop(old);
        Ok(inode)
    }

    fn mkdir(&self, name: &[u8], mode: u32, _owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let (me, dir) = self.for_change()?;
        dir.mkdir_at(name, mode & flags::S_IALLUGO)?;
        self.made(&me, &*dir, name)
    }

    fn mknod(&self, name: &[u8], mode: u32, rdev: u64, _owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let (me, dir) = self.for_change()?;
        dir.mknod_at(name, mode, rdev)?;
        self.made(&me, &*dir, name)
    }

    fn symlink(&self, name: &[u8], target: &[u8], _owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let (me, dir) = self.for_change()?;
        dir.symlink_at(name, target)?;
        self.made(&me, &*dir, name)
    }

    fn link(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let (me, dir) = self.for_change()?;
        let old = (**inode).as_any().downcast_ref::<HostInode>().ok_or(errno::EXDEV)?;
        match old.place() {
            Ok((Some(parent), old_name)) => dir.link_at(&*dirs::handle(&parent)?, &old_name, name)?,
            Ok((None, _)) => return Err(errno::EPERM),
            Err(e) => {
                let opened =
                    old.live().or_else(|| old.rare.get().and_then(|r| lock(&r.pinned).clone())).ok_or(e)?;
                opened.file.link_file_at(&*dir, name)?;
                old.set_place(Place::at(me, name));
            }
        }
        old.invalidate();
        self.changed();
        Ok(())
    }

    fn unlink(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let (_me, dir) = self.for_change()?;
        if self.fs.options.append {
            return Err(errno::EPERM);
        }
        dir.unlink_at(name, false)?;
        if let Some(old) = (**inode).as_any().downcast_ref::<HostInode>() {
            old.lost_name(self, name, true);
        }
        self.changed();
        Ok(())
    }

    fn rmdir(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let (_me, dir) = self.for_change()?;
        dir.unlink_at(name, true)?;
        if let Some(old) = (**inode).as_any().downcast_ref::<HostInode>() {
            old.lost_name(self, name, false);
        }
        self.changed();
        Ok(())
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], how: u32) -> Result<()> {
        const KNOWN: u32 = hal_flags::RENAME_NOREPLACE | hal_flags::RENAME_EXCHANGE;
        if how & !KNOWN != 0 {
            return Err(errno::EINVAL);
        }
        let to_inode = (**new_dir).as_any().downcast_ref::<HostInode>().ok_or(errno::EXDEV)?;
        let (me, from) = self.for_change()?;
        let (to_me, to) = to_inode.for_change()?;
        let known =
            |dir: &dyn HostFile, n: &[u8]| dir.stat_at(n).ok().and_then(|s| self.fs.known(&Key::of(&s)));
        let (moved, target) = (known(&*from, name), known(&*to, new_name));
        from.rename_at(name, &*to, new_name, how)?;
        let is_same = matches!((&moved, &target), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        if !is_same {
            if let Some(target) = target {
                if how & hal_flags::RENAME_EXCHANGE != 0 {
                    target.set_place(Place::at(me, name));
                    target.invalidate();
                } else {
                    target.lost_name(to_inode, new_name, target.kind != FileType::Directory);
                }
            }
            if let Some(moved) = moved {
                moved.set_place(Place::at(to_me, new_name));
                moved.invalidate();
            }
        }
        self.changed();
        to_inode.changed();
        Ok(())
    }

    fn tmpfile(&self, mode: u32, _owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let (_me, dir) = self.for_change()?;
        let how = flags::O_TMPFILE | flags::O_RDWR;
        let file = match self.fs.with_descriptors(|| dir.open_at(b".", how, mode & flags::S_IALLUGO)) {
            // What host filesystems without it say (open(2)).
            Err(errno::EISDIR | errno::ENOENT | errno::EINVAL) => return Err(errno::EOPNOTSUPP),
            file => file?,
        };
        let stat = file.stat()?;
        let (inode, _) = self.fs.intern_at(&stat, Place::nowhere())?;
        let opened = Opened::new(file, true, true, &stat);
        *lock(&inode.opened) = Arc::downgrade(&opened);
        *lock(&inode.rare().pinned) = Some(opened);
        Ok(inode)
    }
}

/// Flags of renameat2(2).
mod hal_flags {
    pub(super) const RENAME_NOREPLACE: u32 = 1;
    pub(super) const RENAME_EXCHANGE: u32 = 2;
}
