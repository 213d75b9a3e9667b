//! The kernel log: a ring of lines, shown on the console, in /dev/kmsg and by syslog(2).

use std::collections::VecDeque;

use ksync::{Mutex, WaitQueue};

use crate::locks;

/// One record (syslog(2) levels: 0 = emergency .. 7 = debug).
#[derive(Clone, Debug)]
pub struct Record {
    pub seq: u64,
    pub level: u8,
    pub time_ns: u64,
    pub text: String,
}

/// Bytes of text kept.
const CAPACITY: usize = 256 << 10;

/// A line printer of the console.
pub type ConsoleFn = dyn Fn(&Record) + Send + Sync;

struct Ring {
    records: VecDeque<Record>,
    bytes: usize,
    next: u64,
}

/// The ring and its readers.
pub struct KernelLog {
    ring: Mutex<Ring>,
    console: Mutex<Option<std::sync::Arc<ConsoleFn>>>,
    pub wait: WaitQueue,
}

impl Default for KernelLog {
    fn default() -> Self {
        KernelLog {
            ring: Mutex::new(locks::LEAF, Ring { records: VecDeque::new(), bytes: 0, next: 0 }),
            console: Mutex::new(locks::LEAF, None),
            wait: WaitQueue::new(),
        }
    }
}

impl KernelLog {
    /// Adds a line at `time_ns` (nanoseconds since start).
    pub fn print(&self, level: u8, time_ns: u64, text: impl Into<String>) {
        let record = {
            let mut r = self.ring.lock();
            let record = Record { seq: r.next, level, time_ns, text: text.into() };
            r.next += 1;
            r.bytes += record.text.len();
            r.records.push_back(record.clone());
            while r.bytes > CAPACITY
                && let Some(old) = r.records.pop_front()
            {
                r.bytes -= old.text.len();
            }
            record
        };
        let console = self.console.lock().clone();
        if let Some(c) = console {
            c(&record);
        }
        self.wait.wake_all(0);
    }

    /// Prints each later record also through `f`, after replaying what there is.
    pub fn set_console(&self, f: Option<std::sync::Arc<ConsoleFn>>) {
        let old: Vec<_> = self.ring.lock().records.iter().cloned().collect();
        if let Some(f) = &f {
            for r in &old {
                f(r);
            }
        }
        *self.console.lock() = f;
    }

    /// Records from number `seq` on.
    pub fn since(&self, seq: u64) -> Vec<Record> {
        self.ring.lock().records.iter().filter(|r| r.seq >= seq).cloned().collect()
    }
    pub fn next_seq(&self) -> u64 {
        self.ring.lock().next
    }
}
