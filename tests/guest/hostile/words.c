/* Garbage in every word of the control page. */
#include "garbage.h"

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

TEST_MAIN
