//! Bonds between tracers and tracees: how they are made and how they end.

use std::sync::Arc;

use abi::{
    SigInfo, Signal,
    cap::CAP_SYS_PTRACE,
    errno::{EINVAL, EIO, EPERM, ESRCH},
    ptrace::*,
};

use super::{Link, access::may_access, resume::Resume};
use crate::{
    error::Result,
    signal,
    task::{Pid, Task, TaskCx, Work, process::JobState, tree::Relations},
};

/// Options that are there (PTRACE_SETOPTIONS).
const OPTIONS: u32 = PTRACE_O_TRACESYSGOOD
    | PTRACE_O_TRACEFORK
    | PTRACE_O_TRACEVFORK
    | PTRACE_O_TRACECLONE
    | PTRACE_O_TRACEEXEC
    | PTRACE_O_TRACEVFORKDONE
    | PTRACE_O_TRACEEXIT
    | PTRACE_O_TRACESECCOMP
    | PTRACE_O_EXITKILL;

/// Options of a request; EINVAL for what is not there.
fn check_options(options: u64) -> Result<u32> {
    let o = u32::try_from(options).map_err(|_| EINVAL)?;
    if o & !OPTIONS != 0 { Err(EINVAL) } else { Ok(o) }
}

/// How a bond is made.
#[derive(Clone, Copy)]
struct Bond {
    options: u32,
    seized: bool,
    privileged: bool,
}

/// Makes the bond, under the tree's lock. EPERM if there is one.
fn bind(tree: &mut Relations, task: &Arc<Task>, tracer: &Task, how: Bond) -> Result<()> {
    let Bond { options, seized, privileged } = how;
    {
        let mut t = task.tracing.lock();
        if t.link.is_some() {
            return Err(EPERM);
        }
        t.link = Some(Link {
            tracer: tracer.tid(),
            tracer_pid: tracer.pid(),
            options,
            seized,
            calls: false,
            interrupt: false,
            privileged,
            message: 0,
        });
        let _ = task.mark(Work::TRACED);
    }
    tree.tracees.entry(tracer.pid()).or_default().push((tracer.tid(), task.tid()));
    Ok(())
}

/// The address space of traced tasks holds the program's own code only, so that its tracer sees and changes that. To be
/// called when bonds have changed, with no lock held: it writes the space.
pub(crate) fn watch_space(task: &Task) {
    let Some(mm) = task.mm() else { return };
    // Processes may share a space (vfork(2)).
    let here = |t: &Task| t.mm.read().as_ref().is_some_and(|m| Arc::ptr_eq(m, &mm));
    let traced = || task.machine.tree.tasks().iter().any(|t| t.work().contains(Work::TRACED) && here(t));
    loop {
        let on = traced();
        mm.space.watch(on);
        // Others may have changed the bonds and done this meanwhile.
        if on == traced() {
            return;
        }
    }
}

/// PTRACE_TRACEME: the parent becomes the tracer.
pub fn traceme(cx: &mut TaskCx) -> Result<()> {
    let machine = cx.machine().clone();
    let mut tree = machine.tree.lock();
    let parent = tree.nodes.get(&cx.task.pid()).map_or(0, |n| n.parent);
    let parent = tree.nodes.get(&parent).and_then(|n| n.process.threads().first().cloned()).ok_or(EPERM)?;
    let privileged = cx.cred().has(CAP_SYS_PTRACE);
    bind(&mut tree, &cx.task, &parent, Bond { options: 0, seized: false, privileged })?;
    drop(tree);
    watch_space(&cx.task);
    Ok(())
}

fn begin(cx: &TaskCx, tid: Pid, options: u32, seized: bool) -> Result<Arc<Task>> {
    let machine = cx.machine();
    let task = machine.tree.target(tid)?;
    if task.pid() == cx.task.pid() || !may_access(&cx.task, &task, true) {
        return Err(EPERM);
    }
    {
        let mut tree = machine.tree.lock();
        // It may have ended meanwhile.
        if !tree.tasks.get(&tid).is_some_and(|t| Arc::ptr_eq(t, &task)) {
            return Err(ESRCH);
        }
        let privileged = cx.cred().has(CAP_SYS_PTRACE);
        bind(&mut tree, &task, &cx.task, Bond { options, seized, privileged })?;
    }
    watch_space(&task);
    Ok(task)
}

/// PTRACE_ATTACH. ESRCH, EPERM.
pub fn attach(cx: &TaskCx, tid: Pid) -> Result<()> {
    let task = begin(cx, tid, 0, false)?;
    let _ = signal::try_send_to_task(&task, SigInfo::kernel(Signal::SIGSTOP));
    // One that stands in a job-control stop comes to stand for the tracer.
    task.interrupt();
    Ok(())
}

/// PTRACE_SEIZE: `addr` must be 0 (EIO).
pub fn seize(cx: &TaskCx, tid: Pid, addr: u64, options: u64) -> Result<()> {
    if addr != 0 {
        return Err(EIO);
    }
    let options = check_options(options).map_err(|_| EIO)?;
    let task = begin(cx, tid, options, true)?;
    task.interrupt();
    Ok(())
}

