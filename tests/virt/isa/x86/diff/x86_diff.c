/* x86_diff.c - the x86 executors against this host's processor.
 *
 *   x86_diff [-e EXECUTOR] [-s SEED | -r] [-n SINGLES] [-q SEQUENCES] [-m MNEMONIC]
 *            [-x] [-k] [-v] [-l]
 *
 * First the kept cases, then every cell (row x operand form x mode) alone, SINGLES times
 * at each place of its memory operand, then SEQUENCES random sequences.  Prints what
 * differs and the counts, and with -v those of each cell with the reason for each that
 * was not tried.  -k goes on after differences, -m tries only that mnemonic, -x x87 and MMX instructions only, -r takes a
 * seed from the clock (it is printed), -l only lists which rows are tried, as
 * src/virt/isa/instrument/tested.rows.h has it.  Ends with 77 where the host does not
 * let a child run code of ours, and with 1 too when a cell was not tried that has no
 * reason for it.
 *
 * rows: CON-09 ISA-02 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "make.h"
#include "tests/base/vendor.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/system/system.h"

#define DIFFERENCES_SHOWN 40
#define KEPT_STARTS       32

struct run {
    struct native *native;
    struct guest *guest;
    struct make make;
    struct random random;
    struct recipe recipe[NATIVE_BATCH];
    unsigned pending;
    uint64_t jobs, differences, lost, strayed;
    bool go_on, loud;
    uint8_t *shown; /* by row: already reported */
};

static const char *mnemonic_of(const struct run *r, const struct recipe *recipe)
{
    return x86_rows[r->make.cell[recipe->cell[recipe->count - 1]].cell.row].id;
}

static void report(struct run *r, const struct job *native, const struct job *ours,
                   const struct recipe *recipe, const char *text)
{
    unsigned row = r->make.cell[recipe->cell[recipe->count - 1]].cell.row;

    (void)ours;
    r->differences++;
    if (r->shown[row]++ > 0 && !r->loud) {
        return;
    }
    printf("  %s: %s (native %d at %lx, error %lx)\n", mnemonic_of(r, recipe), text,
           native->vector, (unsigned long)native->end.rip, (unsigned long)native->error);
    print_job(native);
}

/* Into memory that the child has of its own, or the host's kernel: ours has nothing
 * there. */
static bool has_strayed(const struct job *native, const struct job *ours)
{
    uint64_t at = ours->address & ~(uint64_t)(JOB_PAGE - 1);

    if (ours->vector != X86_PF || (at >= JOB_CODE && at <= JOB_STACK + JOB_PAGE)) {
        return false;
    }
    return native->vector != X86_PF || native->end.rip != ours->end.rip ||
           (native->error & ~(uint64_t)1) == ours->error;
}

/* A jump into other bytes came to an instruction that is not tried. */
static bool ends_excluded(const struct run *r, const struct job *j)
{
    unsigned at = (unsigned)(j->end.rip - j->start.rip), n;
    struct x86_insn i;

    if (j->vector == X86_BP || at >= JOB_CODE_BYTES ||
        x86_decode(j->code + at, JOB_CODE_BYTES - at, (enum x86_code_mode)j->mode, &i) !=
            X86_DECODED) {
        return false;
    }
    for (n = r->make.first[j->mode]; n < r->make.end[j->mode]; n++) {
        if (r->make.cell[n].cell.row == i.row && r->make.cell[n].excluded != NULL) {
            return true;
        }
    }
    return false;
}

static void count_kinds(struct run *r, const struct job *native,
                        const struct recipe *recipe)
{
    struct make_cell *c = &r->make.cell[recipe->cell[recipe->count - 1]];
    uint8_t before = native->start.fpu.legacy[24] | native->start.fpu.legacy[2];
    uint8_t after = native->end.fpu.legacy[24] | native->end.fpu.legacy[2];

    if (recipe->count == 1) {
        c->placed[recipe->place]++;
        c->masked += native->vector == X86_BP && (after & ~before & 0x3f) != 0;
        c->unmasked += native->vector == X86_XM || native->vector == X86_MF;
    }
}

static void check_one(struct run *r, const struct job *native,
                      const struct recipe *recipe)
{
    static struct job ours;
    char text[160];
    unsigned i;

    if (native->vector < 0) {
        r->lost++;
        if (r->loud) {
            printf("  lost: %s\n", mnemonic_of(r, recipe));
            print_job(native);
        }
        return;
    }
    ours = *native;
    guest_run(r->guest, &ours);
    r->jobs++;
    for (i = 0; i < recipe->count; i++) {
        r->make.cell[recipe->cell[i]].tried++;
    }
    count_kinds(r, native, recipe);
    if (!compare_jobs(native, &ours,
                      native->vector == X86_BP ? recipe->undefined : recipe->ever, text,
                      sizeof text)) {
        return;
    }
    if (has_strayed(native, &ours) || ends_excluded(r, native) ||
        ends_excluded(r, &ours)) {
        r->strayed++;
    } else {
        report(r, native, &ours, recipe, text);
    }
}

