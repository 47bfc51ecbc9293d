/* create.c - a new image.
 *
 * In the file: the header, the table of refcount blocks, those blocks, the L1 table; with
 * preallocated metadata all L2 tables, and room for all data; the encryption header.  The first block is
 * written last, so that a file is an image or is none. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/parts.h"

struct layout {
    uint64_t rt_clusters;
    uint64_t blocks;
    uint64_t l1_clusters;
    uint64_t tables;   /* L2, preallocated */
    uint64_t data;     /* clusters, preallocated */
    uint64_t crypt;    /* of the encryption header, at the end */
    uint64_t clusters; /* all */
};

static unsigned log2_of(uint32_t n)
{
    return n == 0 ? 0 : 31u - (unsigned)__builtin_clz(n);
}

static int check_options(const struct qcow2_create_options *o, uint32_t cluster,
                         struct err *e)
{
    unsigned bits = log2_of(cluster);
    uint32_t refs = o->refcount_bits == 0 ? 16 : o->refcount_bits;

    if ((cluster & (cluster - 1)) != 0 || bits < QCOW2_CLUSTER_BITS_LEAST ||
        bits > QCOW2_CLUSTER_BITS_MOST) {
        return err_set(e, -EINVAL, "cannot make clusters of %u bytes", cluster);
    }
    if (o->extended_l2 && bits < QCOW2_EXT_BITS_LEAST) {
        return err_set(e, -EINVAL, "cannot make subclusters in clusters of %u bytes",
                       cluster);
    }
    if ((refs & (refs - 1)) != 0 || refs > 64) {
        return err_set(e, -EINVAL, "cannot make reference counts of %u bits", refs);
    }
    if (o->version_2 && (o->extended_l2 || o->lazy_refcounts || refs != 16 ||
                         o->compression != QCOW2_DEFLATE || o->data_name != NULL)) {
        return err_set(e, -EINVAL, "cannot do that in version 2 of the format");
    }
    if (o->data_is_raw && (o->data_name == NULL || o->backing_name != NULL)) {
        return err_set(e, -EINVAL, "cannot make such a data file");
    }
    if (o->crypt != NULL && (o->version_2 || o->data_name != NULL)) {
        return err_set(e, -EINVAL, "cannot encrypt %s",
                       o->version_2 ? "in version 2 of the format" : "a data file");
    }
    if (o->backing_name != NULL &&
        (o->backing_format == NULL || o->preallocate_metadata ||
         strlen(o->backing_name) > QCOW2_NAME_MOST)) {
        return err_set(e, -EINVAL, "cannot name the backing file '%.64s'%s",
                       o->backing_name,
                       o->backing_format == NULL ? ": its format is not said" : "");
    }
    return 0;
}

static void plan(struct qcow2_header *h, struct layout *l, bool preallocate)
{
    uint64_t cluster = (uint64_t)1 << h->cluster_bits;
    unsigned entry_bits = (h->incompatible & QCOW2_EXTENDED_L2) != 0 ? 4 : 3;
    uint64_t span = cluster << (h->cluster_bits - entry_bits);
    uint64_t l1 = (h->size + span - 1) / span;
    uint64_t per_block = cluster * 8 >> h->refcount_order;
    uint64_t fixed;

    *l = (struct layout){
        .rt_clusters = 1, .blocks = 1, .crypt = (h->crypt_bytes + cluster - 1) / cluster};
    l->tables = preallocate ? l1 : 0;
    l->data = preallocate && (h->incompatible & QCOW2_DATA_FILE) == 0
                  ? (h->size + cluster - 1) / cluster
                  : 0;
    l1 = l1 == 0 ? 1 : l1;
    l->l1_clusters = (l1 * 8 + cluster - 1) / cluster;
    fixed = 1 + l->l1_clusters + l->tables + l->data + l->crypt;
    for (;;) {
        uint64_t blocks =
            (fixed + l->rt_clusters + l->blocks + per_block - 1) / per_block;

        l->rt_clusters = (blocks * 8 + cluster - 1) / cluster;
        if (blocks <= l->blocks) {
            break;
        }
        l->blocks = blocks;
    }
    l->clusters = fixed + l->rt_clusters + l->blocks;
    h->rt_at = cluster;
    h->rt_clusters = (uint32_t)l->rt_clusters;
    h->crypt_at = l->crypt > 0 ? (l->clusters - l->crypt) * cluster : 0;
    h->l1_at = (1 + l->rt_clusters + l->blocks) * cluster;
    h->l1_count = l1 * 8 > QCOW2_L1_BYTES_MOST ? 0 : (uint32_t)l1;
}

