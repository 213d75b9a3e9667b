/* open, read, write, seek, descriptors, locks. */
#include "../test.h"
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

TEST(open_flags)
{
	CHECK_ERR(open("f", O_RDONLY), ENOENT);
	int fd = CHECK_OK(open("f", O_WRONLY | O_CREAT | O_EXCL, 0640));
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	mode_t mask = umask(0);
	umask(mask);
	CHECK_EQ(st.st_mode, S_IFREG | (0640 & ~mask));
	CHECK_EQ(st.st_nlink, 1);
	CHECK_EQ(st.st_size, 0);
	CHECK_EQ(st.st_uid, geteuid());
	CHECK_ERR(open("f", O_WRONLY | O_CREAT | O_EXCL, 0600), EEXIST);
	CHECK_EQ(write(fd, "hello", 5), 5);
	char c;
	CHECK_ERR(read(fd, &c, 1), EBADF);
	int rd = CHECK_OK(open("f", O_RDONLY));
	CHECK_ERR(write(rd, "x", 1), EBADF);
	CHECK_EQ(fcntl(rd, F_GETFL) & O_ACCMODE, O_RDONLY);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY);
	close(CHECK_OK(open("f", O_WRONLY | O_TRUNC)));
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 0);
	CHECK_ERR(open(".", O_WRONLY), EISDIR);
	CHECK_ERR(open(".", O_RDWR | O_CREAT, 0600), EISDIR);
	CHECK_ERR(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	CHECK_ERR(open("f/", O_RDONLY), ENOTDIR);
	CHECK_ERR(open("f/x", O_RDONLY), ENOTDIR);
	CHECK_ERR(open("", O_RDONLY), ENOENT);
	CHECK_ERR(open("new/", O_CREAT | O_WRONLY, 0600), EISDIR);
	CHECK_ERR(open("missing/new", O_CREAT | O_WRONLY, 0600), ENOENT);
	CHECK_OK(symlink("f", "link"));
	CHECK_ERR(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
	CHECK_ERR(open("link", O_WRONLY | O_CREAT | O_EXCL, 0600), EEXIST);
	CHECK_OK(symlink("made", "dangling"));
	CHECK_ERR(open("dangling", O_RDONLY), ENOENT);
	CHECK_OK(open("dangling", O_WRONLY | O_CREAT, 0600));
	CHECK_OK(access("made", F_OK));
	int path = CHECK_OK(open("link", O_PATH | O_NOFOLLOW));
	CHECK_OK(fstat(path, &st));
	CHECK(S_ISLNK(st.st_mode));
	CHECK_ERR(read(path, &c, 1), EBADF);
	CHECK_ERR(fchmod(path, 0600), EBADF);
	CHECK_ERR(close(999), EBADF);
	close(rd);
	CHECK_ERR(close(rd), EBADF);
}

TEST(append)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT | O_APPEND, 0600)), other = CHECK_OK(open("f", O_RDWR));
	CHECK_EQ(write(fd, "one", 3), 3);
	CHECK_EQ(write(other, "X", 1), 1);
	CHECK_OK(lseek(fd, 0, SEEK_SET));
	CHECK_EQ(write(fd, "two", 3), 3);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 6);
	char text[20];
	CHECK_STR(get_file("f", text, sizeof text), "Xnetwo");
	CHECK_OK(fcntl(fd, F_SETFL, 0));
	CHECK_EQ(fcntl(fd, F_GETFL) & O_APPEND, 0);
	CHECK_OK(lseek(fd, 1, SEEK_SET));
	CHECK_EQ(write(fd, "Z", 1), 1);
	CHECK_STR(get_file("f", text, sizeof text), "XZetwo");
}

TEST(seeking)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(write(fd, "0123456789", 10), 10);
	CHECK_EQ(lseek(fd, -3, SEEK_END), 7);
	CHECK_EQ(lseek(fd, -2, SEEK_CUR), 5);
	CHECK_EQ(lseek(fd, 100, SEEK_SET), 100);
	char c;
	CHECK_EQ(read(fd, &c, 1), 0);
	CHECK_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
	CHECK_ERR(lseek(fd, -101, SEEK_CUR), EINVAL);
	CHECK_ERR(lseek(fd, 0, 77), EINVAL);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 100);
	CHECK_EQ(write(fd, "x", 1), 1);
	CHECK_EQ(pread(fd, &c, 1, 50), 1);
	CHECK_EQ(c, 0);
	CHECK_EQ(pread(fd, &c, 1, 3), 1);
	CHECK_EQ(c, '3');
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 101);
	CHECK_EQ(pwrite(fd, "ab", 2, 200), 2);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 202);
	CHECK_ERR(pread(fd, &c, 1, -1), EINVAL);
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_ERR(lseek(ends[0], 0, SEEK_CUR), ESPIPE);
	CHECK_ERR(pread(ends[0], &c, 1, 0), ESPIPE);
}

