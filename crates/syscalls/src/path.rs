//! Names: mkdir, rmdir, unlink, rename, link, symlink, readlink, mknod; working directory and root; truncate, fallocate.

use abi::{
    FileType,
    cap::CAP_SYS_CHROOT,
    errno::{EBADF, EFBIG, EINVAL, ENODEV, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM, ERANGE, ESPIPE},
    fs::{
        AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, FALLOC_FL_COLLAPSE_RANGE,
        FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_UNSHARE_RANGE,
        FALLOC_FL_ZERO_RANGE, X_OK,
    },
    nr,
};
use kernel::{
    Result,
    task::{TaskCx, cx::PATH_MAX},
    vfs::{self, LookupFlags, Path, attr, inode::Link, path::resolve, permission},
};

use crate::{args::Args, stat::place, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_MKDIR, "mkdir", mkdir),
    Row::new(nr::SYS_MKDIRAT, "mkdirat", mkdirat),
    Row::new(nr::SYS_RMDIR, "rmdir", rmdir),
    Row::new(nr::SYS_UNLINK, "unlink", unlink),
    Row::new(nr::SYS_UNLINKAT, "unlinkat", unlinkat),
    Row::new(nr::SYS_RENAME, "rename", rename),
    Row::new(nr::SYS_RENAMEAT, "renameat", renameat),
    Row::new(nr::SYS_RENAMEAT2, "renameat2", renameat2),
    Row::new(nr::SYS_LINK, "link", link),
    Row::new(nr::SYS_LINKAT, "linkat", linkat),
    Row::new(nr::SYS_SYMLINK, "symlink", symlink),
    Row::new(nr::SYS_SYMLINKAT, "symlinkat", symlinkat),
    Row::new(nr::SYS_READLINK, "readlink", readlink),
    Row::new(nr::SYS_READLINKAT, "readlinkat", readlinkat),
    Row::new(nr::SYS_MKNOD, "mknod", mknod),
    Row::new(nr::SYS_MKNODAT, "mknodat", mknodat),
    Row::new(nr::SYS_CHDIR, "chdir", chdir),
    Row::new(nr::SYS_FCHDIR, "fchdir", fchdir),
    Row::new(nr::SYS_CHROOT, "chroot", chroot),
    Row::new(nr::SYS_GETCWD, "getcwd", getcwd),
    Row::new(nr::SYS_TRUNCATE, "truncate", truncate),
    Row::new(nr::SYS_FTRUNCATE, "ftruncate", ftruncate),
    Row::new(nr::SYS_FALLOCATE, "fallocate", fallocate),
];

fn mkdir(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let path = cx.read_path(a.u64(0))?;
    vfs::mkdir(&cx.task, AT_FDCWD, &path, a.u32(1))?;
    Ok(0)
}

fn mkdirat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let path = cx.read_path(a.u64(1))?;
    vfs::mkdir(&cx.task, a.i32(0), &path, a.u32(2))?;
    Ok(0)
}

fn rmdir(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let path = cx.read_path(a.u64(0))?;
    vfs::rmdir(&cx.task, AT_FDCWD, &path)?;
    Ok(0)
}

fn unlink(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let path = cx.read_path(a.u64(0))?;
    vfs::unlink(&cx.task, AT_FDCWD, &path)?;
    Ok(0)
}

fn unlinkat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(2);
    if flags & !AT_REMOVEDIR != 0 {
        return Err(EINVAL);
    }
    let path = cx.read_path(a.u64(1))?;
    if flags == 0 {
        vfs::unlink(&cx.task, a.i32(0), &path)?;
    } else {
        vfs::rmdir(&cx.task, a.i32(0), &path)?;
    }
    Ok(0)
}

fn rename_at(cx: &mut TaskCx, old: (i32, u64), new: (i32, u64), flags: u32) -> Result<u64> {
    let old_path = cx.read_path(old.1)?;
    let new_path = cx.read_path(new.1)?;
    vfs::rename(&cx.task, old.0, &old_path, new.0, &new_path, flags)?;
    Ok(0)
}

