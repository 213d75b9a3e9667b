//! Operations on descriptors: fcntl, flock, sync and its kin, ioctl, memfd_create, posix_fadvise, readahead.

use std::sync::{Arc, atomic::Ordering};

use abi::{
    FileType, Flock, OpenFlags,
    errno::{EBADF, EBUSY, EINVAL, ENOTDIR, ENOTTY, EOVERFLOW, EPERM, ESPIPE, ESRCH},
    fs::{
        DN_MULTISHOT, F_ADD_SEALS, F_DUPFD, F_DUPFD_CLOEXEC, F_DUPFD_QUERY, F_GET_SEALS, F_GETFD, F_GETFL,
        F_GETLEASE, F_GETLK, F_GETOWN, F_GETOWN_EX, F_GETPIPE_SZ, F_GETSIG, F_NOTIFY, F_OFD_GETLK,
        F_OFD_SETLK, F_OFD_SETLKW, F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, F_RDLCK, F_SEAL_EXEC,
        F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, F_SETFD, F_SETFL,
        F_SETLEASE, F_SETLK, F_SETLKW, F_SETOWN, F_SETOWN_EX, F_SETPIPE_SZ, F_SETSIG, F_UNLCK, F_WRLCK,
        FD_CLOEXEC, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, POSIX_FADV_NOREUSE, POSIX_FADV_NORMAL, SEEK_CUR,
        SEEK_END, SEEK_SET, SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE,
    },
    ioctl::{FIGETBSZ, FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD, FIOQSIZE},
    mm::{MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_EXEC, MFD_HUGETLB, MFD_NOEXEC_SEAL},
    nr,
    stat::FOwnerEx,
};
use kernel::{
    Result,
    task::TaskCx,
    vfs::{
        fdtable::RLIMIT_NOFILE,
        file::File,
        lock::{Lock, Owner, Range},
        permission,
        pipe::PipeEnd,
    },
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_FCNTL, "fcntl", fcntl).partial("no leases, no dnotify, no read-write hints"),
    Row::new(nr::SYS_FLOCK, "flock", flock),
    Row::new(nr::SYS_FSYNC, "fsync", fsync),
    Row::new(nr::SYS_FDATASYNC, "fdatasync", fdatasync),
    Row::new(nr::SYS_SYNC_FILE_RANGE, "sync_file_range", sync_file_range),
    Row::new(nr::SYS_SYNC, "sync", sync),
    Row::new(nr::SYS_SYNCFS, "syncfs", syncfs),
    Row::new(nr::SYS_IOCTL, "ioctl", ioctl),
    Row::new(nr::SYS_MEMFD_CREATE, "memfd_create", memfd_create).partial("no huge pages"),
    Row::new(nr::SYS_FADVISE64, "fadvise64", fadvise64),
    Row::new(nr::SYS_READAHEAD, "readahead", readahead),
];

fn fcntl(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let fd = a.i32(0);
    let cmd = a.u32(1);
    let entry = cx.files.entry(fd)?;
    let file = entry.file;
    match cmd {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let limit = cx.task.process.rlimit(RLIMIT_NOFILE);
            let min = a.i32(2);
            if min < 0 || min as u64 >= limit {
                return Err(EINVAL);
            }
            return Ok(cx.files.alloc(min, limit, file, cmd == F_DUPFD_CLOEXEC)? as u64);
        }
        F_DUPFD_QUERY => {
            let other = cx.files.get(a.i32(2))?;
            return Ok(u64::from(Arc::ptr_eq(&file, &other)));
        }
        F_GETFD => return Ok(if entry.cloexec { u64::from(FD_CLOEXEC) } else { 0 }),
        F_SETFD => {
            cx.files.set_cloexec(fd, a.u32(2) & FD_CLOEXEC != 0)?;
            return Ok(0);
        }
        F_GETFL => return Ok(u64::from(file.flags().bits())),
        _ => {}
    }
    if file.flags().contains(OpenFlags::PATH) {
        return Err(EBADF);
    }
    match cmd {
        F_SETFL => set_flags(cx, &file, OpenFlags::from_bits_truncate(a.u32(2))),
        F_GETLK | F_OFD_GETLK => get_lock(cx, &file, cmd, a.u64(2)),
        F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW => set_lock(cx, fd, &file, cmd, a.u64(2)),
        F_SETOWN | F_GETOWN | F_SETOWN_EX | F_GETOWN_EX | F_SETSIG | F_GETSIG => owner(cx, &file, cmd, a),
        F_GETPIPE_SZ | F_SETPIPE_SZ => {
            let pipe = file.ops.as_any().downcast_ref::<PipeEnd>().ok_or(EBADF)?;
            if cmd == F_GETPIPE_SZ {
                return Ok(pipe.size() as u64);
            }
            let privileged = cx.cred().has(abi::cap::CAP_SYS_RESOURCE);
            let limit = cx.machine().tunables.pipe_max_size.load(Ordering::Relaxed);
            Ok(pipe.set_size(a.u32(2) as usize, limit, privileged)? as u64)
        }
        F_GET_SEALS => {
            let seals = file.ops.seals().ok_or(EINVAL)?;
            Ok(u64::from(seals.load(Ordering::SeqCst)))
        }
        F_ADD_SEALS => add_seals(&file, a.u32(2)),
        F_GETLEASE => Ok(F_UNLCK as u64),
        F_SETLEASE => Err(EINVAL),
        // Nothing can be watched this way (inotify(7) is there for it); taking the watches away is done at once.
        F_NOTIFY if a.u32(2) & !DN_MULTISHOT == 0 => Ok(0),
        F_NOTIFY if file.path.inode()?.kind() != FileType::Directory => Err(ENOTDIR),
        _ => Err(EINVAL),
    }
}

