/* backing.c - the files that an image names, and making it name others.
 *
 * Names are foreign bytes: only the source opens them.  A chain that leads to itself has
 * no end, so it is refused where it is longer than chains may be.
 *
 * To stand alone, an image copies what the backing file has cluster by cluster, under
 * the lock of its range, so that guests may go on: where they write meanwhile, theirs
 * stays.  Zeros need not be copied: without a backing file, nothing reads zeros.  The name of
 * the backing file goes last. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_source.h"
#include "resource/storage/qcow2/parts.h"

static int open_named(struct qcow2 *q, const struct qcow2_open_options *o,
                      const char *name, const char *format, int edge, struct err *e)
{
    bool reads = edge == EDGE_BACKING || q->blk.read_only;
    struct blk_source *source =
        edge == EDGE_DATA && o->data_source != NULL ? o->data_source : o->source;
    struct blk *disk = NULL;
    int r;

    if (source == NULL) {
        return err_set(e, -EACCES, "it needs '%s', which nothing may open here", name);
    }
    r = source->open(source, name, format, reads, &disk, e);
    if (r != 0) {
        if (e != NULL && strlen(e->text) <= ERR_TEXT_BYTES / 2) {
            (void)err_wrap(e, "it needs '%s'", name);
        } /* of a long chain, what is wrong at its end counts */
        return r;
    }
    q->edge[edge] = (struct blk_edge){.user = q->label,
                                      .uses = reads ? BLK_USE_READ : BLK_USE_ALL,
                                      .lets = reads ? BLK_USE_READ : 0};
    return blk_attach(&q->edge[edge], disk, e);
}

static int open_backing(struct qcow2 *q, const struct qcow2_open_options *o,
                        struct err *e)
{
    const char *format = q->header.backing_format;

    if (q->header.backing_name == NULL || o->alone) {
        return 0;
    }
    if (o->depth >= QCOW2_CHAIN_MOST) {
        return err_set(e, -ELOOP, "more than %d images stand on each other",
                       QCOW2_CHAIN_MOST);
    }
    format = format != NULL ? format : o->assume_format;
    if (format == NULL) {
        return err_set(e, -EINVAL, "it does not say which format '%s' has",
                       q->header.backing_name);
    }
    return open_named(q, o, q->header.backing_name, format, EDGE_BACKING, e);
}

int qcow2_backing_open(struct qcow2 *q, const struct qcow2_open_options *o, struct err *e)
{
    int r = 0;

    if (qcow2_has_data_file(q)) {
        if (q->header.data_name == NULL) {
            return err_set(e, -EUCLEAN, "it does not name its data file");
        }
        r = open_named(q, o, q->header.data_name, "raw", EDGE_DATA, e);
    }
    return r != 0 ? r : open_backing(q, o, e);
}

/* ---- another backing file ---- */

static char *copy_of(const char *text)
{
    return text != NULL ? fault_strdup(text) : NULL;
}

static int rename_backing(struct qcow2 *q, const char *name, const char *format)
{
    struct qcow2_header *h = &q->header;
    struct qcow2_header old = *h;
    char *new_name = copy_of(name);
    char *new_format = copy_of(format);
    int r = 0;

    if ((name != NULL && new_name == NULL) || (format != NULL && new_format == NULL)) {
        r = -ENOMEM;
    }
    r = r != 0 ? r : qcow2_header_store(q); /* everything in its usual place first */
    old = *h;
    h->backing_name = new_name;
    h->backing_format = new_format;
    h->name_is_new = true;
    r = r != 0 ? r : qcow2_header_store(q);
    if (r != 0) {
        *h = old;
        q->header_unsure = true;
        free(new_name);
        free(new_format);
    } else {
        free(old.backing_name);
        free(old.backing_format);
    }
    return r;
}

int qcow2_rebase(struct blk *disk, const char *name, const char *format, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    int r;

    if (disk->read_only) {
        return err_set(e, -EROFS, "cannot rebase '%s': it is read only", q->label);
    }
    if (name != NULL && (strlen(name) > QCOW2_NAME_MOST || name[0] == '\0' ||
                         (q->header.autoclear & QCOW2_AUTO_RAW) != 0)) {
        return err_set(e, -EINVAL, "cannot rebase '%s': not a name that it can have",
                       q->label);
    }
    blk_drain_begin(disk);
    r = qcow2_settle(q);
    if (r == 0) {
        r = rename_backing(q, name, name != NULL ? format : NULL);
    }
    blk_drain_end(disk);
    return r == 0 ? 0 : err_sys(e, r, "cannot rebase '%s'", q->label);
}

