//! Open directories and texts of pseudo filesystems.

use std::{any::Any, sync::Arc};

use abi::{FileType, errno::EISDIR};
use ksync::Mutex;

use super::{Tree, node::Node};
use crate::{
    error::Result,
    io::Sink,
    locks,
    task::Task,
    vfs::{
        file::{DirSink, File, FileOps},
        inode::Inode,
    },
};

/// An open directory.
pub(super) struct Listing<T: Tree> {
    pub(super) node: Arc<Node<T>>,
}

impl<T: Tree> FileOps for Listing<T> {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn can_poll(&self) -> bool {
        false
    }
    fn size(&self) -> Result<u64> {
        Ok(0)
    }
    fn read(&self, _: &File, _: &Task, _: &mut dyn Sink, _: u64) -> Result<usize> {
        Err(EISDIR)
    }
    fn read_dir(&self, _: &File, task: &Task, pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        let fs = self.node.pseudo()?;
        let mut at = pos;
        for (name, next) in [(&b"."[..], 1), (b"..", 2)] {
            if at < next {
                if !sink(name, self.node.ino(), FileType::Directory.d_type(), next) {
                    return Ok(at);
                }
                at = next;
            }
        }
        for entry in fs.tree().entries(&self.node.place, task)? {
            if entry.next > at {
                if !sink(&entry.name, entry.ino, entry.kind.d_type(), entry.next) {
                    return Ok(at);
                }
                at = entry.next;
            }
        }
        Ok(at)
    }
}

/// An open file whose text is made when it is read from the start.
pub struct Text<F> {
    make: F,
    size: u64,
    text: Mutex<Option<Arc<String>>>,
}

impl<F: Fn(&Task) -> Result<String> + Send + Sync + 'static> Text<F> {
    /// `size`: what SEEK_END goes by.
    pub fn new(size: u64, make: F) -> Arc<Text<F>> {
        Arc::new(Text { make, size, text: Mutex::new(locks::LEAF, None) })
    }
}

impl<F: Fn(&Task) -> Result<String> + Send + Sync + 'static> FileOps for Text<F> {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, task: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let kept = self.text.lock().clone().filter(|_| pos != 0);
        let text = match kept {
            Some(t) => t,
            None => {
                let t = Arc::new((self.make)(task)?);
                *self.text.lock() = Some(t.clone());
                t
            }
        };
        let from = usize::try_from(pos).unwrap_or(usize::MAX).min(text.len());
        let rest = &text.as_bytes()[from..];
        if rest.is_empty() { Ok(0) } else { dst.put(&rest[..rest.len().min(dst.remaining())]) }
    }
    fn size(&self) -> Result<u64> {
        Ok(self.size)
    }
    fn can_poll(&self) -> bool {
        true
    }
}
