/* limits.rows.h - words for the limits of a throttled disk.
 *
 *     LIMIT(word, what, field)   FILTER_THROTTLE_<what>; field of `struct filter_throttle_rate` */
/* clang-format off */
LIMIT("iops",                 OPS,         per_second)
LIMIT("read-iops",            READ_OPS,    per_second)
LIMIT("write-iops",           WRITE_OPS,   per_second)
LIMIT("bytes",                BYTES,       per_second)
LIMIT("read-bytes",           READ_BYTES,  per_second)
LIMIT("write-bytes",          WRITE_BYTES, per_second)
LIMIT("burst-iops",           OPS,         burst_per_second)
LIMIT("burst-read-iops",      READ_OPS,    burst_per_second)
LIMIT("burst-write-iops",     WRITE_OPS,   burst_per_second)
LIMIT("burst-bytes",          BYTES,       burst_per_second)
LIMIT("burst-read-bytes",     READ_BYTES,  burst_per_second)
LIMIT("burst-write-bytes",    WRITE_BYTES, burst_per_second)
LIMIT("burst-iops-ms",        OPS,         burst_ms)
LIMIT("burst-read-iops-ms",   READ_OPS,    burst_ms)
LIMIT("burst-write-iops-ms",  WRITE_OPS,   burst_ms)
LIMIT("burst-bytes-ms",       BYTES,       burst_ms)
LIMIT("burst-read-bytes-ms",  READ_BYTES,  burst_ms)
LIMIT("burst-write-bytes-ms", WRITE_BYTES, burst_ms)
/* clang-format on */
