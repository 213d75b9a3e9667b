//! Batches of Unix datagrams: `recvmmsg(2)` and `sendmmsg(2)` as safe calls.
//!
//! The virtual switch lives on them. Addresses are passed and returned verbatim, up to the whole 110 bytes of a
//! `sockaddr_un`: abstract names carry NULs and must never be read as text (unix(7)).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Size of `struct sockaddr_un` in bytes: the longest address of a Unix socket.
pub const ADDR_LEN: usize = 110;

/// Most datagrams moved by one system call.
pub const BATCH: usize = 64;

/// A Unix socket address as the kernel knows it: the first `len` of 110 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Addr {
    bytes: [u8; ADDR_LEN],
    len: u8,
}

impl Addr {
    /// The empty address: an unbound sender.
    pub const UNNAMED: Addr = Addr { bytes: [0; ADDR_LEN], len: 0 };

    /// Takes the bytes of a `sockaddr_un`; `None` when there are more than 110.
    pub fn new(raw: &[u8]) -> Option<Addr> {
        let mut addr = Addr::UNNAMED;
        addr.bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        addr.len = u8::try_from(raw.len()).ok()?;
        Some(addr)
    }

    /// The bytes, family included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Room for received datagrams, used again and again.
pub struct RecvBatch {
    frames: Box<[u8]>,
    frame_max: usize,
    addrs: Box<[Addr]>,
    /// Length of each datagram, and whether it was longer than `frame_max`.
    lens: Box<[(usize, bool)]>,
    count: usize,
}

impl RecvBatch {
    /// Makes room for `capacity` datagrams of at most `frame_max` bytes each.
    pub fn new(capacity: usize, frame_max: usize) -> RecvBatch {
        RecvBatch {
            frames: vec![0; frame_max * capacity].into_boxed_slice(),
            frame_max,
            addrs: vec![Addr::UNNAMED; capacity].into_boxed_slice(),
            lens: vec![(0, false); capacity].into_boxed_slice(),
            count: 0,
        }
    }

    /// Forgets what was received.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds what is waiting at `socket`, never blocking and at most [`BATCH`] datagrams, and returns how many
    /// came: 0 when there is no room for more.
    ///
    /// # Errors
    /// Those of recvmmsg(2); `WouldBlock` when nothing is waiting.
    pub fn recv(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.fetch(socket, true)
    }

    /// Does the same without asking who sent: for a connected socket, which hears its peer alone. The senders are
    /// [`Addr::UNNAMED`].
    ///
    /// # Errors
    /// As of [`recv`](Self::recv).
    pub fn recv_from_peer(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.fetch(socket, false)
    }

    fn fetch(&mut self, socket: BorrowedFd<'_>, named: bool) -> io::Result<usize> {
        // SAFETY: mmsghdr and iovec are plain C structures for which all-zero is a valid value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut slices: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let frames = self.frames.chunks_exact_mut(self.frame_max.max(1)).skip(self.count);
        let parts = frames.zip(self.addrs.iter_mut().skip(self.count));
        let mut room = 0;
        for ((header, slice), (frame, addr)) in headers.iter_mut().zip(slices.iter_mut()).zip(parts) {
            slice.iov_base = frame.as_mut_ptr().cast();
            slice.iov_len = frame.len();
            if named {
                header.msg_hdr.msg_name = addr.bytes.as_mut_ptr().cast();
                header.msg_hdr.msg_namelen = ADDR_LEN as libc::socklen_t;
            }
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
            room += 1;
        }
        if room == 0 {
            return Ok(0);
        }
        // SAFETY: each of the first `room` headers points to one slice of `slices` and, or not at all, to one address
        // of `self.addrs`, each slice to its own part of `self.frames`; all of them live, unshared, until the call
        // returns.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                room,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        let places = self.lens.iter_mut().zip(self.addrs.iter_mut()).skip(self.count);
        for (header, (len, addr)) in headers.iter().zip(places).take(got) {
            let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            *len = ((header.msg_len as usize).min(self.frame_max), cut);
            addr.len = header.msg_hdr.msg_namelen.min(ADDR_LEN as libc::socklen_t) as u8;
        }
        self.count += got;
        Ok(got)
    }

    /// Number of datagrams held.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Datagram `index`: its bytes, its sender, and whether it was cut for its length.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> (&[u8], &Addr, bool) {
        assert!(index < self.count, "datagram {index} of {}", self.count);
        let start = index * self.frame_max;
        let (len, cut) = self.lens[index];
        (&self.frames[start..start + len], &self.addrs[index], cut)
    }
}

