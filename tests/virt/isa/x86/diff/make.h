/* make.h - experiments made from the rows: which there are, and random ones. */
#ifndef TESTS_VIRT_ISA_X86_DIFF_MAKE_H
#define TESTS_VIRT_ISA_X86_DIFF_MAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "job.h"
#include "virt/isa/x86/encode.h"

struct x86_model;

struct random {
    uint64_t state; /* splitmix64 */
};

uint64_t random_next(struct random *r);

static inline unsigned random_below(struct random *r, unsigned n)
{
    return (unsigned)((random_next(r) >> 32) * n >> 32);
}

/* A cell that is tried, and what the manual says of its flags. */
struct make_cell {
    struct x86_cell cell;
    uint32_t written, undefined, read; /* bits of RFLAGS */
    const char *excluded;              /* why not; NULL: it is tried */
    uint64_t tried;
};

struct make {
    struct make_cell *cell;
    unsigned cells;
    unsigned first[X86_CODE_MODE_COUNT], end[X86_CODE_MODE_COUNT]; /* by mode */
};

int make_init(struct make *m, const struct x86_model *model);
void make_fini(struct make *m);

#define MAKE_INSNS_MAX 6

/* What went into a job, for counting and for reports. */
struct recipe {
    unsigned cell[MAKE_INSNS_MAX]; /* indices into `make.cell` */
    unsigned count;
    uint32_t undefined; /* flags that the end does not define */
    uint32_t ever;      /* ... or the end of some instruction before */
};

/* A random start and `count` random instructions of `mode` (32 or 64 bits). */
void make_sequence(const struct make *m, struct random *r, enum x86_code_mode mode,
                   unsigned count, struct job *j, struct recipe *ret_recipe);

/* The same with one instruction, of that cell. */
void make_single(const struct make *m, struct random *r, unsigned cell, struct job *j,
                 struct recipe *ret_recipe);

/* The first difference in words; false: none.  Where the manual leaves a question open
 * and processors differ, `ours` takes the native answer first. */
bool compare_jobs(const struct job *native, struct job *ours, uint32_t undefined,
                  char *text, unsigned bytes);

/* Code and start of a job, for people. */
void print_job(const struct job *j);

#endif
