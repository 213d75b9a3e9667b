//! What the host is: processors, memory, auxiliary vector.

use hal::{CpuInfo, HostFacts};

use crate::sys::{memory, process};

/// HWCAP2: the FSGSBASE instructions may be used. The guest is not told: GS belongs to the platform.
const HWCAP2_FSGSBASE: u64 = 2;

/// Collects the facts. `cpus` bounds the processors (0 = all).
pub(crate) fn collect(cpus: u32, xstate_size: u32) -> HostFacts {
    let allowed = process::allowed_cpus().len().max(1) as u32;
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").map(|t| parse_cpuinfo(&t)).unwrap_or_default();
    let (uid, gid) = process::own_ids();
    let uts = rustix::system::uname();
    let part = |s: &core::ffi::CStr| s.to_string_lossy().into_owned();
    HostFacts {
        cpus: if cpus == 0 { allowed } else { cpus.min(allowed) },
        memory: memory_bytes(),
        hwcap: memory::auxv(libc::AT_HWCAP),
        hwcap2: memory::auxv(libc::AT_HWCAP2) & !HWCAP2_FSGSBASE,
        minsigstksz: memory::auxv(libc::AT_MINSIGSTKSZ),
        xstate_size,
        platform: memory::auxv_string(libc::AT_PLATFORM).unwrap_or_else(|| "x86_64".into()),
        uname: format!(
            "{} {} {} {} {}",
            part(uts.sysname()),
            part(uts.nodename()),
            part(uts.release()),
            part(uts.version()),
            part(uts.machine())
        ),
        cpu_info,
        uid,
        gid,
        pid: process::own_pid() as u32,
    }
}

/// Whether the host maps memory that is not reserved whenever it is asked to (proc_sys_vm(5), getrlimit(2)).
pub(crate) fn maps_freely() -> bool {
    let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
    let strict = read("/proc/sys/vm/overcommit_memory").trim() == "2";
    let limits = read("/proc/self/limits");
    let unlimited = |what: &str| {
        limits.lines().any(|l| {
            l.strip_prefix(what).is_some_and(|rest| rest.split_whitespace().next() == Some("unlimited"))
        })
    };
    !strict && unlimited("Max address space") && unlimited("Max data size")
}

/// Memory of the host in bytes, or of the control group if that is less.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let total = u64::from(info.mem_unit).saturating_mul(info.totalram).max(64 << 20);
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    limit.and_then(|l| l.trim().parse::<u64>().ok()).map_or(total, |l| l.min(total))
}

/// Reads /proc/cpuinfo (proc_cpuinfo(5)).
fn parse_cpuinfo(text: &str) -> Vec<CpuInfo> {
    let one = |block: &str| {
        let mut cpu = CpuInfo::default();
        for (key, value) in block.lines().filter_map(|l| l.split_once(':')) {
            let value = value.trim();
            let number = || value.parse().unwrap_or(0);
            match key.trim() {
                "vendor_id" => cpu.vendor = value.into(),
                "cpu family" => cpu.family = number(),
                "model" => cpu.model = number(),
                "model name" => cpu.model_name = value.into(),
                "stepping" => cpu.stepping = number(),
                "cpu MHz" => cpu.mhz = value.split('.').next().and_then(|v| v.parse().ok()).unwrap_or(0),
                "cache size" => cpu.cache_kib = value.trim_end_matches(" KB").parse().unwrap_or(0),
                "flags" => {
                    let shown = value.split(' ').filter(|f| !f.starts_with("amx") && *f != "fsgsbase");
                    cpu.flags = shown.collect::<Vec<_>>().join(" ");
                }
                _ => {}
            }
        }
        cpu
    };
    text.split("\n\n").filter(|b| b.contains("processor")).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuinfo_is_read() {
        let text = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: X\n\
                    stepping\t: 8\ncpu MHz\t\t: 2000.123\ncache size\t: 2048 KB\nflags\t\t: fpu amx_tile avx\n\n\
                    processor\t: 1\nvendor_id\t: Y\n\n";
        let cpus = parse_cpuinfo(text);
        assert_eq!(cpus.len(), 2);
        assert_eq!((cpus[0].family, cpus[0].model, cpus[0].mhz, cpus[0].cache_kib), (6, 143, 2000, 2048));
        assert_eq!(cpus[0].flags, "fpu avx");
        assert_eq!(cpus[1].vendor, "Y");
    }

    #[test]
    fn the_host_has_processors_and_memory() {
        let f = collect(0, 1);
        assert!(f.cpus >= 1 && f.memory > 1 << 20 && f.minsigstksz >= 2048);
        assert_eq!(f.hwcap2 & HWCAP2_FSGSBASE, 0);
        assert_eq!(collect(1, 1).cpus, 1);
    }
}
