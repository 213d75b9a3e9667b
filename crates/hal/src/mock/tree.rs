//! A file tree in memory behind [`HostFile`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use abi::Timespec;

use super::lock;
use crate::{DirEntry, HostFile, HostStat, Result, SetAttr, errno};

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const O_ACCMODE: u32 = 3;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_APPEND: u32 = 0o2000;
const O_DIRECTORY: u32 = 0o200_000;
const O_NOFOLLOW: u32 = 0o400_000;
const O_PATH: u32 = 0o10_000_000;
const RENAME_NOREPLACE: u32 = 1;
const RENAME_EXCHANGE: u32 = 2;
const ROOT: u64 = 1;

type Names = BTreeMap<Vec<u8>, u64>;

/// One node. Unlinked nodes stay (tests are short).
#[derive(Clone, Default)]
struct Node {
    stat: HostStat,
    data: Vec<u8>,
    names: Names,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `f_type` of statfs(2); 0 = ext4's.
    magic: u64,
}

#[derive(Default)]
struct Nodes {
    all: BTreeMap<u64, Node>,
    next: u64,
    now: i64,
}

impl Nodes {
    fn get(&mut self, ino: u64) -> Result<&mut Node> {
        self.all.get_mut(&ino).ok_or(errno::ENOENT)
    }
    fn dir(&mut self, ino: u64) -> Result<&mut Names> {
        let node = self.get(ino)?;
        if node.stat.mode & S_IFMT != S_IFDIR {
            return Err(errno::ENOTDIR);
        }
        Ok(&mut node.names)
    }
    fn find(&mut self, dir: u64, name: &[u8]) -> Result<u64> {
        check_name(name)?;
        self.find_or_self(dir, name)
    }
    /// As `find`, for the calls where `.` is legal.
    fn find_or_self(&mut self, dir: u64, name: &[u8]) -> Result<u64> {
        if name == b"." {
            return self.dir(dir).map(|_| dir);
        }
        check_name(name)?;
        self.dir(dir)?.get(name).copied().ok_or(errno::ENOENT)
    }
    fn tick(&mut self) -> Timespec {
        self.now += 1;
        Timespec { sec: self.now, ..Timespec::default() }
    }
    fn touch(&mut self, ino: u64) {
        let now = self.tick();
        if let Some(n) = self.all.get_mut(&ino) {
            (n.stat.mtime, n.stat.ctime) = (now, now);
            if n.stat.mode & S_IFMT != S_IFDIR {
                n.stat.size = n.data.len() as u64;
                n.stat.blocks = n.stat.size.div_ceil(512);
            }
        }
    }
    fn add(&mut self, dir: u64, name: &[u8], mode: u32, data: &[u8]) -> Result<u64> {
        check_name(name)?;
        if self.dir(dir)?.contains_key(name) {
            return Err(errno::EEXIST);
        }
        let ino = self.next + ROOT + 1;
        self.next += 1;
        let nlink = if mode & S_IFMT == S_IFDIR { 2 } else { 1 };
        let stat =
            HostStat { dev: 1, ino, mode, nlink, uid: 1000, gid: 1000, blksize: 4096, ..HostStat::default() };
        self.all.insert(ino, Node { stat, data: data.to_vec(), ..Node::default() });
        self.touch(ino);
        let now = self.tick();
        self.get(ino)?.stat.btime = now;
        self.dir(dir)?.insert(name.to_vec(), ino);
        if nlink == 2 {
            self.get(dir)?.stat.nlink += 1;
        }
        self.touch(dir);
        Ok(ino)
    }
    fn remove(&mut self, dir: u64, name: &[u8], is_dir: bool) -> Result<()> {
        let ino = self.find(dir, name)?;
        match (self.get(ino)?.stat.mode & S_IFMT == S_IFDIR, is_dir) {
            (true, false) => return Err(errno::EISDIR),
            (false, true) => return Err(errno::ENOTDIR),
            (true, true) if !self.dir(ino)?.is_empty() => return Err(errno::ENOTEMPTY),
            _ => {}
        }
        self.dir(dir)?.remove(name);
        self.touch(dir);
        let node = self.get(ino)?;
        node.stat.nlink = if is_dir { 0 } else { node.stat.nlink - 1 };
        if is_dir {
            self.get(dir)?.stat.nlink -= 1;
        }
        Ok(())
    }
    fn set_attr(&mut self, ino: u64, attr: &SetAttr) -> Result<()> {
        let now = self.tick();
        if let Some(size) = attr.size {
            let size = usize::try_from(size).map_err(|_| errno::EFBIG)?;
            self.get(ino)?.data.resize(size, 0);
            self.touch(ino);
        }
        let s = &mut self.get(ino)?.stat;
        s.mode = attr.mode.map_or(s.mode, |m| (s.mode & S_IFMT) | (m & 0o7777));
        s.uid = attr.uid.unwrap_or(s.uid);
        s.gid = attr.gid.unwrap_or(s.gid);
        s.atime = attr.atime.unwrap_or(s.atime);
        s.mtime = attr.mtime.unwrap_or(s.mtime);
        s.ctime = now;
        Ok(())
    }
}

