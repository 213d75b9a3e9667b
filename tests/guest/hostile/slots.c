/* All of the slots and replies overwritten. */
#include "garbage.h"

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
