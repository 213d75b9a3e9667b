/* Futex calls that a filter or a tracer must see: seccomp(2) and ptrace(2) know no calls that pass by themselves. */
#include "../test.h"
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define RET(value) BPF_STMT(BPF_RET | BPF_K, value)
#define NR offsetof(struct seccomp_data, nr)
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (n))

static void install(unsigned flags, struct sock_filter *code, unsigned short len)
{
	struct sock_fprog prog = {len, code};
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_EQ(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog), 0);
}

#define FILTER(flags, ...)                                                                                             \
	do {                                                                                                           \
		struct sock_filter code_[] = {__VA_ARGS__};                                                            \
		install(flags, code_, sizeof code_ / sizeof *code_);                                                   \
	} while (0)
/* Calls number `number` get `value`, all others pass. */
#define ONE(flags, number, value)                                                                                      \
	FILTER(flags, LOAD(NR), IS(number, 0, 1), RET(value), RET(SECCOMP_RET_ALLOW))

static long futex(int *word, int op, int val, const struct timespec *time, int val3)
{
	return syscall(SYS_futex, word, op, val, time, NULL, val3);
}

TEST(errors_from_a_filter)
{
	int word = 5;
	CHECK_EQ(futex(&word, FUTEX_WAKE, 1, NULL, 0), 0);
	ONE(0, SYS_futex, SECCOMP_RET_ERRNO | EXDEV);
	for (int i = 0; i < 20; i++) {
		CHECK_ERR(futex(&word, FUTEX_WAKE, 1, NULL, 0), EXDEV);
		CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 5, NULL, 0), EXDEV);
	}
	pid_t p = CHECK_OK(fork());
	if (p == 0)
		_exit(futex(&word, FUTEX_WAIT, 5, NULL, 0) == -1 && errno == EXDEV ? 7 : 1);
	CHECK_EXIT(p, 7);
	CHECK_ERR(futex(&word, FUTEX_WAKE, 1, NULL, 0), EXDEV);
}

TEST(later_calls)
{
	if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) == -1 && errno == ENOSYS)
		SKIP("no futex_waitv");
	ONE(0, SYS_futex_waitv, SECCOMP_RET_ERRNO | EXDEV);
	CHECK_ERR(syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0), EXDEV);
}

/* What a filter lets pass is the host's answer. */
TEST(waitv_that_passes)
{
	struct { uint64_t val, uaddr; uint32_t flags, reserved; } one = {0};
	int word = 5;
	if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) == -1 && errno == ENOSYS)
		SKIP("no futex_waitv");
	ONE(0, SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
	one.uaddr = (uintptr_t)&word, one.flags = 2, one.val = 6;
	CHECK_ERR(syscall(SYS_futex_waitv, &one, 1, 0, NULL, 0), EAGAIN);
	CHECK_ERR(syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0), EINVAL);
	struct timespec soon;
	clock_gettime(CLOCK_MONOTONIC, &soon);
	one.val = 5;
	CHECK_ERR(syscall(SYS_futex_waitv, &one, 1, 0, &soon, CLOCK_MONOTONIC), ETIMEDOUT);
}

TEST(arguments_are_seen)
{
	int word = 5;
	FILTER(0, LOAD(NR), IS(SYS_futex, 0, 3), LOAD(ARG(2)), IS(77, 0, 1), RET(SECCOMP_RET_ERRNO | EXDEV),
	       RET(SECCOMP_RET_ALLOW));
	CHECK_ERR(futex(&word, FUTEX_WAIT, 77, NULL, 0), EXDEV);
	CHECK_ERR(futex(&word, FUTEX_WAIT, 78, NULL, 0), EAGAIN);
	CHECK_EQ(futex(&word, FUTEX_WAKE, 78, NULL, 0), 0);
}

TEST(killed_by_a_filter)
{
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		int word = 0;
		struct rlimit { unsigned long cur, max; } none = {0, 0};
		syscall(SYS_setrlimit, 4, &none);
		ONE(0, SYS_futex, SECCOMP_RET_KILL_PROCESS);
		futex(&word, FUTEX_WAKE, 1, NULL, 0);
		_exit(0);
	}
	CHECK_KILLED(p, SIGSYS);
}

TEST(killed_in_strict_mode)
{
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		int word = 0;
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
			_exit(2);
		futex(&word, FUTEX_WAKE, 1, NULL, 0);
		syscall(SYS_exit, 0);
	}
	CHECK_KILLED(p, SIGKILL);
}

static void on_signal(int s)
{
	(void)s;
}

static void handle(int flags)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = flags};
	CHECK_OK(sigaction(SIGUSR1, &a, NULL));
}

static pthread_t waiting;
static int word, seen;

static void *signals_then_wakes(void *arg)
{
	msleep(30);
	for (int i = 0; i < 3; i++) {
		pthread_kill(waiting, SIGUSR1);
		msleep(10);
	}
	if (arg) {
		__atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
		seen = futex(&word, FUTEX_WAKE, 9, NULL, 0);
	}
	return NULL;
}

