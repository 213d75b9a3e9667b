//! Propagation of mounts (mount_namespaces(7), "shared subtrees").
//!
//! Mounts with the same group are *peers*: what is mounted or unmounted on one happens on all. A mount with a master is a
//! *slave* of that group: it receives, and sends nothing back. It may have a group of its own besides, whose members all have
//! the same master. A group is there as long as it has members; its slaves then go to its master.

use std::sync::{Arc, atomic::Ordering};

use abi::errno::ENOSPC;
use rustc_hash::FxHashSet;

use super::{Mount, MountNs, key};
use crate::{
    error::Result,
    vfs::{dentry::Dentry, path::Path},
};

/// Most mounts of a namespace (fs.mount-max).
const MOUNTS_MAX: usize = 10_000;

/// To whom and from whom mounts propagate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Propagation {
    /// The peer group of a shared mount.
    pub group: Option<u64>,
    /// The group that it is a slave of.
    pub master: Option<u64>,
    /// May not be the source of a bind mount.
    pub unbindable: bool,
}

/// What mount(2) makes of a mount's propagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// A mount of a tree, and where it stands: on which one of the tree. The first is the tree's top, and stands elsewhere.
pub(super) struct Branch {
    pub(super) mount: Arc<Mount>,
    on: usize,
    at: Arc<Dentry>,
}

/// A peer group that an event reaches.
struct Reached {
    group: u64,
    /// The one that it is a slave of, in the list.
    master: Option<usize>,
    peers: Vec<Arc<Mount>>,
    /// Slaves of the group that have no peers.
    slaves: Vec<Arc<Mount>>,
}

/// What mounting a tree leads to.
pub(super) struct Plan {
    /// What becomes of the tree's own mounts, in their order; empty if nothing does.
    own: Vec<Propagation>,
    /// Which mounts get a copy of the tree, and what the copies become.
    copies: Vec<(Arc<Mount>, Vec<Propagation>)>,
}

impl MountNs {
    /// Changes the propagation of a mount, and with `recursive` of those below (mount(2), MS_SHARED and its kin).
    pub fn set_propagation(&self, mount: &Arc<Mount>, recursive: bool, kind: Kind) {
        let _changes = self.changes.lock();
        let below = if recursive { self.below(&mount.root_path()) } else { Vec::new() };
        for m in [mount].into_iter().chain(&below) {
            self.change_propagation(m, kind);
        }
        self.changed();
    }

    pub(super) fn change_propagation(&self, mount: &Arc<Mount>, kind: Kind) {
        match kind {
            Kind::Shared => mount.set_propagation(self.shared(mount)),
            Kind::Slave => self.leave_group(mount),
            Kind::Private | Kind::Unbindable => {
                self.leave_group(mount);
                let unbindable = kind == Kind::Unbindable;
                mount.set_propagation(Propagation { unbindable, ..Propagation::default() });
            }
        }
    }

    fn new_group(&self) -> u64 {
        self.next_group.fetch_add(1, Ordering::Relaxed)
    }

    /// What the mount is once it is shared.
    fn shared(&self, mount: &Mount) -> Propagation {
        let now = mount.propagation();
        let group = now.group.unwrap_or_else(|| self.new_group());
        Propagation { group: Some(group), unbindable: false, ..now }
    }

    /// A shared mount becomes a slave of those that were its peers. The last one leaves its slaves to its master.
    fn leave_group(&self, mount: &Arc<Mount>) {
        let now = mount.propagation();
        let Some(group) = now.group else { return };
        let all = self.mounts();
        let has_peers = all.iter().any(|m| !Arc::ptr_eq(m, mount) && m.propagation().group == Some(group));
        let master = if has_peers { Some(group) } else { now.master };
        mount.set_propagation(Propagation { group: None, master, ..now });
        for m in all.iter().filter(|_| !has_peers) {
            let its = m.propagation();
            if its.master == Some(group) {
                m.set_propagation(Propagation { master, ..its });
            }
        }
    }

