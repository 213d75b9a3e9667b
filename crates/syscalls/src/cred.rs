//! Credentials: setuid and its kin, groups, capabilities (credentials(7), capabilities(7)).

use abi::{
    cap::*,
    errno::{EINVAL, EPERM, ESRCH},
    nr,
};
use kernel::{
    Result,
    task::{Cred, TaskCx},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_SETUID, "setuid", setuid),
    Row::new(nr::SYS_SETGID, "setgid", setgid),
    Row::new(nr::SYS_SETREUID, "setreuid", setreuid),
    Row::new(nr::SYS_SETREGID, "setregid", setregid),
    Row::new(nr::SYS_SETRESUID, "setresuid", setresuid),
    Row::new(nr::SYS_SETRESGID, "setresgid", setresgid),
    Row::new(nr::SYS_GETRESUID, "getresuid", getresuid),
    Row::new(nr::SYS_GETRESGID, "getresgid", getresgid),
    Row::new(nr::SYS_SETFSUID, "setfsuid", setfsuid),
    Row::new(nr::SYS_SETFSGID, "setfsgid", setfsgid),
    Row::new(nr::SYS_GETGROUPS, "getgroups", getgroups),
    Row::new(nr::SYS_SETGROUPS, "setgroups", setgroups),
    Row::new(nr::SYS_CAPGET, "capget", capget),
    Row::new(nr::SYS_CAPSET, "capset", capset),
];

/// "Leave unchanged" in setreuid(2) and setresuid(2).
const KEEP: u32 = u32::MAX;
/// Most supplementary groups (NGROUPS_MAX).
const GROUPS_MAX: usize = 65536;

/// The capabilities that go and come with the file-system user id.
const FS_CAPS: u64 = 1 << CAP_CHOWN
    | 1 << CAP_DAC_OVERRIDE
    | 1 << CAP_DAC_READ_SEARCH
    | 1 << CAP_FOWNER
    | 1 << CAP_FSETID
    | 1 << CAP_LINUX_IMMUTABLE
    | 1 << CAP_MKNOD
    | 1 << CAP_MAC_OVERRIDE;

/// Adjusts capabilities after the user ids changed (capabilities(7), "Effect of user ID changes").
fn fix_caps(old: &Cred, new: &mut Cred, keep_caps: bool) {
    if new.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    let has_root = new.uid == 0 || new.euid == 0 || new.suid == 0;
    if had_root && !has_root {
        if !keep_caps {
            new.cap_permitted = 0;
            new.cap_effective = 0;
        }
        new.cap_ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.cap_effective = 0;
    }
    if old.euid != 0 && new.euid == 0 {
        new.cap_effective = new.cap_permitted;
    }
}

/// Puts new credentials in force for the caller.
fn commit(cx: &mut TaskCx, new: Cred) {
    kernel::task::cred::commit(cx, new);
}

fn keeps_caps(cx: &TaskCx, c: &Cred) -> bool {
    cx.task.sched.lock().keep_caps || c.securebits & SECBIT_KEEP_CAPS != 0
}

fn change_uids(cx: &mut TaskCx, f: impl FnOnce(&Cred, bool, &mut Cred) -> Result<()>) -> Result<u64> {
    let old = cx.cred();
    let mut new = (*old).clone();
    f(&old, old.has(CAP_SETUID), &mut new)?;
    new.fsuid = new.euid;
    let keep = keeps_caps(cx, &old);
    fix_caps(&old, &mut new, keep);
    commit(cx, new);
    Ok(0)
}

fn change_gids(cx: &mut TaskCx, f: impl FnOnce(&Cred, bool, &mut Cred) -> Result<()>) -> Result<u64> {
    let old = cx.cred();
    let mut new = (*old).clone();
    f(&old, old.has(CAP_SETGID), &mut new)?;
    new.fsgid = new.egid;
    commit(cx, new);
    Ok(0)
}

