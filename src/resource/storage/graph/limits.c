/* limits.c - limits of a throttled disk from words. */
#include "resource/storage/graph/limits.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "resource/storage/filter/throttle.h"

#define BURST_MS_USUAL 1000u

enum field {
    FIELD_per_second,
    FIELD_burst_per_second,
    FIELD_burst_ms
};

static const struct row {
    const char *word;
    enum filter_throttle_what what;
    enum field field;
} rows[] = {

#define LIMIT(word, what, field) {word, FILTER_THROTTLE_##what, FIELD_##field},
#include "resource/storage/graph/limits.rows.h"
#undef LIMIT
};

int limits_set(struct filter_throttle_limits *l, const char *word, uint64_t number)
{
    const struct row *row = rows;
    struct filter_throttle_rate *rate;

    if (number > FILTER_THROTTLE_RATE_MOST) {
        return -ERANGE;
    }
    if (strcmp(word, "op-bytes") == 0) {
        l->op_bytes = number;
        return 0;
    }
    while (row < rows + sizeof rows / sizeof rows[0] && strcmp(row->word, word) != 0) {
        row++;
    }
    if (row == rows + sizeof rows / sizeof rows[0]) {
        return -EINVAL;
    }
    rate = &l->rate[row->what];
    if (row->field == FIELD_per_second) {
        rate->per_second = number;
    } else if (row->field == FIELD_burst_per_second) {
        rate->burst_per_second = number;
        rate->burst_ms = rate->burst_ms != 0 ? rate->burst_ms : BURST_MS_USUAL;
    } else if (number > FILTER_THROTTLE_BURST_MS_MOST) {
        return -ERANGE;
    } else {
        rate->burst_ms = (uint32_t)number;
    }
    return 0;
}
