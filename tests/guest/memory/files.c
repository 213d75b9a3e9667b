/* Mappings of files, shared memory, and memory over fork. */
#include "../test.h"
#include <setjmp.h>

#define PAGE 4096UL

static sigjmp_buf escape;
static volatile int fault_signo, fault_code;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	fault_signo = signo;
	fault_code = info->si_code;
	siglongjmp(escape, 1);
}

static int probe(volatile char *at)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	fault_signo = 0;
	if (sigsetjmp(escape, 1) == 0)
		(void)*at;
	return fault_signo;
}

static int new_file(const char *name, size_t size)
{
	int fd = CHECK_OK(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
	for (size_t at = 0; at < size; at++) {
		char byte = (char)(at / PAGE + at * 7);
		if (at % 8192 == 0 && size - at >= 8192) {
			char block[8192];
			for (int i = 0; i < 8192; i++)
				block[i] = (char)((at + i) / PAGE + (at + i) * 7);
			CHECK_EQ(write(fd, block, 8192), 8192);
			at += 8191;
			continue;
		}
		CHECK_EQ(write(fd, &byte, 1), 1);
	}
	return fd;
}

static char expected(size_t at)
{
	return (char)(at / PAGE + at * 7);
}

TEST(private_file)
{
	size_t size = 20 * PAGE + 100;
	int fd = new_file("f", size);
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	for (size_t i = 0; i < size; i += 97)
		CHECK_EQ(at[i], expected(i));
	/* The rest of the last page reads as zeros. */
	for (size_t i = size; i < 21 * PAGE; i++)
		CHECK_EQ(at[i], 0);
	at[3 * PAGE] = 99;
	fd = CHECK_OK(open("f", O_RDWR));
	char byte;
	CHECK_EQ(pread(fd, &byte, 1, 3 * PAGE), 1);
	CHECK_EQ(byte, expected(3 * PAGE));
	/* Pages not yet written to show what is written to the file. */
	CHECK_EQ(pwrite(fd, "Z", 1, 5 * PAGE), 1);
	CHECK_EQ(at[5 * PAGE], 'Z');
	CHECK_EQ(pwrite(fd, "Z", 1, 3 * PAGE), 1);
	CHECK_EQ(at[3 * PAGE], 99);
}

TEST(shared_file)
{
	int fd = new_file("f", 8 * PAGE);
	char *a = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *b = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * PAGE);
	CHECK(a != MAP_FAILED && b != MAP_FAILED);
	a[2 * PAGE + 5] = 'x';
	CHECK_EQ(b[5], 'x');
	b[PAGE] = 'y';
	CHECK_EQ(a[3 * PAGE], 'y');
	char byte;
	CHECK_EQ(pread(fd, &byte, 1, 3 * PAGE), 1);
	CHECK_EQ(byte, 'y');
	CHECK_EQ(pwrite(fd, "w", 1, 3 * PAGE + 1), 1);
	CHECK_EQ(a[3 * PAGE + 1], 'w');
	CHECK_EQ(b[PAGE + 1], 'w');
	CHECK_OK(msync(a, 8 * PAGE, MS_SYNC));
	CHECK_OK(munmap(a, 8 * PAGE));
	CHECK_OK(munmap(b, 4 * PAGE));
	int again = CHECK_OK(open("f", O_RDONLY));
	CHECK_EQ(pread(again, &byte, 1, 2 * PAGE + 5), 1);
	CHECK_EQ(byte, 'x');
}

TEST(shared_file_between_processes)
{
	int fd = new_file("f", PAGE);
	volatile int *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	at[0] = 0;
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		int own = open("f", O_RDWR);
		volatile int *other = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
		other[0] = 77;
		while (at[1] != 88)
			sched_yield();
		_exit(other[1] == 88 ? 0 : 1);
	}
	EVENTUALLY(at[0] == 77);
	at[1] = 88;
	CHECK_EXIT(pid, 0);
}

TEST(past_the_end)
{
	int fd = new_file("f", PAGE + 10);
	char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	CHECK_EQ(probe(at + PAGE + 4000), 0);
	CHECK_EQ(probe(at + 2 * PAGE), SIGBUS);
	CHECK_EQ(fault_code, BUS_ADRERR);
	CHECK_EQ(probe(at + 3 * PAGE), SIGBUS);
	CHECK_ERR(write(CHECK_OK(open("/dev/null", O_WRONLY)) < 0 ? 0 : CHECK_OK(open("g", O_CREAT | O_WRONLY, 0600)),
			at + 2 * PAGE, 10),
		  EFAULT);
	/* A file that grows brings its pages to life, and a file that shrinks takes them away. */
	CHECK_OK(ftruncate(fd, 3 * PAGE));
	CHECK_EQ(probe(at + 2 * PAGE), 0);
	CHECK_EQ(at[2 * PAGE], 0);
	at[2 * PAGE] = 5;
	CHECK_OK(ftruncate(fd, PAGE));
	CHECK_EQ(probe(at + PAGE), SIGBUS);
	CHECK_EQ(probe(at + 2 * PAGE), SIGBUS);
	CHECK_OK(ftruncate(fd, 3 * PAGE));
	CHECK_EQ(at[2 * PAGE], 0);
	CHECK_EQ(at[0], expected(0));
}

