//! File handles: name_to_handle_at, open_by_handle_at(2).

use abi::{
    OpenFlags,
    cap::CAP_DAC_READ_SEARCH,
    errno::{EFAULT, EINVAL, EOPNOTSUPP, EOVERFLOW, EPERM, ESTALE},
    fs::{AT_EMPTY_PATH, AT_FDCWD, AT_HANDLE_FID, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW},
    nr,
};
use kernel::{
    Result,
    task::TaskCx,
    vfs::{handle::FileId, open::open_place},
};

use crate::{args::Args, stat::place, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_NAME_TO_HANDLE_AT, "name_to_handle_at", name_to_handle_at)
        .partial("no unique mount ids, no connectable handles"),
    Row::new(nr::SYS_OPEN_BY_HANDLE_AT, "open_by_handle_at", open_by_handle_at)
        .partial("files that left the kernel's memory are stale"),
];

/// Most bytes of a handle (MAX_HANDLE_SZ).
const MAX: u32 = 128;
/// Bytes of ours: device and inode number.
const SIZE: u32 = 16;
/// Their type: any number that nobody else has.
const KIND: u32 = 0x61;
/// Offset of the bytes in `struct file_handle`, behind size and type.
const AT_BYTES: u64 = 8;

fn name_to_handle_at(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(4);
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID) != 0 {
        return Err(EINVAL);
    }
    let follow = if flags & AT_SYMLINK_FOLLOW != 0 { 0 } else { AT_SYMLINK_NOFOLLOW };
    let at = place(cx, a.i32(0), a.u64(1), follow | flags & AT_EMPTY_PATH)?;
    // What the kernel makes up as it is asked for has no numbers that last.
    if !matches!(at.mount.fs.type_name(), "tmpfs" | "devtmpfs" | "overlay" | "hostfs") {
        return Err(EOPNOTSUPP);
    }
    let out = a.u64(2);
    let room = cx.read_u32(out)?;
    if room > MAX {
        return Err(EINVAL);
    }
    let mount_id = u32::try_from(at.mount.id).map_err(|_| EOVERFLOW)?;
    cx.write_u32(a.u64(3), mount_id)?;
    cx.write_u32(out, SIZE)?;
    if room < SIZE {
        return Err(EOVERFLOW);
    }
    let id = cx.machine().vfs.handles.name(&at)?;
    cx.write_u32(out.wrapping_add(4), KIND)?;
    let mut bytes = id.dev.to_le_bytes().to_vec();
    bytes.extend_from_slice(&id.ino.to_le_bytes());
    cx.copy_out(out.wrapping_add(AT_BYTES), &bytes).map_err(|_| EFAULT)?;
    Ok(0)
}

fn open_by_handle_at(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let mount = match a.i32(0) {
        AT_FDCWD => cx.fs().cwd().mount,
        fd => cx.files.get(fd)?.path.mount.clone(),
    };
    if !cx.cred().has(CAP_DAC_READ_SEARCH) {
        return Err(EPERM);
    }
    let addr = a.u64(1);
    let (size, kind) = (cx.read_u32(addr)?, cx.read_u32(addr.wrapping_add(4))?);
    if size == 0 || size > MAX {
        return Err(EINVAL);
    }
    if size < SIZE || kind != KIND {
        return Err(ESTALE);
    }
    let dev = cx.read_u64(addr.wrapping_add(AT_BYTES))?;
    let ino = cx.read_u64(addr.wrapping_add(AT_BYTES + 8))?;
    let at = cx.machine().vfs.handles.find(FileId { dev, ino }, &mount)?;
    let flags = OpenFlags::from_bits_truncate(a.u32(2));
    let file = open_place(&cx.task, &cx.cred(), &at, flags)?;
    Ok(cx.files.install(&cx.task, file, flags.contains(OpenFlags::CLOEXEC))? as u64)
}
