/* The futex call itself, thread ids, exit and clear_child_tid. */
#include "../test.h"
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <asm/prctl.h>

static long futex(void *word, int op, unsigned value, const struct timespec *limit, void *other, unsigned extra)
{
	return syscall(SYS_futex, word, op, value, limit, other, extra);
}

static unsigned word, second;
static volatile int woken;

TEST(wait_answers)
{
	word = 5;
	CHECK_ERR(futex(&word, FUTEX_WAIT, 6, NULL, NULL, 0), EAGAIN);
	struct timespec brief = {0, 20000000}, bad = {0, 1000000000};
	int64_t start = now_ns();
	CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 5, &brief, NULL, 0), ETIMEDOUT);
	CHECK(now_ns() - start >= 20000000);
	CHECK_ERR(futex(&word, FUTEX_WAIT, 5, &bad, NULL, 0), EINVAL);
	CHECK_ERR(futex((char *)&word + 1, FUTEX_WAIT, 5, NULL, NULL, 0), EINVAL);
	CHECK_ERR(futex((void *)8, FUTEX_WAIT, 5, NULL, NULL, 0), EFAULT);
	CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET, 5, NULL, NULL, 0), EINVAL);
	CHECK_ERR(futex(&word, 99, 5, NULL, NULL, 0), ENOSYS);
	CHECK_EQ(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
	/* With BITSET the time is absolute. */
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET, 5, &until, NULL, ~0U), ETIMEDOUT);
	clock_gettime(CLOCK_REALTIME, &until);
	CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 5, &until, NULL, ~0U), ETIMEDOUT);
}

static void *waiter(void *arg)
{
	if (arg)
		CHECK_OK(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, (unsigned)(intptr_t)arg));
	else
		CHECK_OK(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0));
	__atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* All threads but this one sleep. */
static void all_asleep(int count)
{
	int64_t until = now_ns() + 5000000000;
	for (;;) {
		int asleep = 0;
		char path[64];
		for (int tid = getpid() + 1; tid < getpid() + 200; tid++) {
			snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
			FILE *file = fopen(path, "r");
			if (!file)
				continue;
			char state = 0;
			if (fscanf(file, "%*d (%*[^)]) %c", &state) == 1)
				asleep += state == 'S';
			fclose(file);
		}
		if (asleep >= count || now_ns() > until)
			return;
		msleep(1);
	}
}

TEST(wake_counts)
{
	pthread_t threads[5];
	for (int i = 0; i < 5; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, waiter, NULL), 0);
	all_asleep(5);
	CHECK_EQ(futex(&word, FUTEX_WAKE, 2, NULL, NULL, 0), 2);
	EVENTUALLY(woken == 2);
	msleep(10);
	CHECK_EQ(woken, 2);
	CHECK_EQ(futex(&word, FUTEX_WAKE, 100, NULL, NULL, 0), 3);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(bitsets)
{
	pthread_t one, two;
	CHECK_EQ(pthread_create(&one, NULL, waiter, (void *)1), 0);
	CHECK_EQ(pthread_create(&two, NULL, waiter, (void *)2), 0);
	all_asleep(2);
	CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET, 10, NULL, NULL, 4), 0);
	CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET, 10, NULL, NULL, 2), 1);
	CHECK_EQ(pthread_join(two, NULL), 0);
	CHECK_EQ(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0), 1);
	CHECK_EQ(pthread_join(one, NULL), 0);
	CHECK_ERR(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
}

TEST(requeue)
{
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, waiter, NULL), 0);
	all_asleep(4);
	CHECK_ERR(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)100, &second, 77), EAGAIN);
	CHECK_EQ(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)100, &second, 0), 4);
	EVENTUALLY(woken == 1);
	CHECK_EQ(futex(&word, FUTEX_WAKE, 100, NULL, NULL, 0), 0);
	CHECK_EQ(futex(&second, FUTEX_WAKE, 100, NULL, NULL, 0), 3);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* Waiters of other processes go where they are told, and are found there. */
