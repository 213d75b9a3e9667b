/* Clocks and sleeping. */
#include "../test.h"
#include <sys/resource.h>
#include <sys/time.h>

static int64_t ns(const struct timespec *t)
{
	return t->tv_sec * 1000000000LL + t->tv_nsec;
}

TEST(clocks_go_forward)
{
	static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_REALTIME,
					   CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
	for (unsigned c = 0; c < sizeof clocks / sizeof *clocks; c++) {
		struct timespec last = {0, 0}, now;
		for (int i = 0; i < 10000; i++) {
			CHECK_OK(clock_gettime(clocks[c], &now));
			CHECK(now.tv_nsec >= 0 && now.tv_nsec < 1000000000);
			CHECK(ns(&now) >= ns(&last));
			last = now;
		}
		CHECK(ns(&last) > 0);
	}
}

TEST(the_call_and_the_vdso_agree)
{
	for (int i = 0; i < 100; i++) {
		struct timespec a, b, c;
		CHECK_OK(clock_gettime(CLOCK_MONOTONIC, &a));
		CHECK_OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b));
		CHECK_OK(clock_gettime(CLOCK_MONOTONIC, &c));
		CHECK(ns(&a) <= ns(&b) && ns(&b) <= ns(&c));
		CHECK_OK(clock_gettime(CLOCK_REALTIME, &a));
		CHECK_OK(syscall(SYS_clock_gettime, CLOCK_REALTIME, &b));
		CHECK_OK(clock_gettime(CLOCK_REALTIME, &c));
		CHECK(ns(&a) <= ns(&b) && ns(&b) <= ns(&c));
	}
	struct timeval tv;
	CHECK_OK(gettimeofday(&tv, NULL));
	CHECK(labs(tv.tv_sec - time(NULL)) <= 1);
	CHECK(labs(tv.tv_sec - syscall(SYS_time, NULL)) <= 1);
}

TEST(errors_and_resolution)
{
	struct timespec t;
	CHECK_ERR(clock_gettime(99, &t), EINVAL);
	CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
	CHECK_OK(clock_getres(CLOCK_MONOTONIC, &t));
	CHECK(t.tv_sec == 0 && t.tv_nsec >= 1 && t.tv_nsec <= 10000000);
	CHECK_ERR(clock_getres(99, &t), EINVAL);
	t = (struct timespec){0, 1000000000};
	CHECK_ERR(nanosleep(&t, NULL), EINVAL);
	t = (struct timespec){-1, 0};
	CHECK_ERR(nanosleep(&t, NULL), EINVAL);
	CHECK_ERR(syscall(SYS_nanosleep, 8, NULL), EFAULT);
	become_user();
	t = (struct timespec){1, 0};
	CHECK_ERR(clock_settime(CLOCK_REALTIME, &t), EPERM);
	CHECK_ERR(clock_settime(CLOCK_MONOTONIC, &t), EINVAL);
}

TEST(sleeping)
{
	static const long lengths[] = {0, 1, 50000, 1000000, 10000000, 50000000};
	for (unsigned i = 0; i < 6; i++) {
		int64_t start = now_ns();
		struct timespec t = {0, lengths[i]};
		CHECK_OK(nanosleep(&t, NULL));
		int64_t took = now_ns() - start;
		CHECK(took >= lengths[i]);
		CHECK(took < lengths[i] + 1000000000);
	}
	/* Late by little at least once in ten times. */
	int64_t best = INT64_MAX;
	for (int i = 0; i < 10; i++) {
		int64_t start = now_ns();
		struct timespec t = {0, 2000000};
		CHECK_OK(nanosleep(&t, NULL));
		int64_t took = now_ns() - start;
		if (took < best)
			best = took;
	}
	CHECK(best < 12000000);
}

TEST(absolute_sleep)
{
	struct timespec until;
	CHECK_OK(clock_gettime(CLOCK_MONOTONIC, &until));
	int64_t target = ns(&until) + 30000000;
	until = (struct timespec){target / 1000000000, target % 1000000000};
	CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0);
	CHECK(now_ns() >= target);
	/* A time gone by. */
	CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0);
	CHECK_OK(clock_gettime(CLOCK_REALTIME, &until));
	target = ns(&until) + 20000000;
	until = (struct timespec){target / 1000000000, target % 1000000000};
	CHECK_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL), 0);
	CHECK_OK(clock_gettime(CLOCK_REALTIME, &until));
	CHECK(ns(&until) >= target);
	CHECK_EQ(clock_nanosleep(99, 0, &until, NULL), EINVAL);
	CHECK_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &until, NULL), EINVAL);
}

TEST(many_sleepers)
{
	pid_t pids[50];
	int64_t start = now_ns();
	for (int i = 0; i < 50; i++) {
		pids[i] = CHECK_OK(fork());
		if (pids[i] == 0) {
			msleep(100);
			_exit(0);
		}
	}
	for (int i = 0; i < 50; i++)
		CHECK_EXIT(pids[i], 0);
	CHECK(now_ns() - start < 5000000000);
}

TEST(cpu_time_is_not_wall_time)
{
	struct timespec a, b;
	CHECK_OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a));
	msleep(100);
	CHECK_OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b));
	CHECK(ns(&b) - ns(&a) < 60000000);
	struct rusage usage;
	CHECK_OK(getrusage(RUSAGE_SELF, &usage));
	CHECK(usage.ru_maxrss > 0);
}

TEST_MAIN
