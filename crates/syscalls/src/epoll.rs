//! epoll_create(1), epoll_ctl, epoll_wait, epoll_pwait(2).

use abi::{
    EpollEvent, OpenFlags,
    errno::{EFAULT, EINVAL},
    nr,
    poll::{EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD},
};
use kernel::{Result, task::TaskCx, vfs::epoll::Epoll};
use std::sync::Arc;

use crate::{
    args::Args,
    poll::{mask_arg, timespec_arg},
    table::Row,
};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_EPOLL_CREATE, "epoll_create", epoll_create),
    Row::new(nr::SYS_EPOLL_CREATE1, "epoll_create1", epoll_create1),
    Row::new(nr::SYS_EPOLL_CTL, "epoll_ctl", epoll_ctl),
    Row::new(nr::SYS_EPOLL_WAIT, "epoll_wait", epoll_wait).no_restart(),
    Row::new(nr::SYS_EPOLL_PWAIT, "epoll_pwait", epoll_pwait).no_restart(),
    Row::new(nr::SYS_EPOLL_PWAIT2, "epoll_pwait2", epoll_pwait2).no_restart(),
];

/// Most events one call may ask for (epoll_wait(2): EINVAL beyond).
const MAX_EVENTS: i32 = i32::MAX / 12;

fn epoll_create(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.i32(0) <= 0 {
        return Err(EINVAL);
    }
    make(cx, false)
}

fn epoll_create1(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u32(0) & !EPOLL_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    make(cx, a.u32(0) & EPOLL_CLOEXEC != 0)
}

fn make(cx: &mut TaskCx, cloexec: bool) -> Result<u64> {
    let file = cx.machine().vfs.anon_file(cx.machine(), "[eventpoll]", Epoll::new(), OpenFlags::RDWR);
    Ok(cx.files.install(&cx.task, file, cloexec)? as u64)
}

fn epoll_ctl(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (op, fd) = (a.i32(1), a.i32(2));
    let event = if op == EPOLL_CTL_DEL {
        EpollEvent::default()
    } else {
        EpollEvent::decode(&cx.read_array(a.u64(3))?)
    };
    let ep_file = cx.files.get_io(a.i32(0))?;
    let file = cx.files.get_io(fd)?;
    if Arc::ptr_eq(&ep_file, &file) {
        return Err(EINVAL);
    }
    Epoll::of(&ep_file)?;
    let any: Arc<dyn std::any::Any + Send + Sync> = ep_file.ops.clone();
    let ep = any.downcast::<Epoll>().map_err(|_| EINVAL)?;
    match op {
        EPOLL_CTL_ADD => ep.add(fd, &file, event.events, event.data)?,
        EPOLL_CTL_MOD => ep.modify(fd, &file, event.events, event.data)?,
        EPOLL_CTL_DEL => ep.delete(fd, &file)?,
        _ => return Err(EINVAL),
    }
    Ok(0)
}

fn epoll_wait(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let timeout = u64::try_from(a.i32(3)).ok().map(|ms| ms * 1_000_000);
    wait(cx, a, timeout)
}

fn epoll_pwait(cx: &mut TaskCx, a: Args) -> Result<u64> {
    mask_arg(cx, a.u64(4), a.u64(5))?;
    epoll_wait(cx, a)
}

fn epoll_pwait2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let timeout = timespec_arg(cx, a.u64(3))?;
    mask_arg(cx, a.u64(4), a.u64(5))?;
    wait(cx, a, timeout)
}

fn wait(cx: &mut TaskCx, a: Args, timeout: Option<u64>) -> Result<u64> {
    let max = a.i32(2);
    if max <= 0 || max > MAX_EVENTS {
        return Err(EINVAL);
    }
    let file = cx.files.get_io(a.i32(0))?;
    let ready = Epoll::of(&file)?.wait(cx, max as usize, timeout)?;
    let mut raw = Vec::with_capacity(ready.len() * 12);
    for r in &ready {
        raw.extend_from_slice(&EpollEvent { events: r.events, data: r.data }.encode());
    }
    if !raw.is_empty() {
        cx.copy_out(a.u64(1), &raw).map_err(|_| EFAULT)?;
    }
    Ok(ready.len() as u64)
}
