//! A socket: its state, readiness, and the dispatch of operations by type.

use std::{
    any::Any,
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
};

use abi::{
    Errno, SigInfo, Signal,
    errno::{EAGAIN, ECONNRESET, EINTR, EINVAL, ENOTCONN, EOPNOTSUPP, EPIPE, ETIMEDOUT},
    net::{MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, SHUT_RD, SHUT_RDWR, SHUT_WR, UCred},
};
use hal::Host;
use kernel::{
    ERESTART, Result,
    io::{Sink, Source},
    locks,
    net::{Control, Received, SocketOps, Tell},
    signal,
    task::{Task, TaskCx, Work},
    vfs::{
        file::{File, FileOps},
        pipe::raise_sigpipe,
        poll::PollEvents,
    },
};
use ksync::{Mutex, MutexGuard, WaitQueue};

use crate::{
    family::Shared,
    names::{self, Name},
    queue::{Budget, Rx},
};

/// Default SO_SNDBUF and SO_RCVBUF (net.core.wmem_default).
pub const DEFAULT_BUFFER: u32 = 212_992;
/// Messages that may wait in the queue of a datagram socket that is not connected to the sender
/// (net.unix.max_dgram_qlen).
pub const MAX_DGRAM_QUEUE: usize = 10;

/// Receiving has ended.
pub const RCV: u32 = 1;
/// Sending has ended.
pub const SND: u32 = 2;

/// Type of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Stream,
    Dgram,
    Seqpacket,
}

/// Who is at the other end, as it was when the connection was made.
#[derive(Clone, Default)]
pub struct PeerCred {
    pub ids: UCred,
    pub groups: Vec<u32>,
}

/// Effective ids of a task (SO_PEERCRED).
pub fn cred_of(task: &Task) -> PeerCred {
    let c = task.cred();
    PeerCred { ids: UCred { pid: task.pid(), uid: c.euid, gid: c.egid }, groups: c.groups.clone() }
}

/// What only one thread changes at a time.
#[derive(Default)]
pub struct State {
    pub name: Option<Arc<Name>>,
    /// The name is this socket's own, not its listener's.
    pub owns_name: bool,
    pub peer: Option<Weak<UnixSocket>>,
    pub peer_name: Option<Arc<Name>>,
    pub peer_cred: Option<PeerCred>,
    /// A stream or packet socket that has or had a peer.
    pub connected: bool,
    pub listening: bool,
    pub backlog: usize,
    /// Connections not accepted yet.
    pub pending: VecDeque<Arc<UnixSocket>>,
    /// Datagram sockets connected to this one, which wait for room in its queue.
    pub clients: Vec<Weak<UnixSocket>>,
}

/// A unix domain socket.
pub struct UnixSocket {
    pub kind: Kind,
    pub me: Weak<UnixSocket>,
    pub shared: Arc<Shared>,
    pub host: Arc<dyn Host>,
    /// What it raises when something has changed about receiving.
    count: u32,
    pub state: Mutex<State>,
    rx: Mutex<Rx>,
    /// Woken when there is something to read or accept.
    pub read_wait: Arc<WaitQueue>,
    pub budget: Arc<Budget>,
    /// [`RCV`] and [`SND`].
    pub shut: AtomicU32,
    /// Closed: nobody can reach it but those who are just looking.
    dead: AtomicBool,
    /// Pending error (SO_ERROR), 0 for none.
    pub error: AtomicI32,
    pub options: crate::options::Options,
    /// Who gets SIGURG: a process, or a group if negative; 0 for nobody.
    owner: AtomicI64,
}

impl UnixSocket {
    pub fn new(shared: &Arc<Shared>, host: &Arc<dyn Host>, kind: Kind) -> Arc<UnixSocket> {
        let count = shared.made.fetch_add(1, Ordering::Relaxed) % hal::COUNTS;
        Arc::new_cyclic(|me| UnixSocket {
            kind,
            me: me.clone(),
            shared: shared.clone(),
            host: host.clone(),
            count,
            state: Mutex::new(locks::SOCKET, State::default()),
            rx: Mutex::new(locks::SOCKET, Rx::default()),
            read_wait: Arc::new(WaitQueue::new()),
            budget: Budget::new(DEFAULT_BUFFER as usize),
            shut: AtomicU32::new(0),
            dead: AtomicBool::new(false),
            error: AtomicI32::new(0),
            options: crate::options::Options::default(),
            owner: AtomicI64::new(0),
        })
    }

