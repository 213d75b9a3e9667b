//! Ends of files that guest code is told of. Databases ask for them again and again, by lseek(2): after it has answered one, the
//! kernel tells the stub where the file ends and that its position is there, so that the stub may answer the next.
//!
//! A file may end elsewhere once a count of the host's was raised ([`hal::Host::raise`]). That its position and its descriptor
//! stay is the task's own doing: only a file that has one descriptor, in a table of one task, is told of, and after a system
//! call that could do anything to either it is told no more.

use std::sync::Arc;

use hal::{End, Event};

use super::TaskCx;
use crate::vfs::file::File;

/// What a system call leaves alone of what was told.
enum Spares {
    All,
    AllBut(i32),
    Nothing,
}

fn spares(nr: u64, args: &[u64; 6]) -> Spares {
    use abi::nr::*;
    let Ok(nr) = u32::try_from(nr) else { return Spares::Nothing };
    match nr {
        SYS_RECVFROM | SYS_SENDTO | SYS_EPOLL_WAIT | SYS_POLL | SYS_PPOLL | SYS_PREAD64 | SYS_PWRITE64
        | SYS_PREADV | SYS_PWRITEV | SYS_OPENAT | SYS_STAT | SYS_LSTAT | SYS_FSTAT | SYS_NEWFSTATAT
        | SYS_FTRUNCATE | SYS_FSYNC | SYS_FDATASYNC | SYS_FADVISE64 | SYS_FALLOCATE | SYS_UNLINK
        | SYS_MMAP | SYS_MUNMAP | SYS_BRK | SYS_MADVISE | SYS_FUTEX | SYS_KILL | SYS_SETITIMER
        | SYS_SEMOP | SYS_RT_SIGPROCMASK | SYS_RT_SIGACTION => Spares::All,
        // The position of this file alone, or its descriptor.
        SYS_READ | SYS_WRITE | SYS_LSEEK | SYS_CLOSE => Spares::AllBut(args[0] as i32),
        _ => Spares::Nothing,
    }
}

impl TaskCx {
    /// The position of a file was set to its end.
    pub fn tell_end(&mut self, fd: i32, file: &Arc<File>) {
        let Some(count) = file.ops.size_count().filter(|_| self.may_lend) else { return };
        // Before anything is looked at that somebody might be changing.
        let value = self.task.machine.host.raised(count);
        if Arc::strong_count(&self.files) != 2 || Arc::strong_count(file) != 2 {
            return;
        }
        let Ok(size) = file.ops.size() else { return };
        if *file.pos() == size && self.ctx.tell_end(&End { fd, count, value, size }) {
            self.ends_told = true;
        }
    }

    /// Forgets what the event may make untrue of what was told.
    #[inline]
    pub(crate) fn settle_ends(&mut self, event: &Event) {
        if !self.ends_told {
            return;
        }
        let spared = match event {
            Event::Syscall { nr, args } => spares(*nr, args),
            Event::Exception(_) => Spares::All,
            _ => Spares::Nothing,
        };
        match spared {
            Spares::All => {}
            Spares::AllBut(fd) => self.ctx.forget_ends(Some(fd)),
            Spares::Nothing => {
                self.ctx.forget_ends(None);
                self.ends_told = false;
            }
        }
    }
}
