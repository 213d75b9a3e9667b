//! Processors that have nothing to do, as the host counts it (proc_stat(5)).

use std::{
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// Shortest time over which idleness is told, many ticks of the host's clock, and longest: what was before says little.
const WINDOW: Duration = Duration::from_millis(100);
const STALE: Duration = Duration::from_secs(1);
/// A processor is free that was idle for at least one part in this many of the time.
const PART: u64 = 2;
/// Bytes read at once: the lines of some hundred processors stand before all else.
const TEXT: usize = 32 << 10;

/// What a look at the processors found last.
#[derive(Default)]
pub(crate) struct Idle {
    file: Option<File>,
    last: Option<(Instant, Vec<Times>)>,
}

/// Clock ticks of one processor: idle ones, and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    cpu: usize,
    idle: u64,
    all: u64,
}

impl Idle {
    /// The most idle of `cpus` since an earlier call, if one was free. To be called again and again while the answer is
    /// wanted.
    pub(crate) fn free(&mut self, cpus: &[usize]) -> Option<usize> {
        let age = self.last.as_ref().map(|(at, _)| at.elapsed());
        if age.is_some_and(|a| a < WINDOW) {
            return None;
        }
        if self.file.is_none() {
            self.file = File::open("/proc/stat").ok();
        }
        let mut text = vec![0; TEXT];
        let n = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        let now = parse(&String::from_utf8_lossy(&text[..n]));
        let (_, before) = self.last.replace((Instant::now(), now.clone()))?;
        if age.is_none_or(|a| a > STALE) {
            return None;
        }
        most_idle(&before, &now, cpus)
    }
}

fn parse(text: &str) -> Vec<Times> {
    let one = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let cpu = name.strip_prefix("cpu")?.parse().ok()?;
        // Guest time, from the ninth on, is in user time already.
        let t: Vec<u64> = rest.split_whitespace().take(8).map(|w| w.parse().unwrap_or(0)).collect();
        Some(Times { cpu, idle: t.get(3)? + t.get(4)?, all: t.iter().sum() })
    };
    text.lines().filter_map(one).collect()
}

fn most_idle(before: &[Times], now: &[Times], cpus: &[usize]) -> Option<usize> {
    let find = |list: &[Times], cpu| list.iter().find(|t| t.cpu == cpu).copied();
    let idle = cpus.iter().filter_map(|&cpu| {
        let (a, b) = (find(before, cpu)?, find(now, cpu)?);
        let (idle, all) = (b.idle.saturating_sub(a.idle), b.all.saturating_sub(a.all));
        (all > 0 && idle * PART >= all).then_some((idle, cpu))
    });
    idle.max().map(|(_, cpu)| cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "cpu  30 0 30 300 3 0 0 0 0 0\ncpu0 10 0 10 100 1 0 0 0 5 0\n\
                          cpu1 10 0 10 100 1 0 0 0 5 0\ncpu2 10 0 10 100 1 0 0 0 5 0\nintr 1 2 3\n";
    const AFTER: &str = "cpu  30 0 30 300 3 0 0 0 0 0\ncpu0 18 0 10 102 1 0 0 0 9 0\n\
                         cpu1 14 0 10 105 2 0 0 0 5 0\ncpu2 10 0 10 100 1 0 0 0 5 0\nintr 1 2 3\n";

    #[test]
    fn the_free_processor_is_found() {
        let (before, after) = (parse(BEFORE), parse(AFTER));
        assert_eq!(before[1], Times { cpu: 1, idle: 101, all: 121 });
        assert_eq!(most_idle(&before, &after, &[0, 1, 2]), Some(1));
        // One that is busy, one that no time has passed for, one that is not there.
        assert_eq!(most_idle(&before, &after, &[0, 2, 7]), None);
    }

    #[test]
    fn the_host_tells_of_its_processors() {
        let cpus = crate::sys::process::allowed_cpus();
        let mut idle = Idle::default();
        assert_eq!(idle.free(&cpus), None);
        std::thread::sleep(2 * WINDOW);
        let found = idle.free(&cpus);
        let times = &idle.last.as_ref().unwrap().1;
        assert!(
            found.is_none_or(|c| cpus.contains(&c)) && cpus.iter().all(|c| times.iter().any(|t| t.cpu == *c))
        );
    }
}
