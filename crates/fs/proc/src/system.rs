//! Files about the machine.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use abi::errno;
use kernel::{Machine, Result, machine};

use crate::{devices, sysvipc, text::number};

/// Takes what somebody writes.
type Store = fn(&Arc<Machine>, &[u8]) -> Result<()>;

/// One file of /proc itself.
pub(crate) struct SystemFile {
    pub(crate) name: &'static str,
    pub(crate) mode: u32,
    pub(crate) make: fn(&Arc<Machine>) -> Result<Vec<u8>>,
    pub(crate) store: Option<Store>,
}

const fn file(name: &'static str, make: fn(&Arc<Machine>) -> Result<Vec<u8>>) -> SystemFile {
    SystemFile { name, mode: 0o444, make, store: None }
}

pub(crate) static FILES: &[SystemFile] = &[
    file("cmdline", |m| Ok(format!("{}\n", m.config.cmdline).into_bytes())),
    file("cpuinfo", cpuinfo),
    file("consoles", devices::consoles),
    file("crypto", empty),
    file("devices", devices::devices),
    file("diskstats", empty),
    file("dma", empty),
    file("execdomains", |_| Ok(b"0-0\tLinux           \t[kernel]\n".to_vec())),
    SystemFile {
        name: "exitcode",
        mode: 0o600,
        make: |m| Ok(format!("{}\n", m.exit_code.load(Ordering::Relaxed)).into_bytes()),
        store: Some(|m, d| {
            m.exit_code.store(i32::try_from(number(d)?).map_err(|_| errno::EINVAL)?, Ordering::Relaxed);
            Ok(())
        }),
    },
    file("filesystems", filesystems),
    file("fb", empty),
    file("interrupts", interrupts),
    file("ioports", empty),
    SystemFile { name: "kallsyms", mode: 0o444, make: empty, store: None },
    file("loadavg", loadavg),
    file("locks", devices::locks),
    file("meminfo", meminfo),
    file("misc", devices::misc),
    file("modules", empty),
    file("partitions", |_| Ok(b"major minor  #blocks  name\n\n".to_vec())),
    file("softirqs", softirqs),
    file("stat", stat),
    file("swaps", |_| Ok(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_vec())),
    file("sysvipc/msg", sysvipc::msg),
    file("sysvipc/sem", sysvipc::sem),
    file("sysvipc/shm", sysvipc::shm),
    file("tty/drivers", devices::tty_drivers),
    file("tty/ldiscs", |_| Ok(b"n_tty       0\n".to_vec())),
    file("uptime", uptime),
    file("version", |_| {
        Ok(format!("Linux version {} (umlaut) {}\n", machine::RELEASE, machine::VERSION).into_bytes())
    }),
    file("vmstat", vmstat),
];

/// There are none of these.
fn empty(_: &Arc<Machine>) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

/// A head with a column for each processor.
fn per_cpu_head(m: &Machine, lead: usize) -> String {
    let cpus: String = (0..m.config.cpus).map(|i| format!("{:<11}", format!("CPU{i}"))).collect();
    format!("{}{}\n", " ".repeat(lead), cpus.trim_end())
}

/// No device interrupts this kernel.
fn interrupts(m: &Arc<Machine>) -> Result<Vec<u8>> {
    Ok(per_cpu_head(m, 11).into_bytes())
}

fn softirqs(m: &Arc<Machine>) -> Result<Vec<u8>> {
    Ok(per_cpu_head(m, 20).into_bytes())
}

fn cpuinfo(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::new();
    let facts = m.host.facts();
    for i in 0..m.config.cpus {
        let unknown = hal::CpuInfo::default();
        let c = facts.cpu_info.get(i as usize).or(facts.cpu_info.first()).unwrap_or(&unknown);
        let _ = write!(
            s,
            "processor\t: {i}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: {}\n\
             cpu MHz\t\t: {}.000\ncache size\t: {} KB\nphysical id\t: 0\nsiblings\t: {n}\ncore id\t\t: {i}\n\
             cpu cores\t: {n}\napicid\t\t: {i}\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 16\nwp\t\t: yes\n\
             flags\t\t: {}\nbogomips\t: {}.00\nclflush size\t: 64\ncache_alignment\t: 64\n\
             address sizes\t: 48 bits physical, 48 bits virtual\n\n",
            c.vendor,
            c.family,
            c.model,
            c.model_name,
            c.stepping,
            c.mhz,
            c.cache_kib,
            c.flags,
            2 * c.mhz,
            n = m.config.cpus,
        );
    }
    Ok(s.into_bytes())
}

fn filesystems(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::new();
    for (name, t) in &m.registry.filesystems {
        let _ = writeln!(s, "{}\t{name}", if t.needs_device() { "" } else { "nodev" });
    }
    Ok(s.into_bytes())
}

