//! Tasks: clone(2), futex(2), scheduling, prctl(2), wait(2), resource limits.

use crate::wire::wire_struct;

pub use crate::cap::*;
pub use crate::procinfo::*;

// clone(2), unshare(2), setns(2).
pub const CSIGNAL: u64 = 0xff;
pub const CLONE_VM: u64 = 0x100;
pub const CLONE_FS: u64 = 0x200;
pub const CLONE_FILES: u64 = 0x400;
pub const CLONE_SIGHAND: u64 = 0x800;
pub const CLONE_PIDFD: u64 = 0x1000;
pub const CLONE_PTRACE: u64 = 0x2000;
pub const CLONE_VFORK: u64 = 0x4000;
pub const CLONE_PARENT: u64 = 0x8000;
pub const CLONE_THREAD: u64 = 0x10000;
pub const CLONE_NEWNS: u64 = 0x20000;
pub const CLONE_SYSVSEM: u64 = 0x40000;
pub const CLONE_SETTLS: u64 = 0x80000;
pub const CLONE_PARENT_SETTID: u64 = 0x100000;
pub const CLONE_CHILD_CLEARTID: u64 = 0x200000;
pub const CLONE_DETACHED: u64 = 0x400000;
pub const CLONE_UNTRACED: u64 = 0x800000;
pub const CLONE_CHILD_SETTID: u64 = 0x1000000;
pub const CLONE_NEWCGROUP: u64 = 0x2000000;
pub const CLONE_NEWUTS: u64 = 0x4000000;
pub const CLONE_NEWIPC: u64 = 0x8000000;
pub const CLONE_NEWUSER: u64 = 0x10000000;
pub const CLONE_NEWPID: u64 = 0x20000000;
pub const CLONE_NEWNET: u64 = 0x40000000;
pub const CLONE_IO: u64 = 0x80000000;
pub const CLONE_NEWTIME: u64 = 0x80;
pub const CLONE_CLEAR_SIGHAND: u64 = 0x100000000;
pub const CLONE_INTO_CGROUP: u64 = 0x200000000;

wire_struct! {
    /// Arguments of clone3(2). A shorter structure of the guest is zero-extended before decoding.
    CloneArgs [88] {
        /// `CLONE_*`, without a signal in the low byte.
        flags: u64 @ 0,
        /// Where to store the pidfd.
        pidfd: u64 @ 8,
        /// Where the child's thread id goes in the child.
        child_tid: u64 @ 16,
        /// Where the child's thread id goes in the parent.
        parent_tid: u64 @ 24,
        /// Signal to the parent when the child ends.
        exit_signal: u64 @ 32,
        /// Lowest address of the child's stack.
        stack: u64 @ 40,
        /// Its length in bytes.
        stack_size: u64 @ 48,
        /// Thread-local storage.
        tls: u64 @ 56,
        /// Address of wanted thread ids.
        set_tid: u64 @ 64,
        /// Number of them.
        set_tid_size: u64 @ 72,
        /// Descriptor of a control group.
        cgroup: u64 @ 80,
    }
}
/// Size of the first version of [`CloneArgs`]; smaller ones are `EINVAL`.
pub const CLONE_ARGS_SIZE_VER0: usize = 64;

