//! Copies of programs' text in which system-call sites are rewritten already.
//!
//! A site is rewritten in one space after it has trapped some times there ([`crate::sites`]); most programs end before
//! that. So the machine counts the traps of all programs by file: when sites of one have trapped often enough it makes a
//! copy of the file's executable range in which they are rewritten, with the trampolines in the unused end of its last
//! page, and maps that in place of the file from then on. What is in the copy comes from the file alone; guests only say
//! where to look. Who looks at the code itself sees the jumps, unless it is a debugger, before which they are taken back, or
//! maps code without being the dynamic linker ([`hal::Space::map_plain_texts`]), as valgrind and emulators do.

use std::{
    collections::HashMap,
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::*},
    },
    time::{Duration, Instant, SystemTime},
};

use hal::HostFile;

use crate::{
    engine::lock,
    layout::PAGE,
    sys::{file, memory},
    x86_64::patch::{self, Form, Patches, Site},
};

/// Bytes of the longest text that is copied, and of all copies.
const TEXT_MAX: u64 = 4 << 20;
const COPIES_MAX: u64 = 32 << 20;
/// Address space for copies: old ones leave holes.
const ROOM: u64 = 1 << 40;
/// Texts known at most, and sites counted of each.
const TEXTS_MAX: usize = 512;
const SITES_MAX: usize = 4096;
/// Traps of a site in all programs together before it is rewritten in a copy.
const OFTEN: u32 = 3;
/// Sites that are worth a copy, and a new copy; copies made of one text.
const WORTH: usize = 3;
const VERSIONS_MAX: u32 = 8;
/// How long a file must not have changed before it is copied: a change right after would not show in its times.
const SETTLED: Duration = Duration::from_secs(2);
/// How long after its last user a copy keeps its memory: a killed stub may still be in it.
const LINGER: Duration = Duration::from_secs(10);
/// Bytes left free behind the text.
const GUARD: usize = 16;

/// A range of a file as it was when it was mapped: device, inode, size, times, place.
type Id = (u64, u64, u64, [i64; 4], u64, u64);

/// All texts of a machine.
pub(crate) struct Texts {
    store: Arc<Store>,
    /// The copies, opened read-only.
    ro: OwnedFd,
    known: Mutex<HashMap<Id, Arc<Text>>>,
}

/// The memory object of the copies.
struct Store {
    file: File,
    next: AtomicU64,
    used: AtomicU64,
    /// Copies without a user: since when, where, how long.
    old: Mutex<Vec<(Instant, u64, u64)>>,
}

impl Store {
    /// Gives the memory of old copies back.
    fn sweep(&self) {
        lock(&self.old).retain(|&(since, at, len)| {
            let lingers = since.elapsed() < LINGER;
            if !lingers {
                // Failure costs memory and nothing else.
                let _ = memory::punch(&self.file, at, len);
                self.used.fetch_sub(len, Relaxed);
            }
            lingers
        });
    }
}

/// One range.
pub(crate) struct Text {
    offset: u64,
    len: u64,
    state: Mutex<State>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "text of {:#x} bytes", self.len)
    }
}

#[derive(Default)]
struct State {
    /// Traps by offset of the return address.
    traps: HashMap<u32, u32>,
    /// Sites that have trapped often.
    often: usize,
    /// How many of those make a new copy.
    due: usize,
    versions: u32,
    copy: Option<Arc<Copy>>,
}

/// A copy with rewritten sites.
pub(crate) struct Copy {
    store: Arc<Store>,
    /// Where it stands in the memory object.
    pub(crate) at: u64,
    len: u64,
    /// Sites by offset; their trampolines are in the same order, from `tail` on.
    sites: Vec<Site>,
    tail: u64,
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "copy with {} sites", self.sites.len())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        lock(&self.store.old).push((Instant::now(), self.at, self.len));
    }
}

/// A text as a space has it mapped.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    pub(crate) addr: u64,
    pub(crate) text: Arc<Text>,
    pub(crate) copy: Option<Arc<Copy>>,
    /// The sites were put back as the file has them.
    pub(crate) restored: bool,
}

impl Texts {
    /// `reopen` opens a descriptor anew, read-only.
    pub(crate) fn new<E>(reopen: impl Fn(&OwnedFd) -> Result<OwnedFd, E>) -> Option<Texts> {
        let fd = memory::create(c"umlaut-text", ROOM, false).ok()?;
        let ro = reopen(&fd).ok()?;
        let store = Store {
            file: File::from(fd),
            next: AtomicU64::new(0),
            used: AtomicU64::new(0),
            old: Mutex::default(),
        };
        Some(Texts { store: Arc::new(store), ro, known: Mutex::default() })
    }

    /// Descriptor of the copies, as stubs name it.
    pub(crate) fn raw_fd(&self) -> i32 {
        self.ro.as_raw_fd()
    }