/// The rule of all directory calls: one component, nothing that leads elsewhere.
fn check_name(name: &[u8]) -> Result<()> {
    match name {
        b"" | b"." | b".." => Err(errno::EINVAL),
        n if n.len() > 255 => Err(errno::ENAMETOOLONG),
        n if n.contains(&b'/') || n.contains(&0) => Err(errno::EINVAL),
        _ => Ok(()),
    }
}

/// The whole tree.
pub struct Tree {
    nodes: Mutex<Nodes>,
}

impl Tree {
    /// An empty root directory.
    pub fn new() -> Arc<Tree> {
        let mut nodes = Nodes { now: 1_000_000_000, ..Nodes::default() };
        let stat = HostStat {
            dev: 1,
            ino: ROOT,
            mode: S_IFDIR | 0o755,
            nlink: 2,
            blksize: 4096,
            ..HostStat::default()
        };
        nodes.all.insert(ROOT, Node { stat, ..Node::default() });
        Arc::new(Tree { nodes: Mutex::new(nodes) })
    }

    /// The root directory, open.
    pub fn root(self: &Arc<Self>) -> Arc<MockFile> {
        Arc::new(MockFile { tree: self.clone(), ino: ROOT, flags: 0 })
    }

    /// Adds a node by path, with missing directories (mode 0755); panics if it cannot. `mode` has the type bits,
    /// `data` is a file's content or a link's target.
    pub fn add(&self, path: &str, mode: u32, data: &[u8]) -> u64 {
        let mut nodes = lock(&self.nodes);
        let mut names = path.split('/').filter(|n| !n.is_empty()).peekable();
        let mut at = ROOT;
        while let Some(name) = names.next() {
            let name = name.as_bytes();
            at = match nodes.find(at, name) {
                Ok(ino) if names.peek().is_some() => ino,
                _ if names.peek().is_some() => {
                    nodes.add(at, name, S_IFDIR | 0o755, b"").expect("parent directory")
                }
                _ => nodes.add(at, name, mode, data).expect("new node"),
            };
        }
        at
    }

    /// Adds an executable regular file.
    pub fn add_file(&self, path: &str, data: &[u8]) -> u64 {
        self.add(path, S_IFREG | 0o755, data)
    }

    /// Adds a directory.
    pub fn add_dir(&self, path: &str) -> u64 {
        self.add(path, S_IFDIR | 0o755, b"")
    }

    /// Adds a symbolic link.
    pub fn add_link(&self, path: &str, target: &str) -> u64 {
        self.add(path, S_IFLNK | 0o777, target.as_bytes())
    }

    /// Makes a node look like the root of another filesystem: device number and `f_type`.
    pub fn set_filesystem(&self, ino: u64, dev: u64, magic: u64) {
        if let Ok(n) = lock(&self.nodes).get(ino) {
            n.stat.dev = dev;
            n.magic = magic;
        }
    }

    /// Gives a node an extended attribute.
    pub fn set_xattr(&self, ino: u64, name: &[u8], value: &[u8]) {
        if let Ok(n) = lock(&self.nodes).get(ino) {
            n.xattrs.insert(name.to_vec(), value.to_vec());
        }
    }
}

/// An open node of a [`Tree`].
pub struct MockFile {
    tree: Arc<Tree>,
    ino: u64,
    flags: u32,
}

impl MockFile {
    fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        lock(&self.tree.nodes)
    }
    fn writable(&self) -> Result<()> {
        if self.flags & O_ACCMODE == 0 { Err(errno::EBADF) } else { Ok(()) }
    }
}

