//! The machine: one value that owns everything. Two machines in one process do not know of each other.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering},
};

use hal::{Host, SharedMem};
use ksync::{Mutex, RwLock, WaitQueue};

use crate::{
    ipc::IpcNs,
    locks,
    log::KernelLog,
    mm::{charge::Charge, shared::SharedAlloc},
    registry::Registry,
    task::{Task, Work, process::ExitStatus, run::Dispatch, tree::TaskTree},
    time::{Clock, Timers},
    vfs::Vfs,
};

/// What the machine was started with.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// Guest memory in bytes (`mem=`).
    pub memory: u64,
    /// Processors shown to the guest and used at once.
    pub cpus: u32,
    /// Host name (uname nodename).
    pub hostname: String,
    /// `/proc/cmdline`.
    pub cmdline: String,
    /// Reboot request re-executes; else exits.
    pub no_reboot: bool,
}

/// How the machine was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    PowerOff,
    Halt,
    Restart,
    /// init ended.
    InitExited(ExitStatus),
    Panic,
}

/// Names that uname(2) shows (UTS namespace).
#[derive(Clone, Debug)]
pub struct UtsNames {
    pub nodename: String,
    pub domainname: String,
}

/// One running machine.
pub struct Machine {
    pub host: Arc<dyn Host>,
    pub config: MachineConfig,
    pub shared_mem: Arc<dyn SharedMem>,
    pub shared_alloc: Arc<SharedAlloc>,
    pub clock: Clock,
    pub timers: Timers,
    pub tree: TaskTree,
    pub vfs: Vfs,
    /// The first IPC namespace.
    pub ipc: Arc<IpcNs>,
    pub registry: Registry,
    pub dispatch: Arc<dyn Dispatch>,
    pub log: KernelLog,
    pub uts: RwLock<UtsNames>,
    pub freezer: Freezer,
    /// Guest memory charged (see [`crate::mm::charge`]).
    pub memory: Arc<Charge>,
    /// The process whose end ends the machine, if init is the kernel's own; else 0.
    pub main_pid: AtomicI32,
    /// Locks that the kernel hands over.
    pub futexes: crate::futex::PiTable,
    pub load: crate::load::LoadAverage,
    /// What /proc/sys sets.
    pub tunables: crate::tunables::Tunables,
    /// Value of /proc/exitcode.
    pub exit_code: AtomicI32,
    end: Mutex<Option<End>>,
    pub end_wait: WaitQueue,
    /// Numbers for anonymous device ids (st_dev minor), inode numbers of anonymous files.
    next_dev: AtomicU32,
    next_ino: AtomicU64,
    /// Idle host threads and other things tasks reuse.
    pub task_threads: crate::task::pool::ThreadPool,
}

/// Parts that the assembler of a machine brings.
pub struct MachineParts {
    pub host: Arc<dyn Host>,
    pub config: MachineConfig,
    pub dispatch: Arc<dyn Dispatch>,
    pub registry: Registry,
}

impl Machine {
    pub fn new(p: MachineParts) -> Arc<Machine> {
        let clock = Clock::new(p.host.clone());
        let shared_mem = p.host.shared_mem();
        let uts = UtsNames { nodename: p.config.hostname.clone(), domainname: "(none)".into() };
        Arc::new(Machine {
            shared_alloc: Arc::new(SharedAlloc::new(shared_mem.size())),
            shared_mem,
            clock,
            timers: Timers::default(),
            tree: TaskTree::default(),
            vfs: Vfs::default(),
            ipc: IpcNs::new(),
            registry: p.registry,
            dispatch: p.dispatch,
            log: KernelLog::default(),
            uts: RwLock::new(locks::LEAF, uts),
            freezer: Freezer::default(),
            memory: Arc::new(Charge::new(p.config.memory)),
            main_pid: AtomicI32::new(0),
            futexes: crate::futex::PiTable::default(),
            load: crate::load::LoadAverage::default(),
            tunables: crate::tunables::Tunables::new(p.config.memory),
            exit_code: AtomicI32::new(0),
            end: Mutex::new(locks::LEAF, None),
            end_wait: WaitQueue::new(),
            next_dev: AtomicU32::new(1),
            next_ino: AtomicU64::new(1),
            task_threads: crate::task::pool::ThreadPool::default(),
            host: p.host,
            config: p.config,
        })
    }

    /// A new anonymous device number (major 0).
    pub fn new_dev(&self) -> u64 {
        abi::makedev(0, self.next_dev.fetch_add(1, Ordering::Relaxed))
    }
    /// A new inode number for anonymous files.
    pub fn new_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks the machine to end; the first request counts.
    pub fn request_end(&self, how: End) {
        self.end.lock().get_or_insert(how);
        self.end_wait.wake_all(0);
    }
    pub fn end_requested(&self) -> Option<End> {
        *self.end.lock()
    }
}

/// Stops all tasks at their boundaries and lets them go on: the machine's `stop` and `go`.
#[derive(Default)]
pub struct Freezer {
    frozen: AtomicBool,
    thaw: WaitQueue,
    parked_wait: WaitQueue,
}

impl Freezer {
    /// Stops the machine: returns when every live task stands at its boundary, no lock held, no guest code running.
    pub fn stop(&self, machine: &Machine) {
        self.frozen.store(true, Ordering::SeqCst);
        let waiter = Arc::new(ksync::Waiter::new());
        waiter.attach();
        let token = self.parked_wait.add(waiter.clone());
        loop {
            waiter.clear();
            let tasks = machine.tree.tasks();
            for t in &tasks {
                t.post(Work::FREEZE);
            }
            // Tasks may be born or end meanwhile; a new task sees `frozen` before it runs.
            let running = tasks.iter().filter(|t| !t.parked()).count();
            if running == 0 && machine.tree.tasks().iter().all(|t| t.parked()) {
                break;
            }
            waiter.park(Some(std::time::Duration::from_millis(10)));
        }
        self.parked_wait.remove(token);
    }

    /// Lets a stopped machine go on.
    pub fn go(&self, machine: &Machine) {
        self.frozen.store(false, Ordering::SeqCst);
        for t in machine.tree.tasks() {
            t.clear_work(Work::FREEZE);
        }
        self.thaw.wake_all(0);
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Parks the calling task while the machine is frozen. A kill does not end it: a frozen machine does not change.
    pub(crate) fn park(&self, task: &Task) {
        ksync::assert_no_locks_held("freeze");
        let token = self.thaw.add(task.waiter.clone());
        task.set_parked(true);
        self.parked_wait.wake_all(0);
        loop {
            task.waiter.clear();
            if !self.is_frozen() {
                break;
            }
            task.waiter.park(None);
        }
        task.clear_work(Work::FREEZE);
        task.set_parked(false);
        self.thaw.remove(token);
    }
}

/// uname(2) release: what programs may expect of us.
pub const RELEASE: &str = "6.12.0-umlaut";
/// uname(2) version.
pub const VERSION: &str = "#1 SMP Umlaut";
