//! Arguments of a system call, narrowed as Linux narrows them.

/// The six argument registers.
#[derive(Clone, Copy, Debug)]
pub struct Args(pub [u64; 6]);

impl Args {
    /// Argument `i` as an unsigned word, address or length.
    #[inline]
    pub fn u64(&self, i: usize) -> u64 {
        self.0[i]
    }
    /// Low 32 bits, unsigned: flags and modes.
    #[inline]
    pub fn u32(&self, i: usize) -> u32 {
        (self.0[i] & 0xffff_ffff) as u32
    }
    /// Low 32 bits, signed: descriptors, pids, `int`s.
    #[inline]
    pub fn i32(&self, i: usize) -> i32 {
        self.u32(i).cast_signed()
    }
    /// Signed word: offsets.
    #[inline]
    pub fn i64(&self, i: usize) -> i64 {
        self.0[i].cast_signed()
    }
    #[inline]
    pub fn usize(&self, i: usize) -> usize {
        self.0[i] as usize
    }
}