impl HostFile for MockFile {
    fn raw_fd(&self) -> i32 {
        -1
    }
    fn stat(&self) -> Result<HostStat> {
        Ok(self.nodes().get(self.ino)?.stat)
    }
    fn statfs(&self) -> Result<[u64; 8]> {
        let magic = match self.nodes().get(self.ino)?.magic {
            0 => 0xef53,
            magic => magic,
        };
        Ok([magic, 4096, 1 << 20, 1 << 19, 1 << 19, 1 << 16, 1 << 15, 255])
    }
    fn pread(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut nodes = self.nodes();
        let node = nodes.get(self.ino)?;
        if node.stat.mode & S_IFMT == S_IFDIR {
            return Err(errno::EISDIR);
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(node.data.len());
        let n = buf.len().min(node.data.len() - from);
        buf[..n].copy_from_slice(&node.data[from..from + n]);
        Ok(n)
    }
    fn pwrite(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        self.writable()?;
        let mut nodes = self.nodes();
        let data = &mut nodes.get(self.ino)?.data;
        let from = if self.flags & O_APPEND != 0 { data.len() } else { offset as usize };
        let end = from.checked_add(buf.len()).filter(|&e| e < 1 << 30).ok_or(errno::EFBIG)?;
        if data.len() < end {
            data.resize(end, 0);
        }
        data[from..end].copy_from_slice(buf);
        nodes.touch(self.ino);
        Ok(buf.len())
    }
    fn truncate(&self, size: u64) -> Result<()> {
        self.writable()?;
        self.nodes().set_attr(self.ino, &SetAttr { size: Some(size), ..SetAttr::default() })
    }
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.writable()?;
        if mode != 0 {
            return Err(errno::EOPNOTSUPP);
        }
        let end = offset.checked_add(len).ok_or(errno::EFBIG)?;
        let size = self.stat()?.size;
        if end > size { self.truncate(end) } else { Ok(()) }
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn seek(&self, offset: u64, data: bool) -> Result<u64> {
        let size = self.stat()?.size;
        if offset >= size {
            return Err(errno::ENXIO);
        }
        Ok(if data { offset } else { size })
    }

    fn open_at(&self, name: &[u8], flags: u32, mode: u32) -> Result<Arc<dyn HostFile>> {
        let mut nodes = self.nodes();
        let ino = match nodes.find_or_self(self.ino, name) {
            Ok(_) if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL => return Err(errno::EEXIST),
            Err(errno::ENOENT) if flags & O_CREAT != 0 => {
                nodes.add(self.ino, name, S_IFREG | (mode & 0o7777), b"")?
            }
            found => found?,
        };
        let kind = nodes.get(ino)?.stat.mode & S_IFMT;
        if kind == S_IFLNK && flags & O_PATH == 0 {
            return Err(errno::ELOOP);
        }
        if kind != S_IFDIR && flags & O_DIRECTORY != 0 {
            return Err(errno::ENOTDIR);
        }
        if kind == S_IFDIR && flags & O_ACCMODE != 0 {
            return Err(errno::EISDIR);
        }
        if flags & O_TRUNC != 0 && kind == S_IFREG {
            nodes.get(ino)?.data.clear();
            nodes.touch(ino);
        }
        Ok(Arc::new(MockFile { tree: self.tree.clone(), ino, flags: flags | O_NOFOLLOW }))
    }
    fn stat_at(&self, name: &[u8]) -> Result<HostStat> {
        let mut nodes = self.nodes();
        let ino = nodes.find_or_self(self.ino, name)?;
        Ok(nodes.get(ino)?.stat)
    }
    fn readlink_at(&self, name: &[u8]) -> Result<Vec<u8>> {
        let mut nodes = self.nodes();
        let ino = nodes.find(self.ino, name)?;
        let node = nodes.get(ino)?;
        if node.stat.mode & S_IFMT != S_IFLNK {
            return Err(errno::EINVAL);
        }
        Ok(node.data.clone())
    }
    /// Positions are ordinal numbers: entries removed meanwhile shift the rest, as tests must know.
    fn read_dir(&self, from: u64, out: &mut Vec<DirEntry>) -> Result<()> {
        let mut nodes = self.nodes();
        let list: Vec<_> = nodes.dir(self.ino)?.iter().map(|(n, i)| (n.clone(), *i)).collect();
        for (pos, (name, ino)) in list.into_iter().enumerate().skip(from as usize).take(100) {
            let mode = nodes.get(ino)?.stat.mode;
            out.push(DirEntry { name, ino, dtype: ((mode & S_IFMT) >> 12) as u8, next: pos as u64 + 1 });
        }
        Ok(())
    }
    fn mkdir_at(&self, name: &[u8], mode: u32) -> Result<()> {
        self.nodes().add(self.ino, name, S_IFDIR | (mode & 0o7777), b"").map(drop)
    }
    fn mknod_at(&self, name: &[u8], mode: u32, dev: u64) -> Result<()> {
        let mut nodes = self.nodes();
        let ino = nodes.add(self.ino, name, mode, b"")?;
        nodes.get(ino)?.stat.rdev = dev;
        Ok(())
    }
    fn symlink_at(&self, name: &[u8], target: &[u8]) -> Result<()> {
        self.nodes().add(self.ino, name, S_IFLNK | 0o777, target).map(drop)
    }
    fn link_at(&self, old_dir: &dyn HostFile, old: &[u8], name: &[u8]) -> Result<()> {
        let from = old_dir.stat()?.ino;
        check_name(name)?;
        let mut nodes = self.nodes();
        let ino = nodes.find(from, old)?;
        if nodes.get(ino)?.stat.mode & S_IFMT == S_IFDIR {
            return Err(errno::EPERM);
        }
        let names = nodes.dir(self.ino)?;
        if names.contains_key(name) {
            return Err(errno::EEXIST);
        }
        names.insert(name.to_vec(), ino);
        nodes.get(ino)?.stat.nlink += 1;
        nodes.touch(self.ino);
        Ok(())
    }
    fn unlink_at(&self, name: &[u8], is_dir: bool) -> Result<()> {
        self.nodes().remove(self.ino, name, is_dir)
    }
    /// No check that a directory is not moved into itself.
    fn rename_at(&self, name: &[u8], new_dir: &dyn HostFile, new: &[u8], flags: u32) -> Result<()> {
        let to = new_dir.stat()?.ino;
        check_name(new)?;
        let mut nodes = self.nodes();
        let ino = nodes.find(self.ino, name)?;
        let target = nodes.find(to, new).ok();
        match (target, flags) {
            (Some(_), RENAME_NOREPLACE) => return Err(errno::EEXIST),
            (Some(other), RENAME_EXCHANGE) => {
                nodes.dir(self.ino)?.insert(name.to_vec(), other);
                nodes.dir(to)?.insert(new.to_vec(), ino);
                return Ok(());
            }
            (None, RENAME_EXCHANGE) => return Err(errno::ENOENT),
            (_, f) if f & !RENAME_NOREPLACE != 0 => return Err(errno::EINVAL),
            (Some(other), _) if other == ino => return Ok(()),
            _ => {}
        }
        let is_dir = nodes.get(ino)?.stat.mode & S_IFMT == S_IFDIR;
        if target.is_some() {
            nodes.remove(to, new, is_dir)?;
        }
        nodes.dir(self.ino)?.remove(name);
        nodes.dir(to)?.insert(new.to_vec(), ino);
        if is_dir {
            nodes.get(self.ino)?.stat.nlink -= 1;
            nodes.get(to)?.stat.nlink += 1;
        }
        nodes.touch(self.ino);
        nodes.touch(to);
        Ok(())
    }
    fn set_attr_at(&self, name: &[u8], attr: &SetAttr) -> Result<()> {
        let mut nodes = self.nodes();
        let ino = nodes.find(self.ino, name)?;
        nodes.set_attr(ino, attr)
    }
    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        self.nodes().set_attr(self.ino, attr)
    }
    /// Judges by the owner's bits.
    fn access_at(&self, name: &[u8], mode: u32) -> Result<()> {
        let have = (self.stat_at(name)?.mode >> 6) & 7;
        if mode & !have == 0 { Ok(()) } else { Err(errno::EACCES) }
    }
    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.nodes().get(self.ino)?.xattrs.keys().cloned().collect())
    }
    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.nodes().get(self.ino)?.xattrs.get(name).cloned().ok_or(errno::ENODATA)
    }
}
