/* shapes.h - what the three small front ends share: a region runs as built, optimised, and
 * as host code, and all agree. */
#ifndef TESTS_VIRT_ISA_IR_SHAPES_H
#define TESTS_VIRT_ISA_IR_SHAPES_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "../emit/machine.h"

/* What the region does from `start` on; it is optimised on the way.  `coded`: it must have
 * host code.  Else it may have none, and then only the evaluator speaks. */
static inline void shape_run(struct ir_region *g, const struct machine_outcome *start,
                             bool coded, struct machine_outcome *ret)
{
    char why[160] = "";
    int r;

    if (!ir_verify(g, why, sizeof why)) {
        fail_msg("%s", why);
    }
    machine_meaning(g, start, ret);
    r = machine_compare(g, start);
    assert_true(r == 0 || (r == -ENOTSUP && !coded));
}

#endif
