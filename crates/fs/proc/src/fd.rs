//! /proc/PID/fd and fdinfo.

use std::sync::Arc;

use abi::errno;
use kernel::{
    Machine, Result,
    task::Pid,
    vfs::{file::File, inode::Link},
};

fn file(m: &Machine, tid: Pid, fd: i32) -> Result<Arc<File>> {
    let task = m.tree.task(tid).ok_or(errno::ENOENT)?;
    task.files().ok_or(errno::ENOENT)?.get(fd).map_err(|_| errno::ENOENT)
}

/// Open descriptors of a task.
pub(crate) fn numbers(m: &Machine, tid: Pid) -> Vec<i32> {
    m.tree.task(tid).and_then(|t| t.files()).map(|f| f.fds()).unwrap_or_default()
}

/// Where a descriptor leads.
pub(crate) fn link(m: &Machine, tid: Pid, fd: i32) -> Result<Link> {
    let f = file(m, tid, fd)?;
    let d = &f.path.dentry;
    let anonymous = d.parent().is_none() && !Arc::ptr_eq(d, &f.path.mount.root);
    Ok(if anonymous { Link::Open(d.name().to_vec(), f) } else { Link::Jump(f.path.clone()) })
}

/// Text of /proc/PID/fdinfo/N.
pub(crate) fn info(m: &Machine, tid: Pid, fd: i32) -> Result<Vec<u8>> {
    let f = file(m, tid, fd)?;
    let task = m.tree.task(tid).ok_or(errno::ENOENT)?;
    let cloexec = task.files().is_some_and(|t| t.entry(fd).is_ok_and(|e| e.cloexec));
    let flags = f.flags().bits() | if cloexec { abi::OpenFlags::CLOEXEC.bits() } else { 0 };
    let pos = *f.pos();
    let ino = f.inode().map_or(0, |i| i.ino());
    let own = f.ops.fdinfo(&f);
    Ok(format!("pos:\t{pos}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{ino}\n{own}", f.path.mount.id)
        .into_bytes())
}
