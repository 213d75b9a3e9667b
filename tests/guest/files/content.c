/* What can be done to the bytes of files: fallocate, holes, O_DIRECT, copy_file_range, sendfile, splice and its kin. */
#include "../test.h"
#include <linux/falloc.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#ifndef RWF_APPEND
#define RWF_APPEND 0x10
#endif

#define K 1024
static char block[256 * K], other[256 * K];

static void pattern(char *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (char)(i * 7 + i / 251 + 1) | 1;
}

static int filled(const char *name, size_t n)
{
	int fd = CHECK_OK(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
	pattern(block, sizeof block);
	CHECK_EQ(write(fd, block, n), n);
	return fd;
}

static void same(int fd, off_t at, const char *want, size_t n)
{
	CHECK_EQ(pread(fd, other, n, at), n);
	CHECK(memcmp(other, want, n) == 0);
}

static void zero(int fd, off_t at, size_t n)
{
	CHECK_EQ(pread(fd, other, n, at), n);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(other[i], 0);
}

static struct stat stat_of(int fd)
{
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	return st;
}

static off_t size_of(int fd)
{
	return stat_of(fd).st_size;
}

static long blocks_of(int fd)
{
	return stat_of(fd).st_blocks;
}

/* Changes a range; 0 where the file system says that it cannot do so. */
static int changes(int fd, int mode, off_t at, off_t len)
{
	int got = fallocate(fd, mode, at, len);
	CHECK(got == 0 || errno == EOPNOTSUPP);
	return got == 0;
}

/* Goes on in a tmpfs where one may mount, so that the same file system answers on the host. */
static void in_tmpfs(void)
{
	if (geteuid() != 0)
		return;
	if (unshare(CLONE_NEWNS) == 0)
		CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mkdir("t", 0755));
	CHECK_OK(mount("none", "t", "tmpfs", 0, NULL));
	CHECK_OK(chdir("t"));
}

TEST(preallocation)
{
	int fd = filled("f", 10 * K);
	CHECK_OK(fallocate(fd, 0, 0, 20 * K));
	CHECK_EQ(size_of(fd), 20 * K);
	same(fd, 0, block, 10 * K);
	zero(fd, 10 * K, 10 * K);
	CHECK_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 200 * K));
	CHECK_EQ(size_of(fd), 20 * K);
	CHECK(blocks_of(fd) >= 400);
	CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * K, 4 * K));
	CHECK_EQ(size_of(fd), 20 * K);
	same(fd, 0, block, 4 * K);
	zero(fd, 4 * K, 4 * K);
	same(fd, 8 * K, block + 8 * K, 2 * K);
	/* Not at page bounds, and over the end. */
	CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 500));
	same(fd, 0, block, 1000);
	zero(fd, 1000, 500);
	same(fd, 1500, block + 1500, 4 * K - 1500);
	CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 19 * K, 100 * K));
	CHECK_EQ(size_of(fd), 20 * K);
	CHECK_ERR(fallocate(fd, 0, 0, 0), EINVAL);
	CHECK_ERR(fallocate(fd, 0, -1, 10), EINVAL);
	CHECK_ERR(fallocate(fd, 0, 0, -1), EINVAL);
	CHECK_ERR(fallocate(fd, 0, INT64_MAX, 10), EFBIG);
	CHECK_ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
	CHECK_ERR(fallocate(fd, 0x1000, 0, 10), EOPNOTSUPP);
	CHECK_ERR(fallocate(CHECK_OK(open("f", O_RDONLY)), 0, 0, 10), EBADF);
	CHECK_ERR(fallocate(CHECK_OK(open("f", O_PATH)), 0, 0, 10), EBADF);
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_ERR(fallocate(ends[1], 0, 0, 10), ESPIPE);
	CHECK_ERR(fallocate(CHECK_OK(open("/dev/null", O_WRONLY)), 0, 0, 10), ENODEV);
	CHECK_ERR(fallocate(CHECK_OK(open(".", O_RDONLY)), 0, 0, 10), EBADF);
	int append = CHECK_OK(open("f", O_WRONLY | O_APPEND));
	CHECK_OK(fallocate(append, 0, 0, 10));
	CHECK_OK(posix_fallocate(fd, 0, 30 * K) ? -1 : 0);
	CHECK_EQ(size_of(fd), 30 * K);
}

