/* Reading small files of the tree that the machine stands on: what the kernel lets be answered without it must be what it
 * would answer itself. Every round is made often, as only sites that were visited before are short of the kernel. */
#include "../test.h"
#include <stdatomic.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/utsname.h>

#define ROUNDS 200
#define MOST (1 << 20)

static char text[MOST], back[MOST];
static long length;

/* Inside, a file that lies below; natively, a copy of it that may be changed. Its contents in `text`. */
static const char *host_file(const char *path)
{
	struct utsname name;
	CHECK_OK(uname(&name));
	int fd = CHECK_OK(open(path, O_RDONLY));
	length = CHECK_OK(read(fd, text, MOST));
	CHECK(length > 200 && length < MOST);
	CHECK_OK(close(fd));
	if (strstr(name.release, "umlaut"))
		return path;
	const char *copy = strrchr(path, '/') + 1;
	fd = CHECK_OK(open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0644));
	CHECK_EQ(write(fd, text, length), length);
	CHECK_OK(close(fd));
	return copy;
}

/* Comes to the kernel, whatever else is answered without it. */
static void trap(void)
{
	static int turn;
	struct stat s;
	void *page;
	switch (turn++ % 4) {
	case 0:
		getpriority(PRIO_PROCESS, 0);
		break;
	case 1:
		CHECK_OK(stat("/", &s));
		break;
	case 2:
		page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK_OK(munmap(page, 4096));
		break;
	case 3:
		CHECK_ERR(write(-1, text, turn * 64 % 14000), EBADF);
		break;
	}
}

static void same_stat(int fd, const struct stat *expected)
{
	struct stat s;
	CHECK_OK(fstat(fd, &s));
	CHECK(s.st_ino == expected->st_ino && s.st_dev == expected->st_dev && s.st_mode == expected->st_mode);
	CHECK_EQ(s.st_size, expected->st_size);
	CHECK_EQ(s.st_mtim.tv_nsec, expected->st_mtim.tv_nsec);
}

