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
}

#[derive(Default)]
struct Grave {
    dead: Vec<Arc<File>>,
    /// Some thread is dropping.
    busy: bool,
}

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
        let mut c = self.counts.lock();
        let n = c.users.entry(cred.uid).or_insert(0);
        if *n as u64 > limit && !cred.has(CAP_SYS_RESOURCE) && !cred.has(CAP_SYS_ADMIN) {
            drop(c);
            self.bury(files);
            return Err(ETOOMANYREFS);
        }
        *n += files.len();
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
        self.collecting.store(false, Ordering::SeqCst);
    }

    fn unreachable(&self) -> Vec<Arc<File>> {
        let all: Vec<(Weak<File>, usize)> = self.counts.lock().sockets.values().cloned().collect();
        let mut suspects: HashMap<u64, (Arc<File>, usize)> = HashMap::new();
        for (weak, n) in all {
            let Some(f) = weak.upgrade() else { continue };
            // One reference is ours.
            if Arc::strong_count(&f) - 1 <= n {
                suspects.insert(f.id, (f, n));
            }
        }
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
        suspects.into_iter().filter(|(id, _)| !alive.contains(id)).map(|(_, (f, _))| f).collect()
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
