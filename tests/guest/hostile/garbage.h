/* Garbage for shared words, and calls that meet it. */
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
	/* Asked for so often that it is answered in place; what comes back is whatever stands there. */
	for (int i = 0; i < 10; i++) {
		sigset_t set, old;
		sigemptyset(&set);
		sigprocmask(i % 2 ? SIG_UNBLOCK : SIG_BLOCK, &set, &old);
		struct sigaction action = {.sa_handler = SIG_IGN};
		sigaction(SIGUSR1 + i % 3, &action, NULL);
		sigaction(1 + i * 6, NULL, &action);
	}
	kill(getpid(), SIGWINCH);
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

__attribute__((unused)) static pid_t with_garbage(uintptr_t at, int which)
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
