/* check.c - whether an image is right, and mending it; scrubs: reading all of a disk, and comparing
 * what it has more than once; room that a store of blocks does not need. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/dedup/dedup.h"
#include "resource/storage/filter/checksum.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid.h"
#include "resource/storage/tool/private.h"
#include "resource/storage/tool/worker.h"

#define PIECE_BYTES   (1u << 20)
#define EQUAL_STEP_NS 10000000u
#define EQUAL_TRIES   6000 /* steps in which nothing was copied */
#define SECOND_NS     1000000000.0

static bool is(const struct blk *disk, const char *name)
{
    return strcmp(disk->ops->name, name) == 0;
}

static int choose_repair(const struct request *r, enum qcow2_repair *ret)
{
    const char *text = request_get(r, "repair");

    if (text == NULL) {
        *ret = QCOW2_REPAIR_NOTHING;
    } else if (strcmp(text, "leaks") == 0) {
        *ret = QCOW2_REPAIR_LEAKS;
    } else if (strcmp(text, "all") == 0) {
        *ret = QCOW2_REPAIR_ALL;
    } else {
        return err_set(r->e, -EINVAL, "repair= is leaks or all");
    }
    return 0;
}

static int check_qcow2(const struct request *r, struct blk *disk)
{
    struct qcow2_check_result x;
    enum qcow2_repair repair = QCOW2_REPAIR_NOTHING;
    int e = choose_repair(r, &repair);

    e = e != 0 ? e : qcow2_check(disk, repair, &x, r->e);
    if (e != 0) {
        return e;
    }
    (void)request_answer_number(r, "corruptions", x.corruptions);
    (void)request_answer_number(r, "leaks", x.leaks);
    (void)request_answer_number(r, "repaired_corruptions", x.repaired_corruptions);
    (void)request_answer_number(r, "repaired_leaks", x.repaired_leaks);
    (void)request_answer_number(r, "data_clusters", x.data_clusters);
    (void)request_answer_number(r, "compressed_clusters", x.compressed_clusters);
    return request_answer_number(r, "file_end", x.file_end);
}

static const char *const check_keys[] = {"repair", NULL};

int tool_check(struct request *r)
{
    struct blk *disk = NULL;
    struct dedup *store;
    int e = request_open(r, check_keys, &disk);

    if (e != 0) {
        return e;
    }
    store = graph_dedup(r->graph, graph_name_of(r->graph, disk));
    if (is(disk, "qcow2")) {
        return check_qcow2(r, disk);
    }
    if (request_has(r, "repair")) {
        return err_set(r->e, -EOPNOTSUPP, "nobody here can repair a disk of type %s",
                       disk->ops->name);
    }
    return store != NULL ? dedup_check(store, r->e) : 0; /* it could be opened */
}

/* ---- scrubs ---- */

int tool_care_pace(struct tool_care_pace *p, uint64_t done, uint64_t total)
{
    int r = p->progress != NULL ? p->progress(p->arg, done, total) : 0;

    p->began_ns = p->began_ns != 0 ? p->began_ns : loop_now_ns(p->loop);
    while (r == 0 && p->rate > 0) {
        uint64_t now = loop_now_ns(p->loop);
        uint64_t due =
            p->began_ns + (uint64_t)((double)done / (double)p->rate * SECOND_NS);

        if (due <= now) {
            break;
        }
        loop_sleep(p->loop,
                   due - now < EQUAL_STEP_NS * 10 ? due - now : EQUAL_STEP_NS * 10);
        r = p->progress != NULL ? p->progress(p->arg, done, total) : 0;
    }
    return r;
}

static int pace(void *arg, uint64_t done, uint64_t total)
{
    return tool_care_pace(arg, done, total);
}

/* ---- by kind ---- */

static int scrub_checksum(struct blk *disk, struct tool_care_scrub *s,
                          struct tool_care_pace *p)
{
    struct filter_checksum_scrub x = {.renew = s->renew, .progress = pace, .arg = p};
    int r = filter_checksum_scrub(disk, &x);

    s->units += x.blocks;
    s->wrong += x.wrong;
    s->mended += x.mended;
    s->renewed += x.renewed;
    return r;
}

static int scrub_mirror(struct blk *disk, struct tool_care_scrub *s,
                        struct tool_care_pace *p)
{
    struct mirror_scrub x = {.mend = s->mend, .progress = pace, .arg = p};
    int r = mirror_scrub(disk, &x);

    s->units += x.regions;
    s->wrong += x.wrong;
    s->mended += x.mended;
    return r;
}

