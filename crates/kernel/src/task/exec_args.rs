//! The strings a program is started with: argv and envp (execve(2)).

use abi::{
    errno::{E2BIG, EFAULT},
    sched::RLIMIT_STACK,
};
use hal::PAGE_SIZE;

use super::{Task, TaskCx};
use crate::error::Result;

/// Longest single string, its NUL included (MAX_ARG_STRLEN).
const STRING_MAX: usize = 32 * PAGE_SIZE as usize;
/// Room that every program may use, whatever its stack limit.
const ALWAYS: u64 = 32 * PAGE_SIZE;
/// No more than this, whatever the limit: three quarters of the usual stack.
const NEVER_MORE: u64 = 6 << 20;

/// Strings with their NULs, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    pub bytes: Vec<u8>,
    pub count: usize,
}

impl Strings {
    pub fn push(&mut self, s: &[u8]) {
        self.bytes.extend_from_slice(s);
        self.bytes.push(0);
        self.count += 1;
    }

    /// From strings without NULs.
    pub fn of<'a>(list: impl IntoIterator<Item = &'a [u8]>) -> Strings {
        let mut s = Strings::default();
        list.into_iter().for_each(|x| s.push(x));
        s
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|b| *b == 0).take(self.count)
    }

    /// Replaces the first string (if there is one) by `list`.
    pub fn replace_first(&mut self, list: &[&[u8]]) {
        let mut new = Strings::of(list.iter().copied());
        let first = self.bytes.iter().position(|b| *b == 0).map_or(0, |i| i + 1);
        new.bytes.extend_from_slice(&self.bytes[first..]);
        new.count += self.count.saturating_sub(1);
        *self = new;
    }

    /// Bytes they take on the stack, pointers included.
    pub fn size(&self) -> u64 {
        (self.bytes.len() + 8 * self.count) as u64
    }
}

/// Most bytes that argv and envp may take: a quarter of the stack limit, within bounds.
pub fn limit(task: &Task) -> u64 {
    (task.process.rlimit(RLIMIT_STACK as usize) / 4).clamp(ALWAYS, NEVER_MORE)
}

/// Guest memory read by whole pages, of which the last ones are kept: strings mostly follow each other, and their pointers
/// stand somewhere else.
#[derive(Default)]
struct PageReader {
    pieces: [(u64, Vec<u8>); 4],
    /// Which piece was read last.
    last: usize,
}

impl PageReader {
    /// The bytes from `addr` to the end of what was read with it. EFAULT.
    fn at(&mut self, cx: &mut TaskCx, addr: u64) -> Result<&[u8]> {
        let offset = |(start, bytes): &(u64, Vec<u8>)| {
            addr.checked_sub(*start).filter(|&from| from < bytes.len() as u64)
        };
        let i = match self.pieces.iter().position(|p| offset(p).is_some()) {
            Some(i) => i,
            None => {
                let page = addr & !(PAGE_SIZE - 1);
                let (start, bytes) = &self.pieces[self.last];
                // Who reads on will read on.
                let pages = if start + bytes.len() as u64 == page { 4 } else { 1 };
                self.last = (self.last + 1) % self.pieces.len();
                let (start, bytes) = &mut self.pieces[self.last];
                *start = page;
                bytes.resize(pages * PAGE_SIZE as usize, 0);
                let got = cx.copy_in_some(page, bytes);
                bytes.truncate(got);
                self.last
            }
        };
        match offset(&self.pieces[i]) {
            Some(from) => Ok(&self.pieces[i].1[from as usize..]),
            None => Err(EFAULT),
        }
    }

    fn word(&mut self, cx: &mut TaskCx, addr: u64) -> Result<u64> {
        let b = self.at(cx, addr)?;
        match b.first_chunk::<8>() {
            Some(b) => Ok(u64::from_le_bytes(*b)),
            None => cx.read_u64(addr),
        }
    }
}

/// Reads NULL-terminated arrays of strings, argv and envp; a null array has none. Together with `used` bytes they may
/// take `limit`. E2BIG, EFAULT.
pub fn read_strings(cx: &mut TaskCx, arrays: [u64; 2], mut used: u64, limit: u64) -> Result<[Strings; 2]> {
    let mut reader = PageReader::default();
    let args = read_array(cx, arrays[0], &mut reader, &mut used, limit)?;
    Ok([args, read_array(cx, arrays[1], &mut reader, &mut used, limit)?])
}

/// One array.
fn read_array(
    cx: &mut TaskCx,
    array: u64,
    reader: &mut PageReader,
    used: &mut u64,
    limit: u64,
) -> Result<Strings> {
    let mut out = Strings::default();
    if array == 0 {
        return Ok(out);
    }
    let mut at = array;
    loop {
        let p = reader.word(cx, at)?;
        if p == 0 {
            return Ok(out);
        }
        at = at.checked_add(8).ok_or(EFAULT)?;
        let start = out.bytes.len();
        let mut addr = p;
        loop {
            let piece = reader.at(cx, addr)?;
            let end = piece.iter().position(|b| *b == 0);
            let n = end.map_or(piece.len(), |e| e + 1);
            let room = STRING_MAX - (out.bytes.len() - start);
            if n > room || *used + (out.bytes.len() - start + n + 8) as u64 > limit {
                return Err(E2BIG);
            }
            out.bytes.extend_from_slice(&piece[..n]);
            if end.is_some() {
                break;
            }
            addr = addr.checked_add(n as u64).ok_or(EFAULT)?;
        }
        *used += (out.bytes.len() - start + 8) as u64;
        out.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_replace_the_first_argument() {
        let mut a = Strings::of([&b"x.sh"[..], b"1", b""]);
        a.replace_first(&[b"/bin/sh", b"-e", b"./x.sh"]);
        let all: Vec<_> = a.iter().collect();
        assert_eq!(all, [&b"/bin/sh"[..], b"-e", b"./x.sh", b"1", b""]);
        let mut none = Strings::default();
        none.replace_first(&[b"a"]);
        assert_eq!((none.count, none.bytes.as_slice()), (1, &b"a\0"[..]));
        assert_eq!(a.size(), a.bytes.len() as u64 + 40);
    }
}
