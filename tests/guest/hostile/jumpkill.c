/* Jumps to every byte of the code as for a kill, on a stack of the own. */
#include "jump.h"

TEST(jump_to_every_byte_killing)
{
	jump_everywhere(12);
}

TEST_MAIN