static int flush(struct run *r)
{
    struct job *jobs = native_jobs(r->native);
    unsigned i;
    int n = native_run(r->native, r->pending);

    if (n < 0) {
        fprintf(stderr, "the native child cannot be replaced\n");
        return n;
    }
    for (i = 0; i < r->pending; i++) {
        check_one(r, &jobs[i], &r->recipe[i]);
    }
    r->pending = 0;
    return r->differences > DIFFERENCES_SHOWN && !r->go_on ? -1 : 0;
}

static int add(struct run *r)
{
    if (r->recipe[r->pending].count > 0) {
        r->pending++;
    }
    return r->pending == NATIVE_BATCH ? flush(r) : 0;
}

static int run_kept(struct run *r)
{
    unsigned n, start;

    for (start = 0; start < KEPT_STARTS; start++) {
        for (n = 0;; n++) {
            struct job *j = &native_jobs(r->native)[r->pending];

            if (!make_kept(&r->make, &r->random, n, j, &r->recipe[r->pending])) {
                break;
            }
            if (native_has_mode(r->native, (enum x86_code_mode)j->mode) && add(r) != 0) {
                return -1;
            }
        }
    }
    return flush(r);
}

static bool is_tried(const struct run *r, const struct make_cell *cell, const char *only)
{
    return cell->excluded == NULL &&
           native_has_mode(r->native, (enum x86_code_mode)cell->cell.mode) &&
           (only == NULL || strcmp(x86_rows[cell->cell.row].mnemonic, only) == 0);
}

static int run_singles(struct run *r, unsigned count, const char *only)
{
    unsigned c, i;

    for (i = 0; i < count * MAKE_PLACES; i++) {
        for (c = 0; c < r->make.cells; c++) {
            const struct make_cell *cell = &r->make.cell[c];

            if (!is_tried(r, cell, only) || !make_wants(cell, i, count)) {
                continue;
            }
            make_single(&r->make, &r->random, c, (enum make_place)(i % MAKE_PLACES),
                        &native_jobs(r->native)[r->pending], &r->recipe[r->pending]);
            if (add(r) != 0) {
                return -1;
            }
        }
    }
    return flush(r);
}

/* Half of them 64-bit code. */
static int run_sequences(struct run *r, uint64_t count)
{
    static const uint8_t modes[] = {X86_CODE64, X86_CODE32, X86_CODE64, X86_CODE16};
    uint64_t i;

    for (i = 0; i < count; i++) {
        enum x86_code_mode mode = (enum x86_code_mode)modes[i % 4];

        make_sequence(&r->make, &r->random,
                      native_has_mode(r->native, mode) ? mode : X86_CODE64,
                      2 + random_below(&r->random, MAKE_INSNS_MAX - 1),
                      &native_jobs(r->native)[r->pending], &r->recipe[r->pending]);
        if (add(r) != 0) {
            return -1;
        }
    }
    return flush(r);
}

static void print_cell(const struct make_cell *c)
{
    printf("%-24s mode %u size %u %s %8lu", x86_rows[c->cell.row].id, 16u << c->cell.mode,
           c->cell.size, c->cell.is_memory ? "m" : "r", (unsigned long)c->tried);
    if (c->excluded != NULL) {
        printf("  not tried: %s\n", c->excluded);
        return;
    }
    printf(
        "  crossing %lu unaligned %lu beyond %lu unmapped %lu read-only %lu masked %lu "
        "unmasked %lu\n",
        (unsigned long)c->placed[MAKE_CROSSING], (unsigned long)c->placed[MAKE_UNALIGNED],
        (unsigned long)c->placed[MAKE_BEYOND], (unsigned long)c->placed[MAKE_UNMAPPED],
        (unsigned long)c->placed[MAKE_READ_ONLY], (unsigned long)c->masked,
        (unsigned long)c->unmasked);
}

/* How many cells were tried in some way. */
struct tally {
    unsigned tried, excluded, untried, masked, unmasked;
    unsigned placed[MAKE_PLACES];
};

static void count_cell(const struct run *r, const struct make_cell *c, const char *only,
                       struct tally *t)
{
    unsigned p;

    t->tried += c->tried > 0;
    t->excluded += c->excluded != NULL;
    t->untried += c->tried == 0 && is_tried(r, c, only);
    t->masked += c->masked > 0;
    t->unmasked += c->unmasked > 0;
    for (p = 0; p < MAKE_PLACES; p++) {
        t->placed[p] += c->placed[p] > 0;
    }
}

