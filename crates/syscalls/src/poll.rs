//! poll, ppoll, select, pselect6.

use abi::{PollFd, SigSet, Timespec, Timeval, errno::EBADF, errno::EINVAL, nr, sched::RLIMIT_NOFILE};
use kernel::{
    Result,
    signal::set_temporary_mask,
    task::TaskCx,
    vfs::poll::{PollEntry, PollEvents, poll_files},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_POLL, "poll", poll).no_restart(),
    Row::new(nr::SYS_PPOLL, "ppoll", ppoll).no_restart(),
    Row::new(nr::SYS_SELECT, "select", select).no_restart(),
    Row::new(nr::SYS_PSELECT6, "pselect6", pselect6).no_restart(),
];

const MS: u64 = 1_000_000;

/// Sets the mask of a `sigset_t` argument, if there is one.
pub(crate) fn mask_arg(cx: &mut TaskCx, addr: u64, size: u64) -> Result<()> {
    if addr == 0 {
        return Ok(());
    }
    if size != 8 {
        return Err(EINVAL);
    }
    let raw = cx.read_array(addr)?;
    set_temporary_mask(cx, SigSet::decode(&raw));
    Ok(())
}

/// A relative timeout; `None` for a null pointer.
pub(crate) fn timespec_arg(cx: &mut TaskCx, addr: u64) -> Result<Option<u64>> {
    if addr == 0 {
        return Ok(None);
    }
    let t = Timespec::decode(&cx.read_array(addr)?).check()?;
    Ok(Some(u64::try_from(t.to_ns()).map_err(|_| EINVAL)?))
}

fn poll(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let timeout = u64::try_from(a.i32(2)).ok().map(|ms| ms * MS);
    do_poll(cx, a.u64(0), a.u32(1), timeout)
}

fn ppoll(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let timeout = timespec_arg(cx, a.u64(2))?;
    mask_arg(cx, a.u64(3), a.u64(4))?;
    let result = do_poll(cx, a.u64(0), a.u32(1), timeout);
    // Linux writes the time left; an unwritable timeout is not an error (ppoll(2)).
    if a.u64(2) != 0 && timeout.is_some() {
        let left = Timespec::from_ns(i64::try_from(time_left(cx, timeout)).unwrap_or(i64::MAX));
        let _ = cx.copy_out(a.u64(2), &left.encode());
    }
    result
}

/// Nanoseconds of a timeout that are left.
fn time_left(cx: &mut TaskCx, timeout: Option<u64>) -> u64 {
    if timeout == Some(0) {
        return 0;
    }
    let now = cx.machine().clock.monotonic_ns();
    cx.deadline(timeout).map_or(0, |d| d.saturating_sub(now))
}

fn do_poll(cx: &mut TaskCx, addr: u64, count: u32, timeout: Option<u64>) -> Result<u64> {
    if u64::from(count) > cx.task.process.rlimit(RLIMIT_NOFILE as usize) {
        return Err(EINVAL);
    }
    let mut raw = vec![0u8; count as usize * 8];
    cx.copy_in(addr, &mut raw)?;
    let mut fds: Vec<PollFd> = raw
        .chunks_exact(8)
        .map(|c| {
            let mut b = [0; 8];
            b.copy_from_slice(c);
            PollFd::decode(&b)
        })
        .collect();
    let mut bad = 0;
    let mut entries = Vec::with_capacity(fds.len());
    let mut index = Vec::with_capacity(fds.len());
    for (i, f) in fds.iter_mut().enumerate() {
        f.revents = 0;
        if f.fd < 0 {
            continue;
        }
        match cx.files.get(f.fd) {
            Ok(file) => {
                let want = PollEvents::from_bits_retain(u32::from(f.events));
                entries.push(PollEntry { file, want: want | ALWAYS, got: PollEvents::empty() });
                index.push(i);
            }
            Err(_) => {
                f.revents = PollEvents::NVAL.bits() as u16;
                bad += 1;
            }
        }
    }
    let timeout = if bad > 0 { Some(0) } else { timeout };
    let ready = poll_files(cx, &mut entries, timeout)?;
    for (e, i) in entries.iter().zip(index) {
        fds[i].revents = e.got.bits() as u16;
    }
    for (i, f) in fds.iter().enumerate() {
        raw[i * 8..i * 8 + 8].copy_from_slice(&f.encode());
    }
    cx.copy_out(addr, &raw)?;
    Ok((ready + bad) as u64)
}

