/* order_test.c - what is ordered is checked once, and refused by the option's name. */
#include <string.h>

#include "base/scope.h"
#include "tests/node/fixture.h"

static int check(const char *order, struct err *e)
{
    json_t *j = json_loads(order, 0, NULL);
    json_t *config = NULL;
    int r;

    assert_non_null(j);
    r = order_to_config(j, &config, e);
    assert_true((r == 0) == (config != NULL));
    json_decref(config);
    json_decref(j);
    return r;
}

static void bad_orders_are_refused_by_name(void **state)
{
    static const struct {
        const char *order;
        const char *says;
    } rows[] = {
        {"{\"memory\":4095}", "--memory 4095"},
        {"{\"memory\":-1}", "memory"},
        {"{\"memory\":\"64M\"}", "memory"},
        {"{\"cpus\":1024001}", "--cpus"},
        {"{\"cpu_weight\":0}", "--cpu-weight 0"},
        {"{\"cpu_weight\":10001}", "--cpu-weight 10001"},
        {"{\"restart\":\"sometimes\"}", "--restart 'sometimes'"},
        {"{\"restart\":\"on-failure:\"}", "on-failure:NUMBER"},
        {"{\"restart\":\"on-failure:-1\"}", "on-failure:NUMBER"},
        {"{\"restart\":\"on-failure:3x\"}", "on-failure:NUMBER"},
        {"{\"restart\":\"always\",\"rm\":true}", "--restart with --rm"},
        {"{\"restart\":7}", "restart"},
        {"{\"volume\":[\"data\"]}", "--volume 'data'"},
        {"{\"volume\":[\":/data\"]}", "--volume"},
        {"{\"volume\":[\"data:relative\"]}", "--volume"},
        {"{\"volume\":[\"a/b:/data\"]}", "starts with / or ."},
        {"{\"volume\":[7]}", "'volume[0]' is not a string"},
        {"{\"volume\":\"data:/x\"}", "volume"},
        {"{\"env\":[\"A=1\",null]}", "'env[1]' is not a string"},
        {"{\"hostname\":\"a b\"}", "--hostname 'a b'"},
        {"{\"workdir\":\"tmp\"}", "--workdir 'tmp'"},
        {"{\"disk\":\"own\"}", "--disk 'own'"},
        {"{\"userns\":\"mine\"}", "--userns 'mine'"},
        {"{\"label\":[\"novalue\"]}", "--label 'novalue'"},
        {"{\"label\":[\"=x\"]}", "--label '=x'"},
        {"{\"sysctl\":[\"x\"]}", "--sysctl 'x'"},
        {"{\"cap_add\":[\"chown\",\"CAP_NONSENSE\"]}", "'CAP_NONSENSE'"},
        {"{\"cap_drop\":[\"none\"]}", "'none'"},
        {"{\"ulimit\":[\"nofile\"]}", "--ulimit 'nofile'"},
        {"{\"ulimit\":[\"nonsense=1\"]}", "there is no such limit"},
        {"{\"device\":[\"null\"]}", "--device 'null'"},
        {"{\"device\":[\"\"]}", "--device ''"},
        {"{\"security_opt\":[\"nonsense\"]}", "--security-opt 'nonsense'"},
        {"{\"network\":\"a b\"}", "--network 'a b'"},
        {"{\"network\":\"none\",\"publish\":[\"80:80\"]}", "on network 'none'"},
        {"{\"network\":\"host\",\"ip\":[\"10.0.0.2\"]}", "--ip with network 'host'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};

        if (check(rows[i].order, &e) == 0) {
            fail_msg("%s was accepted", rows[i].order);
        }
        if (strstr(e.text, rows[i].says) == NULL) {
            fail_msg("%s: '%s'", rows[i].order, e.text);
        }
    }
}

static void limits_are_accepted_up_to_their_ends(void **state)
{
    static const char *const good[] = {
        "{}",
        "{\"memory\":4194304,\"cpus\":1024000,\"cpu_weight\":10000}",
        "{\"cpu_weight\":1,\"memory\":0}",
        "{\"restart\":\"on-failure:0\"}",
        "{\"restart\":\"no\",\"rm\":true}",
        "{\"volume\":[\"data:/x:ro\",\"./here:/y\",\"/:/z\"]}",
        "{\"label\":[\"a=\",\"b==\"]}",
        "{\"cap_add\":[\"ALL\"],\"cap_drop\":[\"cap_chown\",\"net_raw\"]}",
        "{\"ulimit\":[\"nofile=10:20\",\"CORE=0\"]}",
        "{\"device\":[\"/dev/null\",\"/dev/x:/dev/y:r\"]}",
        "{\"security_opt\":[\"no-new-privileges\",\"seccomp=/not/looked/at\"]}",
        "{\"network\":\"blue\",\"ip\":[\"10.0.0.2\"],\"publish\":[\"80:80\"]}"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct err e = {0};

        if (check(good[i], &e) < 0) {
            fail_msg("%s: '%s'", good[i], e.text);
        }
    }
}

static void members_of_one_command_are_left_out_and_unknown_ones_kept(void **state)
{
    SCOPED(scope_json)
    json_t *order = json_pack("{s:b, s:s, s:s, s:i}", "detach", 1, "name", "web", "pull",
                              "never", "newer", 7);
    SCOPED(scope_json) json_t *config = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(order_to_config(order, &config, &e), 0);
    assert_null(json_object_get(config, "detach"));
    assert_null(json_object_get(config, "name"));
    assert_null(json_object_get(config, "pull"));
    assert_int_equal(json_integer_value(json_object_get(config, "newer")), 7);
    assert_int_equal(json_object_size(order), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_orders_are_refused_by_name),
        cmocka_unit_test(limits_are_accepted_up_to_their_ends),
        cmocka_unit_test(members_of_one_command_are_left_out_and_unknown_ones_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
