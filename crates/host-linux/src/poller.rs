//! One thread that waits for all watched descriptors.
//!
//! Each watch has a duplicate of its descriptor registered edge-triggered, so several watches of one stream do not
//! disturb each other, and a terminal that hung up is reported once instead of for ever.

use std::{
    collections::HashMap,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hal::{Interest, Result, Watch, errno};
use rustix::{
    event::{
        EventfdFlags, epoll,
        epoll::{EventData, EventFlags},
    },
    io,
};

use crate::{file::host_errno, signals};

type Wake = Arc<dyn Fn() + Send + Sync>;

/// What both the thread and the watches use.
struct Shared {
    epoll: OwnedFd,
    wakers: Mutex<Wakers>,
}

#[derive(Default)]
struct Wakers {
    next: u64,
    by_id: HashMap<u64, Wake>,
}

/// Event data that asks the thread to end.
const QUIT: u64 = 0;

/// The thread and its epoll descriptor; dropping it ends the thread.
pub(crate) struct Poller {
    shared: Arc<Shared>,
    quit: OwnedFd,
}

impl Shared {
    fn wakers(&self) -> MutexGuard<'_, Wakers> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        signals::block_all();
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(io::Errno::INTR) => {}
                // Cannot happen with a valid descriptor; ending beats spinning.
                Err(_) => return,
            }
            for event in &events {
                let id = event.data.u64();
                if id == QUIT {
                    return;
                }
                let wake = self.wakers().by_id.get(&id).cloned();
                if let Some(wake) = wake {
                    wake();
                }
            }
        }
    }
}

struct Registered {
    shared: Arc<Shared>,
    fd: OwnedFd,
    id: u64,
}

impl Watch for Registered {}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.wakers().by_id.remove(&self.id);
        // Fails only if the descriptor is not registered, which is what is wanted.
        let _ = epoll::delete(&self.shared.epoll, &self.fd);
    }
}

/// A watch of something that is always ready.
struct AlwaysReady;

impl Watch for AlwaysReady {}

impl Poller {
    pub(crate) fn start() -> Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(host_errno)?;
        let quit =
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(host_errno)?;
        epoll::add(&epoll, &quit, EventData::new_u64(QUIT), EventFlags::IN).map_err(host_errno)?;
        let wakers = Mutex::new(Wakers { next: QUIT + 1, ..Wakers::default() });
        let shared = Arc::new(Shared { epoll, wakers });
        let run = shared.clone();
        let thread = std::thread::Builder::new().name("host-poll".into()).stack_size(256 << 10);
        match thread.spawn(move || run.run()) {
            Ok(_) => Ok(Poller { shared, quit }),
            Err(_) => Err(errno::EAGAIN),
        }
    }

    /// Calls `wake` when the descriptor becomes ready, and at once if it is.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, interest: Interest, wake: Wake) -> Result<Box<dyn Watch>> {
        let mut flags = EventFlags::ET;
        if interest.read {
            flags |= EventFlags::IN | EventFlags::RDHUP;
        }
        if interest.write {
            flags |= EventFlags::OUT;
        }
        let fd = io::fcntl_dupfd_cloexec(fd, 3).map_err(host_errno)?;
        let id = {
            let mut wakers = self.shared.wakers();
            let id = wakers.next;
            wakers.next += 1;
            wakers.by_id.insert(id, wake.clone());
            id
        };
        match epoll::add(&self.shared.epoll, &fd, EventData::new_u64(id), flags) {
            Ok(()) => Ok(Box::new(Registered { shared: self.shared.clone(), fd, id })),
            Err(e) => {
                self.shared.wakers().by_id.remove(&id);
                // Files that cannot be polled never block (epoll_ctl(2), EPERM).
                if e != io::Errno::PERM {
                    return Err(host_errno(e));
                }
                wake();
                Ok(Box::new(AlwaysReady))
            }
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // The counter is far from its limit, so this cannot fail.
        let _ = io::write(&self.quit, &1u64.to_ne_bytes());
    }
}
