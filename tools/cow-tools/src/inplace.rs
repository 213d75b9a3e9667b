//! `uml_moo -d`: merging into the backing file itself.
//!
//! However the merge ends, COW file and backing file together still give the same image: sectors of
//! the COW file cover those it has already copied. What could break is the rule that binds the two, the
//! backing file's modification time, which every write changes. So:
//!
//! 1. The COW header is marked (behind the name, where other readers do not look). From here on this program
//!    accepts the pair whatever the time stamp is.
//! 2. A new time stamp is chosen, and given to the backing file and the header. This parts the backing file from
//!    its *other* COW files, for which it is no longer right.
//! 3. The sectors are copied, and the time stamp is put back now and then.
//! 4. Stopped by a signal or an error: the time stamp is put back and the mark taken away; the pair is as good as before.
//!    Killed: the mark remains, and running the merge again finishes it.
//! 5. Done: the data is made durable, the mark taken away, and the backing file gets a last time stamp
//!    that no COW file has.

use crate::file::HostFile;
use crate::image::{cow_header, device_failure, for_each_piece, open_backing};
use crate::moo::open_cow;
use crate::progress::Progress;
use crate::{Failure, Result, fail};
use cow::{Header, ReadStore, Store, device};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes copied in one go.
const CHUNK: u64 = 1 << 20;
/// Bytes between two restorings of the time stamp.
const STAMP_EVERY: u64 = 16 << 20;
/// What is compared and written as a whole, bytes.
const GRAIN: usize = 512;

/// Merges a COW file into its backing file.
pub fn merge(cow: &Path, backing: Option<&Path>) -> Result<()> {
    // A COW file that cannot be written can still be merged, only without the mark.
    let (file, writable) = match HostFile::open_rw(cow) {
        Ok(file) => (file, true),
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            (open_cow(cow, false)?, false)
        }
        Err(e) => return Err(fail(format!("COW file open: '{}'", cow.display()))(e)),
    };
    file.lock_or_fail(writable)?;
    let header = cow_header(&file)?;
    let backing = open_backing(&header, backing, true)?;
    let identities = (file.identity().ok(), backing.identity().ok());
    if identities.0 == identities.1 {
        return Err(Failure::new(format!("'{}' is its own backing file", cow.display())));
    }
    backing.lock_or_fail(true)?;
    let bitmap = device::read_bitmap(&&file, &header).map_err(device_failure(cow, backing.path()))?;

    let mut pair = Pair::begin(file, backing, header, writable)?;
    match pair.copy(&bitmap) {
        Ok(()) => pair.finish(),
        Err(failure) => {
            let kept = pair.step_back();
            Err(match kept {
                Ok(()) => Failure {
                    text: format!("{}; '{}' can still be used", failure.text, cow.display()),
                    ..failure
                },
                Err(e) => Failure {
                    text: format!(
                        "{}; run the merge of '{}' again ({})",
                        failure.text,
                        cow.display(),
                        e.text
                    ),
                    ..failure
                },
            })
        }
    }
}

/// The two files while they are being merged.
struct Pair {
    cow: HostFile,
    backing: HostFile,
    header: Header,
    /// Whether the header bears the mark.
    marked: bool,
    /// The time stamp the pair has during the merge.
    stamp: i64,
    /// The time stamp other COW files of the backing file may have.
    old_stamp: i64,
}

impl Pair {
    fn begin(cow: HostFile, backing: HostFile, header: Header, writable: bool) -> Result<Pair> {
        let old_stamp = i64::from(header.mtime());
        let mut pair = Pair { cow, backing, header, marked: false, stamp: old_stamp, old_stamp };
        if writable && pair.header.set_merging(true) {
            pair.marked = true;
            pair.write_header()?;
            pair.stamp = unlike(now(), &[old_stamp]);
            pair.header.set_mtime(pair.stamp).map_err(fail("time stamp"))?;
            pair.set_stamp(pair.stamp)?;
            pair.write_header()?;
        }
        Ok(pair)
    }

    fn copy(&self, bitmap: &cow::Bitmap) -> Result<()> {
        let sector = u64::from(self.header.sector_size());
        let progress = Progress::new(bitmap.count() * sector)?;
        let mut new = vec![0; CHUNK as usize];
        let mut old = vec![0; CHUNK as usize];
        let mut unstamped = 0;
        for run in bitmap.set_runs(0..bitmap.len()) {
            let mut at = run.start * sector;
            // The backing file keeps its size, also where that ends within a sector.
            let end = (run.end * sector).min(self.header.size());
            while at < end {
                let len = (end - at).min(CHUNK);
                let (new, old) = (&mut new[..len as usize], &mut old[..len as usize]);
                self.cow
                    .read_at(new, self.header.data_offset() + at)
                    .map_err(fail(format!("'{}'", self.cow.path().display())))?;
                let about = format!("'{}'", self.backing.path().display());
                self.backing.read_at(old, at).map_err(fail(&about))?;
                // What is there already is not written: zeros over a hole leave it a hole.
                let differs = |part: &[u8], from: usize| part != &old[from..from + part.len()];
                for_each_piece(new, at, GRAIN, differs, |part, at| {
                    unstamped += part.len() as u64;
                    self.backing.write_at(part, at)
                })
                .map_err(fail(&about))?;
                if unstamped >= STAMP_EVERY {
                    self.set_stamp(self.stamp)?;
                    unstamped = 0;
                }
                progress.advance(len)?;
                at += len;
            }
        }
        Ok(())
    }

    /// Leaves the pair in a state every reader accepts.
    fn step_back(&mut self) -> Result<()> {
        self.set_stamp(self.stamp)?;
        self.sync_backing()?;
        self.unmark()
    }

    /// Ends a complete merge.
    fn finish(&mut self) -> Result<()> {
        self.sync_backing()?;
        self.set_stamp(self.stamp)?;
        self.unmark()?;
        self.set_stamp(unlike(now(), &[self.stamp, self.old_stamp]))?;
        self.sync_backing()
    }

    fn unmark(&mut self) -> Result<()> {
        if self.marked {
            self.header.set_merging(false);
            self.write_header()?;
        }
        Ok(())
    }

    fn write_header(&self) -> Result<()> {
        self.cow
            .write_at(&self.header.to_bytes(), 0)
            .and_then(|()| self.cow.sync())
            .map_err(fail(format!("writing the header of '{}'", self.cow.path().display())))
    }

    fn set_stamp(&self, stamp: i64) -> Result<()> {
        self.backing
            .set_mtime(stamp)
            .map_err(fail(format!("setting the time of '{}'", self.backing.path().display())))
    }

    fn sync_backing(&self) -> Result<()> {
        self.backing.file().sync_all().map_err(fail(format!("writing '{}'", self.backing.path().display())))
    }
}

/// The time in seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(0)
}

/// The first time from `wish` on that is none of these.
fn unlike(wish: i64, taken: &[i64]) -> i64 {
    (wish..).find(|t| !taken.contains(t)).unwrap_or(wish)
}

#[cfg(test)]
mod tests {
    use super::unlike;

    #[test]
    fn a_time_stamp_is_never_one_in_use() {
        assert_eq!(unlike(10, &[]), 10);
        assert_eq!(unlike(10, &[10]), 11);
        assert_eq!(unlike(10, &[11, 10]), 12);
    }
}
