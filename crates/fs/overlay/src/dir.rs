//! Names of the overlay: look-ups through the layers, and changes in the upper one.

use std::sync::Arc;

use abi::{
    FileType,
    errno::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, EPERM, EXDEV},
    fs::{RENAME_EXCHANGE, RENAME_NOREPLACE, S_IFCHR, S_IFMT},
};
use kernel::{
    Result,
    task::Task,
    vfs::inode::{DirOps, Inode},
};

use crate::{
    DEVICE, Lower, Lowers, OPAQUE, OvlInode,
    copy::Extent,
    entry,
    inode::{PURE_LOWER, Place},
    is_opaque, is_whiteout,
};

/// What a name is in the upper directory.
enum Above {
    Nothing,
    Whiteout(Arc<dyn Inode>),
    Object(Arc<dyn Inode>),
}

impl OvlInode {
    fn above(&self, name: &[u8], task: &Task) -> Result<Above> {
        let Some(upper) = self.upper_inode() else { return Ok(Above::Nothing) };
        Ok(match entry(&upper, name, task)? {
            None => Above::Nothing,
            Some(i) if is_whiteout(&*i) => Above::Whiteout(i),
            Some(i) => Above::Object(i),
        })
    }

    /// Lower objects of a name: directories that merge, or one file.
    fn below(&self, name: &[u8], task: &Task) -> Result<Lowers> {
        let mut found = Lowers::new();
        let several = self.lowers.len() > 1;
        for dir in &self.lowers {
            let Some(inode) = entry(&dir.inode, name, task)? else { continue };
            if several && is_whiteout(&*inode) {
                break;
            }
            if inode.kind() != FileType::Directory {
                if found.is_empty() {
                    found.push(Lower { layer: dir.layer, inode });
                }
                break;
            }
            let opaque = several && is_opaque(&*inode);
            found.push(Lower { layer: dir.layer, inode });
            if opaque {
                break;
            }
        }
        Ok(found)
    }

    fn place_of(&self, name: &[u8]) -> Result<Place> {
        Ok(Place { parent: Some(self.arc()?), name: Arc::from(name) })
    }

    /// The overlay inode of a name; ENOENT.
    fn find(&self, name: &[u8], task: &Task) -> Result<Arc<OvlInode>> {
        match self.above(name, task)? {
            Above::Whiteout(_) => Err(ENOENT),
            Above::Object(upper) => {
                let key = (0, upper.ino());
                if let Some(known) = self.shared.find(key) {
                    return Ok(known);
                }
                // Made in this tree before it was mounted, or since: what is below merges unless it says otherwise.
                let merges =
                    upper.kind() == FileType::Directory && !self.lowers.is_empty() && !is_opaque(&*upper);
                let mut lowers = if merges { self.below(name, task)? } else { Lowers::new() };
                lowers.retain(|l| l.inode.kind() == FileType::Directory);
                let merged = !lowers.is_empty();
                let new = OvlInode::make(&self.shared, Some(upper), lowers, Some(self.place_of(name)?));
                let inode = self.shared.remember(key, new);
                if merged {
                    self.shared.pin(&inode);
                }
                Ok(inode)
            }
            Above::Nothing => {
                let lowers = self.below(name, task)?;
                let first = lowers.first().ok_or(ENOENT)?;
                let key = (first.layer, first.inode.ino());
                if let Some(known) = self.shared.find(key) {
                    // The same object through another name (a hard link), or again; a stale one if the number was used
                    // anew.
                    let same = known.lowers.first().is_some_and(|l| Arc::ptr_eq(&l.inode, &first.inode));
                    if same || known.level() != PURE_LOWER {
                        if known.level() == PURE_LOWER {
                            known.set_place(Some(self.place_of(name)?));
                        }
                        return Ok(known);
                    }
                    self.shared.inodes.lock().remove(&key);
                }
                let new = OvlInode::make(&self.shared, None, lowers, Some(self.place_of(name)?));
                Ok(self.shared.remember(key, new))
            }
        }
    }

    /// Is there something below that a whiteout must hide?
    fn must_hide(&self, name: &[u8], task: &Task) -> Result<bool> {
        let below = self.below(name, task)?;
        if let Some(l) = below.first() {
            self.shared.note_base(l);
        }
        Ok(!below.is_empty())
    }