TEST(truncation_takes_private_pages)
{
	int fd = new_file("f", 3 * PAGE);
	char *at = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	at[2 * PAGE] = 1;
	CHECK_EQ(at[PAGE], expected(PAGE));
	CHECK_OK(ftruncate(fd, PAGE));
	CHECK_EQ(probe(at + PAGE), SIGBUS);
	CHECK_EQ(probe(at + 2 * PAGE), SIGBUS);
	CHECK_EQ(probe(at), 0);
}

TEST(truncation_under_another_process)
{
	int fd = new_file("f", 2 * PAGE), ends[2];
	char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	CHECK_OK(pipe(ends));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		(void)*(volatile char *)(at + PAGE);
		CHECK_EQ(write(ends[1], "x", 1), 1);
		for (int i = 0; i < 2000; i++) {
			if (probe(at + PAGE) == SIGBUS)
				_exit(44);
			msleep(1);
		}
		_exit(45);
	}
	char c;
	CHECK_EQ(read(ends[0], &c, 1), 1);
	CHECK_OK(ftruncate(fd, PAGE));
	CHECK_EXIT(pid, 44);
}

TEST(mapping_outlives_the_name)
{
	int fd = new_file("f", 2 * PAGE);
	char *at = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	CHECK_OK(unlink("f"));
	for (size_t i = 0; i < 2 * PAGE; i += 100)
		CHECK_EQ(at[i], expected(i));
	static char text[1 << 16];
	CHECK(strstr(get_file("/proc/self/maps", text, sizeof text), "/f (deleted)") != NULL);
}

TEST(offsets_and_sizes)
{
	int fd = new_file("f", 300 * PAGE);
	for (size_t page = 0; page < 300; page += 37) {
		char *at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, page * PAGE);
		CHECK(at != MAP_FAILED);
		for (size_t i = 0; i < PAGE; i += 61)
			CHECK_EQ(at[i], expected(page * PAGE + i));
		CHECK_OK(munmap(at, PAGE));
	}
	char *all = mmap(NULL, 300 * PAGE, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	CHECK(all != MAP_FAILED);
	for (size_t i = 0; i < 300 * PAGE; i += 1021)
		CHECK_EQ(all[i], expected(i));
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 1UL << 40) != MAP_FAILED);
}

TEST(read_into_own_mapping)
{
	int fd = new_file("f", 4 * PAGE);
	char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	CHECK_EQ(pread(fd, at + 2 * PAGE, PAGE, 0), PAGE);
	for (size_t i = 0; i < PAGE; i += 13)
		CHECK_EQ(at[2 * PAGE + i], expected(i));
	CHECK_EQ(pwrite(fd, at, PAGE, 3 * PAGE), PAGE);
	for (size_t i = 0; i < PAGE; i += 13)
		CHECK_EQ(at[3 * PAGE + i], expected(i));
}

TEST(shared_anonymous_over_fork)
{
	volatile int *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK((void *)at != MAP_FAILED);
	at[0] = 1;
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		at[0] += 1;
		at[2048] = 55;
		pid_t inner = fork();
		if (inner == 0) {
			at[3000] = 66;
			_exit(0);
		}
		CHECK_EXIT(inner, 0);
		_exit(at[3000] == 66 ? 0 : 1);
	}
	CHECK_EXIT(pid, 0);
	CHECK(at[0] == 2 && at[2048] == 55 && at[3000] == 66);
}

TEST(copy_on_write_over_fork)
{
	enum { PAGES = 500 };
	char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	for (int i = 0; i < PAGES; i++)
		at[i * PAGE] = (char)i;
	pid_t pids[4];
	for (int child = 0; child < 4; child++) {
		pids[child] = CHECK_OK(fork());
		if (pids[child] == 0) {
			for (int i = child; i < PAGES; i += 4)
				at[i * PAGE] = (char)(i + 100 + child);
			for (int i = 0; i < PAGES; i++)
				CHECK_EQ(at[i * PAGE], (char)(i % 4 == child ? i + 100 + child : i));
			_exit(0);
		}
	}
	for (int i = 0; i < PAGES; i += 2)
		at[i * PAGE] = (char)(i + 50);
	for (int child = 0; child < 4; child++)
		CHECK_EXIT(pids[child], 0);
	for (int i = 0; i < PAGES; i++)
		CHECK_EQ(at[i * PAGE], (char)(i % 2 ? i : i + 50));
}

TEST(private_file_over_fork)
{
	int fd = new_file("f", 2 * PAGE);
	char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	at[0] = 'p';
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_EQ(at[0], 'p');
		CHECK_EQ(at[PAGE], expected(PAGE));
		at[0] = 'c';
		at[PAGE] = 'c';
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(at[0], 'p');
	CHECK_EQ(at[PAGE], expected(PAGE));
}

