//! A set of page numbers, grown as needed.

/// One bit per page.
#[derive(Default)]
pub(super) struct Bitmap {
    words: Vec<u64>,
}

/// Bits `[from, to)` of a word, where both are within it.
fn mask(from: u64, to: u64) -> u64 {
    let below = |n: u64| if n >= 64 { u64::MAX } else { (1 << n) - 1 };
    below(to) & !below(from)
}

impl Bitmap {
    /// Calls `f(word, mask)` for the words of `[first, last)` that exist.
    fn each(&mut self, first: u64, last: u64, mut f: impl FnMut(&mut u64, u64)) {
        let last = last.min(self.words.len() as u64 * 64);
        let mut at = first;
        while at < last {
            let base = at / 64 * 64;
            let to = last.min(base + 64);
            f(&mut self.words[(at / 64) as usize], mask(at - base, to - base));
            at = to;
        }
    }

    /// Adds `[first, last)`.
    pub(super) fn set(&mut self, first: u64, last: u64) {
        let words = last.div_ceil(64) as usize;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        self.each(first, last, |w, m| *w |= m);
    }

    /// Removes `[first, last)`; how many were there.
    pub(super) fn clear(&mut self, first: u64, last: u64) -> u64 {
        let mut n = 0;
        self.each(first, last, |w, m| {
            n += u64::from((*w & m).count_ones());
            *w &= !m;
        });
        n
    }

    /// How many of `[first, last)` are there.
    pub(super) fn count_in(&self, first: u64, last: u64) -> u64 {
        let last = last.min(self.words.len() as u64 * 64);
        let mut n = 0;
        let mut at = first;
        while at < last {
            let base = at / 64 * 64;
            let to = last.min(base + 64);
            n += u64::from((self.words[(at / 64) as usize] & mask(at - base, to - base)).count_ones());
            at = to;
        }
        n
    }

    pub(super) fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// Whether `first` is there, and how many pages from it on are the same, up to `last`.
    pub(super) fn run(&self, first: u64, last: u64) -> (bool, u64) {
        let word = |i: u64| self.words.get(i as usize).copied().unwrap_or(0);
        let set = word(first / 64) >> (first % 64) & 1 != 0;
        let mut at = first;
        while at < last {
            if at / 64 >= self.words.len() as u64 {
                return (set, if set { at - first } else { last - first });
            }
            let w = word(at / 64);
            let different = (if set { !w } else { w }) >> (at % 64);
            if different != 0 {
                at += u64::from(different.trailing_zeros());
                break;
            }
            at = (at / 64 + 1) * 64;
        }
        (set, at.min(last) - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_counts_agree_with_single_bits() {
        let mut b = Bitmap::default();
        b.set(3, 5);
        b.set(60, 200);
        assert_eq!(b.count(), 142);
        assert_eq!(b.clear(100, 101), 1);
        assert_eq!(b.count_in(60, 128), 67);
        assert_eq!(b.run(0, 1000), (false, 3));
        assert_eq!(b.run(3, 1000), (true, 2));
        assert_eq!(b.run(60, 1000), (true, 40));
        assert_eq!(b.run(100, 1000), (false, 1));
        assert_eq!(b.run(101, 150), (true, 49));
        assert_eq!(b.run(101, 1000), (true, 99));
        assert_eq!(b.run(200, 1000), (false, 800));
        assert_eq!(b.run(5000, 5001), (false, 1));
    }
}
