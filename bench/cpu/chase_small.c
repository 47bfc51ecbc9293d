/* chase_small.c - a walk through 32 KiB: in the first cache. */
#define CHASE_BYTES (32 * 1024)
#define CHASE_STEPS CPU_ROUNDS(24000123)
#include "chase.h"