/// PTRACE_SETOPTIONS.
pub fn set_options(cx: &TaskCx, tid: Pid, options: u64) -> Result<()> {
    super::stop::with_stopped(cx, tid, |t| {
        let options = check_options(options)?;
        if let Some(link) = &mut t.link {
            link.options = options;
        }
        Ok(())
    })
}

/// A new child of a tracee is traced as its maker is (`CLONE_PTRACE`, or by an option). It stops before its first instruction.
pub(crate) fn follow(tree: &mut Relations, parent: &Task, child: &Arc<Task>) {
    let of = |l: &Link| (l.tracer, Bond { options: l.options, seized: l.seized, privileged: l.privileged });
    let Some((tracer, bond)) = parent.tracing.lock().link.as_ref().map(of) else { return };
    let Some(tracer) = tree.tasks.get(&tracer).cloned() else { return };
    if bind(tree, child, &tracer, bond).is_err() {
        return;
    }
    if bond.seized {
        if let Some(l) = &mut child.tracing.lock().link {
            l.interrupt = true;
        }
        let _ = child.mark(Work::STOP);
    } else {
        child.signals.lock().pending.push(Signal::SIGSTOP, SigInfo::user(Signal::SIGSTOP, 0, 0));
        let _ = child.mark(Work::SIGNAL);
    }
}

/// Takes the bond away, under the tree's lock; a stopped tracee goes on with `signal`. [`watch_space`] follows.
fn unbind(tree: &mut Relations, task: &Arc<Task>, signal: i32) {
    let stands = {
        let mut t = task.tracing.lock();
        let Some(link) = t.link.take() else { return };
        t.debug = Default::default();
        if let Some(list) = tree.tracees.get_mut(&link.tracer_pid) {
            let tid = task.tid();
            list.retain(|(_, other)| *other != tid);
            if list.is_empty() {
                tree.tracees.remove(&link.tracer_pid);
            }
        }
        task.clear_work(Work::TRACED);
        let stands = t.stop.is_some();
        if stands {
            t.resume = Some(Resume { mode: super::Mode::Cont, signal });
        }
        stands
    };
    // What stands for job control goes on standing.
    let stopped = matches!(task.process.state.lock().job, JobState::Stopped(_));
    if stopped {
        let _ = task.mark(Work::STOP);
    }
    if stands || stopped {
        task.interrupt();
    }
}

/// PTRACE_DETACH.
pub fn detach(cx: &TaskCx, tid: Pid, signal: i32) -> Result<()> {
    if !(0..=64).contains(&signal) {
        return Err(EIO);
    }
    super::stop::with_stopped(cx, tid, |_| Ok(()))?;
    let machine = cx.machine();
    let task = machine.tree.task(tid).ok_or(ESRCH)?;
    unbind(&mut machine.tree.lock(), &task, signal);
    watch_space(&task);
    Ok(())
}

/// A tracing thread ends: its tracees go on without it, or are killed (PTRACE_O_EXITKILL).
pub fn tracer_ends(task: &Task) {
    let machine = &task.machine;
    let mut killed = Vec::new();
    let mut freed = Vec::new();
    {
        let mut tree = machine.tree.lock();
        if tree.tracees.is_empty() {
            return;
        }
        let me = task.tid();
        let mine: Vec<Pid> = tree
            .tracees
            .get(&task.pid())
            .map(|l| l.iter().filter(|(by, _)| *by == me).map(|(_, t)| *t).collect())
            .unwrap_or_default();
        for tid in mine {
            let Some(t) = tree.tasks.get(&tid).cloned() else { continue };
            let options = t.tracing.lock().link.as_ref().map_or(0, |l| l.options);
            unbind(&mut tree, &t, 0);
            if options & PTRACE_O_EXITKILL != 0 {
                killed.push(t.process.clone());
            }
            freed.push(t);
        }
    }
    for p in killed {
        signal::send_to_process(&p, SigInfo::kernel(Signal::SIGKILL));
    }
    freed.iter().for_each(|t| watch_space(t));
}

/// A thread takes over its leader's id (execve(2)), under the tree's lock.
pub fn exec_renames(tree: &mut Relations, task: &Task, old: Pid, new: Pid) {
    for (pid, list) in &mut tree.tracees {
        list.retain(|(_, t)| *t != new);
        for (by, t) in list.iter_mut() {
            if *t == old {
                *t = new;
            }
            if *pid == task.pid() && *by == old {
                *by = new;
            }
        }
    }
    let (pid, tasks) = (task.pid(), &tree.tasks);
    for (_, t) in tree.tracees.get(&pid).into_iter().flatten() {
        if let Some(t) = tasks.get(t)
            && let Some(l) = &mut t.tracing.lock().link
        {
            l.tracer = new;
        }
    }
}

/// The tracer of a task, for /proc/PID/status; 0 if there is none.
pub fn tracer_of(task: &Task) -> Pid {
    task.tracing.lock().link.as_ref().map_or(0, |l| l.tracer)
}
