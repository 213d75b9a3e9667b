//! POSIX message queues (mq_overview(7)). The names are a filesystem of type "mqueue", whose module shows [`Queues`].

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use abi::{
    OpenFlags, SigInfo, Signal, Timespec,
    cap::CAP_SYS_RESOURCE,
    errno::{
        EACCES, EAGAIN, EBADF, EBUSY, EEXIST, EINVAL, EMFILE, EMSGSIZE, ENAMETOOLONG, ENOENT, ENOSPC, ENOSYS,
    },
    fs::{R_OK, W_OK, X_OK},
    ipc::{MQ_PRIO_MAX, MqAttr},
    sched::RLIMIT_MSGQUEUE,
    signal::{SI_MESGQ, SigFields},
};
use ksync::{Mutex, WaitQueue};

use super::{Charged, load};
use crate::{
    error::Result,
    io::Sink,
    locks,
    task::{Pid, Process, Task},
    vfs::{
        dentry::Dentry,
        file::{File, FileOps},
        inode::Inode,
        mount::Mount,
        path::Path,
        permission,
        poll::PollEvents,
    },
};

/// Limits that not even CAP_SYS_RESOURCE lifts: messages of a queue, and bytes of a message.
pub const HARD_MSG_MAX: u64 = 65_536;
pub const HARD_MSGSIZE_MAX: u64 = 16 << 20;
/// What Linux counts for each message and each priority beside the bytes.
const OVERHEAD: u64 = 48;

/// The files of /proc/sys/fs/mqueue, with Linux's defaults.
pub struct Limits {
    pub queues_max: AtomicU64,
    pub msg_max: AtomicU64,
    pub msgsize_max: AtomicU64,
    pub msg_default: AtomicU64,
    pub msgsize_default: AtomicU64,
}

/// Bytes that users have reserved, and queues in all.
#[derive(Default)]
struct Accounts {
    users: BTreeMap<u32, u64>,
    queues: u64,
}

/// All queues of a namespace.
pub struct Queues {
    pub limits: Limits,
    names: Mutex<BTreeMap<Vec<u8>, Arc<Queue>>>,
    accounts: Arc<Mutex<Accounts>>,
    next: AtomicU64,
    /// Where mq_open(2) finds names.
    mount: OnceLock<Arc<Mount>>,
}

impl Default for Queues {
    fn default() -> Self {
        let limits = Limits {
            queues_max: 256.into(),
            msg_max: 10.into(),
            msgsize_max: 8192.into(),
            msg_default: 10.into(),
            msgsize_default: 8192.into(),
        };
        Queues {
            limits,
            names: Mutex::new(locks::IPC, BTreeMap::new()),
            accounts: Arc::new(Mutex::new(locks::LEAF, Accounts::default())),
            next: AtomicU64::new(2),
            mount: OnceLock::new(),
        }
    }
}

/// What a queue's user is charged (RLIMIT_MSGQUEUE), given back at its end.
struct Account {
    all: Arc<Mutex<Accounts>>,
    uid: u32,
    bytes: u64,
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut a = self.all.lock();
        a.queues -= 1;
        if let Some(n) = a.users.get_mut(&self.uid) {
            *n -= self.bytes;
            if *n == 0 {
                a.users.remove(&self.uid);
            }
        }
    }
}

/// Owner, mode and times of a queue's inode.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
}

struct Message {
    data: Vec<u8>,
    _charged: Charged,
}

/// Who is told of a message for an empty queue (mq_notify(3)).
struct Notify {
    process: Weak<Process>,
    pid: Pid,
    signal: Option<Signal>,
    value: u64,
}

#[derive(Default)]
struct State {
    by_priority: BTreeMap<u32, VecDeque<Message>>,
    count: u64,
    bytes: u64,
    readers: usize,
    notify: Option<Notify>,
}

/// One queue.
pub struct Queue {
    pub ino: u64,
    pub max_messages: u64,
    pub max_size: u64,
    pub meta: Mutex<Meta>,
    state: Mutex<State>,
    wait: Arc<WaitQueue>,
    _account: Account,
}

