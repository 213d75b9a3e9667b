//! `--stats`: counts and latencies, for the end.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use kernel::meter::{Durations, Meter};

/// Numbers below this have rows of their own; the last row is for all others.
const ROWS: usize = 512;

#[derive(Default)]
struct Row {
    /// Without waiting.
    work: Durations,
    waited_ns: AtomicU64,
    failed: AtomicU64,
}

/// All counts.
pub struct Stats {
    calls: Box<[Row]>,
    pub(super) meter: Meter,
}

impl Default for Stats {
    fn default() -> Self {
        Stats { calls: (0..=ROWS).map(|_| Row::default()).collect(), meter: Meter::default() }
    }
}

/// A duration in its best unit.
fn time(ns: u64) -> String {
    let f = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", f / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", f / 1e6),
        _ => format!("{:.2} s", f / 1e9),
    }
}

impl Stats {
    pub(super) fn call(&self, nr: u64, took: u64, waited: u64, failed: bool) {
        let row = usize::try_from(nr).ok().filter(|n| *n < ROWS).unwrap_or(ROWS);
        let Some(row) = self.calls.get(row) else { return };
        row.work.add(took.saturating_sub(waited));
        row.waited_ns.fetch_add(waited, Relaxed);
        row.failed.fetch_add(u64::from(failed), Relaxed);
    }

    /// The report. `up_ns` is how long the machine ran.
    pub fn report(&self, up_ns: u64) -> String {
        let mut rows: Vec<(usize, &Row)> =
            self.calls.iter().enumerate().filter(|(_, r)| r.work.count() > 0).collect();
        rows.sort_by_key(|(_, r)| std::cmp::Reverse(r.work.total_ns()));
        let sum = |f: &dyn Fn(&Row) -> u64| rows.iter().map(|(_, r)| f(r)).sum::<u64>();
        let (count, failed) = (sum(&|r| r.work.count()), sum(&|r| r.failed.load(Relaxed)));
        let (work, waited) = (sum(&|r| r.work.total_ns()), sum(&|r| r.waited_ns.load(Relaxed)));
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "umlaut: {count} system calls in {}, {failed} failed; {} of work and {} of waiting",
            time(up_ns),
            time(work),
            time(waited)
        );
        let head = ("call", "count", "failed", "work", "mean", "99% below", "longest", "waited");
        let _ = writeln!(
            out,
            "{:<22} {:>9} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10}",
            head.0, head.1, head.2, head.3, head.4, head.5, head.6, head.7
        );
        for (nr, r) in rows {
            let name = u32::try_from(nr).ok().and_then(abi::nr::name).unwrap_or("(unknown)");
            let d = &r.work;
            let _ = writeln!(
                out,
                "{name:<22} {:>9} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10}",
                d.count(),
                r.failed.load(Relaxed),
                time(d.total_ns()),
                time(d.mean_ns()),
                time(d.percentile_ns(99)),
                time(d.max_ns()),
                time(r.waited_ns.load(Relaxed))
            );
        }
        let (f, w) = (&self.meter.faults, &self.meter.waits);
        let _ = writeln!(
            out,
            "faults: {} served by the machine, mean {}, 99% below {}, longest {}; {} became signals (the host serves private \
             memory)",
            f.count(),
            time(f.mean_ns()),
            time(f.percentile_ns(99)),
            time(f.max_ns()),
            self.meter.exceptions.load(Relaxed)
        );
        let _ = write!(out, "waits: {}, mean {}, longest {}", w.count(), time(w.mean_ns()), time(w.max_ns()));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_adds_up() {
        let s = Stats::default();
        s.call(0, 1_500, 500, false);
        s.call(0, 3_000_000_500, 3_000_000_000, true);
        s.call(600, 10, 0, true);
        s.meter.faults.add(2_000);
        let r = s.report(4_000_000_000);
        let lines: Vec<&str> = r.lines().collect();
        assert_eq!(
            lines[0],
            "umlaut: 3 system calls in 4.00 s, 2 failed; 1.5 µs of work and 3.00 s of waiting"
        );
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(words[..5], ["read", "2", "1", "1.5", "µs"]);
        assert!(lines[3].starts_with("(unknown)"));
        assert!(lines[4].starts_with("faults: 1 served by the machine, mean 2.0 µs"));
        assert!(lines[5].starts_with("waits: 0"));
    }
}
