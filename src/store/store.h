/* store/store.h - where the platform's records live: one file, or memory.
 *
 * Both keep the promises of contract/kv.h.  The file may be open in any number
 * of processes at once; a handle belongs to one thread at a time.  A process that
 * forks with the file open may not touch the store in the child before exec:
 * SQLite would take the parent's locks for the child's.  Close with `kv_close`. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct kv;

#define STORE_KEEP_REVISIONS 1024 /* history that stays, unless told otherwise */

/* Milliseconds since some fixed point that no clock setting moves. */
typedef int64_t store_clock_fn(void *arg);

struct store_options {
    store_clock_fn *now_ms; /* ends leases; NULL: CLOCK_BOOTTIME */
    void *clock_arg;        /* borrowed, for `now_ms` */
    int64_t keep_revisions; /* 0: STORE_KEEP_REVISIONS */
    bool durable;           /* every transaction survives a power cut */
    uint32_t busy_ms;       /* how long to wait for other processes; 0: 10 s */
};

/* Open the store file `path`, made if it is missing; its directory must exist.
 * -EPROTONOSUPPORT: the file is of a newer version. */
int store_open_sqlite(const char *path, struct kv **ret, struct err *e);
int store_open_sqlite_with(const char *path, const struct store_options *o,
                           struct kv **ret, struct err *e);

/* An empty store that ends with its handle. */
int store_open_memory(struct kv **ret, struct err *e);
int store_open_memory_with(const struct store_options *o, struct kv **ret, struct err *e);

#endif
