/* change.c - the size of a disk, what is held back above it, and what an image stands on. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/cache/cache.h"
#include "resource/storage/convert/convert.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/tool/private.h"

#define PIECE_BYTES (1u << 20)

/* ---- resize ---- */

static const char *const resize_keys[] = {"size", "shrink", "room", NULL};

int tool_make_room(const struct request *r, struct blk *image)
{
    struct blk *file = image->edge_count > 0 ? image->edge[0].disk : NULL;
    uint64_t room = 0;
    int e = request_number(r, "room", 0, &room);

    if (e != 0 || room == 0) {
        return e;
    }
    if (file == NULL || strcmp(image->ops->name, "qcow2") != 0) {
        return err_set(r->e, -EINVAL, "room= is for images");
    }
    return blk_size(file) < room ? blk_resize(file, room, r->e) : 0;
}

int tool_resize(struct request *r)
{
    struct blk_edge edge = {.user = "resize", .uses = BLK_USE_RESIZE | BLK_USE_WRITE};
    struct blk *disk = NULL;
    uint64_t size = 0;
    int e = request_open(r, resize_keys, &disk);

    e = e != 0 ? e : request_number(r, "size", UINT64_MAX, &size);
    if (e == 0 && (size == UINT64_MAX || size > BLK_SIZE_MOST_BYTES)) {
        e = err_set(r->e, -EINVAL, "no size is given (size=BYTES)");
    }
    if (e == 0 && size < blk_size(disk) && !request_has(r, "shrink")) {
        e = err_set(r->e, -EINVAL,
                    "the disk has %llu bytes: what is behind a smaller end is lost "
                    "('shrink' allows it)",
                    (unsigned long long)blk_size(disk));
    }
    e = e != 0 ? e : blk_attach(&edge, disk, r->e);
    if (e == 0) {
        e = tool_make_room(r, disk);
        e = e != 0 ? e : blk_resize(disk, size, r->e);
        e = e != 0 ? e : blk_flush(disk);
        blk_detach(&edge);
    }
    return e != 0 ? err_sys(r->e, e, "cannot resize the disk") : 0;
}

/* ---- settle ---- */

static int write_back(struct blk *b, unsigned depth, void *arg)
{
    (void)depth;
    (void)arg;
    return strcmp(b->ops->name, "cache") == 0 ? cache_write_back(b) : 0;
}

/* What caches hold back goes down, and all is durable. */
int tool_settle(struct request *r)
{
    static const char *const none[] = {NULL};
    struct blk *disk = NULL;
    int e = request_open(r, none, &disk);

    if (e != 0) {
        return e;
    }
    e = blk_visit(disk, write_back, NULL);
    e = e == 0 ? blk_flush(disk) : e;
    return e == 0 ? 0 : err_sys(r->e, e, "cannot write back what is held");
}

/* ---- merge ---- */

static bool is_qcow2(const struct blk *disk)
{
    return strcmp(disk->ops->name, "qcow2") == 0;
}

/* What the layer holds goes to the disk that it stands on, which has its size then.  The
 * layer is not changed: until it is removed, both read alike, and a merge that was
 * interrupted can be run again. */
static int merge(const struct request *r, struct transcode_job *j)
{
    struct transcode_result result = {0};
    struct request_progress p = {.r = r};
    uint64_t size = blk_size(j->from);
    int e = 0;

    j->allocated_only = true;
    j->progress = request_progress;
    j->arg = &p;
    if (blk_size(j->to) < size) {
        e = blk_resize(j->to, size, r->e);
    }
    e = e != 0 ? e : transcode_run(j, &result, r->e);
    if (e == 0 && blk_size(j->to) > size) {
        e = blk_resize(j->to, size, r->e);
        e = e != 0 ? e : blk_flush(j->to);
    }
    if (e == 0) {
        (void)request_answer_number(r, "copied_bytes", result.copied_bytes);
    }
    return e;
}

static const char *const merge_keys[] = {"from", "to", NULL};

int tool_merge(struct request *r)
{
    struct blk_edge from = {.user = "merge", .uses = BLK_USE_READ, .lets = BLK_USE_READ};
    struct blk_edge to = {.user = "merge", .uses = BLK_USE_ALL};
    struct transcode_job j = {0};
    struct blk *top = NULL;
    int e;

    request_catch_signals(r);
    e = request_open(r, merge_keys, &top);
    e = e != 0 ? e : request_disk(r, "from", &j.from);
    e = e != 0 ? e : request_disk(r, "to", &j.to);
    if (e == 0 && !is_qcow2(j.from)) {
        e = err_set(r->e, -EINVAL, "a disk of type %s is no layer", j.from->ops->name);
    }
    e = e != 0 ? e : blk_attach(&from, j.from, r->e);
    e = e != 0 ? e : blk_attach(&to, j.to, r->e);
    e = e != 0 ? e : merge(r, &j);
    blk_detach(&to);
    blk_detach(&from);
    return e;
}

