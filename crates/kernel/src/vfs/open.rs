//! Opening files (open(2), openat2(2)).

use std::sync::Arc;

use abi::{
    FileType, OpenFlags,
    errno::{EACCES, EBADF, EEXIST, EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO, EPERM, EROFS, ETXTBSY},
    fs::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, MS_NODEV, MS_NOEXEC, R_OK, S_IFMT, W_OK, X_OK},
};

use super::{
    dentry::Dentry,
    events,
    file::{File, FileOps},
    inode::{AttrChange, Inode, Link},
    path::{Last, LookupFlags, Path, Walk},
    permission,
    pipe::Pipe,
};
use crate::{
    error::Result,
    task::{Cred, Task},
};

/// Flags F_GETFL does not show.
const ONLY_OPEN: OpenFlags = OpenFlags::CREAT
    .union(OpenFlags::EXCL)
    .union(OpenFlags::NOCTTY)
    .union(OpenFlags::TRUNC)
    .union(OpenFlags::CLOEXEC);

/// Opens a file as open(2) does with the task's credentials and umask. `mode` for a new file.
pub fn open(task: &Task, dirfd: i32, path: &[u8], flags: OpenFlags, mode: u32) -> Result<Arc<File>> {
    open_with(task, dirfd, path, flags, mode, LookupFlags::empty())
}

/// [`open`] with openat2's restrictions on the walk.
pub fn open_with(
    task: &Task,
    dirfd: i32,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
    how: LookupFlags,
) -> Result<Arc<File>> {
    let cred = task.cred();
    if path.is_empty() {
        return Err(ENOENT);
    }
    let mut flags = flags;
    if flags.contains(OpenFlags::PATH) {
        flags &= OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    }
    let other = OpenFlags::TRUNC | OpenFlags::CREAT | OpenFlags::PATH | OpenFlags::DIRECTORY;
    if flags.access() == abi::fs::O_RDONLY && !flags.intersects(other) && path.last() != Some(&b'/') {
        let mut walk = Walk::new(task, &cred, dirfd, path, how | LookupFlags::OPENS)?;
        walk.walk(path, !flags.contains(OpenFlags::NOFOLLOW))?;
        if !walk.unchecked {
            return open_found(task, &cred, walk, flags);
        }
        if let Some(ops) = walk.at.inode()?.clone().open_checked() {
            may_open(&cred, &walk.at, flags)?;
            return Ok(opened(task, ops, &walk.at, flags, None));
        }
    }
    let mut walk = Walk::new(task, &cred, dirfd, path, how)?;
    if flags.contains(OpenFlags::TMPFILE) {
        return open_tmpfile(task, &cred, walk, path, flags, mode);
    }
    if flags.contains(OpenFlags::CREAT) {
        return open_create(task, &cred, walk, path, flags, mode);
    }
    walk.walk(path, !flags.contains(OpenFlags::NOFOLLOW))?;
    open_found(task, &cred, walk, flags)
}

/// Opens the end of a walk.
fn open_found(task: &Task, cred: &Cred, walk: Walk<'_>, flags: OpenFlags) -> Result<Arc<File>> {
    let at = walk.at;
    if at.inode()?.kind() == FileType::Symlink && !flags.contains(OpenFlags::PATH) {
        // O_DIRECTORY|O_NOFOLLOW on a link: not a directory.
        return Err(if flags.contains(OpenFlags::DIRECTORY) { ENOTDIR } else { ELOOP });
    }
    open_place(task, cred, &at, flags)
}

/// Opens what stands at a place, with permission checks.
pub fn open_place(task: &Task, cred: &Cred, at: &Path, flags: OpenFlags) -> Result<Arc<File>> {
    let inode = at.inode()?;
    let kind = inode.kind();
    if flags.contains(OpenFlags::DIRECTORY) && kind != FileType::Directory {
        return Err(ENOTDIR);
    }
    if flags.contains(OpenFlags::PATH) {
        return Ok(File::new(Arc::new(PathOnly), at.clone(), flags - OpenFlags::CLOEXEC));
    }
    if kind == FileType::Directory
        && (flags.access() != abi::fs::O_RDONLY || flags.intersects(OpenFlags::CREAT | OpenFlags::TRUNC))
    {
        return Err(EISDIR);
    }
    may_open(cred, at, flags)?;
    open_inode(task, cred, at, flags)
}

/// Whether credentials, modes and the mount allow an opening.
fn may_open(cred: &Cred, at: &Path, flags: OpenFlags) -> Result<()> {
    let inode = at.inode()?;
    let mut mask = match flags.access() {
        abi::fs::O_RDONLY => R_OK,
        abi::fs::O_WRONLY => W_OK,
        _ => R_OK | W_OK,
    };
    if flags.contains(OpenFlags::TRUNC) {
        mask |= W_OK;
    }
    permission::check_on(&at.mount, &**inode, cred, mask)?;
    if inode.kind().is_device() && at.mount.flags() & MS_NODEV != 0 {
        return Err(EACCES);
    }
    if flags.contains(OpenFlags::NOATIME) && !permission::is_owner(&**inode, cred)? {
        return Err(EPERM);
    }
    Ok(())
}

