//! Credentials over execve(2): set-id bits, file capabilities, the capability rules of capabilities(7).

use abi::{
    cap::{CAP_FULL_SET, SECBIT_KEEP_CAPS, SECBIT_NOROOT},
    errno::EPERM,
    fs::MS_NOSUID,
};

use super::{Cred, TaskCx};
use crate::{
    error::Result,
    vfs::{file::File, inode::Attr},
};

/// Mode bits that change ids.
const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o010;

/// Capabilities a file gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FileCaps {
    permitted: u64,
    inheritable: u64,
    effective: bool,
}

/// Who a program runs as.
pub(super) struct NewCred {
    pub(super) cred: Cred,
    /// AT_SECURE: it has more rights than who started it.
    pub(super) secure: bool,
}

/// Reads a `security.capability` attribute of version 2 or 3 (whose root id must be 0); others count as none.
fn parse_file_caps(b: &[u8]) -> Option<FileCaps> {
    let word = |i: usize| b.get(4 * i..4 * i + 4)?.try_into().ok().map(u32::from_le_bytes);
    let magic = word(0)?;
    match (magic >> 24, b.len()) {
        (2, 20) => {}
        (3, 24) if word(5)? == 0 => {}
        _ => return None,
    }
    let set = |low: usize, high: usize| Some(u64::from(word(low)?) | u64::from(word(high)?) << 32);
    Some(FileCaps {
        permitted: set(1, 3)? & CAP_FULL_SET,
        inheritable: set(2, 4)? & CAP_FULL_SET,
        effective: magic & 1 != 0,
    })
}

/// The credentials that `file` gives the running task. EPERM if a file's effective capabilities cannot all be had.
pub(super) fn new_cred(cx: &TaskCx, file: &File, attr: &Attr) -> Result<NewCred> {
    let old = cx.cred();
    // Whoever traces a program has its rights: it gets no more than the tracer may have (ptrace(2)).
    let watched = cx.task.work().contains(super::Work::TRACED) && !crate::ptrace::tracer_may(cx);
    let trusted = file.path.mount.flags() & MS_NOSUID == 0 && !cx.task.sched.lock().no_new_privs && !watched;
    let caps = match file.inode() {
        Some(i) if trusted && attr.mode & 0o111 != 0 => {
            i.xattr().and_then(|x| x.get(b"security.capability").ok()).and_then(|b| parse_file_caps(&b))
        }
        _ => None,
    };
    transition(&old, attr, trusted, caps)
}

fn transition(old: &Cred, attr: &Attr, trusted: bool, caps: Option<FileCaps>) -> Result<NewCred> {
    let mut new = old.clone();
    if trusted {
        if attr.mode & S_ISUID != 0 {
            new.euid = attr.uid;
        }
        if attr.mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP {
            new.egid = attr.gid;
        }
    }
    let file_has_caps = caps.is_some();
    let mut f = caps.unwrap_or_default();
    if f.effective
        && (f.permitted & old.cap_bounding | f.inheritable & old.cap_inheritable) & f.permitted != f.permitted
    {
        // A program that relies on its capabilities must not run with fewer.
        return Err(EPERM);
    }
    let noroot = old.securebits & SECBIT_NOROOT != 0;
    // A set-user-ID root program with capabilities of its own, started by another, has just these.
    let root_by_file_caps = file_has_caps && new.uid != 0 && new.euid == 0;
    if !noroot && !root_by_file_caps && (new.uid == 0 || new.euid == 0) {
        f.permitted = CAP_FULL_SET;
        f.inheritable = CAP_FULL_SET;
        f.effective = f.effective || new.euid == 0;
    }
    let setid = new.euid != old.uid || new.egid != old.gid;
    if file_has_caps || setid {
        new.cap_ambient = 0;
    }
    new.cap_permitted =
        old.cap_inheritable & f.inheritable | f.permitted & old.cap_bounding | new.cap_ambient;
    new.cap_effective = if f.effective { new.cap_permitted } else { new.cap_ambient };
    (new.suid, new.fsuid, new.sgid, new.fsgid) = (new.euid, new.euid, new.egid, new.egid);
    new.securebits &= !SECBIT_KEEP_CAPS;
    let grew = new.cap_permitted & !new.cap_ambient != 0
        && (f.effective || new.cap_permitted & !old.cap_permitted != 0);
    let secure = setid || new.uid != 0 && grew;
    Ok(NewCred { cred: new, secure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32) -> Attr {
        Attr { mode, ..Attr::default() }
    }

    #[test]
    fn a_user_stays_a_user_and_root_stays_root() {
        let user = Cred::user(1000, 1000, vec![]);
        let n = transition(&user, &file(0o100755), true, None).unwrap();
        assert_eq!((n.cred, n.secure), (user, false));
        let n = transition(&Cred::root(), &file(0o100755), true, None).unwrap();
        assert_eq!((n.cred, n.secure), (Cred::root(), false));
    }

    #[test]
    fn set_user_id_root_gives_all_capabilities() {
        let user = Cred::user(1000, 1000, vec![]);
        let n = transition(&user, &file(0o104755), true, None).unwrap();
        assert_eq!((n.cred.uid, n.cred.euid, n.cred.suid, n.cred.fsuid), (1000, 0, 0, 0));
        assert_eq!(n.cred.cap_effective, CAP_FULL_SET);
        assert!(n.secure);
        let n = transition(&user, &file(0o104755), false, None).unwrap();
        assert_eq!((n.cred, n.secure), (user.clone(), false));
        // Without group execution the bit means something else.
        let n = transition(&user, &file(0o102745), true, None).unwrap();
        assert_eq!(n.cred.egid, 1000);
    }

    #[test]
    fn leaving_root_drops_capabilities() {
        let mut c = Cred::root();
        (c.uid, c.euid, c.suid, c.fsuid) = (1000, 1000, 1000, 1000);
        let n = transition(&c, &file(0o100755), true, None).unwrap();
        assert_eq!((n.cred.cap_permitted, n.cred.cap_effective), (0, 0));
        c.cap_inheritable = 2;
        c.cap_ambient = 2;
        let n = transition(&c, &file(0o100755), true, None).unwrap();
        assert_eq!((n.cred.cap_permitted, n.cred.cap_effective, n.secure), (2, 2, false));
    }

    #[test]
    fn file_capabilities() {
        let mut b = vec![1, 0, 0, 2];
        b.extend_from_slice(&[0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let caps = parse_file_caps(&b).unwrap();
        assert_eq!(caps, FileCaps { permitted: 1 << 13, inheritable: 0, effective: true });
        assert_eq!(parse_file_caps(&b[..19]), None);
        let mut user = Cred::user(1000, 1000, vec![]);
        let n = transition(&user, &file(0o100755), true, Some(caps)).unwrap();
        assert_eq!((n.cred.cap_effective, n.secure), (1 << 13, true));
        user.cap_bounding = 0;
        assert!(matches!(transition(&user, &file(0o100755), true, Some(caps)), Err(EPERM)));
    }
}