TEST(requeue_between_processes)
{
	unsigned *shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	unsigned *from = shared, *to = shared + 1024;
	pid_t pids[3];
	for (int i = 0; i < 3; i++) {
		pids[i] = CHECK_OK(fork());
		if (pids[i] == 0)
			_exit(futex(from, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 ? 40 + i : 1);
	}
	/* Who was moved is woken at the second word alone. */
	int moved = 0;
	int64_t until = now_ns() + 5000000000;
	while (moved < 3 && now_ns() < until) {
		moved += CHECK_OK(futex(from, FUTEX_REQUEUE, 0, (void *)100, to, 0));
		msleep(1);
	}
	CHECK_EQ(moved, 3);
	CHECK_EQ(futex(from, FUTEX_WAKE, 100, NULL, NULL, 0), 0);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), 0);
	CHECK_EQ(futex(to, FUTEX_WAKE, 100, NULL, NULL, 0), 3);
	for (int i = 0; i < 3; i++)
		CHECK_EXIT(pids[i], 40 + i);
	CHECK_ERR(futex(from, FUTEX_CMP_REQUEUE, 1, (void *)1, to, 5), EAGAIN);
	CHECK_ERR(futex(from, FUTEX_CMP_REQUEUE, -1, (void *)1, to, 0), EINVAL);
	CHECK_ERR(futex(from, FUTEX_REQUEUE, 1, (void *)1, (char *)to + 2, 0), EINVAL);
	CHECK_ERR(futex(from, FUTEX_REQUEUE, 1, (void *)1, (void *)8, 0), EFAULT);
	/* Nobody's waiters stand in memory that is not there, whatever a machine keeps at that place. */
	CHECK_ERR(futex((void *)0x6fe080000000, FUTEX_REQUEUE, 0, (void *)100, to, 0), EFAULT);
	CHECK_ERR(futex(from, FUTEX_REQUEUE, 0, (void *)100, (void *)0x6fe080000000, 0), EFAULT);
}

TEST(wake_op)
{
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, waiter, NULL), 0);
	all_asleep(1);
	second = 10;
	/* second += 5, and wake there too if it was > 3. */
	CHECK_EQ(futex(&word, FUTEX_WAKE_OP, 1, (void *)1, &second, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_GT, 3)), 1);
	CHECK_EQ(second, 15);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(shared_between_processes)
{
	unsigned *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		while (__atomic_load_n(shared, __ATOMIC_SEQ_CST) == 0)
			futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(shared[0]);
	}
	msleep(20);
	__atomic_store_n(shared, 7, __ATOMIC_SEQ_CST);
	CHECK_OK(futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0));
	CHECK_EXIT(pid, 7);
	/* A private page after fork is another futex. */
	word = 0;
	pid = CHECK_OK(fork());
	if (pid == 0) {
		struct timespec limit = {0, 100000000};
		_exit(futex(&word, FUTEX_WAIT, 0, &limit, NULL, 0) == -1 && errno == ETIMEDOUT ? 1 : 2);
	}
	for (int i = 0; i < 15; i++) {
		CHECK_EQ(futex(&word, FUTEX_WAKE, 100, NULL, NULL, 0), 0);
		msleep(10);
	}
	CHECK_EXIT(pid, 1);
	/* The same page of a file, mapped at two addresses. */
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_OK(ftruncate(fd, 4096));
	unsigned *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid = CHECK_OK(fork());
	if (pid == 0) {
		unsigned *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		munmap(a, 4096);
		while (__atomic_load_n(b, __ATOMIC_SEQ_CST) == 0)
			futex(b, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(b[0]);
	}
	msleep(20);
	__atomic_store_n(a, 9, __ATOMIC_SEQ_CST);
	CHECK_OK(futex(a, FUTEX_WAKE, 1, NULL, NULL, 0));
	CHECK_EXIT(pid, 9);
}

static int child_stack[16384] __attribute__((aligned(16)));
static volatile pid_t child_tid;

