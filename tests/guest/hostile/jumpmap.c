/* Jumps to every byte of the code as for an mmap. */
#include "jump.h"

TEST(jump_to_every_byte_mapping)
{
	jump_everywhere(4);
}

TEST_MAIN