    /// The overlay inode of a name; ENOENT.
    pub(crate) fn child(&self, name: &[u8], task: &Task) -> Result<Arc<OvlInode>> {
        self.find(name, task)
    }

    pub(crate) fn put_whiteout(upper: &Arc<dyn Inode>, name: &[u8]) -> Result<()> {
        upper.dir().ok_or(ENOTDIR)?.mknod(name, S_IFCHR, 0, (0, 0)).map(drop)
    }

    /// Makes a new upper object under a name, in place of a whiteout if there is one.
    fn make_above(
        &self,
        name: &[u8],
        make: impl FnOnce(&dyn DirOps) -> Result<Arc<dyn Inode>>,
    ) -> Result<Arc<dyn Inode>> {
        let upper = self.copy_up(Extent::Attributes)?;
        let task = self.shared.task()?;
        let _tree = self.shared.tree.lock();
        let dir = upper.dir().ok_or(ENOTDIR)?;
        let whiteout = match self.above(name, &task)? {
            Above::Object(_) => return Err(EEXIST),
            Above::Whiteout(w) => {
                dir.unlink(name, &w)?;
                true
            }
            Above::Nothing => false,
        };
        match make(dir) {
            Ok(i) => Ok(i),
            Err(e) => {
                if whiteout {
                    OvlInode::put_whiteout(&upper, name)?;
                }
                Err(e)
            }
        }
    }

    /// The overlay inode of an upper object just made.
    fn adopt(&self, name: &[u8], upper: Arc<dyn Inode>) -> Result<Arc<dyn Inode>> {
        let key = (0, upper.ino());
        let new = OvlInode::make(&self.shared, Some(upper), Lowers::new(), Some(self.place_of(name)?));
        Ok(self.shared.remember(key, new))
    }

    fn same_overlay<'a>(&self, inode: &'a Arc<dyn Inode>) -> Result<&'a OvlInode> {
        let i = inode.as_any().downcast_ref::<OvlInode>().ok_or(EXDEV)?;
        if Arc::ptr_eq(&i.shared, &self.shared) { Ok(i) } else { Err(EXDEV) }
    }

    /// A name of `inode` is gone: unless it has others, nothing needs to be remembered of it.
    fn lost_name(&self, inode: &OvlInode) {
        let left = match inode.upper_inode() {
            Some(u) => u.attr().map_or(0, |a| a.nlink),
            None => 0,
        };
        if inode.kind() == FileType::Directory || inode.names(left) == 0 {
            inode.set_place(None);
            self.shared.unpin(inode);
        } else if inode.level() == PURE_LOWER {
            // Kept, so that its count of hidden names is.
            if let Ok(me) = inode.arc() {
                self.shared.pin(&me);
            }
        }
    }

    /// Removes whiteouts from an upper directory that is to go.
    fn clear_whiteouts(upper: &Arc<dyn Inode>, layer: &crate::Layer, task: &Task) -> Result<()> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let file = layer.open(upper, abi::OpenFlags::DIRECTORY, task)?;
        let mut pos = 0;
        loop {
            let before = names.len();
            let next = file.ops.read_dir(&file, task, pos, &mut |name, _, _, _| {
                if name != b"." && name != b".." {
                    names.push(name.to_vec());
                }
                true
            })?;
            if names.len() == before || next == pos {
                break;
            }
            pos = next;
        }
        let dir = upper.dir().ok_or(ENOTDIR)?;
        for n in names {
            if let Some(i) = entry(upper, &n, task)?
                && is_whiteout(&*i)
            {
                dir.unlink(&n, &i)?;
            }
        }
        Ok(())
    }

    /// Takes the name of an empty directory out of the upper tree (no whiteout is left yet).
    fn drop_dir_above(&self, name: &[u8], task: &Task) -> Result<()> {
        let upper = self.upper_inode().ok_or(ENOENT)?;
        if let Above::Object(o) = self.above(name, task)? {
            OvlInode::clear_whiteouts(&o, self.shared.upper()?, task)?;
            upper.dir().ok_or(ENOTDIR)?.rmdir(name, &o)?;
        }
        Ok(())
    }

    /// Marks a directory without lower parts, so that what is below its name does not show through.
    fn hide_below(&self, dir: &OvlInode) -> Result<()> {
        if dir.kind() == FileType::Directory
            && dir.lowers.is_empty()
            && let Some(u) = dir.upper_inode()
            && let Some(x) = u.xattr()
        {
            x.set(OPAQUE, b"y", 0)?;
        }
        Ok(())
    }
}