/* ---- rebase ---- */

struct rebase {
    const struct request *r;
    struct blk *layer;
    struct blk *now; /* what it stands on; NULL: nothing */
    struct blk *then;
    char *one; /* of PIECE_BYTES */
    char *other;
};

/* What a disk has there; zeros behind its end.  NULL: all zeros. */
static int read_padded(struct blk *disk, char *to, size_t bytes, uint64_t off)
{
    uint64_t size = disk != NULL ? blk_size(disk) : 0;
    size_t have = off < size ? (size_t)(size - off < bytes ? size - off : bytes) : 0;

    memset(to + have, 0, bytes - have);
    return have > 0 ? blk_read(disk, to, have, off) : 0;
}

/* The layer takes over, cluster by cluster, what would change. */
static int take_over(struct rebase *b, uint64_t off, size_t bytes, uint32_t step)
{
    int e = read_padded(b->now, b->one, bytes, off);

    e = e != 0 ? e : read_padded(b->then, b->other, bytes, off);
    for (size_t at = 0; e == 0 && at < bytes; at += step) {
        size_t n = bytes - at < step ? bytes - at : step;

        if (memcmp(b->one + at, b->other + at, n) != 0) {
            e = blk_write(b->layer, b->one + at, n, off + at, 0);
        }
    }
    return e;
}

static int take_all_over(struct rebase *b)
{
    struct request_progress p = {.r = b->r};
    uint64_t size = blk_size(b->layer);
    uint64_t off = 0;
    int e = 0;

    while (e == 0 && off < size) {
        struct blk_extent x;
        uint64_t most = size - off < PIECE_BYTES ? size - off : PIECE_BYTES;

        e = blk_status(b->layer, off, most, &x);
        if (e == 0 && (x.state & BLK_ALLOCATED) == 0) {
            e = take_over(b, off, (size_t)x.bytes, blk_block_bytes(b->layer));
        }
        off += e == 0 ? x.bytes : 0;
        e = e != 0 ? e : request_progress(&p, off, size);
    }
    e = e != 0 ? e : blk_flush(b->layer);
    return e == 0 ? 0 : err_sys(b->r->e, e, "cannot rebase '%s'", b->layer->label);
}

/* `now=` and `then=` name the disks below; without them only the name changes, and who
 * asks knows that both read alike. */
static int rebase(struct rebase *b)
{
    const struct request *r = b->r;
    SCOPED(scope_free) char *one = fault_aligned(4096, PIECE_BYTES);
    SCOPED(scope_free) char *other = fault_aligned(4096, PIECE_BYTES);
    const char *name = request_get(r, "name");
    int e = one == NULL || other == NULL ? -ENOMEM : 0;

    b->one = one;
    b->other = other;
    if (e == 0 && request_has(r, "now")) {
        e = request_disk(r, "now", &b->now);
    }
    if (e == 0 && request_has(r, "then")) {
        e = request_disk(r, "then", &b->then);
    }
    if (e == 0 && (b->now != NULL || b->then != NULL)) {
        e = take_all_over(b);
    }
    return e != 0 ? e : qcow2_rebase(b->layer, name, request_get(r, "format"), r->e);
}

static const char *const rebase_keys[] = {"name", "format", "now", "then", NULL};

int tool_rebase(struct request *r)
{
    struct blk_edge edge = {.user = "rebase", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct rebase b = {.r = r};
    int e;

    request_catch_signals(r);
    e = request_open(r, rebase_keys, &b.layer);
    if (e == 0 && !is_qcow2(b.layer)) {
        e = err_set(r->e, -EINVAL, "a disk of type %s stands on nothing",
                    b.layer->ops->name);
    }
    if (e == 0 && request_has(r, "name") && !request_has(r, "format")) {
        e = err_set(r->e, -EINVAL, "no format of it is given (format=NAME)");
    }
    e = e != 0 ? e : blk_attach(&edge, b.layer, r->e);
    if (e == 0) {
        e = rebase(&b);
        blk_detach(&edge);
    }
    return e == 0 ? 0 : err_sys(r->e, e, "cannot rebase");
}
