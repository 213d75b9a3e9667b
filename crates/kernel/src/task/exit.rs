//! How tasks and processes end.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use abi::{
    SigInfo, Signal,
    signal::{CLD_DUMPED, CLD_EXITED, CLD_KILLED, SigFields},
};

use super::{
    Pid, Process, RunState, Task, TaskCx, Work,
    process::{ExitStatus, JobState, Usage},
    tree::{Relations, Zombie},
};
use crate::{
    error::{ERESTART, Result},
    machine::{End, Machine},
    signal,
};

/// Ends the calling thread (exit(2)).
pub fn exit_thread(cx: &mut TaskCx, code: u8) {
    cx.exit_status = Some(ExitStatus::Code(code));
    cx.exiting = true;
}

/// Ends the calling process (exit_group(2)).
pub fn exit_group(cx: &mut TaskCx, code: u8) {
    cx.task.process.group_exit(ExitStatus::Code(code));
    cx.exiting = true;
}

/// Nanoseconds of life from which the resident set is looked at for `ru_maxrss`.
const WORTH_SAMPLING: u64 = 10_000_000;

/// Ends the running task: called once, on its own thread, after its run loop.
pub fn finish(mut cx: TaskCx) {
    let task = cx.task.clone();
    let machine = task.machine.clone();
    crate::coredump::join(&mut cx);
    crate::ptrace::exit_event(&mut cx);
    task.dying.store(true, Ordering::SeqCst);
    crate::ptrace::tracer_ends(&task);
    task.seccomp.leave();
    leave_memory(&mut cx);
    task.set_kicker(None);
    task.signals.lock().mask.keep_in(None);
    cx.take_back_actions();
    task.at_end.lock().keep_in(None);
    cx.keep_cpu_time();
    let usage = {
        let mut u = task.usage();
        // Asking the host costs as much as a short life does.
        let lived = machine.clock.monotonic_ns().saturating_sub(task.start_ns);
        let (private, shared) =
            if task.is_leader() && lived > WORTH_SAMPLING { cx.mm.space.resident_bytes() } else { (0, 0) };
        u.max_rss_kib = (private + shared) / 1024;
        u
    };
    *task.mm.write() = None;
    if Arc::strong_count(&cx.mm) == 1 {
        // Nobody else uses it: the host begins to take it apart before anybody is told, as Linux does.
        cx.mm.space.kill();
    }
    leave_ipc(&task);
    task.leave_files();

    let mut tracer = None;
    let ended = leave_tree(&task, cx.exit_status, usage, &mut tracer);
    if let Some(t) = tracer {
        t.wake();
    }
    task.set_run_state(RunState::Dead);
    if let Some(zombie) = ended {
        end_process(&machine, &task, zombie);
    } else {
        signal::thread_left(&task);
        // What this thread was chosen to take goes to another.
        signal::retarget(&task.process, Some(&task));
        // For the thread that waits for its siblings to end (exec), and who polls a descriptor of this one.
        task.process.child_wait.wake_all(0);
        task.process.exit_wait.wake_all(0);
    }
    drop(task);
    drop(cx);
    machine.tree.context_gone();
}

/// Shared memory is detached and semaphores are put back before anybody can learn of the end.
fn leave_ipc(task: &Task) {
    let mm_use = task.mm_use.lock().take();
    drop(mm_use);
    let undo = task.sem_undo.lock().take();
    crate::ipc::sem::leave(task, undo);
}

/// What user space is told through memory: robust futexes, the cleared thread id, a parent in vfork(2).
fn leave_memory(cx: &mut TaskCx) {
    crate::futex::leave_memory(cx);
    cx.task.release_vfork();
}

/// Takes the thread out of the tree. If it was the process's last, what is left of the process: it is no zombie yet.
fn leave_tree(
    task: &Arc<Task>,
    own: Option<ExitStatus>,
    usage: Usage,
    told: &mut Option<Told>,
) -> Option<Zombie> {
    let machine = &task.machine;
    let process = &task.process;
    let comm = task.comm.lock().clone();
    let uid = task.cred().uid;
    let mut tree = machine.tree.lock();
    let tid = task.tid();
    if task.work().contains(Work::TRACED) {
        let status = process.state.lock().group_exit.or(own).unwrap_or(ExitStatus::Code(0));
        *told = crate::ptrace::thread_ends(&mut tree, task, status, usage);
    }
    tree.tasks.remove(&tid);
    machine.tree.add_ended(&usage);
    tree.user_leave(uid);
    let (status, total) = {
        let mut s = process.state.lock();
        s.threads.retain(|t| !std::ptr::eq(Weak::as_ptr(t), Arc::as_ptr(task)));
        s.leaving -= 1;
        process.keep_io(task);
        s.own_usage += &usage;
        if tid == process.pid {
            s.leader_status = own;
        }
        if !s.threads.is_empty() {
            if let Some(node) = tree.nodes.get_mut(&process.pid) {
                node.ppid_hooks.retain(|(t, _)| *t != tid);
            }
            return None;
        }
        if matches!(s.job, JobState::Stopped(_)) {
            s.job = JobState::Running;
            machine.tree.process_continued();
        }
        let status = s.group_exit.or(s.leader_status).or(own).unwrap_or(ExitStatus::Code(0));
        (status, s.own_usage)
    };
    if let Some(node) = tree.nodes.get_mut(&process.pid) {
        node.uid = uid;
        node.ppid_hooks.clear();
    }
    Some(Zombie { status, usage: total, comm })
}