TEST(dont_fork_and_wipe)
{
	char *gone = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *wiped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(gone != MAP_FAILED && wiped != MAP_FAILED);
	gone[0] = wiped[0] = 1;
	CHECK_OK(madvise(gone, PAGE, MADV_DONTFORK));
	CHECK_OK(madvise(wiped, PAGE, MADV_WIPEONFORK));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(probe(gone) == SIGSEGV && wiped[0] == 0 ? 0 : 1);
	CHECK_EXIT(pid, 0);
	CHECK(gone[0] == 1 && wiped[0] == 1);
}

TEST(memfd)
{
	int fd = CHECK_OK(memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	CHECK_OK(ftruncate(fd, 2 * PAGE));
	char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	at[PAGE] = 'm';
	char byte;
	CHECK_EQ(pread(fd, &byte, 1, PAGE), 1);
	CHECK_EQ(byte, 'm');
	CHECK_EQ(fcntl(fd, F_GET_SEALS), 0);
	CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	CHECK_ERR(ftruncate(fd, PAGE), EPERM);
	CHECK_OK(munmap(at, 2 * PAGE));
	CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
	CHECK_ERR(pwrite(fd, "x", 1, 0), EPERM);
	CHECK((at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED && errno == EPERM);
	CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
	CHECK_ERR(memfd_create("x", 0x8000), EINVAL);
	char link[100];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	char target[100] = "";
	CHECK_OK(readlink(link, target, 99));
	CHECK_STR(target, "/memfd:name (deleted)");
}

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

/* What the right to execute is sealed of keeps it, or never gets it (Linux 6.3). */
TEST(execution_seals)
{
	int fd = memfd_create("plain", MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		SKIP("needs MFD_NOEXEC_SEAL");
	CHECK_OK(fd);
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_mode & 07777, 0666);
	CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_EXEC);
	CHECK_ERR(fchmod(fd, 0777), EPERM);
	CHECK_OK(fchmod(fd, 0600));
	CHECK_EQ(write(fd, "x", 1), 1);
	/* What stays executable is sealed against writing, too. */
	int program = CHECK_OK(memfd_create("program", MFD_ALLOW_SEALING));
	CHECK_OK(fcntl(program, F_ADD_SEALS, F_SEAL_EXEC));
	CHECK_EQ(fcntl(program, F_GET_SEALS),
		 F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
	CHECK_ERR(write(program, "x", 1), EPERM);
	CHECK_ERR(fchmod(program, 0644), EPERM);
	CHECK_OK(fchmod(program, 0755 | S_ISUID));
}

TEST(write_seals_and_mappings)
{
	int fd = CHECK_OK(memfd_create("name", MFD_ALLOW_SEALING));
	CHECK_OK(ftruncate(fd, 2 * PAGE));
	/* One that may be made writable counts, also in parts, moved, and in children. */
	char *at = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	CHECK_OK(munmap(at, PAGE));
	CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		char c;
		close(ends[1]);
		_exit(read(ends[0], &c, 1) == 0 ? 0 : 1);
	}
	close(ends[0]);
	CHECK_OK(munmap(at + PAGE, PAGE));
	CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	close(ends[1]);
	CHECK_EXIT(pid, 0);
	/* Private ones, and those of a descriptor without write access, do not. */
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int reader = CHECK_OK(open(path, O_RDONLY));
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reader, 0) != MAP_FAILED);
	char *own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(own != MAP_FAILED);
	EVENTUALLY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	own[0] = 'p';
	CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_WRITE);
}

TEST(device_zero)
{
	int fd = CHECK_OK(open("/dev/zero", O_RDWR));
	char *priv = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	volatile char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(priv != MAP_FAILED && shared != MAP_FAILED);
	CHECK(priv[0] == 0 && shared[0] == 0);
	priv[0] = 1;
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		shared[0] = 2;
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(shared[0], 2);
}

TEST(write_and_map_at_once)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_OK(ftruncate(fd, 64 * PAGE));
	volatile unsigned char *at = mmap(NULL, 64 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK((void *)at != MAP_FAILED);
	for (int round = 0; round < 300; round++) {
		unsigned char value = (unsigned char)(round * 31);
		off_t where = (round * 7919) % (64 * PAGE);
		CHECK_EQ(pwrite(fd, &value, 1, where), 1);
		CHECK_EQ(at[where], value);
	}
}

TEST(shared_text_is_patched_privately)
{
	/* A private writable view of a program file never reaches the file or another process. */
	int fd = CHECK_OK(open(test_self, O_RDONLY));
	char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	CHECK(memcmp(at, "\177ELF", 4) == 0);
	memset(at, 0, 4);
	char head[4];
	CHECK_EQ(pread(fd, head, 4, 0), 4);
	CHECK(memcmp(head, "\177ELF", 4) == 0);
	char *other = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(memcmp(other, "\177ELF", 4) == 0);
}

TEST_MAIN
