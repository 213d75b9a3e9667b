//! Receive queues that the guest thread was told of: what of them stands in the slot, for the stub to answer from.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use hal::{COUNTS, QUEUES, Queue, Told};

use super::LinuxContext;
use crate::{
    layout::{queues, served},
    thread::Thread,
};

/// What the thread was told in one place.
struct Place {
    thread: Arc<Thread>,
    at: usize,
}

fn place_at(place: usize) -> usize {
    queues::START + place * queues::STEP
}

impl LinuxContext {
    /// Puts a queue into its place.
    pub(super) fn put_queue(&mut self, place: usize, queue: &Queue<'_>) -> Option<Arc<dyn Told>> {
        let fits = place < QUEUES && queue.count < COUNTS && queue.bytes.len() <= queues::MOST;
        if !fits || !self.may_serve || self.died.is_some() {
            return None;
        }
        if !self.tells_queues {
            // What an earlier user of the slot was told.
            (0..QUEUES).for_each(|i| self.slot().set32(place_at(i) + queues::STATE, queues::NOTHING));
            self.tells_queues = true;
            self.lend(self.lent | 1 << served::RECVFROM);
        }
        let (slot, at) = (self.slot(), place_at(place));
        slot.set32(at + queues::FD, queue.fd.cast_unsigned());
        slot.set32(at + queues::COUNT, queue.count);
        slot.set64(at + queues::VALUE, queue.value);
        slot.set32(at + queues::LEN, queue.bytes.len() as u32);
        slot.write(at + queues::BYTES, queue.bytes);
        let state = if queue.bytes.is_empty() { queues::EMPTY } else { queues::GIVEN };
        slot.u32(at + queues::STATE).store(state, SeqCst);
        Some(Arc::new(Place { thread: self.thread.clone(), at }))
    }

    /// Forgets all that was told.
    pub(super) fn forget_queues(&mut self) {
        if std::mem::take(&mut self.tells_queues) {
            self.lend(self.lent & !(1 << served::RECVFROM));
            self.slot().zero(queues::START, QUEUES * queues::STEP);
        }
    }
}

impl Told for Place {
    fn take_back(&self) -> bool {
        let state = self.thread.slot.u32(self.at + queues::STATE);
        // The guest may have written anything there: what it says it has taken is lost to it.
        state.compare_exchange(queues::GIVEN, queues::NOTHING, SeqCst, SeqCst) == Err(queues::TAKEN)
    }
}
