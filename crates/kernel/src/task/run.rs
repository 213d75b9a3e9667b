//! The run loop: guest code, its system calls and faults, and the boundary between them where signals are delivered and
//! stops are obeyed.

use std::sync::atomic::Ordering;

use hal::Event;

use super::{RunState, TaskCx, Work};
use crate::{
    error::{ERESTART, Result},
    ptrace, seccomp, signal,
};

/// What becomes of a system call that was interrupted ([`ERESTART`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Begun again unless a handler without SA_RESTART ran: read, write, wait4, flock, futex ... (signal(7)).
    IfAllowed,
    /// EINTR whenever a handler ran; begun again after a stop or freeze: poll, nanosleep, epoll_wait, sigsuspend ...
    NoHandler,
    /// Always begun again (never EINTR).
    Always,
}

/// Handles one system call. Given to the machine at boot; the kernel does not know the table.
pub trait Dispatch: Send + Sync {
    /// Runs system call `nr`; the value for the result register.
    fn call(&self, cx: &mut TaskCx, nr: u64, args: [u64; 6]) -> Result<u64>;
    fn restart_policy(&self, nr: u64) -> Restart;
    fn name(&self, nr: u64) -> &'static str;
    fn trace(&self) -> bool {
        false
    }
    /// What faults and waits are told to, if anybody wants to know.
    fn meter(&self) -> Option<&crate::meter::Meter> {
        None
    }
}

/// Runs a task until it ends. Called on the host thread that becomes the task's.
pub fn run_task(mut cx: TaskCx) {
    cx.task.waiter.attach();
    cx.attach_context();
    if cx.wants_actions {
        cx.lend_actions();
        cx.wants_actions = false;
    }
    let machine = cx.task.machine.clone();
    let dispatch = machine.dispatch.clone();
    // Work may have been posted before the kicker was known.
    if !cx.task.work().is_empty() {
        boundary(&mut cx, None);
    }
    while !cx.exiting {
        ksync::assert_no_locks_held("guest code");
        if cx.must_see_futexes() != cx.sees_futexes {
            cx.settle(None);
            cx.change_futexes();
        }
        if ksync::woke_others() {
            cx.ctx.make_way();
        }
        if let Some(p) = cx.task.waiter.woken_from() {
            cx.ctx.woken_from((p.who, p.cpu));
        }
        cx.lend_again();
        cx.check_endless();
        cx.tell_queues();
        let event = if cx.step || cx.watching { ptrace::run_stepping(&mut cx) } else { cx.ctx.run() };
        cx.settle(if let Event::Syscall { nr, .. } = event { Some(nr) } else { None });
        cx.settle_queues();
        cx.settle_ends(&event);
        cx.kicked = event == Event::Kicked;
        let (who, cpu) = cx.ctx.place();
        ksync::stand_at(ksync::Place { who, cpu });
        match event {
            Event::Syscall { nr, args } => {
                let regs = cx.ctx.regs();
                cx.task.in_call.enter(nr, &args, &regs);
                syscall(&mut cx, &*dispatch, nr, args);
                cx.task.in_call.leave();
            }
            Event::Exception(e) => {
                cx.task.stats.faults.fetch_add(1, Ordering::Relaxed);
                let start = dispatch.meter().map(|m| (m, machine.clock.monotonic_ns()));
                let served = crate::mm::handle_fault(&mut cx, &e);
                if let Some((m, start)) = start {
                    match &served {
                        Ok(()) => m.faults.add(machine.clock.monotonic_ns().saturating_sub(start)),
                        Err(_) => drop(m.exceptions.fetch_add(1, Ordering::Relaxed)),
                    }
                }
                if let Err(e) = served {
                    signal::force_exception(&mut cx, &e);
                }
            }
            Event::Kicked => {}
            Event::Died { signo } => {
                signal::stub_died(&mut cx, signo);
            }
        }
        if !cx.task.work().is_empty() && !cx.exiting {
            boundary(&mut cx, None);
        }
    }
    crate::task::exit::finish(cx);
}

