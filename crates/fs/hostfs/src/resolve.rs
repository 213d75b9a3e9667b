//! The walk from the jail to the directory that mount options name.

use std::{collections::VecDeque, sync::Arc};

use abi::{errno, fs as flags};
use hal::HostFile;
use kernel::Result;

/// Opens the directory `path` below `jail` as a process with that root directory would: `..` stops at the jail, and
/// absolute links start there. ELOOP, ENOENT, ENOTDIR as path_resolution(7) says.
pub(crate) fn beneath(jail: Arc<dyn HostFile>, path: &[u8]) -> Result<Arc<dyn HostFile>> {
    if path.len() >= flags::PATH_MAX {
        return Err(errno::ENAMETOOLONG);
    }
    let split = |p: &[u8]| -> Vec<Vec<u8>> { p.split(|&b| b == b'/').map(<[u8]>::to_vec).collect() };
    let mut todo: VecDeque<Vec<u8>> = split(path).into();
    let mut at = vec![jail];
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        // The jail itself is never popped.
        let Some(dir) = at.last() else { return Err(errno::ENOENT) };
        match name.as_slice() {
            b"" | b"." => {}
            b".." => {
                if at.len() > 1 {
                    at.pop();
                }
            }
            name => {
                let next = dir.open_at(name, flags::O_PATH | flags::O_NOFOLLOW, 0)?;
                match next.stat()?.mode & flags::S_IFMT {
                    flags::S_IFDIR => at.push(next),
                    flags::S_IFLNK => {
                        links += 1;
                        if links > flags::MAXSYMLINKS {
                            return Err(errno::ELOOP);
                        }
                        let target = dir.readlink_at(name)?;
                        if target.starts_with(b"/") {
                            at.truncate(1);
                        }
                        for part in split(&target).into_iter().rev() {
                            todo.push_front(part);
                        }
                    }
                    _ => return Err(errno::ENOTDIR),
                }
            }
        }
    }
    at.pop().ok_or(errno::ENOENT)
}
