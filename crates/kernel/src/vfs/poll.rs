//! Readiness (poll(2)).

use std::sync::Arc;

use ksync::WaitQueue;

use super::file::File;
use crate::{
    error::Result,
    task::{Task, TaskCx},
};

bitflags::bitflags! {
    /// POLL* bits, also used by epoll (same numbers) and as wake keys.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct PollEvents: u32 {
        const IN = 0x001;
        const PRI = 0x002;
        const OUT = 0x004;
        const ERR = 0x008;
        const HUP = 0x010;
        const NVAL = 0x020;
        const RDNORM = 0x040;
        const RDBAND = 0x080;
        const WRNORM = 0x100;
        const WRBAND = 0x200;
        const MSG = 0x400;
        const RDHUP = 0x2000;
    }
}

impl PollEvents {
    /// With these bits, all those that come with them: wakes may name the plain bit of a direction alone.
    pub(crate) fn with_plain(self) -> PollEvents {
        let mut all = self | PollEvents::ERR | PollEvents::HUP;
        if self.intersects(PollEvents::RDNORM | PollEvents::RDBAND) {
            all |= PollEvents::IN;
        }
        if self.intersects(PollEvents::WRNORM | PollEvents::WRBAND) {
            all |= PollEvents::OUT;
        }
        all
    }
}

/// One file to wait for, and which events count.
pub struct PollEntry {
    pub file: Arc<File>,
    pub want: PollEvents,
    /// What it is ready for, after [`poll_files`].
    pub got: PollEvents,
}

fn scan(entries: &mut [PollEntry]) -> usize {
    let mut ready = 0;
    for e in entries {
        e.got = e.file.ops.poll(&e.file) & e.want;
        ready += usize::from(!e.got.is_empty());
    }
    ready
}

/// Waits until one of the files is ready; returns how many are, 0 at the deadline. `timeout_ns`: `Some(0)` only looks.
pub fn poll_files(cx: &mut TaskCx, entries: &mut [PollEntry], timeout_ns: Option<u64>) -> Result<usize> {
    let ready = scan(entries);
    if ready > 0 || timeout_ns == Some(0) {
        return Ok(ready);
    }
    let deadline = cx.deadline(timeout_ns);
    let task: &Task = &cx.task;
    let of = |e: &PollEntry| {
        let events = e.want.with_plain().bits();
        e.file.ops.poll_queues().into_iter().map(move |q| (q, events))
    };
    let queues: Vec<(Arc<WaitQueue>, u32)> = entries.iter().flat_map(of).collect();
    let result = task.wait_for(queues.iter().map(|(q, events)| (&**q, *events)), deadline, || {
        let n = scan(entries);
        (n > 0).then_some(n)
    });
    match result {
        Err(abi::errno::ETIMEDOUT) => Ok(0),
        other => other,
    }
}
