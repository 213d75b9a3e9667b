//! Open files whose text is made when they are read from the start.

use std::{any::Any, sync::Arc};

use abi::errno;
use kernel::{
    Result,
    io::{Sink, Source},
    locks,
    task::Task,
    vfs::{
        file::{File, FileOps},
        poll::PollEvents,
    },
};
use ksync::Mutex;

/// Makes the text. `task` is who reads.
pub(crate) type Make = Box<dyn Fn(&Task) -> Result<Vec<u8>> + Send + Sync>;
/// Takes what is written in one call.
pub(crate) type Store = Box<dyn Fn(&Task, &[u8]) -> Result<()> + Send + Sync>;

/// Most bytes of one write.
const WRITE_MAX: usize = 4096;

pub(crate) struct TextFile {
    make: Make,
    store: Option<Store>,
    text: Mutex<Option<Arc<Vec<u8>>>>,
}

impl TextFile {
    pub(crate) fn new(make: Make, store: Option<Store>) -> Arc<TextFile> {
        Arc::new(TextFile { make, store, text: Mutex::new(locks::LEAF, None) })
    }
}

impl FileOps for TextFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, task: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let cached = self.text.lock().clone();
        let text = match cached {
            Some(t) if pos != 0 => t,
            _ => {
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
        let store = self.store.as_ref().ok_or(errno::EIO)?;
        let mut buf = vec![0; src.remaining().min(WRITE_MAX)];
        let n = src.take(&mut buf)?;
        store(task, &buf[..n])?;
        Ok(n)
    }
    fn size(&self) -> Result<u64> {
        Ok(0)
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

/// A number written to a file, as the shell writes it.
pub(crate) fn number(data: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(data).map_err(|_| errno::EINVAL)?.trim();
    let (neg, digits) = match text.strip_prefix('-') {
        Some(d) => (true, d),
        None => (false, text),
    };
    let v = match digits.strip_prefix("0x") {
        Some(h) => i64::from_str_radix(h, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    v.map(|v: i64| if neg { -v } else { v }).map_err(|_| errno::EINVAL)
}
