/* What the experiment finds is what the table of instructions declares and what the
 * literature says: Popek and Goldberg's terms, and the seventeen instructions of Robin
 * and Irvine (Analysis of the Intel Pentium's Ability to Support a Secure Virtual
 * Machine Monitor, USENIX Security 2000, section 3).
 * rows: FV-05 FV-06 FV-07 FV-08 CON-11 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/err.h"
#include "virt/isa/instrument/instrument.h"
#include "virt/isa/x86/x86.h"

static json_t *result;

static int run_the_experiment(void **state)
{
    const struct instrument *i = instrument_table;
    json_t *request = json_pack("{s:b}", "all", 1);
    struct err e = {0};
    int code = 1;

    (void)state;
    while (strcmp(i->name, "virtualizable") != 0) {
        i++;
    }
    assert_int_equal(i->run(request, &result, &code, &e), 0);
    assert_int_equal(code, 0);
    json_decref(request);
    return 0;
}

static int drop_it(void **state)
{
    (void)state;
    json_decref(result);
    return 0;
}

static const char *text(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static bool is(const json_t *row, const char *key, const char *value)
{
    return strcmp(text(row, key), value) == 0;
}

static const struct x86_row_info *info_of(const char *id)
{
    unsigned row = 1;

    while (strcmp(x86_rows[row].id, id) != 0) {
        row++;
    }
    return &x86_rows[row];
}

/* Rows whose effect no register shows, each with where it is instead. */
static bool is_unseen(const char *id)
{
    static const char *const ids[] = {
        "INVD",    "WBINVD",    /* caches */
        "INVLPG",  "INVPCID",   /* translations */
        "MONITOR", "MWAIT",     /* an address that is watched; time */
        "CLAC",    "STAC",      /* EFLAGS.AC, which POPF changes at any level */
        "RDPMC",                /* there are no counters: it always faults */
        "XRSTORS", "XRSTORS64", /* no image of the experiment has their format */
    };

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (strcmp(ids[i], id) == 0) {
            return true;
        }
    }
    return false;
}

static void what_rows_declare_is_what_the_experiment_finds(void **state)
{
    const json_t *row;
    size_t i, unlike = 0;

    (void)state;
    json_array_foreach(json_object_get(result, "instructions"), i, row)
    {
        bool found = *text(row, "changes") != '\0' || *text(row, "depends") != '\0';
        bool declared = !is(row, "declared", "innocuous");

        if (found != declared && !is_unseen(text(row, "row"))) {
            print_error("%s: declared %s, changes '%s', depends on '%s'\n",
                        text(row, "row"), text(row, "declared"), text(row, "changes"),
                        text(row, "depends"));
            unlike++;
        }
    }
    assert_int_equal(i, X86_ROW_COUNT - 1);
    assert_int_equal(unlike, 0);
}

/* Rows whose kind the experiment sees otherwise. */
static bool is_otherwise(const char *id)
{
    static const char *const ids[] = {
        "INT3",   "INT",     "INTO", "INT1", /* the level that they go to is the gate's */
        "XSAVES", "XSAVES64" /* no component that only a supervisor saves is there */
    };

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (strcmp(ids[i], id) == 0) {
            return true;
        }
    }
    return is_unseen(id);
}

static void control_and_behaviour_are_told_apart_as_the_rows_do(void **state)
{
    const json_t *row;
    size_t i, unlike = 0, control = 0, behaviour = 0;

    (void)state;
    json_array_foreach(json_object_get(result, "instructions"), i, row)
    {
        control += is(row, "kind", "control");
        behaviour += is(row, "kind", "behaviour");
        if (is_otherwise(text(row, "row")) == is(row, "kind", text(row, "declared"))) {
            print_error("%s: declared %s, found %s\n", text(row, "row"),
                        text(row, "declared"), text(row, "kind"));
            unlike++;
        }
    }
    print_message("%zu control, %zu behaviour\n", control, behaviour);
    assert_int_equal(unlike, 0);
}

/* What no place of the experiment executes: always #UD, or see `is_unseen`. */
static void all_others_that_are_privileged_run_at_level_0(void **state)
{
    static const char *const never[] = {"UD0",     "UD1",       "UD2",
                                        "XRSTORS", "XRSTORS64", "RDPMC"};
    const json_t *row;
    size_t i, k, found = 0;

    (void)state;
    json_array_foreach(json_object_get(result, "instructions"), i, row)
    {
        if (is(row, "verdict", "not executed")) {
            for (k = 0; k < 6 && !is(row, "row", never[k]); k++) {
            }
            if (k == 6) {
                fail_msg("%s does not run at level 0", text(row, "row"));
            }
            found++;
        }
    }
    assert_int_equal(found, 6);
}

