/* routine_test.c - each privileged and I/O instruction of the processor's table and each routine
 * of the monitor's interpreter is used by a guest, which looks at the state of its machine after
 * it; one that is added fails here until a guest uses it.
 * rows: HYP-15 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/virt/monitor/world.h"
#include "virt/isa/x86/x86.h"
#include "virt/monitor/private.h"

#define CODE_OF_GUEST 0x2b /* stored by OUT_IB_EAX */

static const char *kernel; /* its path: argv */

static uint64_t no_longer(struct world *w)
{
    machine_stop(w->machine);
    return 0;
}

static void assert_said(const struct world *w, const char *name)
{
    char line[64];

    (void)snprintf(line, sizeof line, "ok %s\n", name);
    if (!world_said(w, line)) {
        fail_msg("%s: the guest does not say 'ok %s'", machine_engine(w->machine), name);
    }
}

static void each_is_used_and_does_its_work(const char *engine)
{
    static struct world w;
    const struct machine_options o = {
        .engine = engine, .cpus = 2, .memory_bytes = 16 << 20, .no_reboot = true};
    struct machine_exits exits;
    struct boot_files f;
    unsigned rows = 0, routines = 0;

    w = (struct world){.act = no_longer};
    world_files(&f, kernel, "");
    world_make(&w, &o, &f);
    world_load(&w);
    world_run(&w, UINT64_C(60000000000));
    w.text[w.chars] = '\0';
    if (strstr(w.text, "bad ") != NULL || !world_said(&w, "done\n")) {
        fail_msg("%s, end %d:\n%s", engine, w.end, w.text);
    }
    assert_int_equal(w.end, MACHINE_EXITED);
    assert_int_equal(w.code, CODE_OF_GUEST);
    for (unsigned row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        if (x86_rows[row].privilege != X86_USER && row != X86_R_OUT_IB_EAX) {
            assert_said(&w, x86_rows[row].id);
            rows++;
        }
    }
    machine_count_exits(w.machine, &exits);
    for (unsigned n = 0; machine_routine_name(n) != NULL; n++) {
        assert_said(&w, machine_routine_name(n));
        assert_true(exits.by_routine[n] > 0);
        routines++;
    }
    print_message("%s: %u instructions, %u routines\n", engine, rows, routines);
    assert_true(rows > 30 && routines > 10);
    world_end(&w);
}

static void by_translation(void **state)
{
    (void)state;
    each_is_used_and_does_its_work("translate");
}

static void by_interpretation(void **state)
{
    (void)state;
    each_is_used_and_does_its_work("interpret");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_translation),
        cmocka_unit_test(by_interpretation),
    };

    kernel = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
