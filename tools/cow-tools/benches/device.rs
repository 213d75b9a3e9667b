//! Speed of the COW block device against the plain file below it.
//!
//! `cargo bench -p cow-tools` writes and reads 128 MiB sequentially (1 MiB at a time) and at random (4 KiB at a
//! time), through a COW device and in a plain file of the same size, with the same calls. They take turns, the
//! fastest round of each counts (whatever else the host does only makes a round slower), and a flush ends every
//! writing.
//!
//! The layout of UML's own COW files puts the data at an odd multiple of the page size, where the host's page cache
//! cannot use its largest folios. What that costs shows in a third file, plain too, but shifted by as much as the COW
//! file's data: `COW/shift` is what the device itself costs. A COW file as uml_mkcow makes it has an alignment of 1 MiB
//! and does not pay it. The benchmark fails when, with that alignment, the device has less than 0.9 of the plain file's
//! speed anywhere, or with UML's alignment less than 0.9 of both files'.
//!
//! `BENCH_DIR` names the directory to use (a real disk's), `BENCH_MIB` another size,
//! `BENCH_ROUNDS` the number of rounds, `BENCH_ONLY` the works with this in their names.

#![forbid(unsafe_code)]

use cow::header::ALIGNMENT;
use cow::{Access, Device, ReadStore, Store, device};
use cow_tools::file::HostFile;
use cow_tools::mkcow::default_alignment;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

const LEAST: f64 = 0.9;
const READ_PASSES: u64 = 8;
const MTIME: i64 = 1_000_000_000;

/// What both sides can do.
trait Disk {
    fn read(&mut self, buf: &mut [u8], at: u64);
    fn write(&mut self, buf: &[u8], at: u64);
    fn flush(&mut self);
}

impl Disk for HostFile {
    fn read(&mut self, buf: &mut [u8], at: u64) {
        self.read_at(buf, at).expect("read");
    }
    fn write(&mut self, buf: &[u8], at: u64) {
        self.write_at(buf, at).expect("write");
    }
    fn flush(&mut self) {
        self.sync().expect("sync");
    }
}

impl Disk for Device<HostFile, HostFile> {
    fn read(&mut self, buf: &mut [u8], at: u64) {
        self.read_at(buf, at).expect("read");
    }
    fn write(&mut self, buf: &[u8], at: u64) {
        self.write_at(buf, at).expect("write");
    }
    fn flush(&mut self) {
        Device::flush(self).expect("flush");
    }
}

/// A plain file in which the disk begins at an offset.
struct Shifted(HostFile, u64);

impl Disk for Shifted {
    fn read(&mut self, buf: &mut [u8], at: u64) {
        self.0.read(buf, self.1 + at);
    }
    fn write(&mut self, buf: &[u8], at: u64) {
        self.0.write(buf, self.1 + at);
    }
    fn flush(&mut self) {
        self.0.flush();
    }
}

/// One kind of work.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    write: bool,
    block: usize,
    random: bool,
    /// Whether the sectors are already the COW file's own.
    changed: bool,
}

const WORKS: &[Work] = &[
    Work { name: "sequential write, new", write: true, block: 1 << 20, random: false, changed: false },
    Work { name: "sequential write, again", write: true, block: 1 << 20, random: false, changed: true },
    Work { name: "sequential read, changed", write: false, block: 1 << 20, random: false, changed: true },
    Work { name: "sequential read, backing", write: false, block: 1 << 20, random: false, changed: false },
    Work { name: "4 KiB random write, new", write: true, block: 4096, random: true, changed: false },
    Work { name: "4 KiB random write, again", write: true, block: 4096, random: true, changed: true },
    Work { name: "4 KiB random read, changed", write: false, block: 4096, random: true, changed: true },
    Work { name: "4 KiB random read, backing", write: false, block: 4096, random: true, changed: false },
];

