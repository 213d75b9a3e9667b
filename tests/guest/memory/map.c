/* mmap, munmap, mprotect, mremap, brk, madvise: results and errnos. */
#include "../test.h"
#include <setjmp.h>
#include <sys/resource.h>

#define PAGE 4096UL

static sigjmp_buf escape;
static volatile int fault_signo, fault_code;
static void *volatile fault_address;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	fault_signo = signo;
	fault_code = info->si_code;
	fault_address = info->si_addr;
	siglongjmp(escape, 1);
}

static void catch_faults(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

#define FAULTS(statement)                                                                                              \
	({                                                                                                             \
		fault_signo = 0;                                                                                       \
		if (sigsetjmp(escape, 1) == 0) {                                                                       \
			statement;                                                                                     \
		}                                                                                                      \
		fault_signo;                                                                                           \
	})

static char *map(size_t pages, int prot)
{
	void *at = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	return at;
}

TEST(anonymous_is_zero_and_writable)
{
	unsigned char *at = (void *)map(64, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < 64 * PAGE; i++)
		CHECK(at[i] == 0);
	memset(at, 0xa5, 64 * PAGE);
	for (size_t i = 0; i < 64 * PAGE; i += 511)
		CHECK_EQ(at[i], 0xa5);
	CHECK_OK(munmap(at, 64 * PAGE));
}

TEST(protection)
{
	catch_faults();
	char *at = map(3, PROT_READ | PROT_WRITE);
	at[PAGE] = 1;
	CHECK_OK(mprotect(at + PAGE, PAGE, PROT_READ));
	CHECK_EQ(FAULTS(at[PAGE + 8] = 2), SIGSEGV);
	CHECK_EQ(fault_code, SEGV_ACCERR);
	CHECK(fault_address == at + PAGE + 8);
	CHECK_EQ(FAULTS(at[0] = 2), 0);
	CHECK_EQ(FAULTS(at[2 * PAGE] = 2), 0);
	CHECK_EQ(at[PAGE], 1);
	CHECK_OK(mprotect(at + PAGE, PAGE, PROT_NONE));
	CHECK_EQ(FAULTS((void)*(volatile char *)(at + PAGE)), SIGSEGV);
	CHECK_EQ(fault_code, SEGV_ACCERR);
	CHECK_OK(mprotect(at, 3 * PAGE, PROT_READ | PROT_WRITE));
	CHECK_EQ(at[PAGE], 1);
	CHECK_EQ(FAULTS(at[PAGE] = 3), 0);
	CHECK_OK(munmap(at + PAGE, PAGE));
	CHECK_EQ(FAULTS((void)*(volatile char *)(at + PAGE)), SIGSEGV);
	CHECK_EQ(fault_code, SEGV_MAPERR);
	CHECK_ERR(mprotect(at, 3 * PAGE, PROT_READ), ENOMEM);
	CHECK_ERR(mprotect(at + 1, PAGE, PROT_READ), EINVAL);
	CHECK_ERR(mprotect(at, PAGE, 0x100), EINVAL);
	CHECK_OK(mprotect(at, 0, PROT_READ));
}

TEST(execute_permission)
{
	catch_faults();
	char *at = map(1, PROT_READ | PROT_WRITE);
	memcpy(at, "\xb8\x2a\x00\x00\x00\xc3", 6);
	int (*code)(void) = (void *)at;
	CHECK_EQ(FAULTS(code()), SIGSEGV);
	CHECK_EQ(fault_code, SEGV_ACCERR);
	CHECK_OK(mprotect(at, PAGE, PROT_READ | PROT_EXEC));
	CHECK_EQ(code(), 42);
	CHECK_OK(mprotect(at, PAGE, PROT_READ | PROT_WRITE));
	at[1] = 7;
	CHECK_OK(mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	CHECK_EQ(code(), 7);
	at[1] = 8;
	CHECK_EQ(code(), 8);
}

TEST(map_errors)
{
	CHECK_ERR((intptr_t)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
	CHECK_ERR((intptr_t)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
	CHECK_ERR((intptr_t)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0), EBADF);
	CHECK_ERR((intptr_t)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 0, 1), EINVAL);
	CHECK_ERR((intptr_t)mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
	CHECK_ERR((intptr_t)mmap(NULL, 1UL << 62, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	CHECK_ERR((intptr_t)mmap(NULL, -1UL, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	CHECK_ERR((intptr_t)mmap((void *)0x800000000000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				 0),
		  ENOMEM);
	int dir = CHECK_OK(open(".", O_RDONLY)), wr = CHECK_OK(open("f", O_WRONLY | O_CREAT, 0600)),
	    rd = CHECK_OK(open("f", O_RDONLY)), path = CHECK_OK(open("f", O_PATH)), ends[2];
	CHECK_OK(pipe(ends));
	CHECK_ERR((intptr_t)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0), ENODEV);
	CHECK_ERR((intptr_t)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ends[0], 0), ENODEV);
	CHECK_ERR((intptr_t)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wr, 0), EACCES);
	CHECK_ERR((intptr_t)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, rd, 0), EACCES);
	CHECK_ERR((intptr_t)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, path, 0), EBADF);
	CHECK((intptr_t)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, rd, 0) != -1);
	void *shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, rd, 0);
	CHECK(shared != MAP_FAILED);
	CHECK_ERR(mprotect(shared, PAGE, PROT_READ | PROT_WRITE), EACCES);
	CHECK_ERR(munmap((void *)1, PAGE), EINVAL);
	CHECK_ERR(munmap(shared, 0), EINVAL);
	CHECK_OK(munmap((void *)0x100000000, PAGE));
}

