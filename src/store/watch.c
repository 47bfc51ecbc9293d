/* watch.c - what changed since, told once, in order, whole revisions at a time. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "store/private.h"

#define EVENTS_AT_ONCE 256 /* a call stops at the end of the revision that reaches it */

struct watch {
    struct kv_watch base; /* first */
    int64_t from;         /* the next revision to tell */
    struct kv_span span;  /* borrowed from the two below */
    char *first;          /* owned */
    char *end;            /* owned; NULL: one key */
};

static struct watch *watch_of(struct kv_watch *w)
{
    return (struct watch *)w;
}

void store_watch_close(struct kv_watch *base)
{
    struct watch *w = watch_of(base);

    free(w->first);
    free(w->end);
    free(w);
}

static int copy_span(struct watch *w, struct kv_span span)
{
    w->first = fault_strdup(span.first == NULL ? "" : span.first);
    w->end = span.end == NULL ? NULL : fault_strdup(span.end);
    if (w->first == NULL || (span.end != NULL && w->end == NULL)) {
        return -ENOMEM;
    }
    w->span = (struct kv_span){.first = w->first, .end = w->end};
    return 0;
}

static int place_watch(struct store *s, struct watch *w, struct err *e)
{
    int r;

    if (w->from > 0) {
        return 0;
    }
    r = store_begin(s, false, false, e);
    if (r == 0) {
        w->from = s->revision + 1;
        r = store_end(s, 0, e);
    }
    return r;
}

int store_watch_open(struct kv *kv, struct kv_span span, int64_t from,
                     struct kv_watch **ret, struct err *e)
{
    struct watch *w = fault_calloc(1, sizeof *w);
    int r;

    if (w == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    w->base.kv = kv;
    w->from = from;
    r = copy_span(w, span);
    if (r < 0) {
        (void)err_set(e, r, "out of memory");
    } else {
        r = place_watch(store_of(kv), w, e);
    }
    if (r < 0) {
        store_watch_close(&w->base);
        return r;
    }
    *ret = &w->base;
    return 0;
}

struct telling {
    const struct watch *w;
    struct kv_events *out;
    int64_t seen; /* the revision of the last event looked at */
};

static int add_event(struct kv_events *out, const struct kv_item *item,
                     const struct kv_item *prev)
{
    struct kv_event event = {.kind = item->version > 0 ? KV_EVENT_PUT : KV_EVENT_DELETE};
    struct kv_event *grown = out->items;
    int r;

    if ((out->n & (out->n - 1)) == 0) { /* a power of two, or none: full */
        grown = fault_realloc(out->items, (out->n == 0 ? 1 : out->n * 2) * sizeof *grown);
    }
    if (grown == NULL) {
        return -ENOMEM;
    }
    out->items = grown;
    r = kv_item_copy(item, false, &event.item);
    if (r == 0 && prev->key != NULL) {
        r = kv_item_copy(prev, false, &event.prev);
    }
    if (r < 0) {
        kv_item_fini(&event.item);
        return r;
    }
    out->items[out->n++] = event;
    return 0;
}

static int tell(void *arg, const struct kv_item *item, const struct kv_item *prev)
{
    struct telling *t = arg;

    if (item->mod_revision != t->seen && t->out->n >= EVENTS_AT_ONCE) {
        return 1;
    }
    t->seen = item->mod_revision;
    return kv_span_holds(t->w->span, item->key) ? add_event(t->out, item, prev) : 0;
}

static int collect(struct store *s, struct watch *w, struct kv_events *out, struct err *e)
{
    struct telling telling = {.w = w, .out = out};
    int64_t oldest;
    int r;

    out->revision = s->revision;
    if (w->from > s->revision) {
        return 0;
    }
    r = s->bed->compacted(s, &oldest, e);
    if (r < 0) {
        return r;
    }
    if (w->from < oldest) {
        return err_set(e, -ESTALE,
                       "changes since revision %lld were compacted; the oldest is %lld",
                       (long long)w->from, (long long)oldest);
    }
    r = s->bed->events(s, w->from, tell, &telling);
    if (r < 0) {
        return s->bed->explain(s, r, e);
    }
    if (r > 0) {
        out->revision = telling.seen;
    }
    return 0;
}

/* Milliseconds to sleep: not past the deadline, nor past the end of a lease. */
static int next_sleep(struct store *s, int left, int *ret, struct err *e)
{
    struct store_lease lease;
    int64_t until;
    int r = store_begin(s, false, false, e);

    if (r < 0) {
        return r;
    }
    r = s->bed->lease_next(s, &lease, e);
    *ret = left;
    if (r > 0) {
        until = lease.due_ms - store_now(s);
        until = until < 1 ? 1 : until;
        *ret = until < left ? (int)until : left;
    }
    return store_end(s, r < 0 ? r : 0, e);
}

static int look(struct store *s, struct watch *w, struct kv_events *out, struct err *e)
{
    int r = store_begin(s, false, false, e);

    if (r == 0) {
        r = store_end(s, collect(s, w, out, e), e);
    }
    if (r == 0 && out->revision >= w->from) {
        w->from = out->revision + 1;
    }
    return r;
}

static int64_t real_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int store_watch_next(struct kv_watch *base, int timeout_ms, struct kv_events *ret,
                     struct err *e)
{
    SCOPED(kv_events_fini) struct kv_events out = {0};
    struct store *s = store_of(base->kv);
    int64_t end = timeout_ms < 0 ? INT64_MAX : real_ms() + timeout_ms;
    int r, pause = 0;

    while ((r = look(s, watch_of(base), &out, e)) == 0 && out.n == 0) {
        int64_t left = end - (timeout_ms == 0 ? end : real_ms());

        if (left <= 0) {
            break;
        }
        r = next_sleep(s, left > INT32_MAX ? INT32_MAX : (int)left, &pause, e);
        if (r < 0) {
            break;
        }
        s->bed->wait(s, pause);
    }
    if (r == 0) {
        *ret = out;
        out = (struct kv_events){0};
    }
    return r;
}
