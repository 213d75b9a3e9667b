//! Attributes: the stat, access, chmod, chown and utime families, statfs, umask.

use abi::{
    FileType, Statfs, Statx, Timespec,
    errno::EINVAL,
    fs::{
        AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_FOLLOW,
        AT_SYMLINK_NOFOLLOW, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_NOSYMFOLLOW,
        MS_RDONLY, MS_RELATIME, ST_NOATIME, ST_NODEV, ST_NODIRATIME, ST_NOEXEC, ST_NOSUID, ST_NOSYMFOLLOW,
        ST_RDONLY, ST_RELATIME, ST_VALID,
    },
    nr,
    stat::{STATX__RESERVED, STATX_ATTR_MOUNT_ROOT, STATX_BTIME, STATX_MNT_ID, STATX_MNT_ID_UNIQUE, Utimbuf},
    time::{UTIME_NOW, UTIME_OMIT},
    wire::get_i64,
};
use kernel::{
    Result,
    task::TaskCx,
    vfs::{
        LookupFlags, Path,
        attr::{self, NewTime},
        path::{resolve, resolve_as},
        permission,
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_STAT, "stat", stat),
    Row::new(nr::SYS_LSTAT, "lstat", lstat),
    Row::new(nr::SYS_FSTAT, "fstat", fstat),
    Row::new(nr::SYS_NEWFSTATAT, "newfstatat", newfstatat),
    Row::new(nr::SYS_STATX, "statx", statx),
    Row::new(nr::SYS_ACCESS, "access", access),
    Row::new(nr::SYS_FACCESSAT, "faccessat", faccessat),
    Row::new(nr::SYS_FACCESSAT2, "faccessat2", faccessat2),
    Row::new(nr::SYS_STATFS, "statfs", statfs),
    Row::new(nr::SYS_FSTATFS, "fstatfs", fstatfs),
    Row::new(nr::SYS_UTIME, "utime", utime),
    Row::new(nr::SYS_UTIMES, "utimes", utimes),
    Row::new(nr::SYS_FUTIMESAT, "futimesat", futimesat),
    Row::new(nr::SYS_UTIMENSAT, "utimensat", utimensat),
    Row::new(nr::SYS_CHMOD, "chmod", chmod),
    Row::new(nr::SYS_FCHMOD, "fchmod", fchmod),
    Row::new(nr::SYS_FCHMODAT, "fchmodat", fchmodat),
    Row::new(nr::SYS_FCHMODAT2, "fchmodat2", fchmodat2),
    Row::new(nr::SYS_CHOWN, "chown", chown),
    Row::new(nr::SYS_LCHOWN, "lchown", lchown),
    Row::new(nr::SYS_FCHOWN, "fchown", fchown),
    Row::new(nr::SYS_FCHOWNAT, "fchownat", fchownat),
    Row::new(nr::SYS_UMASK, "umask", umask),
];

/// Walks to the path at `addr`. `at_flags`: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
pub(crate) fn place(cx: &mut TaskCx, dirfd: i32, addr: u64, at_flags: u32) -> Result<Path> {
    let path = path_text(cx, addr, at_flags)?;
    place_of(cx, dirfd, &path, at_flags)
}

/// The path itself. A null one with AT_EMPTY_PATH is an empty one.
fn path_text(cx: &mut TaskCx, addr: u64, at_flags: u32) -> Result<Vec<u8>> {
    if addr == 0 && at_flags & AT_EMPTY_PATH != 0 { Ok(Vec::new()) } else { cx.read_path(addr) }
}

fn place_of(cx: &TaskCx, dirfd: i32, path: &[u8], at_flags: u32) -> Result<Path> {
    let mut how = LookupFlags::empty();
    how.set(LookupFlags::FOLLOW, at_flags & AT_SYMLINK_NOFOLLOW == 0);
    how.set(LookupFlags::EMPTY_PATH, at_flags & AT_EMPTY_PATH != 0);
    resolve(&cx.task, dirfd, path, how)
}

fn stat_at(cx: &mut TaskCx, dirfd: i32, path: u64, out: u64, at_flags: u32) -> Result<u64> {
    let epoch = cx.machine().host.lending_epoch();
    let text = path_text(cx, path, at_flags)?;
    let at = place_of(cx, dirfd, &text, at_flags)?;
    let attr = at.inode()?.attr()?;
    cx.copy_out(out, &attr.as_stat().encode())?;
    cx.foresee(dirfd, at_flags, &text, &at, epoch);
    Ok(0)
}

fn stat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    stat_at(cx, AT_FDCWD, a.u64(0), a.u64(1), 0)
}

fn lstat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    stat_at(cx, AT_FDCWD, a.u64(0), a.u64(1), AT_SYMLINK_NOFOLLOW)
}

fn fstat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get(a.i32(0))?;
    let attr = file.path.inode()?.attr()?;
    cx.copy_out(a.u64(1), &attr.as_stat().encode())?;
    Ok(0)
}