/* `count` counts of 1. */
static void fill_counts(uint8_t *to, size_t room, uint64_t count, unsigned order)
{
    memset(to, 0, room);
    for (uint64_t i = 0; i < count; i++) {
        if (order >= 3) {
            to[((i + 1) << (order - 3)) - 1] = 1; /* big endian */
        } else {
            to[i >> (3 - order)] |= (uint8_t)(1u << ((i << order) & 7));
        }
    }
}

static int write_blocks(struct blk *file, const struct qcow2_header *h,
                        const struct layout *l)
{
    size_t cluster = (size_t)1 << h->cluster_bits;
    uint64_t per_block = cluster * 8 >> h->refcount_order;
    SCOPED(scope_free) uint8_t *p = fault_aligned(4096, cluster);
    int r = p == NULL ? -ENOMEM : 0;

    for (uint64_t i = 0; r == 0 && i < l->blocks; i++) {
        uint64_t left = l->clusters - i * per_block;

        fill_counts(p, cluster, left < per_block ? left : per_block, h->refcount_order);
        r = blk_write(file, p, cluster, (1 + l->rt_clusters + i) * cluster, 0);
    }
    return r;
}

/* A table of numbers that grow by a cluster each. */
static int write_steps(struct blk *file, const struct qcow2_header *h, uint64_t at,
                       uint64_t count, uint64_t first)
{
    size_t cluster = (size_t)1 << h->cluster_bits;
    SCOPED(scope_free) uint8_t *p = fault_aligned(4096, cluster);
    uint64_t i = 0;
    int r = p == NULL ? -ENOMEM : 0;

    while (r == 0 && i < count) {
        memset(p, 0, cluster);
        for (size_t k = 0; k < cluster / 8 && i < count; k++, i++) {
            qcow2_put64(p + 8 * k, first + i * cluster);
        }
        r = blk_write(file, p, cluster, at, 0);
        at += cluster;
    }
    return r;
}

/* All L2 tables.  A file that grows reads zeros where it was never written; elsewhere
 * the entries say that there are zeros. */
static int write_l2(struct blk *file, const struct qcow2_header *h,
                    const struct layout *l)
{
    size_t cluster = (size_t)1 << h->cluster_bits;
    bool extended = (h->incompatible & QCOW2_EXTENDED_L2) != 0;
    bool zeros = h->version == 3 && (!file->grows || h->crypt_method != 0);
    uint64_t at = h->l1_at + l->l1_clusters * cluster;
    uint64_t data = l->data > 0 ? at + l->tables * cluster : 0;
    uint64_t count = (h->size + cluster - 1) / cluster;
    size_t step = extended ? 16 : 8;
    SCOPED(scope_free) uint8_t *p = fault_aligned(4096, cluster);
    uint64_t i = 0;
    int r = p == NULL ? -ENOMEM : 0;

    zeros = zeros || (h->incompatible & QCOW2_DATA_FILE) != 0;
    for (uint64_t t = 0; r == 0 && t < l->tables; t++) {
        memset(p, 0, cluster);
        for (size_t k = 0; k < cluster && i < count; k += step, i++) {
            qcow2_put64(p + k, (data + i * cluster) | QCOW2_COPIED |
                                   (zeros && !extended ? QCOW2_ZERO : 0));
            if (extended) {
                qcow2_put64(p + k + 8, zeros ? (uint64_t)UINT32_MAX << 32 : UINT32_MAX);
            }
        }
        r = blk_write(file, p, cluster, at + t * cluster, 0);
    }
    if (r == 0 && l->data > 0 && (file->grows || h->version == 2)) {
        r = blk_zero(file, data, l->data * cluster, BLK_UNMAP);
    }
    return r;
}

/* Everything behind the header. */
static int write_tables(struct blk *file, const struct qcow2_header *h,
                        const struct layout *l)
{
    uint64_t cluster = (uint64_t)1 << h->cluster_bits;
    uint64_t l2_at = h->l1_at + l->l1_clusters * cluster;
    int r = write_steps(file, h, h->rt_at, l->blocks, (1 + l->rt_clusters) * cluster);

    r = r != 0 ? r : write_blocks(file, h, l);
    r = r != 0 ? r : blk_zero(file, h->l1_at, l->l1_clusters * cluster, 0);
    if (r == 0 && l->tables > 0) {
        r = write_steps(file, h, h->l1_at, l->tables, l2_at | QCOW2_COPIED);
        r = r != 0 ? r : write_l2(file, h, l);
    }
    return r != 0 ? r : blk_flush(file);
}

