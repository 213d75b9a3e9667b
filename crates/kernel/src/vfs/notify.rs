//! inotify(7): watches on inodes, and the files that report what happened to them.
//!
//! Host files may change without the kernel: [`outside`] listens to the host.
//!
//! Lock order: the list of an inode and the state of an instance are leaves and never nest.

mod outside;

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use abi::{
    errno::{EEXIST, EINVAL, EMFILE, ENOSPC, ENOTTY},
    fs::{
        AT_FDCWD, IN_ALL_EVENTS, IN_DELETE_SELF, IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_IGNORED, IN_ISDIR,
        IN_MASK_ADD, IN_MASK_CREATE, IN_ONESHOT, IN_ONLYDIR, IN_Q_OVERFLOW, IN_UNMOUNT, R_OK,
    },
};
use ksync::{Mutex, WaitQueue};

use outside::Outside;

use super::{
    dentry::Dentry,
    file::{File, FileOps},
    inode::FileSystem,
    path::{LookupFlags, resolve},
    permission,
    poll::PollEvents,
};
use crate::{
    error::Result,
    io::Sink,
    locks,
    task::{Task, TaskCx},
};

/// Events an instance keeps before it reports an overflow (fs.inotify.max_queued_events).
const MAX_QUEUED: usize = 16_384;
/// Watches of one instance (fs.inotify.max_user_watches is per user and larger).
const MAX_WATCHES: usize = 65_536;
/// Instances of one user (fs.inotify.max_user_instances).
const MAX_INSTANCES: usize = 128;
/// Fixed part of `struct inotify_event`, in bytes; names are padded to a multiple of it.
const EVENT_SIZE: usize = 16;
/// Bits of a watch that say what is wanted.
const WANTED: u32 = IN_ALL_EVENTS;
/// All bits inotify_add_watch(2) knows.
const KNOWN: u32 = IN_ALL_EVENTS
    | IN_UNMOUNT
    | IN_Q_OVERFLOW
    | IN_IGNORED
    | IN_ONLYDIR
    | IN_DONT_FOLLOW
    | IN_EXCL_UNLINK
    | IN_MASK_ADD
    | IN_MASK_CREATE
    | IN_ISDIR
    | IN_ONESHOT;
/// Given with an event of a child whose name is gone (not an inotify bit): IN_EXCL_UNLINK keeps it away.
pub(super) const UNLINKED: u32 = 1 << 22;

/// What a machine has of it.
pub(super) struct Counts {
    /// Watches: without any, nobody is told of anything.
    watches: AtomicUsize,
    /// Instances by user.
    instances: Mutex<HashMap<u32, usize>>,
    /// All instances, for the end of a filesystem.
    all: Mutex<Vec<Weak<Inotify>>>,
    /// The last number that tied two halves of a rename together.
    cookie: AtomicU32,
}

impl Default for Counts {
    fn default() -> Self {
        Counts {
            watches: AtomicUsize::new(0),
            instances: Mutex::new(locks::LEAF, HashMap::new()),
            all: Mutex::new(locks::LEAF, Vec::new()),
            cookie: AtomicU32::new(0),
        }
    }
}

impl Counts {
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.watches.load(Ordering::Relaxed) > 0
    }
    pub(super) fn next_cookie(&self) -> u32 {
        self.cookie.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// A filesystem is gone: its watches end.
    pub(super) fn unmounted(&self, fs: &dyn FileSystem) {
        if !self.any() {
            return;
        }
        let all: Vec<Arc<Inotify>> = self.all.lock().iter().filter_map(Weak::upgrade).collect();
        for i in all {
            let watches: Vec<Arc<Watch>> = i.state.lock().watches.values().cloned().collect();
            for w in watches {
                if w.dentry.inode_ref().is_some_and(|inode| inode.fs().dev() == fs.dev()) {
                    i.queue(Event { wd: w.wd, mask: IN_UNMOUNT, cookie: 0, name: Box::default() });
                    w.end();
                }
            }
        }
    }

    /// Counts another instance of a user; EMFILE.
    fn add_instance(&self, user: u32) -> Result<()> {
        let mut all = self.instances.lock();
        let n = all.entry(user).or_insert(0);
        if *n >= MAX_INSTANCES {
            return Err(EMFILE);
        }
        *n += 1;
        Ok(())
    }

    fn remove_instance(&self, user: u32) {
        let mut all = self.instances.lock();
        if let Some(n) = all.get_mut(&user) {
            *n -= 1;
            if *n == 0 {
                all.remove(&user);
            }
        }
    }
}

