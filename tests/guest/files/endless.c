/* /dev/null and /dev/zero, asked often enough that the machine may answer in other ways than at first. */
#include "../test.h"
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { TIMES = 60 };

static char buf[9000];

/* By one site each. */
static __attribute__((noinline)) long put(int fd, const void *from, size_t n)
{
	return write(fd, from, n);
}

static __attribute__((noinline)) long get(int fd, void *to, size_t n)
{
	return read(fd, to, n);
}

static int opened(const char *name, int flags)
{
	int fd = CHECK_OK(open(name, flags));
	for (int i = 0; i < TIMES; i++) {
		if ((flags & O_ACCMODE) != O_RDONLY)
			CHECK_EQ(put(fd, buf, 10), 10);
		if ((flags & O_ACCMODE) != O_WRONLY)
			CHECK_EQ(get(fd, buf, 10), strcmp(name, "/dev/zero") ? 0 : 10);
	}
	return fd;
}

TEST(lengths_and_addresses)
{
	int null = opened("/dev/null", O_WRONLY), zero = opened("/dev/zero", O_RDONLY);
	for (int i = 0; i < TIMES; i++) {
		CHECK_EQ(put(null, buf, i * 100), i * 100);
		memset(buf, 7, sizeof buf);
		CHECK_EQ(get(zero, buf, i * 100), i * 100);
		for (int k = 0; k < i * 100; k++)
			CHECK_EQ(buf[k], 0);
		CHECK_EQ(buf[i * 100], 7);
	}
	/* Nobody looks at what is thrown away, but it must be where a program can have memory. */
	CHECK_EQ(put(null, (void *)16, 100), 100);
	CHECK_EQ(put(null, buf, 1UL << 40), 0x7ffff000);
	CHECK_ERR(put(null, (void *)(1UL << 63), 1), EFAULT);
	CHECK_ERR(get(zero, (void *)16, 100), EFAULT);
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_OK(mprotect(pages + 4096, 4096, PROT_NONE));
	memset(pages, 7, 4096);
	CHECK_EQ(get(zero, pages + 4000, 200), 96);
	CHECK(pages[3999] == 7 && pages[4000] == 0 && pages[4095] == 0);
	CHECK_ERR(get(null, buf, 1), EBADF);
	CHECK_ERR(put(zero, buf, 1), EBADF);
}

TEST(a_descriptor_that_leads_elsewhere)
{
	int null = opened("/dev/null", O_WRONLY), zero = opened("/dev/zero", O_RDWR);
	int file = CHECK_OK(open("endless-file", O_RDWR | O_CREAT | O_TRUNC, 0600));
	CHECK_OK(dup2(file, null));
	CHECK_EQ(put(null, "abc", 3), 3);
	CHECK_OK(lseek(file, 0, SEEK_SET));
	CHECK_OK(dup3(file, zero, 0));
	CHECK_EQ(get(zero, buf, 10), 3);
	CHECK(!memcmp(buf, "abc", 3));
	close(null);
	CHECK_ERR(put(null, "abc", 3), EBADF);
	int again = opened("/dev/null", O_WRONLY);
	CHECK_EQ(again, null);
	CHECK_OK(syscall(SYS_close_range, again, again, 0));
	CHECK_ERR(put(again, "abc", 3), EBADF);
	again = opened("/dev/null", O_WRONLY);
	int ends[2];
	close(again);
	CHECK_OK(pipe(ends));
	CHECK_EQ(ends[0], again);
	CHECK_ERR(put(again, "abc", 3), EBADF);
	unlink("endless-file");
}

static int shared;

static int closes(void *arg)
{
	(void)arg;
	close(shared);
	return 0;
}

TEST(a_table_that_others_use)
{
	static char stack[65536] __attribute__((aligned(16)));
	int fd = opened("/dev/null", O_WRONLY);
	shared = fd;
	int pid = CHECK_OK(clone(closes, stack + sizeof stack, CLONE_FILES | CLONE_VM | SIGCHLD, NULL));
	CHECK_EXIT(pid, 0);
	CHECK_ERR(put(fd, buf, 1), EBADF);
	/* A child's table is its own. */
	fd = opened("/dev/null", O_WRONLY);
	pid = CHECK_OK(fork());
	if (pid == 0) {
		close(fd);
		_exit(put(fd, buf, 1) == -1 && errno == EBADF ? 0 : 1);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(put(fd, buf, 1), 1);
	pid = CHECK_OK(clone(closes, stack + sizeof stack, SIGCHLD, NULL));
	CHECK_EXIT(pid, 0);
	CHECK_EQ(put(fd, buf, 1), 1);
}

TEST(who_watches_hears_of_writes)
{
	int fd = opened("/dev/null", O_WRONLY);
	int watch = CHECK_OK(inotify_init1(IN_NONBLOCK));
	CHECK_OK(inotify_add_watch(watch, "/dev/null", IN_MODIFY));
	CHECK_EQ(put(fd, buf, 1), 1);
	CHECK(read(watch, buf, sizeof buf) >= (long)sizeof(struct inotify_event));
	for (int i = 0; i < TIMES; i++)
		CHECK_EQ(put(fd, buf, 1), 1);
	CHECK(read(watch, buf, sizeof buf) >= (long)sizeof(struct inotify_event));
	close(watch);
}

TEST(what_was_done_is_counted)
{
	int fd = opened("/dev/null", O_WRONLY);
	unsigned long before[2], after[2];
	for (int round = 0; round < 2; round++) {
		FILE *f = fopen("/proc/self/io", "r");
		CHECK(f != NULL);
		unsigned long chars, calls;
		CHECK_EQ(fscanf(f, "rchar: %*u wchar: %lu syscr: %*u syscw: %lu", &chars, &calls), 2);
		fclose(f);
		unsigned long *to = round ? after : before;
		to[0] = chars;
		to[1] = calls;
		for (int i = 0; i < TIMES && !round; i++)
			CHECK_EQ(put(fd, buf, 100), 100);
	}
	CHECK_EQ(after[0] - before[0], TIMES * 100);
	CHECK_EQ(after[1] - before[1], TIMES);
}

TEST_MAIN
