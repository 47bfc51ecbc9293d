/* chase_large.c - a walk through 8 MiB: past the TLB and the near caches. */
#define CHASE_BYTES (8 * 1024 * 1024)
#define CHASE_STEPS CPU_ROUNDS(1000000)
#include "chase.h"
