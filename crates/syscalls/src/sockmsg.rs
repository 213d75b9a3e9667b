//! sendmsg(2), recvmsg(2) and their plural forms: messages with ancillary data (cmsg(3)).

use std::sync::Arc;

use abi::{
    errno::{EINVAL, EMSGSIZE, ENOBUFS},
    net::{
        CMsgHdr, MMSGHDR_LEN, MMSGHDR_SIZE, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MSG_TRUNC,
        MSG_WAITFORONE, MsgHdr, SCM_CREDENTIALS, SCM_MAX_FD, SCM_RIGHTS, SOCKADDR_STORAGE_SIZE, SOL_SOCKET,
        UCred, UIO_MAXIOV, cmsg_align, cmsg_len,
    },
    nr,
};
use kernel::{Result, net::Control, task::TaskCx, vfs::file::File};

use crate::{
    args::Args,
    poll::timespec_arg,
    socket::{file_of, ops, read_addr},
    table::Row,
};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_SENDMSG, "sendmsg", sendmsg),
    Row::new(nr::SYS_RECVMSG, "recvmsg", recvmsg),
    Row::new(nr::SYS_SENDMMSG, "sendmmsg", sendmmsg),
    Row::new(nr::SYS_RECVMMSG, "recvmmsg", recvmmsg),
];

/// Most ancillary data of one message (net.core.optmem_max allows about this).
const MAX_CONTROL: u64 = 1 << 17;
/// Offsets in `struct msghdr` of what recvmsg(2) writes.
const AT_NAMELEN: u64 = 8;
const AT_CONTROLLEN: u64 = 40;
const AT_FLAGS: u64 = 48;

fn header(cx: &mut TaskCx, addr: u64) -> Result<MsgHdr> {
    let mut h = MsgHdr::decode(&cx.read_array(addr)?);
    if h.name == 0 {
        h.namelen = 0;
    }
    if h.namelen.cast_signed() < 0 {
        return Err(EINVAL);
    }
    // More than any address is as good as that.
    h.namelen = h.namelen.min(SOCKADDR_STORAGE_SIZE as u32);
    if h.iovlen > UIO_MAXIOV as u64 {
        return Err(EMSGSIZE);
    }
    Ok(h)
}

/// Decodes the ancillary data of a message to send.
fn read_control(cx: &mut TaskCx, h: &MsgHdr) -> Result<Control> {
    let mut control = Control::default();
    if h.control == 0 || h.controllen == 0 {
        return Ok(control);
    }
    if h.controllen > MAX_CONTROL {
        return Err(ENOBUFS);
    }
    let mut raw = vec![0; h.controllen as usize];
    cx.copy_in(h.control, &mut raw)?;
    let mut at = 0;
    while let Some(head) = raw.get(at..).and_then(|r| r.first_chunk::<{ CMsgHdr::SIZE }>()) {
        let c = CMsgHdr::decode(head);
        let len = usize::try_from(c.len).map_err(|_| EINVAL)?;
        if len < CMsgHdr::SIZE || len > raw.len() - at {
            return Err(EINVAL);
        }
        let data = &raw[at + CMsgHdr::SIZE..at + len];
        match (c.level, c.kind) {
            (SOL_SOCKET, SCM_RIGHTS) => {
                let fds =
                    data.chunks_exact(4).filter_map(|b| b.first_chunk()).map(|b| i32::from_le_bytes(*b));
                for fd in fds {
                    if control.files.len() == SCM_MAX_FD {
                        return Err(EINVAL);
                    }
                    control.files.push(cx.files.get_io(fd)?);
                }
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                let u = UCred::decode(data.try_into().map_err(|_| EINVAL)?);
                control.cred = Some((u.pid, u.uid, u.gid));
            }
            (SOL_SOCKET, _) => return Err(EINVAL),
            (level, kind) => control.other.push((level, kind, data.to_vec())),
        }
        at += cmsg_align(len);
    }
    Ok(control)
}

fn send_one(cx: &mut TaskCx, file: &Arc<File>, msg: u64, flags: u32) -> Result<usize> {
    let h = header(cx, msg)?;
    let iov = cx.read_iovecs(h.iov, h.iovlen)?;
    let addr = match h.namelen {
        0 => None,
        n => Some(read_addr(cx, h.name, n.cast_signed())?),
    };
    let control = read_control(cx, &h)?;
    let task = cx.task.clone();
    let mut src = cx.user_io(&iov);
    ops(file)?.send(file, &task, &mut src, addr.as_deref(), control, flags)
}

fn sendmsg(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    Ok(send_one(cx, &f, a.u64(1), a.u32(2) & !MSG_CMSG_CLOEXEC)? as u64)
}