fn rename(cx: &mut TaskCx, a: Args) -> Result<u64> {
    rename_at(cx, (AT_FDCWD, a.u64(0)), (AT_FDCWD, a.u64(1)), 0)
}

fn renameat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    rename_at(cx, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), 0)
}

fn renameat2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    rename_at(cx, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), a.u32(4))
}

fn link_at(cx: &mut TaskCx, old: (i32, u64), new: (i32, u64), flags: u32) -> Result<u64> {
    let old_path = cx.read_path(old.1)?;
    let new_path = cx.read_path(new.1)?;
    vfs::link(&cx.task, old.0, &old_path, new.0, &new_path, flags)?;
    Ok(0)
}

fn link(cx: &mut TaskCx, a: Args) -> Result<u64> {
    link_at(cx, (AT_FDCWD, a.u64(0)), (AT_FDCWD, a.u64(1)), 0)
}

fn linkat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(4);
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    link_at(cx, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), flags)
}

fn symlink_at(cx: &mut TaskCx, target: u64, dirfd: i32, path: u64) -> Result<u64> {
    let target = cx.read_path(target)?;
    let path = cx.read_path(path)?;
    vfs::symlink(&cx.task, &target, dirfd, &path)?;
    Ok(0)
}

fn symlink(cx: &mut TaskCx, a: Args) -> Result<u64> {
    symlink_at(cx, a.u64(0), AT_FDCWD, a.u64(1))
}

fn symlinkat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    symlink_at(cx, a.u64(0), a.i32(1), a.u64(2))
}

fn readlink_at(cx: &mut TaskCx, dirfd: i32, path: u64, out: u64, size: i32) -> Result<u64> {
    let size = usize::try_from(size).ok().filter(|s| *s > 0).ok_or(EINVAL)?;
    let path = cx.read_path(path)?;
    // An empty path reads the link that an O_PATH descriptor stands for.
    let at = resolve(&cx.task, dirfd, &path, LookupFlags::EMPTY_PATH)?;
    if path.is_empty() && dirfd == AT_FDCWD {
        return Err(ENOENT);
    }
    let Some(link) = at.inode()?.read_link(&cx.task) else {
        return Err(if path.is_empty() { ENOENT } else { EINVAL });
    };
    let mut text = match link? {
        Link::Text(t) | Link::Open(t, _) => t,
        Link::Jump(p) => p.display(&cx.fs().root()),
    };
    text.truncate(size);
    cx.copy_out(out, &text)?;
    Ok(text.len() as u64)
}

fn readlink(cx: &mut TaskCx, a: Args) -> Result<u64> {
    readlink_at(cx, AT_FDCWD, a.u64(0), a.u64(1), a.i32(2))
}

fn readlinkat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    readlink_at(cx, a.i32(0), a.u64(1), a.u64(2), a.i32(3))
}

/// Device numbers of mknod(2) are 32 bits wide.
fn mknod_at(cx: &mut TaskCx, dirfd: i32, path: u64, mode: u32, dev: u32) -> Result<u64> {
    let path = cx.read_path(path)?;
    let kind = if mode & abi::fs::S_IFMT == 0 {
        FileType::Regular
    } else {
        FileType::from_mode(mode).ok_or(EINVAL)?
    };
    let rdev = if kind.is_device() { u64::from(dev) } else { 0 };
    vfs::mknod(&cx.task, dirfd, &path, mode, rdev)?;
    Ok(0)
}

fn mknod(cx: &mut TaskCx, a: Args) -> Result<u64> {
    mknod_at(cx, AT_FDCWD, a.u64(0), a.u32(1), a.u32(2))
}

fn mknodat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    mknod_at(cx, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
}

