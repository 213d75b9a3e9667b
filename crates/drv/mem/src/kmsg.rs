//! /dev/kmsg: the kernel log, one record a read.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use abi::{OpenFlags, errno};
use kernel::{
    Machine, Result,
    io::{Sink, Source},
    task::Task,
    vfs::{
        file::{File, FileOps},
        poll::PollEvents,
    },
};

/// Longest line a program may add.
const LINE_MAX: usize = 976;

struct Kmsg {
    machine: std::sync::Weak<Machine>,
    next: AtomicU64,
}

pub(crate) fn open(flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
    let first = task.machine.log.since(0).first().map_or(0, |r| r.seq);
    let _ = flags;
    Ok(Arc::new(Kmsg { machine: Arc::downgrade(&task.machine), next: AtomicU64::new(first) }))
}

impl FileOps for Kmsg {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _: u64) -> Result<usize> {
        let log = &task.machine.log;
        let record = task.wait_unless(file.nonblocking(), &[&log.wait], || {
            log.since(self.next.load(Ordering::Relaxed)).into_iter().next()
        })?;
        let line = format!("{},{},{},-;{}\n", record.level, record.seq, record.time_ns / 1000, record.text);
        if dst.remaining() < line.len() {
            return Err(errno::EINVAL);
        }
        self.next.store(record.seq + 1, Ordering::Relaxed);
        dst.put(line.as_bytes())
    }
    fn write(&self, _: &File, task: &Task, src: &mut dyn Source, _: u64) -> Result<usize> {
        let total = src.remaining();
        if total > LINE_MAX {
            return Err(errno::EINVAL);
        }
        let mut buf = vec![0; total];
        let n = src.take(&mut buf)?;
        let text = String::from_utf8_lossy(&buf[..n]);
        let mut text = text.trim_end_matches('\n');
        let mut level = 4;
        if let Some(rest) = text.strip_prefix('<')
            && let Some((num, rest)) = rest.split_once('>')
            && let Ok(v) = num.parse::<u32>()
        {
            level = (v & 7) as u8;
            text = rest;
        }
        task.machine.log.print(level, task.machine.clock.uptime_ns(), text);
        Ok(n)
    }
    fn poll(&self, _: &File) -> PollEvents {
        let more =
            self.machine.upgrade().is_some_and(|m| m.log.next_seq() > self.next.load(Ordering::Relaxed));
        let mut e = PollEvents::OUT | PollEvents::WRNORM;
        if more {
            e |= PollEvents::IN | PollEvents::RDNORM;
        }
        e
    }
}
