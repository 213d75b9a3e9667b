//! Places of the tree: their modes and numbers.

use abi::FileType;
use kernel::task::Pid;

use crate::{process, sysctl, system};

/// A place in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Root,
    /// A row of [`system::FILES`].
    System(usize),
    /// A directory of such rows.
    SystemDir {
        row: usize,
        depth: usize,
    },
    /// /proc/self, /proc/thread-self.
    SelfLink {
        thread: bool,
    },
    /// /proc/mounts.
    MountsLink,
    /// A directory or file of /proc/sys, by its row (directories: any row below, and the depth).
    SysDir {
        row: usize,
        depth: usize,
    },
    Sysctl(usize),
    /// /proc/PID, or /proc/PID/task/TID.
    Task {
        tid: Pid,
        thread: bool,
    },
    /// A row of [`process::FILES`].
    TaskFile {
        tid: Pid,
        row: usize,
    },
    /// /proc/PID/task.
    Threads(Pid),
    /// /proc/PID/fd and fdinfo.
    Fds {
        tid: Pid,
        info: bool,
    },
    Fd {
        tid: Pid,
        fd: i32,
        info: bool,
    },
    /// /proc/PID/map_files and its links.
    MapFiles(Pid),
    MapFile {
        tid: Pid,
        start: u64,
        end: u64,
    },
    /// exe, cwd, root.
    Place {
        tid: Pid,
        row: usize,
    },
    /// /proc/PID/ns and its links.
    NsDir(Pid),
    Ns {
        tid: Pid,
        row: usize,
    },
}

impl What {
    /// The task that it is about.
    pub(crate) fn tid(self) -> Option<Pid> {
        match self {
            What::Task { tid, .. }
            | What::TaskFile { tid, .. }
            | What::Threads(tid)
            | What::Fds { tid, .. }
            | What::Fd { tid, .. }
            | What::Place { tid, .. }
            | What::MapFiles(tid)
            | What::MapFile { tid, .. }
            | What::NsDir(tid)
            | What::Ns { tid, .. } => Some(tid),
            _ => None,
        }
    }
    pub(crate) fn mode(self) -> u32 {
        use abi::fs::{S_IFDIR, S_IFLNK, S_IFREG};
        match self {
            What::Root
            | What::SystemDir { .. }
            | What::SysDir { .. }
            | What::Task { .. }
            | What::Threads(_) => S_IFDIR | 0o555,
            What::NsDir(_) => S_IFDIR | 0o511,
            What::MapFiles(_) => S_IFDIR | 0o500,
            What::MapFile { .. } => S_IFLNK | 0o600,
            What::Fds { info, .. } => S_IFDIR | if info { 0o555 } else { 0o500 },
            What::System(i) => S_IFREG | system::FILES[i].mode,
            What::Sysctl(i) => S_IFREG | sysctl::FILES[i].mode,
            What::TaskFile { row, .. } => S_IFREG | process::FILES[row].mode,
            What::Fd { info: true, .. } => S_IFREG | 0o444,
            What::Fd { info: false, .. } => S_IFLNK | 0o700,
            What::SelfLink { .. } | What::MountsLink | What::Place { .. } | What::Ns { .. } => {
                S_IFLNK | 0o777
            }
        }
    }
    /// Stable numbers: place and task give them.
    pub(crate) fn number(self) -> u64 {
        let (a, b) = match self {
            What::Root => return 1,
            What::System(i) => (1, i as u64),
            What::SystemDir { row, depth } => (14, (row as u64) << 8 | depth as u64),
            What::SelfLink { thread } => (2, u64::from(thread)),
            What::MountsLink => (2, 2),
            What::SysDir { row, depth } => (3, (row as u64) << 8 | depth as u64),
            What::Sysctl(i) => (4, i as u64),
            What::Task { thread, .. } => (5, u64::from(thread)),
            What::TaskFile { row, .. } => (6, row as u64),
            What::Threads(_) => (7, 0),
            What::Fds { info, .. } => (8, u64::from(info)),
            What::Fd { fd, info, .. } => (if info { 9 } else { 10 }, fd as u64),
            What::Place { row, .. } => (11, row as u64),
            What::NsDir(_) => (12, 0),
            What::Ns { row, .. } => (13, row as u64),
            What::MapFiles(_) => (15, 0),
            What::MapFile { start, .. } => (16, start >> 12),
        };
        ((self.tid().unwrap_or(0) as u64) << 32) | (a << 24) | ((b & 0xff_ffff) + 2)
    }
    pub(crate) fn kind(self) -> FileType {
        FileType::from_mode(self.mode()).unwrap_or(FileType::Regular)
    }
}
