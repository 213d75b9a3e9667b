//! From UML's command line to a [`Setup`]: the `linux` program without its printing and exiting.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf, sync::Arc};

use cmdline::{Channel as Spec, Config, LineConfig as LineSpec};
use drv_console::{Channel, LineConfig};
use hal::Host;
use host_linux::{LinuxHost, confine::Paths};
use kernel::task::init::InitKind;

use crate::{
    machine::{Confine, Failure, Root, Setup, Stdio},
    modules::HostMounts,
};

/// Options for devices that are not built yet: the name, whether it may go on (as with UML every word that begins so is the
/// driver's), and what is missing.
const UNBUILT: [(&str, bool, &str); 12] = [
    ("ubd", true, "block devices are"),
    ("eth", true, "network cards are"),
    ("vec", true, "network cards are"),
    ("initrd", false, "initial RAM disks are"),
    ("mconsole", false, "the management console is"),
    ("dsp", false, "sound devices are"),
    ("mixer", false, "sound devices are"),
    ("dtb", false, "device trees are"),
    ("iomem", false, "regions of I/O memory are"),
    ("virtio_uml.device", false, "virtio devices are"),
    ("vfio_uml.device", false, "passed-through devices are"),
    ("time-travel", true, "time travel is"),
];

/// Refuses what is asked for and has no device yet, with one line that names the option.
pub fn refuse_unbuilt(c: &Config, args: &[Vec<u8>]) -> Result<(), Failure> {
    let no = |option: &str, what: &str| Err(Failure::new(format!("{option}: {what} not built yet")));
    for a in args.iter().take_while(|a| *a != b"--") {
        let text = String::from_utf8_lossy(a);
        let (name, value) = text.split_once(['=', ':']).unwrap_or((&text, ""));
        for (prefix, goes_on, what) in UNBUILT {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            let valued = name.len() < text.len();
            if (rest.is_empty() || goes_on) && (valued || prefix.starts_with("time")) {
                return no(&text[..text.len().min(name.len() + 1)], what);
            }
        }
        let line = name.strip_prefix("con").or_else(|| name.strip_prefix("ssl"));
        if line.is_some_and(|n| n.chars().all(|c| c.is_ascii_digit())) {
            for (word, what) in [("xterm", "terminal windows are"), ("port", "TCP channels are")] {
                if value.split(',').any(|half| half.starts_with(word)) {
                    return no(&text, what);
                }
            }
        }
    }
    match c.rootfstype.as_deref() {
        Some("hostfs") => Ok(()),
        Some(t) => Err(Failure::new(format!("rootfstype={t}: only hostfs can be the root yet"))),
        // A root device is what UML looks for then, and not the host's tree.
        None => {
            let root = String::from_utf8_lossy(&c.root);
            let hint = "rootfstype=hostfs rootflags=DIR boots a directory";
            Err(Failure::new(format!("root={root}: block devices are not built yet ({hint})")))
        }
    }
}

fn channel(host: &Arc<LinuxHost>, name: &str, spec: &Spec) -> Result<Channel, Failure> {
    Ok(match spec {
        Spec::Fd(n) => {
            let s = host.stream(*n).map_err(|e| Failure::new(format!("{name}=fd:{n}: {e}")))?;
            Channel::Stream(s)
        }
        Spec::Null => Channel::Null,
        Spec::Pts => Channel::Pts,
        Spec::Tty(path) => {
            let shown = String::from_utf8_lossy(path).into_owned();
            let s = host
                .streams()
                .terminal(path)
                .map_err(|e| Failure::new(format!("{name}=tty:{shown}: {e}")))?;
            Channel::Stream(s)
        }
        // Refused when asked for; as a default they are lines that do not exist.
        Spec::Port(_) | Spec::Xterm => Channel::None,
    })
}

fn lines(host: &Arc<LinuxHost>, c: &Config) -> Result<Vec<LineConfig>, Failure> {
    let mut out = Vec::new();
    for (serial, all) in [(false, &c.con), (true, &c.ssl)] {
        for n in 0..all.count() {
            let name = format!("{}{n}", if serial { "ssl" } else { "con" });
            let (input, output) = match all.get(n) {
                LineSpec::None => continue,
                LineSpec::Both(s) => {
                    let ch = channel(host, &name, s)?;
                    (ch.clone(), ch)
                }
                LineSpec::Pair(i, o) => (channel(host, &name, i)?, channel(host, &name, o)?),
            };
            out.push(LineConfig { serial, index: n as u32, input, output });
        }
    }
    Ok(out)
}

