/* Pipes: blocking, ends, atomicity, SIGPIPE, splice. */
#include "../test.h"
#include <sys/ioctl.h>
#include <sys/uio.h>

TEST(end_of_file)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_EQ(write(ends[1], "abc", 3), 3);
	CHECK_OK(close(ends[1]));
	char text[10];
	CHECK_EQ(read(ends[0], text, 2), 2);
	CHECK_EQ(read(ends[0], text, 10), 1);
	CHECK_EQ(read(ends[0], text, 10), 0);
	CHECK_EQ(read(ends[0], text, 10), 0);
}

TEST(wrong_ends_and_flags)
{
	int ends[2];
	CHECK_OK(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
	CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(ends[1], F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_WRONLY);
	char c = 0;
	CHECK_ERR(write(ends[0], &c, 1), EBADF);
	CHECK_ERR(read(ends[1], &c, 1), EBADF);
	CHECK_ERR(read(ends[0], &c, 1), EAGAIN);
	CHECK_ERR(pipe2(ends, 0x1), EINVAL);
	CHECK_ERR(pipe((int *)8), EFAULT);
	CHECK_EQ(write(ends[1], &c, 0), 0);
}

TEST(broken)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	close(ends[0]);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit((int)write(ends[1], "x", 1));
	CHECK_KILLED(pid, SIGPIPE);
	signal(SIGPIPE, SIG_IGN);
	CHECK_ERR(write(ends[1], "x", 1), EPIPE);
	struct pollfd p = {ends[1], POLLOUT, 0};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLOUT | POLLERR);
}

TEST(capacity)
{
	int ends[2];
	CHECK_OK(pipe2(ends, O_NONBLOCK));
	CHECK_EQ(fcntl(ends[1], F_GETPIPE_SZ), 65536);
	char block[4096] = {0};
	size_t total = 0;
	ssize_t n;
	while ((n = write(ends[1], block, sizeof block)) > 0)
		total += n;
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(total, 65536);
	int have;
	CHECK_OK(ioctl(ends[0], FIONREAD, &have));
	CHECK_EQ(have, 65536);
	struct pollfd p = {ends[1], POLLOUT, 0};
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(read(ends[0], block, 4096), 4096);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(write(ends[1], block, 4096), 4096);
	CHECK_EQ(fcntl(ends[1], F_SETPIPE_SZ, 1 << 17), 1 << 17);
	CHECK_ERR(fcntl(ends[1], F_SETPIPE_SZ, 4096), EBUSY);
	/* Up to PIPE_BUF a write is whole or not at all. */
	while (read(ends[0], block, 4096) > 0)
		;
	while (write(ends[1], block, 4096) == 4096)
		;
	CHECK_EQ(read(ends[0], block, 2000), 2000);
	CHECK_ERR(write(ends[1], block, 4096), EAGAIN);
}

TEST(blocking_reader_and_writer)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		close(ends[0]);
		static char data[300000];
		for (size_t i = 0; i < sizeof data; i++)
			data[i] = (char)(i * 13);
		CHECK_EQ(write(ends[1], data, sizeof data), sizeof data);
		_exit(0);
	}
	close(ends[1]);
	size_t total = 0;
	ssize_t n;
	char text[7777];
	while ((n = CHECK_OK(read(ends[0], text, sizeof text))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			CHECK_EQ(text[i], (char)((total + i) * 13));
		total += n;
		if (total < 100000)
			msleep(1);
	}
	CHECK_EQ(total, 300000);
	CHECK_EXIT(pid, 0);
}

TEST(writes_are_atomic)
{
	enum { WRITERS = 6, ROUNDS = 300, SIZE = 512 };
	int ends[2];
	CHECK_OK(pipe(ends));
	for (int w = 0; w < WRITERS; w++) {
		if (CHECK_OK(fork()) == 0) {
			char record[SIZE];
			memset(record, 'A' + w, SIZE);
			for (int i = 0; i < ROUNDS; i++)
				CHECK_EQ(write(ends[1], record, SIZE), SIZE);
			_exit(0);
		}
	}
	close(ends[1]);
	int counts[WRITERS] = {0};
	char record[SIZE];
	for (;;) {
		size_t have = 0;
		ssize_t n = 1;
		while (have < SIZE && (n = CHECK_OK(read(ends[0], record + have, SIZE - have))) > 0)
			have += n;
		if (have == 0)
			break;
		CHECK_EQ(have, SIZE);
		for (int i = 1; i < SIZE; i++)
			CHECK_EQ(record[i], record[0]);
		counts[record[0] - 'A']++;
	}
	for (int w = 0; w < WRITERS; w++) {
		CHECK_EQ(counts[w], ROUNDS);
		int status;
		CHECK(wait(&status) > 0 && status == 0);
	}
}

