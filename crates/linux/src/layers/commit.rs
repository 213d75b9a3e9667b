//! `umlaut commit`: a layer becomes part of its tree.
//!
//! First everything is compared with what the layer remembers; a difference is a conflict, and nothing is done. Then each
//! change is made so that it can be undone: what is replaced or removed is moved aside under a name of ours in the same
//! directory. If a step fails, all steps before it are undone; at the end what was moved aside is removed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use abi::{
    FileType,
    fs::{O_CREAT, O_EXCL, O_PATH, O_RDONLY, O_RDWR, O_WRONLY, S_IALLUGO},
};
use hal::{Errno, HostFile, SetAttr, errno};
use layer::{Content, Entry, Extent, Gone, Node, Stamp, split};

use super::{Saved, Tree, shown, tree::stamp};

/// Conflicts that are named one by one.
const MAX_NAMED: usize = 20;
/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;
/// renameat2(2): never over something.
const NOREPLACE: u32 = abi::fs::RENAME_NOREPLACE;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Objects whose owner is not what the layer says, as only root can give files away.
    pub owners_kept: usize,
    /// What was moved aside and could not be removed.
    pub left: usize,
}

/// What a change is undone by.
enum Undo {
    /// Give it its name back.
    Move {
        dir: Arc<dyn HostFile>,
        aside: Vec<u8>,
        name: Vec<u8>,
    },
    /// Take it away again.
    Remove {
        dir: Arc<dyn HostFile>,
        name: Vec<u8>,
    },
    Attributes {
        dir: Arc<dyn HostFile>,
        name: Vec<u8>,
        old: SetAttr,
    },
    Xattr {
        file: Arc<dyn HostFile>,
        name: Vec<u8>,
        old: Option<Vec<u8>>,
    },
    /// Write the old data, which stand in another file, back.
    Data {
        file: Arc<dyn HostFile>,
        old: Arc<dyn HostFile>,
    },
}

struct Commit<'a> {
    saved: &'a Saved,
    tree: &'a Tree,
    gone: HashMap<&'a [u8], &'a Gone>,
    /// Paths of directories that are new.
    new_dirs: HashSet<&'a [u8]>,
    is_root: bool,
    undo: Vec<Undo>,
    /// What is removed at the end.
    aside: Vec<(Arc<dyn HostFile>, Vec<u8>)>,
    count: u32,
    pid: u32,
    done: Done,
}

type Step<T> = Result<T, (Vec<u8>, Errno)>;

/// Applies a layer. Errors are lines for the user; the tree is as it was then.
pub fn commit(saved: &Saved, tree: &Tree, is_root: bool, pid: u32) -> Result<Done, Vec<String>> {
    let mut c = Commit {
        saved,
        tree,
        gone: HashMap::new(),
        new_dirs: HashSet::new(),
        is_root,
        undo: Vec::new(),
        aside: Vec::new(),
        count: 0,
        pid,
        done: Done::default(),
    };
    for e in &saved.layer.entries {
        match e {
            Entry::Gone(g) => {
                c.gone.insert(&g.path, g);
            }
            Entry::Node(n, _) if n.base.is_none() && n.content == Content::Dir => {
                c.new_dirs.insert(&n.path);
            }
            Entry::Node(..) => {}
        }
    }
    let conflicts = c.conflicts();
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    match c.apply() {
        Ok(()) => {
            c.clean();
            Ok(c.done)
        }
        Err((path, e)) => {
            let mut lines = vec![format!("{}: {e}", shown(&path))];
            lines.extend(c.roll_back());
            Err(lines)
        }
    }
}

impl<'a> Commit<'a> {
    /// All reasons not to begin.
    fn conflicts(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut more = 0;
        let mut add = |line: String| {
            if all.len() < MAX_NAMED { all.push(line) } else { more += 1 }
        };
        for e in &self.saved.layer.entries {
            let (path, why) = match e {
                Entry::Gone(g) => (&g.path, self.gone_conflict(g)),
                Entry::Node(n, _) => (&n.path, self.node_conflict(n)),
            };
            if let Some(why) = why {
                add(format!("{}: {why}", shown(path)));
            }
        }
        if more > 0 {
            all.push(format!("and {more} more"));
        }
        all
    }

