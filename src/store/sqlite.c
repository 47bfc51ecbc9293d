/* sqlite.c - a bed of events in one SQLite file.
 *
 *   event(id, key, value, created, version, lease, prev)   in order of id
 *   item(key, id)                                          newest event of a key
 *   lease(id, ttl, due)
 *   meta(name, value)                                      'compacted'
 *
 * An event's id is its revision and its place in it, so the newest id is the
 * revision of the store: a put writes two tables and no counter, and the value
 * is stored once.  `prev` is the id of the event before on the same key, 0 for
 * none; it may point to an event that compaction took away, which reads as none.
 * Compaction to C needs no search: it looks at the events after the former C
 * only, whose `prev` is what they made superfluous. */
#include "store/sqlite.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"

#define PLACE_BITS 20 /* a revision has up to 2^20 events */

static const char *const query_text[QUERY_COUNT] = {
    [QUERY_BEGIN_READ] = "BEGIN",
    [QUERY_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [QUERY_COMMIT] = "COMMIT",
    [QUERY_ROLLBACK] = "ROLLBACK",
    [QUERY_SYNC_FULL] = "PRAGMA synchronous=FULL",
    [QUERY_SYNC_NORMAL] = "PRAGMA synchronous=NORMAL",
    [QUERY_REVISION] = "SELECT max(id) FROM event",
    [QUERY_COMPACTED] = "SELECT value FROM meta WHERE name='compacted'",
    [QUERY_SET_COMPACTED] = "INSERT INTO meta VALUES('compacted',?1)"
                            " ON CONFLICT(name) DO UPDATE SET value=excluded.value",
    [QUERY_KEY] = "SELECT id FROM item WHERE key=?1",
    [QUERY_SPAN] = "SELECT id FROM item WHERE key>=?1 AND key<?2 ORDER BY key",
    [QUERY_FROM] = "SELECT id FROM item WHERE key>=?1 ORDER BY key",
    [QUERY_EVENT] = "SELECT id,key,value,created,version,lease,prev FROM event"
                    " WHERE id=?1",
    [QUERY_EVENTS] = "SELECT id,key,value,created,version,lease,prev FROM event"
                     " WHERE id>=?1 ORDER BY id",
    [QUERY_ATTACHED] =
        "SELECT e.id,e.key,e.value,e.created,e.version,e.lease,e.prev FROM event e"
        " WHERE e.lease=?1 AND e.lease<>0 AND e.version>0"
        " AND EXISTS(SELECT 1 FROM item i WHERE i.key=e.key AND i.id=e.id)"
        " ORDER BY e.key",
    [QUERY_ADD_EVENT] = "INSERT INTO event VALUES(?1,?2,?3,?4,?5,?6,"
                        "coalesce((SELECT id FROM item WHERE key=?2),0))",
    [QUERY_SET_INDEX] = "INSERT INTO item VALUES(?1,?2)"
                        " ON CONFLICT(key) DO UPDATE SET id=excluded.id",
    [QUERY_DROP_OLD] = "DELETE FROM event WHERE id IN"
                       " (SELECT prev FROM event WHERE id>=?1 AND id<?2 AND prev<>0)",
    [QUERY_DROP_INDEX] =
        "DELETE FROM item WHERE key IN"
        " (SELECT key FROM event WHERE id>=?1 AND id<?2 AND version=0)"
        " AND id IN (SELECT id FROM event WHERE id>=?1 AND id<?2 AND version=0)",
    [QUERY_DROP_TOMBSTONES] = "DELETE FROM event WHERE id>=?1 AND id<?2 AND version=0",
    [QUERY_LEASE] = "SELECT id,ttl,due FROM lease WHERE id=?1",
    [QUERY_LEASE_DUE] = "SELECT id,ttl,due FROM lease WHERE due<=?1 OR due-ttl*1000>?1"
                        " ORDER BY due,id LIMIT 1",
    [QUERY_LEASE_NEXT] = "SELECT id,ttl,due FROM lease ORDER BY due,id LIMIT 1",
    [QUERY_SET_LEASE] =
        "INSERT INTO lease VALUES(?1,?2,?3)"
        " ON CONFLICT(id) DO UPDATE SET ttl=excluded.ttl,due=excluded.due",
    [QUERY_DROP_LEASE] = "DELETE FROM lease WHERE id=?1",
};

struct sqlite *sqlite_of(struct store *s)
{
    return (struct sqlite *)s;
}

sqlite3_stmt *sqlite_query(struct sqlite *q, enum query query, struct err *e)
{
    int code;

    if (q->queries[query] != NULL) {
        return q->queries[query];
    }
    code = sqlite3_prepare_v3(q->db, query_text[query], -1, SQLITE_PREPARE_PERSISTENT,
                              &q->queries[query], NULL);
    if (code != SQLITE_OK) {
        (void)sqlite_explain(q, code, "read", e);
        return NULL;
    }
    return q->queries[query];
}

/* -errno of what just went wrong; the text, if wanted, is there already. */
static int failed(struct sqlite *q)
{
    return sqlite_explain(q, sqlite3_extended_errcode(q->db), "read", NULL);
}

int sqlite_run(struct sqlite *q, sqlite3_stmt *stmt, const char *what, struct err *e)
{
    int code = sqlite3_step(stmt);
    int r =
        code == SQLITE_DONE || code == SQLITE_ROW ? 0 : sqlite_explain(q, code, what, e);

    (void)sqlite3_reset(stmt);
    (void)sqlite3_clear_bindings(stmt);
    return r;
}

static int run_plain(struct sqlite *q, enum query query, const char *what, struct err *e)
{
    sqlite3_stmt *stmt = sqlite_query(q, query, e);

    return stmt == NULL ? failed(q) : sqlite_run(q, stmt, what, e);
}

/* With up to three numbers bound. */
static int run_numbers(struct sqlite *q, enum query query, const int64_t *numbers,
                       struct err *e)
{
    sqlite3_stmt *stmt = sqlite_query(q, query, e);
    int n = stmt == NULL ? 0 : sqlite3_bind_parameter_count(stmt);

    if (stmt == NULL) {
        return failed(q);
    }
    for (int i = 0; i < n; i++) {
        (void)sqlite3_bind_int64(stmt, i + 1, numbers[i]);
    }
    return sqlite_run(q, stmt, "write", e);
}

static int begin(struct store *s, bool writes, bool durable, struct err *e)
{
    struct sqlite *q = sqlite_of(s);
    int r;

    if (writes && durable != q->sync_full) {
        r = run_plain(q, durable ? QUERY_SYNC_FULL : QUERY_SYNC_NORMAL, "set up", e);
        if (r < 0) {
            return r;
        }
        q->sync_full = durable;
    }
    return run_plain(q, writes ? QUERY_BEGIN_WRITE : QUERY_BEGIN_READ,
                     writes ? "write" : "read", e);
}

static int commit(struct store *s, struct err *e)
{
    return run_plain(sqlite_of(s), QUERY_COMMIT, "write", e);
}

static void rollback(struct store *s)
{
    struct sqlite *q = sqlite_of(s);

    if (sqlite3_get_autocommit(q->db) != 0) { /* SQLite has rolled back by itself */
        return;
    }
    if (run_plain(q, QUERY_ROLLBACK, "roll back", NULL) < 0) {
        (void)sqlite3_exec(q->db, "ROLLBACK", NULL, NULL, NULL);
    }
}

/* One number of one row: 1, 0 for no row or NULL, or -errno. */
static int read_number(struct sqlite *q, enum query query, int64_t *ret, struct err *e)
{
    sqlite3_stmt *stmt = sqlite_query(q, query, e);
    int code, r = 0;

    if (stmt == NULL) {
        return failed(q);
    }
    code = sqlite3_step(stmt);
    if (code == SQLITE_ROW && sqlite3_column_type(stmt, 0) == SQLITE_INTEGER) {
        *ret = sqlite3_column_int64(stmt, 0);
        r = 1;
    } else if (code != SQLITE_ROW && code != SQLITE_DONE) {
        r = sqlite_explain(q, code, "read", e);
    }
    (void)sqlite3_reset(stmt);
    return r;
}

static int revision(struct store *s, int64_t *ret, struct err *e)
{
    int64_t id;
    int r = read_number(sqlite_of(s), QUERY_REVISION, &id, e);

    if (r >= 0) {
        *ret = r > 0 ? id >> PLACE_BITS : 1;
    }
    return r < 0 ? r : 0;
}

static int compacted(struct store *s, int64_t *ret, struct err *e)
{
    int64_t value = 0;
    int r = read_number(sqlite_of(s), QUERY_COMPACTED, &value, e);

    if (r >= 0) {
        *ret = value;
    }
    return r < 0 ? r : 0;
}

static int explain(struct store *s, int code, struct err *e)
{
    return sqlite_refuse(sqlite_of(s), code, "read", e);
}

/* The columns of an event; false when memory ran out or the row makes no sense. */
static bool take_row(sqlite3_stmt *stmt, struct kv_item *ret, int64_t *ret_prev)
{
    *ret = (struct kv_item){
        .mod_revision = sqlite3_column_int64(stmt, 0) >> PLACE_BITS,
        .create_revision = sqlite3_column_int64(stmt, 3),
        .version = sqlite3_column_int64(stmt, 4),
        .lease = sqlite3_column_int64(stmt, 5),
    };
    *ret_prev = sqlite3_column_int64(stmt, 6);
    ret->key = (const char *)sqlite3_column_text(stmt, 1);
    ret->value = sqlite3_column_blob(stmt, 2);
    ret->len = (size_t)sqlite3_column_bytes(stmt, 2);
    if (ret->value == NULL) {
        ret->value = "";
        ret->len = 0;
    }
    return ret->key != NULL;
}

static int bare(struct sqlite *q, int code)
{
    return sqlite_explain(q, code, "read", NULL);
}

/* Walk back from event `id` to the newest at or before revision `at`, and hand
 * it over: to `fn` when it is a live record. */
static int visit(struct sqlite *q, int64_t id, int64_t at, store_item_fn *fn, void *arg)
{
    sqlite3_stmt *stmt = sqlite_query(q, QUERY_EVENT, NULL);
    struct kv_item item;
    int code = SQLITE_DONE, r = 0;

    if (stmt == NULL) {
        return failed(q);
    }
    while (id != 0) {
        (void)sqlite3_bind_int64(stmt, 1, id);
        code = sqlite3_step(stmt);
        if (code != SQLITE_ROW) {
            r = code == SQLITE_DONE ? 0 : bare(q, code);
            break;
        }
        if (!take_row(stmt, &item, &id)) {
            r = failed(q);
            break;
        }
        if (item.mod_revision <= at) {
            r = item.version > 0 ? fn(arg, &item) : 0;
            break;
        }
        (void)sqlite3_reset(stmt);
    }
    (void)sqlite3_reset(stmt);
    return r;
}

static sqlite3_stmt *bind_span(struct sqlite *q, struct kv_span span)
{
    bool open = span.end != NULL && span.end[0] == '\0';
    sqlite3_stmt *stmt = sqlite_query(
        q, span.end == NULL ? QUERY_KEY : (open ? QUERY_FROM : QUERY_SPAN), NULL);
    int code;

    if (stmt == NULL) {
        return NULL;
    }
    code = sqlite3_bind_text(stmt, 1, span.first == NULL ? "" : span.first, -1,
                             SQLITE_STATIC);
    if (code == SQLITE_OK && span.end != NULL && !open) {
        code = sqlite3_bind_text(stmt, 2, span.end, -1, SQLITE_STATIC);
    }
    return code == SQLITE_OK ? stmt : NULL;
}

static int scan(struct store *s, struct kv_span span, int64_t at, store_item_fn *fn,
                void *arg)
{
    struct sqlite *q = sqlite_of(s);
    sqlite3_stmt *stmt = bind_span(q, span);
    int code = SQLITE_DONE, r = 0;

    if (stmt == NULL) {
        return failed(q);
    }
    while (r == 0 && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        r = visit(q, sqlite3_column_int64(stmt, 0), at, fn, arg);
    }
    if (r == 0 && code != SQLITE_DONE) {
        r = bare(q, code);
    }
    (void)sqlite3_reset(stmt);
    (void)sqlite3_clear_bindings(stmt);
    return r;
}

static int attached(struct store *s, int64_t lease, store_item_fn *fn, void *arg)
{
    struct sqlite *q = sqlite_of(s);
    sqlite3_stmt *stmt = sqlite_query(q, QUERY_ATTACHED, NULL);
    struct kv_item item;
    int64_t prev;
    int code = SQLITE_DONE, r = 0;

    if (stmt == NULL) {
        return failed(q);
    }
    (void)sqlite3_bind_int64(stmt, 1, lease);
    while (r == 0 && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        r = take_row(stmt, &item, &prev) ? fn(arg, &item) : failed(q);
    }
    if (r == 0 && code != SQLITE_DONE) {
        r = bare(q, code);
    }
    (void)sqlite3_reset(stmt);
    return r;
}

/* An event on its way to a watch, waiting for the one before it on its key. */
struct pairing {
    store_event_fn *fn;
    void *arg;
    const struct kv_item *item;
    bool told;
};

static int tell_pair(void *arg, const struct kv_item *prev)
{
    struct pairing *pairing = arg;

    pairing->told = true;
    return pairing->fn(pairing->arg, pairing->item, prev);
}

static int tell_event(struct sqlite *q, sqlite3_stmt *stmt, store_event_fn *fn, void *arg)
{
    static const struct kv_item none;
    struct kv_item item;
    struct pairing pairing = {.fn = fn, .arg = arg, .item = &item};
    int64_t prev;
    int r;

    if (!take_row(stmt, &item, &prev)) {
        return failed(q);
    }
    r = visit(q, prev, INT64_MAX, tell_pair, &pairing);
    return r == 0 && !pairing.told ? fn(arg, &item, &none) : r;
}

static int events(struct store *s, int64_t from, store_event_fn *fn, void *arg)
{
    struct sqlite *q = sqlite_of(s);
    sqlite3_stmt *stmt = sqlite_query(q, QUERY_EVENTS, NULL);
    int code = SQLITE_DONE, r = 0;

    if (stmt == NULL) {
        return failed(q);
    }
    (void)sqlite3_bind_int64(stmt, 1, from << PLACE_BITS);
    while (r == 0 && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        r = tell_event(q, stmt, fn, arg);
    }
    if (r == 0 && code != SQLITE_DONE) {
        r = bare(q, code);
    }
    (void)sqlite3_reset(stmt);
    return r;
}

static int set_index(struct sqlite *q, const char *key, int64_t id, struct err *e)
{
    sqlite3_stmt *stmt = sqlite_query(q, QUERY_SET_INDEX, e);

    if (stmt == NULL) {
        return failed(q);
    }
    if (sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC) != SQLITE_OK) {
        return err_set(e, -ENOMEM, "cannot write store '%s': out of memory", q->path);
    }
    (void)sqlite3_bind_int64(stmt, 2, id);
    return sqlite_run(q, stmt, "write", e);
}

