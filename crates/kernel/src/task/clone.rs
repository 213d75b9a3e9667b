//! New tasks: fork(2), vfork(2), clone(2).

use std::sync::{Arc, Weak, atomic::Ordering};

use abi::{
    cap::CAP_CHECKPOINT_RESTORE,
    errno::{EAGAIN, EEXIST, EINVAL, EPERM},
    sched::*,
    signal::{SIG_DFL, SIG_IGN, SigAction},
};

use hal::EndWord;

use super::{
    Pid, Process, SchedParams, Task, TaskCx, TaskParts, Work,
    pool::start_task,
    process::JobState,
    tree::{Node, Relations},
    vfork::Gate,
};
use crate::{
    error::{ERESTART, Result},
    mm::Mm,
    signal::{Mask, Pending, SignalActions, TaskSignals},
    vfs::fdtable::FdTable,
};

/// What clone(2) and clone3(2) ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs {
    /// `CLONE_*` without the signal.
    pub flags: u64,
    pub exit_signal: u32,
    /// The child's stack pointer; 0 keeps the parent's.
    pub stack: u64,
    pub tls: u64,
    pub parent_tid: u64,
    pub child_tid: u64,
    /// Where the number of the new pidfd goes (CLONE_PIDFD).
    pub pidfd: u64,
    /// The id that the new task is to have (clone3(2) `set_tid`); `None` for any.
    pub wanted_tid: Option<Pid>,
}

const NAMESPACES: u64 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWTIME;

/// Refuses combinations as clone(2) says; there are no namespaces to unshare.
fn check(cx: &TaskCx, a: &CloneArgs) -> Result<()> {
    let has = |f| a.flags & f != 0;
    if has(CLONE_SIGHAND) && (!has(CLONE_VM) || has(CLONE_CLEAR_SIGHAND))
        || has(CLONE_THREAD) && !has(CLONE_SIGHAND)
        || has(CLONE_FS) && has(CLONE_NEWNS | CLONE_NEWUSER)
        || has(CLONE_THREAD) && has(CLONE_NEWUSER | CLONE_NEWPID)
        || has(CLONE_INTO_CGROUP)
    {
        return Err(EINVAL);
    }
    if has(CLONE_PARENT) && cx.task.process.is_init.load(Ordering::Relaxed) {
        return Err(EINVAL);
    }
    check_namespaces(cx, a.flags)
}

