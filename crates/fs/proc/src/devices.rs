//! Files about devices, terminals and locks.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write as _,
    sync::Arc,
};

use kernel::{
    Machine, Result,
    vfs::{
        inode::Inode,
        lock::{Owner, Range},
    },
};

/// Drivers by major number, as mknod(1) users look them up.
pub(crate) fn devices(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::from("Character devices:\n");
    for ((major, minor), d) in &m.registry.char_drivers {
        let _ = match minor {
            None => writeln!(s, "{major:3} {}", d.name()),
            Some(n) => {
                // Single devices are known by their own names.
                let rdev = abi::makedev(*major, *n);
                let node = m.registry.device_nodes.iter().find(|x| x.rdev == rdev);
                writeln!(s, "{major:3} {}", node.map_or(d.name().into(), |x| format!("/dev/{}", x.name)))
            }
        };
    }
    s.push_str("\nBlock devices:\n");
    for ((major, _), d) in &m.registry.block_drivers {
        let _ = writeln!(s, "{major:3} {}", d.name());
    }
    Ok(s.into_bytes())
}

/// /proc/tty/drivers: how ps(1) names terminals.
pub(crate) fn tty_drivers(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::new();
    let has = |major: u32, minor: u32| {
        let rdev = abi::makedev(major, minor);
        m.registry.device_nodes.iter().any(|n| n.rdev == rdev)
    };
    let mut row = |name: &str, node: &str, major: u32, minors: &str, kind: &str| {
        let _ = writeln!(s, "{name:<20} {node:<12} {major:3} {minors:>7} {kind}");
    };
    if has(5, 0) {
        row("/dev/tty", "/dev/tty", 5, "0", "system:/dev/tty");
    }
    if has(5, 1) {
        row("/dev/console", "/dev/console", 5, "1", "system:console");
    }
    if has(5, 2) {
        row("/dev/ptmx", "/dev/ptmx", 5, "2", "system");
    }
    if m.registry.char_drivers.contains_key(&(136, None)) {
        row("pty_slave", "/dev/pts", 136, "0-1048575", "pty:slave");
    }
    if (64..128).any(|n| has(4, n)) {
        row("serial", "/dev/ttyS", 4, "64-127", "serial");
    }
    if (0..64).any(|n| has(4, n)) {
        row("unknown", "/dev/tty", 4, "1-63", "console");
    }
    Ok(s.into_bytes())
}

/// Lines of the machine's consoles; the first of them takes the kernel's messages.
pub(crate) fn consoles(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::new();
    let lines = m.registry.device_nodes.iter().filter(|n| abi::major(n.rdev) == 4);
    for (i, n) in lines.enumerate() {
        let flags = if i == 0 { "EC" } else { "E " };
        let _ = writeln!(s, "{:<20} -W- ({flags}  p  )    4:{}", n.name, abi::minor(n.rdev));
    }
    Ok(s.into_bytes())
}

pub(crate) fn misc(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::new();
    for n in m.registry.device_nodes.iter().filter(|n| abi::major(n.rdev) == 10) {
        let _ = writeln!(s, "{:3} {}", abi::minor(n.rdev), n.name);
    }
    Ok(s.into_bytes())
}

/// Locks on files that somebody has open.
pub(crate) fn locks(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut tables = HashSet::new();
    let mut inodes: Vec<Arc<dyn Inode>> = Vec::new();
    let mut seen = HashSet::new();
    for files in m.tree.tasks().iter().filter_map(|t| t.files()) {
        if !tables.insert(files.id) {
            continue;
        }
        for inode in files.fds().into_iter().filter_map(|fd| files.get(fd).ok()?.inode()) {
            if seen.insert(Arc::as_ptr(&inode).cast::<()>()) {
                inodes.push(inode);
            }
        }
    }
    let mut lines = BTreeSet::new();
    for inode in inodes {
        let list = inode.common().locks.list();
        if list.is_empty() {
            continue;
        }
        let Ok(a) = inode.attr() else { continue };
        for l in list {
            let kind = match l.owner {
                Owner::Table(_) => "POSIX ",
                Owner::File(_) => "OFDLCK",
                Owner::Flock(_) => "FLOCK ",
            };
            let how = if l.exclusive { "WRITE" } else { "READ " };
            let pid = if matches!(l.owner, Owner::File(_)) { -1 } else { l.pid };
            let end = if l.range.end >= Range::ALL.end { "EOF".to_string() } else { l.range.end.to_string() };
            let (major, minor) = (abi::major(a.dev), abi::minor(a.dev));
            lines.insert(format!(
                "{kind} ADVISORY  {how} {pid} {major:02x}:{minor:02x}:{} {} {end}",
                a.ino, l.range.start
            ));
        }
    }
    let mut s = String::new();
    for (i, l) in lines.iter().enumerate() {
        let _ = writeln!(s, "{}: {l}", i + 1);
    }
    Ok(s.into_bytes())
}
