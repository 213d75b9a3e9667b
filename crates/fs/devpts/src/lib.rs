//! devpts: the names of pty slaves, and the ptmx device (pts(4)).
//!
//! All instances of a machine show the same ptys: `ptmx` has no instance of its own yet (mount option `newinstance` is
//! accepted, as Linux accepts and ignores it).
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc};

use abi::{FileType, OpenFlags, Timespec, errno};
use kernel::{
    Machine, Result, locks,
    registry::{DeviceDriver, DeviceNode, FsType, Registry},
    task::{Task, TaskCx},
    tty::{
        TtyFile,
        pty::{PtyTable, SLAVE_MAJOR},
    },
    vfs::{
        file::FileOps,
        inode::{Attr, AttrChange, FileSystem, Inode},
        pseudo::{Entry, Pseudo, Tree},
    },
};
use ksync::Mutex;

const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
/// Inode number of pty 0.
const FIRST_INO: u64 = 3;
/// /dev/ptmx.
const PTMX_MAJOR: u32 = 5;
const PTMX_MINOR: u32 = 2;

/// What the filesystem and the devices share.
struct Shared {
    table: Arc<PtyTable>,
    state: Mutex<State>,
}

struct State {
    /// Ownership of each slave; entries of closed ptys are dropped lazily.
    meta: BTreeMap<u32, Meta>,
    gid: Option<u32>,
    mode: u32,
    ptmx_mode: u32,
    dev: u64,
}

#[derive(Clone, Copy)]
struct Meta {
    uid: u32,
    gid: u32,
    mode: u32,
    time: Timespec,
}

/// Adds the filesystem type and the devices to a machine.
pub fn register(r: &mut Registry) {
    let state = State { meta: BTreeMap::new(), gid: None, mode: 0o600, ptmx_mode: 0o666, dev: 0 };
    let shared =
        Arc::new(Shared { table: Arc::new(PtyTable::default()), state: Mutex::new(locks::LEAF, state) });
    r.filesystems.insert("devpts", Arc::new(Type { shared: shared.clone() }));
    let driver = Arc::new(Driver { shared });
    r.char_drivers.insert((PTMX_MAJOR, Some(PTMX_MINOR)), driver.clone());
    for major in SLAVE_MAJOR..SLAVE_MAJOR + 8 {
        r.char_drivers.insert((major, None), driver.clone());
    }
    let rdev = abi::makedev(PTMX_MAJOR, PTMX_MINOR);
    r.device_nodes.push(DeviceNode { name: "ptmx".into(), mode: abi::fs::S_IFCHR | 0o666, rdev });
}

struct Driver {
    shared: Arc<Shared>,
}

impl DeviceDriver for Driver {
    fn name(&self) -> &'static str {
        "pts"
    }
    fn open(&self, rdev: u64, _: &Arc<dyn Inode>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        if abi::major(rdev) == PTMX_MAJOR {
            let master = self.shared.table.open_master(&task.machine)?;
            let cred = task.cred();
            let mut s = self.shared.state.lock();
            let meta = Meta {
                uid: cred.fsuid,
                gid: s.gid.unwrap_or(cred.fsgid),
                mode: s.mode,
                time: task.machine.clock.now(),
            };
            s.meta.insert(master.index, meta);
            return Ok(master);
        }
        let index = (abi::major(rdev) - SLAVE_MAJOR) << 8 | abi::minor(rdev);
        TtyFile::open(self.shared.table.open_slave(index)?, flags, task)
    }
}

struct Type {
    shared: Arc<Shared>,
}

impl FsType for Type {
    fn name(&self) -> &'static str {
        "devpts"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        _task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        let text = std::str::from_utf8(options).map_err(|_| errno::EINVAL)?;
        let mut s = self.shared.state.lock();
        for opt in text.split(',').filter(|o| !o.is_empty()) {
            let number = |v: &str| v.parse::<u32>().map_err(|_| errno::EINVAL);
            let octal = |v: &str| u32::from_str_radix(v, 8).map_err(|_| errno::EINVAL);
            match opt.split_once('=') {
                Some(("gid", v)) => s.gid = Some(number(v)?),
                Some(("uid", v)) => {
                    number(v)?;
                }
                Some(("mode", v)) => s.mode = octal(v)? & 0o777,
                Some(("ptmxmode", v)) => s.ptmx_mode = octal(v)? & 0o777,
                Some(("max", v)) => {
                    number(v)?;
                }
                None if opt == "newinstance" => {}
                _ => return Err(errno::EINVAL),
            }
        }
        if s.dev == 0 {
            s.dev = machine.new_dev();
        }
        let dev = s.dev;
        drop(s);
        Ok(Pseudo::new(dev, Ptys { shared: self.shared.clone(), boot: machine.clock.now() }))
    }
}

