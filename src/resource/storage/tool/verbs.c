/* verbs.c - what the worker can be asked, by name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/blk_ops.h"
#include "resource/storage/cache/cache.h"
#include "resource/storage/dedup/dedup.h"
#include "resource/storage/filter/checksum.h"
#include "resource/storage/filter/throttle.h"
#include "resource/storage/filter/tier.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/graph/limits.h"
#include "resource/storage/job/job.h"
#include "resource/storage/tool/exporter.h"
#include "resource/storage/tool/worker.h"

/* ---- status ---- */

struct told {
    struct call *call;
    const char *label;
};

static void tell_member(void *arg, const struct tool_care_member *m)
{
    const struct told *t = arg;

    call_answer(t->call, "member", "%s %u %llu %llu %llu %s", t->label, m->role,
                (unsigned long long)m->behind, (unsigned long long)m->lag,
                (unsigned long long)m->errors, m->state);
}

static int tell_disk(struct blk *b, unsigned depth, void *arg)
{
    struct call *c = arg;
    const char *name = graph_name_of(c->worker->graph, b);

    call_answer(c, "disk", "%u %s %s %llu%s", depth, b->ops->name, b->label,
                (unsigned long long)b->size_bytes, b->read_only ? " read-only" : "");
    tool_care_members(b, tell_member, &(struct told){c, name != NULL ? name : b->label});
    return 0;
}

/* What a filter has counted since it was made: `KIND=NODE NUMBER...`. */
static int tell_figures(struct blk *b, unsigned depth, void *arg)
{
    struct call *c = arg;
    struct graph *g = c->worker->graph;
    const char *name = graph_name_of(g, b);
    const char *type = name != NULL ? graph_type_of(g, name) : b->ops->name;

    (void)depth;
    name = name != NULL ? name : "-";
    if (strcmp(type, "checksum") == 0) {
        struct filter_checksum_status s;

        filter_checksum_status(b, &s);
        call_answer(c, "checksum", "%s %llu %llu", name, (unsigned long long)s.wrong,
                    (unsigned long long)s.mended);
    } else if (strcmp(type, "cache") == 0) {
        struct cache_figures f;

        cache_figures(b, &f);
        call_answer(c, "cache", "%s %llu %llu %llu %llu %llu %llu %d", name,
                    (unsigned long long)f.hits, (unsigned long long)f.misses,
                    (unsigned long long)f.hit_bytes, (unsigned long long)f.miss_bytes,
                    (unsigned long long)f.lines_dirty,
                    (unsigned long long)f.written_back_bytes, f.back_error);
    } else if (strcmp(type, "tier") == 0) {
        struct filter_tier_figures f;

        filter_tier_figures(b, &f);
        call_answer(c, "tier", "%s %llu %llu %llu %llu", name,
                    (unsigned long long)f.fast_requests,
                    (unsigned long long)f.slow_requests, (unsigned long long)f.moved_up,
                    (unsigned long long)f.moved_down);
    } else if (strcmp(type, "throttle") == 0) {
        struct filter_throttle_figures f;

        filter_throttle_figures(b, &f);
        call_answer(c, "throttle", "%s %llu %llu %llu %llu", name,
                    (unsigned long long)f.ops, (unsigned long long)f.bytes,
                    (unsigned long long)f.waits, (unsigned long long)f.waited_ns);
    } else if (strcmp(type, "dedup") == 0 && graph_dedup(g, name) != NULL) {
        struct dedup_status s;

        dedup_status(graph_dedup(g, name), &s);
        call_answer(c, "dedup", "%s %llu %llu %llu", name, (unsigned long long)s.logical,
                    (unsigned long long)s.stored, (unsigned long long)s.damaged);
    }
    return 0;
}

static void tell_served(struct call *c)
{
    for (const struct served *x = c->worker->served; x != NULL; x = x->next) {
        call_answer(c, "export", "%llu %s %llu%s", (unsigned long long)x->id,
                    x->way->name, (unsigned long long)x->way->clients(x->server),
                    x->bound == NULL ? " kept" : "");
    }
}

