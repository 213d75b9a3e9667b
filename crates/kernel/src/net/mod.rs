//! Sockets as the kernel sees them: one trait in front of all families (socket(7)).

use abi::Errno;
use hal::Told;

use crate::{
    error::Result,
    io::{Sink, Source},
    task::Task,
    vfs::file::{File, FileOps},
};
use std::sync::Arc;

/// Ancillary data of a message, already decoded.
#[derive(Default)]
pub struct Control {
    /// SCM_RIGHTS.
    pub files: Vec<Arc<File>>,
    /// SCM_CREDENTIALS: pid, uid, gid.
    pub cred: Option<(i32, u32, u32)>,
    /// Control messages of other kinds, by (level, type, data).
    pub other: Vec<(i32, i32, Vec<u8>)>,
}

/// What a receive brought.
#[derive(Default)]
pub struct Received {
    pub bytes: usize,
    /// Real length of a datagram that was cut (MSG_TRUNC).
    pub full_len: usize,
    pub addr: Vec<u8>,
    pub control: Control,
    /// MSG_* result flags.
    pub flags: u32,
}

/// Takes what [`SocketOps::tell`] finds; answers who has it.
pub type Tell<'a> = dyn FnMut(&[u8]) -> Option<Arc<dyn Told>> + 'a;

/// Operations of a socket beyond those of a file. Addresses are raw `sockaddr` bytes. Blocking obeys
/// `file.nonblocking()`, MSG_DONTWAIT and the socket's timeouts.
pub trait SocketOps: FileOps {
    fn as_file_ops(self: Arc<Self>) -> Arc<dyn FileOps>;
    fn bind(&self, task: &Task, addr: &[u8]) -> Result<()>;
    fn connect(&self, file: &File, task: &Task, addr: &[u8]) -> Result<()>;
    fn listen(&self, task: &Task, backlog: i32) -> Result<()>;
    /// The new socket and the peer's address.
    fn accept(&self, file: &File, task: &Task) -> Result<(Arc<dyn SocketOps>, Vec<u8>)>;
    fn local_addr(&self) -> Result<Vec<u8>>;
    fn peer_addr(&self) -> Result<Vec<u8>>;
    fn send(
        &self,
        file: &File,
        task: &Task,
        src: &mut dyn Source,
        addr: Option<&[u8]>,
        control: Control,
        flags: u32,
    ) -> Result<usize>;
    fn recv(
        &self,
        file: &File,
        task: &Task,
        dst: &mut dyn Sink,
        flags: u32,
        want_control: bool,
    ) -> Result<Received>;
    /// SHUT_RD, SHUT_WR, SHUT_RDWR.
    fn shutdown(&self, how: u32) -> Result<()>;
    /// The count that it raises ([`hal::Host::raise`]) after whatever changes what recv(2) would answer; `None` if it keeps
    /// none.
    fn count(&self) -> Option<u32> {
        None
    }
    /// Something changed about a descriptor of it.
    fn changed(&self) {}
    /// Calls `tell` with all that recv(2) would give, or nothing where that is EAGAIN, unless there is more to it. Notes to
    /// whom bytes were told: they are the first that are given to anybody else once they are taken back.
    fn tell(&self, _tell: &mut Tell<'_>) {}
    /// Takes bytes back that were told; whether they had been taken.
    fn settle(&self) -> bool {
        false
    }
    fn get_option(&self, task: &Task, level: i32, name: i32) -> Result<Vec<u8>>;
    fn set_option(&self, task: &Task, level: i32, name: i32, value: &[u8]) -> Result<()>;
}

/// The answer of operations a family lacks.
pub const UNSUPPORTED: Errno = Errno::EOPNOTSUPP;
