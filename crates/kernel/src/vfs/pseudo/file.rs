//! Open directories and texts of pseudo filesystems.

use std::{any::Any, sync::Arc};

use abi::{
    FileType,
    errno::{EIO, EISDIR},
};
use ksync::Mutex;

use super::{Tree, node::Node};
use crate::{
    error::Result,
    io::{Sink, Source},
    locks,
    task::Task,
    vfs::{
        file::{DirSink, File, FileOps},
        inode::Inode,
        poll::PollEvents,
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

/// Makes the text of a file; the task is who reads.
pub type Make = Box<dyn Fn(&Task) -> Result<Vec<u8>> + Send + Sync>;
/// Takes what is written to a file in one call.
pub type Store = Box<dyn Fn(&Task, &[u8]) -> Result<()> + Send + Sync>;

/// Most bytes of one write.
const WRITE_MAX: usize = 4096;

/// An open file whose text is made when it is read from the start.
pub struct Text {
    make: Make,
    store: Option<Store>,
    size: u64,
    text: Mutex<Option<Arc<Vec<u8>>>>,
}

impl Text {
    /// `size`: what SEEK_END goes by. Without a `store` writing is EIO.
    pub fn new(size: u64, make: Make, store: Option<Store>) -> Arc<Text> {
        Arc::new(Text { make, store, size, text: Mutex::new(locks::LEAF, None) })
    }
}

impl FileOps for Text {
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
        let rest = &text[from..];
        if rest.is_empty() { Ok(0) } else { dst.put(&rest[..rest.len().min(dst.remaining())]) }
    }
    fn write(&self, _: &File, task: &Task, src: &mut dyn Source, _: u64) -> Result<usize> {
        let store = self.store.as_ref().ok_or(EIO)?;
        let mut buf = vec![0; src.remaining().min(WRITE_MAX)];
        let n = src.take(&mut buf)?;
        store(task, &buf[..n])?;
        Ok(n)
    }
    fn size(&self) -> Result<u64> {
        Ok(self.size)
    }
    fn poll(&self, _: &File) -> PollEvents {
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }
    fn can_poll(&self) -> bool {
        true
    }
    fn truncate(&self, _: u64) -> Result<()> {
        Ok(())
    }
}
