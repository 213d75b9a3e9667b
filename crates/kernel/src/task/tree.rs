//! The pid table and the family tree: parents, children, process groups, sessions, zombies.
//!
//! One lock per machine ([`crate::locks::TASK_TREE`]) guards all relations, so that fork, exit, wait, setpgid and group
//! signals see one consistent picture. It is never held while waiting.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use ksync::{Mutex, MutexGuard, WaitQueue};

use super::{
    Pid, Process, Task,
    process::{ExitStatus, Usage},
};
use crate::locks;

/// Highest pid by default (/proc/sys/kernel/pid_max).
pub const PID_MAX_DEFAULT: Pid = 4_194_304;

/// A process's place in the tree.
pub struct Node {
    pub process: Arc<Process>,
    /// 0 for init.
    pub parent: Pid,
    pub children: Vec<Pid>,
    pub pgid: Pid,
    pub sid: Pid,
    /// Set when all threads have ended and nobody has waited yet.
    pub zombie: Option<Zombie>,
    /// Signal for the parent at the end.
    pub exit_signal: u32,
    /// Real user id at the end or now (for SIGCHLD's si_uid and kill permission of zombies).
    pub uid: u32,
    /// A tracer that is not the parent is to wait for its end first (ptrace(2)).
    pub(crate) held: bool,
    /// Updates the parent id that the stub of each thread answers (by thread id).
    pub(super) ppid_hooks: Vec<(Pid, PpidHook)>,
}

/// Tells a stub its task's new parent.
pub(super) type PpidHook = Arc<dyn Fn(u32) + Send + Sync>;

/// What is left of an ended process.
#[derive(Clone, Debug)]
pub struct Zombie {
    pub status: ExitStatus,
    pub usage: Usage,
    pub comm: Vec<u8>,
}

/// All relations, under one lock.
pub struct Relations {
    pub nodes: BTreeMap<Pid, Node>,
    pub tasks: HashMap<Pid, Arc<Task>>,
    /// Who is traced by a thread of a process: tracing thread and tracee.
    pub(crate) tracees: BTreeMap<Pid, Vec<(Pid, Pid)>>,
    /// Ends of tracees that a process has not waited for.
    pub(crate) trace_ends: BTreeMap<Pid, Vec<crate::ptrace::Ended>>,
    /// Tracers, and those of their tracees that have left while their process's end is still to be told.
    pub(crate) trace_leaving: Vec<(Pid, Pid)>,
    next_pid: Pid,
    pub pid_max: Pid,
    /// Tasks ever created (for /proc/stat `processes`).
    pub forks: u64,
    /// Tasks per real user (RLIMIT_NPROC).
    per_user: HashMap<u32, u32>,
}

/// The machine's tasks.
pub struct TaskTree {
    inner: Mutex<Relations>,
    /// Tasks whose guest thread still exists: outlives the task's entry by the time its end takes.
    contexts: AtomicUsize,
    /// Processes stopped now, so that ends need not look for them where there are none.
    stopped: AtomicUsize,
    /// Processor time of tasks that have ended: user and system nanoseconds.
    ended_ns: [AtomicU64; 2],
    /// Woken when `contexts` falls to 0.
    pub(super) idle: WaitQueue,
}

impl Default for TaskTree {
    fn default() -> Self {
        TaskTree {
            inner: Mutex::new(
                locks::TASK_TREE,
                Relations {
                    nodes: BTreeMap::new(),
                    tasks: HashMap::new(),
                    tracees: BTreeMap::new(),
                    trace_ends: BTreeMap::new(),
                    trace_leaving: Vec::new(),
                    next_pid: 1,
                    pid_max: PID_MAX_DEFAULT,
                    forks: 0,
                    per_user: HashMap::new(),
                },
            ),
            contexts: AtomicUsize::new(0),
            ended_ns: [const { AtomicU64::new(0) }; 2],
            stopped: AtomicUsize::new(0),
            idle: WaitQueue::new(),
        }
    }
}

