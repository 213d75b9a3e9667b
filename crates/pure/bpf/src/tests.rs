use proptest::prelude::*;

use super::*;

/// The bytes of instructions (code, jt, jf, k).
fn bytes(insns: &[(u16, u8, u8, u32)]) -> Vec<u8> {
    let one = |i: &(u16, u8, u8, u32)| {
        let mut b = i.0.to_le_bytes().to_vec();
        b.extend([i.1, i.2]);
        b.extend(i.3.to_le_bytes());
        b
    };
    insns.iter().flat_map(one).collect()
}

fn run(insns: &[(u16, u8, u8, u32)], data: &Data) -> u32 {
    Program::new(&bytes(insns)).expect("valid").run(data)
}

fn refused(insns: &[(u16, u8, u8, u32)]) -> bool {
    Program::new(&bytes(insns)).is_err()
}

const RETURN_A: (u16, u8, u8, u32) = (0x16, 0, 0, 0);

#[test]
fn loads_see_the_call() {
    let data = Data { nr: 7, arch: 9, ip: 0x1_0000_0002, args: [1, 2, 3, 4, 5, 0x6_0000_0007] };
    for (at, v) in [(0, 7), (4, 9), (8, 2), (12, 1), (16, 1), (20, 0), (56, 7), (60, 6)] {
        assert_eq!(run(&[(0x20, 0, 0, at), RETURN_A], &data), v, "at {at}");
    }
    assert_eq!(run(&[(0x80, 0, 0, 0), RETURN_A], &data), 64);
    assert!(refused(&[(0x20, 0, 0, 64), RETURN_A]));
    assert!(refused(&[(0x20, 0, 0, 2), RETURN_A]));
    // Bytes and half words cannot be loaded.
    assert!(refused(&[(0x30, 0, 0, 0), RETURN_A]));
    assert!(refused(&[(0x28, 0, 0, 0), RETURN_A]));
}

#[test]
fn arithmetic() {
    let d = Data::default();
    let alu = |op: u16, a: u32, k: u32| run(&[(0, 0, 0, a), (0x04 | op << 4, 0, 0, k), RETURN_A], &d);
    assert_eq!(alu(0, u32::MAX, 2), 1);
    assert_eq!(alu(1, 1, 2), u32::MAX);
    assert_eq!(alu(2, 0x8000_0000, 2), 0);
    assert_eq!(alu(3, 7, 2), 3);
    assert_eq!((alu(4, 5, 2), alu(5, 7, 2), alu(10, 7, 2)), (7, 2, 5));
    assert_eq!((alu(6, 1, 31), alu(7, 0x8000_0000, 31)), (0x8000_0000, 1));
    assert_eq!(run(&[(0, 0, 0, 1), (0x84, 0, 0, 0), RETURN_A], &d), u32::MAX);
    assert!(refused(&[(0x34, 0, 0, 0), RETURN_A]));
    assert!(refused(&[(0x64, 0, 0, 32), RETURN_A]));
    // There is no remainder.
    assert!(refused(&[(0x94, 0, 0, 3), RETURN_A]));
    // By X: a division by zero ends the program with 0, whatever came before.
    assert_eq!(run(&[(0, 0, 0, 9), (1, 0, 0, 3), (0x3c, 0, 0, 0), RETURN_A], &d), 3);
    assert_eq!(run(&[(0, 0, 0, 9), (0x3c, 0, 0, 0), (6, 0, 0, 5)], &d), 0);
}

#[test]
fn jumps_lead_forward_and_stay_inside() {
    let d = Data { nr: 5, ..Data::default() };
    let by = |code: u16, k: u32| run(&[(0x20, 0, 0, 0), (code, 0, 1, k), (6, 0, 0, 1), (6, 0, 0, 2)], &d);
    assert_eq!((by(0x15, 5), by(0x15, 4)), (1, 2));
    assert_eq!((by(0x25, 4), by(0x25, 5)), (1, 2));
    assert_eq!((by(0x35, 5), by(0x35, 6)), (1, 2));
    assert_eq!((by(0x45, 4), by(0x45, 2)), (1, 2));
    assert_eq!(run(&[(5, 0, 0, 1), (6, 0, 0, 1), (6, 0, 0, 2)], &d), 2);
    assert!(refused(&[(5, 0, 0, 1), (6, 0, 0, 1)]));
    assert!(refused(&[(5, 0, 0, u32::MAX), (6, 0, 0, 1)]));
    assert!(refused(&[(0x15, 0, 1, 0), (6, 0, 0, 1)]));
    assert!(refused(&[]));
    assert!(refused(&[(0, 0, 0, 0)]));
}

#[test]
fn scratch_words_are_written_before_they_are_read() {
    let d = Data::default();
    assert_eq!(run(&[(0, 0, 0, 4), (2, 0, 0, 15), (0, 0, 0, 0), (0x60, 0, 0, 15), RETURN_A], &d), 4);
    assert!(refused(&[(0x60, 0, 0, 0), RETURN_A]));
    assert!(refused(&[(2, 0, 0, 16), RETURN_A]));
    // Written on one of two ways.
    assert!(refused(&[(0x15, 0, 1, 0), (2, 0, 0, 0), (0x60, 0, 0, 0), RETURN_A]));
    // Written on both.
    assert!(!refused(&[
        (0x15, 0, 2, 0),
        (2, 0, 0, 0),
        (5, 0, 0, 1),
        (3, 0, 0, 0),
        (0x60, 0, 0, 0),
        RETURN_A
    ]));
}

proptest! {
    #[test]
    fn whatever_passes_the_check_ends(raw in prop::collection::vec(any::<u8>(), 0..400), nr: u32) {
        if let Ok(p) = Program::new(&raw) {
            p.run(&Data { nr, ..Data::default() });
        }
    }

    #[test]
    fn programs_of_valid_opcodes_end(
        insns in prop::collection::vec(
            (prop::sample::select(vec![0u16, 1, 2, 3, 4, 5, 6, 7, 0x15, 0x16, 0x1d, 0x20, 0x34, 0x3c, 0x60, 0x61, 0x6c, 0x87]),
             0u8..4, 0u8..4, 0u32..16),
            1..40,
        ),
        nr: u32,
    ) {
        let mut insns = insns;
        insns.push((6, 0, 0, 1));
        if let Ok(p) = Program::new(&bytes(&insns)) {
            p.run(&Data { nr, ..Data::default() });
        }
    }
}
