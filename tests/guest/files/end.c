/* lseek(2) to the end of a file, again and again: it is always where the file ends now, and the position goes there. */
#include "../test.h"

static int fd;

/* Asks often enough that whatever answers by experience does. */
static void ends_at(int f, off_t want)
{
	for (int i = 0; i < 12; i++)
		CHECK_EQ(lseek(f, 0, SEEK_END), want);
}

static void begin(void)
{
	CHECK_OK(fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0600));
	CHECK_EQ(pwrite(fd, "0123456789", 10, 0), 10);
	ends_at(fd, 10);
}

static off_t position(int f)
{
	return lseek(f, 0, SEEK_CUR);
}

TEST(its_own_changes)
{
	char text[8];
	begin();
	CHECK_EQ(pwrite(fd, "x", 1, 20), 1);
	ends_at(fd, 21);
	CHECK_OK(ftruncate(fd, 5));
	ends_at(fd, 5);
	CHECK_EQ(write(fd, "abc", 3), 3);
	CHECK_EQ(position(fd), 8);
	ends_at(fd, 8);
	CHECK_EQ(lseek(fd, 2, SEEK_SET), 2);
	CHECK_EQ(read(fd, text, 3), 3);
	CHECK_EQ(position(fd), 5);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 8);
	CHECK_EQ(read(fd, text, 3), 0);
	CHECK_EQ(lseek(fd, -3, SEEK_END), 5);
	CHECK_EQ(read(fd, text, 8), 3);
	CHECK_EQ(lseek(fd, 1, SEEK_SET), 1);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 8);
	CHECK_EQ(write(fd, "d", 1), 1);
	CHECK_OK(posix_fallocate(fd, 0, 100));
	ends_at(fd, 100);
	CHECK_OK(truncate("file", 3));
	ends_at(fd, 3);
	CHECK_OK(close(fd));
	CHECK_ERR(lseek(fd, 0, SEEK_END), EBADF);
}

TEST(other_descriptors)
{
	char text[8];
	begin();
	int copy = dup(fd), other;
	CHECK_OK(copy);
	ends_at(fd, 10);
	CHECK_EQ(lseek(copy, 1, SEEK_SET), 1);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 10);
	CHECK_EQ(position(copy), 10);
	CHECK_OK(close(copy));
	ends_at(fd, 10);
	/* Sixteen apart, and one in the other's place. */
	CHECK_OK(other = open("other", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(dup2(other, fd + 16), fd + 16);
	CHECK_OK(close(other));
	CHECK_EQ(pwrite(fd + 16, "abcd", 4, 0), 4);
	for (int i = 0; i < 12; i++) {
		ends_at(fd + 16, 4);
		ends_at(fd, 10);
	}
	CHECK_EQ(dup2(fd + 16, fd), fd);
	ends_at(fd, 4);
	CHECK_OK(close(fd));
	CHECK_OK(fd = open("file", O_RDONLY));
	ends_at(fd, 10);
	CHECK_EQ(read(fd, text, 8), 0);
}

TEST(positions_shared_with_a_child)
{
	char text[16];
	begin();
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();
		CHECK_OK(child);
		if (child == 0) {
			CHECK_EQ(lseek(fd, 0, SEEK_END), 10);
			CHECK_EQ(lseek(fd, 3, SEEK_SET), 3);
			_exit(0);
		}
		CHECK_EXIT(child, 0);
		CHECK_EQ(position(fd), 3);
		CHECK_EQ(lseek(fd, 0, SEEK_END), 10);
		CHECK_EQ(read(fd, text, 16), 0);
		ends_at(fd, 10);
	}
}

/* Another process lets the file grow and shrink, and says so by memory alone. */
TEST(changes_of_others)
{
	int *told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(told != MAP_FAILED);
	const int rounds = 3000;
	begin();
	pid_t child = fork();
	CHECK_OK(child);
	CHECK_OK(close(fd));
	CHECK_OK(fd = open("file", O_RDWR));
	for (int i = 1; i <= rounds; i++) {
		int size = i % 50 * 300;
		if (child == 0) {
			while (__atomic_load_n(&told[1], __ATOMIC_ACQUIRE) != i)
				sched_yield();
			int end = (int)lseek(fd, 0, SEEK_END);
			if (size > end)
				CHECK_EQ(pwrite(fd, "e", 1, size - 1), 1);
			else
				CHECK_OK(ftruncate(fd, size));
			__atomic_store_n(&told[0], i, __ATOMIC_RELEASE);
		} else {
			CHECK_OK(lseek(fd, 0, SEEK_END));
			__atomic_store_n(&told[1], i, __ATOMIC_RELEASE);
			while (__atomic_load_n(&told[0], __ATOMIC_ACQUIRE) != i)
				sched_yield();
			CHECK_EQ(lseek(fd, 0, SEEK_END), size);
			CHECK_EQ(lseek(fd, 0, SEEK_END), size);
		}
	}
	if (child == 0)
		_exit(0);
	CHECK_EXIT(child, 0);
}

TEST_MAIN
