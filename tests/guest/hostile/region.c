/* Attacks on the region of the address space where the platform's own code and control pages stand.
 * Natively there is none and every body is skipped; inside, UMLAUT_INSIDE is set and it must be found. */
#define TEST_SECONDS 100
#include "../test.h"
#include <setjmp.h>

#define PAGE 4096UL

/* Where platforms have put it; the first page is code. */
static const uintptr_t bases[] = {0x6fe000000000, 0x6fff00000000};
static uintptr_t base;

#define CONSTANTS (base + 0x10000)
#define REQUEST (base + 0x20000)
#define REPLY (base + 0x21000)
#define SLOT(i) (base + 0x100000 + (i) * 0x10000UL)

static sigjmp_buf escape;
static void on_fault(int signo)
{
	siglongjmp(escape, signo);
}

static void catch_faults(void)
{
	static char stack[65536];
	stack_t alt = {stack, 0, sizeof stack};
	sigaltstack(&alt, NULL);
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER | SA_ONSTACK};
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	sigaction(SIGTRAP, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
}

static int readable(uintptr_t at)
{
	if (sigsetjmp(escape, 1))
		return 0;
	(void)*(volatile char *)at;
	return 1;
}

static int writable(uintptr_t at)
{
	if (sigsetjmp(escape, 1))
		return 0;
	*(volatile char *)at = *(volatile char *)at;
	return 1;
}

static void find_region(void)
{
	catch_faults();
	for (unsigned i = 0; i < sizeof bases / sizeof *bases; i++)
		if (readable(bases[i]))
			base = bases[i];
	if (base == 0 && !getenv("UMLAUT_INSIDE"))
		SKIP("no platform region here");
	CHECK(base != 0);
}

static void still_works(void)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		dup2(ends[1], 1);
		execl("/bin/sh", "sh", "-c", "echo alive", NULL);
		_exit(1);
	}
	CHECK_EXIT(pid, 0);
	char text[10] = "";
	CHECK_EQ(read(ends[0], text, 9), 6);
	close(ends[0]);
	close(ends[1]);
}

TEST(code_and_orders_are_read_only)
{
	find_region();
	CHECK(!writable(base));
	CHECK(!writable(base + 0xff8));
	CHECK(!writable(CONSTANTS));
	CHECK(!writable(REQUEST));
	int wr = 0, rd = 0;
	for (uintptr_t at = base; at < base + 0x200000; at += PAGE) {
		rd += readable(at);
		wr += writable(at);
	}
	CHECK(rd > 0 && wr < rd);
	still_works();
}

