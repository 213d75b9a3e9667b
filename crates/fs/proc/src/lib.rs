//! proc(5): what ps, top, libc and shells read of the machine and its processes.
//!
//! Every file is a row of a table ([`system`] for the machine, [`process`] for tasks, [`sysctl`] for /proc/sys) with a
//! function that prints it; nothing is stored. Adding a file is adding a row.
#![forbid(unsafe_code)]

mod detail;
mod devices;
mod dirs;
mod fd;
mod mem;
mod memory;
mod mounts;
mod pagemap;
mod process;
mod sysctl;
mod system;
mod sysvipc;
mod text;
mod tree;
mod what;

use std::sync::{Arc, Weak};

use abi::{FileType, OpenFlags, Timespec, errno};
use kernel::{
    Machine, Result,
    registry::{FsType, Registry},
    task::{Pid, Task, TaskCx},
    vfs::{
        file::FileOps,
        inode::{Attr, AttrChange, FileSystem, Link},
        pseudo::{Entry, Make, Pseudo, Store, Text, Tree},
    },
};

use what::What;

/// Adds the filesystem type to a machine.
pub fn register(r: &mut Registry) {
    r.filesystems.insert("proc", Arc::new(Type));
}

struct Type;

impl FsType for Type {
    fn name(&self) -> &'static str {
        "proc"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        _task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        for opt in options.split(|b| *b == b',').filter(|o| !o.is_empty()) {
            // hidepid=0 is what we do; the others would hide nothing: refused.
            if !matches!(opt, b"hidepid=0" | b"hidepid=off") && !opt.starts_with(b"gid=") {
                return Err(errno::EINVAL);
            }
        }
        let tree = ProcFs { machine: Arc::downgrade(machine), boot: machine.clock.now() };
        Ok(Pseudo::new(machine.new_dev(), tree))
    }
}

/// One instance.
struct ProcFs {
    machine: Weak<Machine>,
    boot: Timespec,
}

impl ProcFs {
    fn machine(&self) -> Result<Arc<Machine>> {
        self.machine.upgrade().ok_or(errno::ENODEV)
    }
}

/// Positions of tasks begin here: a task's place does not move when others come and go.
const TASKS: u64 = 1 << 32;

impl Tree for ProcFs {
    type Place = What;
    const NAME: &'static str = "proc";
    const MAGIC: u64 = 0x9fa0;
    const BLOCK_SIZE: u32 = 1024;
    const VOLATILE: bool = true;
    const ONE_INODE: bool = false;

    fn root(&self) -> What {
        What::Root
    }
    fn ino(&self, what: &What) -> u64 {
        what.number()
    }
    fn kind(&self, what: &What) -> FileType {
        what.kind()
    }
    fn attr(&self, what: &What) -> Result<Attr> {
        let (mut uid, mut gid, mut time) = (0, 0, self.boot);
        if let Some(tid) = what.tid() {
            let owner = process::owner(&*self.machine()?, tid).ok_or(errno::ENOENT)?;
            (uid, gid, time) = (owner.uid, owner.gid, owner.start);
        }
        let nlink = if what.kind() == FileType::Directory { 2 } else { 1 };
        let (atime, mtime, ctime, btime) = (time, time, time, time);
        Ok(Attr { mode: what.mode(), nlink, uid, gid, atime, mtime, ctime, btime, ..Attr::default() })
    }
    fn set_attr(&self, _: &What, c: &AttrChange) -> Result<()> {
        // A truncating open is fine (echo 1 > /proc/sys/...); nothing else can be changed.
        if c.mode.is_some() || c.uid.is_some() || c.gid.is_some() { Err(errno::EPERM) } else { Ok(()) }
    }
    fn lookup(&self, dir: &What, name: &[u8], _: &Task) -> Result<What> {
        dir.find(&*self.machine()?, name).ok_or(errno::ENOENT)
    }
    fn stands_for(&self, dir: &What, name: &[u8], known: Option<&What>) -> bool {
        self.machine().is_ok_and(|m| dir.find(&m, name).as_ref() == known)
    }
    fn entries(&self, dir: &What, _: &Task) -> Result<Vec<Entry>> {
        let names = dir.names(&*self.machine()?)?;
        let entry = |((name, what), at): ((String, What), u64)| {
            let next = match what {
                What::Task { tid, .. } => TASKS + tid as u64 + 1,
                What::Fd { fd, .. } => TASKS + fd as u64 + 1,
                _ => at,
            };
            Entry { name: name.into_bytes(), ino: what.number(), kind: what.kind(), next }
        };
        Ok(names.into_iter().zip(3..).map(entry).collect())
    }
    fn open(&self, _: Arc<Pseudo<Self>>, what: &What, _: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        let (make, store): (Make, Option<Store>) = match *what {
            What::System(i) => {
                let f = &system::FILES[i];
                let (make, store) = (f.make, f.store);
                (
                    Box::new(move |t| make(&t.machine)),
                    store.map(|s| Box::new(move |t: &Task, d: &[u8]| s(&t.machine, d)) as _),
                )
            }
            What::Sysctl(i) => {
                (Box::new(move |t| sysctl::read(i, t)), Some(Box::new(move |t, d| sysctl::write(i, t, d))))
            }
            What::TaskFile { tid, row } => return process::open(&self.machine()?, tid, row, task),
            What::Fd { tid, fd, info: true } => (Box::new(move |t| fd::info(&t.machine, tid, fd)), None),
            _ => return Err(errno::EINVAL),
        };
        Ok(Text::new(0, make, store))
    }
    fn link(&self, what: &What, task: &Task) -> Result<Link> {
        let text = |s: String| Ok(Link::Text(s.into_bytes()));
        match *what {
            What::SelfLink { thread: false } => text(task.pid().to_string()),
            What::SelfLink { thread: true } => text(format!("{}/task/{}", task.pid(), task.tid())),
            What::MountsLink => text("self/mounts".into()),
            What::Place { tid, row } => process::place(&*self.machine()?, tid, row, task),
            What::Fd { tid, fd, .. } => fd::link(&*self.machine()?, tid, fd),
            What::MapFile { tid, start, .. } => {
                let m = self.machine()?;
                process::check_access(&m, tid, task)?;
                memory::file_at(&m, tid, start)
            }
            What::Ns { row, .. } => {
                text(format!("{}:[{}]", process::NAMESPACES[row].0, process::NAMESPACES[row].1))
            }
            _ => Err(errno::EINVAL),
        }
    }
    fn process(&self, what: &What) -> Option<Pid> {
        match *what {
            What::Task { tid, thread: false } => Some(tid),
            _ => None,
        }
    }
    fn permission(&self, what: &What, mask: u32) -> Result<()> {
        // Capabilities do not make a setting that is only to be read one to be written.
        match *what {
            What::Sysctl(i) if mask & abi::fs::W_OK != 0 && sysctl::FILES[i].mode & 0o222 == 0 => {
                Err(errno::EACCES)
            }
            _ => Ok(()),
        }
    }
}
