//! timerfd_create(2).

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use abi::errno::EINVAL;
use ksync::{Mutex, WaitQueue};

use super::{
    file::{File, FileOps},
    poll::PollEvents,
};
use crate::{
    error::Result,
    io::Sink,
    locks,
    machine::Machine,
    task::Task,
    time::{Expiry, TimerId},
};

/// Which time it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerClock {
    Realtime,
    Monotonic,
    Boottime,
}

#[derive(Default)]
struct State {
    /// Monotonic nanoseconds of the next expiration; 0 if disarmed.
    deadline: u64,
    interval: u64,
    /// Expirations not read yet.
    ticks: u64,
    armed: Option<TimerId>,
}

/// A timer read as a file.
pub struct TimerFd {
    machine: Weak<Machine>,
    clock: TimerClock,
    state: Mutex<State>,
    wait: Arc<WaitQueue>,
}

impl TimerFd {
    pub fn new(machine: &Arc<Machine>, clock: TimerClock) -> Arc<TimerFd> {
        Arc::new(TimerFd {
            machine: Arc::downgrade(machine),
            clock,
            state: Mutex::new(locks::LEAF, State::default()),
            wait: Arc::new(WaitQueue::new()),
        })
    }

    fn now(&self, m: &Machine) -> u64 {
        match self.clock {
            TimerClock::Realtime => m.clock.realtime_ns(),
            TimerClock::Monotonic => m.clock.monotonic_ns(),
            TimerClock::Boottime => m.clock.boottime_ns(),
        }
    }

    /// Time until the next expiration (0 if disarmed) and the interval, in nanoseconds (timerfd_gettime).
    pub fn get(&self) -> (u64, u64) {
        let Some(m) = self.machine.upgrade() else { return (0, 0) };
        let s = self.state.lock();
        let left = if s.deadline == 0 { 0 } else { s.deadline.saturating_sub(m.clock.monotonic_ns()).max(1) };
        (left, s.interval)
    }

    /// Arms for `value` nanoseconds from now, or at that time of the clock; 0 disarms. Returns what [`TimerFd::get`] would
    /// have.
    pub fn set(self: &Arc<Self>, absolute: bool, value: u64, interval: u64) -> (u64, u64) {
        let old = self.get();
        let Some(m) = self.machine.upgrade() else { return old };
        let now = m.clock.monotonic_ns();
        let deadline = match (value, absolute) {
            (0, _) => 0,
            (v, false) => now.saturating_add(v),
            (v, true) => now.saturating_add(v.saturating_sub(self.now(&m))).max(1),
        };
        let stale = {
            let mut s = self.state.lock();
            let stale = s.armed.take();
            *s = State { deadline, interval, ticks: 0, armed: None };
            stale
        };
        if let Some(id) = stale {
            m.timers.disarm(id);
        }
        if deadline != 0 {
            let id = m.timers.arm(deadline, Arc::new(Tick(Arc::downgrade(self))));
            let mut s = self.state.lock();
            // A setting by another thread in between has its own timer.
            if s.deadline == deadline { s.armed = Some(id) } else { drop(s) }
        }
        old
    }
}

struct Tick(Weak<TimerFd>);

impl Expiry for Tick {
    fn expired(&self, now_ns: u64) -> Option<u64> {
        let t = self.0.upgrade()?;
        let again = {
            let mut s = t.state.lock();
            if s.deadline == 0 || s.deadline > now_ns {
                return None;
            }
            match (now_ns - s.deadline).checked_div(s.interval) {
                None => {
                    s.ticks += 1;
                    s.deadline = 0;
                    None
                }
                Some(missed) => {
                    let n = missed + 1;
                    s.ticks = s.ticks.saturating_add(n);
                    s.deadline = s.deadline.saturating_add(n.saturating_mul(s.interval));
                    Some(s.deadline)
                }
            }
        };
        t.wait.wake_all(PollEvents::IN.bits());
        again
    }
}

impl FileOps for TimerFd {
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
        let ticks = task.wait_unless(file.nonblocking(), &[&self.wait], || {
            let n = std::mem::take(&mut self.state.lock().ticks);
            (n > 0).then_some(n)
        })?;
        dst.put(&ticks.to_le_bytes())
    }
    fn poll(&self, _: &File) -> PollEvents {
        if self.state.lock().ticks > 0 { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.wait.clone()]
    }
    fn fdinfo(&self, _: &File) -> String {
        let (left, interval) = self.get();
        let clock = match self.clock {
            TimerClock::Realtime => 0,
            TimerClock::Monotonic => 1,
            TimerClock::Boottime => 7,
        };
        let split = |ns: u64| (ns / 1_000_000_000, ns % 1_000_000_000);
        let ((a, b), (c, d)) = (split(left), split(interval));
        let ticks = self.state.lock().ticks;
        format!(
            "clockid: {clock}\nticks: {ticks}\nsettime flags: 00\nit_value: ({a}, {b})\nit_interval: ({c}, {d})\n"
        )
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        if let Some(id) = self.state.get_mut().armed.take()
            && let Some(m) = self.machine.upgrade()
        {
            m.timers.disarm(id);
        }
    }
}
