/* open.c - an image becomes a disk.
 *
 * Nothing in the file is believed: sizes of tables are bounded before memory is asked
 * for, and every table has to lie inside the file.  What the header says of features
 * decides: unknown incompatible ones refuse, the corrupt bit and overlapping tables
 * leave it readable only, the dirty bit has the counts made anew before a change. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/parts.h"

#define FIRST_BYTES 4096 /* holds all that says how large the first cluster is */

/* ---- slots ---- */

static int slot_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct qcow2 *q = qcow2_of(b);
    unsigned epoch = qcow2_enter(q);
    int r = qcow2_guest_read(q, to, off);

    qcow2_leave(q, epoch);
    return r;
}

/* Without its backing file an image is not written: what surrounds a write would be
 * missing. */
static int may_write(const struct qcow2 *q)
{
    return q->header.backing_name != NULL && q->edge[EDGE_BACKING].disk == NULL ? -EACCES
                                                                                : 0;
}

static int slot_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct qcow2 *q = qcow2_of(b);
    unsigned epoch = qcow2_enter(q);
    int r;

    (void)flags;
    r = may_write(q);
    r = r != 0 ? r : qcow2_bitmaps_touch(q, off, from.bytes);
    r = r != 0 ? r : qcow2_guest_write(q, from, off);
    qcow2_leave(q, epoch);
    return r;
}

static int slot_write_pipe(struct blk *b, int from, uint64_t bytes, uint64_t off)
{
    struct qcow2 *q = qcow2_of(b);
    unsigned epoch = qcow2_enter(q);
    int r;

    r = may_write(q);
    r = r != 0 ? r : qcow2_bitmaps_touch(q, off, bytes);
    r = r != 0 ? r : qcow2_guest_write_pipe(q, from, bytes, off);
    qcow2_leave(q, epoch);
    return r;
}

static int slot_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct qcow2 *q = qcow2_of(b);
    unsigned epoch = qcow2_enter(q);
    int r;

    r = may_write(q);
    r = r != 0 ? r : qcow2_bitmaps_touch(q, off, bytes);
    r = r != 0 ? r : qcow2_guest_zero(q, off, bytes, (flags & BLK_UNMAP) != 0);
    qcow2_leave(q, epoch);
    return r;
}

static int slot_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct qcow2 *q = qcow2_of(b);
    unsigned epoch = qcow2_enter(q);
    int r;

    r = may_write(q);
    r = r != 0 ? r : qcow2_bitmaps_touch(q, off, bytes);
    r = r != 0 ? r : qcow2_guest_drop(q, off, bytes);
    qcow2_leave(q, epoch);
    return r;
}

static int slot_status(struct blk *b, uint64_t off, uint64_t bytes,
                       struct blk_extent *ret)
{
    struct qcow2 *q = qcow2_of(b);
    unsigned epoch = qcow2_enter(q);
    int r = qcow2_guest_status(q, off, bytes, ret);

    qcow2_leave(q, epoch);
    return r;
}

static int slot_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd,
                      uint64_t *ret_at)
{
    return qcow2_guest_pages(qcow2_of(b), off, bytes, ret_fd, ret_at);
}

static int slot_flush(struct blk *b)
{
    struct qcow2 *q = qcow2_of(b);
    int r = qcow2_commit(q);
    int late = q->late_error;

    q->late_error = 0;
    return r != 0 ? r : late;
}

static int slot_quiesce(struct blk *b)
{
    struct qcow2 *q = qcow2_of(b);
    int r = 0;

    if (b->read_only || q->corrupt) {
        return 0;
    }
    r = qcow2_bitmaps_keep(q);
    r = r != 0 ? r : qcow2_settle(q);
    r = r != 0 ? r : qcow2_mark_clean(q);
    q->late_error = r;
    return r;
}

static void drop_crypt(struct qcow2_crypt *c)
{
    if (c != NULL && c->destroy != NULL) {
        c->destroy(c);
    }
}