// futex(2).
pub const FUTEX_WAIT: u32 = 0;
pub const FUTEX_WAKE: u32 = 1;
pub const FUTEX_FD: u32 = 2;
pub const FUTEX_REQUEUE: u32 = 3;
pub const FUTEX_CMP_REQUEUE: u32 = 4;
pub const FUTEX_WAKE_OP: u32 = 5;
pub const FUTEX_LOCK_PI: u32 = 6;
pub const FUTEX_UNLOCK_PI: u32 = 7;
pub const FUTEX_TRYLOCK_PI: u32 = 8;
pub const FUTEX_WAIT_BITSET: u32 = 9;
pub const FUTEX_WAKE_BITSET: u32 = 10;
pub const FUTEX_WAIT_REQUEUE_PI: u32 = 11;
pub const FUTEX_CMP_REQUEUE_PI: u32 = 12;
pub const FUTEX_LOCK_PI2: u32 = 13;
pub const FUTEX_PRIVATE_FLAG: u32 = 128;
pub const FUTEX_CLOCK_REALTIME: u32 = 256;
/// Bits of the operation that choose the command.
pub const FUTEX_CMD_MASK: u32 = !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
pub const FUTEX_WAITERS: u32 = 0x80000000;
pub const FUTEX_OWNER_DIED: u32 = 0x40000000;
pub const FUTEX_TID_MASK: u32 = 0x3fffffff;
pub const FUTEX_BITSET_MATCH_ANY: u32 = 0xffffffff;
pub const FUTEX_OP_SET: u32 = 0;
pub const FUTEX_OP_ADD: u32 = 1;
pub const FUTEX_OP_OR: u32 = 2;
pub const FUTEX_OP_ANDN: u32 = 3;
pub const FUTEX_OP_XOR: u32 = 4;
pub const FUTEX_OP_OPARG_SHIFT: u32 = 8;
pub const FUTEX_OP_CMP_EQ: u32 = 0;
pub const FUTEX_OP_CMP_NE: u32 = 1;
pub const FUTEX_OP_CMP_LT: u32 = 2;
pub const FUTEX_OP_CMP_LE: u32 = 3;
pub const FUTEX_OP_CMP_GT: u32 = 4;
pub const FUTEX_OP_CMP_GE: u32 = 5;
// futex_waitv(2).
pub const FUTEX2_SIZE_U32: u32 = 0x2;
pub const FUTEX2_PRIVATE: u32 = 0x80;
/// Most futexes in one futex_waitv(2).
pub const FUTEX_WAITV_MAX: usize = 128;
/// Most entries followed in a robust list.
pub const ROBUST_LIST_LIMIT: usize = 2048;

wire_struct! {
    /// Head of a thread's list of held robust futexes (get_robust_list(2)).
    RobustListHead [24] {
        /// First entry; the head itself if there is none.
        next: u64 @ 0,
        /// From an entry to its futex word, in bytes.
        futex_offset: i64 @ 8,
        /// Entry being added or removed.
        list_op_pending: u64 @ 16,
    }
}

wire_struct! {
    /// One element of futex_waitv(2).
    FutexWaitv [24] {
        /// Expected value.
        val: u64 @ 0,
        /// Address of the futex word.
        uaddr: u64 @ 8,
        /// `FUTEX2_*`.
        flags: u32 @ 16,
        /// Must be 0.
        reserved: u32 @ 20,
    }
}

// rseq(2): the area of a thread.
/// Size of the original area, in bytes.
pub const RSEQ_SIZE: usize = 32;
/// Alignment of the area, in bytes.
pub const RSEQ_ALIGN: u64 = 32;
/// Flag of the call: unregister.
pub const RSEQ_FLAG_UNREGISTER: u32 = 1;
/// `cpu_id` before registration.
pub const RSEQ_CPU_ID_UNINITIALIZED: i32 = -1;
/// `cpu_id` after registration failed.
pub const RSEQ_CPU_ID_REGISTRATION_FAILED: i32 = -2;

wire_struct! {
    /// The area a thread registers with rseq(2).
    Rseq [32] {
        /// Processor at the start of a sequence.
        cpu_id_start: u32 @ 0,
        /// Processor now.
        cpu_id: u32 @ 4,
        /// Address of the critical section's [`RseqCs`], or 0.
        rseq_cs: u64 @ 8,
        /// Flags.
        flags: u32 @ 16,
        /// Memory node.
        node_id: u32 @ 20,
        /// Concurrency id.
        mm_cid: u32 @ 24,
    }
}

wire_struct! {
    /// A critical section of rseq(2).
    RseqCs [32] {
        /// 0.
        version: u32 @ 0,
        /// Flags.
        flags: u32 @ 4,
        /// First instruction.
        start_ip: u64 @ 8,
        /// Length in bytes.
        post_commit_offset: u64 @ 16,
        /// Where to go when interrupted.
        abort_ip: u64 @ 24,
    }
}

