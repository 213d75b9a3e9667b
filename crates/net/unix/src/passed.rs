//! Open files under way in messages (SCM_RIGHTS).
//!
//! A socket may be sent over itself, or two over each other: then only messages refer to them and nobody can ever read
//! those. [`InFlight::collect`] finds such sockets: all references to them come from queues, and none from the queue of a
//! socket that is not itself one of them. Their queues are emptied.
//!
//! Files that die with an unread message may themselves be sockets with unread messages, and so on without end;
//! [`InFlight::bury`] drops them one after the other instead of one inside the other.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use abi::{
    cap::{CAP_SYS_ADMIN, CAP_SYS_RESOURCE},
    errno::ETOOMANYREFS,
};
use kernel::{
    Result, locks,
    task::Task,
    vfs::{fdtable::RLIMIT_NOFILE, file::File},
};
use ksync::Mutex;

use crate::socket::UnixSocket;

#[derive(Default)]
struct Counts {
    /// Files under way, by the user who sent them.
    users: HashMap<u32, usize>,
    /// Unix sockets under way: how often each, by the number of the open file.
    sockets: HashMap<u64, (Weak<File>, usize)>,
    /// How many sockets were still under way after the last search.
    left: usize,
}

/// So few sockets under way are not searched when more are sent.
const FEW: usize = 64;

impl Counts {
    /// Twice as many as the last search left, so that searching costs no more than sending.
    fn worth_a_search(&self) -> bool {
        self.sockets.len() >= FEW.max(2 * self.left)
    }
}

#[derive(Default)]
struct Grave {
    dead: Vec<Arc<File>>,
    /// Some thread is dropping.
    busy: bool,
}

/// Sockets to which nothing but messages seems to refer, with the number of references that messages hold.
type Suspects = HashMap<u64, (Arc<File>, usize)>;

/// All files under way in one machine.
pub struct InFlight {
    counts: Mutex<Counts>,
    grave: Mutex<Grave>,
    collecting: std::sync::atomic::AtomicBool,
}

fn socket_of(file: &File) -> Option<&UnixSocket> {
    file.ops.as_any().downcast_ref::<UnixSocket>()
}

