//! What all stubs of a machine have in common, and the thread that brings them into the world and sees them off.
//!
//! The *keeper* thread makes the first stub; all others are its siblings by `CLONE_PARENT`, so that this one thread is
//! parent of all. The host kills them when it ends, however it ends, and it alone collects them.
//!
//! Locks, outermost first: a space's service lock, `Engine::book`, `Stub::threads`, `Stub::gone` (the last two never
//! while waiting for anything).

use std::{
    collections::HashMap,
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering::*, fence},
        mpsc,
    },
    time::{Duration, Instant},
};

use hal::{Errno, Result, errno};

use crate::{
    doomed::Doomed,
    facts,
    host::StartError,
    layout::{self, consts, ctl, reply, state},
    placement::Placement,
    service::{Op, Outcome, Service},
    slots::{Slot, Slots},
    stub::{code, filter, zygote},
    sys::{futex, memory, process},
    texts::Texts,
    thread::{Futexes, Thread},
    vdso::Vdso,
    watchdog::Watchdog,
};

/// Locks without caring whether a holder panicked: the machine stops on panics.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Slices of the kernel process's threads, in nanoseconds: shorter than those of stubs. Then a kernel thread takes the
/// processor when its guest thread wakes it, and is often done before that has gone to sleep: two calls less.
const SLICE: u64 = 100_000;
/// How long a new stub has to come up.
const BIRTH_LIMIT: Duration = Duration::from_secs(10);
/// How long killed stubs may take to be gone at the end: each needs a processor to end on.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// One stub process.
pub(crate) struct Stub {
    /// Its request and reply pages.
    pub(crate) pages: Slot,
    pid: AtomicU32,
    /// True once the process was collected: its number may belong to another one then. Held for reading while the
    /// number is used.
    gone: RwLock<bool>,
    /// 0, or 1 + the signal that ended it.
    dead: AtomicU32,
    /// SIGKILL was sent.
    killed: AtomicBool,
    /// Its guest threads, parked ones included; emptied when it is gone.
    pub(crate) threads: Mutex<Vec<Arc<Thread>>>,
    /// Processor of its service thread, + 1; 0 if it is free.
    pub(crate) cpu: AtomicU32,
    /// Exit status, if it ended by itself.
    pub(crate) status: AtomicU32,
    /// It has, or had, shared pages mapped.
    pub(crate) maps_shared: AtomicBool,
    /// Its ticket among the doomed, once it was killed.
    ticket: Mutex<Option<u64>>,
    doomed: Arc<Doomed>,
    pub(crate) watchdog: Arc<Watchdog>,
    placement: Arc<Placement>,
}

impl Stub {
    fn new(pages: Slot, engine: &Engine) -> Arc<Stub> {
        Arc::new(Stub {
            pages,
            pid: AtomicU32::new(0),
            gone: RwLock::new(false),
            dead: AtomicU32::new(0),
            killed: AtomicBool::new(false),
            threads: Mutex::default(),
            cpu: AtomicU32::new(0),
            status: AtomicU32::new(0),
            maps_shared: AtomicBool::new(false),
            ticket: Mutex::default(),
            doomed: engine.doomed.clone(),
            watchdog: engine.watchdog.clone(),
            placement: engine.placement.clone(),
        })
    }

    /// Calls with the process number while it certainly is this process's; `None` when it is gone.
    pub(crate) fn with_pid<T>(&self, f: impl FnOnce(i32) -> T) -> Option<T> {
        let gone = self.gone.read().unwrap_or_else(PoisonError::into_inner);
        let pid = self.pid.load(Relaxed) as i32;
        (!*gone && pid > 0).then(|| f(pid))
    }

    /// The signal that ended the process (0 if none did), if it has ended.
    pub(crate) fn death(&self) -> Option<u8> {
        match self.dead.load(Acquire) {
            0 => None,
            n => Some((n - 1) as u8),
        }
    }

    /// Processor that the service thread is confined to.
    pub(crate) fn service_cpu(&self) -> Option<usize> {
        (self.cpu.load(Relaxed) as usize).checked_sub(1)
    }