impl DirOps for OvlInode {
    fn lookup(&self, name: &[u8], task: &Task) -> Result<Arc<dyn Inode>> {
        Ok(self.find(name, task)?)
    }

    fn volatile(&self) -> bool {
        self.volatile
    }

    fn revalidate(&self, name: &[u8], inode: Option<&Arc<dyn Inode>>) -> bool {
        let known = match inode {
            None => None,
            Some(i) => match i.as_any().downcast_ref::<OvlInode>() {
                // What was copied up does not change behind our back.
                Some(o) if o.level() != PURE_LOWER || o.lowers.len() != 1 => return true,
                Some(o) => o.lowers.first().map(|l| &l.inode),
                None => return false,
            },
        };
        let [lower] = &self.lowers[..] else { return true };
        if known.is_none()
            && let Some(upper) = self.upper_inode()
            && let Ok(task) = self.shared.task()
            && !matches!(entry(&upper, name, &task), Ok(None))
        {
            // A whiteout: nothing below counts.
            return true;
        }
        lower.inode.dir().is_some_and(|d| d.revalidate(name, known))
    }

    fn opening_checks(&self, name: &[u8], inode: &Arc<dyn Inode>) -> bool {
        let [lower] = &self.lowers[..] else { return false };
        let known = inode.as_any().downcast_ref::<OvlInode>().filter(|o| o.level() == PURE_LOWER);
        let [below] = known.map_or(&[][..], |o| &o.lowers[..]) else { return false };
        lower.inode.dir().is_some_and(|d| d.opening_checks(name, &below.inode))
    }

    fn create(&self, name: &[u8], mode: u32, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let upper = self.make_above(name, |dir| dir.create(name, mode, owner))?;
        self.adopt(name, upper)
    }

    fn mkdir(&self, name: &[u8], mode: u32, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let opaque = !self.lowers.is_empty();
        let upper = self.make_above(name, |dir| {
            let new = dir.mkdir(name, mode, owner)?;
            if opaque && let Some(x) = new.xattr() {
                x.set(OPAQUE, b"y", 0)?;
            }
            Ok(new)
        })?;
        self.adopt(name, upper)
    }

    fn mknod(&self, name: &[u8], mode: u32, rdev: u64, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let like_whiteout = mode & S_IFMT == S_IFCHR && rdev == 0;
        let upper = self.make_above(name, |dir| {
            let new = dir.mknod(name, mode, rdev, owner)?;
            if like_whiteout && new.xattr().is_none_or(|x| x.set(DEVICE, b"y", 0).is_err()) {
                dir.unlink(name, &new)?;
                return Err(EPERM);
            }
            Ok(new)
        })?;
        self.adopt(name, upper)
    }

    fn symlink(&self, name: &[u8], target: &[u8], owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let upper = self.make_above(name, |dir| dir.symlink(name, target, owner))?;
        self.adopt(name, upper)
    }

    fn link(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let target = self.same_overlay(inode)?;
        let upper = target.copy_up(Extent::Attributes)?;
        self.make_above(name, |dir| {
            dir.link(name, &upper)?;
            Ok(upper.clone())
        })?;
        if target.place().is_none() {
            target.set_place(Some(self.place_of(name)?));
        }
        if !target.lowers.is_empty() {
            self.shared.pin(&target.arc()?);
        }
        Ok(())
    }

