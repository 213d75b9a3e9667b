//! Carries out a request. Each step leaves a line for the machine's console, as the original's commands did.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use host_linux::tap::{CLONE_DEVICE, Tap};
use rustix::fs::{FileType, Mode};

use crate::netlink::Netlink;
use crate::policy::{check_address, check_gateway, check_link, own_addresses, proxies, routes};
use crate::request::{Change, Device};

/// What was done, for the machine's console.
#[derive(Debug, Default)]
pub struct Report(pub String);

impl Report {
    /// Notes a step and its failure, and passes its result on.
    fn step<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        let _ = writeln!(self.0, "* {what}");
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                let _ = writeln!(self.0, "{e}");
                None
            }
        }
    }
}

/// Makes a tap that belongs to `caller`, brings it up with the address `addr` of the host, and turns on
/// forwarding. `None` on failure; the report says why.
pub fn tuntap_up(addr: Option<Ipv4Addr>, caller: u32, report: &mut Report) -> Option<Tap> {
    let routes = routes(&fs::read_to_string("/proc/net/route").unwrap_or_default());
    if let Some(Err(reason)) = addr.map(|addr| check_gateway(addr, &routes)) {
        let _ = writeln!(report.0, "{reason}");
        return None;
    }
    make_clone_device(report);
    let tap = report.step("open a tap device", Tap::open(""))?;
    report.step(&format!("give {} to user {caller}", tap.name()), tap.set_owner(caller))?;
    let mut netlink = report.step("rtnetlink", Netlink::open())?;
    let name = tap.name().to_string();
    let link = report.step(&format!("ip link show {name}"), netlink.link(&name))?;
    if let Some(addr) = addr {
        report.step(&format!("ip addr add {addr}/32 dev {name}"), netlink.add_address(link.index, addr))?;
        report.step(&format!("ip link set {name} up"), netlink.set_up(link.index))?;
    }
    // The machine can talk to the host without it.
    report.step("sysctl net.ipv4.ip_forward=1", fs::write("/proc/sys/net/ipv4/ip_forward", "1\n"));
    Some(tap)
}

/// Sends the host's traffic for a machine's address to its tap and answers for it in the networks around, or takes
/// that back. False on failure.
pub fn address(
    change: Change,
    device: &Device,
    addr: Ipv4Addr,
    netmask: Option<Ipv4Addr>,
    caller: u32,
    report: &mut Report,
) -> bool {
    let Some(mut netlink) = report.step("rtnetlink", Netlink::open()) else { return false };
    let Some(link) = report.step(&format!("ip link show {device}"), netlink.link(device.name())) else {
        return false;
    };
    let routes = routes(&fs::read_to_string("/proc/net/route").unwrap_or_default());
    let own = own_addresses(&fs::read_to_string("/proc/net/fib_trie").unwrap_or_default());
    let allowed = check_link(device.name(), &link, caller).and_then(|()| check_address(addr, &own, &routes));
    if let Err(reason) = allowed {
        let _ = writeln!(report.0, "{reason}");
        return false;
    }
    let add = change == Change::Add;
    let verb = if add { "add" } else { "del" };
    let mut good = true;
    let step = format!("ip route {verb} {addr}/32 dev {device}");
    good &= report.step(&step, netlink.host_route(add, link.index, addr)).is_some();
    let value = u8::from(add);
    let switch = format!("/proc/sys/net/ipv4/conf/{device}/proxy_arp");
    let step = format!("sysctl net.ipv4.conf.{device}.proxy_arp={value}");
    good &= report.step(&step, fs::write(switch, format!("{value}\n"))).is_some();
    for proxy in proxies(addr, netmask, device.name(), &routes) {
        let step = format!("ip neigh {verb} proxy {addr} dev {proxy}");
        let done = netlink.link(&proxy).and_then(|link| netlink.proxy_arp(add, link.index, addr));
        good &= report.step(&step, done).is_some();
    }
    good
}

/// Makes /dev/net/tun where it is missing; opening it then loads the driver.
fn make_clone_device(report: &mut Report) {
    if Path::new(CLONE_DEVICE).exists() {
        return;
    }
    // It may be there by now; opening it tells.
    let _ = fs::create_dir("/dev/net");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        CLONE_DEVICE,
        FileType::CharacterDevice,
        Mode::RUSR | Mode::WUSR,
        rustix::fs::makedev(10, 200),
    );
    report.step(&format!("mknod {CLONE_DEVICE} c 10 200"), made.map_err(io::Error::from));
}
