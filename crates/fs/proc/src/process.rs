//! Files about one task.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use abi::{Timespec, errno};
use kernel::{
    Machine, Result,
    task::{Pid, RunState, Task, process::JobState},
    vfs::{file::FileOps, inode::Link, pseudo::Text},
};

use crate::{
    detail,
    mem::{MemFile, Memory},
    memory,
    pagemap::Pagemap,
};

/// Takes what somebody writes.
type Store = fn(&Arc<Machine>, &About, &Task, &[u8]) -> Result<()>;

/// One file of /proc/PID.
pub(crate) struct TaskFile {
    pub(crate) name: &'static str,
    pub(crate) mode: u32,
    make: fn(&Arc<Machine>, &About) -> Result<Vec<u8>>,
    store: Option<Store>,
}

const fn file(name: &'static str, mode: u32, make: fn(&Arc<Machine>, &About) -> Result<Vec<u8>>) -> TaskFile {
    TaskFile { name, mode, make, store: None }
}

const fn writable(
    name: &'static str,
    make: fn(&Arc<Machine>, &About) -> Result<Vec<u8>>,
    store: Store,
) -> TaskFile {
    TaskFile { name, mode: 0o644, make, store: Some(store) }
}

/// All ids are themselves.
const ID_MAP: &[u8] = b"         0          0 4294967295\n";

/// Symbolic links to places.
pub(crate) static PLACES: &[&str] = &["cwd", "exe", "root"];

/// Namespaces and the numbers their links show (the initial ones; Linux's numbers).
pub(crate) static NAMESPACES: &[(&str, u64)] = &[
    ("cgroup", 4_026_531_835),
    ("ipc", 4_026_531_839),
    ("mnt", 4_026_531_841),
    ("net", 4_026_531_840),
    ("pid", 4_026_531_836),
    ("pid_for_children", 4_026_531_836),
    ("time", 4_026_531_834),
    ("user", 4_026_531_837),
    ("uts", 4_026_531_838),
];

pub(crate) static FILES: &[TaskFile] = &[
    file("auxv", 0o400, |_, a| a.mm_bytes(memory::auxv)),
    file("cgroup", 0o444, |_, _| Ok(b"0::/\n".to_vec())),
    // Of threads only.
    file("children", 0o444, detail::children),
    file("cmdline", 0o444, |_, a| a.mm_bytes(memory::cmdline)),
    TaskFile {
        name: "comm",
        mode: 0o644,
        make: |_, a| Ok([&a.comm()[..], b"\n"].concat()),
        store: Some(|_, a, by, data| {
            let task = a.task.as_ref().ok_or(errno::ESRCH)?;
            if by.pid() != task.pid() {
                return Err(errno::EINVAL);
            }
            let end = data.iter().position(|b| *b == 0 || *b == b'\n').unwrap_or(data.len()).min(15);
            *task.comm.lock() = data[..end].to_vec();
            Ok(())
        }),
    },
    writable("coredump_filter", detail::coredump_filter, detail::set_coredump_filter),
    file("cpuset", 0o444, |_, _| Ok(b"/\n".to_vec())),
    file("environ", 0o400, |_, a| a.mm_bytes(memory::environ)),
    file("gid_map", 0o444, |_, _| Ok(ID_MAP.to_vec())),
    file("io", 0o400, detail::io),
    file("limits", 0o444, limits),
    file("loginuid", 0o644, |_, _| Ok(b"4294967295".to_vec())),
    file("maps", 0o444, |_, a| maps(a, false)),
    file("mountinfo", 0o444, |_, a| a.mounts(crate::mounts::mountinfo)),
    file("mounts", 0o444, |_, a| a.mounts(crate::mounts::mounts)),
    // Opened by itself.
    file("mem", 0o600, |_, _| Err(errno::EIO)),
    file("mountstats", 0o400, |_, a| a.mounts(crate::mounts::mountstats)),
    file("numa_maps", 0o444, |_, a| {
        let Some(task) = &a.task else { return Ok(Vec::new()) };
        let root = task.fs().root();
        a.mm_bytes(|mm| memory::numa_maps(mm, &root))
    }),
    file("oom_score", 0o444, detail::oom_score),
    writable("oom_score_adj", detail::oom_score_adj, detail::set_oom_score_adj),
    // Opened by itself.
    file("pagemap", 0o400, |_, _| Err(errno::EIO)),
    file("personality", 0o400, |_, a| {
        Ok(format!("{:08x}\n", a.process.personality.load(Ordering::Relaxed)).into_bytes())
    }),
    file("projid_map", 0o444, |_, _| Ok(ID_MAP.to_vec())),
    file("sched", 0o444, detail::sched),
    file("schedstat", 0o444, detail::schedstat),
    file("sessionid", 0o444, |_, _| Ok(b"4294967295".to_vec())),
    file("setgroups", 0o444, |_, _| Ok(b"allow\n".to_vec())),
    file("smaps", 0o444, |_, a| maps(a, true)),
    file("smaps_rollup", 0o444, |_, a| a.mm_bytes(memory::rollup)),
    // Nothing of a task is ever on a stack of ours that could be shown.
    file("stack", 0o400, |_, _| Ok(Vec::new())),
    file("stat", 0o444, stat),
    file("statm", 0o444, statm),
    file("status", 0o444, status),
    file("syscall", 0o400, detail::syscall),
    file("timers", 0o444, detail::timers),
    writable("timerslack_ns", detail::timer_slack, detail::set_timer_slack),
    file("uid_map", 0o444, |_, _| Ok(ID_MAP.to_vec())),
    file("wchan", 0o444, |_, _| Ok(b"0".to_vec())),
];