TEST(fixed)
{
	char *at = map(4, PROT_READ | PROT_WRITE);
	memset(at, 1, 4 * PAGE);
	char *inside =
		mmap(at + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(inside == at + PAGE);
	CHECK(at[0] == 1 && at[PAGE] == 0 && at[2 * PAGE] == 1);
	CHECK_ERR((intptr_t)mmap(at + 2 * PAGE, PAGE, PROT_READ,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
		  EEXIST);
	CHECK_EQ(at[2 * PAGE], 1);
	CHECK_OK(munmap(at + 2 * PAGE, PAGE));
	CHECK(mmap(at + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
	      at + 2 * PAGE);
	/* A hint that is free is taken; one that is taken is not. */
	CHECK_OK(munmap(at, 4 * PAGE));
	CHECK(mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == at);
	CHECK(mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != at);
}

TEST(unmap_across_mappings)
{
	catch_faults();
	char *at = map(10, PROT_READ | PROT_WRITE);
	CHECK_OK(mprotect(at + 2 * PAGE, PAGE, PROT_READ));
	CHECK_OK(mprotect(at + 5 * PAGE, PAGE, PROT_NONE));
	CHECK_OK(munmap(at + PAGE, 6 * PAGE));
	CHECK_EQ(FAULTS(at[0] = 1), 0);
	CHECK_EQ(FAULTS(at[7 * PAGE] = 1), 0);
	for (int page = 1; page < 7; page++)
		CHECK_EQ(FAULTS((void)*(volatile char *)(at + page * PAGE)), SIGSEGV);
	CHECK_OK(munmap(at, 10 * PAGE));
}

TEST(remap)
{
	catch_faults();
	char *at = map(4, PROT_READ | PROT_WRITE);
	for (int page = 0; page < 4; page++)
		at[page * PAGE] = page + 1;
	CHECK(mremap(at, 4 * PAGE, 2 * PAGE, 0) == at);
	CHECK_EQ(FAULTS(at[2 * PAGE] = 1), SIGSEGV);
	char *blocker = mmap(at + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(blocker == at + 2 * PAGE);
	CHECK_OK(mprotect(at, 2 * PAGE, PROT_READ | PROT_WRITE));
	CHECK_ERR((intptr_t)mremap(at, 2 * PAGE, 8 * PAGE, 0), ENOMEM);
	char *moved = mremap(at, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	CHECK(moved != MAP_FAILED && moved != at);
	CHECK(moved[0] == 1 && moved[PAGE] == 2 && moved[2 * PAGE] == 0 && moved[7 * PAGE] == 0);
	CHECK_EQ(FAULTS((void)*(volatile char *)at), SIGSEGV);
	char *target = map(8, PROT_READ);
	CHECK(mremap(moved, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
	CHECK_EQ(target[PAGE], 2);
	CHECK_EQ(FAULTS(target[0] = 9), 0);
	CHECK_ERR((intptr_t)mremap(target, 8 * PAGE, 8 * PAGE, MREMAP_FIXED, moved), EINVAL);
	CHECK_ERR((intptr_t)mremap(target, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGE), EINVAL);
	CHECK_ERR((intptr_t)mremap(target + 1, PAGE, PAGE, 0), EINVAL);
	CHECK_ERR((intptr_t)mremap(target, PAGE, 0, 0), EINVAL);
	CHECK_OK(munmap(target, 8 * PAGE));
	CHECK_ERR((intptr_t)mremap(target, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
}

TEST(remap_large)
{
	size_t size = 64 << 20;
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	at[0] = 1;
	at[size - 1] = 2;
	char *grown = mremap(at, size, 2 * size, MREMAP_MAYMOVE);
	CHECK(grown != MAP_FAILED);
	CHECK(grown[0] == 1 && grown[size - 1] == 2 && grown[size] == 0);
	grown[2 * size - 1] = 3;
	CHECK_OK(munmap(grown, 2 * size));
}

TEST(program_break)
{
	catch_faults();
	char *start = sbrk(0);
	CHECK(sbrk(10 * PAGE) == start);
	memset(start, 0x5a, 10 * PAGE);
	CHECK(sbrk(0) == start + 10 * PAGE);
	CHECK(sbrk(-5 * (long)PAGE) == start + 10 * PAGE);
	CHECK_EQ(FAULTS((void)*(volatile char *)(start + 9 * PAGE)), SIGSEGV);
	CHECK(sbrk(5 * PAGE) == start + 5 * PAGE);
	CHECK_EQ(start[9 * PAGE], 0);
	CHECK_EQ(start[4 * PAGE], 0x5a);
	/* The bare call answers the old break when it refuses. */
	long now = syscall(SYS_brk, 0);
	CHECK_EQ(syscall(SYS_brk, 1), now);
	CHECK_EQ(syscall(SYS_brk, -1L), now);
	CHECK_EQ(syscall(SYS_brk, now + 3), now + 3);
	CHECK_EQ(syscall(SYS_brk, now), now);
}

TEST(advice)
{
	char *at = map(4, PROT_READ | PROT_WRITE);
	memset(at, 7, 4 * PAGE);
	CHECK_OK(madvise(at + PAGE, PAGE, MADV_DONTNEED));
	CHECK(at[0] == 7 && at[PAGE] == 0 && at[2 * PAGE] == 7);
	CHECK_OK(madvise(at, 4 * PAGE, MADV_WILLNEED));
	CHECK_OK(madvise(at, 4 * PAGE, MADV_SEQUENTIAL));
	CHECK_OK(madvise(at, 4 * PAGE, MADV_NORMAL));
	CHECK_OK(madvise(at, 0, MADV_DONTNEED));
	CHECK_ERR(madvise(at + 1, PAGE, MADV_DONTNEED), EINVAL);
	CHECK_ERR(madvise(at, PAGE, 12345), EINVAL);
	CHECK_OK(munmap(at + PAGE, PAGE));
	CHECK_ERR(madvise(at, 4 * PAGE, MADV_DONTNEED), ENOMEM);
	CHECK(at[0] == 0 && at[2 * PAGE] == 0);
	CHECK_OK(madvise(at, PAGE, MADV_FREE));
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(write(fd, "file", 4), 4);
	char *file = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(file != MAP_FAILED);
	file[0] = 'X';
	CHECK_OK(madvise(file, PAGE, MADV_DONTNEED));
	CHECK_EQ(file[0], 'f');
	CHECK_ERR(madvise(file, PAGE, MADV_REMOVE), EACCES);
	CHECK_ERR(madvise(at, PAGE, MADV_REMOVE), EINVAL);
	/* Pages that are locked are not let go. */
	CHECK_OK(mlock(at, PAGE));
	CHECK_ERR(madvise(at, PAGE, MADV_PAGEOUT), EINVAL);
	CHECK_ERR(madvise(at, PAGE, MADV_COLD), EINVAL);
	CHECK_OK(madvise(at, PAGE, MADV_WILLNEED));
}

TEST(stack_grows)
{
	struct rlimit limit;
	CHECK_OK(getrlimit(RLIMIT_STACK, &limit));
	if (limit.rlim_cur < 4 << 20)
		SKIP("a small stack");
	volatile char *deep = __builtin_alloca(3 << 20);
	for (size_t i = 0; i < 3 << 20; i += PAGE)
		deep[(3 << 20) - 1 - i] = 1;
	CHECK_EQ(deep[0] + deep[(3 << 20) - 1], deep[0] + 1);
}

static int recurse(volatile char *above)
{
	volatile char frame[16384];
	frame[0] = above ? above[0] : 0;
	if (above == frame)
		return 0;
	frame[sizeof frame - 1] = 1;
	return recurse(frame) + frame[0];
}

static void on_overflow(int signo, siginfo_t *info, void *context)
{
	(void)context;
	char here;
	_exit(signo == SIGSEGV && info->si_addr < (void *)&here + (1L << 50) ? 33 : 34);
}

TEST(stack_overflow)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		struct rlimit limit = {1 << 20, 1 << 20};
		setrlimit(RLIMIT_STACK, &limit);
		stack_t stack = {malloc(65536), 0, 65536};
		CHECK_OK(sigaltstack(&stack, NULL));
		struct sigaction action = {.sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO | SA_ONSTACK};
		sigaction(SIGSEGV, &action, NULL);
		_exit(recurse(NULL));
	}
	CHECK_EXIT(pid, 33);
	pid = CHECK_OK(fork());
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		_exit(recurse(NULL));
	}
	CHECK_KILLED(pid, SIGSEGV);
}

TEST(null_and_kernel_addresses)
{
	catch_faults();
	CHECK_EQ(FAULTS(*(volatile int *)16 = 1), SIGSEGV);
	CHECK_EQ(fault_code, SEGV_MAPERR);
	CHECK(fault_address == (void *)16);
	CHECK_EQ(FAULTS((void)*(volatile int *)0xffff800000000000), SIGSEGV);
	CHECK_EQ(FAULTS((void)*(volatile int *)0x8000000000000000), SIGSEGV);
	CHECK(fault_address == NULL);
	CHECK_EQ(fault_code, 0x80);
}

TEST(system_calls_see_bad_memory)
{
	char *at = map(2, PROT_READ | PROT_WRITE);
	CHECK_OK(munmap(at + PAGE, PAGE));
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(pwrite(fd, at, PAGE, 0), PAGE);
	CHECK_ERR(read(fd, at + PAGE, 10), EFAULT);
	CHECK_ERR(write(fd, at + PAGE, 10), EFAULT);
	CHECK_ERR(write(fd, (void *)0xffff800000000000, 10), EFAULT);
	CHECK_ERR(open(at + PAGE, O_RDONLY), EFAULT);
	memset(at, 'a', PAGE);
	CHECK_ERR(open(at + PAGE - 10, O_RDONLY), EFAULT);
	CHECK_OK(mprotect(at, PAGE, PROT_READ));
	CHECK_ERR(pread(fd, at, 10, 0), EFAULT);
	struct stat *unwritable = (void *)at;
	CHECK_ERR(stat("f", unwritable), EFAULT);
	CHECK_ERR(pipe((int *)at), EFAULT);
}

TEST(reading_into_fresh_memory)
{
	char *at = map(8, PROT_READ | PROT_WRITE);
	int fd = CHECK_OK(open("/dev/zero", O_RDONLY));
	at[0] = 1;
	CHECK_EQ(read(fd, at, 8 * PAGE), 8 * PAGE);
	CHECK_EQ(at[0], 0);
	int out = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	char *fresh = map(8, PROT_READ | PROT_WRITE);
	CHECK_EQ(write(out, fresh, 8 * PAGE), 8 * PAGE);
	struct stat st;
	CHECK_OK(fstat(out, &st));
	CHECK_EQ(st.st_size, 8 * PAGE);
}

TEST(residence_and_locks)
{
	char *at = map(4, PROT_READ | PROT_WRITE);
	unsigned char where[4] = {9, 9, 9, 9};
	at[0] = 1;
	CHECK_OK(mincore(at, 4 * PAGE, where));
	CHECK_EQ(where[0] & 1, 1);
	CHECK_ERR(mincore(at + 1, PAGE, where), EINVAL);
	CHECK_ERR(mincore((void *)0x100000000, PAGE, where), ENOMEM);
	CHECK_OK(mlock(at, PAGE));
	CHECK_OK(munlock(at, PAGE));
	CHECK_ERR(mlock((void *)0x100000000, PAGE), ENOMEM);
	CHECK_OK(msync(at, PAGE, MS_SYNC));
	CHECK_ERR(msync(at, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	CHECK_ERR(msync((void *)0x100000000, PAGE, MS_SYNC), ENOMEM);
}

TEST(maps_tell_the_truth)
{
	char *at = map(3, PROT_READ | PROT_WRITE);
	CHECK_OK(mprotect(at + PAGE, PAGE, PROT_READ));
	char want[3][80];
	for (int i = 0; i < 3; i++)
		snprintf(want[i], sizeof want[i], "%lx-%lx %s", (long)at + i * PAGE, (long)at + (i + 1) * PAGE, "r--p");
	static char text[1 << 16];
	get_file("/proc/self/maps", text, sizeof text);
	CHECK(strstr(text, want[1]) != NULL);
	CHECK(strstr(text, "[stack]") != NULL);
	CHECK(strstr(text, "[heap]") != NULL);
	CHECK(strstr(text, test_self) != NULL);
	/* Lines ascend and do not overlap. */
	unsigned long last = 0;
	for (char *line = text; *line; line = strchr(line, '\n') + 1) {
		unsigned long from, to;
		CHECK_EQ(sscanf(line, "%lx-%lx", &from, &to), 2);
		CHECK(from >= last && to > from);
		last = to;
	}
}

TEST(many_mappings)
{
	enum { N = 1000 };
	char *at = map(2 * N, PROT_READ | PROT_WRITE);
	for (int i = 0; i < N; i++)
		CHECK_OK(mprotect(at + 2 * i * PAGE, PAGE, PROT_READ));
	for (int i = 0; i < N; i++)
		at[(2 * i + 1) * PAGE] = 1;
	for (int i = 0; i < N; i++)
		CHECK_OK(mprotect(at + 2 * i * PAGE, PAGE, PROT_READ | PROT_WRITE));
	memset(at, 1, 2 * N * PAGE);
	CHECK_OK(munmap(at, 2 * N * PAGE));
}

/* A bad address given to a system call is refused, and is no reason to make the stack longer than its limit. */
TEST(bad_addresses_do_not_grow_the_stack)
{
	char *hole = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(hole != MAP_FAILED);
	CHECK_OK(munmap(hole, 16384));
	int p[2];
	CHECK_OK(pipe(p));
	CHECK_ERR(write(p[1], hole + 4096, 1), EFAULT);
	CHECK_EQ(write(p[1], "x", 1), 1);
	CHECK_ERR(read(p[0], hole + 4096, 1), EFAULT);
	static char maps[1 << 16];
	char *line = strstr(get_file("/proc/self/maps", maps, sizeof maps), "[stack]");
	CHECK(line != NULL);
	while (line > maps && line[-1] != '\n')
		line--;
	unsigned long start, end;
	CHECK_EQ(sscanf(line, "%lx-%lx", &start, &end), 2);
	CHECK(end - start <= 16 << 20);
}

TEST_MAIN
