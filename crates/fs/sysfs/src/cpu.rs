//! devices/system/cpu: how many processors there are and how they lie. Each is a core of one package.

use kernel::Machine;

use crate::tree::Entries;

/// "0-3", or "0" for one.
pub(crate) fn list(cpus: u32) -> String {
    if cpus <= 1 { "0".into() } else { format!("0-{}", cpus - 1) }
}

/// The processors as a mask in words of 32 bits, the highest first.
pub(crate) fn mask(cpus: u32, of: impl Fn(u32) -> bool) -> String {
    let words = cpus.div_ceil(32).max(1);
    let word = |w: u32| (0..32).filter(|b| w * 32 + b < cpus && of(w * 32 + b)).fold(0u32, |m, b| m | 1 << b);
    let digits = if words == 1 { cpus.div_ceil(4).max(1) as usize } else { 8 };
    (0..words).rev().map(|w| format!("{:0digits$x}", word(w))).collect::<Vec<_>>().join(",")
}

pub(crate) fn add(t: &mut Entries, m: &Machine) {
    let n = m.config.cpus;
    let top = "devices/system/cpu";
    for name in ["online", "possible", "present"] {
        t.line(&format!("{top}/{name}"), list(n));
    }
    t.line(&format!("{top}/offline"), "");
    t.line(&format!("{top}/isolated"), "");
    t.line(&format!("{top}/kernel_max"), n.saturating_sub(1).to_string());
    t.line(&format!("{top}/smt/active"), "0");
    t.line(&format!("{top}/smt/control"), "notsupported");
    let all = mask(n, |_| true);
    for i in 0..n {
        let cpu = format!("{top}/cpu{i}");
        let own = mask(n, |c| c == i);
        let rows = [
            ("physical_package_id", "0".to_string()),
            ("die_id", "0".into()),
            ("core_id", i.to_string()),
            ("core_cpus", own.clone()),
            ("core_cpus_list", i.to_string()),
            ("thread_siblings", own),
            ("thread_siblings_list", i.to_string()),
            ("core_siblings", all.clone()),
            ("core_siblings_list", list(n)),
            ("die_cpus", all.clone()),
            ("die_cpus_list", list(n)),
            ("package_cpus", all.clone()),
            ("package_cpus_list", list(n)),
        ];
        for (name, text) in rows {
            t.line(&format!("{cpu}/topology/{name}"), text);
        }
        if i > 0 {
            t.line(&format!("{cpu}/online"), "1");
        }
        t.link(&format!("{cpu}/node0"), "devices/system/node/node0");
        t.link(&format!("{cpu}/subsystem"), "bus/cpu");
        t.link(&format!("bus/cpu/devices/cpu{i}"), &cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_lists() {
        assert_eq!((list(1), list(4)), ("0".into(), "0-3".into()));
        assert_eq!(mask(1, |_| true), "1");
        assert_eq!(mask(4, |c| c == 2), "4");
        assert_eq!(mask(6, |_| true), "3f");
        assert_eq!(mask(33, |_| true), "00000001,ffffffff");
    }
}
