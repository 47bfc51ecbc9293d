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

/* Where a single instruction has its memory operand. */
enum make_place {
    MAKE_ANYWHERE,
    MAKE_CROSSING,  /* in two pages */
    MAKE_UNALIGNED, /* at an odd address */
    MAKE_BEYOND,    /* not canonical; outside 64-bit mode, over a segment's limit */
    MAKE_UNMAPPED,  /* its second half in a page that is not there */
    MAKE_READ_ONLY,
    MAKE_PLACES
};

/* A cell that is tried, and what the manual says of its flags. */
struct make_cell {
    struct x86_cell cell;
    uint32_t written, undefined, read; /* bits of RFLAGS */
    const char *excluded;              /* why not; NULL: it is tried */
    uint64_t tried;
    uint64_t placed[MAKE_PLACES]; /* of those: by place */
    uint64_t masked, unmasked;    /* of those: floating-point exceptions */
};

struct make {
    struct make_cell *cell;
    unsigned cells;
    unsigned first[X86_CODE_MODE_COUNT], end[X86_CODE_MODE_COUNT]; /* by mode */
    bool has_segments; /* jobs may use FS and GS */
};

int make_init(struct make *m, const struct x86_model *model);
void make_fini(struct make *m);

#define MAKE_INSNS_MAX 6

/* What went into a job, for counting and for reports. */
struct recipe {
    unsigned cell[MAKE_INSNS_MAX]; /* indices into `make.cell` */
    unsigned count;
    enum make_place place;
    uint32_t undefined; /* flags that the end does not define */
    uint32_t ever;      /* ... or the end of some instruction before */
};

/* A random start and `count` random instructions of `mode` (32 or 64 bits). */
void make_sequence(const struct make *m, struct random *r, enum x86_code_mode mode,
                   unsigned count, struct job *j, struct recipe *ret_recipe);

/* The same with one instruction, of that cell, whose operand is at that place. */
void make_single(const struct make *m, struct random *r, unsigned cell,
                 enum make_place place, struct job *j, struct recipe *ret_recipe);

/* Whether the nth single instruction of a cell is made, when there are `count` at each
 * place: in turn at all places, without an operand in memory fewer. */
static inline bool make_wants(const struct make_cell *c, unsigned n, unsigned count)
{
    return c->cell.is_memory || n < count * 2 || n % MAKE_PLACES == 0;
}

/* A random start of the nth kept case (kept.c); false: there are fewer. */
bool make_kept(const struct make *m, struct random *r, unsigned n, struct job *j,
               struct recipe *ret_recipe);

/* A random start without code, for `make_kept`. */
void make_begin(struct random *r, enum x86_code_mode mode, struct job *j,
                struct recipe *ret_recipe);

/* Count an instruction of that cell, and what it leaves undefined. */
void make_note(const struct make *m, struct recipe *recipe, unsigned cell);

/* How many rows are not tried as tested.rows.h says, or have neither cells nor a reason,
 * each named; and that file as it should be. */
unsigned table_check(const struct make *m);
void table_print(const struct make *m);

/* The first difference in words; false: none.  Where the manual leaves a question open
 * and processors differ, `ours` takes the native answer first. */
bool compare_jobs(const struct job *native, struct job *ours, uint32_t undefined,
                  char *text, unsigned bytes);

/* Code and start of a job, for people. */
void print_job(const struct job *j);

#endif
