//! Network devices: `ethN=TRANSPORT,...` and `vecN:key=value,...`.

use std::net::Ipv4Addr;

use crate::{Config, lossy, number, whole_number};

/// A hardware address as the command line gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mac {
    /// None given, or not usable: a random one.
    #[default]
    Random,
    Fixed([u8; 6]),
}

/// Why an address that was given is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MacProblem {
    Invalid,
    Multicast,
}

impl Mac {
    fn parse(s: &[u8]) -> Result<Mac, MacProblem> {
        if s.is_empty() {
            return Ok(Mac::Random);
        }
        let mut mac = [0; 6];
        let mut parts = s.split(|&b| b == b':');
        for byte in &mut mac {
            let part = parts.next().unwrap_or_default();
            let hex =
                core::str::from_utf8(part).ok().filter(|p| (1..=2).contains(&p.len()) && !p.starts_with('+'));
            *byte = hex.and_then(|h| u8::from_str_radix(h, 16).ok()).ok_or(MacProblem::Invalid)?;
        }
        match mac {
            _ if parts.next().is_some() => Err(MacProblem::Invalid),
            [0, 0, 0, 0, 0, 0] => Err(MacProblem::Invalid),
            [first, ..] if first & 1 != 0 => Err(MacProblem::Multicast),
            mac => Ok(Mac::Fixed(mac)),
        }
    }
}

/// One `ethN` device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthSpec {
    pub unit: u32,
    pub mac: Mac,
    pub transport: EthTransport,
}

/// How frames of an `ethN` device travel. Fields that were not given hold UML's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EthTransport {
    /// A tap device of the host; without a name the helper makes one and gives it `host_ip`.
    Tuntap {
        device: Option<String>,
        host_ip: Option<Ipv4Addr>,
    },
    Ethertap {
        device: String,
        host_ip: Option<Ipv4Addr>,
    },
    /// The switch; `control` is `None` for the default socket.
    Daemon {
        control: Option<Vec<u8>>,
    },
    Mcast {
        group: Ipv4Addr,
        port: u16,
        ttl: u8,
    },
    Ucast {
        remote: Ipv4Addr,
        listen_port: u16,
        remote_port: u16,
    },
    Pcap {
        interface: String,
        filter: Option<Vec<u8>>,
        promiscuous: bool,
        optimize: bool,
    },
    Slip {
        host_ip: Option<Ipv4Addr>,
    },
    /// A program that speaks SLIP, with its arguments.
    Slirp {
        command: Vec<Vec<u8>>,
    },
    Vde {
        switch: Option<Vec<u8>>,
        port: u32,
        group: Option<String>,
        mode: u32,
        description: Vec<u8>,
    },
}

/// Default group, port and hop limit of the multicast transport.
const MCAST: (Ipv4Addr, u16, u8) = (Ipv4Addr::new(239, 192, 168, 1), 1102, 1);
const UCAST_PORT: u16 = 1102;
/// Most arguments of a slirp program.
const SLIRP_ARGS: usize = 99;

/// The arguments behind the transport's name; an empty one is not given.
struct Args<'a>(Vec<&'a [u8]>);

impl<'a> Args<'a> {
    fn bytes(&self, at: usize) -> Option<&'a [u8]> {
        self.0.get(at).copied().filter(|a| !a.is_empty())
    }
    fn text(&self, at: usize, what: &str) -> Result<Option<String>, String> {
        self.bytes(at)
            .map(|a| String::from_utf8(a.to_vec()).map_err(|_| format!("{what} '{}' is not text", lossy(a))))
            .transpose()
    }
    fn ip(&self, at: usize, what: &str) -> Result<Option<Ipv4Addr>, String> {
        let parse = |t: String| t.parse().map_err(|_| format!("{what} '{t}' is not an IPv4 address"));
        self.text(at, what)?.map(parse).transpose()
    }
    fn number<T: TryFrom<u64>>(&self, at: usize, what: &str, default: T) -> Result<T, String> {
        let Some(a) = self.bytes(at) else { return Ok(default) };
        let n = whole_number(a).and_then(|n| T::try_from(n).ok());
        n.ok_or_else(|| format!("{what} '{}' is not a number that it takes", lossy(a)))
    }
    /// Nothing may stand behind the argument `last`.
    fn end(&self, last: usize, setup: &str) -> Result<(), String> {
        match self.0.get(last + 1..) {
            Some([_, ..]) => {
                let extra = self.0[last + 1..].join(&b',');
                Err(format!("{setup} - Extra garbage on specification : '{}'", lossy(&extra)))
            }
            _ => Ok(()),
        }
    }
}

