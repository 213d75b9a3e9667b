//! The arguments of `uml_net`, which are hostile input.

use std::fmt;
use std::net::Ipv4Addr;

/// Longest name of an interface in bytes.
pub const NAME_MAX: usize = 15;

/// The version of the protocol with the kernel.
pub const VERSION: u32 = 4;

/// The name of a network interface: 1 to 15 ASCII letters and digits, as the original had it. So it is no path, no
/// option and no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device(String);

impl Device {
    /// Checks a name.
    pub fn new(name: &[u8]) -> Option<Device> {
        let good = (1..=NAME_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_alphanumeric);
        Some(Device(str::from_utf8(name).ok().filter(|_| good)?.into()))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an address of the machine comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It has been set in the machine.
    Add,
    /// It has been taken away.
    Del,
}

/// What `uml_net` is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Make a tap, give it this address of the host if there is one, and pass it on.
    TuntapUp(Option<Ipv4Addr>),
    /// Send the host's traffic for `addr` to `device`, or no longer.
    Address {
        /// Which of both.
        change: Change,
        /// The machine's interface on the host.
        device: Device,
        /// The machine's address.
        addr: Ipv4Addr,
        /// The netmask set in the machine.
        netmask: Option<Ipv4Addr>,
    },
}

/// Why arguments are refused, in the form the caller expects to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Run by hand: a text for standard error.
    ByHand,
    /// A version of the future.
    Version(u32),
    /// A transport that is none.
    Transport(String),
    /// A transport without this version.
    Handler(u32, String),
    /// A text for the machine's console.
    Told(String),
    /// The ethertap driver: a zero byte, then a text.
    Ethertap,
}

/// Reads the arguments, the program's name not among them.
///
/// # Errors
/// [`Refusal`].
pub fn parse(args: &[&[u8]]) -> Result<Request, Refusal> {
    let [version, transport, rest @ ..] = args else { return Err(Refusal::ByHand) };
    // As with C's atoi: what is no number is version 0.
    let version = str::from_utf8(version).ok().and_then(|v| v.parse::<u32>().ok()).unwrap_or(0);
    if version > VERSION {
        return Err(Refusal::Version(version));
    }
    let name = || printable(transport);
    if !matches!(*transport, b"tuntap" | b"ethertap" | b"slip" | b"add" | b"del") {
        return Err(Refusal::Transport(name()));
    }
    if version < VERSION {
        return Err(Refusal::Handler(version, name()));
    }
    let told = |text: &str| Err(Refusal::Told(text.into()));
    match (*transport, rest) {
        (b"tuntap", [b"up"] | [b"up", b""]) => Ok(Request::TuntapUp(None)),
        (b"tuntap", [b"up", addr]) => Ok(Request::TuntapUp(Some(address(addr, "host address")?))),
        (b"tuntap", [b"add", args @ ..]) | (b"add", args) => change(Change::Add, args),
        (b"tuntap", [b"del", args @ ..]) | (b"del", args) => change(Change::Del, args),
        (b"tuntap", []) => told("uml_net : too few arguments to tuntap_v4"),
        (b"tuntap", [other, ..]) => told(&format!("uml_net : bad tuntap request '{}'", printable(other))),
        (b"slip", _) => {
            told("uml_net : slip is not supported; the machine's slirp transport needs no privilege")
        }
        _ => Err(Refusal::Ethertap),
    }
}

fn change(change: Change, args: &[&[u8]]) -> Result<Request, Refusal> {
    let (device, addr, netmask) = match args {
        [device, addr] => (device, addr, None),
        [device, addr, netmask] => (device, addr, Some(mask(netmask)?)),
        _ => {
            return Err(Refusal::Told(
                "uml_net : an address change needs device, address and netmask".into(),
            ));
        }
    };
    let device = Device::new(device).ok_or_else(|| {
        Refusal::Told(format!("uml_net : '{}' is not a name for a device", printable(device)))
    })?;
    Ok(Request::Address { change, device, addr: address(addr, "address")?, netmask })
}