fn enter(cx: &TaskCx, at: &Path) -> Result<()> {
    if !at.is_dir() {
        return Err(ENOTDIR);
    }
    permission::check(&**at.inode()?, &cx.cred(), X_OK)
}

fn chdir(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let at = place(cx, AT_FDCWD, a.u64(0), 0)?;
    enter(cx, &at)?;
    cx.fs().set_cwd(at);
    cx.machine().host.recall_files();
    Ok(0)
}

fn fchdir(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let at = cx.files.get(a.i32(0))?.path.clone();
    enter(cx, &at)?;
    cx.fs().set_cwd(at);
    cx.machine().host.recall_files();
    Ok(0)
}

fn chroot(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let at = place(cx, AT_FDCWD, a.u64(0), 0)?;
    enter(cx, &at)?;
    if !cx.cred().has(CAP_SYS_CHROOT) {
        return Err(EPERM);
    }
    cx.fs().set_root(at);
    cx.machine().host.recall_files();
    Ok(0)
}

fn getcwd(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let fs = cx.fs();
    let cwd = fs.cwd();
    if cwd.dentry.is_removed() {
        return Err(ENOENT);
    }
    let (mut text, reached) = cwd.text_from(&fs.root());
    if !reached {
        text.splice(0..0, *b"(unreachable)");
    }
    text.push(0);
    if text.len() > PATH_MAX {
        return Err(abi::errno::ENAMETOOLONG);
    }
    if text.len() > a.usize(1) {
        return Err(ERANGE);
    }
    cx.copy_out(a.u64(0), &text)?;
    Ok(text.len() as u64)
}

fn length(v: i64) -> Result<u64> {
    u64::try_from(v).map_err(|_| EINVAL)
}

fn truncate(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let size = length(a.i64(1))?;
    let at = place(cx, AT_FDCWD, a.u64(0), 0)?;
    attr::truncate_path(&cx.task, &at, size)?;
    Ok(0)
}

fn ftruncate(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let size = length(a.i64(1))?;
    let file = cx.files.get_io(a.i32(0))?;
    if !file.writable() {
        return Err(EINVAL);
    }
    attr::truncate_file(&cx.task, &file, size)?;
    Ok(0)
}

fn fallocate(cx: &mut TaskCx, a: Args) -> Result<u64> {
    const KNOWN: u32 = FALLOC_FL_KEEP_SIZE
        | FALLOC_FL_PUNCH_HOLE
        | FALLOC_FL_COLLAPSE_RANGE
        | FALLOC_FL_ZERO_RANGE
        | FALLOC_FL_INSERT_RANGE
        | FALLOC_FL_UNSHARE_RANGE;
    let file = cx.files.get_io(a.i32(0))?;
    let mode = a.u32(1);
    let offset = length(a.i64(2))?;
    let len = length(a.i64(3)).ok().filter(|l| *l > 0).ok_or(EINVAL)?;
    if mode & !KNOWN != 0
        || mode & FALLOC_FL_PUNCH_HOLE != 0 && mode & FALLOC_FL_KEEP_SIZE == 0
        || mode & FALLOC_FL_PUNCH_HOLE != 0 && mode & FALLOC_FL_ZERO_RANGE != 0
    {
        return Err(EOPNOTSUPP);
    }
    if !file.writable() {
        return Err(EBADF);
    }
    match file.path.inode()?.kind() {
        FileType::Regular => {}
        FileType::Fifo => return Err(ESPIPE),
        FileType::Directory => return Err(abi::errno::EISDIR),
        _ => return Err(ENODEV),
    }
    let end = offset.checked_add(len).filter(|e| *e <= i64::MAX as u64).ok_or(EFBIG)?;
    if mode & (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE) == 0 {
        attr::check_size_limit(&cx.task, end)?;
    }
    file.ops.allocate(mode, offset, len)?;
    vfs::events::modified(&file);
    Ok(0)
}