// Scheduling policies (sched(7)).
pub const SCHED_NORMAL: i32 = 0;
pub const SCHED_FIFO: i32 = 1;
pub const SCHED_RR: i32 = 2;
pub const SCHED_BATCH: i32 = 3;
pub const SCHED_IDLE: i32 = 5;
pub const SCHED_DEADLINE: i32 = 6;
pub const SCHED_RESET_ON_FORK: i32 = 0x40000000;
pub const SCHED_FLAG_RESET_ON_FORK: u64 = 0x1;
pub const SCHED_FLAG_RECLAIM: u64 = 0x2;
pub const SCHED_FLAG_DL_OVERRUN: u64 = 0x4;
pub const SCHED_FLAG_KEEP_POLICY: u64 = 0x8;
pub const SCHED_FLAG_KEEP_PARAMS: u64 = 0x10;
pub const SCHED_FLAG_UTIL_CLAMP_MIN: u64 = 0x20;
pub const SCHED_FLAG_UTIL_CLAMP_MAX: u64 = 0x40;
// getpriority(2), ioprio_set(2).
pub const PRIO_PROCESS: i32 = 0;
pub const PRIO_PGRP: i32 = 1;
pub const PRIO_USER: i32 = 2;
pub const IOPRIO_WHO_PROCESS: i32 = 1;
pub const IOPRIO_WHO_PGRP: i32 = 2;
pub const IOPRIO_WHO_USER: i32 = 3;

wire_struct! {
    /// Attributes of sched_setattr(2), second version.
    SchedAttr [56] {
        /// Size the caller knows, in bytes.
        size: u32 @ 0,
        /// `SCHED_*`.
        policy: u32 @ 4,
        /// `SCHED_FLAG_*`.
        flags: u64 @ 8,
        /// Nice value.
        nice: i32 @ 16,
        /// Real-time priority.
        priority: u32 @ 20,
        /// Deadline scheduling, in nanoseconds.
        runtime: u64 @ 24,
        /// Deadline scheduling, in nanoseconds.
        deadline: u64 @ 32,
        /// Deadline scheduling, in nanoseconds.
        period: u64 @ 40,
        /// Lowest utilization hint.
        util_min: u32 @ 48,
        /// Highest utilization hint.
        util_max: u32 @ 52,
    }
}
/// Size of the first version of [`SchedAttr`].
pub const SCHED_ATTR_SIZE_VER0: usize = 48;