/// What the machine may reach on the host. `hostfs=DIR` bounds all host mounts, the root's too; without it a guest may
/// mount any host directory, as in UML, and the whole tree stays open.
pub fn reach(c: &Config) -> Paths {
    let path = |b: &[u8]| PathBuf::from(OsStr::from_bytes(b));
    let jail: &[u8] = if c.hostfs.dir.is_empty() { b"/" } else { &c.hostfs.dir };
    let mut reach = Paths {
        // Limits of the machine's own control group.
        read: vec!["/sys/fs/cgroup".into()],
        write: vec![path(jail)],
        ..Paths::default()
    };
    for lines in [&c.con, &c.ssl] {
        for n in 0..lines.count() {
            let channels = match lines.get(n) {
                LineSpec::None => continue,
                LineSpec::Both(s) => vec![s],
                LineSpec::Pair(i, o) => vec![i, o],
            };
            for channel in channels {
                match channel {
                    Spec::Fd(n) => reach.inherited.push(*n),
                    Spec::Tty(device) => reach.devices.push(path(device)),
                    Spec::Pts => reach.devices.push("/dev/ptmx".into()),
                    Spec::Null | Spec::Port(_) | Spec::Xterm => {}
                }
            }
        }
    }
    reach.devices.sort();
    reach.devices.dedup();
    reach.inherited.sort_unstable();
    reach.inherited.dedup();
    reach
}

/// The machine that a command line describes.
pub fn setup(host: &Arc<LinuxHost>, c: &Config) -> Result<Setup, Failure> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let console = match c.consoles.last().map(String::as_str) {
        Some(n) if n.starts_with("ttyS") => (true, n[4..].parse().unwrap_or(0)),
        Some(n) if n.starts_with("tty") => (false, n[3..].parse().unwrap_or(0)),
        _ => (false, 0),
    };
    let flags = text(&c.rootflags);
    let jail = text(&c.hostfs.dir);
    let path = format!("{jail}/{}", flags.trim_start_matches('/'));
    let split = |e: &Vec<u8>| {
        let at = e.iter().position(|b| *b == b'=').unwrap_or(e.len());
        (e[..at].to_vec(), e.get(at + 1..).unwrap_or_default().to_vec())
    };
    let programs = match &c.init {
        Some(p) => vec![p.clone()],
        None => ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"].map(|p| p.as_bytes().to_vec()).to_vec(),
    };
    let mut args = Vec::new();
    if !c.init_args.is_empty() {
        args.push(programs[0].clone());
        args.extend(c.init_args.iter().cloned());
    }
    Ok(Setup {
        root: Root::HostDir { path, append: c.hostfs.append },
        read_only: !c.root_rw,
        host_mounts: HostMounts::Below { jail, append: c.hostfs.append },
        binds: Vec::new(),
        mounts: false,
        init: InitKind::Program,
        programs,
        search_path: false,
        args,
        env: c.init_env.iter().map(split).collect(),
        cwd: b"/".to_vec(),
        user: None,
        memory: Some(c.memory),
        cpus: c.ncpus,
        hostname: c.hostname.clone().unwrap_or_else(|| "(none)".into()),
        cmdline: text(&c.command_line),
        stdio: Stdio::Console,
        consoles: lines(host, c)?,
        console,
        trace: None,
        stats: false,
        load: None,
        save: None,
        confine: Confine::Calls { writing: true },
        log_level: c.loglevel.unwrap_or(if c.quiet { 4 } else { 7 }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach_of(words: &[&str]) -> Paths {
        let words: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
        match cmdline::parse(&words).unwrap() {
            cmdline::Request::Boot(c) => reach(&c),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_machine_reaches_what_the_command_line_names() {
        let all = reach_of(&["con=null", "ssl=null"]);
        assert_eq!(all.write, [PathBuf::from("/")]);
        assert!(all.devices.is_empty());
        assert_eq!(all.inherited, [0, 1]);
        let jail = reach_of(&["hostfs=/srv/tree,append", "con=pts", "con1=tty:/dev/tty7", "ssl=fd:9"]);
        assert_eq!(jail.write, [PathBuf::from("/srv/tree")]);
        assert_eq!(jail.devices, [PathBuf::from("/dev/ptmx"), "/dev/tty7".into()]);
        assert_eq!(jail.inherited, [0, 1, 9]);
    }
}
