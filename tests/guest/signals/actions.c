/* Actions for signals, asked for and changed again and again, while others send. */
#define TEST_SECONDS 40
#include "../test.h"

struct action {
	void *handler;
	uint64_t flags;
	void *restorer;
	uint64_t mask;
};

static long act(int signo, const struct action *new, struct action *old)
{
	return syscall(SYS_rt_sigaction, signo, new, old, 8);
}

/* Until the machine has every reason to make it cheap. */
static void warm_up(void)
{
	struct action old;
	for (int i = 0; i < 100; i++)
		CHECK_OK(act(SIGURG, NULL, &old));
}

TEST(what_was_set_is_told)
{
	warm_up();
	struct action seen, new;
	for (int round = 0; round < 5; round++)
		for (int s = 1; s <= 64; s++) {
			if (s == SIGKILL || s == SIGSTOP) {
				new = (struct action){SIG_IGN, 0, 0, 0};
				CHECK_ERR(act(s, &new, NULL), EINVAL);
				CHECK_OK(act(s, NULL, &seen));
				CHECK(seen.handler == SIG_DFL);
				continue;
			}
			/* No bit of the mask or the flags is kept that means nothing. */
			new = (struct action){(void *)(0x10000UL * s + round), ~0UL, (void *)(0x20000UL * s), ~0UL};
			CHECK_OK(act(s, &new, NULL));
			memset(&seen, 0xff, sizeof seen);
			CHECK_OK(act(s, NULL, &seen));
			CHECK(seen.handler == new.handler && seen.restorer == new.restorer);
			CHECK_EQ(seen.mask, ~(1UL << (SIGKILL - 1) | 1UL << (SIGSTOP - 1)));
			CHECK_EQ(seen.flags, 0xdc000807);
			struct action next = {SIG_DFL, 0, 0, s};
			CHECK_OK(act(s, &next, &seen));
			CHECK(seen.handler == new.handler && seen.restorer == new.restorer);
			/* Old and new in one place. */
			seen = new;
			CHECK_OK(act(s, &seen, &seen));
			CHECK(seen.handler == SIG_DFL);
			CHECK_EQ(seen.mask, s & ~0x40100UL);
			CHECK_OK(act(s, &next, NULL));
		}
}

TEST(errors_change_nothing_they_should_not)
{
	warm_up();
	struct action seen, new = {SIG_IGN, 0, 0, 0}, plain = {SIG_DFL, 0, 0, 0};
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_OK(mprotect(page + 4096, 4096, PROT_NONE));
	for (int i = 0; i < 20; i++) {
		CHECK_ERR(act(0, &new, NULL), EINVAL);
		CHECK_ERR(act(65, &new, NULL), EINVAL);
		CHECK_ERR(act(-1, NULL, &seen), EINVAL);
		CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR1, &new, NULL, 4), EINVAL);
		CHECK_ERR(act(SIGUSR1, (void *)8, NULL), EFAULT);
		CHECK_ERR(act(SIGUSR1, (void *)(page + 4096 - 16), &seen), EFAULT);
		CHECK_OK(act(SIGUSR1, NULL, &seen));
		CHECK(seen.handler == SIG_DFL);
		/* It is in force although the old one could not be told. */
		CHECK_ERR(act(SIGUSR1, &new, (void *)(page + 4096 - 16)), EFAULT);
		CHECK_OK(act(SIGUSR1, NULL, &seen));
		CHECK(seen.handler == SIG_IGN);
		CHECK_ERR(act(SIGUSR1, NULL, (void *)(page + 4096)), EFAULT);
		CHECK_OK(act(SIGUSR1, &plain, NULL));
	}
}

static volatile int hits, last_hit;
static void hit(int signo)
{
	last_hit = signo;
	hits++;
}

TEST(ignoring_takes_away_what_is_pending)
{
	warm_up();
	sigset_t set, waiting;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	signal(SIGUSR1, hit);
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
		CHECK_OK(kill(getpid(), SIGUSR1));
		signal(SIGUSR1, SIG_IGN);
		CHECK_OK(sigpending(&waiting));
		CHECK(!sigismember(&waiting, SIGUSR1));
		signal(SIGUSR1, hit);
		CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
		CHECK_EQ(hits, 0);
		/* And what is ignored does nothing. */
		signal(SIGUSR1, SIG_IGN);
		CHECK_OK(kill(getpid(), SIGUSR1));
		signal(SIGUSR1, hit);
	}
	CHECK_EQ(hits, 0);
	CHECK_OK(raise(SIGUSR1));
	CHECK_EQ(hits, 1);
}

