/* lvm_test.c - thin volumes by a program that answers as lvm(8) does, or by the real one.
 *
 *     lvm_test FAKE-LVM            the fake, in a directory of its own
 *     lvm_test real LVM GROUP POOL the real one, without a device mapper */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/lvm/private.h"
#include "tests/base/check.h"

static const char *fake;

struct place {
    char dir[64];
    char program[96];
    struct lvm_pool pool;
};

static void set(const struct place *x, const char *knob, const char *text)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", x->dir, knob);
    if (text == NULL) {
        (void)unlink(path);
        return;
    }
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int start(void **state)
{
    static struct place x;

    (void)strcpy(x.dir, "/var/tmp/lvm-test-XXXXXX");
    assert_non_null(mkdtemp(x.dir));
    (void)snprintf(x.program, sizeof x.program, "%s/lvm", x.dir);
    assert_int_equal(symlink(fake, x.program), 0);
    x.pool = (struct lvm_pool){.group = "vg", .name = "tp", .program = x.program};
    *state = &x;
    return 0;
}

static int stop(void **state)
{
    struct place *x = *state;
    char command[96];

    (void)snprintf(command, sizeof command, "rm -rf %s", x->dir);
    return system(command);
}

static void count(void *arg, const struct lvm_volume *v)
{
    (void)v;
    ++*(unsigned *)arg;
}

static void volumes_come_and_go(void **state)
{
    struct place *x = *state;
    struct lvm_volume v;
    unsigned n = 0;

    assert_int_equal(lvm_volume_create(&x->pool, "a", 5 << 20, NULL), 0);
    assert_int_equal(lvm_volume_look(&x->pool, "a", &v, NULL), 0);
    assert_int_equal(v.size_bytes, 8 << 20); /* whole extents */
    assert_string_equal(v.path, "/dev/vg/a");
    assert_true(v.active && v.full == 0 && v.origin[0] == '\0');
    assert_int_equal(lvm_volume_snapshot(&x->pool, "a", "b", NULL), 0);
    assert_int_equal(lvm_volume_snapshot(&x->pool, "b", "c", NULL), 0);
    assert_int_equal(lvm_volume_look(&x->pool, "c", &v, NULL), 0);
    assert_string_equal(v.origin, "b");
    assert_int_equal(lvm_volume_resize(&x->pool, "c", 64 << 20, NULL), 0);
    assert_int_equal(lvm_volume_look(&x->pool, "c", &v, NULL), 0);
    assert_int_equal(v.size_bytes, 64 << 20);
    assert_int_equal(lvm_volume_remove(&x->pool, "b", NULL), 0); /* its snapshot stays */
    assert_int_equal(lvm_volume_list(&x->pool, count, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(lvm_volume_look(&x->pool, "b", &v, NULL), -ENOENT);
}

static void what_lvm_says_has_a_code(void **state)
{
    struct place *x = *state;
    struct lvm_pool none = x->pool;
    struct lvm_usage u;
    struct err e = {0};

    assert_int_equal(lvm_volume_create(&x->pool, "a", 4 << 20, NULL), 0);
    assert_int_equal(lvm_volume_create(&x->pool, "a", 4 << 20, &e), -EEXIST);
    assert_non_null(strstr(e.text, "cannot create 'vg/a': lvm lvcreate: Logical Volume"));
    assert_null(strstr(e.text, "WARNING"));
    assert_int_equal(lvm_volume_remove(&x->pool, "b", NULL), -ENOENT);
    assert_int_equal(lvm_volume_resize(&x->pool, "b", 4 << 20, NULL), -ENOENT);
    assert_int_equal(lvm_volume_snapshot(&x->pool, "b", "c", NULL), -ENOENT);
    set(x, "open", "a");
    assert_int_equal(lvm_volume_remove(&x->pool, "a", NULL), -EBUSY);
    set(x, "threshold", "");
    assert_int_equal(lvm_volume_create(&x->pool, "b", 4 << 20, NULL), -ENOSPC);
    assert_int_equal(lvm_volume_snapshot(&x->pool, "a", "b", NULL), -ENOSPC);
    none.name = "none";
    assert_int_equal(lvm_pool_usage(&none, &u, NULL), -ENOENT);
    assert_int_equal(lvm_volume_create(&none, "b", 4 << 20, NULL), -ENOENT);
    none.group = "nogroup";
    assert_int_equal(lvm_pool_usage(&none, &u, NULL), -ENOENT);
    assert_int_equal(lvm_volume_create(&x->pool, "b", 1000, NULL), -EINVAL);
}

static void usage_is_told(void **state)
{
    struct place *x = *state;
    struct lvm_usage u;

    set(x, "percent", "99.98 100.00");
    set(x, "health", "out_of_data");
    assert_int_equal(lvm_pool_usage(&x->pool, &u, NULL), 0);
    assert_int_equal(u.size_bytes, 1 << 30);
    assert_int_equal(u.data, 9998);
    assert_int_equal(u.metadata, 10000);
    assert_true(!u.healthy && u.active);
    set(x, "percent", " ");
    set(x, "health", NULL);
    assert_int_equal(lvm_pool_usage(&x->pool, &u, NULL), 0);
    assert_true(u.data == LVM_FULL_UNKNOWN && u.metadata == LVM_FULL_UNKNOWN &&
                u.healthy);
}

static void names_are_checked(void **state)
{
    static const char *const bad[] = {"",        "-a",       ".",       "..",   "a/b",
                                      "a b",     "snapshot", "a;b",     "a\nb", "pvmove",
                                      "x_tmeta", "x_tdata1", "\xc3\xa4"};
    struct place *x = *state;
    char longest[LVM_NAME_BYTES];

    set(x, "signal", "9"); /* the program is not asked */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};

        assert_int_equal(lvm_volume_create(&x->pool, bad[i], 4 << 20, &e), -EINVAL);
        assert_non_null(strstr(e.text, "no name for LVM"));
        assert_int_equal(lvm_volume_snapshot(&x->pool, "a", bad[i], NULL), -EINVAL);
        assert_int_equal(lvm_volume_remove(&x->pool, bad[i], NULL), -EINVAL);
    }
    memset(longest, 'a', sizeof longest);
    longest[LVM_NAME_BYTES - 1] = '\0';
    assert_int_equal(lvm_volume_create(&x->pool, longest, 4 << 20, NULL), -ENAMETOOLONG);
    assert_int_equal(lvm_volume_remove(&x->pool, "tp", NULL), -EINVAL); /* the pool */
}