/// The process has no thread left: gives its children away, tells the terminal and the parent.
fn end_process(machine: &Arc<Machine>, task: &Arc<Task>, zombie: Zombie) {
    let process = &task.process;
    let pid = process.pid;
    let status = zombie.status;
    crate::time::process_exits(machine, process);
    if !process.is_init.load(Ordering::Relaxed) {
        crate::tty::leader_exits(machine, process);
    }

    let mut gone = Vec::new();
    let mut tree = machine.tree.lock();
    process.ended.store(true, Ordering::SeqCst);
    if let Some(node) = tree.nodes.get_mut(&pid) {
        node.zombie = Some(zombie);
    }
    let is_init = process.is_init.load(Ordering::Relaxed);
    if is_init || machine.main_pid.load(Ordering::Relaxed) == pid {
        machine.request_end(End::InitExited(status));
        if is_init {
            return;
        }
    }
    give_children_away(machine, &mut tree, pid, &mut gone);
    // The group may have lost the last member whose parent could continue it.
    if machine.tree.any_stopped() {
        let parent = tree.nodes.get(&pid).map_or(0, |n| n.parent);
        orphan_check(&tree, pid, parent);
    }
    let mut told = Vec::new();
    crate::ptrace::release_all(&mut tree, pid, &mut told);
    match crate::ptrace::process_ends(&mut tree, pid) {
        Some(t) => told.push(t),
        None => told.extend(notify_parent(&mut tree, pid, &mut gone)),
    }
    drop(tree);
    told.into_iter().for_each(Told::wake);
    process.exit_wait.wake_all(0);
    for node in gone {
        node.process.exit_wait.wake_all(0);
    }
}

/// Children go to the nearest subreaper, or to init (prctl(2)).
fn give_children_away(machine: &Machine, tree: &mut Relations, pid: Pid, gone: &mut Vec<super::tree::Node>) {
    let children = match tree.nodes.get_mut(&pid) {
        Some(n) => std::mem::take(&mut n.children),
        None => return,
    };
    if children.is_empty() {
        return;
    }
    let heir = reaper(tree, pid);
    for child in children {
        tree.set_parent(child, heir);
        let Some(node) = tree.nodes.get_mut(&child) else { continue };
        // A child given away reports as any other.
        node.exit_signal = Signal::SIGCHLD.raw().cast_unsigned();
        let process = node.process.clone();
        if node.zombie.is_some() {
            if !node.held
                && let Some(t) = notify_parent(tree, child, gone)
            {
                t.wake();
            }
            continue;
        }
        for t in process.threads() {
            let s = t.sched.lock().pdeath_signal;
            if let Some(s) = Signal::new(i32::from(s)) {
                signal::send_to_task(&t, SigInfo::user(s, pid, 0));
            }
        }
        if machine.tree.any_stopped() {
            orphan_check(tree, child, pid);
        }
    }
}

/// Who takes over the children of `pid`.
fn reaper(tree: &Relations, pid: Pid) -> Pid {
    let mut at = pid;
    // The chain is as long as the tree is deep; it ends at init.
    while let Some(node) = tree.nodes.get(&at) {
        let parent = node.parent;
        let Some(p) = tree.nodes.get(&parent) else { break };
        if p.zombie.is_none() && p.process.state.lock().child_subreaper {
            return parent;
        }
        at = parent;
    }
    1
}

/// `pid` no longer has `parent`: tells its group SIGHUP and SIGCONT if this parent was the last who could continue stopped
/// members (setpgid(2)). A group that had no such parent before is left alone.
fn orphan_check(tree: &Relations, pid: Pid, parent: Pid) {
    let (Some(node), Some(parent)) = (tree.nodes.get(&pid), tree.nodes.get(&parent)) else { return };
    let pgid = node.pgid;
    if parent.pgid == pgid || parent.sid != node.sid {
        return;
    }
    if !super::groups::is_orphaned(tree, pgid) || !super::groups::has_stopped(tree, pgid) {
        return;
    }
    for p in tree.group(pgid) {
        signal::send_to_process(&p, SigInfo::kernel(Signal::SIGHUP));
        signal::send_to_process(&p, SigInfo::kernel(Signal::SIGCONT));
    }
}

/// The siginfo that tells of an end.
fn exit_info(signo: Signal, pid: Pid, uid: u32, z: &Zombie) -> SigInfo {
    SigInfo { signo: signo.raw(), ..end_info(pid, uid, z.status, &z.usage) }
}

