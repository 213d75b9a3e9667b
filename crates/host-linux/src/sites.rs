//! Applies the rewriting of system-call sites ([`crate::x86_64::patch`]) to a space.

use hal::{MapOp, Space};

use crate::{
    engine::lock,
    layout::{PAGE, SLOTS, TRAMPOLINES},
    service::Op,
    space::LinuxSpace,
    x86_64::patch::{self, AREA_LEN, Form, Patches, Site},
};

/// Commands of membarrier(2): all threads of the space take notice of changed code.
const SYNC_CORE: u32 = 1 << 5;
const REGISTER_SYNC_CORE: u32 = 1 << 6;
/// `int3`.
const BREAKPOINT: u8 = 0xcc;

/// Bytes of code that become others.
struct Change<'a> {
    at: u64,
    before: &'a [u8],
    after: &'a [u8],
}

impl Change<'_> {
    /// Whether the bytes lie in one aligned word, which the processor stores and fetches as a whole.
    fn fits_one_store(&self) -> bool {
        self.at % 8 + self.after.len() as u64 <= 8
    }
}

impl LinuxSpace {
    /// Told of each system call that came by a signal: rewrites its site when that begins to pay.
    pub(crate) fn visit_site(&self, ret: u64, nr: u64) {
        if !self.engine.has_proc {
            return;
        }
        let mut patches = lock(&self.patches);
        if let Some(t) = patches.text_of(ret) {
            t.text.trapped(ret - t.addr);
        }
        patches.tell_parent(ret, nr);
        if patches.count(ret, nr) {
            // Whether it worked shows at the next visit.
            let _ = self.rewrite(&mut patches, ret, nr);
        }
    }

    /// Before a fork: rewrites sites that children keep visiting.
    pub(crate) fn rewrite_for_children(&self, patches: &mut Patches) {
        for (ret, nr) in patches.wanted_by_children() {
            let _ = self.rewrite(patches, ret, nr);
        }
    }

    fn rewrite(&self, patches: &mut Patches, ret: u64, nr: u64) -> Option<()> {
        let mut bytes = [0; (patch::BEFORE + patch::BEHIND) as usize];
        // The site may open its mapping: what stands before it is of interest only if it is there.
        let page = ret.checked_sub(1)? & !(PAGE - 1);
        let (from, got) = [ret.saturating_sub(patch::BEFORE), page].into_iter().find_map(|from| {
            let got =
                self.read(from, &mut bytes[..(ret + patch::BEHIND - from).min(patch::BEFORE + 1) as usize]);
            (from + got as u64 >= ret).then_some((from, got))
        })?;
        let (code, behind) = bytes[..got].split_at((ret - from) as usize);
        let form = Patches::form(ret, nr, code, behind.first().copied())?;
        let trampoline = match patches.site(ret) {
            Some(site) => site.trampoline,
            None => self.place(patches, ret, nr, &form)?,
        };
        let (at, after) = patch::jump(&form, ret, trampoline);
        let first = (at - from) as usize;
        let before = bytes[first..first + after.len()].to_vec();
        let gap = match &form {
            Form::Mov(gap) => gap.len(),
            Form::Xor(_) => 0,
        };
        let change = Change { at, before: &before, after: &after };
        let done = match (change.fits_one_store(), self.is_single()) {
            (true, _) => self.change_at_once(&change),
            (false, true) => self.write_forced(at, &after) == after.len(),
            (false, false) => patches.is_busy(ret) && self.change_among_threads(&change),
        };
        if done {
            patches.add_site(ret, Site { at, trampoline, before, after, gap });
        }
        done.then_some(())
    }

    /// Changes code that other threads may be running in one store.
    fn change_at_once(&self, c: &Change<'_>) -> bool {
        let word = c.at & !7;
        let range = (c.at - word) as usize..(c.at - word) as usize + c.after.len();
        let mut whole = [0; 8];
        if self.read_forced(word, &mut whole) != 8 || whole[range.clone()] != *c.before {
            return false;
        }
        whole[range].copy_from_slice(c.after);
        self.write_forced(word, &whole) == 8
    }

