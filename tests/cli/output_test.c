/* output_test.c - one schema, a table for people and JSON for programs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "cli/output.h"
#include "tests/base/check.h"

static char *print(enum wire_op_id op, json_t *result, bool json, bool quiet)
{
    char *text = NULL;
    size_t len = 0;
    struct output o = {.out = open_memstream(&text, &len), .json = json, .quiet = quiet};
    assert_int_equal(units_parse_time("2026-01-02T03:05:00Z", &o.now_ns), 0);
    assert_int_equal(output_result(&o, op, result), 0);
    (void)fclose(o.out);
    return text;
}

static json_t *two_guests(void)
{
    return json_pack("[{s:s,s:s,s:s,s:s,s:s,s:[s,s],s:s},{s:s,s:s,s:s,s:s,s:i}]", "name",
                     "web", "kind", "container", "image", "busybox", "state", "running",
                     "started_at", "2026-01-02T03:04:05Z", "ports", "80->8080/tcp",
                     "53->53/udp", "id", "abc", "name", "b\303\244r", "kind", "container",
                     "image", "busybox", "state", "stopped", "exit_code", 3);
}

static void a_table_is_aligned_by_characters(void **state)
{
    json_t *list = two_guests();
    char *text = print(WIRE_OP_LIST, list, false, false);
    (void)state;
    assert_string_equal(
        text,
        "NAME   KIND        IMAGE     STATE     EXIT   STARTED   PORTS\n"
        "web    container   busybox   running          55s ago   80->8080/tcp, 53->53/udp\n"
        "b\303\244r    container   busybox   stopped   3\n");
    free(text);
    json_decref(list);
}

static void an_empty_list_is_a_heading_and_an_empty_array(void **state)
{
    json_t *list = json_array();
    char *text = print(WIRE_OP_VOLUME_LIST, list, false, false);
    (void)state;
    assert_string_equal(text, "NAME   KIND   MODE   GUESTS   CREATED   SIZE   POOL\n");
    free(text);
    text = print(WIRE_OP_VOLUME_LIST, list, true, false);
    assert_string_equal(text, "[]\n");
    free(text);
    json_decref(list);
}

static void json_is_the_result_unchanged(void **state)
{
    json_t *list = two_guests();
    char *text = print(WIRE_OP_LIST, list, true, true);
    json_t *read = json_loads(text, 0, NULL);
    (void)state;
    assert_true(json_equal(read, list));
    free(text);
    json_decref(read);
    json_decref(list);
}

static void quiet_prints_the_first_field(void **state)
{
    json_t *list = two_guests();
    char *text = print(WIRE_OP_LIST, list, false, true);
    (void)state;
    assert_string_equal(text, "web\nb\303\244r\n");
    free(text);
    json_decref(list);
}

static void sizes_and_digests_are_written_for_people(void **state)
{
    json_t *list = json_pack("[{s:s,s:s,s:i,s:i}]", "name", "busybox", "digest",
                             "sha256:0123456789abcdef0123456789abcdef", "size_bytes",
                             3 << 19, "guests", 2);
    char *text = print(WIRE_OP_IMAGE_LIST, list, false, false);
    (void)state;
    assert_non_null(strstr(text, "sha256:0123456789ab   "));
    assert_null(strstr(text, "abc"));
    assert_non_null(strstr(text, "1.50 MiB") != NULL ? text : strstr(text, "1.5 MiB"));
    free(text);
    json_decref(list);
}

static void a_guest_cannot_speak_to_the_terminal(void **state)
{
    json_t *list =
        json_pack("[{s:s,s:s}]", "name", "a\033[2Jb\nc\177\302\233d", "kind", "x");
    char *text = print(WIRE_OP_LIST, list, false, true);
    (void)state;
    for (const char *at = text; *at != 0; at++) {
        assert_true(*at == '\n' ? at[1] == 0 : (unsigned char)*at >= 0x20);
    }
    assert_null(strstr(text, "\302\233"));
    assert_null(strstr(text, "\177"));
    free(text);
    json_decref(list);
}

static void a_tree_shows_nested_members(void **state)
{
    json_t *list = json_pack("[{s:s,s:{s:s,s:[s]},s:[]}]", "name", "web", "network",
                             "name", "blue", "addresses", "10.0.0.2", "notes");
    char *text = print(WIRE_OP_INSPECT, list, false, false);
    (void)state;
    assert_string_equal(text, "name: web\nnetwork:\n  name: blue\n  addresses:\n"
                              "    - 10.0.0.2\nnotes:\n");
    free(text);
    json_decref(list);
}

static void a_full_device_is_an_error(void **state)
{
    FILE *full = fopen("/dev/full", "w");
    json_t *list = two_guests();
    struct output o = {.out = full, .json = true};
    (void)state;
    if (full == NULL) {
        print_message("needs /dev/full\n");
        json_decref(list);
        skip();
    }
    assert_int_equal(output_result(&o, WIRE_OP_LIST, list), -EIO);
    (void)fclose(full);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_aligned_by_characters),
        cmocka_unit_test(an_empty_list_is_a_heading_and_an_empty_array),
        cmocka_unit_test(json_is_the_result_unchanged),
        cmocka_unit_test(quiet_prints_the_first_field),
        cmocka_unit_test(sizes_and_digests_are_written_for_people),
        cmocka_unit_test(a_guest_cannot_speak_to_the_terminal),
        cmocka_unit_test(a_tree_shows_nested_members),
        cmocka_unit_test(a_full_device_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
