//! A process writes through the device view and is killed with SIGKILL; then every sector must be old or new.
//!
//! "Old" is what the sector held at the last flush that came to its end, "new" anything that was written to it since.
//! A sector's content says which sector it is and which write made it, and fills all its bytes from that, so that a
//! mixture of two contents shows.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use cow::{Access, ReadStore};
use cow_tools::disk::{Locking, open};

use crate::common::{Dir, Random};
use crate::{start, tell};

const SECTOR: usize = 512;
const SECTORS: u64 = 16384;
const KILLS: u64 = 150;

/// What write number `generation` puts into a sector; 0 is a discarded one.
fn content(sector: u64, generation: u64) -> Vec<u8> {
    if generation == 0 {
        return vec![0; SECTOR];
    }
    let mut bytes = [sector.to_le_bytes(), generation.to_le_bytes()].concat();
    let mut state = (sector << 32) ^ generation;
    while bytes.len() < SECTOR {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes
}

/// Writes, discards and flushes until it is killed, and tells before each what it is going to do.
pub fn write(cow: &Path, seed: u64) {
    let mut random = Random(seed);
    let mut device = open(cow, None, Access::ReadWrite, Locking::Locked).expect("open");
    tell("open");
    for n in 1.. {
        let generation = seed << 32 | n;
        let first = random.below(SECTORS);
        // Mostly what a guest writes, sometimes more than one page of the host's cache and one system call's worth.
        let most = [1, 8, 64, 2048][random.below(4) as usize];
        let count = 1 + random.below((SECTORS - first).min(most));
        match random.below(16) {
            0 => {
                tell("flush");
                device.flush().expect("flush");
                tell("flushed");
            }
            1 => {
                tell(&format!("change {first} {count} 0"));
                device.discard(first * 512, count * 512).expect("discard");
            }
            _ => {
                tell(&format!("change {first} {count} {generation}"));
                let bytes: Vec<u8> = (first..first + count).flat_map(|s| content(s, generation)).collect();
                device.write_at(&bytes, first * 512).expect("write");
            }
        }
    }
}

pub fn each_sector_is_old_or_new() {
    let dir = Dir::new("sigkill");
    let base: Vec<u8> = (0..SECTORS).flat_map(|sector| content(sector, 1)).collect();
    dir.backing("base", &base);
    let mut random = Random(77);
    let (mut changes, mut flushes, mut within, mut torn) = (0, 0, 0, 0);
    for alignment in ["4K", "1M"] {
        dir.mkcow(&["-f", "--align", alignment, "cow", "base"]).silent();
        // The contents each sector may have.
        let mut may: Vec<HashSet<u64>> = (0..SECTORS).map(|_| HashSet::from([1])).collect();
        for round in 0..KILLS / 2 {
            let seed = 1000 * u64::from(alignment == "1M") + round + 2;
            let mut child = start(&["write", dir.path("cow").to_str().expect("text"), &seed.to_string()]);
            let mut told = BufReader::new(child.stdout.take().expect("pipe"));
            let mut line = String::new();
            told.read_line(&mut line).expect("read");
            assert_eq!(line, "open\n");
            let lines = std::thread::spawn(move || told.lines().map_while(Result::ok).collect());
            std::thread::sleep(Duration::from_micros(random.below(25_000)));
            child.kill().expect("kill");
            assert_eq!(child.wait().expect("wait").signal(), Some(9), "it ended by itself");
            // What it had told by then: it tells before it does anything.
            let lines: Vec<String> = lines.join().expect("reader");
            // Since the last flush that ended: the newest content of each sector becomes the old one with it.
            let mut newest: Vec<Option<u64>> = vec![None; SECTORS as usize];
            for line in &lines {
                match line.split(' ').collect::<Vec<_>>()[..] {
                    ["change", first, count, generation] => {
                        let number = |text: &str| text.parse::<u64>().expect("number");
                        for sector in number(first)..number(first) + number(count) {
                            may[sector as usize].insert(number(generation));
                            newest[sector as usize] = Some(number(generation));
                        }
                        changes += 1;
                    }
                    ["flushed"] => {
                        flushes += 1;
                        for (may, newest) in may.iter_mut().zip(&newest) {
                            if let Some(newest) = newest {
                                *may = HashSet::from([*newest]);
                            }
                        }
                    }
                    ["flush"] => {}
                    _ => panic!("{line}"),
                }
            }
            within += u32::from(lines.last().is_some_and(|line| line.starts_with("flush")));
            torn += u32::from(check(&dir, &mut may, lines.last(), round));
        }
    }
    assert!(dir.read("base") == base, "the backing file was written");
    eprintln!(
        "{KILLS} kills in {changes} changes and {flushes} flushes: {within} at a flush, {torn} within a write \
         that was half done"
    );
    assert!(changes > KILLS && flushes > 0, "nothing was tested");
}

/// Checks every sector; what it holds now is the old content of the next round. Tells whether the last change was
/// done in part.
fn check(dir: &Dir, may: &mut [HashSet<u64>], last: Option<&String>, round: u64) -> bool {
    let device = open(&dir.path("cow"), None, Access::ReadOnly, Locking::Locked).expect("the COW file opens");
    assert_eq!(device.size(), SECTORS * 512);
    let mut disk = vec![0; device.size() as usize];
    device.read_at(&mut disk, 0).expect("read");
    let half: Option<(u64, u64, u64)> = last.and_then(|line| {
        let mut words = line.strip_prefix("change ")?.split(' ').map(|w| w.parse().ok());
        Some((words.next()??, words.next()??, words.next()??))
    });
    let mut done = 0;
    for (sector, bytes) in (0u64..).zip(disk.chunks(SECTOR)) {
        let may = &mut may[sector as usize];
        let found = may.iter().copied().find(|&generation| content(sector, generation) == bytes);
        let Some(found) = found else {
            panic!(
                "round {round}: sector {sector} is neither old nor new: {:?}, may be {may:?}",
                &bytes[..16]
            );
        };
        // The bitmap agrees: a clear bit means the backing file, and a set one a sector that is all there.
        if !device.bitmap().get(sector) {
            assert_eq!(found, 1, "round {round}: sector {sector} has no bit");
        } else {
            let mut own = vec![0; SECTOR];
            let at = device.header().data_offset() + sector * SECTOR as u64;
            device.cow().read_at(&mut own, at).expect("read");
            assert!(own == bytes);
        }
        *may = HashSet::from([found]);
        if let Some((first, count, generation)) = half {
            done += u64::from((first..first + count).contains(&sector) && found == generation);
        }
    }
    half.is_some_and(|(_, count, _)| done > 0 && done < count)
}
