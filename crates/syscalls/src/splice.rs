//! splice(2), tee(2), vmsplice(2).

use abi::{
    errno::{EBADF, EINVAL},
    fs::{SPLICE_F_GIFT, SPLICE_F_MORE, SPLICE_F_MOVE, SPLICE_F_NONBLOCK},
    nr,
};
use kernel::{
    Result,
    task::{TaskCx, cx::MAX_RW},
    vfs::{pipe::PipeEnd, splice as ops},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_SPLICE, "splice", splice),
    Row::new(nr::SYS_TEE, "tee", tee),
    Row::new(nr::SYS_VMSPLICE, "vmsplice", vmsplice).partial("pages are copied"),
];

const FLAGS: u32 = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;

fn flags(raw: u32) -> Result<bool> {
    if raw & !FLAGS != 0 { Err(EINVAL) } else { Ok(raw & SPLICE_F_NONBLOCK != 0) }
}

fn splice(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let nonblocking = flags(a.u32(5))?;
    let len = a.usize(4).min(MAX_RW);
    if len == 0 {
        return Ok(0);
    }
    let from = cx.files.get_io(a.i32(0))?;
    let to = cx.files.get_io(a.i32(2))?;
    let mut place = |arg: usize| -> Result<Option<u64>> {
        match a.u64(arg) {
            0 => Ok(None),
            addr => u64::try_from(cx.read_u64(addr)?.cast_signed()).map(Some).map_err(|_| EINVAL),
        }
    };
    let (mut pos_in, mut pos_out) = (place(1)?, place(3)?);
    let task = cx.task.clone();
    let n = ops::splice(&task, &from, pos_in.as_mut(), &to, pos_out.as_mut(), len, nonblocking)?;
    for (arg, pos) in [(1, pos_in), (3, pos_out)] {
        if let Some(p) = pos {
            cx.write_u64(a.u64(arg), p)?;
        }
    }
    Ok(n as u64)
}

fn tee(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let nonblocking = flags(a.u32(3))?;
    let len = a.usize(2).min(MAX_RW);
    if len == 0 {
        return Ok(0);
    }
    let from = cx.files.get_io(a.i32(0))?;
    let to = cx.files.get_io(a.i32(1))?;
    Ok(ops::tee(&cx.task, &from, &to, len, nonblocking)? as u64)
}

fn vmsplice(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let nonblocking = flags(a.u32(3))?;
    let file = cx.files.get_io(a.i32(0))?;
    if !file.ops.as_any().is::<PipeEnd>() {
        return Err(EBADF);
    }
    let iov = cx.read_iovecs(a.u64(1), a.u64(2))?;
    let task = cx.task.clone();
    let mut io = cx.user_io(&iov);
    let n = if file.writable() {
        ops::from_memory(&task, &mut io, &file, nonblocking)?
    } else {
        ops::to_memory(&task, &file, &mut io, nonblocking)?
    };
    Ok(n as u64)
}
