//! POSIX timers (timer_create(2)).

use std::sync::{Arc, Weak};

use abi::{
    SigFields, SigInfo, Signal,
    errno::{EAGAIN, EINVAL},
    signal::SI_TIMER,
};

use super::{Armed, ClockId, Expiry, TimerId, expirations, itimer::MIN_INTERVAL, watch};
use crate::{
    error::Result,
    machine::Machine,
    signal::{is_ignored, send_to_process, send_to_task},
    task::{Process, Task, TaskCx},
};

/// What an expiration does.
#[derive(Clone)]
pub enum Notify {
    Nothing,
    Process(Signal),
    Thread(Signal, Weak<Task>),
}

/// One timer.
pub struct PosixTimer {
    clock: ClockId,
    notify: Notify,
    /// `sigev_value`.
    value: u64,
    /// Next expiration: monotonic nanoseconds, or processor time for such a clock; 0 if off.
    deadline: u64,
    interval: u64,
    armed: Option<TimerId>,
    generation: u64,
    /// Its signal is queued; the timer runs on when that is taken.
    queued: bool,
    overrun: i32,
}

/// Most timers of a process.
const MAX: usize = 4096;

impl PosixTimer {
    pub(super) fn disarm(&self, machine: &Machine) {
        if let Some(id) = self.armed {
            machine.timers.disarm(id);
        }
    }

    fn signal(&self) -> Option<Signal> {
        match self.notify {
            Notify::Nothing => None,
            Notify::Process(s) | Notify::Thread(s, _) => Some(s),
        }
    }
}

/// timer_create(2). EAGAIN if there are too many.
pub fn create(cx: &TaskCx, clock: ClockId, notify: Option<Notify>, value: Option<u64>) -> Result<i32> {
    let mut timers = cx.task.process.timers.lock();
    if timers.posix.len() >= MAX {
        return Err(EAGAIN);
    }
    let id = timers.next_id;
    timers.next_id = id.checked_add(1).unwrap_or(0);
    if timers.posix.contains_key(&id) {
        return Err(EAGAIN);
    }
    let notify = notify.unwrap_or(Notify::Process(Signal::SIGALRM));
    // Without a sigevent the value is the timer's id.
    let value = value.unwrap_or(u64::from(id.cast_unsigned()));
    let t = PosixTimer {
        clock,
        notify,
        value,
        deadline: 0,
        interval: 0,
        armed: None,
        generation: 0,
        queued: false,
        overrun: 0,
    };
    timers.posix.insert(id, t);
    Ok(id)
}

/// timer_delete(2).
pub fn delete(cx: &TaskCx, id: i32) -> Result<()> {
    let t = cx.task.process.timers.lock().posix.remove(&id).ok_or(EINVAL)?;
    t.disarm(cx.machine());
    cx.task.process.signals.lock().pending.discard_timer(id);
    for task in cx.task.process.threads() {
        task.signals.lock().pending.discard_timer(id);
    }
    Ok(())
}

/// Where the deadlines of a timer are counted.
fn base_ns(machine: &Machine, clock: &ClockId) -> u64 {
    if clock.is_cpu() { clock.cpu_ns() } else { machine.clock.monotonic_ns() }
}

/// Time left and interval of a timer, in nanoseconds (timer_gettime(2)).
pub fn get_timer(cx: &mut TaskCx, id: i32) -> Result<(u64, u64)> {
    cx.sample_cpu_time();
    let clock = cx.task.process.timers.lock().posix.get(&id).ok_or(EINVAL)?.clock.clone();
    let now = base_ns(cx.machine(), &clock);
    let timers = cx.task.process.timers.lock();
    let t = timers.posix.get(&id).ok_or(EINVAL)?;
    if t.deadline == 0 {
        return Ok((0, 0));
    }
    if t.deadline > now {
        return Ok((t.deadline - now, t.interval));
    }
    if t.interval == 0 {
        // One that tells nobody is over when its time is; others are about to be served.
        return Ok((if matches!(t.notify, Notify::Nothing) { 0 } else { 1 }, 0));
    }
    let n = expirations(t.deadline, t.interval, now);
    let next = t.deadline.saturating_add(n.saturating_mul(t.interval));
    Ok(((next - now).max(1), t.interval))
}

/// timer_settime(2): `value` from now, or on the timer's clock with `absolute`; 0 switches off. The old setting.
pub fn set_timer(cx: &mut TaskCx, id: i32, absolute: bool, value: u64, interval: u64) -> Result<(u64, u64)> {
    let old = get_timer(cx, id)?;
    let process = cx.task.process.clone();
    let machine = cx.machine().clone();
    let clock = process.timers.lock().posix.get(&id).ok_or(EINVAL)?.clock.clone();
    let deadline = if value == 0 {
        0
    } else if absolute {
        clock.to_monotonic(cx, value).unwrap_or(value).max(1)
    } else {
        base_ns(&machine, &clock).saturating_add(value)
    };
    let mut timers = process.timers.lock();
    timers.generation += 1;
    let generation = timers.generation;
    let t = timers.posix.get_mut(&id).ok_or(EINVAL)?;
    let before = t.armed.take();
    t.deadline = deadline;
    t.interval = if deadline == 0 { 0 } else { interval };
    t.generation = generation;
    t.queued = false;
    t.overrun = 0;
    if deadline != 0 && !clock.is_cpu() && t.signal().is_some() {
        let armed =
            Armed { machine: Arc::downgrade(&machine), process: Arc::downgrade(&process), generation };
        t.armed = Some(machine.timers.arm(deadline, Arc::new(Fire { armed, id })));
    }
    drop(timers);
    if let Some(id) = before {
        machine.timers.disarm(id);
    }
    if deadline != 0 && clock.is_cpu() {
        watch(&machine, &process);
    }
    Ok(old)
}

