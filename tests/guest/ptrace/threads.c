/* ptrace(2) of processes with several threads: new threads, group stops and PTRACE_LISTEN, exec by a thread. */
#include "../test.h"
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#define THREADS 3

static int *shared; /* number of threads that run, and a command */

static void *works(void *arg)
{
	__atomic_add_fetch(&shared[0], 1, __ATOMIC_SEQ_CST);
	while (shared[1] == 0)
		msleep(1);
	return arg;
}

static void *execs(void *arg)
{
	__atomic_add_fetch(&shared[0], 1, __ATOMIC_SEQ_CST);
	while (shared[1] == 0)
		msleep(1);
	execl(test_self, test_self, "-1", "nothing", NULL);
	_exit(1);
	return arg;
}

static void share(void)
{
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
}

/* A process with threads besides its leader; the last of them does `last`. */
static pid_t with_threads(void *(*last)(void *))
{
	share();
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		pthread_t t[THREADS];
		for (int i = 0; i < THREADS; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, i == THREADS - 1 ? last : works, NULL), 0);
		while (shared[1] == 0)
			msleep(1);
		for (int i = 0; i < THREADS; i++)
			pthread_join(t[i], NULL);
		_exit(21);
	}
	EVENTUALLY(__atomic_load_n(&shared[0], __ATOMIC_SEQ_CST) == THREADS);
	return p;
}

/* The threads of a process, the leader first. */
static int threads_of(pid_t p, pid_t *tids)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", p);
	int fd = CHECK_OK(open(path, O_RDONLY | O_DIRECTORY)), n = 0;
	char buf[4096];
	long got = CHECK_OK(syscall(SYS_getdents64, fd, buf, sizeof buf));
	for (long at = 0; at < got;) {
		struct {
			uint64_t ino, off;
			unsigned short len;
			unsigned char type;
			char name[];
		} *d = (void *)(buf + at);
		if (d->name[0] != '.')
			tids[n++] = atoi(d->name);
		at += d->len;
	}
	close(fd);
	return n;
}

static int stop_of(pid_t tid)
{
	int st;
	CHECK_EQ(waitpid(tid, &st, __WALL), tid);
	CHECK(WIFSTOPPED(st));
	return st >> 8;
}

TEST(listen)
{
	pid_t p = with_threads(works), tids[16];
	int n = threads_of(p, tids);
	CHECK_EQ(n, THREADS + 1);
	for (int i = 0; i < n; i++)
		CHECK_EQ(ptrace(PTRACE_SEIZE, tids[i], 0, 0), 0);
	/* None of them stands: nothing to listen for. */
	CHECK_ERR(ptrace(PTRACE_LISTEN, p, 0, 0), ESRCH);
	CHECK_OK(kill(p, SIGSTOP));
	/* One takes the signal, then all stand. */
	int st;
	pid_t taker = CHECK_OK(waitpid(-1, &st, __WALL));
	CHECK_EQ(st >> 8, SIGSTOP);
	CHECK_ERR(ptrace(PTRACE_LISTEN, taker, 0, 0), EIO);
	CHECK_EQ(ptrace(PTRACE_CONT, taker, 0, SIGSTOP), 0);
	for (int i = 0; i < n; i++)
		CHECK_EQ(stop_of(tids[i]), SIGSTOP | PTRACE_EVENT_STOP << 8);
	for (int i = 0; i < n; i++)
		CHECK_EQ(ptrace(PTRACE_LISTEN, tids[i], 0, 0), 0);
	/* They go on standing, and are not to be touched. */
	msleep(20);
	CHECK_EQ(waitpid(-1, &st, WNOHANG | __WALL), 0);
	CHECK_ERR(ptrace(PTRACE_CONT, p, 0, 0), ESRCH);
	/* Asked, one reports again that it stands. */
	CHECK_EQ(ptrace(PTRACE_INTERRUPT, tids[1], 0, 0), 0);
	CHECK_EQ(stop_of(tids[1]), SIGSTOP | PTRACE_EVENT_STOP << 8);
	CHECK_EQ(ptrace(PTRACE_LISTEN, tids[1], 0, 0), 0);
	/* SIGCONT is told by all, and taken by one. */
	CHECK_OK(kill(p, SIGCONT));
	int trapped = 0, continued = 0;
	while (trapped < n || continued < 1) {
		pid_t tid = CHECK_OK(waitpid(-1, &st, __WALL));
		if (st >> 8 == (SIGTRAP | PTRACE_EVENT_STOP << 8))
			trapped++;
		else if (st >> 8 == SIGCONT)
			continued++;
		else
			CHECK_EQ(st, 0);
		CHECK_EQ(ptrace(PTRACE_CONT, tid, 0, 0), 0);
	}
	CHECK_EQ(trapped, n);
	shared[1] = 1;
	for (int i = 1; i < n; i++)
		CHECK_EQ(waitpid(tids[i], &st, __WALL), tids[i]);
	CHECK_EXIT(p, 21);
}

