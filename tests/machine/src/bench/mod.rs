//! The benchmark: the same work natively and inside, in turn, with ratios and targets.
//!
//! Micro rows come from `benches/guest/bench.c`; macro rows ([`work`]) are commands over the host's own tree. Every
//! value is the best of several runs made in alternation, since other load only ever adds.

mod work;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, Place};
use crate::outcome::{end_session, run, session_members};

const LIMIT: Duration = Duration::from_secs(120);

/// How thoroughly rows are measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Rounds of native and inside for one row.
    rounds: usize,
    /// Batches of a micro row in a round.
    batches: &'static str,
}

const FULL: Effort = Effort { rounds: 3, batches: "12" };
const QUICK: Effort = Effort { rounds: 1, batches: "4" };

/// The region that the platform keeps in every guest process; what lies there is the machine's, not the guest's.
const PLATFORM_REGION: std::ops::Range<u64> = 0x6fe0_0000_0000..0x6fe1_0000_0000;

/// What a row must reach.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// No more than this many of the row's unit.
    Value(f64),
    /// No more than this many times the native value.
    Ratio(f64),
    /// Only reported.
    None,
}

/// Where a row's threads may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cpus {
    /// Wherever the host likes.
    Free,
    /// All on one processor.
    Pinned,
}

/// Micro rows with their targets, in microseconds or times native.
const MICRO: &[(&str, Cpus, Target)] = &[
    ("getppid", Cpus::Free, Target::Value(0.1)),
    ("trapped-getppid", Cpus::Free, Target::None),
    ("read-1", Cpus::Free, Target::Value(1.0)),
    ("read-1", Cpus::Pinned, Target::Value(2.8)),
    // What `read-1` was before the stub answered it: a call that goes to the kernel, at a site that is rewritten.
    ("pread-1", Cpus::Free, Target::Value(1.0)),
    ("pread-1", Cpus::Pinned, Target::Value(2.8)),
    ("stat", Cpus::Free, Target::Value(1.8)),
    ("open-close", Cpus::Free, Target::None),
    ("create-unlink", Cpus::Free, Target::None),
    ("pread-4k", Cpus::Free, Target::None),
    ("pwrite-4k", Cpus::Free, Target::None),
    ("read-1m", Cpus::Free, Target::None),
    ("mmap-munmap", Cpus::Free, Target::Ratio(6.0)),
    ("first-touch", Cpus::Free, Target::Ratio(1.2)),
    ("signal-self", Cpus::Free, Target::None),
    ("pipe-ping-pong", Cpus::Pinned, Target::None),
    ("unix-ping-pong", Cpus::Pinned, Target::None),
    ("futex-ping-pong", Cpus::Free, Target::Ratio(1.5)),
    ("futex-ping-pong", Cpus::Pinned, Target::Ratio(1.5)),
    ("epoll-1000", Cpus::Free, Target::Ratio(1.5)),
    ("fork-exit-wait", Cpus::Pinned, Target::Ratio(2.5)),
    ("fork-exec-wait", Cpus::Free, Target::Ratio(1.4)),
    ("thread-create-join", Cpus::Free, Target::Ratio(1.3)),
    ("clock-gettime", Cpus::Free, Target::Ratio(1.2)),
];

/// A measured row, in its unit.
struct Row {
    name: String,
    unit: &'static str,
    native: Option<f64>,
    inside: f64,
    target: Target,
}

