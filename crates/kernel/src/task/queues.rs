//! Receive queues that guest code is told of. A program that asks a socket in vain whether something has come (recvfrom(2),
//! EAGAIN) asks again and again: between waits for one socket or several, and once more after each message. So with what it
//! is resumed for next, its stub gets what is in the queue: the bytes, which it then gives to the guest by itself, or that
//! there are none.
//!
//! That there are none is true until a count of the host's is raised ([`hal::Host::raise`]), which the socket does after
//! each change and before anybody can know of that. Bytes stay in the queue, which notes to whom they were told: who looks
//! at them next asks there whether they were taken, and the task itself *settles* at its next event. So it does not matter
//! who shares the socket, or the table of descriptors.

use std::sync::{Arc, Weak};

use hal::{QUEUES, Queue};

use super::TaskCx;
use crate::vfs::file::File;

/// After so many times in vain bytes are told no more, until somebody asks in vain again.
const VAIN: u8 = 8;

/// The queues that a guest thread is told of.
#[derive(Default)]
pub(crate) struct Queues {
    places: [Option<Place>; QUEUES],
    /// Which place is taken next if all are.
    next: usize,
    /// Bytes were told.
    out: bool,
}

struct Place {
    fd: i32,
    file: Weak<File>,
    count: u32,
    /// What the count was before the queue was looked at last; `None` if it must be looked at again.
    seen: Option<u64>,
    /// Bytes were told, and how often in vain.
    out: bool,
    vain: u8,
}

impl TaskCx {
    /// A receive from a socket had to answer EAGAIN: it will be asked again.
    pub fn tell_queue(&mut self, fd: i32, file: &Arc<File>) {
        if !self.may_lend {
            return;
        }
        let Some(count) = file.ops.as_socket().and_then(|s| s.count()) else { return };
        let Queues { places, next, .. } = &mut self.queues;
        let same = places.iter().position(|p| p.as_ref().is_some_and(|p| p.fd == fd));
        let i = same.or_else(|| places.iter().position(Option::is_none)).unwrap_or_else(|| {
            *next = (*next + 1) % QUEUES;
            *next
        });
        places[i] = Some(Place { fd, file: Arc::downgrade(file), count, seen: None, out: false, vain: 0 });
    }

    /// Takes over what the guest took of what it was told.
    #[inline]
    pub(crate) fn settle_queues(&mut self) {
        if self.queues.out {
            self.settle_told();
        }
    }

    fn settle_told(&mut self) {
        self.queues.out = false;
        for place in &mut self.queues.places {
            let Some(p) = place.as_mut().filter(|p| p.out) else { continue };
            (p.out, p.seen) = (false, None);
            let file = p.file.upgrade();
            let taken = file.as_ref().and_then(|f| f.ops.as_socket()).is_some_and(|s| s.settle());
            p.vain = if taken { 0 } else { p.vain + 1 };
            if p.vain == VAIN {
                *place = None;
            }
        }
    }

    /// Tells the guest, which is about to be resumed, what has changed.
    #[inline]
    pub(crate) fn tell_queues(&mut self) {
        for i in 0..QUEUES {
            let Some(p) = &self.queues.places[i] else { continue };
            if p.seen != Some(self.task.machine.host.raised(p.count)) && !self.tell_again(i) {
                self.queues.places[i] = None;
            }
        }
    }

    /// False if there is no such socket any more.
    fn tell_again(&mut self, place: usize) -> bool {
        let Some(p) = &mut self.queues.places[place] else { return false };
        // Before anything is looked at that somebody might be changing.
        let value = self.task.machine.host.raised(p.count);
        let Ok(file) = self.files.get(p.fd) else { return false };
        let Some(socket) = file.ops.as_socket().filter(|_| std::ptr::eq(p.file.as_ptr(), &*file)) else {
            return false;
        };
        let blocking = !file.nonblocking();
        let (fd, count) = (p.fd, p.count);
        socket.tell(&mut |bytes| {
            if bytes.is_empty() && blocking {
                return None;
            }
            let told = self.ctx.tell_queue(place, &Queue { fd, count, value, bytes })?;
            p.out = !bytes.is_empty();
            Some(told)
        });
        p.seen = Some(value);
        self.queues.out |= p.out;
        true
    }
}
