//! User notification (seccomp_unotify(2)): calls that a filter hands to whoever has its listener.
//!
//! The calling task waits in [`Notifier::ask`]; the listener is an open file that takes notifications, answers them and puts
//! descriptors into the caller's table. A notification is in the queue exactly as long as its caller waits.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use abi::{
    OpenFlags,
    errno::{E2BIG, EFAULT, EINPROGRESS, EINVAL, ENOENT, ENOSYS},
    ioctl::ioc_size,
    sched::*,
};
use bpf::Data;
use ksync::{Mutex, WaitQueue};

use crate::{
    error::{ERESTART, Result},
    locks,
    machine::Machine,
    task::{Task, TaskCx, Work},
    vfs::{
        fdtable::{self, RLIMIT_NOFILE},
        file::{File, FileOps},
        poll::PollEvents,
    },
};

/// Longest structure that an extensible request may declare.
const STRUCT_MAX: usize = 4096;

/// What becomes of a call that was handed on.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// It is made.
    Go,
    /// It is not made; this is for its result register.
    Result(u64),
}

#[derive(Clone, Copy)]
enum State {
    New,
    /// The listener has it.
    Taken,
    Answered(Answer),
}

struct Notification {
    task: Arc<Task>,
    data: Data,
    state: State,
    /// Its caller waits here.
    caller: Arc<WaitQueue>,
}

struct Queue {
    /// The listener is closed.
    deaf: bool,
    /// No task has the filter any more.
    unused: bool,
    next_id: u64,
    /// Notifications that were announced and that nobody came for; some of their callers may have gone.
    announced: u64,
    waiting: BTreeMap<u64, Notification>,
}

/// Between the tasks of a filter and its listener.
pub(super) struct Notifier {
    queue: Mutex<Queue>,
    /// Those who look at the listener.
    listeners: Arc<WaitQueue>,
    killable_once_taken: bool,
}

impl Notifier {
    pub(super) fn new(machine: &Machine, killable_once_taken: bool) -> Arc<Notifier> {
        let mut seed = [0; 8];
        machine.host.entropy(&mut seed);
        let queue = Queue {
            deaf: false,
            unused: false,
            // Ids of two filters are unlikely to be the same; and they do not wrap.
            next_id: u64::from_le_bytes(seed) >> 1,
            announced: 0,
            waiting: BTreeMap::new(),
        };
        Arc::new(Notifier {
            queue: Mutex::new(locks::NOTIFICATIONS, queue),
            listeners: Arc::new(WaitQueue::new()),
            killable_once_taken,
        })
    }

    /// The listener, as an open file.
    pub(super) fn open(self: &Arc<Self>, machine: &Machine) -> Arc<File> {
        let ops = Arc::new(Listener { notifier: self.clone() });
        machine.vfs.anon_file(machine, "seccomp notify", ops, OpenFlags::RDWR)
    }

    pub(super) fn is_heard(&self) -> bool {
        !self.queue.lock().deaf
    }

    /// The last task with the filter ended.
    pub(super) fn filter_gone(&self) {
        self.queue.lock().unused = true;
        self.listeners.wake_all(PollEvents::HUP.bits());
    }

    /// Hands a call on and waits for the answer. ENOSYS if nobody listens (any more); [`ERESTART`] if the wait was interrupted,
    /// by which the notification is void.
    pub(super) fn ask(&self, task: &Arc<Task>, data: &Data) -> Result<Answer> {
        let caller = Arc::new(WaitQueue::new());
        let id = {
            let mut q = self.queue.lock();
            if q.deaf {
                return Err(ENOSYS);
            }
            let id = q.next_id;
            q.next_id += 1;
            q.announced += 1;
            let n =
                Notification { task: task.clone(), data: *data, state: State::New, caller: caller.clone() };
            q.waiting.insert(id, n);
            id
        };
        self.listeners.wake_all((PollEvents::IN | PollEvents::RDNORM).bits());
        let answer = self.wait_for_answer(task, id, &caller);
        let gone = self.queue.lock().waiting.remove(&id);
        drop(gone);
        answer
    }

