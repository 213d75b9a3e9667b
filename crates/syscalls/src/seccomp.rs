//! seccomp(2), and prctl(2)'s older way to it.

use abi::{
    errno::{EFAULT, EINVAL, EOPNOTSUPP, ESRCH},
    nr,
    sched::*,
};
use bpf::{INSN_LEN, MAX_LEN, Program};
use kernel::{
    Result,
    seccomp::{self, AddOptions, Added, ListenerOptions},
    task::TaskCx,
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[Row::new(nr::SYS_SECCOMP, "seccomp", call)];

/// Flags of filters that are there.
const FLAGS: u32 = SECCOMP_FILTER_FLAG_TSYNC
    | SECCOMP_FILTER_FLAG_LOG
    | SECCOMP_FILTER_FLAG_SPEC_ALLOW
    | SECCOMP_FILTER_FLAG_NEW_LISTENER
    | SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

fn call(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (flags, at) = (a.u32(1), a.u64(2));
    match a.u32(0) {
        SECCOMP_SET_MODE_STRICT if flags == 0 && at == 0 => seccomp::set_strict(cx).map(|()| 0),
        SECCOMP_SET_MODE_FILTER => set_filter(cx, flags, at),
        SECCOMP_GET_ACTION_AVAIL if flags == 0 => {
            let action = cx.read_u32(at)?;
            if seccomp::action_is_known(action) { Ok(0) } else { Err(EOPNOTSUPP) }
        }
        SECCOMP_GET_NOTIF_SIZES if flags == 0 => {
            let lengths = [SECCOMP_NOTIF_LEN, SECCOMP_NOTIF_RESP_LEN, SECCOMP_DATA_LEN];
            cx.copy_out(at, lengths.map(|l| (l as u16).to_le_bytes()).as_flattened())?;
            Ok(0)
        }
        _ => Err(EINVAL),
    }
}

/// PR_SET_SECCOMP.
pub(crate) fn set_by_prctl(cx: &mut TaskCx, mode: u64, filter: u64) -> Result<u64> {
    match u32::try_from(mode) {
        Ok(SECCOMP_MODE_STRICT) => seccomp::set_strict(cx).map(|()| 0),
        Ok(SECCOMP_MODE_FILTER) => set_filter(cx, 0, filter),
        _ => Err(EINVAL),
    }
}

/// `at`: a `struct sock_fprog`, a count and an address.
fn set_filter(cx: &mut TaskCx, flags: u32, at: u64) -> Result<u64> {
    if flags & !FLAGS != 0 {
        return Err(EINVAL);
    }
    let has = |flag| flags & flag != 0;
    let (tsync, listener) = (has(SECCOMP_FILTER_FLAG_TSYNC), has(SECCOMP_FILTER_FLAG_NEW_LISTENER));
    // A descriptor and the id of a thread could not be told apart.
    let ambiguous = tsync && listener && !has(SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
    if ambiguous || has(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) && !listener {
        return Err(EINVAL);
    }
    let [low, high, ..]: [u8; 8] = cx.read_array(at)?;
    let len = usize::from(u16::from_le_bytes([low, high]));
    let code = cx.read_u64(at.wrapping_add(8))?;
    if len == 0 || len > MAX_LEN {
        return Err(EINVAL);
    }
    if !seccomp::may_filter(cx) {
        return Err(abi::errno::EACCES);
    }
    let mut bytes = vec![0; len * INSN_LEN];
    cx.copy_in(code, &mut bytes).map_err(|_| EFAULT)?;
    let program = Program::new(&bytes).map_err(|_| EINVAL)?;
    let killable_once_taken = has(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    let options = AddOptions {
        log: has(SECCOMP_FILTER_FLAG_LOG),
        all_threads: tsync,
        listener: listener.then_some(ListenerOptions { killable_once_taken }),
    };
    match seccomp::add_filter(cx, program, options)? {
        Added::Done => Ok(0),
        Added::Listener(fd) => Ok(fd as u64),
        Added::NoFollower(_) if has(SECCOMP_FILTER_FLAG_TSYNC_ESRCH) => Err(ESRCH),
        Added::NoFollower(tid) => Ok(u64::from(tid.cast_unsigned())),
    }
}