    /// Why an object is not what it was.
    fn changed(&self, path: &[u8], base: &Stamp) -> Option<String> {
        match self.tree.stat(path) {
            Err(e) => Some(e.to_string()),
            Ok(None) => Some("is not there any more".into()),
            Ok(Some(s)) if !base.holds(&stamp(&s)) => Some("has changed since".into()),
            Ok(Some(_)) => None,
        }
    }

    fn gone_conflict(&self, g: &Gone) -> Option<String> {
        if let Some(why) = self.changed(&g.path, &g.base) {
            return Some(why);
        }
        if FileType::from_mode(g.base.mode) != Some(FileType::Directory) {
            return None;
        }
        let names = match self.tree.names(&g.path) {
            Ok(n) => n,
            Err(e) => return Some(e.to_string()),
        };
        let mut path = [&g.path[..], b"/"].concat();
        let len = path.len();
        for name in names {
            path.truncate(len);
            path.extend(&name);
            if !self.gone.contains_key(&path[..]) {
                return Some(format!("has a new entry {}", shown(&name)));
            }
        }
        None
    }

    fn node_conflict(&self, n: &Node) -> Option<String> {
        if let (Some(_), Content::Link(to)) = (&n.base, &n.content) {
            let file = |p: &[u8]| self.tree.stat(p).ok().flatten().map(|s| (s.dev, s.ino));
            let same = file(to).is_some() && file(to) == file(&n.path);
            return (!same).then(|| format!("is not the same file as {} any more", shown(to)));
        }
        if let Some(base) = &n.base {
            return self.changed(&n.path, base);
        }
        let device = matches!(n.kind(), Some(FileType::Char | FileType::Block));
        if device && !self.is_root {
            return Some("only root can make devices".into());
        }
        let (dir, _) = split(&n.path)?;
        if self.new_dirs.contains(dir) || self.gone.contains_key(&n.path[..]) {
            return None;
        }
        if self.tree.dir(dir).is_err() {
            return Some("its directory is not there any more".into());
        }
        match self.tree.stat(&n.path) {
            Ok(None) => None,
            Ok(Some(_)) => Some("is there already".into()),
            Err(e) => Some(e.to_string()),
        }
    }

    fn apply(&mut self) -> Step<()> {
        let layer = &self.saved.layer;
        for e in &layer.entries {
            let Entry::Gone(g) = e else { continue };
            let Some((dir, name)) = split(&g.path) else { continue };
            if self.gone.contains_key(dir) {
                continue;
            }
            self.again(&g.path, &g.base)
                .and_then(|()| self.put_aside(dir, name))
                .map_err(|e| (g.path.clone(), e))?;
        }
        self.tree.forget();
        for e in &layer.entries {
            let Entry::Node(n, extents) = e else { continue };
            self.node(n, extents).map_err(|e| (n.path.clone(), e))?;
        }
        self.times()
    }

    /// Times of directories, when nothing is put into them any more.
    fn times(&self) -> Step<()> {
        for e in self.saved.layer.entries.iter().rev() {
            let Entry::Node(n, _) = e else { continue };
            if n.content == Content::Dir && n.base.is_none_or(|b| b.mtime != n.mtime) {
                let times =
                    SetAttr { atime: Some(time(n.atime)), mtime: Some(time(n.mtime)), ..SetAttr::default() };
                let set = self.tree.place(&n.path).and_then(|(dir, name)| set_attr(&*dir, name, &times));
                match set {
                    // Others' directories can be written to without owning them.
                    Err(errno::EPERM) if !self.is_root => {}
                    done => done.map_err(|e| (n.path.clone(), e))?,
                }
            }
        }
        Ok(())
    }

    /// Right before an object is touched: is it still what it was?
    fn again(&self, path: &[u8], base: &Stamp) -> hal::Result<()> {
        let mut now = self.tree.stat(path)?.map(|s| stamp(&s)).ok_or(errno::EBUSY)?;
        if base.nlink > 1 {
            // We may have touched it through another name.
            now.ctime = base.ctime;
        }
        if base.holds(&now) { Ok(()) } else { Err(errno::EBUSY) }
    }

