//! Rewriting of system-call sites, so that they enter the stub without a signal.
//!
//! Two forms are rewritten, both without touching the `syscall` instruction itself, so that whoever stands at it, comes
//! back to it or jumps to it still traps as before:
//!
//! * `mov $nr,%eax; ...; syscall`: the five bytes of the `mov` become a `jmp` to a trampoline within 2 GiB. What stands
//!   between the two, a few instructions that [`gap`] knows, is done in the trampoline, and stays where it is besides.
//! * `xor %eax,%eax; syscall; ...` (read(2)): the two bytes of the `xor` become the beginning of a `jmp` whose last
//!   three bytes are the `syscall` and the byte behind it, just as they stand. They fix where the trampoline must be.
//!
//! The trampoline loads the number and the return address and jumps through GS to the stub. Those of identity calls
//! answer from the thread's control page. Guest code may damage all of this, to its own harm alone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use crate::{
    engine::lock,
    layout::{GUEST_START, REGION, SLOTS, TRAMPOLINES, ctl},
    stub::filter,
    texts::Mapped,
    x86_64::gap,
};

/// Bytes of a trampoline.
const SIZE: u64 = 64;
/// Bytes of an area of trampolines.
pub(crate) const AREA_LEN: u64 = 0x1_0000;
/// Farthest that a jump is sent.
const REACH: u64 = 0x7ff0_0000;
/// A site is rewritten at this visit, and looked at again after so many more.
const FIRST: u32 = 6;
const AGAIN: u32 = 512;
/// The same where other threads run, which takes as long as some twenty calls.
const AMONG_THREADS: u32 = 40;
/// Bytes before a site's return address, and behind it, that are looked at.
pub(crate) const BEFORE: u64 = 40;
pub(crate) const BEHIND: u64 = 1;
/// Most bytes between the number and the `syscall`.
const GAP_MAX: usize = 30;
/// Bytes of `mov $nr,%eax`, and of a jump.
const MOV: usize = 5;
/// Sites counted at most.
const COUNTED: usize = 4096;
/// A site that only children visit is rewritten in their parent, before its next fork, after so many visits; and so many
/// such sites are counted.
const BY_CHILDREN: u32 = 3;
const CHILDRENS_MAX: usize = 256;

/// Calls that are never rewritten: they need a full frame, or the host answers them.
const NEVER: [i64; 13] = [
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_futex,
    filter::FUTEX_WAITV,
    filter::FUTEX_WAKE,
    filter::FUTEX_WAIT,
];

/// Calls that are answered in the stub, in the order of their values in the control page.
const FAST: [i64; 7] = [
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// A rewritten site.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// First byte that was changed.
    pub(crate) at: u64,
    pub(crate) trampoline: u64,
    /// What stood there and what stands there now; same length.
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
    /// Bytes between the number and the `syscall`.
    pub(crate) gap: usize,
}

/// A site that can be rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// What stands between the number and the `syscall`.
    Mov(Vec<u8>),
    /// The trampoline must be at this address or up to 255 bytes after.
    Xor(u64),
}

/// What is rewritten in a space. A fork gets a copy.
#[derive(Clone, Debug)]
pub(crate) struct Patches {
    pub(crate) enabled: bool,
    /// A debugger looks at the code: nothing is rewritten meanwhile.
    pub(crate) watched: bool,
    /// Areas of trampolines and the bytes used of each; those that the guest mapped over have `None`.
    areas: Vec<(u64, Option<u64>)>,
    /// Sites by return address.
    sites: HashMap<u64, Site>,
    /// Sites by trampoline: where they begin, and how long their gap is.
    places: BTreeMap<u64, (u64, usize)>,
    hits: HashMap<u64, u32>,
    /// Texts of files that are mapped.
    texts: Vec<Mapped>,
    /// Visits by the children of this space, and by this space as one.
    childrens: Arc<Childrens>,
    as_child: Option<Arc<Childrens>>,
}

/// Visits to sites by return address: their calls' numbers, and how many.
type Childrens = Mutex<HashMap<u64, (u64, u32)>>;

/// Whether sites of a call are rewritten at all.
pub(crate) fn may_rewrite(nr: u64) -> bool {
    !NEVER.iter().any(|&n| n as u64 == nr) && nr <= 0xffff
}

impl Patches {
    pub(crate) fn new() -> Patches {
        Patches {
            enabled: true,
            watched: false,
            areas: Vec::new(),
            sites: HashMap::new(),
            places: BTreeMap::new(),
            hits: HashMap::new(),
            texts: Vec::new(),
            childrens: Arc::default(),
            as_child: None,
        }
    }

