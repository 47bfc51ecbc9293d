/* hide_test.c - a guest that looks for marks of its hypervisor finds them, or none if none are
 * to be found.  What remains is time: code of ring 0 costs more in software than on hardware,
 * and CPUID or a page's first touch most.
 * rows: FV-02 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "virt/monitor/private.h"
#include "world.h"

static const char *kernel; /* its path: argv */

static uint64_t no_longer(struct world *w)
{
    machine_stop(w->machine);
    return 0;
}

static const char *look(const char *engine, bool hides)
{
    static struct world w;
    const struct machine_options o = {
        .engine = engine, .cpus = 2, .memory_bytes = 16 << 20, .hides = hides};
    struct boot_files f;

    w = (struct world){.act = no_longer};
    world_files(&f, kernel, "");
    world_make(&w, &o, &f);
    world_load(&w);
    world_run(&w, UINT64_C(60000000000));
    assert_int_equal(w.end, MACHINE_OFF);
    w.text[w.chars] = '\0';
    world_end(&w);
    return w.text;
}

static void a_hidden_hypervisor_leaves_no_mark(void **state)
{
    (void)state;
    assert_string_equal(look("translate", true), "done\n");
    assert_string_equal(look("interpret", true), "done\n");
}

static void one_that_does_not_hide_is_found(void **state)
{
    static const char *const marks[] = {"CPUID says",         "CPUID has its leaves",
                                        "VMCALL is answered", "VMMCALL is answered",
                                        "a register of",      "a port of",
                                        "mark: STRATA"};
    const char *text = look("translate", false);

    (void)state;
    for (unsigned i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        assert_non_null(strstr(text, marks[i]));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hidden_hypervisor_leaves_no_mark),
        cmocka_unit_test(one_that_does_not_hide_is_found),
    };

    kernel = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
