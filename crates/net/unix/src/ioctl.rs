//! ioctl_tty(2)-like requests of sockets: bytes waiting.

use abi::{
    errno::{EINVAL, ENOTTY},
    ioctl::{SIOCATMARK, SIOCINQ, SIOCOUTQ},
};
use kernel::{Result, task::TaskCx};

use crate::socket::{Kind, UnixSocket};

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(i32::MAX as u32)
}

pub fn ioctl(s: &UnixSocket, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
    let n = match cmd {
        SIOCINQ => {
            if s.state.lock().listening {
                return Err(EINVAL);
            }
            let rx = s.rx();
            match s.kind {
                Kind::Dgram => rx.records.front().map_or(0, |r| r.bytes().len()),
                _ => rx.bytes,
            }
        }
        SIOCATMARK if s.kind == Kind::Stream => usize::from(s.rx().at_mark()),
        SIOCOUTQ => s.budget.used(),
        _ => return Err(ENOTTY),
    };
    cx.write_u32(arg, count(n))?;
    Ok(0)
}