TEST(ping_pong)
{
	int there[2], back[2];
	CHECK_OK(pipe(there));
	CHECK_OK(pipe(back));
	pid_t pid = CHECK_OK(fork());
	int n;
	if (pid == 0) {
		close(there[1]);
		while (read(there[0], &n, sizeof n) == sizeof n) {
			n = n * 2 + 1;
			CHECK_EQ(write(back[1], &n, sizeof n), sizeof n);
		}
		_exit(0);
	}
	for (int i = 0; i < 3000; i++) {
		CHECK_EQ(write(there[1], &i, sizeof i), sizeof i);
		CHECK_EQ(read(back[0], &n, sizeof n), sizeof n);
		CHECK_EQ(n, i * 2 + 1);
	}
	close(there[1]);
	CHECK_EXIT(pid, 0);
}

TEST(long_pipeline)
{
	int from = -1;
	int ends[2];
	for (int stage = 0; stage < 20; stage++) {
		CHECK_OK(pipe(ends));
		if (CHECK_OK(fork()) == 0) {
			char text[4096];
			ssize_t n;
			close(ends[0]);
			if (from < 0) {
				for (int i = 0; i < 100; i++)
					CHECK_EQ(write(ends[1], text, sizeof text), sizeof text);
				_exit(0);
			}
			while ((n = read(from, text, sizeof text)) > 0)
				CHECK_EQ(write(ends[1], text, n), n);
			_exit(n < 0);
		}
		close(ends[1]);
		if (from >= 0)
			close(from);
		from = ends[0];
	}
	size_t total = 0;
	char text[4096];
	ssize_t n;
	while ((n = read(from, text, sizeof text)) > 0)
		total += n;
	CHECK_EQ(total, 409600);
	for (int stage = 0; stage < 20; stage++) {
		int status;
		CHECK(wait(&status) > 0 && status == 0);
	}
}

TEST(splicing)
{
	int ends[2], fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600)), out = CHECK_OK(open("g", O_RDWR | O_CREAT, 0600));
	char data[10000], back[10000];
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (char)(i * 3);
	CHECK_EQ(write(fd, data, sizeof data), sizeof data);
	CHECK_OK(pipe(ends));
	off_t at = 100;
	CHECK_EQ(splice(fd, &at, ends[1], NULL, 5000, 0), 5000);
	CHECK_EQ(at, 5100);
	size_t moved = 0;
	while (moved < 5000)
		moved += CHECK_OK(splice(ends[0], NULL, out, NULL, 5000 - moved, 0));
	CHECK_EQ(pread(out, back, sizeof back, 0), 5000);
	CHECK(memcmp(back, data + 100, 5000) == 0);
	CHECK_ERR(splice(fd, NULL, out, NULL, 10, 0), EINVAL);
	CHECK_ERR(splice(fd, &at, ends[1], &at, 10, 0), ESPIPE);
	/* tee leaves what it copies. */
	int copy[2];
	CHECK_OK(pipe(copy));
	CHECK_EQ(write(ends[1], "tee", 3), 3);
	CHECK_EQ(tee(ends[0], copy[1], 100, 0), 3);
	CHECK_EQ(read(ends[0], back, 10), 3);
	CHECK_EQ(read(copy[0], back + 3, 10), 3);
	CHECK(memcmp(back, "teetee", 6) == 0);
	struct iovec iov = {"vector", 6};
	CHECK_EQ(vmsplice(ends[1], &iov, 1, 0), 6);
	CHECK_EQ(read(ends[0], back, 10), 6);
}