impl Queues {
    pub fn find(&self, name: &[u8]) -> Option<Arc<Queue>> {
        self.names.lock().get(name).cloned()
    }
    /// Names and inode numbers, by name.
    pub fn list(&self) -> Vec<(Vec<u8>, u64)> {
        self.names.lock().iter().map(|(n, q)| (n.clone(), q.ino)).collect()
    }

    /// Makes a queue. `attr`: its size, or the defaults. `mode` with the umask applied.
    pub fn create(
        &self,
        task: &Task,
        name: &[u8],
        mode: u32,
        owner: (u32, u32),
        attr: Option<&MqAttr>,
    ) -> Result<Arc<Queue>> {
        let cred = task.cred();
        let privileged = cred.has(CAP_SYS_RESOURCE);
        let l = &self.limits;
        let (max_messages, max_size) = match attr {
            None => (
                load(&l.msg_default).min(load(&l.msg_max)),
                load(&l.msgsize_default).min(load(&l.msgsize_max)),
            ),
            Some(a) => {
                let positive = |v: i64| u64::try_from(v).ok().filter(|v| *v > 0).ok_or(EINVAL);
                let (n, size) = (positive(a.maxmsg)?, positive(a.msgsize)?);
                let (max, max_size) = if privileged {
                    (HARD_MSG_MAX, HARD_MSGSIZE_MAX)
                } else {
                    (load(&l.msg_max), load(&l.msgsize_max))
                };
                if n > max || size > max_size {
                    return Err(EINVAL);
                }
                (n, size)
            }
        };
        let account = self.account(task, max_messages, max_size, privileged)?;
        let now = task.machine.clock.now();
        let meta =
            Meta { mode: mode & 0o7777, uid: owner.0, gid: owner.1, atime: now, mtime: now, ctime: now };
        let queue = Arc::new(Queue {
            ino: self.next.fetch_add(1, Ordering::Relaxed),
            max_messages,
            max_size,
            meta: Mutex::new(locks::LEAF, meta),
            state: Mutex::new(locks::IPC_OBJECT, State::default()),
            wait: Arc::new(WaitQueue::new()),
            _account: account,
        });
        let mut names = self.names.lock();
        if names.contains_key(name) {
            return Err(EEXIST);
        }
        names.insert(name.to_vec(), queue.clone());
        Ok(queue)
    }

    fn account(&self, task: &Task, messages: u64, size: u64, privileged: bool) -> Result<Account> {
        let uid = task.cred().uid;
        let bytes = messages * (size + OVERHEAD) + messages.min(u64::from(MQ_PRIO_MAX)) * OVERHEAD;
        let limit = task.process.rlimit(RLIMIT_MSGQUEUE as usize);
        let mut a = self.accounts.lock();
        if a.queues >= load(&self.limits.queues_max) && !privileged {
            return Err(ENOSPC);
        }
        let used = a.users.get(&uid).copied().unwrap_or(0);
        if used + bytes > limit {
            return Err(EMFILE);
        }
        a.users.insert(uid, used + bytes);
        a.queues += 1;
        Ok(Account { all: self.accounts.clone(), uid, bytes })
    }

    /// Takes a name away; the queue lives on while it is open.
    pub fn remove(&self, name: &[u8]) -> Result<()> {
        let gone = self.names.lock().remove(name);
        gone.map(drop).ok_or(ENOENT)
    }
}

/// Where names are looked up.
fn mount(task: &Task) -> Result<Arc<Mount>> {
    let ns = task.ipc();
    if let Some(m) = ns.mqueue.mount.get() {
        return Ok(m.clone());
    }
    let machine = &task.machine;
    let kind = machine.registry.filesystems.get("mqueue").ok_or(ENOSYS)?;
    let fs = kind.mount(machine, b"mqueue", b"", false, None)?;
    let root = Dentry::new_root(fs.root());
    Ok(ns.mqueue.mount.get_or_init(|| Mount::new(fs, root, b"mqueue", 0)).clone())
}

/// A name as mq_open(2) takes it: one component, without the slash of the library call.
fn check_name(name: &[u8]) -> Result<()> {
    match name {
        b"" => Err(ENOENT),
        b"." | b".." => Err(EACCES),
        _ if name.contains(&b'/') => Err(EACCES),
        _ if name.len() > 255 => Err(ENAMETOOLONG),
        _ => Ok(()),
    }
}

