/* Walking through directories of the tree that the machine stands on, as fts(3) does: what the kernel lets be answered
 * without it must be what it would answer itself. Rounds are many, as only sites that were visited before are short of it. */
#include "host_dir.h"
#include <stdatomic.h>
#include <sched.h>
#include <sys/resource.h>

#define ROUNDS 60
#define HOW (O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)

static char first[1 << 16], again[1 << 16];
static long first_len;

static long list(int fd, char *to, size_t step)
{
	long n, all = 0;
	while ((n = CHECK_OK(syscall(SYS_getdents64, fd, to + all, step))) > 0)
		all += n;
	return all;
}

static int holds(const char *listing, long len, const char *name)
{
	for (long at = 0; at < len; at += *(unsigned short *)(listing + at + 16))
		if (strcmp(listing + at + 19, name) == 0)
			return 1;
	return 0;
}

static void lists_the_same(int fd, size_t step)
{
	CHECK_EQ(list(fd, again, step), first_len);
	CHECK(memcmp(first, again, first_len) == 0);
	CHECK_EQ(syscall(SYS_getdents64, fd, again, sizeof again), 0);
}

static void begin(void)
{
	int fd = CHECK_OK(open(dir, HOW));
	first_len = list(fd, first, sizeof first);
	for (int i = 0; i < count; i++)
		CHECK(holds(first, first_len, names[i]));
	CHECK_OK(close(fd));
}

TEST(every_call)
{
	host_dir();
	begin();
	struct stat expected, s;
	CHECK_OK(stat(dir, &expected));
	for (int round = 0; round < ROUNDS; round++) {
		int fd = CHECK_OK(open(dir, HOW)), other = -1;
		CHECK_OK(fstat(fd, &s));
		CHECK(s.st_ino == expected.st_ino && s.st_mode == expected.st_mode && s.st_nlink == expected.st_nlink);
		CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_DIRECTORY | O_APPEND),
			 O_RDONLY | O_NONBLOCK | O_DIRECTORY);
		CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
		CHECK_OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
		CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
		if (round % 5 == 1) {
			CHECK_OK(fcntl(fd, F_SETFD, 0));
			CHECK_EQ(fcntl(fd, F_GETFD), 0);
		}
		if (round % 3) {
			other = CHECK_OK(fcntl(fd, F_DUPFD_CLOEXEC, round % 2 ? 3 : 0));
			CHECK_EQ(other, fd + 1);
		}
		CHECK_ERR(read(fd, again, 10), EISDIR);
		CHECK_ERR(syscall(SYS_getdents64, fd, again, 1), EINVAL);
		CHECK_ERR(syscall(SYS_getdents64, fd, NULL, sizeof again), EFAULT);
		lists_the_same(fd, round % 4 ? sizeof again : 200);
		if (round % 7 == 2) {
			CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
			lists_the_same(fd, sizeof again);
		}
		if (other >= 0) {
			CHECK_EQ(syscall(SYS_getdents64, other, again, sizeof again), 0);
			CHECK_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
			CHECK_OK(close(fd));
			CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
			CHECK_ERR(fcntl(fd, F_DUPFD_CLOEXEC, 0), EBADF);
			CHECK_OK(fstat(other, &s));
			CHECK_EQ(lseek(other, 0, SEEK_SET), 0);
			lists_the_same(other, sizeof again);
			fd = other;
		}
		CHECK_OK(close(fd));
		CHECK_ERR(syscall(SYS_getdents64, fd, again, sizeof again), EBADF);
		CHECK_ERR(fstat(fd, &s), EBADF);
	}
}

/* With no other call between those that are answered and the end of the descriptor. */
TEST(as_fts_does)
{
	host_dir();
	begin();
	struct stat s;
	for (int round = 0; round < ROUNDS; round++) {
		int fd = CHECK_OK(open(dir, HOW));
		CHECK_OK(fstat(fd, &s));
		int other = CHECK_OK(fcntl(fd, F_DUPFD_CLOEXEC, 3));
		lists_the_same(fd, sizeof again);
		CHECK_OK(close(fd));
		CHECK_OK(fstatat(other, names[0], &s, AT_SYMLINK_NOFOLLOW));
		pid_t child = round % 10 ? 0 : CHECK_OK(fork());
		CHECK_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
		if (round % 10 == 0) {
			if (child == 0)
				_exit(fcntl(fd, F_GETFD) == -1 ? 0 : 5);
			CHECK_EXIT(child, 0);
		}
		CHECK_OK(close(other));
	}
}

