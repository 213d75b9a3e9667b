//! Sockets: families, options, messages and addresses (socket(7), unix(7), recvmsg(2)).

use crate::errno::{EINVAL, Result};
use crate::wire::{get_array, get_u16, put_slice, put_u16, put_u32, wire_struct};

// Address families.
pub const AF_UNSPEC: u16 = 0;
pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_AX25: u16 = 3;
pub const AF_IPX: u16 = 4;
pub const AF_INET6: u16 = 10;
pub const AF_NETLINK: u16 = 16;
pub const AF_PACKET: u16 = 17;
pub const AF_ALG: u16 = 38;
pub const AF_VSOCK: u16 = 40;
pub const AF_XDP: u16 = 44;
pub const AF_MAX: u16 = 46;

// Socket types and the flags that go with them.
pub const SOCK_STREAM: u32 = 1;
pub const SOCK_DGRAM: u32 = 2;
pub const SOCK_RAW: u32 = 3;
pub const SOCK_RDM: u32 = 4;
pub const SOCK_SEQPACKET: u32 = 5;
pub const SOCK_PACKET: u32 = 10;
pub const SOCK_NONBLOCK: u32 = 0o4000;
pub const SOCK_CLOEXEC: u32 = 0o2000000;
/// The bits of a socket type that are not flags.
pub const SOCK_TYPE_MASK: u32 = 0xf;

// Levels of setsockopt(2).
pub const SOL_SOCKET: i32 = 1;
pub const SOL_IP: i32 = 0;
pub const SOL_TCP: i32 = 6;
pub const SOL_UDP: i32 = 17;
pub const SOL_IPV6: i32 = 41;
pub const SOL_RAW: i32 = 255;
pub const SOL_PACKET: i32 = 263;
pub const SOL_NETLINK: i32 = 270;

// Options of every socket (socket(7)).
pub const SO_DEBUG: i32 = 1;
pub const SO_REUSEADDR: i32 = 2;
pub const SO_TYPE: i32 = 3;
pub const SO_ERROR: i32 = 4;
pub const SO_DONTROUTE: i32 = 5;
pub const SO_BROADCAST: i32 = 6;
pub const SO_SNDBUF: i32 = 7;
pub const SO_RCVBUF: i32 = 8;
pub const SO_KEEPALIVE: i32 = 9;
pub const SO_OOBINLINE: i32 = 10;
pub const SO_NO_CHECK: i32 = 11;
pub const SO_PRIORITY: i32 = 12;
pub const SO_LINGER: i32 = 13;
pub const SO_BSDCOMPAT: i32 = 14;
pub const SO_REUSEPORT: i32 = 15;
pub const SO_PASSCRED: i32 = 16;
pub const SO_PEERCRED: i32 = 17;
pub const SO_RCVLOWAT: i32 = 18;
pub const SO_SNDLOWAT: i32 = 19;
pub const SO_RCVTIMEO: i32 = 20;
pub const SO_SNDTIMEO: i32 = 21;
pub const SO_BINDTODEVICE: i32 = 25;
pub const SO_ATTACH_FILTER: i32 = 26;
pub const SO_DETACH_FILTER: i32 = 27;
pub const SO_PEERNAME: i32 = 28;
pub const SO_TIMESTAMP: i32 = 29;
pub const SO_ACCEPTCONN: i32 = 30;
pub const SO_PEERSEC: i32 = 31;
pub const SO_SNDBUFFORCE: i32 = 32;
pub const SO_RCVBUFFORCE: i32 = 33;
pub const SO_PASSSEC: i32 = 34;
pub const SO_TIMESTAMPNS: i32 = 35;
pub const SO_MARK: i32 = 36;
pub const SO_TIMESTAMPING: i32 = 37;
pub const SO_PROTOCOL: i32 = 38;
pub const SO_DOMAIN: i32 = 39;
pub const SO_RXQ_OVFL: i32 = 40;
pub const SO_PEEK_OFF: i32 = 42;
pub const SO_LOCK_FILTER: i32 = 44;
pub const SO_BUSY_POLL: i32 = 46;
pub const SO_INCOMING_CPU: i32 = 49;
pub const SO_ATTACH_BPF: i32 = 50;
pub const SO_COOKIE: i32 = 57;
pub const SO_PEERGROUPS: i32 = 59;
pub const SO_ZEROCOPY: i32 = 60;
pub const SO_TXTIME: i32 = 61;
pub const SO_BINDTOIFINDEX: i32 = 62;
pub const SO_PASSPIDFD: i32 = 76;
pub const SO_PEERPIDFD: i32 = 77;

// Options of TCP (tcp(7)).
pub const TCP_NODELAY: i32 = 1;
pub const TCP_MAXSEG: i32 = 2;
pub const TCP_CORK: i32 = 3;
pub const TCP_KEEPIDLE: i32 = 4;
pub const TCP_KEEPINTVL: i32 = 5;
pub const TCP_KEEPCNT: i32 = 6;
pub const TCP_SYNCNT: i32 = 7;
pub const TCP_LINGER2: i32 = 8;
pub const TCP_DEFER_ACCEPT: i32 = 9;
pub const TCP_WINDOW_CLAMP: i32 = 10;
pub const TCP_INFO: i32 = 11;
pub const TCP_QUICKACK: i32 = 12;
pub const TCP_CONGESTION: i32 = 13;
pub const TCP_USER_TIMEOUT: i32 = 18;
pub const TCP_FASTOPEN: i32 = 23;

