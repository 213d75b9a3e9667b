//! Open files: the operations a file offers, and the open file description that descriptors share.

use std::{
    any::Any,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use abi::OpenFlags;
use ksync::{Mutex, WaitQueue};

use super::{events, inode::Inode, open::WriteGuard, path::Path, poll::PollEvents};
use crate::{
    error::Result,
    io::{Sink, Source},
    locks,
    mm::Mappable,
    task::{Task, TaskCx},
};

/// What [`FileOps::read_dir`] reports entries to. Returns false when it is full; that entry then was not taken.
pub type DirSink<'a> = dyn FnMut(&[u8], u64, u8, u64) -> bool + 'a;

/// A file without contents of its own: whatever is written is gone, and what is read, if anything, is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endless {
    /// /dev/null, to be written.
    Null,
    /// /dev/zero, to be read.
    Zero,
}

/// Operations of an open file. Defaults are what Linux answers for a file without the operation.
///
/// Operations that block use [`Task::wait_on`] and obey `file.nonblocking()`.
pub trait FileOps: Any + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    /// Reads at `pos` (streams ignore it). 0 = end of file.
    fn read(&self, _file: &File, _task: &Task, _dst: &mut dyn Sink, _pos: u64) -> Result<usize> {
        Err(abi::errno::EINVAL)
    }
    /// Writes at `pos` (streams ignore it; O_APPEND is resolved by [`FileOps::append_pos`]).
    fn write(&self, _file: &File, _task: &Task, _src: &mut dyn Source, _pos: u64) -> Result<usize> {
        Err(abi::errno::EINVAL)
    }
    /// Streams have no position: ESPIPE for lseek, pread, pwrite.
    fn is_stream(&self) -> bool {
        false
    }
    /// lseek(2) goes nowhere: it answers 0, whatever place is asked for (null(4)).
    fn stays_at_start(&self) -> bool {
        false
    }
    /// lseek(2) refuses places that are told from an end, which the file does not have: EINVAL.
    fn has_no_end(&self) -> bool {
        false
    }
    /// Positions of a stream that has them all the same, elsewhere.
    fn seekable(&self) -> Option<&dyn super::inherited::Seekable> {
        None
    }
    /// Size as seen by O_APPEND and SEEK_END, for files that have one.
    fn size(&self) -> Result<u64> {
        Err(abi::errno::EINVAL)
    }
    /// The count that is raised ([`hal::Host::raise`]) with each change of the size, if one is.
    fn size_count(&self) -> Option<u32> {
        None
    }
    /// SEEK_DATA and SEEK_HOLE; positions are checked by the caller against the size.
    fn seek_data(&self, pos: u64, data: bool) -> Result<u64> {
        let end = self.size()?;
        if pos >= end {
            return Err(abi::errno::ENXIO);
        }
        Ok(if data { pos } else { end })
    }
    /// Lists a directory from position `pos` (an opaque cookie; 0 = start): calls `sink(name, ino, dtype, next_pos)`,
    /// `.` and `..` included. Returns the new position.
    fn read_dir(&self, _file: &File, _task: &Task, _pos: u64, _sink: &mut DirSink<'_>) -> Result<u64> {
        Err(abi::errno::ENOTDIR)
    }
    /// What it is ready for now.
    fn poll(&self, _file: &File) -> PollEvents {
        PollEvents::IN | PollEvents::OUT
    }
    /// The queues that are woken when [`FileOps::poll`] changes. Empty for files that are always ready. EPERM from
    /// epoll_ctl is decided by [`FileOps::can_poll`].
    fn poll_queues(&self) -> Vec<Arc<WaitQueue>> {
        Vec::new()
    }
    /// False for regular files and directories (epoll refuses them).
    fn can_poll(&self) -> bool {
        !self.poll_queues().is_empty()
    }
    /// ENOTTY for commands it does not know. The argument may be a guest address.
    fn ioctl(&self, _file: &File, _cx: &mut TaskCx, _cmd: u32, _arg: u64) -> Result<u64> {
        Err(abi::errno::ENOTTY)
    }
    /// The host's regular file that reads are answered from, whoever reads, and that fstat(2) tells of.
    fn host_contents(&self) -> Option<Arc<dyn hal::HostFile>> {
        None
    }
    /// What it is if reads and writes are about no contents of its own.
    fn endless(&self) -> Option<Endless> {
        None
    }
    /// How it can be mapped; `None`: ENODEV.
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        None
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Err(abi::errno::EINVAL)
    }
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(abi::errno::EINVAL)
    }
    /// May the size become this (seals of a memfd: EPERM)? Asked before ftruncate(2) changes the inode.
    fn check_resize(&self, _size: u64) -> Result<()> {
        Ok(())
    }
    /// `fallocate(2)`, flags already checked for known bits.
    fn allocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(abi::errno::ENODEV)
    }
    /// Seals of the file (F_ADD_SEALS); `None`: EINVAL.
    fn seals(&self) -> Option<&AtomicU32> {
        None
    }
    /// No mapping may store to the file from now on (F_SEAL_WRITE), or may again. EBUSY while one may.
    fn deny_stores(&self, _deny: bool) -> Result<()> {
        Ok(())
    }
    /// O_NONBLOCK, O_APPEND or O_ASYNC changed by fcntl.
    fn set_flags(&self, _file: &File, _flags: OpenFlags) -> Result<()> {
        Ok(())
    }
    /// Somebody was named to get signals about it (F_SETOWN): a process, or a group if negative.
    fn set_owner(&self, _owner: i64) {}
    /// A descriptor was closed by a process (flush(2)-like moment).
    fn closed(&self, _file: &File, _task: &Task) {}
    /// The last descriptor is gone. No task context; must not block.
    fn release(&self, _file: &File) {}
    /// The operations of a socket, if it is one.
    fn as_socket(&self) -> Option<&dyn crate::net::SocketOps> {
        None
    }
    /// Lines for /proc/PID/fdinfo beyond pos, flags and mnt_id.
    fn fdinfo(&self, _file: &File) -> String {
        String::new()
    }
}

