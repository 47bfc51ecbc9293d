/* snapshot.h - internal snapshots in memory, and walks over trees of tables. */
#ifndef RESOURCE_STORAGE_QCOW2_SNAPSHOT_H
#define RESOURCE_STORAGE_QCOW2_SNAPSHOT_H

#include "resource/storage/qcow2/parts.h"

/* One entry of the snapshot table. */
struct qcow2_snapshot {
    uint64_t l1_at;
    uint32_t l1_count;
    char *id;   /* owned */
    char *name; /* owned */
    uint32_t seconds;
    uint32_t nanoseconds;
    uint64_t guest_ns;
    uint64_t vm_bytes;
    uint64_t size;  /* of the disk */
    uint8_t *extra; /* owned: as it stands in the file, the known fields among it */
    uint32_t extra_bytes;
};

void qcow2_snapshot_fini(struct qcow2_snapshot *s);

/* Bytes of the table of `count` snapshots. */
size_t qcow2_snapshots_bytes(const struct qcow2_snapshot *s, uint32_t count);

/* Write a table to clusters that are free to use; `at` is theirs. */
int qcow2_snapshots_write(struct qcow2 *q, const struct qcow2_snapshot *s, uint32_t count,
                          uint64_t at);

/* A walk over an L1 table and its L2 tables, read from the file past the cache: all is
 * settled, and no request in flight. */
struct qcow2_walk {
    /* An L2 table.  0: go into it, 1: do not, or -errno. */
    int (*table)(struct qcow2_walk *w, uint64_t *l1_entry);

    /* An L2 entry that is not empty, in the order of the file.  0, 1: it was changed and
     * is to be written, or -errno. */
    int (*cluster)(struct qcow2_walk *w, uint8_t *entry);

    struct qcow2 *q;
    void *arg;
};

int qcow2_walk(struct qcow2_walk *w, uint64_t *l1, uint32_t count);

#endif
