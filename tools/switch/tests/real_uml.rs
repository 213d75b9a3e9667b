//! Real User Mode Linux kernels as clients of the switch.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;
#[allow(dead_code, reason = "each test program uses its part of the module")]
#[path = "../../../tests/uml/mod.rs"]
mod uml;

use common::Switch;
use uml::Uml;

/// A machine with an address, that then goes on as `script` says.
fn machine(switch: &Switch, number: u32, script: &str) -> Option<Uml> {
    let net = format!("eth0=daemon,fe:fd:0:0:0:{number:02x},unix,{}", switch.control().display());
    let up = format!("ip addr add 10.9.8.{number}/24 dev eth0; ip link set eth0 up; echo net is up");
    let mut uml = Uml::start(switch.dir.path(), &format!("m{number}"), &[net], &format!("{up}\n{script}"))?;
    uml.wait_for("net is up");
    Some(uml)
}

#[test]
fn real_kernels_talk_through_the_switch() {
    let switch = Switch::ours(&[]);
    let Some(_first) = machine(&switch, 1, "sleep 100") else { return };
    let pings = "ping -c 2 -w 30 10.9.8.1 && ping -c 2 -s 1400 -w 30 10.9.8.1 && echo all is well";
    let Some(second) = machine(&switch, 2, pings) else { return };
    let said = second.end();
    assert!(said.contains("all is well"), "{said}");
    assert!(switch.output().matches("New connection").count() >= 2, "{}", switch.output());
    let stations = switch.ask("macs");
    assert!(stations.contains("fe:fd:00:00:00:01") && switch.counter("in_frames") >= 8, "{stations}");
    // The second has ended, and with it its port and what was known of it.
    common::wait_for("the end of the port", || switch.counter("ports") == 1);
    assert!(!switch.ask("macs").contains("fe:fd:00:00:00:02"));
}