    pub fn is_shut(&self, bits: u32) -> bool {
        self.shut.load(Ordering::SeqCst) & bits == bits
    }

    /// The pending error, once.
    pub fn take_error(&self) -> Option<Errno> {
        if self.error.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Errno::from_raw(self.error.swap(0, Ordering::SeqCst))
    }

    /// The receive queue, without what was read of it.
    pub fn rx(&self) -> MutexGuard<'_, Rx> {
        loop {
            let mut rx = self.rx.lock();
            let Some(read) = rx.settle() else { return rx };
            // Its sender hears of that with no lock held.
            drop(rx);
            drop(read);
        }
    }

    /// The same for one who puts something into it by `change`.
    pub fn fill<T>(&self, change: impl FnOnce(&mut Rx) -> T) -> T {
        let mut rx = self.rx();
        let result = change(&mut rx);
        // Whoever finds it in the queue finds this, too.
        self.host.raise(self.count);
        result
    }

    /// Tells everybody who waits that something about the connection changed.
    pub fn state_changed(&self) {
        self.host.raise(self.count);
        let all = PollEvents::IN | PollEvents::OUT | PollEvents::HUP | PollEvents::RDHUP | PollEvents::ERR;
        self.read_wait.wake_all(all.bits());
        self.budget.wait.wake_all(all.bits());
    }

    /// A byte out of band has come: SIGURG to the owner (F_SETOWN).
    pub fn urge(&self, task: &Task) {
        self.read_wait.wake_all(PollEvents::PRI.bits());
        let owner = self.owner.load(Ordering::Relaxed);
        let info = SigInfo::user(Signal::SIGURG, 0, 0);
        let machine = &task.machine;
        match i32::try_from(owner) {
            Ok(0) | Err(_) => {}
            Ok(pid) if pid > 0 => {
                if let Some(p) = machine.tree.process(pid) {
                    signal::send_to_process(&p, info);
                }
            }
            // A group that is gone hears nothing.
            Ok(group) => drop(signal::send_to_group(machine, group.wrapping_neg(), info)),
        }
    }

    /// Something to read has come.
    pub fn data_arrived(&self) {
        self.read_wait.wake_all((PollEvents::IN | PollEvents::RDNORM).bits());
    }

    pub fn peer(&self) -> Option<Arc<UnixSocket>> {
        let peer = self.state.lock().peer.clone();
        peer?.upgrade()
    }

    /// Numbers of the open files in unread messages, of connections not accepted too.
    pub fn queued_files(&self) -> Vec<u64> {
        let ids = |s: &UnixSocket| -> Vec<u64> {
            let rx = s.rx.lock();
            rx.records.iter().filter_map(|r| r.passed.as_ref()).flat_map(|p| p.ids()).collect()
        };
        let mut all = ids(self);
        let pending: Vec<Arc<UnixSocket>> = self.state.lock().pending.iter().cloned().collect();
        for s in &pending {
            all.extend(ids(s));
        }
        all
    }

    /// Throws unread messages and waiting connections away.
    pub fn empty_queues(&self) {
        let records = self.rx().drain();
        drop(records);
        let pending = std::mem::take(&mut self.state.lock().pending);
        drop(pending);
    }

    /// Waits for `op` unless non-blocking; EAGAIN after the socket's own timeout, EINTR if such a wait is interrupted.
    pub fn wait<T>(
        &self,
        task: &Task,
        queue: &WaitQueue,
        nonblocking: bool,
        timeout_ns: &AtomicU64,
        mut op: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if nonblocking {
            return op().ok_or(EAGAIN);
        }
        let deadline = match timeout_ns.load(Ordering::Relaxed) {
            0 => None,
            t => Some(task.machine.clock.monotonic_ns().saturating_add(t)),
        };
        match task.wait_on(&[queue], deadline, op) {
            Err(ETIMEDOUT) => Err(EAGAIN),
            Err(e) if e == ERESTART && deadline.is_some() && !task.work().contains(Work::FREEZE) => {
                Err(EINTR)
            }
            other => other,
        }
    }

    pub fn nonblocking(file: &File, flags: u32) -> bool {
        flags & MSG_DONTWAIT != 0 || file.nonblocking()
    }

    /// Gives the socket a name of its own if it has none.
    pub fn autobind(&self) -> Result<()> {
        let mut st = self.state.lock();
        if st.name.is_none() {
            st.name = Some(Arc::new(self.shared.names.autobind(self)?));
            st.owns_name = true;
        }
        Ok(())
    }

    fn poll_bits(&self) -> PollEvents {
        let mut e = PollEvents::empty();
        let shut = self.shut.load(Ordering::SeqCst);
        if self.error.load(Ordering::Relaxed) != 0 {
            e |= PollEvents::ERR;
        }
        if shut == RCV | SND {
            e |= PollEvents::HUP;
        }
        if shut & RCV != 0 {
            e |= PollEvents::RDHUP | PollEvents::IN | PollEvents::RDNORM;
        }
        let (listening, connected, pending) = {
            let st = self.state.lock();
            (st.listening, st.connected, !st.pending.is_empty())
        };
        let (waiting, urgent) = {
            let mut rx = self.rx();
            (!rx.records.is_empty(), rx.urgent().is_some())
        };
        if pending || waiting {
            e |= PollEvents::IN | PollEvents::RDNORM;
        }
        if urgent {
            e |= PollEvents::PRI;
        }
        if self.kind != Kind::Dgram && !connected && !listening {
            e |= PollEvents::HUP;
        }
        if !listening && self.budget.writable() && (self.kind != Kind::Dgram || self.peer_has_room()) {
            e |= PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
        }
        e
    }
}