    /// Brings the service thread to a processor.
    pub(crate) fn serve_from(&self, cpu: Option<usize>) {
        if let Some(cpu) = cpu
            && self.cpu.swap(cpu as u32 + 1, Relaxed) != cpu as u32 + 1
        {
            self.with_pid(|pid| process::set_affinity(pid, &[cpu]));
        }
    }

    /// Ends the process, now.
    pub(crate) fn kill(&self) {
        if self.killed.load(SeqCst) {
            return;
        }
        self.with_pid(|pid| {
            let mut ticket = lock(&self.ticket);
            if ticket.is_none() && self.maps_shared.load(SeqCst) {
                *ticket = Some(self.doomed.enter());
            }
            drop(ticket);
            let cpus = self.placement.cpus();
            let own = (self.cpu.swap(0, Relaxed) as usize).checked_sub(1).filter(|_| cpus.len() > 1);
            if let Some(own) = own {
                // It comes to its end on another processor: whoever waits for that goes on here meanwhile.
                let others: Vec<usize> = cpus.iter().copied().filter(|&c| c != own).collect();
                self.confine(pid, &others);
            }
            process::kill(pid);
            if own.is_some() {
                self.confine(pid, cpus);
            }
            self.killed.store(true, SeqCst);
        });
    }

    /// Whether it was told to end.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(SeqCst)
    }

    /// Confines service thread and first guest thread.
    fn confine(&self, pid: i32, cpus: &[usize]) {
        process::set_affinity(pid, cpus);
        // The number of the first thread is not from the guest.
        if let Some(t) = lock(&self.threads).first().filter(|t| t.index == 0) {
            process::set_affinity(t.tid(), cpus);
        }
    }

    /// Waits until a killed stub is collected, for some time.
    pub(crate) fn await_death(&self, limit: Duration) {
        let end = Instant::now() + limit;
        while self.death().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Marks it dead and wakes everybody who waits for it.
    fn bury(&self, signo: i32) {
        if let Some(ticket) = lock(&self.ticket).take() {
            self.doomed.leave(ticket);
        }
        self.dead.store(1 + (signo as u32 & 0xff), Release);
        // Who begins to wait after this sees `dead` first.
        fence(SeqCst);
        for t in lock(&self.threads).drain(..) {
            if t.seat.is_in_guest() {
                t.poke();
            }
        }
        let word = self.pages.u32(layout::PAGE as usize + reply::SEQ);
        word.fetch_or(reply::SLEEPS, SeqCst);
        futex::wake_all(word, futex::ANY);
    }
}

/// Which process is which stub.
#[derive(Default)]
struct Book {
    stubs: HashMap<i32, Arc<Stub>>,
    /// Births under way: a process that nobody knows yet may be one of them.
    births: u32,
    closing: bool,
    /// Somebody waits for a change.
    waiting: bool,
}

impl Book {
    /// Tells who waits, at the end of a change.
    fn changed(&mut self, settled: &Condvar) {
        if core::mem::take(&mut self.waiting) {
            settled.notify_all();
        }
    }
}

/// Why there is no new stub.
enum Stillborn {
    /// There is no process either.
    None(Errno),
    /// There is one, of a number that is known.
    Known(Errno),
    /// There may be one.
    Unknown,
}

/// Sizes of signal frames on this host, measured at start.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameShape {
    /// Offset in the slot of the `ucontext` of a frame pushed on an empty stack.
    pub(crate) ucontext: usize,
    /// Offset in the slot of its floating-point state, and its bytes with the end magic.
    pub(crate) fpu: usize,
    pub(crate) fpu_len: usize,
    /// The state of a thread that has not touched it.
    pub(crate) initial: Vec<u8>,
}

