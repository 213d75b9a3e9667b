//! A guest thread as its kernel thread and its interrupters share it.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::*},
    },
    time::Duration,
};

use hal::{EndWord, Result, errno};

use crate::{
    engine::{Stub, lock},
    layout::{SLOT_LEN, SLOTS, ctl, flag, request, state},
    placement::{Placement, Seat},
    service::Op,
    slots::Slot,
    sys::{futex, process},
};

/// Bit sets of the state word's two kinds of sleeper.
const STUB_BITS: u32 = 1;
const KERNEL_BITS: u32 = 2;

/// Who serves a guest thread's futex calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Futexes {
    /// The host, directly.
    Host,
    /// They trap: the kernel looks at them first.
    Trap,
}

/// A thread of a stub that runs guest code.
pub(crate) struct Thread {
    pub(crate) stub: Arc<Stub>,
    pub(crate) slot: Slot,
    /// Which of the stub's slots it has.
    pub(crate) index: u32,
    pub(crate) futexes: Futexes,
    tid: AtomicI32,
    /// Processor time of earlier users, and as it was last seen.
    spent: AtomicU64,
    seen: AtomicU64,
    /// Where the host tells it, once the thread is used again and again: opening it costs more than all else that such a
    /// thread needs.
    schedstat: Mutex<Option<File>>,
    /// A kick was posted and not delivered yet.
    pending: AtomicBool,
    /// The host thread ended by itself, which only hostile code makes it do.
    gone: AtomicBool,
    /// Where it runs.
    pub(crate) seat: Seat,
    /// The watchdog has it.
    watched: AtomicBool,
    /// The batch that it was handed over with last.
    batch: AtomicU32,
    me: Weak<Thread>,
}

impl Thread {
    pub(crate) fn new(stub: Arc<Stub>, slot: Slot, index: u32, futexes: Futexes) -> Arc<Thread> {
        Arc::new_cyclic(|me| Thread {
            stub,
            slot,
            index,
            futexes,
            tid: AtomicI32::new(0),
            spent: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            schedstat: Mutex::default(),
            pending: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            seat: Seat::new(),
            watched: AtomicBool::new(false),
            batch: AtomicU32::new(0),
            me: me.clone(),
        })
    }

    /// Address in the stub of a thread's slot.
    pub(crate) fn slot_addr(index: u32) -> u64 {
        SLOTS + u64::from(index) * SLOT_LEN
    }

    /// Address in the stub of this thread's slot.
    pub(crate) fn addr(&self) -> u64 {
        Thread::slot_addr(self.index)
    }

    /// Notes that the service thread has just made it, and so where it is confined.
    pub(crate) fn inherit_place(&self) {
        if let Some(cpu) = self.stub.service_cpu() {
            self.seat.placed(cpu);
        }
    }

    /// The service thread's call that starts a thread. It waits for its first resumption in stub code. `filter` is the address of
    /// what it confines itself by, or 0.
    pub(crate) fn clone_op(index: u32, filter: u64) -> Op {
        let flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM
            | libc::CLONE_CHILD_CLEARTID;
        let slot = Thread::slot_addr(index);
        // The state word is cleared and woken when the host thread ends, see `wait`.
        // The host takes five arguments; the sixth is the new thread's filter.
        let (stack, word) = (slot + SLOT_LEN / 2, slot + ctl::STATE as u64);
        Op::any(libc::SYS_clone, [flags as u64, stack, 0, word, 0, filter])
    }

    pub(crate) fn tid(&self) -> i32 {
        self.tid.load(Relaxed)
    }

    /// Notes the number that a clone answered. It may have come through memory that guest code can write: it must be
    /// that of a thread of the stub, and not of its service thread. Nothing outside the stub is ever done by it, as
    /// signals are sent to a thread *of the stub's process* (tgkill(2)); within, a forged one harms the guest alone.
    pub(crate) fn set_tid(&self, tid: u64) -> Result<()> {
        let tid = i32::try_from(tid).map_err(|_| errno::ESRCH)?;
        let there = |pid| tid > 0 && tid != pid && process::signal_thread(pid, tid, 0).is_ok();
        if self.stub.with_pid(there) != Some(true) {
            self.stub.kill();
            return Err(errno::ESRCH);
        }
        self.tid.store(tid, Relaxed);
        Ok(())
    }