    /// What a copy of the space begins with.
    pub(crate) fn for_child(&self) -> Patches {
        Patches { childrens: Arc::default(), as_child: Some(self.childrens.clone()), ..self.clone() }
    }

    /// Tells the parent of a visit: most children end before a site of theirs is worth rewriting. Only of texts, which
    /// are the same there or gone.
    pub(crate) fn tell_parent(&self, ret: u64, nr: u64) {
        let Some(parents) = self.as_child.as_ref().filter(|_| may_rewrite(nr)) else { return };
        if self.text_of(ret).is_none() {
            return;
        }
        let mut visits = lock(parents);
        if visits.len() < CHILDRENS_MAX || visits.contains_key(&ret) {
            visits.entry(ret).or_insert((nr, 0)).1 += 1;
        }
    }

    /// Sites that children have visited often, each told once: return addresses, and numbers of the calls.
    pub(crate) fn wanted_by_children(&self) -> Vec<(u64, u64)> {
        if !self.is_open() {
            return Vec::new();
        }
        let mut visits = lock(&self.childrens);
        let often = visits.extract_if(|_, (_, n)| *n >= BY_CHILDREN);
        let ours = |ret: &u64| self.text_of(*ret).is_some();
        often.map(|(ret, (nr, _))| (ret, nr)).filter(|(ret, _)| ours(ret)).collect()
    }

    /// Whether code may be rewritten now.
    pub(crate) fn is_open(&self) -> bool {
        self.enabled && !self.watched
    }

    /// Takes note of a text that is being mapped.
    pub(crate) fn add_text(&mut self, text: Mapped) {
        self.texts.push(text);
    }

    /// The text that an address is in.
    pub(crate) fn text_of(&self, addr: u64) -> Option<&Mapped> {
        self.texts.iter().find(|t| t.addr < addr && addr <= t.end())
    }

    /// Takes out the texts that a range meets.
    pub(crate) fn take_texts(&mut self, from: u64, to: u64) -> Vec<Mapped> {
        self.texts.extract_if(.., |t| t.addr < to && from < t.end()).collect()
    }

    /// Takes the sites of all texts, which will be put back as the files have them. Their trampolines stay.
    pub(crate) fn take_text_sites(&mut self) -> Vec<Site> {
        let sites = self.texts.iter().flat_map(Mapped::sites).collect();
        self.texts.iter_mut().for_each(|t| t.restored = true);
        sites
    }

    /// Counts a visit to the site that returns to `ret`; true if it should be looked at now.
    pub(crate) fn count(&mut self, ret: u64, nr: u64) -> bool {
        if !self.is_open() || !may_rewrite(nr) {
            return false;
        }
        if self.hits.len() >= COUNTED && !self.hits.contains_key(&ret) {
            self.hits.clear();
        }
        let hits = self.hits.entry(ret).or_insert(0);
        *hits = hits.wrapping_add(1);
        *hits == FIRST || *hits == AMONG_THREADS || hits.is_multiple_of(AGAIN)
    }

    /// Whether a site has been visited so often that it may be rewritten while other threads run.
    pub(crate) fn is_busy(&self, ret: u64) -> bool {
        self.hits.get(&ret).is_some_and(|&h| h >= AMONG_THREADS)
    }

    /// The form of a site, from the bytes before its return address and the one behind.
    pub(crate) fn form(ret: u64, nr: u64, before: &[u8], behind: Option<u8>) -> Option<Form> {
        let code = before.strip_suffix(&[0x0f, 0x05])?;
        if nr == 0 && code.ends_with(&[0x31, 0xc0]) {
            let distance = i32::from_le_bytes([0, 0x0f, 0x05, behind?]);
            // The jump ends one byte behind the return address.
            let target = (ret + 1).wrapping_add_signed(i64::from(distance));
            return Some(Form::Xor(target));
        }
        let last = code.len().checked_sub(MOV)?;
        (last.saturating_sub(GAP_MAX)..=last).rev().find_map(|at| {
            let (number, gap) = mov_at(code, at)?;
            (u64::from(number) == nr).then(|| Form::Mov(gap.to_vec()))
        })
    }

