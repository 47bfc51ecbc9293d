/* What becomes of the store when its file is not as it should be. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/err.h"
#include "contract/kv.h"
#include "store/store.h"
#include "tests/store/dir.h"

/* Bytes of SQLite itself, failing at the n-th allocation: `left` counts down. */
static long left = -1, taken;

static void *take(int size)
{
    uint64_t *block;

    taken += 1;
    if (left >= 0 && left-- == 0) {
        return NULL;
    }
    block = malloc((size_t)size + 16);
    if (block == NULL) {
        return NULL;
    }
    block[0] = (uint64_t)size;
    return block + 2;
}

static void give(void *p)
{
    free((uint64_t *)p - 2);
}

static int size_of(void *p)
{
    return p == NULL ? 0 : (int)((uint64_t *)p)[-2];
}

static void *take_again(void *p, int size)
{
    void *new = take(size);

    if (new != NULL) {
        memcpy(new, p, (size_t)(size_of(p) < size ? size_of(p) : size));
        give(p);
    }
    return new;
}

static int round_up(int size)
{
    return (size + 7) & ~7;
}

static int no_init(void *arg)
{
    (void)arg;
    return SQLITE_OK;
}

static void no_shutdown(void *arg)
{
    (void)arg;
}

/* Run SQL that the store does not know of. */
static void raw(const struct dir *d, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(d->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void expect_refusal(const char *path, int code, const char *why)
{
    struct kv *kv = NULL;
    struct err e = {0};

    assert_int_equal(store_open_sqlite(path, &kv, &e), code);
    assert_null(kv);
    assert_non_null(strstr(e.text, path)); /* the text names the file */
    assert_non_null(strstr(e.text, why));
}

static void make(const struct dir *d, int records)
{
    struct kv *kv;
    char key[32], value[200];

    memset(value, 'v', sizeof value);
    assert_int_equal(store_open_sqlite(d->path, &kv, NULL), 0);
    for (int i = 0; i < records; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(
            kv_put(kv, key, (struct kv_bytes){value, sizeof value}, NULL, NULL), 0);
    }
    kv_close(kv);
}

static void a_newer_file_is_refused_and_left_alone(void **state)
{
    make(*state, 1);
    raw(*state, "PRAGMA user_version=99");
    expect_refusal(((struct dir *)*state)->path, -EPROTONOSUPPORT, "newer");
    raw(*state, "PRAGMA user_version=2");
    make(*state, 1);
}

static void a_file_of_version_1_is_brought_up_to_date(void **state)
{
    struct dir *d = *state;
    struct kv *kv;
    struct kv_item item;
    struct kv_lease lease;

    raw(d, "PRAGMA journal_mode=WAL;"
           "CREATE TABLE event(id INTEGER PRIMARY KEY, key TEXT NOT NULL,"
           " value BLOB NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL,"
           " lease INTEGER NOT NULL, prev INTEGER NOT NULL);"
           "CREATE TABLE item(key TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;"
           "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
           "INSERT INTO event VALUES(5<<20,'a',x'6f6c64',5,1,0,0);"
           "INSERT INTO item VALUES('a',5<<20);"
           "PRAGMA application_id=1400140385;"
           "PRAGMA user_version=1");
    assert_int_equal(store_open_sqlite(d->path, &kv, NULL), 0);
    assert_int_equal(kv_get(kv, "a", &item, NULL), 0);
    assert_string_equal(item.value, "old");
    assert_int_equal(item.mod_revision, 5);
    kv_item_fini(&item);
    assert_int_equal(kv_lease_grant(kv, 1, 10, &lease, NULL), 0);
    kv_close(kv);
}

static void files_of_others_are_refused(void **state)
{
    struct dir *d = *state;

    raw(d, "CREATE TABLE songs(name)");
    expect_refusal(d->path, -EUCLEAN, "another program");
    raw(d, "INSERT INTO songs VALUES('untouched'); PRAGMA user_version=2");
    expect_refusal(d->path, -EUCLEAN, "another program");
}

static void overwrite(const struct dir *d, off_t from, size_t len)
{
    char junk[512];
    int fd = open(d->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    memset(junk, 0xa5, sizeof junk);
    assert_true(fd >= 0);
    for (size_t done = 0; done < len; done += sizeof junk) {
        assert_int_equal(pwrite(fd, junk, sizeof junk, from + (off_t)done), sizeof junk);
    }
    assert_int_equal(close(fd), 0);
}

static void a_file_that_is_no_database_is_refused(void **state)
{
    struct dir *d = *state;

    overwrite(d, 0, 8192);
    expect_refusal(d->path, -EUCLEAN, "damaged");
}

static void damage_inside_is_reported_not_believed(void **state)
{
    struct dir *d = *state;
    struct kv_items items;
    struct kv *kv;
    struct err e = {0};

    make(d, 200);
    raw(d, "PRAGMA wal_checkpoint(TRUNCATE)");
    overwrite(d, 4096, 16 * 4096);
    assert_int_equal(store_open_sqlite(d->path, &kv, NULL), 0);
    assert_int_equal(kv_range(kv, (struct kv_span){"k", ""}, 0, &items, &e), -EUCLEAN);
    assert_non_null(strstr(e.text, d->path));
    assert_non_null(strstr(e.text, "damaged"));
    err_clear(&e);
    assert_int_equal(kv_put(kv, "k1", kv_text("x"), NULL, &e), -EUCLEAN);
    assert_non_null(strstr(e.text, "damaged"));
    kv_close(kv);
}

static void a_missing_directory_is_named(void **state)
{
    struct dir *d = *state;
    char path[80];

    (void)snprintf(path, sizeof path, "%s/no/kv", d->dir);
    expect_refusal(path, -ENOENT, "No such file");
    expect_refusal(d->dir, -EISDIR, "");
}

/* In a child that is not root; its exit code is the number of surprises. */
static int as_nobody(const struct dir *d, int code)
{
    struct kv *kv = NULL;
    struct err e = {0};
    int status, r;
    pid_t child = fork();

    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
            _exit(77);
        }
        r = store_open_sqlite(d->path, &kv, &e);
        if (r == 0) {
            r = kv_put(kv, "a", kv_text("x"), NULL, &e);
            kv_close(kv);
        }
        _exit(r == code && strstr(e.text, d->path) != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void a_new_file_is_for_its_owner_only(void **state)
{
    struct dir *d = *state;
    char log[80];
    struct stat st;

    make(d, 1);
    assert_int_equal(stat(d->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    (void)snprintf(log, sizeof log, "%s-wal", d->path);
    assert_int_equal(stat(log, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void read_only_files_and_directories_are_refused(void **state)
{
    struct dir *d = *state;

    make(d, 1);
    assert_int_equal(chmod(d->dir, 0755), 0);
    assert_int_equal(chmod(d->path, 0444), 0);
    assert_int_equal(as_nobody(d, -EROFS), 0);
    assert_int_equal(unlink(d->path), 0);
    assert_int_equal(chmod(d->dir, 0555), 0);
    assert_int_equal(as_nobody(d, -EACCES), 0);
    assert_int_equal(chmod(d->dir, 0700), 0);
}

/* 0 as promised, 77 without a small disk, else the step that surprised. */
static int fill_a_disk(const struct dir *d)
{
    char value[2000], key[32];
    struct kv_item item = {0};
    struct err e = {0};
    struct kv *kv;
    int64_t last = 0;
    int r = 0;

    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", d->dir, "tmpfs", 0, "size=400k") != 0) {
        return 77;
    }
    memset(value, 'v', sizeof value);
    if (store_open_sqlite(d->path, &kv, &e) != 0) {
        return 2;
    }
    for (int i = 0; i < 1000 && r == 0; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        r = kv_put(kv, key, (struct kv_bytes){value, sizeof value}, r == 0 ? &last : NULL,
                   &e);
    }
    if (r != -ENOSPC || strstr(e.text, d->path) == NULL) {
        (void)fprintf(stderr, "%d %s\n", r, e.text);
        return 3;
    }
    if (kv_get(kv, "k0", &item, NULL) != 0 || kv_get(kv, key, &item, NULL) != -ENOENT) {
        return 4; /* what was there is still there, what failed is not */
    }
    kv_item_fini(&item);
    if (mount(NULL, d->dir, NULL, MS_REMOUNT, "size=4m") != 0) {
        return 77;
    }
    err_clear(&e);
    if (kv_put(kv, "after", kv_text("x"), &last, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        return 5;
    }
    kv_close(kv);
    return 0;
}

static void a_full_disk_refuses_and_recovers(void **state)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(fill_a_disk(*state));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: this host gives no mount namespace\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static int open_and_use(const struct dir *d)
{
    struct kv_items items = {0};
    struct kv *kv = NULL;
    int r = store_open_sqlite(d->path, &kv, NULL);

    if (r == 0) {
        r = kv_put(kv, "a", kv_text("1"), NULL, NULL);
    }
    if (r == 0) {
        r = kv_list(kv, "a", &items, NULL);
    }
    kv_items_fini(&items);
    kv_close(kv);
    return r;
}

static void failing_memory_inside_sqlite_is_survived(void **state)
{
    struct dir *d = *state;
    bool untouched = false;

    for (long n = 0; !untouched; n++) {
        int r;

        assert_true(n < 5000);
        taken = 0;
        left = n;
        r = open_and_use(d);
        left = -1;
        untouched = taken <= n;
        assert_true(r == 0 || r == -ENOMEM);
    }
    assert_int_equal(open_and_use(d), 0);
}

#define PROMISE(name) cmocka_unit_test_setup_teardown(name, dir_begin, dir_end)

int main(void)
{
    static const sqlite3_mem_methods methods = {
        .xMalloc = take,
        .xFree = give,
        .xRealloc = take_again,
        .xSize = size_of,
        .xRoundup = round_up,
        .xInit = no_init,
        .xShutdown = no_shutdown,
    };
    const struct CMUnitTest tests[] = {
        PROMISE(a_newer_file_is_refused_and_left_alone),
        PROMISE(a_file_of_version_1_is_brought_up_to_date),
        PROMISE(files_of_others_are_refused),
        PROMISE(a_file_that_is_no_database_is_refused),
        PROMISE(damage_inside_is_reported_not_believed),
        PROMISE(a_missing_directory_is_named),
        PROMISE(a_new_file_is_for_its_owner_only),
        PROMISE(read_only_files_and_directories_are_refused),
        PROMISE(a_full_disk_refuses_and_recovers),
        PROMISE(failing_memory_inside_sqlite_is_survived),
    };

    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
