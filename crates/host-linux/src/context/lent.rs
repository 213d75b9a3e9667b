//! A file on loan: what of it stands in the slot, for the stub to answer from.

use hal::{Borrowed, Contents, Lending};

use super::LinuxContext;
use crate::{
    layout::{ctl, file, served},
    x86_64::cycles,
};

/// What was lent.
pub(super) struct OnLoan {
    pos: u64,
    /// Where in the slot the contents are, and how many bytes.
    at: usize,
    len: usize,
    epoch: u64,
    /// What the stub may answer about it: [`served::FILES`] or [`served::DIRECTORIES`].
    pub(super) serves: u32,
}

impl LinuxContext {
    /// Puts a file on loan.
    pub(super) fn put_on_loan(&mut self, lending: &Lending<'_>) -> bool {
        if !self.may_serve || self.on_loan.is_some() || self.died.is_some() {
            return false;
        }
        self.forget_kept();
        // Behind all that is to be copied out.
        let (mut at, mut len, mut ends) = (ctl::BUFFER_END, 0, lending.at_end);
        let low = self.later_at + self.later.used;
        let place =
            |most: usize| ctl::BUFFER_END.checked_sub(most.next_multiple_of(64)).filter(|p| *p >= low);
        let mut serves = served::FILES;
        match lending.contents {
            Contents::Unread => {}
            Contents::Unlisted => serves = served::DIRECTORIES,
            Contents::File(host_file, most) => {
                let fd = host_file.raw_fd();
                let Some(place) = place(most) else { return false };
                match self.slot().pread(place, most, fd, lending.pos) {
                    Ok(n) if fd >= 0 => (at, len, ends) = (place, n, n < most),
                    _ => return false,
                }
            }
            Contents::Listing(entries, end) => {
                serves = served::DIRECTORIES;
                let Some(place) = place(entries.len()) else { return false };
                self.slot().write(place, entries);
                self.slot().set64(file::LISTED, end);
                (at, len, ends) = (place, entries.len(), true);
            }
        }
        let slot = self.slot();
        slot.set32(file::FD, lending.fd.cast_unsigned());
        slot.set64(file::POS, lending.pos);
        slot.set64(file::FROM, lending.pos);
        slot.set32(file::LEN, len as u32);
        slot.set32(file::AT, at as u32);
        slot.set32(file::ENDS, u32::from(ends));
        slot.write(file::STAT, &lending.stat);
        slot.set32(file::FLAGS, lending.flags);
        slot.set32(file::FD_FLAGS, lending.fd_flags);
        slot.set32(file::FREE, lending.free.unwrap_or(-1).cast_unsigned());
        slot.set64(file::SINCE, cycles());
        self.later_end = at;
        self.begin_loan(OnLoan { pos: lending.pos, at, len, epoch: lending.epoch, serves });
        true
    }

    fn begin_loan(&mut self, loan: OnLoan) {
        let slot = self.slot();
        slot.set32(file::CLOSED, 0);
        slot.set32(file::DUPLICATED, 0);
        slot.set32(file::READS, 0);
        slot.set64(file::BYTES, 0);
        slot.set64(file::EPOCH, loan.epoch);
        self.on_loan = Some(loan);
        self.show_lent();
    }

    /// Puts on loan again what was kept.
    pub(super) fn put_on_loan_again(&mut self) -> bool {
        let Some(loan) = self.kept.take() else { return false };
        if !self.may_serve || self.died.is_some() {
            self.later_end = ctl::BUFFER_END;
            return false;
        }
        let slot = self.slot();
        slot.set64(file::POS, loan.pos);
        // The call's arguments may have been put over the contents.
        if self.later_at > loan.at {
            slot.set32(file::LEN, 0);
            slot.set32(file::ENDS, 0);
        }
        self.begin_loan(loan);
        true
    }

    fn forget_kept(&mut self) {
        self.kept = None;
        self.later_end = ctl::BUFFER_END;
    }

    /// Ends it. What stands in the slot by now is what the guest wants to have done: positions and closings that it could
    /// have asked for.
    pub(super) fn take_from_loan(&mut self, keep: bool) -> Option<Borrowed> {
        self.forget_kept();
        let loan = self.on_loan.take()?;
        self.show_lent();
        let slot = self.slot();
        slot.set64(file::EPOCH, 0);
        let moved = slot.get64(file::POS);
        let reads = slot.get32(file::READS);
        let back = Borrowed {
            pos: if i64::try_from(moved).is_ok() { moved } else { loan.pos },
            closed: slot.get32(file::CLOSED) == 1,
            duplicated: slot.get32(file::DUPLICATED) == 1,
            reads,
            bytes: slot.get64(file::BYTES).min(u64::from(reads) * loan.len as u64),
        };
        if keep && !back.closed {
            self.later_end = loan.at;
            self.kept = Some(OnLoan { pos: back.pos, ..loan });
        }
        Some(back)
    }
}
