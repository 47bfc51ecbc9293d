/* cgroup_v2_test.c - a host with cgroup v2 alone: where groups are made, what is enabled on
 * the way, which file gets which text, freezing, killing, removing, and the same for a
 * user to whom a part of the hierarchy is delegated.
 * rows: OSL-09 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "host/cgroup_private.h"
#include "tests/base/check.h"
#include "tests/host/fake_cgroup2.h"

#define ALL     "cpuset cpu io memory pids\n"
#define SLICE   "/user.slice/user-1000.slice/user@1000.service"
#define SCOPE   SLICE "/app.slice/term.scope"
#define MANY_MS 1000

static int set_up(void **state)
{
    (void)state;
    fake_begin(ALL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_end();
    return 0;
}

static struct cgroup_layout layout(void)
{
    struct cgroup_layout l = {.trust = true, .base = fake_cgroup2.base};

    cgroup_layout_find(&l);
    assert_string_equal(l.unified, fake_cgroup2.base); /* the base itself is v2 */
    return l;
}

static struct cgroup_limits parse(const char *text)
{
    struct cgroup_limits l = {0};
    struct err e = {0};
    json_t *j = NULL;

    assert_int_equal(json_parse(text, strlen(text), "limits", &j, &e), 0);
    if (cgroup_limits_parse(j, "linux.resources", false, &l, &e) < 0) {
        fail_msg("%s", e.text);
    }
    json_decref(j);
    return l;
}

static struct cgroup *make(const char *path, const char *text, bool strict)
{
    struct cgroup_limits limits = parse(text);
    struct cgroup_want want = {.limits = &limits, .strict = strict};
    struct cgroup_layout l = layout();
    struct cgroup *cg = NULL;
    struct err e = {0};

    if (cgroup_create_in(&l, path, &want, &cg, &e) < 0) {
        fail_msg("%s", e.text);
    }
    cgroup_limits_fini(&limits);
    return cg;
}

static void there_is_one_directory_and_no_v1(void **state)
{
    struct cgroup *cg = make("/strata/web", "{}", true);
    struct cgroup_layout l = layout();
    char text[PATH_MAX];
    char *place = cgroup_place(cg);

    (void)state;
    (void)snprintf(text, sizeof text, "unified %s/strata/web\n", fake_cgroup2.base);
    assert_string_equal(place, text);
    free(place);
    for (unsigned i = 0; i < CGROUP_CTL_CORE; i++) {
        assert_int_equal(cgroup_layout_v1(&l, i, text, sizeof text), -ENOENT);
        assert_int_equal(cg->dir[i].fd, -1);
    }
    assert_true(cgroup_birth_fd(cg) >= 0);
    assert_int_equal(fake_cgroup2.writes.n, 0); /* nobody asked for a controller */
    assert_int_equal(cgroup_destroy(cg, MANY_MS, NULL), 0);
    assert_false(fake_has("/strata/web"));
}

static void only_what_is_asked_for_is_enabled_from_the_top_down(void **state)
{
    static const char *const order[] = {
        "/cgroup.subtree_control=+memory", "/strata/cgroup.subtree_control=+memory",
        "/cgroup.subtree_control=+pids", "/strata/cgroup.subtree_control=+pids"};
    struct cgroup *cg = make(
        "/strata/web", "{\"memory\":{\"limit\":1048576},\"pids\":{\"limit\":9}}", true);
    struct cgroup *next;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(fake_cgroup2.writes.items[i], order[i]);
    }
    assert_string_equal(fake_read("/strata/web/cgroup.subtree_control"), "");
    assert_string_equal(fake_read("/strata/web/cgroup.controllers"), "memory pids");
    next = make("/strata/db", "{\"memory\":{\"limit\":1048576}}", true);
    assert_null(fake_written("/cgroup.subtree_control", 2)); /* it was enabled already */
    assert_null(fake_written("/strata/cgroup.subtree_control", 2));
    assert_int_equal(cgroup_destroy(cg, MANY_MS, NULL), 0);
    assert_int_equal(cgroup_destroy(next, MANY_MS, NULL), 0);
}

