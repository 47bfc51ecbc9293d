/* x86_diff.c - the x86 executors against this host's processor.
 *
 *   x86_diff [-e EXECUTOR] [-s SEED] [-n SINGLES] [-q SEQUENCES] [-m MNEMONIC] [-k] [-v]
 *
 * First every cell (row x operand form x mode) alone, SINGLES times, then SEQUENCES
 * random sequences.  Prints what differs, the count, and with -v the count for each
 * cell and the reason for each that was not tried.  -k goes on after differences,
 * -m tries only that mnemonic.  Ends with 77 where the host does not let a child run
 * code of ours.
 *
 * rows: CON-09 ISA-02 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "make.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/system/system.h"

#define DIFFERENCES_SHOWN 40

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
    if (!compare_jobs(native, &ours,
                      native->vector == X86_BP ? recipe->undefined : recipe->ever, text,
                      sizeof text)) {
        return;
    }
    if (has_strayed(native, &ours)) {
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
    if (n > 0) {
        guest_forget(r->guest);
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

static int run_singles(struct run *r, unsigned count, const char *only)
{
    bool legacy = native_has_legacy(r->native);
    unsigned c, i;

    for (i = 0; i < count; i++) {
        for (c = 0; c < r->make.cells; c++) {
            const struct make_cell *cell = &r->make.cell[c];

            if (cell->excluded != NULL || (!legacy && cell->cell.mode != X86_CODE64) ||
                (only != NULL && strcmp(x86_rows[cell->cell.row].mnemonic, only) != 0)) {
                continue;
            }
            make_single(&r->make, &r->random, c, &native_jobs(r->native)[r->pending],
                        &r->recipe[r->pending]);
            if (add(r) != 0) {
                return -1;
            }
        }
    }
    return flush(r);
}

static int run_sequences(struct run *r, uint64_t count)
{
    bool legacy = native_has_legacy(r->native);
    uint64_t i;

    for (i = 0; i < count; i++) {
        make_sequence(&r->make, &r->random,
                      legacy && i % 4 == 3 ? X86_CODE32 : X86_CODE64,
                      2 + random_below(&r->random, MAKE_INSNS_MAX - 1),
                      &native_jobs(r->native)[r->pending], &r->recipe[r->pending]);
        if (add(r) != 0) {
            return -1;
        }
    }
    return flush(r);
}

static void print_cells(const struct run *r)
{
    unsigned c, tried = 0, excluded = 0, untried = 0;

    for (c = 0; c < r->make.cells; c++) {
        const struct make_cell *cell = &r->make.cell[c];

        tried += cell->tried > 0;
        excluded += cell->excluded != NULL;
        untried += cell->tried == 0 && cell->excluded == NULL;
        if (r->loud) {
            printf("%-24s mode %u size %u %s %8lu%s%s\n", x86_rows[cell->cell.row].id,
                   16u << cell->cell.mode, cell->cell.size,
                   cell->cell.is_memory ? "m" : "r", (unsigned long)cell->tried,
                   cell->excluded != NULL ? "  not tried: " : "",
                   cell->excluded != NULL ? cell->excluded : "");
        }
    }
    printf("cells: %u of %u tried, %u excluded with a reason, %u without a job\n", tried,
           r->make.cells, excluded, untried);
}

int main(int argc, char **argv)
{
    struct run r = {.random = {1}};
    const char *executor = "interpret", *only = NULL;
    unsigned singles = 4;
    uint64_t sequences = 20000;
    int c, n;

    while ((c = getopt(argc, argv, "e:s:n:q:m:kv")) != -1) {
        switch (c) {
        case 'e':
            executor = optarg;
            break;
        case 's':
            r.random.state = strtoull(optarg, NULL, 0);
            break;
        case 'n':
            singles = (unsigned)atoi(optarg);
            break;
        case 'q':
            sequences = strtoull(optarg, NULL, 0);
            break;
        case 'm':
            only = optarg;
            break;
        case 'k':
            r.go_on = true;
            break;
        case 'v':
            r.loud = true;
            break;
        default:
            return 2;
        }
    }
    if (native_create(&r.native) != 0) {
        printf("skip: this host does not let a child run code of ours\n");
        return 77;
    }
    r.shown = calloc(X86_ROW_COUNT, 1);
    if (r.shown == NULL || guest_create(executor, &r.guest) != 0 ||
        make_init(&r.make, x86_model_find("host-like")) != 0) {
        fprintf(stderr, "cannot set up\n");
        return 1;
    }
    n = run_singles(&r, singles, only);
    n = n == 0 && only == NULL ? run_sequences(&r, sequences) : n;
    print_cells(&r);
    printf(
        "%lu experiments, %lu differ, %lu strayed into the host's memory, %lu not ended "
        "natively\n",
        (unsigned long)r.jobs, (unsigned long)r.differences, (unsigned long)r.strayed,
        (unsigned long)r.lost);
    free(r.shown);
    make_fini(&r.make);
    guest_destroy(r.guest);
    native_destroy(r.native);
    return n != 0 || r.differences > 0 ? 1 : 0;
}
