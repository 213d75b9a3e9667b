//! Who may do what (path_resolution(7), capabilities(7)).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use abi::{
    FileType, Timespec,
    cap::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID},
    errno::{EACCES, EPERM, EROFS},
    fs::{R_OK, S_ISGID, S_ISUID, S_ISVTX, S_IWGRP, S_IWOTH, S_IXGRP, W_OK, X_OK},
};

use super::{inode::Inode, mount::Mount};
use crate::{error::Result, task::Cred};

/// Checks access to an inode; `mask` is R_OK|W_OK|X_OK. EACCES.
pub fn check(inode: &dyn Inode, cred: &Cred, mask: u32) -> Result<()> {
    let is_dir = inode.kind() == FileType::Directory;
    // The most usual case costs no look at the attributes: root walking or opening.
    let override_all = cred.has(CAP_DAC_OVERRIDE);
    if !(override_all && (is_dir || mask & X_OK == 0)) {
        let (mode, uid, gid) = inode.owner_mode()?;
        let bits = if cred.fsuid == uid {
            mode >> 6
        } else if cred.in_group(gid) {
            mode >> 3
        } else {
            mode
        };
        if bits & mask != mask {
            let by_cap = if is_dir {
                mask & W_OK == 0 && cred.has(CAP_DAC_READ_SEARCH)
            } else {
                // To execute, somebody must be allowed to.
                override_all && (mask & X_OK == 0 || mode & 0o111 != 0)
                    || mask == R_OK && cred.has(CAP_DAC_READ_SEARCH)
            };
            if !by_cap {
                return Err(EACCES);
            }
        }
    }
    inode.permission(cred, mask)
}

/// [`check`], and EROFS for writing to what lives on a read-only mount.
pub fn check_on(mount: &Mount, inode: &dyn Inode, cred: &Cred, mask: u32) -> Result<()> {
    if mask & W_OK != 0
        && mount.read_only()
        && matches!(inode.kind(), FileType::Regular | FileType::Directory | FileType::Symlink)
    {
        return Err(EROFS);
    }
    check(inode, cred, mask)
}

/// Takes file capabilities away from what is about to change (capabilities(7)); looks once per inode.
pub fn drop_capabilities(inode: &dyn Inode) -> Result<()> {
    let common = inode.common();
    if common.is_plain() {
        return Ok(());
    }
    common.set_plain();
    let Some(x) = inode.xattr().filter(|x| x.get(abi::xattr::SECURITY_CAPABILITY).is_ok()) else {
        return Ok(());
    };
    x.remove(abi::xattr::SECURITY_CAPABILITY).inspect_err(|_| common.capabilities_set())
}

/// Owner of the file, or CAP_FOWNER.
pub fn is_owner(inode: &dyn Inode, cred: &Cred) -> Result<bool> {
    Ok(cred.has(CAP_FOWNER) || inode.owner_mode()?.1 == cred.fsuid)
}

/// May the name of `victim` be taken from `dir`? W and X on the directory, and the sticky rule (EPERM).
pub fn may_delete(mount: &Mount, dir: &dyn Inode, victim: &dyn Inode, cred: &Cred) -> Result<()> {
    check_on(mount, dir, cred, W_OK | X_OK)?;
    if cred.has(CAP_FOWNER) {
        return Ok(());
    }
    let (mode, uid, _) = dir.owner_mode()?;
    if mode & S_ISVTX != 0 && uid != cred.fsuid && victim.owner_mode()?.1 != cred.fsuid {
        return Err(EPERM);
    }
    Ok(())
}

/// Owner and mode of a new inode in `dir`: set-group-ID directories hand down their group (and the bit, to directories).
pub fn new_inode(dir: &dyn Inode, cred: &Cred, mode: u32, kind: FileType) -> Result<(u32, (u32, u32))> {
    let (dir_mode, _, dir_gid) = dir.owner_mode()?;
    let mut mode = mode;
    let gid = if dir_mode & S_ISGID != 0 {
        if kind == FileType::Directory {
            mode |= S_ISGID;
        } else if mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP
            && !cred.in_group(dir_gid)
            && !cred.has(CAP_FSETID)
        {
            mode &= !S_ISGID;
        }
        dir_gid
    } else {
        cred.fsgid
    };
    Ok((mode, (cred.fsuid, gid)))
}

