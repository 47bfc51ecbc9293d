/* tests/base/check.h - cmocka with what it needs, and a loop over failing allocations. */
#ifndef TESTS_BASE_CHECK_H
#define TESTS_BASE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"

#define CHECK_ALLOCATIONS_MOST 1000

/* Run `operation` with the n-th allocation failing, n from 0 up, until it
 * returns 0.  Before that each run must return -ENOMEM (`code`) and leave
 * nothing behind, which the leak checker sees.  Returns how often it failed. */
static inline int check_each_allocation(int (*operation)(void *arg), void *arg, int code)
{
    for (int n = 0; n < CHECK_ALLOCATIONS_MOST; n++) {
        int r;

        fault_fail_alloc_at(n);
        r = operation(arg);
        fault_fail_alloc_at(-1);
        if (r == 0) {
            return n;
        }
        assert_int_equal(r, code);
    }
    fail_msg("still failing after %d allocations", CHECK_ALLOCATIONS_MOST);
    return -1;
}

#endif