TEST(sending_files)
{
	extern ssize_t sendfile(int, int, off_t *, size_t);
	extern ssize_t copy_file_range(int, off_t *, int, off_t *, size_t, unsigned);
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600)), out = CHECK_OK(open("g", O_RDWR | O_CREAT, 0600));
	char data[20000], back[20000];
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (char)(i * 7);
	CHECK_EQ(write(fd, data, sizeof data), sizeof data);
	off_t at = 0;
	CHECK_EQ(sendfile(out, fd, &at, 30000), 20000);
	CHECK_EQ(at, 20000);
	CHECK_EQ(pread(out, back, sizeof back, 0), 20000);
	CHECK(memcmp(back, data, sizeof data) == 0);
	CHECK_EQ(sendfile(out, fd, &at, 100), 0);
	int ends[2];
	CHECK_OK(pipe(ends));
	at = 5;
	CHECK_EQ(sendfile(ends[1], fd, &at, 100), 100);
	CHECK_EQ(read(ends[0], back, 200), 100);
	CHECK(memcmp(back, data + 5, 100) == 0);
	CHECK_ERR(sendfile(out, ends[0], NULL, 10), EINVAL);
	off_t from = 10, to = 0;
	CHECK_EQ(copy_file_range(fd, &from, out, &to, 1000, 0), 1000);
	CHECK_EQ(pread(out, back, 1000, 0), 1000);
	CHECK(memcmp(back, data + 10, 1000) == 0);
	CHECK_ERR(copy_file_range(fd, NULL, out, NULL, 10, 1), EINVAL);
}

TEST(open_files_are_counted)
{
	/* Thousands of pipes made and dropped leave no trace. */
	for (int i = 0; i < 2000; i++) {
		int ends[2];
		CHECK_OK(pipe(ends));
		CHECK(ends[0] < 20 && ends[1] < 20);
		close(ends[0]);
		close(ends[1]);
	}
}

TEST(packets)
{
	int ends[2];
	static char big[3 * 4096], page[4096];
	CHECK_OK(pipe2(ends, O_DIRECT | O_NONBLOCK));
	CHECK(fcntl(ends[1], F_GETFL) & O_DIRECT);
	/* Each write is a packet; a read takes one, and what it has no room for is lost. */
	CHECK_EQ(write(ends[1], "one", 3), 3);
	CHECK_EQ(write(ends[1], "three", 5), 5);
	CHECK_EQ(write(ends[1], "two", 3), 3);
	int n;
	CHECK_OK(ioctl(ends[0], FIONREAD, &n));
	CHECK_EQ(n, 11);
	CHECK_EQ(read(ends[0], page, sizeof page), 3);
	CHECK_EQ(read(ends[0], page, 2), 2);
	CHECK(memcmp(page, "th", 2) == 0);
	CHECK_EQ(read(ends[0], page, sizeof page), 3);
	CHECK(memcmp(page, "two", 3) == 0);
	CHECK_ERR(read(ends[0], page, 1), EAGAIN);
	/* Larger ones are split by PIPE_BUF. */
	CHECK_EQ(write(ends[1], big, 4096 + 100), 4096 + 100);
	CHECK_EQ(read(ends[0], big, sizeof big), 4096);
	CHECK_EQ(read(ends[0], big, sizeof big), 100);
	/* A packet takes a page of the pipe. */
	int count = 0;
	while (write(ends[1], "x", 1) == 1)
		count++;
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(count, fcntl(ends[0], F_GETPIPE_SZ) / 4096);
	for (int i = 0; i < count; i++)
		CHECK_EQ(read(ends[0], page, sizeof page), 1);
	/* The mode is the writing descriptor's, and may change. */
	CHECK_OK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
	CHECK_EQ(write(ends[1], "ab", 2), 2);
	CHECK_EQ(write(ends[1], "cd", 2), 2);
	CHECK_EQ(read(ends[0], page, 3), 3);
	CHECK_EQ(read(ends[0], page, sizeof page), 1);
	CHECK_OK(fcntl(ends[1], F_SETFL, O_NONBLOCK | O_DIRECT));
	CHECK_EQ(write(ends[1], "efg", 3), 3);
	CHECK_EQ(write(ends[1], "h", 1), 1);
	CHECK_EQ(read(ends[0], page, sizeof page), 3);
	CHECK(memcmp(page, "efg", 3) == 0);
	CHECK_EQ(read(ends[0], page, sizeof page), 1);
	close(ends[1]);
	CHECK_EQ(read(ends[0], page, sizeof page), 0);
	CHECK_ERR(pipe2(ends, O_APPEND), EINVAL);
}

TEST_MAIN
