//! Ends of files that the guest thread was told of: what of them stands in the slot, for the stub to answer from.

use hal::{COUNTS, End};

use super::LinuxContext;
use crate::layout::{ctl, ends};

fn place_at(place: usize) -> usize {
    ends::START + (place << ends::STEP_SHIFT)
}

/// Where what is known of a descriptor stands.
fn at(fd: i32) -> usize {
    place_at(fd.cast_unsigned() as usize % ends::PLACES)
}

impl LinuxContext {
    pub(super) fn put_end(&mut self, end: &End) -> bool {
        if end.count >= COUNTS || end.fd < 0 || !self.may_serve || self.died.is_some() {
            return false;
        }
        if !self.tells_ends {
            // What was told before.
            (0..ends::PLACES).for_each(|i| self.slot().set32(place_at(i) + ends::COUNT, COUNTS));
        }
        let (slot, at) = (self.slot(), at(end.fd));
        slot.set32(at + ends::FD, end.fd.cast_unsigned());
        slot.set32(at + ends::COUNT, end.count);
        slot.set64(at + ends::VALUE, end.value);
        slot.set64(at + ends::SIZE, end.size);
        if !self.tells_ends {
            slot.set32(ctl::ENDS, 1);
            self.tells_ends = true;
            self.show_lent();
        }
        true
    }

    pub(super) fn drop_ends(&mut self, fd: Option<i32>) {
        if !self.tells_ends {
            return;
        }
        match fd {
            Some(fd) => {
                let (slot, at) = (self.slot(), at(fd));
                if slot.get32(at + ends::FD) == fd.cast_unsigned() {
                    slot.set32(at + ends::COUNT, COUNTS);
                }
            }
            None => {
                self.slot().set32(ctl::ENDS, 0);
                self.tells_ends = false;
                self.show_lent();
            }
        }
    }
}
