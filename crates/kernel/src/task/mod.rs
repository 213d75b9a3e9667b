//! Tasks: what a guest thread is to the kernel.
//!
//! [`Task`] is what others may see of a thread, behind locks; [`TaskCx`] is what only its own host thread touches and
//! passes down. There is no `current()`. A [`Process`] is a thread group. Relations between them (parents, groups,
//! sessions, the pid table) are kept by the [`tree::TaskTree`] of the machine.
//!
//! Neighbours: [`crate::signal`] posts work to tasks, [`crate::mm`] and [`crate::vfs`] own what a task points at.

pub mod clone;
pub mod cpu_time;
pub mod cred;
pub mod cx;
pub mod endless;
mod ends;
pub mod exec;
mod exec_args;
mod exec_cred;
pub(crate) mod exec_image;
mod exec_stack;
pub mod exit;
pub mod fs_context;
pub mod groups;
mod in_call;
pub mod init;
pub mod lent;
pub mod pidfd;
pub mod pool;
pub mod process;
mod queues;
pub mod run;
pub mod tree;
pub mod vfork;
pub mod wait;
pub mod work;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use abi::{Errno, signal::SigInfo};
use hal::Kicker;
use ksync::{Mutex, RwLock, WaitQueue, Waiter};
use smallvec::SmallVec;

pub use cred::Cred;
pub use cx::TaskCx;
pub use fs_context::FsContext;
pub use in_call::Standing;
pub use process::Process;
pub use work::Work;

use crate::{
    error::{ERESTART, Result},
    futex::AtEnd,
    ipc::{IpcNs, sem::SemUndo},
    locks,
    machine::Machine,
    mm::{Mm, MmUse},
    signal::TaskSignals,
    vfs::fdtable::FdTable,
};

/// Process, thread, group and session ids.
pub type Pid = i32;

/// What /proc shows as the state letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RunState {
    Running = b'R',
    Sleeping = b'S',
    Stopped = b'T',
    Tracing = b't',
    Zombie = b'Z',
    Dead = b'X',
}

/// Counters that the run loop and the wait primitive keep, once for everybody.
#[derive(Default)]
pub struct TaskStats {
    pub syscalls: AtomicU64,
    pub faults: AtomicU64,
    pub major_faults: AtomicU64,
    pub waits: AtomicU64,
    /// Time spent waiting; kept only for a meter.
    pub waited_ns: AtomicU64,
    pub preemptions: AtomicU64,
    /// User and system nanoseconds, sampled when the task enters the kernel for a reason that is not hot, and at its end.
    pub user_ns: AtomicU64,
    pub system_ns: AtomicU64,
    /// Bytes read and written, calls that read and wrote.
    pub io: [AtomicU64; 4],
}

/// One guest thread.
pub struct Task {
    /// Immutable, except that a thread that execs takes the leader's id (then this is changed under the tree's lock).
    tid: AtomicU32,
    pub process: Arc<Process>,
    pub machine: Arc<Machine>,
    /// What this task sleeps on.
    pub waiter: Arc<Waiter>,
    work: AtomicU32,
    state: AtomicU32,
    /// Interrupts guest code; replaced on exec.
    kicker: Mutex<Option<Arc<dyn Kicker>>>,
    /// Shown as the name (prctl PR_SET_NAME, at most 15 bytes).
    pub comm: Mutex<Vec<u8>>,
    pub mm: RwLock<Option<Arc<Mm>>>,
    /// Counts it among those that run in `mm`.
    pub(crate) mm_use: Mutex<Option<MmUse>>,
    /// The IPC namespace.
    pub ipc: RwLock<Arc<IpcNs>>,
    /// What semop(2) undoes when the last task that shares it ends.
    pub(crate) sem_undo: Mutex<Option<Arc<SemUndo>>>,
    pub files: RwLock<Option<Arc<FdTable>>>,
    pub fs: RwLock<Arc<FsContext>>,
    pub cred: RwLock<Arc<Cred>>,
    pub signals: Mutex<TaskSignals>,
    /// set_robust_list(2), set_tid_address(2).
    pub at_end: Mutex<AtEnd>,
    /// Monotonic nanoseconds when it began.
    pub start_ns: u64,
    pub stats: TaskStats,
    /// Stands parked at its boundary (machine stopped).
    parked: AtomicBool,
    /// Gives EAGAIN instead of waiting ([`Task::without_waiting`]).
    impatient: AtomicBool,
    /// Asked to end (exit_group, fatal signal, exec by a sibling).
    pub dying: AtomicBool,
    /// Signal to the parent when this child ends (clone(2)); 0 for none; threads have none.
    pub exit_signal: AtomicU32,
    /// Told when this task no longer runs on its parent's memory (vfork(2)).
    pub(crate) vfork: Mutex<Option<Arc<vfork::Gate>>>,
    /// Odd while its guest code has a file on loan.
    pub(crate) lent: AtomicU32,
    /// Reads the host's account of this thread's processor time; `None` before its first run.
    pub(crate) cpu_clock: Mutex<Option<Arc<dyn hal::CpuClock>>>,
    /// The system call that it is in.
    pub(crate) in_call: in_call::InCall,
    /// What its system calls are confined to.
    pub seccomp: crate::seccomp::Seccomp,
    /// Being traced (ptrace(2)).
    pub(crate) tracing: Mutex<crate::ptrace::Tracing>,
    /// Parts owned by other rooms, each behind its own lock: parent-death signal, nice, affinity, timers slack.
    pub sched: Mutex<SchedParams>,
}

