//! Host files that are watched: what others do to them, told by the host.
//!
//! What the guest does to a file of hostfs is told twice, by the kernel and by the host, in either order. Whoever comes
//! second with the same news within [`WINDOW_NS`] is kept silent.

use std::sync::{Arc, Weak, atomic::Ordering};

use abi::fs::{
    IN_ATTRIB, IN_CLOSE_WRITE, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MODIFY, IN_MOVE_SELF, IN_MOVED_FROM,
    IN_MOVED_TO, IN_Q_OVERFLOW,
};
use hal::FileChange;
use ksync::Mutex;

use super::{super::inode::Inode, Event, UNLINKED, Watch};
use crate::{locks, machine::Machine};

/// How long after one of them the other may come.
const WINDOW_NS: u64 = 200_000_000;
/// News remembered per watch.
const MOST: usize = 256;
/// What the host tells of.
const CHANGES: u32 = IN_MODIFY
    | IN_ATTRIB
    | IN_CLOSE_WRITE
    | IN_MOVED_FROM
    | IN_MOVED_TO
    | IN_CREATE
    | IN_DELETE
    | IN_DELETE_SELF
    | IN_MOVE_SELF;

/// Something told a moment ago.
struct News {
    by_host: bool,
    mask: u32,
    name: Box<[u8]>,
    at_ns: u64,
}

/// The host's side of one watch; nothing, if its inode is none of the host's.
pub(super) struct Outside {
    state: Mutex<Option<Listening>>,
}

struct Listening {
    machine: Weak<Machine>,
    recent: Vec<News>,
    /// Dropping it ends the listening.
    _watch: Box<dyn hal::Watch>,
}

impl Default for Outside {
    fn default() -> Outside {
        Outside { state: Mutex::new(locks::LEAF, None) }
    }
}

impl Outside {
    /// Whether an event is news, told by the host or by the kernel; false for the echo of what the other told.
    pub(super) fn is_news(&self, by_host: bool, mask: u32, name: &[u8]) -> bool {
        let mask = mask & !UNLINKED;
        let mut state = self.state.lock();
        let Some(l) = &mut *state else { return true };
        let Some(machine) = l.machine.upgrade().filter(|_| mask & CHANGES != 0) else { return true };
        let now = machine.clock.monotonic_ns();
        l.recent.retain(|n| now.saturating_sub(n.at_ns) < WINDOW_NS);
        let echo = l.recent.iter().position(|n| n.by_host != by_host && n.mask == mask && *n.name == *name);
        match echo {
            Some(i) => {
                l.recent.remove(i);
                false
            }
            None => {
                if l.recent.len() < MOST {
                    l.recent.push(News { by_host, mask, name: name.into(), at_ns: now });
                }
                true
            }
        }
    }

    pub(super) fn end(&self) {
        let gone = self.state.lock().take();
        drop(gone);
    }
}

impl Watch {
    /// Asks the host to tell of the inode, if it is the host's. Where the host does not, its users hear of the guest's
    /// own changes only.
    pub(super) fn listen_outside(self: &Arc<Self>, machine: &Arc<Machine>, inode: &Arc<dyn Inode>) {
        let Some(file) = inode.host_file() else { return };
        let (me, inode) = (Arc::downgrade(self), Arc::downgrade(inode));
        let tell = move |change: &FileChange| {
            if let (Some(watch), Some(inode)) = (me.upgrade(), inode.upgrade()) {
                inode.host_changed();
                watch.told_by_host(change);
            }
        };
        let Ok(watch) = machine.host.watch_file(&*file, Box::new(tell)) else { return };
        let listening = Listening { machine: Arc::downgrade(machine), recent: Vec::new(), _watch: watch };
        *self.outside.state.lock() = Some(listening);
        // Given up meanwhile.
        if self.ended.load(Ordering::SeqCst) {
            self.outside.end();
        }
    }

    fn told_by_host(&self, change: &FileChange) {
        let Some(i) = self.instance.upgrade() else { return };
        if change.mask & IN_Q_OVERFLOW != 0 {
            i.queue(Event { wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: Box::default() });
            return;
        }
        let wanted = self.mask.load(Ordering::Relaxed) & change.mask & CHANGES != 0;
        if wanted && self.outside.is_news(true, change.mask, &change.name) {
            let name = Some(&*change.name).filter(|n| !n.is_empty());
            self.report_as_news(change.mask, change.cookie, name);
        }
        if change.mask & IN_DELETE_SELF != 0 {
            self.end();
        }
    }
}