fn maps(a: &About, details: bool) -> Result<Vec<u8>> {
    let Some(task) = &a.task else { return Ok(Vec::new()) };
    let root = task.fs().root();
    a.mm_bytes(|mm| memory::maps(mm, details, &root))
}

/// Owner and birth of a task.
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) start: Timespec,
}

pub(crate) fn owner(m: &Machine, tid: Pid) -> Option<Owner> {
    let task = m.tree.task(tid);
    let (uid, gid, start_ns) = match &task {
        Some(t) => {
            let c = t.cred();
            (c.euid, c.egid, t.start_ns)
        }
        None => {
            let tree = m.tree.lock();
            let n = tree.nodes.get(&tid)?;
            (n.uid, 0, n.process.start_ns)
        }
    };
    let ago = m.clock.monotonic_ns().saturating_sub(start_ns);
    let start = Timespec::from_ns(i64::try_from(m.clock.realtime_ns().saturating_sub(ago)).unwrap_or(0));
    Some(Owner { uid, gid, start })
}

/// A process (also a zombie) or a thread has this id.
pub(crate) fn exists(m: &Machine, tid: Pid) -> bool {
    let t = m.tree.lock();
    t.nodes.contains_key(&tid) || t.tasks.contains_key(&tid)
}

/// All processes.
pub(crate) fn ids(m: &Machine) -> Vec<Pid> {
    m.tree.lock().nodes.keys().copied().collect()
}

/// Threads of the process of a task.
pub(crate) fn thread_ids(m: &Machine, pid: Pid) -> Vec<Pid> {
    let process = m.tree.task(pid).map(|t| t.process.clone()).or_else(|| m.tree.process(pid));
    let mut ids: Vec<Pid> =
        process.map(|p| p.threads().iter().map(|t| t.tid()).collect()).unwrap_or_default();
    if ids.is_empty() && exists(m, pid) {
        ids.push(pid);
    }
    ids.sort_unstable();
    ids
}