TEST(whole)
{
	const char *path = host_file("/etc/profile");
	struct stat expected;
	CHECK_OK(stat(path, &expected));
	int number = -1;
	for (int i = 0; i < ROUNDS; i++) {
		int fd = CHECK_OK(open(path, O_RDONLY | O_CLOEXEC));
		CHECK(number == -1 || fd == number);
		number = fd;
		same_stat(fd, &expected);
		CHECK_OK(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
		CHECK_EQ(posix_fadvise(fd, 0, 0, 77), EINVAL);
		CHECK(!isatty(fd) && errno == ENOTTY);
		CHECK_EQ(read(fd, back, 100), 100);
		CHECK_EQ(read(fd, back + 100, MOST - 100), length - 100);
		CHECK(memcmp(text, back, length) == 0);
		CHECK_EQ(read(fd, back, MOST), 0);
		CHECK_EQ(pread(fd, back, 50, 7), 50);
		CHECK(memcmp(text + 7, back, 50) == 0);
		CHECK_EQ(pread(fd, back, 50, length), 0);
		CHECK_EQ(pread(fd, back, 50, length + 9999), 0);
		CHECK_EQ(pread(fd, back, 50, length - 3), 3);
		CHECK_ERR(pread(fd, back, 50, -1), EINVAL);
		CHECK_EQ(lseek(fd, -5, SEEK_END), length - 5);
		CHECK_EQ(lseek(fd, -length, SEEK_CUR), -1);
		CHECK_EQ(errno, EINVAL);
		CHECK_EQ(lseek(fd, 2, SEEK_CUR), length - 3);
		CHECK_EQ(read(fd, back, 0), 0);
		CHECK_EQ(read(fd, back, 9), 3);
		CHECK_EQ(lseek(fd, 1L << 40, SEEK_SET), 1L << 40);
		CHECK_EQ(read(fd, back, 9), 0);
		CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
		CHECK_ERR(lseek(fd, 0, 99), EINVAL);
		CHECK_ERR(read(fd, NULL, 9), EFAULT);
		CHECK_ERR(read(fd, (void *)-4096L, 9), EFAULT);
		CHECK_ERR(syscall(SYS_fstat, fd, NULL), EFAULT);
		CHECK_ERR(write(fd, back, 1), EBADF);
		CHECK_EQ(read(fd, back, 1), 1);
		CHECK_EQ(lseek(fd, 0, SEEK_CUR), 1);
		CHECK_OK(close(fd));
		CHECK_ERR(read(fd, back, 9), EBADF);
		CHECK_ERR(fstat(fd, &expected), EBADF);
		CHECK_ERR(lseek(fd, 0, SEEK_SET), EBADF);
		CHECK_ERR(close(fd), EBADF);
		CHECK_OK(stat(path, &expected));
	}
}

/* Memory that may not be written, and such that is only half there. */
TEST(bad_memory)
{
	const char *path = host_file("/etc/profile");
	char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK_OK(mprotect(two + 4096, 4096, PROT_READ));
	for (int i = 0; i < ROUNDS; i++) {
		int fd = CHECK_OK(open(path, O_RDONLY));
		CHECK_ERR(read(fd, two + 4096, 10), EFAULT);
		long n = read(fd, two + 4096 - 20, 100);
		CHECK(n == 20 || (n == -1 && errno == EFAULT));
		CHECK_EQ(lseek(fd, 0, SEEK_CUR), n == 20 ? 20 : 0);
		CHECK_EQ(pread(fd, shared, 100, 30), 100);
		CHECK(memcmp(shared, text + 30, 100) == 0);
		CHECK_OK(close(fd));
	}
}

static unsigned seed = 12345;
static unsigned chance(unsigned n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* Calls in whatever order, against what is known of the file. */
TEST(any_order)
{
	const char *path = host_file("/etc/profile");
	struct stat expected;
	CHECK_OK(stat(path, &expected));
	for (int i = 0; i < 3000; i++) {
		int fd = CHECK_OK(open(path, O_RDONLY));
		long pos = 0, n, at;
		int other;
		for (int steps = chance(12); steps > 0; steps--) {
			n = chance(300);
			switch (chance(10)) {
			case 0:
			case 1:
				at = length - pos < n ? (length > pos ? length - pos : 0) : n;
				CHECK_EQ(read(fd, back, n), at);
				CHECK(memcmp(back, text + pos, at) == 0);
				pos += at;
				break;
			case 2:
				at = chance(length);
				n = length - at < n ? length - at : n;
				CHECK_EQ(pread(fd, back, n, at), n);
				CHECK(memcmp(back, text + at, n) == 0);
				break;
			case 3:
				pos = chance(length + 50);
				CHECK_EQ(lseek(fd, pos, SEEK_SET), pos);
				break;
			case 4:
				same_stat(fd, &expected);
				break;
			case 5:
				trap();
				break;
			case 6:
				other = CHECK_OK(dup(fd));
				CHECK_EQ(lseek(other, 0, SEEK_CUR), pos);
				CHECK_OK(close(chance(2) ? other : fd));
				fd = fcntl(other, F_GETFD) < 0 ? fd : other;
				break;
			case 7:
				other = CHECK_OK(open(path, O_RDONLY));
				CHECK_EQ(read(other, back, 40), 40);
				CHECK(memcmp(back, text, 40) == 0);
				CHECK_OK(close(other));
				break;
			case 8:
				CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
				break;
			case 9:
				CHECK_EQ(lseek(fd, 0, SEEK_CUR), pos);
				break;
			}
		}
		CHECK_OK(close(fd));
		CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
	}
}

TEST(a_child_goes_on_where_its_parent_was)
{
	const char *path = host_file("/etc/profile");
	for (int i = 0; i < 20; i++) {
		int fd = CHECK_OK(open(path, O_RDONLY));
		CHECK_EQ(read(fd, back, 10), 10);
		pid_t child = CHECK_OK(fork());
		if (child == 0) {
			CHECK_EQ(read(fd, back, 10), 10);
			CHECK(memcmp(back, text + 10, 10) == 0);
			CHECK_OK(close(fd));
			_exit(0);
		}
		CHECK_EXIT(child, 0);
		CHECK_EQ(read(fd, back, 10), 10);
		CHECK(memcmp(back, text + 20, 10) == 0);
		CHECK_OK(close(fd));
	}
}

TEST(a_program_inherits_the_position)
{
	const char *path = host_file("/etc/profile");
	for (int i = 0; i < 10; i++) {
		int out[2];
		CHECK_OK(pipe(out));
		pid_t child = CHECK_OK(fork());
		if (child == 0) {
			CHECK_OK(dup2(out[1], 1));
			int kept = CHECK_OK(open(path, O_RDONLY));
			CHECK_EQ(read(kept, back, 10), 10);
			char script[200];
			int closed = CHECK_OK(open(path, O_RDONLY | O_CLOEXEC));
			snprintf(script, sizeof script, "head -c 5 <&%d; test -e /proc/self/fd/%d && echo open", kept, closed);
			CHECK_EQ(read(closed, back, 10), 10);
			execl("/bin/sh", "sh", "-c", script, NULL);
			_exit(9);
		}
		CHECK_OK(close(out[1]));
		CHECK_EQ(read(out[0], back, 99), 5);
		CHECK(memcmp(back, text + 10, 5) == 0);
		CHECK_EQ(read(out[0], back, 99), 0);
		CHECK_OK(close(out[0]));
		CHECK_EXIT(child, 1);
	}
}

static const char *in_handler;
static volatile int handled;

static void handler(int signo)
{
	(void)signo;
	char few[64];
	int before = errno, fd = open(in_handler, O_RDONLY);
	if (fd < 0 || read(fd, few, 30) != 30 || memcmp(few, text, 30) != 0 || read(fd, few, 30) != 30 ||
	    memcmp(few, text + 30, 30) != 0 || close(fd) != 0)
		test_fail(__FILE__, __LINE__, "the handler read something else (errno %d)", errno);
	handled++;
	errno = before;
}

TEST(signals_come_in_between)
{
	const char *path = in_handler = host_file("/etc/profile");
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	CHECK_OK(sigaction(SIGALRM, &action, NULL));
	struct itimerval often = {{0, 300}, {0, 300}};
	CHECK_OK(setitimer(ITIMER_REAL, &often, NULL));
	int64_t until = now_ns() + 1500000000;
	while (now_ns() < until || handled < 50) {
		int fd = CHECK_OK(open(path, O_RDONLY));
		long pos = 0, n;
		while ((n = CHECK_OK(read(fd, back, 60))) > 0) {
			CHECK(memcmp(back, text + pos, n) == 0);
			pos += n;
		}
		CHECK_EQ(pos, length);
		CHECK_EQ(lseek(fd, 0, SEEK_CUR), length);
		CHECK_OK(close(fd));
	}
}

struct talk {
	atomic_int turn;
	int fd;
};

static struct talk *talk(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	return at;
}

/* Without a call. */
static void await(struct talk *t, int turn)
{
	while (atomic_load(&t->turn) != turn)
		__builtin_ia32_pause();
}

/* Makes a reader that has the file open and knows its attributes, and comes to the kernel no more until it was changed. */
static pid_t reader(const char *path, struct talk *t, void (*then)(int fd))
{
	pid_t child = CHECK_OK(fork());
	if (child != 0)
		return child;
	struct stat s;
	for (int i = 0; i < 30; i++) {
		int fd = CHECK_OK(open(path, O_RDONLY));
		CHECK_OK(fstat(fd, &s));
		CHECK_EQ(read(fd, back, 10), 10);
		CHECK_EQ(pread(fd, back, 10, 0), 10);
		CHECK_EQ(lseek(fd, 10, SEEK_SET), 10);
		CHECK_OK(close(fd));
	}
	int fd = t->fd = CHECK_OK(open(path, O_RDONLY));
	CHECK_EQ(read(fd, back, 10), 10);
	atomic_store(&t->turn, 1);
	await(t, 2);
	then(fd);
	_exit(0);
}

static void may_change(const char *path)
{
	if (access(path, W_OK) != 0)
		SKIP("the file is somebody else's");
}

static void reads_new_bytes(int fd)
{
	CHECK_EQ(read(fd, back, 3), 3);
	CHECK(memcmp(back, "new", 3) == 0);
}

TEST(bytes_that_another_process_wrote_are_read)
{
	const char *path = host_file("/etc/profile");
	may_change(path);
	struct talk *t = talk();
	pid_t child = reader(path, t, reads_new_bytes);
	await(t, 1);
	int fd = CHECK_OK(open(path, O_WRONLY));
	CHECK_EQ(pwrite(fd, "new", 3, 10), 3);
	atomic_store(&t->turn, 2);
	CHECK_EXIT(child, 0);
}

static void sees_new_mode(int fd)
{
	struct stat s;
	CHECK_OK(fstat(fd, &s));
	CHECK_EQ(s.st_mode & 07777, 0640);
}

TEST(a_mode_that_another_process_set_is_seen)
{
	const char *path = host_file("/etc/passwd");
	may_change(path);
	struct talk *t = talk();
	pid_t child = reader(path, t, sees_new_mode);
	await(t, 1);
	CHECK_OK(chmod(path, 0640));
	atomic_store(&t->turn, 2);
	CHECK_EXIT(child, 0);
}

static void finds_it_cut(int fd)
{
	struct stat s;
	CHECK_EQ(read(fd, back, 100), 10);
	CHECK_EQ(read(fd, back, 100), 0);
	CHECK_OK(fstat(fd, &s));
	CHECK_EQ(s.st_size, 20);
}

TEST(a_file_that_another_process_cut_is_short)
{
	const char *path = host_file("/etc/group");
	may_change(path);
	struct talk *t = talk();
	pid_t child = reader(path, t, finds_it_cut);
	await(t, 1);
	CHECK_OK(truncate(path, 20));
	atomic_store(&t->turn, 2);
	CHECK_EXIT(child, 0);
}

static void reads_the_old_file(int fd)
{
	struct stat s;
	CHECK_EQ(read(fd, back, 100), 100);
	CHECK(memcmp(back, text + 10, 100) == 0);
	CHECK_OK(fstat(fd, &s));
	CHECK_EQ(s.st_nlink, 0);
}

TEST(a_file_that_was_replaced_is_the_old_one)
{
	const char *path = host_file("/etc/bash.bashrc");
	may_change(path);
	char new[200];
	snprintf(new, sizeof new, "%s.new", path);
	put_file(new, "another", 0644);
	struct talk *t = talk();
	pid_t child = reader(path, t, reads_the_old_file);
	await(t, 1);
	CHECK_OK(rename(new, path));
	atomic_store(&t->turn, 2);
	CHECK_EXIT(child, 0);
}

static void reads_behind_the_other(int fd)
{
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 15);
	CHECK_EQ(read(fd, back, 5), 5);
	CHECK(memcmp(back, text + 15, 5) == 0);
}

TEST(a_descriptor_that_another_process_takes_is_shared)
{
	const char *path = host_file("/etc/profile");
	struct talk *t = talk();
	pid_t child = reader(path, t, reads_behind_the_other);
	await(t, 1);
	int pidfd = CHECK_OK(syscall(SYS_pidfd_open, child, 0));
	int fd = syscall(SYS_pidfd_getfd, pidfd, t->fd, 0);
	if (fd < 0)
		kill(child, SIGKILL);
	if (fd < 0 && errno == EPERM)
		SKIP("descriptors may not be taken");
	CHECK_EQ(read(fd, back, 5), 5);
	CHECK(memcmp(back, text + 10, 5) == 0);
	atomic_store(&t->turn, 2);
	CHECK_EXIT(child, 0);
}

static void closes_and_waits(int fd)
{
	struct talk *t = (struct talk *)in_handler;
	CHECK_EQ(read(fd, back, 5), 5);
	CHECK_OK(close(fd));
	atomic_store(&t->turn, 3);
	await(t, 4);
}

TEST(a_descriptor_that_was_closed_is_gone_for_all)
{
	const char *path = host_file("/etc/profile");
	struct talk *t = talk();
	in_handler = (void *)t;
	pid_t child = reader(path, t, closes_and_waits);
	await(t, 1);
	char name[64];
	snprintf(name, sizeof name, "/proc/%d/fd/%d", child, t->fd);
	struct stat s;
	CHECK_OK(lstat(name, &s));
	atomic_store(&t->turn, 2);
	await(t, 3);
	CHECK_ERR(lstat(name, &s), ENOENT);
	atomic_store(&t->turn, 4);
	CHECK_EXIT(child, 0);
}

static void *reads_ten(void *arg)
{
	char few[10];
	CHECK_EQ(read((intptr_t)arg, few, 10), 10);
	CHECK(memcmp(few, text + 10, 10) == 0);
	return NULL;
}

TEST(threads_share_the_position)
{
	const char *path = host_file("/etc/profile");
	for (int i = 0; i < 50; i++) {
		intptr_t fd = CHECK_OK(open(path, O_RDONLY));
		CHECK_EQ(read(fd, back, 10), 10);
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, reads_ten, (void *)fd), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		CHECK_EQ(read(fd, back, 10), 10);
		CHECK(memcmp(back, text + 20, 10) == 0);
		CHECK_OK(close(fd));
	}
}

