//! Stops at the entries and exits of system calls.

use abi::{Signal, errno::ENOSYS, ptrace::*};

use super::{
    Kind,
    signal::send_left,
    step::end_step,
    stop::{Left, stop, trap_info},
};
use crate::task::{TaskCx, Work, run::Restart};

/// What becomes of a system call after its entry stop.
pub(crate) enum Entry {
    /// Made, as the tracer left it.
    Go(u64, [u64; 6]),
    /// Not made: its result is in the registers.
    Skip,
}

/// The status of a stop at a system call, if the tracer wants them.
fn wanted(cx: &TaskCx) -> Option<u32> {
    let t = cx.task.tracing.lock();
    let l = t.link.as_ref().filter(|l| l.calls)?;
    let good = if l.options & PTRACE_O_TRACESYSGOOD != 0 { 0x80 } else { 0 };
    Some(Signal::SIGTRAP.raw().cast_unsigned() | good)
}

/// Before a system call of a traced task.
pub(crate) fn call_enter(cx: &mut TaskCx, nr: u64, args: [u64; 6]) -> Entry {
    cx.traced_call = Some((nr, Some(ENOSYS.as_ret())));
    let Some(code) = wanted(cx) else { return Entry::Go(nr, args) };
    let Some(left) = stop(cx, Kind::Enter, code, Some(trap_info(code.cast_signed())), Some(1)) else {
        return Entry::Go(nr, args);
    };
    go_on(cx, nr, args, left)
}

/// A filter left the call to the tracer (`SECCOMP_RET_TRACE` with `value`). `None` if no tracer wants to know.
pub(crate) fn seccomp_event(cx: &mut TaskCx, value: u32) -> Option<Entry> {
    let wants = |l: &super::Link| l.options & PTRACE_O_TRACESECCOMP != 0;
    if !cx.task.work().contains(Work::TRACED) || !cx.task.tracing.lock().link.as_ref().is_some_and(wants) {
        return None;
    }
    let r = cx.ctx.regs();
    let nr = cx.traced_call.map_or(r.rax, |c| c.0);
    cx.traced_call = Some((nr, Some(ENOSYS.as_ret())));
    let args = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
    let code = Signal::SIGTRAP.raw().cast_unsigned() | PTRACE_EVENT_SECCOMP << 8;
    let info = trap_info(code.cast_signed());
    Some(match stop(cx, Kind::Seccomp, code, Some(info), Some(u64::from(value))) {
        Some(left) => go_on(cx, nr, args, left),
        None => Entry::Go(nr, args),
    })
}

/// A call begins as the tracer left it.
fn go_on(cx: &mut TaskCx, nr: u64, args: [u64; 6], left: Left) -> Entry {
    let (changed, r) = (left.changed, left.regs);
    send_left(cx, Some(left));
    if !changed {
        return Entry::Go(nr, args);
    }
    let nr = r[ORIG_RAX];
    cx.traced_call = Some((nr, Some(r[RAX])));
    if nr.cast_signed() < 0 {
        cx.ctx.set_result(r[RAX]);
        return Entry::Skip;
    }
    Entry::Go(nr, [r[RDI], r[RSI], r[RDX], r[R10], r[R8], r[R9]])
}

/// After a system call of a traced task: its result is in the registers.
pub(crate) fn call_exit(cx: &mut TaskCx) {
    cx.ctx.flush();
    let nr = cx.traced_call.map_or(u64::MAX, |c| c.0);
    cx.traced_call = Some((nr, None));
    exit_stop(cx);
    cx.traced_call = None;
    end_step(cx);
}

fn exit_stop(cx: &mut TaskCx) {
    if let Some(code) = wanted(cx) {
        let left = stop(cx, Kind::Exit, code, Some(trap_info(code.cast_signed())), Some(2));
        send_left(cx, left);
    }
}

/// A system call was interrupted: shows it as such. True if its exit was reported, so that it is entered again.
pub(crate) fn interrupted_call(cx: &mut TaskCx, nr: u64, policy: Restart) -> bool {
    let shown = match policy {
        Restart::IfAllowed => SHOWN_RESTARTSYS,
        Restart::NoHandler if cx.restart_deadline.is_some() => SHOWN_RESTART_BLOCK,
        Restart::NoHandler => SHOWN_RESTARTNOHAND,
        Restart::Always => SHOWN_RESTARTNOINTR,
    };
    cx.traced_call = Some((nr, Some(shown.cast_unsigned())));
    if !cx.task.work().intersects(Work::SIGNAL | Work::STOP) {
        // A freeze is nothing that the guest could see.
        return false;
    }
    exit_stop(cx);
    true
}
