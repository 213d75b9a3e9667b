//! Files about an address space: maps, smaps, cmdline, environ, auxv.

use std::fmt::Write as _;

use abi::errno;
use kernel::{
    Machine, Result,
    mm::{Mm, VmaFlags},
    task::Pid,
    vfs::{Path, inode::Link},
};

/// Most bytes of arguments or environment shown.
const TEXT_MAX: u64 = 2 << 20;

fn range(mm: &Mm, (start, end): (u64, u64)) -> Vec<u8> {
    let len = end.saturating_sub(start).min(TEXT_MAX);
    let mut buf = vec![0; len as usize];
    let n = mm.space.read(start, &mut buf);
    buf.truncate(n);
    buf
}

pub(crate) fn auxv(mm: &Mm) -> Vec<u8> {
    mm.image().auxv
}

pub(crate) fn environ(mm: &Mm) -> Vec<u8> {
    range(mm, mm.image().env)
}

/// The arguments. A program that overwrote the NUL after the last one (setproctitle(3)) goes on into its environment.
pub(crate) fn cmdline(mm: &Mm) -> Vec<u8> {
    let image = mm.image();
    let args = range(mm, image.arg);
    if args.last().is_none_or(|b| *b == 0) {
        return args;
    }
    let mut all = range(mm, (image.arg.0, image.env.1));
    if let Some(end) = all.iter().position(|b| *b == 0) {
        all.truncate(end);
    }
    all
}

/// /proc/PID/maps; with `details` smaps.
pub(crate) fn maps(mm: &Mm, details: bool, root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for m in mm.maps() {
        let mut line = String::new();
        let flag = |on: bool, c: char| if on { c } else { '-' };
        let (mut dev, mut ino) = (0, 0);
        if let Some(f) = &m.file
            && let Ok(a) = f.path.inode().and_then(|i| i.attr())
        {
            (dev, ino) = (a.dev, a.ino);
        }
        let _ = write!(
            line,
            "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {ino} ",
            m.start,
            m.end,
            flag(m.prot.read, 'r'),
            flag(m.prot.write, 'w'),
            flag(m.prot.exec, 'x'),
            if m.shared { 's' } else { 'p' },
            if m.file.is_some() { m.offset } else { 0 },
            abi::major(dev),
            abi::minor(dev),
        );
        let named = m.file.is_some() || !m.name.is_empty();
        if named {
            while line.len() < 73 {
                line.push(' ');
            }
        }
        out.extend_from_slice(line.as_bytes());
        match &m.file {
            Some(f) => {
                let name = f.path.display(root);
                out.extend(
                    name.iter()
                        .flat_map(|b| if *b == b'\n' { &b"\\012"[..] } else { std::slice::from_ref(b) }),
                );
            }
            None => out.extend_from_slice(m.name.as_bytes()),
        }
        out.push(b'\n');
        if details {
            smaps(mm, &m, &mut out);
        }
    }
    out
}

/// /proc/PID/numa_maps (numa(7)): all memory lies in the one node that there is. Counts are pages.
pub(crate) fn numa_maps(mm: &Mm, root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for m in mm.maps() {
        out.extend(format!("{:08x} default", m.start).bytes());
        match &m.file {
            Some(f) => {
                out.extend_from_slice(b" file=");
                out.extend(f.path.display(root).iter().flat_map(|b| match b {
                    b'\n' | b'\t' | b' ' | b'=' | b'\\' => format!("\\{b:03o}").into_bytes(),
                    b => vec![*b],
                }));
            }
            None if matches!(m.name, "[heap]" | "[stack]") => {
                out.push(b' ');
                out.extend(m.name.bytes().filter(u8::is_ascii_alphabetic));
            }
            None => {}
        }
        let a = amounts(mm, &m);
        let (pages, anon) = (a[0] / 4, a[8] / 4);
        if pages > 0 {
            let (word, dirty) =
                if anon > 0 { ("anon", format!(" dirty={anon}")) } else { ("mapped", String::new()) };
            out.extend(format!(" {word}={pages}{dirty} N0={pages} kernelpagesize_kB=4").bytes());
        }
        out.push(b'\n');
    }
    out
}

/// Names of the amounts of a mapping, in smaps' order.
const AMOUNTS: [&str; 20] = [
    "Rss",
    "Pss",
    "Pss_Dirty",
    "Shared_Clean",
    "Shared_Dirty",
    "Private_Clean",
    "Private_Dirty",
    "Referenced",
    "Anonymous",
    "KSM",
    "LazyFree",
    "AnonHugePages",
    "ShmemPmdMapped",
    "FilePmdMapped",
    "Shared_Hugetlb",
    "Private_Hugetlb",
    "Swap",
    "SwapPss",
    "Locked",
    "",
];