    /// The text that an executable private mapping of a file shows, with the copy to map instead if there is one.
    pub(crate) fn of(
        &self,
        file: &dyn HostFile,
        offset: u64,
        len: u64,
    ) -> Option<(Arc<Text>, Option<Arc<Copy>>)> {
        if len > TEXT_MAX || offset.checked_add(len).is_none() {
            return None;
        }
        let stat = rustix::fs::fstat(file::borrow(file).ok()?).ok()?;
        let times = [stat.st_mtime, stat.st_mtime_nsec as i64, stat.st_ctime, stat.st_ctime_nsec as i64];
        let id = (stat.st_dev, stat.st_ino, stat.st_size as u64, times, offset, len);
        let text = {
            let mut known = lock(&self.known);
            if known.len() >= TEXTS_MAX && !known.contains_key(&id) {
                known.clear();
            }
            known.entry(id).or_insert_with(|| Arc::new(Text { offset, len, state: Mutex::default() })).clone()
        };
        let changed = times[0].max(times[2]).max(0).cast_unsigned();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = now.saturating_sub(Duration::from_secs(changed)) > SETTLED;
        let copy = text.copy(&self.store, file, settled);
        Some((text, copy))
    }
}

impl Text {
    /// A site of it has trapped.
    pub(crate) fn trapped(&self, ret: u64) {
        let mut state = lock(&self.state);
        if state.traps.len() >= SITES_MAX {
            return;
        }
        let traps = state.traps.entry(ret as u32).or_insert(0);
        *traps = traps.saturating_add(1);
        state.often += usize::from(*traps == OFTEN);
    }

    /// The copy, made now if it is due and the file can be told from others.
    fn copy(&self, store: &Arc<Store>, file: &dyn HostFile, settled: bool) -> Option<Arc<Copy>> {
        let mut state = lock(&self.state);
        if settled && state.often >= state.due.max(WORTH) && state.versions < VERSIONS_MAX {
            state.versions += 1;
            state.due = state.often + (state.often / 2).max(WORTH);
            let sites = state.traps.iter().filter(|(_, n)| **n >= OFTEN).map(|(ret, _)| *ret).collect();
            if let Some(copy) = self.make(store, file, sites) {
                state.copy = Some(Arc::new(copy));
            }
        }
        state.copy.clone()
    }

    fn make(&self, store: &Arc<Store>, file: &dyn HostFile, rets: Vec<u32>) -> Option<Copy> {
        store.sweep();
        if store.used.load(Relaxed) + self.len > COPIES_MAX {
            return None;
        }
        let mut bytes = vec![0; self.len as usize];
        let mut done = 0;
        while done < bytes.len() {
            match file.pread(self.offset + done as u64, &mut bytes[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) => return None,
            }
        }
        let (sites, tail) = rewrite(&mut bytes, rets)?;
        let at = store.next.fetch_add(self.len.next_multiple_of(PAGE), Relaxed);
        store.file.write_all_at(&bytes, at).ok()?;
        store.used.fetch_add(self.len, Relaxed);
        Some(Copy { store: store.clone(), at, len: self.len, sites, tail })
    }
}

/// Rewrites sites in a text as far as there is room for their trampolines behind it. Addresses are offsets here.
fn rewrite(bytes: &mut [u8], mut rets: Vec<u32>) -> Option<(Vec<Site>, u64)> {
    let end = bytes.iter().rposition(|&b| b != 0)? + 1 + GUARD;
    let tail = end.next_multiple_of(16);
    let mut next = tail;
    let mut sites = Vec::new();
    rets.sort_unstable();
    for ret in rets {
        let Some((nr, form)) = site_at(bytes, ret as usize) else { continue };
        let code = patch::trampoline(nr, ret.into(), &form, next as u64)?;
        if next + code.len() > bytes.len() {
            break;
        }
        let (at, after) = patch::jump(&form, ret.into(), next as u64);
        let place = at as usize..at as usize + after.len();
        let before = bytes[place.clone()].to_vec();
        bytes[place].copy_from_slice(&after);
        bytes[next..next + code.len()].copy_from_slice(&code);
        let gap = match &form {
            Form::Mov(gap) => gap.len(),
            Form::Xor(_) => 0,
        };
        sites.push(Site { at, trampoline: next as u64, before, after, gap });
        next = (next + code.len()).next_multiple_of(4);
    }
    (!sites.is_empty()).then_some((sites, tail as u64))
}

/// The call's number and the form of a site that loads it by a `mov`.
fn site_at(bytes: &[u8], ret: usize) -> Option<(u64, Form)> {
    let code = bytes.get(ret.saturating_sub(patch::BEFORE as usize)..ret)?;
    Patches::numbered(code)
}

impl Mapped {
    /// First address behind it.
    pub(crate) fn end(&self) -> u64 {
        self.addr + self.text.len
    }

    /// Its sites, where they stand in this space.
    pub(crate) fn sites(&self) -> impl Iterator<Item = Site> {
        let copy = self.copy.iter().filter(|_| !self.restored);
        copy.flat_map(|c| &c.sites).map(|s| Site {
            at: s.at + self.addr,
            trampoline: s.trampoline + self.addr,
            ..s.clone()
        })
    }

    /// Where a thread goes on that stands in one of its trampolines, and whether amid the site's gap.
    pub(crate) fn site_of(&self, rip: u64) -> Option<(u64, bool)> {
        let copy = self.copy.as_ref()?;
        let at = rip.checked_sub(self.addr).filter(|&at| at >= copy.tail && at < copy.len)?;
        let next = copy.sites.partition_point(|s| s.trampoline <= at);
        let site = copy.sites.get(next.checked_sub(1)?)?;
        Some(patch::original(site.at + self.addr, site.gap, at - site.trampoline))
    }
}