TEST(mapping_calls_refuse_it)
{
	find_region();
	uintptr_t places[] = {base, CONSTANTS, REQUEST, REPLY, SLOT(0), SLOT(1), base - PAGE};
	for (int i = 0; i < 7; i++) {
		void *at = (void *)places[i];
		size_t size = i == 6 ? 2 * PAGE : PAGE;
		CHECK_EQ(munmap(at, size), -1);
		CHECK_EQ(mprotect(at, size, PROT_READ | PROT_WRITE | PROT_EXEC), -1);
		CHECK_EQ(madvise(at, size, MADV_DONTNEED), -1);
		CHECK(mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
		CHECK(mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
		CHECK(mmap(at, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED);
		CHECK(mremap(at, size, 2 * size, MREMAP_MAYMOVE) == MAP_FAILED);
		void *mine = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(mine != MAP_FAILED);
		CHECK(mremap(mine, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED);
		CHECK_OK(munmap(mine, size));
		/* As a hint it is passed over. */
		mine = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(mine != MAP_FAILED);
		CHECK((uintptr_t)mine + size <= base || (uintptr_t)mine >= base + (1UL << 32));
		CHECK_OK(munmap(mine, size));
	}
	/* A range across the whole of it. */
	CHECK_EQ(munmap((void *)(base - (1UL << 20)), 1UL << 33), -1);
	CHECK_EQ(mprotect((void *)(base - PAGE), 1UL << 33, PROT_NONE), -1);
	CHECK_EQ(syscall(SYS_brk, base + PAGE) == (long)(base + PAGE), 0);
	static char text[1 << 16];
	char own[20];
	snprintf(own, sizeof own, "%lx-", base);
	CHECK(strstr(get_file("/proc/self/maps", text, sizeof text), own) == NULL);
	still_works();
}

TEST(system_calls_do_not_reach_it)
{
	/* As memory of a system call it does not exist; nor is it read into. */
	find_region();
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	char page[4096] = {0};
	CHECK_EQ(write(fd, page, sizeof page), sizeof page);
	uintptr_t places[] = {base, CONSTANTS, REQUEST, REPLY, SLOT(0), SLOT(0) + 0x800};
	for (int i = 0; i < 6; i++) {
		CHECK_ERR(pread(fd, (void *)places[i], 100, 0), EFAULT);
		CHECK_ERR(pwrite(fd, (void *)places[i], 100, 0), EFAULT);
		CHECK_ERR(open((char *)places[i], O_RDONLY), EFAULT);
		CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, places[i]), EFAULT);
		CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR1, places[i], NULL, 8), EFAULT);
	}
	/* Futexes there wait for nobody. */
	struct timespec brief = {0, 1000000};
	syscall(SYS_futex, (void *)SLOT(0), 0, *(volatile unsigned *)SLOT(0), &brief, NULL, 0);
	syscall(SYS_futex, (void *)SLOT(0), 1, 1000, NULL, NULL, 0);
	syscall(SYS_futex, (void *)REPLY, 1, 1000, NULL, NULL, 0);
	syscall(SYS_set_robust_list, (void *)SLOT(0), 24);
	syscall(SYS_set_tid_address, (void *)SLOT(0));
	still_works();
}

