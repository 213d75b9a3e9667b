/* Jumps into the middle of the platform's code, with registers of the attacker's choice. */
#include "region.h"

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


__attribute__((unused)) static void jump_everywhere(int variant)
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
				/* What traps in there is this program's own call: it may kill its group. */
				setpgid(0, 0);
				jump_to(base + offset + count, variant);
			}
		}
		reap(pids, count, 40);
	}
	still_works();
}