// prctl(2).
pub const PR_SET_PDEATHSIG: i32 = 1;
pub const PR_GET_PDEATHSIG: i32 = 2;
pub const PR_GET_DUMPABLE: i32 = 3;
pub const PR_SET_DUMPABLE: i32 = 4;
pub const PR_GET_UNALIGN: i32 = 5;
pub const PR_SET_UNALIGN: i32 = 6;
pub const PR_GET_KEEPCAPS: i32 = 7;
pub const PR_SET_KEEPCAPS: i32 = 8;
pub const PR_GET_FPEMU: i32 = 9;
pub const PR_SET_FPEMU: i32 = 10;
pub const PR_GET_FPEXC: i32 = 11;
pub const PR_SET_FPEXC: i32 = 12;
pub const PR_GET_TIMING: i32 = 13;
pub const PR_SET_TIMING: i32 = 14;
pub const PR_SET_NAME: i32 = 15;
pub const PR_GET_NAME: i32 = 16;
pub const PR_GET_ENDIAN: i32 = 19;
pub const PR_SET_ENDIAN: i32 = 20;
pub const PR_GET_SECCOMP: i32 = 21;
pub const PR_SET_SECCOMP: i32 = 22;
pub const PR_CAPBSET_READ: i32 = 23;
pub const PR_CAPBSET_DROP: i32 = 24;
pub const PR_GET_TSC: i32 = 25;
pub const PR_SET_TSC: i32 = 26;
pub const PR_GET_SECUREBITS: i32 = 27;
pub const PR_SET_SECUREBITS: i32 = 28;
pub const PR_SET_TIMERSLACK: i32 = 29;
pub const PR_GET_TIMERSLACK: i32 = 30;
pub const PR_TASK_PERF_EVENTS_DISABLE: i32 = 31;
pub const PR_TASK_PERF_EVENTS_ENABLE: i32 = 32;
pub const PR_MCE_KILL: i32 = 33;
pub const PR_MCE_KILL_GET: i32 = 34;
pub const PR_SET_MM: i32 = 35;
pub const PR_SET_CHILD_SUBREAPER: i32 = 36;
pub const PR_GET_CHILD_SUBREAPER: i32 = 37;
pub const PR_SET_NO_NEW_PRIVS: i32 = 38;
pub const PR_GET_NO_NEW_PRIVS: i32 = 39;
pub const PR_GET_TID_ADDRESS: i32 = 40;
pub const PR_SET_THP_DISABLE: i32 = 41;
pub const PR_GET_THP_DISABLE: i32 = 42;
pub const PR_CAP_AMBIENT: i32 = 47;
pub const PR_CAP_AMBIENT_IS_SET: i32 = 1;
pub const PR_CAP_AMBIENT_RAISE: i32 = 2;
pub const PR_CAP_AMBIENT_LOWER: i32 = 3;
pub const PR_CAP_AMBIENT_CLEAR_ALL: i32 = 4;
pub const PR_GET_SPECULATION_CTRL: i32 = 52;
pub const PR_SET_SPECULATION_CTRL: i32 = 53;
pub const PR_SET_IO_FLUSHER: i32 = 57;
pub const PR_GET_IO_FLUSHER: i32 = 58;
pub const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
pub const PR_SCHED_CORE: i32 = 62;
pub const PR_SET_MDWE: i32 = 65;
pub const PR_GET_MDWE: i32 = 66;
pub const PR_SET_VMA: i32 = 1398164801;
pub const PR_SET_VMA_ANON_NAME: i32 = 0;
pub const PR_SET_PTRACER: i32 = 1499557217;
pub const PR_GET_AUXV: i32 = 1096112214;
pub const PR_TSC_ENABLE: i32 = 1;
pub const PR_TSC_SIGSEGV: i32 = 2;
pub const PR_SET_PTRACER_ANY: u64 = 0xffffffffffffffff;
pub const PR_SET_MM_START_CODE: i32 = 1;
pub const PR_SET_MM_END_CODE: i32 = 2;
pub const PR_SET_MM_START_DATA: i32 = 3;
pub const PR_SET_MM_END_DATA: i32 = 4;
pub const PR_SET_MM_START_STACK: i32 = 5;
pub const PR_SET_MM_START_BRK: i32 = 6;
pub const PR_SET_MM_BRK: i32 = 7;
pub const PR_SET_MM_ARG_START: i32 = 8;
pub const PR_SET_MM_ARG_END: i32 = 9;
pub const PR_SET_MM_ENV_START: i32 = 10;
pub const PR_SET_MM_ENV_END: i32 = 11;
pub const PR_SET_MM_AUXV: i32 = 12;
pub const PR_SET_MM_EXE_FILE: i32 = 13;
pub const PR_SET_MM_MAP: i32 = 14;
pub const PR_SET_MM_MAP_SIZE: i32 = 15;
// arch_prctl(2).
pub const ARCH_SET_GS: i32 = 0x1001;
pub const ARCH_SET_FS: i32 = 0x1002;
pub const ARCH_GET_FS: i32 = 0x1003;
pub const ARCH_GET_GS: i32 = 0x1004;
pub const ARCH_GET_CPUID: i32 = 0x1011;
pub const ARCH_SET_CPUID: i32 = 0x1012;
pub const ARCH_GET_XCOMP_SUPP: i32 = 0x1021;
pub const ARCH_GET_XCOMP_PERM: i32 = 0x1022;
pub const ARCH_REQ_XCOMP_PERM: i32 = 0x1023;
pub const ARCH_CET_STATUS: i32 = 0x3001;
pub const ARCH_SHSTK_ENABLE: i32 = 0x5001;
pub const ARCH_SHSTK_DISABLE: i32 = 0x5002;
pub const ARCH_SHSTK_LOCK: i32 = 0x5003;
pub const ARCH_SHSTK_UNLOCK: i32 = 0x5004;
pub const ARCH_SHSTK_STATUS: i32 = 0x5005;
/// Longest thread name, with its NUL, in bytes.
pub const TASK_COMM_LEN: usize = 16;

