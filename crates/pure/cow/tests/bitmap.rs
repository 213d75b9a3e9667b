//! The bitmap against the plainest model of one.

#![forbid(unsafe_code)]

use cow::Bitmap;
use cow::bitmap::BLOCK;

/// A small generator of numbers; the tests must not differ from run to run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

#[test]
fn agrees_with_a_vector_of_bools() {
    for bits in [0u64, 1, 7, 8, 63, 64, 65, 128, 1000] {
        let mut random = Random(bits);
        let mut map = Bitmap::new(bits).unwrap();
        let mut model = vec![false; bits as usize];
        for _ in 0..60 {
            let from = random.below(bits + 10);
            let to = from + random.below(90);
            let mut changed = false;
            for bit in from..to.min(bits) {
                changed |= !model[bit as usize];
                model[bit as usize] = true;
            }
            assert_eq!(map.set(from..to), changed);
            if random.below(8) == 0 {
                model.fill(false);
                map = Bitmap::new(bits).unwrap();
            }
            assert_eq!(map.count(), model.iter().filter(|&&b| b).count() as u64);
            assert_eq!(map.last(), model.iter().rposition(|&b| b).map(|i| i as u64));
            let at = |bit: u64| model.get(bit as usize).copied().unwrap_or(false);
            for bit in 0..bits + 3 {
                assert_eq!(map.get(bit), at(bit));
                let max = random.below(200);
                let len = (bit..bit + max).take_while(|&b| at(b) == at(bit)).count() as u64;
                assert_eq!(map.run(bit, max), (at(bit), len), "bit {bit} of {bits}, at most {max}");
            }
            let runs: Vec<u64> = map.set_runs(0..bits).flatten().collect();
            assert_eq!(runs, (0..bits).filter(|&b| at(b)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn bytes_come_back_and_strays_are_dropped() {
    let mut map = Bitmap::new(20).unwrap();
    map.load(0, &[0x01, 0x80, 0xff]);
    assert_eq!(map.set_runs(0..99).collect::<Vec<_>>(), [0..1, 15..20]);
    let mut out = [0xaa; 3];
    map.store(0, &mut out);
    assert_eq!(out, [0x01, 0x80, 0x0f]);
    assert!(!map.is_dirty());
}

#[test]
fn only_changed_blocks_are_dirty() {
    let bits = BLOCK * 8 * 3 + 5;
    let mut map = Bitmap::new(bits).unwrap();
    assert_eq!(map.next_dirty(0, 1 << 20), None);
    map.set(BLOCK * 8 + 3..BLOCK * 8 + 4);
    map.set(bits - 1..bits);
    assert_eq!(map.next_dirty(0, 1 << 20), Some(BLOCK..2 * BLOCK));
    assert_eq!(map.next_dirty(2 * BLOCK, 1 << 20), Some(3 * BLOCK..3 * BLOCK + 1));
    assert_eq!(map.next_dirty(3 * BLOCK + 1, 1 << 20), None);
    map.set(0..bits);
    assert_eq!(map.next_dirty(0, 2 * BLOCK), Some(0..2 * BLOCK));
    assert_eq!(map.next_dirty(0, 1 << 20), Some(0..3 * BLOCK + 1));
    map.mark_clean();
    assert!(!map.set(0..bits));
    assert_eq!(map.next_dirty(0, 1 << 20), None);
}
