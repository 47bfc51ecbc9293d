/* units.c - sizes, durations, processors and times as text. */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

#define NS_PER_SECOND   1000000000LL
#define FRACTION_DIGITS 9

/* A decimal number with up to nine fractional digits, in units of 1e-9; the
 * rest of the text is handed back.  Exact, without floating point. */
struct decimal {
    uint64_t whole;
    uint32_t nano;
};

static int parse_decimal(const char *text, struct decimal *d, const char **rest)
{
    uint32_t scale = 100000000;
    const char *p = text;

    d->whole = 0;
    d->nano = 0;
    if (!isdigit((unsigned char)*p)) {
        return -EINVAL;
    }
    for (; isdigit((unsigned char)*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');

        if (d->whole > (UINT64_MAX - digit) / 10) {
            return -ERANGE;
        }
        d->whole = d->whole * 10 + digit;
    }
    if (*p == '.') {
        p++;
        if (!isdigit((unsigned char)*p)) {
            return -EINVAL;
        }
        for (; isdigit((unsigned char)*p); p++) {
            d->nano += (uint32_t)(*p - '0') * scale;
            scale /= 10;
        }
    }
    *rest = p;
    return 0;
}

static int scale_decimal(const struct decimal *d, uint64_t unit, uint64_t *ret)
{
    unsigned __int128 v = (unsigned __int128)d->whole * unit;

    v += (unsigned __int128)d->nano * unit / 1000000000U;
    if (v > UINT64_MAX) {
        return -ERANGE;
    }
    *ret = (uint64_t)v;
    return 0;
}

int units_parse_size(const char *text, uint64_t *ret_bytes)
{
    static const char letters[] = "KMGTP";
    struct decimal d;
    const char *rest;
    uint64_t unit = 1;
    int r = parse_decimal(text, &d, &rest);

    if (r < 0) {
        return r;
    }
    if (*rest != '\0' && *rest != 'B') {
        const char *at = strchr(letters, toupper((unsigned char)*rest));

        if (at == NULL || *at == '\0') {
            return -EINVAL;
        }
        unit = 1ULL << (10 * (unsigned)(at - letters + 1));
        rest++;
        rest += *rest == 'i' && rest[1] == 'B' ? 1 : 0;
    }
    rest += *rest == 'B' ? 1 : 0;
    return *rest != '\0' ? -EINVAL : scale_decimal(&d, unit, ret_bytes);
}

static const struct duration_unit {
    const char *name;
    uint64_t ms;
} duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

static const struct duration_unit *find_unit(const char *text, size_t len)
{
    for (size_t i = 0; i < sizeof duration_units / sizeof duration_units[0]; i++) {
        const struct duration_unit *u = &duration_units[i];

        if (strlen(u->name) == len && strncmp(u->name, text, len) == 0) {
            return u;
        }
    }
    return NULL;
}

int units_parse_duration(const char *text, uint64_t *ret_ms)
{
    uint64_t total = 0;
    const char *p = text;

    do {
        const struct duration_unit *u;
        struct decimal d;
        uint64_t part;
        size_t len = 0;
        int r = parse_decimal(p, &d, &p);

        if (r < 0) {
            return r;
        }
        while (isalpha((unsigned char)p[len])) {
            len++;
        }
        u = len == 0 && *p == '\0' ? find_unit("s", 1) : find_unit(p, len);
        if (u == NULL) {
            return -EINVAL;
        }
        r = scale_decimal(&d, u->ms, &part);
        if (r < 0 || total > UINT64_MAX - part) {
            return -ERANGE;
        }
        total += part;
        p += len;
    } while (*p != '\0');
    *ret_ms = total;
    return 0;
}

int units_parse_cpus(const char *text, uint64_t *ret_millis)
{
    struct decimal d;
    const char *rest;
    uint64_t millis;
    int r = parse_decimal(text, &d, &rest);

    if (r < 0) {
        return r;
    }
    if (strcmp(rest, "m") == 0) {
        r = scale_decimal(&d, 1, &millis);
    } else if (*rest == '\0') {
        r = scale_decimal(&d, 1000, &millis);
    } else {
        return -EINVAL;
    }
    if (r < 0 || millis == 0) {
        return r < 0 ? r : -ERANGE;
    }
    *ret_millis = millis;
    return 0;
}

void units_print_size(uint64_t bytes, char out[UNITS_TEXT_BYTES])
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    size_t i = 0;

    while (v >= 1000 && i + 1 < sizeof names / sizeof names[0]) {
        v /= 1024;
        i++;
    }
    if (i == 0) {
        (void)snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64 " B", bytes);
    } else {
        int digits = v < 10 ? 2 : v < 100 ? 1 : 0;

        (void)snprintf(out, UNITS_TEXT_BYTES, "%.*f %s", digits, v, names[i]);
    }
}

