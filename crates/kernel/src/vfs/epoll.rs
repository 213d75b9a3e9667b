//! epoll(7).
//!
//! Each watched file has an [`Item`] on the file's wait queues; a wake puts the item on the ready list. Waiting asks the
//! items of that list, and only those, what they are ready for.
//!
//! Lock order: EPOLL_NEST (while an instance is put into another), EPOLL (the set; a scan of the ready list, under which
//! files are asked what they are ready for), then EPOLL_READY (the list), which is taken inside wakes and is above all else.

use std::{
    any::Any,
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use abi::{
    errno::{EEXIST, EINVAL, ELOOP, ENOENT, EPERM},
    poll::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLWAKEUP},
};
use ksync::{Mutex, WaitQueue, WaitToken, Wake};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{
    file::{File, FileOps},
    poll::PollEvents,
};
use crate::{
    error::Result,
    locks,
    task::{Task, TaskCx},
};

/// Deepest nesting of epoll files in epoll files.
const MAX_DEPTH: u32 = 5;
/// Sets of fewer files are not searched for those that were closed.
const SWEEP: usize = 64;

/// Held while one instance is put into another, so that two threads cannot close a circle.
static NEST: Mutex<()> = Mutex::new(locks::EPOLL_NEST, ());
/// Always reported.
const ALWAYS: u32 = EPOLLERR | EPOLLHUP;
/// Bits that say how, not what.
const MODES: u32 = EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP;

#[derive(Clone, Copy)]
struct Interest {
    events: u32,
    data: u64,
    /// A one-shot that has fired waits for EPOLL_CTL_MOD.
    enabled: bool,
}

/// One watched file.
struct Item {
    /// Not the instance itself: a wake must never be what drops that, since dropping it takes the queue's lock.
    ready: Arc<ReadyList>,
    file: Weak<File>,
    interest: Mutex<Interest>,
    queued: AtomicBool,
    me: Weak<Item>,
}

impl Item {
    fn wanted(&self) -> u32 {
        let i = self.interest.lock();
        if i.enabled { i.events & !MODES | ALWAYS } else { 0 }
    }

    /// What it is ready for, and the file, which the caller drops when it holds no lock.
    fn look(&self) -> (u32, Option<Arc<File>>) {
        let Some(f) = self.file.upgrade() else { return (0, None) };
        (f.ops.poll(&f).bits() & self.wanted(), Some(f))
    }

    fn enqueue(&self) {
        if let Some(me) = self.me.upgrade() {
            if !self.queued.swap(true, Ordering::SeqCst) {
                self.ready.list.lock().push_back(me);
            }
            self.ready.wait.wake_all(PollEvents::IN.bits());
        }
    }
}

impl Wake for Item {
    fn wake(&self, events: u32) {
        // Wakes name the plain bits; the others of a direction come with them.
        let mut events = events;
        if events & EPOLLIN != 0 {
            events |= (PollEvents::RDNORM | PollEvents::RDBAND).bits();
        }
        if events & EPOLLOUT != 0 {
            events |= (PollEvents::WRNORM | PollEvents::WRBAND).bits();
        }
        // A wake without bits may mean anything.
        if events == 0 || events & self.wanted() != 0 {
            self.enqueue();
        }
    }
}

struct Entry {
    item: Arc<Item>,
    places: Vec<(Arc<WaitQueue>, WaitToken)>,
}

impl Entry {
    fn unregister(&self) {
        for (q, t) in &self.places {
            q.remove(*t);
        }
    }
}

/// What wakes reach of an instance.
struct ReadyList {
    list: Mutex<VecDeque<Arc<Item>>>,
    wait: Arc<WaitQueue>,
}

/// An epoll instance.
pub struct Epoll {
    /// By descriptor and open file.
    items: Mutex<Items>,
    ready: Arc<ReadyList>,
    /// One look through the ready list at a time: others would miss what the first has taken out to look at.
    scan: Mutex<()>,
    /// Instances stacked above this one, at most; never shrinks.
    above: AtomicU32,
}

