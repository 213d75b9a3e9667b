//! Tasks, signals and waiting on the mock host: guests are scripts of system calls.

#![forbid(unsafe_code)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use abi::{SigAction, SigSet, Signal, UContext, nr, sched::*, signal::*};
use hal::{
    Backing, Event, MapOp, PAGE_SIZE, Prot, Regs, Space,
    mock::{MockHost, MockSpace, Step},
};
use kernel::{
    Machine, MachineConfig, MachineParts,
    machine::End,
    registry::Registry,
    task::{
        Cred, FsContext,
        init::{InitKind, new_init},
    },
    vfs::{fdtable::FdTable, mount::MountNs},
};

/// Guest memory that every test has mapped.
const MEM: u64 = 0x10_0000;
/// Where registers and results are kept in it.
const STACK: u64 = MEM + 15 * PAGE_SIZE;

/// What the scripts saw, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u64>>>);

impl Seen {
    fn add(&self, v: u64) {
        self.0.lock().unwrap().push(v);
    }
    fn all(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

fn event(regs: &mut Regs, nr: u32, args: &[u64]) -> Event {
    regs.rip = regs.rip.wrapping_add(2);
    let mut full = [0; 6];
    full[..args.len()].copy_from_slice(args);
    Event::Syscall { nr: u64::from(nr), args: full }
}

fn call(nr: u32, args: &[u64]) -> Step {
    let args = args.to_vec();
    Step::code(move |regs, _| event(regs, nr, &args))
}

/// Notes the result of the call before and makes the next one.
fn then(seen: &Seen, nr: u32, args: &[u64]) -> Step {
    let (seen, args) = (seen.clone(), args.to_vec());
    Step::code(move |regs, _| {
        seen.add(regs.rax);
        event(regs, nr, &args)
    })
}

fn then_with(f: impl FnOnce(&mut Regs, &MockSpace) -> (u32, Vec<u64>) + Send + 'static) -> Step {
    Step::code(move |regs, space| {
        let (nr, args) = f(regs, space);
        event(regs, nr, &args)
    })
}

fn read_u32(space: &MockSpace, addr: u64) -> u32 {
    let mut b = [0; 4];
    assert_eq!(space.read(addr, &mut b), 4);
    u32::from_le_bytes(b)
}

struct Guest {
    host: MockHost,
    machine: Arc<Machine>,
}

/// A machine whose init runs the first script; further scripts are for tasks in order of creation.
fn start(scripts: Vec<Vec<Step>>) -> Guest {
    let host = MockHost::new();
    for s in scripts {
        host.push_script(s);
    }
    let machine = Machine::new(MachineParts {
        host: Arc::new(host.clone()),
        config: MachineConfig {
            memory: 1 << 30,
            cpus: 2,
            hostname: "mock".into(),
            cmdline: String::new(),
            no_reboot: false,
        },
        dispatch: Arc::new(syscalls::Table::new()),
        registry: Registry::default(),
    });
    let timers = machine.clone();
    std::thread::spawn(move || timers.timers.run(&timers.clock));
    let root = machine.vfs.anon_path(&machine, "root");
    let ns = MountNs::new(root.mount.clone());
    let fs = FsContext::new(root.clone(), root, 0o022, ns);
    let files = Arc::new(FdTable::default());
    let mut cx = new_init(&machine, InitKind::Program, Cred::root(), fs, files).unwrap();
    let prot = Prot { read: true, write: true, exec: false };
    let map = MapOp::Map { addr: MEM, len: 16 * PAGE_SIZE, prot, backing: Backing::Anon, huge: false };
    cx.ctx.space().apply(&[map]).unwrap();
    cx.ctx.set_regs(&Regs { rip: 0x5000, rsp: STACK, ..Regs::default() });
    cx.start().unwrap();
    Guest { host, machine }
}

impl Guest {
    fn wait_for(&self, what: &str, mut f: impl FnMut(&Machine) -> bool) {
        let begin = Instant::now();
        while !f(&self.machine) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{what}: not reached");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the end of init; its status.
    fn finish(&self) -> i32 {
        self.wait_for("end", |m| m.end_requested().is_some());
        let end = self.machine.end_requested();
        assert!(self.machine.end_tasks(Duration::from_secs(20)), "tasks are left");
        self.machine.timers.end();
        match end {
            Some(End::InitExited(status)) => status.shell_status(),
            other => panic!("ended by {other:?}"),
        }
    }
}

fn exit_group(code: u64) -> Step {
    call(nr::SYS_EXIT_GROUP, &[code])
}

#[test]
fn a_forked_child_is_waited_for() {
    let seen = Seen::default();
    let s = seen.clone();
    let g = start(vec![
        vec![
            call(nr::SYS_FORK, &[]),
            then(&seen, nr::SYS_WAIT4, &[u64::MAX, MEM, 0, 0]),
            then_with(move |regs, space| {
                s.add(regs.rax);
                s.add(u64::from(read_u32(space, MEM)));
                (nr::SYS_WAIT4, vec![u64::MAX, 0, 0, 0])
            }),
            then(&seen, nr::SYS_EXIT_GROUP, &[3]),
        ],
        vec![exit_group(7)],
    ]);
    assert_eq!(g.finish(), 3);
    assert_eq!(seen.all(), [2, 2, 0x700, abi::errno::ECHILD.as_ret()]);
}

#[test]
fn a_thread_clears_its_id_and_leaves_the_process_alive() {
    let seen = Seen::default();
    let s = seen.clone();
    let flags = CLONE_VM
        | CLONE_FS
        | CLONE_FILES
        | CLONE_SIGHAND
        | CLONE_THREAD
        | CLONE_PARENT_SETTID
        | CLONE_CHILD_CLEARTID;
    let look = move || {
        let s = s.clone();
        then_with(move |_, space| {
            s.add(u64::from(read_u32(space, MEM)));
            (nr::SYS_EXIT_GROUP, vec![0])
        })
    };
    let g = start(vec![
        vec![
            call(nr::SYS_CLONE, &[flags, STACK, MEM, MEM, 0]),
            // Until the thread has gone: tgkill finds it no more.
            then(&seen, nr::SYS_RT_SIGSUSPEND, &[MEM + 64, 8]),
            look(),
        ],
        vec![call(nr::SYS_GETTID, &[]), then(&seen, nr::SYS_EXIT, &[5])],
    ]);
    g.wait_for("thread's end", |m| {
        m.tree.lock().forks == 2
            && m.tree.contexts() == 1
            && m.tree.task(1).is_some_and(|t| t.run_state() == kernel::task::RunState::Sleeping)
    });
    let init = g.machine.tree.task(1).unwrap();
    // A handler ends the suspension.
    let action = SigAction { handler: 0x7000, flags: SA_RESTORER, restorer: 0x7100, mask: SigSet::EMPTY };
    kernel::signal::set_action(&init.process, Signal::SIGUSR1, Some(action)).unwrap();
    init.send(SigInfo::kernel(Signal::SIGUSR1));
    assert_eq!(g.finish(), 0);
    let mut all = seen.all();
    assert_eq!(all.pop(), Some(0), "the id was cleared");
    all.sort_unstable();
    assert_eq!(all, [2, 2]);
}

#[test]
fn a_handler_runs_and_returns() {
    let seen = Seen::default();
    let (s1, s2) = (seen.clone(), seen.clone());
    let action = SigAction {
        handler: 0x7000,
        flags: SA_RESTORER | SA_SIGINFO,
        restorer: 0x7100,
        mask: SigSet::of(&[Signal::SIGUSR2]),
    };
    let g = start(vec![vec![
        then_with(move |_, space| {
            assert_eq!(space.write(MEM, &action.encode()), 32);
            (nr::SYS_RT_SIGACTION, vec![10, MEM, 0, 8])
        }),
        call(nr::SYS_KILL, &[1, 10]),
        then_with(move |regs, space| {
            // In the handler.
            for v in [regs.rip, regs.rdi, regs.rsp % 16] {
                s1.add(v);
            }
            let mut uc = [0; UContext::SIZE];
            assert_eq!(space.read(regs.rdx, &mut uc), uc.len());
            let uc = UContext::decode(&uc);
            s1.add(uc.mcontext.rsp);
            s1.add(uc.mcontext.rax);
            s1.add(uc.mcontext.fpstate % 64);
            (nr::SYS_RT_SIGPROCMASK, vec![0, 0, MEM + 128, 8])
        }),
        then_with(move |regs, space| {
            let mut mask = [0; 8];
            space.read(MEM + 128, &mut mask);
            s2.add(u64::from_le_bytes(mask));
            // `ret` takes the restorer off the stack.
            regs.rsp += 8;
            (nr::SYS_RT_SIGRETURN, vec![])
        }),
        then(&seen, nr::SYS_GETPID, &[]),
        then_with(move |regs, _| {
            assert_eq!(regs.rsp, STACK);
            (nr::SYS_EXIT_GROUP, vec![0])
        }),
    ]]);
    assert_eq!(g.finish(), 0);
    let masked = Signal::SIGUSR1.bit() | Signal::SIGUSR2.bit();
    assert_eq!(seen.all(), [0x7000, 10, 8, STACK, 0, 0, masked, 0]);
}

#[test]
fn stops_and_continuations_are_reported() {
    let seen = Seen::default();
    let s = seen.clone();
    let status = move || {
        let s = s.clone();
        then_with(move |regs, space| {
            s.add(regs.rax);
            s.add(u64::from(read_u32(space, MEM)));
            (nr::SYS_GETPID, vec![])
        })
    };
    let g = start(vec![
        vec![
            call(nr::SYS_FORK, &[]),
            call(nr::SYS_KILL, &[2, 19]),
            call(nr::SYS_WAIT4, &[2, MEM, u64::from(WUNTRACED), 0]),
            status(),
            call(nr::SYS_WAIT4, &[2, MEM, u64::from(WUNTRACED | WNOHANG), 0]),
            status(),
            call(nr::SYS_KILL, &[2, 18]),
            call(nr::SYS_WAIT4, &[2, MEM, u64::from(WCONTINUED), 0]),
            status(),
            call(nr::SYS_KILL, &[2, 9]),
            call(nr::SYS_WAIT4, &[2, MEM, 0, 0]),
            status(),
            exit_group(0),
        ],
        vec![call(nr::SYS_PAUSE, &[]), exit_group(1)],
    ]);
    assert_eq!(g.finish(), 0);
    assert_eq!(seen.all(), [2, 0x137f, 0, 0x137f, 2, 0xffff, 2, 9]);
}

#[test]
fn a_default_action_ends_a_process_but_not_init() {
    let seen = Seen::default();
    let s = seen.clone();
    let g = start(vec![
        vec![
            call(nr::SYS_KILL, &[1, 15]),
            call(nr::SYS_FORK, &[]),
            call(nr::SYS_WAIT4, &[u64::MAX, MEM, 0, 0]),
            then_with(move |_, space| {
                s.add(u64::from(read_u32(space, MEM)));
                (nr::SYS_EXIT_GROUP, vec![9])
            }),
        ],
        vec![call(nr::SYS_KILL, &[2, 15]), Step::UntilKicked, exit_group(1)],
    ]);
    assert_eq!(g.finish(), 9);
    assert_eq!(seen.all(), [15]);
}

#[test]
fn exit_group_ends_threads_that_compute() {
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
    let g = start(vec![
        vec![
            call(nr::SYS_CLONE, &[flags, STACK, 0, 0, 0]),
            call(nr::SYS_CLONE, &[flags, STACK, 0, 0, 0]),
            exit_group(4),
        ],
        vec![Step::UntilKicked, Step::UntilKicked],
        vec![call(nr::SYS_PAUSE, &[])],
    ]);
    assert_eq!(g.finish(), 4);
}

#[test]
fn a_signal_interrupts_sleep_and_tells_what_is_left() {
    let seen = Seen::default();
    let s = seen.clone();
    let action = SigAction {
        handler: 0x7000,
        flags: SA_RESTORER | SA_RESTART,
        restorer: 0x7100,
        ..SigAction::default()
    };
    let g = start(vec![vec![
        then_with(move |_, space| {
            space.write(MEM, &action.encode());
            space.write(MEM + 64, &abi::Timespec { sec: 5, nsec: 0 }.encode());
            (nr::SYS_RT_SIGACTION, vec![14, MEM, 0, 8])
        }),
        call(nr::SYS_ALARM, &[2]),
        call(nr::SYS_NANOSLEEP, &[MEM + 64, MEM + 128]),
        then_with(|regs, _| {
            regs.rsp += 8;
            (nr::SYS_RT_SIGRETURN, vec![])
        }),
        then_with(move |regs, space| {
            let mut left = [0; 16];
            space.read(MEM + 128, &mut left);
            s.add(regs.rax);
            s.add(abi::Timespec::decode(&left).sec.cast_unsigned());
            (nr::SYS_EXIT_GROUP, vec![0])
        }),
    ]]);
    g.wait_for("sleep", |m| {
        m.tree.task(1).is_some_and(|t| t.run_state() == kernel::task::RunState::Sleeping)
    });
    // The mock's clock moves by hand; the timer thread is told by arming another.
    g.host.advance(Duration::from_secs(2));
    struct Nothing;
    impl kernel::time::Expiry for Nothing {
        fn expired(&self, _now_ns: u64) -> Option<u64> {
            None
        }
    }
    g.machine.timers.arm(0, Arc::new(Nothing));
    assert_eq!(g.finish(), 0);
    assert_eq!(seen.all(), [abi::errno::EINTR.as_ret(), 3]);
}

#[test]
fn a_frozen_machine_stands_and_goes_on_unnoticed() {
    let seen = Seen::default();
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
    let g = start(vec![
        vec![
            call(nr::SYS_CLONE, &[flags, STACK, 0, 0, 0]),
            call(nr::SYS_FORK, &[]),
            call(nr::SYS_WAIT4, &[u64::MAX, MEM, 0, 0]),
            then(&seen, nr::SYS_EXIT_GROUP, &[0]),
        ],
        vec![Step::UntilKicked, Step::UntilKicked, Step::UntilKicked, Step::UntilKicked],
        vec![call(nr::SYS_PAUSE, &[]), exit_group(1)],
    ]);
    g.wait_for("three tasks", |m| m.tree.tasks().len() == 3);
    for _ in 0..3 {
        g.machine.freezer.stop(&g.machine);
        assert!(g.machine.tree.tasks().iter().all(|t| t.parked()));
        g.machine.freezer.go(&g.machine);
    }
    g.machine.tree.process(3).unwrap().send(SigInfo::kernel(Signal::SIGKILL));
    assert_eq!(g.finish(), 0);
    assert_eq!(seen.all(), [3]);
}

#[test]
fn vfork_waits_for_the_child() {
    let seen = Seen::default();
    let g = start(vec![
        vec![call(nr::SYS_VFORK, &[]), then(&seen, nr::SYS_WAIT4, &[u64::MAX, MEM, 0, 0]), exit_group(0)],
        vec![then(&seen, nr::SYS_GETPPID, &[]), then(&seen, nr::SYS_EXIT_GROUP, &[0])],
    ]);
    assert_eq!(g.finish(), 0);
    assert_eq!(seen.all(), [0, 1, 2]);
}

#[test]
fn orphans_go_to_init_and_ignored_children_leave_no_zombies() {
    let seen = Seen::default();
    let g = start(vec![
        vec![
            call(nr::SYS_FORK, &[]),
            call(nr::SYS_WAIT4, &[2, MEM, 0, 0]),
            // The grandchild is init's now.
            call(nr::SYS_WAIT4, &[3, MEM, 0, 0]),
            then(&seen, nr::SYS_EXIT_GROUP, &[0]),
        ],
        vec![call(nr::SYS_FORK, &[]), exit_group(0)],
        vec![call(nr::SYS_GETPID, &[]), exit_group(0)],
    ]);
    assert_eq!(g.finish(), 0);
    assert_eq!(seen.all(), [3]);
}

#[test]
fn real_time_signals_queue_and_are_taken_in_order() {
    let seen = Seen::default();
    let (s1, s2) = (seen.clone(), seen.clone());
    let set = SigSet(1 << 39 | Signal::SIGUSR1.bit());
    let record = |value: u64| {
        SigInfo { signo: 40, errno: 0, code: SI_QUEUE, fields: SigFields::Rt { pid: 1, uid: 0, value } }
            .encode()
    };
    let g = start(vec![vec![
        then_with(move |_, space| {
            space.write(MEM, &set.encode());
            space.write(MEM + 256, &record(1));
            space.write(MEM + 512, &record(2));
            (nr::SYS_RT_SIGPROCMASK, vec![0, MEM, 0, 8])
        }),
        call(nr::SYS_RT_SIGQUEUEINFO, &[1, 40, MEM + 256]),
        call(nr::SYS_RT_SIGQUEUEINFO, &[1, 40, MEM + 512]),
        call(nr::SYS_KILL, &[1, 10]),
        call(nr::SYS_KILL, &[1, 10]),
        call(nr::SYS_RT_SIGTIMEDWAIT, &[MEM, 0, 0, 8]),
        then(&seen, nr::SYS_RT_SIGTIMEDWAIT, &[MEM, MEM + 1024, 0, 8]),
        then_with(move |regs, space| {
            s1.add(regs.rax);
            s1.add(u64::from(read_u32(space, MEM + 1024 + 24)));
            (nr::SYS_RT_SIGTIMEDWAIT, vec![MEM, MEM + 1024, 0, 8])
        }),
        then_with(move |regs, space| {
            s2.add(regs.rax);
            s2.add(u64::from(read_u32(space, MEM + 1024 + 24)));
            space.write(MEM + 2048, &abi::Timespec::ZERO.encode());
            (nr::SYS_RT_SIGTIMEDWAIT, vec![MEM, 0, MEM + 2048, 8])
        }),
        then(&seen, nr::SYS_EXIT_GROUP, &[0]),
    ]]);
    assert_eq!(g.finish(), 0);
    assert_eq!(seen.all(), [10, 40, 1, 40, 2, abi::errno::EAGAIN.as_ret()]);
}

#[test]
fn a_forged_frame_gives_sigsegv() {
    let seen = Seen::default();
    let s = seen.clone();
    let g = start(vec![
        vec![
            call(nr::SYS_FORK, &[]),
            call(nr::SYS_WAIT4, &[2, MEM, 0, 0]),
            then_with(move |_, space| {
                s.add(u64::from(read_u32(space, MEM)));
                (nr::SYS_EXIT_GROUP, vec![0])
            }),
        ],
        vec![then_with(|regs, _| {
            regs.rsp = 0xffff_8000_0000_0000;
            (nr::SYS_RT_SIGRETURN, vec![])
        })],
    ]);
    assert_eq!(g.finish(), 0);
    assert_eq!(seen.all(), [11]);
}

#[test]
fn the_limit_of_processes_is_kept() {
    let seen = Seen::default();
    let limit = Rlimit { cur: 2, max: 2 };
    let g = start(vec![
        vec![
            then_with(move |_, space| {
                space.write(MEM, &limit.encode());
                (nr::SYS_SETRLIMIT, vec![u64::from(RLIMIT_NPROC), MEM])
            }),
            call(nr::SYS_SETUID, &[1000]),
            call(nr::SYS_FORK, &[]),
            then(&seen, nr::SYS_FORK, &[]),
            then(&seen, nr::SYS_KILL, &[2, 9]),
            call(nr::SYS_WAIT4, &[2, 0, 0, 0]),
            call(nr::SYS_FORK, &[]),
            then(&seen, nr::SYS_EXIT_GROUP, &[0]),
        ],
        vec![call(nr::SYS_PAUSE, &[])],
        vec![exit_group(0)],
        vec![exit_group(0)],
    ]);
    assert_eq!(g.finish(), 0);
    assert_eq!(seen.all(), [2, abi::errno::EAGAIN.as_ret(), 3]);
}

#[test]
fn stops_under_load_lose_nothing() {
    let seen = Seen::default();
    const CHILDREN: usize = 400;
    let mut init = Vec::new();
    for _ in 0..CHILDREN {
        init.push(call(nr::SYS_FORK, &[]));
        init.push(then(&seen, nr::SYS_GETPID, &[]));
    }
    for _ in 0..CHILDREN {
        init.push(call(nr::SYS_WAIT4, &[u64::MAX, MEM, 0, 0]));
        init.push(then(&seen, nr::SYS_GETPID, &[]));
    }
    init.push(exit_group(0));
    let mut scripts = vec![init];
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
    // Scripts go to tasks in order of creation: threads take some of them too, and so none forks.
    for i in 0..CHILDREN {
        scripts.push(match i % 3 {
            0 => vec![call(nr::SYS_GETPPID, &[]), call(nr::SYS_SCHED_YIELD, &[])],
            1 => vec![call(nr::SYS_GETPID, &[])],
            _ => vec![call(nr::SYS_CLONE, &[flags, STACK, 0, 0, 0]), call(nr::SYS_GETPPID, &[])],
        });
    }
    let g = start(scripts);
    for _ in 0..40 {
        g.machine.freezer.stop(&g.machine);
        let forks = g.machine.tree.lock().forks;
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(g.machine.tree.lock().forks, forks, "a frozen machine forks");
        g.machine.freezer.go(&g.machine);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(g.finish(), 0);
    let all = seen.all();
    let (mut born, mut reaped) = (all[..CHILDREN].to_vec(), all[CHILDREN..].to_vec());
    born.sort_unstable();
    reaped.sort_unstable();
    assert_eq!(born, reaped);
}

#[test]
fn thousand_processes_live_at_once() {
    const CHILDREN: usize = 1000;
    let mut init: Vec<Step> = (0..CHILDREN).map(|_| call(nr::SYS_FORK, &[])).collect();
    init.push(call(nr::SYS_WAIT4, &[u64::MAX, MEM, 0, 0]));
    init.push(exit_group(0));
    let mut scripts = vec![init];
    scripts.extend((0..CHILDREN).map(|_| vec![call(nr::SYS_PAUSE, &[])]));
    let g = start(scripts);
    g.wait_for("all", |m| {
        let sleeping = |t: &Arc<kernel::task::Task>| t.run_state() == kernel::task::RunState::Sleeping;
        m.tree.tasks().len() == CHILDREN + 1 && m.tree.tasks().iter().all(sleeping)
    });
    g.machine.freezer.stop(&g.machine);
    g.machine.freezer.go(&g.machine);
    g.machine.tree.process(500).unwrap().send(SigInfo::kernel(Signal::SIGTERM));
    assert_eq!(g.finish(), 0);
}