static int child_body(void *arg)
{
	*(volatile int *)arg = 5;
	syscall(SYS_exit, 0);
	return 0;
}

TEST(clear_child_tid)
{
	int value = 0;
	child_tid = 1;
	pid_t tid = CHECK_OK(clone(child_body, child_stack + 16384,
				   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
					   CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID,
				   &value, NULL, NULL, &child_tid));
	CHECK(tid > 0);
	while (child_tid != 0) {
		struct timespec limit = {1, 0};
		futex((void *)&child_tid, FUTEX_WAIT, tid, &limit, NULL, 0);
	}
	CHECK_EQ(value, 5);
}

TEST(robust_list_call)
{
	struct robust_list_head *head;
	size_t size;
	CHECK_OK(syscall(SYS_get_robust_list, 0, &head, &size));
	CHECK_EQ(size, sizeof *head);
	CHECK_ERR(syscall(SYS_set_robust_list, head, 5), EINVAL);
	CHECK_ERR(syscall(SYS_get_robust_list, 999999, &head, &size), ESRCH);
	/* A list by hand: the word of a lock that dies with its owner. */
	struct lock {
		struct robust_list list;
		unsigned word;
	} *lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		struct robust_list_head mine = {.list = {&lock->list}};
		mine.futex_offset = offsetof(struct lock, word);
		lock->list.next = &mine.list;
		lock->word = (unsigned)syscall(SYS_gettid) | FUTEX_WAITERS;
		CHECK_OK(syscall(SYS_set_robust_list, &mine, sizeof mine));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(lock->word & FUTEX_OWNER_DIED, FUTEX_OWNER_DIED);
}

/* At one instruction, again and again. */
__attribute__((noinline)) static long set_list(struct robust_list_head *head, size_t size)
{
	long result;
	__asm__ volatile("mov $273, %%eax; syscall" : "=a"(result) : "D"(head), "S"(size) : "rcx", "r11", "memory");
	return result;
}

static struct robust_list_head *list_of(pid_t pid)
{
	struct robust_list_head *head;
	size_t size;
	CHECK_OK(syscall(SYS_get_robust_list, pid, &head, &size));
	return head;
}

TEST(robust_list_set_again)
{
	static struct robust_list_head lists[2];
	struct robust_list_head *before = list_of(0);
	for (int i = 0; i < 60; i++) {
		CHECK_EQ(set_list(&lists[i & 1], sizeof *lists), 0);
		CHECK(list_of(0) == &lists[i & 1]);
		CHECK_EQ(set_list(before, 23), -EINVAL);
		CHECK(list_of(getpid()) == &lists[i & 1]);
	}
	/* Others see it, and a child has none until it says so. */
	pid_t parent = getpid(), pid = CHECK_OK(syscall(SYS_fork));
	if (pid == 0) {
		CHECK(list_of(0) == NULL && list_of(parent) == &lists[1]);
		CHECK_EQ(set_list(&lists[0], sizeof *lists), 0);
		CHECK(list_of(0) == &lists[0] && list_of(parent) == &lists[1]);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK(list_of(0) == &lists[1]);
	CHECK_EQ(set_list(before, sizeof *before), 0);
}

TEST(segment_base)
{
	unsigned long base, changed;
	CHECK_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &base));
	unsigned long self;
	__asm__("mov %%fs:0, %0" : "=r"(self));
	CHECK_EQ(self, base);
	CHECK_OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &changed));
	static unsigned long area[2] = {0x1122334455667788, 0};
	CHECK_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, area));
	__asm__ volatile("mov %%gs:0, %0" : "=r"(self));
	CHECK_EQ(self, 0x1122334455667788);
	CHECK_OK(syscall(SYS_getppid));
	sched_yield();
	__asm__ volatile("mov %%gs:0, %0" : "=r"(self));
	CHECK_EQ(self, 0x1122334455667788);
	CHECK_ERR(syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000), EPERM);
	CHECK_ERR(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
}

TEST_MAIN