    /// Changes code that does not fit one store while other threads may be running it: its first byte is a breakpoint
    /// until the others have changed, and every processor sees each step before the next. Who runs into the breakpoint
    /// comes to [`LinuxSpace::is_changing`].
    fn change_among_threads(&self, c: &Change<'_>) -> bool {
        let sync = || self.membarrier(SYNC_CORE) == Ok(0);
        if self.membarrier(REGISTER_SYNC_CORE) != Ok(0) {
            return false;
        }
        let mut now = vec![0; c.before.len()];
        if self.read_forced(c.at, &mut now) != now.len() || now != c.before {
            return false;
        }
        let put = |at: u64, bytes: &[u8]| self.write_forced(at, bytes) == bytes.len() && sync();
        let done = put(c.at, &[BREAKPOINT]) && put(c.at + 1, &c.after[1..]) && put(c.at, &c.after[..1]);
        if !done {
            // Back, if anybody is there at all.
            let _ = put(c.at + 1, &c.before[1..]) && put(c.at, &c.before[..1]);
        }
        done
    }

    /// Whether a breakpoint trap at `at` was that of a site under change: it can be begun again. Sites begin with one of
    /// three bytes; where the guest has a breakpoint of its own, there is none of them.
    pub(crate) fn is_changing(&self, at: u64) -> bool {
        // Whoever changes a site holds the lock.
        let patches = lock(&self.patches);
        let mut byte = [0];
        !patches.is_empty() && self.read_forced(at, &mut byte) == 1 && matches!(byte[0], 0xb8 | 0x31 | 0xe9)
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
            let code = patch::trampoline(nr, ret, form, at)?;
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
                self.release_texts(&mut patches, op, from, to);
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

    /// Before a range changes hands: texts of which only a part goes, or that move, become as the files have them.
    fn release_texts(&self, patches: &mut Patches, op: &MapOp, from: u64, to: u64) {
        if matches!(op, MapOp::Protect { .. } | MapOp::Advise { .. }) {
            return;
        }
        for text in patches.take_texts(from, to) {
            let goes = !matches!(op, MapOp::Remap { .. }) && from <= text.addr && text.end() <= to;
            if !goes {
                self.restore(&text.sites().collect::<Vec<_>>());
            }
        }
    }

    /// Puts everything back and rewrites nothing any more: the guest uses GS, or is being watched.
    pub(crate) fn stop_rewriting(&self) {
        let mut patches = lock(&self.patches);
        patches.enabled = false;
        let mut sites = patches.take_sites(0, u64::MAX);
        sites.extend(patches.take_text_sites());
        self.restore(&sites);
    }

    /// Puts everything back, and rewrites nothing as long as this is on.
    pub(crate) fn watch_code(&self, on: bool) {
        let mut patches = lock(&self.patches);
        patches.watched = on;
        if on {
            let mut sites = patches.take_sites(0, u64::MAX);
            sites.extend(patches.take_text_sites());
            self.restore(&sites);
        }
    }

    fn restore(&self, sites: &[Site]) {
        for site in sites {
            let change = Change { at: site.at, before: &site.after, after: &site.before };
            // What the guest has put there itself stays.
            match (change.fits_one_store(), self.is_single()) {
                (true, _) => self.change_at_once(&change),
                (false, false) => self.change_among_threads(&change),
                (false, true) => {
                    let mut now = vec![0; site.after.len()];
                    self.read_forced(site.at, &mut now) == now.len()
                        && now == site.after
                        && self.write_forced(site.at, &site.before) == now.len()
                }
            };
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

    /// Where a thread goes on that stands in a trampoline, and whether it has only part of the site's gap behind it.
    pub(crate) fn site_of(&self, rip: u64) -> Option<(u64, bool)> {
        lock(&self.patches).site_of(rip)
    }
}

const _: () = assert!(AREA_LEN.is_multiple_of(PAGE));