/* What each new thread tells when it is traced from its birth. */
TEST(new_threads)
{
	share();
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		pthread_t t;
		CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
		raise(SIGSTOP);
		shared[1] = 1;
		CHECK_EQ(pthread_create(&t, NULL, works, NULL), 0);
		CHECK_EQ(pthread_join(t, NULL), 0);
		_exit(22);
	}
	CHECK_EQ(stop_of(p), SIGSTOP);
	CHECK_EQ(ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL), 0);
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EQ(stop_of(p), SIGTRAP | PTRACE_EVENT_CLONE << 8);
	unsigned long tid;
	CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, p, 0, &tid), 0);
	CHECK_EQ(stop_of(tid), SIGSTOP);
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EQ(ptrace(PTRACE_CONT, tid, 0, 0), 0);
	int st;
	CHECK_EQ(waitpid(tid, &st, __WALL), (pid_t)tid);
	CHECK(WIFEXITED(st));
	CHECK_EXIT(p, 22);
}

/* A thread that is not the leader runs a program: it takes the leader's id, and tells its old one. */
static void exec_by_thread(int options)
{
	pid_t p = with_threads(execs), tids[16];
	int n = threads_of(p, tids), st;
	CHECK_EQ(n, THREADS + 1);
	for (int i = 0; i < n; i++)
		CHECK_EQ(ptrace(PTRACE_SEIZE, tids[i], 0, options), 0);
	shared[1] = 1;
	int exits = 0, reaped = 0, events = 0;
	unsigned long old = 0;
	while (events == 0) {
		pid_t tid = CHECK_OK(waitpid(-1, &st, __WALL));
		if (WIFEXITED(st) || WIFSIGNALED(st)) {
			/* The leader's end is not told: its id lives on. */
			CHECK(tid != p);
			reaped++;
			continue;
		}
		if (st >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
			exits++;
		} else {
			CHECK_EQ(st >> 8, SIGTRAP | PTRACE_EVENT_EXEC << 8);
			CHECK_EQ(tid, p);
			CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, tid, 0, &old), 0);
			events++;
		}
		CHECK_EQ(ptrace(PTRACE_CONT, tid, 0, 0), 0);
	}
	CHECK_EQ(old, tids[n - 1]);
	CHECK(reaped <= n - 2);
	if (options & PTRACE_O_TRACEEXIT) {
		CHECK(exits >= 1);
		CHECK_EQ(stop_of(p), SIGTRAP | PTRACE_EVENT_EXIT << 8);
		CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	}
	for (;;) {
		pid_t tid = CHECK_OK(waitpid(-1, &st, __WALL));
		if (tid == p)
			break;
		reaped++;
	}
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	CHECK_EQ(reaped, n - 2);
	CHECK_ERR(waitpid(-1, &st, __WALL), ECHILD);
}

TEST(exec_by_a_thread)
{
	exec_by_thread(PTRACE_O_TRACEEXEC);
}

TEST(exec_by_a_thread_with_ends_told)
{
	exec_by_thread(PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT);
}

/* One thread stands for the tracer, the others run. */
TEST(one_of_several)
{
	pid_t p = with_threads(works), tids[16];
	int n = threads_of(p, tids), st;
	CHECK_EQ(ptrace(PTRACE_SEIZE, tids[1], 0, 0), 0);
	CHECK_EQ(ptrace(PTRACE_INTERRUPT, tids[1], 0, 0), 0);
	CHECK_EQ(stop_of(tids[1]), SIGTRAP | PTRACE_EVENT_STOP << 8);
	struct user_regs_struct r;
	CHECK_EQ(ptrace(PTRACE_GETREGS, tids[1], 0, &r), 0);
	CHECK_ERR(ptrace(PTRACE_GETREGS, tids[2], 0, &r), ESRCH);
	shared[1] = 1;
	msleep(20);
	CHECK_EQ(waitpid(p, &st, WNOHANG), 0);
	CHECK_EQ(ptrace(PTRACE_DETACH, tids[1], 0, 0), 0);
	CHECK_EXIT(p, 21);
	(void)n;
}

TEST(nothing)
{
}

TEST_MAIN
