/* series.h - numbers that look like random ones and are the same for the same seed: for runs
 * that are to be repeated, never for secrets. */
#ifndef BASE_SERIES_H
#define BASE_SERIES_H

#include <stdint.h>

/* The next one; `state` begins as the seed. */
uint64_t series_next(uint64_t *state);

#endif