TEST(sparse)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	off_t far = 5L << 30;
	CHECK_EQ(pwrite(fd, "end", 3, far), 3);
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, far + 3);
	CHECK(st.st_blocks < 1000);
	char page[4096];
	CHECK_EQ(pread(fd, page, 4096, far / 2), 4096);
	for (int i = 0; i < 4096; i++)
		CHECK_EQ(page[i], 0);
	off_t data = lseek(fd, 0, SEEK_DATA);
	CHECK(data >= 0 && data <= far);
	CHECK_EQ(lseek(fd, 0, SEEK_HOLE) <= far + 3, 1);
	CHECK_ERR(lseek(fd, far + 10, SEEK_DATA), ENXIO);
}

TEST(truncate_both_ways)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	char text[10000];
	memset(text, 'a', sizeof text);
	CHECK_EQ(write(fd, text, sizeof text), sizeof text);
	CHECK_OK(ftruncate(fd, 5000));
	CHECK_OK(ftruncate(fd, 9000));
	CHECK_EQ(pread(fd, text, sizeof text, 0), 9000);
	CHECK_EQ(text[4999], 'a');
	for (int i = 5000; i < 9000; i++)
		CHECK_EQ(text[i], 0);
	CHECK_OK(truncate("f", 3));
	struct stat st;
	CHECK_OK(stat("f", &st));
	CHECK_EQ(st.st_size, 3);
	CHECK_ERR(truncate("missing", 0), ENOENT);
	CHECK_ERR(truncate(".", 0), EISDIR);
	CHECK_ERR(truncate("f", -1), EINVAL);
	int rd = CHECK_OK(open("f", O_RDONLY));
	CHECK_ERR(ftruncate(rd, 0), EINVAL);
	CHECK_ERR(ftruncate(999, 0), EBADF);
}

TEST(vectors)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	struct iovec out[3] = {{"abc", 3}, {NULL, 0}, {"defgh", 5}};
	CHECK_EQ(writev(fd, out, 3), 8);
	char a[2], b[10];
	struct iovec in[2] = {{a, 2}, {b, 10}};
	CHECK_EQ(preadv(fd, in, 2, 0), 8);
	CHECK(memcmp(a, "ab", 2) == 0 && memcmp(b, "cdefgh", 6) == 0);
	CHECK_EQ(pwritev(fd, out, 1, 5), 3);
	CHECK_EQ(preadv(fd, in, 2, 4), 4);
	CHECK(memcmp(a, "ea", 2) == 0);
	CHECK_ERR(syscall(SYS_writev, fd, out, -1), EINVAL);
	CHECK_ERR(syscall(SYS_writev, fd, out, 1025), EINVAL);
	CHECK_EQ(writev(fd, out, 0), 0);
	struct iovec bad[2] = {{"ok", 2}, {(void *)8, 5}};
	CHECK_OK(lseek(fd, 0, SEEK_SET));
	ssize_t n = writev(fd, bad, 2);
	CHECK(n == 2 || (n == -1 && errno == EFAULT));
	struct iovec huge[2] = {{a, 1}, {b, SIZE_MAX}};
	CHECK_ERR(readv(fd, huge, 2), EINVAL);
}

TEST(duplicates)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	int copy = CHECK_OK(dup(fd));
	CHECK_EQ(write(fd, "abc", 3), 3);
	CHECK_EQ(lseek(copy, 0, SEEK_CUR), 3);
	CHECK_EQ(dup2(fd, fd), fd);
	CHECK_ERR(dup3(fd, fd, 0), EINVAL);
	CHECK_ERR(dup3(fd, 50, O_APPEND), EINVAL);
	CHECK_ERR(dup2(fd, -1), EBADF);
	CHECK_ERR(dup2(999, 5), EBADF);
	CHECK_ERR(dup(-1), EBADF);
	CHECK_EQ(dup2(fd, 77), 77);
	CHECK_EQ(fcntl(fd, F_DUPFD, 77), 78);
	close(fd);
	CHECK_EQ(write(77, "d", 1), 1);
	CHECK_EQ(fcntl(77, F_GETFL) & O_ACCMODE, O_RDWR);
	CHECK_ERR(fcntl(77, 9999), EINVAL);
	CHECK_ERR(fcntl(999, F_GETFD), EBADF);
	/* The lowest free number is taken. */
	int low = CHECK_OK(open("/dev/null", O_RDONLY));
	CHECK_EQ(low, fd);
	CHECK_OK(syscall(SYS_close_range, 70, ~0U, 0));
	CHECK_ERR(fcntl(77, F_GETFD), EBADF);
	CHECK_ERR(syscall(SYS_close_range, 5, 4, 0), EINVAL);
}

