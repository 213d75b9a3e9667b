//! Which processor a task runs on, and whether its two halves spin.
//!
//! A guest thread, its stub's service thread and its kernel thread hand over to each other thousands of times a second.
//! On one processor such a hand-over costs about a microsecond; to another processor that has gone idle it costs fifty
//! and more on virtual machines. So all three stay on one processor, a fork begins where its parent runs, and the
//! *balancer* spreads tasks only when some really wait for a processor while another has nothing to do: it reads how
//! long each active guest thread waited to run (proc_pid_schedstat(5)). What keeps a task waiting may be nothing of this
//! machine's; the host cannot help, as the task is confined. So one that waits again and again goes where a processor has
//! been free ([`crate::idle`]).
//!
//! A task may also use two processors: its guest thread goes *out* to another one, and both halves spin for a while before
//! they sleep. A system call then costs no switch at all. It pays for a task that calls often and is answered at once,
//! while the machine leaves the other processor free; so the kernel thread of each task counts what spinning saved and
//! what it cost, and sends its guest thread out or calls it home by that. A wake-up of a sleeper on another processor is
//! what costs: twenty microseconds and more, several times what a call saves.
//!
//! The machine's processors are the host's in their order. What a guest asks for by sched_setaffinity(2) is obeyed when its
//! thread is resumed next.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::*},
    },
    time::{Duration, Instant},
};

use crate::{
    company::{self, Company, Member, Recent},
    engine::lock,
    idle::Idle,
    sys::process,
    thread::Thread,
    vdso::Numbers,
    x86_64::cycles,
};

/// Time between two looks of the balancer.
const TICK: Duration = Duration::from_millis(10);
/// Ticks without any event after which it sleeps until one comes.
const QUIET: u32 = 20;
/// Guest threads looked at closely in a tick.
const CLOSE: usize = 32;
/// How long a guest thread that is out spins for its answer: about what a wake-up from afar costs.
const SPIN: Duration = Duration::from_micros(30);
/// How long its kernel thread spins for the next call: nothing else wants that processor.
const PATIENCE: Duration = Duration::from_micros(200);
/// A call and its answer that take no longer than this are *quick*.
const QUICK: Duration = Duration::from_micros(60);
/// Quick calls in a row after which a thread goes out for the first time; twice as many after an outing that did not pay,
/// and at most so many.
const STREAK: u32 = 24;
const STREAK_MAX: u32 = 4096;
/// What an outing, or a sleep during one, costs in quick calls saved.
const COST: i32 = 8;
/// Most that is counted in favour of an outing.
const CREDIT_MAX: i32 = 64;
/// Ticks without outings after the machine had more to do than processors for it.
const CROWDED: u32 = 10;
/// Calls in a tick that make a task one that has something to do.
const BUSY: u32 = 100;
/// Looks after which the host's account of a thread stays open: opening it costs more than reading it.
const LOOKS: u32 = 4;
/// Ticks to wait after a move.
const COOL: u32 = 30;
/// Ticks of waiting, less those without, after which a task looks around for a processor that others leave free, and
/// after which it goes there, with up to so many more by chance: two machines that share a processor must not both leave
/// it for the same other one, again and again.
const STARVING: u32 = 4;
const LEAVING: u32 = 16;
const CHANCE: u32 = 31;
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
    /// Processors of the machine that the guest lets it run on, one bit each.
    allowed: AtomicU64,
    /// Host thread number of its kernel thread.
    kernel: AtomicU32,
    /// Events so far.
    events: AtomicU32,
    in_guest: AtomicBool,
    /// Its guest thread is out. This and what follows is written by the kernel thread alone.
    out: AtomicBool,
    /// Quick calls in a row, and how many of them send the guest thread out.
    streak: AtomicU32,
    need: AtomicU32,
    /// What the outing has saved so far.
    credit: AtomicI32,
    /// When the guest thread was resumed last, in processor cycles.
    resumed: AtomicU64,
    /// Others wait for the kernel thread's processor.
    way: AtomicBool,
    company: Company,
}

