/* blk_graph.c - edges with permissions, draining, and changes that are all or nothing.
 *
 * A disk that is drained lets nobody in; whoever was inside has to leave.  A request
 * of a parent may be inside the parent and wait at the door of the child, so a
 * set of disks is drained parents first: draining the child first would wait for
 * ever for the parent.
 *
 * Requests that waited at the door of a disk whose user was moved to another one go
 * to that one (`successor`): what is written during a change is not lost with the
 * disk that is left. */
#include "contract/blk_graph.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "base/err.h"
#include "contract/blk_ops.h"

#define CHANGE_STEPS_MOST 16
#define GRAPH_DISKS_MOST  1024 /* below one top: a chain of backing files is shorter */

static const char *word_for(unsigned use)
{
    if ((use & BLK_USE_WRITE) != 0) {
        return "writes to it";
    }
    return (use & BLK_USE_RESIZE) != 0 ? "resizes it" : "reads it";
}

static int check_edge(const struct blk_edge *edge, const struct blk *disk, struct err *e)
{
    if ((edge->uses & (BLK_USE_WRITE | BLK_USE_RESIZE)) != 0 && disk->read_only) {
        return err_set(e, -EROFS, "cannot let '%s' write to '%s': it is read only",
                       edge->user, disk->label);
    }
    for (const struct blk_edge *o = disk->users; o != NULL; o = o->next) {
        unsigned theirs = o->uses & ~edge->lets;
        unsigned ours = edge->uses & ~o->lets;

        if ((theirs | ours) != 0) {
            return err_set(e, -EBUSY, "cannot let '%s' use '%s': '%s' %s", edge->user,
                           disk->label, o->user,
                           theirs != 0 ? word_for(theirs) : "does not share it");
        }
    }
    return 0;
}

static void link_edge(struct blk_edge *edge, struct blk *disk)
{
    edge->disk = disk;
    edge->next = disk->users;
    disk->users = edge;
}

static void unlink_edge(struct blk_edge *edge)
{
    struct blk_edge **at = &edge->disk->users;

    while (*at != edge) {
        at = &(*at)->next;
    }
    *at = edge->next;
    edge->next = NULL;
    edge->disk = NULL;
}

int blk_attach(struct blk_edge *edge, struct blk *disk, struct err *e)
{
    int r = check_edge(edge, disk, e);

    assert(edge->disk == NULL);
    if (r == 0) {
        link_edge(edge, disk);
    }
    return r;
}

void blk_drop(struct blk *disk)
{
    if (disk == NULL || disk->users != NULL) {
        return;
    }
    blk_drain_begin(disk);
    if (disk->ops->quiesce != NULL) {
        (void)disk->ops->quiesce(disk);
    }
    disk->ops->destroy(disk);
}

void blk_detach(struct blk_edge *edge)
{
    struct blk *disk = edge->disk;

    if (disk == NULL) {
        return;
    }
    unlink_edge(edge);
    if (disk->users == NULL) {
        blk_drop(disk);
    }
}

void blk_drain_begin(struct blk *disk)
{
    disk->drained++;
    while (disk->in_flight > 0) {
        strand_wait(disk->strands, &disk->draining);
    }
}

void blk_drain_end(struct blk *disk)
{
    assert(disk->drained > 0);
    disk->drained--;
    if (disk->drained == 0) {
        (void)strand_wake_all(&disk->waiting);
    }
}

/* ---- walks ---- */

struct walk {
    struct blk *seen[GRAPH_DISKS_MOST];
    unsigned count;
    int (*visit)(struct blk *b, unsigned depth, void *arg);
    void *arg;
};

static int walk_from(struct walk *w, struct blk *b, unsigned depth)
{
    int r;

    for (unsigned i = 0; i < w->count; i++) {
        if (w->seen[i] == b) {
            return 0;
        }
    }
    if (w->count == GRAPH_DISKS_MOST) {
        return -E2BIG;
    }
    w->seen[w->count++] = b;
    r = w->visit(b, depth, w->arg);
    for (unsigned i = 0; r == 0 && i < b->edge_count; i++) {
        if (b->edge[i].disk != NULL) {
            r = walk_from(w, b->edge[i].disk, depth + 1);
        }
    }
    return r;
}

int blk_visit(struct blk *top, int (*visit)(struct blk *b, unsigned depth, void *arg),
              void *arg)
{
    struct walk w = {.visit = visit, .arg = arg};

    return walk_from(&w, top, 0);
}

static int is_that(struct blk *b, unsigned depth, void *arg)
{
    return depth > 0 && b == arg;
}

static bool leads_to(struct blk *from, struct blk *to)
{
    return blk_visit(from, is_that, to) == 1;
}

/* ---- transactions ---- */

struct disks {
    struct blk *at[2 * CHANGE_STEPS_MOST];
    unsigned count;
};

static void add_disk(struct disks *d, struct blk *b)
{
    for (unsigned i = 0; i < d->count; i++) {
        if (d->at[i] == b) {
            return;
        }
    }
    if (b != NULL) {
        d->at[d->count++] = b;
    }
}

