//! Descriptors of a process.
//!
//! Files are never dropped under the table's lock: whoever takes an entry out gives the file back to its caller, who
//! closes it with [`close`].

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use abi::errno::{EBADF, EINVAL, EMFILE};
use ksync::Mutex;

use super::file::File;
use crate::{error::Result, locks, task::Task};

/// Resource number of RLIMIT_NOFILE.
pub const RLIMIT_NOFILE: usize = 7;
/// No descriptor reaches this, whatever the limit (fs.nr_open).
pub const NR_OPEN: u64 = 1 << 20;

/// A descriptor's entry.
#[derive(Clone)]
pub struct Entry {
    pub file: Arc<File>,
    pub cloexec: bool,
}

#[derive(Default)]
struct Slots {
    entries: Vec<Option<Entry>>,
    /// One bit per slot in use.
    used: Vec<u64>,
    /// No free slot lies below.
    first_free: usize,
}

impl Slots {
    fn find_free(&self, min: usize) -> usize {
        let start = min.max(self.first_free);
        let mut word = start / 64;
        let mut mask = !0u64 << (start % 64);
        while let Some(w) = self.used.get(word) {
            let free = !w & mask;
            if free != 0 {
                return word * 64 + free.trailing_zeros() as usize;
            }
            word += 1;
            mask = !0;
        }
        start.max(word * 64)
    }

    fn put(&mut self, fd: usize, entry: Entry) -> Option<Entry> {
        if fd >= self.entries.len() {
            self.entries.resize(fd + 1, None);
            self.used.resize(fd / 64 + 1, 0);
        }
        self.used[fd / 64] |= 1 << (fd % 64);
        if fd == self.first_free {
            self.first_free += 1;
        }
        self.entries[fd].replace(entry)
    }

    fn take(&mut self, fd: usize) -> Option<Entry> {
        let e = self.entries.get_mut(fd)?.take()?;
        self.used[fd / 64] &= !(1 << (fd % 64));
        self.first_free = self.first_free.min(fd);
        Some(e)
    }
}

/// Descriptor table (shared with CLONE_FILES).
pub struct FdTable {
    slots: Mutex<Slots>,
    /// Tasks that have it. Who only looks at it, as /proc does, is none of them.
    users: AtomicUsize,
    /// How often a descriptor was taken away or led elsewhere.
    changes: AtomicU32,
    /// Tells tables apart: the owner of POSIX locks.
    pub id: u64,
}

impl Default for FdTable {
    fn default() -> Self {
        FdTable::with(Slots::default())
    }
}

fn index(fd: i32) -> Result<usize> {
    usize::try_from(fd).map_err(|_| EBADF)
}

