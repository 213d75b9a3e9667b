//! Interfaces, addresses, routes and proxied neighbours through rtnetlink(7).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;

const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_OWNER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const NDA_DST: u16 = 1;

const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const NUD_PERMANENT: u16 = 0x80;
const NTF_PROXY: u8 = 8;

const HEADER: usize = 16;
const IFINFO: usize = 16;

/// What the kernel knows of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its kind, `tun` for taps; empty for hardware.
    pub kind: String,
    /// For taps the user who may open it.
    pub owner: Option<u32>,
}

/// A conversation with the kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// A request in the making.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, payload: &[&[u8]]) -> Message {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        payload.iter().for_each(|part| bytes.extend_from_slice(part));
        Message(bytes)
    }

    /// Adds an attribute of at most a few bytes.
    fn attribute(mut self, kind: u16, value: &[u8]) -> Message {
        let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

impl Netlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// Of socket(2).
    pub fn open() -> io::Result<Netlink> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Looks up an interface by name.
    ///
    /// # Errors
    /// `NotFound`-like errors of the kernel (ENODEV) when there is none.
    pub fn link(&mut self, name: &str) -> io::Result<Link> {
        let name = [name.as_bytes(), &[0]].concat();
        let message = Message::new(RTM_GETLINK, 0, &[&[0; IFINFO]]).attribute(IFLA_IFNAME, &name);
        let answer = self.call(message)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        parse_link(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        let up = IFF_UP.to_ne_bytes();
        self.call(Message::new(RTM_NEWLINK, 0, &[&[0; 4], &index.to_ne_bytes(), &up, &up])).map(drop)
    }

    /// Gives an interface an address of its own, without a network.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn add_address(&mut self, index: u32, addr: Ipv4Addr) -> io::Result<()> {
        let head = [AF_INET, 32, 0, 0];
        let message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &[&head, &index.to_ne_bytes()])
            .attribute(IFA_LOCAL, &addr.octets())
            .attribute(IFA_ADDRESS, &addr.octets());
        self.call(message).map(drop)
    }

    /// Sends traffic for one address to an interface, or no longer.
    ///
    /// # Errors
    /// Of the kernel: EEXIST when there is such a route, ESRCH when there is none to delete.
    pub fn host_route(&mut self, add: bool, index: u32, addr: Ipv4Addr) -> io::Result<()> {
        let (kind, flags) = if add { (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL) } else { (RTM_DELROUTE, 0) };
        let head = [AF_INET, 32, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST, 0, 0, 0, 0];
        let message = Message::new(kind, flags, &[&head])
            .attribute(RTA_DST, &addr.octets())
            .attribute(RTA_OIF, &index.to_ne_bytes());
        self.call(message).map(drop)
    }

    /// Answers ARP questions for `addr` on an interface, or no longer.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn proxy_arp(&mut self, add: bool, index: u32, addr: Ipv4Addr) -> io::Result<()> {
        let (kind, flags) =
            if add { (RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE) } else { (RTM_DELNEIGH, 0) };
        let state = NUD_PERMANENT.to_ne_bytes();
        let parts: [&[u8]; 4] = [&[AF_INET, 0, 0, 0], &index.to_ne_bytes(), &state, &[NTF_PROXY, 0]];
        self.call(Message::new(kind, flags, &parts).attribute(NDA_DST, &addr.octets())).map(drop)
    }

    /// Sends a request, reads until its acknowledgement, and returns the data that came before that, if any.
    fn call(&mut self, message: Message) -> io::Result<Option<Vec<u8>>> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.socket, &bytes, SendFlags::empty(), &kernel)?;
        let mut data = None;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let (len, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            for (kind, sequence, payload) in messages(&buffer[..len]) {
                if sequence != self.sequence {
                    continue;
                }
                if kind != NLMSG_ERROR {
                    data = Some(payload.to_vec());
                    continue;
                }
                let code = payload.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code));
                return match code.ok_or(io::ErrorKind::InvalidData)? {
                    0 => Ok(data),
                    code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
                };
            }
        }
    }
}

/// The messages in what the kernel sent: type, sequence number, payload.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let message = bytes.get(..len).filter(|m| m.len() >= HEADER)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let sequence = u32::from_ne_bytes([message[8], message[9], message[10], message[11]]);
        Some((kind, sequence, &message[HEADER..]))
    })
}

/// The attributes in `bytes`: type without flags, value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let &[a, b, c, d] = bytes.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & 0x3fff, value))
    })
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|&(k, _)| k == kind).map(|(_, value)| value)
}

/// Reads the payload of a RTM_NEWLINK.
fn parse_link(payload: &[u8]) -> Option<Link> {
    let index = u32::from_ne_bytes(*payload.get(4..8)?.first_chunk()?);
    let info = find(payload.get(IFINFO..)?, IFLA_LINKINFO).unwrap_or_default();
    let kind = find(info, IFLA_INFO_KIND).unwrap_or_default();
    let kind = kind.strip_suffix(&[0]).unwrap_or(kind);
    let data = find(info, IFLA_INFO_DATA).unwrap_or_default();
    let owner = find(data, IFLA_TUN_OWNER).and_then(|v| v.first_chunk()).map(|v| u32::from_ne_bytes(*v));
    Some(Link { index, kind: String::from_utf8_lossy(kind).into_owned(), owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_length_and_aligned_attributes() {
        let bytes = Message::new(7, 0, &[b"abcd"]).attribute(3, b"xyz").attribute(4, b"q").finish(9);
        assert_eq!(bytes.len(), 16 + 4 + 8 + 8);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        let (kind, sequence, payload) = all[0];
        assert_eq!((kind, sequence, &payload[..4]), (7, 9, &b"abcd"[..]));
        let found: Vec<_> = attributes(&payload[4..]).collect();
        assert_eq!(found, [(3, &b"xyz"[..]), (4, &b"q"[..])]);
    }

    #[test]
    fn cut_answers_end_quietly() {
        let bytes = Message::new(7, 0, &[b"abcd"]).attribute(3, b"xyz").finish(1);
        for cut in 0..bytes.len() {
            assert_eq!(messages(&bytes[..cut]).count(), 0, "{cut}");
        }
        assert_eq!(attributes(&[0, 0, 3, 0, 1]).count(), 0);
        assert_eq!(attributes(&[200, 0, 3, 0, 1]).count(), 0);
        assert_eq!(parse_link(&[0; 7]), None);
    }

    #[test]
    fn the_loopback_interface_is_known() {
        let link = Netlink::open().unwrap().link("lo").unwrap();
        assert_eq!((link.index, link.owner), (1, None));
        assert!(Netlink::open().unwrap().link("nosuchdevice").is_err());
    }
}
