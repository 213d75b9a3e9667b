//! Input processing: translation, signals, editing, echo.

use abi::ioctl::*;

use crate::{Effects, INPUT_MAX, Item, LineDiscipline, TtySignal};

impl LineDiscipline {
    /// Bytes that came from the terminal (or a pty's master).
    pub fn input(&mut self, data: &[u8]) -> Effects {
        let mut fx = Effects::default();
        for b in data {
            self.input_byte(*b, &mut fx);
        }
        fx
    }

    /// Bytes of `data` that [`LineDiscipline::input`] can take without dropping any. Editing characters always fit.
    pub fn room_for(&self, data: &[u8]) -> usize {
        let room = INPUT_MAX.saturating_sub(self.ready.len() + self.edit.len());
        if self.canonical() && self.lines == 0 {
            // A full edited line must be able to end or be erased: bytes beyond are dropped with a bell instead.
            return data.len();
        }
        data.len().min(room)
    }

    /// A break condition.
    pub fn input_break(&mut self) -> Effects {
        let mut fx = Effects::default();
        if !self.i(IGNBRK) {
            if self.i(BRKINT) {
                self.signal(TtySignal::Interrupt, None, &mut fx);
            } else {
                self.queue(0, &mut fx);
            }
        }
        fx
    }

    fn input_byte(&mut self, mut b: u8, fx: &mut Effects) {
        if self.i(ISTRIP) {
            b &= 0x7f;
        }
        if self.literal {
            self.literal = false;
            self.accept(b, fx);
            return;
        }
        if self.i(IUCLC) && self.l(IEXTEN) {
            b = b.to_ascii_lowercase();
        }
        if self.i(IXON) {
            if self.is_cc(b, VSTOP) && !(self.stopped && self.termios.cc[VSTOP] == self.termios.cc[VSTART]) {
                self.stopped = true;
                fx.flow = Some(true);
                return;
            }
            if self.is_cc(b, VSTART) {
                self.stopped = false;
                fx.flow = Some(false);
                return;
            }
            if self.stopped && self.i(IXANY) {
                self.stopped = false;
                fx.flow = Some(false);
            }
        }
        if self.l(ISIG) {
            let signal = if self.is_cc(b, VINTR) {
                Some(TtySignal::Interrupt)
            } else if self.is_cc(b, VQUIT) {
                Some(TtySignal::Quit)
            } else if self.is_cc(b, VSUSP) {
                Some(TtySignal::Suspend)
            } else {
                None
            };
            if let Some(s) = signal {
                self.signal(s, Some(b), fx);
                return;
            }
        }
        match b {
            b'\r' if self.i(IGNCR) => return,
            b'\r' if self.i(ICRNL) => b = b'\n',
            b'\n' if self.i(INLCR) => b = b'\r',
            _ => {}
        }
        if !self.canonical() {
            self.accept(b, fx);
            return;
        }
        if self.l(IEXTEN) && self.is_cc(b, VLNEXT) {
            self.literal = true;
            if self.l(ECHO) && self.l(ECHOCTL) {
                // Shown until the next byte overwrites it.
                fx.echo.extend_from_slice(b"^\x08");
            }
            return;
        }
        if self.is_cc(b, VERASE) {
            self.erase_char(fx);
        } else if self.l(IEXTEN) && self.is_cc(b, VWERASE) {
            self.erase_word(fx);
        } else if self.is_cc(b, VKILL) {
            self.kill_line(b, fx);
        } else if self.l(IEXTEN) && self.is_cc(b, VREPRINT) {
            self.reprint(b, fx);
        } else if self.is_cc(b, VEOF) {
            self.end_line(Item::Eof);
        } else if b == b'\n' {
            if self.l(ECHO) || self.l(ECHONL) {
                self.echo_raw(b'\n', fx);
            }
            self.end_line(Item::End(b));
        } else if self.is_cc(b, VEOL) || (self.l(IEXTEN) && self.is_cc(b, VEOL2)) {
            if self.l(ECHO) {
                self.echo(b, fx);
            }
            self.end_line(Item::End(b));
        } else {
            self.accept(b, fx);
        }
    }

    fn signal(&mut self, s: TtySignal, b: Option<u8>, fx: &mut Effects) {
        if !self.l(NOFLSH) {
            self.flush_input();
            fx.flush_output = true;
        }
        if self.stopped {
            self.stopped = false;
            fx.flow = Some(false);
        }
        if let Some(b) = b
            && self.l(ECHO)
        {
            self.echo(b, fx);
        }
        fx.signals.push(s);
    }

