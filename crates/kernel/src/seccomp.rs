//! System-call filters of the guest (seccomp(2)).
//!
//! They are looked at where every system call that reaches the kernel begins ([`enter`], after a tracer's entry stop), so an
//! unfiltered task pays one load. Calls that its stub would answer reach the kernel once the task is filtered, and so do futex
//! calls: its guest thread is replaced by one of that kind ([`TaskCx::change_futexes`]).
//!
//! What a filter hands to another program by its listener (SECCOMP_RET_USER_NOTIF) is in [`notify`].

mod notify;

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU32, Ordering},
};

use abi::{
    SigInfo, Signal,
    cap::CAP_SYS_ADMIN,
    errno::{EACCES, EBUSY, EINVAL, ENOMEM, ENOSYS},
    nr::{SYS_EXIT, SYS_READ, SYS_RT_SIGRETURN, SYS_WRITE},
    sched::*,
    signal::{SYS_SECCOMP, SigFields},
};
use bpf::{Data, Program};
use ksync::Mutex;

use self::notify::{Answer, Notifier};
use crate::{
    error::{ERESTART, Result},
    locks, ptrace, signal,
    task::{Pid, Task, TaskCx, Work, process::ExitStatus},
    vfs::fdtable,
};

/// Instructions of all filters of a task, with [`FILTER_COST`] for each filter (as Linux).
const PATH_MAX: usize = 1 << 15;
const FILTER_COST: usize = 4;
/// Highest errno that a filter can give.
const MAX_ERRNO: u32 = 4095;

/// One filter.
struct Filter {
    program: Program,
    /// What it does is told in the kernel's log, ALLOW excepted.
    log: bool,
    /// Who is asked about calls that it hands on.
    notifier: Option<Arc<Notifier>>,
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(n) = &self.notifier {
            n.filter_gone();
        }
    }
}

type Filters = Arc<[Arc<Filter>]>;

/// What a task is confined to.
pub struct Seccomp {
    /// `SECCOMP_MODE_*`.
    mode: AtomicU32,
    /// From the oldest to the newest.
    filters: Mutex<Filters>,
}

impl Default for Seccomp {
    fn default() -> Self {
        Seccomp {
            mode: AtomicU32::new(SECCOMP_MODE_DISABLED),
            filters: Mutex::new(locks::LEAF, Arc::new([])),
        }
    }
}

impl Seccomp {
    /// `SECCOMP_MODE_*`.
    #[inline]
    pub fn mode(&self) -> u32 {
        self.mode.load(Ordering::SeqCst)
    }
    /// Filters in force.
    pub fn count(&self) -> usize {
        self.filters.lock().len()
    }
    fn filters(&self) -> Filters {
        self.filters.lock().clone()
    }
    fn set(&self, mode: u32, filters: Filters) {
        let old = std::mem::replace(&mut *self.filters.lock(), filters);
        self.mode.store(mode, Ordering::SeqCst);
        drop(old);
    }
    /// A new task is confined as its maker; under the process's lock, against [`add_filter`] for all threads.
    pub(crate) fn inherit(&self, maker: &Seccomp) {
        if maker.mode() != SECCOMP_MODE_DISABLED {
            self.set(maker.mode(), maker.filters());
        }
    }
    /// The task ends: it makes no more calls, and does not count among those that a listener hears of.
    pub(crate) fn leave(&self) {
        self.set(self.mode(), Arc::new([]));
    }
}

/// An action of a filter that is there (SECCOMP_GET_ACTION_AVAIL).
pub fn action_is_known(action: u32) -> bool {
    matches!(
        action,
        SECCOMP_RET_KILL_PROCESS
            | SECCOMP_RET_KILL_THREAD
            | SECCOMP_RET_TRAP
            | SECCOMP_RET_ERRNO
            | SECCOMP_RET_USER_NOTIF
            | SECCOMP_RET_TRACE
            | SECCOMP_RET_LOG
            | SECCOMP_RET_ALLOW
    )
}

/// SECCOMP_SET_MODE_STRICT. EINVAL if there are filters.
pub fn set_strict(cx: &mut TaskCx) -> Result<()> {
    let s = &cx.task.seccomp;
    if s.mode() == SECCOMP_MODE_FILTER {
        return Err(EINVAL);
    }
    s.set(SECCOMP_MODE_STRICT, Arc::new([]));
    cx.update_fast_ids();
    Ok(())
}

/// Whether a task may filter its calls without giving set-id programs a view of the world that they do not expect.
pub fn may_filter(cx: &TaskCx) -> bool {
    cx.task.sched.lock().no_new_privs || cx.cred().has(CAP_SYS_ADMIN)
}

/// How a filter is added.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddOptions {
    pub log: bool,
    /// To all threads of the process.
    pub all_threads: bool,
    /// With a listener.
    pub listener: Option<ListenerOptions>,
}

