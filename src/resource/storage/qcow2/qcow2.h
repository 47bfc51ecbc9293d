/* qcow2.h - disks in qcow2 files, versions 2 and 3.
 *
 * Format: QEMU, docs/interop/qcow2.rst.  An image is a disk over the disk that holds
 * its bytes (contract/blk.h); what else it names is opened by a `struct blk_source`.
 *
 * Threads: that of the disk; every function in a strand.  Functions that change an
 * open image wait until it has no request in flight and let none in meanwhile. */
#ifndef RESOURCE_STORAGE_QCOW2_QCOW2_H
#define RESOURCE_STORAGE_QCOW2_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blk;
struct blk_edge;
struct blk_source;
struct err;
struct loop;

#define QCOW2_CHAIN_MOST          256 /* images that stand on each other */
#define QCOW2_CACHE_BYTES_MOST    (32u << 20)
#define QCOW2_CLUSTER_BYTES_USUAL 65536u

enum qcow2_compression {
    QCOW2_DEFLATE,
    QCOW2_ZSTD
};

/* Turns the bytes of clusters into what the file holds; crypt method 2 (LUKS). */
struct qcow2_crypt {
    /* Read the encryption header at [off, off + bytes) of `file` and get ready. */
    int (*start)(struct qcow2_crypt *c, struct blk *file, uint64_t off, uint64_t bytes,
                 struct err *e);

    /* In place; `at`: the offset of the first byte in the file that holds the data, a
     * multiple of 512 as `bytes` is. */
    int (*decrypt)(struct qcow2_crypt *c, void *buf, size_t bytes, uint64_t at);
    int (*encrypt)(struct qcow2_crypt *c, void *buf, size_t bytes, uint64_t at);

    /* The image that took it is gone.  NULL: it stays its maker's. */
    void (*destroy)(struct qcow2_crypt *c);
};

/* Who makes the encryption header of a new image. */
struct qcow2_crypt_maker {
    uint64_t bytes; /* of the header */

    /* Write it to [off, off + bytes) of `file`, which reads zeros there. */
    int (*make)(struct qcow2_crypt_maker *m, struct blk *file, uint64_t off,
                struct err *e);
};

struct qcow2_create_options {
    uint64_t size_bytes;
    uint32_t cluster_bytes; /* 0: the usual */
    bool version_2;
    bool extended_l2;
    bool lazy_refcounts;
    bool preallocate_metadata;
    uint32_t refcount_bits; /* 0: 16 */
    enum qcow2_compression compression;
    const char *backing_name; /* NULL: stands alone */
    const char *backing_format;
    const char *data_name;           /* external data file; NULL: none */
    bool data_is_raw;                /* it can be read without the image */
    struct qcow2_crypt_maker *crypt; /* NULL: not encrypted */
};

/* Write an empty image to `file`, which nobody else uses; what it held is lost.  The
 * caller keeps it. */
int qcow2_create(struct blk *file, const struct qcow2_create_options *o, struct err *e);

struct qcow2_open_options {
    const char *label; /* names it in messages; copied; NULL: "qcow2" */
    bool read_only;
    struct blk_source *source;      /* opens what the image names; NULL: nobody does */
    struct blk_source *data_source; /* the data file; NULL: `source` does */
    bool alone;                /* do not open the backing file: it reads zeros, and data
                                  is not written (-EACCES) */
    const char *assume_format; /* of a backing file whose image does not say; NULL:
                                  refuse such an image */
    unsigned depth;            /* images that stand on this one: a source that opens an
                                  image for another gives that one's depth plus 1 */
    uint32_t cache_bytes;      /* of tables; 0: the whole image, up to the most */
    struct qcow2_crypt *crypt; /* taken, also on failure; for an image that is encrypted,
                                  and for no other; NULL: none */
    struct loop *loop;         /* compresses on other threads; NULL: on this one */
    bool for_repair;           /* open what is marked corrupt or dirty as it is */
};

/* Takes `file`, also on failure.  -EUCLEAN: not a valid image; -EOPNOTSUPP: uses
 * features that nobody here knows, and `e` names them. */
int qcow2_open(struct blk *take_file, const struct qcow2_open_options *o,
               struct blk **ret_disk, struct err *e);