static int status(struct call *c)
{
    struct worker *w = c->worker;
    struct blk *root = w->root.disk;
    struct job_root_counts n = job_root_counts(root);
    const char *top = graph_name_of(w->graph, serve_image_edge(w)->disk);

    call_answer(c, "pid", "%d", (int)getpid());
    call_answer(c, "size", "%llu", (unsigned long long)root->size_bytes);
    call_answer(c, "block", "%u", root->block_bytes);
    call_answer(c, "locked", "%s", w->locked ? "yes" : "no");
    call_answer(c, "read-only", "%s", root->read_only ? "yes" : "no");
    call_answer(c, "top", "%s", top != NULL ? top : "-");
    call_answer(c, "reads", "%llu", (unsigned long long)n.reads);
    call_answer(c, "writes", "%llu", (unsigned long long)n.writes);
    call_answer(c, "flushes", "%llu", (unsigned long long)n.flushes);
    call_answer(c, "read-bytes", "%llu", (unsigned long long)n.read_bytes);
    call_answer(c, "written-bytes", "%llu", (unsigned long long)n.written_bytes);
    if (w->job != NULL) {
        call_answer(c, "job", "%s %llu %llu", w->job, (unsigned long long)w->job_done,
                    (unsigned long long)w->job_total);
    }
    tell_served(c);
    (void)blk_visit(job_root_edge(root)->disk, tell_figures, c);
    return blk_visit(job_root_edge(root)->disk, tell_disk, c);
}

/* ---- changes that take no time ---- */

static void tell_size(struct worker *w)
{
    for (struct served *x = w->served; x != NULL; x = x->next) {
        if (x->way->resized != NULL) {
            x->way->resized(x->server);
        }
    }
}

static int resize(struct call *c)
{
    struct blk *root = c->worker->root.disk;
    uint64_t size = 0;
    int r = request_number(&c->words, "size", 0, &size);

    if (r == 0 && !request_has(&c->words, "size")) {
        r = err_set(c->words.e, -EINVAL, "no size is named (size=BYTES)");
    }
    if (r == 0 && size < blk_size(root) && !request_has(&c->words, "shrink")) {
        r = err_set(c->words.e, -EINVAL,
                    "%llu bytes would be lost: the word for that is 'shrink'",
                    (unsigned long long)(blk_size(root) - size));
    }
    if (r == 0 && c->worker->job != NULL) {
        r = err_set(c->words.e, -EBUSY, "cannot resize during '%s'", c->worker->job);
    }
    r = r == 0 ? tool_make_room(&c->words, serve_image_edge(c->worker)->disk) : r;
    r = r == 0 ? blk_resize(root, size, c->words.e) : r;
    if (r == 0) {
        tell_size(c->worker);
        call_answer(c, "size", "%llu", (unsigned long long)blk_size(root));
    }
    return r;
}

static int stop(struct call *c)
{
    serve_stop(c->worker);
    return 0;
}

/* Limits of a disk that had none: a filter goes in below the root, under load. */
static int make_limits(struct blk *take_lower, void *arg, struct blk **ret_disk,
                       struct err *e)
{
    return filter_throttle_create(arg, take_lower, ret_disk, e);
}

static int insert_limits(struct call *c, const struct filter_throttle_limits *l)
{
    struct worker *w = c->worker;
    struct blk *root = w->root.disk;
    int r;

    if (w->job != NULL) {
        return err_set(c->words.e, -EBUSY, "cannot set limits during '%s'", w->job);
    }
    r = filter_throttle_group_create(w->loop, l, &w->limits, c->words.e);
    r = r == 0 ? blk_insert(job_root_edge(root), make_limits, w->limits, c->words.e) : r;
    if (r != 0) {
        filter_throttle_group_drop(w->limits);
        w->limits = NULL;
        return r;
    }
    job_root_refresh(root);
    return 0;
}

/* Limits that are named are set, the others stay. */
static int change_limits(struct call *c, struct filter_throttle_limits *l)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < c->words.count; i++) {
        const char *word = c->words.words[i];
        size_t n = strcspn(word, "=");
        char key[32];
        uint64_t number;

        if (strncmp(word, "name=", 5) == 0) {
            continue;
        }
        if (n >= sizeof key) {
            return err_set(c->words.e, -EINVAL, "'%.40s' is no limit", word);
        }
        memcpy(key, word, n);
        key[n] = '\0';
        r = request_number(&c->words, key, 0, &number);
        r = r == 0 ? limits_set(l, key, number) : r;
        r = r == 0 ? 0 : err_set(c->words.e, r, "'%.40s' is no limit", word);
    }
    return r;
}

