/* For attacks on the region of the address space where the platform's own code and control pages stand.
 * Natively there is none and every body is skipped; inside, UMLAUT_INSIDE is set and it must be found. */
#ifndef TEST_SECONDS
#define TEST_SECONDS 100
#endif
#include "../test.h"
#include <setjmp.h>

#define PAGE 4096UL

/* Where platforms have put it; the first page is code. */
static const uintptr_t bases[] = {0x6fe000000000, 0x6fff00000000};
static uintptr_t base;

#define CONSTANTS (base + 0x10000)
#define REQUEST (base + 0x20000)
#define REPLY (base + 0x21000)
#define SLOT(i) (base + 0x80000000UL + (i) * 0x10000UL)

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

__attribute__((unused)) static int readable(uintptr_t at)
{
	if (sigsetjmp(escape, 1))
		return 0;
	(void)*(volatile char *)at;
	return 1;
}

__attribute__((unused)) static int writable(uintptr_t at)
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

__attribute__((unused)) static void still_works(void)
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

/* Ends all children of this process that are still there after `ms`, however stuck they are. */
__attribute__((unused)) static void reap(pid_t *pids, int count, int ms)
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