// IP protocols.
pub const IPPROTO_IP: i32 = 0;
pub const IPPROTO_ICMP: i32 = 1;
pub const IPPROTO_TCP: i32 = 6;
pub const IPPROTO_UDP: i32 = 17;
pub const IPPROTO_IPV6: i32 = 41;
pub const IPPROTO_ICMPV6: i32 = 58;
pub const IPPROTO_RAW: i32 = 255;

// Flags of send(2) and recv(2).
pub const MSG_OOB: u32 = 0x1;
pub const MSG_PEEK: u32 = 0x2;
pub const MSG_DONTROUTE: u32 = 0x4;
pub const MSG_CTRUNC: u32 = 0x8;
pub const MSG_PROBE: u32 = 0x10;
pub const MSG_TRUNC: u32 = 0x20;
pub const MSG_DONTWAIT: u32 = 0x40;
pub const MSG_EOR: u32 = 0x80;
pub const MSG_WAITALL: u32 = 0x100;
pub const MSG_FIN: u32 = 0x200;
pub const MSG_SYN: u32 = 0x400;
pub const MSG_CONFIRM: u32 = 0x800;
pub const MSG_RST: u32 = 0x1000;
pub const MSG_ERRQUEUE: u32 = 0x2000;
pub const MSG_NOSIGNAL: u32 = 0x4000;
pub const MSG_MORE: u32 = 0x8000;
pub const MSG_WAITFORONE: u32 = 0x10000;
pub const MSG_ZEROCOPY: u32 = 0x4000000;
pub const MSG_FASTOPEN: u32 = 0x20000000;
pub const MSG_CMSG_CLOEXEC: u32 = 0x40000000;

// Control messages of level SOL_SOCKET (unix(7)).
pub const SCM_RIGHTS: i32 = 1;
pub const SCM_CREDENTIALS: i32 = 2;
pub const SCM_SECURITY: i32 = 3;
pub const SCM_PIDFD: i32 = 4;

// shutdown(2).
pub const SHUT_RD: i32 = 0;
pub const SHUT_WR: i32 = 1;
pub const SHUT_RDWR: i32 = 2;

// Netlink protocols (netlink(7)).
pub const NETLINK_ROUTE: i32 = 0;
pub const NETLINK_SOCK_DIAG: i32 = 4;
pub const NETLINK_AUDIT: i32 = 9;
pub const NETLINK_KOBJECT_UEVENT: i32 = 15;
pub const NETLINK_GENERIC: i32 = 16;

/// Longest queue listen(2) grants by default.
pub const SOMAXCONN: i32 = 4096;
/// Most elements of an iovec array (readv(2)).
pub const UIO_MAXIOV: usize = 1024;
/// Most descriptors in one `SCM_RIGHTS` message.
pub const SCM_MAX_FD: usize = 253;
/// Size of `struct sockaddr_storage`, the most any address call accepts, in bytes.
pub const SOCKADDR_STORAGE_SIZE: usize = 128;
/// Bytes of path in a `sockaddr_un`.
pub const UNIX_PATH_MAX: usize = 108;
/// Size of `struct sockaddr_un`, in bytes.
pub const SOCKADDR_UN_SIZE: usize = 110;

/// Address of a Unix domain socket (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixAddr {
    /// No address: only the family.
    Unnamed,
    /// A path in the filesystem, without NUL bytes and not empty.
    Path(Vec<u8>),
    /// A name outside the filesystem; every byte counts.
    Abstract(Vec<u8>),
}

impl UnixAddr {
    /// Reads an address of the length the guest gave.
    ///
    /// # Errors
    /// `EINVAL` for a bad length or another family.
    pub fn decode(bytes: &[u8]) -> Result<UnixAddr> {
        if bytes.len() < 2 || bytes.len() > SOCKADDR_UN_SIZE || get_u16(bytes, 0) != AF_UNIX {
            return Err(EINVAL);
        }
        Ok(match &bytes[2..] {
            [] => UnixAddr::Unnamed,
            [0, name @ ..] => UnixAddr::Abstract(name.to_vec()),
            path => UnixAddr::Path(path.iter().copied().take_while(|byte| *byte != 0).collect()),
        })
    }

    /// The address as system calls answer it; its length is the length to report. A path of all 108 bytes is
    /// followed by a NUL which makes the whole one byte longer than `sockaddr_un`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = AF_UNIX.to_le_bytes().to_vec();
        match self {
            UnixAddr::Unnamed => {}
            UnixAddr::Path(path) => {
                out.extend_from_slice(path);
                out.push(0);
            }
            UnixAddr::Abstract(name) => {
                out.push(0);
                out.extend_from_slice(name);
            }
        }
        out
    }
}