/* Of level 10 the mirrors are compared; of level 0 nothing can be. */
static int scrub_raid(struct blk *disk, struct tool_care_scrub *s,
                      struct tool_care_pace *p)
{
    struct raid_scrub x = {.mend = s->mend, .progress = pace, .arg = p};
    int r = raid_scrub(disk, &x);

    for (unsigned i = 0; (r == -EOPNOTSUPP || r == 0) && i < disk->edge_count; i++) {
        struct blk *below = disk->edge[i].disk;

        r = below != NULL && is(below, "mirror") ? scrub_mirror(below, s, p) : r;
    }
    s->units += x.stripes;
    s->wrong += x.wrong;
    s->mended += x.mended;
    return r;
}

/* Whether all that it holds can be read. */
static int scrub_reads(struct blk *disk, struct tool_care_scrub *s,
                       struct tool_care_pace *p)
{
    SCOPED(scope_free) char *room = fault_aligned(4096, PIECE_BYTES);
    uint64_t size = blk_size(disk);
    int r = room == NULL ? -ENOMEM : 0;

    for (uint64_t off = 0; r == 0 && off < size;) {
        uint64_t left = size - off;
        struct blk_extent x = {.bytes = left < PIECE_BYTES ? left : PIECE_BYTES};
        int status = blk_status(disk, off, left, &x);

        if (status != 0 || ((x.state & BLK_DATA) != 0 && x.bytes > PIECE_BYTES)) {
            x.bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
        }
        if (status != 0 || (x.state & BLK_DATA) != 0) {
            s->units++;
            s->wrong += blk_read(disk, room, (size_t)x.bytes, off) != 0;
        }
        off += x.bytes;
        r = tool_care_pace(p, off, size);
    }
    return r;
}

static const struct {
    const char *ops;
    int (*scrub)(struct blk *disk, struct tool_care_scrub *s, struct tool_care_pace *p);
} scrubbers[] = {
    {"checksum", scrub_checksum},
    {"raid", scrub_raid},
    {"mirror", scrub_mirror},
};

int tool_care_scrub(struct blk *disk, struct tool_care_scrub *s, struct tool_care_pace *p,
                    struct err *e)
{
    int r = -EOPNOTSUPP;

