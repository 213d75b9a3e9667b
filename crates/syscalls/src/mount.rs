//! The mount tree: mount, umount2, pivot_root.

use std::sync::Arc;

use abi::{
    FileType,
    cap::CAP_SYS_ADMIN,
    errno::{EAGAIN, EBUSY, EINVAL, ENODEV, ENOTDIR, EPERM},
    fs::{
        AT_FDCWD, AT_SYMLINK_NOFOLLOW, MNT_DETACH, MNT_EXPIRE, MNT_FORCE, MS_BIND, MS_MGC_MSK, MS_MGC_VAL,
        MS_MOVE, MS_NOATIME, MS_NODIRATIME, MS_PRIVATE, MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT,
        MS_SHARED, MS_SILENT, MS_SLAVE, MS_STRICTATIME, MS_UNBINDABLE, UMOUNT_NOFOLLOW,
    },
    nr,
};
use kernel::{
    Result,
    task::TaskCx,
    vfs::{
        dentry::Dentry,
        file::File,
        mount::{MOUNT_FLAGS, Mount, propagate::Kind},
    },
};

use crate::{args::Args, stat::place, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_MOUNT, "mount", |cx, a| recalling(cx, mount, a)),
    Row::new(nr::SYS_UMOUNT2, "umount2", |cx, a| recalling(cx, umount2, a)),
    Row::new(nr::SYS_PIVOT_ROOT, "pivot_root", |cx, a| recalling(cx, pivot_root, a)),
];

/// Makes the call, after which paths may lead elsewhere than what guest code was told ahead.
fn recalling(cx: &mut TaskCx, call: fn(&mut TaskCx, Args) -> Result<u64>, a: Args) -> Result<u64> {
    let result = call(cx, a);
    cx.machine().host.recall_files();
    result
}

const PROPAGATION: u32 = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;

fn optional_string(cx: &mut TaskCx, addr: u64) -> Result<Vec<u8>> {
    if addr == 0 { Ok(Vec::new()) } else { cx.read_cstr(addr, 4096, EINVAL) }
}

/// Flags a new mount keeps: relatime unless told otherwise.
fn kept(flags: u32) -> u32 {
    let mut keep = flags & MOUNT_FLAGS;
    if flags & (MS_NOATIME | MS_STRICTATIME) == 0 {
        keep |= MS_RELATIME;
    }
    if flags & MS_STRICTATIME != 0 {
        keep &= !(MS_RELATIME | MS_NOATIME);
    }
    keep
}

