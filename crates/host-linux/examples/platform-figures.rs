//! Measures the platform alone, without a kernel above it: `cargo run --release -p host-linux --example
//! platform-figures`. Figures are microseconds, the best of several rounds.

use std::{sync::Arc, time::Instant};

use hal::{Backing, Context, Event, FastIds, Host, Limits, MapOp, Prot, Regs};
use host_linux::LinuxHost;

const TEXT: u64 = 0x40_0000;
const STACK: u64 = 0x60_0000;
const DATA: u64 = 0x50_0000;

fn anon(addr: u64, len: u64, prot: Prot) -> MapOp {
    MapOp::Map { addr, len, prot, backing: Backing::Anon, huge: false }
}

/// A context at code that makes one call for ever.
fn looping(host: &LinuxHost, nr: u32, patchable: bool) -> Box<dyn Context> {
    let mut code = Vec::new();
    if patchable {
        code.push(0xb8); // mov $nr,%eax
    } else {
        code.extend([0x48, 0xc7, 0xc0]); // mov $nr,%rax
    }
    code.extend(nr.to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xeb, (-(code.len() as i8) - 2) as u8]); // jmp to the beginning
    let mut c = host.new_context().expect("a context");
    let rw = Prot { read: true, write: true, exec: false };
    let rx = Prot { read: true, write: false, exec: true };
    let s = c.space();
    s.apply(&[anon(TEXT, 4096, rx), anon(STACK, 4096, rw), anon(DATA, 4096, rw)]).expect("memory");
    s.write_forced(TEXT, &code);
    c.set_regs(&Regs { rip: TEXT, rsp: STACK + 4000, rdi: DATA, ..Regs::default() });
    c
}

/// Best time of one of `n`, in microseconds.
fn best(rounds: u32, n: u32, mut f: impl FnMut()) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..rounds {
        let t = Instant::now();
        (0..n).for_each(|_| f());
        least = least.min(t.elapsed().as_secs_f64() * 1e6 / f64::from(n));
    }
    least
}

fn call(c: &mut dyn Context) {
    loop {
        match c.run() {
            Event::Syscall { .. } => return c.set_result(1),
            Event::Kicked => {}
            other => panic!("{other:?}"),
        }
    }
}

fn rows(host: &Arc<LinuxHost>, label: &str) {
    let mut c = looping(host, 500, false);
    println!("{label}: system call by SIGSYS            {:8.2}", best(20, 5000, || call(&mut *c)));
    let mut c = looping(host, 500, true);
    println!("{label}: system call by a rewritten site  {:8.2}", best(20, 5000, || call(&mut *c)));
    let byte = |c: &mut Box<dyn Context>| {
        call(&mut **c);
        c.write(DATA, &[0]);
    };
    println!("{label}: the same, writing 1 byte back    {:8.2}", best(20, 5000, || byte(&mut c)));
    let s = c.space();
    let rw = Prot { read: true, write: true, exec: false };
    let mut map = || {
        call(&mut *c);
        s.apply(&[anon(0x1000_0000, 16384, rw)]).expect("map");
        call(&mut *c);
        s.apply(&[MapOp::Unmap { addr: 0x1000_0000, len: 16384 }]).expect("unmap");
    };
    println!("{label}: mmap+munmap, with their calls    {:8.2}", best(20, 500, &mut map));
    let mut map = || {
        call(&mut *c);
        s.apply_lazy(&[anon(0x1000_0000, 16384, rw)]).expect("map");
        call(&mut *c);
        s.apply_lazy(&[MapOp::Unmap { addr: 0x1000_0000, len: 16384 }]).expect("unmap");
    };
    println!("{label}: mmap+munmap, lazy                {:8.2}", best(20, 500, &mut map));
    let mut c = looping(host, 500, false);
    call(&mut *c);
    let regs = c.regs();
    let fork = best(10, 100, || {
        let mut child = c.fork(&regs).expect("fork");
        call(&mut *child);
    });
    println!("{label}: fork, one call, exit             {fork:8.2}");
    let thread = best(10, 100, || {
        let mut thread = c.spawn_thread(&regs).expect("thread");
        call(&mut *thread);
    });
    println!("{label}: thread, one call, end            {thread:8.2}");
    let fresh = best(10, 100, || drop(looping(host, 500, false)));
    println!("{label}: new space with 3 mappings, end   {fresh:8.2}");
}

fn main() {
    let t = Instant::now();
    let host = match LinuxHost::new(Limits { cpus: 0 }) {
        Ok(host) => host,
        Err(e) => return println!("{e}"),
    };
    println!("start of the platform                   {:8.2}", t.elapsed().as_secs_f64() * 1e6);
    let mut c = looping(&host, 110, true);
    c.set_fast_ids(&FastIds { ppid: 1, enabled: true, ..FastIds::default() });
    let kicker = c.kicker();
    let t = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(500));
            kicker.kick();
        });
        let mut asked = 0u64;
        loop {
            match c.run() {
                Event::Syscall { .. } => asked += 1,
                Event::Kicked => break,
                other => panic!("{other:?}"),
            }
        }
        println!(
            "getppid answered in the stub: asked {asked} times in {:.0} ms",
            t.elapsed().as_secs_f64() * 1e3
        );
    });
    drop(c);
    rows(&host, "a core free");
    drop(host);
    // Everything on one processor.
    let one = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(list) = one.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:"))
        && list.trim() != "0"
    {
        let me = std::env::current_exe().expect("own path");
        let _ = std::process::Command::new("taskset").args(["-c", "0"]).arg(me).status();
    }
}
