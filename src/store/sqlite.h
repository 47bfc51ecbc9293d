/* store/sqlite.h - the SQLite bed, shared by its three files. */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include <sqlite3.h>

#include "store/private.h"

/* Every statement; prepared when it is first used. */
enum query {
    QUERY_BEGIN_READ,
    QUERY_BEGIN_WRITE,
    QUERY_COMMIT,
    QUERY_ROLLBACK,
    QUERY_SYNC_FULL,
    QUERY_SYNC_NORMAL,
    QUERY_REVISION,
    QUERY_COMPACTED,
    QUERY_SET_COMPACTED,
    QUERY_KEY,
    QUERY_SPAN,
    QUERY_FROM,
    QUERY_EVENT,
    QUERY_EVENTS,
    QUERY_ATTACHED,
    QUERY_ADD_EVENT,
    QUERY_SET_INDEX,
    QUERY_DROP_OLD,
    QUERY_DROP_INDEX,
    QUERY_DROP_TOMBSTONES,
    QUERY_LEASE,
    QUERY_LEASE_DUE,
    QUERY_LEASE_NEXT,
    QUERY_SET_LEASE,
    QUERY_DROP_LEASE,
    QUERY_COUNT
};

struct sqlite {
    struct store s; /* first */
    sqlite3 *db;    /* owned */
    char *path;     /* owned */
    sqlite3_stmt *queries[QUERY_COUNT];
    bool sync_full;     /* of the connection, now */
    int64_t busy_since; /* when the present wait for a lock began; 0: none */
    int notify;         /* inotify on the write-ahead log; -1: not yet, or none */
    int quick;          /* looks left before sleeping long again */
};

struct sqlite *sqlite_of(struct store *s);

/* -errno and text of what SQLite just reported as `code`. */
int sqlite_explain(struct sqlite *q, int code, const char *what, struct err *e);

/* The same for an errno; returns `r`. */
int sqlite_refuse(const struct sqlite *q, int r, const char *what, struct err *e);

/* The statement, ready to bind; NULL with `e` filled when it cannot be made. */
sqlite3_stmt *sqlite_query(struct sqlite *q, enum query query, struct err *e);

/* Step a statement that answers nothing, and make it ready for the next use. */
int sqlite_run(struct sqlite *q, sqlite3_stmt *stmt, const char *what, struct err *e);

/* Make the tables, or bring those of an older version up to date; sqlite_open.c. */
int sqlite_prepare_file(struct sqlite *q, struct err *e);

void sqlite_wait(struct store *s, int ms); /* sqlite_wait.c */

extern const struct store_bed sqlite_bed;

#endif
