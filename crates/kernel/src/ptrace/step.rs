//! Running a tracee instruction by instruction, by the trap flag.

use abi::{
    Signal,
    signal::{TRAP_BRKPT, TRAP_HWBKPT},
};
use hal::{Event, Exception};

use crate::{
    signal,
    task::{TaskCx, Work},
};

/// The trap flag, and the processor's number for its trap.
const TF: u64 = 0x100;
const DEBUG_TRAP: u64 = 1;

/// Runs one instruction. The flag is in the registers only meanwhile, so that nobody takes it for the program's.
fn run_one(cx: &mut TaskCx) -> Event {
    let mut r = cx.ctx.regs();
    let own = r.rflags & TF;
    r.rflags |= TF;
    cx.ctx.set_regs(&r);
    let event = cx.ctx.run();
    if own == 0 && !matches!(event, Event::Died { .. }) {
        let mut r = cx.ctx.regs();
        if r.rflags & TF != 0 {
            if matches!(event, Event::Syscall { .. }) {
                r.r11 &= !TF;
            }
            r.rflags &= !TF;
            cx.ctx.set_regs(&r);
        }
    }
    event
}

/// In place of `Context::run` for a task that is stepped, or for which something is watched.
pub(crate) fn run_stepping(cx: &mut TaskCx) -> Event {
    let debug = cx.task.tracing.lock().debug;
    if !debug.active() {
        cx.watching = false;
        return if cx.step { run_one(cx) } else { cx.ctx.run() };
    }
    let mut before = debug.values(cx);
    loop {
        let event = run_one(cx);
        match event {
            Event::Exception(e) if i32::from(e.signo) == Signal::SIGTRAP.raw() && e.trapno == DEBUG_TRAP => {
                let after = debug.values(cx);
                let hits = debug.hits(&before, &after, cx.ctx.regs().rip);
                if hits != 0 {
                    cx.task.tracing.lock().debug.report(hits);
                    return Event::Exception(Exception { code: TRAP_HWBKPT, ..e });
                }
                if cx.step {
                    return event;
                }
                if cx.task.work().intersects(Work::INTERRUPTS) {
                    return Event::Kicked;
                }
                before = after;
            }
            _ => return event,
        }
    }
}

/// A step ended with a system call: it is done.
pub(crate) fn end_step(cx: &mut TaskCx) {
    if std::mem::take(&mut cx.step) {
        let rip = cx.ctx.regs().rip;
        signal::force_fault(cx, Signal::SIGTRAP, TRAP_BRKPT, rip, &Exception::default());
    }
}