/// Shared by the host value, its spaces and its threads.
pub(crate) struct Engine {
    pub(crate) slots: Arc<Slots>,
    pub(crate) guest_mem: Arc<crate::shared::GuestMem>,
    pub(crate) placement: Arc<Placement>,
    doomed: Arc<Doomed>,
    watchdog: Arc<Watchdog>,
    book: Mutex<Book>,
    settled: Condvar,
    first: OnceLock<(Arc<Stub>, Mutex<Service>)>,
    pub(crate) frame: OnceLock<FrameShape>,
    pub(crate) vdso: u64,
    /// Where sites are rewritten.
    pub(crate) texts: Option<Texts>,
    /// The host's /proc is there. Without it no site is rewritten and placement is left to the host.
    pub(crate) has_proc: bool,
    /// The host never refuses anonymous memory that is not reserved: nobody need wait until it is mapped.
    pub(crate) maps_freely: bool,
    /// The host dispatches system calls by where they are made: guest threads need no filter of their own.
    dispatches: bool,
    /// Hard limit of private writable memory that stubs inherit.
    pub(crate) data_limit: u64,
    closed: AtomicBool,
    _code: OwnedFd,
    _ctl_ro: OwnedFd,
}

impl Engine {
    /// Which files on loan stubs believe in: those lent since the last change.
    pub(crate) fn epoch(&self) -> &std::sync::atomic::AtomicU64 {
        self.slots.window().u64(consts::EPOCH as u64)
    }

    /// One of the counts of [`hal::Host::raise`].
    pub(crate) fn count(&self, count: u32) -> &std::sync::atomic::AtomicU64 {
        self.slots.window().u64(consts::COUNTS as u64 + u64::from(count % hal::COUNTS) * 8)
    }

    /// Makes the memory objects, the keeper and the first stub.
    pub(crate) fn start(cpus: u32) -> core::result::Result<Arc<Engine>, StartError> {
        Engine::start_guarded(cpus, process::can_dispatch())
    }

