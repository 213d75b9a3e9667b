/* Jumps to the system calls of the code with all sets of registers. */
#include "jump.h"

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
					setpgid(0, 0);
					jump_to(base + at - (before && at > 3 ? 3 : 0), variant);
				}
				count++;
			}
		}
		reap(pids, count, 40);
	}
	still_works();
}

TEST_MAIN
