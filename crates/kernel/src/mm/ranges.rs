//! A set of address ranges.

use std::collections::BTreeMap;

/// Disjoint, non-adjacent ranges.
#[derive(Clone, Debug, Default)]
pub(super) struct RangeSet {
    ranges: BTreeMap<u64, u64>,
    bytes: u64,
}

impl RangeSet {
    /// Adds `[start, end)`.
    pub(super) fn add(&mut self, mut start: u64, mut end: u64) {
        while let Some((&s, &e)) = self.ranges.range(..=end).next_back()
            && e >= start
        {
            self.ranges.remove(&s);
            self.bytes -= e - s;
            start = start.min(s);
            end = end.max(e);
        }
        self.ranges.insert(start, end);
        self.bytes += end - start;
    }

    /// Bytes in all ranges.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The range that holds `addr`.
    pub(super) fn range_of(&self, addr: u64) -> Option<(u64, u64)> {
        self.ranges.range(..=addr).next_back().map(|(s, e)| (*s, *e)).filter(|r| addr < r.1)
    }

    /// Whether any of `[start, end)` is in the set.
    pub(super) fn touches(&self, start: u64, end: u64) -> bool {
        self.ranges.range(..end).next_back().is_some_and(|(_, e)| *e > start)
    }

    /// Removes `[start, end)` and returns what of it was there.
    pub(super) fn remove(&mut self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let gone = self.within(start, end);
        for &(s, e) in &gone {
            self.bytes -= e - s;
            // The range that holds this piece.
            if let Some((&rs, &re)) = self.ranges.range(..=s).next_back() {
                self.ranges.remove(&rs);
                if rs < s {
                    self.ranges.insert(rs, s);
                }
                if e < re {
                    self.ranges.insert(e, re);
                }
            }
        }
        gone
    }

    /// The parts of the set in `[start, end)`.
    pub(super) fn within(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let first = self.ranges.range(..=start).next_back().map_or(start, |(s, _)| *s);
        let parts = self.ranges.range(first..end.max(first));
        parts.map(|(s, e)| ((*s).max(start), (*e).min(end))).filter(|(s, e)| s < e).collect()
    }

    /// If `addr` is not in the set: the largest range around it, inside `[low, high)`, that is not.
    pub(super) fn gap_around(&self, addr: u64, low: u64, high: u64) -> Option<(u64, u64)> {
        let below = self.ranges.range(..=addr).next_back().map_or(low, |(_, e)| *e);
        if below > addr {
            return None;
        }
        let above = self.ranges.range(addr..).next().map_or(high, |(s, _)| *s);
        Some((below.max(low), above.min(high)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set_of_numbers(ops in prop::collection::vec((any::<bool>(), 0u64..64, 1u64..16), 1..60)) {
            let mut set = RangeSet::default();
            let mut model = [false; 96];
            for (add, start, len) in ops {
                let end = start + len;
                if add {
                    set.add(start, end);
                } else {
                    let gone: u64 = set.remove(start, end).iter().map(|(s, e)| e - s).sum();
                    prop_assert_eq!(gone, (start..end).filter(|i| model[*i as usize]).count() as u64);
                }
                for i in start..end {
                    model[i as usize] = add;
                }
                prop_assert_eq!(set.bytes(), model.iter().filter(|m| **m).count() as u64);
                for i in 0..90u64 {
                    prop_assert_eq!(set.touches(i, i + 3), model[i as usize..i as usize + 3].contains(&true));
                    prop_assert_eq!(set.range_of(i).is_some(), model[i as usize]);
                    let here = set.within(i, i + 1).len() == 1;
                    prop_assert_eq!(here, model[i as usize]);
                    let gap = set.gap_around(i, 0, 90);
                    prop_assert_eq!(gap.is_none(), here);
                    if let Some((a, b)) = gap {
                        prop_assert!((a..b).contains(&i) && (a..b).all(|k| !model[k as usize]));
                        prop_assert!(a == 0 || model[a as usize - 1]);
                        prop_assert!(b == 90 || model[b as usize]);
                    }
                }
            }
        }
    }
}