TEST(flags_mean_what_they_say)
{
	warm_up();
	struct sigaction once = {.sa_handler = hit, .sa_flags = SA_RESETHAND}, seen;
	for (int i = 0; i < 30; i++) {
		CHECK_OK(sigaction(SIGUSR1, &once, NULL));
		CHECK_OK(raise(SIGUSR1));
		CHECK_EQ(hits, i + 1);
		CHECK_OK(sigaction(SIGUSR1, NULL, &seen));
		CHECK(seen.sa_handler == SIG_DFL);
	}
	/* Without SA_RESTART a wait ends, with it it goes on. */
	int ends[2];
	CHECK_OK(pipe(ends));
	for (int i = 0; i < 10; i++) {
		struct sigaction plain = {.sa_handler = hit, .sa_flags = i % 2 ? SA_RESTART : 0};
		CHECK_OK(sigaction(SIGUSR1, &plain, NULL));
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			msleep(10);
			kill(getppid(), SIGUSR1);
			msleep(10);
			_exit(write(ends[1], "x", 1) != 1);
		}
		char c;
		if (i % 2 == 0)
			CHECK_ERR(read(ends[0], &c, 1), EINTR);
		CHECK_EQ(read(ends[0], &c, 1), 1);
		CHECK_EXIT(pid, 0);
	}
}

TEST(children_of_who_ignores_them_are_gone)
{
	warm_up();
	for (int i = 0; i < 20; i++) {
		signal(SIGCHLD, SIG_IGN);
		pid_t pid = CHECK_OK(fork());
		if (pid == 0)
			_exit(0);
		CHECK_ERR(waitpid(pid, NULL, 0), ECHILD);
		signal(SIGCHLD, SIG_DFL);
		pid = CHECK_OK(fork());
		if (pid == 0)
			_exit(3);
		CHECK_EXIT(pid, 3);
	}
}

static uint64_t line_of(const char *name)
{
	char text[4096], *at;
	int fd = CHECK_OK(open("/proc/self/status", O_RDONLY));
	ssize_t n = CHECK_OK(read(fd, text, sizeof text - 1));
	text[n] = 0;
	close(fd);
	CHECK((at = strstr(text, name)) != NULL);
	return strtoull(at + strlen(name), NULL, 16);
}

static void *change_there(void *arg)
{
	(void)arg;
	struct sigaction seen;
	CHECK_OK(sigaction(SIGUSR2, NULL, &seen));
	CHECK(seen.sa_handler == hit);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGUSR1, hit);
	for (int i = 0; i < 50; i++)
		signal(SIGTERM, i % 2 ? SIG_DFL : hit);
	return NULL;
}

TEST(threads_forks_and_programs_have_what_is_theirs)
{
	warm_up();
	for (int i = 0; i < 10; i++) {
		signal(SIGUSR1, SIG_IGN);
		signal(SIGUSR2, hit);
		CHECK_EQ(line_of("SigIgn:") & 0xa00, 0x200);
		CHECK_EQ(line_of("SigCgt:") & 0xa00, 0x800);
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			struct sigaction seen;
			for (int j = 0; j < 10; j++)
				sigaction(SIGUSR1, NULL, &seen);
			if (seen.sa_handler != SIG_IGN)
				_exit(1);
			raise(SIGUSR2);
			if (hits != 1)
				_exit(2);
			signal(SIGUSR2, SIG_DFL);
			signal(SIGUSR2, hit);
			/* What is ignored stays so, what is handled does not. */
			execl("/bin/sh", "sh", "-c", "kill -USR1 $$; kill -USR2 $$; exit 9", NULL);
			_exit(3);
		}
		CHECK_KILLED(pid, SIGUSR2);
		/* Threads share them. */
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, change_there, NULL), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		struct sigaction seen;
		for (int j = 0; j < 5; j++) {
			CHECK_OK(sigaction(SIGUSR2, NULL, &seen));
			CHECK(seen.sa_handler == SIG_IGN);
			CHECK_OK(sigaction(SIGUSR1, NULL, &seen));
			CHECK(seen.sa_handler == hit);
		}
	}
}

TEST(senders_meet_one_action_or_the_other)
{
	warm_up();
	struct sigaction count = {.sa_handler = hit};
	signal(SIGUSR1, SIG_IGN);
	pid_t parent = getpid(), pid = CHECK_OK(fork());
	if (pid == 0) {
		int64_t until = now_ns() + 1000000000;
		while (now_ns() < until)
			kill(parent, SIGUSR1);
		_exit(0);
	}
	while (waitpid(pid, NULL, WNOHANG) == 0)
		for (int i = 0; i < 500; i++) {
			CHECK_OK(sigaction(SIGUSR1, &count, NULL));
			for (volatile int spin = 0; spin < 20; spin++)
				;
			signal(SIGUSR1, SIG_IGN);
		}
	/* It ends, it does not die, and it still hears. */
	CHECK_OK(sigaction(SIGUSR1, &count, NULL));
	int before = hits;
	CHECK_OK(raise(SIGUSR1));
	CHECK_EQ(hits, before + 1);
	CHECK_EQ(last_hit, SIGUSR1);
}

TEST_MAIN