    /// Notes its number as a new stub told it in which no guest code has run.
    pub(crate) fn trust_tid(&self, tid: u64) -> Result<()> {
        let tid = i32::try_from(tid).map_err(|_| errno::ESRCH)?;
        self.tid.store(tid, Relaxed);
        Ok(())
    }

    /// The state of a thread that is about to be started: it waits to be resumed.
    pub(crate) fn be_born(&self) {
        self.pending.store(false, SeqCst);
        self.spent.store(0, Relaxed);
        self.seen.store(0, Relaxed);
        *lock(&self.schedstat) = None;
        self.seat.clear();
        self.gone.store(false, SeqCst);
        self.state().store(state::KERNEL, SeqCst);
    }

    /// Tells the stopped thread to end. Its slot stays the stub's.
    pub(crate) fn end(&self) {
        self.slot.set32(ctl::FLAGS, flag::EXIT);
        self.pending.store(false, SeqCst);
        self.close_times();
        self.resume();
        self.slot.shrink();
    }

    /// Time that counts for the present user of a thread whose host thread has had `total` in its life.
    pub(crate) fn used_since_birth(&self, total: u64) -> u64 {
        total.saturating_sub(self.spent.load(Relaxed))
    }

    /// Begins to count for a new user: from the time that was seen last, when the old one ended.
    pub(crate) fn start_over(&self) {
        self.spent.store(self.seen.load(Relaxed), Relaxed);
    }

    /// Processor time that its host thread has had, in nanoseconds (proc_pid_schedstat(5)). The file stays open if `keep`.
    pub(crate) fn time_ns(&self, keep: bool) -> u64 {
        let (ran, _) = self.times(keep);
        self.seen.store(ran, Relaxed);
        ran
    }

    /// The first two numbers of the host thread's schedstat.
    fn times(&self, keep: bool) -> (u64, u64) {
        let mut file = lock(&self.schedstat);
        if file.is_none() {
            *file = self.stub.with_pid(|_| File::open(self.proc_path("schedstat"))).and_then(|f| f.ok());
        }
        let mut text = [0; 64];
        let n = file.as_ref().and_then(|f| f.read_at(&mut text, 0).ok()).unwrap_or(0);
        if !keep {
            *file = None;
        }
        let text = std::str::from_utf8(&text[..n]).unwrap_or_default();
        let mut numbers = text.split(' ').map(|t| t.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// A file of the host thread's own. Not below the `task` directory of its process: what was looked up there, a thread
    /// takes apart when it ends, and whoever collects its process spins until that is done, which an ending thread
    /// on a busy processor can take a second for.
    fn proc_path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.tid())
    }

    /// Forgets the file of its times.
    pub(crate) fn close_times(&self) {
        *lock(&self.schedstat) = None;
    }

    fn state(&self) -> &AtomicU32 {
        self.slot.u32(ctl::STATE)
    }

    /// Lets the stub's thread go on.
    pub(crate) fn resume(&self) {
        let old = self.state().swap(0, SeqCst);
        if old & state::STUB_SLEEPS != 0 {
            futex::wake_all(self.state(), STUB_BITS);
        }
        // A kick that found the thread stopped left it to us.
        if self.pending.load(SeqCst) {
            self.interrupt();
        }
    }

    /// Address in the stub of its state word.
    pub(crate) fn state_addr(&self) -> u64 {
        self.addr() + ctl::STATE as u64
    }

    /// Hands the stopped thread on to the service thread, which lets it go on.
    pub(crate) fn hand_over(&self) {
        self.state().fetch_or(state::SERVICE, SeqCst);
    }

