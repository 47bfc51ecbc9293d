/* rows_test.c - the generated table is whole, and says what its users rely on. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/task.h"
#include "tests/base/check.h"
#include "wire/wire.h"

/* The verbs and nouns that this version promises. */
static const char *const promised[] = {"run",
                                       "create",
                                       "start",
                                       "stop",
                                       "kill",
                                       "restart",
                                       "pause",
                                       "resume",
                                       "reset",
                                       "save",
                                       "debug mark",
                                       "debug rewind",
                                       "debug dump",
                                       "debug gdb",
                                       "debug regs",
                                       "debug memory",
                                       "debug translate",
                                       "debug trace",
                                       "delete",
                                       "resize",
                                       "attach",
                                       "detach",
                                       "clone",
                                       "rename",
                                       "list",
                                       "inspect",
                                       "logs",
                                       "console",
                                       "screen",
                                       "exec",
                                       "stats",
                                       "events",
                                       "wait",
                                       "cp",
                                       "snapshot create",
                                       "snapshot list",
                                       "snapshot restore",
                                       "snapshot delete",
                                       "image build",
                                       "image commit",
                                       "image import",
                                       "image export",
                                       "image pull",
                                       "image push",
                                       "image login",
                                       "image list",
                                       "image inspect",
                                       "image tag",
                                       "image move",
                                       "image delete",
                                       "image prune",
                                       "image verify",
                                       "network create",
                                       "network list",
                                       "network inspect",
                                       "network delete",
                                       "network prune",
                                       "volume create",
                                       "volume list",
                                       "volume inspect",
                                       "volume delete",
                                       "volume resize",
                                       "volume export",
                                       "volume snapshot",
                                       "volume clone",
                                       "volume move",
                                       "volume import",
                                       "volume check",
                                       "volume backup",
                                       "volume restore",
                                       "volume locate",
                                       "volume key",
                                       "volume set",
                                       "volume replay",
                                       "pool create",
                                       "pool list",
                                       "pool inspect",
                                       "pool add",
                                       "pool delete",
                                       "pool remove",
                                       "pool replace",
                                       "pool scrub",
                                       "pool set",
                                       "oci",
                                       "host info",
                                       "host syscalls",
                                       "levels",
                                       "isa run",
                                       "isa disassemble",
                                       "isa coverage",
                                       "isa bench",
                                       "isa virtualizable",
                                       "doctor",
                                       "version",
                                       "completion",
                                       "help",
                                       "system reconcile",
                                       "system autostart"};

static void every_promised_operation_has_a_row(void **state)
{
    (void)state;
    assert_int_equal(sizeof promised / sizeof *promised, WIRE_OP_COUNT);
    for (size_t i = 0; i < sizeof promised / sizeof *promised; i++) {
        bool found = false;
        for (unsigned k = 0; k < WIRE_OP_COUNT; k++) {
            found = found || strcmp(wire_text(wire_op_table[k].name), promised[i]) == 0;
        }
        if (!found) {
            fail_msg("'%s' has no row", promised[i]);
        }
    }
}

static void every_row_has_its_texts(void **state)
{
    (void)state;
    for (unsigned k = 0; k < WIRE_OP_COUNT; k++) {
        const struct wire_op *op = &wire_op_table[k];
        assert_true(*wire_text(op->help) != 0 && *wire_text(op->usage) != 0);
        assert_true(*wire_text(op->since) != 0 && *wire_text(op->group) != 0);
        assert_true(*wire_text(op->see) != 0);
        for (unsigned i = 0; i < op->n_items; i++) {
            const struct wire_item *item = &wire_items[op->first_item + i];
            assert_true(*wire_text(item->help) != 0);
            assert_true(item->at < op->args_bytes);
            assert_int_equal(*wire_text(item->value) == 0, item->type == WIRE_BOOL);
        }
        for (unsigned i = 0; i < op->n_fields; i++) {
            assert_true(*wire_text(wire_fields[op->first_field + i].help) != 0);
        }
        assert_int_equal(op->n_fields == 0, op->result == WIRE_RESULT_NONE);
    }
}