fn newfstatat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE) != 0 {
        return Err(EINVAL);
    }
    stat_at(cx, a.i32(0), a.u64(1), a.u64(2), flags)
}

fn statx(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (flags, mask) = (a.u32(2), a.u32(3));
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE) != 0
        || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE
        || mask & STATX__RESERVED != 0
    {
        return Err(EINVAL);
    }
    let at = place(cx, a.i32(0), a.u64(1), flags)?;
    let attr = at.inode()?.attr()?;
    let mut x = Statx::from_stat(attr.as_stat());
    if attr.btime != Timespec::default() {
        x.mask |= STATX_BTIME;
        x.btime = attr.btime;
    }
    x.mask |= if mask & STATX_MNT_ID_UNIQUE != 0 { STATX_MNT_ID_UNIQUE } else { STATX_MNT_ID };
    x.mnt_id = at.mount.id;
    x.attributes_mask = STATX_ATTR_MOUNT_ROOT;
    if std::sync::Arc::ptr_eq(&at.dentry, &at.mount.root) {
        x.attributes |= STATX_ATTR_MOUNT_ROOT;
    }
    cx.copy_out(a.u64(4), &x.encode())?;
    Ok(0)
}

fn access_at(cx: &mut TaskCx, dirfd: i32, path: u64, mode: u32, flags: u32) -> Result<u64> {
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    let cred = cx.cred();
    let cred = if flags & AT_EACCESS != 0 {
        cred
    } else {
        let mut real = (*cred).clone();
        real.fsuid = real.uid;
        real.fsgid = real.gid;
        real.cap_effective = if real.uid == 0 { real.cap_permitted } else { 0 };
        std::sync::Arc::new(real)
    };
    let mut how = LookupFlags::empty();
    how.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_NOFOLLOW == 0);
    how.set(LookupFlags::EMPTY_PATH, flags & AT_EMPTY_PATH != 0);
    let path = cx.read_path(path)?;
    let at = resolve_as(&cx.task, &cred, dirfd, &path, how)?;
    let inode = at.inode()?;
    if mode & abi::fs::X_OK != 0 && inode.kind() == FileType::Regular && at.mount.flags() & MS_NOEXEC != 0 {
        return Err(abi::errno::EACCES);
    }
    if mode != 0 {
        permission::check_on(&at.mount, &**inode, &cred, mode)?;
    }
    Ok(0)
}

fn access(cx: &mut TaskCx, a: Args) -> Result<u64> {
    access_at(cx, AT_FDCWD, a.u64(0), a.u32(1), 0)
}

fn faccessat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    access_at(cx, a.i32(0), a.u64(1), a.u32(2), 0)
}

fn faccessat2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    access_at(cx, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
}

fn put_statfs(cx: &mut TaskCx, at: &Path, out: u64) -> Result<u64> {
    let s = at.mount.fs.stats()?;
    let pairs = [
        (MS_RDONLY, ST_RDONLY),
        (MS_NOSUID, ST_NOSUID),
        (MS_NODEV, ST_NODEV),
        (MS_NOEXEC, ST_NOEXEC),
        (MS_NOATIME, ST_NOATIME),
        (MS_NODIRATIME, ST_NODIRATIME),
        (MS_RELATIME, ST_RELATIME),
        (MS_NOSYMFOLLOW, ST_NOSYMFOLLOW),
    ];
    let ms = at.mount.flags() | if at.mount.read_only() { MS_RDONLY } else { 0 };
    let flags = pairs.iter().filter(|p| ms & p.0 != 0).fold(ST_VALID, |all, p| all | p.1);
    let record = Statfs {
        kind: s.magic.cast_signed(),
        bsize: s.block_size.cast_signed(),
        blocks: s.blocks,
        bfree: s.blocks_free,
        bavail: s.blocks_avail,
        files: s.files,
        ffree: s.files_free,
        fsid: at.mount.fs.dev(),
        namelen: s.name_max.cast_signed(),
        frsize: s.block_size.cast_signed(),
        flags,
    };
    cx.copy_out(out, &record.encode())?;
    Ok(0)
}

fn statfs(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let at = place(cx, AT_FDCWD, a.u64(0), 0)?;
    put_statfs(cx, &at, a.u64(1))
}

fn fstatfs(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get(a.i32(0))?;
    put_statfs(cx, &file.path, a.u64(1))
}

/// The place of a times call: a null path means the descriptor.
fn times_place(cx: &mut TaskCx, dirfd: i32, path: u64, flags: u32) -> Result<Path> {
    if path == 0 && dirfd != AT_FDCWD {
        if flags != 0 {
            return Err(EINVAL);
        }
        return Ok(cx.files.get_io(dirfd)?.path.clone());
    }
    place(cx, dirfd, path, flags)
}

