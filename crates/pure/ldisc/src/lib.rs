//! The terminal line discipline (termios(3), ioctl_tty(2)): what happens between a terminal's wire and its readers.
//!
//! Pure: bytes come in, and what is to be echoed, which signals are to be sent and what can be read comes out. Locks,
//! waiting and the wire itself are the kernel's.
#![forbid(unsafe_code)]

mod input;
mod output;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use abi::{Termios, ioctl::*};

/// Bytes kept for readers; more are dropped with a bell (IMAXBEL).
pub const INPUT_MAX: usize = 4096;

/// A signal that input asks for, to the foreground group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtySignal {
    Interrupt,
    Quit,
    Suspend,
}

/// What a batch of input did besides being queued.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// To be written to the terminal (already through output processing).
    pub echo: Vec<u8>,
    pub signals: Vec<TtySignal>,
    /// Output was stopped (^S) or started again (^Q).
    pub flow: Option<bool>,
    /// Queued output is to be thrown away (a signal without NOFLSH).
    pub flush_output: bool,
}

/// Where output stands.
#[derive(Debug, Default, Clone, Copy)]
struct Column {
    column: usize,
}

/// The state of one terminal's discipline.
#[derive(Debug)]
pub struct LineDiscipline {
    termios: Termios,
    /// Bytes a reader can have. In canonical mode whole lines, `lines` of them.
    ready: VecDeque<Item>,
    lines: usize,
    /// The line being edited (canonical mode).
    edit: Vec<u8>,
    /// Next byte is taken literally (VLNEXT).
    literal: bool,
    /// Output is stopped by ^S.
    stopped: bool,
    /// Where the cursor is, for tabs and their erasure.
    column: Column,
    /// Column where the edited line began.
    edit_column: usize,
}

/// One byte for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Byte(u8),
    /// Last byte of a line.
    End(u8),
    /// End of file or of a line without a byte of its own (VEOF).
    Eof,
}

impl Default for LineDiscipline {
    fn default() -> Self {
        LineDiscipline::new(Termios::SANE)
    }
}

impl LineDiscipline {
    pub fn new(termios: Termios) -> LineDiscipline {
        LineDiscipline {
            termios,
            ready: VecDeque::new(),
            lines: 0,
            edit: Vec::new(),
            literal: false,
            stopped: false,
            column: Column::default(),
            edit_column: 0,
        }
    }

    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// New settings. Switching canonical mode off makes the edited line readable; switching it on leaves what was
    /// readable as it is, a partial line at its end.
    pub fn set_termios(&mut self, t: Termios) {
        let was = self.canonical();
        self.termios = t;
        match (was, self.canonical()) {
            (true, false) => {
                let edit = std::mem::take(&mut self.edit);
                self.ready.retain(|i| *i != Item::Eof);
                self.ready.extend(edit.into_iter().map(Item::Byte));
                for i in &mut self.ready {
                    if let Item::End(b) = *i {
                        *i = Item::Byte(b);
                    }
                }
                self.lines = 0;
            }
            (false, true) => {
                // As Linux: everything typed before becomes one readable piece.
                if let Some(last) = self.ready.back_mut() {
                    if let Item::Byte(b) = *last {
                        *last = Item::End(b);
                    }
                    self.lines = 1;
                }
                self.edit_column = self.column.column;
            }
            _ => {}
        }
        if self.termios.iflag & IXON == 0 {
            self.stopped = false;
        }
    }

    fn l(&self, flag: u32) -> bool {
        self.termios.lflag & flag != 0
    }
    fn i(&self, flag: u32) -> bool {
        self.termios.iflag & flag != 0
    }
    fn o(&self, flag: u32) -> bool {
        self.termios.oflag & flag != 0
    }
    fn canonical(&self) -> bool {
        self.l(ICANON)
    }
    /// True if byte `b` is the control character at `index` (which is not disabled).
    fn is_cc(&self, b: u8, index: usize) -> bool {
        b != 0 && self.termios.cc[index] == b
    }

    /// Output is stopped by ^S (or `stop`).
    pub fn stopped(&self) -> bool {
        self.stopped
    }
    /// TCXONC: stops or starts output.
    pub fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Bytes that a read could return now (FIONREAD). In canonical mode only whole lines count.
    pub fn available(&self) -> usize {
        if self.canonical() && self.lines == 0 {
            return 0;
        }
        self.ready.iter().filter(|i| **i != Item::Eof).count()
    }

    /// True if a read would not block: a line (or end of file) in canonical mode, VMIN bytes otherwise.
    pub fn readable(&self) -> bool {
        if self.canonical() {
            self.lines > 0
        } else {
            let min = if self.termios.cc[VTIME] == 0 { usize::from(self.termios.cc[VMIN]).max(1) } else { 1 };
            self.ready.len() >= min.min(INPUT_MAX / 2)
        }
    }

    /// True if a reader is to look: it may wait for VMIN bytes and have some of them already.
    pub fn has_news(&self) -> bool {
        self.readable() || self.available() > 0
    }

    /// `(VMIN, VTIME)` of non-canonical mode; `None` in canonical mode.
    pub fn min_time(&self) -> Option<(u8, u8)> {
        if self.canonical() { None } else { Some((self.termios.cc[VMIN], self.termios.cc[VTIME])) }
    }

    /// Takes up to `max` bytes. In canonical mode at most one line, `None` if there is none (an empty result then is end
    /// of file); otherwise whatever is there.
    pub fn read(&mut self, max: usize) -> Option<Vec<u8>> {
        if self.canonical() && self.lines == 0 {
            return None;
        }
        let mut out = Vec::new();
        while out.len() < max {
            match self.ready.front() {
                None => break,
                Some(Item::Byte(b)) => {
                    out.push(*b);
                    self.ready.pop_front();
                }
                Some(Item::End(b)) => {
                    out.push(*b);
                    self.ready.pop_front();
                    self.lines = self.lines.saturating_sub(1);
                    return Some(out);
                }
                Some(Item::Eof) => {
                    self.ready.pop_front();
                    self.lines = self.lines.saturating_sub(1);
                    return Some(out);
                }
            }
        }
        // A line cut exactly before its VEOF mark: the mark goes with it, or the next read would see end of file.
        if self.canonical() && !out.is_empty() && self.ready.front() == Some(&Item::Eof) {
            self.ready.pop_front();
            self.lines = self.lines.saturating_sub(1);
        }
        Some(out)
    }

    /// Puts bytes back that could not be delivered.
    pub fn unread(&mut self, bytes: &[u8]) {
        let ends_line = bytes.last() == Some(&b'\n') && self.canonical();
        for (k, b) in bytes.iter().enumerate().rev() {
            let last = ends_line && k == bytes.len() - 1;
            self.ready.push_front(if last { Item::End(*b) } else { Item::Byte(*b) });
        }
        if ends_line {
            self.lines += 1;
        }
    }

    /// TCIFLUSH: forgets all input.
    pub fn flush_input(&mut self) {
        self.ready.clear();
        self.edit.clear();
        self.lines = 0;
        self.literal = false;
    }

    /// Room for more input: a reader must take some first when false (for masters that wait).
    pub fn has_room(&self) -> bool {
        self.ready.len() + self.edit.len() < INPUT_MAX
    }
}