void units_print_duration(uint64_t ms, char out[UNITS_TEXT_BYTES])
{
    uint64_t s = ms / 1000;

    if (s == 0) {
        (void)snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64 "ms", ms);
    } else if (s < 60) {
        (void)snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64 "s", s);
    } else if (s < 3600) {
        (void)snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
    } else if (s < 86400) {
        (void)snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64 "h%" PRIu64 "m", s / 3600,
                       s % 3600 / 60);
    } else {
        (void)snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64 "d%" PRIu64 "h", s / 86400,
                       s % 86400 / 3600);
    }
}

/* Leap days from year 1 to the end of `year`. */
static int64_t leap_days(int64_t year)
{
    return year / 4 - year / 100 + year / 400;
}

/* The first day of `year`, counted from 1970-01-01. */
static int64_t days_to_year(int64_t year)
{
    return (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
}

/* What gmtime_r tells; that one reads the host's time zone file for nothing. */
static void split_time(int64_t s, struct tm *ret)
{
    static const int16_t before[] = {0,   31,  59,  90,  120, 151,
                                     181, 212, 243, 273, 304, 334};
    int64_t rest = (s % 86400 + 86400) % 86400;
    int64_t days = (s - rest) / 86400;
    int64_t year = 1970 + days / 366;
    int64_t leap;
    int month = 11;

    while (days < days_to_year(year)) {
        year--;
    }
    while (days >= days_to_year(year + 1)) {
        year++;
    }
    days -= days_to_year(year);
    leap = leap_days(year) - leap_days(year - 1);
    while (days < before[month] + (month > 1 ? leap : 0)) {
        month--;
    }
    *ret =
        (struct tm){.tm_year = (int)(year - 1900),
                    .tm_mon = month,
                    .tm_mday = (int)(days - before[month] - (month > 1 ? leap : 0)) + 1,
                    .tm_hour = (int)(rest / 3600),
                    .tm_min = (int)(rest / 60 % 60),
                    .tm_sec = (int)(rest % 60)};
}

void units_print_time(int64_t unix_ns, char out[UNITS_TEXT_BYTES])
{
    int64_t nano = unix_ns % NS_PER_SECOND;
    time_t s = (time_t)(unix_ns / NS_PER_SECOND);
    char text[96] = ""; /* as long as seven numbers could be */
    struct tm tm;

    if (nano < 0) { /* before 1970 */
        nano += NS_PER_SECOND;
        s -= 1;
    }
    split_time(s, &tm);
    (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%09" PRId64 "Z",
                   tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                   tm.tm_sec, nano);
    memcpy(out, text, UNITS_TEXT_BYTES - 1);
    out[UNITS_TEXT_BYTES - 1] = '\0';
}

/* "+hh:mm" or "-hh:mm" in seconds. */
static int parse_offset(const char *p, int64_t *ret_seconds)
{
    int h;
    int m;

    if (strcmp(p, "Z") == 0 || strcmp(p, "z") == 0) {
        *ret_seconds = 0;
        return 0;
    }
    if ((*p != '+' && *p != '-') || strlen(p) != 6 ||
        sscanf(p + 1, "%2d:%2d", &h, &m) != 2 || h > 23 || m > 59) {
        return -EINVAL;
    }
    *ret_seconds = (*p == '-' ? -1 : 1) * (h * 3600LL + m * 60LL);
    return 0;
}

int units_parse_time(const char *text, int64_t *ret_unix_ns)
{
    struct tm tm = {0};
    const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t scale = NS_PER_SECOND / 10;
    int64_t nano = 0;
    int64_t offset;
    int64_t ns;
    int r;

    if (p == NULL) {
        return -EINVAL;
    }
    if (*p == '.') {
        for (p++; isdigit((unsigned char)*p); p++) {
            nano += (*p - '0') * scale;
            scale /= 10;
        }
    }
    r = parse_offset(p, &offset);
    if (r < 0) {
        return r;
    }
    if (__builtin_mul_overflow((int64_t)timegm(&tm) - offset, NS_PER_SECOND, &ns) ||
        __builtin_add_overflow(ns, nano, &ns)) {
        return -EINVAL; /* before 1678 or after 2261 */
    }
    *ret_unix_ns = ns;
    return 0;
}
