//! Devices of the machine's registry, by class and by number, as udev looks for them.

use kernel::{Machine, registry::DeviceNode};

use crate::tree::Entries;

/// Classes that programs list whether or not they have devices.
const CLASSES: [&str; 6] = ["block", "mem", "misc", "net", "tty", "input"];

fn class_of(n: &DeviceNode) -> Option<&'static str> {
    match abi::major(n.rdev) {
        1 => Some("mem"),
        4 | 5 | 136..=143 => Some("tty"),
        10 => Some("misc"),
        _ => None,
    }
}

pub(crate) fn add(t: &mut Entries, m: &Machine) {
    for c in CLASSES {
        t.dir(&format!("class/{c}"));
    }
    t.dir("block");
    t.dir("dev/block");
    t.dir("dev/char");
    t.dir("devices/virtual");
    let is_char = |n: &&DeviceNode| n.mode & abi::fs::S_IFMT == abi::fs::S_IFCHR;
    for n in m.registry.device_nodes.iter().filter(is_char) {
        let Some(class) = class_of(n) else { continue };
        let (major, minor) = (abi::major(n.rdev), abi::minor(n.rdev));
        // Names with a directory are written with exclamation marks.
        let name = n.name.replace('/', "!");
        let dir = format!("devices/virtual/{class}/{name}");
        t.line(&format!("{dir}/dev"), format!("{major}:{minor}"));
        let mode = n.mode & 0o777;
        let shown = if mode == 0o600 { String::new() } else { format!("\nDEVMODE=0{mode:o}") };
        t.line(&format!("{dir}/uevent"), format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={}{shown}", n.name));
        t.link(&format!("{dir}/subsystem"), &format!("class/{class}"));
        t.link(&format!("class/{class}/{name}"), &dir);
        t.link(&format!("dev/char/{major}:{minor}"), &dir);
    }
    // Which line /dev/console is (systemd).
    let lines = m.registry.device_nodes.iter().filter(|n| abi::major(n.rdev) == 4);
    let active: Vec<&str> = lines.map(|n| n.name.as_str()).take(1).collect();
    if m.registry.device_nodes.iter().any(|n| n.name == "console") {
        t.line("devices/virtual/tty/console/active", active.join(" "));
    }
}
