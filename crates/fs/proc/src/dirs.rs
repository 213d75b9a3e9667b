//! Directories: what a name in one stands for, and what names there are.

use abi::errno;
use kernel::{Machine, Result};

use crate::{
    fd, memory, process, sysctl, system,
    tree::{self, Place},
    what::What,
};

/// How a mapping is named in map_files.
fn range_name((start, end): (u64, u64)) -> String {
    format!("{start:x}-{end:x}")
}

fn system_place(p: Place) -> What {
    match p {
        Place::Row(i) => What::System(i),
        Place::Dir { row, depth } => What::SystemDir { row, depth },
    }
}

fn system_list(row: usize, depth: usize) -> impl Iterator<Item = (String, What)> {
    tree::list(&system::paths(), row, depth).into_iter().map(|(n, p)| (n.to_string(), system_place(p)))
}

fn parse_id(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let n: i32 = text.parse().ok()?;
    (n >= 0 && n.to_string() == text).then_some(n)
}

impl What {
    /// What `name` is in this directory.
    pub(crate) fn find(self, m: &Machine, name: &[u8]) -> Option<What> {
        let row = |names: &mut dyn Iterator<Item = &'static str>| {
            names.collect::<Vec<_>>().into_iter().position(|n| n.as_bytes() == name)
        };
        match self {
            What::Root => match name {
                b"self" => Some(What::SelfLink { thread: false }),
                b"thread-self" => Some(What::SelfLink { thread: true }),
                b"mounts" => Some(What::MountsLink),
                b"sys" => Some(What::SysDir { row: 0, depth: 0 }),
                _ => match parse_id(name) {
                    Some(tid) => process::exists(m, tid).then_some(What::Task { tid, thread: false }),
                    None => tree::find(&system::paths(), 0, 0, name).map(system_place),
                },
            },
            What::SystemDir { row, depth } => {
                tree::find(&system::paths(), row, depth, name).map(system_place)
            }
            What::SysDir { row, depth } => sysctl::find(row, depth, name),
            What::Task { tid, thread } => match name {
                b"task" if !thread => Some(What::Threads(tid)),
                b"fd" => Some(What::Fds { tid, info: false }),
                b"fdinfo" => Some(What::Fds { tid, info: true }),
                b"ns" => Some(What::NsDir(tid)),
                b"map_files" if !thread => Some(What::MapFiles(tid)),
                b"children" if !thread => None,
                _ => match process::PLACES.iter().position(|p| p.as_bytes() == name) {
                    Some(row) => Some(What::Place { tid, row }),
                    None => {
                        row(&mut process::FILES.iter().map(|f| f.name)).map(|row| What::TaskFile { tid, row })
                    }
                },
            },
            What::Threads(pid) => {
                let tid = parse_id(name)?;
                process::thread_ids(m, pid).contains(&tid).then_some(What::Task { tid, thread: true })
            }
            What::Fds { tid, info } => {
                let n = parse_id(name)?;
                fd::numbers(m, tid).contains(&n).then_some(What::Fd { tid, fd: n, info })
            }
            What::MapFiles(tid) => memory::file_ranges(m, tid)
                .into_iter()
                .find(|r| range_name(*r).as_bytes() == name)
                .map(|(start, end)| What::MapFile { tid, start, end }),
            What::NsDir(tid) => {
                row(&mut process::NAMESPACES.iter().map(|n| n.0)).map(|row| What::Ns { tid, row })
            }
            _ => None,
        }
    }

    /// Names in this directory, in the order of listing.
    pub(crate) fn names(self, m: &Machine) -> Result<Vec<(String, What)>> {
        let mut out = Vec::new();
        match self {
            What::Root => {
                let fixed = [
                    ("self", What::SelfLink { thread: false }),
                    ("thread-self", What::SelfLink { thread: true }),
                    ("mounts", What::MountsLink),
                    ("sys", What::SysDir { row: 0, depth: 0 }),
                ];
                out.extend(fixed.map(|(n, w)| (n.to_string(), w)));
                out.extend(system_list(0, 0));
                out.extend(
                    process::ids(m)
                        .into_iter()
                        .map(|tid| (tid.to_string(), What::Task { tid, thread: false })),
                );
            }
            What::SystemDir { row, depth } => out.extend(system_list(row, depth)),
            What::SysDir { row, depth } => out.extend(sysctl::list(row, depth)),
            What::Task { tid, thread } => {
                if !process::exists(m, tid) {
                    return Err(errno::ENOENT);
                }
                if !thread {
                    out.push(("task".into(), What::Threads(tid)));
                }
                out.push(("fd".into(), What::Fds { tid, info: false }));
                out.push(("fdinfo".into(), What::Fds { tid, info: true }));
                out.push(("ns".into(), What::NsDir(tid)));
                if !thread {
                    out.push(("map_files".into(), What::MapFiles(tid)));
                }
                out.extend(
                    process::PLACES
                        .iter()
                        .enumerate()
                        .map(|(row, n)| (n.to_string(), What::Place { tid, row })),
                );
                out.extend(
                    process::FILES
                        .iter()
                        .enumerate()
                        .filter(|(_, f)| thread || f.name != "children")
                        .map(|(row, f)| (f.name.to_string(), What::TaskFile { tid, row })),
                );
            }
            What::Threads(pid) => out.extend(
                process::thread_ids(m, pid)
                    .into_iter()
                    .map(|tid| (tid.to_string(), What::Task { tid, thread: true })),
            ),
            What::Fds { tid, info } => out.extend(
                fd::numbers(m, tid).into_iter().map(|n| (n.to_string(), What::Fd { tid, fd: n, info })),
            ),
            What::MapFiles(tid) => out.extend(
                memory::file_ranges(m, tid)
                    .into_iter()
                    .map(|(start, end)| (range_name((start, end)), What::MapFile { tid, start, end })),
            ),
            What::NsDir(tid) => out.extend(
                process::NAMESPACES
                    .iter()
                    .enumerate()
                    .map(|(row, n)| (n.0.to_string(), What::Ns { tid, row })),
            ),
            _ => return Err(errno::ENOTDIR),
        }
        Ok(out)
    }
}
