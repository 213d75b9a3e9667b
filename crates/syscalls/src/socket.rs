//! Sockets: making, naming and connecting them, options, plain transfers. Messages with ancillary data are in
//! [`crate::sockmsg`].

use std::sync::Arc;

use abi::{
    OpenFlags,
    errno::{EAFNOSUPPORT, EAGAIN, EFAULT, EINVAL, ENOTSOCK, EPROTONOSUPPORT},
    net::{
        AF_MAX, MSG_CMSG_CLOEXEC, MSG_TRUNC, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_TYPE_MASK,
        SOCKADDR_STORAGE_SIZE,
    },
    nr,
};
use kernel::{
    Result,
    net::{Control, SocketOps},
    registry::SocketFamily,
    task::TaskCx,
    vfs::{fdtable, file::File},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_SOCKET, "socket", socket),
    Row::new(nr::SYS_SOCKETPAIR, "socketpair", socketpair),
    Row::new(nr::SYS_BIND, "bind", bind),
    Row::new(nr::SYS_CONNECT, "connect", connect),
    Row::new(nr::SYS_LISTEN, "listen", listen),
    Row::new(nr::SYS_ACCEPT, "accept", accept),
    Row::new(nr::SYS_ACCEPT4, "accept4", accept4),
    Row::new(nr::SYS_GETSOCKNAME, "getsockname", getsockname),
    Row::new(nr::SYS_GETPEERNAME, "getpeername", getpeername),
    Row::new(nr::SYS_SENDTO, "sendto", sendto),
    Row::new(nr::SYS_RECVFROM, "recvfrom", recvfrom),
    Row::new(nr::SYS_SHUTDOWN, "shutdown", shutdown),
    Row::new(nr::SYS_GETSOCKOPT, "getsockopt", getsockopt),
    Row::new(nr::SYS_SETSOCKOPT, "setsockopt", setsockopt),
];

/// Longest value setsockopt(2) takes.
const MAX_OPTION: usize = 4096;

/// The open file of a socket descriptor. EBADF, ENOTSOCK.
pub(crate) fn file_of(cx: &TaskCx, fd: i32) -> Result<Arc<File>> {
    let f = cx.files.get_io(fd)?;
    if f.ops.as_socket().is_none() { Err(ENOTSOCK) } else { Ok(f) }
}

/// The socket behind an open file.
pub(crate) fn ops(file: &File) -> Result<&dyn SocketOps> {
    file.ops.as_socket().ok_or(ENOTSOCK)
}

fn family(cx: &TaskCx, nr: u32) -> Result<Arc<dyn SocketFamily>> {
    let nr = u16::try_from(nr).ok().filter(|n| *n < AF_MAX).ok_or(EAFNOSUPPORT)?;
    cx.machine().registry.socket_families.get(&nr).cloned().ok_or(EAFNOSUPPORT)
}

/// Type and flags of socket(2).
fn split_type(raw: u32) -> Result<(u32, u32)> {
    let flags = raw & !SOCK_TYPE_MASK;
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 { Err(EINVAL) } else { Ok((raw & SOCK_TYPE_MASK, flags)) }
}

/// An open file for a socket.
fn new_file(cx: &TaskCx, socket: Arc<dyn SocketOps>, flags: u32) -> Arc<File> {
    let vfs = &cx.machine().vfs;
    let path = vfs.anon_path(cx.machine(), "socket");
    vfs.own_anon(&path, &cx.task);
    let status = OpenFlags::RDWR | OpenFlags::from_bits_retain(flags & SOCK_NONBLOCK);
    File::new(socket.as_file_ops(), path, status)
}

fn install(cx: &TaskCx, socket: Arc<dyn SocketOps>, flags: u32) -> Result<i32> {
    let file = new_file(cx, socket, flags);
    cx.files.install(&cx.task, file, flags & SOCK_CLOEXEC != 0)
}

fn undo(cx: &TaskCx, fd: i32) {
    if let Ok(f) = cx.files.remove(fd) {
        fdtable::close(&cx.task, &cx.files, f);
    }
}

/// Reads an address argument.
pub(crate) fn read_addr(cx: &mut TaskCx, addr: u64, len: i32) -> Result<Vec<u8>> {
    let len = usize::try_from(len).ok().filter(|n| *n <= SOCKADDR_STORAGE_SIZE).ok_or(EINVAL)?;
    let mut raw = vec![0; len];
    cx.copy_in(addr, &mut raw)?;
    Ok(raw)
}

/// Answers an address: as much as there is room for, and its full length.
pub(crate) fn write_addr(cx: &mut TaskCx, value: &[u8], addr: u64, len_addr: u64) -> Result<()> {
    let room = usize::try_from(cx.read_u32(len_addr)?.cast_signed()).map_err(|_| EINVAL)?;
    cx.copy_out(addr, &value[..room.min(value.len())])?;
    cx.write_u32(len_addr, u32::try_from(value.len()).map_err(|_| EINVAL)?)
}

