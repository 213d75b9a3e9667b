//! Memory: the one node, and large pages.

use std::fmt::Write as _;

use kernel::Machine;

use crate::{
    cpu::{list, mask},
    tree::Entries,
};

pub(crate) fn add(t: &mut Entries, m: &Machine) {
    let n = m.config.cpus;
    let nodes = "devices/system/node";
    for name in ["online", "possible", "has_cpu", "has_memory", "has_normal_memory"] {
        t.line(&format!("{nodes}/{name}"), "0");
    }
    let node = format!("{nodes}/node0");
    t.line(&format!("{node}/cpulist"), list(n));
    t.line(&format!("{node}/cpumap"), mask(n, |_| true));
    t.line(&format!("{node}/distance"), "10");
    t.file(&format!("{node}/meminfo"), meminfo);
    t.link(&format!("{node}/subsystem"), "bus/node");
    t.link("bus/node/devices/node0", &node);
    for i in 0..n {
        t.link(&format!("{node}/cpu{i}"), &format!("devices/system/cpu/cpu{i}"));
    }

    // Anonymous memory of 2 MiB and more is large pages where the host has them.
    let thp = "kernel/mm/transparent_hugepage";
    t.line(&format!("{thp}/enabled"), "[always] madvise never");
    t.line(&format!("{thp}/defrag"), "always defer defer+madvise [madvise] never");
    t.line(&format!("{thp}/shmem_enabled"), "always within_size advise [never] deny force");
    t.line(&format!("{thp}/use_zero_page"), "1");
    t.line(&format!("{thp}/hpage_pmd_size"), "2097152");
    let pool = "kernel/mm/hugepages/hugepages-2048kB";
    for name in
        ["nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages", "nr_overcommit_hugepages"]
    {
        t.line(&format!("{pool}/{name}"), "0");
    }
}

fn meminfo(m: &Machine) -> String {
    let c = &m.memory;
    let (total, free) = (c.limit() >> 10, c.free_bytes() >> 10);
    let rows = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemUsed", total.saturating_sub(free)),
        ("FilePages", c.cache_bytes() >> 10),
        ("AnonPages", c.resident_bytes() >> 10),
        ("Shmem", c.cache_bytes() >> 10),
    ];
    let mut s = String::new();
    for (name, kib) in rows {
        let _ = writeln!(s, "Node 0 {:<15} {kib:>8} kB", format!("{name}:"));
    }
    s
}
