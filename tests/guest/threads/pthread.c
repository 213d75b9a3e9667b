/* Threads: creation, mutexes, conditions, barriers, thread-local storage, cancellation. */
#include "../test.h"
#include <semaphore.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter;
static __thread long own = 42;

static void *add_many(void *arg)
{
	for (long i = 0; i < 20000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

TEST(mutex_storm)
{
	pthread_t threads[8];
	for (long i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, add_many, (void *)i), 0);
	for (long i = 0; i < 8; i++) {
		void *result;
		CHECK_EQ(pthread_join(threads[i], &result), 0);
		CHECK(result == (void *)i);
	}
	CHECK_EQ(counter, 160000);
}

static int slots[4], produced, consumed, fill;

static void *produce(void *unused)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mutex);
		while (fill == 4)
			pthread_cond_wait(&cond, &mutex);
		slots[fill++] = i;
		produced += i;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return unused;
}

static void *consume(void *unused)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mutex);
		while (fill == 0)
			pthread_cond_wait(&cond, &mutex);
		consumed += slots[--fill];
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return unused;
}

TEST(producers_and_consumers)
{
	pthread_t threads[6];
	for (int i = 0; i < 6; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, i % 2 ? produce : consume, NULL), 0);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(produced, 3 * 1999 * 1000);
	CHECK_EQ(consumed, produced);
}

static pthread_barrier_t barrier;
static int phases[10];

static void *in_phases(void *arg)
{
	for (int phase = 0; phase < 100; phase++) {
		phases[(intptr_t)arg] = phase;
		pthread_barrier_wait(&barrier);
		for (int i = 0; i < 10; i++)
			CHECK_EQ(phases[i], phase);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

TEST(barriers)
{
	pthread_t threads[10];
	CHECK_EQ(pthread_barrier_init(&barrier, NULL, 10), 0);
	for (intptr_t i = 0; i < 10; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, in_phases, (void *)i), 0);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void *use_own(void *arg)
{
	CHECK_EQ(own, 42);
	own = (intptr_t)arg;
	for (int i = 0; i < 50; i++) {
		sched_yield();
		CHECK_EQ(own, (intptr_t)arg);
	}
	return NULL;
}

TEST(a_hundred_threads_with_storage)
{
	pthread_t threads[100];
	for (intptr_t i = 0; i < 100; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, use_own, (void *)i), 0);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(own, 42);
}

static void *nothing(void *arg)
{
	return arg;
}

TEST(create_and_join_storm)
{
	for (int i = 0; i < 2000; i++) {
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, nothing, NULL), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
	}
	char text[4096];
	char *line = strstr(get_file("/proc/self/status", text, sizeof text), "Threads:");
	CHECK(line && atoi(line + 8) <= 2);
}

static void *start_more(void *arg)
{
	intptr_t depth = (intptr_t)arg;
	if (depth > 0) {
		pthread_t a, b;
		CHECK_EQ(pthread_create(&a, NULL, start_more, (void *)(depth - 1)), 0);
		CHECK_EQ(pthread_create(&b, NULL, start_more, (void *)(depth - 1)), 0);
		CHECK_EQ(pthread_join(a, NULL), 0);
		CHECK_EQ(pthread_join(b, NULL), 0);
	}
	__atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
	return NULL;
}

TEST(threads_start_threads)
{
	start_more((void *)5);
	CHECK_EQ(counter, 63);
}

TEST(timed_waits)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 30000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	int64_t start = now_ns();
	pthread_mutex_lock(&mutex);
	CHECK_EQ(pthread_cond_timedwait(&cond, &mutex, &until), ETIMEDOUT);
	CHECK(now_ns() - start > 25000000);
	pthread_mutex_unlock(&mutex);
	sem_t semaphore;
	CHECK_OK(sem_init(&semaphore, 0, 1));
	CHECK_OK(sem_wait(&semaphore));
	CHECK_ERR(sem_trywait(&semaphore), EAGAIN);
	CHECK_ERR(sem_timedwait(&semaphore, &until), ETIMEDOUT);
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static long pair[2];

static void *readers_and_writers(void *arg)
{
	for (int i = 0; i < 3000; i++) {
		if ((intptr_t)arg % 4 == 0) {
			pthread_rwlock_wrlock(&rw);
			pair[0]++;
			pair[1]++;
		} else {
			pthread_rwlock_rdlock(&rw);
			CHECK_EQ(pair[0], pair[1]);
		}
		pthread_rwlock_unlock(&rw);
	}
	return NULL;
}

TEST(read_write_locks)
{
	pthread_t threads[8];
	for (intptr_t i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, readers_and_writers, (void *)i), 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(pair[0], 6000);
}

static int cleaned;
static void cleanup(void *unused)
{
	(void)unused;
	cleaned++;
}

static void *to_be_cancelled(void *fd)
{
	char c;
	pthread_cleanup_push(cleanup, NULL);
	CHECK_OK(read((int)(intptr_t)fd, &c, 1));
	pthread_cleanup_pop(0);
	return NULL;
}

TEST(cancelling_a_blocked_thread)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	for (int i = 0; i < 20; i++) {
		pthread_t thread;
		void *result;
		CHECK_EQ(pthread_create(&thread, NULL, to_be_cancelled, (void *)(intptr_t)ends[0]), 0);
		if (i % 2)
			msleep(1);
		CHECK_EQ(pthread_cancel(thread), 0);
		CHECK_EQ(pthread_join(thread, &result), 0);
		CHECK(result == PTHREAD_CANCELED);
	}
	CHECK(cleaned >= 10);
}