    fn fresh_name(&mut self) -> Vec<u8> {
        self.count += 1;
        format!(".umlaut-commit-{}-{}", self.pid, self.count).into_bytes()
    }

    fn put_aside(&mut self, dir: &[u8], name: &[u8]) -> hal::Result<()> {
        let dir = self.tree.dir(dir)?;
        let aside = self.fresh_name();
        dir.rename_at(name, &*dir, &aside, NOREPLACE)?;
        self.aside.push((dir.clone(), aside.clone()));
        self.undo.push(Undo::Move { dir, aside, name: name.to_vec() });
        Ok(())
    }

    fn node(&mut self, n: &Node, extents: &[Extent]) -> hal::Result<()> {
        let Some(base) = &n.base else { return self.add(n, extents) };
        let (dir, name) = self.tree.place(&n.path)?;
        match n.content {
            Content::Link(_) => Ok(()),
            Content::File { size } => {
                self.again(&n.path, base)?;
                if base.nlink > 1 {
                    // Its other names must see the change.
                    self.overwrite(&dir, name, size, extents)?;
                    self.attributes(&dir, name, n, Some(base))
                } else {
                    let temp = self.fresh_name();
                    self.write_new(&dir, &temp, size, extents)?;
                    keep_acl(&*dir, name, &temp)?;
                    self.attributes(&dir, &temp, n, None)?;
                    let (parent, _) = split(&n.path).ok_or(errno::EISDIR)?;
                    self.put_aside(parent, name)?;
                    dir.rename_at(&temp, &*dir, name, NOREPLACE)?;
                    // Undone in reverse: the new one away, the old one back.
                    self.undo.push(Undo::Remove { dir, name: name.to_vec() });
                    Ok(())
                }
            }
            _ => {
                self.again(&n.path, base)?;
                self.attributes(&dir, name, n, Some(base))
            }
        }
    }

    fn add(&mut self, n: &Node, extents: &[Extent]) -> hal::Result<()> {
        let (dir, name) = self.tree.place(&n.path)?;
        match &n.content {
            Content::Dir => dir.mkdir_at(name, 0o700)?,
            Content::File { size } => {
                return self
                    .write_new(&dir, name, *size, extents)
                    .and_then(|()| self.attributes(&dir, name, n, None));
            }
            Content::Symlink(t) => dir.symlink_at(name, t)?,
            Content::Special(rdev) => dir.mknod_at(name, n.mode & !S_IALLUGO | 0o600, *rdev)?,
            Content::Link(to) => {
                let (from, old) = self.tree.place(to)?;
                dir.link_at(&*from, old, name)?;
                self.undo.push(Undo::Remove { dir, name: name.to_vec() });
                return Ok(());
            }
            Content::Base => return Err(errno::EINVAL),
        }
        self.undo.push(Undo::Remove { dir: dir.clone(), name: name.to_vec() });
        self.attributes(&dir, name, n, None)
    }

    fn write_new(
        &mut self,
        dir: &Arc<dyn HostFile>,
        name: &[u8],
        size: u64,
        extents: &[Extent],
    ) -> hal::Result<()> {
        let file = dir.open_at(name, O_WRONLY | O_CREAT | O_EXCL, 0o600)?;
        self.undo.push(Undo::Remove { dir: dir.clone(), name: name.to_vec() });
        self.fill(&*file, size, extents)?;
        file.sync(false)
    }

    fn fill(&self, file: &dyn HostFile, size: u64, extents: &[Extent]) -> hal::Result<()> {
        file.truncate(size)?;
        let mut buf = Vec::new();
        for e in extents {
            buf.resize(usize::try_from(e.len).unwrap_or(0).min(layer::MAX_DATA), 0);
            self.saved.read_at(e.at, &mut buf)?;
            write_all(file, e.offset, &buf)?;
        }
        Ok(())
    }

