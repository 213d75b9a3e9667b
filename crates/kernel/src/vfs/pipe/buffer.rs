//! What is in a pipe: bytes, and where the packets among them begin and end (O_DIRECT, pipe(7)).

use std::{collections::VecDeque, ops::Range};

use super::PIPE_BUF;
use crate::ring::Ring;

/// A ring of bytes with packets in it.
pub(super) struct Buffer {
    ring: Ring,
    /// Bytes taken so far: the place of the first one that is left.
    start: u64,
    /// Places of packets, in order. Bytes between them belong to none.
    packets: VecDeque<Range<u64>>,
}

impl Buffer {
    pub(super) fn new(capacity: usize) -> Buffer {
        Buffer { ring: Ring::new(capacity), start: 0, packets: VecDeque::new() }
    }
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
    pub(super) fn capacity(&self) -> usize {
        self.ring.capacity()
    }
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.ring.set_capacity(capacity);
    }
    /// Bytes that can be pushed now. Each packet takes a page, however short it is.
    pub(super) fn space(&self) -> usize {
        let slack: u64 = self.packets.iter().map(|p| PIPE_BUF as u64 - (p.end - p.start)).sum();
        self.ring.space().saturating_sub(usize::try_from(slack).unwrap_or(usize::MAX))
    }

    /// Appends what fits; how much.
    pub(super) fn push(&mut self, data: &[u8]) -> usize {
        self.ring.push(&data[..data.len().min(self.space())])
    }

    /// Appends one packet of at most [`PIPE_BUF`] bytes; false if there is no room for it.
    pub(super) fn push_packet(&mut self, data: &[u8]) -> bool {
        if self.space() < PIPE_BUF {
            return false;
        }
        let at = self.start + self.ring.len() as u64;
        let n = self.ring.push(data);
        self.packets.push_back(at..at + n as u64);
        true
    }

    /// Takes bytes to the end of the first packet, or to that of `out`. A packet that is begun goes whole: what does not
    /// fit is lost. How many bytes, and whether a packet ended them.
    pub(super) fn pop(&mut self, out: &mut [u8]) -> (usize, bool) {
        let Some(first) = self.packets.front() else {
            let n = self.ring.pop(out);
            self.start += n as u64;
            return (n, false);
        };
        let before = usize::try_from(first.start.saturating_sub(self.start)).unwrap_or(usize::MAX);
        if before >= out.len() {
            let n = self.ring.pop(out);
            self.start += n as u64;
            return (n, false);
        }
        let end = first.end;
        let to_end = usize::try_from(end - self.start).unwrap_or(usize::MAX);
        let want = out.len().min(to_end);
        let n = self.ring.pop(&mut out[..want]);
        let mut lost = [0; PIPE_BUF];
        self.ring.pop(&mut lost[..to_end.saturating_sub(n).min(PIPE_BUF)]);
        self.start = end;
        self.packets.pop_front();
        (n, true)
    }

    /// Takes bytes whatever packets they belong to (splice(2)); a packet that is cut stays one.
    pub(super) fn pop_bytes(&mut self, out: &mut [u8]) -> usize {
        let n = self.ring.pop(out);
        self.start += n as u64;
        while self.packets.front().is_some_and(|p| p.end <= self.start) {
            self.packets.pop_front();
        }
        if let Some(p) = self.packets.front_mut() {
            p.start = p.start.max(self.start);
        }
        n
    }

    /// Puts bytes back in front; a packet if they were one.
    pub(super) fn unpop(&mut self, data: &[u8], packet: bool) {
        if self.start < data.len() as u64 {
            // Places are only compared with each other: begin them later.
            let by = data.len() as u64;
            self.start += by;
            for p in &mut self.packets {
                *p = p.start + by..p.end + by;
            }
        }
        self.ring.unpop(data);
        let end = self.start;
        self.start -= data.len() as u64;
        if packet {
            self.packets.push_front(self.start..end);
        }
    }

    pub(super) fn peek(&self, max: usize) -> Vec<u8> {
        self.ring.peek(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(b: &mut Buffer, room: usize) -> (Vec<u8>, bool) {
        let mut out = vec![0; room];
        let (n, ended) = b.pop(&mut out);
        out.truncate(n);
        (out, ended)
    }

    #[test]
    fn packets_end_reads_and_lose_their_rest() {
        let mut b = Buffer::new(65536);
        assert!(b.push_packet(b"one") && b.push_packet(b"three"));
        assert_eq!(b.push(b"plain"), 5);
        assert!(b.push_packet(b"last"));
        assert_eq!(take(&mut b, 10), (b"one".to_vec(), true));
        assert_eq!(take(&mut b, 2), (b"th".to_vec(), true));
        assert_eq!(take(&mut b, 3), (b"pla".to_vec(), false));
        assert_eq!(take(&mut b, 10), (b"inlast".to_vec(), true));
        assert!(b.is_empty() && b.packets.is_empty());
        assert_eq!(b.space(), 65536);
    }

    #[test]
    fn a_packet_takes_a_page() {
        let mut b = Buffer::new(2 * PIPE_BUF);
        assert!(b.push_packet(b"a") && b.push_packet(b"b") && !b.push_packet(b"c"));
        assert_eq!((b.space(), b.push(b"x")), (0, 0));
        take(&mut b, 1);
        assert!(b.push_packet(b"c"));
    }

    #[test]
    fn what_comes_back_is_a_packet_again() {
        let mut b = Buffer::new(65536);
        b.push_packet(b"abc");
        b.push_packet(b"d");
        let (p, _) = take(&mut b, 10);
        b.unpop(&p, true);
        assert_eq!(take(&mut b, 10), (b"abc".to_vec(), true));
        let mut two = [0; 1];
        assert_eq!(b.pop_bytes(&mut two), 1);
        b.unpop(b"z", false);
        b.unpop(b"yy", false);
        assert_eq!(take(&mut b, 10), (b"yyz".to_vec(), false));
    }
}
