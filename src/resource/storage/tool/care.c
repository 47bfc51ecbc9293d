/* care.c - members of disks that lie on several: how they are, and others in their place. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/job/job.h"
#include "resource/storage/pool/span.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid.h"
#include "resource/storage/tool/worker.h"

#define PAIR 2 /* members of each mirror of level 10 */

static bool is(const struct blk *disk, const char *name)
{
    return disk != NULL && strcmp(disk->ops->name, name) == 0;
}

/* ---- how they are ---- */

static void tell_mirror(const struct blk *disk, unsigned first,
                        void (*tell)(void *arg, const struct tool_care_member *m),
                        void *arg)
{
    struct mirror_status s;

    mirror_status(disk, &s);
    for (unsigned i = 0; i < s.count; i++) {
        bool follows = strcmp(s.member[i].state, "follows") == 0;

        tell(arg, &(struct tool_care_member){.role = first + i,
                                             .state = s.member[i].state,
                                             .behind = s.member[i].behind_bytes,
                                             .lag = follows ? s.lag_bytes : 0,
                                             .errors = s.member[i].errors});
    }
}

static uint64_t behind_of(const struct raid_status *s, unsigned role)
{
    return strcmp(s->state[role], "rebuilding") == 0
               ? (s->stripes - s->done_stripes) * RAID_CHUNK_BYTES
               : 0;
}

void tool_care_members(const struct blk *disk,
                       void (*tell)(void *arg, const struct tool_care_member *m),
                       void *arg)
{
    struct raid_status s;

    if (is(disk, "mirror")) {
        tell_mirror(disk, 0, tell, arg);
    }
    if (!is(disk, "raid")) {
        return;
    }
    raid_status(disk, &s);
    for (unsigned i = 0; i < s.count; i++) {
        if (is(disk->edge[i].disk, "mirror")) {
            tell_mirror(disk->edge[i].disk, i * PAIR, tell, arg);
        } else {
            tell(arg, &(struct tool_care_member){.role = i,
                                                 .state = s.state[i],
                                                 .behind = behind_of(&s, i),
                                                 .errors = s.errors[i]});
        }
    }
}

static void worst(void *arg, const struct tool_care_member *m)
{
    const char **state = arg;

    if (strcmp(m->state, "out") == 0) {
        *state = "degraded";
    } else if (strcmp(*state, "ok") == 0 &&
               (m->behind > 0 || strcmp(m->state, "rebuilding") == 0)) {
        *state = "rebuilding";
    }
}

const char *tool_care_state(const struct blk *disk)
{
    const char *state = "ok";

    tool_care_members(disk, worst, &state);
    return state;
}

/* ---- another disk for a role ---- */

/* The mirror or array that has the member, and its role there. */
static struct blk *set_of(struct blk *disk, unsigned *role)
{
    struct blk *below = is(disk, "raid") && *role / PAIR < disk->edge_count
                            ? disk->edge[*role / PAIR].disk
                            : NULL;

    if (is(below, "mirror")) {
        *role %= PAIR;
        return below;
    }
    return disk;
}

static int replace_in_mirror(struct blk *set, unsigned role, struct blk *take_new,
                             struct err *e)
{
    struct mirror_status s;
    int r = 0;

    mirror_status(set, &s);
    if (role < s.count && strcmp(s.member[role].state, "out") != 0) {
        r = mirror_fail(set, role, e);
    }
    if (r != 0) {
        blk_drop(take_new);
        return r;
    }
    return mirror_replace(set, role, take_new, e);
}

static int replace_in_raid(struct blk *set, unsigned role, struct blk *take_new,
                           struct err *e)
{
    struct raid_status s;
    int r = 0;

    raid_status(set, &s);
    if (role < s.count && strcmp(s.state[role], "out") != 0) {
        r = raid_fail(set, role, e);
    }
    if (r != 0) {
        blk_drop(take_new);
        return r;
    }
    return raid_replace(set, role, take_new, e);
}

int tool_care_replace(struct blk *disk, unsigned role, struct blk *take_new,
                      struct err *e)
{
    struct blk *set = set_of(disk, &role);
    int r = -EOPNOTSUPP;

    if (is(set, "mirror") && !set->read_only) {
        return replace_in_mirror(set, role, take_new, e);
    }
    if (is(set, "raid") && !set->read_only) {
        return replace_in_raid(set, role, take_new, e);
    }
    blk_drop(take_new);
    return err_set(e, set->read_only ? -EROFS : r,
                   "cannot put another member into '%s': %s", disk->label,
                   set->read_only ? "it is read only" : "it has no other copies");
}

/* Nobody has the role any more. */
static int leave_role(struct blk *disk, unsigned role, struct err *e)
{
    struct blk *set = set_of(disk, &role);

    return is(set, "mirror") && !set->read_only
               ? mirror_leave(set, role, e)
               : err_set(e, -EOPNOTSUPP, "'%s' is no mirror that is written to",
                         disk->label);
}