/// Watches on one inode.
pub struct Watches {
    some: AtomicBool,
    list: Mutex<Vec<Arc<Watch>>>,
}

impl Default for Watches {
    fn default() -> Self {
        Watches { some: AtomicBool::new(false), list: Mutex::new(locks::LEAF, Vec::new()) }
    }
}

impl Watches {
    /// Are there any?
    pub(super) fn any(&self) -> bool {
        self.some.load(Ordering::Relaxed)
    }

    /// Something happened to the inode, or to entry `name` of it if it is a directory. `mask`: IN_* bits (IN_ISDIR
    /// included); `cookie` ties the two halves of a rename. Called with no lock held, often: cheap without watches.
    pub fn event(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        if !self.any() {
            return;
        }
        let wants = |w: &&Arc<Watch>| {
            let m = w.mask.load(Ordering::Relaxed);
            m & mask & WANTED != 0 && !(mask & UNLINKED != 0 && m & IN_EXCL_UNLINK != 0)
        };
        let told: Vec<Arc<Watch>> = self.list.lock().iter().filter(wants).cloned().collect();
        for w in told {
            w.report(mask & !UNLINKED, cookie, name);
        }
        if mask & IN_DELETE_SELF != 0 {
            // The inode is gone, and its watches with it.
            let gone = self.list.lock().clone();
            for w in gone {
                w.end();
            }
        }
    }

    fn add(&self, w: Arc<Watch>) {
        let mut list = self.list.lock();
        list.push(w);
        self.some.store(true, Ordering::Relaxed);
    }

    fn remove(&self, w: &Watch) {
        let mut list = self.list.lock();
        list.retain(|x| !std::ptr::eq(&**x, w));
        self.some.store(!list.is_empty(), Ordering::Relaxed);
    }

    fn of(&self, instance: &Inotify) -> Option<Arc<Watch>> {
        self.list.lock().iter().find(|w| std::ptr::eq(w.instance.as_ptr(), instance)).cloned()
    }
}

/// One watch of one instance.
struct Watch {
    instance: Weak<Inotify>,
    wd: i32,
    mask: AtomicU32,
    /// Keeps the watched inode.
    dentry: Arc<Dentry>,
    counts: Arc<Counts>,
    /// Given up already.
    ended: AtomicBool,
    outside: Outside,
}

impl Watch {
    fn report(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        // Nothing is said twice that the host has told already.
        if self.outside.is_news(false, mask, name.unwrap_or_default()) {
            self.report_as_news(mask, cookie, name);
        }
    }

    fn report_as_news(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let Some(i) = self.instance.upgrade() else { return };
        // A watch that has ended says nothing any more.
        if self.ended.load(Ordering::SeqCst) {
            return;
        }
        i.queue(Event { wd: self.wd, mask, cookie, name: name.unwrap_or_default().into() });
        if self.mask.load(Ordering::Relaxed) & IN_ONESHOT != 0 {
            self.end();
        }
    }

    /// Gives the watch up and says so (IN_IGNORED); false if that was done before.
    fn end(&self) -> bool {
        if self.ended.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.counts.watches.fetch_sub(1, Ordering::Relaxed);
        self.outside.end();
        if let Some(inode) = self.dentry.inode_ref() {
            inode.common().watches.remove(self);
        }
        if let Some(i) = self.instance.upgrade() {
            let gone = i.state.lock().watches.remove(&self.wd);
            drop(gone);
            i.queue(Event { wd: self.wd, mask: IN_IGNORED, cookie: 0, name: Box::default() });
        }
        true
    }
}

#[derive(PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Event {
    fn size(&self) -> usize {
        EVENT_SIZE + if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(EVENT_SIZE) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let (size, start) = (self.size(), out.len());
        let len = u32::try_from(size - EVENT_SIZE).unwrap_or(0);
        for word in [self.wd.cast_unsigned(), self.mask, self.cookie, len] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.name);
        out.resize(start + size, 0);
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Event>,
    /// Bytes of all events in the queue.
    bytes: usize,
    watches: HashMap<i32, Arc<Watch>>,
    last_wd: i32,
}