/// Opens without permission checks (a file just made, or already checked).
fn open_inode(task: &Task, cred: &Cred, at: &Path, flags: OpenFlags) -> Result<Arc<File>> {
    let inode = at.inode()?;
    let kind = inode.kind();
    let guard = match kind {
        FileType::Regular if flags.access() != abi::fs::O_RDONLY || flags.contains(OpenFlags::TRUNC) => {
            Some(WriteGuard::new(inode)?)
        }
        _ => None,
    };
    if flags.contains(OpenFlags::TRUNC) && kind == FileType::Regular {
        let change = AttrChange { size: Some(0), ..AttrChange::default() };
        super::attr::truncate(task, cred, inode, &change)?;
    }
    let ops: Arc<dyn FileOps> = match kind {
        _ if inode.is_inherited() => inode.clone().open(flags, task)?,
        FileType::Fifo => Pipe::open_fifo(inode, flags, task)?,
        FileType::Char => {
            let rdev = inode.attr()?.rdev;
            task.machine.registry.char_driver(rdev).ok_or(ENXIO)?.open(rdev, inode, flags, task)?
        }
        FileType::Block => {
            let rdev = inode.attr()?.rdev;
            task.machine.registry.block_driver(rdev).ok_or(ENXIO)?.open(rdev, inode, flags, task)?
        }
        FileType::Socket => return Err(ENXIO),
        FileType::Symlink => return Err(ELOOP),
        FileType::Regular | FileType::Directory => inode.clone().open(flags, task)?,
    };
    Ok(opened(task, ops, at, flags, guard))
}

/// The open file of what was opened.
fn opened(
    task: &Task,
    ops: Arc<dyn FileOps>,
    at: &Path,
    flags: OpenFlags,
    guard: Option<WriteGuard>,
) -> Arc<File> {
    let file = File::new(ops, at.clone(), (flags - ONLY_OPEN) | OpenFlags::LARGEFILE);
    if let Some(g) = guard
        && flags.access() != abi::fs::O_RDONLY
    {
        file.holds_write(g);
    }
    if task.machine.vfs.is_watched() {
        events::opened(&file);
        let regular = at.dentry.inode_ref().is_some_and(|i| i.kind() == FileType::Regular);
        if flags.contains(OpenFlags::TRUNC) && regular {
            events::emptied(&at.dentry);
        }
    }
    file
}

fn open_create(
    task: &Task,
    cred: &Cred,
    mut walk: Walk<'_>,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
) -> Result<Arc<File>> {
    let mut text: Vec<u8>;
    let mut path = path;
    loop {
        let (last, slash) = walk.parent(path)?;
        let name = match last {
            Last::Name(n) => n,
            // A directory: it exists.
            dots => {
                walk.take_dot(&dots)?;
                return Err(if flags.contains(OpenFlags::EXCL) { EEXIST } else { EISDIR });
            }
        };
        let dir = walk.at.dentry.clone();
        let mut entry = dir.lookup(&name, task)?;
        if entry.inode_ref().is_none() {
            if slash {
                return Err(EISDIR);
            }
            match create_in(task, cred, &walk.at, &name, mode, flags)? {
                Ok(file) => return Ok(file),
                // Somebody else made it first.
                Err(found) => entry = found,
            }
        }
        let inode = entry.existing()?;
        if flags.contains(OpenFlags::EXCL) {
            return Err(EEXIST);
        }
        if inode.kind() == FileType::Symlink {
            if flags.contains(OpenFlags::NOFOLLOW) {
                return Err(ELOOP);
            }
            walk.check_last_link(&entry)?;
            match walk.read_link(&entry)? {
                Link::Text(t) => {
                    walk.begin_text(&t)?;
                    text = t;
                    path = &text;
                    continue;
                }
                magic => {
                    walk.jump(magic)?;
                    return open_found(task, cred, walk, flags);
                }
            }
        }
        let protected = &task.machine.vfs.protected;
        protected.may_open_created(&**walk.at.inode()?, &**inode, cred)?;
        walk.arrive(entry)?;
        if slash && !walk.at.is_dir() {
            return Err(ENOTDIR);
        }
        return open_found(task, cred, walk, flags);
    }
}