impl FileOps for UnixSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_socket(&self) -> Option<&dyn SocketOps> {
        Some(self)
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _: u64) -> Result<usize> {
        Ok(self.recv(file, task, dst, 0, false)?.bytes)
    }
    fn write(&self, file: &File, task: &Task, src: &mut dyn Source, _: u64) -> Result<usize> {
        self.send(file, task, src, None, Control::default(), 0)
    }
    fn poll(&self, _: &File) -> PollEvents {
        self.poll_bits()
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.read_wait.clone(), self.budget.wait.clone()]
    }
    fn closed(&self, _: &File, _: &Task) {
        self.changed();
    }
    fn release(&self, _: &File) {
        self.close();
    }
    fn set_owner(&self, owner: i64) {
        self.owner.store(owner, Ordering::Relaxed);
    }
    fn ioctl(&self, _file: &File, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        crate::ioctl::ioctl(self, cx, cmd, arg)
    }
}

impl SocketOps for UnixSocket {
    fn as_file_ops(self: Arc<Self>) -> Arc<dyn FileOps> {
        self
    }
    fn bind(&self, task: &Task, addr: &[u8]) -> Result<()> {
        crate::connect::bind(self, task, addr)
    }
    fn connect(&self, file: &File, task: &Task, addr: &[u8]) -> Result<()> {
        match self.kind {
            Kind::Dgram => self.connect_dgram(task, addr),
            _ => crate::connect::connect(self, file, task, addr),
        }
    }
    fn listen(&self, task: &Task, backlog: i32) -> Result<()> {
        crate::connect::listen(self, task, backlog)
    }
    fn accept(&self, file: &File, task: &Task) -> Result<(Arc<dyn SocketOps>, Vec<u8>)> {
        crate::connect::accept(self, file, task)
    }
    fn local_addr(&self) -> Result<Vec<u8>> {
        Ok(names::encode(self.state.lock().name.as_deref()))
    }
    fn peer_addr(&self) -> Result<Vec<u8>> {
        let (peer, kept) = {
            let st = self.state.lock();
            (st.peer.clone(), st.peer_name.clone())
        };
        let peer = peer.ok_or(ENOTCONN)?;
        match peer.upgrade() {
            Some(p) => p.local_addr(),
            None => Ok(names::encode(kept.as_deref())),
        }
    }
    fn send(
        &self,
        file: &File,
        task: &Task,
        src: &mut dyn Source,
        addr: Option<&[u8]>,
        control: Control,
        flags: u32,
    ) -> Result<usize> {
        let urgent = flags & MSG_OOB != 0;
        if urgent && self.kind != Kind::Stream {
            return Err(EOPNOTSUPP);
        }
        let nonblocking = UnixSocket::nonblocking(file, flags);
        let result = match self.kind {
            Kind::Stream => self.send_stream(task, src, addr, control, nonblocking, urgent),
            _ => self.send_message(task, src, addr, control, nonblocking),
        };
        if result == Err(EPIPE) && flags & MSG_NOSIGNAL == 0 && self.kind != Kind::Dgram {
            raise_sigpipe(task);
        }
        result
    }
    fn recv(
        &self,
        file: &File,
        task: &Task,
        dst: &mut dyn Sink,
        flags: u32,
        want_control: bool,
    ) -> Result<Received> {
        if flags & MSG_OOB != 0 {
            return if self.kind == Kind::Stream { self.recv_urgent(dst, flags) } else { Err(EOPNOTSUPP) };
        }
        let nonblocking = UnixSocket::nonblocking(file, flags);
        match self.kind {
            Kind::Stream => self.recv_stream(task, dst, flags, nonblocking, want_control),
            _ => self.recv_message(task, dst, flags, nonblocking, want_control),
        }
    }
    fn shutdown(&self, how: u32) -> Result<()> {
        let (mine, theirs) = match i32::try_from(how).map_err(|_| EINVAL)? {
            SHUT_RD => (RCV, SND),
            SHUT_WR => (SND, RCV),
            SHUT_RDWR => (RCV | SND, RCV | SND),
            _ => return Err(EINVAL),
        };
        self.shut.fetch_or(mine, Ordering::SeqCst);
        let peer = self.peer();
        if let Some(p) = &peer
            && self.kind != Kind::Dgram
        {
            p.shut.fetch_or(theirs, Ordering::SeqCst);
            p.state_changed();
        }
        self.state_changed();
        Ok(())
    }
    fn count(&self) -> Option<u32> {
        (self.kind == Kind::Stream).then_some(self.count)
    }
    fn changed(&self) {
        self.host.raise(self.count);
    }
    fn tell(&self, tell: &mut Tell<'_>) {
        if self.kind != Kind::Stream || !self.state.lock().connected {
            return;
        }
        let mut rx = self.rx();
        if rx.records.is_empty() {
            if self.error.load(Ordering::SeqCst) == 0 && !self.is_shut(RCV) {
                tell(&[]);
            }
        } else if let Some(bytes) = rx.plain() {
            let told = tell(bytes).map(|t| (t, bytes.len()));
            rx.told = told;
        }
    }
    fn settle(&self) -> bool {
        let read = self.rx.lock().settle();
        read.is_some()
    }
    fn get_option(&self, _task: &Task, level: i32, name: i32) -> Result<Vec<u8>> {
        crate::options::get(self, level, name)
    }
    fn set_option(&self, task: &Task, level: i32, name: i32, value: &[u8]) -> Result<()> {
        crate::options::set(self, task, level, name, value)?;
        self.changed();
        Ok(())
    }
}