fn utime(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (atime, mtime) = match a.u64(1) {
        0 => (NewTime::Now, NewTime::Now),
        addr => {
            let t = Utimbuf::decode(&cx.read_array(addr)?);
            let at = |sec| NewTime::At(Timespec { sec, nsec: 0 });
            (at(t.actime), at(t.modtime))
        }
    };
    let at = place(cx, AT_FDCWD, a.u64(0), 0)?;
    attr::set_times(&cx.task, &at, atime, mtime)?;
    Ok(0)
}

fn timeval_pair(cx: &mut TaskCx, addr: u64) -> Result<(NewTime, NewTime)> {
    if addr == 0 {
        return Ok((NewTime::Now, NewTime::Now));
    }
    let raw: [u8; 32] = cx.read_array(addr)?;
    let one = |at: usize| {
        let (sec, usec) = (get_i64(&raw, at), get_i64(&raw, at + 8));
        if (0..1_000_000).contains(&usec) {
            Ok(NewTime::At(Timespec { sec, nsec: usec * 1000 }))
        } else {
            Err(EINVAL)
        }
    };
    Ok((one(0)?, one(16)?))
}

fn utimes(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (atime, mtime) = timeval_pair(cx, a.u64(1))?;
    let at = place(cx, AT_FDCWD, a.u64(0), 0)?;
    attr::set_times(&cx.task, &at, atime, mtime)?;
    Ok(0)
}

fn futimesat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (atime, mtime) = timeval_pair(cx, a.u64(2))?;
    let at = times_place(cx, a.i32(0), a.u64(1), 0)?;
    attr::set_times(&cx.task, &at, atime, mtime)?;
    Ok(0)
}

fn utimensat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(3);
    let (atime, mtime) = match a.u64(2) {
        0 => (NewTime::Now, NewTime::Now),
        addr => {
            let raw: [u8; 32] = cx.read_array(addr)?;
            let one = |at: usize| {
                let t = Timespec { sec: get_i64(&raw, at), nsec: get_i64(&raw, at + 8) };
                match t.nsec {
                    UTIME_NOW => Ok(NewTime::Now),
                    UTIME_OMIT => Ok(NewTime::Omit),
                    0..1_000_000_000 => Ok(NewTime::At(t)),
                    _ => Err(EINVAL),
                }
            };
            (one(0)?, one(16)?)
        }
    };
    if atime == NewTime::Omit && mtime == NewTime::Omit {
        return Ok(0);
    }
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    let at = times_place(cx, a.i32(0), a.u64(1), flags)?;
    attr::set_times(&cx.task, &at, atime, mtime)?;
    Ok(0)
}

fn chmod_at(cx: &mut TaskCx, dirfd: i32, path: u64, mode: u32, flags: u32) -> Result<u64> {
    let at = place(cx, dirfd, path, flags)?;
    attr::chmod(&cx.task, &at, mode)?;
    Ok(0)
}

fn chmod(cx: &mut TaskCx, a: Args) -> Result<u64> {
    chmod_at(cx, AT_FDCWD, a.u64(0), a.u32(1), 0)
}

fn fchmod(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    attr::chmod(&cx.task, &file.path, a.u32(1))?;
    Ok(0)
}

fn fchmodat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    chmod_at(cx, a.i32(0), a.u64(1), a.u32(2), 0)
}

fn fchmodat2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    chmod_at(cx, a.i32(0), a.u64(1), a.u32(2), flags)
}

/// -1 leaves an id alone.
fn id(v: u32) -> Option<u32> {
    (v != u32::MAX).then_some(v)
}

fn chown_at(cx: &mut TaskCx, dirfd: i32, path: u64, ids: (u32, u32), flags: u32) -> Result<u64> {
    let at = place(cx, dirfd, path, flags)?;
    attr::chown(&cx.task, &at, id(ids.0), id(ids.1))?;
    Ok(0)
}

fn chown(cx: &mut TaskCx, a: Args) -> Result<u64> {
    chown_at(cx, AT_FDCWD, a.u64(0), (a.u32(1), a.u32(2)), 0)
}

fn lchown(cx: &mut TaskCx, a: Args) -> Result<u64> {
    chown_at(cx, AT_FDCWD, a.u64(0), (a.u32(1), a.u32(2)), AT_SYMLINK_NOFOLLOW)
}

fn fchown(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    attr::chown(&cx.task, &file.path, id(a.u32(1)), id(a.u32(2)))?;
    Ok(0)
}

fn fchownat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(4);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_SYMLINK_FOLLOW) != 0
        || flags & AT_SYMLINK_FOLLOW != 0
    {
        return Err(EINVAL);
    }
    chown_at(cx, a.i32(0), a.u64(1), (a.u32(2), a.u32(3)), flags)
}

fn umask(cx: &mut TaskCx, a: Args) -> Result<u64> {
    Ok(u64::from(cx.fs().set_umask(a.u32(0))))
}
