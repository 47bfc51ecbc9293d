/* units.h - sizes and durations as people write them. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#define UNITS_TEXT_BYTES 32

/* "512", "512M", "2G", "1.5GiB": bytes; K, M, G and T are powers of 1024, a
 * trailing "B" or "iB" is allowed.  -EINVAL when it is no size, -ERANGE when it
 * does not fit. */
int units_parse_size(const char *text, uint64_t *ret_bytes);

/* "10s", "5m", "1h30m", "250ms", "2d"; a bare number is seconds.  In
 * milliseconds.  -EINVAL or -ERANGE as above. */
int units_parse_duration(const char *text, uint64_t *ret_ms);

/* "0.5", "2", "250m" (thousandths) processors; in thousandths, at least 1. */
int units_parse_cpus(const char *text, uint64_t *ret_millis);

/* "1.5 GiB", "12 KiB", "7 B": three significant digits. */
void units_print_size(uint64_t bytes, char out[UNITS_TEXT_BYTES]);

/* "3s", "5m12s", "2h", "4d": the two largest parts. */
void units_print_duration(uint64_t ms, char out[UNITS_TEXT_BYTES]);

/* Now, or `unix_ns`, as RFC 3339 in UTC with nanoseconds:
 * "2026-01-02T03:04:05.678901234Z".  `out` has UNITS_TEXT_BYTES bytes. */
void units_print_time(int64_t unix_ns, char out[UNITS_TEXT_BYTES]);

/* Nanoseconds since 1970 of an RFC 3339 time (any offset), or -EINVAL. */
int units_parse_time(const char *text, int64_t *ret_unix_ns);

#endif