/// The mode a regular file has after somebody without CAP_FSETID wrote to it or it changed hands: no S_ISUID, and no
/// S_ISGID if it means set-group-ID.
pub fn without_privilege_bits(mode: u32) -> u32 {
    let mode = mode & !S_ISUID;
    if mode & S_IXGRP != 0 { mode & !S_ISGID } else { mode }
}

/// Is a new access time to be stored (relatime: the old one is not after the last change, or a day old)?
pub fn relatime_due(atime: Timespec, mtime: Timespec, ctime: Timespec, now: Timespec) -> bool {
    let at = |t: Timespec| (t.sec, t.nsec);
    at(atime) <= at(mtime) || at(atime) <= at(ctime) || now.sec - atime.sec >= 86_400
}

/// Both of one filesystem: rename and link need it.
pub fn same_fs(a: &Arc<Mount>, b: &Arc<Mount>) -> bool {
    Arc::ptr_eq(&a.fs, &b.fs)
}

/// fs.protected_* (proc_sys_fs(5)): what others may have put into a directory for one to stumble over.
pub struct Protected {
    pub hardlinks: AtomicU32,
    pub symlinks: AtomicU32,
    pub fifos: AtomicU32,
    pub regular: AtomicU32,
}

impl Default for Protected {
    /// As a Debian kernel begins.
    fn default() -> Self {
        Protected {
            hardlinks: AtomicU32::new(1),
            symlinks: AtomicU32::new(1),
            fifos: AtomicU32::new(0),
            regular: AtomicU32::new(0),
        }
    }
}

impl Protected {
    /// May a link be made to the file? EPERM unless it is one's own, or harmless and open to one.
    pub fn may_link(&self, inode: &dyn Inode, cred: &Cred) -> Result<()> {
        if self.hardlinks.load(Ordering::Relaxed) == 0 || is_owner(inode, cred)? {
            return Ok(());
        }
        let (mode, ..) = inode.owner_mode()?;
        let set_id = mode & S_ISUID != 0 || mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP;
        if inode.kind() != FileType::Regular || set_id || check(inode, cred, R_OK | W_OK).is_err() {
            return Err(EPERM);
        }
        Ok(())
    }

    /// May the link, which ends a path and stands in `dir`, be followed? EACCES in a sticky directory that everybody
    /// writes to, unless it belongs to who follows or to the directory's owner.
    pub fn may_follow(&self, dir: &dyn Inode, link: &dyn Inode, cred: &Cred) -> Result<()> {
        const OPEN_TO_ALL: u32 = S_ISVTX | S_IWOTH;
        if self.symlinks.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let (mode, owner, _) = dir.owner_mode()?;
        if mode & OPEN_TO_ALL != OPEN_TO_ALL {
            return Ok(());
        }
        let uid = link.owner_mode()?.1;
        if uid == cred.fsuid || uid == owner { Ok(()) } else { Err(EACCES) }
    }

    /// May what stands in `dir` be opened with O_CREAT? EACCES for FIFOs and regular files of others than the
    /// directory's owner, if it is sticky and everybody (or, from 2 on, the group) writes to it.
    pub fn may_open_created(&self, dir: &dyn Inode, inode: &dyn Inode, cred: &Cred) -> Result<()> {
        let level = match inode.kind() {
            FileType::Fifo => self.fifos.load(Ordering::Relaxed),
            FileType::Regular => self.regular.load(Ordering::Relaxed),
            _ => 0,
        };
        if level == 0 {
            return Ok(());
        }
        let (mode, owner, _) = dir.owner_mode()?;
        let uid = inode.owner_mode()?.1;
        if mode & S_ISVTX == 0 || uid == owner || uid == cred.fsuid {
            return Ok(());
        }
        if mode & S_IWOTH != 0 || level >= 2 && mode & S_IWGRP != 0 { Err(EACCES) } else { Ok(()) }
    }
}