impl UnixSocket {
    /// The last descriptor is gone (or the connection was never accepted): gives the name back and tells the other end.
    fn close(&self) {
        if self.dead.swap(true, Ordering::SeqCst) {
            return;
        }
        let st = std::mem::take(&mut *self.state.lock());
        if st.owns_name
            && let Some(Name::Abstract(n)) = st.name.as_deref()
        {
            self.shared.names.unbind(self.kind, n, self);
        }
        self.shut.store(RCV | SND, Ordering::SeqCst);
        let unread = self.rx().drain();
        if let Some(p) = st.peer.as_ref().and_then(Weak::upgrade)
            && self.kind != Kind::Dgram
        {
            if !unread.is_empty() {
                p.error.store(ECONNRESET.raw(), Ordering::SeqCst);
            }
            p.shut.fetch_or(RCV | SND, Ordering::SeqCst);
            p.state_changed();
        }
        // Connections nobody took are reset.
        for s in &st.pending {
            if let Some(p) = s.peer() {
                p.error.store(ECONNRESET.raw(), Ordering::SeqCst);
            }
            s.close();
        }
        for c in st.clients.iter().filter_map(Weak::upgrade) {
            c.state_changed();
        }
        self.state_changed();
        drop(unread);
        drop(st);
        self.shared.flight.collect();
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.close();
    }
}
