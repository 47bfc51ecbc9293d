/* image.h - the state of an open image, shared by the files of this folder.
 *
 * What is changed in memory reaches the file in the order of commit.c.  Requests of
 * the disk run between `qcow2_enter` and `qcow2_leave`; a host cluster that lost its
 * last reference is used anew only when every request that might still read or write
 * it has left (alloc.c). */
#ifndef RESOURCE_STORAGE_QCOW2_IMAGE_H
#define RESOURCE_STORAGE_QCOW2_IMAGE_H

#include "base/strand.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/qcow2/format.h"
#include "resource/storage/qcow2/qcow2.h"

enum {
    EDGE_FILE,
    EDGE_BACKING,
    EDGE_DATA,
    EDGE_COUNT
};

/* The header's fields, in the host's order of bytes. */
struct qcow2_header {
    uint32_t version;
    uint64_t backing_at;
    uint32_t backing_bytes;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_count;
    uint64_t l1_at;
    uint64_t rt_at;
    uint32_t rt_clusters;
    uint32_t snapshots;
    uint64_t snapshots_at;
    uint64_t incompatible;
    uint64_t compatible;
    uint64_t autoclear;
    uint32_t refcount_order;
    uint32_t bytes; /* header_length */
    uint8_t compression;
    uint8_t *more; /* owned: fields behind `compression` that nobody here knows */
    uint32_t more_bytes;
    char *backing_name;   /* owned; NULL: none */
    bool name_is_new;     /* the name in the file is another one */
    char *backing_format; /* owned; NULL: not said */
    char *data_name;      /* owned; NULL: not said */
    uint32_t bitmaps;     /* of the bitmaps extension; 0: none */
    uint64_t bitmaps_bytes;
    uint64_t bitmaps_at;
    uint64_t crypt_at; /* 0: none */
    uint64_t crypt_bytes;
    uint8_t *unknown; /* owned: other extensions, as they stood */
    uint32_t unknown_bytes;
};

/* A top table (L1, refcount table) held whole; `dirty` has a flag per block
 * of the file below. */
struct qcow2_table {
    uint64_t *entry; /* owned; in the host's order */
    uint32_t count;
    uint32_t room; /* entries that the clusters of the file have room for */
    uint64_t at;
    uint8_t *dirty; /* owned */
    uint32_t dirty_count;
};

/* A piece of an L2 table or of a refcount block. */
struct qcow2_slice {
    uint64_t at; /* in the file */
    struct qcow2_slice *hash_next;
    uint8_t kind; /* enum qcow2_use */
    bool dirty;
    bool writing; /* a commit has a copy that is not written yet */
    bool loading;
    bool recent;
    uint32_t slot; /* its place in the cache's list */
    uint8_t data[];
};

struct qcow2_cache {
    struct qcow2_slice **bucket; /* owned */
    uint32_t buckets;            /* a power of two */
    struct qcow2_slice **list;   /* owned, each owned */
    uint32_t count;
    uint32_t room;
    uint32_t most; /* aimed at; more only while too many are dirty */
    uint32_t hand;
    uint32_t dirty_l2;
    uint32_t dirty_ref;
    struct strand_queue loaded;
};

/* What a host cluster is used for, when it is not data. */
enum qcow2_use {
    USE_NONE,
    USE_HEADER,
    USE_L1,
    USE_L2,
    USE_RT,
    USE_REF,
    USE_SNAPSHOT, /* their table and their L1 tables */
    USE_OTHER     /* bitmaps, encryption header */
};

struct qcow2_run {
    uint64_t cluster;
    uint64_t count;
};

struct qcow2_runs {
    struct qcow2_run *run; /* owned */
    uint32_t count;
    uint32_t room;
};

/* A guest range that is being changed. */
struct qcow2_range {
    uint64_t off;
    uint64_t end;
    struct qcow2_range *next;
    struct strand_queue waiters;
};

struct qcow2_bitmap;
struct qcow2_snapshot;

struct qcow2 {
    struct blk blk;
    struct blk_edge edge[EDGE_COUNT];
    struct loop *loop; /* may be NULL */
    char *label;       /* owned */
    struct qcow2_header header;

    uint32_t cluster_bytes;
    uint32_t slice_bytes;
    uint32_t entry_bytes; /* of an L2 entry: 8, or 16 when extended */
    uint32_t l2_bits;     /* log2 of entries in a table */
    uint32_t subs;        /* subclusters in a cluster: 1 or 32 */
    uint32_t sub_bytes;
    uint32_t sub_bits;
    uint32_t span_bits; /* log2 of the guest bytes of an L2 table */
    uint32_t ref_bits;  /* log2 of entries in a refcount block */

    struct qcow2_table l1;
    struct qcow2_table rt;
    struct qcow2_cache cache;
    uint64_t *uses; /* owned: hash of cluster << 3 | enum qcow2_use; overlap.c */
    uint32_t uses_room;
    uint32_t uses_count;
    bool overlaps; /* two structures claim the same cluster: not to be written */
    bool corrupt;
    bool lazy;
    bool dirty_marked;  /* the dirty bit is durable in the file */
    bool header_unsure; /* writing it failed: the file may have the old one */

    struct strand_lock alloc_lock;
    struct strand_lock table_lock;
    struct strand_lock commit_lock;
    struct strand_lock header_lock; /* one writes the header at a time */
    uint64_t commits_begun;
    int commit_result; /* of the last one */
    int late_error;    /* of a quiesce, told by the next flush */

    uint64_t hint;       /* no free cluster below, but for those in `recycled` */
    uint64_t fresh_from; /* clusters from here on were never written: they read zeros */
    struct qcow2_runs recycled;
    struct qcow2_runs freed;   /* unreferenced in memory */
    struct qcow2_runs unused;  /* unreferenced in the file, awaiting requests */
    struct qcow2_runs leaving; /* the same, awaiting those of the older epoch */
    struct qcow2_runs ready;   /* to be given back by the next commit */
    unsigned active[2];
    unsigned epoch;

    struct qcow2_range *ranges;
    struct qcow2_crypt *crypt; /* owned; NULL: not encrypted */

    uint64_t unpacked_entry; /* the compressed cluster in `unpacked`; 0: none */
    uint8_t *unpacked;       /* owned */
    uint64_t unpacked_turn;  /* grows when packed clusters are freed */
    struct strand_lock pack_lock;
    uint64_t packed_end; /* where the next packed cluster goes; 0: nowhere yet */
    uint8_t packed_tail[BLK_BLOCK_MOST_BYTES]; /* the block before it, as it stands */

    struct qcow2_bitmap *bitmap; /* owned list */
    bool bitmaps_marked;         /* the file says that they are in use */
    struct strand_lock bitmap_lock;
    uint64_t snapshots_bytes;        /* of their table, as it is in the file */
    struct qcow2_snapshot *snapshot; /* owned array of header.snapshots */
};

static inline struct qcow2 *qcow2_of(struct blk *b)
{
    return (struct qcow2 *)b;
}

static inline struct blk *qcow2_file(const struct qcow2 *q)
{
    return q->edge[EDGE_FILE].disk;
}

/* Where guest data lies. */
static inline struct blk *qcow2_data(const struct qcow2 *q)
{
    return q->edge[EDGE_DATA].disk != NULL ? q->edge[EDGE_DATA].disk
                                           : q->edge[EDGE_FILE].disk;
}

static inline bool qcow2_has_data_file(const struct qcow2 *q)
{
    return (q->header.incompatible & QCOW2_DATA_FILE) != 0;
}

static inline bool qcow2_extended(const struct qcow2 *q)
{
    return q->subs > 1;
}

#endif
