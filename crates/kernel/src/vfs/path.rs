//! Paths: a place in the mount tree, and walks to it (path_resolution(7), openat2(2)).

use std::sync::Arc;

use abi::{
    FileType,
    errno::{EAGAIN, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV},
    fs::{
        AT_FDCWD, MAXSYMLINKS, MS_NOSYMFOLLOW, NAME_MAX, RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT,
        RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, X_OK,
    },
};

use super::{
    dentry::Dentry,
    file::File,
    inode::{Inode, Link},
    mount::Mount,
    permission,
};
use crate::{
    error::Result,
    task::{Cred, FsContext, Task},
};

/// A place: a dentry as seen through a mount.
#[derive(Clone)]
pub struct Path {
    pub mount: Arc<Mount>,
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Path {
    /// The inode; ENOENT for a name that does not exist (a walk never ends at one).
    pub fn inode(&self) -> Result<&Arc<dyn Inode>> {
        self.dentry.existing()
    }
    pub fn is_dir(&self) -> bool {
        self.dentry.inode_ref().is_some_and(|i| i.dir().is_some())
    }

    /// The place above, through mount points; `None` at the top of everything.
    pub fn parent(&self) -> Option<Path> {
        let mut at = self.clone();
        loop {
            if !Arc::ptr_eq(&at.dentry, &at.mount.root) {
                let parent = at.dentry.parent()?;
                return Some(Path { mount: at.mount, dentry: parent });
            }
            let up = at.mount.place()?;
            at = up;
        }
    }

    /// Text of the place as seen from `root`, without "(deleted)"; `false` if it cannot be reached from there.
    pub fn text_from(&self, root: &Path) -> (Vec<u8>, bool) {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        let mut reached = true;
        while at != *root {
            if Arc::ptr_eq(&at.dentry, &at.mount.root) {
                match at.mount.place() {
                    Some(up) => at = up,
                    None => {
                        reached = false;
                        break;
                    }
                }
                continue;
            }
            let (name, parent) = at.dentry.place();
            names.push(name);
            match parent {
                Some(p) => at.dentry = p,
                None => {
                    // An anonymous file: its name is all there is.
                    return (names.pop().map(|n| n.to_vec()).unwrap_or_default(), true);
                }
            }
        }
        let mut text = Vec::new();
        for n in names.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(n);
        }
        if text.is_empty() {
            text.push(b'/');
        }
        (text, reached)
    }

    /// As /proc/PID/{cwd,exe,fd/N} show it.
    pub fn display(&self, root: &Path) -> Vec<u8> {
        let (mut text, _) = self.text_from(root);
        if self.dentry.is_removed() {
            text.extend_from_slice(b" (deleted)");
        }
        text
    }
}

bitflags::bitflags! {
    /// How a path is walked.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LookupFlags: u32 {
        /// Follow a symbolic link at the end.
        const FOLLOW = 1;
        /// ENOTDIR unless the end is a directory.
        const DIRECTORY = 2;
        /// An empty path means the descriptor itself (AT_EMPTY_PATH).
        const EMPTY_PATH = 4;
        /// openat2(2) RESOLVE_*.
        const NO_XDEV = 8;
        const NO_MAGICLINKS = 16;
        const NO_SYMLINKS = 32;
        const BENEATH = 64;
        const IN_ROOT = 128;
        const CACHED = 256;
        /// The end is opened for reading: [`Walk::unchecked`] may be set.
        const OPENS = 512;
    }
}

impl LookupFlags {
    /// Of openat2's `resolve` field (bits checked by the caller).
    pub fn from_resolve(bits: u64) -> LookupFlags {
        let mut f = LookupFlags::empty();
        f.set(LookupFlags::NO_XDEV, bits & RESOLVE_NO_XDEV != 0);
        f.set(LookupFlags::NO_MAGICLINKS, bits & RESOLVE_NO_MAGICLINKS != 0);
        f.set(LookupFlags::NO_SYMLINKS, bits & RESOLVE_NO_SYMLINKS != 0);
        f.set(LookupFlags::BENEATH, bits & RESOLVE_BENEATH != 0);
        f.set(LookupFlags::IN_ROOT, bits & RESOLVE_IN_ROOT != 0);
        f.set(LookupFlags::CACHED, bits & RESOLVE_CACHED != 0);
        f
    }
}

/// Last component of a path whose parent was walked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    Name(Vec<u8>),
    Dot,
    DotDot,
    /// The path was only slashes.
    Root,
}

/// A directory and the name in it that a path ends with.
pub struct Parent {
    pub dir: Path,
    pub last: Last,
    /// The path ended with a slash.
    pub slash: bool,
}

impl Parent {
    /// The name, for calls that need a real one; `otherwise` for `.`, `..` and `/`.
    pub fn name(&self, otherwise: abi::Errno) -> Result<&[u8]> {
        match &self.last {
            Last::Name(n) => Ok(n),
            _ => Err(otherwise),
        }
    }
}

