/* Exhaustion, threads that end badly, and reaching for process 1. */
#define TEST_SECONDS 60
#include "../test.h"
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

static void still_works(void)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", "exit $(echo 5 | cat)", NULL);
		_exit(1);
	}
	CHECK_EXIT(pid, 5);
}

TEST(fork_bomb_under_a_limit)
{
	CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	pid_t bomb = CHECK_OK(fork());
	if (bomb == 0) {
		setpgid(0, 0);
		/* A user of our own, so that nobody else's processes count. */
		if (geteuid() == 0) {
			CHECK_OK(setgroups(0, NULL));
			CHECK_OK(setresgid(54321, 54321, 54321));
			CHECK_OK(setresuid(54321, 54321, 54321));
		}
		struct rlimit limit = {100, 100};
		CHECK_OK(setrlimit(RLIMIT_NPROC, &limit));
		int64_t until = now_ns() + 2000000000;
		while (now_ns() < until)
			if (fork() < 0)
				msleep(1);
		kill(0, SIGKILL);
	}
	setpgid(bomb, bomb);
	int status;
	CHECK_EQ(waitpid(bomb, &status, 0), bomb);
	kill(-bomb, SIGKILL);
	while (wait(NULL) > 0)
		kill(-bomb, SIGKILL);
	CHECK_ERR(kill(-bomb, 0), ESRCH);
	still_works();
}

static void *sleeper(void *unused)
{
	for (;;)
		pause();
	return unused;
}

TEST(threads_until_refused)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pthread_attr_t attr;
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 65536);
		pthread_t thread;
		int count = 0;
		while (count < 500 && pthread_create(&thread, &attr, sleeper, NULL) == 0)
			count++;
		_exit(count >= 100 ? 0 : 1);
	}
	CHECK_EXIT(pid, 0);
	still_works();
}

TEST(mappings_until_refused)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		/* Alternating protections cannot be merged. */
		size_t pages = 200000;
		char *at = mmap(NULL, pages * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		CHECK(at != MAP_FAILED);
		size_t done = 0;
		for (size_t i = 0; i < pages; i += 2, done++)
			if (mprotect(at + i * 4096, 4096, PROT_READ | PROT_WRITE) != 0)
				break;
		CHECK_EQ(errno, ENOMEM);
		CHECK(done > 5000 && done < 70000);
		/* Refused, but alive: some may be given back and others made. */
		CHECK_OK(munmap(at, pages * 4096));
		at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(at != MAP_FAILED);
		at[0] = 1;
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	still_works();
}

TEST(address_space_limit)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		struct rlimit limit = {256 << 20, 256 << 20};
		CHECK_OK(setrlimit(RLIMIT_AS, &limit));
		int count = 0;
		while (mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
			count++;
		CHECK_EQ(errno, ENOMEM);
		CHECK(count >= 8 && count <= 16);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
}

TEST(descriptors_until_refused)
{
	int count = 0, fd;
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		count++;
	CHECK(errno == EMFILE || errno == ENFILE);
	CHECK(count > 50);
	CHECK_OK(syscall(SYS_close_range, 3, ~0U, 0));
	still_works();
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		int pair[2];
		while (pipe(pair) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0)
			;
		CHECK_EQ(errno, EMFILE);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	still_works();
}

static void *leave(void *unused)
{
	syscall(SYS_exit, 0);
	return unused;
}

TEST(threads_leave_by_the_bare_call)
{
	for (int round = 0; round < 20; round++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			pthread_t thread;
			for (int i = 0; i < 10; i++)
				CHECK_EQ(pthread_create(&thread, NULL, leave, NULL), 0);
			if (round % 2)
				syscall(SYS_exit, 4);
			_exit(4);
		}
		/* Without exit_group it is the last thread to leave that says how it ended. */
		int status;
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 4 || (round % 2 && WEXITSTATUS(status) == 0)));
	}
	still_works();
}

static void *shoot(void *unused)
{
	for (int tid = getpid(); tid < getpid() + 30; tid++)
		syscall(SYS_tkill, tid, SIGKILL);
	return unused;
}

TEST(killing_own_threads)
{
	for (int round = 0; round < 10; round++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			pthread_t thread;
			for (int i = 0; i < 6; i++)
				CHECK_EQ(pthread_create(&thread, NULL, i == 3 ? shoot : sleeper, NULL), 0);
			for (;;)
				pause();
		}
		CHECK_KILLED(pid, SIGKILL);
	}
	still_works();
}

static void *stopper(void *unused)
{
	for (;;) {
		kill(getpid(), SIGSTOP);
		sched_yield();
	}
	return unused;
}

TEST(stopping_and_killing_at_once)
{
	for (int round = 0; round < 20; round++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			pthread_t thread;
			for (int i = 0; i < 3; i++)
				CHECK_EQ(pthread_create(&thread, NULL, i ? sleeper : stopper, NULL), 0);
			for (;;)
				getppid();
		}
		for (int i = 0; i < 5; i++) {
			kill(pid, SIGCONT);
			sched_yield();
		}
		CHECK_OK(kill(pid, SIGKILL));
		CHECK_KILLED(pid, SIGKILL);
	}
	still_works();
}

