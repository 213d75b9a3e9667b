/* ptrace(2): stops, registers, memory and events, as strace and gdb use them. */
#include "../test.h"
#include <elf.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

static volatile long variable = 17;

/* A child that asks to be traced and stops. */
static pid_t traced(void (*body)(void))
{
	pid_t p = fork();
	if (p == 0) {
		CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
		raise(SIGSTOP);
		body();
		_exit(5);
	}
	int st;
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK(WIFSTOPPED(st));
	CHECK_EQ(WSTOPSIG(st), SIGSTOP);
	return p;
}

static int resume(int how, pid_t p, long sig)
{
	int st;
	CHECK_EQ(ptrace(how, p, 0, sig), 0);
	CHECK_EQ(waitpid(p, &st, __WALL), p);
	return st;
}

static void calls(void)
{
	syscall(SYS_getppid);
	syscall(SYS_close, -1);
}

TEST(system_calls)
{
	pid_t p = traced(calls);
	CHECK_EQ(ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD), 0);
	struct user_regs_struct r;
	long seen = 0;
	for (;;) {
		int st = resume(PTRACE_SYSCALL, p, 0);
		if (WIFEXITED(st))
			break;
		CHECK_EQ(WSTOPSIG(st), SIGTRAP | 0x80);
		CHECK_EQ(ptrace(PTRACE_GETREGS, p, 0, &r), 0);
		if (r.orig_rax == SYS_getppid && (long)r.rax == -ENOSYS) {
			/* Another call in its place. */
			r.orig_rax = SYS_getpid;
			CHECK_EQ(ptrace(PTRACE_SETREGS, p, 0, &r), 0);
			CHECK_EQ(WSTOPSIG(resume(PTRACE_SYSCALL, p, 0)), SIGTRAP | 0x80);
			CHECK_EQ(ptrace(PTRACE_PEEKUSER, p, offsetof(struct user_regs_struct, rax), 0), p);
			seen++;
		} else if (r.orig_rax == SYS_close && (long)r.rax == -EBADF) {
			seen++;
		}
	}
	CHECK_EQ(seen, 2);
}

static void breakpoint(void)
{
	__asm__ volatile("int3");
	variable++;
}

TEST(memory_and_steps)
{
	pid_t p = traced(breakpoint);
	int st = resume(PTRACE_CONT, p, 0);
	CHECK_EQ(WSTOPSIG(st), SIGTRAP);
	siginfo_t info;
	CHECK_EQ(ptrace(PTRACE_GETSIGINFO, p, 0, &info), 0);
	CHECK_EQ(info.si_code, SI_KERNEL);
	CHECK_EQ(ptrace(PTRACE_PEEKDATA, p, &variable, 0), 17);
	CHECK_EQ(ptrace(PTRACE_POKEDATA, p, &variable, 40), 0);
	struct user_regs_struct a, b;
	struct iovec v = {&a, sizeof a};
	CHECK_EQ(ptrace(PTRACE_GETREGSET, p, NT_PRSTATUS, &v), 0);
	CHECK_EQ(v.iov_len, sizeof a);
	CHECK_EQ(WSTOPSIG(resume(PTRACE_SINGLESTEP, p, 0)), SIGTRAP);
	CHECK_EQ(ptrace(PTRACE_GETREGS, p, 0, &b), 0);
	CHECK(b.rip > a.rip && b.rip < a.rip + 16);
	CHECK_EQ(b.eflags & 0x100, 0);
	CHECK_EQ(ptrace(PTRACE_GETSIGINFO, p, 0, &info), 0);
	CHECK_EQ(info.si_code, TRAP_TRACE);
	long value;
	struct iovec here = {&value, sizeof value}, there = {(void *)&variable, sizeof value};
	for (int i = 0; i < 8 && ptrace(PTRACE_PEEKDATA, p, &variable, 0) != 41; i++)
		resume(PTRACE_SINGLESTEP, p, 0);
	CHECK_EQ(process_vm_readv(p, &here, 1, &there, 1, 0), sizeof value);
	CHECK_EQ(value, 41);
	CHECK_EQ(ptrace(PTRACE_POKEDATA, p, 8, 1), -1);
	CHECK_EQ(errno, EIO);
	st = resume(PTRACE_CONT, p, 0);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 5);
}

static void forker(void)
{
	pid_t q = fork();
	if (q == 0)
		_exit(9);
	int st;
	CHECK_EQ(waitpid(q, &st, 0), q);
}