    /// The call's number and the form of a site that ends `code`, if it is a `mov` and can only be one.
    pub(crate) fn numbered(code: &[u8]) -> Option<(u64, Form)> {
        let code = code.strip_suffix(&[0x0f, 0x05])?;
        let last = code.len().checked_sub(MOV)?;
        let mut found = (last.saturating_sub(GAP_MAX)..=last)
            .filter_map(|at| mov_at(code, at))
            .filter(|(number, _)| may_rewrite((*number).into()));
        let (number, gap) = found.next()?;
        found.next().is_none().then(|| (number.into(), Form::Mov(gap.to_vec())))
    }

    /// Whether a trampoline may stand here.
    fn allowed(addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len) else { return false };
        (addr >= GUEST_START && end <= REGION) || (addr >= TRAMPOLINES && end <= SLOTS)
    }

    /// The trampoline's place for a site: in an area that is there (`Ok`), or in one to be made at an address (`Err`).
    pub(crate) fn place(&mut self, ret: u64, form: &Form) -> Vec<Result<u64, u64>> {
        match form {
            Form::Mov(_) => {
                for (base, used) in &mut self.areas {
                    if let Some(used) = used
                        && *used + SIZE <= AREA_LEN
                        && base.abs_diff(ret) < REACH - AREA_LEN
                    {
                        let at = *base + *used;
                        *used += SIZE;
                        return vec![Ok(at)];
                    }
                }
                let near = ret & !(AREA_LEN - 1);
                let mut bases = vec![TRAMPOLINES];
                bases.extend(
                    [0x4000_0000, 0x5000_0000, 0x2000_0000].iter().filter_map(|d| near.checked_sub(*d)),
                );
                bases.extend(
                    [0x4000_0000, 0x5000_0000, 0x2000_0000].iter().filter_map(|d| near.checked_add(*d)),
                );
                bases
                    .into_iter()
                    .filter(|&b| Patches::allowed(b, AREA_LEN) && b.abs_diff(ret) < REACH - AREA_LEN)
                    .filter(|&b| !self.areas.iter().any(|a| a.0.abs_diff(b) < AREA_LEN))
                    .map(Err)
                    .collect()
            }
            Form::Xor(target) => {
                let at = target.next_multiple_of(SIZE);
                let taken = self.places.contains_key(&at);
                let base = at & !(AREA_LEN - 1);
                if taken || !Patches::allowed(base, AREA_LEN) {
                    return Vec::new();
                }
                match self.areas.iter_mut().find(|a| a.0 == base) {
                    // Only what the other form will not hand out; a library has more than one site of this form.
                    Some((_, Some(used))) if at - base >= *used || *used == AREA_LEN => {
                        *used = AREA_LEN;
                        vec![Ok(at)]
                    }
                    Some(_) => Vec::new(),
                    None => vec![Err(base)],
                }
            }
        }
    }

    /// Takes a new area into use.
    pub(crate) fn add_area(&mut self, base: u64) {
        self.areas.retain(|a| a.0 != base);
        self.areas.push((base, Some(0)));
    }

    /// Whether a range of addresses meets an area.
    pub(crate) fn meets(&self, from: u64, to: u64) -> bool {
        self.areas.iter().any(|a| a.1.is_some() && a.0 < to && from < a.0 + AREA_LEN)
    }

    /// Gives up the areas that a range meets; the sites that use them are to be restored first.
    pub(crate) fn retire(&mut self, from: u64, to: u64) {
        for a in self.areas.iter_mut().filter(|a| a.0 < to && from < a.0 + AREA_LEN) {
            a.1 = None;
        }
        // What the guest puts there is its own.
        self.places.retain(|&t, _| !(t < to && from < t + SIZE));
    }

    /// Areas outside the guest's range.
    pub(crate) fn has_private_area(&self) -> bool {
        self.areas.iter().any(|a| a.1.is_some() && a.0 >= REGION)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.areas.is_empty() && self.texts.is_empty()
    }

    pub(crate) fn site(&self, ret: u64) -> Option<&Site> {
        self.sites.get(&ret)
    }

    pub(crate) fn add_site(&mut self, ret: u64, site: Site) {
        self.places.insert(site.trampoline, (site.at, site.gap));
        self.sites.insert(ret, site);
    }

    /// Takes out the sites whose bytes or whose trampolines lie in a range.
    pub(crate) fn take_sites(&mut self, from: u64, to: u64) -> Vec<Site> {
        let inside = |a: u64, len: u64| a < to && from < a + len;
        let rets: Vec<u64> = self
            .sites
            .iter()
            .filter(|(_, s)| inside(s.at, s.after.len() as u64) || inside(s.trampoline, SIZE))
            .map(|(ret, _)| *ret)
            .collect();
        rets.into_iter().filter_map(|r| self.sites.remove(&r)).collect()
    }

    /// Where a thread goes on that stands in a trampoline, and whether it has only part of the gap behind it.
    pub(crate) fn site_of(&self, rip: u64) -> Option<(u64, bool)> {
        if let Some(place) = self.texts.iter().find_map(|t| t.site_of(rip)) {
            return Some(place);
        }
        let (start, &(site, gap)) = self.places.range(..=rip).next_back()?;
        let into = rip - start;
        (into < SIZE).then(|| original(site, gap, into))
    }
}

