/* memory.c - a bed of events in memory: the store of tests and of short runs.
 *
 * `log` holds every event in order, `index` the newest event of each key in
 * order of keys; both point to the same events.  A rollback takes the events
 * after `mark` off again, newest first, which needs no memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fault.h"
#include "store/private.h"

struct event {
    struct kv_item item; /* owned; version 0: a tombstone */
    struct event *prev;  /* the one before on this key; NULL: none, or compacted */
    bool dropped;        /* about to be freed by compaction */
};

struct events {
    struct event **items;
    size_t n, cap;
};

struct leases {
    struct store_lease *items;
    size_t n, cap;
};

struct memory {
    struct store s; /* first */
    struct events log;
    struct events index;
    struct leases leases;
    int64_t compacted;
    size_t mark;         /* length of the log when the transaction began */
    struct leases saved; /* the leases at that time */
};

static struct memory *memory_of(struct store *s)
{
    return (struct memory *)s;
}

static int no_memory(struct err *e)
{
    return err_set(e, -ENOMEM, "out of memory");
}

static int explain(struct store *s, int code, struct err *e)
{
    (void)s;
    return err_sys(e, code, "cannot read records");
}

/* Room for one more entry of `size` bytes. */
static int reserve(void *items, size_t n, size_t *cap, size_t size)
{
    void **where = items;
    size_t want = *cap == 0 ? 8 : *cap * 2;
    void *grown;

    if (n < *cap) {
        return 0;
    }
    grown = fault_realloc(*where, want * size);
    if (grown == NULL) {
        return -ENOMEM;
    }
    *where = grown;
    *cap = want;
    return 0;
}

static void free_event(struct event *event)
{
    kv_item_fini(&event->item);
    free(event);
}

