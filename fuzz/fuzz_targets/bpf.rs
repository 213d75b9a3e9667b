//! Any bytes as a program and a call: what passes the check ends.

#![no_main]

use bpf::{Data, INSN_LEN, Program};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(program) = Program::new(data) else { return };
    assert_eq!(program.len() * INSN_LEN, data.len());
    let nr = data.first().copied().unwrap_or(0).into();
    program.run(&Data { nr, args: [u64::MAX, 0, 1, 2, 3, 1 << 40], ..Data::default() });
});
