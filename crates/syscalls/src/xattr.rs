//! Extended attributes (xattr(7)).

use abi::{
    FileType,
    cap::CAP_SYS_ADMIN,
    errno::{E2BIG, EINVAL, ENODATA, EOPNOTSUPP, EPERM, ERANGE, EROFS},
    fs::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, R_OK, S_ISVTX, W_OK},
    nr,
    xattr::{
        SECURITY_PREFIX, SYSTEM_PREFIX, TRUSTED_PREFIX, USER_PREFIX, XATTR_CREATE, XATTR_LIST_MAX,
        XATTR_NAME_MAX, XATTR_REPLACE, XATTR_SIZE_MAX,
    },
};
use kernel::{
    Result,
    task::TaskCx,
    vfs::{Path, inode::Inode, permission},
};

use crate::{args::Args, stat::place, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_SETXATTR, "setxattr", |cx, a| {
        set(cx, a, Which::Follow, a.u64(1), a.u64(2), a.usize(3), a.u32(4))
    }),
    Row::new(nr::SYS_LSETXATTR, "lsetxattr", |cx, a| {
        set(cx, a, Which::Link, a.u64(1), a.u64(2), a.usize(3), a.u32(4))
    }),
    Row::new(nr::SYS_FSETXATTR, "fsetxattr", |cx, a| {
        set(cx, a, Which::Fd, a.u64(1), a.u64(2), a.usize(3), a.u32(4))
    }),
    Row::new(nr::SYS_GETXATTR, "getxattr", |cx, a| get(cx, a, Which::Follow, a.u64(1), a.u64(2), a.usize(3))),
    Row::new(nr::SYS_LGETXATTR, "lgetxattr", |cx, a| get(cx, a, Which::Link, a.u64(1), a.u64(2), a.usize(3))),
    Row::new(nr::SYS_FGETXATTR, "fgetxattr", |cx, a| get(cx, a, Which::Fd, a.u64(1), a.u64(2), a.usize(3))),
    Row::new(nr::SYS_LISTXATTR, "listxattr", |cx, a| list(cx, a, Which::Follow, a.u64(1), a.usize(2))),
    Row::new(nr::SYS_LLISTXATTR, "llistxattr", |cx, a| list(cx, a, Which::Link, a.u64(1), a.usize(2))),
    Row::new(nr::SYS_FLISTXATTR, "flistxattr", |cx, a| list(cx, a, Which::Fd, a.u64(1), a.usize(2))),
    Row::new(nr::SYS_REMOVEXATTR, "removexattr", |cx, a| remove(cx, a, Which::Follow, a.u64(1))),
    Row::new(nr::SYS_LREMOVEXATTR, "lremovexattr", |cx, a| remove(cx, a, Which::Link, a.u64(1))),
    Row::new(nr::SYS_FREMOVEXATTR, "fremovexattr", |cx, a| remove(cx, a, Which::Fd, a.u64(1))),
    Row::new(nr::SYS_SETXATTRAT, "setxattrat", setxattrat),
    Row::new(nr::SYS_GETXATTRAT, "getxattrat", getxattrat),
    Row::new(nr::SYS_LISTXATTRAT, "listxattrat", listxattrat),
    Row::new(nr::SYS_REMOVEXATTRAT, "removexattrat", removexattrat),
];

/// How the file is named.
#[derive(Clone, Copy)]
enum Which {
    Follow,
    Link,
    Fd,
    /// Directory, path and AT_* flags are the first three arguments.
    At,
}

/// Bytes of `struct xattr_args`: address, size and flags of a value.
const ARGS_SIZE: usize = 16;

/// The value that a `struct xattr_args` points at. EINVAL if it is too short, E2BIG for what is not known here.
fn value_args(cx: &mut TaskCx, addr: u64, size: usize) -> Result<(u64, usize, u32)> {
    if size < ARGS_SIZE {
        return Err(EINVAL);
    }
    if size > 4096 {
        return Err(E2BIG);
    }
    let mut raw = vec![0; size];
    cx.copy_in(addr, &mut raw)?;
    if raw[ARGS_SIZE..].iter().any(|b| *b != 0) {
        return Err(E2BIG);
    }
    let value = cx.read_u64(addr)?;
    let (len, flags) = (cx.read_u32(addr.wrapping_add(8))?, cx.read_u32(addr.wrapping_add(12))?);
    Ok((value, len as usize, flags))
}

fn setxattrat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    at_flags(a)?;
    let (value, len, flags) = value_args(cx, a.u64(4), a.usize(5))?;
    set(cx, a, Which::At, a.u64(3), value, len, flags)
}

fn getxattrat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    at_flags(a)?;
    let (value, len, flags) = value_args(cx, a.u64(4), a.usize(5))?;
    if flags != 0 {
        return Err(EINVAL);
    }
    get(cx, a, Which::At, a.u64(3), value, len)
}

fn listxattrat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    at_flags(a)?;
    list(cx, a, Which::At, a.u64(3), a.usize(4))
}

fn removexattrat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    at_flags(a)?;
    remove(cx, a, Which::At, a.u64(3))
}

fn at_flags(a: Args) -> Result<()> {
    if a.u32(2) & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 { Err(EINVAL) } else { Ok(()) }
}