/// Something that can be measured.
enum Item {
    Micro(&'static str, Cpus, Target),
    Boot,
    Work(&'static work::Work),
    IdleMemory,
}

impl Item {
    fn all() -> Vec<Self> {
        let mut all: Vec<_> =
            MICRO.iter().map(|(name, cpus, target)| Self::Micro(name, *cpus, *target)).collect();
        all.push(Self::Boot);
        all.extend(work::WORK.iter().map(Self::Work));
        all.push(Self::IdleMemory);
        all
    }

    fn label(&self) -> String {
        match self {
            Self::Micro(name, Cpus::Pinned, _) => format!("{name} (one CPU)"),
            Self::Micro(name, Cpus::Free, _) => (*name).to_owned(),
            Self::Boot => "machine start".to_owned(),
            Self::Work(work) => work.name.to_owned(),
            Self::IdleMemory => "idle memory".to_owned(),
        }
    }

    fn measure(&self, lab: &Lab, program: &Path, effort: Effort) -> Result<Row> {
        match self {
            Self::Micro(name, cpus, target) => micro(lab, program, name, *cpus, *target, effort),
            Self::Boot => boot(lab),
            Self::Work(work) => work.measure(lab, effort),
            Self::IdleMemory => idle_memory(lab),
        }
    }
}

/// What the command line asks for.
#[derive(Debug, Default)]
pub struct Options {
    /// Only rows whose name contains this.
    pub filter: String,
    /// One round of small batches.
    pub quick: bool,
    /// Names the rows and measures nothing.
    pub list: bool,
    /// A file that is locked (flock(2)) for each row alone, so that others who do the same get their turn in between.
    pub lock: Option<PathBuf>,
}

/// The benchmark from its command line: measures the rows asked for and prints the table.
pub fn measure(options: &Options) -> Result<()> {
    let items: Vec<_> = Item::all().into_iter().filter(|i| i.label().contains(&options.filter)).collect();
    if options.list {
        items.iter().for_each(|i| println!("{}", i.label()));
        return Ok(());
    }
    let lab = Lab::new()?;
    ensure!(
        lab.binary().exists(),
        "{} does not exist; build it with `cargo build --release`",
        lab.binary().display()
    );
    let lock = options
        .lock
        .as_ref()
        .map(|path| {
            File::options().create(true).append(true).open(path).with_context(|| path.display().to_string())
        })
        .transpose()?;
    let effort = if options.quick { QUICK } else { FULL };
    let program = build(&lab)?;
    header();
    let mut missed = 0;
    for item in items {
        lock.as_ref().map(File::lock).transpose()?;
        let row = item.measure(&lab, &program, effort);
        lock.as_ref().map(File::unlock).transpose()?;
        missed += usize::from(!print(&item.label(), row));
    }
    println!("{missed} targets missed");
    Ok(())
}

fn build(lab: &Lab) -> Result<PathBuf> {
    let program = lab.stage().join("bench");
    let source = lab.source().join("benches/guest/bench.c");
    let output = Command::new("gcc")
        .args(["-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &source])
        .output()
        .context("gcc")?;
    ensure!(output.status.success(), "gcc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(program)
}

fn header() {
    println!("{:<32} {:>10} {:>10} {:>7}  {:<12} result", "row", "native", "inside", "ratio", "target");
}

/// Prints a row; whether it reached its target.
fn print(label: &str, row: Result<Row>) -> bool {
    let row = match row {
        Ok(row) => row,
        Err(error) => {
            let text = format!("{error:#}");
            println!("{label:<32} failed: {}", text.lines().take(12).collect::<Vec<_>>().join("\n    "));
            return false;
        }
    };
    let ratio = row.native.map(|native| row.inside / native);
    let (target, reached) = match row.target {
        Target::Value(limit) => (format!("<= {limit} {}", row.unit), row.inside <= limit),
        Target::Ratio(limit) => (format!("<= {limit} x"), ratio.is_some_and(|r| r <= limit)),
        Target::None => (String::new(), true),
    };
    let result = match row.target {
        Target::None => "",
        _ if reached => "ok",
        _ => "miss",
    };
    let native = row.native.map_or_else(|| "-".to_owned(), number);
    let ratio = ratio.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
    let name = format!("{}, {}", row.name, row.unit);
    println!("{name:<32} {native:>10} {:>10} {ratio:>7}  {target:<12} {result}", number(row.inside));
    reached
}

fn number(value: f64) -> String {
    if value < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") }
}

/// The command, kept to one processor if asked.
fn pin(lab: &Lab, place: Place, cpus: Cpus, words: &[&str]) -> Command {
    if cpus == Cpus::Free {
        return lab.command(place, &[], words);
    }
    let inner = lab.command(place, &[], words);
    // setsid PROGRAM ARGS: put taskset before the program.
    let arguments: Vec<_> = inner.get_args().map(ToOwned::to_owned).collect();
    let mut outer = vec!["taskset".into(), "-c".into(), last_cpu()];
    outer.extend(arguments);
    lab.session(false, &outer)
}

fn last_cpu() -> std::ffi::OsString {
    let count = thread::available_parallelism().map_or(1, usize::from);
    (count - 1).to_string().into()
}

fn micro(lab: &Lab, program: &Path, name: &str, cpus: Cpus, target: Target, effort: Effort) -> Result<Row> {
    let program = program.to_string_lossy();
    let scratch = lab.scratch("bench")?;
    let mut best = BTreeMap::new();
    for _ in 0..effort.rounds {
        for place in [Place::Host, Place::Machine] {
            let mut command = pin(lab, place, cpus, &[&program, "--batches", effort.batches, name]);
            let outcome = run(command.current_dir(&scratch), b"", LIMIT)?;
            outcome.expect(0)?;
            let out = outcome.out();
            let value: f64 = out.split_whitespace().nth(1).context("no value")?.parse()?;
            let entry = best.entry(place.prefix()).or_insert(f64::MAX);
            *entry = value.min(*entry);
        }
    }
    let label = if cpus == Cpus::Pinned { format!("{name} (one CPU)") } else { name.to_owned() };
    Ok(Row {
        name: label,
        unit: "us",
        native: best.get("host").map(|ns| ns / 1000.0),
        inside: best.get("machine").context("no value")? / 1000.0,
        target,
    })
}

fn boot(lab: &Lab) -> Result<Row> {
    let mut best = f64::MAX;
    for _ in 0..15 {
        let start = Instant::now();
        let status = lab
            .command(Place::Machine, &[], &["/bin/true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "umlaut run -- /bin/true: {status}");
        best = best.min(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(Row {
        name: "machine start".into(),
        unit: "ms",
        native: None,
        inside: best,
        target: Target::Value(20.0),
    })
}

/// What a machine with one sleeping process takes beyond its guest's pages, in MB.
fn idle_memory(lab: &Lab) -> Result<Row> {
    let mut child = lab
        .command(Place::Machine, &[], &["sleep", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(Duration::from_millis(1500));
    let session = child.id();
    let mut kib = 0;
    let mut seen = false;
    for pid in session_members(session).keys() {
        let kernel = u32::try_from(*pid) == Ok(session);
        seen |= kernel;
        kib += own_pages(&fs::read_to_string(format!("/proc/{pid}/smaps"))?, kernel);
    }
    end_session(session, Duration::ZERO);
    let _ = child.wait();
    if !seen {
        bail!("the machine ended at once");
    }
    let inside = f64::from(u32::try_from(kib)?) * 1024.0 / 1e6;
    Ok(Row { name: "idle memory".into(), unit: "MB", native: None, inside, target: Target::Value(15.0) })
}

/// KiB of a process's pages (shared ones in proportion) that are the machine's own: all but guest memory.
fn own_pages(smaps: &str, is_kernel: bool) -> u64 {
    let mut total = 0;
    let mut counts = false;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some((start, _)) = first.split_once('-') {
            let start = u64::from_str_radix(start, 16).unwrap_or(0);
            let is_memfd = line.contains("memfd:");
            counts = if is_kernel { !is_memfd } else { PLATFORM_REGION.contains(&start) };
        } else if first == "Pss:" && counts {
            total += words.next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::own_pages;

    #[test]
    fn guest_pages_do_not_count() {
        let smaps = "00400000-00500000 r-xp 0 0:0 1 /usr/bin/umlaut\nPss: 100 kB\n\
                     6fe000000000-6fe000002000 r-xp 0 0:0 1 /memfd:x (deleted)\nPss: 8 kB\n\
                     7f0000000000-7f0000100000 rw-s 0 0:0 1 /memfd:guest (deleted)\nPss: 5000 kB\nPss_Dirty: 7 kB\n";
        assert_eq!(own_pages(smaps, true), 100);
        assert_eq!(own_pages(smaps, false), 8);
    }
}
