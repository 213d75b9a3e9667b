/* Garbage in the control pages and replies while calls are made. */
#include "garbage.h"

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

TEST_MAIN