static void slot_destroy(struct blk *b)
{
    struct qcow2 *q = qcow2_of(b);

    for (int i = EDGE_COUNT - 1; i >= 0; i--) {
        blk_detach(&q->edge[i]);
    }
    drop_crypt(q->crypt);
    qcow2_snapshots_fini(q);
    qcow2_bitmaps_fini(q);
    qcow2_cache_fini(&q->cache);
    qcow2_table_fini(&q->l1);
    qcow2_table_fini(&q->rt);
    qcow2_header_fini(&q->header);
    free(q->uses);
    free(q->recycled.run);
    free(q->freed.run);
    free(q->unused.run);
    free(q->leaving.run);
    free(q->ready.run);
    free(q->unpacked);
    free(q->label);
    free(q);
}

/* What has to be so before anything is changed. */
static int open_writable(struct qcow2 *q, bool for_repair, struct err *e);

static int slot_access(struct blk *b, bool writes, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    int r = blk_edge_access(&q->edge[EDGE_FILE], writes, e);

    r = r == 0 ? blk_edge_access(&q->edge[EDGE_DATA], writes, e) : r;
    if (r != 0 || !writes) {
        return r;
    }
    b->read_only = false; /* as its parts see it */
    r = open_writable(q, false, e);
    b->read_only = true;
    return r;
}

static const struct blk_ops qcow2_ops = {
    .name = "qcow2",
    .read = slot_read,
    .write = slot_write,
    .write_pipe = slot_write_pipe,
    .zero = slot_zero,
    .discard = slot_discard,
    .flush = slot_flush,
    .status = slot_status,
    .pages = slot_pages,
    .resize = qcow2_resize,
    .quiesce = slot_quiesce,
    .access = slot_access,
    .destroy = slot_destroy,
};

bool qcow2_is_image(const struct blk *b)
{
    return b->ops == &qcow2_ops;
}

struct blk_edge *qcow2_backing_edge(struct blk *disk)
{
    struct qcow2 *q = qcow2_of(disk);

    if (!qcow2_is_image(disk)) {
        return NULL;
    }
    q->edge[EDGE_BACKING].user = q->label;
    return &q->edge[EDGE_BACKING];
}

/* ---- opening ---- */

static int read_header(struct qcow2 *q, struct err *e)
{
    size_t room = FIRST_BYTES;
    SCOPED(scope_free) uint8_t *bytes = NULL;
    int r = 0;

    for (unsigned turn = 0; r == 0 && turn < 2; turn++) {
        uint32_t bits;

        free(bytes);
        bytes = fault_aligned(4096, room);
        r = bytes == NULL ? -ENOMEM : qcow2_io_read(q, bytes, room, 0);
        bits = r == 0 ? qcow2_get32(bytes + 20) : 0;
        if (turn == 0 && bits > 12 && bits <= QCOW2_CLUSTER_BITS_MOST) {
            room = (size_t)1 << bits;
        } else {
            break;
        }
    }
    if (r != 0) {
        return err_sys(e, r, "cannot read its header");
    }
    return qcow2_header_parse(&q->header, bytes, room, e);
}

static void set_geometry(struct qcow2 *q)
{
    const struct qcow2_header *h = &q->header;

    q->cluster_bytes = 1u << h->cluster_bits;
    q->slice_bytes = q->cluster_bytes < 4096 ? q->cluster_bytes : 4096;
    q->entry_bytes = (h->incompatible & QCOW2_EXTENDED_L2) != 0 ? 16 : 8;
    q->l2_bits = h->cluster_bits - (q->entry_bytes == 16 ? 4 : 3);
    q->subs = q->entry_bytes == 16 ? QCOW2_SUBCLUSTERS : 1;
    q->sub_bytes = q->cluster_bytes / q->subs;
    q->sub_bits = h->cluster_bits - (q->subs > 1 ? 5 : 0);
    q->span_bits = h->cluster_bits + q->l2_bits;
    q->ref_bits = h->cluster_bits + 3 - h->refcount_order;
    q->lazy = h->version == 3 && (h->compatible & QCOW2_LAZY) != 0;
    q->corrupt = (h->incompatible & QCOW2_CORRUPT) != 0;
}

static bool lies_inside(const struct qcow2 *q, uint64_t at, uint64_t bytes)
{
    uint64_t end = (blk_size(qcow2_file(q)) + q->cluster_bytes - 1) &
                   ~(uint64_t)(q->cluster_bytes - 1);

    return at != 0 && at % q->cluster_bytes == 0 && at <= end && bytes <= end - at;
}

