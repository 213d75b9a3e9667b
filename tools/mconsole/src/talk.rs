//! One question to a machine, and its answer.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mconsole::packet::REPLY_MAX;
use mconsole::{Assembler, Request};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use usage::plain;

use crate::machine::{is_served, is_socket};

/// How often to look whether a silent machine is still there.
const LOOK: Duration = Duration::from_millis(500);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 0 for success.
    pub err: i32,
    /// What it says.
    pub text: Vec<u8>,
}

/// Why there is no full answer.
#[derive(Debug)]
pub enum Failure {
    /// No machine of this name was found.
    NoMachine,
    /// The command is longer than a request holds.
    TooLong,
    /// The request could not be sent.
    Send(PathBuf, io::Error),
    /// The machine ended before it answered; what it said until then.
    Gone(PathBuf, Vec<u8>),
    /// The machine is there and says nothing (more); what it said until then.
    Silent(Duration, Vec<u8>),
    /// The user does not want to wait any longer.
    Interrupted,
    /// What answers is no management console.
    Nonsense(PathBuf),
    /// Something of our own failed.
    Local(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoMachine => write!(f, "no such machine; uml_mconsole --list shows those that run"),
            Failure::TooLong => write!(f, "the command is longer than 511 bytes"),
            Failure::Send(path, e) => {
                write!(f, "Sending command to '{}' : {}", path.display(), plain(e))?;
                match e.kind() {
                    io::ErrorKind::ConnectionRefused if !is_socket(path) => write!(f, " (that is no socket)"),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                        write!(f, " (the machine is gone)")
                    }
                    _ => Ok(()),
                }
            }
            Failure::Gone(path, _) => {
                write!(f, "the machine at '{}' is gone, it gave no full answer", path.display())
            }
            Failure::Silent(time, text) => {
                let full = if text.is_empty() { "" } else { " full" };
                write!(f, "the machine gave no{full} answer within {} seconds", time.as_secs_f32())
            }
            Failure::Interrupted => write!(f, "not waited for the answer"),
            Failure::Nonsense(path) => {
                write!(f, "what answers at '{}' is no management console", path.display())
            }
            Failure::Local(e) => write!(f, "cannot make a socket: {}", plain(e)),
        }
    }
}

/// Sends `command` to the machine at `socket` and waits for the whole answer, up to `timeout` for each piece, or until
/// `stop` is set.
///
/// # Errors
/// [`Failure`].
pub fn ask(
    socket: &Path,
    command: &[u8],
    passed: Option<OwnedFd>,
    timeout: Duration,
    stop: &AtomicBool,
) -> Result<Answer, Failure> {
    let request = Request::new(command).ok_or(Failure::TooLong)?;
    let ours = bind().map_err(Failure::Local)?;
    let send_failure = |e: io::Error| Failure::Send(socket.to_path_buf(), e);
    // Connected, so that nobody else can answer.
    ours.connect(socket).map_err(send_failure)?;
    ours.set_write_timeout(Some(timeout)).map_err(Failure::Local)?;
    send(&ours, &request.emit(), passed).map_err(send_failure)?;
    ours.set_read_timeout(Some(LOOK.min(timeout))).map_err(Failure::Local)?;
    let mut assembler = Assembler::default();
    let mut heard = Instant::now();
    let mut gone = false;
    loop {
        let mut datagram = [0; REPLY_MAX + 1];
        match ours.recv(&mut datagram) {
            Ok(len) => {
                heard = Instant::now();
                match assembler.push(&datagram[..len]) {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err(_) => return Err(Failure::Nonsense(socket.to_path_buf())),
                }
            }
            Err(_) if stop.load(Ordering::Relaxed) => return Err(Failure::Interrupted),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Its last words may have come just before its end was noticed: then they are read first.
            Err(_) if gone => return Err(Failure::Gone(socket.to_path_buf(), assembler.finish().1)),
            Err(_) if !is_served(socket) => gone = true,
            Err(_) if heard.elapsed() >= timeout => {
                return Err(Failure::Silent(timeout, assembler.finish().1));
            }
            Err(_) => {}
        }
    }
    let (err, text) = assembler.finish();
    Ok(Answer { err, text })
}

/// A socket with an abstract name: the process id, as the original has it, or with a number behind it when
/// somebody has that one.
fn bind() -> io::Result<UnixDatagram> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut name = format!("{:5}", std::process::id());
    for _ in 0..100 {
        let mut bytes = name.into_bytes();
        bytes.resize(107, 0);
        match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&bytes)?) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            other => return other,
        }
        name = format!("{:5}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn send(socket: &UnixDatagram, request: &[u8], passed: Option<OwnedFd>) -> io::Result<()> {
    let Some(passed) = passed else { return socket.send(request).map(drop) };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [passed.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(request)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