/// Hundredths of a second.
fn centis(ns: u64) -> (u64, u64) {
    (ns / 1_000_000_000, ns / 10_000_000 % 100)
}

fn busy_ns(m: &Arc<Machine>) -> (u64, u64) {
    let ended = m.tree.ended_cpu_ns();
    m.tree.tasks().iter().fold(ended, |(u, s), t| {
        let now = t.cpu_time_ns();
        (u + now.0, s + now.1)
    })
}

fn uptime(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let up = m.clock.uptime_ns();
    let (user, system) = busy_ns(m);
    let idle = (up * u64::from(m.config.cpus)).saturating_sub(user + system);
    let ((a, b), (c, d)) = (centis(up), centis(idle));
    Ok(format!("{a}.{b:02} {c}.{d:02}\n").into_bytes())
}

fn loadavg(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let tasks = m.tree.tasks();
    let running = tasks.iter().filter(|t| t.run_state() == kernel::task::RunState::Running).count();
    let last = tasks.iter().map(|t| t.tid()).max().unwrap_or(1);
    let load: String = m.load.averages().iter().map(|(a, b)| format!("{a}.{b:02} ")).collect();
    Ok(format!("{load}{running}/{} {last}\n", tasks.len()).into_bytes())
}

fn stat(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let up = m.clock.uptime_ns() / 10_000_000;
    let (user, system) = busy_ns(m);
    let (user, system) = (user / 10_000_000, system / 10_000_000);
    let cpus = u64::from(m.config.cpus);
    let idle = (up * cpus).saturating_sub(user + system);
    let mut s = format!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    for i in 0..cpus {
        let _ = writeln!(s, "cpu{i} {} 0 {} {} 0 0 0 0 0 0", user / cpus, system / cpus, idle / cpus);
    }
    let tasks = m.tree.tasks();
    let running = tasks.iter().filter(|t| t.run_state() == kernel::task::RunState::Running).count();
    let boot = (m.clock.realtime_ns() - m.clock.uptime_ns()) / 1_000_000_000;
    let switches: u64 = tasks.iter().map(|t| t.stats.waits.load(Ordering::Relaxed)).sum();
    let forks = m.tree.lock().forks;
    let _ = write!(
        s,
        "intr 0\nctxt {switches}\nbtime {boot}\nprocesses {forks}\nprocs_running {}\nprocs_blocked 0\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0\n",
        running.max(1)
    );
    Ok(s.into_bytes())
}

/// Guest memory: total, used by processes, used by files; in KiB.
fn memory_kib(m: &Arc<Machine>) -> (u64, u64, u64) {
    let c = &m.memory;
    (c.limit() >> 10, c.resident_bytes() >> 10, c.cache_bytes() >> 10)
}

fn meminfo(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let (total, private, files) = memory_kib(m);
    let free = total.saturating_sub(private + files);
    let rows = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", files),
        ("SwapCached", 0),
        ("Active", private),
        ("Inactive", files),
        ("Active(anon)", private),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", files),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", private),
        ("Mapped", 0),
        ("Shmem", files),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("CommitLimit", m.memory.commit_limit() >> 10),
        ("Committed_AS", m.memory.committed_bytes() >> 10),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("HugePages_Total", 0),
        ("HugePages_Free", 0),
        ("Hugepagesize", 2048),
    ];
    let mut s = String::new();
    for (name, v) in rows {
        let unit = if name.starts_with("HugePages_") { "" } else { " kB" };
        let _ = writeln!(s, "{:<15} {v:>8}{unit}", format!("{name}:"));
    }
    Ok(s.into_bytes())
}

fn vmstat(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let (total, private, files) = memory_kib(m);
    let free = total.saturating_sub(private + files);
    let faults = m.tree.tasks().iter().fold((0, 0), |(all, major), t| {
        (all + t.stats.faults.load(Ordering::Relaxed), major + t.stats.major_faults.load(Ordering::Relaxed))
    });
    Ok(format!(
        "nr_free_pages {}\nnr_inactive_anon 0\nnr_active_anon {}\nnr_inactive_file {}\nnr_active_file 0\nnr_anon_pages {}\n\
         nr_file_pages {}\nnr_dirty 0\nnr_writeback 0\nnr_shmem {}\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault {}\n\
         pgmajfault {}\noom_kill {}\n",
        free / 4,
        private / 4,
        files / 4,
        private / 4,
        files / 4,
        files / 4,
        faults.0,
        faults.1,
        m.memory.oom_kills(),
    )
    .into_bytes())
}

pub(crate) fn paths() -> Vec<&'static str> {
    FILES.iter().map(|f| f.name).collect()
}
