//! Core dumps (core(5)): a process that a signal kills leaves its memory and registers in a file.
//!
//! The thread that takes the signal is the *dumper*. It makes the process end, and waits until every other thread has come
//! to its own end ([`join`]), has left its registers there and waits. So nothing moves while the dumper writes. SIGKILL, or the
//! machine's end, stops the writing.

mod image;
mod name;

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use abi::{
    FileType, OpenFlags, SigInfo, Signal,
    fs::AT_FDCWD,
    sched::{RLIMIT_CORE, RLIMIT_FSIZE},
};
use ksync::{Mutex, WaitQueue};

pub use name::Settings;

use crate::{
    error::Result,
    locks, ptrace,
    task::{Task, TaskCx, Work, process::ExitStatus},
    vfs::{self, file::File},
};

/// Smallest limit for which a dump is begun.
const SMALLEST: u64 = 4096;

/// A dump under way.
pub(crate) struct Dump {
    threads: Mutex<Vec<image::Thread>>,
    done: AtomicBool,
    abort: AtomicBool,
    /// The others wait here.
    wait: WaitQueue,
}

impl Dump {
    /// Nobody waits for the rest of it.
    pub(crate) fn abort(&self) {
        self.abort.store(true, Ordering::SeqCst);
    }
}

/// What a signal does whose action is to dump core: the process ends with `s`. False if it is ending already.
pub(crate) fn die(cx: &mut TaskCx, s: Signal, info: &SigInfo) -> bool {
    let task = cx.task.clone();
    let process = &task.process;
    let (limit, file_limit) = (process.rlimit(RLIMIT_CORE as usize), process.rlimit(RLIMIT_FSIZE as usize));
    let status = |core| ExitStatus::Signal { signo: s.raw().to_le_bytes()[0], core };
    let dump = Arc::new(Dump {
        threads: Mutex::new(locks::LEAF, Vec::new()),
        done: AtomicBool::new(false),
        abort: AtomicBool::new(false),
        wait: WaitQueue::new(),
    });
    let others: Vec<Arc<Task>> = {
        let mut st = process.state.lock();
        if st.group_exit.is_some() || st.exec_by.is_some() {
            return false;
        }
        if st.dumpable != 1 || limit < SMALLEST {
            drop(st);
            process.group_exit(status(false));
            return true;
        }
        st.group_exit = Some(status(false));
        st.dump = Some(dump.clone());
        st.threads.iter().filter_map(Weak::upgrade).filter(|t| !Arc::ptr_eq(t, &task)).collect()
    };
    for t in &others {
        t.dying.store(true, Ordering::SeqCst);
        t.post(Work::EXIT);
    }
    drop(others);
    // Those that were ending before leave; all others come to wait.
    let _ = task.wait_stopped(&process.child_wait, true, || {
        let st = process.state.lock();
        let here = dump.threads.lock().len();
        (here + st.leaving + 1 >= st.threads.len()).then_some(())
    });
    let written = write(cx, s, info, &dump, limit.min(file_limit)).is_ok();
    if written && !dump.abort.load(Ordering::SeqCst) {
        process.state.lock().group_exit = Some(status(true));
    }
    dump.done.store(true, Ordering::SeqCst);
    process.state.lock().dump = None;
    dump.wait.wake_all(0);
    task.dying.store(true, Ordering::SeqCst);
    task.post(Work::EXIT);
    true
}

/// A thread has come to its end: if there is a dump, it leaves its registers and waits until that is written.
pub(crate) fn join(cx: &mut TaskCx) {
    let task = cx.task.clone();
    let dump = {
        let mut st = task.process.state.lock();
        if st.dump.is_none() {
            st.leaving += 1;
        }
        st.dump.clone()
    };
    let Some(dump) = dump else { return };
    let thread = image::Thread::of(cx);
    dump.threads.lock().push(thread);
    task.process.child_wait.wake_all(0);
    let _ = task.wait_stopped(&dump.wait, true, || dump.done.load(Ordering::SeqCst).then_some(()));
    task.process.state.lock().leaving += 1;
}

fn write(cx: &mut TaskCx, s: Signal, info: &SigInfo, dump: &Dump, limit: u64) -> Result<()> {
    let me = image::Thread::of(cx);
    let file = open(cx, s)?;
    let others = std::mem::take(&mut *dump.threads.lock());
    let image = image::Image::new(cx, s, info, &me, &others);
    let result = image.write(cx, &file, limit, &dump.abort);
    cx.machine().log.print(
        6,
        cx.machine().clock.uptime_ns(),
        format!("{}[{}]: core dump after {}", String::from_utf8_lossy(&me.comm), cx.task.tid(), s.name()),
    );
    result
}

/// The file for the dump: new, the process's own, without other names.
fn open(cx: &TaskCx, s: Signal) -> Result<Arc<File>> {
    let (task, machine) = (&cx.task, cx.machine());
    let settings = &machine.tunables.core;
    let cred = task.cred();
    let exe = cx.mm.exe().map(|f| f.path.display(&task.fs().root())).unwrap_or_default();
    let host = machine.uts.read().nodename.clone();
    let comm = task.comm.lock().clone();
    let facts = name::Facts {
        pid: task.pid(),
        tid: task.tid(),
        uid: cred.uid,
        gid: cred.gid,
        dumpable: 1,
        signo: s.raw(),
        time: machine.clock.realtime_ns() / 1_000_000_000,
        host,
        comm,
        exe,
        limit: task.process.rlimit(RLIMIT_CORE as usize),
        cpu: 0,
    };
    let path =
        name::make(&settings.pattern(), settings.uses_pid(), &facts).ok_or(abi::errno::ENAMETOOLONG)?;
    // What stood there is replaced, never followed or written into.
    let _ = vfs::names::unlink(task, AT_FDCWD, &path);
    let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::WRONLY | OpenFlags::NOFOLLOW;
    let file = vfs::open(task, AT_FDCWD, &path, flags, 0o600)?;
    let inode = file.path.inode()?;
    let attr = inode.attr()?;
    if inode.kind() != FileType::Regular
        || attr.nlink != 1
        || attr.uid != cred.fsuid
        || attr.mode & 0o677 != 0o600
    {
        return Err(abi::errno::EPERM);
    }
    Ok(file)
}

/// The register set of the running task, as debuggers have it.
fn registers(cx: &mut TaskCx) -> [u64; elf::coredump::REGS] {
    ptrace::shown(cx)
}