    /// Notes the batch after which it goes on.
    pub(crate) fn set_batch(&self, batch: u32) {
        self.batch.store(batch, Relaxed);
    }

    /// Whether the service thread still works for it. Neither word is the guest's.
    pub(crate) fn is_served(&self) -> bool {
        let (batch, page) = (self.batch.load(Relaxed), &self.stub.pages);
        let done = |i: usize| page.get32(request::DONE + i * request::DONE_STEP) == batch;
        batch != 0 && page.get32(request::SEQ) == batch && !(0..4).any(done)
    }

    /// To be called once a thread that was handed over will go on.
    pub(crate) fn handed_over(&self) {
        // As in `resume`: the signal waits for the end of the handler, or leaves its mark in the patched path.
        if self.pending.load(SeqCst) {
            self.interrupt();
        }
    }

    /// Confines the host thread to a processor.
    pub(crate) fn confine(&self, cpu: usize) {
        // Its number came through guest memory: only one that is the stub's may be touched.
        self.seat.placed(cpu);
        self.stub.with_pid(|pid| {
            if process::signal_thread(pid, self.tid(), 0).is_ok() {
                process::set_affinity(self.tid(), &[cpu]);
            }
        });
    }

    /// How long the stub's side spins from its next stop on.
    pub(crate) fn set_stub_spin(&self, rounds: u32) {
        self.slot.set32(ctl::SPIN, rounds);
    }

    /// Time that the host thread ran, and time that it waited for a processor, in nanoseconds. The file stays open if
    /// `keep`, or if it was.
    pub(crate) fn schedstat(&self, keep: bool) -> (u64, u64) {
        let open = lock(&self.schedstat).is_some();
        self.times(open || keep)
    }

    /// Whether the host thread sleeps until it is resumed.
    pub(crate) fn is_asleep(&self) -> bool {
        self.state().load(Relaxed) & state::STUB_SLEEPS != 0
    }

    /// Waits until the thread stops; the kind of its event, or `None` if it is dead.
    pub(crate) fn wait(&self, placement: &Placement) -> Option<u32> {
        let stopped = || self.state().load(Acquire) & (state::KERNEL | state::SERVICE) == state::KERNEL;
        let hit = self.seat.is_out() && placement.spin(&self.seat, stopped);
        let event = self.sleep();
        self.seat.waited(!hit);
        event
    }

    fn sleep(&self) -> Option<u32> {
        let word = self.state();
        // A wait that ends with the word as a running thread leaves it is what the host does when a thread exits.
        let mut suspicious = false;
        loop {
            let found = word.load(SeqCst);
            if found & (state::KERNEL | state::SERVICE) == state::KERNEL {
                return Some(found >> state::KIND_SHIFT & 0xff);
            }
            if self.is_dead() {
                return None;
            }
            if suspicious && !self.exists() {
                self.gone.store(true, SeqCst);
                return None;
            }
            let sleeping = (found | state::KERNEL_SLEEPS) & !state::POKE;
            if found == sleeping || word.compare_exchange(found, sleeping, SeqCst, SeqCst).is_ok() {
                futex::wait(word, sleeping, KERNEL_BITS, suspicious.then_some(Duration::from_millis(5)));
                suspicious |= word.load(SeqCst) == 0;
            }
        }
    }

    /// Makes the waiting kernel thread look again.
    pub(crate) fn poke(&self) {
        self.state().fetch_or(state::POKE, SeqCst);
        futex::wake_all(self.state(), KERNEL_BITS);
    }

    /// Whether the host still has the thread.
    pub(crate) fn exists(&self) -> bool {
        let probe = |pid| process::signal_thread(pid, self.tid(), 0);
        !matches!(self.stub.with_pid(probe), None | Some(Err(errno::ESRCH)))
    }