fn target(cx: &mut TaskCx, a: Args, which: Which) -> Result<Path> {
    match which {
        Which::Follow => place(cx, AT_FDCWD, a.u64(0), 0),
        Which::Link => place(cx, AT_FDCWD, a.u64(0), AT_SYMLINK_NOFOLLOW),
        Which::Fd => Ok(cx.files.get_io(a.i32(0))?.path.clone()),
        Which::At => place(cx, a.i32(0), a.u64(1), a.u32(2)),
    }
}

fn name_arg(cx: &mut TaskCx, addr: u64) -> Result<Vec<u8>> {
    let name = cx.read_cstr(addr, XATTR_NAME_MAX + 1, ERANGE)?;
    if name.is_empty() { Err(ERANGE) } else { Ok(name) }
}

/// The rules of the namespaces. `write`: it is to be changed.
fn check(cx: &TaskCx, at: &Path, inode: &dyn Inode, name: &[u8], write: bool) -> Result<()> {
    if write && at.mount.read_only() {
        return Err(EROFS);
    }
    let cred = cx.cred();
    let mask = if write { W_OK } else { R_OK };
    if name.starts_with(TRUSTED_PREFIX) {
        return match cred.has(CAP_SYS_ADMIN) {
            true => Ok(()),
            false => Err(if write { EPERM } else { ENODATA }),
        };
    }
    if name.starts_with(SECURITY_PREFIX) {
        let file_caps = name == abi::xattr::SECURITY_CAPABILITY;
        let allowed = if file_caps { cred.has(abi::cap::CAP_SETFCAP) } else { cred.has(CAP_SYS_ADMIN) };
        return if write && !allowed { Err(EPERM) } else { Ok(()) };
    }
    if name.starts_with(SYSTEM_PREFIX) {
        // Access control lists need a filesystem that obeys them.
        return Err(EOPNOTSUPP);
    }
    if !name.starts_with(USER_PREFIX) {
        return Err(EOPNOTSUPP);
    }
    if name.len() == USER_PREFIX.len() {
        return Err(EINVAL);
    }
    // User attributes are for files and directories; in sticky directories only the owner's.
    match inode.kind() {
        FileType::Regular => {}
        FileType::Directory => {
            if write && inode.owner_mode()?.0 & S_ISVTX != 0 && !permission::is_owner(inode, &cred)? {
                return Err(EPERM);
            }
        }
        _ => return Err(if write { EPERM } else { ENODATA }),
    }
    permission::check(inode, &cred, mask)
}

/// Sets attribute `name` to `size` bytes at `value`; the arguments beside say which file.
fn set(
    cx: &mut TaskCx,
    a: Args,
    which: Which,
    name: u64,
    value: u64,
    size: usize,
    flags: u32,
) -> Result<u64> {
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 || flags == XATTR_CREATE | XATTR_REPLACE {
        return Err(EINVAL);
    }
    let name = name_arg(cx, name)?;
    if size > XATTR_SIZE_MAX {
        return Err(E2BIG);
    }
    let addr = value;
    let mut value = vec![0; size];
    cx.copy_in(addr, &mut value)?;
    let at = target(cx, a, which)?;
    let inode = at.inode()?;
    check(cx, &at, &**inode, &name, true)?;
    if name == abi::xattr::SECURITY_CAPABILITY {
        // Version 2, or 3 with the owner of a user namespace.
        match (value.len(), value.get(3)) {
            (20, Some(2)) | (24, Some(3)) => inode.common().capabilities_set(),
            _ => return Err(EINVAL),
        }
    }
    inode.xattr().ok_or(EOPNOTSUPP)?.set(&name, &value, flags)?;
    kernel::vfs::events::attributes(&at.dentry);
    Ok(0)
}

fn get(cx: &mut TaskCx, a: Args, which: Which, name: u64, out: u64, size: usize) -> Result<u64> {
    let name = name_arg(cx, name)?;
    let at = target(cx, a, which)?;
    let inode = at.inode()?;
    check(cx, &at, &**inode, &name, false)?;
    let value = inode.xattr().ok_or(EOPNOTSUPP)?.get(&name)?;
    answer(cx, out, size, &value)
}

/// Stores a value if it fits; size 0 asks for its length.
fn answer(cx: &mut TaskCx, out: u64, size: usize, value: &[u8]) -> Result<u64> {
    if size > 0 {
        if value.len() > size {
            return Err(ERANGE);
        }
        cx.copy_out(out, value)?;
    }
    Ok(value.len() as u64)
}

fn list(cx: &mut TaskCx, a: Args, which: Which, out: u64, size: usize) -> Result<u64> {
    let at = target(cx, a, which)?;
    let Some(x) = at.inode()?.xattr() else { return answer(cx, out, size, &[]) };
    let privileged = cx.cred().has(CAP_SYS_ADMIN);
    let mut all = Vec::new();
    for name in x.list()? {
        if privileged || !name.starts_with(TRUSTED_PREFIX) {
            all.extend_from_slice(&name);
            all.push(0);
        }
    }
    if all.len() > XATTR_LIST_MAX {
        return Err(E2BIG);
    }
    answer(cx, out, size, &all)
}

fn remove(cx: &mut TaskCx, a: Args, which: Which, name: u64) -> Result<u64> {
    let name = name_arg(cx, name)?;
    let at = target(cx, a, which)?;
    let inode = at.inode()?;
    check(cx, &at, &**inode, &name, true)?;
    inode.xattr().ok_or(EOPNOTSUPP)?.remove(&name)?;
    kernel::vfs::events::attributes(&at.dentry);
    Ok(0)
}