/* Where the key is in the index, or belongs. */
static size_t find(const struct memory *m, const char *key)
{
    size_t low = 0, high = m->index.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(m->index.items[middle]->item.key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const struct memory *m, size_t i, const char *key)
{
    return i < m->index.n && strcmp(m->index.items[i]->item.key, key) == 0;
}

static void remove_at(struct memory *m, size_t i)
{
    m->index.n -= 1;
    memmove(&m->index.items[i], &m->index.items[i + 1],
            (m->index.n - i) * sizeof m->index.items[0]);
}

static int begin(struct store *s, bool writes, bool durable, struct err *e)
{
    struct memory *m = memory_of(s);

    (void)durable;
    m->mark = m->log.n;
    m->saved = (struct leases){0};
    if (writes && m->leases.n > 0) {
        m->saved.items = fault_calloc(m->leases.n, sizeof *m->saved.items);
        if (m->saved.items == NULL) {
            return no_memory(e);
        }
        memcpy(m->saved.items, m->leases.items, m->leases.n * sizeof *m->saved.items);
        m->saved.cap = m->leases.n;
    }
    m->saved.n = m->leases.n;
    return 0;
}

static int commit(struct store *s, struct err *e)
{
    struct memory *m = memory_of(s);

    (void)e;
    free(m->saved.items);
    m->saved = (struct leases){0};
    return 0;
}

static void rollback(struct store *s)
{
    struct memory *m = memory_of(s);

    while (m->log.n > m->mark) {
        struct event *event = m->log.items[--m->log.n];
        size_t i = find(m, event->item.key);

        if (event->prev != NULL) {
            m->index.items[i] = event->prev;
        } else {
            remove_at(m, i);
        }
        free_event(event);
    }
    if (s->writes && m->saved.n > 0) {
        free(m->leases.items);
        m->leases = m->saved;
    } else if (s->writes) {
        m->leases.n = 0;
    }
    m->saved = (struct leases){0};
}

static int revision(struct store *s, int64_t *ret, struct err *e)
{
    struct memory *m = memory_of(s);

    (void)e;
    *ret = m->log.n == 0 ? 1 : m->log.items[m->log.n - 1]->item.mod_revision;
    return 0;
}

static int compacted(struct store *s, int64_t *ret, struct err *e)
{
    (void)e;
    *ret = memory_of(s)->compacted;
    return 0;
}

static int scan(struct store *s, struct kv_span span, int64_t at, store_item_fn *fn,
                void *arg)
{
    struct memory *m = memory_of(s);

    for (size_t i = find(m, span.first); i < m->index.n; i++) {
        const struct event *event = m->index.items[i];
        int r;

        if (!kv_span_holds(span, event->item.key)) {
            break;
        }
        while (event != NULL && event->item.mod_revision > at) {
            event = event->prev;
        }
        r = event == NULL || event->item.version == 0 ? 0 : fn(arg, &event->item);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

static int attached(struct store *s, int64_t lease, store_item_fn *fn, void *arg)
{
    struct memory *m = memory_of(s);

    for (size_t i = 0; i < m->index.n; i++) {
        const struct kv_item *item = &m->index.items[i]->item;
        int r = item->lease == lease && item->version > 0 ? fn(arg, item) : 0;

        if (r != 0) {
            return r;
        }
    }
    return 0;
}

static int events(struct store *s, int64_t from, store_event_fn *fn, void *arg)
{
    static const struct kv_item none;
    struct memory *m = memory_of(s);

    for (size_t i = 0; i < m->log.n; i++) {
        const struct event *event = m->log.items[i];
        const struct event *prev = event->prev;
        int r = 0;

        if (event->item.mod_revision >= from) {
            r = fn(arg, &event->item,
                   prev == NULL || prev->item.version == 0 ? &none : &prev->item);
        }
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* The event is in place for good: nothing can fail any more. */
static void link_event(struct memory *m, struct event *event)
{
    size_t i = find(m, event->item.key);

    if (is_at(m, i, event->item.key)) {
        event->prev = m->index.items[i];
    } else {
        memmove(&m->index.items[i + 1], &m->index.items[i],
                (m->index.n - i) * sizeof m->index.items[0]);
        m->index.n += 1;
    }
    m->index.items[i] = event;
    m->log.items[m->log.n++] = event;
}

static int append(struct store *s, const struct kv_item *item, int64_t place,
                  struct err *e)
{
    struct memory *m = memory_of(s);
    struct event *event = fault_calloc(1, sizeof *event);

    (void)place;
    if (event == NULL || kv_item_copy(item, false, &event->item) < 0 ||
        reserve(&m->log.items, m->log.n, &m->log.cap, sizeof *m->log.items) < 0 ||
        reserve(&m->index.items, m->index.n, &m->index.cap, sizeof *m->index.items) < 0) {
        if (event != NULL) {
            free_event(event);
        }
        return no_memory(e);
    }
    link_event(m, event);
    return 0;
}

/* Take marked events out of the log, and out of what points to them. */
static void drop_marked(struct memory *m)
{
    size_t kept = 0;

    for (size_t i = 0; i < m->log.n; i++) {
        if (m->log.items[i]->prev != NULL && m->log.items[i]->prev->dropped) {
            m->log.items[i]->prev = NULL;
        }
    }
    for (size_t i = 0; i < m->log.n; i++) {
        if (m->log.items[i]->dropped) {
            free_event(m->log.items[i]);
        } else {
            m->log.items[kept++] = m->log.items[i];
        }
    }
    m->log.n = kept;
    m->mark = kept; /* compaction is the last step of a transaction */
}

static int compact(struct store *s, int64_t from, int64_t upto, struct err *e)
{
    struct memory *m = memory_of(s);

    (void)from;
    (void)e;
    for (size_t i = 0; i < m->log.n; i++) {
        struct event *event = m->log.items[i];
        size_t at = find(m, event->item.key);

        if (event->item.mod_revision <= upto && event->prev != NULL) {
            event->prev->dropped = true;
        }
        if (event->item.mod_revision < upto && event->item.version == 0) {
            event->dropped = true;
            if (m->index.items[at] == event) {
                remove_at(m, at);
            }
        }
    }
    drop_marked(m);
    m->compacted = upto;
    return 0;
}

static struct store_lease *find_lease(struct memory *m, int64_t id)
{
    for (size_t i = 0; i < m->leases.n; i++) {
        if (m->leases.items[i].id == id) {
            return &m->leases.items[i];
        }
    }
    return NULL;
}

static int lease_get(struct store *s, int64_t id, struct store_lease *ret, struct err *e)
{
    const struct store_lease *lease = find_lease(memory_of(s), id);

    (void)e;
    if (lease != NULL) {
        *ret = *lease;
    }
    return lease != NULL;
}

static int lease_due(struct store *s, int64_t now, struct store_lease *ret, struct err *e)
{
    struct memory *m = memory_of(s);

    (void)e;
    for (size_t i = 0; i < m->leases.n; i++) {
        if (store_must_sweep(&m->leases.items[i], now)) {
            *ret = m->leases.items[i];
            return 1;
        }
    }
    return 0;
}

static int lease_next(struct store *s, struct store_lease *ret, struct err *e)
{
    struct memory *m = memory_of(s);

    (void)e;
    for (size_t i = 0; i < m->leases.n; i++) {
        if (i == 0 || m->leases.items[i].due_ms < ret->due_ms) {
            *ret = m->leases.items[i];
        }
    }
    return m->leases.n > 0;
}

static int lease_set(struct store *s, const struct store_lease *lease, struct err *e)
{
    struct memory *m = memory_of(s);
    struct store_lease *old = find_lease(m, lease->id);

    if (old != NULL) {
        *old = *lease;
        return 0;
    }
    if (reserve(&m->leases.items, m->leases.n, &m->leases.cap, sizeof *m->leases.items) <
        0) {
        return no_memory(e);
    }
    m->leases.items[m->leases.n++] = *lease;
    return 0;
}

static int lease_drop(struct store *s, int64_t id, struct err *e)
{
    struct memory *m = memory_of(s);
    struct store_lease *lease = find_lease(m, id);

    (void)e;
    if (lease != NULL) {
        *lease = m->leases.items[--m->leases.n];
    }
    return 0;
}

/* Nobody else writes here; only time passes. */
static void wait_a_while(struct store *s, int ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    (void)s;
    (void)nanosleep(&pause, NULL);
}

static void close_memory(struct store *s)
{
    struct memory *m = memory_of(s);

    for (size_t i = 0; i < m->log.n; i++) {
        free_event(m->log.items[i]);
    }
    free(m->log.items);
    free(m->index.items);
    free(m->leases.items);
    free(m);
}

static const struct store_bed memory_bed = {
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .revision = revision,
    .compacted = compacted,
    .scan = scan,
    .attached = attached,
    .events = events,
    .append = append,
    .compact = compact,
    .lease_get = lease_get,
    .lease_due = lease_due,
    .lease_next = lease_next,
    .lease_set = lease_set,
    .lease_drop = lease_drop,
    .explain = explain,
    .wait = wait_a_while,
    .close = close_memory,
};

static const struct kv_ops memory_ops = STORE_OPS("memory");

int store_open_memory_with(const struct store_options *o, struct kv **ret, struct err *e)
{
    struct memory *m = fault_calloc(1, sizeof *m);

    if (m == NULL) {
        return no_memory(e);
    }
    store_init(&m->s, &memory_ops, &memory_bed, o);
    *ret = &m->s.kv;
    return 0;
}

int store_open_memory(struct kv **ret, struct err *e)
{
    return store_open_memory_with(NULL, ret, e);
}
