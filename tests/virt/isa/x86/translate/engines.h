/* engines.h - the machine of interpret/machine.h with either engine. */
#ifndef TESTS_VIRT_ISA_X86_TRANSLATE_ENGINES_H
#define TESTS_VIRT_ISA_X86_TRANSLATE_ENGINES_H

#include <errno.h>

#include "base/err.h"
#include "tests/base/check.h"
#include "tests/virt/isa/x86/interpret/machine.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define ENGINES_MODEL "host-like"

enum engine {
    ENGINE_INTERPRET,
    ENGINE_TRANSLATE,
    ENGINES
};

/* Its processors become translators.  False: this host lets nobody make code. */
static inline bool engines_translate(struct machine *m, unsigned warm, size_t code_bytes)
{
    unsigned n;

    for (n = 0; n < MACHINE_CPUS; n++) {
        const struct translate_options o = {
            .index = n, .warm = warm, .code_bytes = code_bytes};
        struct cpu *c = NULL;
        int r = translate_create(m->mem, x86_model_find(ENGINES_MODEL), &m->env, &o, &c,
                                 NULL);

        if (r == -ENOTSUP) {
            return false;
        }
        assert_int_equal(r, 0);
        cpu_destroy(m->cpu[n]);
        m->cpu[n] = c;
    }
    return true;
}

/* Code is translated at once.  False, and no machine: the engine is not to be had. */
static inline bool engines_init(struct machine *m, enum machine_mode mode,
                                enum engine engine)
{
    machine_init(m, mode, ENGINES_MODEL);
    if (engine == ENGINE_TRANSLATE && !engines_translate(m, 1, 0)) {
        machine_fini(m);
        return false;
    }
    return true;
}

#endif
