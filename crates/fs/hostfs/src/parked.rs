//! Host files that were opened last, kept open when the guest closes them: what is read over and over (libraries,
//! configuration, sources) then costs one look at its attributes instead of an opening and a closing.
//!
//! Only small files opened for reading stay: a file that the host removes keeps its blocks until it is pushed out, and one
//! that is written is to be closed in time. Before a file that nobody else has open is used again, the host is asked
//! whether its name still leads to it, unchanged ([`crate::HostInode::open_host`]).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, atomic::Ordering},
};

use crate::{lock, open::Opened};

/// Files that one mount keeps open wherever it may, and most that it does where the host lets many be open: one in eight
/// of them, or half where they are plenty. When descriptors are short all are let go.
pub(crate) const FILES: usize = 192;
const FILES_MAX: u64 = 8192;
const PLENTY: u64 = 8192;
/// Size up to which a file is kept, in bytes, and of all of them together.
pub(crate) const SIZE: u64 = 2 << 20;
const SIZE_ALL: u64 = 256 << 20;

pub(crate) struct Parked {
    limit: usize,
    set: Mutex<Set>,
}

#[derive(Default)]
struct Set {
    files: VecDeque<Arc<Opened>>,
    size: u64,
    pushed: u64,
}

impl Set {
    /// Takes one out that chance picks: who reads more files in turn than there is room for, over and over, still finds
    /// some of them, of which the oldest would be pushed out just before their turn.
    fn pick(&mut self) -> Option<Arc<Opened>> {
        let n = self.files.len() as u64;
        // Some constant without pattern; guests gain nothing by foreseeing it.
        let at = self.pushed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let out = self.files.swap_remove_back((at % n.max(1)) as usize)?;
        self.size -= out.size;
        Some(out)
    }
}

impl Parked {
    /// For a host that lets `limit` files be open.
    pub(crate) fn new(limit: u64) -> Parked {
        let limit =
            (if limit < PLENTY { limit / 8 } else { limit / 2 }).clamp(FILES as u64, FILES_MAX) as usize;
        Parked { limit, set: Mutex::default() }
    }

    /// Keeps a file, in place of others where there is no room.
    pub(crate) fn push(&self, opened: &Arc<Opened>) {
        opened.parked.store(true, Ordering::Relaxed);
        // Closed with no lock held.
        let mut out = Vec::new();
        let mut set = lock(&self.set);
        set.pushed += 1;
        while set.files.len() >= self.limit || set.size + opened.size > SIZE_ALL {
            let Some(o) = set.pick() else { break };
            o.parked.store(false, Ordering::Relaxed);
            out.push(o);
        }
        set.size += opened.size;
        set.files.push_back(opened.clone());
    }

    /// Lets go of one file.
    pub(crate) fn remove(&self, opened: &Arc<Opened>) {
        if opened.parked.swap(false, Ordering::Relaxed) {
            let mut set = lock(&self.set);
            let before = set.files.len();
            set.files.retain(|o| !Arc::ptr_eq(o, opened));
            if set.files.len() < before {
                set.size -= opened.size;
            }
        }
    }

    /// Lets go of all: descriptors are short.
    pub(crate) fn clear(&self) {
        let set = std::mem::take(&mut *lock(&self.set));
        for o in &set.files {
            o.parked.store(false, Ordering::Relaxed);
        }
        drop(set);
    }
}