/// Writes ancillary data of a received message; descriptors are installed as far as there is room. Returns the bytes used
/// and MSG_CTRUNC if something was left out.
fn write_control(cx: &mut TaskCx, h: &MsgHdr, control: Control, cloexec: bool) -> Result<(u64, u32)> {
    let (mut at, room) = (0usize, usize::try_from(h.controllen).unwrap_or(usize::MAX));
    let mut truncated = 0;
    if let Some((pid, uid, gid)) = control.cred {
        let left = room - at;
        if left < CMsgHdr::SIZE {
            truncated = MSG_CTRUNC;
        } else {
            let len = cmsg_len(UCred::SIZE).min(left);
            if len < cmsg_len(UCred::SIZE) {
                truncated = MSG_CTRUNC;
            }
            let head = CMsgHdr { len: len as u64, level: SOL_SOCKET, kind: SCM_CREDENTIALS };
            let mut out = head.encode().to_vec();
            out.extend_from_slice(&UCred { pid, uid, gid }.encode());
            cx.copy_out(h.control, &out[..len])?;
            at = cmsg_align(len).min(room);
        }
    }
    if !control.files.is_empty() {
        let at_addr = h.control.wrapping_add(at as u64);
        let fit = (room - at).saturating_sub(CMsgHdr::SIZE) / 4;
        let mut done = 0;
        for f in control.files.iter().take(fit) {
            let Ok(fd) = cx.files.install(&cx.task, f.clone(), cloexec) else { break };
            let slot = at_addr.wrapping_add((CMsgHdr::SIZE + done * 4) as u64);
            if cx.write_u32(slot, fd.cast_unsigned()).is_err() {
                if let Ok(f) = cx.files.remove(fd) {
                    kernel::vfs::fdtable::close(&cx.task, &cx.files, f);
                }
                break;
            }
            done += 1;
        }
        if done < control.files.len() {
            truncated = MSG_CTRUNC;
        }
        if done > 0 {
            let len = cmsg_len(done * 4);
            let head = CMsgHdr { len: len as u64, level: SOL_SOCKET, kind: SCM_RIGHTS };
            cx.copy_out(at_addr, &head.encode())?;
            at = (at + cmsg_align(len)).min(room);
        }
    }
    Ok((at as u64, truncated))
}

fn recv_one(cx: &mut TaskCx, file: &Arc<File>, msg: u64, flags: u32) -> Result<usize> {
    let h = header(cx, msg)?;
    let iov = cx.read_iovecs(h.iov, h.iovlen)?;
    let task = cx.task.clone();
    let want_control = h.control != 0 && h.controllen > 0;
    let got = {
        let mut dst = cx.user_io(&iov);
        ops(file)?.recv(file, &task, &mut dst, flags & !MSG_CMSG_CLOEXEC, want_control)?
    };
    if h.name != 0 {
        let n = got.addr.len().min(h.namelen as usize);
        cx.copy_out(h.name, &got.addr[..n])?;
        let len = u32::try_from(got.addr.len()).map_err(|_| EINVAL)?;
        cx.write_u32(msg.wrapping_add(AT_NAMELEN), len)?;
    }
    let mut out_flags = got.flags;
    let used = if want_control {
        let (used, truncated) = write_control(cx, &h, got.control, flags & MSG_CMSG_CLOEXEC != 0)?;
        out_flags |= truncated;
        used
    } else {
        0
    };
    cx.write_u32(msg.wrapping_add(AT_FLAGS), out_flags | flags & MSG_CMSG_CLOEXEC)?;
    cx.write_u64(msg.wrapping_add(AT_CONTROLLEN), used)?;
    Ok(if flags & MSG_TRUNC != 0 { got.full_len.max(got.bytes) } else { got.bytes })
}

fn recvmsg(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    Ok(recv_one(cx, &f, a.u64(1), a.u32(2))? as u64)
}

/// Runs `one` over an array of `struct mmsghdr`; what was done before an error counts.
fn each_message(
    cx: &mut TaskCx,
    base: u64,
    count: u32,
    mut one: impl FnMut(&mut TaskCx, u64, usize) -> Result<Option<usize>>,
) -> Result<u64> {
    let count = (count as usize).min(UIO_MAXIOV);
    let mut done = 0;
    while done < count {
        let at = base.wrapping_add((done * MMSGHDR_SIZE) as u64);
        let step = match one(cx, at, done) {
            Ok(None) => break,
            Ok(Some(n)) => {
                cx.write_u32(at.wrapping_add(MMSGHDR_LEN as u64), u32::try_from(n).unwrap_or(u32::MAX))
            }
            Err(e) => Err(e),
        };
        match step {
            Ok(()) => done += 1,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done as u64)
}

fn sendmmsg(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let flags = a.u32(3) & !MSG_CMSG_CLOEXEC;
    each_message(cx, a.u64(1), a.u32(2), |cx, at, _| send_one(cx, &f, at, flags).map(Some))
}

fn recvmmsg(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let f = file_of(cx, a.i32(0))?;
    let timeout = timespec_arg(cx, a.u64(4))?;
    let deadline = cx.deadline(timeout);
    let flags = a.u32(3);
    each_message(cx, a.u64(1), a.u32(2), |cx, at, done| {
        // The timeout is looked at between messages only (recvmmsg(2), BUGS).
        if done > 0 && deadline.is_some_and(|d| cx.machine().clock.monotonic_ns() >= d) {
            return Ok(None);
        }
        let wait = if done > 0 && flags & MSG_WAITFORONE != 0 { MSG_DONTWAIT } else { 0 };
        recv_one(cx, &f, at, flags & !MSG_WAITFORONE | wait).map(Some)
    })
}