    /// An ordinary byte.
    fn accept(&mut self, b: u8, fx: &mut Effects) {
        if self.ready.len() + self.edit.len() >= INPUT_MAX - 1 {
            if self.i(IMAXBEL) {
                fx.echo.push(7);
            }
            return;
        }
        if self.l(ECHO) {
            if self.edit.is_empty() {
                self.edit_column = self.column.column;
            }
            self.echo(b, fx);
        }
        self.queue(b, fx);
    }

    fn queue(&mut self, b: u8, _fx: &mut Effects) {
        if self.canonical() {
            self.edit.push(b);
        } else {
            if b == 0xff && self.i(PARMRK) && !self.i(ISTRIP) {
                self.ready.push_back(Item::Byte(0xff));
            }
            self.ready.push_back(Item::Byte(b));
        }
    }

    fn end_line(&mut self, end: Item) {
        self.ready.extend(self.edit.drain(..).map(Item::Byte));
        self.ready.push_back(end);
        self.lines += 1;
    }

    /// Echoes a byte, control characters as `^X` with ECHOCTL.
    fn echo(&mut self, b: u8, fx: &mut Effects) {
        if self.l(ECHOCTL) && is_control(b) && b != b'\t' && b != b'\n' {
            self.echo_raw(b'^', fx);
            self.echo_raw(b ^ 0x40, fx);
        } else {
            self.echo_raw(b, fx);
        }
    }

    fn echo_raw(&mut self, b: u8, fx: &mut Effects) {
        let mut out = std::mem::take(&mut fx.echo);
        self.put(b, &mut out);
        fx.echo = out;
    }

    /// Bytes of the last character of the edited line (several with IUTF8).
    fn last_char_len(&self) -> usize {
        if !self.i(IUTF8) {
            return usize::from(!self.edit.is_empty());
        }
        let tail = self.edit.iter().rev().take_while(|b| **b & 0xc0 == 0x80).count();
        (tail + 1).min(self.edit.len())
    }

    fn erase_char(&mut self, fx: &mut Effects) {
        let n = self.last_char_len();
        if n == 0 {
            return;
        }
        let at = self.edit.len() - n;
        let first = self.edit[at];
        self.edit.truncate(at);
        if !self.l(ECHO) {
            return;
        }
        if !self.l(ECHOE) {
            self.echo(self.termios.cc[VERASE], fx);
        } else if first == b'\t' {
            let to = self.width_of_edit();
            while self.column.column > to {
                fx.echo.push(8);
                self.column.column -= 1;
            }
        } else {
            let cells = if is_control(first) { if self.l(ECHOCTL) { 2 } else { 0 } } else { 1 };
            for _ in 0..cells {
                fx.echo.extend_from_slice(b"\x08 \x08");
                self.column.column = self.column.column.saturating_sub(1);
            }
        }
    }

    /// Column after the edited line as it is now.
    fn width_of_edit(&self) -> usize {
        let mut col = self.edit_column;
        for b in &self.edit {
            match *b {
                b'\t' => col += 8 - col % 8,
                b if is_control(b) => col += if self.l(ECHOCTL) { 2 } else { 0 },
                b if self.i(IUTF8) && b & 0xc0 == 0x80 => {}
                _ => col += 1,
            }
        }
        col
    }

    fn erase_word(&mut self, fx: &mut Effects) {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
        let mut seen = false;
        while let Some(b) = self.edit.last().copied() {
            if is_word(b) {
                seen = true;
            } else if seen {
                break;
            }
            self.erase_char(fx);
        }
    }

    fn kill_line(&mut self, b: u8, fx: &mut Effects) {
        if self.l(ECHO) && self.l(ECHOK) && self.l(ECHOKE) && self.l(ECHOE) {
            while !self.edit.is_empty() {
                self.erase_char(fx);
            }
            return;
        }
        self.edit.clear();
        if self.l(ECHO) {
            self.echo(b, fx);
            if self.l(ECHOK) {
                self.echo_raw(b'\n', fx);
            }
        }
    }

    fn reprint(&mut self, b: u8, fx: &mut Effects) {
        if !self.l(ECHO) {
            return;
        }
        self.echo(b, fx);
        self.echo_raw(b'\n', fx);
        self.edit_column = self.column.column;
        for b in self.edit.clone() {
            self.echo(b, fx);
        }
    }
}

fn is_control(b: u8) -> bool {
    b < b' ' || b == 127
}