static void limits_are_written_in_the_kernels_formats(void **state)
{
    static const struct {
        const char *file;
        const char *text;
    } want[] = {{"cpu.weight", "39"},         {"cpu.max", "50000 100000"},
                {"cpuset.cpus", "0-1"},       {"cpuset.mems", "0"},
                {"memory.max", "1048576"},    {"memory.swap.max", "1048576"},
                {"memory.low", "524288"},     {"memory.oom.group", "1"},
                {"memory.high", "900000"},    {"pids.max", "9"},
                {"io.max", "8:16 riops=120"}, {"io.weight", "10000"}};
    struct cgroup *cg = make(
        "/strata/web",
        "{\"cpu\":{\"shares\":1024,\"quota\":50000,\"period\":100000,\"cpus\":\"0-1\","
        "\"mems\":\"0\"},\"memory\":{\"limit\":1048576,\"swap\":2097152,\"reservation\":"
        "524288},\"pids\":{\"limit\":9},\"blockIO\":{\"weight\":1000,"
        "\"throttleReadIOPSDevice\":[{\"major\":8,\"minor\":16,\"rate\":120}]},"
        "\"unified\":{\"memory.oom.group\":\"1\",\"memory.high\":\"900000\"}}",
        true);

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char file[64];

        (void)snprintf(file, sizeof file, "/strata/web/%s", want[i].file);
        assert_string_equal(fake_read(file), want[i].text);
    }
    assert_int_equal(cgroup_warnings(cg)->n, 0);
    assert_int_equal(cgroup_destroy(cg, MANY_MS, NULL), 0);
}

static void a_changed_limit_leaves_the_others_alone(void **state)
{
    struct cgroup *cg = make("/strata/web",
                             "{\"cpu\":{\"quota\":50000,\"period\":200000},\"memory\":"
                             "{\"limit\":1048576},\"pids\":{\"limit\":9}}",
                             true);
    struct cgroup_limits l = parse("{\"cpu\":{\"quota\":-1},\"pids\":{\"limit\":-1}}");
    struct err e = {0};

    (void)state;
    assert_int_equal(cgroup_apply(cg, &l, true, &e), 0);
    assert_string_equal(fake_read("/strata/web/cpu.max"), "max 200000");
    assert_string_equal(fake_read("/strata/web/pids.max"), "max");
    assert_string_equal(fake_read("/strata/web/memory.max"), "1048576");
    assert_null(fake_written("/strata/web/memory.max", 1));
    cgroup_limits_fini(&l);
    assert_int_equal(cgroup_destroy(cg, MANY_MS, NULL), 0);
}

static void a_refused_limit_takes_back_those_before_it(void **state)
{
    struct cgroup *cg = make(
        "/strata/web", "{\"memory\":{\"limit\":1048576},\"pids\":{\"limit\":9}}", true);
    struct cgroup_limits l = parse("{\"memory\":{\"limit\":2097152},\"unified\":"
                                   "{\"memory.oom.group\":\"7\"}}");
    struct err e = {0};

    (void)state;
    assert_int_equal(cgroup_apply(cg, &l, true, &e), -EINVAL);
    assert_non_null(strstr(e.text, "memory.oom.group"));
    assert_string_equal(fake_read("/strata/web/memory.max"), "1048576");
    cgroup_limits_fini(&l);
    assert_int_equal(cgroup_destroy(cg, MANY_MS, NULL), 0);
}

static void freezing_waits_for_the_kernels_word(void **state)
{
    struct cgroup *cg = make("/strata/web", "{}", true);
    struct cgroup_events ev;
    struct err e = {0};

    (void)state;
    assert_int_equal(cgroup_freeze(cg, &e), 0);
    assert_string_equal(fake_written("/strata/web/cgroup.freeze", 0), "1");
    assert_int_equal(cgroup_events(cg, &ev), 0);
    assert_true(ev.frozen);
    assert_int_equal(cgroup_thaw(cg, &e), 0);
    assert_string_equal(fake_read("/strata/web/cgroup.freeze"), "0");
    assert_int_equal(cgroup_events(cg, &ev), 0);
    assert_false(ev.frozen);
    assert_int_equal(cgroup_destroy(cg, MANY_MS, NULL), 0);
}

