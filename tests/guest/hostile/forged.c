/* Replies of the service thread, forged by a sibling, while shared pages change hands. */
#include "region.h"

static volatile int forging = 1;

/* Tells the kernel as fast as it can that whatever it asked for is done. */
static void *forge(void *arg)
{
	(void)arg;
	volatile unsigned *sequence = (volatile unsigned *)REQUEST, *reply = (volatile unsigned *)REPLY;
	volatile uint64_t *done = (volatile uint64_t *)(REPLY + 8), *result = (volatile uint64_t *)(REPLY + 0x100);
	while (forging) {
		*done = 0x100 + 64 * 60;
		*result = 0;
		*reply = *sequence;
	}
	return NULL;
}

static int in_use(volatile unsigned *at)
{
	if (sigsetjmp(escape, 1))
		return 0;
	*at = 0x666;
	return 1;
}

TEST(unmapped_pages_cannot_be_kept)
{
	find_region();
	int fds[2];
	CHECK_OK(pipe(fds));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, forge, NULL);
		for (int i = 0; i < 300; i++) {
			volatile unsigned *at =
				mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
			if (at == MAP_FAILED)
				continue;
			in_use(at);
			if (munmap((void *)at, 16 * PAGE) == 0 && in_use(at)) {
				/* The kernel believes that they are gone. */
				CHECK_EQ(write(fds[1], "x", 1), 1);
				_exit(99);
			}
		}
		_exit(0);
	}
	/* It may be killed for this, or end by itself. */
	int status;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 99);
	still_works();
}

TEST(forks_with_forged_replies)
{
	find_region();
	pid_t pids[6];
	for (int i = 0; i < 6; i++) {
		pids[i] = CHECK_OK(fork());
		if (pids[i] == 0) {
			pthread_t thread;
			pthread_create(&thread, NULL, forge, NULL);
			for (int n = 0; n < 50; n++) {
				pid_t child = fork();
				if (child == 0)
					_exit(0);
				if (child > 0)
					waitpid(child, NULL, 0);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < 6; i++)
		CHECK_EQ(waitpid(pids[i], NULL, 0), pids[i]);
	still_works();
}

static void *nothing(void *arg)
{
	return arg;
}

/* Answers of clone: numbers of other threads of the host. */
static void *forge_threads(void *arg)
{
	volatile uint64_t *result = (volatile uint64_t *)(REPLY + 0x100);
	for (uint64_t n = 1; forging; n = n % 5000 + 1)
		*result = arg ? n : ~0UL;
	return NULL;
}

TEST(threads_with_forged_numbers)
{
	find_region();
	for (int kind = 0; kind < 2; kind++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			alarm(10);
			pthread_t thread, other;
			pthread_create(&thread, NULL, forge_threads, (void *)(intptr_t)kind);
			for (int i = 0; i < 100; i++)
				if (pthread_create(&other, NULL, nothing, NULL) == 0)
					pthread_detach(other);
			_exit(0);
		}
		CHECK_EQ(waitpid(pid, NULL, 0), pid);
		still_works();
	}
}

TEST_MAIN
