/* sqlite_open.c - opening the file: its version, its tables, its faults.
 *
 * An open of a good file runs one statement that reads the version and one that
 * sets the connection up; all else is prepared on first use.  The file says by
 * `user_version` which tables it has; `schema` lists how to get from each
 * version to the next, so a new file is an old one of version 0. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "store/sqlite.h"

#define SCHEMA_VERSION   2
#define LOOKS_QUICK      4          /* at a held lock, after 50, 100, 200, 400 us */
#define LOOK_US          800        /* between the later ones */
#define APPLICATION_ID   1400140385 /* "Stra" */
#define CHECKPOINT_PAGES 256 /* of 4 KiB: the most that a first opener has to read */

static const char *const schema[SCHEMA_VERSION] = {
    /* to 1: records and their history */
    "CREATE TABLE event(id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB NOT NULL,"
    " created INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL,"
    " prev INTEGER NOT NULL);"
    "CREATE TABLE item(key TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "PRAGMA application_id=1400140385;" /* "Stra" */
    "PRAGMA user_version=1",
    /* to 2: leases */
    "CREATE TABLE lease(id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL,"
    " due INTEGER NOT NULL);"
    "CREATE INDEX attached ON event(lease) WHERE lease<>0;"
    "PRAGMA user_version=2",
};

static int64_t real_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Transactions are short, so the first looks come fast; then regularly. */
static int wait_for_lock(void *arg, int looks)
{
    struct sqlite *q = arg;
    int us = looks < LOOKS_QUICK ? 50 << looks : LOOK_US;

    if (looks == 0) {
        q->busy_since = real_ms();
    } else if (real_ms() - q->busy_since > (int64_t)q->s.options.busy_ms) {
        return 0;
    }
    (void)usleep((unsigned)us);
    return 1;
}

static int errno_of(struct sqlite *q, int code)
{
    int system = q->db == NULL ? 0 : sqlite3_system_errno(q->db);

    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return -EBUSY;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_CANTOPEN:
        return system > 0 ? -system : -ENOENT;
    case SQLITE_TOOBIG:
        return -EFBIG;
    default:
        return system == ENOSPC || system == EDQUOT || system == EROFS ? -system : -EIO;
    }
}

static const char *reason(int code)
{
    switch (-code) {
    case EBUSY:
        return "other processes held it too long";
    case EROFS:
        return "the file or its directory is read-only";
    case EUCLEAN:
        return "the file is damaged, or is no store";
    case ENOMEM:
        return "out of memory";
    case ENOSPC:
        return "the disk is full";
    default:
        return strerror(-code);
    }
}

int sqlite_refuse(const struct sqlite *q, int r, const char *what, struct err *e)
{
    return err_set(e, r, "cannot %s store '%s': %s", what, q->path, reason(r));
}

int sqlite_explain(struct sqlite *q, int code, const char *what, struct err *e)
{
    return sqlite_refuse(q, errno_of(q, code), what, e);
}

static int exec(struct sqlite *q, const char *text, const char *what, struct err *e)
{
    int code = sqlite3_exec(q->db, text, NULL, NULL, NULL);

    return code == SQLITE_OK ? 0 : sqlite_explain(q, code, what, e);
}