static void kills_for_lack_of_memory_are_counted(void **state)
{
    struct cgroup *cg = make("/strata/web", "{\"memory\":{\"limit\":4096}}", true);
    struct cgroup_events ev;

    (void)state;
    fake_put("/strata/web/memory.events", "low 0\nmax 9\noom 3\noom_kill 3\n");
    assert_int_equal(cgroup_events(cg, &ev), 0);
    assert_int_equal(ev.oom_kills, 3);
    assert_int_equal(cgroup_destroy(cg, MANY_MS, NULL), 0);
}

static void a_group_goes_after_what_is_below_it_and_when_all_ended(void **state)
{
    struct cgroup *cg = make("/strata/web", "{}", true);
    const struct strv *gone = &fake_cgroup2.removed;
    struct err e = {0};

    (void)state;
    fake_make("/strata/web/inner", "");
    fake_make("/strata/web/inner/most", "");
    fake_put("/strata/web/cgroup.procs", "999999\n");
    fake_put("/strata/web/cgroup.events", "populated 1\nfrozen 0\n");
    assert_int_equal(cgroup_destroy(cg, MANY_MS, &e), 0);
    assert_string_equal(fake_written("/strata/web/cgroup.kill", 0), "1");
    assert_int_equal(gone->n, 3);
    assert_string_equal(gone->items[0], "/strata/web/inner/most");
    assert_string_equal(gone->items[1], "/strata/web/inner");
    assert_string_equal(gone->items[2], "/strata/web");
    assert_true(fake_has("/strata")); /* others may live in it */
}

static void what_fails_leaves_no_directory(void **state)
{
    struct cgroup_limits limits = parse("{\"unified\":{\"memory.oom.group\":\"x\"},"
                                        "\"memory\":{\"limit\":4096}}");
    struct cgroup_want want = {.limits = &limits, .strict = true};
    struct cgroup_layout l = layout();
    struct cgroup *cg = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(cgroup_create_in(&l, "/strata/web", &want, &cg, &e), -EINVAL);
    assert_false(fake_has("/strata/web"));
    cgroup_limits_fini(&limits);
}

static void a_controller_that_is_not_offered_is_a_line_or_an_error(void **state)
{
    const char *text = "{\"memory\":{\"limit\":4096},\"hugepageLimits\":"
                       "[{\"pageSize\":\"2MB\",\"limit\":4096}]}";
    struct cgroup_limits limits = parse(text);
    struct cgroup_want want = {.limits = &limits, .strict = true};
    struct cgroup_layout l = layout();
    struct cgroup *cg = make("/strata/web", text, false);
    struct err e = {0};

    (void)state;
    assert_int_equal(cgroup_warnings(cg)->n, 1);
    assert_non_null(strstr(cgroup_warnings(cg)->items[0], "hugetlb"));
    assert_string_equal(fake_read("/strata/web/memory.max"), "4096");
    assert_int_equal(cgroup_destroy(cg, MANY_MS, NULL), 0);
    assert_int_equal(cgroup_create_in(&l, "/strata/web", &want, &cg, &e), -EOPNOTSUPP);
    cgroup_limits_fini(&limits);
}

/* A service manager gives a user memory and pids below SLICE, and no more. */
static struct cgroup_layout delegate(char self[PATH_MAX])
{
    struct cgroup_layout l;

    fake_make("", "cpu io memory pids");
    fake_make("/user.slice", "memory pids");
    fake_make("/user.slice/user-1000.slice", "memory pids");
    fake_make(SLICE, "memory pids");
    fake_make(SLICE "/app.slice", "");
    fake_make(SCOPE, "");
    fake_put(SCOPE "/cgroup.procs", "4711\n");
    fake_put("/self", "0::" SCOPE "\n");
    fake_cgroup2.delegated = SLICE;
    l = layout();
    (void)snprintf(self, PATH_MAX, "%s/self", fake_cgroup2.base);
    l.self = self;
    return l;
}

