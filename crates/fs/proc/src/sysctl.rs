//! /proc/sys: parameters that programs read and set, with Linux's defaults (sysctl(8), proc_sys(5)).

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use abi::errno;
use kernel::{Machine, Result, machine, task::Task};

use crate::{node::What, text::number};

/// How a value is kept.
enum Value {
    /// Printed by a function; cannot be set.
    Read(fn(&Arc<Machine>) -> String),
    /// Read and set through the machine.
    Live(fn(&Arc<Machine>) -> String, fn(&Arc<Machine>, &str) -> Result<()>),
    /// Fixed by what this kernel is: setting it to the same value is accepted, to another refused.
    Fixed(&'static str),
}

pub(crate) struct Sysctl {
    /// Path below /proc/sys.
    path: &'static str,
    pub(crate) mode: u32,
    value: Value,
}

const fn shown(path: &'static str, f: fn(&Arc<Machine>) -> String) -> Sysctl {
    Sysctl { path, mode: 0o444, value: Value::Read(f) }
}
const fn fixed(path: &'static str, v: &'static str) -> Sysctl {
    Sysctl { path, mode: 0o644, value: Value::Fixed(v) }
}

/// /proc/sys, sorted by path.
pub(crate) static FILES: &[Sysctl] = &[
    fixed("fs/file-max", "9223372036854775807"),
    shown("fs/file-nr", |_| "0\t0\t9223372036854775807".into()),
    fixed("fs/inotify/max_queued_events", "16384"),
    fixed("fs/inotify/max_user_instances", "128"),
    fixed("fs/inotify/max_user_watches", "65536"),
    fixed("fs/lease-break-time", "45"),
    fixed("fs/mount-max", "100000"),
    fixed("fs/nr_open", "1048576"),
    fixed("fs/pipe-max-size", "1048576"),
    fixed("fs/protected_hardlinks", "0"),
    fixed("fs/protected_symlinks", "0"),
    fixed("fs/suid_dumpable", "0"),
    fixed("kernel/cap_last_cap", "40"),
    fixed("kernel/core_pattern", "core"),
    fixed("kernel/core_uses_pid", "0"),
    Sysctl {
        path: "kernel/domainname",
        mode: 0o644,
        value: Value::Live(
            |m| m.uts.read().domainname.clone(),
            |m, v| {
                m.uts.write().domainname = v.chars().take(64).collect();
                Ok(())
            },
        ),
    },
    Sysctl {
        path: "kernel/hostname",
        mode: 0o644,
        value: Value::Live(
            |m| m.uts.read().nodename.clone(),
            |m, v| {
                m.uts.write().nodename = v.chars().take(64).collect();
                Ok(())
            },
        ),
    },
    fixed("kernel/kptr_restrict", "0"),
    fixed("kernel/msgmax", "8192"),
    fixed("kernel/msgmnb", "16384"),
    fixed("kernel/msgmni", "32000"),
    fixed("kernel/ngroups_max", "65536"),
    shown("kernel/osrelease", |_| machine::RELEASE.into()),
    shown("kernel/ostype", |_| "Linux".into()),
    fixed("kernel/overflowgid", "65534"),
    fixed("kernel/overflowuid", "65534"),
    fixed("kernel/perf_event_paranoid", "3"),
    Sysctl {
        path: "kernel/pid_max",
        mode: 0o644,
        value: Value::Live(
            |m| m.tree.lock().pid_max.to_string(),
            |m, v| {
                let n: i32 = v.parse().map_err(|_| errno::EINVAL)?;
                if !(301..=4_194_304).contains(&n) {
                    return Err(errno::EINVAL);
                }
                m.tree.lock().pid_max = n;
                Ok(())
            },
        ),
    },
    fixed("kernel/printk", "4\t4\t1\t7"),
    fixed("kernel/pty/max", "4096"),
    shown("kernel/random/boot_id", |m| uuid_of(&BOOT_ID_SEED, m)),
    fixed("kernel/random/entropy_avail", "256"),
    fixed("kernel/random/poolsize", "256"),
    shown("kernel/random/uuid", |m| {
        let mut b = [0; 16];
        m.host.entropy(&mut b);
        uuid(b)
    }),
    fixed("kernel/randomize_va_space", "2"),
    fixed("kernel/sched_autogroup_enabled", "0"),
    fixed("kernel/sem", "32000\t1024000000\t500\t32000"),
    fixed("kernel/shmall", "18446744073692774399"),
    fixed("kernel/shmmax", "18446744073692774399"),
    fixed("kernel/shmmni", "4096"),
    fixed("kernel/sysrq", "0"),
    fixed("kernel/tainted", "0"),
    shown("kernel/threads-max", |m| (m.config.memory / (8 * 16384)).to_string()),
    shown("kernel/version", |_| machine::VERSION.into()),
    fixed("kernel/yama/ptrace_scope", "0"),
    fixed("net/core/somaxconn", "4096"),
    fixed("net/unix/max_dgram_qlen", "512"),
    fixed("vm/drop_caches", "0"),
    fixed("vm/max_map_count", "65530"),
    fixed("vm/min_free_kbytes", "0"),
    fixed("vm/mmap_min_addr", "65536"),
    fixed("vm/nr_hugepages", "0"),
    fixed("vm/overcommit_memory", "0"),
    fixed("vm/overcommit_ratio", "50"),
    fixed("vm/swappiness", "60"),
];

/// Keeps the boot id of a machine apart from random uuids: derived from its boot time.
static BOOT_ID_SEED: AtomicI64 = AtomicI64::new(0x756d_6c61);

fn uuid_of(seed: &AtomicI64, m: &Machine) -> String {
    let mut x = m.clock.boot_monotonic_ns() ^ seed.load(Ordering::Relaxed).cast_unsigned();
    let mut b = [0; 16];
    for byte in &mut b {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (x >> 56) as u8;
    }
    uuid(b)
}

fn uuid(mut b: [u8; 16]) -> String {
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

pub(crate) fn read_value(i: usize, m: &Arc<Machine>) -> String {
    match &FILES[i].value {
        Value::Read(f) | Value::Live(f, _) => f(m),
        Value::Fixed(v) => (*v).to_string(),
    }
}

pub(crate) fn read(i: usize, task: &Task) -> Result<Vec<u8>> {
    Ok((read_value(i, &task.machine) + "\n").into_bytes())
}

pub(crate) fn write(i: usize, task: &Task, data: &[u8]) -> Result<()> {
    if !task.cred().has(abi::cap::CAP_SYS_ADMIN) {
        return Err(errno::EPERM);
    }
    let text = std::str::from_utf8(data).map_err(|_| errno::EINVAL)?.trim();
    match &FILES[i].value {
        Value::Read(_) => Err(errno::EPERM),
        Value::Live(_, set) => set(&task.machine, text),
        Value::Fixed(v) => {
            // Dropping caches is a request, not a value.
            if FILES[i].path == "vm/drop_caches" {
                return number(data).map(|_| ());
            }
            let same = v.split_whitespace().eq(text.split_whitespace());
            if same { Ok(()) } else { Err(errno::EINVAL) }
        }
    }
}

/// The part of a path above `depth`.
fn prefix(path: &str, depth: usize) -> Vec<&str> {
    path.split('/').take(depth).collect()
}

/// Children of the directory that row `row` has at `depth`: name and a row below it.
fn children(row: usize, depth: usize) -> Vec<(&'static str, usize, bool)> {
    let here = prefix(FILES[row].path, depth);
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for (i, f) in FILES.iter().enumerate() {
        let parts: Vec<&'static str> = f.path.split('/').collect();
        if parts.len() > depth && parts[..depth] == here[..] && seen.insert(parts[depth]) {
            out.push((parts[depth], i, parts.len() == depth + 1));
        }
    }
    out
}

fn place((_, row, is_file): (&str, usize, bool), depth: usize) -> What {
    if is_file { What::Sysctl(row) } else { What::SysDir { row, depth: depth + 1 } }
}

pub(crate) fn find(row: usize, depth: usize, name: &[u8]) -> Option<What> {
    children(row, depth).into_iter().find(|c| c.0.as_bytes() == name).map(|c| place(c, depth))
}

pub(crate) fn list(row: usize, depth: usize) -> Vec<(String, What)> {
    children(row, depth).into_iter().map(|c| (c.0.to_string(), place(c, depth))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_found_and_listed() {
        let top: Vec<_> = list(0, 0).into_iter().map(|x| x.0).collect();
        assert_eq!(top, ["fs", "kernel", "net", "vm"]);
        let Some(What::SysDir { row, depth: 1 }) = find(0, 0, b"kernel") else { panic!("no kernel") };
        assert!(matches!(find(row, 1, b"hostname"), Some(What::Sysctl(_))));
        assert!(matches!(find(row, 1, b"random"), Some(What::SysDir { depth: 2, .. })));
        assert!(find(row, 1, b"nothing").is_none());
    }
}