    /// New data in the same file; the old ones are kept in another for the case of failure.
    fn overwrite(
        &mut self,
        dir: &Arc<dyn HostFile>,
        name: &[u8],
        size: u64,
        extents: &[Extent],
    ) -> hal::Result<()> {
        let file = dir.open_at(name, O_RDWR, 0)?;
        let temp = self.fresh_name();
        let old = dir.open_at(&temp, O_RDWR | O_CREAT | O_EXCL, 0o600)?;
        self.aside.push((dir.clone(), temp.clone()));
        // Undone in reverse: first the data, then the copy goes.
        self.undo.push(Undo::Remove { dir: dir.clone(), name: temp });
        copy(&*file, &*old)?;
        self.undo.push(Undo::Data { file: file.clone(), old });
        file.truncate(0)?;
        self.fill(&*file, size, extents)?;
        file.sync(false)
    }

    /// Owner, mode, extended attributes and times of an object, as the layer says. `old`: what it had, if it is the tree's.
    fn attributes(
        &mut self,
        dir: &Arc<dyn HostFile>,
        name: &[u8],
        n: &Node,
        old: Option<&Stamp>,
    ) -> hal::Result<()> {
        let is_link = n.kind() == Some(FileType::Symlink);
        // A directory above a change, a file whose attributes came back: nothing is asked of those who may not.
        let untouched = |b: &Stamp| {
            (b.mode, b.uid, b.gid) == (n.mode, n.uid, n.gid)
                && (n.content == Content::Dir || (b.mtime == n.mtime && n.content == Content::Base))
        };
        if old.is_some_and(untouched) {
            return self.xattrs(dir, name, n, true);
        }
        if old.is_some() {
            let s = if name == b"." { dir.stat()? } else { dir.stat_at(name)? };
            let back = SetAttr {
                mode: (!is_link).then_some(s.mode & S_IALLUGO),
                uid: Some(s.uid),
                gid: Some(s.gid),
                atime: Some(s.atime),
                mtime: Some(s.mtime),
                size: None,
            };
            self.undo.push(Undo::Attributes { dir: dir.clone(), name: name.to_vec(), old: back });
        }
        let now = if name == b"." { dir.stat()? } else { dir.stat_at(name)? };
        let mut mode = n.mode & S_IALLUGO;
        if (n.uid, n.gid) != (now.uid, now.gid) {
            let owner = SetAttr { uid: Some(n.uid), gid: Some(n.gid), ..SetAttr::default() };
            match set_attr(&**dir, name, &owner) {
                Ok(()) => {}
                Err(errno::EPERM) if !self.is_root => {
                    self.done.owners_kept += 1;
                    // The rights of another owner are not handed to this one.
                    mode &= !SET_ID;
                }
                Err(e) => return Err(e),
            }
        }
        if !is_link && (mode != now.mode & S_IALLUGO || (n.uid, n.gid) != (now.uid, now.gid)) {
            set_attr(&**dir, name, &SetAttr { mode: Some(mode), ..SetAttr::default() })?;
        }
        if !is_link {
            self.xattrs(dir, name, n, old.is_some())?;
        }
        if n.content == Content::Dir {
            return Ok(());
        }
        let times = SetAttr { atime: Some(time(n.atime)), mtime: Some(time(n.mtime)), ..SetAttr::default() };
        set_attr(&**dir, name, &times)
    }

