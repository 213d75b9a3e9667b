//! eventfd(2).

use std::{any::Any, sync::Arc};

use abi::errno::EINVAL;
use ksync::{Mutex, WaitQueue};

use super::{
    file::{File, FileOps},
    poll::PollEvents,
};
use crate::{
    error::Result,
    io::{Sink, Source},
    locks,
    task::Task,
};

/// Largest count a write can make.
const MAX: u64 = u64::MAX - 1;

/// A counter to wait for.
pub struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    wait: Arc<WaitQueue>,
}

impl EventFd {
    pub fn new(initial: u64, semaphore: bool) -> Arc<EventFd> {
        let wait = Arc::new(WaitQueue::new());
        Arc::new(EventFd { count: Mutex::new(locks::LEAF, initial), semaphore, wait })
    }
}

impl FileOps for EventFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _: u64) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(EINVAL);
        }
        let value = task.wait_unless(file.nonblocking(), &[&self.wait], || {
            let mut c = self.count.lock();
            let take = if self.semaphore { (*c).min(1) } else { *c };
            *c -= take;
            (take > 0).then_some(take)
        })?;
        self.wait.wake_all(PollEvents::OUT.bits());
        dst.put(&value.to_le_bytes())
    }
    fn write(&self, file: &File, task: &Task, src: &mut dyn Source, _: u64) -> Result<usize> {
        if src.remaining() != 8 {
            return Err(EINVAL);
        }
        let mut raw = [0; 8];
        if src.take(&mut raw)? < 8 {
            return Err(abi::errno::EFAULT);
        }
        let add = u64::from_le_bytes(raw);
        if add == u64::MAX {
            return Err(EINVAL);
        }
        task.wait_unless(file.nonblocking(), &[&self.wait], || {
            let mut c = self.count.lock();
            (add <= MAX - *c).then(|| *c += add)
        })?;
        self.wait.wake_all(PollEvents::IN.bits());
        Ok(8)
    }
    fn poll(&self, _: &File) -> PollEvents {
        let c = *self.count.lock();
        let mut e = PollEvents::empty();
        if c > 0 {
            e |= PollEvents::IN | PollEvents::RDNORM;
        }
        if c < MAX {
            e |= PollEvents::OUT | PollEvents::WRNORM;
        }
        e
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.wait.clone()]
    }
    fn fdinfo(&self, _: &File) -> String {
        format!("eventfd-count: {:16x}\n", *self.count.lock())
    }
}
