//! Where a core dump goes: `kernel.core_pattern` (core(5)).

use abi::errno::EINVAL;
use ksync::Mutex;

use crate::{error::Result, locks};

/// Longest pattern, its NUL included.
const PATTERN_MAX: usize = 128;
/// Longest name that is made of it.
const NAME_MAX: usize = 4096;

/// What root may set of core dumps.
pub struct Settings {
    inner: Mutex<(String, bool)>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { inner: Mutex::new(locks::LEAF, ("core".into(), false)) }
    }
}

impl Settings {
    pub fn pattern(&self) -> String {
        self.inner.lock().0.clone()
    }
    /// `kernel.core_uses_pid`.
    pub fn uses_pid(&self) -> bool {
        self.inner.lock().1
    }
    /// EINVAL for a program that dumps would be piped to: nothing here runs one. Cut to 127 bytes.
    pub fn set_pattern(&self, p: &str) -> Result<()> {
        if p.starts_with(['|', '@']) {
            return Err(EINVAL);
        }
        let mut end = p.len().min(PATTERN_MAX - 1);
        while !p.is_char_boundary(end) {
            end -= 1;
        }
        self.inner.lock().0 = p[..end].to_string();
        Ok(())
    }
    pub fn set_uses_pid(&self, v: bool) {
        self.inner.lock().1 = v;
    }
}

/// What the letters of a pattern stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) pid: i32,
    pub(super) tid: i32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) dumpable: u8,
    pub(super) signo: i32,
    /// Seconds since the epoch.
    pub(super) time: u64,
    pub(super) host: String,
    pub(super) comm: Vec<u8>,
    pub(super) exe: Vec<u8>,
    pub(super) limit: u64,
    pub(super) cpu: u32,
}

/// A text that becomes part of one component.
fn one_component(text: &[u8]) -> Vec<u8> {
    let mut t: Vec<u8> = text.iter().map(|c| if *c == b'/' { b'!' } else { *c }).collect();
    // Nobody's name leads up.
    if t == b"." || t == b".." {
        t[0] = b'!';
    }
    t
}

/// The name that a pattern makes. ENAMETOOLONG is the caller's: `None` for an empty or too long one.
pub(super) fn make(pattern: &str, uses_pid: bool, f: &Facts) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut pid_used = false;
    let mut bytes = pattern.bytes();
    while let Some(c) = bytes.next() {
        if c != b'%' {
            out.push(c);
            continue;
        }
        match bytes.next() {
            // A lone % at the end says nothing.
            None => break,
            Some(b'%') => out.push(b'%'),
            Some(b'p') => {
                pid_used = true;
                out.extend(f.pid.to_string().bytes());
            }
            Some(b'P') => out.extend(f.pid.to_string().bytes()),
            Some(b'i' | b'I') => out.extend(f.tid.to_string().bytes()),
            Some(b'u') => out.extend(f.uid.to_string().bytes()),
            Some(b'g') => out.extend(f.gid.to_string().bytes()),
            Some(b'd') => out.extend(f.dumpable.to_string().bytes()),
            Some(b's') => out.extend(f.signo.to_string().bytes()),
            Some(b't') => out.extend(f.time.to_string().bytes()),
            Some(b'h') => out.extend(one_component(f.host.as_bytes())),
            Some(b'e') => out.extend(one_component(&f.comm)),
            Some(b'f') => out.extend(one_component(f.exe.rsplit(|c| *c == b'/').next().unwrap_or_default())),
            Some(b'E') => out.extend(one_component(&f.exe)),
            Some(b'c') => out.extend(f.limit.to_string().bytes()),
            Some(b'C') => out.extend(f.cpu.to_string().bytes()),
            // Others are dropped.
            Some(_) => {}
        }
    }
    if !pid_used && uses_pid {
        out.extend(format!(".{}", f.pid).bytes());
    }
    (!out.is_empty() && out.len() < NAME_MAX).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_a_pattern() {
        let f = Facts {
            pid: 12,
            tid: 13,
            uid: 1,
            gid: 2,
            dumpable: 1,
            signo: 11,
            time: 99,
            host: "h/x".into(),
            comm: b"..".to_vec(),
            exe: b"/bin/prog".to_vec(),
            limit: 5,
            cpu: 1,
        };
        let name = |p: &str, uses| make(p, uses, &f).map(|n| String::from_utf8(n).unwrap());
        assert_eq!(name("core", false).as_deref(), Some("core"));
        assert_eq!(name("core", true).as_deref(), Some("core.12"));
        assert_eq!(name("c%p", true).as_deref(), Some("c12"));
        assert_eq!(name("%P%i%u%g%d%s%t%%%z%", false).as_deref(), Some("12131211199%"));
        assert_eq!(name("/d/%h.%e.%f.%E.%c.%C", false).as_deref(), Some("/d/h!x.!..prog.!bin!prog.5.1"));
        assert_eq!(name("", false), None);
    }

    #[test]
    fn pipes_are_refused() {
        let s = Settings::default();
        assert_eq!(s.set_pattern("|/bin/cat"), Err(EINVAL));
        assert_eq!(s.pattern(), "core");
        s.set_pattern(&"é".repeat(100)).unwrap();
        assert_eq!(s.pattern().len(), 126);
    }
}
