//! Host files that were opened last, kept open when the guest closes them: what is read over and over (libraries,
//! configuration) then costs one look at its attributes instead of an opening and a closing.
//!
//! Only small files opened for reading stay: a file that the host removes keeps its blocks until it is pushed out, and one
//! that is written is to be closed in time. Before a file that nobody else has open is used again, the host is asked
//! whether its name still leads to it, unchanged ([`crate::HostInode::open_host`]).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, atomic::Ordering},
};

use crate::{lock, open::Opened};

/// Files kept open by one mount.
pub(crate) const FILES: usize = 192;
/// Size up to which a file is kept, in bytes.
pub(crate) const SIZE: u64 = 2 << 20;

#[derive(Default)]
pub(crate) struct Parked {
    /// The last opened at the back.
    files: Mutex<VecDeque<Arc<Opened>>>,
}

impl Parked {
    /// Keeps a file, in place of the one that was opened longest ago.
    pub(crate) fn push(&self, opened: &Arc<Opened>) {
        opened.parked.store(true, Ordering::Relaxed);
        let oldest = {
            let mut files = lock(&self.files);
            files.push_back(opened.clone());
            if files.len() > FILES { files.pop_front() } else { None }
        };
        // Closed with no lock held.
        oldest.inspect(|o| o.parked.store(false, Ordering::Relaxed));
    }

    /// Lets go of one file.
    pub(crate) fn remove(&self, opened: &Arc<Opened>) {
        if opened.parked.swap(false, Ordering::Relaxed) {
            lock(&self.files).retain(|o| !Arc::ptr_eq(o, opened));
        }
    }

    /// Lets go of all: descriptors are short.
    pub(crate) fn clear(&self) {
        let files = std::mem::take(&mut *lock(&self.files));
        for o in &files {
            o.parked.store(false, Ordering::Relaxed);
        }
        drop(files);
    }
}