fn select(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let timeout = if a.u64(4) == 0 {
        None
    } else {
        let t = Timeval::decode(&cx.read_array(a.u64(4))?);
        // select(2) carries over microseconds above a second, and refuses only what is negative.
        let sec = t.sec.checked_add(t.usec / 1_000_000).ok_or(EINVAL)?;
        if sec < 0 || t.usec < 0 {
            return Err(EINVAL);
        }
        let (sec, usec) = (sec.cast_unsigned(), (t.usec % 1_000_000).cast_unsigned());
        Some(sec.saturating_mul(1_000_000_000).saturating_add(usec * 1000))
    };
    let result = do_select(cx, a, timeout);
    if timeout.is_some() {
        let left = Timeval::from_ns(i64::try_from(time_left(cx, timeout)).unwrap_or(i64::MAX));
        let _ = cx.copy_out(a.u64(4), &left.encode());
    }
    result
}

fn pselect6(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let timeout = timespec_arg(cx, a.u64(4))?;
    if a.u64(5) != 0 {
        let (set, size) = (cx.read_u64(a.u64(5))?, cx.read_u64(a.u64(5).wrapping_add(8))?);
        mask_arg(cx, set, size)?;
    }
    let result = do_select(cx, a, timeout);
    if timeout.is_some() {
        let left = Timespec::from_ns(i64::try_from(time_left(cx, timeout)).unwrap_or(i64::MAX));
        let _ = cx.copy_out(a.u64(4), &left.encode());
    }
    result
}

/// What poll reports though not asked for.
const ALWAYS: PollEvents = PollEvents::ERR.union(PollEvents::HUP);

/// Events that put a descriptor into each of the three sets (select(2), "Correspondence between select() and poll()").
const SETS: [PollEvents; 3] = [
    PollEvents::IN
        .union(PollEvents::RDNORM)
        .union(PollEvents::RDBAND)
        .union(PollEvents::HUP)
        .union(PollEvents::ERR),
    PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND).union(PollEvents::ERR),
    PollEvents::PRI,
];

fn do_select(cx: &mut TaskCx, a: Args, timeout: Option<u64>) -> Result<u64> {
    let n = usize::try_from(a.i32(0)).map_err(|_| EINVAL)?;
    // No descriptor can be beyond the limit.
    let n = n.min(cx.task.process.rlimit(RLIMIT_NOFILE as usize) as usize);
    let bytes = n.div_ceil(64) * 8;
    let mut sets = [vec![], vec![], vec![]];
    for (i, set) in sets.iter_mut().enumerate() {
        set.resize(bytes, 0u8);
        if a.u64(i + 1) != 0 {
            cx.copy_in(a.u64(i + 1), set)?;
        }
    }
    let has = |set: &[u8], fd: usize| set[fd / 8] >> (fd % 8) & 1 != 0;
    let mut entries = Vec::new();
    let mut fds = Vec::new();
    for fd in 0..n {
        let mut want = PollEvents::empty();
        for (set, counts) in sets.iter().zip(SETS) {
            if has(set, fd) {
                want |= counts;
            }
        }
        if !want.is_empty() {
            let file = cx.files.get(fd as i32).map_err(|_| EBADF)?;
            entries.push(PollEntry { file, want, got: PollEvents::empty() });
            fds.push(fd);
        }
    }
    // Only what lands in a set counts: a hang-up alone does not wake a writer.
    let count = |entries: &[PollEntry], out: &mut [Vec<u8>; 3]| {
        let mut total = 0;
        for (e, fd) in entries.iter().zip(&fds) {
            for (i, counts) in SETS.iter().enumerate() {
                if has(&sets[i], *fd) && e.got.intersects(*counts) {
                    out[i][fd / 8] |= 1 << (fd % 8);
                    total += 1;
                }
            }
        }
        total
    };
    let mut out = [vec![0u8; bytes], vec![0u8; bytes], vec![0u8; bytes]];
    poll_files(cx, &mut entries, timeout)?;
    let total = count(&entries, &mut out);
    for (i, set) in out.iter().enumerate() {
        if a.u64(i + 1) != 0 {
            cx.copy_out(a.u64(i + 1), set)?;
        }
    }
    Ok(total)
}