struct qcow2_info {
    unsigned version;
    uint32_t cluster_bytes;
    uint32_t refcount_bits;
    bool extended_l2;
    bool lazy_refcounts;
    bool is_dirty;
    bool is_corrupt;
    bool is_encrypted;
    bool has_data_file;
    bool data_is_raw;
    enum qcow2_compression compression;
    uint64_t crypt_at; /* of the encryption header in the file; 0: none */
    uint64_t crypt_bytes;
    const char *backing_name; /* borrowed, NULL: none */
    const char *backing_format;
    const char *data_name;
};

/* All functions below: `disk` is one that `qcow2_open` made. */
void qcow2_info(const struct blk *disk, struct qcow2_info *ret);

struct qcow2_check_result {
    uint64_t corruptions; /* wrong references: data may be lost */
    uint64_t leaks;       /* clusters that nothing refers to */
    uint64_t repaired_corruptions;
    uint64_t repaired_leaks;
    uint64_t data_clusters; /* of the active image */
    uint64_t compressed_clusters;
    uint64_t file_end; /* behind the last cluster in use */
};

enum qcow2_repair {
    QCOW2_REPAIR_NOTHING,
    QCOW2_REPAIR_LEAKS,
    QCOW2_REPAIR_ALL
};

/* Compare all references with all reference counts. */
int qcow2_check(struct blk *disk, enum qcow2_repair repair,
                struct qcow2_check_result *ret, struct err *e);

struct qcow2_snapshot_info {
    const char *id; /* borrowed until the next change */
    const char *name;
    uint64_t size_bytes;
    uint64_t vm_state_bytes;
    uint64_t guest_ns; /* that the guest ran */
    uint32_t seconds;  /* since 1970 */
    uint32_t nanoseconds;
};

unsigned qcow2_snapshot_count(const struct blk *disk);
void qcow2_snapshot_get(const struct blk *disk, unsigned i,
                        struct qcow2_snapshot_info *ret);
int qcow2_snapshot_create(struct blk *disk, const char *name, struct err *e);

/* `which`: an id or a name.  What was written since the snapshot is lost. */
int qcow2_snapshot_apply(struct blk *disk, const char *which, struct err *e);
int qcow2_snapshot_delete(struct blk *disk, const char *which, struct err *e);

struct qcow2_bitmap_info {
    const char *name; /* borrowed until the next change */
    uint32_t granularity_bytes;
    bool enabled;
    bool inconsistent; /* was not stored when the image was closed last */
    uint64_t dirty_bytes;
};

unsigned qcow2_bitmap_count(const struct blk *disk);
void qcow2_bitmap_get(const struct blk *disk, unsigned i, struct qcow2_bitmap_info *ret);
int qcow2_bitmap_create(struct blk *disk, const char *name, uint32_t granularity_bytes,
                        bool enabled, struct err *e);
int qcow2_bitmap_delete(struct blk *disk, const char *name, struct err *e);
int qcow2_bitmap_enable(struct blk *disk, const char *name, bool enabled, struct err *e);
int qcow2_bitmap_clear(struct blk *disk, const char *name, struct err *e);

/* What is dirty in `from` becomes dirty in `to`. */
int qcow2_bitmap_merge(struct blk *disk, const char *to, const char *from, struct err *e);

/* How many bytes from `off` on are all dirty, or all not. */
int qcow2_bitmap_range(struct blk *disk, const char *name, uint64_t off,
                       uint64_t *ret_bytes, bool *ret_dirty, struct err *e);

/* Write the bitmaps to the file now; closing does so, too. */
int qcow2_bitmap_store(struct blk *disk, struct err *e);

/* Name another backing file, or none (NULL), without touching data: the caller knows
 * that both read alike where the image holds nothing.  The open chain stays. */
int qcow2_rebase(struct blk *disk, const char *name, const char *format, struct err *e);

/* Where an image that was opened `alone` gets its backing file by `blk_change`, to be read; or
 * where an open one gets another that reads alike.  NULL: the disk is no qcow2 image. */
struct blk_edge *qcow2_backing_edge(struct blk *disk);

/* Copy what the backing file has, from byte *at on and at most `bytes`, so that it is
 * needed no more; *at moves on.  When it has reached the end, the backing file is
 * forgotten.  Guests may go on; a copy that was interrupted starts anew at 0 and
 * skips what is there. */
int qcow2_flatten(struct blk *disk, uint64_t *at, uint64_t bytes, struct err *e);

/* Write one whole cluster of data (the last one: up to the end of the disk), packed
 * when that is smaller; for converting: nobody drains the disk meanwhile.  `off` is the
 * begin of a cluster. */
int qcow2_write_packed(struct blk *disk, const void *data, size_t bytes, uint64_t off);

#endif