fn set_flags(cx: &TaskCx, file: &File, new: OpenFlags) -> Result<u64> {
    let old = file.flags();
    if new.contains(OpenFlags::NOATIME) && !old.contains(OpenFlags::NOATIME) {
        let inode = file.path.inode()?;
        if !permission::is_owner(&**inode, &cx.cred())? {
            return Err(EPERM);
        }
    }
    let flags = (old - OpenFlags::SETFL) | (new & OpenFlags::SETFL);
    file.ops.set_flags(file, flags)?;
    file.set_flags(flags);
    Ok(0)
}

/// The byte range of a `struct flock`; EINVAL for one that begins before the file.
fn lock_range(file: &File, l: &Flock) -> Result<Range> {
    let base = match l.whence as u32 {
        SEEK_SET => 0,
        SEEK_CUR => (*file.pos()).cast_signed(),
        SEEK_END => file.path.inode()?.attr()?.size.cast_signed(),
        _ => return Err(EINVAL),
    };
    let start = base.checked_add(l.start).ok_or(EOVERFLOW)?;
    let (start, end) = if l.len > 0 {
        (start, start.checked_add(l.len - 1).ok_or(EOVERFLOW)?)
    } else if l.len < 0 {
        (start.checked_add(l.len).ok_or(EINVAL)?, start - 1)
    } else {
        (start, i64::MAX)
    };
    let start = u64::try_from(start).map_err(|_| EINVAL)?;
    let end = u64::try_from(end).map_err(|_| EINVAL)?;
    Ok(Range { start, end })
}

fn lock_arg(cx: &mut TaskCx, file: &File, cmd: u32, addr: u64) -> Result<(Flock, Lock)> {
    let l = Flock::decode(&cx.read_array(addr)?);
    let ofd = matches!(cmd, F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW);
    if ofd && l.pid != 0 {
        return Err(EINVAL);
    }
    let range = lock_range(file, &l)?;
    let owner = if ofd { Owner::File(file.id) } else { Owner::Table(cx.files.id) };
    let exclusive = match l.kind {
        F_RDLCK => false,
        F_WRLCK => true,
        F_UNLCK => {
            return Ok((l, Lock { owner, exclusive: false, range, pid: 0 }));
        }
        _ => return Err(EINVAL),
    };
    let pid = if ofd { -1 } else { cx.task.pid() };
    Ok((l, Lock { owner, exclusive, range, pid }))
}

fn get_lock(cx: &mut TaskCx, file: &File, cmd: u32, addr: u64) -> Result<u64> {
    let (l, lock) = lock_arg(cx, file, cmd, addr)?;
    if l.kind == F_UNLCK {
        return Err(EINVAL);
    }
    let answer = match file.path.inode()?.common().locks.conflict(&lock) {
        None => Flock { kind: F_UNLCK, ..l },
        Some(c) => Flock {
            kind: if c.exclusive { F_WRLCK } else { F_RDLCK },
            whence: SEEK_SET as i16,
            start: c.range.start.cast_signed(),
            len: if c.range.end >= i64::MAX as u64 {
                0
            } else {
                (c.range.end - c.range.start + 1).cast_signed()
            },
            pid: c.pid,
        },
    };
    cx.copy_out(addr, &answer.encode())?;
    Ok(0)
}