static const char *const replace_keys[] = {"role", "with", "none", "equal", "rate", NULL};

int tool_replace(struct request *r)
{
    struct blk_edge edge = {.user = "replace", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct request_progress told = {.r = r};
    struct tool_care_pace p = {
        .loop = r->loop, .progress = request_progress, .arg = &told};
    struct blk *disk = NULL;
    struct blk *new = NULL;
    uint64_t role = 0;
    int e;

    request_catch_signals(r);
    e = request_open(r, replace_keys, &disk);
    e = e != 0 ? e : request_number(r, "role", 0, &role);
    e = e != 0 || request_has(r, "none") ? e : request_disk(r, "with", &new);
    e = e != 0 ? e : blk_attach(&edge, disk, r->e);
    if (e == 0) {
        e = new != NULL ? tool_care_replace(disk, (unsigned)role, new, r->e)
                        : leave_role(disk, (unsigned)role, r->e);
        e = e == 0 && request_has(r, "equal") ? tool_care_wait_equal(disk, &p, r->e) : e;
        blk_detach(&edge);
    }
    return e;
}

/* ---- as verbs of a worker ---- */

static int go_on(void *arg, uint64_t done, uint64_t total)
{
    struct call *c = arg;

    call_progress(c, done, total);
    return call_check(c);
}

/* The disk that `layer=` names. */
static struct blk *named(struct call *c)
{
    const char *layer = request_get(&c->words, "layer");

    return graph_disk(c->worker->graph, layer != NULL ? layer : "", c->words.e);
}

static int serve_leave(struct call *c, struct blk *disk, uint64_t role)
{
    int r = leave_role(disk, (unsigned)role, c->words.e);

    if (r == 0) {
        graph_prune(c->worker->graph, call_left, c);
        call_answer(c, "replaced", "yes");
        call_send(c);
    }
    return r;
}

/* A member that is put in is made equal whether somebody waits for it or not. */
static int replace_live(struct call *c, struct blk *disk)
{
    struct graph *g = c->worker->graph;
    struct tool_care_pace p = {.loop = c->worker->loop, .progress = go_on, .arg = c};
    const struct blk *new;
    unsigned added = 0;
    uint64_t role = 0;
    int r = request_number(&c->words, "role", 0, &role);

    if (r == 0 && request_has(&c->words, "none")) {
        return serve_leave(c, disk, role);
    }
    r = r == 0 ? call_nodes(c, &added) : r;
    r = r == 0 ? tool_care_replace(disk, (unsigned)role, graph_top(g, NULL), c->words.e)
               : r;
    if (r != 0) {
        graph_drop_last(g, added);
        return r;
    }
    new = graph_top(g, NULL);
    graph_prune(g, call_left, c);
    if (request_get(&c->words, "as") != NULL) {
        (void)graph_rename(g, graph_name_of(g, new), request_get(&c->words, "as"), NULL);
    }
    call_answer(c, "replaced", "yes");
    call_send(c);
    return request_has(&c->words, "equal") ? tool_care_wait_equal(disk, &p, c->words.e)
                                           : 0;
}

/* What lies below a frozen layer is written while its parts move, though its bytes stay: with
 * `reopen=` where it was opened for reading only. */
static int do_thawed(struct call *c, struct blk *disk,
                     int (*work)(struct call *c, struct blk *disk))
{
    bool frozen = disk->read_only;
    int r = frozen ? call_reopen(c) : 0;

    r = r == 0 ? blk_set_access(disk, true, c->words.e) : r;
    r = r == 0 ? work(c, disk) : r;
    if (frozen && !disk->read_only) {
        int back = blk_set_access(disk, false, NULL);

        r = r == 0 ? back : r;
    }
    return r;
}

int serve_replace(struct call *c)
{
    struct blk *disk = named(c);

    return disk == NULL ? -ENOENT : do_thawed(c, disk, replace_live);
}

/* The edge that a step changes. */
static int check_swap(struct call *c, const struct blk *old, const struct blk *new,
                      struct blk_edge **ret)
{
    *ret = job_edge_to(c->worker->root.disk, old);
    if (*ret == NULL || !old->read_only) {
        return err_set(c->words.e, *ret == NULL ? -ENOENT : -EBUSY,
                       *ret == NULL ? "the volume does not stand on '%s'"
                                    : "'%s' is being written",
                       old->label);
    }
    return blk_size(new) != blk_size(old)
               ? err_set(c->words.e, -EINVAL, "'%s' and '%s' have not the same size",
                         old->label, new->label)
               : 0;
}

/* Another disk with the same bytes for one that nobody writes to; who asks knows that they are
 * the same.  It takes over the name. */
int serve_swap(struct call *c)
{
    struct graph *g = c->worker->graph;
    struct blk *old = named(c);
    struct blk_step step = {.edge = NULL};
    unsigned added = 0;
    int r = old == NULL ? -ENOENT : call_nodes(c, &added);

    if (r == 0) {
        step.to = graph_top(g, NULL);
        r = check_swap(c, old, step.to, &step.edge);
    }
    if (r == 0) {
        step.uses = step.edge->uses;
        step.lets = step.edge->lets;
        r = blk_change(&step, 1, c->words.e);
    }
    r = r == 0 ? graph_exchange(g, old, step.to, c->words.e) : r;
    graph_drop_last(g, added); /* it has the name of the old one */
    if (r == 0) {
        graph_prune(g, call_left, c); /* the store that the old one was carved of */
    }
    return r;
}

/* What an image says that it stands on, for whoever opens it by hand. */
int serve_rebase(struct call *c)
{
    const char *name = request_get(&c->words, "name");
    struct blk *disk = named(c);

    if (disk == NULL || name == NULL || !is(disk, "qcow2") || disk->read_only) {
        return disk == NULL ? -ENOENT
                            : err_set(c->words.e, -EINVAL,
                                      "'%s' is no image that is written to, or there is "
                                      "no name=",
                                      disk->label);
    }
    return qcow2_rebase(disk, name, request_get(&c->words, "format"), c->words.e);
}

/* ---- spans ---- */

static int not_a_span(const struct blk *disk, struct err *e)
{
    return is(disk, "span") ? 0
                            : err_set(e, -EINVAL, "'%s' lies on no pieces", disk->label);
}

static const char *const evacuate_keys[] = {"piece", "rate", NULL};

int tool_evacuate(struct request *r)
{
    struct blk_edge edge = {.user = "evacuate", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct request_progress told = {.r = r};
    struct place_span_move m = {.progress = request_progress, .arg = &told};
    struct blk *disk = NULL;
    uint64_t piece = 0;
    int e;

    request_catch_signals(r);
    e = request_open(r, evacuate_keys, &disk);
    e = e != 0 ? e : request_number(r, "piece", 0, &piece);
    e = e != 0 ? e : request_number(r, "rate", 0, &m.bytes_per_s);
    e = e != 0 ? e : not_a_span(disk, r->e);
    e = e != 0 ? e : blk_attach(&edge, disk, r->e);
    if (e == 0) {
        e = place_span_evacuate(disk, (unsigned)piece, &m, r->e);
        e = e == 0 ? blk_flush(disk) : e;
        e = e == 0 ? place_span_leave(disk, (unsigned)piece, r->e) : e;
        blk_detach(&edge);
    }
    return e;
}

/* One more piece, which has to get that number. */
static int add_piece(struct call *c, struct blk *span, unsigned *ret_added)
{
    struct blk *new;
    uint64_t at = 0;
    unsigned got = 0;
    int r = request_number(&c->words, "at", 0, &at);

    r = r == 0 ? call_nodes(c, ret_added) : r;
    if (r != 0) {
        return r;
    }
    if (at != place_span_pieces(span)) {
        return err_set(c->words.e, -EINVAL, "its next piece is number %u",
                       place_span_pieces(span));
    }
    new = graph_top(c->worker->graph, NULL);
    graph_let_grow(c->worker->graph, new);
    r = place_span_add(span, new, &got, c->words.e);
    *ret_added = r == 0 ? 0 : *ret_added;
    return r;
}

static int evacuate_live(struct call *c, struct blk *span)
{
    struct place_span_move m = {.progress = go_on, .arg = c};
    unsigned added = 0;
    uint64_t piece = 0;
    int ready = 0;
    int r = request_number(&c->words, "piece", 0, &piece);

    r = r == 0 ? request_number(&c->words, "rate", 0, &m.bytes_per_s) : r;
    r = r == 0 && request_has(&c->words, "at") ? add_piece(c, span, &added) : r;
    graph_drop_last(c->worker->graph, r == 0 ? 0 : added);
    if (r == 0 && request_has(&c->words, "piece")) {
        r = place_span_evacuate(span, (unsigned)piece, &m, c->words.e);
        r = r == 0 ? blk_flush(span) : r;
        if (r == 0) { /* whoever asked may be gone: nothing lies there all the same */
            int told = call_ready(c, &ready);

            r = place_span_leave(span, (unsigned)piece, c->words.e);
            r = r == 0 ? told : r;
        }
    }
    graph_prune(c->worker->graph, call_left, c);
    return r;
}

/* With `node=` and `at=`: after one more piece was added. */
int serve_evacuate(struct call *c)
{
    struct blk *span = named(c);
    int r = span == NULL ? -ENOENT : not_a_span(span, c->words.e);

    return r == 0 ? do_thawed(c, span, evacuate_live) : r;
}
