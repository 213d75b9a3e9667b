//! Files about an address space: maps, smaps, cmdline, environ, auxv.

use std::fmt::Write as _;

use kernel::{mm::Mm, vfs::Path};

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

fn smaps(mm: &Mm, m: &kernel::mm::MapLine, out: &mut Vec<u8>) {
    let size = (m.end - m.start) >> 10;
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
    let rows = [
        ("Size", size),
        ("KernelPageSize", 4),
        ("MMUPageSize", 4),
        ("Rss", rss),
        ("Pss", rss),
        ("Pss_Dirty", anon),
        ("Shared_Clean", rss - private),
        ("Shared_Dirty", 0),
        ("Private_Clean", private - anon.min(private)),
        ("Private_Dirty", anon),
        ("Referenced", rss),
        ("Anonymous", anon),
        ("KSM", 0),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", 0),
    ];
    let mut s = String::new();
    for (name, v) in rows {
        let _ = writeln!(s, "{:<16}{v:>8} kB", format!("{name}:"));
    }
    let flags = [(m.prot.read, "rd"), (m.prot.write, "wr"), (m.prot.exec, "ex"), (m.shared, "sh")];
    let words: Vec<&str> = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
    let _ = writeln!(s, "THPeligible:    0\nVmFlags: {} mr mw me", words.join(" "));
    out.extend_from_slice(s.as_bytes());
}