/// Does the work and returns bytes per second.
fn run(work: Work, disk: &mut dyn Disk, size: u64) -> f64 {
    let mut buf = vec![0x5a; work.block];
    let count = size / work.block as u64;
    // Reading comes from the host's cache and is soon over.
    let passes = if work.write { 1 } else { READ_PASSES };
    let start = Instant::now();
    let mut at = 1;
    for n in 0..count * passes {
        // A step that has no factor in common with the count visits every block once, in no order.
        at = if work.random { (at + 7_368_787) % count } else { n % count };
        let offset = at * work.block as u64;
        if work.write {
            disk.write(&buf, offset);
        } else {
            disk.read(&mut buf, offset);
        }
    }
    if work.write {
        disk.flush();
    }
    (size * passes) as f64 / start.elapsed().as_secs_f64()
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fresh(path: &Path) -> HostFile {
    let _ = std::fs::remove_file(path);
    let file = File::options().read(true).write(true).create_new(true).open(path).expect("create");
    HostFile::from_file(file, path)
}

fn filled(disk: &mut dyn Disk, size: u64) {
    for at in (0..size).step_by(1 << 20) {
        disk.write(&vec![0xa5; 1 << 20], at);
    }
    disk.flush();
}

/// The disks of a round, in the state the work wants: a plain file, one shifted as far as the COW file's data, and
/// the COW device. They are made in the order of `turns`: who is first gets the best of the host's memory.
fn disks(dir: &Path, work: Work, size: u64, alignment: u32, turns: [usize; 3]) -> [Option<Box<dyn Disk>>; 3] {
    let header = cow::Header::new(b"/backing", size, MTIME).expect("header");
    let header = header.with_alignment(alignment).expect("alignment");
    let plain = |name: &str, offset: u64| {
        let file = fresh(&dir.join(name));
        file.file().set_len(offset + size).expect("size");
        let mut file = Shifted(file, offset);
        if work.changed || !work.write {
            filled(&mut file, size);
        }
        file
    };
    let device = || {
        // As new as the other files, so that the host's cache holds it in the same way.
        let mut backing = fresh(&dir.join("backing"));
        backing.file().set_len(size).expect("size");
        if !work.write && !work.changed {
            filled(&mut backing, size);
        }
        let cow = fresh(&dir.join("cow"));
        device::create(&cow, &header).expect("create");
        let mut device = Device::open(cow, backing, MTIME, Access::ReadWrite).expect("open");
        if work.changed {
            filled(&mut device, size);
        }
        device
    };
    let mut disks: [Option<Box<dyn Disk>>; 3] = [None, None, None];
    for which in turns {
        disks[which] = Some(match which {
            0 => Box::new(plain("plain", 0)),
            1 => Box::new(plain("shifted", header.data_offset())),
            _ => Box::new(device()),
        });
    }
    disks
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Measures everything for one layout, prints it, and returns what was too slow.
fn table(dir: &Path, size: u64, rounds: u64, alignment: u32) -> Vec<&'static str> {
    println!(
        "{:28} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "MiB/s", "plain", "shifted", "COW", "COW/plain", "COW/shift"
    );
    let mut slow = Vec::new();
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    for &work in WORKS.iter().filter(|work| work.name.contains(&only)) {
        let mut best = [0.0; 3];
        // How fast a sync(2) is differs twofold from round to round, by where the host puts the file: few rounds miss the best.
        let rounds = if work.write { rounds * 3 } else { rounds };
        for round in 0..rounds as usize {
            let turns: [usize; 3] = std::array::from_fn(|turn| (turn + round) % 3);
            let mut disks = disks(dir, work, size, alignment, turns);
            let mut speed = [0.0; 3];
            for which in turns {
                speed[which] = run(work, disks[which].as_mut().expect("all are made").as_mut(), size);
            }
            best.iter_mut()
                .zip(speed)
                .for_each(|(best, now)| *best = f64::max(*best, now / f64::from(1 << 20)));
        }
        let [plain, shifted, device] = best;
        let (ratio, same_place) = (device / plain, device / shifted);
        println!("{:28} {plain:9.0} {shifted:9.0} {device:9.0} {ratio:9.2} {same_place:9.2}", work.name);
        // What the layout costs is not the device's doing where the format leaves no choice.
        let counts = if alignment == ALIGNMENT { f64::max(same_place, ratio) } else { ratio };
        if counts < LEAST {
            slow.push(work.name);
        }
    }
    slow
}

fn main() {
    let base = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = Scratch(base.join(format!("cow-bench-{}", std::process::id())));
    std::fs::create_dir_all(&dir.0).expect("directory");
    let size = number("BENCH_MIB", 128) << 20;
    let rounds = number("BENCH_ROUNDS", 9);
    let mut slow = Vec::new();
    for (alignment, what) in
        [(default_alignment(size), "as uml_mkcow makes it"), (ALIGNMENT, "as UML makes it itself")]
    {
        println!("COW file {what}: alignment {alignment}");
        slow.extend(table(&dir.0, size, rounds, alignment));
        println!();
    }
    if !slow.is_empty() {
        drop(dir);
        eprintln!("below {LEAST} of the plain file: {}", slow.join(", "));
        std::process::exit(1);
    }
}