fn set_lock(cx: &mut TaskCx, fd: i32, file: &Arc<File>, cmd: u32, addr: u64) -> Result<u64> {
    let (l, lock) = lock_arg(cx, file, cmd, addr)?;
    let locks = &file.path.inode()?.common().locks;
    match l.kind {
        F_UNLCK => {
            locks.release(lock.owner, lock.range);
            return Ok(0);
        }
        F_RDLCK if !file.readable() => return Err(EBADF),
        F_WRLCK if !file.writable() => return Err(EBADF),
        _ => {}
    }
    locks.take(&cx.task, lock, matches!(cmd, F_SETLKW | F_OFD_SETLKW))?;
    // The descriptor may have been closed by another thread meanwhile: then nobody would give the lock up.
    if !cx.files.get(fd).is_ok_and(|f| Arc::ptr_eq(&f, file)) && matches!(lock.owner, Owner::Table(_)) {
        locks.release(lock.owner, lock.range);
        return Err(EBADF);
    }
    Ok(0)
}

fn owner(cx: &mut TaskCx, file: &File, cmd: u32, a: Args) -> Result<u64> {
    let now = file.owner.load(Ordering::Relaxed).cast_signed();
    match cmd {
        F_SETOWN => {
            file.owner.store(i64::from(a.i32(2)).cast_unsigned(), Ordering::Relaxed);
            file.ops.set_owner(i64::from(a.i32(2)));
            Ok(0)
        }
        F_GETOWN => Ok(now.cast_unsigned()),
        F_SETOWN_EX => {
            let o = FOwnerEx::decode(&cx.read_array(a.u64(2))?);
            let v = match o.kind {
                F_OWNER_TID | F_OWNER_PID => i64::from(o.pid),
                F_OWNER_PGRP => -i64::from(o.pid),
                _ => return Err(EINVAL),
            };
            if o.pid < 0 {
                return Err(ESRCH);
            }
            file.owner.store(v.cast_unsigned(), Ordering::Relaxed);
            file.ops.set_owner(v);
            Ok(0)
        }
        F_GETOWN_EX => {
            let kind = if now < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
            let o = FOwnerEx { kind, pid: i32::try_from(now.unsigned_abs()).unwrap_or(0) };
            cx.copy_out(a.u64(2), &o.encode())?;
            Ok(0)
        }
        F_SETSIG => {
            let sig = a.u32(2);
            if sig > 64 {
                return Err(EINVAL);
            }
            file.owner_signal.store(sig, Ordering::Relaxed);
            Ok(0)
        }
        _ => Ok(u64::from(file.owner_signal.load(Ordering::Relaxed))),
    }
}

fn add_seals(file: &File, mut new: u32) -> Result<u64> {
    const KNOWN: u32 =
        F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC;
    let seals = file.ops.seals().ok_or(EINVAL)?;
    if new & !KNOWN != 0 {
        return Err(EINVAL);
    }
    if !file.writable() {
        return Err(EPERM);
    }
    if seals.load(Ordering::SeqCst) & F_SEAL_SEAL != 0 {
        return Err(EPERM);
    }
    // What stays executable is not written any more.
    if new & F_SEAL_EXEC != 0 && file.path.inode()?.attr()?.mode & 0o111 != 0 {
        new |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    }
    let writes = new & F_SEAL_WRITE != 0;
    if writes {
        file.ops.deny_stores(true)?;
    }
    let add = |old: u32| if old & F_SEAL_SEAL != 0 { None } else { Some(old | new) };
    if seals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_err() {
        // Somebody sealed the seals just now.
        if writes {
            file.ops.deny_stores(false)?;
        }
        return Err(EPERM);
    }
    Ok(0)
}

fn flock(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    let op = a.u32(1);
    let locks = &file.path.inode()?.common().locks;
    let owner = Owner::Flock(file.id);
    let exclusive = match op & !LOCK_NB {
        LOCK_UN => {
            locks.release(owner, Range::ALL);
            return Ok(0);
        }
        LOCK_SH => false,
        LOCK_EX => true,
        _ => return Err(EINVAL),
    };
    let lock = Lock { owner, exclusive, range: Range::ALL, pid: cx.task.pid() };
    locks.take(&cx.task, lock, op & LOCK_NB == 0)?;
    Ok(0)
}

fn sync_fd(cx: &TaskCx, fd: i32, data_only: bool) -> Result<u64> {
    let file = cx.files.get_io(fd)?;
    match file.ops.sync(data_only) {
        // A directory without an operation of its own has nothing to write.
        Err(EINVAL) if file.path.inode()?.kind() == FileType::Directory => Ok(0),
        other => other.map(|()| 0),
    }
}

fn fsync(cx: &mut TaskCx, a: Args) -> Result<u64> {
    sync_fd(cx, a.i32(0), false)
}

fn fdatasync(cx: &mut TaskCx, a: Args) -> Result<u64> {
    sync_fd(cx, a.i32(0), true)
}