    /// The group and its slaves near and far, each after its master.
    fn reached(&self, group: u64) -> Vec<Reached> {
        let all: Vec<(Arc<Mount>, Propagation)> =
            self.mounts().into_iter().map(|m| (m.clone(), m.propagation())).collect();
        let new = |group, master| Reached { group, master, peers: Vec::new(), slaves: Vec::new() };
        let mut found = vec![new(group, None)];
        let mut i = 0;
        while let Some(group) = found.get(i).map(|r| r.group) {
            for (m, p) in &all {
                if p.group == Some(group) {
                    found[i].peers.push(m.clone());
                }
                match p.group {
                    _ if p.master != Some(group) => {}
                    None => found[i].slaves.push(m.clone()),
                    Some(g) if found.iter().all(|r| r.group != g) => found.push(new(g, Some(i))),
                    Some(_) => {}
                }
            }
            i += 1;
        }
        found
    }

    /// The mounts below a place as a tree: `top` stands for what is seen there. Those that may not be bound are left out
    /// with all below them, if `bindable`.
    pub(super) fn tree(&self, top: &Path, recursive: bool, bindable: bool) -> Vec<Branch> {
        let branch = |mount: &Arc<Mount>, on, at| Branch { mount: mount.clone(), on, at };
        let mut tree = vec![branch(&top.mount, 0, top.dentry.clone())];
        for m in if recursive { self.below(top) } else { Vec::new() } {
            let Some(place) = m.place() else { continue };
            if bindable && m.propagation().unbindable {
                continue;
            }
            if let Some(on) = tree.iter().position(|b| Arc::ptr_eq(&b.mount, &place.mount)) {
                tree.push(branch(&m, on, place.dentry));
            }
        }
        tree
    }

    /// Puts a tree in place, which has been looked at.
    pub(super) fn stand_tree(&self, tree: &[Branch], at: &Path) {
        for (i, b) in tree.iter().enumerate() {
            let at = match i {
                0 => at.clone(),
                _ => Path { mount: tree[b.on].mount.clone(), dentry: b.at.clone() },
            };
            self.stand(&b.mount, at);
        }
    }

    /// What mounting `tree` at a place leads to. ENOSPC if there would be too many mounts.
    pub(super) fn plan(&self, tree: &[Branch], at: &Path) -> Result<Plan> {
        let mut plan = Plan { own: Vec::new(), copies: Vec::new() };
        if let Some(group) = at.mount.propagation().group {
            plan.own = tree.iter().map(|b| self.shared(&b.mount)).collect();
            self.plan_copies(&mut plan, group, at);
        }
        let more = tree.len().saturating_mul(1 + plan.copies.len());
        if self.table.read().order.len().saturating_add(more) > MOUNTS_MAX {
            return Err(ENOSPC);
        }
        Ok(plan)
    }

    fn plan_copies(&self, plan: &mut Plan, group: u64, at: &Path) {
        let sees = |m: &&Arc<Mount>| at.dentry.is_within(&m.root);
        let reached = self.reached(group);
        // What copies on the peers of each group become, and what those on its slaves are slaves of.
        let mut became: Vec<(Vec<Propagation>, Vec<Option<u64>>)> = Vec::new();
        for r in &reached {
            let as_peers: Vec<Propagation> = match r.master {
                None => plan.own.clone(),
                Some(master) => {
                    let of = |m: &Option<u64>| Propagation {
                        group: Some(self.new_group()),
                        master: *m,
                        unbindable: false,
                    };
                    became[master].1.iter().map(of).collect()
                }
            };
            let peers: Vec<_> = r.peers.iter().filter(sees).collect();
            // Where no peer has a copy, slaves follow the next master that has.
            let masters: Vec<Option<u64>> =
                as_peers.iter().map(|p| if peers.is_empty() { p.master } else { p.group }).collect();
            for m in peers.into_iter().filter(|m| !Arc::ptr_eq(m, &at.mount)) {
                plan.copies.push((m.clone(), as_peers.clone()));
            }
            for m in r.slaves.iter().filter(sees) {
                let of = |m: &Option<u64>| Propagation { master: *m, ..Propagation::default() };
                plan.copies.push((m.clone(), masters.iter().map(of).collect()));
            }
            became.push((as_peers, masters));
        }
    }