static int append(struct store *s, const struct kv_item *item, int64_t place,
                  struct err *e)
{
    struct sqlite *q = sqlite_of(s);
    sqlite3_stmt *stmt = sqlite_query(q, QUERY_ADD_EVENT, e);
    int64_t id = item->mod_revision << PLACE_BITS | place;
    int r;

    if (stmt == NULL) {
        return failed(q);
    }
    if (place >> PLACE_BITS != 0) {
        return err_set(e, -E2BIG, "a transaction changes too many records");
    }
    (void)sqlite3_bind_int64(stmt, 1, id);
    if (sqlite3_bind_text(stmt, 2, item->key, -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_blob64(stmt, 3, item->len == 0 ? "" : item->value, item->len,
                            SQLITE_STATIC) != SQLITE_OK) {
        return err_set(e, -ENOMEM, "cannot write store '%s': out of memory", q->path);
    }
    (void)sqlite3_bind_int64(stmt, 4, item->create_revision);
    (void)sqlite3_bind_int64(stmt, 5, item->version);
    (void)sqlite3_bind_int64(stmt, 6, item->lease);
    r = sqlite_run(q, stmt, "write", e);
    return r < 0 ? r : set_index(q, item->key, id, e);
}

/* Tombstones of `upto` itself stay, so that a watch may begin there. */
static int compact(struct store *s, int64_t from, int64_t upto, struct err *e)
{
    struct sqlite *q = sqlite_of(s);
    const int64_t later[] = {(from + 1) << PLACE_BITS, (upto + 1) << PLACE_BITS};
    const int64_t span[] = {from << PLACE_BITS, upto << PLACE_BITS};
    int r = run_numbers(q, QUERY_DROP_OLD, later, e);

    if (r == 0) {
        r = run_numbers(q, QUERY_DROP_INDEX, span, e);
    }
    if (r == 0) {
        r = run_numbers(q, QUERY_DROP_TOMBSTONES, span, e);
    }
    return r < 0 ? r : run_numbers(q, QUERY_SET_COMPACTED, &upto, e);
}

static int read_lease(struct sqlite *q, enum query query, int64_t number,
                      struct store_lease *ret, struct err *e)
{
    sqlite3_stmt *stmt = sqlite_query(q, query, e);
    int code, r = 0;