/* Of the disk that is named, or without a name of the whole volume. */
static int throttle(struct call *c)
{
    const char *name = request_get(&c->words, "name");
    struct filter_throttle_group *g =
        graph_throttle(c->worker->graph, name != NULL ? name : SERVE_LIMITS);
    struct filter_throttle_limits l = {0};
    int r;

    if (g == NULL && name != NULL) {
        return err_set(c->words.e, -ENOENT, "no disk with limits is called '%.64s'",
                       name);
    }
    g = g != NULL ? g : c->worker->limits;
    if (g != NULL) {
        filter_throttle_group_get(g, &l);
    }
    r = change_limits(c, &l);
    if (r != 0) {
        return r;
    }
    return g != NULL ? filter_throttle_group_set(g, &l, c->words.e)
                     : insert_limits(c, &l);
}

/* ---- the table ---- */

static const struct verb {
    const char *name;
    const char *const *keys; /* NULL: it looks itself */
    bool listens;            /* it takes messages while it is under way */
    bool alone;              /* never at the same time as another of these */
    int (*run)(struct call *c);
} verbs[] = {
    {"status", (const char *const[]){NULL}, false, false, status},
    {"export", NULL, false, false, serve_export},
    {"unexport", (const char *const[]){"id", NULL}, false, false, serve_unexport},
    {"resize", (const char *const[]){"size", "shrink", "room", NULL}, false, false,
     resize},
    {"throttle", NULL, false, false, throttle},
    {"fork", (const char *const[]){"layer", "hold", NULL}, true, true, serve_fork},
    {"move", (const char *const[]){"layer", "hold", "turned", NULL}, true, true,
     serve_move},
    {"merge",
     (const char *const[]){"layer", "onto", "hold", "turned", "reopen", "rename",
                           "rename-format", NULL},
     true, true, serve_merge},
    {"stream", (const char *const[]){"layer", NULL}, true, true, serve_stream},
    {"backup", (const char *const[]){"layer", "marks", "bitmap", "full", NULL}, true,
     true, serve_backup},
    {"marks",
     (const char *const[]){"marks", "add", "granularity", "remove", "clear", "enable",
                           "disable", NULL},
     false, false, serve_marks},
    {"key",
     (const char *const[]){"layer", "key", "new", "remove", "rounds", "reopen", NULL},
     false, true, serve_key},
    {"header", (const char *const[]){"layer", "copy", NULL}, false, false, serve_header},
    {"scrub", (const char *const[]){"layer", "mend", "equal", "read", "rate", NULL}, true,
     false, serve_scrub},
    {"reclaim", (const char *const[]){"layer", NULL}, true, false, serve_reclaim},
    {"replace",
     (const char *const[]){"layer", "role", "none", "equal", "as", "rate", "reopen",
                           NULL},
     true, true, serve_replace},
    {"rebase", (const char *const[]){"layer", "name", "format", NULL}, false, true,
     serve_rebase},
    {"swap", (const char *const[]){"layer", NULL}, false, true, serve_swap},
    {"evacuate",
     (const char *const[]){"layer", "piece", "at", "hold", "rate", "reopen", NULL}, true,
     true, serve_evacuate},
    {"stop", (const char *const[]){NULL}, false, false, stop},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

bool serve_verb_listens(const char *verb)
{
    const struct verb *v = find_verb(verb);

    return v != NULL && v->listens;
}

int serve_verb(struct call *c)
{
    const struct verb *v = find_verb(c->verb);
    struct worker *w = c->worker;
    int r = 0;

    if (v == NULL || w->ending) {
        return v == NULL ? err_set(c->words.e, -EINVAL, "'%.40s' is no request", c->verb)
                         : err_set(c->words.e, -ESHUTDOWN, "the volume is being closed");
    }
    r = v->keys != NULL ? request_check(&c->words, v->keys) : 0;
    if (r == 0 && v->alone && w->job != NULL) {
        r = err_set(c->words.e, -EBUSY, "'%s' is under way", w->job);
    }
    if (r != 0) {
        return r;
    }
    if (v->alone) {
        w->job = v->name;
        w->job_done = 0;
        w->job_total = 0;
    }
    r = v->run(c);
    if (v->alone) {
        w->job = NULL;
    }
    return r;
}
