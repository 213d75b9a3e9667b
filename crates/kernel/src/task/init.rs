//! The first process of a machine.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Cred, FsContext, Process, SchedParams, Task, TaskCx, TaskParts, process::RLIM_INFINITY, tree::Node,
};
use crate::{
    error::Result,
    machine::Machine,
    mm::Mm,
    signal::{SignalActions, TaskSignals},
    vfs::fdtable::FdTable,
};
use abi::{SigAction, Signal, errno::EAGAIN, sched::*};

/// Soft and hard limits of init, as Linux sets them (getrlimit(2)).
fn default_rlimits(memory: u64) -> [(u64, u64); RLIM_NLIMITS] {
    let mut l = [(RLIM_INFINITY, RLIM_INFINITY); RLIM_NLIMITS];
    let mut set = |r: u32, soft, hard| l[r as usize] = (soft, hard);
    // Linux lets threads take an eighth of memory, 16 KiB each, and a user half of these.
    let tasks = (memory / (8 * 16384) / 2).clamp(20, 1 << 22);
    set(RLIMIT_STACK, 8 << 20, RLIM_INFINITY);
    set(RLIMIT_CORE, 0, RLIM_INFINITY);
    set(RLIMIT_NPROC, tasks, tasks);
    set(RLIMIT_NOFILE, 1024, 1 << 20);
    set(RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
    set(RLIMIT_SIGPENDING, tasks, tasks);
    set(RLIMIT_MSGQUEUE, 819_200, 819_200);
    set(RLIMIT_NICE, 0, 0);
    set(RLIMIT_RTPRIO, 0, 0);
    l
}

/// What process 1 of a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitKind {
    /// The first program itself.
    Program,
    /// The kernel's own: it has no thread, reaps every orphan, and ends the machine when the first program ends. So a
    /// single command is an ordinary process that signals can kill.
    Builtin,
}

/// Puts the kernel's own init into the tree.
fn add_builtin(machine: &Arc<Machine>) -> Result<()> {
    let mut tree = machine.tree.lock();
    let pid = tree.alloc_pid().ok_or(EAGAIN)?;
    // Who ignores SIGCHLD has its children reaped at once (sigaction(2)).
    let mut actions = [SigAction::default(); 64];
    actions[Signal::SIGCHLD.index()].handler = abi::signal::SIG_IGN;
    let process = Process::new(
        pid,
        SignalActions::new(actions),
        default_rlimits(machine.config.memory),
        None,
        machine.clock.monotonic_ns(),
    );
    process.is_init.store(true, Ordering::Relaxed);
    tree.nodes.insert(pid, node(process, 0));
    Ok(())
}

fn node(process: Arc<Process>, uid: u32) -> Node {
    let pid = process.pid;
    Node {
        process,
        parent: 0,
        children: Vec::new(),
        pgid: pid,
        sid: pid,
        zombie: None,
        exit_signal: 0,
        uid,
        held: false,
        ppid_hooks: Vec::new(),
    }
}

/// Makes the first process over a new, empty guest thread. The caller execs a program in it and starts it with
/// [`super::pool::start_task`] through [`TaskCx::start`].
pub fn new_init(
    machine: &Arc<Machine>,
    kind: InitKind,
    cred: Cred,
    fs: Arc<FsContext>,
    files: Arc<FdTable>,
) -> Result<TaskCx> {
    let ctx = machine.host.new_context()?;
    let mm = Mm::new(ctx.space(), machine.memory.clone());
    let start_ns = machine.clock.monotonic_ns();
    if kind == InitKind::Builtin {
        add_builtin(machine)?;
    }
    let mut tree = machine.tree.lock();
    let pid = tree.alloc_pid().ok_or(EAGAIN)?;
    let process = Process::new(
        pid,
        SignalActions::new([Default::default(); 64]),
        default_rlimits(machine.config.memory),
        None,
        start_ns,
    );
    process.is_init.store(kind == InitKind::Program, Ordering::Relaxed);
    let uid = cred.uid;
    let task = Task::new(TaskParts {
        tid: pid,
        process: process.clone(),
        machine: machine.clone(),
        comm: b"init".to_vec(),
        mm: Some(mm.clone()),
        files: files.clone(),
        fs,
        cred: Arc::new(cred),
        signals: TaskSignals::default(),
        sched: SchedParams::default(),
        exit_signal: 0,
    });
    process.state.lock().threads.push(Arc::downgrade(&task));
    let mut first = node(process, uid);
    if kind == InitKind::Builtin {
        first.exit_signal = Signal::SIGCHLD.raw().cast_unsigned();
    }
    tree.nodes.insert(pid, first);
    if kind == InitKind::Builtin {
        tree.set_parent(pid, 1);
        machine.main_pid.store(pid, Ordering::Relaxed);
    }
    tree.tasks.insert(pid, task.clone());
    tree.user_enter(uid);
    tree.forks += 1;
    drop(tree);
    Ok(TaskCx::new(task, ctx, mm, files))
}

impl TaskCx {
    /// Lets a task made by [`new_init`] run on a host thread of its own.
    pub fn start(self) -> Result<()> {
        let machine = self.machine().clone();
        machine.tree.context_born();
        super::pool::start_task(&machine, self)
    }
}