static void members_lie_where_the_struct_has_them(void **state)
{
    const struct wire_op *run = &wire_op_table[WIRE_OP_RUN];
    struct op_run a;
    int seen = 0;
    (void)state;
    memset(&a, 0, sizeof a);
    assert_int_equal(run->args_bytes, sizeof a);
    for (unsigned i = 0; i < run->n_items; i++) {
        const struct wire_item *item = &wire_items[run->first_item + i];
        const char *name = wire_text(item->name);
        if (strcmp(name, "memory") == 0) {
            assert_ptr_equal((char *)&a + item->at, &a.guest.limits.memory);
            assert_int_equal(item->letter, 'm');
            seen++;
        } else if (strcmp(name, "env") == 0) {
            assert_ptr_equal((char *)&a + item->at, &a.guest.env);
            assert_ptr_equal((char *)&a + item->count_at, &a.guest.n_env);
            seen++;
        } else if (strcmp(name, "pull") == 0) {
            assert_string_equal(wire_word(item->words, PART_GUEST_PULL_NEVER), "never");
            seen++;
        }
    }
    assert_int_equal(seen, 3);
}

static void states_that_are_not_permitted_are_refused_by_name(void **state)
{
    struct err e = {0};
    (void)state;
    assert_int_equal(wire_check_state(WIRE_OP_PAUSE, TASK_RUNNING, "web", &e), 0);
    assert_int_equal(wire_check_state(WIRE_OP_LIST, TASK_STOPPED, "web", &e), 0);
    assert_int_equal(wire_check_state(WIRE_OP_PAUSE, TASK_STOPPED, "web", &e), -EBUSY);
    assert_string_equal(e.text, "cannot pause guest 'web': it is stopped, not running");
    err_clear(&e);
    assert_int_equal(wire_check_state(WIRE_OP_SNAPSHOT_RESTORE, TASK_RUNNING, "web", &e),
                     -EBUSY);
    assert_string_equal(
        e.text,
        "cannot restore snapshot: guest 'web' is running, not created or stopped");
    err_clear(&e);
    assert_int_equal(wire_check_state(WIRE_OP_DELETE, TASK_RUNNING, "web", &e), -EBUSY);
    assert_string_equal(
        e.text, "cannot delete guest 'web': it is running, not created or stopped");
}

static void an_order_holds_what_was_given_and_the_defaults(void **state)
{
    const char *command[] = {"sh", "-c", NULL};
    struct op_run a = {.guest = {.image = "busybox",
                                 .n_command = 2,
                                 .command = command,
                                 .tty = true,
                                 .pull = PART_GUEST_PULL_NEVER,
                                 .timeout = WIRE_NONE,
                                 .limits = {.memory = 4096, .cpus = WIRE_NONE},
                                 .stop_timeout = 10000}};
    json_t *order = NULL;
    (void)state;
    assert_int_equal(wire_order(WIRE_OP_RUN, &a, &order, NULL), 0);
    json_t *want =
        json_pack("{s:s, s:[s,s], s:b, s:s, s:s, s:s, s:i, s:i, s:i}", "image", "busybox",
                  "command", "sh", "-c", "tty", 1, "pull", "never", "as", "container",
                  "userns", "auto", "memory", 4096, "cpus", -1, "stop_timeout", 10000);
    /* numbers with a default are members even when they are 0 */
    static const char *const zero[] = {"health_interval", "health_timeout",
                                       "health_retries",  "health_start",
                                       "log_size",        "log_count"};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++) {
        (void)json_object_set_new(want, zero[i], json_integer(0));
    }
    if (!json_equal(order, want)) {
        fail_msg("got %s", json_dumps(order, 0));
    }
    json_decref(order);
    json_decref(want);
}

static void a_text_that_is_not_utf8_is_refused(void **state)
{
    struct op_clone a = {.guest = "web", .name = "\xff"};
    struct err e = {0};
    json_t *order = NULL;
    (void)state;
    assert_int_equal(wire_order(WIRE_OP_CLONE, &a, &order, &e), -EINVAL);
    assert_string_equal(e.text, "'name' is not valid UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_promised_operation_has_a_row),
        cmocka_unit_test(every_row_has_its_texts),
        cmocka_unit_test(members_lie_where_the_struct_has_them),
        cmocka_unit_test(states_that_are_not_permitted_are_refused_by_name),
        cmocka_unit_test(an_order_holds_what_was_given_and_the_defaults),
        cmocka_unit_test(a_text_that_is_not_utf8_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