/// Creates and opens a regular file; the entry found if it exists by now.
fn create_in(
    task: &Task,
    cred: &Cred,
    dir: &Path,
    name: &[u8],
    mode: u32,
    flags: OpenFlags,
) -> Result<core::result::Result<Arc<File>, Arc<Dentry>>> {
    let dir_inode = dir.inode()?;
    let dentry = {
        let guard = dir.dentry.lock_dir();
        let entry = dir.dentry.lookup_locked(&guard, name, task)?;
        if entry.inode_ref().is_some() {
            return Ok(Err(entry));
        }
        if dir.dentry.is_removed() {
            return Err(ENOENT);
        }
        permission::check_on(&dir.mount, &**dir_inode, cred, W_OK | X_OK)?;
        let mode = mode & abi::fs::S_IALLUGO & !task.fs().umask();
        let (mode, owner) = permission::new_inode(&**dir_inode, cred, mode, FileType::Regular)?;
        let inode = dir_inode.dir().ok_or(ENOTDIR)?.create(name, mode & !S_IFMT, owner)?;
        dir.dentry.insert(name, Some(inode), task)
    };
    events::created(&dir.dentry, name, false);
    let at = Path { mount: dir.mount.clone(), dentry };
    // A new file can be opened whatever its mode, and needs no truncation.
    open_inode(task, cred, &at, flags - OpenFlags::TRUNC).map(Ok)
}

fn open_tmpfile(
    task: &Task,
    cred: &Cred,
    mut walk: Walk<'_>,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
) -> Result<Arc<File>> {
    walk.walk(path, !flags.contains(OpenFlags::NOFOLLOW))?;
    let at = walk.at;
    let inode = at.inode()?;
    let dir = inode.dir().ok_or(ENOTDIR)?;
    permission::check_on(&at.mount, &**inode, cred, W_OK | X_OK)?;
    let mode = mode & abi::fs::S_IALLUGO & !task.fs().umask();
    let (mode, owner) = permission::new_inode(&**inode, cred, mode, FileType::Regular)?;
    let file = dir.tmpfile(mode, owner)?;
    let dentry = Dentry::new_unnamed(&at.dentry, file, !flags.contains(OpenFlags::EXCL));
    let flags = flags - OpenFlags::TMPFILE_ONLY - OpenFlags::DIRECTORY;
    let f = open_inode(task, cred, &Path { mount: at.mount, dentry }, flags - OpenFlags::TRUNC)?;
    f.set_flags(f.flags() | OpenFlags::TMPFILE);
    Ok(f)
}

/// Opens a program for execve(2): a regular file that may be executed. `at_flags`: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW.
pub fn open_exec(task: &Task, dirfd: i32, path: &[u8], at_flags: u32) -> Result<Arc<File>> {
    let cred = task.cred();
    let mut f = LookupFlags::empty();
    f.set(LookupFlags::FOLLOW, at_flags & AT_SYMLINK_NOFOLLOW == 0);
    f.set(LookupFlags::EMPTY_PATH, at_flags & AT_EMPTY_PATH != 0);
    let at = super::path::resolve_as(task, &cred, dirfd, path, f)?;
    let inode = at.inode()?;
    match inode.kind() {
        FileType::Symlink => return Err(ELOOP),
        FileType::Regular => {}
        _ => return Err(EACCES),
    }
    if at.mount.flags() & MS_NOEXEC != 0 {
        return Err(EACCES);
    }
    permission::check(&**inode, &cred, X_OK)?;
    let ops = inode.clone().open(OpenFlags::empty(), task)?;
    let file = File::new(ops, at.clone(), OpenFlags::LARGEFILE);
    events::opened(&file);
    Ok(file)
}

/// Counts one who may write to a regular file (ETXTBSY for programs being run).
pub struct WriteGuard {
    inode: Arc<dyn Inode>,
}

impl WriteGuard {
    /// ETXTBSY if it is being executed.
    pub fn new(inode: &Arc<dyn Inode>) -> Result<WriteGuard> {
        inode.common().change_writers(1).ok_or(ETXTBSY)?;
        Ok(WriteGuard { inode: inode.clone() })
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        self.inode.common().writers.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }
}

/// Counts one who executes a file. Kept as long as the program runs.
pub struct ExecGuard {
    inode: Arc<dyn Inode>,
}

impl ExecGuard {
    /// ETXTBSY if it is open for writing.
    pub fn new(inode: &Arc<dyn Inode>) -> Result<ExecGuard> {
        inode.common().change_writers(-1).ok_or(ETXTBSY)?;
        Ok(ExecGuard { inode: inode.clone() })
    }
}

impl Drop for ExecGuard {
    fn drop(&mut self) {
        self.inode.common().writers.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
    }
}

/// Operations of an O_PATH descriptor: none.
struct PathOnly;

impl FileOps for PathOnly {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn read(&self, _: &File, _: &Task, _: &mut dyn crate::io::Sink, _: u64) -> Result<usize> {
        Err(EBADF)
    }
    fn write(&self, _: &File, _: &Task, _: &mut dyn crate::io::Source, _: u64) -> Result<usize> {
        Err(EBADF)
    }
}

/// EROFS if the mount is read-only.
pub(super) fn writable_mount(at: &Path) -> Result<()> {
    if at.mount.read_only() { Err(EROFS) } else { Ok(()) }
}
