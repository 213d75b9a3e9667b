//! Writes what the switch carries to a pcap file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use switchproto::pcap;

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
        let mut file = BufWriter::with_capacity(1 << 18, File::create(path)?);
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