/// Target of exe, cwd or root.
pub(crate) fn place(m: &Machine, tid: Pid, row: usize, by: &Task) -> Result<Link> {
    check_access(m, tid, by)?;
    let task = m.tree.task(tid).ok_or(errno::ENOENT)?;
    let path = match PLACES[row] {
        "cwd" => task.fs().cwd(),
        "root" => task.fs().root(),
        _ => task.mm().and_then(|mm| mm.exe()).ok_or(errno::ENOENT)?.path.clone(),
    };
    Ok(Link::Jump(path))
}

/// Opens a row for reading (and writing, where it can be).
pub(crate) fn open(m: &Arc<Machine>, tid: Pid, row: usize, by: &Task) -> Result<Arc<dyn FileOps>> {
    if !exists(m, tid) {
        return Err(errno::ENOENT);
    }
    let f = &FILES[row];
    if SECRET.contains(&f.name) {
        check_access(m, tid, by)?;
    }
    if matches!(f.name, "mem" | "pagemap") {
        let memory = Memory::of(&*m.tree.task(tid).ok_or(errno::ESRCH)?)?;
        return Ok(if f.name == "mem" { Arc::new(MemFile(memory)) } else { Arc::new(Pagemap(memory)) });
    }
    let (make, store, secret) = (f.make, f.store, SECRET.contains(&f.name));
    Ok(Text::new(
        0,
        Box::new(move |by| {
            // Again: it may be another program by now.
            if secret {
                check_access(&by.machine, tid, by)?;
            }
            make(&by.machine, &About::new(by, tid)?)
        }),
        store.map(|s| Box::new(move |by: &Task, d: &[u8]| s(&by.machine, &About::new(by, tid)?, by, d)) as _),
    ))
}

/// What shows another's memory layout or secrets.
const SECRET: [&str; 14] = [
    "auxv",
    "environ",
    "io",
    "maps",
    "mem",
    "numa_maps",
    "pagemap",
    "personality",
    "smaps",
    "smaps_rollup",
    "stack",
    "syscall",
    "timers",
    "wchan",
];

/// May `by` look into a task (ptrace(2), PTRACE_MODE_READ_FSCREDS)? EACCES.
pub(crate) fn check_access(m: &Machine, tid: Pid, by: &Task) -> Result<()> {
    let Some(task) = m.tree.task(tid) else { return Ok(()) };
    if Arc::ptr_eq(&task.process, &by.process) {
        return Ok(());
    }
    let (me, it) = (by.cred(), task.cred());
    let same = [it.uid, it.euid, it.suid].iter().all(|u| *u == me.fsuid)
        && [it.gid, it.egid, it.sgid].iter().all(|g| *g == me.fsgid);
    let open = same && task.process.state.lock().dumpable == 1;
    if open || me.has(abi::cap::CAP_SYS_PTRACE) { Ok(()) } else { Err(errno::EACCES) }
}

/// What is known of the task that a file is about: the live task, or what its zombie left.
pub(crate) struct About {
    tid: Pid,
    pub(crate) task: Option<Arc<Task>>,
    ppid: Pid,
    pgid: Pid,
    sid: Pid,
    zombie: Option<kernel::task::tree::Zombie>,
    pub(crate) process: Arc<kernel::task::Process>,
    uid: u32,
    /// The task itself asks.
    pub(crate) is_asker: bool,
}

impl About {
    fn new(by: &Task, tid: Pid) -> Result<About> {
        let tree = by.machine.tree.lock();
        let task = tree.tasks.get(&tid).cloned();
        let pid = task.as_ref().map_or(tid, |t| t.pid());
        let n = tree.nodes.get(&pid).ok_or(errno::ESRCH)?;
        Ok(About {
            tid,
            ppid: n.parent,
            pgid: n.pgid,
            sid: n.sid,
            zombie: n.zombie.clone(),
            process: n.process.clone(),
            uid: n.uid,
            is_asker: task.as_ref().is_some_and(|t| std::ptr::eq(&**t, by)),
            task,
        })
    }