    fn wait_for_answer(&self, task: &Task, id: u64, caller: &WaitQueue) -> Result<Answer> {
        let mut killable = false;
        // `None` when it is to wait in the other way.
        let look = |killable: bool| match self.queue.lock().waiting.get(&id)?.state {
            State::Answered(a) => Some(Some(a)),
            State::Taken if self.killable_once_taken => (!killable).then_some(None),
            _ => killable.then_some(None),
        };
        loop {
            let seen = if killable {
                task.wait_killable(caller, || look(true))
            } else {
                task.wait_on(&[caller], None, || look(false))
            };
            match seen {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => killable = !killable,
                // A freeze is nothing that the guest could see.
                Err(ERESTART) if task.work() & Work::INTERRUPTS == Work::FREEZE => {
                    task.machine.freezer.park(task);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// SECCOMP_IOCTL_NOTIF_RECV: the next notification, which is waited for.
    fn receive(&self, cx: &mut TaskCx, at: u64) -> Result<u64> {
        if cx.read_array::<SECCOMP_NOTIF_LEN>(at)?.iter().any(|b| *b != 0) {
            return Err(EINVAL);
        }
        cx.task.wait_on(&[&self.listeners], None, || {
            let mut q = self.queue.lock();
            if q.announced > 0 {
                q.announced -= 1;
                return Some(());
            }
            q.unused.then_some(())
        })?;
        let (id, raw) = {
            let mut q = self.queue.lock();
            let new = q.waiting.iter_mut().find(|(_, n)| matches!(n.state, State::New));
            let (id, n) = new.ok_or(ENOENT)?;
            n.state = State::Taken;
            if self.killable_once_taken {
                n.caller.wake_all(0);
            }
            (*id, encode(*id, n))
        };
        self.listeners.wake_all((PollEvents::OUT | PollEvents::WRNORM).bits());
        if cx.copy_out(at, &raw).is_err() {
            // Somebody else may take it.
            let mut q = self.queue.lock();
            if let Some(n) = q.waiting.get_mut(&id)
                && matches!(n.state, State::Taken)
            {
                n.state = State::New;
                n.caller.wake_all(0);
                q.announced += 1;
            }
            drop(q);
            self.listeners.wake_all((PollEvents::IN | PollEvents::RDNORM).bits());
            return Err(EFAULT);
        }
        Ok(0)
    }

    /// The notification of this id, which the listener has and has not answered, for `act`. ENOENT, EINPROGRESS.
    fn with_taken<T>(&self, id: u64, act: impl FnOnce(&mut Notification) -> Result<T>) -> Result<T> {
        let mut q = self.queue.lock();
        let n = q.waiting.get_mut(&id).ok_or(ENOENT)?;
        if !matches!(n.state, State::Taken) {
            return Err(EINPROGRESS);
        }
        act(n)
    }

    /// SECCOMP_IOCTL_NOTIF_SEND.
    fn answer(&self, raw: &[u8; SECCOMP_NOTIF_RESP_LEN]) -> Result<u64> {
        let (id, value) = (u64_at(raw, 0), u64_at(raw, 8));
        let (error, flags) = (u32_at(raw, 16), u32_at(raw, 20));
        let go = flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE != 0;
        if flags & !SECCOMP_USER_NOTIF_FLAG_CONTINUE != 0 || go && (error != 0 || value != 0) {
            return Err(EINVAL);
        }
        let answer = match error {
            _ if go => Answer::Go,
            0 => Answer::Result(value),
            // The number is given as the register has it: negative.
            e => Answer::Result(i64::from(e.cast_signed()).cast_unsigned()),
        };
        self.with_taken(id, |n| {
            n.answer(answer);
            Ok(0)
        })
    }

    /// SECCOMP_IOCTL_NOTIF_ADDFD: puts an open file of the listener's into the caller's table.
    fn add_fd(&self, cx: &mut TaskCx, at: u64, len: usize) -> Result<u64> {
        if !(SECCOMP_NOTIF_ADDFD_LEN..STRUCT_MAX).contains(&len) {
            return Err(EINVAL);
        }
        let mut raw = vec![0; len];
        cx.copy_in(at, &mut raw)?;
        let (known, rest) = raw.split_at(SECCOMP_NOTIF_ADDFD_LEN);
        if rest.iter().any(|b| *b != 0) {
            return Err(E2BIG);
        }
        let (id, flags) = (u64_at(known, 0), u32_at(known, 8));
        let (source, wanted, fd_flags) = (u32_at(known, 12), u32_at(known, 16), u32_at(known, 20));
        let at_number = flags & SECCOMP_ADDFD_FLAG_SETFD != 0;
        if fd_flags & !OpenFlags::CLOEXEC.bits() != 0
            || flags & !(SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND) != 0
            || wanted != 0 && !at_number
        {
            return Err(EINVAL);
        }
        let file = cx.files.get_io(source.cast_signed())?;
        let cloexec = fd_flags != 0;
        // Closed without the lock.
        let mut replaced = None;
        let fd = self.with_taken(id, |n| {
            let files = n.task.files().ok_or(ENOENT)?;
            let fd = if at_number {
                let limit = n.task.process.rlimit(RLIMIT_NOFILE);
                let old = files.set(wanted.cast_signed(), limit, file, cloexec)?;
                replaced = old.map(|old| (n.task.clone(), files, old));
                wanted.cast_signed()
            } else {
                files.install(&n.task, file, cloexec)?
            };
            if flags & SECCOMP_ADDFD_FLAG_SEND != 0 {
                n.answer(Answer::Result(fd as u64));
            }
            Ok(fd)
        })?;
        if let Some((task, files, old)) = replaced {
            fdtable::close(&task, &files, old);
        }
        Ok(fd as u64)
    }
}

impl Notification {
    fn answer(&mut self, answer: Answer) {
        self.state = State::Answered(answer);
        self.caller.wake_all(0);
    }
}

fn u32_at(raw: &[u8], at: usize) -> u32 {
    raw.get(at..).and_then(|r| r.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(raw: &[u8], at: usize) -> u64 {
    raw.get(at..).and_then(|r| r.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// `struct seccomp_notif`.
fn encode(id: u64, n: &Notification) -> Vec<u8> {
    let mut raw = Vec::with_capacity(SECCOMP_NOTIF_LEN);
    raw.extend(id.to_le_bytes());
    raw.extend(n.task.tid().to_le_bytes());
    raw.extend([0; 4]);
    raw.extend(n.data.nr.to_le_bytes());
    raw.extend(n.data.arch.to_le_bytes());
    raw.extend(n.data.ip.to_le_bytes());
    raw.extend(n.data.args.iter().flat_map(|a| a.to_le_bytes()));
    raw
}

/// The open file by which a filter's notifications are taken.
struct Listener {
    notifier: Arc<Notifier>,
}

impl FileOps for Listener {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn poll(&self, _: &File) -> PollEvents {
        let q = self.notifier.queue.lock();
        let mut e = if q.unused { PollEvents::HUP } else { PollEvents::empty() };
        for n in q.waiting.values() {
            match n.state {
                State::New => e |= PollEvents::IN | PollEvents::RDNORM,
                State::Taken => e |= PollEvents::OUT | PollEvents::WRNORM,
                State::Answered(_) => {}
            }
        }
        e
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.notifier.listeners.clone()]
    }
    fn ioctl(&self, _: &File, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        let n = &self.notifier;
        match cmd {
            SECCOMP_IOCTL_NOTIF_RECV => n.receive(cx, arg),
            SECCOMP_IOCTL_NOTIF_SEND => n.answer(&cx.read_array(arg)?),
            SECCOMP_IOCTL_NOTIF_ID_VALID | SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR => {
                let id = cx.read_u64(arg)?;
                n.with_taken(id, |_| Ok(0)).map_err(|_| ENOENT)
            }
            SECCOMP_IOCTL_NOTIF_SET_FLAGS => {
                // A hint where to run the listener; the host decides.
                if arg & !SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP == 0 { Ok(0) } else { Err(EINVAL) }
            }
            _ if cmd & 0xffff == SECCOMP_IOCTL_NOTIF_ADDFD & 0xffff => n.add_fd(cx, arg, ioc_size(cmd)),
            _ => Err(EINVAL),
        }
    }
    fn release(&self, _: &File) {
        let mut q = self.notifier.queue.lock();
        q.deaf = true;
        for n in q.waiting.values_mut() {
            if !matches!(n.state, State::Answered(_)) {
                n.answer(Answer::Result(ENOSYS.as_ret()));
            }
        }
    }
}
