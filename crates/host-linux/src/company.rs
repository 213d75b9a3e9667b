//! Who wakes whom. Tasks that wake each other again and again are better off on one processor once there are more of them
//! than processors: a wake-up from afar costs several times what one on the same processor does. So the balancer
//! ([`crate::placement`]) lets two of them change places if each is woken from where the other is.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Wake-ups from afar, of late, from which on a task is looked at: 800 a second.
const OFTEN: u32 = 32;

/// What a task's kernel thread counts of its wake-ups.
#[derive(Default)]
pub(crate) struct Company {
    waker: AtomicU64,
    near: AtomicU32,
    far: AtomicU32,
}

impl Company {
    pub(crate) fn woken(&self, waker: u64, is_near: bool) {
        self.waker.store(waker, Relaxed);
        let count = if is_near { &self.near } else { &self.far };
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

/// What the balancer makes of it: wake-ups of late, of which older ones count less and less.
#[derive(Clone, Copy, Default)]
pub(crate) struct Recent {
    seen: (u32, u32),
    near: u32,
    far: u32,
}

impl Recent {
    pub(crate) fn look(&mut self, company: &Company) {
        let now = (company.near.load(Relaxed), company.far.load(Relaxed));
        self.near = self.near / 4 * 3 + now.0.wrapping_sub(self.seen.0);
        self.far = self.far / 4 * 3 + now.1.wrapping_sub(self.seen.1);
        self.seen = now;
    }
}

/// A task as the balancer sees it.
pub(crate) struct Member {
    pub(crate) who: u64,
    pub(crate) cpu: u32,
    pub(crate) waker: u64,
    pub(crate) recent: Recent,
    /// It may go wherever the others are.
    pub(crate) free: bool,
}

impl Member {
    pub(crate) fn new(who: u64, cpu: u32, company: &Company, recent: Recent, free: bool) -> Member {
        Member { who, cpu, waker: company.waker.load(Relaxed), recent, free }
    }

    fn is_woken_from_afar(&self) -> bool {
        self.free && self.recent.far >= OFTEN && self.recent.far > 2 * self.recent.near
    }
}

/// Two tasks that are woken each from the other's processor, but by somebody else there.
pub(crate) fn exchange(members: &[Member]) -> Option<(usize, usize)> {
    let wakes = |from: u32, x: &Member| members.iter().any(|w| w.who == x.waker && w.cpu == from);
    let fit = |x: &Member, y: &Member| {
        y.is_woken_from_afar()
            && y.cpu != x.cpu
            && x.waker != y.who
            && y.waker != x.who
            && wakes(y.cpu, x)
            && wakes(x.cpu, y)
    };
    members.iter().enumerate().filter(|(_, x)| x.is_woken_from_afar()).find_map(|(i, x)| {
        let j = members.iter().position(|y| fit(x, y))?;
        Some((i, j))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks numbered from 1 by processor and waker, all woken often: from afar if the waker is.
    fn tasks(list: &[(u32, u64)]) -> Vec<Member> {
        let one = |(i, &(cpu, waker)): (usize, &(u32, u64))| {
            let far = list.get(waker as usize - 1).is_some_and(|w| w.0 != cpu);
            let recent = Recent { seen: (0, 0), near: u32::from(!far) * 100, far: u32::from(far) * 100 };
            Member { who: i as u64 + 1, cpu, waker, recent, free: true }
        };
        list.iter().enumerate().map(one).collect()
    }

    #[test]
    fn those_who_talk_come_together() {
        // Two clients on one processor, three of their four servers on the other.
        let mut list = [(1, 3), (1, 5), (1, 1), (0, 1), (0, 2), (0, 2)];
        let mut steps = 0;
        while let Some((i, j)) = exchange(&tasks(&list)) {
            (list[i].0, list[j].0) = (list[j].0, list[i].0);
            steps += 1;
            assert!(steps < 4, "{list:?}");
        }
        assert!(list.iter().all(|t| list[t.1 as usize - 1].0 == t.0), "{list:?}");
        assert_eq!(list.iter().filter(|t| t.0 == 0).count(), 3);
    }

    #[test]
    fn two_alone_stay_where_they_are() {
        assert_eq!(exchange(&tasks(&[(0, 2), (1, 1)])), None);
        // Their wakers are on their own side, or not known.
        assert_eq!(exchange(&tasks(&[(0, 3), (1, 4), (0, 1), (1, 2)])), None);
        assert_eq!(exchange(&tasks(&[(0, 9), (1, 9)])), None);
        // One that may not leave.
        let mut list = tasks(&[(0, 4), (1, 3), (0, 2), (1, 1)]);
        assert!(exchange(&list).is_some());
        list.iter_mut().for_each(|m| m.free = m.cpu == 0);
        assert_eq!(exchange(&list), None);
    }

    #[test]
    fn what_is_long_past_does_not_count() {
        let (c, mut r) = (Company::default(), Recent::default());
        (0..100).for_each(|i| c.woken(7, i % 4 == 0));
        r.look(&c);
        assert_eq!((r.near, r.far), (25, 75));
        assert!(Member::new(1, 0, &c, r, true).is_woken_from_afar());
        (0..20).for_each(|_| r.look(&c));
        assert_eq!((r.near, r.far), (0, 0));
    }
}
