/* fault.h - make rare failures happen on request, for tests.
 *
 * Two mechanisms:
 *
 *  - allocations made through `fault_malloc` and its sisters fail at the n-th
 *    call after `fault_fail_alloc_at(n)`; unit tests run an operation with n
 *    from 0 up until it passes untouched;
 *  - named steps: `fault_step("guest.create.recorded")` stands at every point
 *    where an operation could be interrupted.  With STRATA_FAULT in the
 *    environment the process kills itself, or fails, at the n-th step:
 *
 *        STRATA_FAULT=kill:7      SIGKILL at the 7th step passed (from 1)
 *        STRATA_FAULT=kill:NAME   SIGKILL at the step of that name
 *        STRATA_FAULT=fail:7      the step returns -EIO (also fail:NAME)
 *        STRATA_FAULT=full:7      the step returns -ENOSPC (also full:NAME)
 *        STRATA_FAULT=list:FD     write each step's name to that descriptor
 *
 * In a build without FAULTS (the release build) steps cost nothing and the
 * environment is not read.  Both counters are process-wide.  Threads may pass
 * steps side by side, each with a number of its own; failing allocations are
 * driven from one thread. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stddef.h>

void *fault_malloc(size_t size);
void *fault_calloc(size_t n, size_t size);
void *fault_aligned(size_t align, size_t size); /* zeroed; `align` a power of two */
void *fault_realloc(void *old, size_t size);
char *fault_strdup(const char *text);

/* The n-th allocation from now (0: the next one) fails, once; -1: none. */
void fault_fail_alloc_at(long n);

#ifdef FAULTS
/* 0, or the negative errno that the test asked for at this step. */
int fault_step(const char *name);
#else
static inline int fault_step(const char *name)
{
    (void)name;
    return 0;
}
#endif

#endif
