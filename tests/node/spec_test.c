/* spec_test.c - from a record to the plan of a worker: program, capabilities, limits. */
#include <string.h>

#include "base/scope.h"
#include "tests/node/fixture.h"
#include "virt/container/confine/caps.h"

/* The plan of a guest with this configuration; NULL: `e` says why. */
static json_t *plan(const struct fixture *f, const char *config, struct err *e)
{
    struct guest g = {.id = "0123456789ab"};
    json_t *spec = NULL;

    g.record = json_pack("{s:s, s:s, s:o, s:{s:[s], s:[s], s:s}, s:[], s:{s:i, s:i}}",
                         "id", g.id, "name", "web", "config", json_loads(config, 0, NULL),
                         "image_config", "env", "FROM=image", "cmd", "/bin/sh", "workdir",
                         "/srv", "layers", "userns", "base", 1048576, "size", 65536);
    assert_non_null(g.record);
    (void)spec_build(f->n, &g, &spec, e);
    guest_fini(&g);
    return spec;
}

static const json_t *process_of(const json_t *spec)
{
    return json_object_get(json_object_get(spec, "oci"), "process");
}

static uint64_t caps_of(const json_t *spec, const char *set)
{
    const json_t *list =
        json_object_get(json_object_get(process_of(spec), "capabilities"), set);
    uint64_t mask = 0;
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        int cap = caps_from_name(json_string_value(item));

        assert_true(cap >= 0);
        mask |= UINT64_C(1) << cap;
    }
    return mask;
}

#define BIT(name) (UINT64_C(1) << caps_from_name(name))

static void capabilities_are_the_usual_ones_and_what_was_said(void **state)
{
    const uint64_t usual = caps_default();
    uint64_t all = 0;

    struct {
        const char *config;
        uint64_t want;
    } rows[] = {
        {"{}", usual},
        {"{\"cap_add\":[\"net_admin\"]}", usual | BIT("NET_ADMIN")},
        {"{\"cap_drop\":[\"CAP_CHOWN\"]}", usual & ~BIT("CHOWN")},
        {"{\"cap_drop\":[\"ALL\"]}", 0},
        {"{\"cap_drop\":[\"all\"],\"cap_add\":[\"Kill\"]}", BIT("KILL")},
        {"{\"cap_add\":[\"ALL\"],\"cap_drop\":[\"SYS_ADMIN\"]}", ~BIT("SYS_ADMIN")},
        {"{\"cap_add\":[\"SYS_TIME\"],\"cap_drop\":[\"SYS_TIME\"]}",
         usual | BIT("SYS_TIME")},
        {"{\"privileged\":true,\"cap_drop\":[\"ALL\"]}", UINT64_MAX},
    };

    for (int i = 0; caps_name(i) != NULL; i++) {
        all |= UINT64_C(1) << i;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};
        SCOPED(scope_json) json_t *spec = plan(*state, rows[i].config, &e);

        if (spec == NULL || caps_of(spec, "bounding") != (rows[i].want & all) ||
            caps_of(spec, "effective") != (rows[i].want & all) ||
            caps_of(spec, "ambient") != 0) {
            fail_msg("%s: %s", rows[i].config, e.text);
        }
    }
}

static void another_user_gets_them_as_a_bound_only(void **state)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *spec = plan(*state, "{\"user\":\"1000\"}", &e);

    assert_non_null(spec);
    assert_int_equal(caps_of(spec, "bounding"), caps_default());
    assert_int_equal(caps_of(spec, "permitted"), 0);
    assert_int_equal(caps_of(spec, "effective"), 0);
}

static void what_cannot_be_is_refused_by_name(void **state)
{
    static const struct {
        const char *config;
        const char *says;
    } rows[] = {{"{\"cap_add\":[\"FLY\"]}", "'FLY' is not a capability"},
                {"{\"cap_drop\":[\"CAP_\"]}", "'CAP_' is not a capability"},
                {"{\"ulimit\":[\"nofile\"]}", "--ulimit 'nofile'"},
                {"{\"ulimit\":[\"=3\"]}", "--ulimit '=3'"},
                {"{\"volume\":[\"gone:/x\"]}", "'gone'"},
                {"{\"volume\":[\"/:/x:maybe\"]}", "neither ro nor rw"},
                {"{\"volume\":[\"/:/x:partition=0\"]}", "'partition=0' is neither"},
                {"{\"volume\":[\"/:/x:ro,partition=2\"]}", "are for disks"},
                {"{\"volume\":[\"/:/x:key-file=/k\"]}", "are for disks"},
                {"{\"user\":\"nobody-here\"}", "nobody-here"}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};
        SCOPED(scope_json) json_t *spec = plan(*state, rows[i].config, &e);

        if (spec != NULL || strstr(e.text, rows[i].says) == NULL) {
            fail_msg("%s: '%s'", rows[i].config, e.text);
        }
    }
}

static void the_program_comes_from_the_order_then_from_the_image(void **state)
{
    static const struct {
        const char *config;
        const char *args; /* joined by blanks */
    } rows[] = {{"{}", "/bin/sh"},
                {"{\"command\":[\"a\",\"b\"]}", "a b"},
                {"{\"entrypoint\":\"e\"}", "e"},
                {"{\"entrypoint\":\"e\",\"command\":[\"x\"]}", "e x"},
                {"{\"init\":true}", "/dev/init -- /bin/sh"}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};
        SCOPED(scope_json) json_t *spec = plan(*state, rows[i].config, &e);
        const json_t *args = json_object_get(process_of(spec), "args");
        char line[256] = "";
        size_t k;
        json_t *item;

        json_array_foreach(args, k, item)
        {
            (void)strcat(line, k > 0 ? " " : "");
            (void)strcat(line, json_string_value(item));
        }
        assert_string_equal(line, rows[i].args);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(capabilities_are_the_usual_ones_and_what_was_said,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(another_user_gets_them_as_a_bound_only,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused_by_name, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(
            the_program_comes_from_the_order_then_from_the_image, fixture_begin,
            fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
