//! Layers against trees of the host: hostile ones, conflicts, failures in the middle.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use layer::{Content, Entry, Gone, Node, Stamp};

use super::{Saved, Tree, changes, commit, tree::stamp};

/// A directory of the test's own.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("umlaut-layers-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("tree")).unwrap();
        Dir(path)
    }
    fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }
    fn open(&self) -> Tree {
        Tree::open(self.tree().as_os_str().as_bytes()).unwrap()
    }
    fn stamp(&self, path: &str) -> Stamp {
        stamp(&self.open().stat(path.as_bytes()).unwrap().unwrap())
    }
    fn gone(&self, path: &str) -> Entry {
        Entry::Gone(Gone { path: path.into(), base: self.stamp(path) })
    }
    fn save(&self, entries: &[(Entry, &[u8])]) -> Saved {
        let mut out = Vec::new();
        layer::header(&mut out, b"/", 0);
        let mut frames = 1;
        for (e, data) in entries {
            match e {
                Entry::Gone(g) => layer::gone(&mut out, g),
                Entry::Node(n, _) => layer::node(&mut out, n),
            }
            if !data.is_empty() {
                layer::data(&mut out, 0, data);
                frames += 1;
            }
            frames += 1;
        }
        layer::end(&mut out, frames);
        let file = self.0.join("layer");
        fs::write(&file, out).unwrap();
        Saved::read(file.to_str().unwrap()).unwrap_or_else(|e| panic!("{}", e.line))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn node(path: &str, mode: u32, base: Option<Stamp>, content: Content) -> Entry {
    let (uid, gid) = base.map_or_else(|| (own_id(), fs::metadata(".").unwrap().gid()), |b| (b.uid, b.gid));
    let time = (1_000_000, 5);
    let node =
        Node { path: path.into(), mode, uid, gid, atime: time, mtime: time, xattrs: vec![], base, content };
    Entry::Node(Box::new(node), Vec::new())
}

fn own_id() -> u32 {
    host_linux::own_ids().0
}

fn apply(d: &Dir, saved: &Saved) -> Result<commit::Done, Vec<String>> {
    commit(saved, &d.open(), own_id() == 0, 1)
}

/// Everything in a tree: path, type, mode, size, time, links, contents.
fn snapshot(top: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut stack = vec![top.to_path_buf()];
    while let Some(p) = stack.pop() {
        let m = fs::symlink_metadata(&p).unwrap();
        let text = if m.is_file() { fs::read(&p).unwrap() } else { Vec::new() };
        let time = if m.is_dir() { 0 } else { m.mtime() };
        all.push(format!("{} {:o} {time} {} {text:?}", p.display(), m.mode(), m.nlink()));
        if m.is_dir() {
            stack.extend(fs::read_dir(&p).unwrap().map(|e| e.unwrap().path()));
        }
    }
    all.sort();
    all
}

const FILE: u32 = 0o100_644;
const DIR: u32 = 0o40755;

#[test]
fn links_do_not_lead_out() {
    let d = Dir::new("links");
    let outside = d.0.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "keep").unwrap();
    symlink(&outside, d.tree().join("link")).unwrap();
    fs::create_dir(d.tree().join("dir")).unwrap();
    // The layer takes the link for a directory of the tree.
    let inside = node("link/new", FILE, None, Content::File { size: 3 });
    let saved = d.save(&[(inside, b"bad")]);
    assert!(apply(&d, &saved).is_err());
    let victim =
        stamp(&Tree::open(outside.as_os_str().as_bytes()).unwrap().stat(b"victim").unwrap().unwrap());
    let saved = d.save(&[(Entry::Gone(Gone { path: b"link/victim".to_vec(), base: victim }), b"")]);
    assert!(apply(&d, &saved).is_err());
    // The directory becomes a link between the saving and the commit.
    let saved = d.save(&[(node("dir/new", FILE, None, Content::File { size: 3 }), b"bad")]);
    fs::remove_dir(d.tree().join("dir")).unwrap();
    symlink(&outside, d.tree().join("dir")).unwrap();
    assert!(apply(&d, &saved).is_err());
    // A file to be overwritten is a link by now.
    fs::write(d.tree().join("f"), "text").unwrap();
    let base = d.stamp("f");
    let saved = d.save(&[(node("f", FILE, Some(base), Content::File { size: 3 }), b"bad")]);
    fs::remove_file(d.tree().join("f")).unwrap();
    symlink(outside.join("victim"), d.tree().join("f")).unwrap();
    assert!(apply(&d, &saved).is_err());
    assert_eq!(fs::read(outside.join("victim")).unwrap(), b"keep");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_failure_in_the_middle_undoes_all() {
    let d = Dir::new("undo");
    let t = d.tree();
    fs::create_dir_all(t.join("old/deep")).unwrap();
    fs::write(t.join("old/deep/f"), "deep").unwrap();
    fs::write(t.join("plain"), "plain").unwrap();
    fs::write(t.join("linked"), "linked").unwrap();
    fs::hard_link(t.join("linked"), t.join("other")).unwrap();
    fs::write(t.join("mode"), "mode").unwrap();
    let before = snapshot(&t);
    let mut last = node("fifo", 0o10644, None, Content::Special(0));
    // The host has no such attribute for FIFOs.
    if let Entry::Node(n, _) = &mut last {
        n.xattrs.push((b"user.no".to_vec(), b"x".to_vec()));
    }
    let entries = |last: Entry| {
        vec![
            (d.gone("old"), &b""[..]),
            (d.gone("old/deep"), b""),
            (d.gone("old/deep/f"), b""),
            (node("old", FILE, None, Content::File { size: 3 }), b"now"),
            (node("plain", FILE, Some(d.stamp("plain")), Content::File { size: 7 }), b"changed"),
            (node("linked", FILE, Some(d.stamp("linked")), Content::File { size: 2 }), b"in"),
            (node("mode", 0o100_600, Some(d.stamp("mode")), Content::Base), b""),
            (node("new", DIR, None, Content::Dir), b""),
            (node("new/f", FILE, None, Content::File { size: 1 }), b"x"),
            (node("new/l", FILE, None, Content::Link(b"new/f".to_vec())), b""),
            (last, b""),
        ]
    };
    let lines = apply(&d, &d.save(&entries(last))).unwrap_err();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("/fifo: "), "{lines:?}");
    assert_eq!(snapshot(&t), before);

    // Without the last one it goes. The attempt changed no more than change times.
    let good = node("fifo", 0o10644, None, Content::Special(0));
    assert_eq!(apply(&d, &d.save(&entries(good))).map_err(|e| e.join("\n")), Ok(commit::Done::default()));
    assert_eq!(fs::read(t.join("old")).unwrap(), b"now");
    assert_eq!(fs::read(t.join("plain")).unwrap(), b"changed");
    assert_eq!(fs::read(t.join("other")).unwrap(), b"in", "a hard link was cut");
    assert_eq!(fs::metadata(t.join("mode")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(t.join("new/l")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(t.join("new")).unwrap().mtime(), 1_000_000);
    assert!(fs::metadata(t.join("fifo")).unwrap().file_type().is_fifo());
    let left: Vec<_> = fs::read_dir(&t).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.as_bytes().starts_with(b".umlaut")), "{left:?}");
}

