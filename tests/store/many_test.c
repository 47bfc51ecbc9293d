/* Many processes on one store file, and processes that die in the middle. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/err.h"
#include "contract/kv.h"
#include "store/store.h"
#include "tests/store/dir.h"

#define WRITERS    4
#define INCREMENTS 250
#define ROUNDS     40

static struct kv *open_store(const struct dir *d)
{
    struct kv *kv = NULL;
    struct err e = {0};

    if (store_open_sqlite(d->path, &kv, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
    }
    return kv;
}

static int64_t number(struct kv *kv, const char *key, int64_t *ret_revision)
{
    struct kv_item item;
    int64_t value = 0;

    *ret_revision = 0;
    if (kv_get(kv, key, &item, NULL) == 0) {
        value = atoll(item.value);
        *ret_revision = item.mod_revision;
        kv_item_fini(&item);
    }
    return value;
}

/* Add one, by compare-and-put until nobody came between. */
static int increment(struct kv *kv)
{
    char text[32];
    int64_t revision;
    int r;

    do {
        (void)snprintf(text, sizeof text, "%lld",
                       (long long)number(kv, "sum", &revision) + 1);
        r = kv_put_if(kv, "sum", kv_text(text), revision, NULL, NULL);
    } while (r == -EAGAIN || r == -EEXIST);
    return r;
}

static pid_t spawn(const struct dir *d, int (*job)(const struct dir *))
{
    pid_t child = fork();

    if (child == 0) {
        _exit(job(d));
    }
    assert_true(child > 0);
    return child;
}

static int reap(pid_t child)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static int add_many(const struct dir *d)
{
    struct kv *kv = open_store(d);
    int r = kv == NULL ? 1 : 0;

    for (int i = 0; i < INCREMENTS && r == 0; i++) {
        r = increment(kv);
    }
    kv_close(kv);
    return r != 0;
}

/* They start on a missing file, so its making is raced for, too. */
static void no_increment_of_four_writers_is_lost(void **state)
{
    pid_t writers[WRITERS];
    int64_t revision;
    struct kv *kv;

    for (int i = 0; i < WRITERS; i++) {
        writers[i] = spawn(*state, add_many);
    }
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(reap(writers[i]), 0);
    }
    kv = open_store(*state);
    assert_int_equal(number(kv, "sum", &revision), WRITERS * INCREMENTS);
    assert_int_equal(revision, 1 + WRITERS * INCREMENTS);
    kv_close(kv);
}

static int add_once(const struct dir *d)
{
    struct kv *kv = open_store(d);
    int r = kv == NULL ? 1 : increment(kv);

    kv_close(kv);
    return r != 0;
}

static void a_missing_file_is_made_once_by_many(void **state)
{
    enum {
        OPENERS = 12
    };

    pid_t openers[OPENERS];
    int64_t revision;
    struct kv *kv;

    for (int i = 0; i < OPENERS; i++) {
        openers[i] = spawn(*state, add_once);
    }
    for (int i = 0; i < OPENERS; i++) {
        assert_int_equal(reap(openers[i]), 0);
    }
    kv = open_store(*state);
    assert_int_equal(number(kv, "sum", &revision), OPENERS);
    kv_close(kv);
}

static int64_t *told; /* shared with the writer: the last revision it was promised */

/* Write the same number to two records, for ever. */
static int write_pairs(const struct dir *d)
{
    struct kv *kv = open_store(d);
    char text[32];

    for (int64_t i = 0; kv != NULL; i++) {
        struct kv_result result = {0};
        struct kv_op ops[2];

        (void)snprintf(text, sizeof text, "%lld", (long long)i);
        ops[0] = kv_op_put("pair/a", kv_text(text));
        ops[1] = kv_op_put("pair/b", kv_text(text));
        if (kv_txn(kv, &(struct kv_txn){.then_ops = ops, .n_then = 2}, &result, NULL) !=
            0) {
            break;
        }
        __atomic_store_n(told, result.revision, __ATOMIC_SEQ_CST);
        kv_result_fini(&result);
    }
    return 1;
}

static int one_text(void *arg, int n, char **values, char **names)
{
    (void)n;
    (void)names;
    (void)snprintf(arg, 64, "%s", values[0]);
    return 0;
}