/// A unicast address that can belong to a machine: not of this host alone, not of a group, not of everybody.
fn address(text: &[u8], what: &str) -> Result<Ipv4Addr, Refusal> {
    let addr = str::from_utf8(text).ok().and_then(|t| t.parse::<Ipv4Addr>().ok());
    let unusable = |a: &Ipv4Addr| {
        a.octets()[0] == 0 || a.is_loopback() || a.is_multicast() || a.octets()[0] >= 240 || a.is_broadcast()
    };
    addr.filter(|a| !unusable(a))
        .ok_or_else(|| Refusal::Told(format!("uml_net : '{}' is not a usable {what}", printable(text))))
}

fn mask(text: &[u8]) -> Result<Ipv4Addr, Refusal> {
    let mask = str::from_utf8(text).ok().and_then(|t| t.parse::<Ipv4Addr>().ok());
    mask.filter(|m| m.to_bits().leading_ones() + m.to_bits().trailing_zeros() >= 32)
        .ok_or_else(|| Refusal::Told(format!("uml_net : '{}' is not a netmask", printable(text))))
}

/// Hostile bytes as they may be shown: cut, and without control characters.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Request, Refusal> {
        parse(&words.iter().map(|w| w.as_bytes()).collect::<Vec<_>>())
    }

    fn told(words: &[&str]) -> String {
        match read(words) {
            Err(Refusal::Told(text)) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn the_forms_the_kernel_uses() {
        let host = Ipv4Addr::new(192, 168, 0, 254);
        assert_eq!(read(&["4", "tuntap", "up", "192.168.0.254"]), Ok(Request::TuntapUp(Some(host))));
        assert_eq!(read(&["4", "tuntap", "up", ""]), Ok(Request::TuntapUp(None)));
        let expected = |change, netmask| {
            let device = Device::new(b"tap0").unwrap();
            Ok(Request::Address { change, device, addr: Ipv4Addr::new(10, 0, 0, 2), netmask })
        };
        let mask = Some(Ipv4Addr::new(255, 255, 255, 0));
        let words = ["4", "tuntap", "add", "tap0", "10.0.0.2", "255.255.255.0"];
        assert_eq!(read(&words), expected(Change::Add, mask));
        assert_eq!(read(&["4", "del", "tap0", "10.0.0.2"]), expected(Change::Del, None));
    }

    #[test]
    fn other_versions_and_transports_are_named() {
        assert_eq!(read(&[]), Err(Refusal::ByHand));
        assert_eq!(read(&["4"]), Err(Refusal::ByHand));
        assert_eq!(read(&["5", "tuntap"]), Err(Refusal::Version(5)));
        assert_eq!(read(&["4", "pcap"]), Err(Refusal::Transport("pcap".into())));
        assert_eq!(read(&["x", "tuntap", "up"]), Err(Refusal::Handler(0, "tuntap".into())));
        assert_eq!(read(&["4", "ethertap", "tap0", "3"]), Err(Refusal::Ethertap));
    }

    #[test]
    fn hostile_arguments_are_refused_by_their_form() {
        for device in
            ["", "../x", "tap0;id", "-a", "tap 0", "tap%d", "all", "eth0/../x", "sixteenbytes0000", "täp"]
        {
            let refused = matches!(read(&["4", "add", device, "10.0.0.2"]), Err(Refusal::Told(_)));
            // "all" is a good name here; that it is no tap is found out later.
            assert_eq!(refused, device != "all", "{device}");
        }
        for addr in [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.1.1.1",
            "10.0.0",
            "1.2.3.4/8",
            "0x1",
            "::1",
        ] {
            told(&["4", "add", "tap0", addr, "255.0.0.0"]);
            told(&["4", "tuntap", "up", addr]);
        }
        for mask in ["255.0.255.0", "0.0.0.255", "24", ""] {
            told(&["4", "add", "tap0", "10.0.0.2", mask]);
        }
        told(&["4", "add", "tap0", "10.0.0.2", "255.0.0.0", "more"]);
        let text = told(&["4", "tuntap", &"\x1b[31m\n".repeat(100)]);
        assert!(text.len() < 200 && !text.contains(['\x1b', '\n']));
    }
}