TEST(nonblocking_flag_is_shared)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	int copy = CHECK_OK(dup(ends[0]));
	CHECK_OK(fcntl(ends[0], F_SETFL, O_NONBLOCK));
	CHECK_EQ(fcntl(copy, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	char c;
	CHECK_ERR(read(copy, &c, 1), EAGAIN);
	int off = 0, on = 1, have = -1;
	CHECK_OK(ioctl(copy, FIONBIO, &off));
	CHECK_EQ(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
	CHECK_OK(ioctl(copy, FIONBIO, &on));
	CHECK_OK(write(ends[1], "abc", 3));
	CHECK_OK(ioctl(copy, FIONREAD, &have));
	CHECK_EQ(have, 3);
	CHECK_ERR(ioctl(copy, 0xdead, &have), ENOTTY);
	CHECK_OK(ioctl(copy, FIOCLEX));
	CHECK_EQ(fcntl(copy, F_GETFD), FD_CLOEXEC);
}

TEST(record_locks)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
	CHECK_OK(fcntl(fd, F_SETLK, &lock));
	pid_t parent = getpid(), pid = CHECK_OK(fork());
	if (pid == 0) {
		struct flock want = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1};
		CHECK_ERR(fcntl(fd, F_SETLK, &want), EAGAIN);
		CHECK_OK(fcntl(fd, F_GETLK, &want));
		CHECK_EQ(want.l_type, F_WRLCK);
		CHECK_EQ(want.l_pid, parent);
		CHECK(want.l_start == 10 && want.l_len == 10);
		struct flock free_part = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 20, .l_len = 0};
		CHECK_OK(fcntl(fd, F_SETLK, &free_part));
		want.l_type = F_WRLCK;
		want.l_start = 15;
		want.l_len = 1;
		CHECK_OK(fcntl(fd, F_SETLKW, &want));
		_exit(5);
	}
	msleep(20);
	lock.l_type = F_UNLCK;
	CHECK_OK(fcntl(fd, F_SETLK, &lock));
	CHECK_EXIT(pid, 5);
	/* All of a process's locks on a file go with any close of it. */
	lock.l_type = F_WRLCK;
	CHECK_OK(fcntl(fd, F_SETLK, &lock));
	close(CHECK_OK(open("f", O_RDONLY)));
	pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(fcntl(fd, F_SETLK, &lock));
	CHECK_EXIT(pid, 0);
	int rd = CHECK_OK(open("f", O_RDONLY));
	CHECK_ERR(fcntl(rd, F_SETLK, &lock), EBADF);
	lock.l_type = 99;
	CHECK_ERR(fcntl(fd, F_SETLK, &lock), EINVAL);
}

TEST(lock_deadlock)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600)), up[2];
	CHECK_OK(pipe(up));
	struct flock a = {.l_type = F_WRLCK, .l_start = 0, .l_len = 1}, b = {.l_type = F_WRLCK, .l_start = 1, .l_len = 1};
	CHECK_OK(fcntl(fd, F_SETLK, &a));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_OK(fcntl(fd, F_SETLK, &b));
		CHECK_OK(write(up[1], "x", 1));
		_exit(fcntl(fd, F_SETLKW, &a) == 0 ? 3 : 4);
	}
	char c;
	CHECK_EQ(read(up[0], &c, 1), 1);
	msleep(30);
	CHECK_ERR(fcntl(fd, F_SETLKW, &b), EDEADLK);
	a.l_type = F_UNLCK;
	CHECK_OK(fcntl(fd, F_SETLK, &a));
	CHECK_EXIT(pid, 3);
}