    pub(crate) fn comm(&self) -> Vec<u8> {
        match (&self.task, &self.zombie) {
            (Some(t), _) => t.comm.lock().clone(),
            (None, Some(z)) => z.comm.clone(),
            (None, None) if self.is_builtin_init() => b"init".to_vec(),
            (None, None) => Vec::new(),
        }
    }

    /// The kernel's own process 1, which has no thread and waits for ever.
    fn is_builtin_init(&self) -> bool {
        self.task.is_none() && self.zombie.is_none() && self.process.is_init.load(Ordering::Relaxed)
    }

    pub(crate) fn mm(&self) -> Option<Arc<kernel::mm::Mm>> {
        self.task.as_ref().and_then(|t| t.mm())
    }

    /// Text of the address space; empty where there is none (zombies).
    fn mm_bytes(&self, f: impl FnOnce(&kernel::mm::Mm) -> Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.mm().map(|mm| f(&mm)).unwrap_or_default())
    }

    fn mounts(
        &self,
        f: impl FnOnce(&kernel::vfs::mount::MountNs, &kernel::vfs::path::Path) -> Vec<u8>,
    ) -> Result<Vec<u8>> {
        let fs = self.task.as_ref().ok_or(errno::EINVAL)?.fs();
        Ok(f(&fs.mounts, &fs.root()))
    }

    fn state(&self) -> (char, &'static str) {
        let s = self.task.as_ref().map_or(RunState::Zombie, |t| t.run_state());
        let stopped = matches!(self.process.state.lock().job, JobState::Stopped(_));
        match s {
            _ if self.is_builtin_init() => ('S', "sleeping"),
            RunState::Zombie | RunState::Dead => ('Z', "zombie"),
            _ if stopped => ('T', "stopped"),
            RunState::Stopped => ('T', "stopped"),
            RunState::Tracing => ('t', "tracing stop"),
            RunState::Sleeping => ('S', "sleeping"),
            RunState::Running => ('R', "running"),
        }
    }

    /// User and system time in clock ticks (1/100 s).
    fn ticks(&self) -> (u64, u64) {
        // A thread that is not the leader tells of itself alone.
        let (u, s) = match &self.task {
            Some(t) if !t.is_leader() => t.cpu_time_ns(),
            _ => self.process.cpu_time_ns(),
        };
        (u / 10_000_000, s / 10_000_000)
    }
}

const PAGE: u64 = abi::PAGE_SIZE;

fn stat(m: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let comm = String::from_utf8_lossy(&a.comm()).into_owned();
    let (state, _) = a.state();
    let tty = a.process.tty.lock().clone();
    let (tty_nr, tpgid) = tty.map_or((0, -1), |t| (t.rdev as u32, t.foreground_group()));
    let (utime, stime) = a.ticks();
    let (vsize, rss) = a.mm().map_or((0, 0), |mm| {
        let (private, shared) = mm.space.resident_bytes();
        (mm.totals().all, (private + shared) / PAGE)
    });
    let threads = a.process.threads().len().max(1);
    let start = a.process.start_ns.saturating_sub(m.clock.boot_monotonic_ns()) / 10_000_000;
    let sched = a.task.as_ref().map(|t| *t.sched.lock()).unwrap_or_default();
    let signals = signal_sets(a);
    let children = a.process.state.lock().children_usage;
    let limit = a.process.rlimit(abi::sched::RLIMIT_RSS as usize);
    let exit = a.zombie.as_ref().map_or(0, |z| z.status.wait_status());
    let image = a.mm().map(|mm| mm.image()).unwrap_or_default();
    let start_brk = a.mm().map_or(0, |mm| mm.layout().brk_start);
    let faults: u64 = a.task.as_ref().map_or(0, |t| t.stats.faults.load(Ordering::Relaxed));
    let text = format!(
        "{} ({comm}) {state} {} {} {} {tty_nr} {tpgid} 4194304 {faults} {} 0 0 {utime} {stime} {} {} {} {} {threads} 0 \
         {start} {vsize} {rss} {limit} {} {} {} 0 0 {} {} {} {} 0 0 0 17 0 0 {} 0 0 0 {} {} {} {} {} {} {} {exit}\n",
        a.tid,
        a.ppid,
        a.pgid,
        a.sid,
        children.minor_faults,
        children.user_ns / 10_000_000,
        children.system_ns / 10_000_000,
        20 + sched.nice,
        sched.nice,
        image.start_code,
        image.end_code,
        image.start_stack,
        signals.0 & 0x7fff_ffff,
        signals.1 & 0x7fff_ffff,
        signals.2 & 0x7fff_ffff,
        signals.3 & 0x7fff_ffff,
        sched.policy,
        image.start_data,
        image.end_data,
        start_brk,
        image.arg.0,
        image.arg.1,
        image.env.0,
        image.env.1,
    );
    Ok(text.into_bytes())
}

