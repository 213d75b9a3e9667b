//! Applies the rewriting of system-call sites ([`crate::x86_64::patch`]) to a space.

use hal::{MapOp, Space};

use crate::{
    engine::lock,
    layout::{PAGE, SLOTS, TRAMPOLINES},
    service::Op,
    space::LinuxSpace,
    x86_64::patch::{self, AREA_LEN, Form, Patches, Site},
};

impl LinuxSpace {
    /// Told of each system call that came by a signal: rewrites its site when that begins to pay.
    pub(crate) fn visit_site(&self, ret: u64, nr: u64) {
        if !self.engine.has_proc {
            return;
        }
        let mut patches = lock(&self.patches);
        if patches.count(ret, nr) {
            // Whether it worked shows at the next visit.
            let _ = self.rewrite(&mut patches, ret, nr);
        }
    }

    fn rewrite(&self, patches: &mut Patches, ret: u64, nr: u64) -> Option<()> {
        let mut bytes = [0; 10];
        let from = ret.checked_sub(8)?;
        // The site may open its mapping: what stands before it is of interest only if it is there.
        let readable =
            |&back: &usize, b: &mut [u8; 10]| self.read(ret - back as u64, &mut b[8 - back..]) > back;
        [8, 7, 4].iter().find(|back| readable(back, &mut bytes))?;
        let form = Patches::form(ret, nr, &bytes)?;
        let trampoline = match patches.site(ret) {
            Some(site) => site.trampoline,
            None => self.place(patches, ret, nr, &form)?,
        };
        let (at, after) = patch::jump(&form, ret, trampoline);
        let first = (at - from) as usize;
        let before = bytes[first..first + after.len()].to_vec();
        // Other threads may be running this code: it changes in one store or not at all.
        let word = at & !7;
        let inside = (at - word) as usize;
        if inside + after.len() <= 8 {
            let mut whole = [0; 8];
            if self.read(word, &mut whole) != 8 || whole[inside..inside + after.len()] != before[..] {
                return None;
            }
            whole[inside..inside + after.len()].copy_from_slice(&after);
            if self.write_forced(word, &whole) != 8 {
                return None;
            }
        } else if self.is_single() {
            if self.write_forced(at, &after) != after.len() {
                return None;
            }
        } else {
            return None;
        }
        patches.add_site(ret, Site { at, trampoline, before, after });
        Some(())
    }

    /// Makes a trampoline.
    fn place(&self, patches: &mut Patches, ret: u64, nr: u64, form: &Form) -> Option<u64> {
        for place in patches.place(ret, form) {
            let at = match place {
                Ok(at) => at,
                Err(base) => {
                    let prot = (libc::PROT_READ | libc::PROT_EXEC) as u64;
                    let flags = libc::MAP_PRIVATE
                        | libc::MAP_ANONYMOUS
                        | libc::MAP_NORESERVE
                        | libc::MAP_FIXED_NOREPLACE;
                    let args = [base, AREA_LEN, prot, flags as u64, u64::from(u32::MAX), 0];
                    if self.serve().run(&[Op::expecting(libc::SYS_mmap, args, base)]).is_err() {
                        continue;
                    }
                    patches.add_area(base);
                    match patches.place(ret, form).first() {
                        Some(&Ok(at)) => at,
                        _ => continue,
                    }
                }
            };
            let code = patch::trampoline(nr, ret, at);
            return (self.write_code(at, &code) == code.len()).then_some(at);
        }
        None
    }

    /// Before addresses change hands: sites whose code or trampolines are touched are put back as they were.
    pub(crate) fn release_sites(&self, ops: &[MapOp]) {
        let mut patches = lock(&self.patches);
        if patches.is_empty() {
            return;
        }
        for op in ops {
            let (ranges, moves) = match op {
                MapOp::Map { addr, len, .. } | MapOp::Unmap { addr, len } => ([(*addr, *len), (0, 0)], false),
                MapOp::Protect { addr, len, .. } | MapOp::Advise { addr, len, .. } => {
                    ([(*addr, *len), (0, 0)], false)
                }
                MapOp::Remap { old, old_len, new, new_len, .. } => {
                    ([(*old, *old_len), (*new, *new_len)], true)
                }
            };
            for (from, len) in ranges {
                let to = from.saturating_add(len);
                if len == 0 {
                    continue;
                }
                if moves || patches.meets(from, to) {
                    // A whole area goes at a time.
                    let (low, high) = (from.saturating_sub(AREA_LEN), to.saturating_add(AREA_LEN));
                    let sites = patches.take_sites(low, high);
                    self.restore(&sites);
                    patches.retire(from, to);
                }
            }
        }
    }

    /// Puts everything back and rewrites nothing any more: the guest uses GS, or is being watched.
    pub(crate) fn stop_rewriting(&self) {
        let mut patches = lock(&self.patches);
        patches.enabled = false;
        let sites = patches.take_sites(0, u64::MAX);
        self.restore(&sites);
    }

    /// Puts everything back, and rewrites nothing as long as this is on.
    pub(crate) fn watch_code(&self, on: bool) {
        let mut patches = lock(&self.patches);
        patches.watched = on;
        if on {
            let sites = patches.take_sites(0, u64::MAX);
            self.restore(&sites);
        }
    }

    fn restore(&self, sites: &[Site]) {
        for site in sites {
            let mut now = vec![0; site.after.len()];
            if self.read_forced(site.at, &mut now) == now.len() && now == site.after {
                let word = site.at & !7;
                let inside = (site.at - word) as usize;
                let mut whole = [0; 8];
                if inside + now.len() <= 8 && self.read_forced(word, &mut whole) == 8 {
                    whole[inside..inside + now.len()].copy_from_slice(&site.before);
                    self.write_forced(word, &whole);
                } else {
                    self.write_forced(site.at, &site.before);
                }
            }
        }
    }

    /// For [`Space::clear`]: forgets all sites; what else must be unmapped.
    pub(crate) fn forget_sites(&self) -> Option<Op> {
        let mut patches = lock(&self.patches);
        let private = patches.has_private_area();
        *patches = Patches::new();
        let args = [TRAMPOLINES, SLOTS - TRAMPOLINES, 0, 0, 0, 0];
        private.then(|| Op::expecting(libc::SYS_munmap, args, 0))
    }

    /// Where to begin again a thread that stands in a trampoline.
    pub(crate) fn site_of(&self, rip: u64) -> Option<u64> {
        lock(&self.patches).site_of(rip)
    }
}

const _: () = assert!(AREA_LEN.is_multiple_of(PAGE));