static volatile int racing = 1;
static char *volatile race_page;
static void *unmapper(void *unused)
{
	while (racing) {
		char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		race_page = at;
		for (int i = 0; i < 100; i++)
			__asm__ volatile("pause");
		munmap(at, 4096);
	}
	return unused;
}

TEST(memory_that_goes_away_during_a_call)
{
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, unmapper, NULL), 0);
	int fd = CHECK_OK(open("/dev/zero", O_RDONLY)), null = CHECK_OK(open("/dev/null", O_WRONLY));
	struct stat st;
	for (int i = 0; i < 20000; i++) {
		char *at = race_page;
		ssize_t n = read(fd, at, 4096);
		CHECK((n > 0 && n <= 4096) || (n == -1 && errno == EFAULT));
		n = write(null, at, 4096);
		CHECK(n == 4096 || (n == -1 && errno == EFAULT));
		int r = stat(at, &st);
		CHECK(r == -1 && (errno == EFAULT || errno == ENOENT));
	}
	racing = 0;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static char path[64];
static void *renamer(void *unused)
{
	while (racing)
		for (int i = 0; i < 50; i++)
			memcpy(path, i % 2 ? "/dev/null\0" : "/no/such/\0", 10);
	return unused;
}

TEST(arguments_that_change_during_a_call)
{
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, renamer, NULL), 0);
	for (int i = 0; i < 20000; i++) {
		int fd = open(path, O_RDONLY);
		CHECK(fd >= 0 || errno == ENOENT || errno == ENOTDIR);
		if (fd >= 0)
			close(fd);
	}
	racing = 0;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(process_one_is_out_of_reach)
{
	int inside = getenv("UMLAUT_INSIDE") != NULL;
	char text[8];
	struct iovec local = {text, sizeof text}, remote = {(void *)0x400000, 8};
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		become_user();
		CHECK_EQ(process_vm_readv(1, &local, 1, &remote, 1, 0), -1);
		CHECK(errno == EPERM || errno == ENOSYS);
		CHECK_EQ(process_vm_writev(1, &local, 1, &remote, 1, 0), -1);
		CHECK(errno == EPERM || errno == ENOSYS);
		CHECK_EQ(ptrace(PTRACE_ATTACH, 1, 0, 0), -1);
		CHECK(errno == EPERM || errno == ENOSYS);
		int fd = open("/proc/1/mem", O_RDWR);
		CHECK(fd == -1 && (errno == EACCES || errno == ENOENT || errno == EPERM));
		fd = open("/proc/1/environ", O_RDONLY);
		CHECK(fd == -1 && (errno == EACCES || errno == ENOENT || errno == EPERM));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	if (!inside)
		return;
	/* Process 1 takes only the signals it handles. */
	if (getpid() != 1 && geteuid() == 0) {
		CHECK_OK(kill(1, SIGKILL));
		CHECK_OK(kill(1, SIGSTOP));
		CHECK_OK(kill(1, SIGTERM));
		msleep(50);
		CHECK(process_state(1) != 0 && process_state(1) != 'T');
	}
	still_works();
}

TEST(deep_symbolic_links_and_long_lists)
{
	/* Work that a single call could be made to do without end. */
	char name[300], target[300];
	memset(target, 0, sizeof target);
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "l%d", i);
		snprintf(target, sizeof target, "l%d/l%d/l%d", i + 1, i + 1, i + 1);
		CHECK_OK(symlink(target, name));
	}
	CHECK_ERR(open("l0", O_RDONLY), ELOOP);
	struct iovec *many = calloc(1024, sizeof *many);
	for (int i = 0; i < 1024; i++)
		many[i] = (struct iovec){name, sizeof name};
	int null = CHECK_OK(open("/dev/null", O_WRONLY));
	CHECK_EQ(writev(null, many, 1024), 1024 * sizeof name);
	static struct pollfd polls[1000];
	for (int i = 0; i < 1000; i++)
		polls[i] = (struct pollfd){null, POLLOUT, 0};
	CHECK_EQ(poll(polls, 1000, 0), 1000);
	CHECK_ERR(poll(polls, 100000000, 0), EINVAL);
}

TEST(huge_sizes)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600)), zero = CHECK_OK(open("/dev/zero", O_RDONLY));
	char page[4096];
	CHECK_EQ(read(fd, malloc(4096), 1UL << 40), 0);
	CHECK_ERR(read(fd, page, SIZE_MAX / 2), EFAULT);
	CHECK_ERR(read(zero, (void *)8, 1UL << 40), EFAULT);
	CHECK_ERR(pwrite(fd, page, 1, INT64_MAX), EINVAL);
	CHECK_ERR(syscall(SYS_getdents64, fd, page, ~0UL), ENOTDIR);
	CHECK_ERR(syscall(SYS_getrandom, (void *)8, ~0UL, 0), EFAULT);
	struct rlimit limit = {1UL << 40, 1UL << 40};
	setrlimit(RLIMIT_STACK, &limit);
	CHECK_ERR((intptr_t)mmap(NULL, 1UL << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	still_works();
}

TEST_MAIN
