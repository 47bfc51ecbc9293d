/* units_fuzz.c - any text is a size, a duration, a time, or is refused; names never overrun. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/units.h"
#include "base/word.h"
#include "tests/fuzz/target.h"

#define TEXT_BYTES 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const words[] = {"start", "stop", "snapshot"};
    char text[TEXT_BYTES];
    char out[UNITS_TEXT_BYTES];
    uint64_t value = 0;
    int64_t ns = 0;
    size_t n = size < sizeof text - 1 ? size : sizeof text - 1;

    memcpy(text, data, n);
    text[n] = '\0';
    if (units_parse_size(text, &value) == 0) {
        units_print_size(value, out);
        assert(strlen(out) < sizeof out);
    }
    if (units_parse_duration(text, &value) == 0) {
        units_print_duration(value, out);
        assert(strlen(out) < sizeof out);
    }
    (void)units_parse_cpus(text, &value);
    if (units_parse_time(text, &ns) == 0) {
        units_print_time(ns, out);
        assert(strlen(out) < sizeof out);
    }
    (void)word_nearest(text, words, sizeof words / sizeof words[0]);
    assert(!word_is_name(text) || strlen(text) < WORD_NAME_BYTES);
    return 0;
}
