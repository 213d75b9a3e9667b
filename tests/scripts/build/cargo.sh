#!/bin/bash
# cargo builds, tests and runs a small crate.
# needs: cargo
# limit: 240
set -eu
export CARGO_HOME=$PWD/cargo-home CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never USER=user
cargo new -q --vcs none hello; cd hello
cat >src/main.rs <<'EOF'
use std::{collections::BTreeMap, sync::mpsc, thread};
fn main() {
    let (tx, rx) = mpsc::channel();
    for i in 0..8u64 { let tx = tx.clone(); thread::spawn(move || tx.send((i, (1..=i * 1000).sum::<u64>())).unwrap()); }
    drop(tx);
    let all: BTreeMap<_, _> = rx.into_iter().collect();
    println!("{all:?}");
    std::process::exit(if std::fs::read_to_string("/proc/self/comm").unwrap() == "hello\n" { 6 } else { 7 });
}
#[test] fn works() { assert_eq!(2 + 2, 4); }
EOF
cargo build -q; ./target/debug/hello || echo $?
cargo run -q || echo $?
cargo test -q 2>/dev/null | grep 'test result' | sed 's/finished.*//'
touch src/main.rs; cargo build -q --release; ./target/release/hello || echo $?
