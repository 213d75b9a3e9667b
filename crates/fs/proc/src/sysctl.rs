//! /proc/sys: parameters that programs read and set, with Linux's defaults (sysctl(8), proc_sys(5)).

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use abi::errno;
use kernel::{
    Machine, Result,
    ipc::mqueue::{HARD_MSG_MAX, HARD_MSGSIZE_MAX},
    machine,
    task::Task,
};

use crate::{
    text::number,
    tree::{self, Place},
    what::What,
};

/// How a value is kept.
enum Value {
    /// Printed by a function; cannot be set.
    Read(fn(&Arc<Machine>) -> String),
    /// Read and set through the machine.
    Live(fn(&Arc<Machine>) -> String, fn(&Arc<Machine>, &str) -> Result<()>),
    /// A number that the kernel obeys, within a range.
    Number(fn(&Machine) -> &AtomicU64, u64, u64),
    /// Several of them.
    Numbers(fn(&Machine) -> &[AtomicU64], u64),
    /// A number for a mechanism that this kernel does not have (swap, write-back, a watchdog): kept, within a range.
    Kept(&'static str, u64, u64),
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
const fn number_of(path: &'static str, of: fn(&Machine) -> &AtomicU64, min: u64, max: u64) -> Sysctl {
    Sysctl { path, mode: 0o644, value: Value::Number(of, min, max) }
}
const fn kept(path: &'static str, default: &'static str, min: u64, max: u64) -> Sysctl {
    Sysctl { path, mode: 0o644, value: Value::Kept(default, min, max) }
}

const INT_MAX: u64 = i32::MAX as u64;

/// A row of fs.protected_*, from 0 to a largest value.
macro_rules! protected {
    ($path:literal, $which:ident, $most:literal) => {
        Sysctl {
            path: $path,
            mode: 0o600,
            value: Value::Live(
                |m| m.vfs.protected.$which.load(Ordering::Relaxed).to_string(),
                |m, v| {
                    let n: u32 = v.parse().map_err(|_| errno::EINVAL)?;
                    if n > $most {
                        return Err(errno::EINVAL);
                    }
                    m.vfs.protected.$which.store(n, Ordering::Relaxed);
                    Ok(())
                },
            ),
        }
    };
}

/// /proc/sys, sorted by path.
pub(crate) static FILES: &[Sysctl] = &[
    fixed("fs/aio-max-nr", "65536"),
    shown("fs/aio-nr", |_| "0".into()),
    shown("fs/dentry-state", |_| "0\t0\t45\t0\t0\t0".into()),
    fixed("fs/epoll/max_user_watches", "1048576"),
    fixed("fs/file-max", "9223372036854775807"),
    shown("fs/file-nr", |m| format!("{}\t0\t9223372036854775807", open_files(m))),
    shown("fs/inode-nr", |_| "0\t0".into()),
    shown("fs/inode-state", |_| "0\t0\t0\t0\t0\t0\t0".into()),
    fixed("fs/inotify/max_queued_events", "16384"),
    fixed("fs/inotify/max_user_instances", "128"),
    fixed("fs/inotify/max_user_watches", "65536"),
    fixed("fs/lease-break-time", "45"),
    fixed("fs/leases-enable", "1"),
    fixed("fs/mount-max", "10000"),
    number_of("fs/mqueue/msg_default", |m| &m.ipc.mqueue.limits.msg_default, 1, HARD_MSG_MAX),
    number_of("fs/mqueue/msg_max", |m| &m.ipc.mqueue.limits.msg_max, 1, HARD_MSG_MAX),
    number_of("fs/mqueue/msgsize_default", |m| &m.ipc.mqueue.limits.msgsize_default, 128, HARD_MSGSIZE_MAX),
    number_of("fs/mqueue/msgsize_max", |m| &m.ipc.mqueue.limits.msgsize_max, 128, HARD_MSGSIZE_MAX),
    number_of("fs/mqueue/queues_max", |m| &m.ipc.mqueue.limits.queues_max, 0, INT_MAX),
    number_of("fs/nr_open", |m| &m.tunables.nr_open, 64, 1 << 20),
    fixed("fs/overflowgid", "65534"),
    fixed("fs/overflowuid", "65534"),
    Sysctl {
        path: "fs/pipe-max-size",
        mode: 0o644,
        value: Value::Live(
            |m| m.tunables.pipe_max_size.load(Ordering::Relaxed).to_string(),
            |m, v| {
                let n: u64 = v.parse().map_err(|_| errno::EINVAL)?;
                if n == 0 || n > 1 << 31 {
                    return Err(errno::EINVAL);
                }
                m.tunables.pipe_max_size.store(n.max(abi::PAGE_SIZE).next_power_of_two(), Ordering::Relaxed);
                Ok(())
            },
        ),
    },
    fixed("fs/pipe-user-pages-hard", "0"),
    fixed("fs/pipe-user-pages-soft", "0"),
    protected!("fs/protected_fifos", fifos, 2),
    protected!("fs/protected_hardlinks", hardlinks, 1),
    protected!("fs/protected_regular", regular, 2),
    protected!("fs/protected_symlinks", symlinks, 1),
    fixed("fs/suid_dumpable", "0"),
    shown("kernel/arch", |_| "x86_64".into()),
    shown("kernel/cap_last_cap", |_| "40".into()),
    Sysctl {
        path: "kernel/core_pattern",
        mode: 0o644,
        value: Value::Live(|m| m.tunables.core.pattern(), |m, v| m.tunables.core.set_pattern(v)),
    },
    fixed("kernel/core_pipe_limit", "0"),
    Sysctl {
        path: "kernel/core_uses_pid",
        mode: 0o644,
        value: Value::Live(
            |m| u8::from(m.tunables.core.uses_pid()).to_string(),
            |m, v| {
                m.tunables.core.set_uses_pid(v.parse::<i32>().map_err(|_| errno::EINVAL)? != 0);
                Ok(())
            },
        ),
    },
    fixed("kernel/ctrl-alt-del", "0"),
    fixed("kernel/dmesg_restrict", "0"),
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
    kept("kernel/hung_task_timeout_secs", "120", 0, INT_MAX),
    fixed("kernel/kptr_restrict", "0"),
    number_of("kernel/msgmax", |m| &m.ipc.limits.msgmax, 0, INT_MAX),
    number_of("kernel/msgmnb", |m| &m.ipc.limits.msgmnb, 0, INT_MAX),
    number_of("kernel/msgmni", |m| &m.ipc.limits.msgmni, 0, 32768),
    shown("kernel/ngroups_max", |_| "65536".into()),
    kept("kernel/numa_balancing", "0", 0, 3),
    shown("kernel/osrelease", |_| machine::RELEASE.into()),
    shown("kernel/ostype", |_| "Linux".into()),
    fixed("kernel/overflowgid", "65534"),
    fixed("kernel/overflowuid", "65534"),
    kept("kernel/panic", "0", 0, INT_MAX),
    kept("kernel/panic_on_oops", "0", 0, 1),
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
    kept("kernel/printk_ratelimit", "5", 0, INT_MAX),
    kept("kernel/printk_ratelimit_burst", "10", 0, INT_MAX),
    fixed("kernel/pty/max", "4096"),
    fixed("kernel/pty/reserve", "1024"),
    shown("kernel/random/boot_id", |m| uuid_of(&BOOT_ID_SEED, m)),
    shown("kernel/random/entropy_avail", |_| "256".into()),
    shown("kernel/random/poolsize", |_| "256".into()),
    kept("kernel/random/urandom_min_reseed_secs", "60", 0, INT_MAX),
    shown("kernel/random/uuid", |m| {
        let mut b = [0; 16];
        m.host.entropy(&mut b);
        uuid(b)
    }),
    kept("kernel/random/write_wakeup_threshold", "256", 0, 256),
    fixed("kernel/randomize_va_space", "2"),
    fixed("kernel/sched_autogroup_enabled", "0"),
    fixed("kernel/sched_rr_timeslice_ms", "100"),
    fixed("kernel/sched_rt_period_us", "1000000"),
    fixed("kernel/sched_rt_runtime_us", "950000"),
    Sysctl { path: "kernel/sem", mode: 0o644, value: Value::Numbers(|m| &m.ipc.limits.sem, INT_MAX) },
    fixed("kernel/shm_rmid_forced", "0"),
    number_of("kernel/shmall", |m| &m.ipc.limits.shmall, 0, u64::MAX),
    number_of("kernel/shmmax", |m| &m.ipc.limits.shmmax, 0, u64::MAX),
    number_of("kernel/shmmni", |m| &m.ipc.limits.shmmni, 0, 32768),
    kept("kernel/sysrq", "0", 0, 511),
    Sysctl {
        path: "kernel/tainted",
        mode: 0o644,
        // Bits can be added, not taken away.
        value: Value::Live(
            |m| m.tunables.kept.lock().get("kernel/tainted").cloned().unwrap_or_else(|| "0".into()),
            |m, v| {
                let more: u64 = v.parse().map_err(|_| errno::EINVAL)?;
                let mut kept = m.tunables.kept.lock();
                let old = kept.get("kernel/tainted").and_then(|t| t.parse().ok()).unwrap_or(0);
                kept.insert("kernel/tainted", (old | more & 0x7_ffff).to_string());
                Ok(())
            },
        ),
    },
    number_of("kernel/threads-max", |m| &m.tunables.threads_max, 20, 4_194_303),
    kept("kernel/unprivileged_bpf_disabled", "2", 0, 2),
    shown("kernel/version", |_| machine::VERSION.into()),
    kept("kernel/watchdog", "0", 0, 1),
    fixed("kernel/yama/ptrace_scope", "0"),
    fixed("net/core/somaxconn", "4096"),
    fixed("net/unix/max_dgram_qlen", "512"),
    fixed("user/max_inotify_instances", "128"),
    fixed("user/max_inotify_watches", "65536"),
    kept("vm/admin_reserve_kbytes", "8192", 0, i64::MAX as u64),
    kept("vm/dirty_background_bytes", "0", 0, i64::MAX as u64),
    kept("vm/dirty_background_ratio", "10", 0, 100),
    kept("vm/dirty_bytes", "0", 0, i64::MAX as u64),
    kept("vm/dirty_expire_centisecs", "3000", 0, INT_MAX),
    kept("vm/dirty_ratio", "20", 0, 100),
    kept("vm/dirty_writeback_centisecs", "500", 0, INT_MAX),
    fixed("vm/drop_caches", "0"),
    fixed("vm/hugetlb_shm_group", "0"),
    kept("vm/laptop_mode", "0", 0, INT_MAX),
    number_of("vm/max_map_count", |m| &m.memory.policy.max_map_count, 0, INT_MAX),
    kept("vm/min_free_kbytes", "0", 0, INT_MAX),
    fixed("vm/mmap_min_addr", "65536"),
    fixed("vm/nr_hugepages", "0"),
    fixed("vm/nr_overcommit_hugepages", "0"),
    fixed("vm/oom_dump_tasks", "0"),
    fixed("vm/oom_kill_allocating_task", "0"),
    number_of("vm/overcommit_kbytes", |m| &m.memory.policy.overcommit_kbytes, 0, i64::MAX as u64 >> 10),
    number_of("vm/overcommit_memory", |m| &m.memory.policy.overcommit_memory, 0, 2),
    number_of("vm/overcommit_ratio", |m| &m.memory.policy.overcommit_ratio, 0, INT_MAX),
    kept("vm/page-cluster", "3", 0, 31),
    fixed("vm/panic_on_oom", "0"),
    kept("vm/stat_interval", "1", 0, INT_MAX),
    kept("vm/swappiness", "60", 0, 200),
    kept("vm/user_reserve_kbytes", "131072", 0, i64::MAX as u64),
    kept("vm/vfs_cache_pressure", "100", 0, INT_MAX),
    kept("vm/watermark_boost_factor", "15000", 0, INT_MAX),
    kept("vm/watermark_scale_factor", "10", 1, 3000),
    kept("vm/zone_reclaim_mode", "0", 0, 7),
];

/// Open files of all descriptor tables; one that several have counts once for each.
fn open_files(m: &Machine) -> usize {
    m.tree.tasks().iter().filter(|t| t.is_leader()).filter_map(|t| t.files()).map(|f| f.fds().len()).sum()
}

/// Values separated by white space, each a number of the range.
fn parse_numbers(text: &str, max: u64) -> Result<Vec<u64>> {
    text.split_whitespace().map(|w| w.parse().ok().filter(|n| *n <= max).ok_or(errno::EINVAL)).collect()
}

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

fn load(n: &AtomicU64) -> String {
    n.load(Ordering::Relaxed).to_string()
}

pub(crate) fn read_value(i: usize, m: &Arc<Machine>) -> String {
    match &FILES[i].value {
        Value::Read(f) | Value::Live(f, _) => f(m),
        Value::Number(of, ..) => load(of(m)),
        Value::Numbers(of, _) => of(m).iter().map(load).collect::<Vec<_>>().join("\t"),
        Value::Kept(default, ..) => {
            m.tunables.kept.lock().get(FILES[i].path).cloned().unwrap_or_else(|| (*default).to_string())
        }
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
    let m = &task.machine;
    match &FILES[i].value {
        Value::Read(_) => Err(errno::EPERM),
        Value::Live(_, set) => set(m, text),
        Value::Number(of, min, max) => {
            let n = *parse_numbers(text, *max)?.first().filter(|n| **n >= *min).ok_or(errno::EINVAL)?;
            of(m).store(n, Ordering::Relaxed);
            Ok(())
        }
        Value::Numbers(of, max) => {
            for (slot, n) in of(m).iter().zip(parse_numbers(text, *max)?) {
                slot.store(n, Ordering::Relaxed);
            }
            Ok(())
        }
        Value::Kept(_, min, max) => {
            let n = *parse_numbers(text, *max)?.first().filter(|n| **n >= *min).ok_or(errno::EINVAL)?;
            m.tunables.kept.lock().insert(FILES[i].path, n.to_string());
            Ok(())
        }
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

fn paths() -> Vec<&'static str> {
    FILES.iter().map(|f| f.path).collect()
}

fn what(p: Place) -> What {
    match p {
        Place::Row(i) => What::Sysctl(i),
        Place::Dir { row, depth } => What::SysDir { row, depth },
    }
}

pub(crate) fn find(row: usize, depth: usize, name: &[u8]) -> Option<What> {
    tree::find(&paths(), row, depth, name).map(what)
}

pub(crate) fn list(row: usize, depth: usize) -> Vec<(String, What)> {
    tree::list(&paths(), row, depth).into_iter().map(|(n, p)| (n.to_string(), what(p))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_alone() {
        let paths = paths();
        assert!(paths.windows(2).all(|w| w[0] < w[1]), "{:?}", paths.windows(2).find(|w| w[0] >= w[1]));
    }
}