static int check_tables(struct qcow2 *q, struct err *e)
{
    const struct qcow2_header *h = &q->header;
    uint64_t span = qcow2_l2_span(q);
    uint64_t l1_bytes = (uint64_t)h->l1_count * 8;
    uint64_t rt_bytes = (uint64_t)h->rt_clusters * q->cluster_bytes;

    if (q->cluster_bytes < qcow2_file(q)->block_bytes) {
        return err_set(e, -EOPNOTSUPP,
                       "its clusters are smaller than the blocks of the disk below");
    }
    if (h->size > BLK_SIZE_MOST_BYTES - (1u << 22)) {
        return err_set(e, -EFBIG, "it has %llu bytes", (unsigned long long)h->size);
    }
    if (l1_bytes > QCOW2_L1_BYTES_MOST || h->l1_count < (h->size + span - 1) / span ||
        (h->l1_count > 0 && !lies_inside(q, h->l1_at, l1_bytes))) {
        return err_set(e, -EUCLEAN, "its L1 table is out of place");
    }
    if (rt_bytes > QCOW2_RT_BYTES_MOST || rt_bytes == 0 ||
        !lies_inside(q, h->rt_at, rt_bytes)) {
        return err_set(e, -EUCLEAN, "its refcount table is out of place");
    }
    if (h->crypt_at != 0 &&
        (h->crypt_bytes > (64u << 20) || !lies_inside(q, h->crypt_at, h->crypt_bytes))) {
        return err_set(e, -EUCLEAN, "its encryption header is out of place");
    }
    return 0;
}

static int load_tables(struct qcow2 *q, const struct qcow2_open_options *o, struct err *e)
{
    const struct qcow2_header *h = &q->header;
    uint64_t wanted = ((h->size >> h->cluster_bits) + 1) * q->entry_bytes +
                      (((h->size >> h->cluster_bits) << h->refcount_order) >> 3) +
                      16u * q->slice_bytes;
    int r;

    if (o->cache_bytes != 0) {
        wanted = o->cache_bytes;
    } else if (wanted > QCOW2_CACHE_BYTES_MOST) {
        wanted = QCOW2_CACHE_BYTES_MOST;
    }
    r = qcow2_cache_init(&q->cache, (uint32_t)(wanted / q->slice_bytes));
    r = r != 0 ? r : qcow2_table_init(q, &q->l1, h->l1_at, h->l1_count);
    r = r != 0 ? r
               : qcow2_table_init(q, &q->rt, h->rt_at,
                                  h->rt_clusters * (q->cluster_bytes / 8));
    return r == 0 ? 0 : err_sys(e, r, "cannot read its tables");
}

/* A key for an image in clear is not ignored: who gave it takes it for encrypted. */
static int start_crypt(struct qcow2 *q, struct err *e)
{
    if (q->header.crypt_method == 0) {
        return q->crypt == NULL ? 0 : err_set(e, -EINVAL, "it is not encrypted");
    }
    if (q->header.crypt_method == 1) {
        return err_set(e, -EOPNOTSUPP,
                       "it is encrypted in the old way of qcow2 (AES-CBC), which is not "
                       "safe and not supported; convert it with 'qemu-img convert'");
    }
    if (q->crypt == NULL) {
        return err_set(e, -EACCES, "it is encrypted (LUKS) and no key was given");
    }
    return q->crypt->start(q->crypt, qcow2_file(q), q->header.crypt_at,
                           q->header.crypt_bytes, e);
}

static void set_disk(struct qcow2 *q)
{
    uint32_t block = qcow2_file(q)->block_bytes;

    for (int i = EDGE_BACKING; i < EDGE_COUNT; i++) {
        if (q->edge[i].disk != NULL && q->edge[i].disk->block_bytes > block) {
            block = q->edge[i].disk->block_bytes;
        }
    }
    q->blk.block_bytes = block;
    q->blk.best_bytes = q->sub_bytes;
    q->blk.size_bytes = (q->header.size + block - 1) & ~(uint64_t)(block - 1);
    q->blk.zeroes_fast =
        q->header.version == 3 && (q->header.autoclear & QCOW2_AUTO_RAW) == 0;
    q->fresh_from = (blk_size(qcow2_file(q)) + q->cluster_bytes - 1) / q->cluster_bytes;
}

