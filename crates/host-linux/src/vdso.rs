//! The host's vDSO, whose code guests run: where it stands, and what is changed in it.

use crate::sys::{memory, process};

/// `__vdso_getcpu` as the system call.
///
/// ```text
/// mov eax, 309
/// syscall
/// ret
/// ```
const BY_CALL: [u8; 8] = [0xb8, 0x35, 0x01, 0x00, 0x00, 0x0f, 0x05, 0xc3];

/// `__vdso_getcpu` by what the host keeps in a segment's limit (as its own does), less the number at [`FIRST`].
///
/// ```text
/// mov eax, 0x7b
/// lsl eax, eax
/// and eax, 0xfff
/// sub eax, FIRST
/// test rdi, rdi; jz 1f; mov [rdi], eax; 1:
/// xor eax, eax
/// test rsi, rsi; jz 2f; mov [rsi], eax; 2:
/// ret
/// ```
const LESS_FIRST: [u8; 35] = [
    0xb8, 0x7b, 0x00, 0x00, 0x00, 0x0f, 0x03, 0xc0, 0x25, 0xff, 0x0f, 0x00, 0x00, 0x2d, 0x00, 0x00, 0x00,
    0x00, 0x48, 0x85, 0xff, 0x74, 0x02, 0x89, 0x07, 0x31, 0xc0, 0x48, 0x85, 0xf6, 0x74, 0x02, 0x89, 0x06,
    0xc3,
];
const FIRST: usize = 14;

/// How the machine's processors are numbered on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// One after the other from this number on.
    From(u32),
    Otherwise,
}

/// Code that is to be put into the image, and where.
pub(crate) struct Change {
    pub(crate) at: u64,
    pub(crate) code: Vec<u8>,
}

/// An image is not larger.
const LEN_MAX: u64 = 64 << 10;

/// The host's [vvar]/[vdso] block and the address of the image.
pub(crate) struct Vdso {
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) image: u64,
}

impl Vdso {
    /// `None` if there is none, or if it cannot be told from its neighbours.
    pub(crate) fn find() -> Option<Vdso> {
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
            let (low, high, image) = memory::vdso_by_probing()?;
            return Some(Vdso { low, high, image });
        };
        let (mut low, mut high, mut image) = (u64::MAX, 0, 0);
        for line in maps.lines() {
            if !(line.contains("[vvar") || line.ends_with("[vdso]")) {
                continue;
            }
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
            (low, high) = (low.min(from), high.max(to));
            if line.ends_with("[vdso]") {
                image = from;
            }
        }
        (image != 0).then_some(Vdso { low, high, image })
    }

    /// What makes the image tell the machine's processor; `None` if it does, or if nothing can be changed.
    pub(crate) fn getcpu(&self, numbers: Numbers) -> Option<Change> {
        if numbers == Numbers::From(0) {
            return None;
        }
        let (at, len) = self.function(b"__vdso_getcpu")?;
        let code = match numbers {
            Numbers::From(first) if len >= LESS_FIRST.len() => {
                let mut code = LESS_FIRST.to_vec();
                code[FIRST..FIRST + 4].copy_from_slice(&first.to_le_bytes());
                code
            }
            _ if len >= BY_CALL.len() => BY_CALL.to_vec(),
            _ => return None,
        };
        Some(Change { at, code })
    }

    /// Address and length of a function.
    fn function(&self, name: &[u8]) -> Option<(u64, usize)> {
        let mut image = vec![0; (self.high - self.image).min(LEN_MAX) as usize];
        let got = process::vm_read(process::own_pid(), self.image, &mut image).ok()?;
        image.truncate(got);
        let (at, len) = symbol(&image, name)?;
        let is_inside = at.checked_add(len).is_some_and(|end| end <= image.len() as u64);
        is_inside.then_some((self.image + at, len as usize))
    }
}

/// Value and size of a dynamic symbol (elf(5)).
fn symbol(image: &[u8], name: &[u8]) -> Option<(u64, u64)> {
    const SHT_DYNSYM: u64 = 11;
    const SYMBOL: u64 = 24;
    let number = |at: u64, len: u64| {
        let at = usize::try_from(at).ok()?;
        let bytes = image.get(at..at.checked_add(len as usize)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    let field = |base: u64, at: u64, len| number(base.checked_add(at)?, len);
    let (table, step, count) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?);
    let section = |i: u64| table.checked_add(i.checked_mul(step)?);
    let dynsym = (0..count).filter_map(section).find(|s| field(*s, 4, 4) == Some(SHT_DYNSYM))?;
    let (from, len) = (field(dynsym, 0x18, 8)?, field(dynsym, 0x20, 8)?);
    let names = field(section(field(dynsym, 0x28, 4)?)?, 0x18, 8)?;
    let is_named = |s: &u64| {
        let at = usize::try_from(names.checked_add(number(*s, 4)?)?).ok()?;
        Some(image.get(at..)?.strip_prefix(name)?.first()? == &0)
    };
    let end = from.checked_add(len.min(image.len() as u64))?;
    let found = (from..end).step_by(SYMBOL as usize).find(|s| is_named(s) == Some(true))?;
    Some((field(found, 8, 8)?, field(found, 16, 8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_found() {
        let vdso = Vdso::find().unwrap();
        let change = vdso.getcpu(Numbers::From(3)).unwrap();
        assert!((vdso.image..vdso.high).contains(&change.at));
        assert!(vdso.getcpu(Numbers::Otherwise).is_some_and(|c| c.code == BY_CALL));
        assert!(vdso.getcpu(Numbers::From(0)).is_none());
    }

    #[test]
    fn nothing_is_found_in_garbage() {
        assert_eq!(symbol(b"", b"x"), None);
        let mut state = 1u32;
        for _ in 0..200 {
            let image: Vec<u8> = (0..512)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            assert_eq!(symbol(&image, b"getcpu"), None);
        }
        assert_eq!(symbol(&[0xff; 4096], b"x"), None);
    }
}
