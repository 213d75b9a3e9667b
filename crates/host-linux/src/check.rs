//! `umlaut check`: what this host offers, and what that means for a machine.

use std::fs::{self, OpenOptions};

use hal::Limits;

use crate::{
    LinuxHost, confine, facts,
    sys::{memory, process},
};

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Something works less well, or is simply not there and not needed.
    Less,
    /// No machine runs here.
    Fatal,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: &'static str,
    pub found: String,
    pub means: String,
    pub verdict: Verdict,
}

fn row(what: &'static str, verdict: Verdict, found: impl Into<String>, means: impl Into<String>) -> Finding {
    Finding { what, found: found.into(), means: means.into(), verdict }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
}

/// Looks at everything; last of all tries to start guest code.
pub fn check() -> Vec<Finding> {
    use Verdict::{Fatal, Good, Less};
    let f = facts::collect(0, 0);
    let flags = f.cpu_info.first().map(|c| c.flags.clone()).unwrap_or_default();
    let has = |flag: &str| flags.split(' ').any(|x| x == flag);
    // The guest's view of the flags leaves AMX out.
    let amx = text("/proc/cpuinfo").is_some_and(|t| t.contains(" amx_tile"));
    let mut all = Vec::new();
    let uts = rustix::system::uname();
    all.push(row("kernel", Good, uts.release().to_string_lossy(), "x86-64 Linux"));
    all.push(row(
        "processors",
        if f.cpus > 1 { Good } else { Less },
        f.cpus.to_string(),
        if f.cpus > 1 {
            "guest threads run in parallel"
        } else {
            "guest and machine take turns on one processor; calls take longer"
        },
    ));
    let mib = f.memory >> 20;
    let enough = if mib >= 256 { Good } else { Less };
    all.push(row(
        "memory",
        enough,
        format!("{mib} MiB"),
        "a machine takes up to three quarters, unless --mem",
    ));

    let proc = text("/proc/self/stat").is_some();
    all.push(if proc {
        row("/proc", Good, "mounted", "memory of guest processes is reached through it")
    } else {
        row("/proc", Fatal, "missing", "a machine needs it: mount -t proc none /proc")
    });
    let actions = text("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    all.push(match (actions.contains("trap"), proc) {
        (true, _) => row("seccomp filters", Good, "yes", "guest code can do nothing but compute and trap"),
        (false, true) => row("seccomp filters", Fatal, "no", "a machine needs CONFIG_SECCOMP_FILTER"),
        (false, false) => row("seccomp filters", Less, "unknown", "cannot be seen without /proc"),
    });
    all.push(match memory::create(c"umlaut-check", 4096, true) {
        Ok(_) => row("memfd_create", Good, "yes", "memory that guest processes share"),
        Err(e) => row("memfd_create", Fatal, e.to_string(), "a machine needs it"),
    });
    let mut own = [0u8; 8];
    let from = b"umlaut..".as_ptr() as u64;
    all.push(match process::vm_read(process::own_pid(), from, &mut own) {
        Ok(8) => row("process_vm_readv", Good, "yes", "copies to and from guest memory"),
        Ok(_) => row("process_vm_readv", Fatal, "no", "a machine needs it"),
        Err(e) => {
            row("process_vm_readv", Fatal, e.to_string(), "a machine needs it (allow it in the container)")
        }
    });
    all.push(match text("/proc/sys/kernel/yama/ptrace_scope").as_deref() {
        None => row("yama", Good, "none", "memory of own processes can be reached"),
        Some(s @ ("0" | "1")) => {
            row("yama", Good, format!("scope {s}"), "memory of own processes can be reached")
        }
        Some("2") if f.uid == 0 => row("yama", Good, "scope 2", "root reaches memory of own processes"),
        Some(s) => row("yama", Fatal, format!("scope {s}"), "set kernel.yama.ptrace_scope to 1 or 0"),
    });
    all.push(if memory::auxv(libc::AT_HWCAP2) & 2 != 0 {
        row("FSGSBASE", Good, "yes", "system-call sites are rewritten, most calls need no signal")
    } else {
        row("FSGSBASE", Fatal, "no", "a machine needs Linux 5.9 on Ivy Bridge, Zen 2 or later")
    });
    let wide = match (has("avx512f"), has("avx2")) {
        (true, _) => "AVX-512",
        (_, true) => "AVX2",
        _ => "SSE",
    };
    all.push(row("vectors", Good, wide, "programs in the machine use them as outside"));
    let (found, means) = if amx { ("yes", "is hidden from programs in the machine") } else { ("no", "") };
    all.push(row("AMX", Good, found, means));
    all.push(match confine::landlock_version() {
        0 => row("Landlock", Less, "no", "the machine process is confined by its call filter alone"),
        v @ 1..6 => row(
            "Landlock",
            Good,
            format!("version {v}"),
            "confines the machine process to the files you named",
        ),
        v => row("Landlock", Good, format!("version {v}"), "confines the machine process, signals included"),
    });
    let spaces = text("/proc/sys/user/max_user_namespaces").is_some_and(|n| n != "0");
    let found = if spaces { "yes" } else { "no" };
    all.push(row("user namespaces", Good, found, "not needed"));
    let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    all.push(row("KVM", Good, if kvm { "yes" } else { "no" }, "not needed"));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    all.push(match limit {
        Some(n) if n < 4096 => {
            row("descriptors", Less, n.to_string(), "few host files can be open at once; raise ulimit -n")
        }
        Some(n) => row("descriptors", Good, n.to_string(), "host files open at once"),
        None => row("descriptors", Good, "unlimited", "host files open at once"),
    });
    // What the rows above cannot see, such as the filter of a container.
    all.push(match LinuxHost::new(Limits { cpus: 0 }) {
        Ok(_) => row("guest code", Good, "runs", "a machine can be started here"),
        Err(e) => row("guest code", Fatal, "does not run", e.to_string()),
    });
    all
}