/// mq_open(2).
pub fn open(
    task: &Task,
    name: &[u8],
    flags: OpenFlags,
    mode: u32,
    attr: Option<&MqAttr>,
) -> Result<Arc<File>> {
    check_name(name)?;
    let mount = mount(task)?;
    let ns = task.ipc();
    let cred = task.cred();
    let root = mount.fs.root();
    let dir = root.dir().ok_or(ENOENT)?;
    let create = flags.contains(OpenFlags::CREAT);
    // A name may come or go between looking and making.
    let inode = loop {
        match dir.lookup(name, task) {
            Ok(_) if create && flags.contains(OpenFlags::EXCL) => return Err(EEXIST),
            Ok(inode) => {
                let wanted =
                    if flags.readable() { R_OK } else { 0 } | if flags.writable() { W_OK } else { 0 };
                permission::check(&*inode, &cred, wanted)?;
                break inode;
            }
            Err(ENOENT) if create => {
                permission::check(&*root, &cred, W_OK | X_OK)?;
                let mode = mode & 0o777 & !task.fs().umask();
                match ns.mqueue.create(task, name, mode, (cred.fsuid, cred.fsgid), attr) {
                    // Whoever makes a queue may use it whatever its mode.
                    Ok(_) => break dir.lookup(name, task)?,
                    Err(EEXIST) if !flags.contains(OpenFlags::EXCL) => continue,
                    Err(e) => return Err(e),
                }
            }
            Err(e) => return Err(e),
        }
    };
    let ops = inode.clone().open(flags, task)?;
    let shown = [b"/", name].concat();
    let path = Path { dentry: Dentry::new_named(inode, &shown), mount };
    let status = flags & (OpenFlags::WRONLY | OpenFlags::RDWR | OpenFlags::NONBLOCK);
    Ok(File::new(ops, path, status))
}

/// mq_unlink(2).
pub fn unlink(task: &Task, name: &[u8]) -> Result<()> {
    check_name(name)?;
    let mount = mount(task)?;
    let root = mount.fs.root();
    let victim: Arc<dyn Inode> = root.dir().ok_or(ENOENT)?.lookup(name, task)?;
    permission::may_delete(&mount, &*root, &*victim, &task.cred())?;
    task.ipc().mqueue.remove(name)
}

/// An open queue.
pub struct QueueFile(pub Arc<Queue>);

/// The queue of a descriptor. EBADF if it is none.
pub fn queue_of(file: &File) -> Result<Arc<Queue>> {
    file.ops.as_any().downcast_ref::<QueueFile>().map(|f| f.0.clone()).ok_or(EBADF)
}

impl Queue {
    pub fn attr(&self, file: &File) -> MqAttr {
        let flags = if file.nonblocking() { i64::from(OpenFlags::NONBLOCK.bits()) } else { 0 };
        let long = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
        MqAttr {
            flags,
            maxmsg: long(self.max_messages),
            msgsize: long(self.max_size),
            curmsgs: long(self.state.lock().count),
        }
    }

    fn changed(&self, events: PollEvents) {
        self.wait.wake_all(events.bits());
    }

    /// mq_timedsend(2), its arguments checked; `deadline` is monotonic.
    pub fn send(
        &self,
        task: &Task,
        file: &File,
        data: Vec<u8>,
        priority: u32,
        deadline: Option<u64>,
    ) -> Result<()> {
        if data.len() as u64 > self.max_size {
            return Err(EMSGSIZE);
        }
        let charged = Charged::new(task, data.len() as u64 + 64)?;
        let mut message = Some(Message { data, _charged: charged });
        let mut told = None;
        let attempt = || {
            let mut s = self.state.lock();
            if s.count >= self.max_messages {
                return None;
            }
            let m = message.take()?;
            s.bytes += m.data.len() as u64;
            s.by_priority.entry(priority).or_default().push_back(m);
            s.count += 1;
            if s.count == 1 && s.readers == 0 {
                told = s.notify.take();
            }
            Some(())
        };
        wait(task, file, &self.wait, deadline, attempt)?;
        let now = task.machine.clock.now();
        {
            let mut m = self.meta.lock();
            (m.mtime, m.ctime) = (now, now);
        }
        self.changed(PollEvents::IN | PollEvents::RDNORM);
        if let Some(n) = told {
            n.tell(task);
        }
        Ok(())
    }