/* Shifts, zeroes: where the file system has them, they do what they say. */
TEST(ranges)
{
	int fd = filled("f", 64 * K);
	if (changes(fd, FALLOC_FL_ZERO_RANGE, 5000, 10000)) {
		same(fd, 0, block, 5000);
		zero(fd, 5000, 10000);
		same(fd, 15000, block + 15000, 64 * K - 15000);
		CHECK_OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 60 * K, 20 * K));
		CHECK_EQ(size_of(fd), 80 * K);
		CHECK_OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 70 * K, 20 * K));
		CHECK_EQ(size_of(fd), 80 * K);
		zero(fd, 60 * K, 20 * K);
	}
	close(fd);
	fd = filled("f", 64 * K);
	if (changes(fd, FALLOC_FL_COLLAPSE_RANGE, 4 * K, 8 * K)) {
		CHECK_EQ(size_of(fd), 56 * K);
		same(fd, 0, block, 4 * K);
		same(fd, 4 * K, block + 12 * K, 52 * K);
		CHECK_ERR(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 100, 4 * K), EINVAL);
		CHECK_ERR(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 52 * K, 4 * K), EINVAL);
	}
	close(fd);
	fd = filled("f", 64 * K);
	if (changes(fd, FALLOC_FL_INSERT_RANGE, 4 * K, 8 * K)) {
		CHECK_EQ(size_of(fd), 72 * K);
		same(fd, 0, block, 4 * K);
		zero(fd, 4 * K, 8 * K);
		same(fd, 12 * K, block + 4 * K, 60 * K);
		CHECK_ERR(fallocate(fd, FALLOC_FL_INSERT_RANGE, 100, 4 * K), EINVAL);
		CHECK_ERR(fallocate(fd, FALLOC_FL_INSERT_RANGE, 72 * K, 4 * K), EINVAL);
	}
	CHECK_ERR(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4 * K), EOPNOTSUPP);
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4 * K) == -1);
	changes(fd, FALLOC_FL_UNSHARE_RANGE, 0, 4 * K);
}

/* On tmpfs everything but shifts works; zeroing does inside only. */
TEST(ranges_of_tmpfs)
{
	if (geteuid() != 0)
		SKIP("needs a mount");
	in_tmpfs();
	int fd = filled("f", 64 * K);
	CHECK_ERR(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4 * K, 8 * K), EOPNOTSUPP);
	CHECK_ERR(fallocate(fd, FALLOC_FL_INSERT_RANGE, 4 * K, 8 * K), EOPNOTSUPP);
	changes(fd, FALLOC_FL_ZERO_RANGE, 60 * K, 4 * K);
	long before = blocks_of(fd);
	CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * K, 32 * K));
	CHECK_EQ(before - blocks_of(fd), 64);
	CHECK_EQ(lseek(fd, 0, SEEK_HOLE), 8 * K);
	CHECK_EQ(lseek(fd, 8 * K, SEEK_DATA), 40 * K);
	CHECK_EQ(lseek(fd, 40 * K, SEEK_HOLE), 64 * K);
	CHECK_ERR(lseek(fd, 64 * K, SEEK_DATA), ENXIO);
	CHECK_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 64 * K, 64 * K));
	CHECK_EQ(size_of(fd), 64 * K);
	/* No room: nothing stays behind. */
	CHECK_OK(chdir(".."));
	CHECK_OK(mount(NULL, "t", NULL, MS_REMOUNT, "size=512k"));
	before = blocks_of(fd);
	CHECK_ERR(fallocate(fd, 0, 0, 10 * K * K), ENOSPC);
	CHECK_EQ(blocks_of(fd), before);
	CHECK_EQ(size_of(fd), 64 * K);
}

