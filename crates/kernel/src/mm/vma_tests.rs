use proptest::prelude::*;

use super::*;

const P: u64 = PAGE_SIZE;

fn vma(start: u64, end: u64, write: bool) -> Vma {
    let prot = Prot { read: true, write, exec: false };
    let max = Prot { read: true, write: true, exec: true };
    Vma {
        start: start * P,
        end: end * P,
        prot,
        max,
        flags: VmaFlags::empty(),
        offset: 0,
        object: None,
        user: None,
    }
}

/// The pages of the tree: `Some(writable)`.
fn pages(t: &VmaTree, n: u64) -> Vec<Option<bool>> {
    (0..n).map(|i| t.find(i * P).map(|v| v.prot.write)).collect()
}

fn check(t: &VmaTree) {
    let all: Vec<_> = t.iter().collect();
    for w in all.windows(2) {
        assert!(w[0].end <= w[1].start, "overlap");
        assert!(!w[0].joins(w[1]), "neighbours not joined");
    }
    let mut sums = Totals::default();
    all.iter().for_each(|v| sums.count(v, true));
    assert_eq!(sums, t.totals());
}

proptest! {
    #[test]
    fn agrees_with_an_array_of_pages(
        ops in prop::collection::vec((0u8..4, 0u64..60, 1u64..12, any::<bool>()), 1..80)
    ) {
        let mut t = VmaTree::default();
        let mut model = vec![None; 80];
        for (op, start, len, write) in ops {
            let end = start + len;
            match op {
                0 | 1 => {
                    t.carve(start * P, end * P);
                    t.insert(vma(start, end, write));
                    model[start as usize..end as usize].fill(Some(write));
                }
                2 => {
                    let gone: u64 = t.carve(start * P, end * P).iter().map(Vma::len).sum();
                    let had = model[start as usize..end as usize].iter().flatten().count() as u64;
                    prop_assert_eq!(gone, had * P);
                    model[start as usize..end as usize].fill(None);
                }
                _ => {
                    t.update(start * P, end * P, |v| v.prot.write = write);
                    model[start as usize..end as usize].iter_mut().flatten().for_each(|w| *w = write);
                }
            }
            check(&t);
            prop_assert_eq!(pages(&t, 80), model.clone());
            let free = |a: u64, b: u64| (a..b).all(|i| model[i as usize].is_none());
            let high = (0..=70 - len).rev().find(|a| free(*a, a + len));
            prop_assert_eq!(t.gap_down(len * P, 0, 70 * P, P), high.map(|a| a * P));
            let low = (3..=70 - len).find(|a| free(*a, a + len));
            prop_assert_eq!(t.gap_up(len * P, 3 * P, 70 * P), low.map(|a| a * P));
        }
    }
}

#[test]
fn growing_mappings_keep_a_gap_below() {
    let mut t = VmaTree::default();
    let mut v = vma(10_000, 10_010, true);
    v.flags = VmaFlags::GROWSDOWN;
    t.insert(v);
    assert_eq!(t.gap_down(P, 0, 10_010 * P, P), Some((10_000 - 257) * P));
    assert_eq!(t.gap_up(P, 9_900 * P, 20_000 * P), Some(10_010 * P));
}