/// Amounts of one mapping in KiB, by [`AMOUNTS`].
fn amounts(mm: &Mm, m: &kernel::mm::MapLine) -> [u64; 20] {
    // Residency page by page is the host's to tell; asked for small mappings only.
    let pages = (m.end - m.start) / abi::PAGE_SIZE;
    let mut rss = 0;
    if pages <= 1 << 16 {
        let mut flags = vec![0; pages as usize];
        if mm.space.mincore(m.start, &mut flags).is_ok() {
            rss = flags.iter().filter(|f| **f & 1 != 0).count() as u64 * 4;
        }
    }
    let private = if m.shared { 0 } else { rss };
    let anon = if m.file.is_none() && !m.shared { rss } else { 0 };
    let locked = if m.flags.contains(VmaFlags::LOCKED) { rss } else { 0 };
    let mut a = [0; 20];
    (a[0], a[1], a[2], a[3]) = (rss, rss, anon, rss - private);
    (a[5], a[6], a[7], a[8]) = (private - anon, anon, rss, anon);
    a[18] = locked;
    a
}

fn write_amounts(s: &mut String, amounts: &[u64; 20]) {
    for (name, v) in AMOUNTS.iter().zip(amounts).filter(|(n, _)| !n.is_empty()) {
        let _ = writeln!(s, "{:<16}{v:>8} kB", format!("{name}:"));
    }
}

fn smaps(mm: &Mm, m: &kernel::mm::MapLine, out: &mut Vec<u8>) {
    let size = (m.end - m.start) >> 10;
    let mut s = String::new();
    for (name, v) in [("Size", size), ("KernelPageSize", 4), ("MMUPageSize", 4)] {
        let _ = writeln!(s, "{:<16}{v:>8} kB", format!("{name}:"));
    }
    write_amounts(&mut s, &amounts(mm, m));
    let flags = [
        (m.prot.read, "rd"),
        (m.prot.write, "wr"),
        (m.prot.exec, "ex"),
        (m.shared, "sh"),
        (true, "mr mw me"),
        (m.flags.contains(VmaFlags::GROWSDOWN), "gd"),
        (m.flags.contains(VmaFlags::LOCKED), "lo"),
        (m.flags.contains(VmaFlags::DONTFORK), "dc"),
        (m.flags.contains(VmaFlags::WIPEONFORK), "wf"),
        (m.flags.contains(VmaFlags::DONTDUMP), "dd"),
        (m.flags.contains(VmaFlags::NORESERVE), "nr"),
        (m.flags.contains(VmaFlags::ACCOUNT), "ac"),
        (m.flags.contains(VmaFlags::HUGE), "hg"),
        (m.flags.contains(VmaFlags::NOHUGE), "nh"),
    ];
    let words: Vec<&str> = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
    let huge = u8::from(m.flags.contains(VmaFlags::HUGE));
    let _ = writeln!(s, "THPeligible:    {huge:>8}\nVmFlags: {} ", words.join(" "));
    out.extend_from_slice(s.as_bytes());
}

/// smaps_rollup: all mappings as one.
pub(crate) fn rollup(mm: &Mm) -> Vec<u8> {
    let maps = mm.maps();
    let (Some(first), Some(last)) = (maps.first(), maps.last()) else { return Vec::new() };
    let mut sum = [0; 20];
    let (mut file, mut shmem) = (0, 0);
    for m in &maps {
        let a = amounts(mm, m);
        for (s, v) in sum.iter_mut().zip(a) {
            *s += v;
        }
        if m.file.is_some() {
            file += a[1] - a[8];
        } else if m.shared {
            shmem += a[1];
        }
    }
    let head = format!("{:08x}-{:08x} ---p 00000000 00:00 0", first.start, last.end);
    let mut all = String::new();
    write_amounts(&mut all, &sum);
    // After Pss_Dirty come its parts by kind.
    let parts: String = [("Pss_Anon", sum[8]), ("Pss_File", file), ("Pss_Shmem", shmem)]
        .iter()
        .map(|(n, v)| format!("{:<16}{v:>8} kB\n", format!("{n}:")))
        .collect();
    let at = all.find("Shared_Clean").unwrap_or(all.len());
    all.insert_str(at, &parts);
    format!("{head:<73}[rollup]\n{all}").into_bytes()
}

/// Ranges of a task that map files (map_files).
pub(crate) fn file_ranges(m: &Machine, tid: Pid) -> Vec<(u64, u64)> {
    let mm = m.tree.task(tid).and_then(|t| t.mm());
    let maps = mm.map(|mm| mm.maps()).unwrap_or_default();
    maps.iter().filter(|l| l.file.is_some()).map(|l| (l.start, l.end)).collect()
}

/// The file mapped at an address.
pub(crate) fn file_at(m: &Machine, tid: Pid, start: u64) -> Result<Link> {
    let mm = m.tree.task(tid).and_then(|t| t.mm()).ok_or(errno::ENOENT)?;
    let line = mm.maps().into_iter().find(|l| l.start == start).ok_or(errno::ENOENT)?;
    let file = line.file.ok_or(errno::ENOENT)?;
    Ok(Link::Jump(file.path.clone()))
}
