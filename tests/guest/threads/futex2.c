/* The later futex calls, and memory barriers. */
#include "../test.h"
#include <linux/membarrier.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define WAITV 449
#define WAKE 454
#define WAIT 455
#define REQUEUE 456
#define SIZE_U32 2
#define PRIVATE 128

struct waiter {
	uint64_t value, address;
	uint32_t flags, reserved;
};

static unsigned words[3];
static volatile long answer;

static struct timespec in_ms(int ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += ms * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void fill(struct waiter w[3])
{
	for (int i = 0; i < 3; i++)
		w[i] = (struct waiter){.value = words[i], .address = (uintptr_t)&words[i], .flags = SIZE_U32 | PRIVATE};
}

static void *wait_for_any(void *arg)
{
	(void)arg;
	struct waiter w[3];
	fill(w);
	struct timespec limit = in_ms(5000);
	answer = syscall(WAITV, w, 3, 0, &limit, CLOCK_MONOTONIC);
	return NULL;
}

static int there(int nr)
{
	return syscall(nr, 0, 0, 0, 0, 0) != -1 || errno != ENOSYS;
}

TEST(wait_for_several)
{
	if (!there(WAITV))
		return;
	struct waiter w[3];
	fill(w);
	struct timespec soon = in_ms(20);
	CHECK_ERR(syscall(WAITV, w, 3, 0, &soon, CLOCK_MONOTONIC), ETIMEDOUT);
	w[1].value = 7;
	CHECK_ERR(syscall(WAITV, w, 3, 0, NULL, CLOCK_MONOTONIC), EAGAIN);
	CHECK_ERR(syscall(WAITV, w, 3, 1, NULL, CLOCK_MONOTONIC), EINVAL);
	CHECK_ERR(syscall(WAITV, w, 0, 0, NULL, CLOCK_MONOTONIC), EINVAL);
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, wait_for_any, NULL), 0);
	EVENTUALLY(syscall(SYS_futex, &words[2], 1 | PRIVATE, 1, NULL, NULL, 0) == 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(answer, 2);
}

static void nothing(int signo)
{
	(void)signo;
}

TEST(wait_interrupted)
{
	if (!there(WAITV))
		return;
	struct sigaction act = {.sa_handler = nothing};
	CHECK_OK(sigaction(SIGALRM, &act, NULL));
	struct itimerval often = {.it_value = {0, 20000}, .it_interval = {0, 20000}};
	CHECK_OK(setitimer(ITIMER_REAL, &often, NULL));
	struct waiter w[3];
	fill(w);
	CHECK_ERR(syscall(WAITV, w, 3, 0, NULL, CLOCK_MONOTONIC), EINTR);
	often = (struct itimerval){{0, 0}, {0, 0}};
	CHECK_OK(setitimer(ITIMER_REAL, &often, NULL));
}

static void *wait_at_first(void *arg)
{
	(void)arg;
	struct timespec limit = in_ms(5000);
	answer = syscall(WAIT, &words[0], 0, ~0U, SIZE_U32 | PRIVATE, &limit, CLOCK_MONOTONIC);
	return NULL;
}

TEST(one_by_one)
{
	if (!there(WAIT))
		return;
	CHECK_ERR(syscall(WAIT, &words[0], 1, ~0U, SIZE_U32 | PRIVATE, NULL, CLOCK_MONOTONIC), EAGAIN);
	CHECK_EQ(syscall(WAKE, &words[0], ~0U, 1, SIZE_U32 | PRIVATE), 0);
	answer = 1;
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, wait_at_first, NULL), 0);
	struct waiter w[3];
	fill(w);
	EVENTUALLY(syscall(REQUEUE, w, 0, 0, 5) == 1);
	CHECK_EQ(syscall(WAKE, &words[0], ~0U, 1, SIZE_U32 | PRIVATE), 0);
	CHECK_EQ(syscall(WAKE, &words[1], ~0U, 1, SIZE_U32 | PRIVATE), 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(answer, 0);
	w[0].value = 9;
	CHECK_ERR(syscall(REQUEUE, w, 0, 0, 5), EAGAIN);
	CHECK_ERR(syscall(REQUEUE, w, 1, 0, 5), EINVAL);
}

static volatile int ready, seen, stop;

static void *other_side(void *arg)
{
	(void)arg;
	while (!stop) {
		if (ready)
			seen = 1;
	}
	return NULL;
}

TEST(barriers)
{
	int offered = CHECK_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
	CHECK(offered & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	CHECK_ERR(syscall(SYS_membarrier, 1 << 30, 0, 0), EINVAL);
	CHECK_ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 7, 0), EINVAL);
	CHECK_ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), EPERM);
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, other_side, NULL), 0);
	CHECK_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	ready = 1;
	CHECK_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	EVENTUALLY(seen);
	if (offered & MEMBARRIER_CMD_GLOBAL_EXPEDITED)
		CHECK_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0));
	stop = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST_MAIN