    /// As [`Engine::start`], told whether guest threads are to be confined by dispatch or by filters.
    pub(crate) fn start_guarded(
        cpus: u32,
        dispatches: bool,
    ) -> core::result::Result<Arc<Engine>, StartError> {
        let memfd =
            |e: Errno| StartError::new(format!("the host refuses memory objects (memfd_create, mmap): {e}"));
        if memory::auxv(libc::AT_HWCAP2) & 2 == 0 {
            return Err(StartError::new(
                "the host lacks FSGSBASE (Linux 5.9 on Intel Ivy Bridge, AMD Zen 2 or later)",
            ));
        }
        // Before anything large is mapped, as the host places mappings downwards from its random base: the first stub is
        // a copy of this process, and the stack that it starts on must not lie where its own pages go.
        memory::reserve(layout::REGION, layout::REGION_LEN);
        let minimum = memory::auxv(libc::AT_MINSIGSTKSZ);
        if minimum + 1024 > layout::SLOT_LEN - layout::FRAME_LOWEST as u64 {
            return Err(StartError::new(format!(
                "signal frames of {minimum} bytes are beyond this platform"
            )));
        }
        // Before the first thread: all inherit it.
        process::set_slice(SLICE);
        let code_bytes = code::bytes();
        let rw = memory::create(c"umlaut-stub", layout::CODE_LEN, true).map_err(memfd)?;
        FileExt::write_all_at(&File::from(rw.try_clone().map_err(io_errno).map_err(memfd)?), code_bytes, 0)
            .map_err(io_errno)
            .map_err(memfd)?;
        memory::seal(&rw).map_err(memfd)?;
        let slots = Arc::new(Slots::new().map_err(memfd)?);
        // Without /proc the same descriptor must do: stubs map it read-only all the same, and no guest thread may ask for
        // more; the code's memory is sealed besides.
        let reopen = |fd: &OwnedFd| {
            File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
                .map(OwnedFd::from)
                .or_else(|_| fd.try_clone())
                .map_err(|e| StartError::new(format!("the host refuses another descriptor: {e}")))
        };
        let code_ro = reopen(&rw)?;
        let ctl_ro = reopen(slots.fd())?;
        let (doomed, watchdog) = (Arc::new(Doomed::default()), Arc::new(Watchdog::default()));
        let guest_mem = Arc::new(crate::shared::GuestMem::new(doomed.clone()).map_err(memfd)?);

        let w = slots.window();
        w.u64(consts::CTL_FD as u64).store(slots.fd().as_raw_fd() as u64, Relaxed);
        w.u64(consts::CTL_RO_FD as u64).store(ctl_ro.as_raw_fd() as u64, Relaxed);
        w.u64(consts::OWNER as u64).store(process::own_pid() as u64, Relaxed);
        w.u64(consts::EPOCH as u64).store(1, Relaxed);
        for (at, code_at, filter) in [
            (consts::STRICT, consts::STRICT_CODE, filter::strict()),
            (consts::CLOSED, consts::CLOSED_CODE, filter::closed()),
        ] {
            w.u64(at as u64).store(filter.len() as u64, Relaxed);
            w.u64(at as u64 + 8).store(layout::CONSTS + code_at as u64, Relaxed);
            let code: Vec<u8> = filter.into_iter().flat_map(filter::Insn::encode).collect();
            assert!(code_at + code.len() <= consts::COUNTS);
            w.write(code_at as u64, &code);
        }
        w.write(consts::CAPTURES as u64, &crate::x86_64::captures::table());
        w.write(consts::SERVED as u64, &crate::stub::served::table());

        let has_proc = std::fs::metadata("/proc/self/schedstat").is_ok();
        let pages = slots.take_pages().map_err(memfd)?;
        let end = layout::REGION + layout::REGION_LEN;
        let placement = Placement::start(cpus, has_proc);
        let found = Vdso::find().filter(|v| v.low > end);
        let gone = match &found {
            Some(v) => [(0, layout::REGION), (end, v.low - end), (v.high, layout::USER_END - v.high)],
            None => [(0, layout::REGION), (end, layout::USER_END - end), (end, layout::PAGE)],
        };
        let getcpu = found.as_ref().and_then(|v| v.getcpu(placement.numbers(cpus)));
        let recipe = zygote::Recipe {
            code_fd: code_ro.as_raw_fd(),
            ctl_ro_fd: ctl_ro.as_raw_fd(),
            consts_offset: 0,
            pages_offset: pages.offset(),
            gone,
            filter: filter::common(),
            rseq: (0, 0),
            sched: process::is_ordinary().then(|| process::SchedAttr::with_slice(0)),
        };
        let engine = Arc::new(Engine {
            slots,
            guest_mem,
            placement,
            doomed,
            watchdog,
            book: Mutex::default(),
            settled: Condvar::new(),
            first: OnceLock::new(),
            frame: OnceLock::new(),
            vdso: found.map_or(0, |v| v.image),
            texts: if has_proc { Texts::new(reopen) } else { None },
            has_proc,
            maps_freely: has_proc && facts::maps_freely(),
            dispatches,
            data_limit: process::hard_data_limit(),
            closed: AtomicBool::new(false),
            _code: code_ro,
            _ctl_ro: ctl_ro,
        });
        let (sender, receiver) = mpsc::channel();
        let keeper = engine.clone();
        std::thread::Builder::new()
            .name("keeper".into())
            .stack_size(256 << 10)
            .spawn(move || keeper.keep(recipe, sender))
            .map_err(|e| StartError::new(format!("no thread for the stubs' keeper: {e}")))?;
        let first = Stub::new(pages, &engine);
        let pid = receiver.recv().unwrap_or(-i64::from(libc::EAGAIN));
        if pid <= 0 {
            let e = Errno::from_ret(pid as u64).unwrap_or(errno::EAGAIN);
            return Err(StartError::new(format!("the host refuses a process for guest code: {e}")));
        }
        first.pid.store(pid as u32, Relaxed);
        lock(&engine.book).stubs.insert(pid as i32, first.clone());
        engine.settled.notify_all();
        let mut service = Service::new(first.clone());
        // An empty batch: is it there?
        let probe = service.run(&[]);
        let _ = engine.first.set((first.clone(), Mutex::new(service)));
        if probe.is_err() {
            engine.close();
            return Err(StartError::new(engine.why_stillborn(&first)));
        }
        if let Some(c) = getcpu {
            // All stubs are copies of this one. Where the host does not let it be changed, it tells the host's numbers.
            let change = |pid| {
                let mem = File::options().write(true).open(format!("/proc/{pid}/mem"))?;
                mem.write_all_at(&c.code, c.at)
            };
            let _ = first.with_pid(change);
        }
        Ok(engine)
    }