static void check_integrity(const struct dir *d)
{
    sqlite3 *db;
    char text[64] = "";

    assert_int_equal(sqlite3_open(d->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA integrity_check", one_text, text, NULL),
                     SQLITE_OK);
    assert_string_equal(text, "ok");
    assert_int_equal(sqlite3_exec(db,
                                  "SELECT count(*) FROM item i LEFT JOIN event e"
                                  " ON e.id=i.id AND e.key=i.key WHERE e.id IS NULL",
                                  one_text, text, NULL),
                     SQLITE_OK);
    assert_string_equal(text, "0"); /* the index points to events that are there */
    (void)sqlite3_close(db);
}

static void killed_writers_leave_whole_transactions(void **state)
{
    int64_t newest = 0, a, b, revision_a, revision_b;

    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    assert_ptr_not_equal(told, MAP_FAILED);
    srand(20);
    for (int i = 0; i < ROUNDS; i++) {
        struct timespec pause = {.tv_nsec = rand() % 12000000};
        pid_t writer = spawn(*state, write_pairs);
        struct kv *kv;

        (void)nanosleep(&pause, NULL); /* the random point */
        assert_int_equal(kill(writer, SIGKILL), 0);
        assert_true(WIFSIGNALED(reap(writer)));
        kv = open_store(*state);
        assert_non_null(kv);
        a = number(kv, "pair/a", &revision_a);
        b = number(kv, "pair/b", &revision_b);
        assert_int_equal(a, b);
        assert_int_equal(revision_a, revision_b);
        assert_true(revision_a >= *told && revision_a >= newest);
        newest = revision_a;
        kv_close(kv);
        check_integrity(*state);
    }
    assert_true(newest > 1);
    (void)munmap(told, sizeof *told);
}

static void expect_after_death_at(const struct dir *d, const char *fault, int64_t sum)
{
    int64_t revision;
    struct kv *kv;

    assert_int_equal(setenv("STRATA_FAULT", fault, 1), 0);
    assert_true(WIFSIGNALED(reap(spawn(d, add_once))));
    assert_int_equal(unsetenv("STRATA_FAULT"), 0);
    kv = open_store(d);
    assert_non_null(kv);
    assert_int_equal(number(kv, "sum", &revision), sum);
    kv_close(kv);
}

static void death_at_each_step_is_before_or_after_never_between(void **state)
{
#ifdef FAULTS
    expect_after_death_at(*state, "kill:store.schema", 0);
    expect_after_death_at(*state, "kill:store.begun", 0);
    expect_after_death_at(*state, "kill:store.written", 0);
    expect_after_death_at(*state, "kill:store.committed", 1);
#else
    (void)expect_after_death_at;
    (void)state;
    skip();
#endif
}

static void a_step_that_fails_changes_nothing(void **state)
{
#ifdef FAULTS
    struct kv *kv = open_store(*state);
    struct err e = {0};
    int64_t revision;

    assert_int_equal(setenv("STRATA_FAULT", "full:store.written", 1), 0);
    assert_int_equal(kv_put(kv, "sum", kv_text("1"), NULL, &e), -ENOSPC);
    assert_int_equal(unsetenv("STRATA_FAULT"), 0);
    assert_int_equal(number(kv, "sum", &revision), 0);
    kv_close(kv);
#else
    (void)state;
    skip();
#endif
}

static int gate[2]; /* the writer waits here until the watch waits */

static int write_when_told(const struct dir *d)
{
    struct timespec pause = {.tv_nsec = 20000000};
    char byte;

    if (read(gate[0], &byte, 1) != 1) {
        return 1;
    }
    (void)nanosleep(&pause, NULL);
    return add_once(d);
}

static void a_watch_is_woken_by_another_process(void **state)
{
    struct kv_events events = {0};
    struct timespec before, after;
    struct kv_watch *w;
    struct kv *kv;
    pid_t writer;

    assert_int_equal(pipe(gate), 0);
    writer = spawn(*state, write_when_told); /* before this process has it open */
    kv = open_store(*state);
    assert_int_equal(kv_watch_open(kv, kv_key("sum"), 0, &w, NULL), 0);
    assert_int_equal(write(gate[1], "x", 1), 1);
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(kv_watch_next(w, 20000, &events, NULL), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    assert_int_equal(events.n, 1);
    assert_string_equal(events.items[0].item.value, "1");
    print_message("woken after %ld ms\n", (after.tv_sec - before.tv_sec) * 1000 +
                                              (after.tv_nsec - before.tv_nsec) / 1000000);
    assert_int_equal(reap(writer), 0);
    kv_events_fini(&events);
    kv_watch_close(w);
    kv_close(kv);
    (void)close(gate[0]);
    (void)close(gate[1]);
}

static void others_that_hold_the_store_too_long_are_reported(void **state)
{
    struct dir *d = *state;
    struct store_options options = {.busy_ms = 30};
    struct err e = {0};
    struct kv *kv;
    sqlite3 *db;

    assert_int_equal(store_open_sqlite_with(d->path, &options, &kv, NULL), 0);
    assert_int_equal(sqlite3_open(d->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(kv_put(kv, "a", kv_text(""), NULL, &e), -EBUSY);
    assert_non_null(strstr(e.text, d->path));
    (void)sqlite3_close(db);
    assert_int_equal(kv_put(kv, "a", kv_text(""), NULL, NULL), 0);
    kv_close(kv);
}

#define PROMISE(name) cmocka_unit_test_setup_teardown(name, dir_begin, dir_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROMISE(no_increment_of_four_writers_is_lost),
        PROMISE(a_missing_file_is_made_once_by_many),
        PROMISE(killed_writers_leave_whole_transactions),
        PROMISE(death_at_each_step_is_before_or_after_never_between),
        PROMISE(a_step_that_fails_changes_nothing),
        PROMISE(a_watch_is_woken_by_another_process),
        PROMISE(others_that_hold_the_store_too_long_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
