/* lvm.h - volumes of a thin pool of LVM, made and removed by the program lvm(8).
 *
 * A thin volume is a block device whose room is taken from a pool as it is written; its
 * snapshots are thin volumes that stand alone, to any depth (lvmthin(7)).
 *
 * Threads: any; calls block until the program has ended. */
#ifndef RESOURCE_STORAGE_LVM_LVM_H
#define RESOURCE_STORAGE_LVM_LVM_H

#include <stdbool.h>
#include <stdint.h>

struct err;

#define LVM_NAME_BYTES   128 /* lvm(8), "VALID NAMES": of a group and a volume together */
#define LVM_PATH_BYTES   (5 + 2 * LVM_NAME_BYTES)
#define LVM_FULL_UNKNOWN UINT32_MAX

struct lvm_pool {
    const char *group;
    const char *name;
    const char *program;       /* NULL: "lvm", looked for in the system's directories */
    unsigned patience_seconds; /* then the program is asked to end; 0: 60 */
};

struct lvm_volume {
    char name[LVM_NAME_BYTES];
    char path[LVM_PATH_BYTES]; /* of the device while it is active */
    char
        origin[LVM_NAME_BYTES]; /* what it is a snapshot of, if that is still there; "" */
    uint64_t size_bytes;
    uint32_t full; /* of it, in hundredths of a percent; or `LVM_FULL_UNKNOWN` */
    bool active;
};

struct lvm_usage {
    uint64_t size_bytes;
    uint32_t data;     /* used, in hundredths of a percent; or `LVM_FULL_UNKNOWN` */
    uint32_t metadata; /* likewise: a pool whose metadata are full is damaged */
    bool healthy;
    bool active;
};

/* How full the pool is. */
int lvm_pool_usage(const struct lvm_pool *p, struct lvm_usage *ret, struct err *e);

/* The volumes of the pool, one after the other. */
int lvm_volume_list(const struct lvm_pool *p,
                    void (*each)(void *arg, const struct lvm_volume *v), void *arg,
                    struct err *e);

/* -ENOENT: the pool has no such volume. */
int lvm_volume_look(const struct lvm_pool *p, const char *name, struct lvm_volume *ret,
                    struct err *e);

/* -EEXIST, -ENOSPC; the size is rounded up to extents of the group. */
int lvm_volume_create(const struct lvm_pool *p, const char *name, uint64_t size_bytes,
                      struct err *e);

/* A volume that begins as `origin` is now; its cost does not depend on the size.  Whoever
 * writes to the origin has flushed. */
int lvm_volume_snapshot(const struct lvm_pool *p, const char *origin, const char *name,
                        struct err *e);

/* -EBUSY: somebody has it open.  Its snapshots stay. */
int lvm_volume_remove(const struct lvm_pool *p, const char *name, struct err *e);

/* Grow or shrink; what lies behind a smaller end is lost. */
int lvm_volume_resize(const struct lvm_pool *p, const char *name, uint64_t size_bytes,
                      struct err *e);

/* Whether LVM takes the name and does not keep it for itself. */
bool lvm_name_is_good(const char *name);

#endif
