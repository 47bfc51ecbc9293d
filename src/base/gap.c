/* gap.c - steps that double until they meet a free number, then halves of the last step.
 *
 * Between a taken number `low` and a free one `high` there is always a place where a
 * free one follows a taken one. */
#include "base/gap.h"

#include <errno.h>

static int look_at_each(unsigned least, unsigned most,
                        bool (*taken)(void *arg, unsigned number), void *arg,
                        unsigned *ret)
{
    for (unsigned i = least; i <= most; i++) {
        if (!taken(arg, i)) {
            *ret = i;
            return 0;
        }
        if (i == most) {
            break; /* also where `most` is the largest number there is */
        }
    }
    return -ENOSPC;
}

int gap_find(unsigned least, unsigned most, bool (*taken)(void *arg, unsigned number),
             void *arg, unsigned *ret)
{
    unsigned low = least;
    unsigned high = least;

    if (least > most) {
        return -ENOSPC;
    }
    for (unsigned step = 1; taken(arg, high); step *= 2) {
        if (high == most) {
            return look_at_each(least, most, taken, arg, ret);
        }
        low = high;
        high = step < most - high ? high + step : most;
    }
    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        if (taken(arg, middle)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    *ret = high;
    return 0;
}
