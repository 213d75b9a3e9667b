//! Inherited descriptors and ptys as byte streams that never block: [`Stream`].
//!
//! The flags of an inherited file description belong to whoever shares it (a shell would be surprised to find its
//! terminal non-blocking), so they are never changed. Terminals and FIFOs are opened a second time through
//! `/proc/self/fd`, non-blocking; sockets take a flag per call; regular files do not block. What can be neither is
//! asked with poll(2) first and then given small pieces.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use hal::{HostFile, HostStat, Interest, Ready, Result, Stream, Watch, WinSize, errno};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{self, FileType, Mode, OFlags},
    io,
    net::{RecvFlags, SendFlags},
    pty, termios,
};

use crate::{
    file::{LinuxFile, host_errno, retry, stat_fd},
    poller::Poller,
    signals::Signals,
    sys::{file::fcntl_dup, tty},
};

/// Bytes that a pipe takes without blocking when poll(2) says that it is writable.
const PIECE_PIPE: usize = 4096;
/// The same for terminals, with room to spare.
const PIECE_TTY: usize = 128;

/// What all streams of one host share.
pub struct Streams {
    poller: OnceLock<Poller>,
    /// Serialises the start of the poller.
    starting: Mutex<()>,
    signals: Arc<Signals>,
}

impl Streams {
    /// `signals` tells of changed terminal sizes.
    pub fn new(signals: Arc<Signals>) -> Arc<Streams> {
        Arc::new(Streams { poller: OnceLock::new(), starting: Mutex::new(()), signals })
    }

    /// An inherited descriptor as a stream; EBADF if there is none. The descriptor itself stays open for good.
    pub fn inherited(self: &Arc<Self>, fd: i32) -> Result<Arc<dyn Stream>> {
        // A duplicate shares the description and can be owned.
        let fd = fcntl_dup(fd)?;
        Ok(Arc::new(LinuxStream::new(self.clone(), fd)?))
    }

