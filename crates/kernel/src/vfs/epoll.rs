//! epoll(7).
//!
//! Each watched file has an [`Item`] on the file's wait queues; a wake puts the item on the ready list. Waiting asks the
//! items of that list, and only those, what they are ready for.
//!
//! Lock order: EPOLL (the set), then EPOLL_READY (the list), which is taken inside wakes and is above all else.

use std::{
    any::Any,
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use abi::{
    errno::{EEXIST, EINVAL, ELOOP, ENOENT, EPERM},
    poll::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLWAKEUP},
};
use ksync::{Mutex, WaitQueue, WaitToken, Wake};
use rustc_hash::FxHashMap;

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
    epoll: Weak<Epoll>,
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

    fn ready_events(&self) -> u32 {
        let Some(f) = self.file.upgrade() else { return 0 };
        f.ops.poll(&f).bits() & self.wanted()
    }

    fn enqueue(&self) {
        if let Some(ep) = self.epoll.upgrade()
            && let Some(me) = self.me.upgrade()
        {
            if !self.queued.swap(true, Ordering::SeqCst) {
                ep.ready.lock().push_back(me);
            }
            ep.wait.wake_all(PollEvents::IN.bits());
        }
    }
}

impl Wake for Item {
    fn wake(&self, events: u32) {
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

/// An epoll instance.
pub struct Epoll {
    /// By descriptor and open file.
    items: Mutex<FxHashMap<(i32, u64), Entry>>,
    ready: Mutex<VecDeque<Arc<Item>>>,
    wait: Arc<WaitQueue>,
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
            items: Mutex::new(locks::EPOLL, FxHashMap::default()),
            ready: Mutex::new(locks::EPOLL_READY, VecDeque::new()),
            wait: Arc::new(WaitQueue::new()),
        })
    }

    /// The instance behind an open file; EINVAL if it is none.
    pub fn of(file: &File) -> Result<&Epoll> {
        file.ops.as_any().downcast_ref::<Epoll>().ok_or(EINVAL)
    }

    /// Levels of epoll files below this one; more than [`MAX_DEPTH`], or `target` among them, is ELOOP.
    fn depth(&self, target: &Epoll, level: u32) -> Result<()> {
        if std::ptr::eq(self, target) || level > MAX_DEPTH {
            return Err(ELOOP);
        }
        let files: Vec<Arc<File>> =
            self.items.lock().values().filter_map(|e| e.item.file.upgrade()).collect();
        for f in files {
            if let Ok(below) = Epoll::of(&f) {
                below.depth(target, level + 1)?;
            }
        }
        Ok(())
    }

    /// EPOLL_CTL_ADD.
    pub fn add(self: &Arc<Self>, fd: i32, file: &Arc<File>, events: u32, data: u64) -> Result<()> {
        if !file.ops.can_poll() {
            return Err(EPERM);
        }
        if let Ok(below) = Epoll::of(file) {
            if events & EPOLLEXCLUSIVE != 0 {
                return Err(EINVAL);
            }
            below.depth(self, 0)?;
        }
        if events & EPOLLEXCLUSIVE != 0
            && events & !(EPOLLIN | EPOLLOUT | ALWAYS | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE) != 0
        {
            return Err(EINVAL);
        }
        let item = Arc::new_cyclic(|me| Item {
            epoll: Arc::downgrade(self),
            file: Arc::downgrade(file),
            interest: Mutex::new(locks::EPOLL_READY, Interest { events, data, enabled: true }),
            queued: AtomicBool::new(false),
            me: me.clone(),
        });
        {
            let mut items = self.items.lock();
            // Files that were closed without EPOLL_CTL_DEL are forgotten here.
            items.retain(|_, e| e.item.file.strong_count() > 0);
            if items.contains_key(&(fd, file.id)) {
                return Err(EEXIST);
            }
            let queues = file.ops.poll_queues();
            let places = queues
                .into_iter()
                .map(|q| {
                    let t = q.add(item.clone());
                    (q, t)
                })
                .collect();
            items.insert((fd, file.id), Entry { item: item.clone(), places });
        }
        if item.ready_events() != 0 {
            item.enqueue();
        }
        Ok(())
    }

    /// EPOLL_CTL_MOD.
    pub fn modify(&self, fd: i32, file: &Arc<File>, events: u32, data: u64) -> Result<()> {
        let item = self.items.lock().get(&(fd, file.id)).map(|e| e.item.clone()).ok_or(ENOENT)?;
        {
            let mut i = item.interest.lock();
            if (i.events | events) & EPOLLEXCLUSIVE != 0 {
                return Err(EINVAL);
            }
            *i = Interest { events, data, enabled: true };
        }
        if item.ready_events() != 0 {
            item.enqueue();
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    pub fn delete(&self, fd: i32, file: &Arc<File>) -> Result<()> {
        let gone = self.items.lock().remove(&(fd, file.id)).ok_or(ENOENT)?;
        gone.unregister();
        gone.item.interest.lock().enabled = false;
        Ok(())
    }

    /// Takes up to `max` events that are there now.
    fn harvest(&self, max: usize) -> Vec<Ready> {
        let mut out = Vec::new();
        let mut again = Vec::new();
        // Each item at most once a call: those that stay ready go behind the others.
        let mut left = self.ready.lock().len();
        while left > 0 && out.len() < max {
            left -= 1;
            let Some(item) = self.ready.lock().pop_front() else { break };
            item.queued.store(false, Ordering::SeqCst);
            let events = item.ready_events();
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
                self.ready.lock().push_back(item);
            }
        }
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
        let got = task.wait_on(&[&self.wait], deadline, || {
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
        let list: Vec<Arc<Item>> = self.ready.lock().iter().cloned().collect();
        if list.iter().any(|i| i.ready_events() != 0) {
            PollEvents::IN | PollEvents::RDNORM
        } else {
            PollEvents::empty()
        }
    }
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        vec![self.wait.clone()]
    }
    fn fdinfo(&self, _: &File) -> String {
        let items = self.items.lock();
        let line = |((fd, _), e): (&(i32, u64), &Entry)| {
            let i = e.item.interest.lock();
            format!("tfd: {fd:8} events: {:8x} data: {:16x}\n", i.events, i.data)
        };
        items.iter().map(line).collect()
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for e in self.items.get_mut().values() {
            e.unregister();
        }
    }
}
