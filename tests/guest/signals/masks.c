/* The mask of blocked signals, changed so often that the machine has every reason to make it cheap, while others send and
 * look at it. */
#define TEST_SECONDS 40
#include "../test.h"
#include <sys/signalfd.h>
#include <ucontext.h>

static const int64_t second = 1000000000;

static sigset_t set_of(int signo)
{
	sigset_t set;
	sigemptyset(&set);
	if (signo)
		sigaddset(&set, signo);
	return set;
}

/* Sites of calls may be changed once they are known to be busy. */
static void warm_up(void)
{
	sigset_t none = set_of(0);
	for (int i = 0; i < 100; i++)
		CHECK_OK(pthread_sigmask(SIG_BLOCK, &none, NULL));
}

static void block(int signo)
{
	sigset_t set = set_of(signo);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

static void unblock(int signo)
{
	sigset_t set = set_of(signo);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
}

static uint64_t blocked_of(const char *path)
{
	char text[4096];
	int fd = CHECK_OK(open(path, O_RDONLY));
	ssize_t n = CHECK_OK(read(fd, text, sizeof text - 1));
	text[n] = 0;
	close(fd);
	char *at = strstr(text, "SigBlk:");
	CHECK(at != NULL);
	return strtoull(at + 7, NULL, 16);
}

TEST(results_and_errors)
{
	warm_up();
	sigset_t both = set_of(SIGUSR1), old;
	sigaddset(&both, SIGKILL);
	sigaddset(&both, SIGSTOP);
	for (int i = 0; i < 30; i++) {
		CHECK_OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &both, NULL, 8));
		memset(&old, 0xff, sizeof old);
		CHECK_OK(syscall(SYS_rt_sigprocmask, 99, NULL, &old, 8));
		CHECK_EQ(*(uint64_t *)&old, 1UL << (SIGUSR1 - 1));
		/* The new one is read before the old one is stored. */
		sigset_t same = set_of(SIGUSR2);
		CHECK_OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &same, &same, 8));
		CHECK_EQ(*(uint64_t *)&same, 1UL << (SIGUSR1 - 1));
		CHECK_OK(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &same, &old, 8));
		CHECK_EQ(*(uint64_t *)&old, 1UL << (SIGUSR2 - 1));
		CHECK_ERR(syscall(SYS_rt_sigprocmask, 3, &both, NULL, 8), EINVAL);
		CHECK_ERR(syscall(SYS_rt_sigprocmask, -1, &both, NULL, 8), EINVAL);
		CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &both, NULL, 4), EINVAL);
		CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_SETMASK, 8, NULL, 8), EFAULT);
		/* What is not stored has been done all the same. */
		same = set_of(SIGHUP);
		CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &same, 8, 8), EFAULT);
		CHECK_OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &old, 8));
		CHECK_EQ(*(uint64_t *)&old, 1UL << (SIGHUP - 1));
	}
}

static void *tell_mask(void *arg)
{
	sigset_t set;
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	*(uint64_t *)arg = *(uint64_t *)&set;
	unblock(SIGUSR1);
	return NULL;
}

TEST(who_is_born_inherits_it)
{
	warm_up();
	const char *script = "while read a b; do if [ \"$a\" = SigBlk: ]; then [ $b = 0000000000000200 ]; exit; fi; done"
			     " </proc/self/status; exit 9";
	for (int i = 0; i < 20; i++) {
		block(SIGUSR1);
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			if (blocked_of("/proc/self/status") != 0x200)
				_exit(1);
			unblock(SIGUSR1);
			block(SIGUSR2);
			if (blocked_of("/proc/self/status") != 0x800)
				_exit(2);
			unblock(SIGUSR2);
			block(SIGUSR1);
			execl("/bin/sh", "sh", "-c", script, NULL);
			_exit(3);
		}
		CHECK_EXIT(pid, 0);
		uint64_t told = 0;
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, tell_mask, &told), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		CHECK_EQ(told, 0x200);
		CHECK_EQ(blocked_of("/proc/self/status"), 0x200);
		unblock(SIGUSR1);
		CHECK_EQ(blocked_of("/proc/self/status"), 0);
	}
}

