//! Writes what the switch carries to a pcap file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use switchproto::pcap;

/// Opens the file, or the pipe of somebody who reads along. Nobody is waited for: neither at the other end of a pipe
/// (open(2)) nor for one who reads too slowly.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    File::options().write(true).create(true).truncate(true).custom_flags(flags).open(path)
}

/// An open capture file.
pub struct Capture {
    file: BufWriter<File>,
}

impl Capture {
    /// Makes (or empties) the file and writes its head.
    ///
    /// # Errors
    /// Of open(2) and write(2).
    pub fn create(path: &Path) -> io::Result<Capture> {
        let mut file = BufWriter::with_capacity(1 << 18, open(path)?);
        file.write_all(&pcap::file_header())?;
        file.flush()?;
        Ok(Capture { file })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// Of write(2); the file is then of no further use.
    pub fn record(&mut self, frame: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.file.write_all(&pcap::record_header(now, frame.len()))?;
        self.file.write_all(&frame[..frame.len().min(pcap::SNAP_LEN as usize)])
    }

    /// Writes out what is held back.
    ///
    /// # Errors
    /// Of write(2).
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