/// Walks to the end of a path with the task's credentials. `dirfd` is a descriptor or AT_FDCWD.
pub fn resolve(task: &Task, dirfd: i32, path: &[u8], flags: LookupFlags) -> Result<Path> {
    resolve_as(task, &task.cred(), dirfd, path, flags)
}

/// [`resolve`] with other credentials (access(2) uses the real ids).
pub fn resolve_as(task: &Task, cred: &Cred, dirfd: i32, path: &[u8], flags: LookupFlags) -> Result<Path> {
    if path.is_empty() {
        if !flags.contains(LookupFlags::EMPTY_PATH) {
            return Err(ENOENT);
        }
        let p = start_at(task, &task.fs(), dirfd)?;
        if flags.contains(LookupFlags::DIRECTORY) && !p.is_dir() {
            return Err(ENOTDIR);
        }
        return Ok(p);
    }
    let mut w = Walk::new(task, cred, dirfd, path, flags)?;
    w.walk(path, flags.contains(LookupFlags::FOLLOW))?;
    if flags.contains(LookupFlags::DIRECTORY) && !w.at.is_dir() {
        return Err(ENOTDIR);
    }
    Ok(w.at)
}

/// Walks to the directory of a path's last component; that component need not exist.
pub fn resolve_parent(task: &Task, dirfd: i32, path: &[u8], flags: LookupFlags) -> Result<Parent> {
    let cred = task.cred();
    if path.is_empty() {
        return Err(ENOENT);
    }
    Walk::new(task, &cred, dirfd, path, flags)?.into_parent(path)
}

fn start_at(task: &Task, fs: &FsContext, dirfd: i32) -> Result<Path> {
    if dirfd == AT_FDCWD {
        return Ok(fs.cwd());
    }
    Ok(task.files().ok_or(abi::errno::EBADF)?.get(dirfd)?.path.clone())
}