impl InFlight {
    pub fn new() -> InFlight {
        InFlight {
            counts: Mutex::new(locks::LEAF, Counts::default()),
            grave: Mutex::new(locks::LEAF, Grave::default()),
            collecting: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Counts files as under way. ETOOMANYREFS if a user without privilege has more than its descriptor limit.
    pub fn send(self: &Arc<Self>, task: &Task, files: Vec<Arc<File>>) -> Result<Passed> {
        let cred = task.cred();
        let limit = task.process.rlimit(RLIMIT_NOFILE);
        let privileged = cred.has(CAP_SYS_RESOURCE) || cred.has(CAP_SYS_ADMIN);
        let too_many = |c: &Counts| c.users.get(&cred.uid).is_some_and(|n| *n as u64 > limit) && !privileged;
        let mut c = self.counts.lock();
        // Cycles come about without any socket being closed for the last time: this is the other place to look for them.
        if c.worth_a_search() || too_many(&c) {
            drop(c);
            self.collect();
            c = self.counts.lock();
        }
        if too_many(&c) {
            drop(c);
            self.bury(files);
            return Err(ETOOMANYREFS);
        }
        *c.users.entry(cred.uid).or_insert(0) += files.len();
        for f in files.iter().filter(|f| socket_of(f).is_some()) {
            c.sockets.entry(f.id).or_insert_with(|| (Arc::downgrade(f), 0)).1 += 1;
        }
        Ok(Passed { files, uid: cred.uid, flight: self.clone() })
    }

    fn arrived(&self, files: &[Arc<File>], uid: u32) {
        let mut c = self.counts.lock();
        if let Some(n) = c.users.get_mut(&uid) {
            *n = n.saturating_sub(files.len());
            if *n == 0 {
                c.users.remove(&uid);
            }
        }
        for f in files {
            if let Some((_, n)) = c.sockets.get_mut(&f.id) {
                *n -= 1;
                if *n == 0 {
                    c.sockets.remove(&f.id);
                }
            }
        }
    }

    /// Drops files. No lock may be held.
    fn bury(&self, files: Vec<Arc<File>>) {
        let mut g = self.grave.lock();
        g.dead.extend(files);
        if g.busy {
            return;
        }
        g.busy = true;
        while let Some(f) = g.dead.pop() {
            drop(g);
            drop(f);
            g = self.grave.lock();
        }
        g.busy = false;
    }

    /// Empties the queues of sockets that nobody can reach. Called when a socket goes and when files are sent.
    pub fn collect(&self) {
        use std::sync::atomic::Ordering;
        if self.counts.lock().sockets.is_empty() || self.collecting.swap(true, Ordering::SeqCst) {
            return;
        }
        let garbage = self.unreachable();
        for f in &garbage {
            if let Some(s) = socket_of(f) {
                s.empty_queues();
            }
        }
        self.bury(garbage);
        let mut c = self.counts.lock();
        c.left = c.sockets.len();
        drop(c);
        self.collecting.store(false, Ordering::SeqCst);
    }

    /// Sockets to which only queues refer that nobody can read. What the searched sockets' users do meanwhile may make one
    /// look so; what cannot be reached at all stays as it is, so the search is done again until nothing moved under it.
    fn unreachable(&self) -> Vec<Arc<File>> {
        let all: Vec<(Weak<File>, usize)> = self.counts.lock().sockets.values().cloned().collect();
        let mut suspects: Suspects = HashMap::new();
        for (weak, n) in all {
            let Some(f) = weak.upgrade() else { continue };
            // One reference is ours.
            if Arc::strong_count(&f) - 1 <= n {
                suspects.insert(f.id, (f, n));
            }
        }
        loop {
            let before = suspects.len();
            Self::keep_unreachable(&mut suspects);
            let now: HashMap<u64, usize> = {
                let c = self.counts.lock();
                suspects.keys().filter_map(|id| Some((*id, c.sockets.get(id)?.1))).collect()
            };
            suspects.retain(|id, (f, n)| now.get(id) == Some(n) && Arc::strong_count(f) - 1 <= *n);
            if suspects.len() == before || suspects.is_empty() {
                return suspects.into_values().map(|(f, _)| f).collect();
            }
        }
    }

    /// Leaves those to which only queues of each other refer.
    fn keep_unreachable(suspects: &mut Suspects) {
        let held = |f: &File| socket_of(f).map_or_else(Vec::new, UnixSocket::queued_files);
        let mut from_suspects: HashMap<u64, usize> = HashMap::new();
        for (f, _) in suspects.values() {
            for id in held(f) {
                *from_suspects.entry(id).or_insert(0) += 1;
            }
        }
        let mut live: Vec<u64> = suspects
            .iter()
            .filter(|(id, (_, n))| from_suspects.get(id).copied().unwrap_or(0) < *n)
            .map(|(id, _)| *id)
            .collect();
        let mut alive: HashSet<u64> = HashSet::new();
        while let Some(id) = live.pop() {
            if let Some((f, _)) = suspects.get(&id)
                && alive.insert(id)
            {
                live.extend(held(f));
            }
        }
        suspects.retain(|id, _| !alive.contains(id));
    }
}

/// The files of one message.
pub struct Passed {
    files: Vec<Arc<File>>,
    uid: u32,
    flight: Arc<InFlight>,
}

impl Passed {
    /// Delivers the files.
    pub fn take(mut self) -> Vec<Arc<File>> {
        let files = std::mem::take(&mut self.files);
        self.flight.arrived(&files, self.uid);
        files
    }
    /// The files, for a look ahead (MSG_PEEK).
    pub fn peek(&self) -> Vec<Arc<File>> {
        self.files.clone()
    }
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.files.iter().map(|f| f.id)
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            let files = std::mem::take(&mut self.files);
            self.flight.arrived(&files, self.uid);
            self.flight.bury(files);
        }
    }
}
