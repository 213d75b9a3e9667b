//! Signals: rt_sigaction, masks, waiting for signals, sending them (signal(7)).

use abi::{
    SigAction, SigInfo, SigSet, SigStack, Signal, Timespec,
    errno::{EINVAL, EPERM, ESRCH},
    nr,
    signal::{SI_TKILL, SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK},
};
use kernel::{
    ERESTART, Result,
    signal::{
        self, may_signal, set_mask, set_temporary_mask, task_of, try_send_to_process, try_send_to_task,
    },
    task::TaskCx,
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_RT_SIGACTION, "rt_sigaction", rt_sigaction),
    Row::new(nr::SYS_RT_SIGPROCMASK, "rt_sigprocmask", rt_sigprocmask),
    Row::new(nr::SYS_RT_SIGPENDING, "rt_sigpending", rt_sigpending),
    Row::new(nr::SYS_RT_SIGSUSPEND, "rt_sigsuspend", rt_sigsuspend).no_restart(),
    Row::new(nr::SYS_RT_SIGTIMEDWAIT, "rt_sigtimedwait", rt_sigtimedwait).no_restart(),
    Row::new(nr::SYS_RT_SIGQUEUEINFO, "rt_sigqueueinfo", rt_sigqueueinfo),
    Row::new(nr::SYS_RT_TGSIGQUEUEINFO, "rt_tgsigqueueinfo", rt_tgsigqueueinfo),
    Row::new(nr::SYS_RT_SIGRETURN, "rt_sigreturn", |cx, _| signal::sigreturn(cx)),
    Row::new(nr::SYS_SIGALTSTACK, "sigaltstack", sigaltstack),
    Row::new(nr::SYS_KILL, "kill", kill),
    Row::new(nr::SYS_TKILL, "tkill", tkill),
    Row::new(nr::SYS_TGKILL, "tgkill", tgkill),
    Row::new(nr::SYS_PAUSE, "pause", pause).no_restart(),
];

fn check_size(a: Args, i: usize) -> Result<()> {
    if a.usize(i) == SigSet::SIZE { Ok(()) } else { Err(EINVAL) }
}

fn read_set(cx: &mut TaskCx, addr: u64) -> Result<SigSet> {
    Ok(SigSet::decode(&cx.read_array(addr)?))
}

fn rt_sigaction(cx: &mut TaskCx, a: Args) -> Result<u64> {
    check_size(a, 3)?;
    let s = Signal::check(a.i32(0))?;
    let new = match a.u64(1) {
        0 => None,
        addr => Some(SigAction::decode(&cx.read_array(addr)?)),
    };
    let old = signal::set_action(&cx.task.process, s, new)?;
    cx.lend_actions();
    if a.u64(2) != 0 {
        cx.copy_out(a.u64(2), &old.encode())?;
    }
    Ok(0)
}

fn rt_sigprocmask(cx: &mut TaskCx, a: Args) -> Result<u64> {
    check_size(a, 3)?;
    // The stub leaves it to us while anything is pending; perhaps nothing is any more, or it gave up halfway.
    signal::signals_changed(&cx.task);
    let old = cx.task.signals.lock().mask.get();
    if a.u64(1) != 0 {
        let set = read_set(cx, a.u64(1))?;
        let new = match a.i32(0) {
            SIG_BLOCK => old.union(set),
            SIG_UNBLOCK => old.minus(set),
            SIG_SETMASK => set,
            _ => return Err(EINVAL),
        };
        set_mask(&cx.task, new);
    }
    if a.u64(2) != 0 {
        cx.copy_out(a.u64(2), &old.encode())?;
    }
    Ok(0)
}

fn rt_sigpending(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.usize(1) > SigSet::SIZE {
        return Err(EINVAL);
    }
    let blocked = cx.task.signals.lock().mask.get();
    let set = signal::pending(&cx.task).intersect(blocked);
    cx.copy_out(a.u64(0), &set.encode()[..a.usize(1)])?;
    Ok(0)
}

/// Sleeps until there is work at the boundary: it never ends by itself.
fn wait_for_signal(cx: &TaskCx) -> Result<u64> {
    cx.task.wait_on(&[], None, || None::<()>)?;
    Err(ERESTART)
}