/// Where a thread goes on that stands so many bytes into the trampoline of a site, and whether it has only part of the gap
/// behind it. Before the gap a site can be begun again, and after it the `syscall` be made: what else a trampoline changes
/// are registers that the system call changes too.
pub(crate) fn original(site: u64, gap: usize, into: u64) -> (u64, bool) {
    let end = (MOV + gap) as u64;
    match into {
        _ if gap == 0 => (site, false),
        // The original stands in its place, as far from the beginning.
        _ if into < end => (site + into, into >= MOV as u64),
        _ => (site + end, false),
    }
}

/// The number that a `mov` at `at` loads, and what is behind it, if that can be done elsewhere.
fn mov_at(code: &[u8], at: usize) -> Option<(u32, &[u8])> {
    // With these in front it would be another instruction.
    let prefixed = at > 0 && matches!(code[at - 1], 0x40..=0x4f | 0x66);
    let (mov, gap) = code.get(at..)?.split_at_checked(MOV)?;
    let number = u32::from_le_bytes(mov[1..].try_into().ok()?);
    (mov[0] == 0xb8 && !prefixed && gap::relocate(gap, 0).is_some()).then_some((number, gap))
}

/// The bytes that send a site to its trampoline.
pub(crate) fn jump(form: &Form, ret: u64, trampoline: u64) -> (u64, Vec<u8>) {
    match form {
        Form::Mov(gap) => {
            let at = ret - 2 - (MOV + gap.len()) as u64;
            let distance = trampoline.wrapping_sub(at + 5) as i32;
            let mut bytes = vec![0xe9];
            bytes.extend(distance.to_le_bytes());
            (at, bytes)
        }
        Form::Xor(target) => (ret - 4, vec![0xe9, (trampoline - target) as u8]),
    }
}