/// An open file description (open(2)). Shared by descriptors.
pub struct File {
    pub ops: Arc<dyn FileOps>,
    /// Where it was opened; anonymous files have a path on the kernel's internal mount.
    pub path: Path,
    flags: AtomicU32,
    pos: Mutex<u64>,
    /// F_SETOWN target: pid, negative for a group, 0 for none.
    pub owner: AtomicU64,
    /// Signal number set by F_SETSIG.
    pub owner_signal: AtomicU32,
    /// Unique number, to tell open files apart (OFD locks, kcmp).
    pub id: u64,
    /// Counts the file as being written to.
    write: OnceLock<WriteGuard>,
}

impl File {
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }
    pub fn set_flags(&self, flags: OpenFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
        if let Some(s) = self.ops.as_socket() {
            s.changed();
        }
    }
    pub fn nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }
    pub fn readable(&self) -> bool {
        self.flags().readable()
    }
    pub fn writable(&self) -> bool {
        self.flags().writable()
    }
    pub fn inode(&self) -> Option<Arc<dyn Inode>> {
        self.path.dentry.inode()
    }
    /// The position, locked for the length of one read, write or seek.
    pub fn pos(&self) -> ksync::MutexGuard<'_, u64> {
        self.pos.lock()
    }
    pub fn new(ops: Arc<dyn FileOps>, path: Path, flags: OpenFlags) -> Arc<File> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(File {
            ops,
            path,
            flags: AtomicU32::new(flags.bits()),
            pos: Mutex::new(locks::FILE_POS, 0),
            owner: AtomicU64::new(0),
            owner_signal: AtomicU32::new(0),
            write: OnceLock::new(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }
}

impl File {
    pub(super) fn holds_write(&self, guard: WriteGuard) {
        let _ = self.write.set(guard);
    }
    /// Do reads set the access time (O_NOATIME, mount flags)?
    pub fn wants_atime(&self) -> bool {
        !self.flags().contains(OpenFlags::NOATIME)
            && self.path.mount.flags() & abi::fs::MS_NOATIME == 0
            && !self.path.mount.read_only()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let ops = self.ops.clone();
        ops.release(self);
        if self.flags().contains(OpenFlags::PATH) {
            return;
        }
        if let Some(parts) = self.path.dentry.inode_ref().and_then(|i| i.common().made()) {
            parts.locks.release_file(self.id);
        }
        events::closed(self);
    }
}

/// SIGXFSZ to the writing thread (RLIMIT_FSIZE).
pub fn raise_sigxfsz(task: &Task) {
    if let Some(t) = task.machine.tree.task(task.tid()) {
        t.send(abi::SigInfo::user(abi::Signal::SIGXFSZ, task.pid(), task.cred().uid));
    }
}