/* ---- standing alone ---- */

#define STEP_BYTES ((size_t)1 << 20) /* copied at a time; at least a cluster */

/* [off, off + bytes) holds nothing here: copy it, if there is something to copy. */
static int copy_up(struct qcow2 *q, void *room, uint64_t off, size_t bytes, bool ready)
{
    struct iovec piece;
    struct blk_vec v = blk_vec_of(&piece, room, bytes);
    bool data;
    int r = qcow2_backing_has_data(q, off, bytes, &data);

    if (r == 0 && data) {
        r = qcow2_guest_read(q, v, off);
    }
    if (r != 0 || !data || blk_vec_is_zero(v)) {
        return r;
    }
    while (r == 0 && v.bytes > 0) {
        size_t did = 0;
        struct qcow2_extent x;

        r = qcow2_map(q, off, v.bytes, &x);
        ready = qcow2_is_ready(&x);
        r = r != 0 ? r : qcow2_write_locked(q, v, off, off, ready, &did);
        off += did;
        v = blk_vec_part(v, did, v.bytes - did);
    }
    return r;
}

/* The first bytes of [off, end), which are alike; *ret_did of them. */
static int step(struct qcow2 *q, void *room, size_t room_bytes, uint64_t off,
                uint64_t end, uint64_t *ret_did)
{
    uint64_t mask = q->cluster_bytes - 1;
    struct qcow2_range range;
    struct qcow2_extent x;
    uint64_t n = end - off;
    int r = qcow2_cache_presses(q) ? qcow2_commit(q) : 0;

    n = n < room_bytes ? n : room_bytes;
    if (n > qcow2_entries_left(q, off) * q->cluster_bytes - (off & mask)) {
        n = qcow2_entries_left(q, off) * q->cluster_bytes - (off & mask);
    }
    if (r != 0) {
        return r;
    }
    qcow2_range_lock(q, &range, off & ~mask, (off + n + mask) & ~mask);
    r = qcow2_map(q, off, n, &x);
    if (r == 0 && x.kind == KIND_NOTHING) {
        r = copy_up(q, room, off, (size_t)x.bytes, qcow2_is_ready(&x));
    }
    qcow2_range_unlock(q, &range);
    *ret_did = r == 0 ? x.bytes : 0;
    return r;
}

/* Nothing is missing: stand alone. */
static int stand_alone(struct qcow2 *q, struct err *e)
{
    int r = qcow2_rebase(&q->blk, NULL, NULL, e);

    if (r == 0) {
        blk_drain_begin(&q->blk);
        blk_detach(&q->edge[EDGE_BACKING]);
        blk_drain_end(&q->blk);
    }
    return r;
}

int qcow2_flatten(struct blk *disk, uint64_t *at, uint64_t bytes, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    size_t room_bytes = STEP_BYTES > q->cluster_bytes ? STEP_BYTES : q->cluster_bytes;
    SCOPED(scope_free) void *room = fault_aligned(4096, room_bytes);
    uint64_t end =
        (disk->size_bytes + q->cluster_bytes - 1) & ~(uint64_t)(q->cluster_bytes - 1);
    uint64_t stop = bytes < end - *at ? *at + bytes : end;
    unsigned epoch;
    int r = room == NULL ? -ENOMEM : 0;

    if (disk->read_only || q->header.snapshots > 0 ||
        (q->header.backing_name != NULL && q->edge[EDGE_BACKING].disk == NULL)) {
        return err_set(e, disk->read_only ? -EROFS : -EBUSY,
                       "cannot make '%s' stand alone: %s", q->label,
                       disk->read_only           ? "it is read only"
                       : q->header.snapshots > 0 ? "it has internal snapshots"
                                                 : "its backing file is not open");
    }
    if (q->header.backing_name == NULL) {
        *at = disk->size_bytes;
        return 0;
    }
    stop = (stop + q->cluster_bytes - 1) & ~(uint64_t)(q->cluster_bytes - 1);
    epoch = qcow2_enter(q);
    while (r == 0 && *at < stop) {
        uint64_t did = 0;

        r = step(q, room, room_bytes, *at, stop, &did);
        *at += did;
    }
    qcow2_leave(q, epoch);
    if (r != 0) {
        return err_sys(e, r, "cannot make '%s' stand alone", q->label);
    }
    if (*at >= end) {
        *at = disk->size_bytes;
        return stand_alone(q, e);
    }
    return 0;
}
