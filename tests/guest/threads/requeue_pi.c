/* FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI: waits that end with a lock. */
#include "../test.h"
#include <linux/futex.h>

#define N 4

static unsigned cond, lock;
static volatile int waiting, had_lock, results[N];
static volatile pid_t order[N];

static long futex(unsigned *at, int op, unsigned val, const void *timeout, unsigned *at2, unsigned val3)
{
	return syscall(SYS_futex, at, op | FUTEX_PRIVATE_FLAG, val, timeout, at2, val3);
}

static void lock_pi(void)
{
	unsigned none = 0;
	if (!__atomic_compare_exchange_n(&lock, &none, gettid(), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		CHECK_OK(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
}

static void unlock_pi(void)
{
	unsigned mine = gettid();
	if (!__atomic_compare_exchange_n(&lock, &mine, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		CHECK_OK(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
}

static struct timespec in_ms(int ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += ms * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void *waits(void *arg)
{
	struct timespec limit = in_ms(8000);
	unsigned value = cond;
	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	long r = futex(&cond, FUTEX_WAIT_REQUEUE_PI, value, &limit, &lock, 0);
	results[(long)arg] = r < 0 ? -errno : r;
	if (r == 0) {
		CHECK_EQ(__atomic_load_n(&lock, __ATOMIC_SEQ_CST) & FUTEX_TID_MASK, (unsigned)gettid());
		order[had_lock++] = gettid();
		msleep(2);
		unlock_pi();
	}
	return NULL;
}

static void start(pthread_t *t)
{
	for (long i = 0; i < N; i++) {
		results[i] = 1;
		CHECK_EQ(pthread_create(&t[i], NULL, waits, (void *)i), 0);
	}
	EVENTUALLY(waiting == N);
	/* They say so just before they wait. */
	msleep(50);
}

static void join(pthread_t *t)
{
	for (int i = 0; i < N; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	CHECK_EQ(had_lock, N);
	for (int i = 0; i < N; i++)
		CHECK_EQ(results[i], 0);
	CHECK_EQ(lock, 0);
}

TEST(all_at_once_while_locked)
{
	pthread_t t[N];
	start(t);
	lock_pi();
	cond++;
	CHECK_EQ(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)(long)INT32_MAX, &lock, cond), N);
	msleep(20);
	CHECK_EQ(had_lock, 0);
	CHECK(lock & FUTEX_WAITERS);
	unlock_pi();
	join(t);
}

TEST(one_by_one_while_free)
{
	pthread_t t[N];
	start(t);
	for (int i = 0; i < N; i++) {
		cond++;
		CHECK_EQ(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, NULL, &lock, cond), 1);
		EVENTUALLY(had_lock == i + 1);
		EVENTUALLY(lock == 0);
	}
	CHECK_EQ(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, NULL, &lock, cond), 0);
	join(t);
}

TEST(all_at_once_while_free)
{
	pthread_t t[N];
	start(t);
	cond++;
	CHECK_EQ(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)(long)INT32_MAX, &lock, cond), N);
	join(t);
}

TEST(errors)
{
	CHECK_ERR(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, NULL, &lock, cond + 1), EAGAIN);
	CHECK_ERR(futex(&cond, FUTEX_CMP_REQUEUE_PI, 2, NULL, &lock, cond), EINVAL);
	CHECK_ERR(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, NULL, &cond, cond), EINVAL);
	CHECK_EQ(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, NULL, &lock, cond), 0);
	struct timespec soon = in_ms(30);
	int64_t begin = now_ns();
	CHECK_ERR(futex(&cond, FUTEX_WAIT_REQUEUE_PI, cond, &soon, &lock, 0), ETIMEDOUT);
	CHECK(now_ns() - begin >= 25000000);
	CHECK_ERR(futex(&cond, FUTEX_WAIT_REQUEUE_PI, cond + 1, &soon, &lock, 0), EAGAIN);
	CHECK_ERR(futex(&cond, FUTEX_WAIT_REQUEUE_PI, cond, &soon, &cond, 0), EINVAL);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK_ERR(futex(&cond, FUTEX_WAIT_REQUEUE_PI | FUTEX_CLOCK_REALTIME, cond, &now, &lock, 0), ETIMEDOUT);
	CHECK_ERR(futex((void *)((char *)&cond + 1), FUTEX_WAIT_REQUEUE_PI, 0, &soon, &lock, 0), EINVAL);
}

static void *times_out(void *arg)
{
	struct timespec limit = in_ms(100);
	waiting = 1;
	long r = futex(&cond, FUTEX_WAIT_REQUEUE_PI, 0, &limit, &lock, 0);
	results[0] = r < 0 ? -errno : r;
	return arg;
}

/* Moved to a lock that nobody gives up, the wait ends by its time. */
TEST(moved_and_out_of_time)
{
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, times_out, NULL), 0);
	EVENTUALLY(waiting == 1);
	msleep(30);
	lock_pi();
	CHECK_EQ(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, NULL, &lock, 0), 1);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_EQ(results[0], -ETIMEDOUT);
	unlock_pi();
	/* The lock is whole. */
	lock_pi();
	unlock_pi();
}

/* A storm of signals to waiters: each gets the lock once for each time it is moved. */
static volatile int rounds, done;

static void *consumes(void *arg)
{
	for (;;) {
		lock_pi();
		if (done) {
			unlock_pi();
			return arg;
		}
		unsigned value = cond;
		unlock_pi();
		struct timespec limit = in_ms(5);
		if (futex(&cond, FUTEX_WAIT_REQUEUE_PI, value, &limit, &lock, 0) == 0) {
			CHECK_EQ(__atomic_load_n(&lock, __ATOMIC_SEQ_CST) & FUTEX_TID_MASK, (unsigned)gettid());
			rounds++;
			unlock_pi();
		} else {
			CHECK(errno == EAGAIN || errno == ETIMEDOUT);
		}
	}
}

TEST(storm)
{
	pthread_t t[N];
	for (long i = 0; i < N; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, consumes, NULL), 0);
	int64_t until = now_ns() + 500000000;
	while (now_ns() < until) {
		lock_pi();
		cond++;
		long n = futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)(long)(cond % 3), &lock, cond);
		CHECK(n >= 0);
		unlock_pi();
		if (cond % 8 == 0)
			usleep(100);
	}
	lock_pi();
	done = 1;
	unlock_pi();
	for (int i = 0; i < N; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	CHECK(rounds > 0);
	CHECK_EQ(lock & FUTEX_TID_MASK, 0);
}

TEST_MAIN