/// Pending, blocked, ignored, caught.
fn signal_sets(a: &About) -> (u64, u64, u64, u64) {
    let Some(t) = &a.task else { return (0, 0, 0, 0) };
    let (pending, mask) = {
        let s = t.signals.lock();
        (s.pending.set().bits(), s.mask.get().bits())
    };
    let shared = a.process.signals.lock().pending.set().bits();
    let table = a.process.actions.read().snapshot();
    let (mut ignored, mut caught) = (0, 0);
    for (i, act) in table.iter().enumerate() {
        match act.handler {
            0 => {}
            1 => ignored |= 1 << i,
            _ => caught |= 1 << i,
        }
    }
    (pending | shared, mask, ignored, caught)
}

fn statm(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let Some(mm) = a.mm() else { return Ok(b"0 0 0 0 0 0 0\n".to_vec()) };
    let (private, shared) = mm.space.resident_bytes();
    let totals = mm.totals();
    let text = totals.exec / PAGE;
    let total = totals.all / PAGE;
    Ok(format!(
        "{total} {} {} {text} 0 {} 0\n",
        (private + shared) / PAGE,
        shared / PAGE,
        total - text.min(total)
    )
    .into_bytes())
}

fn status(m: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    let mut s = String::new();
    let (letter, word) = a.state();
    let _ = writeln!(
        s,
        "Name:\t{}",
        String::from_utf8_lossy(&a.comm()).replace('\\', "\\\\").replace('\n', "\\n")
    );
    if let Some(t) = &a.task {
        let _ = writeln!(s, "Umask:\t{:04o}", t.fs().umask());
    }
    let _ = write!(
        s,
        "State:\t{letter} ({word})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\n",
        a.process.pid,
        a.tid,
        a.ppid,
        a.task.as_ref().map_or(0, |t| kernel::ptrace::tracer_of(t))
    );
    match &a.task {
        Some(t) => {
            let c = t.cred();
            let groups: String = c.groups.iter().map(|g| format!("{g} ")).collect();
            let _ = write!(
                s,
                "Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\nFDSize:\t{}\nGroups:\t{groups}\n",
                c.uid,
                c.euid,
                c.suid,
                c.fsuid,
                c.gid,
                c.egid,
                c.sgid,
                c.fsgid,
                t.files().map_or(0, |f| f.size().max(64)),
            );
        }
        None => {
            let u = a.uid;
            let _ = write!(s, "Uid:\t{u}\t{u}\t{u}\t{u}\nGid:\t0\t0\t0\t0\nFDSize:\t0\nGroups:\t\n");
        }
    }
    let _ = write!(
        s,
        "NStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n",
        a.process.pid, a.tid, a.pgid, a.sid
    );
    if let Some(mm) = a.mm() {
        let (private, shared) = mm.space.resident_bytes();
        let totals = mm.totals();
        let (total, peak) = (totals.all >> 10, mm.peak() >> 10);
        let rss = (private + shared) >> 10;
        let _ = write!(
            s,
            "VmPeak:\t{peak:8} kB\nVmSize:\t{total:8} kB\nVmLck:\t{:8} kB\nVmPin:\t       0 kB\nVmHWM:\t{rss:8} kB\n\
             VmRSS:\t{rss:8} kB\nRssAnon:\t{:8} kB\nRssFile:\t{:8} kB\nRssShmem:\t       0 kB\nVmData:\t{:8} kB\n\
             VmStk:\t{:8} kB\nVmExe:\t{:8} kB\nVmLib:\t       0 kB\nVmPTE:\t       0 kB\nVmSwap:\t       0 kB\n",
            totals.locked >> 10,
            private >> 10,
            shared >> 10,
            totals.data >> 10,
            totals.stack >> 10,
            totals.exec >> 10,
        );
    }
    let threads = a.process.threads().len().max(1);
    let (_, mask, ignored, caught) = signal_sets(a);
    let (own, shared) = a.task.as_ref().map_or((0, 0), |t| {
        (t.signals.lock().pending.set().bits(), a.process.signals.lock().pending.set().bits())
    });
    let limit = a.process.rlimit(abi::sched::RLIMIT_SIGPENDING as usize);
    let _ = write!(
        s,
        "Threads:\t{threads}\nSigQ:\t0/{limit}\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{mask:016x}\n\
         SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
    );
    if let Some(t) = &a.task {
        let c = t.cred();
        let no_new_privs = t.sched.lock().no_new_privs;
        let _ = write!(
            s,
            "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t{}\n\
             Seccomp:\t{}\nSeccomp_filters:\t{}\n",
            c.cap_inheritable,
            c.cap_permitted,
            c.cap_effective,
            c.cap_bounding,
            c.cap_ambient,
            u8::from(no_new_privs),
            t.seccomp.mode(),
            t.seccomp.count(),
        );
        let cpus = m.config.cpus;
        let mask = if cpus >= 64 { u64::MAX } else { (1 << cpus) - 1 } & t.sched.lock().affinity;
        let waits = t.stats.waits.load(Ordering::Relaxed);
        let list =
            (0..cpus).filter(|i| mask >> i & 1 != 0).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
        let _ = write!(
            s,
            "Cpus_allowed:\t{mask:x}\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\nMems_allowed_list:\t0\n\
             voluntary_ctxt_switches:\t{waits}\nnonvoluntary_ctxt_switches:\t{}\n",
            t.stats.preemptions.load(Ordering::Relaxed)
        );
    }
    Ok(s.into_bytes())
}