/// Sends `batch` (datagram and receiver each) through `socket`, never blocking, and returns how many went out. On a
/// connected socket [`Addr::UNNAMED`] is its peer, which saves the kernel the search for the name.
///
/// The kernel stops at the first that cannot be sent; no more than [`BATCH`] are tried. The caller goes on behind
/// the one that failed.
///
/// # Errors
/// When the very first could not be sent: `WouldBlock` (its receiver's queue is full), `ConnectionRefused` or
/// `NotFound` (nobody is there), or others of sendmmsg(2).
pub fn send_batch(socket: BorrowedFd<'_>, batch: &[(&[u8], &Addr)]) -> io::Result<usize> {
    if batch.is_empty() {
        return Ok(0);
    }
    // SAFETY: mmsghdr and iovec are plain C structures for which all-zero is a valid value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut slices: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
    for ((header, slice), (frame, addr)) in headers.iter_mut().zip(slices.iter_mut()).zip(batch) {
        slice.iov_base = frame.as_ptr().cast_mut().cast();
        slice.iov_len = frame.len();
        header.msg_hdr.msg_name = addr.bytes.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = libc::socklen_t::from(addr.len);
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
    }
    let count = batch.len().min(BATCH);
    // SAFETY: the first `count` headers point to slices, frames and addresses that outlive the call; the kernel
    // only reads frames and addresses when sending.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn raw(name: &[u8]) -> Addr {
        let mut bytes = vec![1, 0, 0];
        bytes.extend_from_slice(name);
        Addr::new(&bytes).unwrap()
    }

    fn bound(tag: &str, pad: usize) -> (UnixDatagram, Addr) {
        let mut name = format!("dgram-{}-{tag}", std::process::id()).into_bytes();
        name.resize(name.len().max(pad), 0);
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        (UnixDatagram::bind_addr(&addr).unwrap(), raw(&name))
    }

    #[test]
    fn frames_and_addresses_arrive_verbatim() {
        let (a, a_addr) = bound("a", 107);
        let (b, b_addr) = bound("b", 0);
        assert_eq!(a_addr.as_bytes().len(), ADDR_LEN);
        let sent = send_batch(a.as_fd(), &[(b"one", &b_addr), (b"", &b_addr), (&[7; 40], &b_addr)]).unwrap();
        assert_eq!(sent, 3);
        let mut batch = RecvBatch::new(4, 16);
        assert_eq!(batch.recv(b.as_fd()).unwrap(), 3);
        let (frame, from, cut) = batch.get(0);
        assert_eq!((frame, from.as_bytes(), cut), (&b"one"[..], a_addr.as_bytes(), false));
        assert_eq!(batch.get(1).0, b"");
        let (frame, _, cut) = batch.get(2);
        assert_eq!((frame, cut), (&[7; 16][..], true));
        assert_eq!(batch.recv(b.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(batch.len(), 3);
        send_batch(a.as_fd(), &[(b"4", &b_addr), (b"5", &b_addr)]).unwrap();
        assert_eq!(batch.recv(b.as_fd()).unwrap(), 1);
        assert_eq!(batch.recv(b.as_fd()).unwrap(), 0);
        batch.clear();
        assert_eq!(batch.recv(b.as_fd()).unwrap(), 1);
        assert_eq!(batch.get(0).0, b"5");
    }

    #[test]
    fn a_short_address_leaves_room_for_the_next() {
        let (a, a_addr) = bound("long", 107);
        let (b, b_addr) = bound("to", 0);
        let unnamed = UnixDatagram::unbound().unwrap();
        let mut batch = RecvBatch::new(4, 16);
        send_batch(unnamed.as_fd(), &[(b"x", &b_addr)]).unwrap();
        batch.recv(b.as_fd()).unwrap();
        assert_eq!(batch.get(0).1.as_bytes(), b"");
        batch.clear();
        send_batch(a.as_fd(), &[(b"y", &b_addr)]).unwrap();
        batch.recv(b.as_fd()).unwrap();
        assert_eq!(batch.get(0).1.as_bytes(), a_addr.as_bytes());
    }

    #[test]
    fn connected_sockets_need_no_names() {
        let (a, a_addr) = bound("ca", 107);
        let (b, b_addr) = bound("cb", 107);
        let to = |addr: &Addr| SocketAddr::from_abstract_name(&addr.as_bytes()[3..]).unwrap();
        a.connect_addr(&to(&b_addr)).unwrap();
        b.connect_addr(&to(&a_addr)).unwrap();
        let frames = [(&b"1"[..], &Addr::UNNAMED), (b"22", &Addr::UNNAMED)];
        assert_eq!(send_batch(a.as_fd(), &frames).unwrap(), 2);
        let mut batch = RecvBatch::new(4, 16);
        assert_eq!(batch.recv_from_peer(b.as_fd()).unwrap(), 2);
        let (frame, from, cut) = batch.get(1);
        assert_eq!((frame, from.as_bytes(), cut), (&b"22"[..], &b""[..], false));
        // A stranger is not heard.
        let stranger = UnixDatagram::unbound().unwrap();
        let error = send_batch(stranger.as_fd(), &[(b"x", &b_addr)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn sending_stops_at_a_full_or_absent_receiver() {
        let (a, _) = bound("s", 0);
        let (_full, full) = bound("f", 0);
        let gone = raw(b"dgram-nobody-is-here");
        let frames: Vec<(&[u8], &Addr)> = (0..BATCH).map(|_| (&b"z"[..], &full)).collect();
        let sent = send_batch(a.as_fd(), &frames);
        // max_dgram_qlen decides how many fit; where it is large, all do.
        assert!((1..=BATCH).contains(&sent.unwrap()));
        let error = send_batch(a.as_fd(), &[(b"z", &gone), (b"z", &gone)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(send_batch(a.as_fd(), &[]).unwrap(), 0);
    }

    #[test]
    fn addresses_longer_than_a_sockaddr_are_refused() {
        assert!(Addr::new(&[0; 111]).is_none());
        assert_eq!(Addr::new(&[0; 110]).unwrap().as_bytes().len(), 110);
    }
}