// seccomp(2).
pub const SECCOMP_MODE_DISABLED: u32 = 0;
pub const SECCOMP_MODE_STRICT: u32 = 1;
pub const SECCOMP_MODE_FILTER: u32 = 2;
pub const SECCOMP_SET_MODE_STRICT: u32 = 0;
pub const SECCOMP_SET_MODE_FILTER: u32 = 1;
pub const SECCOMP_GET_ACTION_AVAIL: u32 = 2;
pub const SECCOMP_GET_NOTIF_SIZES: u32 = 3;
pub const SECCOMP_FILTER_FLAG_TSYNC: u32 = 0x1;
pub const SECCOMP_FILTER_FLAG_LOG: u32 = 0x2;
pub const SECCOMP_FILTER_FLAG_SPEC_ALLOW: u32 = 0x4;
pub const SECCOMP_FILTER_FLAG_NEW_LISTENER: u32 = 0x8;
pub const SECCOMP_FILTER_FLAG_TSYNC_ESRCH: u32 = 0x10;
pub const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: u32 = 0x20;
pub const SECCOMP_RET_KILL_PROCESS: u32 = 0x80000000;
pub const SECCOMP_RET_KILL_THREAD: u32 = 0x0;
pub const SECCOMP_RET_TRAP: u32 = 0x30000;
pub const SECCOMP_RET_ERRNO: u32 = 0x50000;
pub const SECCOMP_RET_USER_NOTIF: u32 = 0x7fc00000;
pub const SECCOMP_RET_TRACE: u32 = 0x7ff00000;
pub const SECCOMP_RET_LOG: u32 = 0x7ffc0000;
pub const SECCOMP_RET_ALLOW: u32 = 0x7fff0000;
pub const SECCOMP_RET_ACTION_FULL: u32 = 0xffff0000;
pub const SECCOMP_RET_DATA: u32 = 0xffff;

// seccomp_unotify(2): requests of a listener, their flags, and the lengths of their structures.
pub const SECCOMP_IOCTL_NOTIF_RECV: u32 = 0xc050_2100;
pub const SECCOMP_IOCTL_NOTIF_SEND: u32 = 0xc018_2101;
pub const SECCOMP_IOCTL_NOTIF_ID_VALID: u32 = 0x4008_2102;
/// As it was first published, with the direction of the argument the other way round.
pub const SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR: u32 = 0x8008_2102;
/// The length of its structure may be another one.
pub const SECCOMP_IOCTL_NOTIF_ADDFD: u32 = 0x4018_2103;
pub const SECCOMP_IOCTL_NOTIF_SET_FLAGS: u32 = 0x4008_2104;
pub const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;
pub const SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: u64 = 1;
pub const SECCOMP_ADDFD_FLAG_SETFD: u32 = 1;
pub const SECCOMP_ADDFD_FLAG_SEND: u32 = 2;
/// `struct seccomp_notif`, `seccomp_notif_resp`, `seccomp_data` and the first version of `seccomp_notif_addfd`.
pub const SECCOMP_NOTIF_LEN: usize = 80;
pub const SECCOMP_NOTIF_RESP_LEN: usize = 24;
pub const SECCOMP_DATA_LEN: usize = 64;
pub const SECCOMP_NOTIF_ADDFD_LEN: usize = 24;

/// The `arch` of a native system call.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

// wait4(2), waitid(2).
pub const WNOHANG: u32 = 0x1;
pub const WUNTRACED: u32 = 0x2;
pub const WSTOPPED: u32 = 0x2;
pub const WEXITED: u32 = 0x4;
pub const WCONTINUED: u32 = 0x8;
pub const WNOWAIT: u32 = 0x1000000;
pub const __WNOTHREAD: u32 = 0x20000000;
pub const __WALL: u32 = 0x40000000;
pub const __WCLONE: u32 = 0x80000000;
pub const P_ALL: i32 = 0;
pub const P_PID: i32 = 1;
pub const P_PGID: i32 = 2;
pub const P_PIDFD: i32 = 3;
// pidfd_open(2).
pub const PIDFD_NONBLOCK: u32 = 0o4000;
pub const PIDFD_THREAD: u32 = 0o200;