/// The errno of a kernel without namespaces, for clone(2), unshare(2).
pub fn check_namespaces(cx: &TaskCx, flags: u64) -> Result<()> {
    let wanted = flags & NAMESPACES;
    if wanted == 0 {
        return Ok(());
    }
    if wanted & CLONE_NEWUSER == 0 && !cx.cred().has(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    Err(EINVAL)
}

/// Creates a task; its thread id in the caller's eyes.
pub fn clone(cx: &mut TaskCx, a: &CloneArgs) -> Result<Pid> {
    check(cx, a)?;
    let has = |f| a.flags & f != 0;

    let mut regs = cx.ctx.regs();
    regs.rax = 0;
    if a.stack != 0 {
        regs.rsp = a.stack;
    }
    if has(CLONE_SETTLS) {
        regs.fs_base = a.tls;
    }
    if has(CLONE_SIGHAND) {
        cx.take_back_actions();
    }
    let files = if has(CLONE_FILES) { cx.files.clone() } else { cx.files.fork() };
    let (mm, ctx) = if has(CLONE_VM) {
        (cx.mm.clone(), cx.ctx.spawn_thread(&regs)?)
    } else {
        let mm = cx.mm.clone();
        mm.fork(&mut *cx.ctx, &regs)?
    };
    let gate = has(CLONE_VFORK).then(|| Arc::new(Gate::default()));

    let task = register(cx, a, mm.clone(), files.clone())?;
    let tid = task.tid();
    task.vfork.lock().clone_from(&gate);
    if has(CLONE_CHILD_CLEARTID) {
        task.at_end.lock().set(EndWord::ClearTid, a.child_tid);
    }
    let mut child = TaskCx::new(task, ctx, mm, files);
    child.wants_actions = cx.actions_lent;
    if has(CLONE_PIDFD)
        && let Err(e) = give_pidfd(cx, a, &child.task)
    {
        unregister(&child.task);
        return Err(e);
    }
    let traced = cx.task.work().contains(Work::TRACED);
    if traced && !has(CLONE_VM) {
        // Untraced, it need not be kept from running fast.
        crate::ptrace::watch_space(&child.task);
    }
    launch(cx, a, child, tid)?;
    if traced {
        crate::ptrace::clone_event(cx, a, tid);
    }
    if let Some(gate) = gate {
        cx.task.wait_vfork(&gate);
        crate::ptrace::vfork_done(cx, tid);
    }
    Ok(tid)
}

fn give_pidfd(cx: &mut TaskCx, a: &CloneArgs, child: &Arc<Task>) -> Result<()> {
    let thread = (a.flags & CLONE_THREAD != 0).then(|| child.clone());
    let fd = super::pidfd::open(cx, child.process.clone(), thread, false)?;
    if let Err(e) = cx.write_u32(a.pidfd, fd.cast_unsigned()) {
        let files = cx.files.clone();
        if let Ok(file) = files.remove(fd) {
            crate::vfs::fdtable::close(&cx.task, &files, file);
        }
        return Err(e);
    }
    Ok(())
}

/// Writes the thread ids where they were asked for and lets the child run.
fn launch(cx: &mut TaskCx, a: &CloneArgs, mut child: TaskCx, tid: Pid) -> Result<()> {
    let has = |f| a.flags & f != 0;
    // As in Linux, addresses that cannot be written are the program's affair.
    if has(CLONE_PARENT_SETTID) {
        let _ = cx.write_u32(a.parent_tid, tid.cast_unsigned());
    }
    if has(CLONE_CHILD_SETTID) {
        let _ = child.write_u32(a.child_tid, tid.cast_unsigned());
    }
    // The child may look for them.
    cx.ctx.flush();
    let task = child.task.clone();
    let machine = cx.machine().clone();
    machine.tree.context_born();
    if let Err(e) = start_task(&machine, child) {
        machine.tree.context_gone();
        unregister(&task);
        return Err(e);
    }
    Ok(())
}

/// RLIMIT_NPROC (getrlimit(2)).
fn check_limit(cx: &TaskCx, r: &Relations) -> Result<()> {
    let cred = cx.cred();
    let limit = cx.task.process.rlimit(RLIMIT_NPROC as usize);
    if u64::from(r.user_tasks(cred.uid)) >= limit
        && cred.uid != 0
        && !cred.has(CAP_SYS_RESOURCE)
        && !cred.has(CAP_SYS_ADMIN)
    {
        return Err(EAGAIN);
    }
    Ok(())
}

/// Puts the child into the tree. [`ERESTART`] if a signal came first: it must not be lost between parent and child.
fn register(cx: &TaskCx, a: &CloneArgs, mm: Arc<Mm>, files: Arc<FdTable>) -> Result<Arc<Task>> {
    let has = |f| a.flags & f != 0;
    let me = &cx.task;
    let fs = if has(CLONE_FS) { me.fs() } else { me.fs().fork() };
    let (mask, mut alt_stack) = {
        let s = me.signals.lock();
        (s.mask.get(), s.alt_stack)
    };
    if has(CLONE_VM) && !has(CLONE_VFORK) {
        alt_stack = Default::default();
    }
    let cred = cx.cred();
    let comm = me.comm.lock().clone();
    let sched = child_sched(*me.sched.lock());
    let actions = if has(CLONE_THREAD) { None } else { Some(child_actions(&me.process, a.flags)) };
    let rlimits = *me.process.rlimits.lock();
    let tty = me.process.tty.lock().clone();
    let start_ns = cx.machine().clock.monotonic_ns();

    let mut tree = cx.machine().tree.lock();
    if me.work().intersects(Work::SIGNAL | Work::EXIT) {
        return Err(ERESTART);
    }
    check_limit(cx, &tree)?;
    if tree.tasks.len() as u64 >= cx.machine().tunables.threads_max.load(Ordering::Relaxed) {
        return Err(EAGAIN);
    }
    let tid = match a.wanted_tid {
        None => tree.alloc_pid().ok_or(EAGAIN)?,
        Some(t) if t < 1 || t >= tree.pid_max => return Err(EINVAL),
        Some(_) if !cred.has(CAP_SYS_ADMIN) && !cred.has(CAP_CHECKPOINT_RESTORE) => return Err(EPERM),
        Some(t) if tree.is_free(t) => t,
        Some(_) => return Err(EEXIST),
    };
    let process = match actions {
        None => me.process.clone(),
        Some(actions) => {
            let p = Process::new(tid, actions, rlimits, tty, start_ns);
            let parent = me.process.state.lock();
            let mut child = p.state.lock();
            child.dumpable = parent.dumpable;
            drop(child);
            p.inherit(&me.process);
            p
        }
    };
    // A sibling tells the common parent as its maker will (clone(2)): nobody chooses what a parent is sent that is not his.
    let exit_signal = match tree.nodes.get(&me.pid()) {
        _ if has(CLONE_THREAD) => 0,
        Some(mine) if has(CLONE_PARENT) => mine.exit_signal,
        _ => a.exit_signal,
    };
    let parts = TaskParts {
        tid,
        process: process.clone(),
        machine: cx.machine().clone(),
        comm,
        mm: Some(mm),
        files,
        fs,
        cred: cred.clone(),
        signals: TaskSignals {
            mask: Mask::new(mask),
            pending: Pending::default(),
            alt_stack,
            ..TaskSignals::default()
        },
        sched,
        exit_signal,
    };
    let task = Task::new(parts);
    *task.ipc.write() = me.ipc();
    if has(CLONE_SYSVSEM) {
        crate::ipc::sem::share_undo(me, &task);
    }
    {
        let mut s = process.state.lock();
        if s.group_exit.is_some() || s.exec_by.is_some() {
            // Killed on the way: the thread must not be born.
            return Err(ERESTART);
        }
        if matches!(s.job, JobState::Stopped(_)) {
            task.post(Work::STOP);
        }
        task.seccomp.inherit(&me.seccomp);
        s.threads.push(Arc::downgrade(&task));
    }
    if !has(CLONE_THREAD) {
        let mine = tree.nodes.get(&me.pid()).map(|n| (n.pgid, n.sid, n.parent));
        let (pgid, sid, grand) = mine.unwrap_or((tid, tid, 1));
        let parent = if has(CLONE_PARENT) { grand } else { me.pid() };
        tree.nodes.insert(
            tid,
            Node {
                process,
                parent,
                children: Vec::new(),
                pgid,
                sid,
                zombie: None,
                exit_signal,
                uid: cred.uid,
                held: false,
                ppid_hooks: Vec::new(),
            },
        );
        if let Some(p) = tree.nodes.get_mut(&parent) {
            p.children.push(tid);
        }
    }
    tree.tasks.insert(tid, task.clone());
    if me.work().contains(Work::TRACED) {
        crate::ptrace::clone_follow(&mut tree, me, &task, a);
    }
    tree.user_enter(cred.uid);
    tree.forks += 1;
    Ok(task)
}

/// Takes a child back out of the tree that could not be started.
fn unregister(task: &Arc<Task>) {
    task.leave_files();
    let mut tree = task.machine.tree.lock();
    tree.tasks.remove(&task.tid());
    tree.user_leave(task.cred().uid);
    if task.is_leader() {
        tree.forget(task.tid());
    }
    let mut s = task.process.state.lock();
    s.threads.retain(|t| !std::ptr::eq(Weak::as_ptr(t), Arc::as_ptr(task)));
}

fn child_sched(parent: SchedParams) -> SchedParams {
    let mut s = SchedParams { pdeath_signal: 0, ..parent };
    if s.reset_on_fork {
        s.reset_on_fork = false;
        s.nice = s.nice.max(0);
        if matches!(s.policy.cast_signed(), SCHED_FIFO | SCHED_RR | SCHED_DEADLINE) {
            s.policy = 0;
            s.priority = 0;
        }
    }
    s
}

fn child_actions(parent: &Process, flags: u64) -> Arc<SignalActions> {
    let shared = parent.actions.read().clone();
    if flags & CLONE_SIGHAND != 0 {
        return shared;
    }
    let mut table = shared.snapshot();
    if flags & CLONE_CLEAR_SIGHAND != 0 {
        for action in &mut table {
            if action.handler != SIG_IGN && action.handler != SIG_DFL {
                *action = SigAction::default();
            }
        }
    }
    SignalActions::new(table)
}
