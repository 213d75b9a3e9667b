/* sched_setaffinity(2) is obeyed, and all who tell the processor agree: getcpu(2), the C library (vDSO or rseq). */
#include "../test.h"

static cpu_set_t all;

static int cpus(int *list)
{
	int n = 0;
	CPU_ZERO(&all);
	CHECK_OK(sched_getaffinity(0, sizeof all, &all));
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && n < 64)
			list[n++] = i;
	return n;
}

static void confine(pid_t who, int cpu)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	CHECK_OK(sched_setaffinity(who, sizeof one, &one));
}

static int by_call(void)
{
	unsigned cpu = 4711, node = 4711;
	CHECK_OK(syscall(SYS_getcpu, &cpu, &node, NULL));
	CHECK(node < 64);
	return (int)cpu;
}

/* Runs on this processor for a while, with calls that come and go. */
static void stays(int cpu)
{
	int64_t end = now_ns() + 60000000;
	for (int i = 0; now_ns() < end; i++) {
		CHECK_EQ(sched_getcpu(), cpu);
		if (i % 64 == 0)
			CHECK_EQ(by_call(), cpu);
		if (i % 512 == 0)
			sched_yield();
		if (i % 4096 == 0)
			msleep(1);
	}
}

TEST(each_in_turn)
{
	int list[64], n = cpus(list);
	for (int i = 0; i < n; i++) {
		confine(0, list[i]);
		stays(list[i]);
	}
	CHECK_OK(sched_setaffinity(0, sizeof all, &all));
	for (int i = 0; i < 2000; i++)
		CHECK(CPU_ISSET(sched_getcpu(), &all) && CPU_ISSET(by_call(), &all));
}

TEST(children_inherit)
{
	int list[64], n = cpus(list);
	for (int i = 0; i < n; i++) {
		confine(0, list[i]);
		pid_t p = CHECK_OK(fork());
		if (p == 0) {
			stays(list[i]);
			_exit(0);
		}
		CHECK_EXIT(p, 0);
	}
}

static volatile int seen[2], stop;
static pid_t tid;

static void *spins(void *arg)
{
	tid = (pid_t)syscall(SYS_gettid);
	while (!stop)
		seen[0] = sched_getcpu(), seen[1]++;
	return arg;
}

/* A thread that never calls the kernel is moved by another. */
TEST(a_thread_that_spins)
{
	int list[64], n = cpus(list);
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, spins, NULL), 0);
	EVENTUALLY(seen[1] > 1000);
	for (int round = 0; round < 3 * n; round++) {
		int cpu = list[round % n];
		confine(tid, cpu);
		EVENTUALLY(seen[0] == cpu);
		for (int i = 0; i < 5; i++) {
			msleep(2);
			CHECK_EQ(seen[0], cpu);
		}
	}
	stop = 1;
	pthread_join(t, NULL);
}

TEST(none_is_refused)
{
	cpu_set_t none;
	CPU_ZERO(&none);
	CHECK_ERR(sched_setaffinity(0, sizeof none, &none), EINVAL);
	CPU_SET(CPU_SETSIZE - 1, &none);
	CHECK_ERR(sched_setaffinity(0, sizeof none, &none), EINVAL);
}

TEST_MAIN
