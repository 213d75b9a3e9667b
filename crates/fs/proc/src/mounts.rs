//! /proc/PID/mounts and mountinfo (proc(5), fstab(5)).

use std::{fmt::Write as _, sync::Arc};

use abi::fs::{
    MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_NOSYMFOLLOW, MS_RDONLY, MS_RELATIME,
};
use kernel::vfs::{
    Path,
    mount::{Mount, MountNs},
};

/// Blanks, newlines and backslashes as octal, so that a line splits at blanks.
fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for b in bytes {
        match b {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                let _ = write!(out, "\\{b:03o}");
            }
            _ => out.push(char::from(*b)),
        }
    }
    out
}

fn options(m: &Mount, read_only: bool) -> String {
    let f = m.flags();
    let mut out = String::from(if read_only { "ro" } else { "rw" });
    let words = [
        (MS_NOSUID, ",nosuid"),
        (MS_NODEV, ",nodev"),
        (MS_NOEXEC, ",noexec"),
        (MS_NOATIME, ",noatime"),
        (MS_NODIRATIME, ",nodiratime"),
        (MS_NOSYMFOLLOW, ",nosymfollow"),
    ];
    for (bit, word) in words {
        if f & bit != 0 {
            out.push_str(word);
        }
    }
    if f & (MS_NOATIME | MS_RELATIME) == MS_RELATIME || f & MS_NOATIME == 0 {
        out.push_str(",relatime");
    }
    out
}

/// Options of the filesystem itself, led by a comma.
fn fs_options(m: &Mount) -> String {
    let own = m.fs.options();
    if own.is_empty() { own } else { format!(",{own}") }
}

/// All mounts in the order of their making, whatever was moved since.
fn in_order(ns: &MountNs) -> Vec<Arc<Mount>> {
    let mut all = ns.mounts();
    all.sort_by_key(|m| m.id);
    all
}

/// Where a mount is seen from `root`; `None` outside of it.
fn point(m: &Arc<Mount>, root: &Path) -> Option<Vec<u8>> {
    let (text, reached) = m.root_path().text_from(root);
    reached.then_some(text)
}

fn covered(ns: &MountNs, m: &Arc<Mount>) -> bool {
    // The root of a namespace may be covered by a later mount on it.
    let top = ns.cross(m.root_path());
    !Arc::ptr_eq(&top.mount, m)
}

/// Which part of its filesystem a mount shows.
fn shown(m: &Mount) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = m.root.clone();
    while let (name, Some(parent)) = at.place() {
        names.push(name);
        at = parent;
    }
    let mut text = Vec::new();
    for n in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(n);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    text
}

pub(crate) fn mounts(ns: &MountNs, root: &Path) -> Vec<u8> {
    let mut s = String::new();
    for m in in_order(ns) {
        let Some(at) = point(&m, root) else { continue };
        let _ = writeln!(
            s,
            "{} {} {} {}{} 0 0",
            escape(&m.source),
            escape(&at),
            m.fs.type_name(),
            options(&m, m.read_only()),
            fs_options(&m)
        );
    }
    s.into_bytes()
}

pub(crate) fn mountstats(ns: &MountNs, root: &Path) -> Vec<u8> {
    let mut s = String::new();
    for m in in_order(ns) {
        let Some(at) = point(&m, root) else { continue };
        let (source, at) = (escape(&m.source), escape(&at));
        let _ = writeln!(s, "device {source} mounted on {at} with fstype {}", m.fs.type_name());
    }
    s.into_bytes()
}

/// The optional fields, each led by a blank.
fn propagation(ns: &MountNs, m: &Mount, root: &Path) -> String {
    let p = m.propagation();
    let mut out = String::new();
    if let Some(group) = p.group {
        let _ = write!(out, " shared:{group}");
    }
    if let Some(master) = p.master {
        let _ = write!(out, " master:{master}");
        let nearest = ns.visible_master(m, |m| point(m, root).is_some());
        if let Some(group) = nearest.filter(|g| *g != master) {
            let _ = write!(out, " propagate_from:{group}");
        }
    }
    if p.unbindable {
        out.push_str(" unbindable");
    }
    out
}

pub(crate) fn mountinfo(ns: &MountNs, root: &Path) -> Vec<u8> {
    let mut s = String::new();
    for m in in_order(ns) {
        let Some(at) = point(&m, root) else { continue };
        if covered(ns, &m) && at == b"/" {
            continue;
        }
        let parent = m.parent().map_or(m.id, |p| p.id);
        let dev = m.fs.dev();
        let rw = if m.fs_read_only() { "ro" } else { "rw" };
        let _ = writeln!(
            s,
            "{} {parent} {}:{} {} {} {}{} - {} {} {rw}{}",
            m.id,
            abi::major(dev),
            abi::minor(dev),
            escape(&shown(&m)),
            escape(&at),
            options(&m, m.flags() & MS_RDONLY != 0),
            propagation(ns, &m, root),
            m.fs.type_name(),
            escape(&m.source),
            fs_options(&m)
        );
    }
    s.into_bytes()
}
