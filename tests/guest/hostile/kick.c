/* Threads that do not react to the signal by which the platform stops them. */
#include "region.h"
#include <sys/ucontext.h>
#include <ucontext.h>

static volatile char *shared;

static uintptr_t find_code(const char *bytes, size_t length)
{
	for (uintptr_t at = base; at < base + 0x2000 - length && readable(at + length); at++)
		if (memcmp((void *)at, bytes, length) == 0)
			return at;
	return 0;
}

static void spin(void)
{
	shared[0] = 1;
	for (;;)
		shared[1]++;
}

static void sleep_in_futex(void)
{
	/* The strict filter lets it wait; its wait begins again after each signal that is blocked. */
	static unsigned word;
	shared[0] = 1;
	for (;;)
		__asm__ volatile("mov $202, %%eax; xor %%esi, %%esi; xor %%edx, %%edx; xor %%r10d, %%r10d; syscall"
				 :
				 : "D"(&word)
				 : "rax", "rcx", "rdx", "rsi", "r10", "r11", "memory");
}

/* Goes on at `to` with every signal blocked, by a frame of our own and the platform's own rt_sigreturn. */
static void blocked(void (*to)(void))
{
	static char stack[65536] __attribute__((aligned(64)));
	static ucontext_t uc;
	uintptr_t gate = find_code("\xb8\x0f\x00\x00\x00\x0f\x05", 7);
	CHECK(gate != 0);
	uc.uc_flags = 7;
	uc.uc_mcontext.gregs[REG_RIP] = (long)to;
	uc.uc_mcontext.gregs[REG_RSP] = (long)(stack + sizeof stack - 1024 - 8);
	uc.uc_mcontext.gregs[REG_EFL] = 0x202;
	uc.uc_mcontext.gregs[REG_CSGSFS] = 0x002b000000000033;
	memset(&uc.uc_sigmask, 0xff, 8);
	__asm__ volatile("mov %0, %%rsp; jmp *%1" : : "r"(&uc), "r"(gate) : "memory");
	__builtin_unreachable();
}

static pid_t start(void (*to)(void))
{
	find_region();
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		blocked(to);
	for (int i = 0; i < 500 && !shared[0]; i++)
		msleep(2);
	CHECK(shared[0]);
	return pid;
}

static void must_die(pid_t pid, int how)
{
	int64_t begun = now_ns();
	if (how >= 0)
		CHECK_OK(kill(pid, how));
	CHECK_KILLED(pid, SIGKILL);
	CHECK(now_ns() - begun < 9000000000LL);
	/* Dead, not merely forgotten. */
	char seen = shared[1];
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(shared[1], seen);
		msleep(1);
	}
	still_works();
}

TEST(a_spinning_thread_is_killed)
{
	must_die(start(spin), SIGKILL);
}

TEST(a_sleeping_thread_is_killed)
{
	must_die(start(sleep_in_futex), SIGKILL);
}

TEST(any_signal_ends_it)
{
	must_die(start(spin), SIGUSR1);
}

TEST(one_that_is_left_behind_does_not_keep_the_machine)
{
	/* The machine ends after this program. */
	start(spin);
}

TEST_MAIN