/// An inotify instance.
pub struct Inotify {
    me: Weak<Inotify>,
    state: Mutex<State>,
    /// Held while a watch is added, so that an inode gets one only.
    adding: Mutex<()>,
    wait: Arc<WaitQueue>,
    user: u32,
    counts: Arc<Counts>,
}

impl Inotify {
    /// A new instance of the task's user; EMFILE if that has too many.
    pub fn new(task: &Task) -> Result<Arc<Inotify>> {
        let user = task.cred().uid;
        let counts = task.machine.vfs.inotify.clone();
        counts.add_instance(user)?;
        let new = Inotify::make(counts.clone(), user);
        let mut all = counts.all.lock();
        all.retain(|i| i.strong_count() > 0);
        all.push(Arc::downgrade(&new));
        drop(all);
        Ok(new)
    }

    fn make(counts: Arc<Counts>, user: u32) -> Arc<Inotify> {
        Arc::new_cyclic(|me| Inotify {
            me: me.clone(),
            state: Mutex::new(locks::LEAF, State::default()),
            adding: Mutex::new(locks::FILE, ()),
            wait: Arc::new(WaitQueue::new()),
            user,
            counts,
        })
    }

    /// The instance behind an open file; EINVAL if it is none.
    pub fn of(file: &File) -> Result<&Inotify> {
        file.ops.as_any().downcast_ref::<Inotify>().ok_or(EINVAL)
    }

    /// inotify_add_watch(2): the watch descriptor, a new one or that of the inode's present watch.
    pub fn add(&self, task: &Task, path: &[u8], mask: u32) -> Result<i32> {
        if mask & KNOWN == 0 || mask & !KNOWN != 0 || mask & IN_MASK_ADD != 0 && mask & IN_MASK_CREATE != 0 {
            return Err(EINVAL);
        }
        let mut how = LookupFlags::empty();
        how.set(LookupFlags::FOLLOW, mask & IN_DONT_FOLLOW == 0);
        how.set(LookupFlags::DIRECTORY, mask & IN_ONLYDIR != 0);
        let place = resolve(task, AT_FDCWD, path, how)?;
        let inode = place.inode()?;
        permission::check(&**inode, &task.cred(), R_OK)?;
        let kept = mask & (WANTED | IN_ONESHOT | IN_EXCL_UNLINK);
        let _one_by_one = self.adding.lock();
        let watches = &inode.common().watches;
        if let Some(w) = watches.of(self) {
            if mask & IN_MASK_CREATE != 0 {
                return Err(EEXIST);
            }
            if mask & IN_MASK_ADD != 0 {
                w.mask.fetch_or(kept, Ordering::Relaxed);
            } else {
                w.mask.store(kept, Ordering::Relaxed);
            }
            return Ok(w.wd);
        }
        let watch = {
            let mut st = self.state.lock();
            if st.watches.len() >= MAX_WATCHES {
                return Err(ENOSPC);
            }
            let mut wd = st.last_wd;
            loop {
                wd = wd.checked_add(1).unwrap_or(1);
                if !st.watches.contains_key(&wd) {
                    break;
                }
            }
            st.last_wd = wd;
            let watch = Arc::new(Watch {
                instance: self.me.clone(),
                wd,
                mask: AtomicU32::new(kept),
                dentry: place.dentry.clone(),
                counts: self.counts.clone(),
                ended: AtomicBool::new(false),
                outside: Outside::default(),
            });
            st.watches.insert(wd, watch.clone());
            watch
        };
        self.counts.watches.fetch_add(1, Ordering::Relaxed);
        let wd = watch.wd;
        watches.add(watch.clone());
        // What is read from now on is told.
        task.machine.host.recall_files();
        watch.listen_outside(&task.machine, inode);
        Ok(wd)
    }

    /// inotify_rm_watch(2); EINVAL.
    pub fn remove(&self, wd: i32) -> Result<()> {
        let w = self.state.lock().watches.get(&wd).cloned().ok_or(EINVAL)?;
        if w.end() { Ok(()) } else { Err(EINVAL) }
    }

    fn queue(&self, e: Event) {
        {
            let mut st = self.state.lock();
            // The same again, with nothing in between, is told once.
            if st.queue.back() == Some(&e) {
                return;
            }
            let e = match st.queue.len() {
                n if n < MAX_QUEUED => e,
                n if n == MAX_QUEUED => {
                    Event { wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: Box::default() }
                }
                _ => return,
            };
            st.bytes += e.size();
            st.queue.push_back(e);
        }
        self.wait.wake_all((PollEvents::IN | PollEvents::RDNORM).bits());
    }