/// How the calls wait that a filter hands on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenerOptions {
    /// Only a fatal signal interrupts them once the listener has taken them.
    pub killable_once_taken: bool,
}

/// What became of a new filter.
pub enum Added {
    Done,
    /// With this descriptor as its listener.
    Listener(i32),
    /// This thread cannot follow, and nothing is changed.
    NoFollower(Pid),
}

/// SECCOMP_SET_MODE_FILTER. EACCES unless [`may_filter`]; EINVAL in strict mode; ENOMEM for too long a path; EBUSY if there is
/// a listener already, EMFILE if there is no descriptor for one.
pub fn add_filter(cx: &mut TaskCx, program: Program, o: AddOptions) -> Result<Added> {
    if !may_filter(cx) {
        return Err(EACCES);
    }
    let me = cx.task.clone();
    if me.seccomp.mode() == SECCOMP_MODE_STRICT {
        return Err(EINVAL);
    }
    let old = me.seccomp.filters();
    let length: usize = old.iter().map(|f| f.program.len() + FILTER_COST).sum();
    if length + program.len() > PATH_MAX {
        return Err(ENOMEM);
    }
    let Some(listener) = o.listener else {
        let no_follower = attach(cx, Filter { program, log: o.log, notifier: None }, &old, o.all_threads);
        return Ok(no_follower.map_or(Added::Done, Added::NoFollower));
    };
    if old.iter().filter_map(|f| f.notifier.as_ref()).any(|n| n.is_heard()) {
        return Err(EBUSY);
    }
    let notifier = Notifier::new(cx.machine(), listener.killable_once_taken);
    let fd = cx.files.install(&me, notifier.open(cx.machine()), true)?;
    match attach(cx, Filter { program, log: o.log, notifier: Some(notifier) }, &old, o.all_threads) {
        None => Ok(Added::Listener(fd)),
        Some(tid) => {
            if let Ok(file) = cx.files.remove(fd) {
                fdtable::close(&me, &cx.files, file);
            }
            Ok(Added::NoFollower(tid))
        }
    }
}

/// Puts a filter in force after those of the task, `old`. The id of a thread that cannot follow, if there is one; then
/// nothing is changed.
fn attach(cx: &mut TaskCx, filter: Filter, old: &Filters, all_threads: bool) -> Option<Pid> {
    let me = cx.task.clone();
    let new: Filters = old.iter().cloned().chain([Arc::new(filter)]).collect::<Vec<_>>().into();
    if all_threads {
        // Those that are being born take over what their maker has under the same lock.
        let state = me.process.state.lock();
        let others: Vec<Arc<Task>> =
            state.threads.iter().filter_map(Weak::upgrade).filter(|t| !Arc::ptr_eq(t, &me)).collect();
        let no_follower = others.iter().find(|t| !can_follow(t, old)).map(|t| t.tid());
        if no_follower.is_some() {
            // A filter that was never in force ends without a lock.
            drop(state);
            return no_follower;
        }
        let no_new_privs = me.sched.lock().no_new_privs;
        for t in &others {
            t.sched.lock().no_new_privs |= no_new_privs;
            t.seccomp.set(SECCOMP_MODE_FILTER, new.clone());
        }
        drop(state);
        for t in others {
            // Its stub must not answer by itself any more.
            t.post(Work::NOTIFY);
        }
    }
    me.seccomp.set(SECCOMP_MODE_FILTER, new);
    cx.update_fast_ids();
    None
}

/// The filters of `t` are the first of `mine`.
fn can_follow(t: &Task, mine: &Filters) -> bool {
    let its = t.seccomp.filters();
    t.seccomp.mode() != SECCOMP_MODE_STRICT
        && its.len() <= mine.len()
        && its.iter().zip(mine.iter()).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// What becomes of a system call.
pub(crate) enum Entry {
    /// Made, perhaps as a tracer changed it.
    Go(u64, [u64; 6]),
    /// Not made: its result is set, or a signal is.
    Skip,
    /// Interrupted while a listener was asked about it: begun again unless a handler without SA_RESTART runs.
    Interrupted,
}

/// The strictest answer of all filters, and the filter that gave it; none if all allow.
fn verdict<'a>(filters: &'a Filters, data: &Data) -> (u32, Option<&'a Filter>) {
    // Compared as signed numbers: KILL_PROCESS, the lowest, has the highest bit.
    let rank = |v: u32| (v & SECCOMP_RET_ACTION_FULL).cast_signed();
    let (mut strictest, mut whose) = (SECCOMP_RET_ALLOW, None);
    for f in filters.iter().rev() {
        let v = f.program.run(data);
        if rank(v) < rank(strictest) {
            (strictest, whose) = (v, Some(&**f));
        }
    }
    (strictest, whose)
}