impl TaskTree {
    pub fn lock(&self) -> MutexGuard<'_, Relations> {
        self.inner.lock()
    }
    pub fn task(&self, tid: Pid) -> Option<Arc<Task>> {
        self.lock().tasks.get(&tid).cloned()
    }
    /// A task to reach into. ESRCH if there is none, EPERM for the kernel's own process 1, which has no thread.
    pub fn target(&self, tid: Pid) -> crate::error::Result<Arc<Task>> {
        let tree = self.lock();
        match (tree.tasks.get(&tid), tree.nodes.get(&tid)) {
            (Some(task), _) => Ok(task.clone()),
            (None, Some(node)) if node.process.is_init.load(Ordering::Relaxed) => Err(abi::errno::EPERM),
            _ => Err(abi::errno::ESRCH),
        }
    }
    pub fn process(&self, pid: Pid) -> Option<Arc<Process>> {
        self.lock().nodes.get(&pid).map(|n| n.process.clone())
    }
    /// All live tasks now.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.lock().tasks.values().cloned().collect()
    }
    /// Guest threads that exist now, ending ones included.
    pub fn contexts(&self) -> usize {
        self.contexts.load(Ordering::SeqCst)
    }
    /// User and system nanoseconds of all tasks that have ended.
    pub fn ended_cpu_ns(&self) -> (u64, u64) {
        (self.ended_ns[0].load(Ordering::Relaxed), self.ended_ns[1].load(Ordering::Relaxed))
    }
    pub(super) fn add_ended(&self, u: &Usage) {
        self.ended_ns[0].fetch_add(u.user_ns, Ordering::Relaxed);
        self.ended_ns[1].fetch_add(u.system_ns, Ordering::Relaxed);
    }
    /// Some process is stopped.
    pub(super) fn any_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst) != 0
    }
    pub(crate) fn process_stopped(&self) {
        self.stopped.fetch_add(1, Ordering::SeqCst);
    }
    pub(crate) fn process_continued(&self) {
        self.stopped.fetch_sub(1, Ordering::SeqCst);
    }
    pub(super) fn context_born(&self) {
        self.contexts.fetch_add(1, Ordering::SeqCst);
    }
    pub(super) fn context_gone(&self) {
        if self.contexts.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.idle.wake_all(0);
        }
    }
    /// The parent's process id as getppid(2) tells it; 0 for init.
    pub fn ppid(&self, pid: Pid) -> Pid {
        self.lock().nodes.get(&pid).map_or(0, |n| n.parent)
    }
    pub fn pgid(&self, pid: Pid) -> Option<Pid> {
        self.lock().nodes.get(&pid).map(|n| n.pgid)
    }
    pub fn sid(&self, pid: Pid) -> Option<Pid> {
        self.lock().nodes.get(&pid).map(|n| n.sid)
    }
}

impl Relations {
    /// A free id that is no task, process, group or session. `None` when all are taken (EAGAIN).
    pub fn alloc_pid(&mut self) -> Option<Pid> {
        for _ in 0..self.pid_max {
            let pid = self.next_pid;
            self.next_pid = if pid + 1 >= self.pid_max { 300 } else { pid + 1 };
            if self.is_unused(pid) && !self.id_in_use(pid) {
                return Some(pid);
            }
        }
        None
    }

    fn is_unused(&self, pid: Pid) -> bool {
        !self.tasks.contains_key(&pid) && !self.nodes.contains_key(&pid)
    }

    /// Nothing has this id, which was not chosen by counting up.
    pub(super) fn is_free(&self, id: Pid) -> bool {
        self.is_unused(id) && !self.nodes.values().any(|n| n.pgid == id || n.sid == id)
    }

    fn id_in_use(&self, id: Pid) -> bool {
        // Ids wrap only after pid_max forks; before that no group can have a fresh id.
        self.forks >= self.pid_max as u64 && self.nodes.values().any(|n| n.pgid == id || n.sid == id)
    }

    /// Counts a task of a real user.
    pub(super) fn user_enter(&mut self, uid: u32) {
        *self.per_user.entry(uid).or_insert(0) += 1;
    }
    /// Takes a task of a real user out of the count.
    pub(super) fn user_leave(&mut self, uid: u32) {
        if let Some(n) = self.per_user.get_mut(&uid) {
            *n -= 1;
            if *n == 0 {
                self.per_user.remove(&uid);
            }
        }
    }
    /// Tasks of a real user.
    pub fn user_tasks(&self, uid: u32) -> u32 {
        self.per_user.get(&uid).copied().unwrap_or(0)
    }

    /// Moves a process below another parent and tells its stubs.
    pub(super) fn set_parent(&mut self, child: Pid, parent: Pid) {
        let Some(node) = self.nodes.get_mut(&child) else { return };
        node.parent = parent;
        for (_, hook) in &node.ppid_hooks {
            hook(parent.cast_unsigned());
        }
        if let Some(p) = self.nodes.get_mut(&parent) {
            p.children.push(child);
        }
    }

    /// Removes an ended process for good. Its children have been given away.
    pub(super) fn forget(&mut self, pid: Pid) -> Option<Node> {
        let node = self.nodes.remove(&pid)?;
        if let Some(p) = self.nodes.get_mut(&node.parent)
            && let Some(i) = p.children.iter().position(|c| *c == pid)
        {
            p.children.swap_remove(i);
        }
        Some(node)
    }

    /// Processes of a group, zombies included.
    pub fn group(&self, pgid: Pid) -> Vec<Arc<Process>> {
        self.nodes.values().filter(|n| n.pgid == pgid).map(|n| n.process.clone()).collect()
    }
}
