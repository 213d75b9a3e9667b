//! Processor time and resource usage of tasks and processes (getrusage(2), times(2), CPU clocks).

use std::sync::{Arc, atomic::Ordering};

use super::{Process, Task, TaskCx, process::Usage};

impl Task {
    /// User and system nanoseconds used so far. Of a task that has ended: all it used.
    pub fn cpu_time_ns(&self) -> (u64, u64) {
        let past = (self.stats.user_ns.load(Ordering::Relaxed), self.stats.system_ns.load(Ordering::Relaxed));
        let clock = self.cpu_clock.lock().clone();
        match clock {
            // `past` then holds what replaced contexts used.
            Some(c) => {
                let now = c.cpu_time_ns();
                (past.0 + now.0, past.1 + now.1)
            }
            None => past,
        }
    }

    /// Resources used so far.
    pub fn usage(&self) -> Usage {
        let (user_ns, system_ns) = self.cpu_time_ns();
        let s = &self.stats;
        let major_faults = s.major_faults.load(Ordering::Relaxed);
        Usage {
            user_ns,
            system_ns,
            max_rss_kib: 0,
            minor_faults: s.faults.load(Ordering::Relaxed).saturating_sub(major_faults),
            major_faults,
            waits: s.waits.load(Ordering::Relaxed),
            preemptions: s.preemptions.load(Ordering::Relaxed),
        }
    }
}

impl TaskCx {
    /// Times of the present guest thread.
    fn context_time(&self) -> (u64, u64) {
        let clock = self.task.cpu_clock.lock().clone();
        clock.map_or_else(|| self.ctx.cpu_time_ns(), |c| c.cpu_time_ns())
    }

    fn store_times(&self, (user, system): (u64, u64)) {
        self.task.stats.user_ns.store(user, Ordering::Relaxed);
        self.task.stats.system_ns.store(system, Ordering::Relaxed);
    }

    /// Shows the processor time of the running task to others, where these cannot read it themselves.
    pub fn sample_cpu_time(&mut self) {
        if self.task.cpu_clock.lock().is_none() {
            let now = self.ctx.cpu_time_ns();
            self.store_times((now.0 + self.past_cpu_ns.0, now.1 + self.past_cpu_ns.1));
        }
    }

    /// Keeps what the present guest thread used, before it ends or is replaced.
    pub(super) fn keep_cpu_time(&mut self) {
        let now = self.context_time();
        *self.task.cpu_clock.lock() = None;
        self.past_cpu_ns = (self.past_cpu_ns.0 + now.0, self.past_cpu_ns.1 + now.1);
        self.store_times(self.past_cpu_ns);
    }
}

impl Process {
    /// Resources used by live and ended threads, largest resident set included.
    pub fn usage(&self) -> Usage {
        let (mut total, threads) = {
            let s = self.state.lock();
            (s.own_usage, s.threads.iter().filter_map(std::sync::Weak::upgrade).collect::<Vec<Arc<Task>>>())
        };
        for t in &threads {
            total += &t.usage();
        }
        if let Some(mm) = threads.first().and_then(|t| t.mm()) {
            let (private, shared) = mm.space.resident_bytes();
            total.max_rss_kib = total.max_rss_kib.max((private + shared) / 1024);
        }
        total
    }

    /// User and system nanoseconds of all threads, ended ones included.
    pub fn cpu_time_ns(&self) -> (u64, u64) {
        let (own, threads) = {
            let s = self.state.lock();
            (s.own_usage, s.threads.iter().filter_map(std::sync::Weak::upgrade).collect::<Vec<Arc<Task>>>())
        };
        threads.iter().fold((own.user_ns, own.system_ns), |sum, t| {
            let (u, s) = t.cpu_time_ns();
            (sum.0 + u, sum.1 + s)
        })
    }
}