fn rt_sigsuspend(cx: &mut TaskCx, a: Args) -> Result<u64> {
    check_size(a, 1)?;
    let mask = read_set(cx, a.u64(0))?;
    set_temporary_mask(cx, mask);
    wait_for_signal(cx)
}

fn pause(cx: &mut TaskCx, _: Args) -> Result<u64> {
    wait_for_signal(cx)
}

fn rt_sigtimedwait(cx: &mut TaskCx, a: Args) -> Result<u64> {
    check_size(a, 3)?;
    let set = read_set(cx, a.u64(0))?;
    let timeout = match a.u64(2) {
        0 => None,
        addr => Some(Timespec::decode(&cx.read_array(addr)?).check()?.to_ns().cast_unsigned()),
    };
    let deadline = cx.deadline(timeout);
    let info = signal::sigtimedwait(&cx.task, set, deadline)?;
    if a.u64(1) != 0 {
        cx.copy_out(a.u64(1), &info.encode())?;
    }
    Ok(u64::from(info.signo.cast_unsigned()))
}

/// A record that a program made up for another: it may not look as if it came from kill(2) or the kernel.
fn made_up(cx: &mut TaskCx, addr: u64, signo: i32, to_self: bool) -> Result<(Option<Signal>, SigInfo)> {
    let mut info = SigInfo::decode(&cx.read_array(addr)?);
    info.signo = signo;
    if (info.code >= 0 || info.code == SI_TKILL) && !to_self {
        return Err(EPERM);
    }
    let s = if signo == 0 { None } else { Some(Signal::check(signo)?) };
    Ok((s, info))
}

fn rt_sigqueueinfo(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let pid = a.i32(0);
    let (s, info) = made_up(cx, a.u64(2), a.i32(1), pid == cx.task.pid())?;
    let p = match cx.machine().tree.process(pid) {
        Some(p) => p,
        None => cx.machine().tree.task(pid).ok_or(ESRCH)?.process.clone(),
    };
    may_signal(cx, &p, s)?;
    if s.is_some() {
        try_send_to_process(&p, info)?;
    }
    Ok(0)
}

fn rt_tgsigqueueinfo(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (pid, tid) = (a.i32(0), a.i32(1));
    if pid <= 0 || tid <= 0 {
        return Err(EINVAL);
    }
    let (s, info) = made_up(cx, a.u64(3), a.i32(2), pid == cx.task.pid())?;
    let t = task_of(cx, Some(pid), tid)?;
    may_signal(cx, &t.process, s)?;
    if s.is_some() {
        try_send_to_task(&t, info)?;
    }
    Ok(0)
}

fn sigaltstack(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let new = match a.u64(0) {
        0 => None,
        addr => Some(SigStack::decode(&cx.read_array(addr)?)),
    };
    let old = signal::alt_stack(cx);
    if let Some(n) = new {
        signal::set_alt_stack(cx, n)?;
    }
    if a.u64(1) != 0 {
        cx.copy_out(a.u64(1), &old.encode())?;
    }
    Ok(0)
}

fn kill(cx: &mut TaskCx, a: Args) -> Result<u64> {
    signal::kill(cx, a.i32(0), a.i32(1))?;
    Ok(0)
}

fn to_thread(cx: &TaskCx, pid: Option<i32>, tid: i32, signo: i32) -> Result<u64> {
    if tid <= 0 || pid.is_some_and(|p| p <= 0) {
        return Err(EINVAL);
    }
    let s = if signo == 0 { None } else { Some(Signal::check(signo)?) };
    let t = match task_of(cx, pid, tid) {
        Ok(t) => t,
        // The leader has ended before its process: there, but deaf.
        Err(_) if cx.machine().tree.process(tid).is_some() && pid.is_none_or(|p| p == tid) => return Ok(0),
        Err(e) => return Err(e),
    };
    may_signal(cx, &t.process, s)?;
    if let Some(s) = s {
        try_send_to_task(&t, SigInfo::tkill(s, cx.task.pid(), cx.cred().uid))?;
    }
    Ok(0)
}

fn tkill(cx: &mut TaskCx, a: Args) -> Result<u64> {
    to_thread(cx, None, a.i32(0), a.i32(1))
}

fn tgkill(cx: &mut TaskCx, a: Args) -> Result<u64> {
    to_thread(cx, Some(a.i32(0)), a.i32(1), a.i32(2))
}
