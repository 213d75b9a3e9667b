//! Debug registers. The host lends us none: what they would watch is watched by running instruction after instruction.

use abi::errno::{EINVAL, EIO};

use crate::{error::Result, task::TaskCx};

/// DR0 to DR7 of a task.
#[derive(Clone, Copy, Debug, Default)]
pub struct DebugRegs([u64; 8]);

/// First address above what a program can use.
const ADDRESS_END: u64 = 1 << 47;
/// What a slot watches.
const EXECUTE: u64 = 0;
const WRITE: u64 = 1;

impl DebugRegs {
    pub(super) fn get(&self, i: usize) -> u64 {
        self.0.get(i).copied().unwrap_or(0)
    }

    /// Writes a register. EINVAL for what cannot be watched: reads, ports, addresses that are no program's.
    pub(super) fn set(&mut self, i: usize, v: u64) -> Result<()> {
        match i {
            0..=3 if v >= ADDRESS_END => return Err(EINVAL),
            4 | 5 => return Err(EIO),
            7 => {
                let mut new = *self;
                new.0[7] = v;
                if (0..4).any(|s| new.enabled(s) && !matches!(new.kind(s), EXECUTE | WRITE)) {
                    return Err(EINVAL);
                }
            }
            _ => {}
        }
        if let Some(r) = self.0.get_mut(i) {
            *r = v;
        }
        Ok(())
    }

    fn enabled(&self, slot: usize) -> bool {
        self.0[7] >> (2 * slot) & 3 != 0
    }
    fn kind(&self, slot: usize) -> u64 {
        self.0[7] >> (16 + 4 * slot) & 3
    }
    fn len(&self, slot: usize) -> usize {
        match self.0[7] >> (18 + 4 * slot) & 3 {
            0 => 1,
            1 => 2,
            2 => 8,
            _ => 4,
        }
    }

    /// Something is watched.
    pub(super) fn active(&self) -> bool {
        self.0[7] & 0xff != 0
    }

    /// The bytes that are watched for writes.
    pub(super) fn values(&self, cx: &mut TaskCx) -> [[u8; 8]; 4] {
        let mut out = [[0; 8]; 4];
        for (slot, v) in out.iter_mut().enumerate() {
            if self.enabled(slot) && self.kind(slot) == WRITE {
                cx.copy_in_some(self.0[slot], &mut v[..self.len(slot)]);
            }
        }
        out
    }

    /// The slots (one bit each) that an instruction touched which left `before` behind and the processor at `rip`.
    pub(super) fn hits(&self, before: &[[u8; 8]; 4], after: &[[u8; 8]; 4], rip: u64) -> u64 {
        let hit = |s: usize| match self.kind(s) {
            EXECUTE => self.0[s] == rip,
            _ => before[s] != after[s],
        };
        (0..4).filter(|s| self.enabled(*s) && hit(*s)).fold(0, |bits, s| bits | 1 << s)
    }

    /// Tells in DR6 what was hit.
    pub(super) fn report(&mut self, hits: u64) {
        self.0[6] = self.0[6] & !15 | hits;
    }
}