static void waits(int flags, int op, const struct timespec *time, int error)
{
	pthread_t t;
	word = 0, seen = -1, waiting = pthread_self();
	handle(flags);
	CHECK_EQ(pthread_create(&t, NULL, signals_then_wakes, error == 0 ? &word : NULL), 0);
	if (error)
		CHECK_ERR(futex(&word, op, 0, time, FUTEX_BITSET_MATCH_ANY), error);
	else
		CHECK_EQ(futex(&word, op, 0, time, FUTEX_BITSET_MATCH_ANY), 0);
	pthread_join(t, NULL);
	if (error == 0)
		CHECK_EQ(seen, 1);
}

/* As ever, only that somebody looks. */
static void all_waits(void)
{
	struct timespec late = {20, 0}, soon = {0, 30000000}, past = {1, 0}, bad = {0, 1000000000};
	waits(SA_RESTART, FUTEX_WAIT, NULL, 0);
	waits(SA_RESTART, FUTEX_WAIT_BITSET, NULL, 0);
	waits(0, FUTEX_WAIT, NULL, EINTR);
	waits(0, FUTEX_WAIT_BITSET, NULL, EINTR);
	waits(0, FUTEX_WAIT, &late, EINTR);
	waits(SA_RESTART, FUTEX_WAIT, &late, EINTR);
	int here = 0;
	int64_t start = now_ns();
	CHECK_ERR(futex(&here, FUTEX_WAIT, 0, &soon, 0), ETIMEDOUT);
	int64_t took = now_ns() - start;
	CHECK(took >= 30000000 && took < 3000000000);
	CHECK_ERR(futex(&here, FUTEX_WAIT_BITSET, 0, &past, FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
	CHECK_ERR(futex(&here, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, -1), ETIMEDOUT);
	CHECK_ERR(futex(&here, FUTEX_WAIT, 0, &bad, 0), EINVAL);
	CHECK_ERR(futex(&here, FUTEX_WAIT, 0, (void *)8, 0), EFAULT);
	CHECK_ERR(futex(&here, FUTEX_WAIT_BITSET, 0, NULL, 0), EINVAL);
	CHECK_ERR(futex((void *)8, FUTEX_WAIT, 0, NULL, 0), EFAULT);
	CHECK_ERR(futex((void *)((char *)&here + 1), FUTEX_WAIT, 0, NULL, 0), EINVAL);
	CHECK_ERR(futex(&here, FUTEX_WAIT, 1, NULL, 0), EAGAIN);
}

TEST(waits_that_pass)
{
	ONE(0, SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
	all_waits();
}

/* GS is the program's, as emulators of other systems have it. */
TEST(waits_with_gs)
{
	unsigned long mine[8] = {0, 4711}, at = 0, value = 0;
	CHECK_OK(syscall(SYS_arch_prctl, 0x1001, mine));
	ONE(0, SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
	all_waits();
	__asm__ volatile("movq %%gs:8, %0" : "=r"(value));
	CHECK_EQ(value, 4711);
	CHECK_OK(syscall(SYS_arch_prctl, 0x1004, &at));
	CHECK_EQ(at, (unsigned long)mine);
}

static void *watched(void *arg)
{
	int *go = arg;
	ONE(0, SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
	for (int i = 0; i < 400; i++) {
		while (__atomic_load_n(go, __ATOMIC_SEQ_CST) != 2 * i + 1)
			futex(go, FUTEX_WAIT, 2 * i, NULL, 0);
		__atomic_store_n(go, 2 * i + 2, __ATOMIC_SEQ_CST);
		futex(go, FUTEX_WAKE, 1, NULL, 0);
	}
	CHECK_ERR(syscall(SYS_getppid), EXDEV);
	return arg;
}

static void ping(int *go)
{
	for (int i = 0; i < 400; i++) {
		__atomic_store_n(go, 2 * i + 1, __ATOMIC_SEQ_CST);
		futex(go, FUTEX_WAKE, 1, NULL, 0);
		while (__atomic_load_n(go, __ATOMIC_SEQ_CST) != 2 * i + 2)
			futex(go, FUTEX_WAIT, 2 * i + 1, NULL, 0);
	}
}

/* Those who are watched and those who are not wait in the same queues: two threads, and two processes. */
TEST(watched_and_not)
{
	pthread_t t;
	int *go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), mine = 0;
	CHECK_EQ(pthread_create(&t, NULL, watched, &mine), 0);
	ping(&mine);
	pthread_join(t, NULL);
	CHECK(getppid() > 0);
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		watched(go);
		_exit(0);
	}
	ping(go);
	CHECK_EXIT(p, 0);
}

TEST(bits)
{
	ONE(0, SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
	int *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t p[2];
	for (int i = 0; i < 2; i++) {
		p[i] = CHECK_OK(fork());
		if (p[i] == 0)
			_exit(futex(w, FUTEX_WAIT_BITSET, 0, NULL, 1 << i) == 0 ? 0 : 1);
	}
	msleep(50);
	CHECK_EQ(futex(w, FUTEX_WAKE_BITSET, 9, NULL, 4), 0);
	int woken = 0;
	EVENTUALLY((woken += futex(w, FUTEX_WAKE_BITSET, 9, NULL, 2)) == 1);
	CHECK_EXIT(p[1], 0);
	EVENTUALLY((woken += futex(w, FUTEX_WAKE_BITSET, 9, NULL, 1)) == 2);
	CHECK_EXIT(p[0], 0);
}

static void *sleeps(void *arg)
{
	while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 0)
		futex(&word, FUTEX_WAIT, 0, NULL, 0);
	return futex(&word, FUTEX_WAKE, 1, NULL, 0) == -1 && errno == EXDEV ? arg : NULL;
}

/* A filter for all threads finds one that waits: it goes on waiting, and its next call is filtered. */
TEST(filtered_while_it_waits)
{
	pthread_t t;
	void *result = NULL;
	CHECK_EQ(pthread_create(&t, NULL, sleeps, &word), 0);
	msleep(50);
	FILTER(SECCOMP_FILTER_FLAG_TSYNC, LOAD(NR), IS(SYS_futex, 0, 3), LOAD(ARG(1)), IS(FUTEX_WAKE, 0, 1),
	       RET(SECCOMP_RET_ERRNO | EXDEV), RET(SECCOMP_RET_ALLOW));
	msleep(50);
	word = 1;
	CHECK_ERR(futex(&word, FUTEX_WAKE, 1, NULL, 0), EXDEV);
	CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, -1), 1);
	pthread_join(t, &result);
	CHECK(result == &word);
}

/* Futex calls that a tracer sees until the tracee has ended; negative if it ended otherwise than with `code`. */
static int count_futexes(pid_t p, int code, int limit)
{
	int n = 0, inside = 0, status;
	while (waitpid(p, &status, __WALL) == p && WIFSTOPPED(status)) {
		int s = WSTOPSIG(status);
		if (s == (SIGTRAP | 0x80)) {
			struct user_regs_struct r;
			CHECK_OK(ptrace(PTRACE_GETREGS, p, 0, &r));
			inside = !inside;
			n += r.orig_rax == SYS_futex && inside;
			if (limit && n >= limit && !inside)
				return n;
			s = 0;
		} else if (s == SIGTRAP || s == SIGSTOP)
			s = 0;
		CHECK_OK(ptrace(PTRACE_SYSCALL, p, 0, s));
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == code ? n : -status;
}

TEST(traced_calls)
{
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		int w = 5;
		struct timespec soon = {0, 1000000};
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (int i = 0; i < 10; i++)
			if (futex(&w, FUTEX_WAKE, 1, NULL, 0) != 0 || futex(&w, FUTEX_WAIT, 4, NULL, 0) != -1 ||
			    errno != EAGAIN || futex(&w, FUTEX_WAIT, 5, &soon, 0) != -1 || errno != ETIMEDOUT)
				_exit(1);
		_exit(3);
	}
	int status;
	CHECK_EQ(waitpid(p, &status, 0), p);
	CHECK_OK(ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
	CHECK_OK(ptrace(PTRACE_SYSCALL, p, 0, 0));
	CHECK_EQ(count_futexes(p, 3, 0), 30);
}

/* One that waits is seized, seen, and let go. */
TEST(seized_while_it_waits)
{
	int *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		while (__atomic_load_n(w, __ATOMIC_SEQ_CST) == 0)
			futex(w, FUTEX_WAIT, 0, NULL, 0);
		for (;;) {
			int old = __atomic_load_n(w, __ATOMIC_SEQ_CST);
			if (old == 100)
				_exit(4);
			struct timespec soon = {0, 1000000};
			futex(w, FUTEX_WAIT, old, &soon, 0);
		}
	}
	msleep(50);
	CHECK_OK(ptrace(PTRACE_SEIZE, p, 0, PTRACE_O_TRACESYSGOOD));
	CHECK_OK(ptrace(PTRACE_INTERRUPT, p, 0, 0));
	int status;
	CHECK_EQ(waitpid(p, &status, 0), p);
	CHECK(WIFSTOPPED(status));
	w[0] = 1;
	CHECK_OK(ptrace(PTRACE_SYSCALL, p, 0, 0));
	futex(w, FUTEX_WAKE, 1, NULL, 0);
	CHECK_EQ(count_futexes(p, 4, 6), 6);
	CHECK_OK(ptrace(PTRACE_DETACH, p, 0, 0));
	msleep(20);
	w[0] = 100;
	CHECK_EXIT(p, 4);
}

TEST_MAIN
