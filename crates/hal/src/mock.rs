//! An in-memory host for tests: no process, no descriptor, no real clock.
//!
//! A guest is a script: each [`Step`] looks at registers and memory as guest code would and answers with the [`Event`]
//! that it traps with. Memory is a map of pages, files are a tree in memory ([`Tree`]), time stands still until
//! [`MockHost::advance`] moves it, entropy is a counter hash. Nothing here is fast, everything is deterministic.

mod space;
mod stream;
mod tree;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    Context, Event, FastIds, Host, HostFacts, HostFile, Kicker, Regs, Result, SharedMem, SignalWords, Space,
    Stream, errno,
};

pub use space::{MockShared, MockSpace};
pub use stream::MockStream;
pub use tree::{MockFile, Tree};

/// Locks without caring whether another test thread panicked.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What scripted guest code does until its next trap: changes registers and memory, then says why it trapped.
pub type GuestCode = Box<dyn FnOnce(&mut Regs, &MockSpace) -> Event + Send>;

/// One stretch of guest code.
pub enum Step {
    /// Runs the code and traps.
    Code(GuestCode),
    /// Computes until somebody kicks it.
    UntilKicked,
}

impl Step {
    /// A system call with up to six arguments.
    pub fn syscall(nr: u64, args: &[u64]) -> Step {
        let mut full = [0; 6];
        full[..args.len()].copy_from_slice(args);
        Step::Code(Box::new(move |regs, _| {
            regs.rip = regs.rip.wrapping_add(2);
            Event::Syscall { nr, args: full }
        }))
    }

    /// A trap of any kind.
    pub fn event(event: Event) -> Step {
        Step::Code(Box::new(move |_, _| event))
    }

    /// Looks at the state (for assertions on results) and makes a system call that the closure chooses.
    pub fn code(f: impl FnOnce(&mut Regs, &MockSpace) -> Event + Send + 'static) -> Step {
        Step::Code(Box::new(f))
    }
}

/// `exit_group`, which a guest whose script is at its end calls.
const NR_EXIT_GROUP: u64 = 231;

#[derive(Default)]
struct KickState {
    kicked: Mutex<bool>,
    changed: Condvar,
}

impl Kicker for KickState {
    fn kick(&self) {
        *lock(&self.kicked) = true;
        self.changed.notify_all();
    }
}

/// Words about signals that scripted guest code changes as a stub would.
#[derive(Default)]
pub struct MockSignals {
    blocked: AtomicU64,
    pending: AtomicBool,
    actions: Mutex<std::collections::HashMap<usize, [u64; 4]>>,
}

impl MockSignals {
    /// What the stub does at `rt_sigprocmask`; false if it leaves that to the kernel.
    pub fn change(&self, blocked: u64) -> bool {
        let old = self.blocked.swap(blocked, Ordering::SeqCst);
        let pending = self.pending.load(Ordering::SeqCst);
        if pending {
            self.blocked.store(old, Ordering::SeqCst);
        }
        !pending
    }
}

impl SignalWords for MockSignals {
    fn blocked(&self) -> u64 {
        self.blocked.load(Ordering::SeqCst)
    }
    fn set_blocked(&self, set: u64) {
        self.blocked.store(set, Ordering::SeqCst);
    }
    fn set_pending(&self, any: bool) {
        self.pending.store(any, Ordering::SeqCst);
    }
    fn action(&self, signal: usize) -> [u64; 4] {
        lock(&self.actions).get(&signal).copied().unwrap_or_default()
    }
    fn set_action(&self, signal: usize, action: [u64; 4]) {
        lock(&self.actions).insert(signal, action);
    }
}

/// A scripted guest thread.
pub struct MockContext {
    shared: Arc<Inner>,
    space: Arc<MockSpace>,
    script: VecDeque<Step>,
    regs: Regs,
    /// The last system call and its registers, for a restart.
    last: Option<(Event, Regs)>,
    restart: bool,
    kick: Arc<KickState>,
    fpu: Vec<u8>,
    ids: FastIds,
    signals: Arc<MockSignals>,
}

impl MockContext {
    fn new(shared: Arc<Inner>, space: Arc<MockSpace>, regs: Regs) -> MockContext {
        let script = lock(&shared.scripts).pop_front().unwrap_or_default().into();
        MockContext {
            shared,
            space,
            script,
            regs,
            last: None,
            restart: false,
            kick: Arc::default(),
            fpu: vec![0; 512],
            ids: FastIds::default(),
            signals: Arc::default(),
        }
    }

    /// The identity values last given for in-stub answers.
    pub fn fast_ids(&self) -> FastIds {
        self.ids
    }

    /// The words about signals, as its stub has them.
    pub fn signals(&self) -> Arc<MockSignals> {
        self.signals.clone()
    }

