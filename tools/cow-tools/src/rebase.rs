//! `uml_moo --rebase`: moving a COW file to another copy of its backing file.
//!
//! The copy is verified first: it must have the same bytes wherever the COW file has none of its own. When the
//! old backing file is gone there is nothing to compare with; then UML's own rule decides, the
//! same size and modification time.

use crate::file::{HostFile, absolute, path_bytes};
use crate::image::{cow_header, device_failure, open_backing};
use crate::moo::open_cow;
use crate::progress::Progress;
use crate::{Failure, Result, fail};
use cow::{Bitmap, Header, Mismatch, ReadStore, Store, device};
use std::path::Path;

/// Bytes compared in one go.
const CHUNK: u64 = 1 << 20;

/// Makes the COW file stand on the file `to`. `given` names the present backing file if the header does not.
pub fn rebase(cow: &Path, given: Option<&Path>, to: &Path) -> Result<()> {
    let file = open_cow(cow, true)?;
    file.lock_or_fail(true)?;
    let mut header = cow_header(&file)?;
    if header.merging() {
        return Err(Failure::new(format!(
            "--rebase: an in-place merge of '{}' was broken off; finish it with `uml_moo -d`",
            cow.display()
        )));
    }
    let bitmap = device::read_bitmap(&&file, &header).map_err(device_failure(cow, cow))?;
    let about = format!("--rebase: '{}'", to.display());
    let new = HostFile::open(to).map_err(fail(&about))?;
    new.lock_or_fail(false)?;
    let size = new.len().map_err(fail(&about))?;
    let mtime = new.mtime().map_err(fail(&about))?;
    let verdict = header.check_backing(size, mtime);
    if let Err(mismatch @ Mismatch::Size { .. }) = verdict {
        return Err(Failure::new(format!("{mismatch} \"{}\"", to.display())));
    }
    // Both stay open until the end: if they are one file, closing one ends the lock on it.
    let old = open_backing(&header, given, false);
    match &old {
        Ok(old) => {
            if old.identity().ok() != new.identity().ok() {
                old.lock_or_fail(false)?;
                compare(&header, &bitmap, old, &new)?;
            }
        }
        Err(_) if verdict.is_ok() => {}
        Err(failure) => {
            return Err(Failure::new(format!(
                "--rebase: cannot verify '{}', whose modification time differs: {}",
                to.display(),
                failure.text
            )));
        }
    }
    let name = absolute(to).map_err(fail(&about))?;
    header.set_backing(path_bytes(&name)).map_err(fail(&about))?;
    header.set_mtime(mtime).map_err(fail(&about))?;
    file.write_at(&header.to_bytes(), 0)
        .and_then(|()| file.sync())
        .map_err(fail(format!("writing the header of '{}'", cow.display())))
}

/// Compares two backing files wherever the COW file leaves them visible.
fn compare(header: &Header, bitmap: &Bitmap, old: &HostFile, new: &HostFile) -> Result<()> {
    let sector = u64::from(header.sector_size());
    let progress = Progress::new(header.size())?;
    let (mut a, mut b) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    let mut at = 0;
    while at < header.size() {
        let (changed, sectors) = bitmap.run(at / sector, header.sectors() - at / sector);
        let stop = ((at / sector + sectors) * sector).min(header.size());
        if changed {
            progress.advance(stop - at)?;
            at = stop;
            continue;
        }
        let len = (stop - at).min(CHUNK) as usize;
        for (file, buf) in [(old, &mut a), (new, &mut b)] {
            file.read_at(&mut buf[..len], at).map_err(fail(format!("'{}'", file.path().display())))?;
        }
        if a[..len] != b[..len] {
            let first = a.iter().zip(&b).position(|(x, y)| x != y).unwrap_or(0) as u64;
            return Err(Failure::new(format!(
                "--rebase: '{}' differs from '{}' in sector {}",
                new.path().display(),
                old.path().display(),
                (at + first) / sector
            )));
        }
        progress.advance(len as u64)?;
        at += len as u64;
    }
    Ok(())
}