#[derive(Default)]
struct Items {
    map: FxHashMap<(i32, u64), Entry>,
    /// Size at which closed files are looked for.
    sweep_at: usize,
}

/// One reported event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub events: u32,
    pub data: u64,
}

impl Epoll {
    pub fn new() -> Arc<Epoll> {
        Arc::new(Epoll {
            items: Mutex::new(locks::EPOLL, Items::default()),
            scan: Mutex::new(locks::EPOLL, ()),
            above: AtomicU32::new(0),
            ready: Arc::new(ReadyList {
                list: Mutex::new(locks::EPOLL_READY, VecDeque::new()),
                wait: Arc::new(WaitQueue::new()),
            }),
        })
    }

    /// The instance behind an open file; EINVAL if it is none.
    pub fn of(file: &File) -> Result<&Epoll> {
        file.ops.as_any().downcast_ref::<Epoll>().ok_or(EINVAL)
    }

    /// Levels of epoll files below this one; more than [`MAX_DEPTH`], or `target` among them, is ELOOP.
    fn below(&self, target: &Epoll, level: u32) -> Result<u32> {
        if std::ptr::eq(self, target) || level > MAX_DEPTH {
            return Err(ELOOP);
        }
        let mut levels = 0;
        for f in self.nested() {
            if let Ok(below) = Epoll::of(&f) {
                levels = levels.max(1 + below.below(target, level + 1)?);
            }
        }
        Ok(levels)
    }

    /// Tells this instance and those below how many are above them.
    fn lower(&self, above: u32) {
        if self.above.fetch_max(above, Ordering::Relaxed) >= above || above > MAX_DEPTH {
            return;
        }
        for f in self.nested() {
            if let Ok(below) = Epoll::of(&f) {
                below.lower(above + 1);
            }
        }
    }

    /// The epoll files among the watched ones.
    fn nested(&self) -> Vec<Arc<File>> {
        let items = self.items.lock();
        let (inner, others): (Vec<_>, Vec<_>) =
            items.map.values().filter_map(|e| e.item.file.upgrade()).partition(|f| Epoll::of(f).is_ok());
        drop(items);
        drop(others);
        inner
    }

    /// EPOLL_CTL_ADD.
    pub fn add(self: &Arc<Self>, fd: i32, file: &Arc<File>, events: u32, data: u64) -> Result<()> {
        if !file.ops.can_poll() {
            return Err(EPERM);
        }
        let mut nesting = None;
        if let Ok(inner) = Epoll::of(file) {
            if events & EPOLLEXCLUSIVE != 0 {
                return Err(EINVAL);
            }
            nesting = Some(NEST.lock());
            let above = self.above.load(Ordering::Relaxed) + 1;
            if above + inner.below(self, 0)? > MAX_DEPTH {
                return Err(ELOOP);
            }
            inner.lower(above);
        }
        if events & EPOLLEXCLUSIVE != 0
            && events & !(EPOLLIN | EPOLLOUT | ALWAYS | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE) != 0
        {
            return Err(EINVAL);
        }
        let item = Arc::new_cyclic(|me| Item {
            ready: self.ready.clone(),
            file: Arc::downgrade(file),
            interest: Mutex::new(locks::EPOLL_READY, Interest { events, data, enabled: true }),
            queued: AtomicBool::new(false),
            me: me.clone(),
        });
        {
            let mut items = self.items.lock();
            if items.map.contains_key(&(fd, file.id)) {
                return Err(EEXIST);
            }
            // Files that were closed without EPOLL_CTL_DEL are forgotten here.
            if items.map.len() >= items.sweep_at.max(SWEEP) {
                items.map.retain(|_, e| {
                    let there = e.item.file.strong_count() > 0;
                    if !there {
                        e.unregister();
                    }
                    there
                });
                items.sweep_at = items.map.len() * 2;
            }
            let queues = file.ops.poll_queues();
            let places = queues
                .into_iter()
                .map(|q| {
                    let t = q.add(item.clone());
                    (q, t)
                })
                .collect();
            items.map.insert((fd, file.id), Entry { item: item.clone(), places });
        }
        drop(nesting);
        if item.look().0 != 0 {
            item.enqueue();
        }
        Ok(())
    }

