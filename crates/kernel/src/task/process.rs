//! A process: the thread group and what its threads share.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering},
};

use abi::signal::SigInfo;
use ksync::{Mutex, RwLock, WaitQueue};

use super::{Pid, Task, Work};
use crate::{
    locks,
    signal::{ProcessSignals, SignalActions},
    tty::Tty,
};

/// Highest resource number plus one (getrlimit(2)).
pub const RLIMIT_COUNT: usize = 16;
/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

/// How a process ended, as `wait` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// `exit(code)`, 0..=255.
    Code(u8),
    /// Killed by a signal; `core`: a dump was written.
    Signal { signo: u8, core: bool },
}

impl ExitStatus {
    /// The 16-bit status word of wait(2).
    pub fn wait_status(self) -> u32 {
        match self {
            ExitStatus::Code(c) => u32::from(c) << 8,
            ExitStatus::Signal { signo, core } => u32::from(signo) | if core { 0x80 } else { 0 },
        }
    }
    /// What a shell shows: the code, or 128 plus the signal.
    pub fn shell_status(self) -> i32 {
        match self {
            ExitStatus::Code(c) => i32::from(c),
            ExitStatus::Signal { signo, .. } => 128 + i32::from(signo),
        }
    }
}

/// Resources used (getrusage(2)), of ended threads and of waited-for children.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub user_ns: u64,
    pub system_ns: u64,
    pub max_rss_kib: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub waits: u64,
    pub preemptions: u64,
}

impl std::ops::AddAssign<&Usage> for Usage {
    fn add_assign(&mut self, o: &Usage) {
        self.user_ns += o.user_ns;
        self.system_ns += o.system_ns;
        self.max_rss_kib = self.max_rss_kib.max(o.max_rss_kib);
        self.minor_faults += o.minor_faults;
        self.major_faults += o.major_faults;
        self.waits += o.waits;
        self.preemptions += o.preemptions;
    }
}

/// Job-control state, reported by `wait` with WUNTRACED and WCONTINUED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobState {
    #[default]
    Running,
    /// Stopped by this signal.
    Stopped(u8),
}

/// What changes under the process's lock.
pub struct ProcessState {
    /// Live threads, leader included while it lives.
    pub threads: Vec<Weak<Task>>,
    /// Set once the whole group is to end.
    pub group_exit: Option<ExitStatus>,
    pub job: JobState,
    /// A stop or continue that the parent has not been told of by `wait`.
    pub job_report: Option<JobState>,
    /// A change of `job` that the parent has not been signalled yet; a thread of the process does it.
    pub(crate) job_notify: Option<JobState>,
    /// Threads that stand stopped.
    pub(crate) stopped: usize,
    /// How the leader ended, while other threads live on.
    pub(crate) leader_status: Option<ExitStatus>,
    /// Who traced the leader when it ended.
    pub(crate) leader_tracer: Option<Pid>,
    /// A thread that execs and waits for the others to end.
    pub(crate) exec_by: Option<Pid>,
    /// A core dump being written.
    pub(crate) dump: Option<Arc<crate::coredump::Dump>>,
    /// Threads that end and have passed [`crate::coredump::join`].
    pub(crate) leaving: usize,
    /// Signals that came by force: init's protection is off.
    pub(crate) forced: bool,
    /// The process has replaced its image since fork (setpgid(2) EACCES rule).
    pub did_exec: bool,
    pub own_usage: Usage,
    pub children_usage: Usage,
    pub dumpable: u8,
    pub child_subreaper: bool,
}

/// A thread group.
pub struct Process {
    pub pid: Pid,
    pub state: Mutex<ProcessState>,
    pub signals: Mutex<ProcessSignals>,
    pub actions: RwLock<Arc<SignalActions>>,
    pub rlimits: Mutex<[(u64, u64); RLIMIT_COUNT]>,
    /// Woken when a child changes state, or a thread of this group ends.
    pub child_wait: WaitQueue,
    /// Woken when the group's job state or frozen state changes.
    pub stop_wait: WaitQueue,
    /// Controlling terminal of the session, if any (kept equal in all members by the tty room).
    pub tty: Mutex<Option<Arc<Tty>>>,
    /// Interval timers, POSIX timers and alarm, owned by the time room.
    pub timers: Mutex<crate::time::ProcessTimers>,
    /// Monotonic ns at creation.
    pub start_ns: u64,
    pub exec_generation: AtomicU64,
    /// personality(2): kept and shown.
    pub personality: AtomicU32,
    /// How gladly it is killed when memory runs out, from -1000 (never) to 1000 (proc(5)).
    pub oom_score_adj: AtomicI32,
    /// Which mappings a core dump is to hold (core(5)).
    pub coredump_filter: AtomicU32,
    /// rchar, wchar, syscr, syscw of threads that have ended.
    ended_io: [AtomicU64; 4],
    /// init of its pid namespace: signals without a handler do not kill it, its end ends the machine.
    pub is_init: AtomicBool,
    /// All threads have ended.
    pub(crate) ended: AtomicBool,
    /// Woken when a signal becomes pending for the process or one of its threads (signalfd).
    pub signal_wait: Arc<WaitQueue>,
    /// Woken when the process becomes a zombie or is reaped (pidfd).
    pub exit_wait: Arc<WaitQueue>,
}

