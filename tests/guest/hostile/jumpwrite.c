/* Jumps to every byte of the code as for a write. */
#include "jump.h"

TEST(jump_to_every_byte_writing)
{
	jump_everywhere(0);
}

TEST_MAIN
