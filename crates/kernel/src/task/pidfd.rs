//! Process descriptors (pidfd_open(2)).

use std::{
    any::Any,
    sync::{Arc, Weak, atomic::Ordering},
};

use abi::{OpenFlags, errno::EBADF};
use ksync::WaitQueue;

use super::{Process, TaskCx};
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
    machine: Weak<Machine>,
}

impl FileOps for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    /// Readable once the process has ended.
    fn poll(&self, _file: &File) -> PollEvents {
        if self.process.ended.load(Ordering::SeqCst) {
            PollEvents::IN | PollEvents::RDNORM
        } else {
            PollEvents::empty()
        }
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.process.exit_wait.clone()]
    }
    fn fdinfo(&self, _file: &File) -> String {
        let there = self.machine.upgrade().is_some_and(|m| m.tree.process(self.process.pid).is_some());
        let pid = if there { self.process.pid } else { -1 };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }
}

/// A new descriptor for `process`, closed on exec.
pub fn open(cx: &TaskCx, process: Arc<Process>, nonblocking: bool) -> Result<i32> {
    let machine = cx.machine();
    let ops = Arc::new(PidFd { process, machine: Arc::downgrade(machine) });
    let flags = if nonblocking { OpenFlags::RDWR | OpenFlags::NONBLOCK } else { OpenFlags::RDWR };
    let file = machine.vfs.anon_file(machine, "[pidfd]", ops, flags);
    cx.files.install(&cx.task, file, true)
}

/// The process that pidfd_send_signal(2) means: of a pidfd, or of an open directory /proc/PID. ESRCH when that is gone.
pub fn process_to_signal(cx: &TaskCx, fd: i32) -> Result<Arc<Process>> {
    let file = cx.files.get_io(fd)?;
    if let Some(p) = file.ops.as_any().downcast_ref::<PidFd>() {
        return Ok(p.process.clone());
    }
    file.path.inode()?.process().ok_or(EBADF)
}

/// The process behind a descriptor, and whether it is non-blocking. EBADF if it is no pidfd.
pub fn process_of(cx: &TaskCx, fd: i32) -> Result<(Arc<Process>, bool)> {
    let file = cx.files.get(fd)?;
    let p = file.ops.as_any().downcast_ref::<PidFd>().ok_or(EBADF)?;
    Ok((p.process.clone(), file.nonblocking()))
}
