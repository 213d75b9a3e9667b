//! Which processor a task runs on, and whether its two halves spin.
//!
//! A guest thread, its stub's service thread and its kernel thread hand over to each other thousands of times a second.
//! On one processor such a hand-over costs about a microsecond; to another processor that has gone idle it costs fifty
//! and more on virtual machines. So all three stay on one processor, a fork begins where its parent runs, and the
//! *balancer* spreads tasks only when some really wait for a processor while another has nothing to do: it reads how
//! long each active guest thread waited to run (proc_pid_schedstat(5)).
//!
//! A task that is alone and calls often may use two processors: the guest thread on one, the kernel thread on the other,
//! both spinning for some microseconds before they sleep.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering::*},
    },
    time::{Duration, Instant},
};

use crate::{engine::lock, sys::process, thread::Thread};

/// Time between two looks of the balancer.
const TICK: Duration = Duration::from_millis(10);
/// Ticks without any event after which it sleeps until one comes.
const QUIET: u32 = 20;
/// Guest threads looked at closely in a tick.
const CLOSE: usize = 32;
/// How long either half spins.
const SPIN: Duration = Duration::from_micros(20);
/// Events in a tick that make spinning worth while.
const BUSY: u32 = 300;
/// Ticks to wait after spinning was of no use, and after a move.
const COOL: u32 = 30;
/// No processor chosen.
const NONE: u32 = u32::MAX;

thread_local! {
    /// Where the calling kernel thread confined itself.
    static HERE: Cell<u32> = const { Cell::new(NONE) };
}

/// What the balancer knows of a guest thread. Part of [`Thread`].
pub(crate) struct Seat {
    /// Processor of the task.
    cpu: AtomicU32,
    /// Processor that its host thread is confined to.
    placed: AtomicU32,
    /// Host thread number of its kernel thread.
    kernel: AtomicU32,
    /// Events so far.
    events: AtomicU32,
    in_guest: AtomicBool,
    /// Rounds that the kernel thread spins.
    pub(crate) spin: AtomicU32,
    /// Waits that spinning shortened, and those that it did not.
    hits: AtomicU32,
    misses: AtomicU32,
}

impl Seat {
    pub(crate) fn new() -> Seat {
        Seat {
            cpu: AtomicU32::new(NONE),
            placed: AtomicU32::new(NONE),
            kernel: AtomicU32::new(0),
            events: AtomicU32::new(0),
            in_guest: AtomicBool::new(false),
            spin: AtomicU32::new(0),
            hits: AtomicU32::new(0),
            misses: AtomicU32::new(0),
        }
    }