    /// Why the first stub did not come up.
    fn why_stillborn(&self, first: &Stub) -> String {
        let step = |s: i32| match s {
            zygote::failed::RSEQ => "its restartable sequence cannot be taken back",
            zygote::failed::NO_NEW_PRIVS => "the host refuses no_new_privs",
            zygote::failed::MAP => "its pages cannot be mapped",
            zygote::failed::SIGNAL => "its signal handlers cannot be set",
            zygote::failed::SECCOMP => "the host refuses seccomp filters",
            _ => "the host refuses one of its system calls",
        };
        let status = first.status.load(Relaxed) as i32;
        match first.death() {
            Some(signo) if signo != 0 => format!("the first stub process was killed by signal {signo}"),
            _ => format!("the first stub process could not be made: {}", step(status)),
        }
    }

    /// The keeper: makes the first stub and collects all of them, until none is left.
    fn keep(self: Arc<Self>, mut recipe: zygote::Recipe, report: mpsc::Sender<i64>) {
        crate::signals::block_all();
        recipe.rseq = zygote::libc_rseq();
        let here = &raw const recipe as u64;
        if (layout::REGION..layout::REGION + layout::REGION_LEN).contains(&here) {
            let _ = report.send(-i64::from(libc::ENOMEM));
            return;
        }
        let pid = zygote::split(&recipe);
        let ok = report.send(pid).is_ok();
        drop(report);
        if pid <= 0 || !ok {
            return;
        }
        while let Ok(ended) = process::await_child(0, false) {
            let mut book = lock(&self.book);
            let stub = loop {
                if let Some(stub) = book.stubs.remove(&ended.pid) {
                    break Some(stub);
                }
                // Not known yet, or never to be: it stays uncollected, and its number with it, while that may change.
                let starting = self.first.get().is_none() && !self.closed.load(Relaxed);
                if book.births == 0 && !starting {
                    break None;
                }
                let wait = Duration::from_millis(20);
                book.waiting = true;
                book = self.settled.wait_timeout(book, wait).unwrap_or_else(PoisonError::into_inner).0;
            };
            drop(book);
            match stub {
                Some(stub) => {
                    let mut gone = stub.gone.write().unwrap_or_else(PoisonError::into_inner);
                    let _ = process::await_child(ended.pid, true);
                    *gone = true;
                    drop(gone);
                    stub.status.store(ended.status as u32, Relaxed);
                    stub.bury(ended.signo);
                }
                None => {
                    let _ = process::await_child(ended.pid, true);
                }
            }
        }
        let mut book = lock(&self.book);
        book.closing = true;
        drop(book);
        self.settled.notify_all();
    }

