//! A byte stream whose other end is the test.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
};

use super::lock;
use crate::{HostStat, Interest, Ready, Result, Stream, Watch, WinSize, errno};

type Wake = Box<dyn Fn() + Send + Sync>;
type Resized = Box<dyn Fn(WinSize) + Send + Sync>;

#[derive(Default)]
struct State {
    input: VecDeque<u8>,
    output: Vec<u8>,
    eof: bool,
    /// Bytes that `write` still takes; `None` = any number.
    room: Option<usize>,
    terminal: bool,
    raw: bool,
    size: Option<WinSize>,
    wakers: Vec<(u64, Arc<Wake>)>,
    next_waker: u64,
}

/// A stream held in memory.
#[derive(Default)]
pub struct MockStream {
    state: Mutex<State>,
    resized: Mutex<Vec<Resized>>,
    me: Weak<MockStream>,
}

struct MockWatch {
    stream: Weak<MockStream>,
    id: u64,
}

impl Watch for MockWatch {}

impl Drop for MockWatch {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.upgrade() {
            lock(&stream.state).wakers.retain(|(id, _)| *id != self.id);
        }
    }
}

impl MockStream {
    /// An empty stream that is no terminal.
    pub fn new() -> Arc<MockStream> {
        Arc::new_cyclic(|me| MockStream { me: me.clone(), ..MockStream::default() })
    }

    /// Makes it a terminal of that size.
    pub fn make_terminal(&self, rows: u16, cols: u16) {
        let mut s = lock(&self.state);
        s.terminal = true;
        s.size = Some(WinSize { rows, cols, ..WinSize::default() });
    }

    /// Gives the machine input.
    pub fn feed(&self, bytes: &[u8]) {
        lock(&self.state).input.extend(bytes);
        self.wake();
    }

    /// Ends the input.
    pub fn close_input(&self) {
        lock(&self.state).eof = true;
        self.wake();
    }

    /// Limits how many further bytes are taken before EAGAIN; `None` lifts the limit.
    pub fn set_room(&self, room: Option<usize>) {
        lock(&self.state).room = room;
        self.wake();
    }

    /// Takes what the machine wrote.
    pub fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.state).output)
    }

    /// True while the machine has it in raw mode.
    pub fn is_raw(&self) -> bool {
        lock(&self.state).raw
    }

    /// Changes the terminal's size.
    pub fn resize(&self, size: WinSize) {
        lock(&self.state).size = Some(size);
        for f in lock(&self.resized).iter() {
            f(size);
        }
    }

    fn wake(&self) {
        let wakers: Vec<_> = lock(&self.state).wakers.iter().map(|(_, w)| w.clone()).collect();
        for w in wakers {
            w();
        }
    }
}

impl Stream for MockStream {
    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        let mut s = lock(&self.state);
        if s.input.is_empty() {
            return if s.eof { Ok(0) } else { Err(errno::EAGAIN) };
        }
        let n = buf.len().min(s.input.len());
        for (slot, b) in buf.iter_mut().zip(s.input.drain(..n)) {
            *slot = b;
        }
        Ok(n)
    }
    fn write(&self, buf: &[u8]) -> Result<usize> {
        let mut s = lock(&self.state);
        let n = buf.len().min(s.room.unwrap_or(usize::MAX));
        if n == 0 && !buf.is_empty() {
            return Err(errno::EAGAIN);
        }
        s.room = s.room.map(|r| r - n);
        s.output.extend_from_slice(&buf[..n]);
        Ok(n)
    }
    fn ready(&self) -> Ready {
        let s = lock(&self.state);
        Ready { read: s.eof || !s.input.is_empty(), write: s.room != Some(0), hangup: s.eof, error: false }
    }
    /// Calls `wake` at once too if the stream is already ready.
    fn watch(&self, interest: Interest, wake: Wake) -> Result<Box<dyn Watch>> {
        let wake = Arc::new(wake);
        let id = {
            let mut s = lock(&self.state);
            s.next_waker += 1;
            let id = s.next_waker;
            s.wakers.push((id, wake.clone()));
            id
        };
        let ready = self.ready();
        if (interest.read && ready.read) || (interest.write && ready.write) {
            wake();
        }
        Ok(Box::new(MockWatch { stream: self.me.clone(), id }))
    }
    fn is_terminal(&self) -> bool {
        lock(&self.state).terminal
    }
    fn set_raw(&self) -> Result<()> {
        let mut s = lock(&self.state);
        if !s.terminal {
            return Err(errno::ENOTTY);
        }
        s.raw = true;
        Ok(())
    }
    fn restore(&self) {
        lock(&self.state).raw = false;
    }
    fn win_size(&self) -> Option<WinSize> {
        lock(&self.state).size
    }
    fn on_resize(&self, f: Resized) {
        lock(&self.resized).push(f);
    }
    fn is_regular(&self) -> bool {
        false
    }
    fn access(&self) -> u32 {
        2
    }
    fn stat(&self) -> Result<HostStat> {
        let kind = if self.is_terminal() { 0o020_620 } else { 0o010_600 };
        Ok(HostStat { mode: kind, nlink: 1, blksize: 4096, ..HostStat::default() })
    }
    fn lseek(&self, _offset: i64, _whence: u32) -> Result<u64> {
        Err(errno::ESPIPE)
    }
}