fn mount(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let mut flags = a.u32(3);
    if flags & MS_MGC_MSK == MS_MGC_VAL {
        flags &= !MS_MGC_MSK;
    }
    flags &= !MS_SILENT;
    let kind = if flags & (MS_REMOUNT | MS_BIND | MS_MOVE | PROPAGATION) == 0 {
        if a.u64(2) == 0 {
            return Err(EINVAL);
        }
        Some(cx.read_cstr(a.u64(2), 4096, EINVAL)?)
    } else {
        None
    };
    let at = place(cx, AT_FDCWD, a.u64(1), 0)?;
    if !cx.cred().has(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let ns = cx.fs().mounts.clone();
    let is_root = Arc::ptr_eq(&at.dentry, &at.mount.root);
    if flags & MS_REMOUNT != 0 {
        if !is_root {
            return Err(EINVAL);
        }
        let data = optional_string(cx, a.u64(4))?;
        let read_only = flags & MS_RDONLY != 0;
        if read_only && !at.mount.read_only() && written(cx, &at.mount, flags & MS_BIND != 0) {
            return Err(EBUSY);
        }
        if flags & MS_BIND == 0 {
            if !data.is_empty() {
                at.mount.fs.remount(&String::from_utf8_lossy(&data))?;
            }
            ns.set_fs_read_only(&at.mount, read_only);
        }
        let mut new = flags & MOUNT_FLAGS;
        // Without a word about access times they stay as they are.
        let atimes = MS_NOATIME | MS_NODIRATIME | MS_RELATIME;
        if flags & (atimes | MS_STRICTATIME) == 0 {
            new |= at.mount.flags() & atimes;
        }
        at.mount.set_flags(new);
        return Ok(0);
    }
    // Where something comes from may not be left out.
    if flags & (MS_BIND | MS_MOVE) != 0 && a.u64(0) == 0 {
        return Err(EINVAL);
    }
    if flags & MS_BIND != 0 {
        let from = place(cx, AT_FDCWD, a.u64(0), 0)?;
        ns.bind(&from, &at, flags & MS_REC != 0)?;
        return Ok(0);
    }
    if flags & PROPAGATION != 0 {
        let kind = match flags & !MS_REC {
            MS_SHARED => Kind::Shared,
            MS_SLAVE => Kind::Slave,
            MS_PRIVATE => Kind::Private,
            MS_UNBINDABLE => Kind::Unbindable,
            _ => return Err(EINVAL),
        };
        if !is_root || !ns.contains(&at.mount) {
            return Err(EINVAL);
        }
        ns.set_propagation(&at.mount, flags & MS_REC != 0, kind);
        return Ok(0);
    }
    if flags & MS_MOVE != 0 {
        let from = place(cx, AT_FDCWD, a.u64(0), 0)?;
        ns.move_mount(&from, &at)?;
        return Ok(0);
    }
    let kind = String::from_utf8(kind.unwrap_or_default()).map_err(|_| ENODEV)?;
    let source = optional_string(cx, a.u64(0))?;
    let options = optional_string(cx, a.u64(4))?;
    let machine = cx.machine().clone();
    let fs_type = machine.registry.filesystems.get(kind.as_str()).ok_or(ENODEV)?.clone();
    let fs = fs_type.mount(&machine, &source, &options, flags & MS_RDONLY != 0, Some(cx))?;
    let root = Dentry::new_root(fs.root());
    let shown: &[u8] = if source.is_empty() { b"none" } else { &source };
    let new = Mount::new(fs, root, shown, kept(flags));
    ns.attach(new.clone(), &at)?;
    if flags & MS_RDONLY != 0 {
        ns.set_fs_read_only(&new, true);
    }
    Ok(0)
}

/// Whether somebody has a file open for writing through this mount, or through any of its filesystem.
fn written(cx: &TaskCx, mount: &Arc<Mount>, this_alone: bool) -> bool {
    let concerns = |m: &Arc<Mount>| {
        if this_alone { Arc::ptr_eq(m, mount) } else { Arc::ptr_eq(&m.fs, &mount.fs) }
    };
    let writes = |f: &File| {
        f.writable() && concerns(&f.path.mount) && f.path.inode().is_ok_and(|i| i.kind() == FileType::Regular)
    };
    cx.machine().tree.tasks().iter().any(|t| t.files().is_some_and(|files| files.any(writes)))
}

fn umount2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(1);
    let expire = flags & MNT_EXPIRE != 0;
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0
        || expire && flags & (MNT_FORCE | MNT_DETACH) != 0
    {
        return Err(EINVAL);
    }
    // Asked before our own walk takes the mark away.
    let all = if expire { cx.fs().mounts.mounts() } else { Vec::new() };
    let marked: Vec<Arc<Mount>> = all.into_iter().filter(|m| m.is_expiring()).collect();
    let follow = if flags & UMOUNT_NOFOLLOW != 0 { AT_SYMLINK_NOFOLLOW } else { 0 };
    let at = place(cx, AT_FDCWD, a.u64(0), follow)?;
    if !cx.cred().has(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    // What uses a mount: working directories, roots and open files of all tasks. Their tables are asked for here, as that may wait
    // for a task to settle what it was lent, and the tree of mounts is locked when they are looked at.
    let tasks: Vec<_> = cx.machine().tree.tasks().iter().map(|t| (t.fs(), t.files())).collect();
    let in_use = |m: &Arc<Mount>| {
        tasks.iter().any(|(fs, files)| {
            let uses = |p: &kernel::vfs::Path| Arc::ptr_eq(&p.mount, m);
            let opened = files.as_ref().is_some_and(|f| f.any(|file| uses(&file.path)));
            uses(&fs.root()) || uses(&fs.cwd()) || opened
        })
    };
    let ns = cx.fs().mounts.clone();
    if expire && Arc::ptr_eq(&at.dentry, &at.mount.root) && ns.contains(&at.mount) {
        if in_use(&at.mount) {
            return Err(EBUSY);
        }
        at.mount.mark_expiring();
        if !marked.iter().any(|m| Arc::ptr_eq(m, &at.mount)) {
            return Err(EAGAIN);
        }
    }
    let gone = ns.detach(&at, flags & MNT_DETACH != 0, in_use)?;
    for m in &gone {
        if !in_use(m) && !ns.mounts().iter().any(|other| Arc::ptr_eq(&other.fs, &m.fs)) {
            cx.machine().vfs.unmounted(&*m.fs);
        }
    }
    Ok(0)
}

fn pivot_root(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let new = place(cx, AT_FDCWD, a.u64(0), 0)?;
    let old = place(cx, AT_FDCWD, a.u64(1), 0)?;
    if !new.is_dir() || !old.is_dir() {
        return Err(ENOTDIR);
    }
    if !cx.cred().has(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let fs = cx.fs();
    let root = fs.root();
    fs.mounts.pivot_root(&new, &old, &root)?;
    // Everybody whose root or working directory was the old root goes along.
    for t in cx.machine().tree.tasks() {
        let f = t.fs();
        if f.root() == root {
            f.set_root(new.clone());
        }
        if f.cwd() == root {
            f.set_cwd(new.clone());
        }
    }
    Ok(0)
}