    /// Ends every stub and waits until they are collected. What is not by then is in the host's hands, which kills it
    /// with the keeper.
    pub(crate) fn close(&self) {
        self.placement.close();
        self.closed.store(true, SeqCst);
        let end = Instant::now() + CLOSE_LIMIT;
        let mut book = lock(&self.book);
        while !book.closing && Instant::now() < end {
            book.stubs.values().for_each(|s| s.kill());
            let wait = Duration::from_millis(20);
            book.waiting = true;
            book = self.settled.wait_timeout(book, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The control memory's descriptor, as stubs name it.
    pub(crate) fn ctl_fd(&self) -> u32 {
        self.slots.fd().as_raw_fd() as u32
    }

    /// Address in stubs of the filter of a new guest thread; 0 if it is confined without.
    pub(crate) fn filter(&self, futexes: Futexes) -> u64 {
        match futexes {
            Futexes::Host if self.dispatches => 0,
            Futexes::Host => layout::CONSTS + consts::STRICT as u64,
            Futexes::Trap => layout::CONSTS + consts::CLOSED as u64,
        }
    }

    /// Whether the machine is being taken down.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Makes a new stub as a copy of one. `prepare` fills in the slot of its first thread.
    pub(crate) fn bear(
        self: &Arc<Self>,
        parent: &mut Service,
        futexes: Futexes,
        prepare: impl FnOnce(&Slot),
    ) -> Result<(Arc<Stub>, Service, Arc<Thread>)> {
        if self.is_closed() {
            return Err(errno::EAGAIN);
        }
        let stub = Stub::new(self.slots.take_pages()?, self);
        stub.maps_shared.store(parent.stub().maps_shared.load(SeqCst), SeqCst);
        let slot = self.slots.take()?;
        prepare(&slot);
        slot.set32(ctl::STATE, state::KERNEL);
        let slot_offset = slot.offset();
        let mut service = Service::new(stub.clone());
        // The child begins where its maker's service thread runs.
        parent.stub().serve_from(self.placement.here());
        stub.cpu.store(parent.stub().cpu.load(Relaxed), Relaxed);
        // What the child does first of all, posted before it is there.
        service.prepare(&[Thread::clone_op(0, self.filter(futexes))]);
        lock(&self.book).births += 1;
        let thread = Thread::new(stub.clone(), slot, 0, futexes);
        let born = self.deliver(parent, &stub, &mut service, &thread, slot_offset);
        let mut book = lock(&self.book);
        book.births -= 1;
        if let Ok(()) | Err(Stillborn::Known(_)) = born {
            lock(&stub.threads).push(thread.clone());
            book.stubs.insert(stub.pid.load(Relaxed) as i32, stub.clone());
        }
        book.changed(&self.settled);
        drop(book);
        if self.is_closed() {
            stub.kill();
        }
        match born {
            Ok(()) => Ok((stub, service, thread)),
            Err(Stillborn::None(e)) => Err(e),
            Err(Stillborn::Known(e)) => {
                stub.kill();
                Err(e)
            }
            Err(Stillborn::Unknown) => {
                // Its pages are nobody's for ever: a process that we know nothing of may have them mapped.
                std::mem::forget(thread);
                Err(errno::ENOMEM)
            }
        }
    }

    /// Lets the parent make the child, and learns the child's numbers. No guest code has run in the child: what it
    /// says is true. The parent's guest may forge what the parent says, but for the fence.
    fn deliver(
        &self,
        parent: &mut Service,
        stub: &Stub,
        service: &mut Service,
        thread: &Thread,
        slot_offset: u64,
    ) -> core::result::Result<(), Stillborn> {
        let flags = (libc::CLONE_FILES | libc::CLONE_PARENT) as u64;
        let op = Op::any(libc::SYS_clone, [flags, 0, 0, 0, stub.pages.offset(), slot_offset]);
        if parent.start(&[op]).is_err() {
            // Nobody asked it, or it died over it: a child that comes nevertheless is not known to anybody.
            return Err(Stillborn::Unknown);
        }
        // The child tells when it is there. Only a parent that could not make it need be listened to.
        let refused = || match parent.outcome() {
            Some(Outcome { error: true, .. }) => true,
            _ => parent.stub().death().is_some(),
        };
        let came = service.finish_unless(refused, BIRTH_LIMIT);
        if came.is_err() {
            if let Some(Outcome { error: true, .. }) = parent.outcome() {
                let e = process::from_ret(parent.result(0)).err().unwrap_or(errno::EAGAIN);
                return Err(Stillborn::None(e));
            }
            // The parent is dead. The child may be there or not.
            service.finish_within(Duration::from_millis(500)).map_err(|_| Stillborn::Unknown)?;
        }
        let pid = stub.pages.get32(layout::PAGE as usize + reply::PID);
        if pid == 0 || pid > i32::MAX as u32 {
            return Err(Stillborn::Unknown);
        }
        stub.pid.store(pid, Relaxed);
        let tid = process::from_ret(service.result(0)).map_err(Stillborn::Known)?;
        thread.trust_tid(tid).map_err(Stillborn::Known)?;
        thread.inherit_place();
        Ok(())
    }

    /// Makes an empty stub.
    pub(crate) fn bear_empty(
        self: &Arc<Self>,
        prepare: impl FnOnce(&Slot),
    ) -> Result<(Arc<Stub>, Service, Arc<Thread>)> {
        let (_, service) = self.first.get().ok_or(errno::EAGAIN)?;
        self.bear(&mut lock(service), Futexes::Host, prepare)
    }

    /// Stubs alive, the first one included.
    #[cfg(test)]
    pub(crate) fn population(&self) -> usize {
        lock(&self.book).stubs.len()
    }
}

/// The errno behind an I/O error.
fn io_errno(e: std::io::Error) -> Errno {
    e.raw_os_error().and_then(Errno::from_raw).unwrap_or(errno::EIO)
}