impl EthTransport {
    /// Reads `NAME,arg,...`; `Ok(None)` if there is no such transport. Returns the address argument as it stands.
    fn parse(s: &[u8]) -> Result<Option<(EthTransport, &[u8])>, String> {
        let mut parts = s.split(|&b| b == b',');
        let name = parts.next().unwrap_or_default();
        let args = Args(parts.collect());
        let mac = |at: usize| args.bytes(at).unwrap_or_default();
        let found = match name {
            b"tuntap" => {
                args.end(2, "tap_setup_common")?;
                let host_ip = args.ip(2, "host address")?;
                (EthTransport::Tuntap { device: args.text(0, "tap device")?, host_ip }, mac(1))
            }
            b"ethertap" => {
                args.end(2, "tap_setup_common")?;
                let device = args.text(0, "tap device")?.ok_or("ethertap_setup : Missing tap device name")?;
                (EthTransport::Ethertap { device, host_ip: args.ip(2, "host address")? }, mac(1))
            }
            b"daemon" => {
                if let Some(kind) = args.bytes(1).filter(|k| *k != b"unix") {
                    return Err(format!("daemon_setup : Unknown socket type '{}'", lossy(kind)));
                }
                (EthTransport::Daemon { control: args.bytes(2).map(<[u8]>::to_vec) }, mac(0))
            }
            b"mcast" => {
                args.end(3, "mcast_setup")?;
                let group = args.ip(1, "group")?.unwrap_or(MCAST.0);
                if !group.is_multicast() {
                    return Err(format!("group '{group}' is not a multicast address"));
                }
                let port = args.number(2, "port", MCAST.1)?;
                (EthTransport::Mcast { group, port, ttl: args.number(3, "ttl", MCAST.2)? }, mac(0))
            }
            b"ucast" => {
                args.end(3, "ucast_setup")?;
                let remote = args.ip(1, "remote address")?.ok_or("ucast_setup : Missing remote address")?;
                let listen_port = args.number(2, "listen port", UCAST_PORT)?;
                let remote_port = args.number(3, "remote port", UCAST_PORT)?;
                (EthTransport::Ucast { remote, listen_port, remote_port }, mac(0))
            }
            b"pcap" => {
                args.end(4, "pcap_setup")?;
                let (mut promiscuous, mut optimize) = (true, false);
                for option in [args.bytes(2), args.bytes(3)].into_iter().flatten() {
                    match option {
                        b"promisc" => promiscuous = true,
                        b"nopromisc" => promiscuous = false,
                        b"optimize" => optimize = true,
                        b"nooptimize" => optimize = false,
                        o => return Err(format!("pcap_setup : bad option - '{}'", lossy(o))),
                    }
                }
                let interface = args.text(0, "interface")?.unwrap_or_else(|| "eth0".into());
                let filter = args.bytes(1).map(<[u8]>::to_vec);
                (EthTransport::Pcap { interface, filter, promiscuous, optimize }, mac(4))
            }
            b"slip" => {
                args.end(0, "slip_setup")?;
                (EthTransport::Slip { host_ip: args.ip(0, "host address")? }, &b""[..])
            }
            b"slirp" => {
                let blank = |a: &&[u8]| a.iter().map(|&b| if b == b'_' { b' ' } else { b }).collect();
                let mut command: Vec<Vec<u8>> = args.0.iter().skip(1).map(blank).collect();
                // A program's name is no place for blanks.
                match (command.first_mut(), args.bytes(1)) {
                    (Some(program), Some(given)) => *program = given.to_vec(),
                    (Some(program), None) => *program = b"slirp".to_vec(),
                    (None, _) => command.push(b"slirp".to_vec()),
                }
                if command.len() > SLIRP_ARGS {
                    return Err("slirp_setup : Too many arguments".into());
                }
                (EthTransport::Slirp { command }, mac(0))
            }
            b"vde" => {
                args.end(5, "vde_setup")?;
                let mode = match args.bytes(4) {
                    None => 0o700,
                    Some(m) => {
                        let m = core::str::from_utf8(m).unwrap_or_default();
                        let mode = u32::from_str_radix(m, 8).ok().filter(|m| *m <= 0o777);
                        mode.ok_or_else(|| format!("mode '{m}' is not an octal mode"))?
                    }
                };
                let vde = EthTransport::Vde {
                    switch: args.bytes(0).map(<[u8]>::to_vec),
                    port: args.number(2, "port", 0)?,
                    group: args.text(3, "group")?,
                    mode,
                    description: args.bytes(5).unwrap_or(b"UML vde_transport").to_vec(),
                };
                (vde, mac(1))
            }
            _ => return Ok(None),
        };
        Ok(Some(found))
    }
}