static int write_header(struct blk *file, const struct qcow2_header *h)
{
    size_t cluster = (size_t)1 << h->cluster_bits;
    SCOPED(scope_free) uint8_t *p = fault_aligned(4096, cluster);
    int r = p == NULL ? -ENOMEM : qcow2_header_build(h, p, cluster);

    if (r == 0 && cluster > file->block_bytes) {
        r = blk_write(file, p + file->block_bytes, cluster - file->block_bytes,
                      file->block_bytes, 0);
    }
    r = r != 0 ? r : blk_flush(file);
    r = r != 0 ? r : blk_write(file, p, file->block_bytes, 0, 0);
    return r != 0 ? r : blk_flush(file);
}

static void choose(struct qcow2_header *h, const struct qcow2_create_options *o,
                   uint32_t cluster)
{
    *h = (struct qcow2_header){
        .version = o->version_2 ? 2 : 3,
        .cluster_bits = log2_of(cluster),
        .size = o->size_bytes,
        .refcount_order = o->refcount_bits == 0 ? 4 : log2_of(o->refcount_bits),
        .compression = (uint8_t)o->compression,
        .crypt_method = o->crypt != NULL ? 2 : 0,
        .crypt_bytes = o->crypt != NULL ? o->crypt->bytes : 0,
        .compatible = o->lazy_refcounts ? QCOW2_LAZY : 0,
        .autoclear = o->data_is_raw ? QCOW2_AUTO_RAW : 0,
        .incompatible = (o->extended_l2 ? QCOW2_EXTENDED_L2 : 0) |
                        (o->compression != QCOW2_DEFLATE ? QCOW2_COMPRESSION : 0) |
                        (o->data_name != NULL ? QCOW2_DATA_FILE : 0),
        /* borrowed for the time of the call */
        .backing_name = (char *)(uintptr_t)o->backing_name,
        .backing_format = (char *)(uintptr_t)o->backing_format,
        .data_name = (char *)(uintptr_t)o->data_name,
    };
}

static int prepare(struct blk *file, const struct qcow2_header *h, const struct layout *l,
                   struct err *e)
{
    uint64_t bytes = l->clusters << h->cluster_bits;

    if (h->l1_count == 0 || l->rt_clusters << h->cluster_bits > QCOW2_RT_BYTES_MOST) {
        return err_set(e, -EFBIG,
                       "cannot make an image of %llu bytes: take larger clusters",
                       (unsigned long long)h->size);
    }
    if (((uint64_t)1 << h->cluster_bits) < file->block_bytes) {
        return err_set(e, -EINVAL, "cannot make clusters smaller than a block of '%s'",
                       file->label);
    }
    if (file->grows) {
        return blk_resize(file, 0, e);
    }
    if (bytes > blk_size(file)) {
        return err_set(e, -ENOSPC, "cannot make an image: '%s' is too small",
                       file->label);
    }
    return blk_zero(file, 0, file->block_bytes, 0) == 0
               ? 0
               : err_set(e, -EIO, "cannot write '%s'", file->label);
}

int qcow2_create(struct blk *file, const struct qcow2_create_options *o, struct err *e)
{
    uint32_t cluster =
        o->cluster_bytes == 0 ? QCOW2_CLUSTER_BYTES_USUAL : o->cluster_bytes;
    struct qcow2_header h;
    struct layout l;
    int r = check_options(o, cluster, e);

    if (r == 0 && o->size_bytes > BLK_SIZE_MOST_BYTES - (1u << 22)) {
        r = err_set(e, -EFBIG, "cannot make an image of %llu bytes",
                    (unsigned long long)o->size_bytes);
    }
    if (r != 0) {
        return r;
    }
    choose(&h, o, cluster);
    plan(&h, &l, o->preallocate_metadata);
    r = prepare(file, &h, &l, e);
    if (r != 0) {
        return r;
    }
    r = write_tables(file, &h, &l);
    if (r == 0 && o->crypt != NULL) {
        r = blk_zero(file, h.crypt_at, l.crypt * cluster, 0);
        r = r != 0 ? r : o->crypt->make(o->crypt, file, h.crypt_at, e);
    }
    r = r != 0 ? r : write_header(file, &h);
    if (r != 0) {
        return err_sys(e, r, "cannot make an image in '%s'", file->label);
    }
    return 0;
}
