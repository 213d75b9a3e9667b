//! Output processing (OPOST).

use abi::ioctl::*;

use crate::LineDiscipline;

impl LineDiscipline {
    /// What goes to the wire for bytes that a program wrote.
    pub fn output(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + data.len() / 16);
        for b in data {
            self.put(*b, &mut out);
        }
        out
    }

    /// One byte through output processing.
    pub(crate) fn put(&mut self, b: u8, out: &mut Vec<u8>) {
        if !self.o(OPOST) {
            out.push(b);
            return;
        }
        let utf8 = self.i(IUTF8);
        match b {
            b'\n' => {
                if self.o(ONLCR) {
                    out.extend_from_slice(b"\r\n");
                    self.column.column = 0;
                } else {
                    out.push(b);
                    if self.o(ONLRET) {
                        self.column.column = 0;
                    }
                }
            }
            b'\r' => {
                if self.o(ONOCR) && self.column.column == 0 {
                    return;
                }
                if self.o(OCRNL) {
                    out.push(b'\n');
                    if self.o(ONLRET) {
                        self.column.column = 0;
                    }
                } else {
                    out.push(b);
                    self.column.column = 0;
                }
            }
            b'\t' => {
                let spaces = 8 - self.column.column % 8;
                self.column.column += spaces;
                if self.termios.oflag & TABDLY == TAB3 {
                    out.extend(std::iter::repeat_n(b' ', spaces));
                } else {
                    out.push(b);
                }
            }
            8 => {
                self.column.column = self.column.column.saturating_sub(1);
                out.push(b);
            }
            _ => {
                let b = if self.o(OLCUC) { b.to_ascii_uppercase() } else { b };
                if b >= b' ' && b != 127 && !(utf8 && b & 0xc0 == 0x80) {
                    self.column.column += 1;
                }
                out.push(b);
            }
        }
    }
}