TEST(own_changes)
{
	own_dir();
	begin();
	char path[8192];
	snprintf(path, sizeof path, "%s/new", dir);
	for (int round = 0; round < ROUNDS; round++) {
		int fd = CHECK_OK(open(dir, HOW));
		if (round > ROUNDS / 2)
			put_file(path, "x", 0600);
		long n = list(fd, again, sizeof again);
		CHECK_EQ(holds(again, n, "new"), round > ROUNDS / 2);
		CHECK_OK(close(fd));
		if (round > ROUNDS / 2)
			CHECK_OK(unlink(path));
	}
}

/* Another process changes the directory while this one has it open, and makes no call meanwhile. */
TEST(changes_by_another)
{
	own_dir();
	atomic_int *turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(turn != MAP_FAILED);
	char path[8192];
	pid_t child = CHECK_OK(fork());
	if (child == 0) {
		for (int round = 0; round < ROUNDS; round++) {
			int fd = CHECK_OK(open(dir, HOW));
			if (round < 20) {
				list(fd, again, sizeof again);
				CHECK_OK(close(fd));
				continue;
			}
			atomic_store(turn, 2 * round + 1);
			while (atomic_load(turn) != 2 * round + 2)
				__builtin_ia32_pause();
			long n = list(fd, again, sizeof again);
			CHECK_EQ(holds(again, n, "new"), round % 2 == 0);
			CHECK_EQ(holds(again, n, names[0]), round < 40);
			CHECK_OK(close(fd));
		}
		_exit(0);
	}
	for (int round = 20; round < ROUNDS; round++) {
		while (atomic_load(turn) != 2 * round + 1)
			sched_yield();
		snprintf(path, sizeof path, "%s/new", dir);
		if (round % 2 == 0)
			put_file(path, "x", 0600);
		else
			CHECK_OK(unlink(path));
		snprintf(path, sizeof path, "%s/%s", dir, names[0]);
		if (round == 40)
			CHECK_OK(unlink(path));
		atomic_store(turn, 2 * round + 2);
	}
	CHECK_EXIT(child, 0);
}

/* Names below a descriptor are gone with it, by whichever path. */
TEST(names_go_with_the_descriptor)
{
	host_dir();
	begin();
	struct stat s;
	char path[8192];
	for (int round = 0; round < ROUNDS; round++) {
		int fd = CHECK_OK(open(dir, HOW));
		lists_the_same(fd, sizeof again);
		for (int i = 0; i < count / 2; i++)
			CHECK_OK(fstatat(fd, names[i], &s, AT_SYMLINK_NOFOLLOW));
		CHECK_OK(close(fd));
		CHECK_ERR(fstatat(fd, names[count / 2], &s, AT_SYMLINK_NOFOLLOW), EBADF);
	}
	for (int round = 0; round < ROUNDS; round++) {
		int fd = CHECK_OK(open(dir, HOW));
		for (int i = 0; i <= count / 2; i++) {
			snprintf(path, sizeof path, "/proc/self/fd/%d/%s", fd, names[i]);
			if (i == count / 2)
				CHECK_OK(close(fd));
			CHECK_EQ(lstat(path, &s), i == count / 2 ? -1 : 0);
		}
	}
}

TEST(no_more_descriptors_than_allowed)
{
	host_dir();
	int fd = CHECK_OK(open(dir, HOW));
	struct rlimit few = {fd + 1, fd + 1};
	CHECK_OK(close(fd));
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
	for (int round = 0; round < ROUNDS; round++) {
		CHECK_EQ(open(dir, HOW), fd);
		CHECK_ERR(fcntl(fd, F_DUPFD_CLOEXEC, fd), EMFILE);
		CHECK_ERR(fcntl(fd, F_DUPFD_CLOEXEC, -1), EINVAL);
		CHECK_OK(close(fd));
	}
}

TEST_MAIN