TEST(others_see_it_while_the_thread_computes)
{
	volatile int *turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		warm_up();
		for (int i = 0; i < 50; i++) {
			block(SIGUSR1);
			*turn = 2 * i + 1;
			while (*turn == 2 * i + 1)
				;
			unblock(SIGUSR1);
			*turn = -1;
			while (*turn == -1)
				;
		}
		_exit(0);
	}
	char path[40];
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	for (int i = 0; i < 50; i++) {
		while (*turn != 2 * i + 1)
			sched_yield();
		CHECK_EQ(blocked_of(path), 0x200);
		*turn = 0;
		while (*turn != -1)
			sched_yield();
		CHECK_EQ(blocked_of(path), 0);
		*turn = -2;
	}
	CHECK_EXIT(pid, 0);
}

static __thread volatile int closed;
static volatile int astray, disorder;
static volatile int got, last;

static void count(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	astray += closed;
	int value = info->si_value.sival_int;
	disorder += value <= last;
	last = value;
	__atomic_add_fetch(&got, 1, __ATOMIC_SEQ_CST);
}

static void listen_to(int signo)
{
	struct sigaction action = {.sa_sigaction = count, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigfillset(&action.sa_mask);
	CHECK_OK(sigaction(signo, &action, NULL));
}

/* A process that queues numbered signals for two seconds; its status says whether all were taken by the queue. */
static pid_t sender(int signo, pid_t tid, volatile int *sent)
{
	pid_t target = getpid(), pid = CHECK_OK(fork());
	if (pid)
		return pid;
	int64_t until = now_ns() + 2 * second;
	for (int i = 1; now_ns() < until; i++) {
		siginfo_t info = {.si_signo = signo, .si_code = SI_QUEUE};
		info.si_pid = getpid();
		info.si_value.sival_int = i;
		long r;
		while ((r = tid ? syscall(SYS_rt_tgsigqueueinfo, target, tid, signo, &info)
				: syscall(SYS_rt_sigqueueinfo, target, signo, &info)) < 0 && errno == EAGAIN)
			sched_yield();
		if (r < 0)
			_exit(1);
		*sent = i;
		if (i % 3 == 0)
			for (volatile int spin = 0; spin < i % 1000; spin++)
				;
		if (i % 50 == 0)
			msleep(1);
	}
	_exit(0);
}

static void flip_until(int signo, volatile int *done)
{
	while (!*done) {
		block(signo);
		closed = 1;
		for (volatile int spin = 0; spin < 30; spin++)
			;
		closed = 0;
		unblock(signo);
	}
}

static void flip_under_fire(int directed)
{
	warm_up();
	volatile int *sent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	listen_to(SIGRTMIN);
	pid_t pid = sender(SIGRTMIN, directed ? gettid() : 0, sent);
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		for (int i = 0; i < 2000; i++) {
			block(SIGRTMIN);
			closed = 1;
			for (volatile int spin = 0; spin < 30; spin++)
				;
			closed = 0;
			unblock(SIGRTMIN);
		}
	}
	unblock(SIGRTMIN);
	CHECK(*sent > 100);
	CHECK_EQ(got, *sent);
	CHECK_EQ(astray, 0);
	CHECK_EQ(disorder, 0);
}

TEST(no_signal_to_the_process_is_lost)
{
	flip_under_fire(0);
}

TEST(no_signal_to_the_thread_is_lost)
{
	flip_under_fire(1);
}

static volatile int finished;

static void *flip_too(void *arg)
{
	(void)arg;
	flip_until(SIGRTMIN, &finished);
	return NULL;
}

/* Two threads, each closed half of the time: some thread always takes it in the end. */
TEST(threads_take_what_the_other_blocks)
{
	warm_up();
	volatile int *sent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	listen_to(SIGRTMIN);
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, flip_too, NULL), 0);
	pid_t pid = sender(SIGRTMIN, 0, sent);
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		for (int i = 0; i < 500; i++) {
			block(SIGRTMIN);
			closed = 1;
			for (volatile int spin = 0; spin < 50; spin++)
				;
			closed = 0;
			unblock(SIGRTMIN);
		}
	}
	finished = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(*sent > 100);
	CHECK_EQ(got, *sent);
	CHECK_EQ(astray, 0);
}