/* A program that is missing, dies, floods, says nonsense, or hangs. */
static void a_bad_program_is_told(void **state)
{
    struct place *x = *state;
    struct lvm_pool p = x->pool;
    struct lvm_usage u;
    struct err e = {0};

    p.program = "/nonexistent/lvm";
    assert_int_equal(lvm_pool_usage(&p, &u, &e), -ENOENT);
    assert_non_null(strstr(e.text, "cannot run lvm lvs"));
    p.program = x->program;
    set(x, "signal", "9");
    assert_int_equal(lvm_pool_usage(&p, &u, NULL), -EIO);
    set(x, "signal", NULL);
    set(x, "flood", "9000000");
    assert_int_equal(lvm_pool_usage(&p, &u, NULL), -EFBIG);
    set(x, "flood", NULL);
    set(x, "garbage", "{\"report\": 7}");
    assert_int_equal(lvm_pool_usage(&p, &u, NULL), -EINVAL);
    set(x, "garbage", NULL);
    set(x, "slow", "30");
    p.patience_seconds = 1;
    err_clear(&e);
    assert_int_equal(lvm_pool_usage(&p, &u, &e), -EIO);
    assert_non_null(strstr(e.text, "signal 15"));
}

#define ROW                                                                              \
    "{\"report\":[{\"lv\":[{\"lv_name\":\"tp\",\"lv_size\":\"1024\",\"origin\":\"\","    \
    "\"pool_lv\":\"\",\"data_percent\":\"1.00\",\"metadata_percent\":\"2.00\","          \
    "\"lv_health_status\":\"\",\"lv_path\":\"\",\"lv_active\":\"active\","               \
    "\"segtype\":\"thin-pool\"}]}]}"

static int read_text(const char *text, size_t bytes, bool *ret_found)
{
    struct lvm_pool p = {.group = "vg", .name = "tp"};
    struct lvm_usage u;
    unsigned n = 0;
    struct lvm_reader r = {.pool = &p, .usage = &u, .each = count, .arg = &n};
    int code = lvm_report_read(text, bytes, &r, NULL);

    *ret_found = r.found;
    return code;
}