    if (stmt == NULL) {
        return failed(q);
    }
    (void)sqlite3_bind_int64(stmt, 1, number); /* refused when it takes none */
    code = sqlite3_step(stmt);
    if (code == SQLITE_ROW) {
        *ret = (struct store_lease){.id = sqlite3_column_int64(stmt, 0),
                                    .ttl_seconds = sqlite3_column_int64(stmt, 1),
                                    .due_ms = sqlite3_column_int64(stmt, 2)};
        r = 1;
    } else if (code != SQLITE_DONE) {
        r = sqlite_explain(q, code, "read", e);
    }
    (void)sqlite3_reset(stmt);
    return r;
}

static int lease_get(struct store *s, int64_t id, struct store_lease *ret, struct err *e)
{
    return read_lease(sqlite_of(s), QUERY_LEASE, id, ret, e);
}

static int lease_due(struct store *s, int64_t now, struct store_lease *ret, struct err *e)
{
    return read_lease(sqlite_of(s), QUERY_LEASE_DUE, now, ret, e);
}

static int lease_next(struct store *s, struct store_lease *ret, struct err *e)
{
    return read_lease(sqlite_of(s), QUERY_LEASE_NEXT, 0, ret, e);
}

static int lease_set(struct store *s, const struct store_lease *lease, struct err *e)
{
    const int64_t row[] = {lease->id, lease->ttl_seconds, lease->due_ms};

    return run_numbers(sqlite_of(s), QUERY_SET_LEASE, row, e);
}

static int lease_drop(struct store *s, int64_t id, struct err *e)
{
    return run_numbers(sqlite_of(s), QUERY_DROP_LEASE, &id, e);
}

static void close_file(struct store *s)
{
    struct sqlite *q = sqlite_of(s);

    for (int i = 0; i < QUERY_COUNT; i++) {
        (void)sqlite3_finalize(q->queries[i]);
    }
    (void)sqlite3_close(q->db);
    if (q->notify >= 0) {
        (void)close(q->notify);
    }
    free(q->path);
    free(q);
}

const struct store_bed sqlite_bed = {
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
    .wait = sqlite_wait,
    .close = close_file,
};