fn limits(_: &Arc<Machine>, a: &About) -> Result<Vec<u8>> {
    const ROWS: [(&str, &str, u32); 16] = [
        ("Max cpu time", "seconds", 0),
        ("Max file size", "bytes", 1),
        ("Max data size", "bytes", 2),
        ("Max stack size", "bytes", 3),
        ("Max core file size", "bytes", 4),
        ("Max resident set", "bytes", 5),
        ("Max processes", "processes", 6),
        ("Max open files", "files", 7),
        ("Max locked memory", "bytes", 8),
        ("Max address space", "bytes", 9),
        ("Max file locks", "locks", 10),
        ("Max pending signals", "signals", 11),
        ("Max msgqueue size", "bytes", 12),
        ("Max nice priority", "", 13),
        ("Max realtime priority", "", 14),
        ("Max realtime timeout", "us", 15),
    ];
    let limits = *a.process.rlimits.lock();
    let mut s = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |v: u64| if v == u64::MAX { "unlimited".to_string() } else { v.to_string() };
    for (name, unit, i) in ROWS {
        let (soft, hard) = limits[i as usize];
        let _ = writeln!(s, "{name:<25} {:<20} {:<20} {unit:<10}", show(soft), show(hard));
    }
    Ok(s.into_bytes())
}