impl Seat {
    pub(crate) fn new() -> Seat {
        Seat {
            cpu: AtomicU32::new(NONE),
            placed: AtomicU32::new(NONE),
            allowed: AtomicU64::new(u64::MAX),
            kernel: AtomicU32::new(0),
            events: AtomicU32::new(0),
            in_guest: AtomicBool::new(false),
            out: AtomicBool::new(false),
            streak: AtomicU32::new(0),
            need: AtomicU32::new(STREAK),
            credit: AtomicI32::new(0),
            resumed: AtomicU64::new(0),
            way: AtomicBool::new(false),
            company: Company::default(),
        }
    }

    /// A number for the task, and its processor.
    pub(crate) fn place(&self) -> (u64, u32) {
        (std::ptr::from_ref(self).addr() as u64, self.cpu.load(Relaxed))
    }

    /// The task was woken by one that had this place.
    pub(crate) fn woken_from(&self, (waker, cpu): (u64, u32)) {
        self.company.woken(waker, cpu == self.cpu.load(Relaxed));
    }

    /// Others wait for the kernel thread's processor: it gives way before it spins.
    pub(crate) fn make_way(&self) {
        self.way.store(true, Relaxed);
    }

    /// Whether the kernel thread should spin for the guest thread.
    pub(crate) fn is_out(&self) -> bool {
        self.out.load(Relaxed)
    }

    /// The guest thread has stopped; `slept` if its kernel thread had to be woken.
    pub(crate) fn waited(&self, slept: bool) {
        self.in_guest.store(false, Relaxed);
        if slept && self.is_out() {
            self.charge();
        }
    }

    fn charge(&self) {
        self.credit.store(self.credit.load(Relaxed) - COST, Relaxed);
    }

    /// Whether the kernel thread has resumed the guest thread and waits for it.
    pub(crate) fn is_in_guest(&self) -> bool {
        self.in_guest.load(Relaxed)
    }

    /// The guest lets it run on these processors.
    pub(crate) fn set_allowed(&self, mask: u64) {
        self.allowed.store(mask, Relaxed);
    }

    /// Notes where the host thread is confined.
    pub(crate) fn placed(&self, cpu: usize) {
        self.placed.store(cpu as u32, Relaxed);
    }

    /// A new task sits down.
    pub(crate) fn clear(&self) {
        self.cpu.store(NONE, Relaxed);
        self.out.store(false, Relaxed);
        self.streak.store(0, Relaxed);
        self.need.store(STREAK, Relaxed);
    }
}

/// The processors of a machine.
pub(crate) struct Placement {
    cpus: Vec<usize>,
    seats: Mutex<Vec<Weak<Thread>>>,
    asleep: AtomicBool,
    closed: AtomicBool,
    balancer: OnceLock<std::thread::Thread>,
    pace: Pace,
    /// Ticks until guest threads may go out again.
    crowded: AtomicU32,
    /// The processor with the least to do.
    calm: AtomicU32,
}