/// A walk under way.
pub(super) struct Walk<'a> {
    task: &'a Task,
    cred: &'a Cred,
    fs: Arc<FsContext>,
    /// Asked for at the first need, as most walks have none.
    root: Option<Path>,
    pub(super) at: Path,
    flags: LookupFlags,
    links: u32,
    /// The walk ended at a file of which nobody asked whether its name still leads to it: its opening does.
    pub(super) unchecked: bool,
    /// The walk ended at a magic link to this open file.
    pub(super) opened: Option<Arc<File>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        task: &'a Task,
        cred: &'a Cred,
        dirfd: i32,
        path: &[u8],
        flags: LookupFlags,
    ) -> Result<Walk<'a>> {
        let fs = task.fs();
        let confined = flags.intersects(LookupFlags::BENEATH | LookupFlags::IN_ROOT);
        let absolute = path.first() == Some(&b'/');
        if absolute && flags.contains(LookupFlags::BENEATH) {
            return Err(EXDEV);
        }
        let at = if absolute && !confined { fs.root() } else { start_at(task, &fs, dirfd)? };
        let root = confined.then(|| at.clone());
        Ok(Walk { task, cred, fs, root, at, flags, links: 0, unchecked: false, opened: None })
    }

    /// The present place must be a directory that may be searched.
    fn enter(&self) -> Result<()> {
        let inode = self.at.inode()?;
        if inode.dir().is_none() {
            return Err(ENOTDIR);
        }
        permission::check(&**inode, self.cred, X_OK)
    }

    /// Walks all components.
    pub(super) fn walk(&mut self, path: &[u8], follow_last: bool) -> Result<()> {
        self.walk_part(path, follow_last, true)
    }

    /// [`Walk::walk`]; `ends`: with its last component, the whole walk ends.
    fn walk_part(&mut self, path: &[u8], follow_last: bool, ends: bool) -> Result<()> {
        let mut rest = path;
        while let Some(start) = rest.iter().position(|b| *b != b'/') {
            rest = &rest[start..];
            let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            self.enter()?;
            match name {
                b"." => {}
                b".." => self.up()?,
                _ => {
                    let last = ends && tail.iter().all(|b| *b == b'/');
                    self.step(name, follow_last || !tail.is_empty(), last)?;
                }
            }
            if !tail.is_empty() && !self.at.is_dir() {
                return Err(ENOTDIR);
            }
            rest = tail;
        }
        Ok(())
    }

    fn step(&mut self, name: &[u8], follow: bool, last: bool) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        if last
            && self.flags.contains(LookupFlags::OPENS)
            && let Some(dentry) = self.at.dentry.checked_by_opening(name)
        {
            self.unchecked = true;
            self.at.dentry = dentry;
            return Ok(());
        }
        let dentry = if self.flags.contains(LookupFlags::CACHED) {
            self.at.dentry.cached(name).ok_or(EAGAIN)?
        } else {
            self.at.dentry.lookup(name, self.task)?
        };
        if dentry.existing()?.kind() == FileType::Symlink && follow {
            if last {
                self.check_last_link(&dentry)?;
            }
            return self.follow(&dentry, last);
        }
        self.arrive(dentry)
    }

    /// Goes to an entry of the present directory, and into what is mounted there.
    pub(super) fn arrive(&mut self, dentry: Arc<Dentry>) -> Result<()> {
        let mounted = dentry.is_mount_point();
        self.at.dentry = dentry;
        if mounted { self.cross() } else { Ok(()) }
    }

    fn cross(&mut self) -> Result<()> {
        let down = self.fs.mounts.cross(self.at.clone());
        if self.flags.contains(LookupFlags::NO_XDEV) && !Arc::ptr_eq(&down.mount, &self.at.mount) {
            return Err(EXDEV);
        }
        self.at = down;
        Ok(())
    }

    /// The root directory of this walk.
    fn root(&mut self) -> &Path {
        self.root.get_or_insert_with(|| self.fs.root())
    }

    fn up(&mut self) -> Result<()> {
        self.root();
        loop {
            if Some(&self.at) == self.root.as_ref() {
                if self.flags.contains(LookupFlags::BENEATH) {
                    return Err(EXDEV);
                }
                break;
            }
            if !Arc::ptr_eq(&self.at.dentry, &self.at.mount.root) {
                if let Some(p) = self.at.dentry.parent() {
                    self.at.dentry = p;
                }
                break;
            }
            let Some(up) = self.at.mount.place() else { break };
            if self.flags.contains(LookupFlags::NO_XDEV) {
                return Err(EXDEV);
            }
            self.at = up;
        }
        if self.at.dentry.is_mount_point() { self.cross() } else { Ok(()) }
    }

    /// What a link in the present directory says; counted against the limit.
    pub(super) fn read_link(&mut self, link: &Arc<Dentry>) -> Result<Link> {
        self.links += 1;
        if self.links > MAXSYMLINKS
            || self.flags.contains(LookupFlags::NO_SYMLINKS)
            || self.at.mount.flags() & MS_NOSYMFOLLOW != 0
        {
            return Err(ELOOP);
        }
        link.existing()?.read_link(self.task).unwrap_or(Err(abi::errno::EINVAL))
    }

    /// Whether a link in the present directory may end a path (fs.protected_symlinks).
    pub(super) fn check_last_link(&self, link: &Arc<Dentry>) -> Result<()> {
        let protected = &self.task.machine.vfs.protected;
        protected.may_follow(&**self.at.inode()?, &**link.existing()?, self.cred)
    }

    /// Goes where a link in the present directory leads.
    fn follow(&mut self, link: &Arc<Dentry>, last: bool) -> Result<()> {
        match self.read_link(link)? {
            Link::Text(text) => {
                self.begin_text(&text)?;
                self.walk_part(&text, true, last)
            }
            magic => self.jump(magic),
        }
    }

    /// Prepares for the walk of a link's text.
    pub(super) fn begin_text(&mut self, text: &[u8]) -> Result<()> {
        match text.first() {
            None => Err(ENOENT),
            Some(b'/') => {
                if self.flags.contains(LookupFlags::BENEATH) {
                    return Err(EXDEV);
                }
                let root = self.root().clone();
                if self.flags.contains(LookupFlags::NO_XDEV) && !Arc::ptr_eq(&root.mount, &self.at.mount) {
                    return Err(EXDEV);
                }
                self.at = root;
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// Takes a magic link.
    pub(super) fn jump(&mut self, link: Link) -> Result<()> {
        if self.flags.contains(LookupFlags::NO_MAGICLINKS) {
            return Err(ELOOP);
        }
        if self.flags.intersects(LookupFlags::BENEATH | LookupFlags::IN_ROOT) {
            return Err(EXDEV);
        }
        let to = match link {
            Link::Jump(p) => p,
            Link::Open(_, file) => {
                let p = file.path.clone();
                self.opened = Some(file);
                p
            }
            Link::Text(_) => return Err(ELOOP),
        };
        if self.flags.contains(LookupFlags::NO_XDEV) && !Arc::ptr_eq(&to.mount, &self.at.mount) {
            return Err(EXDEV);
        }
        self.at = to;
        if self.at.is_dir() {
            super::ahead::walks_descriptor(self.task);
        }
        Ok(())
    }

    /// Walks all but the last component; the present place is then the directory of that, and may be searched.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<(Last, bool)> {
        let Some(end) = path.iter().rposition(|b| *b != b'/').map(|i| i + 1) else {
            return Ok((Last::Root, true));
        };
        let slash = end < path.len();
        let start = path[..end].iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        self.walk_part(&path[..start], true, false)?;
        self.enter()?;
        let last = match &path[start..end] {
            b"." => Last::Dot,
            b".." => Last::DotDot,
            n if n.len() > NAME_MAX => return Err(ENAMETOOLONG),
            n => Last::Name(n.to_vec()),
        };
        Ok((last, slash))
    }

    fn into_parent(mut self, path: &[u8]) -> Result<Parent> {
        let (last, slash) = self.parent(path)?;
        Ok(Parent { dir: self.at, last, slash })
    }

    /// Takes `.` or `..` as the last component.
    pub(super) fn take_dot(&mut self, last: &Last) -> Result<()> {
        if *last == Last::DotDot { self.up() } else { Ok(()) }
    }
}