static int read_pragma(struct sqlite *q, const char *text, int64_t *ret, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(q->db, text, -1, &stmt, NULL);

    if (code == SQLITE_OK) {
        code = sqlite3_step(stmt);
    }
    if (code == SQLITE_ROW) {
        *ret = sqlite3_column_int64(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    return code == SQLITE_ROW ? 0 : sqlite_explain(q, code, "open", e);
}

static int check_version(struct sqlite *q, int64_t *ret, struct err *e)
{
    int64_t version = 0;
    int r = read_pragma(q, "PRAGMA user_version", &version, e);

    if (r == 0 && version > SCHEMA_VERSION) {
        return err_set(e, -EPROTONOSUPPORT,
                       "cannot open store '%s': it has version %lld, made by a newer "
                       "strata; this one knows versions up to %d",
                       q->path, (long long)version, SCHEMA_VERSION);
    }
    if (r == 0) {
        *ret = version;
    }
    return r;
}

/* A file with a version must bear our mark; one without must be empty. */
static int check_owner(struct sqlite *q, int64_t version, struct err *e)
{
    int64_t mark = 0, tables = 0;
    int r = version > 0
                ? read_pragma(q, "PRAGMA application_id", &mark, e)
                : read_pragma(q, "SELECT count(*) FROM sqlite_schema", &tables, e);

    if (r == 0 && (tables > 0 || (version > 0 && mark != APPLICATION_ID))) {
        return err_set(e, -EUCLEAN,
                       "cannot open store '%s': it is a database of another program",
                       q->path);
    }
    return r;
}

static int upgrade(struct sqlite *q, struct err *e)
{
    int64_t version = 0;
    int r = check_version(q, &version, e); /* again, now that nobody else writes */

    if (r == 0) {
        r = check_owner(q, version, e);
    }
    for (; r == 0 && version < SCHEMA_VERSION; version++) {
        r = fault_step("store.schema");
        if (r < 0) {
            return err_sys(e, r, "cannot set up store '%s'", q->path);
        }
        r = exec(q, schema[version], "set up", e);
    }
    return r;
}

/* The change to a write-ahead log needs the file alone for a moment, and
 * SQLite does not wait for that by itself. */
static int make_log(struct sqlite *q, struct err *e)
{
    int code, looks = 0;

    do {
        code = sqlite3_exec(q->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    } while ((code & 0xff) == SQLITE_BUSY && wait_for_lock(q, looks++) != 0);
    return code == SQLITE_OK ? 0 : sqlite_explain(q, code, "set up", e);
}

static int make_tables(struct sqlite *q, struct err *e)
{
    int r = make_log(q, e);

    if (r == 0) {
        r = exec(q, "BEGIN IMMEDIATE", "set up", e);
    }
    if (r < 0) {
        return r;
    }
    r = upgrade(q, e);
    if (r == 0) {
        r = exec(q, "COMMIT", "set up", e);
    }
    if (r < 0) {
        (void)sqlite3_exec(q->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return r;
}

int sqlite_prepare_file(struct sqlite *q, struct err *e)
{
    int64_t version = 0;
    int r = check_version(q, &version, e);

    if (r == 0 && version < SCHEMA_VERSION) {
        r = make_tables(q, e);
    } else if (r == 0) {
        r = check_owner(q, version, e);
    }
    return r < 0 ? r : exec(q, "PRAGMA synchronous=NORMAL", "open", e);
}

/* A new file is for its owner only: records may hold secrets.  An existing file
 * is not opened here: closing it would drop the locks that SQLite has on it. */
static int make_file(const struct sqlite *q, struct err *e)
{
    int fd = open(q->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno != EEXIST) {
        return sqlite_refuse(q, -errno, "make", e);
    }
    scope_close(&fd);
    return 0;
}

/* The file open and known to SQLite; nothing of it was read. */
static int open_file(struct sqlite *q, struct err *e)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = make_file(q, e);

    if (code < 0) {
        return code;
    }
    code = sqlite3_open_v2(q->path, &q->db, flags, NULL);
    if (code != SQLITE_OK) {
        return sqlite_explain(q, code, "open", e);
    }
    if (sqlite3_db_readonly(q->db, "main") == 1) {
        return sqlite_explain(q, SQLITE_READONLY, "open", e);
    }
    (void)sqlite3_busy_handler(q->db, wait_for_lock, q);
    (void)sqlite3_wal_autocheckpoint(q->db, CHECKPOINT_PAGES);
    /* The last process to leave must not pay for copying the log: the next one
     * reads a short log at once. */
    (void)sqlite3_db_config(q->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return 0;
}

static const struct kv_ops sqlite_ops = STORE_OPS("sqlite");

int store_open_sqlite_with(const char *path, const struct store_options *o,
                           struct kv **ret, struct err *e)
{
    struct sqlite *q = fault_calloc(1, sizeof *q);
    int r;

    if (q == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    store_init(&q->s, &sqlite_ops, &sqlite_bed, o);
    q->notify = -1;
    q->path = fault_strdup(path);
    r = q->path == NULL ? err_set(e, -ENOMEM, "out of memory") : open_file(q, e);
    if (r == 0) {
        r = sqlite_prepare_file(q, e);
    }
    if (r < 0) {
        sqlite_bed.close(&q->s);
        return r;
    }
    *ret = &q->s.kv;
    return 0;
}

int store_open_sqlite(const char *path, struct kv **ret, struct err *e)
{
    return store_open_sqlite_with(path, NULL, ret, e);
}
