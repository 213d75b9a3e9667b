//! Changes of attributes: chmod, chown, utimes, truncate, with their rules.

use std::sync::Arc;

use abi::{
    FileType, Timespec,
    cap::{CAP_CHOWN, CAP_FOWNER, CAP_FSETID},
    errno::{EACCES, EINVAL, EISDIR, EPERM},
    fs::{S_IALLUGO, S_ISGID, W_OK},
};

use super::{ahead, events, inode::AttrChange, inode::Inode, open::writable_mount, path::Path, permission};
use crate::{
    error::Result,
    task::{Cred, Task},
};

/// chmod(2).
pub fn chmod(task: &Task, at: &Path, mode: u32) -> Result<()> {
    let cred = task.cred();
    let inode = at.inode()?;
    writable_mount(at)?;
    let (_, uid, gid) = inode.owner_mode()?;
    if uid != cred.fsuid && !cred.has(CAP_FOWNER) {
        return Err(EPERM);
    }
    if inode.kind() == FileType::Symlink {
        return Err(abi::errno::EOPNOTSUPP);
    }
    let mut mode = mode & S_IALLUGO;
    if !cred.in_group(gid) && !cred.has(CAP_FSETID) {
        mode &= !S_ISGID;
    }
    let now = task.machine.clock.now();
    inode.set_attr(&AttrChange { mode: Some(mode), ctime: Some(now), ..AttrChange::default() })?;
    ahead::leads_elsewhere(task, &**inode);
    events::attributes(&at.dentry);
    Ok(())
}

/// chown(2); `None` leaves an id alone.
pub fn chown(task: &Task, at: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let cred = task.cred();
    let inode = at.inode()?;
    writable_mount(at)?;
    let (mode, old_uid, old_gid) = inode.owner_mode()?;
    if !cred.has(CAP_CHOWN) {
        let owns = old_uid == cred.fsuid;
        if uid.is_some_and(|u| !owns || u != old_uid)
            || gid.is_some_and(|g| !owns || g != old_gid && !cred.in_group(g))
        {
            return Err(EPERM);
        }
    }
    let mut change = AttrChange { uid, gid, ctime: Some(task.machine.clock.now()), ..AttrChange::default() };
    if inode.kind() != FileType::Directory && (uid.is_some() || gid.is_some()) {
        let cleared = permission::without_privilege_bits(mode);
        if cleared != mode {
            change.mode = Some(cleared & S_IALLUGO);
        }
        permission::drop_capabilities(&**inode)?;
    }
    inode.set_attr(&change)?;
    ahead::leads_elsewhere(task, &**inode);
    events::attributes(&at.dentry);
    Ok(())
}

/// A time argument of utimensat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTime {
    Now,
    Omit,
    At(Timespec),
}

/// utimensat(2).
pub fn set_times(task: &Task, at: &Path, atime: NewTime, mtime: NewTime) -> Result<()> {
    if atime == NewTime::Omit && mtime == NewTime::Omit {
        return Ok(());
    }
    let cred = task.cred();
    let inode = at.inode()?;
    writable_mount(at)?;
    if !permission::is_owner(&**inode, &cred)? {
        if atime == NewTime::Now && mtime == NewTime::Now {
            permission::check(&**inode, &cred, W_OK).map_err(|_| EACCES)?;
        } else {
            return Err(EPERM);
        }
    }
    let now = task.machine.clock.now();
    let value = |t: NewTime| match t {
        NewTime::Now => Some(now),
        NewTime::Omit => None,
        NewTime::At(t) => Some(t),
    };
    let change =
        AttrChange { atime: value(atime), mtime: value(mtime), ctime: Some(now), ..AttrChange::default() };
    inode.set_attr(&change)?;
    events::attributes(&at.dentry);
    Ok(())
}

/// Sets the size of an inode by somebody who may: times and privilege bits change with it.
pub(super) fn truncate(task: &Task, cred: &Cred, inode: &Arc<dyn Inode>, change: &AttrChange) -> Result<()> {
    permission::drop_capabilities(&**inode)?;
    let now = task.machine.clock.now();
    let mut change = AttrChange { mtime: Some(now), ctime: Some(now), ..*change };
    if !cred.has(CAP_FSETID) {
        let mode = inode.owner_mode()?.0;
        let cleared = permission::without_privilege_bits(mode);
        if cleared != mode {
            change.mode = Some(cleared & S_IALLUGO);
        }
    }
    inode.set_attr(&change)
}

/// truncate(2) of a place.
pub fn truncate_path(task: &Task, at: &Path, size: u64) -> Result<()> {
    let cred = task.cred();
    let inode = at.inode()?;
    match inode.kind() {
        FileType::Regular => {}
        FileType::Directory => return Err(EISDIR),
        _ => return Err(EINVAL),
    }
    permission::check_on(&at.mount, &**inode, &cred, W_OK)?;
    let _guard = super::open::WriteGuard::new(inode)?;
    check_size_limit(task, size)?;
    truncate(task, &cred, inode, &AttrChange { size: Some(size), ..AttrChange::default() })
}

/// ftruncate(2) of an open file (writability checked by the caller).
pub fn truncate_file(task: &Task, file: &super::file::File, size: u64) -> Result<()> {
    let inode = file.path.inode()?;
    if inode.kind() != FileType::Regular {
        return Err(EINVAL);
    }
    check_size_limit(task, size)?;
    file.ops.check_resize(size)?;
    truncate(task, &task.cred(), inode, &AttrChange { size: Some(size), ..AttrChange::default() })?;
    events::modified(file);
    Ok(())
}

/// RLIMIT_FSIZE: SIGXFSZ and EFBIG if `size` is beyond it.
pub fn check_size_limit(task: &Task, size: u64) -> Result<()> {
    const RLIMIT_FSIZE: usize = 1;
    if size > task.process.rlimit(RLIMIT_FSIZE) {
        super::file::raise_sigxfsz(task);
        return Err(abi::errno::EFBIG);
    }
    Ok(())
}