    fn unlink(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let target = self.same_overlay(inode)?;
        let upper = self.copy_up(Extent::Attributes)?;
        let task = self.shared.task()?;
        {
            let _tree = self.shared.tree.lock();
            let hide = self.must_hide(name, &task)?;
            let dir = upper.dir().ok_or(ENOTDIR)?;
            match self.above(name, &task)? {
                Above::Whiteout(_) => return Err(ENOENT),
                Above::Object(o) => {
                    if o.kind() == FileType::Directory {
                        return Err(EISDIR);
                    }
                    dir.unlink(name, &o)?;
                }
                Above::Nothing if hide => {
                    target.hide_name();
                }
                Above::Nothing => return Err(ENOENT),
            }
            if hide {
                OvlInode::put_whiteout(&upper, name)?;
            }
        }
        self.lost_name(target);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], inode: &Arc<dyn Inode>) -> Result<()> {
        let target = self.same_overlay(inode)?;
        let upper = self.copy_up(Extent::Attributes)?;
        let task = self.shared.task()?;
        {
            let _tree = self.shared.tree.lock();
            target.check_empty(&task)?;
            let hide = self.must_hide(name, &task)?;
            self.drop_dir_above(name, &task)?;
            if hide {
                OvlInode::put_whiteout(&upper, name)?;
            }
        }
        self.lost_name(target);
        Ok(())
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], flags: u32) -> Result<()> {
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE) != 0 {
            return Err(EINVAL);
        }
        let to_dir = self.same_overlay(new_dir)?;
        let task = self.shared.task()?;
        let moving = self.find(name, &task)?;
        let target = match to_dir.find(new_name, &task) {
            Ok(t) => Some(t),
            Err(ENOENT) => None,
            Err(e) => return Err(e),
        };
        let is_dir = moving.kind() == FileType::Directory;
        if let Some(t) = &target {
            if flags & RENAME_NOREPLACE != 0 {
                return Err(EEXIST);
            }
            if Arc::ptr_eq(t, &moving) {
                return Ok(());
            }
            if flags & RENAME_EXCHANGE == 0 {
                match (is_dir, t.kind() == FileType::Directory) {
                    (true, false) => return Err(ENOTDIR),
                    (false, true) => return Err(EISDIR),
                    _ => {}
                }
            }
        } else if flags & RENAME_EXCHANGE != 0 {
            return Err(ENOENT);
        }
        let from_upper = self.copy_up(Extent::Attributes)?;
        let to_upper = to_dir.copy_up(Extent::Attributes)?;
        moving.copy_up(Extent::Attributes)?;
        if flags & RENAME_EXCHANGE != 0
            && let Some(t) = &target
        {
            t.copy_up(Extent::Attributes)?;
        }
        let tree = self.shared.tree.lock();
        // A hard link that was copied up under another name is here only below.
        let linked_below = matches!(self.above(name, &task)?, Above::Nothing);
        if linked_below {
            let upper = moving.upper_inode().ok_or(ENOENT)?;
            from_upper.dir().ok_or(ENOTDIR)?.link(name, &upper)?;
            moving.hide_name();
        }
        if flags & RENAME_EXCHANGE != 0 {
            let other = target.ok_or(ENOENT)?;
            if matches!(to_dir.above(new_name, &task)?, Above::Nothing) {
                let upper = other.upper_inode().ok_or(ENOENT)?;
                to_upper.dir().ok_or(ENOTDIR)?.link(new_name, &upper)?;
                other.hide_name();
            }
            self.hide_below(&moving)?;
            self.hide_below(&other)?;
            from_upper.dir().ok_or(ENOTDIR)?.rename(name, &to_upper, new_name, RENAME_EXCHANGE)?;
            moving.set_place(Some(to_dir.place_of(new_name)?));
            other.set_place(Some(self.place_of(name)?));
            return Ok(());
        }
        let hide = self.must_hide(name, &task)?;
        if let Some(t) = &target {
            if let Some(l) = t.lowers.first() {
                self.shared.note_base(l);
            }
            if is_dir {
                t.check_empty(&task)?;
                to_dir.drop_dir_above(new_name, &task)?;
            } else if matches!(to_dir.above(new_name, &task)?, Above::Nothing) {
                t.hide_name();
            }
        }
        if let Above::Whiteout(w) = to_dir.above(new_name, &task)? {
            to_upper.dir().ok_or(ENOTDIR)?.unlink(new_name, &w)?;
        }
        self.hide_below(&moving)?;
        from_upper.dir().ok_or(ENOTDIR)?.rename(name, &to_upper, new_name, 0)?;
        if hide {
            OvlInode::put_whiteout(&from_upper, name)?;
        }
        moving.set_place(Some(to_dir.place_of(new_name)?));
        if !moving.lowers.is_empty() {
            self.shared.pin(&moving);
        }
        drop(tree);
        if let Some(t) = &target {
            self.lost_name(t);
        }
        Ok(())
    }

    fn tmpfile(&self, mode: u32, owner: (u32, u32)) -> Result<Arc<dyn Inode>> {
        let upper = self.copy_up(Extent::Attributes)?;
        let file = upper.dir().ok_or(ENOTDIR)?.tmpfile(mode, owner)?;
        let key = (0, file.ino());
        let new = OvlInode::make(&self.shared, Some(file), Lowers::new(), None);
        Ok(self.shared.remember(key, new))
    }
}