/* Ends all children of this process that are still there after `ms`, however stuck they are. */
static void reap(pid_t *pids, int count, int ms)
{
	int64_t until = now_ns() + ms * 1000000LL;
	int left = count;
	while (left > 0 && now_ns() < until) {
		left = 0;
		for (int i = 0; i < count; i++) {
			if (pids[i] > 0 && waitpid(pids[i], NULL, WNOHANG) != 0)
				pids[i] = 0;
			left += pids[i] > 0;
		}
		if (left)
			msleep(2);
	}
	for (int i = 0; i < count; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	for (int i = 0; i < count; i++)
		if (pids[i] > 0)
			CHECK_EQ(waitpid(pids[i], NULL, 0), pids[i]);
}

static void close_all(void)
{
	for (int fd = 0; fd < 64; fd++)
		close(fd);
}

static const char message[] = "HOST CALL MADE BY THE GUEST\n";

/* Jumps into the region's code with registers that make a host call if a `syscall` there lets it through.
 * The descriptors are closed in the guest: text on the outer standard output means that the host was reached. */
__attribute__((noinline)) static void jump_to(uintptr_t target, int variant)
{
	static const long numbers[][6] = {
		{1, 1, 0, sizeof message - 1, 0, 0},   /* write */
		{1, 2, 0, sizeof message - 1, 0, 0},   /* write */
		{62, 0, 9, 0, 0, 0},		       /* kill of the own group */
		{231, 0, 0, 0, 0, 0},		       /* exit_group */
		{9, 0x500000000, 4096, 3, 1, 3},       /* mmap of a descriptor */
		{11, 0x6fe000000000, 8192, 0, 0, 0},   /* munmap */
		{56, 0x100, 0, 0, 0, 0},	       /* clone */
		{60, 0, 0, 0, 0, 0},		       /* exit */
		{202, 0, 0, 0, 0, 0},		       /* futex */
		{15, 0, 0, 0, 0, 0},		       /* rt_sigreturn */
	};
	const long *n = numbers[variant % 10];
	long second = variant % 10 < 2 ? (long)message : n[2];
	long third = variant % 10 < 2 ? n[3] : n[3];
	static char fake_stack[65536] __attribute__((aligned(65536)));
	register long r10 __asm__("r10") = n[4];
	register long r8 __asm__("r8") = n[5];
	register long r9 __asm__("r9") = 0;
	register long r11 __asm__("r11") = (long)(fake_stack + 32768);
	register long rcx __asm__("rcx") = (long)target;
	if (variant >= 10)
		__asm__ volatile("mov %%r11, %%rsp; mov %%r11, %%rbx; xor %%ebp, %%ebp; jmp *%%rcx"
				 :
				 : "a"(n[0]), "D"(n[1]), "S"(second), "d"(third), "r"(r10), "r"(r8), "r"(r9), "r"(r11),
				   "r"(rcx)
				 : "memory");
	else
		__asm__ volatile("jmp *%%rcx"
				 :
				 : "a"(n[0]), "D"(n[1]), "S"(second), "d"(third), "r"(r10), "r"(r8), "r"(r9), "r"(r11),
				   "r"(rcx)
				 : "memory");
	__builtin_unreachable();
}

static size_t code_length(void)
{
	size_t length = 0;
	for (uintptr_t at = base; at < base + 0x10000 && readable(at); at += PAGE)
		for (uintptr_t byte = at; byte < at + PAGE; byte++)
			if (*(volatile unsigned char *)byte != 0 && *(volatile unsigned char *)byte != 0xcc)
				length = byte + 1 - base;
	return length;
}

static void jump_everywhere(int variant)
{
	find_region();
	size_t length = code_length();
	CHECK(length > 50);
	enum { BATCH = 48 };
	pid_t pids[BATCH];
	for (size_t offset = 0; offset < length; offset += BATCH) {
		int count = 0;
		for (; count < BATCH && offset + count < length; count++) {
			pids[count] = CHECK_OK(fork());
			if (pids[count] == 0) {
				for (int signo = 1; signo < 32; signo++)
					signal(signo, SIG_DFL);
				prctl(PR_SET_DUMPABLE, 0);
				close_all();
				jump_to(base + offset + count, variant);
			}
		}
		reap(pids, count, 40);
	}
	still_works();
}

TEST(jump_to_every_byte_writing)
{
	jump_everywhere(0);
}

TEST(jump_to_every_byte_killing)
{
	jump_everywhere(12);
}

TEST(jump_to_every_byte_mapping)
{
	jump_everywhere(4);
}

TEST(jump_with_many_registers)
{
	find_region();
	size_t length = code_length();
	unsigned char *code = malloc(length);
	memcpy(code, (void *)base, length);
	pid_t pids[40];
	/* At the system calls themselves, and just before and after, with all sets of registers. */
	for (size_t at = 0; at + 1 < length; at++) {
		if (code[at] != 0x0f || code[at + 1] != 0x05)
			continue;
		int count = 0;
		for (int variant = 0; variant < 20; variant++) {
			for (int before = 0; before < 2; before++) {
				pids[count] = CHECK_OK(fork());
				if (pids[count] == 0) {
					for (int signo = 1; signo < 32; signo++)
						signal(signo, SIG_DFL);
					prctl(PR_SET_DUMPABLE, 0);
					close_all();
					jump_to(base + at - (before && at > 3 ? 3 : 0), variant);
				}
				count++;
			}
		}
		reap(pids, count, 40);
	}
	still_works();
}

static uint64_t pattern(int which, unsigned seed)
{
	switch (which) {
	case 0:
		return 0;
	case 1:
		return ~0UL;
	case 2:
		return 0x0000004000000001;
	case 3:
		return 0x4141414141414141;
	default:
		return seed * 0x9e3779b97f4a7c15ULL;
	}
}

/* Calls of several kinds: answered in place, short, with memory, mapping, forking. */
static void make_calls(void)
{
	syscall(SYS_getppid);
	syscall(SYS_getuid);
	syscall(SYS_read, 99, 0, 0);
	char cwd[200];
	syscall(SYS_getcwd, cwd, sizeof cwd);
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at != MAP_FAILED)
		munmap(at, PAGE);
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static pid_t with_garbage(uintptr_t at, int which)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		prctl(PR_SET_DUMPABLE, 0);
		for (int i = 0; i < 3; i++) {
			*(volatile uint64_t *)at = pattern(which, (unsigned)at + i);
			make_calls();
		}
		_exit(0);
	}
	return pid;
}