    /// EPOLL_CTL_MOD.
    pub fn modify(&self, fd: i32, file: &Arc<File>, events: u32, data: u64) -> Result<()> {
        let item = self.items.lock().map.get(&(fd, file.id)).map(|e| e.item.clone()).ok_or(ENOENT)?;
        {
            let mut i = item.interest.lock();
            if (i.events | events) & EPOLLEXCLUSIVE != 0 {
                return Err(EINVAL);
            }
            *i = Interest { events, data, enabled: true };
        }
        if item.look().0 != 0 {
            item.enqueue();
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    pub fn delete(&self, fd: i32, file: &Arc<File>) -> Result<()> {
        let gone = self.items.lock().map.remove(&(fd, file.id)).ok_or(ENOENT)?;
        gone.unregister();
        gone.item.interest.lock().enabled = false;
        Ok(())
    }

    /// Takes up to `max` events that are there now.
    fn harvest(&self, max: usize) -> Vec<Ready> {
        let mut out = Vec::new();
        let mut again = Vec::new();
        // Dropped last, with no lock held: ours may be the last reference.
        let mut files: SmallVec<[Arc<File>; 8]> = SmallVec::new();
        let scan = self.scan.lock();
        // Each item at most once a call: those that stay ready go behind the others.
        let mut left = self.ready.list.lock().len();
        while left > 0 && out.len() < max {
            left -= 1;
            let Some(item) = self.ready.list.lock().pop_front() else { break };
            item.queued.store(false, Ordering::SeqCst);
            let (events, file) = item.look();
            files.extend(file);
            if events == 0 {
                continue;
            }
            let mut i = item.interest.lock();
            out.push(Ready { events, data: i.data });
            if i.events & EPOLLONESHOT != 0 {
                i.enabled = false;
            } else if i.events & EPOLLET == 0 {
                drop(i);
                again.push(item);
            }
        }
        for item in again {
            if !item.queued.swap(true, Ordering::SeqCst) {
                self.ready.list.lock().push_back(item);
            }
        }
        drop(scan);
        out
    }

    /// epoll_wait(2): up to `max` events, none at the deadline.
    pub fn wait(&self, cx: &mut TaskCx, max: usize, timeout_ns: Option<u64>) -> Result<Vec<Ready>> {
        let now = self.harvest(max);
        if !now.is_empty() || timeout_ns == Some(0) {
            return Ok(now);
        }
        let deadline = cx.deadline(timeout_ns);
        let task: &Task = &cx.task;
        let got = task.wait_on(&[&self.ready.wait], deadline, || {
            let v = self.harvest(max);
            (!v.is_empty()).then_some(v)
        });
        match got {
            Err(abi::errno::ETIMEDOUT) => Ok(Vec::new()),
            other => other,
        }
    }
}

impl FileOps for Epoll {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn poll(&self, _: &File) -> PollEvents {
        let mut files: SmallVec<[Arc<File>; 8]> = SmallVec::new();
        let scan = self.scan.lock();
        let list: Vec<Arc<Item>> = self.ready.list.lock().iter().cloned().collect();
        let ready = list.iter().any(|i| {
            let (events, file) = i.look();
            files.extend(file);
            events != 0
        });
        drop(scan);
        if ready { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.ready.wait.clone()]
    }
    fn fdinfo(&self, _: &File) -> String {
        let items = self.items.lock();
        let line = |((fd, _), e): (&(i32, u64), &Entry)| {
            let i = e.item.interest.lock();
            format!("tfd: {fd:8} events: {:8x} data: {:16x}\n", i.events, i.data)
        };
        items.map.iter().map(line).collect()
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for e in self.items.get_mut().map.values() {
            e.unregister();
        }
        // Items and the list point at each other.
        let list = std::mem::take(&mut *self.ready.list.lock());
        drop(list);
    }
}
