//! signalfd(2).

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use abi::{SigInfo, SigSet, errno::EINVAL};
use ksync::{Mutex, WaitQueue};

use super::{
    file::{File, FileOps},
    poll::PollEvents,
};
use crate::{error::Result, io::Sink, locks, signal, task::Task};

/// Signals read as a file. Who reads takes its own; readiness is that of the task that made it (Linux asks the one that
/// polls).
pub struct SignalFd {
    mask: Mutex<SigSet>,
    owner: Weak<Task>,
    wait: Arc<WaitQueue>,
}

/// Bytes of a `signalfd_siginfo`.
const RECORD: usize = 128;

impl SignalFd {
    pub fn new(mask: SigSet, owner: &Arc<Task>) -> Arc<SignalFd> {
        Arc::new(SignalFd {
            mask: Mutex::new(locks::LEAF, mask),
            owner: Arc::downgrade(owner),
            wait: owner.process.signal_wait.clone(),
        })
    }
    pub fn set_mask(&self, mask: SigSet) {
        *self.mask.lock() = mask;
        self.wait.wake_all(0);
    }
}

impl FileOps for SignalFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _: u64) -> Result<usize> {
        if dst.remaining() < RECORD {
            return Err(EINVAL);
        }
        let mut done = 0;
        let next = || {
            let set = *self.mask.lock();
            signal::dequeue(task, set)
        };
        let first = task.wait_unless(file.nonblocking(), &[&task.process.signal_wait], next)?;
        let mut info: Option<SigInfo> = Some(first);
        while let Some(i) = info {
            done += dst.put(&abi::poll::encode_signalfd(&i))?;
            info = if dst.remaining() >= RECORD { next() } else { None };
        }
        Ok(done)
    }
    fn poll(&self, _: &File) -> PollEvents {
        let mask = *self.mask.lock();
        match self.owner.upgrade() {
            Some(t) if !signal::pending(&t).intersect(mask).is_empty() => PollEvents::IN | PollEvents::RDNORM,
            _ => PollEvents::empty(),
        }
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.wait.clone()]
    }
    fn fdinfo(&self, _: &File) -> String {
        format!("sigmask:\t{:016x}\n", self.mask.lock().bits())
    }
}