TEST(whole_file_locks)
{
	int one = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600)), two = CHECK_OK(open("f", O_RDONLY));
	CHECK_OK(flock(one, LOCK_EX));
	CHECK_ERR(flock(two, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	int copy = dup(one);
	CHECK_OK(flock(copy, LOCK_SH));
	CHECK_OK(flock(two, LOCK_SH | LOCK_NB));
	CHECK_ERR(flock(one, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	CHECK_OK(flock(two, LOCK_UN));
	CHECK_OK(flock(one, LOCK_EX | LOCK_NB));
	close(one);
	CHECK_ERR(flock(two, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		int own = open("f", O_RDONLY);
		_exit(flock(own, LOCK_EX) == 0 ? 6 : 7);
	}
	msleep(20);
	/* The child holds a copy of the locked description: unlocking it unlocks for all. */
	CHECK_OK(flock(copy, LOCK_UN));
	CHECK_EXIT(pid, 6);
	CHECK_ERR(flock(copy, 77), EINVAL);
	CHECK_ERR(flock(999, LOCK_SH), EBADF);
	/* Locks owned by the description. */
	struct flock lock = {.l_type = F_WRLCK};
	int three = CHECK_OK(open("f", O_RDWR)), four = CHECK_OK(open("f", O_RDWR));
	CHECK_OK(fcntl(three, F_OFD_SETLK, &lock));
	CHECK_ERR(fcntl(four, F_OFD_SETLK, &lock), EAGAIN);
	close(three);
	CHECK_OK(fcntl(four, F_OFD_SETLK, &lock));
}

TEST(allocation_and_sync)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_OK(posix_fallocate(fd, 0, 10000));
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 10000);
	CHECK_OK(fsync(fd));
	CHECK_OK(fdatasync(fd));
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_ERR(fsync(ends[0]), EINVAL);
	CHECK_ERR(fsync(999), EBADF);
	CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
	CHECK_EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
	CHECK_EQ(posix_fadvise(ends[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
}

TEST(large_io)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	size_t size = 5 << 20;
	unsigned *data = malloc(size), *back = malloc(size);
	for (size_t i = 0; i < size / 4; i++)
		data[i] = i * 2654435761u;
	CHECK_EQ(write(fd, data, size), size);
	CHECK_EQ(pread(fd, back, size, 0), size);
	CHECK(memcmp(data, back, size) == 0);
	/* At odd offsets, in odd pieces. */
	for (int i = 0; i < 200; i++) {
		size_t at = (i * 104729UL) % (size - 9000), n = 1 + (i * 37) % 8999;
		CHECK_EQ(pread(fd, back, n, at), n);
		CHECK(memcmp((char *)data + at, back, n) == 0);
	}
}

TEST(devices)
{
	int null = CHECK_OK(open("/dev/null", O_RDWR)), zero = CHECK_OK(open("/dev/zero", O_RDONLY)),
	    full = CHECK_OK(open("/dev/full", O_RDWR)), random = CHECK_OK(open("/dev/urandom", O_RDONLY));
	char text[64];
	CHECK_EQ(write(null, "abc", 3), 3);
	CHECK_EQ(read(null, text, 64), 0);
	memset(text, 1, 64);
	CHECK_EQ(read(zero, text, 64), 64);
	for (int i = 0; i < 64; i++)
		CHECK_EQ(text[i], 0);
	CHECK_ERR(write(full, "x", 1), ENOSPC);
	/* Seeking goes nowhere, but is not refused. */
	int devices[] = {null, zero, full, random};
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(lseek(devices[i], 100, SEEK_SET), 0);
		CHECK_EQ(lseek(devices[i], 7, SEEK_CUR), 0);
		CHECK_EQ(lseek(devices[i], -6404604570672226118, SEEK_END), 0);
		CHECK_EQ(lseek(devices[i], -1, SEEK_DATA), 0);
		CHECK_ERR(lseek(devices[i], 0, 99), EINVAL);
	}
	CHECK_EQ(read(random, text, 64), 64);
	int bits = 0;
	for (int i = 0; i < 64; i++)
		bits += __builtin_popcount((unsigned char)text[i]);
	CHECK(bits > 150 && bits < 362);
	struct stat st;
	CHECK_OK(fstat(null, &st));
	CHECK(S_ISCHR(st.st_mode) && st.st_rdev == 0x103);
	CHECK_EQ(st.st_mode & 0666, 0666);
	CHECK_EQ(syscall(SYS_getrandom, text, 64, 0), 64);
	CHECK_ERR(syscall(SYS_getrandom, text, 64, 0x100), EINVAL);
}

TEST_MAIN
