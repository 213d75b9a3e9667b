//! The pid table and the family tree: parents, children, process groups, sessions, zombies.
//!
//! One lock per machine ([`crate::locks::TASK_TREE`]) guards all relations, so that fork, exit, wait, setpgid and group
//! signals see one consistent picture. It is never held while waiting.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ksync::{Mutex, MutexGuard};

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
}

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
    next_pid: Pid,
    pub pid_max: Pid,
    /// Tasks ever created (for /proc/stat `processes`).
    pub forks: u64,
}

/// The machine's tasks.
pub struct TaskTree {
    inner: Mutex<Relations>,
}

impl Default for TaskTree {
    fn default() -> Self {
        TaskTree {
            inner: Mutex::new(
                locks::TASK_TREE,
                Relations {
                    nodes: BTreeMap::new(),
                    tasks: HashMap::new(),
                    next_pid: 1,
                    pid_max: PID_MAX_DEFAULT,
                    forks: 0,
                },
            ),
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
    pub fn process(&self, pid: Pid) -> Option<Arc<Process>> {
        self.lock().nodes.get(&pid).map(|n| n.process.clone())
    }
    /// All live tasks now.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.lock().tasks.values().cloned().collect()
    }
}

impl Relations {
    /// A free id that is no task, process, group or session. `None` when all are taken (EAGAIN).
    pub fn alloc_pid(&mut self) -> Option<Pid> {
        for _ in 0..self.pid_max {
            let pid = self.next_pid;
            self.next_pid = if pid + 1 >= self.pid_max { 300 } else { pid + 1 };
            if !self.tasks.contains_key(&pid) && !self.nodes.contains_key(&pid) && !self.id_in_use(pid) {
                return Some(pid);
            }
        }
        None
    }

    fn id_in_use(&self, id: Pid) -> bool {
        // Ids wrap only after pid_max forks; before that no group can have a fresh id.
        self.forks >= self.pid_max as u64 && self.nodes.values().any(|n| n.pgid == id || n.sid == id)
    }

    /// Processes of a group, zombies included.
    pub fn group(&self, pgid: Pid) -> Vec<Arc<Process>> {
        self.nodes.values().filter(|n| n.pgid == pgid).map(|n| n.process.clone()).collect()
    }
}