    /// mq_timedreceive(2): the oldest message of the highest priority.
    pub fn receive(
        &self,
        task: &Task,
        file: &File,
        room: u64,
        deadline: Option<u64>,
    ) -> Result<(Vec<u8>, u32)> {
        if room < self.max_size {
            return Err(EMSGSIZE);
        }
        let take = || {
            let mut s = self.state.lock();
            let mut last = s.by_priority.last_entry()?;
            let priority = *last.key();
            let m = last.get_mut().pop_front()?;
            if last.get().is_empty() {
                last.remove();
            }
            s.count -= 1;
            s.bytes -= m.data.len() as u64;
            Some((m.data, priority))
        };
        if let Some(m) = take() {
            self.changed(PollEvents::OUT | PollEvents::WRNORM);
            return Ok(m);
        }
        // Who waits gets the next message: nobody is notified of it.
        self.state.lock().readers += 1;
        let got = wait(task, file, &self.wait, deadline, take);
        self.state.lock().readers -= 1;
        let m = got?;
        self.changed(PollEvents::OUT | PollEvents::WRNORM);
        Ok(m)
    }

    /// mq_notify(2): `Some(signal)` registers (a signal of `None`: for nothing but the place), `None` takes back.
    pub fn notify(&self, task: &Task, what: Option<(Option<Signal>, u64)>) -> Result<()> {
        let mut s = self.state.lock();
        match what {
            None => {
                if s.notify.as_ref().is_some_and(|n| n.pid == task.pid()) {
                    s.notify = None;
                }
            }
            Some((signal, value)) => {
                // A process that ended without closing cannot be: its descriptors were closed.
                if s.notify.is_some() {
                    return Err(EBUSY);
                }
                let process = Arc::downgrade(&task.process);
                s.notify = Some(Notify { process, pid: task.pid(), signal, value });
            }
        }
        Ok(())
    }

    /// What reading the file shows (mq_overview(7)).
    fn text(&self) -> String {
        let s = self.state.lock();
        let (signo, pid) = match &s.notify {
            Some(n) => (n.signal.map_or(0, Signal::raw), n.pid),
            None => (0, 0),
        };
        // SIGEV_SIGNAL is 0, SIGEV_NONE 1.
        let how = i32::from(s.notify.as_ref().is_some_and(|n| n.signal.is_none()));
        format!("QSIZE:{:<10} NOTIFY:{how:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n", s.bytes)
    }
}

fn wait<T>(
    task: &Task,
    file: &File,
    queue: &WaitQueue,
    deadline: Option<u64>,
    mut attempt: impl FnMut() -> Option<T>,
) -> Result<T> {
    if file.nonblocking() { attempt().ok_or(EAGAIN) } else { task.wait_on(&[queue], deadline, attempt) }
}

impl Notify {
    fn tell(self, sender: &Task) {
        if let (Some(signal), Some(process)) = (self.signal, self.process.upgrade()) {
            let fields = SigFields::Rt { pid: sender.pid(), uid: sender.cred().uid, value: self.value };
            process.send(SigInfo::new(signal, SI_MESGQ, fields));
        }
    }
}

impl FileOps for QueueFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, _: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let text = self.0.text();
        let from = usize::try_from(pos).unwrap_or(usize::MAX).min(text.len());
        let rest = &text.as_bytes()[from..];
        if rest.is_empty() { Ok(0) } else { dst.put(&rest[..rest.len().min(dst.remaining())]) }
    }
    fn size(&self) -> Result<u64> {
        Ok(FILE_SIZE)
    }
    fn poll(&self, _: &File) -> PollEvents {
        let count = self.0.state.lock().count;
        let mut e = PollEvents::empty();
        if count > 0 {
            e |= PollEvents::IN | PollEvents::RDNORM;
        }
        if count < self.0.max_messages {
            e |= PollEvents::OUT | PollEvents::WRNORM;
        }
        e
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.0.wait.clone()]
    }
    fn closed(&self, _: &File, task: &Task) {
        let mut s = self.0.state.lock();
        if s.notify.as_ref().is_some_and(|n| n.pid == task.pid()) {
            s.notify = None;
        }
    }
}

/// st_size of a queue's file.
pub const FILE_SIZE: u64 = 80;
