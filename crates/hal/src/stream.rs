//! Host byte streams: inherited descriptors, terminals, ptys. Never blocks the caller: what would block says EAGAIN and
//! is waited for with [`Stream::watch`].

use crate::Result;

/// Terminal size in characters and pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WinSize {
    pub rows: u16,
    pub cols: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

/// What a stream is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    pub read: bool,
    pub write: bool,
    pub hangup: bool,
    pub error: bool,
}

/// Keeps a watch registered; dropping it ends the watch.
pub trait Watch: Send + Sync {}

/// A host descriptor used as a byte stream.
pub trait Stream: Send + Sync {
    /// EAGAIN if nothing is there; 0 at end of file.
    fn read(&self, buf: &mut [u8]) -> Result<usize>;
    /// EAGAIN if nothing can be taken now.
    fn write(&self, buf: &[u8]) -> Result<usize>;
    fn ready(&self) -> Ready;
    /// Calls `wake` (from a host thread, each time it becomes ready, at least once per change) until the watch is dropped.
    fn watch(&self, interest: Interest, wake: Box<dyn Fn() + Send + Sync>) -> Result<Box<dyn Watch>>;
    fn is_terminal(&self) -> bool;
    /// Raw mode on; the former mode is restored when the machine ends (also on signals) or by `restore`.
    fn set_raw(&self) -> Result<()>;
    fn restore(&self);
    fn win_size(&self) -> Option<WinSize>;
    /// Calls back when the host terminal's size changes.
    fn on_resize(&self, f: Box<dyn Fn(WinSize) + Send + Sync>);
    /// If this is a regular file: reads and writes at the descriptor's own position never block.
    fn is_regular(&self) -> bool;
    fn stat(&self) -> Result<crate::HostStat>;
    /// How it was opened: O_RDONLY, O_WRONLY or O_RDWR of open(2).
    fn access(&self) -> u32;
    /// The file itself, if this is a regular one.
    fn as_file(&self) -> Option<std::sync::Arc<dyn crate::HostFile>> {
        None
    }
    /// At a position, if this is a regular file; ESPIPE otherwise.
    fn pread(&self, _buf: &mut [u8], _offset: u64) -> Result<usize> {
        Err(crate::errno::ESPIPE)
    }
    /// At a position (or the end, if it was opened for appending), if this is a regular file; ESPIPE otherwise.
    fn pwrite(&self, _buf: &[u8], _offset: u64) -> Result<usize> {
        Err(crate::errno::ESPIPE)
    }
    /// Changes the size of a regular file; EINVAL otherwise.
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(crate::errno::EINVAL)
    }
    /// `lseek` on the inherited descriptor (ESPIPE if it cannot).
    fn lseek(&self, offset: i64, whence: u32) -> Result<u64>;
}
