//! Delivery at the boundary.

use abi::{
    SigAction, SigInfo, Signal,
    errno::EINTR,
    nr::{SYS_FUTEX, SYS_FUTEX_WAIT, SYS_FUTEX_WAITV},
    sched::{FUTEX_CMD_MASK, FUTEX_WAIT, FUTEX_WAIT_BITSET},
    signal::{DefaultAction, SA_NODEFER, SA_RESETHAND, SA_RESTART, SIG_DFL, SIG_IGN},
};
use hal::Regs;
use std::sync::atomic::Ordering;

use super::{force::force, frame, set_mask, signals_changed, stop};
use crate::{
    error::Result,
    task::{TaskCx, Work, process::ExitStatus, run::Restart},
};

/// What [`deliver`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// No signal was to be delivered.
    Nothing,
    /// One was taken and needs nothing more (ignored, a stop or an end was posted).
    Ignored,
    /// A handler's frame is set up; an interrupted call's result or restart is in it.
    Handler,
}

/// Takes one deliverable signal. `call`: the interrupted system call waiting to be begun again.
pub fn deliver(cx: &mut TaskCx, call: Option<(u64, Restart)>) -> Delivered {
    let Some((mut s, mut info)) = next(cx) else { return Delivered::Nothing };
    crate::time::signal_taken(&cx.task.process, &mut info);
    if cx.task.work().contains(Work::TRACED) && s != Signal::SIGKILL {
        match crate::ptrace::signal_stop(cx, s, info) {
            Some(given) => (s, info) = given,
            None => return Delivered::Ignored,
        }
    }
    let call = if cx.call_given_up { None } else { call };
    let action = cx.task.process.action(s);
    match action.handler {
        SIG_IGN => Delivered::Ignored,
        SIG_DFL => {
            default_action(cx, s, &info);
            Delivered::Ignored
        }
        _ => handle(cx, s, &info, action, call),
    }
}

/// The next signal that the mask lets through; leaves [`Work::SIGNAL`] telling whether there are more.
fn next(cx: &mut TaskCx) -> Option<(Signal, SigInfo)> {
    let task = &cx.task;
    let mut shared = task.process.signals.lock();
    let mut own = task.signals.lock();
    let open = own.mask.get().complement();
    let info = own.pending.take(open).or_else(|| shared.pending.take(open));
    let left = own.pending.set().union(shared.pending.set());
    own.mask.announce(!left.is_empty());
    if left.intersect(open).is_empty() {
        task.clear_work(Work::SIGNAL);
    }
    let info = info?;
    info.signal().map(|s| (s, info))
}

fn default_action(cx: &mut TaskCx, s: Signal, info: &SigInfo) {
    let process = &cx.task.process;
    let spared = process.is_init.load(Ordering::Relaxed) && !process.state.lock().forced;
    match s.default_action() {
        DefaultAction::Ignore | DefaultAction::Cont => {}
        _ if spared => {}
        DefaultAction::Stop => stop::stop_process(cx, s),
        DefaultAction::Term | DefaultAction::Core => die(cx, s, info),
    }
}

/// The process ends by a signal, with a core dump if that is what the signal does.
pub fn die(cx: &mut TaskCx, s: Signal, info: &SigInfo) {
    if s.default_action() == DefaultAction::Core && crate::coredump::die(cx, s, info) {
        return;
    }
    let process = &cx.task.process;
    process.group_exit(ExitStatus::Signal { signo: s.raw().to_le_bytes()[0], core: false });
}

fn handle(
    cx: &mut TaskCx,
    s: Signal,
    info: &SigInfo,
    action: SigAction,
    call: Option<(u64, Restart)>,
) -> Delivered {
    let mut regs = cx.ctx.regs();
    if let Some((nr, policy)) = call {
        let again = match policy {
            Restart::Always => true,
            Restart::IfAllowed => action.flags & SA_RESTART != 0,
            Restart::NoHandler => false,
        };
        if again {
            let stopped_at = regs.rip;
            cx.ctx.restart_syscall();
            regs = cx.ctx.regs();
            if regs.rip == stopped_at {
                // Both bytes of the instruction lie before it.
                regs.rip = regs.rip.wrapping_sub(2);
            }
            regs.rax = nr;
        } else {
            regs.rax = EINTR.as_ret();
        }
    }
    if call.is_none() && cx.kicked && action.flags & SA_RESTART == 0 {
        end_futex_wait(cx, &mut regs);
    }
    // A second frame on top of this one interrupts the handler, not the call.
    cx.kicked = false;
    let blocked = cx.task.signals.lock().mask.get();
    let old_mask = cx.saved_mask.unwrap_or(blocked);
    if frame::push(cx, s, info, &action, old_mask, &regs).is_err() {
        // The interrupted state stays; a handler of SIGSEGV itself must not be tried again and again.
        cx.ctx.set_regs(&regs);
        force(cx, SigInfo::kernel(Signal::SIGSEGV), s == Signal::SIGSEGV);
        return if call.is_some() { Delivered::Handler } else { Delivered::Ignored };
    }
    cx.saved_mask = None;
    if action.flags & SA_RESETHAND != 0 {
        let actions = cx.task.process.actions.read().clone();
        actions.set(s, SigAction { handler: SIG_DFL, ..action });
    }
    let mut mask = blocked.union(action.mask);
    if action.flags & SA_NODEFER == 0 {
        mask.add(s);
    }
    set_mask(&cx.task, mask);
    Delivered::Handler
}

/// Guest code waits for futexes in the host, which would begin the wait again after the handler. Without SA_RESTART the
/// wait ends with EINTR (futex(2)).
fn end_futex_wait(cx: &mut TaskCx, regs: &mut Regs) {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    let op = (regs.rsi & 0xffff_ffff) as u32 & FUTEX_CMD_MASK;
    let old = regs.rax == u64::from(SYS_FUTEX) && matches!(op, FUTEX_WAIT | FUTEX_WAIT_BITSET);
    let later = [SYS_FUTEX_WAITV, SYS_FUTEX_WAIT].iter().any(|nr| regs.rax == u64::from(*nr));
    if (old || later) && cx.read_array(regs.rip) == Ok(SYSCALL) {
        regs.rax = EINTR.as_ret();
        regs.rip = regs.rip.wrapping_add(2);
    }
}

/// Puts back the mask saved by sigsuspend and its kin.
pub fn restore_saved_mask(cx: &mut TaskCx) {
    if let Some(mask) = cx.saved_mask.take() {
        set_mask(&cx.task, mask);
        signals_changed(&cx.task);
    }
}

/// rt_sigreturn(2). A frame that cannot be taken apart is answered with SIGSEGV.
pub fn sigreturn(cx: &mut TaskCx) -> Result<u64> {
    cx.regs_final = true;
    if frame::pop(cx).is_err() {
        force(cx, SigInfo::kernel(Signal::SIGSEGV), false);
    }
    Ok(0)
}