#[test]
fn what_changed_since_is_a_conflict() {
    let d = Dir::new("conflict");
    let t = d.tree();
    fs::create_dir(t.join("dir")).unwrap();
    for f in ["a", "b", "dir/in"] {
        fs::write(t.join(f), f).unwrap();
    }
    let saved = d.save(&[
        (d.gone("a"), b""),
        (d.gone("dir"), b""),
        (d.gone("dir/in"), b""),
        (node("b", FILE, Some(d.stamp("b")), Content::File { size: 1 }), b"x"),
        (node("new", FILE, None, Content::File { size: 1 }), b"x"),
    ]);
    fs::write(t.join("a"), "other").unwrap();
    fs::remove_file(t.join("b")).unwrap();
    fs::write(t.join("dir/more"), "").unwrap();
    fs::write(t.join("new"), "theirs").unwrap();
    let before = snapshot(&t);
    let lines = apply(&d, &saved).unwrap_err();
    assert_eq!(
        lines,
        [
            "/a: has changed since",
            "/dir: has a new entry /more",
            "/b: is not there any more",
            "/new: is there already"
        ]
    );
    assert_eq!(snapshot(&t), before);
}

#[test]
fn the_list_names_each_change_once() {
    let base = |mode| Stamp { mode, nlink: 1, ..Stamp::default() };
    let g = |path: &str, mode| (Entry::Gone(Gone { path: path.into(), base: base(mode) }), &b""[..]);
    let d = Dir::new("list");
    let saved = d.save(&[
        (node("", DIR, Some(base(DIR)), Content::Dir), b""),
        g("gone", DIR),
        g("gone/a", FILE),
        g("gone/b", DIR),
        g("gone/b/c", FILE),
        g("swap", FILE),
        (node("swap", FILE, None, Content::File { size: 1 }), b"x"),
        g("kind", FILE),
        (node("kind", 0o120_777, None, Content::Symlink(b"/x".to_vec())), b""),
        (node("m", 0o100_755, Some(base(FILE)), Content::Base), b""),
        (node("n", 0o104_755, None, Content::File { size: 0 }), b""),
    ]);
    let shown: Vec<_> = changes(&saved.layer)
        .into_iter()
        .map(|c| {
            format!(
                "{} {} {}",
                c.what,
                String::from_utf8_lossy(c.path),
                c.details.first().cloned().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(shown[0], "D gone directory, 3 below");
    assert_eq!(shown[1], "R kind link instead of file");
    assert_eq!(shown[2], "m m mode 0644 -> 0755");
    assert!(shown[3].starts_with("A n "), "{shown:?}");
    assert!(shown[4].starts_with("M swap"), "{shown:?}");
    assert_eq!(shown.len(), 5);
}
