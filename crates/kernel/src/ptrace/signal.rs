//! Signals of a tracee: delivery stops, and what a tracer may ask and change of them.

use abi::{SigInfo, SigSet, Signal, errno::EINVAL, ptrace::*};

use super::{
    Kind,
    stop::{Left, stop, stopped, with_stopped},
};
use crate::{
    error::Result,
    signal,
    task::{Pid, TaskCx, Work},
};

/// A signal is about to be delivered: the tracer decides. `None` if nothing is to be done.
pub(crate) fn signal_stop(cx: &mut TaskCx, s: Signal, info: SigInfo) -> Option<(Signal, SigInfo)> {
    let Some(left) = stop(cx, Kind::Signal, s.raw().cast_unsigned(), Some(info), None) else {
        return if cx.task.work().contains(Work::EXIT) { None } else { Some((s, info)) };
    };
    let new = Signal::new(left.signal)?;
    if new == s {
        return Some((s, left.info.unwrap_or(info)));
    }
    let info = tracers(cx, new);
    if cx.task.signals.lock().mask.get().has(new) {
        signal::send_to_task(&cx.task, info);
        return None;
    }
    Some((new, info))
}

/// A signal that comes from the tracer.
fn tracers(cx: &TaskCx, s: Signal) -> SigInfo {
    let pid = cx.task.tracing.lock().link.as_ref().map_or(0, |l| l.tracer_pid);
    SigInfo::user(s, pid, cx.cred().uid)
}

/// A signal given with the end of a stop that was not about a signal: it is sent.
pub(super) fn send_left(cx: &TaskCx, left: Option<Left>) {
    if let Some(s) = left.and_then(|l| Signal::new(l.signal)) {
        signal::send_to_task(&cx.task, tracers(cx, s));
    }
}

/// PTRACE_GETEVENTMSG.
pub fn event_message(cx: &TaskCx, tid: Pid) -> Result<u64> {
    with_stopped(cx, tid, |t| Ok(t.link.as_ref().map_or(0, |l| l.message)))
}

/// PTRACE_GETSIGINFO. EINVAL in a group stop.
pub fn siginfo(cx: &TaskCx, tid: Pid) -> Result<SigInfo> {
    stopped(cx, tid, |s| s.info.ok_or(EINVAL))
}

/// PTRACE_SETSIGINFO.
pub fn set_siginfo(cx: &TaskCx, tid: Pid, info: SigInfo) -> Result<()> {
    stopped(cx, tid, |s| s.info.as_mut().map(|i| *i = info).ok_or(EINVAL))
}

/// PTRACE_GETSIGMASK.
pub fn sigmask(cx: &TaskCx, tid: Pid) -> Result<SigSet> {
    with_stopped(cx, tid, |_| Ok(()))?;
    let t = cx.machine().tree.task(tid).ok_or(abi::errno::ESRCH)?;
    let mask = t.signals.lock().mask.get();
    Ok(mask)
}

/// PTRACE_SETSIGMASK.
pub fn set_sigmask(cx: &TaskCx, tid: Pid, mask: SigSet) -> Result<()> {
    with_stopped(cx, tid, |_| Ok(()))?;
    let t = cx.machine().tree.task(tid).ok_or(abi::errno::ESRCH)?;
    signal::set_mask(&t, mask);
    Ok(())
}

/// PTRACE_PEEKSIGINFO: up to `max` queued records from number `from` on, of the thread or (`shared`) its process.
pub fn peek_siginfo(cx: &TaskCx, tid: Pid, from: u64, max: usize, shared: bool) -> Result<Vec<SigInfo>> {
    with_stopped(cx, tid, |_| Ok(()))?;
    let t = cx.machine().tree.task(tid).ok_or(abi::errno::ESRCH)?;
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    Ok(if shared {
        t.process.signals.lock().pending.records().skip(from).take(max).copied().collect()
    } else {
        t.signals.lock().pending.records().skip(from).take(max).copied().collect()
    })
}

/// PTRACE_GET_SYSCALL_INFO: the record and its full length.
pub fn syscall_info(cx: &TaskCx, tid: Pid) -> Result<Vec<u8>> {
    let message = event_message(cx, tid)?;
    stopped(cx, tid, |s| {
        let r = &s.regs;
        let op = match s.kind {
            Kind::Enter => SYSCALL_INFO_ENTRY,
            Kind::Exit => SYSCALL_INFO_EXIT,
            Kind::Seccomp => SYSCALL_INFO_SECCOMP,
            _ => SYSCALL_INFO_NONE,
        };
        let mut out = vec![op, 0, 0, 0];
        out.extend(ARCH_X86_64.to_le_bytes());
        out.extend(r[RIP].to_le_bytes());
        out.extend(r[RSP].to_le_bytes());
        match s.kind {
            Kind::Enter | Kind::Seccomp => {
                for w in [ORIG_RAX, RDI, RSI, RDX, R10, R8, R9] {
                    out.extend(r[w].to_le_bytes());
                }
                if s.kind == Kind::Seccomp {
                    // What the filter returned, and room to 8 bytes.
                    out.extend(message.to_le_bytes());
                }
            }
            Kind::Exit => {
                out.extend(r[RAX].to_le_bytes());
                out.push(u8::from((-4095..0).contains(&r[RAX].cast_signed())));
            }
            _ => {}
        }
        Ok(out)
    })
}