struct shared {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	int turn, total;
};

static struct shared *shared_page(int robust)
{
	struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(s != MAP_FAILED);
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (robust)
		pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	CHECK_EQ(pthread_mutex_init(&s->mutex, &attr), 0);
	pthread_condattr_t cattr;
	pthread_condattr_init(&cattr);
	pthread_condattr_setpshared(&cattr, PTHREAD_PROCESS_SHARED);
	CHECK_EQ(pthread_cond_init(&s->cond, &cattr), 0);
	return s;
}

TEST(shared_between_processes)
{
	struct shared *s = shared_page(0);
	for (int child = 0; child < 4; child++) {
		if (CHECK_OK(fork()) == 0) {
			for (int i = 0; i < 200; i++) {
				pthread_mutex_lock(&s->mutex);
				while (s->turn % 4 != child)
					pthread_cond_wait(&s->cond, &s->mutex);
				s->turn++;
				s->total++;
				pthread_cond_broadcast(&s->cond);
				pthread_mutex_unlock(&s->mutex);
			}
			_exit(0);
		}
	}
	int status;
	for (int child = 0; child < 4; child++)
		CHECK(wait(&status) > 0 && status == 0);
	CHECK_EQ(s->total, 800);
}

TEST(robust_mutex)
{
	struct shared *s = shared_page(1);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pthread_mutex_lock(&s->mutex);
		_exit(1);
	}
	CHECK_EXIT(pid, 1);
	CHECK_EQ(pthread_mutex_lock(&s->mutex), EOWNERDEAD);
	CHECK_EQ(pthread_mutex_consistent(&s->mutex), 0);
	CHECK_EQ(pthread_mutex_unlock(&s->mutex), 0);
	/* The owner is killed while another waits. */
	pid = CHECK_OK(fork());
	if (pid == 0) {
		pthread_mutex_lock(&s->mutex);
		s->turn = 1;
		for (;;)
			pause();
	}
	EVENTUALLY(__atomic_load_n(&s->turn, __ATOMIC_SEQ_CST) == 1);
	pid_t waiter = CHECK_OK(fork());
	if (waiter == 0)
		_exit(pthread_mutex_lock(&s->mutex) == EOWNERDEAD ? 9 : 10);
	msleep(30);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
	CHECK_EXIT(waiter, 9);
}

TEST(priority_inheriting_mutex)
{
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	CHECK_EQ(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT), 0);
	CHECK_EQ(pthread_mutex_init(&mutex, &attr), 0);
	pthread_t threads[4];
	for (long i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, add_many, NULL), 0);
	for (long i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(counter, 80000);
	pthread_mutex_lock(&mutex);
	CHECK_EQ(pthread_mutex_trylock(&mutex), EBUSY);
	pthread_mutex_unlock(&mutex);
}

static void *hold_stack(void *arg)
{
	volatile char deep[200000];
	deep[0] = deep[sizeof deep - 1] = (char)(intptr_t)arg;
	sched_yield();
	CHECK_EQ(deep[0], (char)(intptr_t)arg);
	return NULL;
}

TEST(stacks_are_separate)
{
	pthread_t threads[20];
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	CHECK_EQ(pthread_attr_setstacksize(&attr, 1 << 20), 0);
	for (int round = 0; round < 10; round++) {
		for (intptr_t i = 0; i < 20; i++)
			CHECK_EQ(pthread_create(&threads[i], &attr, hold_stack, (void *)i), 0);
		for (int i = 0; i < 20; i++)
			CHECK_EQ(pthread_join(threads[i], NULL), 0);
	}
}

static void *in_parallel(void *flag)
{
	__atomic_store_n((int *)flag, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n((int *)flag, __ATOMIC_SEQ_CST) != 2)
		;
	return NULL;
}

TEST(a_spinner_lets_others_run)
{
	pthread_t threads[3];
	int flags[3] = {0};
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, in_parallel, &flags[i]), 0);
	for (int i = 0; i < 3; i++)
		EVENTUALLY(__atomic_load_n(&flags[i], __ATOMIC_SEQ_CST) == 1);
	for (int i = 0; i < 3; i++)
		__atomic_store_n(&flags[i], 2, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void *system_calls(void *arg)
{
	char path[40];
	snprintf(path, sizeof path, "thread-%d", (int)(intptr_t)arg);
	for (int i = 0; i < 100; i++) {
		int fd = CHECK_OK(open(path, O_CREAT | O_RDWR, 0600));
		CHECK_EQ(write(fd, path, 10), 10);
		char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(at != MAP_FAILED);
		CHECK_EQ(pread(fd, at, 10, 0), 10);
		CHECK(memcmp(at, path, 10) == 0);
		at[4096] = 1;
		CHECK_OK(munmap(at, 8192));
		CHECK_OK(close(fd));
		CHECK_OK(unlink(path));
	}
	return NULL;
}

TEST(threads_in_the_kernel_at_once)
{
	pthread_t threads[8];
	for (intptr_t i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, system_calls, (void *)i), 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static volatile int forking = 1;
static void *busy_mapper(void *unused)
{
	while (forking) {
		char *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(at != MAP_FAILED);
		at[0] = at[65535] = 1;
		CHECK_OK(munmap(at, 65536));
	}
	return unused;
}

TEST(fork_while_threads_map)
{
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, busy_mapper, NULL), 0);
	for (int i = 0; i < 50; i++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			char *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			at[5] = 1;
			_exit(3);
		}
		CHECK_EXIT(pid, 3);
	}
	forking = 0;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST_MAIN
