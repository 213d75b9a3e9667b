//! What a caller may change on the host.
//!
//! Whoever may run `uml_net` is trusted to bring machines onto the net, not to take over the host: an interface
//! must be a tap that is the caller's, and an address must not be one that the host itself lives by.

use std::net::Ipv4Addr;

use crate::netlink::Link;

/// A line of /proc/net/route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The interface.
    pub device: String,
    /// The network.
    pub network: Ipv4Addr,
    /// The gateway, 0.0.0.0 for none.
    pub gateway: Ipv4Addr,
    /// Its netmask.
    pub mask: Ipv4Addr,
}

/// Reads /proc/net/route; lines that are none are left out.
pub fn routes(text: &str) -> Vec<Route> {
    // The kernel prints the address as a number in host order, of bytes in network order.
    let addr = |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some(Route {
            device: (*fields.first()?).to_string(),
            network: addr(fields.get(1)?)?,
            gateway: addr(fields.get(2)?)?,
            mask: addr(fields.get(7)?)?,
        })
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// The addresses that are the host's own, from /proc/net/fib_trie.
pub fn own_addresses(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut own = Vec::new();
    let mut last = None;
    for line in fib_trie.lines() {
        let line = line.trim_start();
        if let Some(addr) = line.strip_prefix("|-- ") {
            last = addr.trim().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            own.extend(last);
        }
    }
    own.sort();
    own.dedup();
    own
}

/// Whether `link` is a tap that `caller` may use; the reason if not. Root may use every tap, others those that are
/// theirs.
///
/// # Errors
/// A text for the machine's console.
pub fn check_link(name: &str, link: &Link, caller: u32) -> Result<(), String> {
    if link.kind != "tun" {
        return Err(format!("uml_net : '{name}' is not a tap device"));
    }
    if caller != 0 && link.owner != Some(caller) {
        return Err(format!("uml_net : '{name}' does not belong to user {caller}"));
    }
    Ok(())
}

/// Whether traffic for `addr` may go to a machine; the reason if not.
///
/// # Errors
/// A text for the machine's console.
pub fn check_address(addr: Ipv4Addr, own: &[Ipv4Addr], routes: &[Route]) -> Result<(), String> {
    if own.contains(&addr) {
        return Err(format!("uml_net : {addr} is an address of the host"));
    }
    check_gateway(addr, routes)
}

/// Whether the host may have `addr` on a tap; the reason if not. It may be one that the host has already, but what
/// others send through a gateway must not end here.
///
/// # Errors
/// A text for the machine's console.
pub fn check_gateway(addr: Ipv4Addr, routes: &[Route]) -> Result<(), String> {
    if routes.iter().any(|route| route.gateway == addr) {
        return Err(format!("uml_net : {addr} is a gateway of the host"));
    }
    Ok(())
}

/// The interfaces that must answer ARP for `addr`: those on whose network it lies under the machine's netmask,
/// but not the machine's own. Without a netmask that is eth0.
pub fn proxies(addr: Ipv4Addr, netmask: Option<Ipv4Addr>, device: &str, routes: &[Route]) -> Vec<String> {
    let Some(mask) = netmask else { return vec!["eth0".into()] };
    let network = addr.to_bits() & mask.to_bits();
    let mut devices: Vec<String> = routes
        .iter()
        .filter(|route| route.device != device && route.mask.to_bits() != 0)
        .filter(|route| route.network.to_bits() & mask.to_bits() == network && route.gateway.is_unspecified())
        .map(|route| route.device.clone())
        .collect();
    devices.sort();
    devices.dedup();
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tap0\t050200C0\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
broken line
";

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_are_read_and_proxies_chosen() {
        let routes = routes(ROUTES);
        assert_eq!(routes.len(), 3);
        assert_eq!(routes[0].gateway, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(routes[1].network, Ipv4Addr::new(192, 0, 2, 0));
        let mask = Some(Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(proxies(Ipv4Addr::new(192, 0, 2, 5), mask, "tap0", &routes), ["eth0"]);
        assert!(proxies(Ipv4Addr::new(10, 0, 0, 5), mask, "tap0", &routes).is_empty());
        assert_eq!(proxies(Ipv4Addr::new(10, 0, 0, 5), None, "tap0", &routes), ["eth0"]);
        assert!(check_address(Ipv4Addr::new(192, 0, 2, 1), &[], &routes).is_err());
        assert!(check_address(Ipv4Addr::new(192, 0, 2, 5), &[], &routes).is_ok());
        assert!(check_gateway(Ipv4Addr::new(192, 0, 2, 1), &routes).is_err());
        assert!(check_gateway(Ipv4Addr::new(192, 0, 2, 2), &routes).is_ok());
    }

    #[test]
    fn the_hosts_own_addresses_are_found() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        /8 host LOCAL\n     \
                    |-- 192.0.2.2\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(own_addresses(trie), [Ipv4Addr::new(192, 0, 2, 2)]);
        assert!(check_address(Ipv4Addr::new(192, 0, 2, 2), &own_addresses(trie), &[]).is_err());
    }

    #[test]
    fn only_a_tap_of_the_caller_will_do() {
        let link = |kind: &str, owner| Link { index: 3, kind: kind.into(), owner };
        assert!(check_link("tap0", &link("tun", Some(1000)), 1000).is_ok());
        assert!(check_link("tap0", &link("tun", None), 0).is_ok());
        assert!(check_link("tap0", &link("tun", None), 1000).is_err());
        assert!(check_link("tap0", &link("tun", Some(0)), 1000).is_err());
        assert!(check_link("eth0", &link("", None), 0).is_err());
    }
}