/* Parents first. */
static void order(struct disks *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        for (unsigned k = i + 1; k < d->count; k++) {
            if (leads_to(d->at[k], d->at[i])) {
                struct blk *b = d->at[i];

                d->at[i] = d->at[k];
                d->at[k] = b;
                k = i; /* the new one may have parents, too */
            }
        }
    }
}

/* What an edge was before the transaction. */
struct before {
    struct blk *disk;
    unsigned uses;
    unsigned lets;
};

static void set_edge(struct blk_edge *edge, struct blk *to, unsigned uses, unsigned lets)
{
    edge->uses = uses;
    edge->lets = lets;
    if (to != NULL) {
        link_edge(edge, to);
    }
}

static int change_edges(struct blk_step *steps, unsigned count, struct err *e)
{
    struct before was[CHANGE_STEPS_MOST];
    int r = 0;

    for (unsigned i = 0; i < count; i++) {
        struct blk_edge *edge = steps[i].edge;

        was[i] = (struct before){edge->disk, edge->uses, edge->lets};
        if (edge->disk != NULL) {
            unlink_edge(edge);
        }
    }
    for (unsigned i = 0; r == 0 && i < count; i++) {
        struct blk_edge *edge = steps[i].edge;

        edge->uses = steps[i].uses;
        edge->lets = steps[i].lets;
        r = steps[i].to != NULL ? check_edge(edge, steps[i].to, e) : 0;
        if (r == 0 && steps[i].to != NULL) {
            link_edge(edge, steps[i].to);
        }
    }
    for (unsigned i = 0; r == 0 && i < count; i++) {
        if (was[i].disk != NULL && was[i].disk != steps[i].to) {
            was[i].disk->successor = steps[i].to;
        }
    }
    for (unsigned i = 0; r != 0 && i < count; i++) {
        if (steps[i].edge->disk != NULL) {
            unlink_edge(steps[i].edge);
        }
        set_edge(steps[i].edge, was[i].disk, was[i].uses, was[i].lets);
    }
    return r;
}

/* Put what a disk holds back where the disks below have it. */
static int quiesce(struct blk *b, struct err *e)
{
    int r = b->ops->quiesce != NULL ? b->ops->quiesce(b) : 0;

    return r == 0 ? 0 : err_sys(e, r, "cannot take '%s' out of the way", b->label);
}

/* `leaving`: a disk to be quiesced before those below it are drained; or NULL. */
static int change(struct blk_step *steps, unsigned count, struct blk *leaving,
                  struct err *e)
{
    struct disks d = {.count = 0};
    int r = 0;

    assert(count <= CHANGE_STEPS_MOST);
    for (unsigned i = 0; i < count; i++) {
        add_disk(&d, steps[i].edge->disk);
        add_disk(&d, steps[i].to);
    }
    order(&d);
    for (unsigned i = 0; i < d.count; i++) {
        blk_drain_begin(d.at[i]);
        if (d.at[i] == leaving) {
            r = quiesce(leaving, e);
        }
    }
    r = r == 0 ? change_edges(steps, count, e) : r;
    for (unsigned i = d.count; i > 0; i--) { /* children first */
        struct blk *b = d.at[i - 1];

        blk_drain_end(b);
        b->successor = NULL;
    }
    for (unsigned i = 0; r == 0 && i < d.count; i++) {
        blk_drop(d.at[i]);
    }
    return r;
}

int blk_change(struct blk_step *steps, unsigned count, struct err *e)
{
    return change(steps, count, NULL, e);
}

int blk_insert(struct blk_edge *edge,
               int (*make)(struct blk *take_lower, void *arg, struct blk **ret_disk,
                           struct err *e),
               void *arg, struct err *e)
{
    struct blk *lower = edge->disk;
    struct blk_edge hold = {.user = "insert", .lets = BLK_USE_ALL};
    unsigned uses = edge->uses;
    unsigned lets = edge->lets;
    struct blk *filter = NULL;
    int r;

    blk_drain_begin(lower);
    edge->uses = 0; /* it leads there still: `make` may suspend, and requests come */
    edge->lets = BLK_USE_ALL;
    r = blk_attach(&hold, lower, e);
    if (r == 0) {
        r = make(lower, arg, &filter, e);
    }
    edge->uses = uses;
    edge->lets = lets;
    if (r == 0) {
        unlink_edge(edge);
        r = blk_attach(edge, filter, e);
        if (r != 0) {
            blk_drop(filter);
            link_edge(edge, lower);
        }
    }
    lower->successor = r == 0 ? filter : NULL;
    blk_drain_end(lower);
    lower->successor = NULL;
    blk_detach(&hold);
    return r;
}

int blk_remove(struct blk_edge *edge, struct err *e)
{
    struct blk *filter = edge->disk;
    struct blk_step steps[2] = {{edge, filter->edge[0].disk, edge->uses, edge->lets},
                                {&filter->edge[0], NULL, 0, BLK_USE_ALL}};

    assert(filter->edge_count > 0 && filter->edge[0].disk != NULL);
    return change(steps, 2, filter, e);
}