    fn take_kick(&self) -> bool {
        std::mem::take(&mut *lock(&self.kick.kicked))
    }
}

impl Context for MockContext {
    fn run(&mut self) -> Event {
        if self.space.is_dead() {
            return Event::Died { signo: 9 };
        }
        if self.take_kick() {
            return Event::Kicked;
        }
        if std::mem::take(&mut self.restart)
            && let Some((event, regs)) = self.last
        {
            self.regs = regs;
            return event;
        }
        let event = match self.script.pop_front() {
            None => Event::Syscall { nr: NR_EXIT_GROUP, args: [0; 6] },
            Some(Step::Code(code)) => code(&mut self.regs, &self.space),
            Some(Step::UntilKicked) => {
                let mut kicked = lock(&self.kick.kicked);
                while !*kicked {
                    kicked = self.kick.changed.wait(kicked).unwrap_or_else(PoisonError::into_inner);
                }
                *kicked = false;
                Event::Kicked
            }
        };
        if let Event::Syscall { nr, args } = event {
            let r = &mut self.regs;
            r.rax = nr;
            [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = args;
            self.last = Some((event, self.regs));
        }
        event
    }

    fn regs(&mut self) -> Regs {
        self.regs
    }
    fn set_regs(&mut self, regs: &Regs) {
        self.regs = *regs;
        self.restart = false;
    }
    fn set_result(&mut self, value: u64) {
        self.regs.rax = value;
    }
    fn set_tls(&mut self, fs_base: u64) {
        self.regs.fs_base = fs_base;
    }
    fn restart_syscall(&mut self) {
        self.restart = true;
    }
    fn fpu(&mut self) -> Result<Vec<u8>> {
        Ok(self.fpu.clone())
    }
    fn set_fpu(&mut self, image: Option<&[u8]>) -> Result<()> {
        match image {
            None => self.fpu.fill(0),
            Some(image) if image.len() == self.fpu.len() => self.fpu.copy_from_slice(image),
            Some(_) => return Err(errno::EINVAL),
        }
        Ok(())
    }
    fn space(&self) -> Arc<dyn Space> {
        self.space.clone()
    }
    fn kicker(&self) -> Arc<dyn Kicker> {
        self.kick.clone()
    }
    fn spawn_thread(&mut self, regs: &Regs) -> Result<Box<dyn Context>> {
        let mut child = MockContext::new(self.shared.clone(), self.space.clone(), *regs);
        child.fpu.clone_from(&self.fpu);
        Ok(Box::new(child))
    }
    fn fork(&mut self, regs: &Regs) -> Result<Box<dyn Context>> {
        let mut child = MockContext::new(self.shared.clone(), Arc::new(self.space.fork()), *regs);
        child.fpu.clone_from(&self.fpu);
        Ok(Box::new(child))
    }
    fn set_fast_ids(&mut self, ids: &FastIds) {
        self.ids = *ids;
    }
    fn lend_signals(&mut self) -> Option<Arc<dyn SignalWords>> {
        Some(self.signals.clone())
    }
    fn set_fast_ppid_later(&self) -> Arc<dyn Fn(u32) + Send + Sync> {
        Arc::new(|_| {})
    }
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        self.space.read(addr, buf)
    }
    fn write(&mut self, addr: u64, buf: &[u8]) -> usize {
        self.space.write(addr, buf)
    }
    fn compare_exchange_u32(&mut self, addr: u64, old: u32, new: u32) -> Result<u32> {
        self.space.compare_exchange_u32(addr, old, new)
    }
    fn cpu_time_ns(&self) -> (u64, u64) {
        (0, 0)
    }
}

struct Inner {
    facts: HostFacts,
    mem: Arc<MockShared>,
    tree: Arc<Tree>,
    clock_ns: AtomicU64,
    entropy: AtomicU64,
    scripts: Mutex<VecDeque<Vec<Step>>>,
    streams: Mutex<Vec<Arc<MockStream>>>,
    reports: Mutex<Vec<String>>,
    exit: Mutex<Option<i32>>,
    exited: Condvar,
}

/// The in-memory host. Clones are handles to the same host.
#[derive(Clone)]
pub struct MockHost {
    inner: Arc<Inner>,
}

impl Default for MockHost {
    fn default() -> Self {
        MockHost::new()
    }
}

/// Real time at the start of a mock host: 2001-09-09.
const EPOCH_NS: u64 = 1_000_000_000_000_000_000;