/// One id of setres*id: unchanged, one of the present three, or anything with the capability.
fn choose(now: u32, wanted: u32, present: [u32; 3], privileged: bool) -> Result<u32> {
    match wanted {
        KEEP => Ok(now),
        w if privileged || present.contains(&w) => Ok(w),
        _ => Err(EPERM),
    }
}

fn setuid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let uid = a.u32(0);
    if uid == KEEP {
        return Err(EINVAL);
    }
    change_uids(cx, |old, privileged, new| {
        if privileged {
            (new.uid, new.suid) = (uid, uid);
        } else if uid != old.uid && uid != old.suid {
            return Err(EPERM);
        }
        new.euid = uid;
        Ok(())
    })
}

fn setgid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let gid = a.u32(0);
    if gid == KEEP {
        return Err(EINVAL);
    }
    change_gids(cx, |old, privileged, new| {
        if privileged {
            (new.gid, new.sgid) = (gid, gid);
        } else if gid != old.gid && gid != old.sgid {
            return Err(EPERM);
        }
        new.egid = gid;
        Ok(())
    })
}

fn setreuid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (r, e) = (a.u32(0), a.u32(1));
    change_uids(cx, |old, privileged, new| {
        new.uid = choose(old.uid, r, [old.uid, old.euid, old.euid], privileged)?;
        new.euid = choose(old.euid, e, [old.uid, old.euid, old.suid], privileged)?;
        if r != KEEP || e != KEEP && e != old.uid {
            new.suid = new.euid;
        }
        Ok(())
    })
}

fn setregid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (r, e) = (a.u32(0), a.u32(1));
    change_gids(cx, |old, privileged, new| {
        new.gid = choose(old.gid, r, [old.gid, old.egid, old.egid], privileged)?;
        new.egid = choose(old.egid, e, [old.gid, old.egid, old.sgid], privileged)?;
        if r != KEEP || e != KEEP && e != old.gid {
            new.sgid = new.egid;
        }
        Ok(())
    })
}

fn setresuid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    change_uids(cx, |old, privileged, new| {
        let present = [old.uid, old.euid, old.suid];
        new.uid = choose(old.uid, a.u32(0), present, privileged)?;
        new.euid = choose(old.euid, a.u32(1), present, privileged)?;
        new.suid = choose(old.suid, a.u32(2), present, privileged)?;
        Ok(())
    })
}

fn setresgid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    change_gids(cx, |old, privileged, new| {
        let present = [old.gid, old.egid, old.sgid];
        new.gid = choose(old.gid, a.u32(0), present, privileged)?;
        new.egid = choose(old.egid, a.u32(1), present, privileged)?;
        new.sgid = choose(old.sgid, a.u32(2), present, privileged)?;
        Ok(())
    })
}

fn write_three(cx: &mut TaskCx, a: Args, ids: [u32; 3]) -> Result<u64> {
    for (i, id) in ids.into_iter().enumerate() {
        cx.write_u32(a.u64(i), id)?;
    }
    Ok(0)
}

fn getresuid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let c = cx.cred();
    write_three(cx, a, [c.uid, c.euid, c.suid])
}

fn getresgid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let c = cx.cred();
    write_three(cx, a, [c.gid, c.egid, c.sgid])
}

/// Answers the old id, also where it refuses.
fn setfsuid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let old = cx.cred();
    let id = a.u32(0);
    if id != KEEP && id != old.fsuid && (old.has(CAP_SETUID) || [old.uid, old.euid, old.suid].contains(&id)) {
        let mut new = (*old).clone();
        new.fsuid = id;
        if new.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
            if old.fsuid == 0 {
                new.cap_effective &= !FS_CAPS;
            } else if id == 0 {
                new.cap_effective |= new.cap_permitted & FS_CAPS;
            }
        }
        commit(cx, new);
    }
    Ok(u64::from(old.fsuid))
}