TEST(direct)
{
	int fd = open("f", O_RDWR | O_CREAT | O_DIRECT, 0600);
	if (fd < 0) {
		CHECK_EQ(errno, EINVAL);
		return;
	}
	char *page;
	CHECK_EQ(posix_memalign((void **)&page, 4096, 16 * K), 0);
	pattern(page, 16 * K);
	CHECK_EQ(pwrite(fd, page, 16 * K, 0), 16 * K);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_DIRECT, O_DIRECT);
	int plain = CHECK_OK(open("f", O_RDONLY));
	same(plain, 0, page, 16 * K);
	CHECK_EQ(pread(fd, other, 0, 0), 0);
	memset(page, 0, 4096);
	CHECK_EQ(pread(fd, page, 4096, 12 * K), 4096);
	CHECK(memcmp(page, other + 12 * K, 4096) == 0);
	/* Flags come and go by fcntl. */
	CHECK_OK(fcntl(fd, F_SETFL, 0));
	CHECK_EQ(pread(fd, other, 100, 3), 100);
	CHECK_OK(fcntl(fd, F_SETFL, O_DIRECT));
}

TEST(copying_ranges)
{
	int from = filled("from", 100 * K), to = CHECK_OK(open("to", O_RDWR | O_CREAT, 0600));
	loff_t in = 1000, out = 500;
	size_t done = 0;
	while (done < 90000)
		done += CHECK_OK(copy_file_range(from, &in, to, &out, 90000 - done, 0));
	CHECK(in == 91000 && out == 90500);
	same(to, 500, block + 1000, 90000);
	zero(to, 0, 500);
	CHECK_EQ(lseek(from, 0, SEEK_CUR), 100 * K);
	CHECK_EQ(copy_file_range(from, NULL, to, NULL, 1000, 0), 0);
	CHECK_OK(lseek(from, 100 * K - 10, SEEK_SET));
	CHECK_EQ(copy_file_range(from, NULL, to, NULL, 1000, 0), 10);
	CHECK_EQ(lseek(to, 0, SEEK_CUR), 10);
	/* Within a file, not onto itself. */
	in = 0, out = 200 * K;
	CHECK_EQ(copy_file_range(from, &in, from, &out, 4096, 0), 4096);
	same(from, 200 * K, block, 4096);
	in = 0, out = 100;
	CHECK_ERR(copy_file_range(from, &in, from, &out, 4096, 0), EINVAL);
	CHECK_ERR(copy_file_range(from, NULL, to, NULL, 10, 1), EINVAL);
	CHECK_ERR(copy_file_range(from, NULL, CHECK_OK(open("to", O_RDONLY)), NULL, 10, 0), EBADF);
	CHECK_ERR(copy_file_range(CHECK_OK(open("from", O_WRONLY)), NULL, to, NULL, 10, 0), EBADF);
	CHECK_ERR(copy_file_range(from, NULL, CHECK_OK(open("to", O_WRONLY | O_APPEND)), NULL, 10, 0), EBADF);
	CHECK_ERR(copy_file_range(from, NULL, 999, NULL, 10, 0), EBADF);
	int ends[2], dir = CHECK_OK(open(".", O_RDONLY));
	CHECK_OK(pipe(ends));
	CHECK_ERR(copy_file_range(dir, NULL, to, NULL, 10, 0), EISDIR);
	CHECK_ERR(copy_file_range(from, NULL, dir, NULL, 10, 0), EISDIR);
	CHECK_ERR(copy_file_range(ends[0], NULL, to, NULL, 10, 0), EINVAL);
	in = -5;
	CHECK_EQ(copy_file_range(from, &in, to, NULL, 10, 0), -1);
}

