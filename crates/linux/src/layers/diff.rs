//! `umlaut diff`: what a layer changes.

use std::{collections::HashMap, io::Write, time::Duration};

use abi::{FileType, fs::O_RDONLY, fs::S_IALLUGO};
use layer::{Content, Entry, Extent, Gone, Layer, Node};

use super::{Saved, Tree, shown};

/// Texts longer than this are not compared.
const MAX_TEXT: u64 = 4 << 20;

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// `A`dded, `M`odified, `D`eleted, `R`eplaced by something of another kind, or only attributes (`m`).
    pub what: char,
    pub path: &'a [u8],
    pub details: Vec<String>,
}

fn kind_name(mode: u32) -> &'static str {
    match FileType::from_mode(mode) {
        Some(FileType::Directory) => "directory",
        Some(FileType::Symlink) => "link",
        Some(FileType::Char | FileType::Block) => "device",
        Some(FileType::Fifo) => "fifo",
        Some(FileType::Socket) => "socket",
        _ => "file",
    }
}

fn attributes(n: &Node, old: &layer::Stamp, out: &mut Vec<String>) {
    let bits = |m: u32| m & S_IALLUGO;
    if bits(n.mode) != bits(old.mode) && n.kind() != Some(FileType::Symlink) {
        out.push(format!("mode {:04o} -> {:04o}", bits(old.mode), bits(n.mode)));
    }
    if (n.uid, n.gid) != (old.uid, old.gid) {
        out.push(format!("owner {}:{} -> {}:{}", old.uid, old.gid, n.uid, n.gid));
    }
}

fn about(n: &Node) -> Vec<String> {
    match &n.content {
        Content::Symlink(t) => vec![format!("link to {}", shown(t).trim_start_matches('/'))],
        Content::Link(to) => vec![format!("the same as {}", shown(to))],
        Content::Special(_) => vec![kind_name(n.mode).into()],
        Content::Dir => vec!["directory".into()],
        Content::File { size } => vec![format!("{size} bytes")],
        Content::Base => Vec::new(),
    }
}

/// All changes, sorted by path. Of a removed directory only itself is named, with the number of what was in it.
pub fn changes(layer: &Layer) -> Vec<Change<'_>> {
    let mut gone: HashMap<&[u8], (&Gone, usize)> = HashMap::new();
    // The topmost removed directory of each removed path.
    let mut top: HashMap<&[u8], &[u8]> = HashMap::new();
    let mut all = Vec::new();
    for e in &layer.entries {
        if let Entry::Gone(g) = e {
            let parent = layer::split(&g.path).map_or(&[][..], |s| s.0);
            let under = top.get(parent).copied().unwrap_or(&g.path);
            top.insert(&g.path, under);
            let count = gone.entry(under).or_insert((g, 0));
            count.1 += usize::from(under != g.path);
        }
    }
    for e in &layer.entries {
        let Entry::Node(n, _) = e else { continue };
        let replaced = gone.remove(&n.path[..]);
        let mut details = Vec::new();
        let what = match (&n.base, replaced) {
            (Some(_), _) if matches!(n.content, Content::Link(_)) => continue,
            (Some(old), _) => {
                attributes(n, old, &mut details);
                let changed = matches!(n.content, Content::File { .. });
                if !changed && details.is_empty() && n.mtime == old.mtime {
                    continue;
                }
                // A directory's time changes with what is in it, which has lines of its own.
                if details.is_empty() && n.content == Content::Dir {
                    continue;
                }
                if !changed && details.is_empty() {
                    details.push("time".into());
                }
                if changed { 'M' } else { 'm' }
            }
            (None, Some((old, below))) => {
                if kind_name(old.base.mode) == kind_name(n.mode) && n.kind() != Some(FileType::Directory) {
                    attributes(n, &old.base, &mut details);
                    'M'
                } else {
                    details.push(format!("{} instead of {}", kind_name(n.mode), kind_name(old.base.mode)));
                    if below > 0 {
                        details.push(format!("{below} below deleted"));
                    }
                    'R'
                }
            }
            (None, None) => {
                details = about(n);
                'A'
            }
        };
        all.push(Change { what, path: &n.path, details });
    }
    for (path, (g, below)) in gone {
        let mut details = Vec::new();
        if FileType::from_mode(g.base.mode) == Some(FileType::Directory) {
            details.push(format!("directory, {below} below"));
        }
        all.push(Change { what: 'D', path, details });
    }
    all.sort_by(|a, b| a.path.cmp(b.path));
    all
}

