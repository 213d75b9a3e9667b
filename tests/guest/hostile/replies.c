/* Garbage in every word of the replies of the service thread. */
#include "garbage.h"

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

TEST_MAIN
