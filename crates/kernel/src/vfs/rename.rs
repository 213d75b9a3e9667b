//! rename(2), renameat2(2).

use std::sync::Arc;

use abi::{
    cap::CAP_MKNOD,
    errno::{EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EXDEV},
    fs::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, W_OK, X_OK},
};
use ksync::{Mutex, Rank};

use super::{
    ahead,
    dentry::lock_two,
    events,
    path::{LookupFlags, resolve_parent},
    permission,
};
use crate::{error::Result, task::Task};

/// One rename between directories at a time, so that no two make a loop (before DENTRY_DIR).
const RENAME: Rank = Rank::new(18, "rename");

/// Guards moves between directories of one machine.
pub(super) struct RenameLock(Mutex<()>);

impl Default for RenameLock {
    fn default() -> Self {
        RenameLock(Mutex::new(RENAME, ()))
    }
}

/// Renames. `flags`: RENAME_*.
pub fn rename(task: &Task, old_dirfd: i32, old: &[u8], new_dirfd: i32, new: &[u8], flags: u32) -> Result<()> {
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
        || flags & RENAME_EXCHANGE != 0 && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) != 0
    {
        return Err(EINVAL);
    }
    let cred = task.cred();
    if flags & RENAME_WHITEOUT != 0 && !cred.has(CAP_MKNOD) {
        return Err(EPERM);
    }
    let from = resolve_parent(task, old_dirfd, old, LookupFlags::empty())?;
    let to = resolve_parent(task, new_dirfd, new, LookupFlags::empty())?;
    if !Arc::ptr_eq(&from.dir.mount, &to.dir.mount) {
        return Err(EXDEV);
    }
    let old_name = from.name(EBUSY)?;
    let new_name = to.name(if flags & RENAME_NOREPLACE != 0 { EEXIST } else { EBUSY })?;
    let (from_dir, to_dir) = (&from.dir.dentry, &to.dir.dentry);
    let (from_inode, to_inode) = (from.dir.inode()?, to.dir.inode()?);
    let same_dir = Arc::ptr_eq(from_dir, to_dir);

    let whole = (!same_dir).then(|| task.machine.vfs.renames.0.lock());
    let (guard_a, guard_b) = lock_two(from_dir, to_dir);
    let guard = guard_b.as_ref().unwrap_or(&guard_a);
    let source = from_dir.lookup_locked(guard, old_name, task)?;
    let moving = source.existing()?.clone();
    let target = to_dir.lookup_locked(guard, new_name, task)?;
    let is_dir = moving.dir().is_some();
    if from.slash && !is_dir {
        return Err(ENOTDIR);
    }
    let exchange = flags & RENAME_EXCHANGE != 0;
    let replaced = target.inode_ref().cloned();
    match &replaced {
        None if exchange => return Err(ENOENT),
        None if to.slash && !is_dir => return Err(ENOTDIR),
        Some(_) if flags & RENAME_NOREPLACE != 0 => return Err(EEXIST),
        Some(r) if to.slash && r.dir().is_none() => return Err(ENOTDIR),
        _ => {}
    }
    // Not into itself, and not over one's own ancestor.
    if to_dir.is_within(&source) {
        return Err(EINVAL);
    }
    if replaced.is_some() && from_dir.is_within(&target) {
        return Err(if exchange { EINVAL } else { ENOTEMPTY });
    }
    permission::may_delete(&from.dir.mount, &**from_inode, &*moving, &cred)?;
    match &replaced {
        None => {
            if to_dir.is_removed() {
                return Err(ENOENT);
            }
            permission::check_on(&to.dir.mount, &**to_inode, &cred, W_OK | X_OK)?;
        }
        Some(r) => {
            permission::may_delete(&to.dir.mount, &**to_inode, &**r, &cred)?;
            if !exchange {
                match (is_dir, r.dir().is_some()) {
                    (true, false) => return Err(ENOTDIR),
                    (false, true) => return Err(EISDIR),
                    _ => {}
                }
            }
        }
    }
    if let Some(r) = &replaced
        && Arc::ptr_eq(r, &moving)
    {
        // Two names of one file: nothing happens.
        return Ok(());
    }
    // A directory that changes its parent changes its "..".
    if is_dir && !same_dir {
        permission::check(&*moving, &cred, W_OK)?;
    }
    if source.is_mount_point() || target.is_mount_point() {
        return Err(EBUSY);
    }
    let ops = from_inode.dir().ok_or(ENOTDIR)?;
    ops.rename(old_name, to_inode, new_name, flags)?;
    if exchange {
        source.exchanged(from_dir, &target, to_dir);
    } else {
        source.moved(from_dir, to_dir, new_name, task);
        if flags & RENAME_WHITEOUT != 0
            && let Some(d) = from_dir.cached(old_name)
        {
            // What was put in its place is for the filesystem to say.
            from_dir.forget(old_name, &d);
        }
    }
    drop((guard_a, guard_b, whole));
    ahead::leads_elsewhere(task, &*moving);
    if let Some(r) = &replaced {
        ahead::leads_elsewhere(task, &**r);
    }
    let inotify = &task.machine.vfs.inotify;
    events::moved(inotify.next_cookie(), from_dir, old_name, to_dir, new_name, &moving);
    match &replaced {
        Some(r) if exchange => {
            events::moved(inotify.next_cookie(), to_dir, new_name, from_dir, old_name, r);
        }
        Some(r) => {
            let last = r.dir().is_some() || r.attr().is_ok_and(|a| a.nlink == 0);
            events::replaced(&**r, last);
        }
        None => {}
    }
    Ok(())
}