/// The list, one change a line.
pub fn list(layer: &Layer, out: &mut dyn Write) -> std::io::Result<usize> {
    let all = changes(layer);
    for c in &all {
        let details =
            if c.details.is_empty() { String::new() } else { format!(" ({})", c.details.join(", ")) };
        writeln!(out, "{} {}{details}", c.what, shown(c.path))?;
    }
    Ok(all.len())
}

/// The new data of a file, if it is small enough to compare.
fn new_text(saved: &Saved, size: u64, extents: &[Extent]) -> Option<Vec<u8>> {
    if size > MAX_TEXT {
        return None;
    }
    let mut text = vec![0; usize::try_from(size).ok()?];
    for e in extents {
        let (from, len) = (usize::try_from(e.offset).ok()?, usize::try_from(e.len).ok()?);
        saved.read_at(e.at, text.get_mut(from..from + len)?).ok()?;
    }
    Some(text)
}

/// What the tree has, if it is a file small enough to compare.
fn old_text(tree: &Tree, path: &[u8]) -> Option<Vec<u8>> {
    let stat = tree.stat(path).ok()??;
    if FileType::from_mode(stat.mode) != Some(FileType::Regular) || stat.size > MAX_TEXT {
        return None;
    }
    let (dir, name) = tree.place(path).ok()?;
    let file = dir.open_at(name, O_RDONLY, 0).ok()?;
    let mut text = vec![0; usize::try_from(stat.size).ok()?];
    let mut done = 0;
    while done < text.len() {
        match file.pread(done as u64, &mut text[done..]).ok()? {
            0 => break,
            n => done += n,
        }
    }
    text.truncate(done);
    Some(text)
}

/// The texts' differences as diff(1) shows them with `-u`.
pub fn patch(saved: &Saved, tree: &Tree, out: &mut dyn Write) -> std::io::Result<()> {
    let removed: HashMap<&[u8], &Gone> = saved
        .layer
        .entries
        .iter()
        .filter_map(|e| match e {
            Entry::Gone(g) => Some((&g.path[..], g)),
            Entry::Node(..) => None,
        })
        .collect();
    let is_file = |mode: u32| FileType::from_mode(mode) == Some(FileType::Regular);
    let mut done: Vec<&[u8]> = Vec::new();
    for e in &saved.layer.entries {
        let Entry::Node(n, extents) = e else { continue };
        let Content::File { size } = n.content else { continue };
        done.push(&n.path);
        let was = n.base.is_some() || removed.get(&n.path[..]).is_some_and(|g| is_file(g.base.mode));
        let old = if was { old_text(tree, &n.path) } else { Some(Vec::new()) };
        compare(&n.path, old, was, new_text(saved, size, extents), true, out)?;
    }
    for (path, g) in removed {
        if is_file(g.base.mode) && !done.contains(&path) {
            compare(path, old_text(tree, path), true, Some(Vec::new()), false, out)?;
        }
    }
    Ok(())
}

fn compare(
    path: &[u8],
    old: Option<Vec<u8>>,
    was: bool,
    new: Option<Vec<u8>>,
    is: bool,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let name = shown(path);
    let side = |there: bool, prefix: &str| if there { format!("{prefix}{name}") } else { "/dev/null".into() };
    let (a, b) = (side(was, "a"), side(is, "b"));
    let text = |t: &Option<Vec<u8>>| t.as_ref().is_some_and(|t| !t.contains(&0));
    match (&old, &new) {
        (Some(o), Some(n)) if text(&old) && text(&new) => {
            if o == n {
                return Ok(());
            }
            let diff =
                similar::TextDiff::configure().timeout(Duration::from_secs(5)).diff_lines(&o[..], &n[..]);
            diff.unified_diff().header(&a, &b).to_writer(out)
        }
        (Some(o), Some(n)) if o == n => Ok(()),
        _ => writeln!(out, "Binary files {a} and {b} differ"),
    }
}