    /// Does what was planned for a tree that stands at a place now.
    pub(super) fn carry_out(&self, plan: &Plan, tree: &[Branch], at: &Path) {
        for (b, p) in tree.iter().zip(&plan.own) {
            b.mount.set_propagation(*p);
        }
        for (on, propagation) in &plan.copies {
            let copy = twins(tree);
            for (b, p) in copy.iter().zip(propagation) {
                b.mount.set_propagation(*p);
            }
            let place = Path { mount: on.clone(), dentry: at.dentry.clone() };
            // What is there already comes to stand on the copy.
            let covers = self.table.read().by_place.get(&key(&place)).cloned();
            if let Some(m) = &covers {
                self.take_away(m);
            }
            self.stand_tree(&copy, &place);
            if let (Some(m), Some(top)) = (covers, copy.first()) {
                let over = self.cross(top.mount.root_path());
                self.stand(&m, over);
            }
        }
    }

    /// What an unmount of `mount` takes away elsewhere.
    fn echoes(&self, mount: &Mount) -> Vec<Arc<Mount>> {
        let Some(place) = mount.place() else { return Vec::new() };
        let Some(group) = place.mount.propagation().group else { return Vec::new() };
        let on = |m: &Arc<Mount>| Path { mount: m.clone(), dentry: place.dentry.clone() };
        let reached = self.reached(group);
        let mounts = reached.iter().flat_map(|r| r.peers.iter().chain(&r.slaves));
        let table = self.table.read();
        mounts.filter_map(|m| table.by_place.get(&key(&on(m))).cloned()).collect()
    }

    /// Mounts on `mount`, other than the one that covers it wholly.
    fn inner(&self, mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let covers = |m: &Arc<Mount>| m.place().is_some_and(|p| Arc::ptr_eq(&p.dentry, &mount.root));
        self.children(mount).into_iter().filter(|m| !covers(m)).collect()
    }

    /// Whether somebody uses what an unmount of `mount` takes away elsewhere.
    pub(super) fn echoes_are_busy(&self, mount: &Mount, busy: impl Fn(&Arc<Mount>) -> bool) -> bool {
        self.echoes(mount).iter().any(|m| !std::ptr::eq(&**m, mount) && self.inner(m).is_empty() && busy(m))
    }

    /// What goes elsewhere when `tree` is unmounted; those that carry other mounts stay.
    pub(super) fn unmounted_elsewhere(&self, tree: &[Arc<Mount>]) -> Vec<Arc<Mount>> {
        let own: FxHashSet<u64> = tree.iter().map(|m| m.id).collect();
        let mut going: Vec<Arc<Mount>> = Vec::new();
        for m in tree.iter().flat_map(|m| self.echoes(m)) {
            if !own.contains(&m.id) && going.iter().all(|g| g.id != m.id) {
                going.push(m);
            }
        }
        loop {
            let ids: FxHashSet<u64> = going.iter().map(|m| m.id).collect();
            let goes = |m: &Arc<Mount>| ids.contains(&m.id) || own.contains(&m.id);
            let before = going.len();
            going.retain(|m| self.inner(m).iter().all(goes));
            if going.len() == before {
                return going;
            }
        }
    }

    /// Takes one of [`MountNs::unmounted_elsewhere`] away; what covered it comes to stand in its place.
    pub(super) fn detach_echo(&self, mount: &Arc<Mount>) {
        let place = mount.place();
        let covers = self.table.read().by_place.get(&key(&mount.root_path())).cloned();
        self.take_away(mount);
        self.change_propagation(mount, Kind::Private);
        if let (Some(m), Some(place)) = (covers, place) {
            self.take_away(&m);
            self.stand(&m, place);
        }
    }

    /// The nearest group that a slave gets mounts from and that has a member which is `visible`.
    pub fn visible_master(&self, mount: &Mount, visible: impl Fn(&Arc<Mount>) -> bool) -> Option<u64> {
        let all = self.mounts();
        let mut master = mount.propagation().master;
        while let Some(group) = master {
            let mut members = all.iter().filter(|m| m.propagation().group == Some(group)).peekable();
            master = members.peek().and_then(|m| m.propagation().master);
            if members.any(&visible) {
                return Some(group);
            }
        }
        None
    }
}

/// A tree of other mounts of the same.
pub(super) fn twins(tree: &[Branch]) -> Vec<Branch> {
    let twin = |b: &Branch| Branch { mount: b.mount.twin(b.mount.root.clone()), on: b.on, at: b.at.clone() };
    tree.iter().map(twin).collect()
}