impl FdTable {
    fn with(slots: Slots) -> FdTable {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        FdTable {
            slots: Mutex::new(locks::FILES, slots),
            users: AtomicUsize::new(0),
            changes: AtomicU32::new(0),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// One more task has it.
    pub(crate) fn enter(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// `task` has it no more; the last one closes what is open.
    pub(crate) fn leave(&self, task: &Task) {
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            for file in self.take_range(0, u32::MAX) {
                close(task, self, file);
            }
        }
    }

    /// Several tasks have it (CLONE_FILES).
    pub(crate) fn is_shared(&self) -> bool {
        self.users.load(Ordering::Acquire) > 1
    }

    /// While this stays the same, each descriptor names the file that it named.
    pub fn version(&self) -> (u64, u32) {
        (self.id, self.changes.load(Ordering::Relaxed))
    }

    fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// The open file of a descriptor; EBADF.
    #[inline]
    pub fn get(&self, fd: i32) -> Result<Arc<File>> {
        let slots = self.slots.lock();
        usize::try_from(fd)
            .ok()
            .and_then(|i| slots.entries.get(i))
            .and_then(|e| e.as_ref())
            .map(|e| e.file.clone())
            .ok_or(EBADF)
    }

    /// The open file of a descriptor that is more than a path (O_PATH gives EBADF for most calls).
    #[inline]
    pub fn get_io(&self, fd: i32) -> Result<Arc<File>> {
        let f = self.get(fd)?;
        if f.flags().contains(abi::OpenFlags::PATH) { Err(EBADF) } else { Ok(f) }
    }

    /// File and close-on-exec flag; EBADF.
    pub fn entry(&self, fd: i32) -> Result<Entry> {
        self.slots.lock().entries.get(index(fd)?).and_then(Clone::clone).ok_or(EBADF)
    }

    /// The lowest descriptor that is free, if it is below `limit`.
    pub fn free(&self, limit: u64) -> Option<i32> {
        let fd = self.slots.lock().find_free(0);
        if (fd as u64) < limit.min(NR_OPEN) { Some(fd as i32) } else { None }
    }

    /// Puts a file at the lowest free descriptor from `min` on; EMFILE if that is not below `limit`.
    pub fn alloc(&self, min: i32, limit: u64, file: Arc<File>, cloexec: bool) -> Result<i32> {
        let limit = limit.min(NR_OPEN);
        let mut slots = self.slots.lock();
        let fd = slots.find_free(usize::try_from(min).map_err(|_| EINVAL)?);
        if fd as u64 >= limit {
            drop(slots);
            return Err(EMFILE);
        }
        let old = slots.put(fd, Entry { file, cloexec });
        debug_assert!(old.is_none());
        Ok(fd as i32)
    }

    /// [`FdTable::alloc`] from 0, under the limit of the task's process.
    pub fn install(&self, task: &Task, file: Arc<File>, cloexec: bool) -> Result<i32> {
        self.alloc(0, task.process.rlimit(RLIMIT_NOFILE), file, cloexec)
    }

    /// Puts a file at this descriptor (dup2(2)) and gives back what it replaced, for [`close`]. EBADF if it is not below
    /// `limit`.
    pub fn set(&self, fd: i32, limit: u64, file: Arc<File>, cloexec: bool) -> Result<Option<Arc<File>>> {
        let i = index(fd)?;
        if i as u64 >= limit.min(NR_OPEN) {
            return Err(EBADF);
        }
        self.change();
        let old = self.slots.lock().put(i, Entry { file, cloexec });
        Ok(old.map(|e| e.file))
    }

    /// Takes a descriptor away; the caller calls [`close`] with the file. EBADF.
    pub fn remove(&self, fd: i32) -> Result<Arc<File>> {
        let i = index(fd)?;
        self.change();
        let e = self.slots.lock().take(i);
        e.map(|e| e.file).ok_or(EBADF)
    }

    pub fn set_cloexec(&self, fd: i32, on: bool) -> Result<()> {
        let i = index(fd)?;
        let mut slots = self.slots.lock();
        slots.entries.get_mut(i).and_then(Option::as_mut).ok_or(EBADF)?.cloexec = on;
        Ok(())
    }

    /// Takes all descriptors in a range away (close_range(2)).
    pub fn take_range(&self, first: u32, last: u32) -> Vec<Arc<File>> {
        self.change();
        let mut slots = self.slots.lock();
        let end = slots.entries.len().min((last as usize).saturating_add(1));
        (first as usize..end).filter_map(|fd| slots.take(fd)).map(|e| e.file).collect()
    }

    /// Sets close-on-exec in a range.
    pub fn cloexec_range(&self, first: u32, last: u32) {
        let mut slots = self.slots.lock();
        let end = slots.entries.len().min((last as usize).saturating_add(1));
        for fd in first as usize..end {
            if let Some(e) = &mut slots.entries[fd] {
                e.cloexec = true;
            }
        }
    }

    /// Takes the descriptors away that are not to survive execve(2).
    pub fn take_cloexec(&self) -> Vec<Arc<File>> {
        self.change();
        let mut slots = self.slots.lock();
        let mut gone = Vec::new();
        for fd in 0..slots.entries.len() {
            if slots.entries[fd].as_ref().is_some_and(|e| e.cloexec) {
                gone.extend(slots.take(fd).map(|e| e.file));
            }
        }
        gone
    }

    /// A copy for a new process: the same open files.
    pub fn fork(&self) -> Arc<FdTable> {
        let slots = self.slots.lock();
        let copy =
            Slots { entries: slots.entries.clone(), used: slots.used.clone(), first_free: slots.first_free };
        drop(slots);
        Arc::new(FdTable::with(copy))
    }

    /// Descriptors in use, in order (/proc/PID/fd).
    pub fn fds(&self) -> Vec<i32> {
        let slots = self.slots.lock();
        (0i32..).zip(&slots.entries).filter(|(_, e)| e.is_some()).map(|(fd, _)| fd).collect()
    }

    /// Is there an open file that `f` says yes to? `f` must be quick and take no lock.
    pub fn any(&self, f: impl Fn(&File) -> bool) -> bool {
        self.slots.lock().entries.iter().flatten().any(|e| f(&e.file))
    }

    /// Slots the table has room for (FDSize of /proc/PID/status).
    pub fn size(&self) -> usize {
        (self.slots.lock().used.len() * 64).max(64)
    }
}

/// What closing a descriptor does: tells the file, and gives up the POSIX locks that this table has on it. The file itself
/// ends with its last reference.
pub fn close(task: &Task, files: &FdTable, file: Arc<File>) {
    // Paths may have begun at the descriptor.
    if let Some(inode) = file.path.dentry.inode_ref() {
        super::ahead::leads_elsewhere(task, &**inode);
    }
    close_unnoticed(task, files, file);
}

/// [`close`] where nobody may have been told anything of paths that begin at the descriptor.
pub(super) fn close_unnoticed(task: &Task, files: &FdTable, file: Arc<File>) {
    file.ops.closed(&file, task);
    let Some(inode) = file.path.dentry.inode_ref() else { return };
    if let Some(parts) = inode.common().made() {
        parts.locks.release_posix(files.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_slot_is_found_past_full_words() {
        let mut s = Slots::default();
        assert_eq!(s.find_free(0), 0);
        assert_eq!(s.find_free(70), 70);
        s.used = vec![!0, 0b1011];
        s.first_free = 64;
        assert_eq!(s.find_free(0), 66);
        assert_eq!(s.find_free(67), 68);
        s.used = vec![!0];
        assert_eq!(s.find_free(3), 64);
        assert_eq!(s.find_free(63), 64);
    }
}
