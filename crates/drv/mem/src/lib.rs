//! Memory devices, major 1 (null(4), full(4), random(4)): null, zero, full, random, urandom, kmsg.
#![forbid(unsafe_code)]

mod kmsg;

use std::{any::Any, sync::Arc};

use abi::{OpenFlags, errno};
use kernel::{
    Machine, Result,
    io::{Sink, Source},
    mm::{MapSource, Mappable},
    registry::{DeviceDriver, DeviceNode, Registry},
    task::Task,
    vfs::{
        file::{Endless, File, FileOps},
        inode::Inode,
    },
};

/// Major number of the memory devices.
const MAJOR: u32 = 1;

/// Adds the devices to a machine.
pub fn register(r: &mut Registry) {
    r.char_drivers.insert((MAJOR, None), Arc::new(Driver));
    let nodes = [
        ("null", 3, 0o666),
        ("zero", 5, 0o666),
        ("full", 7, 0o666),
        ("random", 8, 0o666),
        ("urandom", 9, 0o666),
        ("kmsg", 11, 0o644),
    ];
    for (name, minor, mode) in nodes {
        let rdev = abi::makedev(MAJOR, minor);
        r.device_nodes.push(DeviceNode { name: name.into(), mode: abi::fs::S_IFCHR | mode, rdev });
    }
}

struct Driver;

impl DeviceDriver for Driver {
    fn name(&self) -> &'static str {
        "mem"
    }
    fn open(&self, rdev: u64, _: &Arc<dyn Inode>, flags: OpenFlags, task: &Task) -> Result<Arc<dyn FileOps>> {
        let kind = match abi::minor(rdev) {
            3 => Kind::Null,
            5 => Kind::Zero,
            7 => Kind::Full,
            8 | 9 => Kind::Random,
            11 => return kmsg::open(flags, task),
            _ => return Err(errno::ENXIO),
        };
        Ok(Arc::new(Memory { kind }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Zero,
    Full,
    Random,
}

struct Memory {
    kind: Kind,
}

static ZEROS: [u8; 16384] = [0; 16384];

/// Bytes moved between looks for a signal.
const CHUNK: usize = 65536;

fn fill_random(m: &Machine, dst: &mut dyn Sink) -> Result<usize> {
    let mut done = 0;
    let mut buf = [0u8; 4096];
    while dst.remaining() > 0 {
        let n = dst.remaining().min(buf.len());
        m.host.entropy(&mut buf[..n]);
        match dst.put(&buf[..n]) {
            Ok(k) => {
                done += k;
                if k < n {
                    break;
                }
            }
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

impl FileOps for Memory {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, task: &Task, dst: &mut dyn Sink, _: u64) -> Result<usize> {
        match self.kind {
            Kind::Null => Ok(0),
            Kind::Random => fill_random(&task.machine, dst),
            Kind::Zero | Kind::Full => {
                let mut done = 0;
                while dst.remaining() > 0 {
                    let n = dst.remaining().min(ZEROS.len());
                    match dst.put(&ZEROS[..n]) {
                        Ok(k) => {
                            done += k;
                            if k < n {
                                break;
                            }
                        }
                        Err(e) if done == 0 => return Err(e),
                        Err(_) => break,
                    }
                    if done % CHUNK == 0 && !task.work().is_empty() {
                        break;
                    }
                }
                Ok(done)
            }
        }
    }

    fn write(&self, _: &File, _: &Task, src: &mut dyn Source, _: u64) -> Result<usize> {
        match self.kind {
            // Mixing guest bytes into the host's pool would gain nothing: they are accepted and dropped.
            Kind::Null | Kind::Zero | Kind::Random => Ok(src.remaining()),
            Kind::Full => Err(errno::ENOSPC),
        }
    }

    fn size(&self) -> Result<u64> {
        Ok(0)
    }
    fn stays_at_start(&self) -> bool {
        true
    }
    fn can_poll(&self) -> bool {
        self.kind == Kind::Random
    }
    fn endless(&self) -> Option<Endless> {
        match self.kind {
            Kind::Null => Some(Endless::Null),
            Kind::Zero => Some(Endless::Zero),
            Kind::Full | Kind::Random => None,
        }
    }
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        if self.kind == Kind::Zero { Some(Arc::new(ZeroMap)) } else { None }
    }
    fn ioctl(&self, _: &File, cx: &mut kernel::task::TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        // RNDGETENTCNT (random(4)).
        if self.kind == Kind::Random && cmd == 0x8004_5200 {
            cx.write_u32(arg, 256)?;
            return Ok(0);
        }
        Err(errno::ENOTTY)
    }
}

struct ZeroMap;

impl Mappable for ZeroMap {
    fn map_source(&self, _shared_write: bool) -> Result<MapSource> {
        Ok(MapSource::Zero)
    }
}