static int open_writable(struct qcow2 *q, bool for_repair, struct err *e)
{
    struct qcow2_check_result x;
    int r = qcow2_uses_build(q);

    if (r != 0) {
        return err_sys(e, r, "cannot look at its tables");
    }
    if (for_repair) {
        q->corrupt = false;
        return 0;
    }
    if (q->corrupt || q->overlaps) {
        return err_set(e, -EUCLEAN, "%s: open it read only, or repair it",
                       q->corrupt ? "it is marked corrupt" : "its tables overlap");
    }
    if ((q->header.incompatible & QCOW2_DIRTY) != 0) {
        r = qcow2_check(&q->blk, QCOW2_REPAIR_ALL, &x, e);
        if (r != 0) {
            return r;
        }
    }
    if ((q->header.autoclear & ~QCOW2_AUTO_KNOWN) != 0) {
        q->header.autoclear &= QCOW2_AUTO_KNOWN;
        r = qcow2_header_store(q);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot write its header");
}

static int start(struct qcow2 *q, const struct qcow2_open_options *o, struct err *e)
{
    int r = read_header(q, e);

    if (r != 0) {
        return r;
    }
    set_geometry(q);
    r = check_tables(q, e);
    r = r != 0 ? r : load_tables(q, o, e);
    r = r != 0 ? r : qcow2_snapshots_load(q, e);
    r = r != 0 ? r : start_crypt(q, e);
    r = r != 0 ? r : qcow2_backing_open(q, o, e);
    if (r != 0) {
        return r;
    }
    set_disk(q);
    r = qcow2_bitmaps_load(q, e);
    return r != 0 || q->blk.read_only ? r : open_writable(q, o->for_repair, e);
}

int qcow2_open(struct blk *take_file, const struct qcow2_open_options *o,
               struct blk **ret_disk, struct err *e)
{
    struct qcow2 *q = fault_calloc(1, sizeof *q);
    const char *label = o->label != NULL ? o->label : "qcow2";
    int r;

    if (q != NULL) {
        q->label = fault_strdup(label);
    }
    if (q == NULL || q->label == NULL) {
        free(q);
        drop_crypt(o->crypt);
        blk_drop(take_file);
        return err_sys(e, -ENOMEM, "cannot open '%s'", label);
    }
    blk_init(&q->blk, &qcow2_ops, take_file->strands);
    q->blk.label = q->label;
    q->blk.read_only = o->read_only || take_file->read_only;
    q->blk.edge = q->edge;
    q->blk.edge_count = EDGE_COUNT;
    q->loop = o->loop;
    q->crypt = o->crypt;
    q->edge[EDGE_FILE] =
        (struct blk_edge){.user = q->label,
                          .uses = q->blk.read_only ? BLK_USE_READ : BLK_USE_ALL,
                          .lets = q->blk.read_only ? BLK_USE_READ : 0};
    r = blk_attach(&q->edge[EDGE_FILE], take_file, e);
    r = r != 0 ? r : start(q, o, e);
    if (r != 0) {
        if (e == NULL || strlen(e->text) <= ERR_TEXT_BYTES / 2) {
            (void)err_wrap(e, "cannot open '%s'", label);
        }
        slot_destroy(&q->blk);
        return r;
    }
    *ret_disk = &q->blk;
    return 0;
}

void qcow2_info(const struct blk *disk, struct qcow2_info *ret)
{
    const struct qcow2 *q = (const struct qcow2 *)disk;
    const struct qcow2_header *h = &q->header;

    *ret = (struct qcow2_info){
        .version = h->version,
        .cluster_bytes = q->cluster_bytes,
        .refcount_bits = 1u << h->refcount_order,
        .extended_l2 = qcow2_extended(q),
        .lazy_refcounts = q->lazy,
        .is_dirty = (h->incompatible & QCOW2_DIRTY) != 0,
        .is_corrupt = (h->incompatible & QCOW2_CORRUPT) != 0,
        .is_encrypted = h->crypt_method != 0,
        .has_data_file = qcow2_has_data_file(q),
        .data_is_raw = (h->autoclear & QCOW2_AUTO_RAW) != 0,
        .compression = (enum qcow2_compression)h->compression,
        .crypt_at = h->crypt_at,
        .crypt_bytes = h->crypt_bytes,
        .backing_name = h->backing_name,
        .backing_format = h->backing_format,
        .data_name = h->data_name,
    };
}