TEST(sending)
{
	int from = filled("from", 100 * K), to = CHECK_OK(open("to", O_RDWR | O_CREAT, 0600));
	CHECK_OK(lseek(from, 0, SEEK_SET));
	off_t at = 10;
	CHECK_EQ(sendfile(to, from, &at, 1000), 1000);
	CHECK_EQ(at, 1010);
	CHECK_EQ(lseek(from, 0, SEEK_CUR), 0);
	same(to, 0, block + 10, 1000);
	CHECK_EQ(sendfile(to, from, NULL, 500), 500);
	CHECK_EQ(lseek(from, 0, SEEK_CUR), 500);
	at = 200 * K;
	CHECK_EQ(sendfile(to, from, &at, 10), 0);
	CHECK_ERR(sendfile(CHECK_OK(open("to", O_WRONLY | O_APPEND)), from, NULL, 10), EINVAL);
	CHECK_ERR(sendfile(CHECK_OK(open("to", O_RDONLY)), from, NULL, 10), EBADF);
	int ends[2];
	CHECK_OK(pipe(ends));
	at = 0;
	CHECK_EQ(sendfile(ends[1], from, &at, 4096), 4096);
	CHECK_EQ(read(ends[0], other, 10000), 4096);
	CHECK(memcmp(other, block, 4096) == 0);
	at = -1;
	CHECK_ERR(sendfile(to, from, &at, 10), EINVAL);
}

TEST(splicing)
{
	int ends[2], two[2], from = filled("from", 100 * K), to = CHECK_OK(open("to", O_RDWR | O_CREAT, 0600));
	CHECK_OK(pipe(ends));
	CHECK_OK(pipe(two));
	loff_t at = 100;
	CHECK_EQ(splice(from, &at, ends[1], NULL, 5000, 0), 5000);
	CHECK_EQ(at, 5100);
	CHECK_EQ(tee(ends[0], two[1], 3000, 0), 3000);
	CHECK_EQ(read(two[0], other, 10000), 3000);
	CHECK(memcmp(other, block + 100, 3000) == 0);
	loff_t out = 7;
	CHECK_EQ(splice(ends[0], NULL, to, &out, 4000, 0), 4000);
	CHECK_EQ(out, 4007);
	same(to, 7, block + 100, 4000);
	CHECK_EQ(splice(ends[0], NULL, two[1], NULL, 10000, 0), 1000);
	CHECK_EQ(read(two[0], other, 10000), 1000);
	CHECK(memcmp(other, block + 4100, 1000) == 0);
	CHECK_ERR(splice(from, NULL, to, NULL, 10, 0), EINVAL);
	CHECK_ERR(splice(ends[0], &at, to, NULL, 10, 0), ESPIPE);
	CHECK_ERR(splice(from, &at, ends[1], &at, 10, 0), ESPIPE);
	CHECK_ERR(splice(ends[0], NULL, CHECK_OK(open("to", O_WRONLY | O_APPEND)), NULL, 10, 0), EINVAL);
	CHECK_ERR(splice(ends[0], NULL, ends[1], NULL, 10, 0), EINVAL);
	CHECK_ERR(splice(ends[0], NULL, to, NULL, 10, 0x100), EINVAL);
	CHECK_ERR(splice(ends[0], NULL, to, NULL, 10, SPLICE_F_NONBLOCK), EAGAIN);
	CHECK_ERR(tee(ends[0], two[1], 10, SPLICE_F_NONBLOCK), EAGAIN);
	CHECK_ERR(tee(ends[0], ends[1], 10, 0), EINVAL);
	CHECK_ERR(tee(from, two[1], 10, 0), EINVAL);
	CHECK_EQ(splice(ends[0], NULL, to, NULL, 0, 0), 0);
	/* User memory into a pipe and out of it. */
	struct iovec iov[2] = {{block, 100}, {block + 1000, 200}};
	CHECK_EQ(vmsplice(ends[1], iov, 2, 0), 300);
	CHECK_EQ(read(ends[0], other, 1000), 300);
	CHECK(memcmp(other, block, 100) == 0 && memcmp(other + 100, block + 1000, 200) == 0);
	CHECK_EQ(write(ends[1], "back", 4), 4);
	iov[0] = (struct iovec){other, 10};
	CHECK_EQ(vmsplice(ends[0], iov, 1, 0), 4);
	CHECK(memcmp(other, "back", 4) == 0);
	CHECK_ERR(vmsplice(to, iov, 1, 0), EBADF);
	CHECK_ERR(vmsplice(ends[1], iov, 1, 0x100), EINVAL);
	CHECK_ERR(vmsplice(ends[0], iov, 1, SPLICE_F_NONBLOCK), EAGAIN);
	iov[0] = (struct iovec){block, sizeof block};
	CHECK(vmsplice(ends[1], iov, 1, SPLICE_F_NONBLOCK) >= 4096);
	CHECK_ERR(vmsplice(ends[1], iov, 1, SPLICE_F_NONBLOCK), EAGAIN);
	/* The end of the writers. */
	close(two[1]);
	CHECK_EQ(splice(two[0], NULL, to, NULL, 10, 0), 0);
}

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif

