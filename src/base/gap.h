/* gap.h - a number that nobody has, found with few questions. */
#ifndef BASE_GAP_H
#define BASE_GAP_H

#include <stdbool.h>

/* A number from `least` to `most` that `taken` says false for: the lowest one as long as
 * numbers are given back seldom, else one that follows a taken one.  About 2 log2 n
 * questions when the lowest n are taken; every number is asked for only when those next
 * to the end are taken, too.  -ENOSPC when all are. */
int gap_find(unsigned least, unsigned most, bool (*taken)(void *arg, unsigned number),
             void *arg, unsigned *ret);

#endif