static void reports_are_read_strictly(void **state)
{
    static const struct {
        const char *was;
        const char *is;
    } rows[] = {{"1.00", "1"},
                {"1.00", "1.0"},
                {"1.00", "-1.00"},
                {"1.00", "1,00"},
                {"1.00", "1e2.00"},
                {"1.00", "100.01"},
                {"1.00", "1000.00"},
                {"1024", ""},
                {"1024", "1024B"},
                {"1024", "-1"},
                {"1024", "18446744073709551616"},
                {"\"1024\"", "1024"},
                {"lv_size", "size"},
                {"\"lv\"", "\"vg\""}};

    const char *good = ROW;
    bool found;

    (void)state;
    assert_int_equal(read_text(good, strlen(good), &found), 0);
    assert_true(found);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *at = strstr(good, rows[i].was);
        char text[1024];

        assert_non_null(at);
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, rows[i].is,
                       at + strlen(rows[i].was));
        assert_int_equal(read_text(text, strlen(text), &found), -EINVAL);
    }
    for (size_t n = 0; n < strlen(good); n++) { /* cut off; and each byte another */
        char *text = malloc(strlen(good));

        assert_non_null(text);
        memcpy(text, good, strlen(good));
        assert_true(read_text(text, n, &found) < 0);
        for (unsigned bit = 0; bit < 8; bit++) {
            text[n] = (char)(good[n] ^ 1 << bit);
            (void)read_text(text, strlen(good), &found);
        }
        free(text);
    }
}

static void memory_may_run_out(void **state)
{
    struct place *x = *state;
    struct lvm_usage u;
    int r = -ENOMEM;

    for (long n = 0; n < 20 && r != 0; n++) {
        fault_fail_alloc_at(n);
        r = lvm_pool_usage(&x->pool, &u, NULL);
        fault_fail_alloc_at(-1);
        assert_true(r == 0 || r == -ENOMEM);
    }
    assert_int_equal(r, 0);
}

/* ---- the real program, up to where it needs the kernel ---- */

static void must_say(int r, const struct err *e, int code, const char *text)
{
    if (r != code || (text != NULL && strstr(e->text, text) == NULL)) {
        (void)fprintf(stderr, "%d, %s; not %d, %s\n", r, e->text, code, text);
        abort();
    }
}

static int use_real(const struct lvm_pool *p)
{
    static const char kernel[] = "device-mapper";
    struct lvm_usage u;
    struct lvm_volume v;
    struct err e = {0};

    must_say(lvm_pool_usage(p, &u, &e), &e, 0, NULL);
    must_say(u.size_bytes == 64 << 20 && u.data == LVM_FULL_UNKNOWN ? 0 : 1, &e, 0, NULL);
    must_say(lvm_volume_look(p, "s1", &v, &e), &e, 0, NULL);
    must_say(strcmp(v.origin, "v1") | (v.size_bytes != 96 << 20), &e, 0, NULL);
    must_say(lvm_volume_resize(p, "v1", 200000512, &e), &e, 0, NULL);
    must_say(lvm_volume_look(p, "v1", &v, &e), &e, 0, NULL);
    must_say(v.size_bytes != 192 << 20, &e, 0, NULL);
    /* Words that it takes, and what the kernel would then have to do. */
    must_say(lvm_volume_create(p, "v2", 48 << 20, &e), &e, -EIO, kernel);
    err_clear(&e);
    must_say(lvm_volume_snapshot(p, "v1", "s2", &e), &e, -EIO, kernel);
    err_clear(&e);
    must_say(lvm_volume_remove(p, "s1", &e), &e, -EIO, "pool");
    err_clear(&e);
    /* What it refuses by itself. */
    must_say(lvm_volume_snapshot(p, "none", "s2", &e), &e, -ENOENT, "not found");
    err_clear(&e);
    must_say(lvm_volume_resize(p, "none", 4 << 20, &e), &e, -ENOENT, "not found");
    err_clear(&e);
    must_say(lvm_volume_remove(p, "none", &e), &e, -ENOENT, "Failed to find");
    (void)puts("ok   the real lvm");
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(volumes_come_and_go, start, stop),
        cmocka_unit_test_setup_teardown(what_lvm_says_has_a_code, start, stop),
        cmocka_unit_test_setup_teardown(usage_is_told, start, stop),
        cmocka_unit_test_setup_teardown(names_are_checked, start, stop),
        cmocka_unit_test_setup_teardown(a_bad_program_is_told, start, stop),
        cmocka_unit_test(reports_are_read_strictly),
        cmocka_unit_test_setup_teardown(memory_may_run_out, start, stop),
    };

    if (argc == 5) {
        struct lvm_pool p = {.program = argv[2], .group = argv[3], .name = argv[4]};

        return use_real(&p);
    }
    fake = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