fn socket(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (kind, flags) = split_type(a.u32(1))?;
    let s = family(cx, a.u32(0))?.create(cx.machine(), &cx.task, kind, protocol(a.i32(2))?)?;
    Ok(install(cx, s, flags)? as u64)
}

fn protocol(raw: i32) -> Result<u32> {
    u32::try_from(raw).map_err(|_| EPROTONOSUPPORT)
}

fn socketpair(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (kind, flags) = split_type(a.u32(1))?;
    let (x, y) = family(cx, a.u32(0))?.pair(cx.machine(), &cx.task, kind, protocol(a.i32(2))?)?;
    let one = install(cx, x, flags)?;
    let two = install(cx, y, flags).inspect_err(|_| undo(cx, one))?;
    let mut raw = [0; 8];
    raw[..4].copy_from_slice(&one.to_le_bytes());
    raw[4..].copy_from_slice(&two.to_le_bytes());
    cx.copy_out(a.u64(3), &raw).inspect_err(|_| {
        undo(cx, one);
        undo(cx, two);
    })?;
    Ok(0)
}

fn bind(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let addr = read_addr(cx, a.u64(1), a.i32(2))?;
    ops(&f)?.bind(&cx.task, &addr)?;
    Ok(0)
}

fn connect(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let addr = read_addr(cx, a.u64(1), a.i32(2))?;
    ops(&f)?.connect(&f, &cx.task, &addr)?;
    Ok(0)
}

fn listen(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    ops(&f)?.listen(&cx.task, a.i32(1))?;
    Ok(0)
}

fn accept(cx: &mut TaskCx, a: Args) -> Result<u64> {
    do_accept(cx, a, 0)
}

fn accept4(cx: &mut TaskCx, a: Args) -> Result<u64> {
    do_accept(cx, a, a.u32(3))
}

fn do_accept(cx: &mut TaskCx, a: Args, flags: u32) -> Result<u64> {
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    let f = file_of(cx, a.i32(0))?;
    let (new, addr) = ops(&f)?.accept(&f, &cx.task)?;
    let fd = install(cx, new, flags)?;
    if a.u64(1) != 0 {
        write_addr(cx, &addr, a.u64(1), a.u64(2)).inspect_err(|_| undo(cx, fd))?;
    }
    Ok(fd as u64)
}

fn getsockname(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let addr = ops(&f)?.local_addr()?;
    write_addr(cx, &addr, a.u64(1), a.u64(2))?;
    Ok(0)
}

fn getpeername(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let addr = ops(&f)?.peer_addr()?;
    write_addr(cx, &addr, a.u64(1), a.u64(2))?;
    Ok(0)
}

fn sendto(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let addr = if a.u64(4) == 0 { None } else { Some(read_addr(cx, a.u64(4), a.i32(5))?) };
    let task = cx.task.clone();
    let mut src = cx.user_io(&[(a.u64(1), a.usize(2))]);
    let n = ops(&f)?.send(&f, &task, &mut src, addr.as_deref(), Control::default(), a.u32(3))?;
    Ok(n as u64)
}

fn recvfrom(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let task = cx.task.clone();
    let flags = a.u32(3) & !MSG_CMSG_CLOEXEC;
    let mut dst = cx.user_io(&[(a.u64(1), a.usize(2))]);
    let got = match ops(&f)?.recv(&f, &task, &mut dst, flags, false) {
        Err(EAGAIN) => {
            cx.tell_queue(a.i32(0), &f);
            return Err(EAGAIN);
        }
        other => other?,
    };
    if a.u64(4) != 0 {
        write_addr(cx, &got.addr, a.u64(4), a.u64(5))?;
    }
    Ok(if flags & MSG_TRUNC != 0 { got.full_len.max(got.bytes) } else { got.bytes } as u64)
}

fn shutdown(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    ops(&f)?.shutdown(a.u32(1))?;
    Ok(0)
}

fn getsockopt(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let room = usize::try_from(cx.read_u32(a.u64(4))?.cast_signed()).map_err(|_| EINVAL)?;
    let value = ops(&f)?.get_option(&cx.task, a.i32(1), a.i32(2))?;
    let n = room.min(value.len());
    cx.copy_out(a.u64(3), &value[..n])?;
    cx.write_u32(a.u64(4), u32::try_from(n).map_err(|_| EINVAL)?)?;
    Ok(0)
}

fn setsockopt(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let len = usize::try_from(a.i32(4)).map_err(|_| EINVAL)?;
    let mut value = vec![0; len.min(MAX_OPTION)];
    if !value.is_empty() && a.u64(3) == 0 {
        return Err(EFAULT);
    }
    cx.copy_in(a.u64(3), &mut value)?;
    ops(&f)?.set_option(&cx.task, a.i32(1), a.i32(2), &value)?;
    Ok(0)
}