/// The record of SIGCHLD for an end.
pub(crate) fn end_info(pid: Pid, uid: u32, status: ExitStatus, usage: &Usage) -> SigInfo {
    let (code, status) = match status {
        ExitStatus::Code(c) => (CLD_EXITED, i32::from(c)),
        ExitStatus::Signal { signo, core } => (if core { CLD_DUMPED } else { CLD_KILLED }, i32::from(signo)),
    };
    let ticks = |ns: u64| (ns / 10_000_000).cast_signed();
    let fields =
        SigFields::Chld { pid, uid, status, utime: ticks(usage.user_ns), stime: ticks(usage.system_ns) };
    SigInfo::new(Signal::SIGCHLD, code, fields)
}

/// Who is to be woken after an end, when no lock is held.
pub(crate) struct Told {
    pub(crate) parent: Arc<Process>,
    /// The thread that takes the signal.
    pub(crate) taker: Option<Arc<Task>>,
    /// Processes that were forgotten with this.
    pub(crate) gone: Vec<super::tree::Node>,
}

impl Told {
    pub(crate) fn wake(self) {
        if let Some(t) = self.taker {
            t.interrupt();
        }
        self.parent.child_wait.wake_all(0);
        for node in self.gone {
            node.process.exit_wait.wake_all(0);
        }
    }
}

/// Sends the exit signal of a zombie to its parent. A parent that ignores SIGCHLD reaps at once: the node goes to `gone`.
pub(crate) fn notify_parent(
    tree: &mut Relations,
    pid: Pid,
    gone: &mut Vec<super::tree::Node>,
) -> Option<Told> {
    let node = tree.nodes.get(&pid)?;
    let zombie = node.zombie.clone()?;
    let parent = tree.nodes.get(&node.parent)?.process.clone();
    let signo = Signal::new(node.exit_signal.cast_signed());
    let (uid, mut reap) = (node.uid, false);
    let mut taker = None;
    if let Some(s) = signo {
        let (ignored, no_wait) =
            if s == Signal::SIGCHLD { signal::child_policy(&parent) } else { (false, false) };
        reap = ignored || no_wait;
        if !ignored {
            taker = signal::queue_for_process(&parent, exit_info(s, pid, uid, &zombie)).unwrap_or(None);
        }
    }
    if reap {
        gone.extend(tree.forget(pid));
    }
    Some(Told { parent, taker, gone: Vec::new() })
}

/// Ends all other threads of the process and waits for them; the caller becomes the leader with its id (execve(2)).
/// [`ERESTART`] if the process is being ended by another thread.
pub fn kill_other_threads(cx: &mut TaskCx) -> Result<()> {
    let me = cx.task.clone();
    let process = me.process.clone();
    let others: Vec<Arc<Task>> = {
        let mut s = process.state.lock();
        if s.group_exit.is_some() || s.exec_by.is_some() {
            return Err(ERESTART);
        }
        if s.threads.len() == 1 && me.is_leader() {
            return Ok(());
        }
        s.exec_by = Some(me.tid());
        s.threads.iter().filter_map(Weak::upgrade).filter(|t| !Arc::ptr_eq(t, &me)).collect()
    };
    for t in &others {
        t.dying.store(true, Ordering::SeqCst);
        t.post(Work::EXIT);
    }
    drop(others);
    let alone =
        me.wait_killable(&process.child_wait, || (process.state.lock().threads.len() == 1).then_some(()));
    let mut tree = me.machine.tree.lock();
    let mut s = process.state.lock();
    s.exec_by = None;
    alone?;
    s.leader_status = None;
    s.leader_tracer = None;
    drop(s);
    if !me.is_leader() {
        let old = me.tid();
        tree.tasks.remove(&old);
        me.set_tid(process.pid);
        tree.tasks.insert(process.pid, me.clone());
        crate::ptrace::exec_renames(&mut tree, &me, old, process.pid);
        if let Some(node) = tree.nodes.get_mut(&process.pid) {
            for h in &mut node.ppid_hooks {
                h.0 = process.pid;
            }
            me.exit_signal.store(node.exit_signal, Ordering::Relaxed);
        }
        drop(tree);
        cx.update_fast_ids();
    }
    Ok(())
}

impl Machine {
    /// Ends every task and waits until their guest threads are gone, for at most `patience`. True if they are.
    pub fn end_tasks(&self, patience: Duration) -> bool {
        if self.freezer.is_frozen() {
            self.freezer.go(self);
        }
        let deadline =
            self.clock.monotonic_ns().saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
        let waiter = Arc::new(ksync::Waiter::new());
        waiter.attach();
        let token = self.tree.idle.add(waiter.clone());
        let done = loop {
            waiter.clear();
            if self.tree.contexts() == 0 {
                break true;
            }
            if self.clock.monotonic_ns() >= deadline {
                break false;
            }
            // Again each time: tasks may be born while others are ended.
            for t in self.tree.tasks() {
                t.process.group_exit(ExitStatus::Signal { signo: 9, core: false });
                t.post(Work::EXIT);
            }
            waiter.park(Some(Duration::from_millis(20)));
        };
        self.tree.idle.remove(token);
        done
    }
}