    /// Counts a wait.
    pub(crate) fn waited(&self, spun: bool, hit: bool) {
        self.in_guest.store(false, Relaxed);
        if spun {
            let word = if hit { &self.hits } else { &self.misses };
            word.store(word.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// Whether the kernel thread has resumed the guest thread and waits for it.
    pub(crate) fn is_in_guest(&self) -> bool {
        self.in_guest.load(Relaxed)
    }

    /// Notes where the host thread is confined.
    pub(crate) fn placed(&self, cpu: usize) {
        self.placed.store(cpu as u32, Relaxed);
    }

    /// A new task sits down.
    pub(crate) fn clear(&self) {
        self.cpu.store(NONE, Relaxed);
        self.spin.store(0, Relaxed);
    }
}

/// The processors of a machine.
pub(crate) struct Placement {
    cpus: Vec<usize>,
    seats: Mutex<Vec<Weak<Thread>>>,
    asleep: AtomicBool,
    closed: AtomicBool,
    balancer: OnceLock<std::thread::Thread>,
    /// Rounds of a spin loop.
    rounds: u32,
}

impl Placement {
    /// For the processors that the process may use, `limit` of them at most (0 = all). Where nobody can see who waits
    /// (`sees` is false), the host places tasks on them.
    pub(crate) fn start(limit: u32, sees: bool) -> Arc<Placement> {
        let mut cpus = process::allowed_cpus();
        if limit != 0 {
            cpus.truncate(limit as usize);
        }
        if !sees && cpus.len() > 1 {
            // All threads and stubs are yet to come, and inherit it.
            process::set_affinity(0, &cpus);
            cpus.clear();
        }
        let p = Arc::new(Placement {
            cpus,
            seats: Mutex::default(),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            balancer: OnceLock::new(),
            rounds: calibrate(),
        });
        if p.cpus.len() > 1 {
            let me = p.clone();
            let run = move || {
                crate::signals::block_all();
                me.balance();
            };
            // Without it tasks stay where they begin.
            if let Ok(t) =
                std::thread::Builder::new().name("balancer".into()).stack_size(128 << 10).spawn(run)
            {
                let _ = p.balancer.set(t.thread().clone());
            }
        }
        p
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        if let Some(t) = self.balancer.get() {
            t.unpark();
        }
    }

    /// Called by a kernel thread before it resumes its guest thread.
    pub(crate) fn before_resume(&self, thread: &Arc<Thread>) {
        let seat = &thread.seat;
        let cpu = seat.cpu.load(Relaxed);
        if cpu == NONE {
            self.sit_down(thread);
        } else if HERE.get() != cpu {
            process::set_affinity(0, &[cpu as usize]);
            HERE.set(cpu);
        }
        seat.events.store(seat.events.load(Relaxed).wrapping_add(1), Relaxed);
        seat.in_guest.store(true, Relaxed);
        if self.asleep.load(Relaxed)
            && self.asleep.swap(false, SeqCst)
            && let Some(t) = self.balancer.get()
        {
            t.unpark();
        }
    }

    /// The processors of the machine; none if the host places tasks.
    pub(crate) fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Where the calling kernel thread runs; `None` if that is open.
    pub(crate) fn here(&self) -> Option<usize> {
        let here = HERE.get();
        (here != NONE && self.cpus.contains(&(here as usize))).then_some(here as usize)
    }

    /// Gives a task its first processor: where its maker runs.
    fn sit_down(&self, thread: &Arc<Thread>) {
        if self.cpus.is_empty() {
            return;
        }
        let now = thread.stub.service_cpu().unwrap_or_else(process::current_cpu);
        let cpu = if self.cpus.contains(&now) { now } else { self.cpus[0] };
        if HERE.get() != cpu as u32 {
            process::set_affinity(0, &[cpu]);
            HERE.set(cpu as u32);
        }
        if thread.seat.placed.load(Relaxed) != cpu as u32 {
            thread.confine(cpu);
        }
        thread.seat.kernel.store(process::own_tid() as u32, Relaxed);
        thread.seat.cpu.store(cpu as u32, Relaxed);
        let mut seats = lock(&self.seats);
        if seats.len() % 64 == 63 {
            seats.retain(|s| s.strong_count() > 0);
        }
        if !seats.iter().any(|s| std::ptr::eq(s.as_ptr(), Arc::as_ptr(thread))) {
            seats.push(Arc::downgrade(thread));
        }
    }

    fn balance(&self) {
        let mut quiet = 0;
        let mut memory: Vec<(Weak<Thread>, Past)> = Vec::new();
        while !self.closed.load(SeqCst) {
            if quiet >= QUIET {
                self.asleep.store(true, SeqCst);
                while self.asleep.load(SeqCst) && !self.closed.load(SeqCst) {
                    std::thread::park_timeout(Duration::from_secs(1));
                }
                quiet = 0;
            }
            std::thread::sleep(TICK);
            let seats: Vec<Weak<Thread>> = {
                let mut seats = lock(&self.seats);
                seats.retain(|s| s.strong_count() > 0);
                seats.clone()
            };
            memory.retain(|(t, _)| t.strong_count() > 0);
            for s in seats {
                if !memory.iter().any(|(t, _)| t.ptr_eq(&s)) {
                    memory.push((s, Past::default()));
                }
            }
            let active = self.look(&mut memory);
            quiet = if active == 0 { quiet + 1 } else { 0 };
        }
    }

    /// One look at all; the number of tasks that did something.
    fn look(&self, memory: &mut [(Weak<Thread>, Past)]) -> usize {
        let mut count = vec![0u32; self.cpus.len()];
        let index = |cpu: u32| self.cpus.iter().position(|&c| c as u32 == cpu);
        let mut active: Vec<(Arc<Thread>, &mut Past, u32)> = Vec::new();
        for (thread, past) in memory.iter_mut() {
            past.cool = past.cool.saturating_sub(1);
            let Some(thread) = thread.upgrade() else { continue };
            let events = thread.seat.events.load(Relaxed);
            let new = events.wrapping_sub(past.events);
            past.events = events;
            if new == 0 && !thread.seat.in_guest.load(Relaxed) {
                continue;
            }
            if active.len() < CLOSE {
                active.push((thread, past, new));
            }
        }
        let mut busy = 0;
        for (thread, past, new) in &mut active {
            let now = Instant::now();
            let (ran, waited) = thread.schedstat();
            let interval = past.at.map_or(Duration::ZERO, |t| now - t).as_nanos() as u64;
            past.starved = interval > 0 && waited.saturating_sub(past.waited) > interval / 4;
            let load = ran.saturating_sub(past.ran);
            past.light = interval > 0 && load < interval / 3 && !past.starved;
            past.idle = *new == 0 && load == 0 && waited == past.waited;
            (past.at, past.ran, past.waited) = (Some(now), ran, waited);
            if !past.idle {
                busy += 1;
                if let Some(i) = index(thread.seat.cpu.load(Relaxed)) {
                    count[i] += 1;
                }
            }
        }
        // Spinning first: it ends as soon as there is company.
        for (thread, past, new) in &mut active {
            let seat = &thread.seat;
            let spins = seat.spin.load(Relaxed) != 0;
            let (hits, misses) = (seat.hits.swap(0, Relaxed), seat.misses.swap(0, Relaxed));
            if spins && (busy > 1 || misses > hits / 8 || past.starved) {
                self.set_spin(thread, false);
                past.cool = COOL;
            } else if !spins && busy == 1 && *new >= BUSY && past.cool == 0 && self.cpus.len() > 1 {
                self.set_spin(thread, true);
            }
        }
        // One move at a time.
        let least = (0..count.len()).min_by_key(|&i| count[i]).unwrap_or(0);
        let most = (0..count.len()).max_by_key(|&i| count[i]).unwrap_or(0);
        let starved = active.iter_mut().find(|(t, past, _)| {
            past.starved && past.cool == 0 && index(t.seat.cpu.load(Relaxed)) == Some(most)
        });
        if count[most] >= count[least] + 2 {
            if let Some((thread, past, _)) = starved {
                self.move_to(thread, self.cpus[least]);
                past.cool = COOL;
            }
        } else if busy > 1 && busy <= 4 && active.iter().all(|(_, p, _)| p.light || p.idle) {
            // Those who hardly use a processor each are better off on one: they talk to each other.
            let apart = active.iter_mut().find(|(t, past, _)| {
                !past.idle && past.cool == 0 && index(t.seat.cpu.load(Relaxed)).is_some_and(|i| i != most)
            });
            if let Some((thread, past, _)) = apart {
                self.move_to(thread, self.cpus[most]);
                past.cool = COOL / 2;
            }
        }
        busy
    }

    fn move_to(&self, thread: &Thread, cpu: usize) {
        thread.seat.cpu.store(cpu as u32, Relaxed);
        thread.confine(cpu);
        // The task may have ended, and its number may be anybody's by now.
        let kernel = thread.seat.kernel.load(Relaxed) as i32;
        if process::signal_thread(process::own_pid(), kernel, 0).is_ok() {
            process::set_affinity(kernel, &[cpu]);
        }
    }

    /// Lets the halves of a task run on two processors and spin, or brings them together again.
    fn set_spin(&self, thread: &Thread, on: bool) {
        let cpu = thread.seat.cpu.load(Relaxed);
        if on {
            let Some(&other) = self.cpus.iter().find(|&&c| c as u32 != cpu) else { return };
            thread.confine(other);
            thread.set_stub_spin(self.rounds);
            thread.seat.spin.store(self.rounds, Relaxed);
        } else {
            thread.seat.spin.store(0, Relaxed);
            thread.set_stub_spin(0);
            thread.confine(cpu as usize);
        }
    }
}

/// What the balancer remembers of a thread.
#[derive(Default)]
struct Past {
    events: u32,
    at: Option<Instant>,
    ran: u64,
    waited: u64,
    starved: bool,
    light: bool,
    idle: bool,
    cool: u32,
}

/// Rounds of a spin loop that take [`SPIN`].
fn calibrate() -> u32 {
    let mut least = Duration::MAX;
    for _ in 0..5 {
        let t = Instant::now();
        (0..200).for_each(|_| std::hint::spin_loop());
        least = least.min(t.elapsed());
    }
    let per_round = (least.as_nanos() as u64 / 200).max(1);
    (SPIN.as_nanos() as u64 / per_round).clamp(50, 20_000) as u32
}