/// Takes over what follows `eth`.
pub(crate) fn eth(config: &mut Config, rest: &[u8]) {
    let fail = |why: &str| format!("eth_setup - Couldn't parse '{}' : {why}", lossy(rest));
    let problem = match number(rest) {
        None => fail("Bad device number"),
        Some((n, _)) if n > u64::from(u16::MAX) => fail("Bad device number"),
        Some((n, after)) => {
            let unit = n as u32;
            match after.strip_prefix(b"=") {
                None => fail("Expected '=' after device number"),
                Some(_) if config.eth.iter().any(|e| e.unit == unit) => fail("Device already configured"),
                Some(spec) => match EthTransport::parse(spec) {
                    Err(why) => format!("eth{unit}: {why}"),
                    Ok(None) => format!("eth{unit}: no transport of that name in '{}'", lossy(spec)),
                    Ok(Some((transport, mac))) => {
                        let (mac, problem) = match Mac::parse(mac) {
                            Ok(mac) => (mac, None),
                            Err(why) => (Mac::Random, Some((why, lossy(mac)))),
                        };
                        config.eth.push(EthSpec { unit, mac, transport });
                        match problem {
                            None => return,
                            Some((MacProblem::Multicast, _)) => format!(
                                "eth{unit}: Attempt to assign a multicast ethernet address to a device disallowed"
                            ),
                            Some((MacProblem::Invalid, mac)) => format!(
                                "eth{unit}: '{mac}' is not an ethernet address; Choosing a random ethernet address"
                            ),
                        }
                    }
                },
            }
        }
    };
    config.problems.push(problem);
}

/// One `vecN` device: keys and values as given; they are looked at when the interface is brought up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VecSpec {
    pub unit: u32,
    /// In order, without those that had no value.
    pub options: Vec<(String, Vec<u8>)>,
}

/// Most keys of one device.
const VEC_KEYS: usize = 20;

impl VecSpec {
    /// The value of a key; the last one counts.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.options.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_slice())
    }

    /// The transport, if one was named.
    pub fn transport(&self) -> Option<&[u8]> {
        self.get("transport")
    }

    fn options(s: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
        let mut options = Vec::new();
        for word in s.split(|&b| b == b',') {
            let mut parts = word.split(|&b| b == b'=');
            let (key, value) = (parts.next().unwrap_or_default(), parts.next());
            if parts.next().is_some() {
                return None;
            }
            // A key without a value is swallowed.
            if let Some(value) = value {
                options.push((core::str::from_utf8(key).ok()?.to_owned(), value.to_vec()));
            }
            if options.len() > VEC_KEYS {
                return None;
            }
        }
        Some(options)
    }
}

/// Takes over what follows `vec`.
pub(crate) fn vec(config: &mut Config, rest: &[u8]) {
    let fail = |why: &str| format!("uml-vector: Couldn't parse '{}': {why}", lossy(rest));
    let problem = match number(rest) {
        None => fail("Bad device number"),
        Some((n, _)) if n > u64::from(u16::MAX) => fail("Bad device number"),
        Some((n, after)) => match after.strip_prefix(b":") {
            None => fail("Expected ':' after device number"),
            Some(_) if config.vec.iter().any(|v| u64::from(v.unit) == n) => fail("Device already configured"),
            Some(options) => match VecSpec::options(options) {
                None => format!("vector_setup - Couldn't parse '{}'", lossy(options)),
                Some(options) => {
                    config.vec.push(VecSpec { unit: n as u32, options });
                    return;
                }
            },
        },
    };
    config.problems.push(problem);
}