TEST(fork_is_followed)
{
	pid_t p = traced(forker);
	CHECK_EQ(ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL), 0);
	int st = resume(PTRACE_CONT, p, 0);
	CHECK_EQ(st >> 8, SIGTRAP | PTRACE_EVENT_FORK << 8);
	unsigned long q;
	CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, p, 0, &q), 0);
	CHECK_EQ(waitpid(q, &st, __WALL), (pid_t)q);
	CHECK_EQ(WSTOPSIG(st), SIGSTOP);
	st = resume(PTRACE_CONT, q, 0);
	CHECK_EQ(st >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8);
	unsigned long code;
	CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, q, 0, &code), 0);
	CHECK_EQ(code, 9 << 8);
	CHECK_EQ(ptrace(PTRACE_CONT, q, 0, 0), 0);
	CHECK_EQ(waitpid(q, &st, __WALL), (pid_t)q);
	CHECK_EQ(WEXITSTATUS(st), 9);
	/* Its parent gets it afterwards. */
	st = resume(PTRACE_CONT, p, 0);
	if (WIFSTOPPED(st) && WSTOPSIG(st) == SIGCHLD)
		st = resume(PTRACE_CONT, p, SIGCHLD);
	CHECK_EQ(st >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8);
	st = resume(PTRACE_CONT, p, 0);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 5);
}

TEST(seize_and_interrupt)
{
	pid_t p = fork();
	if (p == 0)
		for (;;)
			pause();
	CHECK_EQ(ptrace(PTRACE_SEIZE, p, 0, 0), 0);
	CHECK_EQ(ptrace(PTRACE_SEIZE, p, 0, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(ptrace(PTRACE_INTERRUPT, p, 0, 0), 0);
	int st;
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK_EQ(st >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8);
	/* A signal is held back at will. */
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EQ(kill(p, SIGTERM), 0);
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK_EQ(WSTOPSIG(st), SIGTERM);
	/* Job control. */
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EQ(kill(p, SIGSTOP), 0);
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK_EQ(st >> 8, SIGSTOP);
	st = resume(PTRACE_CONT, p, SIGSTOP);
	CHECK_EQ(st >> 8, SIGSTOP | PTRACE_EVENT_STOP << 8);
	CHECK_EQ(ptrace(PTRACE_LISTEN, p, 0, 0), 0);
	CHECK_EQ(kill(p, SIGCONT), 0);
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK_EQ(st >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8);
	st = resume(PTRACE_CONT, p, 0);
	CHECK_EQ(WSTOPSIG(st), SIGCONT);
	CHECK_EQ(ptrace(PTRACE_DETACH, p, 0, 0), 0);
	CHECK_EQ(kill(p, SIGKILL), 0);
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK_EQ(WTERMSIG(st), SIGKILL);
}

/* Calls that are made so often that the machine has every reason to make them cheap: who comes later sees them all the same. */
TEST(calls_made_long_before)
{
	volatile int *ready = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t p = fork();
	if (p == 0)
		for (int i = 0;; i++) {
			sigset_t set;
			sigemptyset(&set);
			sigaddset(&set, SIGUSR1);
			sigprocmask(i % 2 ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
			signal(SIGUSR2, i % 2 ? SIG_IGN : SIG_DFL);
			*ready = i;
		}
	while (*ready < 1000)
		sched_yield();
	CHECK_EQ(ptrace(PTRACE_SEIZE, p, 0, PTRACE_O_TRACESYSGOOD), 0);
	CHECK_EQ(ptrace(PTRACE_INTERRUPT, p, 0, 0), 0);
	int st;
	CHECK_EQ(waitpid(p, &st, 0), p);
	long last = 0;
	for (int i = 0; i < 40; i++) {
		struct user_regs_struct r;
		do {
			CHECK_EQ(WSTOPSIG(resume(PTRACE_SYSCALL, p, 0)), SIGTRAP | 0x80);
			CHECK_EQ(ptrace(PTRACE_GETREGS, p, 0, &r), 0);
		} while ((long)r.rax != -ENOSYS);
		CHECK(r.orig_rax == SYS_rt_sigprocmask || r.orig_rax == SYS_rt_sigaction);
		CHECK(last != (long)r.orig_rax);
		last = (long)r.orig_rax;
		uint64_t mask;
		CHECK_EQ(ptrace(PTRACE_GETSIGMASK, p, sizeof mask, &mask), 0);
		CHECK(mask == 0 || mask == 0x200);
	}
	CHECK_EQ(kill(p, SIGKILL), 0);
	CHECK_EQ(waitpid(p, &st, 0), p);
}

TEST(exec_traps)
{
	pid_t p = fork();
	if (p == 0) {
		CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
		execl(test_self, test_self, "-1", "nothing", NULL);
		_exit(1);
	}
	int st;
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK_EQ(WSTOPSIG(st), SIGTRAP);
	CHECK_EQ(ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_EXITKILL), 0);
	st = resume(PTRACE_CONT, p, 0);
	CHECK(WIFEXITED(st));
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), -1);
	CHECK_EQ(errno, ESRCH);
}

TEST(nothing)
{
}

TEST_MAIN
