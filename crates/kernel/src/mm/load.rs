//! The mappings of a program, made in one step (exec).

use std::sync::Arc;

use abi::errno::{ENODEV, ENOMEM};
use hal::Prot;

use super::{MapSource, Mapped, Mm, Source, Vma, VmaFlags};
use crate::{error::Result, vfs::file::File};

/// A file as programs are mapped from it.
pub fn mapped_program(file: &Arc<File>) -> Result<Arc<Mapped>> {
    let source = match file.ops.mappable().ok_or(ENODEV)?.map_source(false)? {
        MapSource::Host(f) => Source::Host(f),
        MapSource::Cache(c) => Source::Cache(c),
        MapSource::Zero => return Err(ENODEV),
    };
    Ok(Arc::new(Mapped { file: Some(file.clone()), source, _writer: None, _stores: None }))
}

const RWX: Prot = Prot { read: true, write: true, exec: true };

/// A private mapping of `[start, end)`: of an object from `offset`, or of zeros.
pub fn private_vma(start: u64, end: u64, prot: Prot, object: Option<(&Arc<Mapped>, u64)>) -> Vma {
    Vma {
        start,
        end,
        prot,
        max: RWX,
        flags: if prot.write { VmaFlags::ACCOUNT } else { VmaFlags::empty() },
        offset: object.map_or(0, |o| o.1),
        object: object.map(|o| o.0.clone()),
        user: None,
    }
}

impl Mm {
    /// Maps all of `vmas`, which lie apart in an empty space. ENOMEM if they do not fit.
    pub fn load(&self, vmas: Vec<Vma>) -> Result<()> {
        let (low, high) = self.range();
        let mut i = self.lock();
        let mut ops = Vec::new();
        let mut result = Ok(());
        let mut rest = vmas.into_iter();
        for v in rest.by_ref() {
            if v.start < low || v.end > high || v.start >= v.end || i.vmas.overlaps(v.start, v.end) {
                result = Err(ENOMEM);
                break;
            }
            self.expose_program(&mut i, &v);
            result = self.backing_ops(&mut i, &v, v.start, v.end, &mut ops);
            i.vmas.insert(v);
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            result = self.apply(&ops, false);
        }
        self.recount(&mut i);
        drop(i);
        drop(rest);
        result
    }

    /// The highest free place below `high` for `len` bytes, aligned.
    pub fn free_below(&self, len: u64, high: u64, align: u64) -> Result<u64> {
        let low = self.range().0;
        self.lock().vmas.gap_down(len, low, high.min(self.range().1), align).ok_or(ENOMEM)
    }
}
