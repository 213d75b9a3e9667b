//! Signals that an instruction of the task raised: they cannot be blocked or ignored.

use std::sync::atomic::Ordering;

use abi::{
    SigAction, SigInfo, Signal,
    signal::{SI_KERNEL, SIG_DFL, SIG_IGN, SigFields},
};
use hal::Exception;

use super::signals_changed;
use crate::task::{TaskCx, process::ExitStatus};

/// Queues a signal for the running task that it cannot escape: one that is blocked or ignored gets its default action,
/// as it does with `to_default`.
pub(super) fn force(cx: &mut TaskCx, info: SigInfo, to_default: bool) {
    let Some(s) = info.signal() else { return };
    let task = &cx.task;
    let process = &task.process;
    let actions = process.actions.read().clone();
    let handler = actions.get(s).handler;
    let blocked = task.signals.lock().mask.get().has(s);
    if to_default || blocked || handler == SIG_IGN {
        actions.set(s, SigAction::default());
    }
    if actions.get(s).handler == SIG_DFL {
        process.state.lock().forced = true;
    }
    {
        let mut own = task.signals.lock();
        let mut mask = own.mask.get();
        mask.remove(s);
        own.mask.set(mask);
        own.pending.push(s, info);
    }
    signals_changed(task);
}

/// Queues a signal that an action of the task itself calls for, such as a trapped system call.
pub fn force_info(cx: &mut TaskCx, info: SigInfo) {
    cx.last_fault = None;
    force(cx, info, false);
}

/// The signal of a memory fault or trap with the given code and address.
pub fn force_fault(cx: &mut TaskCx, s: Signal, code: i32, addr: u64, e: &Exception) {
    cx.last_fault = Some(*e);
    let info = if code == SI_KERNEL {
        SigInfo::new(s, code, SigFields::Fault { addr: 0 })
    } else {
        SigInfo::fault(s, code, addr)
    };
    force(cx, info, false);
}

/// Turns a processor exception into its signal.
pub fn force_exception(cx: &mut TaskCx, e: &Exception) {
    let s = Signal::new(i32::from(e.signo)).unwrap_or(Signal::SIGSEGV);
    // Only memory faults have an address of their own; the others tell where the instruction is (sigaction(2)).
    let addr = match s {
        Signal::SIGSEGV | Signal::SIGBUS => e.addr,
        _ => cx.ctx.regs().rip,
    };
    let (m, r) = (cx.machine().clone(), cx.ctx.regs());
    let comm = String::from_utf8_lossy(&cx.task.comm.lock()).into_owned();
    let place = cx.mm.maps().into_iter().find(|v| v.start <= r.rip && r.rip < v.end);
    let place = place.and_then(|v| {
        let name = v.file?.path.dentry.name();
        Some(format!(" in {}+{:x}", String::from_utf8_lossy(&name), r.rip - v.start + v.offset))
    });
    if s == Signal::SIGTRAP {
        // Breakpoints and steps are no news.
        return force_fault(cx, s, e.code, addr, e);
    }
    m.log.print(
        6,
        m.clock.uptime_ns(),
        format!(
            "{comm}[{}]: {} at {addr:x} ip {:x} sp {:x} error {:x} trap {}{}",
            cx.task.tid(),
            s.name(),
            r.rip,
            r.rsp,
            e.error,
            e.trapno,
            place.unwrap_or_default()
        ),
    );
    force_fault(cx, s, e.code, addr, e);
}

/// The stub has died below the task: its process ends.
pub fn stub_died(cx: &mut TaskCx, signo: u8) {
    let signo = if signo == 0 { 9 } else { signo };
    if !cx.task.dying.load(Ordering::SeqCst) {
        cx.task.process.state.lock().forced = true;
    }
    cx.task.process.group_exit(ExitStatus::Signal { signo, core: false });
    cx.exiting = true;
}
