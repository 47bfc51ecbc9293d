/* units_test.c - sizes, durations, processors and times as text. */
#include <errno.h>
#include <time.h>

#include "base/units.h"
#include "tests/base/check.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

struct row {
    const char *text;
    int code;
    uint64_t value;
};

static void check_rows(const struct row *rows, size_t n,
                       int (*parse)(const char *, uint64_t *))
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = 77;
        int r = parse(rows[i].text, &value);

        if (r != rows[i].code || value != (r == 0 ? rows[i].value : 77)) {
            fail_msg("'%s': code %d, value %llu", rows[i].text, r,
                     (unsigned long long)value);
        }
    }
}

#define CHECK(rows, parse) check_rows(rows, sizeof(rows) / sizeof(rows)[0], parse)

static void sizes_are_read_as_people_write_them(void **state)
{
    static const struct row rows[] = {
        {"0", 0, 0},
        {"512", 0, 512},
        {"512B", 0, 512},
        {"1k", 0, KIB},
        {"512M", 0, 512 * MIB},
        {"2G", 0, 2 * GIB},
        {"2GB", 0, 2 * GIB},
        {"1.5GiB", 0, GIB + GIB / 2},
        {"0.5K", 0, 512},
        {"16P", 0, 16 * 1024 * 1024 * GIB},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"16384P", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"M", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1.", -EINVAL, 0},
        {".5G", -EINVAL, 0},
        {"1Mi", -EINVAL, 0},
        {"1MBB", -EINVAL, 0},
        {"1X", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
    };

    (void)state;
    CHECK(rows, units_parse_size);
}

static void durations_are_read_as_people_write_them(void **state)
{
    static const struct row rows[] = {
        {"0", 0, 0},
        {"10", 0, 10000},
        {"10s", 0, 10000},
        {"250ms", 0, 250},
        {"5m", 0, 300000},
        {"1h30m", 0, 5400000},
        {"2d", 0, 172800000},
        {"1.5s", 0, 1500},
        {"1m0.25s", 0, 60250},
        {"", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"5x", -EINVAL, 0},
        {"5mm", -EINVAL, 0},
        {"5m x", -EINVAL, 0},
        {"-5s", -EINVAL, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"999999999999999999d", -ERANGE, 0},
        {"18446744073709551615ms1ms", -ERANGE, 0},
    };

    (void)state;
    CHECK(rows, units_parse_duration);
}

static void processors_are_thousandths(void **state)
{
    static const struct row rows[] = {
        {"2", 0, 2000},     {"0.5", 0, 500},        {"250m", 0, 250},
        {"0.001", 0, 1},    {"0.0001", -ERANGE, 0}, {"0", -ERANGE, 0},
        {"0m", -ERANGE, 0}, {"", -EINVAL, 0},       {"2x", -EINVAL, 0},
        {"-1", -EINVAL, 0}, {"1mm", -EINVAL, 0},    {"18446744073709551615", -ERANGE, 0},
    };

    (void)state;
    CHECK(rows, units_parse_cpus);
}

static void sizes_print_with_three_digits(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {7, "7 B"},
        {999, "999 B"},
        {1024, "1.00 KiB"},
        {12 * KIB, "12.0 KiB"},
        {GIB + GIB / 2, "1.50 GiB"},
        {512 * MIB, "512 MiB"},
        {1023 * MIB, "1.00 GiB"},
        {UINT64_MAX, "16.0 EiB"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[UNITS_TEXT_BYTES];

        units_print_size(rows[i].bytes, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void durations_print_their_two_largest_parts(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "0ms"},          {999, "999ms"},
        {3000, "3s"},        {312000, "5m12s"},
        {7200000, "2h0m"},   {345600000, "4d0h"},
        {356400000, "4d3h"}, {UINT64_MAX, "213503982334d14h"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[UNITS_TEXT_BYTES];

        units_print_duration(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void times_are_rfc_3339(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } rows[] = {
        /* `date -u -d ... +%s` of coreutils */
        {"1970-01-01T00:00:00.000000000Z", 0},
        {"2026-01-02T03:04:05.678901234Z", 1767323045678901234},
        {"2000-02-29T23:59:59.999999999Z", 951868799999999999},
        {"1969-12-31T23:59:59.999999999Z", -1},
        {"2262-04-11T23:47:16.854775807Z", INT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[UNITS_TEXT_BYTES];
        int64_t ns;

        units_print_time(rows[i].ns, text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(units_parse_time(text, &ns), 0);
        assert_true(ns == rows[i].ns);
    }
}

static void times_have_offsets_and_fractions_of_any_length(void **state)
{
    int64_t ns = 0;

    (void)state;
    assert_int_equal(units_parse_time("2026-01-02T05:04:05+02:00", &ns), 0);
    assert_true(ns == 1767323045000000000);
    assert_int_equal(units_parse_time("2026-01-01T21:34:05.5-05:30", &ns), 0);
    assert_true(ns == 1767323045500000000);
    assert_int_equal(units_parse_time("2026-01-02T03:04:05.0000000009Z", &ns), 0);
    assert_true(ns == 1767323045000000000);
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "now",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-13-02T03:04:05Z",
        "2026-01-02T03:04:05Zx",
        "2026-01-02T03:04:05+2:00",
        "2026-01-02T03:04:05+25:00",
        "2026-01-02T03:04:05+ab:cd",
        "2026-01-02T25:04:05Z",
        "1026-01-01T21:34:05.055-05:30", /* before the first that 64 bits hold */
        "2262-04-11T23:47:16.854775808Z",
        "9999-12-31T23:59:59Z",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int64_t ns = 5;

        assert_int_equal(units_parse_time(texts[i], &ns), -EINVAL);
        assert_true(ns == 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read_as_people_write_them),
        cmocka_unit_test(durations_are_read_as_people_write_them),
        cmocka_unit_test(processors_are_thousandths),
        cmocka_unit_test(sizes_print_with_three_digits),
        cmocka_unit_test(durations_print_their_two_largest_parts),
        cmocka_unit_test(times_are_rfc_3339),
        cmocka_unit_test(times_have_offsets_and_fractions_of_any_length),
        cmocka_unit_test(what_is_no_time_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
