//! The kernel process gives up what it does not need, so that a guest that breaks it holds a plain, confined process.
//!
//! In two steps. [`files`] comes first of all, while there is one thread: no new privileges, and where the host has
//! Landlock, file access only below what the command line named; no signal to, and no look into the memory of, any
//! process outside. Stubs are made afterwards and live in the same domain, so that they can be reached. [`calls`] comes
//! after boot, before the first guest instruction: all threads may make only the host calls of
//! [`crate::sys::calls::CALLS`]. A refused call fails with EPERM and is reported in one line, once. abort(3) is among what
//! is refused, as it sends a signal and changes handlers: panics and faults end the process in other ways.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use hal::{Result, errno};
use rustix::fs::{self, FileType, Mode, OFlags};

use crate::{
    stub::filter::{ALLOW, ARCH, ARGS, AUDIT_ARCH_X86_64, Insn, NR, TRAP, and, jump_eq, load, ret},
    sys::{
        calls::{Allow, CALLS},
        confine as sys,
    },
};

/// What the command line named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Files and directories that are read.
    pub read: Vec<PathBuf>,
    /// Directories in which anything may be changed.
    pub write: Vec<PathBuf>,
    /// Devices that are read and written.
    pub devices: Vec<PathBuf>,
    /// Inherited descriptors that are opened again, besides 0, 1 and 2.
    pub inherited: Vec<i32>,
}

/// What became of [`files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Landlock of this version holds.
    Landlock(u32),
    /// The host has no Landlock.
    None,
}

// Rights of landlock(7).
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
/// What can be granted for a file; the others are about directories.
const FOR_FILES: u64 = 1 | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15;

/// All rights of a version: what is not granted is refused. Ioctls of devices (bit 15) are left to the filter.
const fn handled(version: u32) -> u64 {
    match version {
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        _ => (1 << 15) - 1,
    }
}

/// Step one. Call before the first thread and before the host value is made.
pub fn files(paths: &Paths) -> Result<Fence> {
    sys::no_new_privs()?;
    let version = sys::landlock_version();
    // The first version lets nothing be moved from one directory to another, which would show in the machine.
    if version == 0 || version == 1 && !paths.write.is_empty() {
        return Ok(Fence::None);
    }
    let all = handled(version);
    // Abstract sockets and signals stay inside.
    let scoped = if version >= 6 { 3 } else { 0 };
    let rules = sys::ruleset(&sys::RulesetAttr { fs: all, net: 0, scoped }, version)?;
    // Nothing of the host is executed, whoever wrote it.
    let lists = [
        (&paths.read, READ_FILE | READ_DIR),
        (&paths.write, all & !1),
        (&paths.devices, READ_FILE | WRITE_FILE),
    ];
    for (list, rights) in lists {
        for path in list {
            // What is not there is complained of by whoever opens it.
            if let Ok(at) = path_fd(path) {
                allow(&rules, at, rights)?;
            }
        }
    }
    // Memory of stubs is written through /proc/PID/mem; the domain keeps that to stubs.
    if let Ok(proc) = path_fd(Path::new("/proc")) {
        allow(&rules, proc, READ_FILE | READ_DIR | WRITE_FILE)?;
    }
    // What was inherited may be opened again by name, with the same access.
    for &fd in [0, 1, 2].iter().chain(&paths.inherited) {
        let Ok(fd) = crate::sys::file::fcntl_dup(fd) else { continue };
        let Ok(flags) = fs::fcntl_getfl(&fd) else { continue };
        let rights = match flags & OFlags::RWMODE {
            OFlags::RDONLY => READ_FILE,
            OFlags::WRONLY => WRITE_FILE | TRUNCATE,
            _ => READ_FILE | WRITE_FILE | TRUNCATE,
        };
        // Sockets and anonymous pipes have no place in a tree and need no rule.
        let _ = sys::allow_beneath(&rules, fd.as_fd(), rights & all);
    }
    sys::restrict(&rules)?;
    Ok(Fence::Landlock(version))
}

fn path_fd(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).map_err(crate::file::host_errno)
}

fn allow(rules: &OwnedFd, at: OwnedFd, rights: u64) -> Result<()> {
    let is_dir = FileType::from_raw_mode(fs::fstat(&at).map_err(crate::file::host_errno)?.st_mode)
        == FileType::Directory;
    let rights = if is_dir { rights } else { rights & FOR_FILES };
    sys::allow_beneath(rules, at.as_fd(), rights)
}