/// An IPv4 address and port: `sockaddr_in` (ip(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SockAddrIn {
    /// Port in host order.
    pub port: u16,
    /// Address, first byte first.
    pub addr: [u8; 4],
}

impl SockAddrIn {
    /// Size in guest memory, in bytes.
    pub const SIZE: usize = 16;

    /// The address as the guest sees it.
    pub fn encode(&self) -> [u8; 16] {
        let mut out = [0; 16];
        put_u16(&mut out, 0, AF_INET);
        put_slice(&mut out, 2, &self.port.to_be_bytes());
        put_slice(&mut out, 4, &self.addr);
        out
    }

    /// Reads port and address; the caller has looked at the family.
    pub fn decode(bytes: &[u8; 16]) -> SockAddrIn {
        SockAddrIn { port: u16::from_be_bytes(get_array(bytes, 2)), addr: get_array(bytes, 4) }
    }
}

/// An IPv6 address and port: `sockaddr_in6` (ipv6(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SockAddrIn6 {
    /// Port in host order.
    pub port: u16,
    /// Flow information as it is on the wire.
    pub flowinfo: [u8; 4],
    /// Address, first byte first.
    pub addr: [u8; 16],
    /// Interface index for link-local addresses.
    pub scope_id: u32,
}

impl SockAddrIn6 {
    /// Size in guest memory, in bytes.
    pub const SIZE: usize = 28;

    /// The address as the guest sees it.
    pub fn encode(&self) -> [u8; 28] {
        let mut out = [0; 28];
        put_u16(&mut out, 0, AF_INET6);
        put_slice(&mut out, 2, &self.port.to_be_bytes());
        put_slice(&mut out, 4, &self.flowinfo);
        put_slice(&mut out, 8, &self.addr);
        put_u32(&mut out, 24, self.scope_id);
        out
    }

    /// Reads the fields; the caller has looked at the family.
    pub fn decode(bytes: &[u8; 28]) -> SockAddrIn6 {
        SockAddrIn6 {
            port: u16::from_be_bytes(get_array(bytes, 2)),
            flowinfo: get_array(bytes, 4),
            addr: get_array(bytes, 8),
            scope_id: u32::from_le_bytes(get_array(bytes, 24)),
        }
    }
}

wire_struct! {
    /// A netlink address: `sockaddr_nl` (netlink(7)).
    SockAddrNl [12] {
        /// `AF_NETLINK`.
        family: u16 @ 0,
        /// Port id.
        pid: u32 @ 4,
        /// Multicast groups.
        groups: u32 @ 8,
    }
}

wire_struct! {
    /// A part of a buffer: `struct iovec` (readv(2)).
    IoVec [16] {
        /// Guest address.
        base: u64 @ 0,
        /// Length in bytes.
        len: u64 @ 8,
    }
}

wire_struct! {
    /// A message of sendmsg(2): `struct msghdr`.
    MsgHdr [56] {
        /// Guest address of the socket address.
        name: u64 @ 0,
        /// Its length in bytes.
        namelen: u32 @ 8,
        /// Guest address of the iovec array.
        iov: u64 @ 16,
        /// Elements of it.
        iovlen: u64 @ 24,
        /// Guest address of the control data.
        control: u64 @ 32,
        /// Its length in bytes.
        controllen: u64 @ 40,
        /// `MSG_*` bits of a received message.
        flags: u32 @ 48,
    }
}

/// Size of `struct mmsghdr` (sendmmsg(2)), in bytes.
pub const MMSGHDR_SIZE: usize = 64;
/// Offset of `msg_len`, a 32-bit count of bytes, in `struct mmsghdr`.
pub const MMSGHDR_LEN: usize = 56;

wire_struct! {
    /// Header of a control message (cmsg(3)).
    CMsgHdr [16] {
        /// Length in bytes with this header, without padding.
        len: u64 @ 0,
        /// Protocol level.
        level: i32 @ 8,
        /// `SCM_*` or a type of the protocol.
        kind: i32 @ 12,
    }
}

/// Rounds up a control message's length to where the next one starts; saturates.
pub const fn cmsg_align(len: usize) -> usize {
    len.saturating_add(7) & !7
}

/// Value of `cmsg_len` for that many bytes of data.
pub const fn cmsg_len(data: usize) -> usize {
    CMsgHdr::SIZE.saturating_add(data)
}

/// Bytes a control message takes with its padding.
pub const fn cmsg_space(data: usize) -> usize {
    cmsg_align(cmsg_len(data))
}

wire_struct! {
    /// Credentials of a peer (unix(7)).
    UCred [12] {
        /// Process id.
        pid: i32 @ 0,
        /// User id.
        uid: u32 @ 4,
        /// Group id.
        gid: u32 @ 8,
    }
}

wire_struct! {
    /// Value of `SO_LINGER`.
    Linger [8] {
        /// Not 0: close(2) waits.
        onoff: i32 @ 0,
        /// How long, in seconds.
        seconds: i32 @ 4,
    }
}