/// How fast the processor is.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Rounds of the stub's spin loop that take [`SPIN`].
    rounds: u32,
    /// Cycles of [`QUICK`] and of [`PATIENCE`].
    quick: u64,
    patience: u64,
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
            pace: Pace::measure(),
            crowded: AtomicU32::new(0),
            calm: AtomicU32::new(NONE),
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

    /// Where guest threads run by their own numbers of processors. `limit` as for [`Placement::start`].
    pub(crate) fn numbers(&self, limit: u32) -> Numbers {
        let Some(&first) = self.cpus.first() else { return Numbers::Otherwise };
        let in_order = self.cpus.iter().enumerate().all(|(i, &c)| c == first + i);
        if in_order && limit as usize <= self.cpus.len() {
            Numbers::From(first as u32)
        } else {
            Numbers::Otherwise
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        if let Some(t) = self.balancer.get() {
            t.unpark();
        }
    }

    /// Called by a kernel thread before it resumes its guest thread; `asleep` if the guest thread must be woken.
    pub(crate) fn before_resume(&self, thread: &Arc<Thread>, asleep: bool) {
        let seat = &thread.seat;
        let cpu = seat.cpu.load(Relaxed);
        if cpu == NONE {
            self.sit_down(thread);
        } else if HERE.get() != cpu {
            process::set_affinity(0, &[cpu as usize]);
            HERE.set(cpu);
        }
        if seat.allowed.load(Relaxed) != u64::MAX {
            self.obey(thread);
        }
        let now = cycles();
        if self.cpus.len() > 1 {
            self.consider(thread, now, asleep);
        }
        seat.resumed.store(now, Relaxed);
        seat.events.store(seat.events.load(Relaxed).wrapping_add(1), Relaxed);
        seat.in_guest.store(true, Relaxed);
        if self.asleep.load(Relaxed)
            && self.asleep.swap(false, SeqCst)
            && let Some(t) = self.balancer.get()
        {
            t.unpark();
        }
    }

    /// Whether the guest lets a thread run on a processor. A machine with more processors than the host gives it has
    /// several of them on each of the host's.
    fn may_use(&self, seat: &Seat, cpu: u32) -> bool {
        let allowed = seat.allowed.load(Relaxed);
        let Some(i) = self.cpus.iter().position(|&c| c as u32 == cpu) else { return false };
        allowed == u64::MAX || (i..64).step_by(self.cpus.len()).any(|n| allowed >> n & 1 != 0)
    }

    /// The machine's number of the processor that a thread runs on.
    pub(crate) fn number(&self, seat: &Seat) -> Option<u32> {
        let (placed, allowed) = (seat.placed.load(Relaxed), seat.allowed.load(Relaxed));
        let i = self.cpus.iter().position(|&c| c as u32 == placed)?;
        let named = (i..64).step_by(self.cpus.len()).find(|&n| allowed >> n & 1 != 0);
        Some(named.unwrap_or(i) as u32)
    }

    /// Brings a task to a processor that the guest lets it run on.
    fn obey(&self, thread: &Arc<Thread>) {
        let seat = &thread.seat;
        let (cpu, placed) = (seat.cpu.load(Relaxed), seat.placed.load(Relaxed));
        if self.may_use(seat, placed) && self.may_use(seat, cpu) {
            return;
        }
        let wanted = [cpu].into_iter().chain(self.cpus.iter().map(|&c| c as u32));
        let Some(to) = wanted.into_iter().find(|&c| self.may_use(seat, c)) else { return };
        thread.set_stub_spin(0);
        seat.out.store(false, Relaxed);
        seat.cpu.store(to, Relaxed);
        thread.confine(to as usize);
        process::set_affinity(0, &[to as usize]);
        HERE.set(to);
    }

    /// Sends the guest thread out, or calls it home, while it sleeps: then that is cheap.
    fn consider(&self, thread: &Arc<Thread>, now: u64, asleep: bool) {
        let seat = &thread.seat;
        let before = seat.resumed.load(Relaxed);
        let quick = now.wrapping_sub(before) < self.pace.quick;
        let crowded = self.crowded.load(Relaxed) != 0;
        if !seat.is_out() {
            let streak = if quick { seat.streak.load(Relaxed) + 1 } else { 0 };
            seat.streak.store(streak, Relaxed);
            if asleep && streak >= seat.need.load(Relaxed) && !crowded {
                seat.streak.store(0, Relaxed);
                self.send_out(thread);
            }
            return;
        }
        let credit = seat.credit.load(Relaxed);
        if asleep {
            seat.charge();
        } else if credit < CREDIT_MAX {
            seat.credit.store(credit + 1, Relaxed);
        }
        if credit < 0 || crowded {
            // It sleeps when it stops next, at the latest.
            thread.set_stub_spin(0);
            if asleep {
                seat.out.store(false, Relaxed);
                let need = seat.need.load(Relaxed);
                seat.need.store(if credit < 0 { (need * 2).min(STREAK_MAX) } else { STREAK }, Relaxed);
                thread.confine(seat.cpu.load(Relaxed) as usize);
            }
        }
    }

    fn send_out(&self, thread: &Thread) {
        let home = thread.seat.cpu.load(Relaxed);
        let calm = self.calm.load(Relaxed);
        let may = |c: u32| c != home && self.may_use(&thread.seat, c);
        let other = if calm != NONE && may(calm) {
            calm as usize
        } else {
            let Some(&other) = self.cpus.iter().find(|&&c| may(c as u32)) else { return };
            other
        };
        thread.confine(other);
        thread.set_stub_spin(self.pace.rounds);
        thread.seat.credit.store(COST, Relaxed);
        thread.seat.out.store(true, Relaxed);
    }

    /// Spins until `stopped` answers true, for as long as a kernel thread should while its guest thread is out; false if
    /// that was not long enough.
    pub(crate) fn spin(&self, seat: &Seat, stopped: impl Fn() -> bool) -> bool {
        if seat.way.load(Relaxed) {
            seat.way.store(false, Relaxed);
            std::thread::yield_now();
        }
        let start = cycles();
        loop {
            for _ in 0..32 {
                if stopped() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if cycles().wrapping_sub(start) > self.pace.patience || self.crowded.load(Relaxed) != 0 {
                return false;
            }
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
        let mut idle = Idle::default();
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
            let active = self.look(&mut memory, &mut idle);
            quiet = if active == 0 { quiet + 1 } else { 0 };
        }
    }

    /// One look at all; the number of tasks that did something.
    fn look(&self, memory: &mut [(Weak<Thread>, Past)], idle: &mut Idle) -> usize {
        let mut count = vec![0u32; self.cpus.len()];
        let index = |cpu: u32| self.cpus.iter().position(|&c| c as u32 == cpu);
        let mut active: Vec<(Arc<Thread>, &mut Past, u32)> = Vec::new();
        for (thread, past) in memory.iter_mut() {
            past.cool = past.cool.saturating_sub(1);
            let Some(thread) = thread.upgrade() else { continue };
            past.woken.look(&thread.seat.company);
            past.looks += 1;
            let events = thread.seat.events.load(Relaxed);
            let new = events.wrapping_sub(past.events);
            past.events = events;
            let active_now = new != 0 || thread.seat.in_guest.load(Relaxed);
            if active_now && active.len() < CLOSE {
                active.push((thread, past, new));
            } else {
                past.looks = 0;
                if std::mem::take(&mut past.keeps) {
                    thread.close_times();
                }
            }
        }
        let (mut busy, mut active_count) = (0, 0);
        for (thread, past, new) in &mut active {
            let now = Instant::now();
            let keep = past.looks >= LOOKS;
            let (ran, waited) = thread.schedstat(keep);
            past.keeps |= keep;
            let young = ran + waited <= 2 * TICK.as_nanos() as u64;
            let interval = match past.at {
                Some(t) => (now - t).as_nanos() as u64,
                // What it has done so far it did since the last look or so.
                None if young => TICK.as_nanos() as u64,
                None => 0,
            };
            past.starved = interval > 0 && waited.saturating_sub(past.waited) > interval / 4;
            // The host counts a wait at its end: among looks that see one are some that do not.
            past.starving = if past.starved { past.starving + 1 } else { past.starving.saturating_sub(1) };
            if past.starving == 0 {
                past.leaves = LEAVING + (cycles() >> 6) as u32 % CHANCE;
            }
            let load = ran.saturating_sub(past.ran);
            past.light = interval > 0 && load < interval / 3 && !past.starved;
            past.idle = *new == 0 && load == 0 && waited == past.waited;
            (past.at, past.ran, past.waited) = (Some(now), ran, waited);
            if !past.idle {
                active_count += 1;
                busy += usize::from(*new >= BUSY || load > interval / 8 || past.starved);
                if let Some(i) = index(thread.seat.cpu.load(Relaxed)) {
                    count[i] += 1;
                }
            }
        }
        // Those who are out need two processors each.
        if busy * 2 > self.cpus.len() || active.iter().any(|(t, p, _)| t.seat.is_out() && p.starved) {
            self.crowded.store(CROWDED, Relaxed);
        } else {
            self.crowded.store(self.crowded.load(Relaxed).saturating_sub(1), Relaxed);
        }
        let calm = (0..count.len()).min_by_key(|&i| count[i]).map_or(NONE, |i| self.cpus[i] as u32);
        self.calm.store(calm, Relaxed);
        let least = (0..count.len()).min_by_key(|&i| count[i]).unwrap_or(0);
        let most = (0..count.len()).max_by_key(|&i| count[i]).unwrap_or(0);
        let mut starved = active.iter_mut().filter(|(t, past, _)| {
            past.starved
                && past.cool == 0
                && !t.seat.is_out()
                && index(t.seat.cpu.load(Relaxed)) == Some(most)
                && self.may_use(&t.seat, self.cpus[least] as u32)
        });
        let member = |(t, p, _): &(Arc<Thread>, &mut Past, u32)| {
            let (who, cpu) = t.seat.place();
            let anywhere = t.seat.allowed.load(Relaxed) == u64::MAX;
            let free = p.cool == 0 && !t.seat.is_out() && anywhere;
            Member::new(who, cpu, &t.seat.company, p.woken, free)
        };
        let starving = |t: &Thread, p: &Past| p.starving >= STARVING && p.cool == 0 && !t.seat.is_out();
        if count[most] >= count[least] + 2 {
            // Half of what is too much there: threads that were made all at once are spread at once.
            let too_many = (count[most] - count[least]) as usize / 2;
            for (thread, past, _) in starved.by_ref().take(too_many) {
                self.move_to(thread, self.cpus[least]);
                past.cool = COOL;
            }
        } else if let Some((i, j)) = company::exchange(&active.iter().map(member).collect::<Vec<_>>()) {
            let cpu = |k: usize| active[k].0.seat.cpu.load(Relaxed) as usize;
            for (k, to) in [(i, cpu(j)), (j, cpu(i))] {
                self.move_to(&active[k].0, to);
                active[k].1.cool = COOL / 3;
            }
        } else if let Some((thread, past, _)) = active.iter_mut().find(|(t, p, _)| starving(t, p)) {
            let other = |c: u32| c != thread.seat.cpu.load(Relaxed) && self.may_use(&thread.seat, c);
            let free = idle.free(&self.cpus).filter(|&c| other(c as u32));
            if let Some(free) = free
                && past.starving >= past.leaves
            {
                self.move_to(thread, free);
                past.starving = 0;
                past.cool = COOL;
            }
        } else if active_count > 1 && active_count <= 4 && active.iter().all(|(_, p, _)| p.light || p.idle) {
            // Those who hardly use a processor each are better off on one: they talk to each other.
            let apart = active.iter_mut().find(|(t, past, _)| {
                !past.idle
                    && past.cool == 0
                    && !t.seat.is_out()
                    && index(t.seat.cpu.load(Relaxed)).is_some_and(|i| i != most)
                    && self.may_use(&t.seat, self.cpus[most] as u32)
            });
            if let Some((thread, past, _)) = apart {
                self.move_to(thread, self.cpus[most]);
                past.cool = COOL / 2;
            }
        }
        active_count
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
}

/// What the balancer remembers of a thread.
#[derive(Default)]
struct Past {
    events: u32,
    at: Option<Instant>,
    ran: u64,
    waited: u64,
    starved: bool,
    /// Looks at which it was, less those at which it was not.
    starving: u32,
    /// How many make it leave.
    leaves: u32,
    light: bool,
    idle: bool,
    cool: u32,
    woken: Recent,
    /// Looks in a row at which it was active, and whether the host's account of it is kept open.
    looks: u32,
    keeps: bool,
}

impl Pace {
    fn measure() -> Pace {
        let (mut least, mut most) = (Duration::MAX, 1);
        for _ in 0..5 {
            let (t, c) = (Instant::now(), cycles());
            (0..200).for_each(|_| std::hint::spin_loop());
            let (t, c) = (t.elapsed(), cycles().wrapping_sub(c));
            if t < least {
                (least, most) = (t, c);
            }
        }
        let ns = (least.as_nanos() as u64).max(1);
        let rounds = (SPIN.as_nanos() as u64 * 200 / ns).clamp(50, 20_000) as u32;
        let of = |d: Duration| (d.as_nanos() as u64).saturating_mul(most) / ns;
        Pace { rounds, quick: of(QUICK), patience: of(PATIENCE) }
    }
}