/* Linux 6.9. */
TEST(writing_not_at_the_end)
{
	int fd = filled("f", 1000);
	CHECK_OK(fcntl(fd, F_SETFL, O_APPEND));
	struct iovec iov = {"end", 3};
	ssize_t n = pwritev2(fd, &iov, 1, 10, RWF_NOAPPEND);
	if (n < 0 && errno == EOPNOTSUPP)
		SKIP("needs RWF_NOAPPEND");
	CHECK_EQ(n, 3);
	CHECK_EQ(lseek(fd, 20, SEEK_SET), 20);
	CHECK_EQ(pwritev2(fd, &iov, 1, -1, RWF_NOAPPEND), 3);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 23);
	CHECK_EQ(size_of(fd), 1000);
	char got[4] = "";
	CHECK_EQ(pread(fd, got, 3, 20), 3);
	CHECK_STR(got, "end");
	CHECK_ERR(pwritev2(fd, &iov, 1, 10, RWF_NOAPPEND | RWF_APPEND), EINVAL);
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_EQ(pwritev2(ends[1], &iov, 1, -1, RWF_NOAPPEND), 3);
	CHECK_EQ(pwritev2(ends[1], &iov, 1, -1, RWF_APPEND), 3);
}

TEST(flagged_io)
{
	int fd = filled("f", 1000);
	struct iovec iov = {"end", 3};
	CHECK_EQ(pwritev2(fd, &iov, 1, 0, RWF_APPEND), 3);
	CHECK_EQ(size_of(fd), 1003);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 1000);
	CHECK_EQ(preadv2(fd, &(struct iovec){(char[3]){0}, 3}, 1, 0, RWF_APPEND), 3);
	CHECK_EQ(pwritev2(fd, &iov, 1, 10, RWF_DSYNC), 3);
	CHECK_EQ(pwritev2(fd, &iov, 1, -1, 0), 3);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 1003);
	iov = (struct iovec){other, 3};
	CHECK_EQ(preadv2(fd, &iov, 1, 10, RWF_HIPRI), 3);
	CHECK(memcmp(other, "end", 3) == 0);
	CHECK_ERR(preadv2(fd, &iov, 1, 0, 0x10000), EOPNOTSUPP);
	int ends[2];
	CHECK_OK(pipe(ends));
	CHECK_ERR(preadv2(ends[0], &iov, 1, -1, RWF_NOWAIT), EAGAIN);
	CHECK_ERR(preadv2(ends[0], &iov, 1, 0, 0), ESPIPE);
	CHECK_ERR(preadv(fd, &iov, 1, -1), EINVAL);
	iov.iov_len = (size_t)-1;
	CHECK_ERR(preadv(fd, &iov, 1, 0), EINVAL);
	CHECK_ERR(preadv(fd, &iov, 1025, 0), EINVAL);
}

TEST_MAIN
