//! Making and removing names: mkdir, mknod, symlink, link, unlink, rmdir.

use std::sync::Arc;

use abi::{
    FileType,
    cap::{CAP_DAC_READ_SEARCH, CAP_MKNOD},
    errno::{EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EXDEV},
    fs::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW, S_IALLUGO, S_IFMT, S_ISVTX, W_OK, X_OK},
};

use super::{
    ahead,
    dentry::Dentry,
    events,
    inode::{DirOps, Inode},
    path::{LookupFlags, Parent, Path, resolve, resolve_parent},
    permission,
};
use crate::{
    error::Result,
    task::{Cred, Task},
};

/// Makes a name in the directory a path leads to, by `make(directory, name)`. EEXIST if it is there.
fn create_name(
    task: &Task,
    cred: &Cred,
    parent: &Parent,
    is_dir: bool,
    make: impl FnOnce(&dyn Inode, &dyn DirOps, &[u8]) -> Result<Arc<dyn Inode>>,
) -> Result<Path> {
    let name = parent.name(EEXIST)?;
    let dir = &parent.dir;
    let dir_inode = dir.inode()?;
    let dentry = {
        let guard = dir.dentry.lock_dir();
        let entry = dir.dentry.lookup_locked(&guard, name, task)?;
        if entry.inode_ref().is_some() {
            return Err(EEXIST);
        }
        // Only a directory's name may end with a slash.
        if dir.dentry.is_removed() || parent.slash && !is_dir {
            return Err(ENOENT);
        }
        permission::check_on(&dir.mount, &**dir_inode, cred, W_OK | X_OK)?;
        let ops = dir_inode.dir().ok_or(ENOTDIR)?;
        let inode = make(&**dir_inode, ops, name)?;
        dir.dentry.insert(name, Some(inode), task)
    };
    events::created(&dir.dentry, name, is_dir);
    Ok(Path { mount: dir.mount.clone(), dentry })
}

/// mkdir(2); the umask is applied.
pub fn mkdir(task: &Task, dirfd: i32, path: &[u8], mode: u32) -> Result<Path> {
    let cred = task.cred();
    let parent = resolve_parent(task, dirfd, path, LookupFlags::empty())?;
    let mode = mode & (0o777 | S_ISVTX) & !task.fs().umask();
    create_name(task, &cred, &parent, true, |dir, ops, name| {
        let (mode, owner) = permission::new_inode(dir, &cred, mode, FileType::Directory)?;
        ops.mkdir(name, mode, owner)
    })
}

/// mknod(2), also for bind(2) of unix sockets; the umask is applied. EPERM for devices without CAP_MKNOD.
pub fn mknod(task: &Task, dirfd: i32, path: &[u8], mode: u32, rdev: u64) -> Result<Path> {
    let cred = task.cred();
    let mode = if mode & S_IFMT == 0 { mode | FileType::Regular.mode() } else { mode };
    let kind = FileType::from_mode(mode).ok_or(EINVAL)?;
    match kind {
        FileType::Directory => return Err(EPERM),
        FileType::Symlink => return Err(EINVAL),
        // Character device 0:0 is a whiteout, which anybody may make.
        FileType::Char if rdev == 0 => {}
        FileType::Char | FileType::Block if !cred.has(CAP_MKNOD) => return Err(EPERM),
        _ => {}
    }
    let parent = resolve_parent(task, dirfd, path, LookupFlags::empty())?;
    let perm = mode & S_IALLUGO & !task.fs().umask();
    create_name(task, &cred, &parent, false, |dir, ops, name| {
        let (perm, owner) = permission::new_inode(dir, &cred, perm, kind)?;
        if kind == FileType::Regular {
            ops.create(name, perm, owner)
        } else {
            ops.mknod(name, kind.mode() | perm, rdev, owner)
        }
    })
}

/// symlink(2). ENOENT for an empty target.
pub fn symlink(task: &Task, target: &[u8], dirfd: i32, path: &[u8]) -> Result<Path> {
    if target.is_empty() {
        return Err(ENOENT);
    }
    let cred = task.cred();
    let parent = resolve_parent(task, dirfd, path, LookupFlags::empty())?;
    create_name(task, &cred, &parent, false, |dir, ops, name| {
        let (_, owner) = permission::new_inode(dir, &cred, 0o777, FileType::Symlink)?;
        ops.symlink(name, target, owner)
    })
}

