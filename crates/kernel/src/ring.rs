//! A byte ring that grows to its capacity only as it is used.

/// FIFO of bytes with a bound.
pub struct Ring {
    buf: Vec<u8>,
    head: usize,
    len: usize,
    capacity: usize,
}

/// First allocation.
const START: usize = 4096;

impl Ring {
    /// An empty ring that holds at most `capacity` bytes.
    pub fn new(capacity: usize) -> Ring {
        Ring { buf: Vec::new(), head: 0, len: 0, capacity }
    }
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    pub fn capacity(&self) -> usize {
        self.capacity
    }
    /// Bytes that can be pushed now.
    pub fn space(&self) -> usize {
        self.capacity.saturating_sub(self.len)
    }
    /// Changes the bound; what is buffered stays.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    fn resize(&mut self, size: usize) {
        let mut new = vec![0; size];
        let n = self.copy_out(&mut new);
        debug_assert_eq!(n, self.len);
        self.buf = new;
        self.head = 0;
    }

    fn copy_out(&self, out: &mut [u8]) -> usize {
        let n = out.len().min(self.len);
        let first = n.min(self.buf.len() - self.head);
        out[..first].copy_from_slice(&self.buf[self.head..self.head + first]);
        out[first..n].copy_from_slice(&self.buf[..n - first]);
        n
    }

    /// Appends what fits; returns how much.
    pub fn push(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.space());
        if self.len + n > self.buf.len() {
            self.resize((self.len + n).max(START).next_power_of_two());
        }
        let size = self.buf.len();
        if n == 0 {
            return 0;
        }
        let at = (self.head + self.len) % size;
        let first = n.min(size - at);
        self.buf[at..at + first].copy_from_slice(&data[..first]);
        self.buf[..n - first].copy_from_slice(&data[first..n]);
        self.len += n;
        n
    }

    /// Takes up to `out.len()` bytes.
    pub fn pop(&mut self, out: &mut [u8]) -> usize {
        if self.len == 0 {
            return 0;
        }
        let n = self.copy_out(out);
        self.head = (self.head + n) % self.buf.len();
        self.len -= n;
        if self.len == 0 {
            self.head = 0;
            if self.buf.len() > START * 4 {
                self.buf = Vec::new();
            }
        }
        n
    }

    /// Puts popped bytes back in front, over the bound if need be.
    pub fn unpop(&mut self, data: &[u8]) {
        let mut all = data.to_vec();
        all.extend(self.peek(self.len));
        self.len = all.len();
        self.head = 0;
        self.buf = all;
    }

    /// A copy of the first bytes.
    pub fn peek(&self, max: usize) -> Vec<u8> {
        let mut out = vec![0; max.min(self.len)];
        if !out.is_empty() {
            self.copy_out(&mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn behaves_as_a_queue() {
        let mut ring = Ring::new(10_000);
        let mut model = VecDeque::new();
        let mut x = 1u32;
        for i in 0..20_000u32 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (x >> 16) as usize % 700;
            if x & 0x8000 != 0 {
                let data: Vec<u8> = (0..n).map(|k| (k as u32 + i) as u8).collect();
                let took = ring.push(&data);
                assert_eq!(took, n.min(10_000 - model.len()));
                model.extend(&data[..took]);
            } else {
                let mut out = vec![0; n];
                let got = ring.pop(&mut out);
                assert_eq!(got, n.min(model.len()));
                let want: Vec<u8> = model.drain(..got).collect();
                assert_eq!(out[..got], want);
                if got > 3 && x & 0x100 != 0 {
                    ring.unpop(&want[got - 3..]);
                    for b in want[got - 3..].iter().rev() {
                        model.push_front(*b);
                    }
                }
            }
            assert_eq!(ring.len(), model.len());
        }
    }
}
