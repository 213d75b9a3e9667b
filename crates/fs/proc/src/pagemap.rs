//! /proc/PID/pagemap: 64 bits for each page of a process's addresses. Where a page lies is shown to nobody.

use std::any::Any;

use abi::{PAGE_SIZE, errno, mm::TASK_SIZE};
use kernel::{
    Result,
    io::Sink,
    task::Task,
    vfs::file::{File, FileOps},
};

use crate::mem::Memory;

/// Length of an entry.
const ENTRY: usize = size_of::<u64>();
/// Entries looked up at once, and told by one call at most.
const CHUNK: u64 = 4096;
const MOST: u64 = 1 << 20;

pub(crate) struct Pagemap(pub(crate) Memory);

impl FileOps for Pagemap {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, _: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        let Some(mm) = self.0.get() else { return Ok(0) };
        if !pos.is_multiple_of(ENTRY as u64) || !dst.remaining().is_multiple_of(ENTRY) {
            return Err(errno::EINVAL);
        }
        let first = pos / ENTRY as u64;
        let wanted = (dst.remaining() / ENTRY) as u64;
        let end = first.saturating_add(wanted.min(MOST)).min(TASK_SIZE / PAGE_SIZE);
        let mut entries = vec![0; wanted.min(CHUNK) as usize];
        let (mut at, mut done) = (first, 0);
        while at < end {
            let piece = &mut entries[..(end - at).min(CHUNK) as usize];
            mm.page_bits(at * PAGE_SIZE, piece);
            // What was looked up while another program came is not shown.
            if self.0.get().is_none() {
                break;
            }
            let raw: Vec<u8> = piece.iter().flat_map(|e| e.to_le_bytes()).collect();
            match dst.put(&raw) {
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
            at += piece.len() as u64;
        }
        Ok(done)
    }
    fn has_no_end(&self) -> bool {
        true
    }
}
