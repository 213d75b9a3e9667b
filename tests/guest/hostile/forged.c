/* Garbage in every word that the platform shares with guest code: states, frames, replies. */
#include "region.h"

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

/* A thread that cannot be kicked: its own frame blocks every signal, then it computes for ever. */
static void deaf(void)
{
	sigset_t all;
	sigfillset(&all);
	/* By a frame of its own making, as the kernel's own calls would see what is blocked. */
	struct {
		uint64_t flags, link;
		stack_t stack;
		uint64_t gregs[23], fpstate, reserved[8];
		uint64_t mask;
	} frame = {.flags = 6, .mask = ~0UL};
	static char stack[65536];
	enum { R_RSP = 15, R_RIP = 16, R_FL = 17, R_CS = 18 };
	frame.gregs[R_RSP] = (uintptr_t)stack + sizeof stack - 72;
	frame.gregs[R_FL] = 0x202;
	frame.gregs[R_CS] = 0x2b000000000033;
	extern char forever[];
	frame.gregs[R_RIP] = (uintptr_t)forever;
	/* To the stub's own rt_sigreturn: found as `mov $15,%eax; syscall` in its code. */
	unsigned char *code = (unsigned char *)base;
	uintptr_t at = 0;
	for (unsigned i = 0; i + 7 < 0x1000; i++)
		if (memcmp(code + i, "\xb8\x0f\0\0\0\x0f\x05", 7) == 0)
			at = base + i;
	CHECK(at != 0);
	__asm__ volatile("mov %0, %%rsp; jmp *%1; .globl forever; forever: jmp forever" : : "r"(&frame), "r"(at) : "memory");
	__builtin_unreachable();
}

TEST(deaf_to_kicks_and_killed)
{
	find_region();
	pid_t pids[3];
	for (int i = 0; i < 3; i++) {
		pids[i] = CHECK_OK(fork());
		if (pids[i] == 0)
			deaf();
	}
	msleep(200);
	for (int i = 0; i < 3; i++) {
		/* Killed by the signal, or by the host as one that answers no call. */
		CHECK_EQ(kill(pids[i], i == 2 ? SIGUSR1 : SIGKILL), 0);
		int status;
		CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
		CHECK(WIFSIGNALED(status));
	}
	still_works();
}

TEST_MAIN