    /// Opens a terminal by path, for console channels of the command line.
    pub fn terminal(self: &Arc<Self>, path: &[u8]) -> Result<Arc<dyn Stream>> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = retry(|| fs::openat(fs::CWD, path, flags, Mode::empty()))?;
        if !termios::isatty(&fd) {
            return Err(errno::ENOTTY);
        }
        Ok(Arc::new(LinuxStream::new(self.clone(), fd)?))
    }

    /// A new pty: its master, and the path of its slave, whose line is raw.
    pub fn new_pty(self: &Arc<Self>) -> Result<(Arc<dyn Stream>, String)> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = retry(|| fs::openat(fs::CWD, c"/dev/ptmx", flags, Mode::empty()))?;
        retry(|| pty::grantpt(&master))?;
        retry(|| pty::unlockpt(&master))?;
        let path = retry(|| pty::ptsname(&master, Vec::new()))?;
        let path = path.into_string().map_err(|_| errno::EIO)?;
        tty::make_raw_for_good(master.as_raw_fd())?;
        retry(|| fs::fcntl_setfl(&master, OFlags::NONBLOCK))?;
        Ok((Arc::new(LinuxStream::new(self.clone(), master)?), path))
    }

    /// Calls `wake` whenever there is something new to read from a descriptor of the host's own.
    pub(crate) fn watch_readable(
        &self,
        fd: BorrowedFd<'_>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Box<dyn Watch>> {
        self.poller()?.watch(fd, Interest { read: true, write: false }, wake)
    }

    fn poller(&self) -> Result<&Poller> {
        let _guard = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.poller.get() {
            Some(p) => Ok(p),
            None => {
                let p = Poller::start()?;
                Ok(self.poller.get_or_init(|| p))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Non-blocking descriptor of our own.
    Own,
    Socket,
    Regular,
    /// Blocking: poll, then move at most so many bytes.
    Polled(usize),
}

/// One stream.
pub struct LinuxStream {
    streams: Arc<Streams>,
    /// The inherited description, or one of our own.
    fd: OwnedFd,
    /// The same object opened again, non-blocking.
    own: Option<OwnedFd>,
    kind: Kind,
    /// Device number, if it is a terminal with a mode of its own.
    tty: Option<u64>,
    raw: Mutex<bool>,
}

impl LinuxStream {
    fn new(streams: Arc<Streams>, fd: OwnedFd) -> Result<LinuxStream> {
        let stat = stat_fd(fd.as_fd())?;
        let flags = fs::fcntl_getfl(&fd).map_err(host_errno)?;
        let kind = FileType::from_raw_mode(stat.mode);
        let is_tty = kind == FileType::CharacterDevice && termios::isatty(&fd);
        // A master opened again would be another pty.
        let is_master = is_tty && pty::ptsname(&fd, Vec::new()).is_ok();
        let mut own = None;
        let kind = match kind {
            FileType::RegularFile => Kind::Regular,
            FileType::Socket => Kind::Socket,
            _ if flags.contains(OFlags::NONBLOCK) => Kind::Own,
            FileType::Fifo | FileType::CharacterDevice
                if (is_tty || kind == FileType::Fifo) && !is_master =>
            {
                own = reopen(&fd, flags);
                match (&own, is_tty) {
                    (Some(_), _) => Kind::Own,
                    (None, true) => Kind::Polled(PIECE_TTY),
                    (None, false) => Kind::Polled(PIECE_PIPE),
                }
            }
            _ => Kind::Polled(if is_tty { PIECE_TTY } else { PIECE_PIPE }),
        };
        let tty = (is_tty && !is_master).then_some(stat.rdev);
        Ok(LinuxStream { streams, fd, own, kind, tty, raw: Mutex::new(false) })
    }

    /// The descriptor to move bytes and to wait on.
    fn io(&self) -> BorrowedFd<'_> {
        self.own.as_ref().unwrap_or(&self.fd).as_fd()
    }

    fn poll(&self, want: PollFlags) -> PollFlags {
        let mut fds = [PollFd::from_borrowed_fd(self.io(), want)];
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => fds[0].revents(),
            Err(_) => PollFlags::empty(),
        }
    }
}

/// Opens the object of a descriptor again, non-blocking and with the same access.
fn reopen(fd: &OwnedFd, flags: OFlags) -> Option<OwnedFd> {
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = (flags & OFlags::RWMODE) | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let again = fs::openat(fs::CWD, name, flags, Mode::empty()).ok()?;
    // `/dev/tty` and its like may lead elsewhere by now.
    let same = |a: HostStat, b: HostStat| (a.dev, a.ino, a.rdev) == (b.dev, b.ino, b.rdev);
    same(stat_fd(fd.as_fd()).ok()?, stat_fd(again.as_fd()).ok()?).then_some(again)
}