impl Process {
    pub fn new(
        pid: Pid,
        actions: Arc<SignalActions>,
        rlimits: [(u64, u64); RLIMIT_COUNT],
        tty: Option<Arc<Tty>>,
        start_ns: u64,
    ) -> Arc<Process> {
        Arc::new(Process {
            pid,
            state: Mutex::new(
                locks::PROCESS,
                ProcessState {
                    threads: Vec::new(),
                    group_exit: None,
                    job: JobState::Running,
                    job_report: None,
                    job_notify: None,
                    stopped: 0,
                    leader_status: None,
                    leader_tracer: None,
                    exec_by: None,
                    dump: None,
                    leaving: 0,
                    forced: false,
                    did_exec: false,
                    own_usage: Usage::default(),
                    children_usage: Usage::default(),
                    dumpable: 1,
                    child_subreaper: false,
                },
            ),
            signals: Mutex::new(locks::TASK, ProcessSignals::default()),
            actions: RwLock::new(locks::SIGNAL_ACTIONS, actions),
            rlimits: Mutex::new(locks::LEAF, rlimits),
            child_wait: WaitQueue::new(),
            stop_wait: WaitQueue::new(),
            tty: Mutex::new(locks::LEAF, tty),
            timers: Mutex::new(locks::PROCESS_TIMERS, crate::time::ProcessTimers::default()),
            start_ns,
            exec_generation: AtomicU64::new(0),
            personality: AtomicU32::new(0),
            oom_score_adj: AtomicI32::new(0),
            coredump_filter: AtomicU32::new(0x33),
            ended_io: [const { AtomicU64::new(0) }; 4],
            is_init: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            signal_wait: Arc::new(WaitQueue::new()),
            exit_wait: Arc::new(WaitQueue::new()),
        })
    }

    /// Ends the whole process with `status`, unless its end is decided already.
    pub fn group_exit(&self, status: ExitStatus) {
        let threads: Vec<Arc<Task>> = {
            let mut s = self.state.lock();
            if s.group_exit.is_some() {
                if let Some(dump) = &s.dump
                    && matches!(status, ExitStatus::Signal { signo: 9, .. })
                {
                    dump.abort();
                }
                return;
            }
            s.group_exit = Some(status);
            s.threads.iter().filter_map(Weak::upgrade).collect()
        };
        for t in threads {
            t.dying.store(true, Ordering::SeqCst);
            t.post(Work::EXIT);
        }
    }

    /// Bytes read and written, and calls that did, of all threads (/proc/PID/io).
    pub fn io_counts(&self) -> [u64; 4] {
        let mut sum = [0; 4];
        let threads = self.threads();
        let each = threads.iter().map(|t| &t.stats.io).chain([&self.ended_io]);
        for counts in each {
            for (s, c) in sum.iter_mut().zip(counts) {
                *s += c.load(Ordering::Relaxed);
            }
        }
        sum
    }
    /// Keeps the counts of a thread that ends.
    pub(super) fn keep_io(&self, task: &Task) {
        for (sum, c) in self.ended_io.iter().zip(&task.stats.io) {
            sum.fetch_add(c.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
    /// What a child takes over at its birth.
    pub(super) fn inherit(&self, parent: &Process) {
        self.personality.store(parent.personality.load(Ordering::Relaxed), Ordering::Relaxed);
        self.oom_score_adj.store(parent.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
        self.coredump_filter.store(parent.coredump_filter.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Live threads now.
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.state.lock().threads.iter().filter_map(Weak::upgrade).collect()
    }

    /// Soft limit of a resource.
    pub fn rlimit(&self, resource: usize) -> u64 {
        self.rlimits.lock()[resource].0
    }

    /// Sends a signal to the process (kill(2) without permission checks).
    pub fn send(self: &Arc<Self>, info: SigInfo) {
        crate::signal::send_to_process(self, info);
    }
}