    fn interrupt(&self) {
        let sent = self.stub.with_pid(|pid| process::signal_thread(pid, self.tid(), libc::SIGURG));
        if matches!(sent, Some(Err(errno::ESRCH))) {
            self.gone.store(true, SeqCst);
            self.poke();
        } else if !self.watched.swap(true, SeqCst) {
            self.stub.watchdog.watch(self.me.clone());
        }
    }

    /// Whether a kick was posted that the kernel thread, which waits for this thread, has not seen yet. If not, the
    /// watchdog lets go of it. The state word says nothing here: guest code can write it.
    pub(crate) fn ignores_kick(&self) -> bool {
        self.watched.store(false, SeqCst);
        let ignores = self.pending.load(SeqCst) && self.seat.is_in_guest() && !self.is_dead();
        if ignores {
            self.watched.store(true, SeqCst);
        }
        ignores
    }

    /// Whether its state word says that it waits for its kernel thread.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().load(SeqCst) & (state::KERNEL | state::SERVICE) == state::KERNEL
    }

    /// Kicks again, and lets the kernel thread look at the state word, whatever became of the wake-up.
    pub(crate) fn nudge(&self) {
        let _ = self.stub.with_pid(|pid| process::signal_thread(pid, self.tid(), libc::SIGURG));
        self.poke();
    }

    /// Whether the host thread sleeps now (proc_pid_stat(5)).
    pub(crate) fn sleeps(&self) -> bool {
        let read = |_| std::fs::read_to_string(self.proc_path("stat"));
        let text = self.stub.with_pid(read).and_then(|t| t.ok()).unwrap_or_default();
        text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
    }

    /// Takes a posted kick.
    pub(crate) fn take_kick(&self) -> bool {
        self.pending.load(SeqCst) && self.pending.swap(false, SeqCst)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.gone.load(SeqCst) || self.stub.death().is_some()
    }

    /// Whether the host thread is known to have ended while its process lives.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(SeqCst)
    }
}

impl hal::SignalWords for Thread {
    fn blocked(&self) -> u64 {
        self.slot.u64(ctl::BLOCKED).load(SeqCst)
    }

    fn set_blocked(&self, set: u64) {
        self.slot.u64(ctl::BLOCKED).store(set, SeqCst);
    }

    fn set_pending(&self, any: bool) {
        self.slot.u32(ctl::PENDING).store(u32::from(any), SeqCst);
    }

    fn action(&self, signal: usize) -> [u64; 4] {
        let word = |array: usize| self.slot.get64(array + signal * 8);
        let flags = u64::from(self.slot.get32(ctl::ACTION_FLAGS + signal * 4));
        [word(ctl::HANDLERS), flags, word(ctl::RESTORERS), word(ctl::MASKS)]
    }

    fn set_action(&self, signal: usize, [handler, flags, restorer, mask]: [u64; 4]) {
        self.slot.set64(ctl::HANDLERS + signal * 8, handler);
        self.slot.set32(ctl::ACTION_FLAGS + signal * 4, flags as u32);
        self.slot.set64(ctl::RESTORERS + signal * 8, restorer);
        self.slot.set64(ctl::MASKS + signal * 8, mask);
    }
}

impl Thread {
    fn end_word(&self, word: EndWord) -> &AtomicU64 {
        self.slot.u64(match word {
            EndWord::RobustHead => ctl::ROBUST,
            EndWord::ClearTid => ctl::CLEAR_TID,
        })
    }
}

impl hal::EndWords for Thread {
    fn get(&self, word: EndWord) -> u64 {
        self.end_word(word).load(SeqCst)
    }

    fn set(&self, word: EndWord, addr: u64) {
        self.end_word(word).store(addr, SeqCst);
    }
}

impl hal::Kicker for Thread {
    fn set_affinity(&self, mask: u64) {
        self.seat.set_allowed(mask);
    }

    fn kick(&self) {
        self.pending.store(true, SeqCst);
        // Asked of what the guest cannot write as well: its state word may lie.
        if self.state().load(SeqCst) & state::KERNEL == 0 || self.seat.is_in_guest() {
            self.interrupt();
        }
    }
}