impl Stream for LinuxStream {
    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        match self.kind {
            Kind::Own | Kind::Regular => retry(|| io::read(self.io(), &mut *buf)),
            Kind::Socket => {
                retry(|| rustix::net::recv(self.io(), &mut *buf, RecvFlags::DONTWAIT).map(|(n, _)| n))
            }
            Kind::Polled(_) if self.poll(PollFlags::IN).is_empty() => Err(errno::EAGAIN),
            Kind::Polled(_) => retry(|| io::read(self.io(), &mut *buf)),
        }
    }

    fn write(&self, buf: &[u8]) -> Result<usize> {
        match self.kind {
            Kind::Own | Kind::Regular => retry(|| io::write(self.io(), buf)),
            Kind::Socket => {
                retry(|| rustix::net::send(self.io(), buf, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
            }
            Kind::Polled(_) if self.poll(PollFlags::OUT).is_empty() => Err(errno::EAGAIN),
            Kind::Polled(piece) => retry(|| io::write(self.io(), &buf[..buf.len().min(piece)])),
        }
    }

    fn ready(&self) -> Ready {
        let got = self.poll(PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP);
        Ready {
            read: got.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR),
            write: got.intersects(PollFlags::OUT | PollFlags::ERR),
            hangup: got.intersects(PollFlags::HUP),
            error: got.intersects(PollFlags::ERR),
        }
    }

    fn watch(&self, interest: Interest, wake: Box<dyn Fn() + Send + Sync>) -> Result<Box<dyn Watch>> {
        self.streams.poller()?.watch(self.io(), interest, Arc::from(wake))
    }

    fn is_terminal(&self) -> bool {
        self.tty.is_some()
    }

    fn set_raw(&self) -> Result<()> {
        let rdev = self.tty.ok_or(errno::ENOTTY)?;
        let mut raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        if !*raw {
            tty::enter_raw(self.fd.as_raw_fd(), rdev)?;
            *raw = true;
        }
        Ok(())
    }

    fn restore(&self) {
        let mut raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rdev) = self.tty
            && std::mem::take(&mut *raw)
        {
            tty::leave_raw(rdev);
        }
    }

    fn win_size(&self) -> Option<WinSize> {
        let w = termios::tcgetwinsize(&self.fd).ok()?;
        Some(WinSize { rows: w.ws_row, cols: w.ws_col, xpixel: w.ws_xpixel, ypixel: w.ws_ypixel })
    }

    /// `f` lives as long as the host.
    fn on_resize(&self, f: Box<dyn Fn(WinSize) + Send + Sync>) {
        let Ok(fd) = self.fd.try_clone() else { return };
        let last = Mutex::new(self.win_size());
        self.streams.signals.on_resize(Box::new(move || {
            let Ok(w) = termios::tcgetwinsize(&fd) else { return };
            let now = WinSize { rows: w.ws_row, cols: w.ws_col, xpixel: w.ws_xpixel, ypixel: w.ws_ypixel };
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.replace(now) != Some(now) {
                f(now);
            }
        }));
    }

    fn is_regular(&self) -> bool {
        self.kind == Kind::Regular
    }

    fn stat(&self) -> Result<HostStat> {
        stat_fd(self.fd.as_fd())
    }

    fn access(&self) -> u32 {
        fs::fcntl_getfl(&self.fd).map_or(0, |flags| (flags & OFlags::RWMODE).bits())
    }

    fn as_file(&self) -> Option<Arc<dyn HostFile>> {
        let fd = (self.kind == Kind::Regular).then(|| self.fd.try_clone().ok())??;
        Some(Arc::new(LinuxFile::from_fd(fd)))
    }

    fn pread(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        if self.kind != Kind::Regular {
            return Err(errno::ESPIPE);
        }
        retry(|| io::pread(&self.fd, &mut *buf, offset))
    }

    fn pwrite(&self, buf: &[u8], offset: u64) -> Result<usize> {
        if self.kind != Kind::Regular {
            return Err(errno::ESPIPE);
        }
        retry(|| io::pwrite(&self.fd, buf, offset))
    }

    fn truncate(&self, size: u64) -> Result<()> {
        if self.kind != Kind::Regular {
            return Err(errno::EINVAL);
        }
        retry(|| fs::ftruncate(&self.fd, size))
    }

    fn lseek(&self, offset: i64, whence: u32) -> Result<u64> {
        let unsigned = || u64::try_from(offset).map_err(|_| errno::EINVAL);
        let to = match whence {
            0 => fs::SeekFrom::Start(unsigned()?),
            1 => fs::SeekFrom::Current(offset),
            2 => fs::SeekFrom::End(offset),
            3 => fs::SeekFrom::Data(unsigned().map_err(|_| errno::ENXIO)?),
            4 => fs::SeekFrom::Hole(unsigned().map_err(|_| errno::ENXIO)?),
            _ => return Err(errno::EINVAL),
        };
        retry(|| fs::seek(&self.fd, to))
    }
}

impl Drop for LinuxStream {
    fn drop(&mut self) {
        self.restore();
    }
}

#[cfg(test)]
mod tests;
