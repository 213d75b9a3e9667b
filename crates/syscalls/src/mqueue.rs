//! POSIX message queues (mq_overview(7)).

use std::sync::Arc;

use abi::{
    OpenFlags, Signal, Timespec,
    errno::{EBADF, EINVAL, EMSGSIZE},
    fs::O_ACCMODE,
    ipc::{MQ_PRIO_MAX, MqAttr},
    nr,
    time::{SIGEV_NONE, SIGEV_SIGNAL, SigEvent},
};
use kernel::{
    Result,
    ipc::mqueue::{self, HARD_MSGSIZE_MAX, Queue, queue_of},
    task::TaskCx,
    vfs::file::File,
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_MQ_OPEN, "mq_open", mq_open),
    Row::new(nr::SYS_MQ_UNLINK, "mq_unlink", mq_unlink),
    Row::new(nr::SYS_MQ_TIMEDSEND, "mq_timedsend", mq_timedsend),
    Row::new(nr::SYS_MQ_TIMEDRECEIVE, "mq_timedreceive", mq_timedreceive),
    Row::new(nr::SYS_MQ_NOTIFY, "mq_notify", mq_notify).partial("no SIGEV_THREAD: it needs AF_NETLINK"),
    Row::new(nr::SYS_MQ_GETSETATTR, "mq_getsetattr", mq_getsetattr),
];

fn mq_open(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = OpenFlags::from_bits_truncate(a.u32(1));
    if a.u32(1) & O_ACCMODE == O_ACCMODE {
        return Err(EINVAL);
    }
    let attr = match a.u64(3) {
        0 => None,
        addr => Some(MqAttr::decode(&cx.read_array(addr)?)),
    };
    let name = cx.read_path(a.u64(0))?;
    let file = mqueue::open(&cx.task, &name, flags, a.u32(2), attr.as_ref())?;
    // Always closed on exec.
    Ok(cx.files.install(&cx.task, file, true)? as u64)
}

fn mq_unlink(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let name = cx.read_path(a.u64(0))?;
    mqueue::unlink(&cx.task, &name).map(|()| 0)
}

/// The open queue of a descriptor.
fn queue(cx: &TaskCx, fd: i32) -> Result<(Arc<File>, Arc<Queue>)> {
    let file = cx.files.get(fd).map_err(|_| EBADF)?;
    let queue = queue_of(&file)?;
    Ok((file, queue))
}

/// A time of the real-time clock as a monotonic deadline.
fn deadline(cx: &mut TaskCx, addr: u64) -> Result<Option<u64>> {
    if addr == 0 {
        return Ok(None);
    }
    let until = Timespec::decode(&cx.read_array(addr)?).check()?.to_ns().cast_unsigned();
    let clock = &cx.machine().clock;
    let left = until.saturating_sub(clock.realtime_ns());
    Ok(Some(clock.monotonic_ns().saturating_add(left)))
}

fn mq_timedsend(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (len, priority) = (a.u64(2), a.u32(3));
    let until = deadline(cx, a.u64(4))?;
    if priority >= MQ_PRIO_MAX {
        return Err(EINVAL);
    }
    let (file, queue) = queue(cx, a.i32(0))?;
    if !file.writable() {
        return Err(EBADF);
    }
    if len > queue.max_size.min(HARD_MSGSIZE_MAX) {
        return Err(EMSGSIZE);
    }
    let mut data = vec![0; len as usize];
    cx.copy_in(a.u64(1), &mut data)?;
    queue.send(&cx.task, &file, data, priority, until)?;
    Ok(0)
}

fn mq_timedreceive(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let until = deadline(cx, a.u64(4))?;
    let (file, queue) = queue(cx, a.i32(0))?;
    if !file.readable() {
        return Err(EBADF);
    }
    let (data, priority) = queue.receive(&cx.task, &file, a.u64(2), until)?;
    if a.u64(3) != 0 {
        cx.write_u32(a.u64(3), priority)?;
    }
    cx.copy_out(a.u64(1), &data)?;
    Ok(data.len() as u64)
}

fn mq_notify(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let what = match a.u64(1) {
        0 => None,
        addr => {
            let e = SigEvent::decode(&cx.read_array(addr)?);
            let signal = match e.notify {
                SIGEV_NONE => None,
                SIGEV_SIGNAL if e.signo == 0 => None,
                SIGEV_SIGNAL => Some(Signal::check(e.signo)?),
                _ => return Err(EINVAL),
            };
            Some((signal, e.value))
        }
    };
    let (_, queue) = queue(cx, a.i32(0))?;
    queue.notify(&cx.task, what).map(|()| 0)
}

fn mq_getsetattr(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let new = match a.u64(1) {
        0 => None,
        addr => Some(MqAttr::decode(&cx.read_array(addr)?)),
    };
    let nonblock = i64::from(OpenFlags::NONBLOCK.bits());
    if new.is_some_and(|n| n.flags & !nonblock != 0) {
        return Err(EINVAL);
    }
    let (file, queue) = queue(cx, a.i32(0))?;
    let old = queue.attr(&file);
    if let Some(n) = new {
        let mut flags = file.flags();
        flags.set(OpenFlags::NONBLOCK, n.flags & nonblock != 0);
        file.set_flags(flags);
    }
    if a.u64(2) != 0 {
        cx.copy_out(a.u64(2), &old.encode())?;
    }
    Ok(0)
}