    /// Takes the events that fit into `room` bytes. `None`: there are none; EINVAL: the first is too large.
    fn take(&self, room: usize) -> Option<Result<Vec<u8>>> {
        let mut st = self.state.lock();
        let mut out = Vec::new();
        while let Some(e) = st.queue.front() {
            let size = e.size();
            if out.len() + size > room {
                break;
            }
            e.encode(&mut out);
            st.bytes -= size;
            st.queue.pop_front();
        }
        match (out.is_empty(), st.queue.is_empty()) {
            (false, _) => Some(Ok(out)),
            (true, false) => Some(Err(EINVAL)),
            (true, true) => None,
        }
    }
}

impl FileOps for Inotify {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, _: u64) -> Result<usize> {
        let room = dst.remaining();
        let events = task.wait_unless(file.nonblocking(), &[&self.wait], || self.take(room))??;
        dst.put(&events)
    }
    fn poll(&self, _: &File) -> PollEvents {
        if self.state.lock().queue.is_empty() {
            PollEvents::empty()
        } else {
            PollEvents::IN | PollEvents::RDNORM
        }
    }
    fn signals_io(&self) -> bool {
        true
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.wait.clone()]
    }
    fn ioctl(&self, _: &File, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        if cmd != abi::ioctl::FIONREAD {
            return Err(ENOTTY);
        }
        let n = u32::try_from(self.state.lock().bytes).unwrap_or(i32::MAX as u32);
        cx.write_u32(arg, n)?;
        Ok(0)
    }
    fn fdinfo(&self, _: &File) -> String {
        let mut all: Vec<Arc<Watch>> = self.state.lock().watches.values().cloned().collect();
        all.sort_by_key(|w| w.wd);
        let line = |w: &Arc<Watch>| {
            let (ino, dev) = w.dentry.inode_ref().map_or((0, 0), |i| (i.ino(), i.fs().dev()));
            let mask = w.mask.load(Ordering::Relaxed);
            format!("inotify wd:{:x} ino:{ino:x} sdev:{dev:x} mask:{mask:x} ignored_mask:0\n", w.wd)
        };
        all.iter().map(line).collect()
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = std::mem::take(&mut self.state.get_mut().watches);
        for w in watches.values() {
            w.end();
        }
        self.counts.remove_instance(self.user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Arc<Inotify> {
        let counts = Arc::new(Counts::default());
        counts.add_instance(7).unwrap();
        Inotify::make(counts, 7)
    }

    #[test]
    fn instances_are_counted_by_user() {
        let counts = Arc::new(Counts::default());
        for _ in 0..MAX_INSTANCES {
            counts.add_instance(1).unwrap();
        }
        assert_eq!(counts.add_instance(1), Err(EMFILE));
        counts.add_instance(2).unwrap();
        counts.remove_instance(1);
        assert_eq!(counts.add_instance(1), Ok(()));
        drop(instance());
        assert!(counts.instances.lock().get(&7).is_none());
    }

    fn event(wd: i32, mask: u32, name: &[u8]) -> Event {
        Event { wd, mask, cookie: 0, name: name.into() }
    }

    #[test]
    fn names_are_padded_and_same_events_told_once() {
        let i = instance();
        i.queue(event(1, 2, b"0123456789abcde"));
        i.queue(event(1, 2, b"0123456789abcde"));
        i.queue(event(1, 2, b"0123456789abcdef"));
        i.queue(event(2, 4, b""));
        assert_eq!(i.take(31).unwrap(), Err(EINVAL));
        assert_eq!(i.take(40).unwrap().unwrap().len(), 32);
        let rest = i.take(1000).unwrap().unwrap();
        assert_eq!(rest.len(), 48 + 16);
        assert_eq!(rest[12], 32);
        assert!(i.take(1000).is_none());
        assert_eq!(i.state.lock().bytes, 0);
    }

    #[test]
    fn overflow_is_told_once() {
        let i = instance();
        for n in 0..MAX_QUEUED as i32 + 10 {
            i.queue(event(n, 1, b""));
        }
        let st = i.state.lock();
        assert_eq!(st.queue.len(), MAX_QUEUED + 1);
        assert_eq!(st.queue.back().map(|e| (e.wd, e.mask)), Some((-1, IN_Q_OVERFLOW)));
    }
}