// getrlimit(2).
pub const RLIMIT_CPU: u32 = 0;
pub const RLIMIT_FSIZE: u32 = 1;
pub const RLIMIT_DATA: u32 = 2;
pub const RLIMIT_STACK: u32 = 3;
pub const RLIMIT_CORE: u32 = 4;
pub const RLIMIT_RSS: u32 = 5;
pub const RLIMIT_NPROC: u32 = 6;
pub const RLIMIT_NOFILE: u32 = 7;
pub const RLIMIT_MEMLOCK: u32 = 8;
pub const RLIMIT_AS: u32 = 9;
pub const RLIMIT_LOCKS: u32 = 10;
pub const RLIMIT_SIGPENDING: u32 = 11;
pub const RLIMIT_MSGQUEUE: u32 = 12;
pub const RLIMIT_NICE: u32 = 13;
pub const RLIMIT_RTPRIO: u32 = 14;
pub const RLIMIT_RTTIME: u32 = 15;
/// Number of resource limits.
pub const RLIM_NLIMITS: usize = 16;
/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;
pub const RUSAGE_SELF: i32 = 0;
pub const RUSAGE_CHILDREN: i32 = -1;
pub const RUSAGE_THREAD: i32 = 1;

// personality(2).
pub const PER_LINUX: u32 = 0x0;
pub const PER_LINUX32: u32 = 0x8;
pub const UNAME26: u32 = 0x20000;
pub const ADDR_NO_RANDOMIZE: u32 = 0x40000;
pub const FDPIC_FUNCPTRS: u32 = 0x80000;
pub const MMAP_PAGE_ZERO: u32 = 0x100000;
pub const ADDR_COMPAT_LAYOUT: u32 = 0x200000;
pub const READ_IMPLIES_EXEC: u32 = 0x400000;
pub const ADDR_LIMIT_32BIT: u32 = 0x800000;
pub const SHORT_INODE: u32 = 0x1000000;
pub const WHOLE_SECONDS: u32 = 0x2000000;
pub const STICKY_TIMEOUTS: u32 = 0x4000000;
/// What a program that gains rights by execve(2) does not inherit.
pub const PER_CLEAR_ON_SETID: u32 =
    READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT | MMAP_PAGE_ZERO;
pub const ADDR_LIMIT_3GB: u32 = 0x8000000;

// reboot(2).
pub const LINUX_REBOOT_MAGIC1: u32 = 0xfee1dead;
pub const LINUX_REBOOT_MAGIC2: u32 = 0x28121969;
pub const LINUX_REBOOT_MAGIC2A: u32 = 0x5121996;
pub const LINUX_REBOOT_MAGIC2B: u32 = 0x16041998;
pub const LINUX_REBOOT_MAGIC2C: u32 = 0x20112000;
pub const LINUX_REBOOT_CMD_RESTART: u32 = 0x1234567;
pub const LINUX_REBOOT_CMD_HALT: u32 = 0xcdef0123;
pub const LINUX_REBOOT_CMD_CAD_ON: u32 = 0x89abcdef;
pub const LINUX_REBOOT_CMD_CAD_OFF: u32 = 0x0;
pub const LINUX_REBOOT_CMD_POWER_OFF: u32 = 0x4321fedc;
pub const LINUX_REBOOT_CMD_RESTART2: u32 = 0xa1b2c3d4;
pub const LINUX_REBOOT_CMD_SW_SUSPEND: u32 = 0xd000fce2;
pub const LINUX_REBOOT_CMD_KEXEC: u32 = 0x45584543;

// getrandom(2).
pub const GRND_NONBLOCK: u32 = 1;
pub const GRND_RANDOM: u32 = 2;
pub const GRND_INSECURE: u32 = 4;

/// Status word of a process that called exit(2).
pub const fn wait_exited(code: i32) -> i32 {
    (code & 0xff) << 8
}

/// Status word of a process a signal ended.
pub const fn wait_signaled(signo: i32, core: bool) -> i32 {
    signo & 0x7f | if core { 0x80 } else { 0 }
}

/// Status word of a stopped process; the number may carry a ptrace(2) event above its low byte.
pub const fn wait_stopped(signo: i32) -> i32 {
    (signo & 0xffff) << 8 | 0x7f
}

/// Status word of a process `SIGCONT` continued.
pub const WAIT_CONTINUED: i32 = 0xffff;
