//! The order of the kernel's locks: a thread takes them in rising rank (`ksync` checks it in debug builds).
//!
//! ```text
//! epoll in epoll        EPOLL_NEST
//! exec/mount changes    MOUNTS
//!   directory changes     DENTRY_DIR   (parent before child; two parents in address order)
//!     inodes                INODE      (one filesystem above another may nest: overlay over tmpfs)
//!       open files            FILE_POS, FILE, PIPE, SOCKET, TTY, EPOLL
//! System V IPC          IPC, IPC_OBJECT
//! task tree             TASK_TREE
//!   process                PROCESS
//!     task                   TASK
//!       calls handed on        NOTIFICATIONS
//!         descriptors            FILES
//! memory                MM            (never held while a file operation runs)
//!   page cache             PAGE_CACHE
//! a process's timers    PROCESS_TIMERS
//! leaves                TIMERS, LEAF
//! wakes                 EPOLL_READY
//! ```
//! No lock is held while a task waits or runs guest code.

use ksync::Rank;

pub const EPOLL_NEST: Rank = Rank::new(5, "epoll nesting");
pub const MOUNTS: Rank = Rank::new(10, "mounts");
pub const DENTRY_DIR: Rank = Rank::nesting(20, "dentry directory");
pub const EPOLL: Rank = Rank::nesting(25, "epoll");
pub const FILE_POS: Rank = Rank::nesting(28, "file position");
pub const INODE: Rank = Rank::nesting(30, "inode");
pub const FILE: Rank = Rank::nesting(40, "file");
pub const SOCKET: Rank = Rank::nesting(44, "socket");
pub const TTY: Rank = Rank::nesting(46, "tty");
pub const PIPE: Rank = Rank::nesting(48, "pipe");
pub const IPC: Rank = Rank::new(52, "ipc tables");
pub const IPC_OBJECT: Rank = Rank::new(54, "ipc object");
pub const TASK_TREE: Rank = Rank::new(60, "task tree");
pub const PROCESS: Rank = Rank::nesting(62, "process");
pub const TASK: Rank = Rank::nesting(64, "task");
/// System calls that a filter hands to its listener, which may put descriptors into the callers' tables.
pub const NOTIFICATIONS: Rank = Rank::new(65, "seccomp notifications");
pub const FILES: Rank = Rank::nesting(66, "descriptor table");
pub const MM: Rank = Rank::nesting(70, "mm");
pub const PAGE_CACHE: Rank = Rank::nesting(74, "page cache");
pub const PROCESS_TIMERS: Rank = Rank::nesting(78, "timers of a process");
pub const TIMERS: Rank = Rank::new(80, "timers");
/// Which table of signal actions a process has; the table's own lock is a leaf below it.
pub const SIGNAL_ACTIONS: Rank = Rank::new(98, "signal actions");
/// Locks under which nothing else is ever taken.
pub const LEAF: Rank = Rank::new(100, "leaf");
/// Ready lists of epoll: taken inside wakes, whatever is held there.
pub const EPOLL_READY: Rank = Rank::nesting(110, "epoll ready list");