static void reads_and_closes(int fd)
{
	CHECK_EQ(read(fd, back, 5), 5);
	CHECK_OK(close(fd));
}

TEST(who_watches_hears_of_all)
{
	const char *path = host_file("/etc/profile");
	struct talk *t = talk();
	pid_t child = reader(path, t, reads_and_closes);
	await(t, 1);
	int watch = CHECK_OK(inotify_init1(IN_NONBLOCK));
	CHECK_OK(inotify_add_watch(watch, path, IN_ACCESS | IN_CLOSE_NOWRITE));
	atomic_store(&t->turn, 2);
	CHECK_EXIT(child, 0);
	long n = CHECK_OK(read(watch, back, sizeof back));
	uint32_t seen = 0;
	for (long at = 0; at < n; at += sizeof(struct inotify_event))
		seen |= ((struct inotify_event *)(back + at))->mask;
	CHECK_EQ(seen, IN_ACCESS | IN_CLOSE_NOWRITE);
}

/* A process that closes any descriptor of a file loses its locks on it. */
TEST(closing_gives_locks_up)
{
	const char *path = host_file("/etc/profile");
	for (int i = 0; i < 20; i++) {
		int holder = CHECK_OK(open(path, O_RDONLY));
		struct flock lock = {.l_type = F_RDLCK};
		CHECK_OK(fcntl(holder, F_SETLK, &lock));
		int fd = CHECK_OK(open(path, O_RDONLY));
		CHECK_EQ(read(fd, back, 10), 10);
		CHECK_OK(close(fd));
		pid_t child = CHECK_OK(fork());
		if (child == 0) {
			lock.l_type = F_WRLCK;
			CHECK_OK(fcntl(holder, F_GETLK, &lock));
			_exit(lock.l_type == F_UNLCK ? 0 : 4);
		}
		CHECK_EXIT(child, 0);
		CHECK_OK(close(holder));
	}
}

/* What was read and written is counted (proc(5), io). */
TEST(bytes_are_counted)
{
	const char *path = host_file("/etc/profile");
	char io[400];
	long before, after;
	CHECK_EQ(sscanf(get_file("/proc/self/io", io, sizeof io), "rchar: %ld", &before), 1);
	for (int i = 0; i < ROUNDS; i++) {
		int fd = CHECK_OK(open(path, O_RDONLY));
		CHECK_EQ(read(fd, back, 50), 50);
		CHECK_EQ(pread(fd, back, 50, 20), 50);
		CHECK_OK(close(fd));
	}
	CHECK_EQ(sscanf(get_file("/proc/self/io", io, sizeof io), "rchar: %ld", &after), 1);
	CHECK(after - before >= ROUNDS * 100 && after - before < ROUNDS * 100 + 1000);
}

TEST_MAIN