    fn xattrs(&mut self, dir: &Arc<dyn HostFile>, name: &[u8], n: &Node, undo: bool) -> hal::Result<()> {
        let file = dir.open_at(name, O_PATH, 0)?;
        let known = file.list_xattr().unwrap_or_default();
        // What the layer's filesystem can hold at all; the rest is the host's business.
        let ours =
            |x: &[u8]| x.starts_with(b"user.") || x.starts_with(b"trusted.") || x.starts_with(b"security.");
        for x in known.iter().filter(|x| ours(x) && !n.xattrs.iter().any(|(name, _)| name == *x)) {
            let old = file.get_xattr(x).ok();
            match file.remove_xattr(x) {
                // What is new goes as a whole.
                Ok(()) if !undo => {}
                Ok(()) => self.undo.push(Undo::Xattr { file: file.clone(), name: x.clone(), old }),
                Err(errno::EPERM | errno::EOPNOTSUPP) if !self.is_root => {}
                Err(e) => return Err(e),
            }
        }
        for (x, value) in n.xattrs.iter().filter(|(x, _)| ours(x)) {
            let old = file.get_xattr(x).ok();
            if old.as_ref() == Some(value) {
                continue;
            }
            match file.set_xattr(x, value, 0) {
                // What is new goes as a whole.
                Ok(()) if !undo => {}
                Ok(()) => self.undo.push(Undo::Xattr { file: file.clone(), name: x.clone(), old }),
                // Only root may, and what he wrote inside stays inside.
                Err(errno::EPERM | errno::EOPNOTSUPP) if !self.is_root && !x.starts_with(b"user.") => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Everything went well: what was moved aside goes.
    fn clean(&mut self) {
        self.undo.clear();
        for (dir, name) in std::mem::take(&mut self.aside) {
            if Tree::remove_all(&dir, &name).is_err() {
                self.done.left += 1;
            }
        }
        // Removing was a change of directories, too; that their times could be set was seen before.
        let _ = self.times();
    }

    /// Undoes all steps, the last first; what could not be undone.
    fn roll_back(&mut self) -> Vec<String> {
        let mut failed = Vec::new();
        while let Some(u) = self.undo.pop() {
            let (name, result) = match u {
                Undo::Move { dir, aside, name } => {
                    let r = dir.rename_at(&aside, &*dir, &name, NOREPLACE);
                    (name, r)
                }
                Undo::Remove { dir, name } => {
                    let r = match Tree::remove_all(&dir, &name) {
                        // It has its final name by now, or went with another step.
                        Err(errno::ENOENT) => Ok(()),
                        other => other,
                    };
                    (name, r)
                }
                Undo::Attributes { dir, name, old } => {
                    let r = set_attr(&*dir, &name, &old);
                    (name, r)
                }
                Undo::Xattr { file, name, old } => {
                    let r = match &old {
                        Some(v) => file.set_xattr(&name, v, 0),
                        None => file.remove_xattr(&name),
                    };
                    (name, r)
                }
                Undo::Data { file, old } => (Vec::new(), file.truncate(0).and_then(|()| copy(&*old, &*file))),
            };
            if let Err(e) = result {
                failed.push(format!("could not be undone: {} ({e})", shown(&name)));
            }
        }
        self.tree.forget();
        failed
    }
}

fn time(t: layer::Time) -> abi::Timespec {
    abi::Timespec { sec: t.0, nsec: i64::from(t.1) }
}

/// Attributes of a name, or of the directory itself.
fn set_attr(dir: &dyn HostFile, name: &[u8], attr: &SetAttr) -> hal::Result<()> {
    if name == b"." { dir.set_attr(attr) } else { dir.set_attr_at(name, attr) }
}

fn write_all(file: &dyn HostFile, offset: u64, buf: &[u8]) -> hal::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.pwrite(offset + done as u64, &buf[done..])? {
            0 => return Err(errno::ENOSPC),
            n => done += n,
        }
    }
    Ok(())
}

fn copy(from: &dyn HostFile, to: &dyn HostFile) -> hal::Result<()> {
    let mut buf = vec![0; 1 << 16];
    let mut at = 0;
    loop {
        let n = from.pread(at, &mut buf)?;
        if n == 0 {
            return Ok(());
        }
        write_all(to, at, &buf[..n])?;
        at += n as u64;
    }
}

/// Access control lists are no attributes of a layer; the file that takes a place keeps those of the place.
fn keep_acl(dir: &dyn HostFile, old: &[u8], new: &[u8]) -> hal::Result<()> {
    let Ok(from) = dir.open_at(old, O_RDONLY, 0) else { return Ok(()) };
    for x in from.list_xattr().unwrap_or_default() {
        if x.starts_with(b"system.")
            && let Ok(v) = from.get_xattr(&x)
        {
            dir.open_at(new, O_PATH, 0)?.set_xattr(&x, &v, 0)?;
        }
    }
    Ok(())
}