static void a_user_has_a_group_beside_the_own_one(void **state)
{
    struct cgroup_limits limits = parse("{\"memory\":{\"limit\":4096},\"cpu\":{\"quota\":"
                                        "5000},\"pids\":{\"limit\":5}}");
    struct cgroup_want want = {.limits = &limits, .optional = true};
    char self[PATH_MAX];
    struct cgroup_layout l = delegate(self);
    struct cgroup *cg = NULL;
    struct err e = {0};

    (void)state;
    if (cgroup_create_in(&l, "/strata/web", &want, &cg, &e) < 0) {
        fail_msg("%s", e.text);
    }
    assert_true(fake_has(SLICE "/app.slice/strata/web"));
    assert_false(fake_has("/strata"));
    assert_string_equal(fake_read(SLICE "/app.slice/strata/web/memory.max"), "4096");
    assert_string_equal(fake_read(SLICE "/app.slice/strata/web/pids.max"), "5");
    assert_int_equal(cgroup_warnings(cg)->n, 1); /* the processor was not delegated */
    assert_non_null(strstr(cgroup_warnings(cg)->items[0], "'cpu'"));
    assert_null(fake_written("/cgroup.subtree_control", 0)); /* somebody else's */
    assert_int_equal(cgroup_destroy(cg, MANY_MS, &e), 0);
    assert_false(fake_has(SLICE "/app.slice/strata/web"));
    cgroup_limits_fini(&limits);
}

static void a_user_without_a_place_has_one_line_or_when_asked_an_error(void **state)
{
    struct cgroup_limits limits = parse("{\"memory\":{\"limit\":4096}}");
    struct cgroup_want want = {.limits = &limits, .optional = true};
    char self[PATH_MAX];
    struct cgroup_layout l = delegate(self);
    struct cgroup *cg = NULL;
    struct err e = {0};

    (void)state;
    fake_cgroup2.delegated = "/somewhere/else";
    assert_int_equal(cgroup_create_in(&l, "/strata/web", &want, &cg, &e), 0);
    assert_int_equal(cgroup_warnings(cg)->n, 1);
    assert_int_equal(cgroup_birth_fd(cg), -1);
    cgroup_close(cg);
    want.optional = false;
    assert_int_equal(cgroup_create_in(&l, "/strata/web", &want, &cg, &e), -EACCES);
    cgroup_limits_fini(&limits);
}

/* A directory that holds the caller's processes cannot pass controllers on. */
static void below_ones_own_processes_there_are_no_limits(void **state)
{
    struct cgroup_limits limits = parse("{\"memory\":{\"limit\":4096}}");
    struct cgroup_want want = {.limits = &limits};
    char self[PATH_MAX];
    struct cgroup_layout l = delegate(self);
    struct cgroup *cg = NULL;
    struct err e = {0};

    (void)state;
    fake_cgroup2.delegated = SCOPE;
    assert_int_equal(cgroup_create_in(&l, "/strata/web", &want, &cg, &e), 0);
    assert_true(fake_has(SCOPE "/strata/web"));
    assert_int_equal(cgroup_warnings(cg)->n, 1);
    assert_non_null(strstr(cgroup_warnings(cg)->items[0], "not delegated"));
    assert_int_equal(cgroup_destroy(cg, MANY_MS, &e), 0);
    cgroup_limits_fini(&limits);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(there_is_one_directory_and_no_v1),
        T(only_what_is_asked_for_is_enabled_from_the_top_down),
        T(limits_are_written_in_the_kernels_formats),
        T(a_changed_limit_leaves_the_others_alone),
        T(a_refused_limit_takes_back_those_before_it),
        T(freezing_waits_for_the_kernels_word),
        T(kills_for_lack_of_memory_are_counted),
        T(a_group_goes_after_what_is_below_it_and_when_all_ended),
        T(what_fails_leaves_no_directory),
        T(a_controller_that_is_not_offered_is_a_line_or_an_error),
        T(a_user_has_a_group_beside_the_own_one),
        T(a_user_without_a_place_has_one_line_or_when_asked_an_error),
        T(below_ones_own_processes_there_are_no_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