/// linkat(2). `flags`: AT_SYMLINK_FOLLOW, AT_EMPTY_PATH (checked by the caller).
pub fn link(task: &Task, old_dirfd: i32, old: &[u8], new_dirfd: i32, new: &[u8], flags: u32) -> Result<()> {
    let cred = task.cred();
    if flags & AT_EMPTY_PATH != 0 && old.is_empty() && !cred.has(CAP_DAC_READ_SEARCH) {
        return Err(ENOENT);
    }
    let mut how = LookupFlags::empty();
    how.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_FOLLOW != 0);
    how.set(LookupFlags::EMPTY_PATH, flags & AT_EMPTY_PATH != 0);
    let from = resolve(task, old_dirfd, old, how)?;
    let inode = from.inode()?.clone();
    let parent = resolve_parent(task, new_dirfd, new, LookupFlags::empty())?;
    if !Arc::ptr_eq(&from.mount, &parent.dir.mount) {
        return Err(EXDEV);
    }
    if inode.kind() == FileType::Directory {
        return Err(EPERM);
    }
    task.machine.vfs.protected.may_link(&*inode, &cred)?;
    // A file whose last name is gone may not come back, except one that never had any.
    if from.dentry.is_removed() && !from.dentry.is_linkable() && inode.attr()?.nlink == 0 {
        return Err(ENOENT);
    }
    create_name(task, &cred, &parent, false, |_, ops, name| {
        ops.link(name, &inode)?;
        Ok(inode.clone())
    })?;
    from.dentry.set_linked();
    events::attributes(&from.dentry);
    Ok(())
}

/// unlink(2).
pub fn unlink(task: &Task, dirfd: i32, path: &[u8]) -> Result<()> {
    let cred = task.cred();
    let parent = resolve_parent(task, dirfd, path, LookupFlags::empty())?;
    let name = parent.name(EISDIR)?;
    let (victim, last) = remove_name(task, &cred, &parent, name, false)?;
    if let Some(inode) = victim.inode_ref() {
        events::deleted(&parent.dir.dentry, name, &**inode, last);
    }
    Ok(())
}

/// rmdir(2).
pub fn rmdir(task: &Task, dirfd: i32, path: &[u8]) -> Result<()> {
    let cred = task.cred();
    let parent = resolve_parent(task, dirfd, path, LookupFlags::empty())?;
    let name = match &parent.last {
        super::path::Last::Name(n) => n,
        super::path::Last::Dot => return Err(EINVAL),
        super::path::Last::DotDot => return Err(ENOTEMPTY),
        super::path::Last::Root => return Err(EBUSY),
    };
    let (victim, _) = remove_name(task, &cred, &parent, name, true)?;
    if let Some(inode) = victim.inode_ref() {
        events::deleted(&parent.dir.dentry, name, &**inode, true);
    }
    Ok(())
}

/// Removes a name; gives its dentry, and whether it was the inode's last name.
fn remove_name(
    task: &Task,
    cred: &Cred,
    parent: &Parent,
    name: &[u8],
    want_dir: bool,
) -> Result<(Arc<Dentry>, bool)> {
    let dir = &parent.dir;
    let dir_inode = dir.inode()?;
    let ops = dir_inode.dir().ok_or(ENOTDIR)?;
    let guard = dir.dentry.lock_dir();
    let entry = dir.dentry.lookup_locked(&guard, name, task)?;
    let victim = entry.existing()?.clone();
    let is_dir = victim.dir().is_some();
    if parent.slash && !want_dir {
        return Err(if is_dir { EISDIR } else { ENOTDIR });
    }
    permission::may_delete(&dir.mount, &**dir_inode, &*victim, cred)?;
    if is_dir != want_dir {
        return Err(if is_dir { EISDIR } else { ENOTDIR });
    }
    if entry.is_mount_point() {
        return Err(EBUSY);
    }
    if is_dir {
        // Nobody may create below while it goes.
        let below = entry.lock_dir();
        ops.rmdir(name, &victim)?;
        entry.set_removed(&dir.dentry, task);
        drop(below);
        ahead::leads_elsewhere(task, &*victim);
        Ok((entry, true))
    } else {
        ops.unlink(name, &victim)?;
        entry.set_removed(&dir.dentry, task);
        drop(guard);
        ahead::leads_elsewhere(task, &*victim);
        let last = victim.attr().is_ok_and(|a| a.nlink == 0);
        Ok((entry, last))
    }
}

/// Makes a directory by absolute path at boot, if it is not there.
pub fn ensure_dir(task: &Task, path: &[u8], mode: u32) -> Result<()> {
    match mkdir(task, AT_FDCWD, path, mode) {
        Ok(_) | Err(EEXIST) => Ok(()),
        Err(e) => Err(e),
    }
}