static void rows_that_are_privileged_trap_and_no_others(void **state)
{
    const json_t *row;
    size_t i, unlike = 0;

    (void)state;
    json_array_foreach(json_object_get(result, "instructions"), i, row)
    {
        bool declared = info_of(text(row, "row"))->privilege != X86_USER;

        if (!is(row, "verdict", "not executed") &&
            declared != is(row, "verdict", "privileged")) {
            print_error("%s: %s\n", text(row, "row"), text(row, "verdict"));
            unlike++;
        }
    }
    assert_int_equal(unlike, 0);
}

/* Some row of that mnemonic. */
static bool is_critical(const char *mnemonic, const char *unless)
{
    const json_t *row;
    size_t i;

    json_array_foreach(json_object_get(result, "instructions"), i, row)
    {
        if (is(row, "mnemonic", mnemonic) && is(row, "verdict", "critical") &&
            (unless == NULL || !is(row, unless, "all"))) {
            return true;
        }
    }
    return false;
}

static void the_seventeen_are_critical(void **state)
{
    static const char *const names[] = {"sgdt", "sidt", "sldt", "smsw", "pushf", "popf",
                                        "lar",  "lsl",  "verr", "verw", "pop",   "push",
                                        "call", "jmp",  "int",  "retf", "str",   "mov"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!is_critical(names[i], NULL)) {
            fail_msg("%s is not", names[i]);
        }
    }
    assert_true(json_is_false(json_object_get(result, "virtualizable")));
}

/* Each of them, and nothing that is innocuous or traps, silently misleads a guest's kernel
 * at level 3. */
static void the_seventeen_go_wrong_by_trap_and_emulate(void **state)
{
    static const char *const names[] = {"sgdt", "sidt", "sldt", "smsw", "pushf", "popf",
                                        "lar",  "lsl",  "verr", "verw", "pop",   "push",
                                        "call", "jmp",  "int",  "retf", "str",   "mov"};
    bool seen[sizeof names / sizeof *names] = {false};
    const json_t *row;
    size_t i, k;

    (void)state;
    json_array_foreach(json_object_get(result, "instructions"), i, row)
    {
        if (is(row, "deprivileged", "wrong")) {
            if (!is(row, "verdict", "critical")) {
                fail_msg("%s is %s, and goes wrong", text(row, "row"),
                         text(row, "verdict"));
            }
            for (k = 0; k < sizeof names / sizeof *names; k++) {
                seen[k] |= is(row, "mnemonic", names[k]);
            }
        }
    }
    for (k = 0; k < sizeof names / sizeof *names; k++) {
        if (!seen[k]) {
            fail_msg("%s does not go wrong", names[k]);
        }
    }
}

/* SDM volume 3A, 2.5, CR4: UMIP and TSD say which. */
static void umip_and_tsd_trap_what_the_manual_says(void **state)
{
    static const char *const umip[] = {"sgdt", "sidt", "sldt", "smsw", "str"};

    (void)state;
    for (size_t i = 0; i < sizeof umip / sizeof *umip; i++) {
        assert_true(is_critical(umip[i], NULL));
        assert_false(is_critical(umip[i], "umip"));
    }
    assert_false(is_critical("rdtsc", "tsd"));
    assert_true(is_critical("popf", "umip"));
    assert_true(is_critical("lsl", "umip"));
    assert_true(json_is_false(json_object_get(result, "virtualizable_umip")));
}

/* SDM volume 3A, 21.2: virtual-8086 mode was made for a monitor. */
static void virtual_8086_mode_traps_flags_and_interrupts_by_iopl(void **state)
{
    static const char *const names[] = {"pushf", "popf", "iret", "int", "cli", "sti"};
    const json_t *row;
    size_t i, k, seen = 0;

    (void)state;
    json_array_foreach(json_object_get(result, "instructions"), i, row)
    {
        for (k = 0; k < sizeof names / sizeof *names; k++) {
            if (is(row, "mnemonic", names[k])) {
                assert_string_equal(text(row, "v86"), "all");
                assert_string_equal(text(row, "v86_iopl3"), "none");
                seen++;
            }
        }
    }
    assert_int_equal(seen, sizeof names / sizeof *names);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rows_declare_is_what_the_experiment_finds),
        cmocka_unit_test(control_and_behaviour_are_told_apart_as_the_rows_do),
        cmocka_unit_test(all_others_that_are_privileged_run_at_level_0),
        cmocka_unit_test(rows_that_are_privileged_trap_and_no_others),
        cmocka_unit_test(the_seventeen_are_critical),
        cmocka_unit_test(the_seventeen_go_wrong_by_trap_and_emulate),
        cmocka_unit_test(umip_and_tsd_trap_what_the_manual_says),
        cmocka_unit_test(virtual_8086_mode_traps_flags_and_interrupts_by_iopl),
    };

    return cmocka_run_group_tests(tests, run_the_experiment, drop_it);
}