/// Scheduling parameters (sched(7)): kept and shown; the host's scheduler decides.
#[derive(Clone, Copy, Debug)]
pub struct SchedParams {
    pub policy: u32,
    pub priority: i32,
    pub nice: i32,
    /// Processors allowed, one bit each.
    pub affinity: u64,
    pub reset_on_fork: bool,
    pub timer_slack_ns: u64,
    pub pdeath_signal: u8,
    pub no_new_privs: bool,
    pub keep_caps: bool,
    /// Robust-list length, rseq area and the like live with their rooms.
    pub ioprio: i32,
}

impl Default for SchedParams {
    fn default() -> Self {
        SchedParams {
            policy: 0,
            priority: 0,
            nice: 0,
            affinity: u64::MAX,
            reset_on_fork: false,
            timer_slack_ns: 50_000,
            pdeath_signal: 0,
            no_new_privs: false,
            keep_caps: false,
            ioprio: 0,
        }
    }
}

/// What a new task starts from.
pub struct TaskParts {
    pub tid: Pid,
    pub process: Arc<Process>,
    pub machine: Arc<Machine>,
    pub comm: Vec<u8>,
    pub mm: Option<Arc<Mm>>,
    pub files: Arc<FdTable>,
    pub fs: Arc<FsContext>,
    pub cred: Arc<Cred>,
    pub signals: TaskSignals,
    pub sched: SchedParams,
    pub exit_signal: u32,
}

impl Task {
    pub fn new(p: TaskParts) -> Arc<Task> {
        let start_ns = p.machine.clock.monotonic_ns();
        let mm_use = p.mm.as_ref().map(|mm| MmUse::new(mm, p.process.pid));
        p.files.enter();
        Arc::new(Task {
            mm_use: Mutex::new(locks::LEAF, mm_use),
            ipc: RwLock::new(locks::LEAF, p.machine.ipc.clone()),
            sem_undo: Mutex::new(locks::LEAF, None),
            tid: AtomicU32::new(p.tid as u32),
            process: p.process,
            machine: p.machine,
            waiter: Arc::new(Waiter::new()),
            work: AtomicU32::new(0),
            state: AtomicU32::new(RunState::Running as u32),
            kicker: Mutex::new(locks::LEAF, None),
            comm: Mutex::new(locks::LEAF, p.comm),
            mm: RwLock::new(locks::LEAF, p.mm),
            files: RwLock::new(locks::LEAF, Some(p.files)),
            fs: RwLock::new(locks::LEAF, p.fs),
            cred: RwLock::new(locks::LEAF, p.cred),
            signals: Mutex::new(locks::TASK, p.signals),
            at_end: Mutex::new(locks::LEAF, AtEnd::default()),
            start_ns,
            stats: TaskStats::default(),
            parked: AtomicBool::new(false),
            impatient: AtomicBool::new(false),
            dying: AtomicBool::new(false),
            exit_signal: AtomicU32::new(p.exit_signal),
            vfork: Mutex::new(locks::LEAF, None),
            lent: AtomicU32::new(0),
            cpu_clock: Mutex::new(locks::LEAF, None),
            in_call: in_call::InCall::default(),
            seccomp: crate::seccomp::Seccomp::default(),
            tracing: Mutex::new(locks::LEAF, crate::ptrace::Tracing::default()),
            sched: Mutex::new(locks::LEAF, p.sched),
        })
    }