fn syscall(cx: &mut TaskCx, dispatch: &dyn Dispatch, nr: u64, args: [u64; 6]) {
    cx.task.stats.syscalls.fetch_add(1, Ordering::Relaxed);
    cx.restart_deadline = None;
    let (mut nr, mut args) = (nr, args);
    let (mut entered, mut filtered) = (false, false);
    loop {
        cx.regs_final = false;
        cx.restart_as = None;
        if cx.task.work().contains(Work::TRACED) && !entered {
            match ptrace::call_enter(cx, nr, args) {
                ptrace::Entry::Go(n, a) => (nr, args) = (n, a),
                ptrace::Entry::Skip => return ptrace::call_exit(cx),
            }
            if cx.task.work().contains(Work::EXIT) {
                return;
            }
            filtered = false;
        }
        let mut interrupted = false;
        if cx.task.seccomp.mode() != 0 && !std::mem::replace(&mut filtered, true) {
            match seccomp::enter(cx, nr, args) {
                seccomp::Entry::Go(n, a) => (nr, args) = (n, a),
                seccomp::Entry::Skip => return leave_call(cx),
                seccomp::Entry::Interrupted => {
                    interrupted = true;
                    filtered = false;
                    cx.restart_as = Some(Restart::IfAllowed);
                }
            }
        }
        let result = if interrupted { Err(ERESTART) } else { dispatch.call(cx, nr, args) };
        if cx.exiting || cx.regs_final {
            leave_call(cx);
            return;
        }
        match result {
            Ok(v) => {
                cx.ctx.set_result(v);
                if cx.saved_mask.is_some() {
                    // The call succeeded: the old mask comes back before signals are looked at.
                    signal::restore_saved_mask(cx);
                }
                leave_call(cx);
                return;
            }
            Err(ERESTART) => {
                // Handles stops, freezes and signals; tells whether a handler frame was pushed.
                let policy = cx.restart_as.unwrap_or_else(|| dispatch.restart_policy(nr));
                entered = cx.task.work().contains(Work::TRACED) && !ptrace::interrupted_call(cx, nr, policy);
                match boundary(cx, Some((nr, policy))) {
                    After::Again => continue,
                    After::Done => {
                        cx.traced_call = None;
                        return;
                    }
                }
            }
            Err(e) => {
                cx.ctx.set_result(e.as_ret());
                if cx.saved_mask.is_some() && !cx.task.work().contains(Work::SIGNAL) {
                    signal::restore_saved_mask(cx);
                }
                leave_call(cx);
                return;
            }
        }
    }
}

/// A system call is done.
#[inline]
fn leave_call(cx: &mut TaskCx) {
    if cx.task.work().contains(Work::TRACED) && !cx.exiting {
        ptrace::call_exit(cx);
    }
    cx.traced_call = None;
}

/// What to do after an interrupted system call.
pub(crate) enum After {
    /// Nothing ran: begin it again at once.
    Again,
    /// Registers are set (a handler's frame, or the task is ending).
    Done,
}

/// The boundary: ends, freezes, stops, delivers. With `call` set, a system call waits to be begun again.
fn boundary(cx: &mut TaskCx, call: Option<(u64, Restart)>) -> After {
    cx.call_given_up = false;
    cx.settle(None);
    cx.ctx.flush();
    loop {
        let work = cx.task.work();
        if work.contains(Work::EXIT) {
            cx.exiting = true;
            return After::Done;
        }
        if work.contains(Work::FREEZE) {
            cx.task.machine.freezer.park(&cx.task);
            continue;
        }
        if work.contains(Work::STOP) && call.is_none() {
            let regs = cx.ctx.regs();
            cx.task.in_call.stand(&regs);
        }
        if work.contains(Work::STOP | Work::TRACED) {
            ptrace::requested_stop(cx);
            continue;
        }
        if work.contains(Work::STOP) {
            cx.task.set_run_state(RunState::Stopped);
            signal::job_stop(cx);
            cx.task.set_run_state(RunState::Running);
            continue;
        }
        if work.contains(Work::NOTIFY) {
            cx.task.clear_work(Work::NOTIFY);
            cx.refresh();
            continue;
        }
        if work.contains(Work::SIGNAL) {
            match signal::deliver(cx, call) {
                signal::Delivered::Handler => {
                    if cx.step {
                        cx.traced_call = None;
                        ptrace::handler_trap(cx);
                    }
                    return After::Done;
                }
                signal::Delivered::Nothing | signal::Delivered::Ignored => continue,
            }
        }
        if cx.saved_mask.is_some() && call.is_none() {
            signal::restore_saved_mask(cx);
            continue;
        }
        if call.is_some() && cx.call_given_up {
            if cx.saved_mask.is_some() {
                signal::restore_saved_mask(cx);
            }
            return After::Done;
        }
        return After::Again;
    }
}

impl TaskCx {
    /// Takes over what other tasks changed for this one.
    fn refresh(&mut self) {
        self.sample_cpu_time();
        if let Some(f) = self.task.files() {
            self.files = f;
        }
        if self.task.seccomp.mode() != 0 {
            self.update_fast_ids();
        }
    }
}