static volatile int hits;
static volatile int hitter;
static void hit(int signo)
{
	(void)signo;
	hitter = gettid();
	hits++;
}

static void *compute_until(void *arg)
{
	warm_up();
	*(volatile int *)arg = gettid();
	while (!finished)
		;
	return NULL;
}

/* Where the leader blocks it, the thread that computes gets it, though it makes no calls. */
TEST(a_computing_thread_takes_what_the_leader_blocks)
{
	warm_up();
	signal(SIGUSR1, hit);
	block(SIGUSR1);
	unblock(SIGUSR1);
	pthread_t thread;
	volatile int tid = 0;
	CHECK_EQ(pthread_create(&thread, NULL, compute_until, (void *)&tid), 0);
	while (!tid)
		sched_yield();
	for (int i = 1; i <= 50; i++) {
		block(SIGUSR1);
		CHECK_OK(kill(getpid(), SIGUSR1));
		int64_t until = now_ns() + 5 * second;
		while (hits < i && now_ns() < until)
			sched_yield();
		CHECK_EQ(hits, i);
		CHECK_EQ(hitter, tid);
		unblock(SIGUSR1);
	}
	finished = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* What is pending and let in is there before the next instruction. */
TEST(unblocking_delivers_at_once)
{
	warm_up();
	signal(SIGUSR1, hit);
	for (int i = 1; i <= 200; i++) {
		block(SIGUSR1);
		CHECK_OK(kill(getpid(), SIGUSR1));
		CHECK_EQ(hits, i - 1);
		sigset_t waiting;
		CHECK_OK(sigpending(&waiting));
		CHECK(sigismember(&waiting, SIGUSR1));
		unblock(SIGUSR1);
		CHECK_EQ(hits, i);
	}
}

static uint64_t in_handler;
static void look(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	ucontext_t *uc = context;
	sigset_t now;
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	in_handler = *(uint64_t *)&now;
	/* Comes into force when the handler returns. */
	sigaddset(&uc->uc_sigmask, SIGHUP);
	block(SIGWINCH);
	hits++;
}

TEST(handlers_and_waits_put_it_back)
{
	warm_up();
	struct sigaction action = {.sa_sigaction = look, .sa_flags = SA_SIGINFO};
	sigaddset(&action.sa_mask, SIGUSR2);
	CHECK_OK(sigaction(SIGUSR1, &action, NULL));
	block(SIGTERM);
	CHECK_OK(raise(SIGUSR1));
	CHECK_EQ(in_handler, 0x4a00);
	CHECK_EQ(blocked_of("/proc/self/status"), 0x4001);
	for (int i = 0; i < 30; i++) {
		block(SIGUSR1);
		unblock(SIGHUP);
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			kill(getppid(), SIGUSR1);
			_exit(0);
		}
		sigset_t none = set_of(0);
		int before = hits;
		CHECK_ERR(sigsuspend(&none), EINTR);
		CHECK_EQ(hits, before + 1);
		CHECK_EQ(in_handler, 0xa00);
		/* Back to what it was before the wait, and what the handler has put into its frame. */
		CHECK_EQ(blocked_of("/proc/self/status"), 0x4201);
		CHECK_EXIT(pid, 0);
	}
}

TEST(signalfd_and_sigwait_take_what_is_blocked)
{
	warm_up();
	block(SIGUSR1);
	block(SIGUSR2);
	sigset_t one = set_of(SIGUSR1), two = set_of(SIGUSR2);
	int fd = CHECK_OK(signalfd(-1, &one, 0));
	for (int i = 0; i < 50; i++) {
		unblock(SIGHUP);
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			kill(getppid(), SIGUSR1);
			kill(getppid(), SIGUSR2);
			_exit(0);
		}
		struct signalfd_siginfo info;
		CHECK_EQ(read(fd, &info, sizeof info), sizeof info);
		CHECK_EQ(info.ssi_signo, SIGUSR1);
		int signo;
		CHECK_EQ(sigwait(&two, &signo), 0);
		CHECK_EQ(signo, SIGUSR2);
		CHECK_EXIT(pid, 0);
	}
}

TEST_MAIN