    pub fn tid(&self) -> Pid {
        self.tid.load(Ordering::Relaxed) as Pid
    }
    /// Takes over another id (exec by a thread that is not the leader; under the tree's lock).
    pub fn set_tid(&self, tid: Pid) {
        self.tid.store(tid as u32, Ordering::Relaxed);
    }
    pub fn pid(&self) -> Pid {
        self.process.pid
    }
    pub fn is_leader(&self) -> bool {
        self.tid() == self.process.pid
    }
    pub fn cred(&self) -> Arc<Cred> {
        self.cred.read().clone()
    }
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.read().clone()
    }
    pub fn ipc(&self) -> Arc<IpcNs> {
        self.ipc.read().clone()
    }
    /// `None` once the task has ended (and for kernel tasks).
    pub fn mm(&self) -> Option<Arc<Mm>> {
        self.mm.read().clone()
    }
    /// `None` once the task has ended.
    pub fn files(&self) -> Option<Arc<FdTable>> {
        self.recall_file();
        self.files.read().clone()
    }
    /// Has no descriptors any more.
    pub(crate) fn leave_files(&self) {
        let table = self.files.write().take();
        if let Some(table) = table {
            table.leave(self);
        }
    }
    pub fn run_state(&self) -> RunState {
        match self.state.load(Ordering::Relaxed) as u8 {
            b'R' => RunState::Running,
            b'S' => RunState::Sleeping,
            b'T' => RunState::Stopped,
            b't' => RunState::Tracing,
            b'Z' => RunState::Zombie,
            _ => RunState::Dead,
        }
    }
    pub fn set_run_state(&self, s: RunState) {
        self.state.store(s as u32, Ordering::Relaxed);
    }

    pub(crate) fn set_kicker(&self, k: Option<Arc<dyn Kicker>>) {
        *self.kicker.lock() = k;
    }

    /// Confines it to some of the machine's processors, one bit each: at once, if it is in guest code.
    pub fn set_affinity(&self, mask: u64) {
        self.sched.lock().affinity = mask;
        let k = self.kicker.lock().clone();
        if let Some(k) = k {
            k.set_affinity(mask);
            k.kick();
        }
    }

    /// Work posted to this task and not taken yet.
    #[inline]
    pub fn work(&self) -> Work {
        Work::from_bits_retain(self.work.load(Ordering::SeqCst))
    }
    /// Posts work and makes the task notice: it leaves its wait, or guest code, and comes to its boundary.
    pub fn post(&self, w: Work) {
        if self.mark(w) {
            self.interrupt();
        }
    }
    /// Posts work without a notice; true if [`Task::interrupt`] must follow.
    #[must_use]
    pub(crate) fn mark(&self, w: Work) -> bool {
        self.work.fetch_or(w.bits(), Ordering::SeqCst) & w.bits() != w.bits()
    }
    /// Takes posted work away.
    pub fn clear_work(&self, w: Work) {
        self.work.fetch_and(!w.bits(), Ordering::SeqCst);
    }
    /// Stands at its boundary in a stopped machine.
    pub fn parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }
    pub(crate) fn set_parked(&self, v: bool) {
        self.parked.store(v, Ordering::SeqCst);
    }
    /// Wakes it from a wait and interrupts its guest code.
    pub fn interrupt(&self) {
        self.waiter.notify();
        let k = self.kicker.lock().clone();
        if let Some(k) = k {
            k.kick();
        }
    }

    /// The one way to block: waits until `try_op` gives a value, some queue being woken each time it might.
    ///
    /// `deadline` is in monotonic nanoseconds. Errors: [`ERESTART`] if work for this task arrived first (a signal to
    /// deliver, a stop, a kill, a freeze of the machine), ETIMEDOUT after the deadline; `try_op`'s own errors are
    /// values. No ranked lock may be held.
    pub fn wait_on<T>(
        &self,
        queues: &[&WaitQueue],
        deadline: Option<u64>,
        try_op: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        self.wait_for(queues.iter().map(|q| (*q, 0)), deadline, try_op)
    }

    /// [`Task::wait_on`] where of each queue's wakes only those matter that name one of these events (0 = any).
    pub(crate) fn wait_for<'q, T>(
        &self,
        queues: impl Iterator<Item = (&'q WaitQueue, u32)> + Clone,
        deadline: Option<u64>,
        mut try_op: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if let Some(v) = try_op() {
            return Ok(v);
        }
        if self.impatient.load(Ordering::Relaxed) {
            return Err(Errno::EAGAIN);
        }
        ksync::assert_no_locks_held("wait");
        self.stats.waits.fetch_add(1, Ordering::Relaxed);
        let meter = self.machine.dispatch.meter().map(|m| (m, self.machine.clock.monotonic_ns()));
        let tokens: SmallVec<[_; 4]> =
            queues.clone().map(|(q, events)| q.add_for(self.waiter.clone(), events)).collect();
        self.set_run_state(RunState::Sleeping);
        let result = loop {
            self.waiter.clear();
            if let Some(v) = try_op() {
                break Ok(v);
            }
            if self.work().intersects(Work::INTERRUPTS) {
                break Err(ERESTART);
            }
            let timeout = match deadline {
                None => None,
                Some(d) => {
                    let now = self.machine.clock.monotonic_ns();
                    if now >= d {
                        break Err(Errno::ETIMEDOUT);
                    }
                    Some(std::time::Duration::from_nanos(d - now))
                }
            };
            self.waiter.park(timeout);
        };
        self.set_run_state(RunState::Running);
        for ((q, _), t) in queues.zip(tokens) {
            q.remove(t);
        }
        if let Some((m, start)) = meter {
            let ns = self.machine.clock.monotonic_ns().saturating_sub(start);
            m.waits.add(ns);
            self.stats.waited_ns.fetch_add(ns, Ordering::Relaxed);
        }
        result
    }

    /// Waits like [`Task::wait_on`] but through signals and stops; a freeze of the machine parks it in between. For the few
    /// waits that cannot be begun again (vfork(2), exec by a thread). [`ERESTART`] if the task is to end.
    pub fn wait_killable<T>(&self, queue: &WaitQueue, try_op: impl FnMut() -> Option<T>) -> Result<T> {
        self.wait_stopped(queue, false, try_op)
    }

    /// As [`Task::wait_killable`]; with `through_end` it goes on even if the task is to end, as it does where a tracer looks
    /// at one that ends.
    pub(crate) fn wait_stopped<T>(
        &self,
        queue: &WaitQueue,
        through_end: bool,
        mut try_op: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if let Some(v) = try_op() {
            return Ok(v);
        }
        ksync::assert_no_locks_held("wait");
        let token = queue.add(self.waiter.clone());
        let before = self.run_state();
        if before == RunState::Running {
            self.set_run_state(RunState::Sleeping);
        }
        let result = loop {
            self.waiter.clear();
            if let Some(v) = try_op() {
                break Ok(v);
            }
            if self.work().contains(Work::EXIT) && !through_end {
                break Err(ERESTART);
            }
            if self.work().contains(Work::FREEZE) {
                self.machine.freezer.park(self);
                continue;
            }
            self.waiter.park(None);
        };
        self.set_run_state(before);
        queue.remove(token);
        result
    }

    /// Runs `f`, in which [`Task::wait_on`] gives EAGAIN where it would wait. Only the task's own thread calls this.
    pub fn without_waiting<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.impatient.swap(true, Ordering::Relaxed);
        let result = f();
        self.impatient.store(before, Ordering::Relaxed);
        result
    }

    /// [`Task::wait_on`] unless the file is non-blocking, where `None` is EAGAIN.
    pub fn wait_unless<T>(
        &self,
        nonblocking: bool,
        queues: &[&WaitQueue],
        mut try_op: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if nonblocking { try_op().ok_or(Errno::EAGAIN) } else { self.wait_on(queues, None, try_op) }
    }

    /// Sends a signal to this thread (tgkill(2) without permission checks).
    pub fn send(self: &Arc<Self>, info: SigInfo) {
        crate::signal::send_to_task(self, info);
    }
}