fn setfsgid(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let old = cx.cred();
    let id = a.u32(0);
    if id != KEEP && id != old.fsgid && (old.has(CAP_SETGID) || [old.gid, old.egid, old.sgid].contains(&id)) {
        let mut new = (*old).clone();
        new.fsgid = id;
        commit(cx, new);
    }
    Ok(u64::from(old.fsgid))
}

fn getgroups(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let room = usize::try_from(a.i32(0)).map_err(|_| EINVAL)?;
    let cred = cx.cred();
    if room != 0 {
        if cred.groups.len() > room {
            return Err(EINVAL);
        }
        let bytes: Vec<u8> = cred.groups.iter().flat_map(|g| g.to_le_bytes()).collect();
        cx.copy_out(a.u64(1), &bytes)?;
    }
    Ok(cred.groups.len() as u64)
}

fn setgroups(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let old = cx.cred();
    if !old.has(CAP_SETGID) {
        return Err(EPERM);
    }
    let count = a.u32(0) as usize;
    if count > GROUPS_MAX {
        return Err(EINVAL);
    }
    let mut bytes = vec![0; count * 4];
    cx.copy_in(a.u64(1), &mut bytes)?;
    let mut groups: Vec<u32> =
        bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    if groups.contains(&KEEP) {
        return Err(EINVAL);
    }
    groups.sort_unstable();
    let new = Cred { groups, ..(*old).clone() };
    commit(cx, new);
    Ok(0)
}

/// The header's version and thread. An unknown version is answered with the preferred one in the header.
fn cap_header(cx: &mut TaskCx, addr: u64) -> Result<Option<(usize, i32)>> {
    let h = CapHeader::decode(&cx.read_array(addr)?);
    let words = match h.version {
        _LINUX_CAPABILITY_VERSION_1 => 1,
        _LINUX_CAPABILITY_VERSION_2 | _LINUX_CAPABILITY_VERSION_3 => 2,
        _ => {
            cx.write_u32(addr, _LINUX_CAPABILITY_VERSION_3)?;
            return Ok(None);
        }
    };
    Ok(Some((words, h.pid)))
}

fn capget(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (header, data) = (a.u64(0), a.u64(1));
    let Some((words, pid)) = cap_header(cx, header)? else {
        return if data == 0 { Ok(0) } else { Err(EINVAL) };
    };
    if pid < 0 {
        return Err(EINVAL);
    }
    let cred = if pid == 0 || pid == cx.task.tid() {
        cx.cred()
    } else {
        cx.machine().tree.task(pid).ok_or(ESRCH)?.cred()
    };
    if data == 0 {
        return Ok(0);
    }
    let sets = CapData {
        effective: cred.cap_effective,
        permitted: cred.cap_permitted,
        inheritable: cred.cap_inheritable,
    };
    cx.copy_out(data, &sets.encode()[..12 * words])?;
    Ok(0)
}

fn capset(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let Some((words, pid)) = cap_header(cx, a.u64(0))? else { return Err(EINVAL) };
    if pid != 0 && pid != cx.task.tid() {
        return Err(EPERM);
    }
    let mut bytes = [0; CapData::SIZE];
    cx.copy_in(a.u64(1), &mut bytes[..12 * words])?;
    let mut d = CapData::decode(&bytes);
    d.effective &= CAP_FULL_SET;
    d.permitted &= CAP_FULL_SET;
    d.inheritable &= CAP_FULL_SET;
    let old = cx.cred();
    let beyond = |set: u64, limit: u64| set & !limit != 0;
    if !old.has(CAP_SETPCAP) && beyond(d.inheritable, old.cap_inheritable | old.cap_permitted)
        || beyond(d.inheritable, old.cap_inheritable | old.cap_bounding)
        || beyond(d.permitted, old.cap_permitted)
        || beyond(d.effective, d.permitted)
    {
        return Err(EPERM);
    }
    let mut new = (*old).clone();
    new.cap_effective = d.effective;
    new.cap_permitted = d.permitted;
    new.cap_inheritable = d.inheritable;
    new.cap_ambient &= d.permitted & d.inheritable;
    commit(cx, new);
    Ok(0)
}
