//! The file of a saved layer.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use abi::fs::{O_CREAT, O_DIRECTORY, O_EXCL, O_PATH, O_RDONLY, O_WRONLY, S_IFMT, S_IFREG};
use hal::{Host, HostFile, errno};
use host_linux::LinuxFile;
use layer::{Gone, Index, Layer, Node};

use crate::machine::Failure;

/// Bytes written at once.
const BATCH: usize = 1 << 20;

/// Directory and name of a file that is to be made.
pub fn place(path: &str) -> (PathBuf, Vec<u8>) {
    let path = Path::new(path);
    let dir = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    };
    (dir, path.file_name().map(|n| n.as_bytes().to_vec()).unwrap_or_default())
}

/// Where a layer will be saved. The file appears whole, when it is finished.
pub struct SaveFile {
    shown: String,
    dir: Arc<dyn HostFile>,
    name: Vec<u8>,
    temp: Vec<u8>,
    file: Option<Arc<dyn HostFile>>,
    buf: Vec<u8>,
    pos: u64,
    frames: u64,
}

impl SaveFile {
    /// Finds the place; nothing is written yet.
    pub fn new(host: &dyn Host, path: &str) -> Result<SaveFile, Failure> {
        let fail = |e: hal::Errno| Failure::new(format!("--save {path}: {e}"));
        let (dir, name) = place(path);
        if name.is_empty() {
            return Err(fail(errno::EISDIR));
        }
        let dir = host.open_path(dir.as_os_str().as_bytes(), O_PATH | O_DIRECTORY).map_err(fail)?;
        match dir.stat_at(&name) {
            Ok(s) if s.mode & S_IFMT != S_IFREG => {
                return Err(Failure::new(format!("--save {path}: not a file")));
            }
            _ => {}
        }
        let temp = format!(".umlaut-{}-{}", host.facts().pid, host.monotonic_ns()).into_bytes();
        // Better now than after hours of work.
        dir.open_at(&temp, O_WRONLY | O_CREAT | O_EXCL, 0o600).map_err(fail)?;
        dir.unlink_at(&temp, false).map_err(fail)?;
        let shown = path.to_owned();
        Ok(SaveFile { shown, dir, name, temp, file: None, buf: Vec::new(), pos: 0, frames: 0 })
    }

    /// Begins to write.
    pub fn begin(&mut self, tree: &[u8], now: i64) -> hal::Result<()> {
        let flags = O_WRONLY | O_CREAT | O_EXCL;
        self.file = Some(self.dir.open_at(&self.temp, flags, 0o600)?);
        layer::header(&mut self.buf, tree, now);
        self.frames = 1;
        Ok(())
    }

    fn flush(&mut self) -> hal::Result<()> {
        let file = self.file.as_ref().ok_or(errno::EBADF)?;
        let mut rest = &self.buf[..];
        while !rest.is_empty() {
            let n = file.pwrite(self.pos, rest)?;
            if n == 0 {
                return Err(errno::ENOSPC);
            }
            self.pos += n as u64;
            rest = &rest[n..];
        }
        self.buf.clear();
        Ok(())
    }

    fn wrote(&mut self) -> hal::Result<()> {
        self.frames += 1;
        if self.buf.len() < BATCH { Ok(()) } else { self.flush() }
    }

    /// Ends the file and gives it its name.
    pub fn finish(&mut self) -> hal::Result<()> {
        layer::end(&mut self.buf, self.frames);
        self.flush()?;
        let Some(file) = &self.file else { return Err(errno::EBADF) };
        file.sync(false)?;
        self.dir.rename_at(&self.temp, &*self.dir, &self.name, 0)?;
        self.file = None;
        Ok(())
    }

    /// As the command line named it.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

impl Drop for SaveFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Half of a layer is of no use to anybody.
            let _ = self.dir.unlink_at(&self.temp, false);
        }
    }
}

impl fs_overlay::Changes for SaveFile {
    fn gone(&mut self, gone: &Gone) -> kernel::Result<()> {
        layer::gone(&mut self.buf, gone);
        self.wrote()
    }
    fn node(&mut self, node: &Node) -> kernel::Result<()> {
        layer::node(&mut self.buf, node);
        self.wrote()
    }
    fn data(&mut self, offset: u64, bytes: &[u8]) -> kernel::Result<()> {
        layer::data(&mut self.buf, offset, bytes);
        self.wrote()
    }
}

/// A layer that was read; its data are still in the file.
pub struct Saved {
    pub layer: Layer,
    pub file: Arc<dyn HostFile>,
}

impl Saved {
    /// Reads and checks a whole file.
    pub fn read(path: &str) -> Result<Saved, Failure> {
        let fail = |e: &dyn std::fmt::Display| Failure::new(format!("{path}: {e}"));
        let file = LinuxFile::open_path(path.as_bytes(), O_RDONLY).map_err(|e| fail(&e))?;
        if file.stat().map_err(|e| fail(&e))?.mode & S_IFMT != S_IFREG {
            return Err(fail(&"not a file"));
        }
        let mut buf = vec![0; 4 * BATCH];
        // What `buf` holds, and where in the file that begins.
        let (mut start, mut end, mut at) = (0, 0, 0u64);
        let mut index = Index::default();
        let mut began = false;
        loop {
            buf.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            let n = file.pread(at + end as u64, &mut buf[end..]).map_err(|e| fail(&e))?;
            end += n;
            if !began {
                if !buf[..end].starts_with(&layer::MAGIC) {
                    return Err(fail(&layer::Error::NotALayer));
                }
                began = true;
                start = layer::MAGIC.len();
            }
            while let Some((frame, len)) = layer::next_frame(&buf[start..end]).map_err(|e| fail(&e))? {
                index.add(frame, at + start as u64).map_err(|e| fail(&e))?;
                start += len;
            }
            at += start as u64;
            if n == 0 {
                if start != end {
                    return Err(fail(&layer::Error::Truncated));
                }
                break;
            }
        }
        Ok(Saved { layer: index.finish().map_err(|e| fail(&e))?, file })
    }

    /// Bytes of the file; EIO if it became shorter.
    pub fn read_at(&self, at: u64, buf: &mut [u8]) -> hal::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.pread(at + done as u64, &mut buf[done..])? {
                0 => return Err(errno::EIO),
                n => done += n,
            }
        }
        Ok(())
    }
}
