//! Credentials (credentials(7), capabilities(7)). Immutable values; a task that changes its own takes a new one.

/// User, groups and capabilities of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cred {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    /// Capability sets, one bit each.
    pub cap_permitted: u64,
    pub cap_effective: u64,
    pub cap_inheritable: u64,
    pub cap_bounding: u64,
    pub cap_ambient: u64,
    pub securebits: u32,
}

/// All capabilities that exist (0..=CAP_CHECKPOINT_RESTORE).
pub const ALL_CAPS: u64 = (1 << 41) - 1;

impl Cred {
    pub fn root() -> Cred {
        Cred {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Vec::new(),
            cap_permitted: ALL_CAPS,
            cap_effective: ALL_CAPS,
            cap_inheritable: 0,
            cap_bounding: ALL_CAPS,
            cap_ambient: 0,
            securebits: 0,
        }
    }

    /// A plain user with supplementary groups.
    pub fn user(uid: u32, gid: u32, groups: Vec<u32>) -> Cred {
        let caps = if uid == 0 { ALL_CAPS } else { 0 };
        Cred {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups,
            cap_permitted: caps,
            cap_effective: caps,
            ..Cred::root()
        }
    }

    /// Holds capability number `cap` effectively.
    pub fn has(&self, cap: u32) -> bool {
        self.cap_effective >> cap & 1 != 0
    }

    /// Is in `gid` for file access.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}

/// Puts new credentials in force for the running task.
pub fn commit(cx: &mut super::TaskCx, new: Cred) {
    let old = cx.cred();
    // A change of user or group makes what the process holds unreadable to others (prctl(2), PR_SET_DUMPABLE).
    if old.euid != new.euid || old.egid != new.egid || old.fsuid != new.fsuid || old.fsgid != new.fsgid {
        cx.task.process.state.lock().dumpable = 0;
        cx.task.sched.lock().pdeath_signal = 0;
    }
    if old.uid != new.uid {
        let mut tree = cx.machine().tree.lock();
        tree.user_leave(old.uid);
        tree.user_enter(new.uid);
        let pid = cx.task.pid();
        if cx.task.is_leader()
            && let Some(node) = tree.nodes.get_mut(&pid)
        {
            node.uid = new.uid;
        }
    }
    *cx.task.cred.write() = std::sync::Arc::new(new);
    cx.update_fast_ids();
}