    for (unsigned i = 0; i < sizeof scrubbers / sizeof scrubbers[0]; i++) {
        if (is(disk, scrubbers[i].ops)) {
            r = scrubbers[i].scrub(disk, s, p);
        }
    }
    if (r == -EOPNOTSUPP && s->read) {
        r = scrub_reads(disk, s, p);
    }
    if (r == -EOPNOTSUPP) {
        return err_set(e, r, "a disk of type %s has nothing to compare", disk->ops->name);
    }
    if (r == 0 && s->mend && !blk_is_read_only(disk)) {
        r = blk_flush(disk);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot scrub '%s'", disk->label);
}

/* ---- until all are equal ---- */

struct equal {
    bool rebuilding;
    uint64_t behind;
};

static void look_at_member(void *arg, const struct tool_care_member *m)
{
    struct equal *x = arg;

    x->rebuilding = x->rebuilding || strcmp(m->state, "rebuilding") == 0 ||
                    (m->behind > 0 && strcmp(m->state, "out") != 0);
    x->behind += m->behind;
}

int tool_care_wait_equal(const struct blk *disk, struct tool_care_pace *p, struct err *e)
{
    uint64_t before = UINT64_MAX;
    uint64_t most = 0;
    int r = 0;

    for (unsigned tries = 0; r == 0; tries++) {
        struct equal x = {.rebuilding = false};

        tool_care_members(disk, look_at_member, &x);
        if (!x.rebuilding) {
            return 0;
        }
        tries = x.behind != before ? 0 : tries;
        before = x.behind;
        most = x.behind > most ? x.behind : most;
        if (tries == EQUAL_TRIES) {
            return err_set(e, -ETIMEDOUT, "its members do not become equal");
        }
        r = p->progress != NULL ? p->progress(p->arg, most - x.behind, most) : 0;
        loop_sleep(p->loop, EQUAL_STEP_NS);
    }
    return r;
}

/* ---- as an operation, and as a verb ---- */

static const char *const scrub_keys[] = {"mend", "renew", "equal", "read", "rate", NULL};

static void ask(const struct request *r, struct tool_care_scrub *ret)
{
    *ret = (struct tool_care_scrub){.mend = request_has(r, "mend"),
                                    .renew = request_has(r, "renew"),
                                    .read = request_has(r, "read")};
}

static void tell(const struct request *r, const struct tool_care_scrub *s)
{
    (void)request_answer_number(r, "units", s->units);
    (void)request_answer_number(r, "wrong", s->wrong);
    (void)request_answer_number(r, "mended", s->mended);
    if (s->renew) {
        (void)request_answer_number(r, "renewed", s->renewed);
    }
}

int tool_scrub(struct request *r)
{
    struct blk_edge edge = {.user = "scrub"};
    struct request_progress told = {.r = r};
    struct tool_care_pace p = {
        .loop = r->loop, .progress = request_progress, .arg = &told};
    struct tool_care_scrub s;
    struct blk *disk = NULL;
    int e;

    request_catch_signals(r);
    e = request_open(r, scrub_keys, &disk);
    e = e != 0 ? e : request_number(r, "rate", 0, &p.rate);
    if (e != 0) {
        return e;
    }
    ask(r, &s);
    edge.uses = blk_is_read_only(disk) ? BLK_USE_READ : BLK_USE_READ | BLK_USE_WRITE;
    e = blk_attach(&edge, disk, r->e);
    e = e == 0 && request_has(r, "equal") ? tool_care_wait_equal(disk, &p, r->e) : e;
    e = e != 0 ? e : tool_care_scrub(disk, &s, &p, r->e);
    tell(r, &s);
    blk_detach(&edge);
    return e;
}

static int go_on(void *arg, uint64_t done, uint64_t total)
{
    struct call *c = arg;

    call_progress(c, done, total);
    return call_check(c);
}

int serve_scrub(struct call *c)
{
    struct blk_edge hold = {.user = "scrub", .lets = BLK_USE_ALL};
    struct tool_care_pace p = {.loop = c->worker->loop, .progress = go_on, .arg = c};
    const char *layer = request_get(&c->words, "layer");
    struct blk *disk =
        graph_disk(c->worker->graph, layer != NULL ? layer : "", c->words.e);
    struct tool_care_scrub s;
    int r = disk == NULL ? -ENOENT : request_number(&c->words, "rate", 0, &p.rate);

    if (r != 0) {
        return r;
    }
    ask(&c->words, &s);
    r = blk_attach(&hold, disk, c->words.e);
    r = r == 0 && request_has(&c->words, "equal")
            ? tool_care_wait_equal(disk, &p, c->words.e)
            : r;
    r = r == 0 ? tool_care_scrub(disk, &s, &p, c->words.e) : r;
    blk_detach(&hold);
    call_answer(c, "units", "%llu", (unsigned long long)s.units);
    call_answer(c, "wrong", "%llu", (unsigned long long)s.wrong);
    call_answer(c, "mended", "%llu", (unsigned long long)s.mended);
    return r;
}

/* ---- room that nobody needs ---- */

static int reclaim(struct graph *g, const struct blk *disk,
                   int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   uint64_t *ret_bytes, struct err *e)
{
    struct dedup *store = graph_dedup(g, graph_name_of(g, disk));
    uint64_t blocks = 0;
    int r = store != NULL && !disk->read_only
                ? dedup_reclaim(store, progress, arg, &blocks)
                : -EINVAL;

    *ret_bytes = blocks * DEDUP_BLOCK_BYTES;
    return r == 0 ? 0
           : store == NULL || disk->read_only
               ? err_set(e, r, "'%s' is no volume of a store that is written to",
                         disk->label)
               : err_sys(e, r, "cannot give the room back that '%s' does not need",
                         disk->label);
}

int tool_reclaim(struct request *r)
{
    static const char *const none[] = {NULL};
    struct blk_edge edge = {.user = "reclaim", .uses = BLK_USE_READ, .lets = BLK_USE_ALL};
    struct request_progress told = {.r = r};
    struct blk *disk = NULL;
    uint64_t bytes = 0;
    int e;

    request_catch_signals(r);
    e = request_open(r, none, &disk);
    e = e != 0 ? e : blk_attach(&edge, disk, r->e);
    if (e == 0) {
        e = reclaim(r->graph, disk, request_progress, &told, &bytes, r->e);
        (void)request_answer_number(r, "reclaimed", bytes);
        blk_detach(&edge);
    }
    return e;
}

/* Of a disk in use. */
int serve_reclaim(struct call *c)
{
    struct blk_edge hold = {.user = "reclaim", .lets = BLK_USE_ALL};
    const char *layer = request_get(&c->words, "layer");
    struct blk *disk =
        graph_disk(c->worker->graph, layer != NULL ? layer : "", c->words.e);
    uint64_t bytes = 0;
    int r = disk == NULL ? -ENOENT : blk_attach(&hold, disk, c->words.e);

    if (r == 0) {
        r = reclaim(c->worker->graph, disk, go_on, c, &bytes, c->words.e);
        call_answer(c, "reclaimed", "%llu", (unsigned long long)bytes);
        blk_detach(&hold);
    }
    return r;
}
