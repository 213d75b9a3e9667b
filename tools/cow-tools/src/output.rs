//! Output files that appear whole or not at all.
//!
//! The file is written without a name (open(2), O_TMPFILE) and gets its name only when it is complete
//! and on disk. Where a filesystem has no nameless files it has a hidden name until then. A device, or anything
//! else that is no regular file, is written in place.

use crate::file::HostFile;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a new file may be, before the umask.
const MODE: u32 = 0o644;

/// An output on its way.
#[derive(Debug)]
pub struct Output {
    file: File,
    target: PathBuf,
    /// The hidden name, removed unless committed.
    hidden: Option<PathBuf>,
    replace: bool,
    in_place: bool,
}

impl Output {
    /// Begins an output. With `replace` an existing file is replaced at [`Output::commit`], without it that fails.
    pub fn create(path: &Path, replace: bool) -> io::Result<Output> {
        let existing = match fs::metadata(path) {
            Ok(meta) => Some(meta),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        if !replace && (existing.is_some() || fs::symlink_metadata(path).is_ok()) {
            return Err(Errno::EXIST.into());
        }
        if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(Errno::ISDIR.into());
        }
        if existing.as_ref().is_some_and(|m| !m.is_file()) {
            let file = File::options().read(true).write(true).open(path)?;
            return Ok(Output { file, target: path.into(), hidden: None, replace, in_place: true });
        }
        // What is replaced is the file a symbolic link leads to, not the link.
        let target = match (&existing, fs::read_link(path)) {
            (Some(_), _) => path.canonicalize()?,
            (None, Ok(to)) => path.parent().unwrap_or(Path::new("")).join(to),
            (None, Err(_)) => path.to_path_buf(),
        };
        if existing.is_some() {
            // To replace a file takes only the right to write its directory; ask for the file's, too.
            File::options().write(true).open(&target)?;
        }
        let (file, hidden) = open_hidden(&target)?;
        if let Some(meta) = existing {
            file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o777))?;
            // Only root can give files away; for others the file becomes their own.
            let _ = std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()));
        }
        Ok(Output { file, target, hidden, replace, in_place: false })
    }

    /// The file, for writing.
    pub fn store(&self) -> io::Result<HostFile> {
        Ok(HostFile::from_file(self.file.try_clone()?, &self.target))
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether it begins as nothing but zeros.
    pub fn is_blank(&self) -> bool {
        !self.in_place
    }

    /// Makes the file durable and gives it its name.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.in_place {
            return Ok(());
        }
        let proc = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match (&self.hidden, self.replace) {
            (Some(hidden), true) => fs::rename(hidden, &self.target)?,
            (Some(hidden), false) => {
                fs::hard_link(hidden, &self.target)?;
                let _ = fs::remove_file(hidden);
            }
            (None, false) => {
                rustix::fs::linkat(CWD, &proc, CWD, &self.target, AtFlags::SYMLINK_FOLLOW)?;
            }
            (None, true) => {
                let hidden = hidden_name(&self.target);
                rustix::fs::linkat(CWD, &proc, CWD, &hidden, AtFlags::SYMLINK_FOLLOW)?;
                self.hidden = Some(hidden.clone());
                fs::rename(&hidden, &self.target)?;
            }
        }
        self.hidden = None;
        // The name is as precious as the content; a directory that cannot be synced is none of our making.
        if let Ok(dir) = File::open(directory(&self.target)) {
            let _ = dir.sync_all();
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(hidden) = self.hidden.take() {
            let _ = fs::remove_file(hidden);
        }
    }
}

fn open_hidden(target: &Path) -> io::Result<(File, Option<PathBuf>)> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(directory(target), flags, Mode::from_raw_mode(MODE)) {
        // Without /proc a nameless file could never be named.
        Ok(fd) if Path::new("/proc/self/fd").exists() => return Ok((fd.into(), None)),
        Err(e @ (Errno::NOENT | Errno::ACCESS)) => return Err(e.into()),
        _ => {}
    }
    let hidden = hidden_name(target);
    let file = File::options().read(true).write(true).create_new(true).mode(MODE).open(&hidden)?;
    Ok((file, Some(hidden)))
}

fn directory(target: &Path) -> &Path {
    match target.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn hidden_name(target: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    target.with_file_name(name)
}