/// The code of a trampoline at `at`; `None` if the gap cannot be done there.
pub(crate) fn trampoline(nr: u64, ret: u64, form: &Form, at: u64) -> Option<Vec<u8>> {
    let gap = match form {
        Form::Mov(gap) => {
            let site = ret - 2 - (MOV + gap.len()) as u64;
            gap::relocate(gap, at.wrapping_sub(site) as i64)?
        }
        Form::Xor(_) => Vec::new(),
    };
    let mut code = Vec::with_capacity(SIZE as usize);
    let gs = |code: &mut Vec<u8>, opcode: &[u8], offset: usize| {
        code.push(0x65);
        code.extend_from_slice(opcode);
        code.extend((offset as u32).to_le_bytes());
    };
    if gap.is_empty()
        && let Some(i) = FAST.iter().position(|&n| n as u64 == nr)
    {
        gs(&mut code, &[0x8b, 0x0c, 0x25], ctl::FAST_VALID); // mov %gs:VALID,%ecx
        code.extend([0x67, 0xe3, 13]); // jecxz over the answer: flags stay as they are
        gs(&mut code, &[0x8b, 0x04, 0x25], ctl::FAST + i * 4); // mov %gs:VALUE,%eax
        code.push(0xe9); // jmp ret
        let distance = ret.wrapping_sub(at + code.len() as u64 + 4) as i32;
        code.extend(distance.to_le_bytes());
    }
    code.push(0xb8); // mov $nr,%eax
    code.extend((nr as u32).to_le_bytes());
    code.extend(gap);
    code.extend([0x48, 0x8d, 0x0d]); // lea ret(%rip),%rcx
    let distance = ret.wrapping_sub(at + code.len() as u64 + 4) as i32;
    code.extend(distance.to_le_bytes());
    gs(&mut code, &[0xff, 0x24, 0x25], ctl::ENTRY); // jmp *%gs:ENTRY
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart() {
        let form = |nr, code: &[u8]| Patches::form(0x1000, nr, code, Some(0x48));
        let mov = [0x90, 0xb8, 39, 0, 0, 0, 0x0f, 0x05];
        assert_eq!(form(39, &mov), Some(Form::Mov(Vec::new())));
        assert_eq!(form(39, &mov[1..]), Some(Form::Mov(Vec::new())));
        assert_eq!(form(40, &mov), None);
        assert_eq!(form(39, &mov[2..]), None);
        let r8d = [0x41, 0xb8, 39, 0, 0, 0, 0x0f, 0x05];
        assert_eq!(form(39, &r8d), None);
        // What stands between must be known to its end.
        let far = [0xc3, 0xb8, 14, 0, 0, 0, 0x31, 0xd2, 0xbf, 2, 0, 0, 0, 0x0f, 0x05];
        assert_eq!(form(14, &far), Some(Form::Mov(far[6..13].to_vec())));
        let mut jump = far;
        jump[6] = 0xeb;
        assert_eq!(form(14, &jump), None);
        let xor = [0x31, 0xc0, 0x0f, 0x05];
        assert_eq!(form(0, &xor), Some(Form::Xor(0x1001 + 0x4805_0f00)));
        assert_eq!(form(1, &xor), None);
        // The jump whose tail is the code as it stands leads there.
        let target = 0x1001 + 0x4805_0f00u64;
        let (at, bytes) = super::jump(&Form::Xor(target), 0x1000, target + 5);
        let rel = i32::from_le_bytes([bytes[1], 0x0f, 0x05, 0x48]);
        assert_eq!((at, (at + 5).wrapping_add_signed(i64::from(rel))), (0xffc, target + 5));
    }

    #[test]
    fn trampolines_fit() {
        let longest = Form::Mov(vec![0x53; GAP_MAX]);
        for (nr, form) in [(0, &longest), (39, &longest), (39, &Form::Mov(Vec::new())), (400, &longest)] {
            let code = trampoline(nr, 0x40_0000, form, 0x4040_0000).unwrap();
            assert!(code.len() as u64 <= SIZE);
        }
    }

    #[test]
    fn who_is_interrupted_goes_on_where_it_was() {
        let mut p = Patches::new();
        let site =
            |at, gap| Site { at, trampoline: 0x10_0000 + at, before: vec![0; 5], after: vec![0; 5], gap };
        p.add_site(0x1007, site(0x1000, 0));
        p.add_site(0x200e, site(0x2000, 7));
        assert_eq!(p.site_of(0x10_1000), Some((0x1000, false)));
        assert_eq!(p.site_of(0x10_1005), Some((0x1000, false)));
        assert_eq!(p.site_of(0x10_1000 + SIZE), None);
        for (into, expected) in
            [(0, (0, false)), (5, (5, true)), (7, (7, true)), (12, (12, false)), (22, (12, false))]
        {
            let (at, inside): (u64, bool) = expected;
            assert_eq!(p.site_of(0x10_2000 + into), Some((0x2000 + at, inside)));
        }
    }

    #[test]
    fn places_are_near_and_apart() {
        let mut p = Patches::new();
        let ret = 0x40_1000;
        let Some(Err(base)) = p.place(ret, &Form::Mov(Vec::new())).into_iter().next() else { panic!() };
        assert!(base.abs_diff(ret) < REACH);
        p.add_area(base);
        let a = p.place(ret, &Form::Mov(Vec::new()))[0];
        let b = p.place(ret, &Form::Mov(Vec::new()))[0];
        assert!(a.is_ok() && b.is_ok() && a != b);
        // Where the other form says where, there is room for several, each once.
        let (near, far) = (Form::Xor(base + 0x8001), Form::Xor(base + 0x9001));
        let site = |trampoline| Site { at: 1, trampoline, before: vec![0; 2], after: vec![0; 2], gap: 0 };
        assert_eq!(p.place(ret, &near), [Ok(base + 0x8040)]);
        p.add_site(1, site(base + 0x8040));
        assert_eq!(p.place(ret, &far), [Ok(base + 0x9040)]);
        assert_eq!(p.place(ret, &near), []);
        p.retire(base, base + 1);
        assert!(!p.meets(base, base + AREA_LEN));
        assert!(p.place(ret, &Form::Mov(Vec::new())).iter().all(|r| r.is_err()));
        // Near the region, the region's own room is first.
        assert_eq!(p.place(REGION - 0x10_0000, &Form::Mov(Vec::new()))[0], Err(TRAMPOLINES));
    }
}