impl MockHost {
    /// A host with two processors, 1 GiB of memory, three streams (0, 1, 2) and an empty root directory.
    pub fn new() -> MockHost {
        let facts = HostFacts {
            cpus: 2,
            memory: 1 << 30,
            minsigstksz: 2048,
            xstate_size: 512,
            platform: "x86_64".into(),
            uname: "Linux mock".into(),
            uid: 1000,
            gid: 1000,
            pid: 1,
            cpu_info: vec![Default::default(); 2],
            ..HostFacts::default()
        };
        MockHost {
            inner: Arc::new(Inner {
                facts,
                mem: Arc::new(MockShared::new(1 << 40)),
                tree: Tree::new(),
                clock_ns: AtomicU64::new(1),
                entropy: AtomicU64::new(1),
                scripts: Mutex::default(),
                streams: Mutex::new((0..3).map(|_| MockStream::new()).collect()),
                reports: Mutex::default(),
                exit: Mutex::default(),
                exited: Condvar::new(),
            }),
        }
    }

    /// Queues the script of the next guest thread that is created (first context, fork or thread, in that order of
    /// creation). A thread without a script calls `exit_group(0)`.
    pub fn push_script(&self, steps: Vec<Step>) {
        lock(&self.inner.scripts).push_back(steps);
    }

    /// Moves all clocks forward.
    pub fn advance(&self, by: Duration) {
        let ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 2);
        self.inner.clock_ns.fetch_add(ns, Ordering::SeqCst);
    }

    /// The file tree, to be filled before or during a test.
    pub fn tree(&self) -> Arc<Tree> {
        self.inner.tree.clone()
    }

    /// The test's end of descriptor `fd`.
    pub fn mock_stream(&self, fd: usize) -> Option<Arc<MockStream>> {
        lock(&self.inner.streams).get(fd).cloned()
    }

    /// Lines reported so far.
    pub fn reports(&self) -> Vec<String> {
        lock(&self.inner.reports).clone()
    }

    /// Waits until the machine ended; its status, or `None` after `timeout` of real time.
    pub fn wait_exit(&self, timeout: Duration) -> Option<i32> {
        let guard = lock(&self.inner.exit);
        let (guard, _) = self
            .inner
            .exited
            .wait_timeout_while(guard, timeout, |e| e.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *guard
    }
}

impl Host for MockHost {
    fn facts(&self) -> &HostFacts {
        &self.inner.facts
    }
    fn new_context(&self) -> Result<Box<dyn Context>> {
        let space = Arc::new(MockSpace::new(self.inner.mem.clone()));
        Ok(Box::new(MockContext::new(self.inner.clone(), space, Regs::default())))
    }
    fn shared_mem(&self) -> Arc<dyn SharedMem> {
        self.inner.mem.clone()
    }
    fn monotonic_ns(&self) -> u64 {
        self.inner.clock_ns.load(Ordering::SeqCst)
    }
    fn realtime_ns(&self) -> u64 {
        EPOCH_NS + self.monotonic_ns()
    }
    fn boottime_ns(&self) -> u64 {
        self.monotonic_ns()
    }
    fn entropy(&self, buf: &mut [u8]) {
        for b in buf {
            let n = self.inner.entropy.fetch_add(1, Ordering::Relaxed);
            let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *b = (mixed ^ (mixed >> 29)).to_be_bytes()[0];
        }
    }
    fn spawn(&self, name: &str, f: Box<dyn FnOnce() + Send>) -> Result<()> {
        match std::thread::Builder::new().name(name.to_owned()).spawn(f) {
            Ok(_) => Ok(()),
            Err(_) => Err(errno::EAGAIN),
        }
    }
    /// Moves the clock instead of waiting for it, and lets other threads run for an instant.
    fn sleep(&self, d: Duration) {
        self.advance(d);
        std::thread::sleep(d.min(Duration::from_millis(1)));
    }
    fn open_path(&self, path: &[u8], flags: u32) -> Result<Arc<dyn HostFile>> {
        let mut at: Arc<dyn HostFile> = self.inner.tree.root();
        let mut names = path.split(|&b| b == b'/').filter(|n| !n.is_empty() && *n != b".").peekable();
        while let Some(name) = names.next() {
            at = at.open_at(name, if names.peek().is_none() { flags } else { 0 }, 0o644)?;
        }
        Ok(at)
    }
    fn stream(&self, fd: i32) -> Result<Arc<dyn Stream>> {
        let fd = usize::try_from(fd).map_err(|_| errno::EBADF)?;
        let stream = self.mock_stream(fd).ok_or(errno::EBADF)?;
        Ok(stream)
    }
    fn new_pty(&self) -> Result<(Arc<dyn Stream>, String)> {
        let mut streams = lock(&self.inner.streams);
        let stream = MockStream::new();
        let path = format!("/dev/pts/{}", streams.len());
        streams.push(stream.clone());
        Ok((stream, path))
    }
    fn report(&self, line: &str) {
        lock(&self.inner.reports).push(line.to_owned());
    }
    /// Records the status and holds the calling thread for ever.
    fn exit(&self, status: i32) -> ! {
        lock(&self.inner.exit).get_or_insert(status);
        self.inner.exited.notify_all();
        loop {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests;
