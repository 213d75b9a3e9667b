//! Changes of host files, by whomever they are made (inotify(7)).
//!
//! One inotify instance for the machine, made when a first file is watched; the poller reads it. Files are named by the
//! descriptor that the caller has, so that no path is walked.

use std::{
    collections::HashMap,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use hal::{FileChange, HostFile, Result, Watch, errno};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::{
    file::{host_errno, retry},
    stream::Streams,
};

/// Called for each change.
type Tell = Arc<dyn Fn(&FileChange) + Send + Sync>;

/// What is asked of the host: all that changes something. Opening and reading are done by the machine itself all the
/// time, and nobody could tell its own from others'.
const CHANGES: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// Files watched at once: the host counts the watches of all programs of its user together, and some are left to them.
const MOST: usize = 4096;
/// Bytes read at once: many events, and at least one with the longest name.
const BATCH: usize = 16 << 10;

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watches of one host.
pub(crate) struct Changes {
    streams: Arc<Streams>,
    instance: Mutex<Option<Arc<Instance>>>,
}

struct Instance {
    fd: OwnedFd,
    /// Listeners by the host's watch descriptor: one watch per inode, however many listen.
    listeners: Mutex<HashMap<i32, Vec<(u64, Tell)>>>,
    next: AtomicU64,
    /// Held while events are read and told, so that they are told in their order.
    reading: Mutex<()>,
    /// Keeps the poller's registration.
    poll: Mutex<Option<Box<dyn Watch>>>,
}

impl Changes {
    pub(crate) fn new(streams: Arc<Streams>) -> Changes {
        Changes { streams, instance: Mutex::new(None) }
    }

    fn instance(&self) -> Result<Arc<Instance>> {
        let mut slot = lock(&self.instance);
        if let Some(i) = &*slot {
            return Ok(i.clone());
        }
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(host_errno)?;
        let new = Arc::new(Instance {
            fd,
            listeners: Mutex::default(),
            next: AtomicU64::new(0),
            reading: Mutex::default(),
            poll: Mutex::default(),
        });
        let weak = Arc::downgrade(&new);
        let wake = move || {
            if let Some(i) = Weak::upgrade(&weak) {
                i.read();
            }
        };
        *lock(&new.poll) = Some(self.streams.watch_readable(new.fd.as_fd(), Arc::new(wake))?);
        *slot = Some(new.clone());
        Ok(new)
    }

    /// See [`hal::Host::watch_file`].
    pub(crate) fn watch(&self, file: &dyn HostFile, tell: Tell) -> Result<Box<dyn Watch>> {
        let instance = self.instance()?;
        let id = instance.next.fetch_add(1, Ordering::Relaxed);
        let path = format!("/proc/self/fd/{}", file.raw_fd());
        // Held over the call, so that the first event finds its listener and the last listener's end does not take the
        // watch of the next one along.
        let mut listeners = lock(&instance.listeners);
        if listeners.len() >= MOST {
            return Err(errno::ENOSPC);
        }
        let wd = retry(|| inotify::add_watch(&instance.fd, path.as_str(), CHANGES))?;
        listeners.entry(wd).or_default().push((id, tell));
        drop(listeners);
        Ok(Box::new(Watching { instance, wd, id }))
    }
}

impl Instance {
    /// Reads what there is, and tells.
    fn read(&self) {
        let _in_order = lock(&self.reading);
        let mut buf = vec![MaybeUninit::uninit(); BATCH];
        let mut reader = inotify::Reader::new(&self.fd, &mut buf);
        // Ends with EAGAIN when all is read.
        while let Ok(event) = reader.next() {
            let (wd, mask) = (event.wd(), event.events());
            let told: Vec<Tell> = {
                let mut all = lock(&self.listeners);
                if mask.contains(ReadFlags::IGNORED) {
                    // The file is gone, and its watch with it.
                    drop(all.remove(&wd));
                    continue;
                }
                let lost = mask.contains(ReadFlags::QUEUE_OVERFLOW);
                let concerned = all.iter().filter(|(at, _)| lost || **at == wd);
                concerned.flat_map(|(_, list)| list.iter().map(|l| l.1.clone())).collect()
            };
            let name = event.file_name().map(|n| n.to_bytes().to_vec()).unwrap_or_default();
            let change = FileChange { mask: mask.bits(), cookie: event.cookie(), name };
            for tell in told {
                tell(&change);
            }
        }
    }
}

/// One listener.
struct Watching {
    instance: Arc<Instance>,
    wd: i32,
    id: u64,
}

impl Watch for Watching {}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = lock(&self.instance.listeners);
        let Some(list) = all.get_mut(&self.wd) else { return };
        let gone: Vec<(u64, Tell)> = list.extract_if(.., |l| l.0 == self.id).collect();
        if list.is_empty() {
            all.remove(&self.wd);
            // Fails only if the file is gone by now.
            let _ = inotify::remove_watch(&self.instance.fd, self.wd);
        }
        drop(all);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::Duration};

    use super::*;
    use crate::{file::LinuxFile, signals::Signals};

    #[test]
    fn changes_are_told_to_every_listener_until_it_is_dropped() {
        let dir = std::env::temp_dir().join(format!("umlaut-changes-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let changes = Changes::new(Streams::new(Arc::new(Signals::default())));
        let file = LinuxFile::open_path(dir.to_str().unwrap().as_bytes(), libc::O_PATH as u32).unwrap();
        let (send, told) = mpsc::channel();
        let listen = |who: u32| {
            let send = Mutex::new(send.clone());
            changes.watch(&*file, Arc::new(move |c| lock(&send).send((who, c.clone())).unwrap())).unwrap()
        };
        let (first, second) = (listen(1), listen(2));
        let next = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        fs::create_dir(dir.join("a")).unwrap();
        for who in [1, 2] {
            let made = FileChange { mask: 0x4000_0100, cookie: 0, name: b"a".to_vec() };
            assert_eq!(next(), (who, made));
        }
        drop(first);
        fs::remove_dir(dir.join("a")).unwrap();
        assert_eq!(next().0, 2);
        // The directory itself: its end ends the watch.
        drop(file);
        fs::remove_dir(&dir).unwrap();
        assert_eq!(next().1.mask & 0x400, 0x400);
        drop(second);
        assert!(told.try_recv().is_err());
    }
}