/* Returns how many cells were left out without a reason. */
static unsigned print_cells(const struct run *r, const char *only)
{
    struct tally t = {0};
    unsigned c;

    for (c = 0; c < r->make.cells; c++) {
        count_cell(r, &r->make.cell[c], only, &t);
        if (r->loud) {
            print_cell(&r->make.cell[c]);
        }
    }
    printf("cells: %u of %u tried, %u excluded with a reason, %u without a job\n",
           t.tried, r->make.cells, t.excluded, t.untried);
    printf(
        "cells with an operand that crosses pages %u, is unaligned %u, not canonical or "
        "over a limit %u, half unmapped %u, read-only %u\n",
        t.placed[MAKE_CROSSING], t.placed[MAKE_UNALIGNED], t.placed[MAKE_BEYOND],
        t.placed[MAKE_UNMAPPED], t.placed[MAKE_READ_ONLY]);
    printf("cells with a masked floating-point exception %u, with an unmasked one %u\n",
           t.masked, t.unmasked);
    return t.untried;
}

struct options {
    const char *executor, *only;
    unsigned singles;
    uint64_t sequences, seed;
    bool go_on, loud, list, only_x87;
};

static bool parse(int argc, char **argv, struct options *o)
{
    int c;

    while ((c = getopt(argc, argv, "e:s:n:q:m:xrkvl")) != -1) {
        switch (c) {
        case 'e':
            o->executor = optarg;
            break;
        case 's':
            o->seed = strtoull(optarg, NULL, 0);
            break;
        case 'r':
            o->seed = (uint64_t)time(NULL);
            break;
        case 'n':
            o->singles = (unsigned)atoi(optarg);
            break;
        case 'q':
            o->sequences = strtoull(optarg, NULL, 0);
            break;
        case 'm':
            o->only = optarg;
            break;
        case 'x':
            o->only_x87 = true;
            break;
        case 'k':
            o->go_on = true;
            break;
        case 'v':
            o->loud = true;
            break;
        case 'l':
            o->list = true;
            break;
        default:
            return false;
        }
    }
    return true;
}

static int run_all(struct run *r, const struct options *o)
{
    int n = o->only == NULL ? run_kept(r) : 0;
    unsigned untried;

    n = n == 0 ? run_singles(r, o->singles, o->only) : n;
    n = n == 0 && o->only == NULL ? run_sequences(r, o->sequences) : n;
    untried = print_cells(r, o->only);
    printf(
        "%s, seed %lu: %lu experiments, %lu differ, %lu strayed into the host's memory, "
        "%lu not ended natively\n",
        o->executor, (unsigned long)o->seed, (unsigned long)r->jobs,
        (unsigned long)r->differences, (unsigned long)r->strayed, (unsigned long)r->lost);
    return n != 0 || r->differences > 0 || (untried > 0 && o->singles > 0) ? 1 : 0;
}

/* Cells without x87 and MMX registers, and what saves them, are not tried. */
static void keep_x87(struct make *m)
{
    unsigned c;

    for (c = 0; c < m->cells; c++) {
        const struct x86_row_info *row = &x86_rows[m->cell[c].cell.row];

        if (row->mnemonic[0] != 'f' && strpbrk(row->operands, "PQN") == NULL &&
            strcmp(row->mnemonic, "emms") != 0 && m->cell[c].excluded == NULL) {
            m->cell[c].excluded = "not of the x87 unit";
        }
    }
}

int main(int argc, char **argv)
{
    struct options o = {
        .executor = "interpret", .singles = 1, .sequences = 20000, .seed = 1};
    struct run r = {0};
    int n;

    if (!parse(argc, argv, &o)) {
        return 2;
    }
    if (make_init(&r.make, x86_model_find("host-like")) != 0) {
        return 1;
    }
    if (o.list || table_check(&r.make) != 0) {
        if (o.list) {
            table_print(&r.make);
        }
        make_fini(&r.make);
        return o.list ? 0 : 1;
    }
    if (o.only_x87) {
        keep_x87(&r.make);
    }
    r.random.state = o.seed;
    r.go_on = o.go_on;
    r.loud = o.loud;
    if (!vendor_is_intel()) { /* which of two reasons an instruction faults for, and more */
        printf("skip: " VENDOR_REASON);
        make_fini(&r.make);
        return 77;
    }
    if (native_create(&r.native) != 0) {
        printf("skip: this host does not let a child run code of ours\n");
        make_fini(&r.make);
        return 77;
    }
    r.make.has_segments = native_has_mode(r.native, X86_CODE16);
    r.shown = calloc(X86_ROW_COUNT, 1);
    n = 1;
    if (r.shown == NULL || guest_create(o.executor, &r.guest) != 0) {
        fprintf(stderr, "cannot set up\n");
    } else {
        n = run_all(&r, &o);
    }
    free(r.shown);
    make_fini(&r.make);
    guest_destroy(r.guest);
    native_destroy(r.native);
    return n;
}
