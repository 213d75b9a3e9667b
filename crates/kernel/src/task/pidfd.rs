//! Process descriptors (pidfd_open(2)).

use std::{
    any::Any,
    sync::{Arc, Weak, atomic::Ordering},
};

use abi::{
    OpenFlags,
    errno::{EBADF, ESRCH},
};
use ksync::WaitQueue;

use super::{Pid, Process, RunState, Task, TaskCx};
use crate::{
    error::Result,
    machine::Machine,
    vfs::{
        file::{File, FileOps},
        poll::PollEvents,
    },
};

/// What a pidfd refers to.
pub struct PidFd {
    pub process: Arc<Process>,
    /// One thread of it (PIDFD_THREAD); without it, the process as a whole.
    thread: Option<Thread>,
    machine: Weak<Machine>,
}

struct Thread {
    tid: Pid,
    task: Weak<Task>,
}

impl Thread {
    /// It while it lives.
    fn task(&self) -> Option<Arc<Task>> {
        self.task.upgrade().filter(|t| t.run_state() != RunState::Dead)
    }
}

impl PidFd {
    /// The number of what it refers to, while that is there, as a zombie at least.
    fn id(&self) -> Option<Pid> {
        match &self.thread {
            Some(t) => t.task().map(|_| t.tid),
            None => {
                let there = self.machine.upgrade()?.tree.process(self.process.pid)?;
                Arc::ptr_eq(&there, &self.process).then_some(self.process.pid)
            }
        }
    }
    fn has_ended(&self) -> bool {
        match &self.thread {
            Some(t) => t.task().is_none(),
            None => self.process.ended.load(Ordering::SeqCst),
        }
    }
}

impl FileOps for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    /// Readable once the process, or the thread, has ended; hung up once nobody can wait for it any more.
    fn poll(&self, _file: &File) -> PollEvents {
        if !self.has_ended() {
            return PollEvents::empty();
        }
        let hup = if self.id().is_none() { PollEvents::HUP } else { PollEvents::empty() };
        PollEvents::IN | PollEvents::RDNORM | hup
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.process.exit_wait.clone()]
    }
    fn fdinfo(&self, _file: &File) -> String {
        let pid = self.id().unwrap_or(-1);
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }
}

/// A new descriptor for `process`, or one thread of it, closed on exec.
pub fn open(cx: &TaskCx, process: Arc<Process>, thread: Option<Arc<Task>>, nonblocking: bool) -> Result<i32> {
    let machine = cx.machine();
    let mut flags = if nonblocking { OpenFlags::RDWR | OpenFlags::NONBLOCK } else { OpenFlags::RDWR };
    if thread.is_some() {
        // F_GETFL shows which kind it is.
        flags |= OpenFlags::EXCL;
    }
    let thread = thread.map(|t| Thread { tid: t.tid(), task: Arc::downgrade(&t) });
    let ops = Arc::new(PidFd { process, thread, machine: Arc::downgrade(machine) });
    let file = machine.vfs.anon_file(machine, "[pidfd]", ops, flags);
    cx.files.install(&cx.task, file, true)
}

/// The process behind a descriptor, and whether it is non-blocking. EBADF if it is no pidfd.
pub fn process_of(cx: &TaskCx, fd: i32) -> Result<(Arc<Process>, bool)> {
    let file = cx.files.get(fd)?;
    let p = file.ops.as_any().downcast_ref::<PidFd>().ok_or(EBADF)?;
    Ok((p.process.clone(), file.nonblocking()))
}

/// What a signal to a descriptor reaches.
pub enum Target {
    Process(Arc<Process>),
    Thread(Arc<Task>),
}

/// The process or thread behind a descriptor, which may also be an open directory /proc/PID. EBADF if it is neither, ESRCH
/// for a thread that has ended.
pub fn target_of(cx: &TaskCx, fd: i32) -> Result<Target> {
    let file = cx.files.get_io(fd)?;
    if let Some(p) = file.ops.as_any().downcast_ref::<PidFd>() {
        return match &p.thread {
            Some(t) => t.task().map(Target::Thread).ok_or(ESRCH),
            None => Ok(Target::Process(p.process.clone())),
        };
    }
    let pid = file.inode().and_then(|i| i.process()).ok_or(EBADF)?;
    cx.machine().tree.process(pid).map(Target::Process).ok_or(ESRCH)
}