TEST(garbage_in_every_control_word)
{
	find_region();
	enum { BATCH = 32 };
	pid_t pids[BATCH];
	int count = 0;
	for (int which = 0; which < 5; which++) {
		for (uintptr_t offset = 0; offset < PAGE; offset += 8) {
			/* Every word of the first part and of the register file; a sample of the rest. */
			if (offset >= 0x180 && offset < 0x7c0 && offset % 64)
				continue;
			if (offset >= 0x900 && offset % 256)
				continue;
			pids[count++] = with_garbage(SLOT(0) + offset, which);
			if (count == BATCH) {
				reap(pids, count, 150);
				count = 0;
			}
		}
	}
	reap(pids, count, 150);
	still_works();
}

TEST(garbage_in_replies)
{
	find_region();
	pid_t pids[16];
	for (int which = 0; which < 5; which++) {
		for (uintptr_t offset = 0; offset < PAGE; offset += 8 * 16) {
			int count = 0;
			for (int i = 0; i < 16; i++)
				pids[count++] = with_garbage(REPLY + offset + 8 * i, which);
			reap(pids, count, 100);
		}
	}
	still_works();
}

static volatile int flipping = 1;
static void *flip(void *arg)
{
	unsigned seed = (unsigned)(intptr_t)arg;
	while (flipping) {
		seed = seed * 1103515245 + 12345;
		uintptr_t page = seed & 0x10000 ? REPLY : SLOT((seed >> 24) & 3);
		uintptr_t at = page + ((seed >> 8) & 0x1f8);
		*(volatile uint64_t *)at = pattern(4, seed);
	}
	return NULL;
}

TEST(garbage_while_calls_are_made)
{
	find_region();
	pid_t pids[8];
	for (int round = 0; round < 6; round++) {
		for (int i = 0; i < 8; i++) {
			pids[i] = CHECK_OK(fork());
			if (pids[i] == 0) {
				signal(SIGSEGV, SIG_DFL);
				prctl(PR_SET_DUMPABLE, 0);
				pthread_t thread;
				for (int t = 0; t < 2; t++)
					pthread_create(&thread, NULL, flip, (void *)(intptr_t)(round * 100 + i * 7 + t));
				for (int call = 0; call < 200; call++)
					make_calls();
				_exit(0);
			}
		}
		reap(pids, 8, 400);
	}
	still_works();
}

TEST(whole_slots_overwritten)
{
	find_region();
	pid_t pids[10];
	for (int which = 0; which < 5; which++) {
		for (int i = 0; i < 2; i++) {
			pids[which * 2 + i] = CHECK_OK(fork());
			if (pids[which * 2 + i] == 0) {
				signal(SIGSEGV, SIG_DFL);
				prctl(PR_SET_DUMPABLE, 0);
				for (uintptr_t at = SLOT(0); at < SLOT(4); at += 8)
					if (i == 0 || at % 0x10000 < PAGE)
						*(volatile uint64_t *)at = pattern(which, (unsigned)at);
				for (uintptr_t at = REPLY; at < REPLY + PAGE; at += 8)
					*(volatile uint64_t *)at = pattern(which, (unsigned)at);
				make_calls();
				_exit(0);
			}
		}
	}
	reap(pids, 10, 1000);
	still_works();
}

TEST_MAIN