fn sync_file_range(cx: &mut TaskCx, a: Args) -> Result<u64> {
    const KNOWN: u32 = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    let file = cx.files.get_io(a.i32(0))?;
    if a.i64(1) < 0 || a.i64(2) < 0 || a.i64(1).checked_add(a.i64(2)).is_none() || a.u32(3) & !KNOWN != 0 {
        return Err(EINVAL);
    }
    match file.path.inode()?.kind() {
        FileType::Regular | FileType::Block | FileType::Directory | FileType::Symlink => {}
        _ => return Err(ESPIPE),
    }
    if a.u32(3) != 0 { sync_fd(cx, a.i32(0), true) } else { Ok(0) }
}

fn sync(cx: &mut TaskCx, _a: Args) -> Result<u64> {
    // sync(2) reports no errors.
    for m in cx.fs().mounts.mounts() {
        let _ = m.fs.sync();
    }
    Ok(0)
}

fn syncfs(cx: &mut TaskCx, a: Args) -> Result<u64> {
    cx.files.get_io(a.i32(0))?.path.mount.fs.sync()?;
    Ok(0)
}

fn ioctl(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    let (cmd, arg) = (a.u32(1), a.u64(2));
    match cmd {
        FIOCLEX | FIONCLEX => {
            cx.files.set_cloexec(a.i32(0), cmd == FIOCLEX)?;
            return Ok(0);
        }
        FIONBIO | FIOASYNC => {
            let on = cx.read_u32(arg)? != 0;
            let bit = if cmd == FIONBIO { OpenFlags::NONBLOCK } else { OpenFlags::ASYNC };
            let flags = if on { file.flags() | bit } else { file.flags() - bit };
            file.ops.set_flags(&file, flags)?;
            file.set_flags(flags);
            return Ok(0);
        }
        _ => {}
    }
    match file.ops.ioctl(&file, cx, cmd, arg) {
        Err(ENOTTY) => {}
        other => return other,
    }
    let inode = file.path.inode()?;
    match (cmd, inode.kind()) {
        (FIONREAD, FileType::Regular) => {
            let left = inode.attr()?.size.saturating_sub(*file.pos());
            cx.write_u32(arg, u32::try_from(left).unwrap_or(i32::MAX as u32).min(i32::MAX as u32))?;
            Ok(0)
        }
        (FIGETBSZ, FileType::Regular | FileType::Directory) => {
            cx.write_u32(arg, inode.attr()?.blksize)?;
            Ok(0)
        }
        (FIOQSIZE, FileType::Regular | FileType::Directory | FileType::Symlink) => {
            cx.write_u64(arg, inode.attr()?.size)?;
            Ok(0)
        }
        _ => Err(ENOTTY),
    }
}

fn memfd_create(cx: &mut TaskCx, a: Args) -> Result<u64> {
    const NAME_MAX: usize = 249;
    let flags = a.u32(1);
    if flags & !(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC) != 0 {
        // Huge pages of a size that the machine does not have.
        return Err(if flags & MFD_HUGETLB != 0 { abi::errno::ENODEV } else { EINVAL });
    }
    if flags & MFD_EXEC != 0 && flags & MFD_NOEXEC_SEAL != 0 {
        return Err(EINVAL);
    }
    let name = cx.read_cstr(a.u64(0), NAME_MAX + 1, EINVAL)?;
    let mode = if flags & MFD_NOEXEC_SEAL != 0 { 0o666 } else { 0o777 };
    let file = cx.machine().vfs.memfd(&cx.task, &name, mode)?;
    let seals = file.ops.seals().ok_or(EBUSY)?;
    seals.store(
        match (flags & MFD_NOEXEC_SEAL != 0, flags & MFD_ALLOW_SEALING != 0) {
            (true, _) => F_SEAL_EXEC,
            (false, true) => 0,
            (false, false) => F_SEAL_SEAL,
        },
        Ordering::SeqCst,
    );
    Ok(cx.files.install(&cx.task, file, flags & MFD_CLOEXEC != 0)? as u64)
}

fn fadvise64(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    if file.path.inode()?.kind() == FileType::Fifo {
        return Err(ESPIPE);
    }
    if a.i64(2) < 0 || !(POSIX_FADV_NORMAL..=POSIX_FADV_NOREUSE).contains(&a.i32(3)) {
        return Err(EINVAL);
    }
    // Advice: the host's own read-ahead does what can be done.
    Ok(0)
}

fn readahead(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let file = cx.files.get_io(a.i32(0))?;
    if !file.readable() {
        return Err(EBADF);
    }
    match file.path.inode()?.kind() {
        FileType::Regular | FileType::Block => Ok(0),
        _ => Err(EINVAL),
    }
}