/// The ptys of the machine, as files of one directory.
struct Ptys {
    shared: Arc<Shared>,
    boot: Timespec,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Root,
    Ptmx,
    Slave(u32),
}

impl Ptys {
    /// What a name stands for now.
    fn find(&self, name: &[u8]) -> Option<What> {
        if name == b"ptmx" {
            return Some(What::Ptmx);
        }
        let text = std::str::from_utf8(name).ok()?;
        let index: u32 = text.parse().ok()?;
        let known = text == index.to_string() && self.shared.table.indexes().contains(&index);
        known.then_some(What::Slave(index))
    }
}

impl Tree for Ptys {
    type Place = What;
    const NAME: &'static str = "devpts";
    const MAGIC: u64 = 0x1cd1;
    const BLOCK_SIZE: u32 = 1024;
    const VOLATILE: bool = true;

    fn root(&self) -> What {
        What::Root
    }
    fn ino(&self, what: &What) -> u64 {
        match what {
            What::Root => ROOT_INO,
            What::Ptmx => PTMX_INO,
            What::Slave(i) => FIRST_INO + u64::from(*i),
        }
    }
    fn kind(&self, what: &What) -> FileType {
        if *what == What::Root { FileType::Directory } else { FileType::Char }
    }
    fn attr(&self, what: &What) -> Result<Attr> {
        let s = self.shared.state.lock();
        let meta = match what {
            What::Root => Meta { uid: 0, gid: 0, mode: abi::fs::S_IFDIR | 0o755, time: self.boot },
            What::Ptmx => Meta { uid: 0, gid: 0, mode: abi::fs::S_IFCHR | s.ptmx_mode, time: self.boot },
            What::Slave(i) => {
                let m = *s.meta.get(i).ok_or(errno::ENOENT)?;
                Meta { mode: abi::fs::S_IFCHR | m.mode, ..m }
            }
        };
        let rdev = match what {
            What::Root => 0,
            What::Ptmx => abi::makedev(PTMX_MAJOR, PTMX_MINOR),
            What::Slave(i) => abi::makedev(SLAVE_MAJOR + (i >> 8), i & 0xff),
        };
        Ok(Attr {
            mode: meta.mode,
            nlink: if *what == What::Root { 2 } else { 1 },
            uid: meta.uid,
            gid: meta.gid,
            rdev,
            atime: meta.time,
            mtime: meta.time,
            ctime: meta.time,
            btime: meta.time,
            ..Attr::default()
        })
    }
    fn set_attr(&self, what: &What, c: &AttrChange) -> Result<()> {
        let mut s = self.shared.state.lock();
        match what {
            What::Slave(i) => {
                let m = s.meta.get_mut(i).ok_or(errno::ENOENT)?;
                m.mode = c.mode.map_or(m.mode, |v| v & 0o7777);
                m.uid = c.uid.unwrap_or(m.uid);
                m.gid = c.gid.unwrap_or(m.gid);
                m.time = c.mtime.unwrap_or(m.time);
                Ok(())
            }
            What::Ptmx => {
                s.ptmx_mode = c.mode.map_or(s.ptmx_mode, |v| v & 0o777);
                Ok(())
            }
            What::Root => Err(errno::EPERM),
        }
    }
    fn lookup(&self, _: &What, name: &[u8], _: &Task) -> Result<What> {
        self.find(name).ok_or(errno::ENOENT)
    }
    fn stands_for(&self, _: &What, name: &[u8], known: Option<&What>) -> bool {
        self.find(name).as_ref() == known
    }
    fn entries(&self, _: &What, _: &Task) -> Result<Vec<Entry>> {
        // Positions follow inode numbers, so that ptys that come and go move nobody's place.
        let slaves = self.shared.table.indexes().into_iter().map(|i| (i.to_string(), What::Slave(i)));
        let all = std::iter::once(("ptmx".to_owned(), What::Ptmx)).chain(slaves);
        let entry = |(name, what): (String, What)| {
            let ino = self.ino(&what);
            Entry { name: name.into_bytes(), ino, kind: FileType::Char, next: ino + 1 }
        };
        Ok(all.map(entry).collect())
    }
    fn options(&self) -> String {
        let s = self.shared.state.lock();
        let gid = s.gid.map_or(String::new(), |g| format!("gid={g},"));
        format!("{gid}mode={:03o},ptmxmode={:03o}", s.mode, s.ptmx_mode)
    }
}