/// Before a system call of a confined task.
#[cold]
pub(crate) fn enter(cx: &mut TaskCx, nr: u64, args: [u64; 6]) -> Entry {
    if cx.task.seccomp.mode() == SECCOMP_MODE_STRICT {
        let allowed = [SYS_READ, SYS_WRITE, SYS_EXIT, SYS_RT_SIGRETURN];
        if allowed.iter().any(|a| u64::from(*a) == nr) {
            return Entry::Go(nr, args);
        }
        log(cx, nr, SECCOMP_RET_KILL_THREAD, 9);
        end_thread(cx, 9);
        return Entry::Skip;
    }
    let (mut nr, mut args, mut traced) = (nr, args, false);
    loop {
        let data = Data { nr: nr as u32, arch: AUDIT_ARCH_X86_64, ip: cx.ctx.regs().rip, args };
        let filters = cx.task.seccomp.filters();
        let (answer, whose) = verdict(&filters, &data);
        let (action, value) = (answer & SECCOMP_RET_ACTION_FULL, answer & SECCOMP_RET_DATA);
        let wants_log = whose.is_some_and(|f| f.log);
        if wants_log && !matches!(action, SECCOMP_RET_ALLOW | SECCOMP_RET_LOG) {
            log(cx, nr, action, 0);
        }
        match action {
            SECCOMP_RET_ALLOW => return Entry::Go(nr, args),
            SECCOMP_RET_LOG => {
                log(cx, nr, action, 0);
                return Entry::Go(nr, args);
            }
            SECCOMP_RET_ERRNO => {
                cx.ctx.set_result(u64::from(value.min(MAX_ERRNO)).wrapping_neg());
                return Entry::Skip;
            }
            SECCOMP_RET_TRAP => {
                roll_back(cx, nr);
                signal::force_info(cx, trap_info(&data, value));
                return Entry::Skip;
            }
            // What the tracer has seen once it has seen.
            SECCOMP_RET_TRACE if traced => return Entry::Go(nr, args),
            SECCOMP_RET_TRACE => match ptrace::seccomp_event(cx, value) {
                Some(ptrace::Entry::Go(n, a)) if !cx.task.work().contains(Work::EXIT) => {
                    (nr, args, traced) = (n, a, true);
                }
                Some(_) => return Entry::Skip,
                None => {
                    cx.ctx.set_result(ENOSYS.as_ret());
                    return Entry::Skip;
                }
            },
            SECCOMP_RET_USER_NOTIF => {
                let notifier = whose.and_then(|f| f.notifier.as_ref());
                let result = match notifier.ok_or(ENOSYS).and_then(|n| n.ask(&cx.task, &data)) {
                    Ok(Answer::Go) => return Entry::Go(nr, args),
                    Err(ERESTART) => return Entry::Interrupted,
                    Ok(Answer::Result(v)) => v,
                    Err(e) => e.as_ret(),
                };
                cx.ctx.set_result(result);
                return Entry::Skip;
            }
            _ => {
                if !wants_log {
                    log(cx, nr, action, 31);
                }
                let last = cx.task.process.state.lock().threads.len() == 1;
                if action == SECCOMP_RET_KILL_THREAD && !last {
                    end_thread(cx, 31);
                } else {
                    roll_back(cx, nr);
                    signal::die(cx, Signal::SIGSYS, &trap_info(&data, value));
                }
                return Entry::Skip;
            }
        }
    }
}

fn trap_info(data: &Data, value: u32) -> SigInfo {
    let fields = SigFields::Sys { call_addr: data.ip, nr: data.nr.cast_signed(), arch: AUDIT_ARCH_X86_64 };
    SigInfo { errno: value.cast_signed(), ..SigInfo::new(Signal::SIGSYS, SYS_SECCOMP, fields) }
}

/// The registers are as if the call were still to be made; only the instruction pointer stands after it.
fn roll_back(cx: &mut TaskCx, nr: u64) {
    let mut r = cx.ctx.regs();
    if r.rax != nr {
        r.rax = nr;
        cx.ctx.set_regs(&r);
    }
}

fn end_thread(cx: &mut TaskCx, signo: u8) {
    cx.exit_status = Some(ExitStatus::Signal { signo, core: false });
    cx.exiting = true;
}

/// One line in the kernel's log.
fn log(cx: &mut TaskCx, nr: u64, action: u32, signo: u32) {
    let ip = cx.ctx.regs().rip;
    let (m, cred) = (cx.machine(), cx.cred());
    let comm = String::from_utf8_lossy(&cx.task.comm.lock()).into_owned();
    m.log.print(
        5,
        m.clock.uptime_ns(),
        format!(
            "seccomp: uid={} gid={} pid={} comm=\"{comm}\" sig={signo} arch={AUDIT_ARCH_X86_64:x} syscall={nr} ip={ip:#x} \
             code={action:#x}",
            cred.uid,
            cred.gid,
            cx.task.tid()
        ),
    );
}