/// Step two: the filter, on all threads. `writing`: host files may be changed.
pub fn calls(writing: bool) -> Result<()> {
    sys::report_refusals()?;
    // The handlers of Rust's runtime would set them back when called, which is refused, and the fault come again for ever.
    for fault in [libc::SIGSEGV, libc::SIGBUS] {
        crate::sys::signal::set_default(fault);
    }
    end_at_panics();
    match sys::filter_all_threads(&filter(writing)) {
        // The host has no filters of this kind: then the stubs would not have started.
        Err(errno::EINVAL) => Err(errno::ENOSYS),
        done => done,
    }
}

/// Exit status of a panic: what a shell shows for SIGABRT.
const PANIC: i32 = 134;

/// A panic of any thread tells its reason, gives the terminals back and ends the process.
fn end_at_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        crate::signals::restore_terminals();
        crate::sys::signal::exit_now(PANIC);
    }));
}

/// Each row is a comparison and an answer, arguments first if there are any.
fn filter(writing: bool) -> Vec<Insn> {
    let mut f = vec![load(ARCH), jump_eq(AUDIT_ARCH_X86_64, 1, 0), ret(TRAP), load(NR)];
    for &(nr, allow) in CALLS {
        let block = match allow {
            Allow::Always => vec![ret(ALLOW)],
            Allow::Writing if !writing => continue,
            Allow::Writing => vec![ret(ALLOW)],
            Allow::Absent => vec![ret(0x0005_0000 | libc::ENOSYS as u32)],
            Allow::Arg(n, mask, values) => {
                let mut b = vec![load(ARGS + 8 * n as u32)];
                if mask != !0 {
                    b.push(and(mask));
                }
                for &v in values {
                    b.push(jump_eq(v, 0, 1));
                    b.push(ret(ALLOW));
                }
                b.push(ret(TRAP));
                b
            }
        };
        f.push(jump_eq(nr as u32, 0, block.len() as u8));
        f.extend(block);
    }
    f.push(ret(TRAP));
    f
}

/// Version of the host's Landlock; 0 without.
pub fn landlock_version() -> u32 {
    sys::landlock_version()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::filter::eval;

    const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

    fn at(f: &[Insn], nr: i64, args: [u64; 6]) -> u32 {
        eval(f, nr as u32, AUDIT_ARCH_X86_64, 0, args)
    }

    #[test]
    fn the_filter_is_the_list() {
        for writing in [false, true] {
            let f = filter(writing);
            for nr in 0..600 {
                let expected = match CALLS.iter().find(|c| c.0 == nr) {
                    None => TRAP,
                    Some((_, Allow::Always)) => ALLOW,
                    Some((_, Allow::Writing)) if writing => ALLOW,
                    Some((_, Allow::Writing)) => TRAP,
                    Some((_, Allow::Absent)) => ENOSYS,
                    Some((_, Allow::Arg(n, mask, values))) => {
                        let mut args = [u64::MAX; 6];
                        for v in *values {
                            args[*n] = u64::from(*v) | u64::from(!mask);
                            assert_eq!(at(&f, nr, args), ALLOW, "{nr} {v:#x}");
                        }
                        args[*n] = if *mask == !0 { 0x5412 } else { u64::from(!values[0]) };
                        assert_eq!(at(&f, nr, args), TRAP, "{nr}");
                        continue;
                    }
                };
                assert_eq!(at(&f, nr, [0; 6]), expected, "{nr}");
                assert_eq!(at(&f, nr | 0x4000_0000, [0; 6]), TRAP, "x32 {nr}");
                assert_eq!(eval(&f, nr as u32, 0x4000_0003, 0, [0; 6]), TRAP, "32-bit {nr}");
            }
        }
    }

    #[test]
    fn nothing_that_leaves_is_in_the_list() {
        for nr in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_fork,
            libc::SYS_vfork,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_keyctl,
            libc::SYS_open,
            libc::SYS_pidfd_getfd,
        ] {
            assert!(!CALLS.iter().any(|c| c.0 == nr), "{nr}");
        }
        let f = filter(true);
        let ioctl = |cmd: u64| at(&f, libc::SYS_ioctl, [0, cmd, 0, 0, 0, 0]);
        assert_eq!(ioctl(libc::TIOCSTI), TRAP);
        assert_eq!(ioctl(libc::TCGETS), ALLOW);
        assert_eq!(at(&f, libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]), TRAP);
    }
}
