/* translate.h - the translator: warm code of the guest becomes host code.
 *
 * The interpreter is its lowest tier: it executes what is cold, what has no form in
 * the IR, and every store to a page with code. */
#ifndef VIRT_ISA_X86_TRANSLATE_TRANSLATE_H
#define VIRT_ISA_X86_TRANSLATE_TRANSLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu;
struct cpu_env;
struct err;
struct mem;
struct x86_insn;
struct x86_model;

/* What is translated how. */
enum translate_tiers {
    TRANSLATE_ADAPTS,   /* warm code quickly, hot code once more and better */
    TRANSLATE_QUICK,    /* all quickly */
    TRANSLATE_OPTIMISES /* all well, at once */
};

struct translate_options {
    unsigned index;    /* number of the processor */
    size_t code_bytes; /* room for host code, at least 1 MiB; 0: 32 MiB */
    bool perf_map;     /* name the host code in /tmp/perf-PID.map */
    unsigned warm;     /* executions before code is translated, at most 254; 0: 16; 1: at
                          once, without a look at the way it takes, also after a
                          store to it */
    enum translate_tiers tiers;
    /* Told of each sensitive instruction (Popek's and Goldberg's) that made code traps for, to
     * its routine or the interpreter, each time that it is made; on the processor's thread.
     * NULL: nobody wants to know. */
    void (*trapped)(void *who, uint64_t rip, const struct x86_insn *i);
    void *who;    /* borrowed */
    unsigned hot; /* rounds of quickly translated code before it is hot; 0: 400 */
};

/* As `interpret_create`.  -ENOTSUP: this host does not let us make code at run time
 * (the interpreter will do), or its processor lacks AVX2 or BMI2. */
int translate_create(struct mem *m, const struct x86_model *model,
                     const struct cpu_env *env, const struct translate_options *options,
                     struct cpu **ret, struct err *e);

#endif
