/* root.c - the disk that guests are attached to; jobs change what it leads to. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/job/private.h"

enum {
    EDGE_TOP,
    EDGE_DEBT, /* see `job_root_owe` */
    EDGE_COUNT
};

struct root {
    struct blk blk;
    struct blk_edge edge[EDGE_COUNT];
    struct job_root_counts counts;
    unsigned flushing; /* requests that make something durable */
    bool held;         /* no such one begins */
    struct strand_queue waiting;
    struct strand_queue ended;
};

static struct root *root_of(struct blk *b)
{
    return (struct root *)b;
}

static struct blk *top_of(struct blk *b)
{
    return root_of(b)->edge[EDGE_TOP].disk;
}

static int root_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct root *f = root_of(b);

    f->counts.reads++;
    f->counts.read_bytes += to.bytes;
    return blk_readv(top_of(b), to, off);
}

static void count_write(struct root *f, uint64_t bytes)
{
    f->counts.writes++;
    f->counts.written_bytes += bytes;
}

/* Around requests that make something durable, which may take a while. */
static void begin_flush(struct root *f)
{
    while (f->held) {
        strand_wait(f->blk.strands, &f->waiting);
    }
    f->flushing++;
}

static int end_flush(struct root *f, int r)
{
    f->flushing--;
    if (f->flushing == 0) {
        (void)strand_wake_all(&f->ended);
    }
    return r;
}

static int root_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    count_write(root_of(b), from.bytes);
    if ((flags & BLK_FUA) == 0) {
        return blk_writev(top_of(b), from, off, flags);
    }
    begin_flush(root_of(b));
    return end_flush(root_of(b), blk_writev(top_of(b), from, off, flags));
}

static int root_write_pipe(struct blk *b, int from, uint64_t bytes, uint64_t off)
{
    int r = blk_write_pipe(top_of(b), from, bytes, off, 0);

    if (r == 0) {
        count_write(root_of(b), bytes);
    }
    return r;
}

static int root_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    count_write(root_of(b), bytes);
    if ((flags & BLK_FUA) == 0) {
        return blk_zero(top_of(b), off, bytes, flags);
    }
    begin_flush(root_of(b));
    return end_flush(root_of(b), blk_zero(top_of(b), off, bytes, flags));
}

static int root_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    count_write(root_of(b), bytes);
    return blk_discard(top_of(b), off, bytes);
}

static int root_flush(struct blk *b)
{
    struct root *f = root_of(b);
    struct blk *owed;
    int r;

    f->counts.flushes++;
    begin_flush(f);
    owed = f->edge[EDGE_DEBT].disk;
    r = owed != NULL ? blk_flush(owed) : 0;
    return end_flush(f, r != 0 ? r : blk_flush(top_of(b)));
}

static int root_status(struct blk *b, uint64_t off, uint64_t bytes,
                       struct blk_extent *ret)
{
    return blk_status(top_of(b), off, bytes, ret);
}

static int root_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd,
                      uint64_t *ret_at)
{
    int r = blk_pages(top_of(b), off, bytes, ret_fd, ret_at);

    if (r == 0) {
        root_of(b)->counts.reads++;
        root_of(b)->counts.read_bytes += bytes;
    }
    return r;
}

static int root_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    int r = blk_resize(top_of(b), size_bytes, e);

    if (r == 0) {
        b->size_bytes = size_bytes;
    }
    return r;
}

static void root_destroy(struct blk *b)
{
    blk_detach(&root_of(b)->edge[EDGE_DEBT]);
    blk_detach(&root_of(b)->edge[EDGE_TOP]);
    free(b);
}

static const struct blk_ops root_ops = {
    .name = "root",
    .read = root_read,
    .write = root_write,
    .write_pipe = root_write_pipe,
    .zero = root_zero,
    .discard = root_discard,
    .flush = root_flush,
    .status = root_status,
    .pages = root_pages,
    .resize = root_resize,
    .destroy = root_destroy,
};

int job_root_create(struct blk *take_lower, struct blk **ret_root, struct err *e)
{
    struct root *f = fault_calloc(1, sizeof *f);
    int r = f == NULL ? err_sys(e, -ENOMEM, "cannot serve '%s'", take_lower->label) : 0;

    if (r == 0) {
        blk_init_like(&f->blk, &root_ops, take_lower);
        f->blk.edge = f->edge;
        f->blk.edge_count = EDGE_COUNT;
        f->blk.does_fua = true;
        f->edge[EDGE_TOP] = (struct blk_edge){
            .user = "root",
            .uses = take_lower->read_only ? BLK_USE_READ : BLK_USE_ALL,
            .lets = BLK_USE_READ,
        };
        f->edge[EDGE_DEBT] = (struct blk_edge){.user = "root", .lets = BLK_USE_ALL};
        r = blk_attach(&f->edge[EDGE_TOP], take_lower, e);
    }
    if (r != 0) {
        blk_drop(take_lower);
        free(f);
        return r;
    }
    job_root_refresh(&f->blk);
    *ret_root = &f->blk;
    return 0;
}

struct blk_edge *job_root_edge(struct blk *root)
{
    return &root_of(root)->edge[EDGE_TOP];
}

struct search {
    const struct blk *disk;
    struct blk_edge *found;
};

static int find_edge(struct blk *b, unsigned depth, void *arg)
{
    struct search *s = arg;

    (void)depth;
    for (unsigned i = 0; i < b->edge_count; i++) {
        if (b->edge[i].disk == s->disk && b->edge[i].uses != 0) {
            s->found = &b->edge[i];
            return 1;
        }
    }
    return 0;
}

struct blk_edge *job_edge_to(struct blk *root, const struct blk *disk)
{
    struct search s = {.disk = disk};

    (void)blk_visit(root, find_edge, &s);
    return s.found;
}

struct owner_search {
    const struct blk_edge *edge;
    struct blk *found;
};

static int find_owner(struct blk *b, unsigned depth, void *arg)
{
    struct owner_search *s = arg;

    (void)depth;
    if (s->edge >= b->edge && s->edge < b->edge + b->edge_count) {
        s->found = b;
        return 1;
    }
    return 0;
}

struct blk *job_user_of(struct blk *root, const struct blk_edge *edge)
{
    struct owner_search s = {.edge = edge};

    (void)blk_visit(root, find_owner, &s);
    return s.found;
}

struct job_root_counts job_root_counts(const struct blk *root)
{
    return ((const struct root *)root)->counts;
}

void job_root_refresh(struct blk *root)
{
    const struct blk *top = top_of(root);

    root->best_bytes = top->best_bytes;
    root->zeroes_fast = top->zeroes_fast;
}

void job_root_hold_flushes(struct blk *root)
{
    struct root *f = root_of(root);

    f->held = true;
    while (f->flushing > 0) {
        strand_wait(root->strands, &f->ended);
    }
}

void job_root_let_flushes(struct blk *root)
{
    struct root *f = root_of(root);

    f->held = false;
    (void)strand_wake_all(&f->waiting);
}

int job_root_owe(struct blk *root, struct blk *disk, struct err *e)
{
    struct blk_edge *debt = &root_of(root)->edge[EDGE_DEBT];

    if (debt->disk != NULL) {
        return err_set(e, -EBUSY, "'%s' is not durable yet", debt->disk->label);
    }
    return blk_attach(debt, disk, e);
}

int job_root_pay(struct blk *root)
{
    struct blk_edge *debt = &root_of(root)->edge[EDGE_DEBT];
    int r = debt->disk != NULL ? blk_flush(debt->disk) : 0;

    if (r == 0) {
        blk_detach(debt);
    }
    return r;
}