/// timer_getoverrun(2): expirations that the last delivered signal stood for beyond one.
pub fn get_overrun(cx: &TaskCx, id: i32) -> Result<i32> {
    cx.task.process.timers.lock().posix.get(&id).map(|t| t.overrun).ok_or(EINVAL)
}

/// A timer as /proc/PID/timers shows it.
pub struct TimerLine {
    pub id: i32,
    /// 0 for none.
    pub signal: i32,
    pub value: u64,
    /// The thread that is signalled, if it is one of its own.
    pub thread: Option<i32>,
    /// CLOCK_*.
    pub clock: i32,
}

/// All timers of a process.
pub fn list(process: &Process) -> Vec<TimerLine> {
    let timers = process.timers.lock();
    let line = |(id, t): (&i32, &PosixTimer)| TimerLine {
        id: *id,
        signal: t.signal().map_or(0, Signal::raw),
        value: t.value,
        thread: match &t.notify {
            Notify::Thread(_, task) => task.upgrade().map(|t| t.tid()),
            _ => None,
        },
        clock: t.clock.number(),
    };
    timers.posix.iter().map(line).collect()
}

struct Fire {
    armed: Armed,
    id: i32,
}

impl Expiry for Fire {
    fn expired(&self, now_ns: u64) -> Option<u64> {
        let (machine, process) = self.armed.get()?;
        let (notify, value) = {
            let mut timers = process.timers.lock();
            let t = timers.posix.get_mut(&self.id)?;
            if t.generation != self.armed.generation || t.deadline == 0 {
                return None;
            }
            t.armed = None;
            if t.interval == 0 {
                t.deadline = 0;
            } else if t.signal().is_some_and(|s| is_ignored(&process, s)) {
                let n = expirations(t.deadline, t.interval, now_ns);
                let next = t.deadline.saturating_add(n.saturating_mul(t.interval));
                t.deadline = next.max(now_ns.saturating_add(MIN_INTERVAL));
                let armed = Armed {
                    machine: self.armed.machine.clone(),
                    process: self.armed.process.clone(),
                    generation: self.armed.generation,
                };
                t.armed = Some(machine.timers.arm(t.deadline, Arc::new(Fire { armed, id: self.id })));
            }
            t.queued = true;
            (t.notify.clone(), t.value)
        };
        tell(&process, self.id, &notify, value);
        None
    }
}

fn tell(process: &Arc<Process>, id: i32, notify: &Notify, value: u64) {
    let info = |s| SigInfo::new(s, SI_TIMER, SigFields::Timer { id, overrun: 0, value });
    match notify {
        Notify::Nothing => {}
        Notify::Process(s) => send_to_process(process, info(*s)),
        Notify::Thread(s, task) => {
            if let Some(t) = task.upgrade() {
                send_to_task(&t, info(*s));
            }
        }
    }
}

/// The signal of a timer was taken: its overruns; a repeating timer is armed for its next time.
pub(super) fn delivered(process: &Arc<Process>, id: i32) -> i32 {
    let Some(machine) = process.threads().first().map(|t| t.machine.clone()) else { return 0 };
    let now = machine.clock.monotonic_ns();
    let mut timers = process.timers.lock();
    let Some(t) = timers.posix.get_mut(&id).filter(|t| t.queued) else { return 0 };
    t.queued = false;
    if t.clock.is_cpu() || t.interval == 0 || t.deadline == 0 || t.armed.is_some() {
        return t.overrun;
    }
    let n = expirations(t.deadline, t.interval, now);
    t.overrun = i32::try_from(n - 1).unwrap_or(i32::MAX);
    let next = t.deadline.saturating_add(n.saturating_mul(t.interval));
    t.deadline = next;
    let armed = Armed {
        machine: Arc::downgrade(&machine),
        process: Arc::downgrade(process),
        generation: t.generation,
    };
    let at = next.max(now.saturating_add(MIN_INTERVAL));
    t.armed = Some(machine.timers.arm(at, Arc::new(Fire { armed, id })));
    t.overrun
}

/// Fires timers of processor time that are due; what is left until the next.
pub(super) fn serve_cpu(process: &Arc<Process>) -> Option<u64> {
    let clocks: Vec<(i32, ClockId)> = {
        let timers = process.timers.lock();
        let armed = timers.posix.iter().filter(|(_, t)| t.deadline != 0 && t.clock.is_cpu());
        armed.map(|(id, t)| (*id, t.clock.clone())).collect()
    };
    let mut left = None::<u64>;
    for (id, clock) in clocks {
        let now = clock.cpu_ns();
        let mut timers = process.timers.lock();
        let Some(t) = timers.posix.get_mut(&id).filter(|t| t.deadline != 0) else { continue };
        let mut due = None;
        if now >= t.deadline {
            if t.interval == 0 {
                t.deadline = 0;
            } else {
                let n = expirations(t.deadline, t.interval, now);
                t.deadline = t.deadline.saturating_add(n.saturating_mul(t.interval));
                t.overrun = i32::try_from(n - 1).unwrap_or(i32::MAX);
            }
            t.queued = true;
            due = Some((t.notify.clone(), t.value));
        }
        if t.deadline != 0 {
            let rest = t.deadline.saturating_sub(now);
            left = Some(left.map_or(rest, |l| l.min(rest)));
        }
        drop(timers);
        if let Some((notify, value)) = due {
            tell(process, id, &notify, value);
        }
    }
    left
}
