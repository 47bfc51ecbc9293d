/* table.c - what is tried of each row, as the table that `strata isa coverage` shows has
 * it (src/virt/isa/instrument/tested.rows.h). */
#include <stdio.h>
#include <string.h>

#include "make.h"

/* Of one row; experiments are those of a run with one at each place. */
struct tested {
    unsigned cells, tried, experiments;
    const char *why; /* not all of them */
};

static unsigned experiments_of(const struct make_cell *cell)
{
    unsigned n, sum = 0;

    for (n = 0; n < MAKE_PLACES; n++) {
        sum += make_wants(cell, n, 1);
    }
    return sum;
}

static void count_rows(const struct make *m, struct tested rows[X86_ROW_COUNT])
{
    unsigned n;

    for (n = 0; n < X86_ROW_COUNT; n++) {
        rows[n] = (struct tested){.why = ""};
    }
    for (n = 0; n < m->cells; n++) {
        const struct make_cell *cell = &m->cell[n];

        rows[cell->cell.row].cells++;
        if (cell->excluded == NULL) {
            rows[cell->cell.row].tried++;
            rows[cell->cell.row].experiments += experiments_of(cell);
        } else {
            rows[cell->cell.row].why = cell->excluded;
        }
    }
}

unsigned table_check(const struct make *m)
{
    static const struct tested table[X86_ROW_COUNT] = {
#define X86_TESTED(id, cells, tried, experiments, why)                                   \
    [X86_R_##id] = {cells, tried, experiments, why},
#include "virt/isa/instrument/tested.rows.h"
    };
    static struct tested rows[X86_ROW_COUNT];
    unsigned row, wrong = 0;

    count_rows(m, rows);
    for (row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        const struct tested *a = &rows[row], *b = &table[row];

        if (a->cells != b->cells || a->tried != b->tried ||
            a->experiments != b->experiments || b->why == NULL ||
            strcmp(a->why, b->why) != 0 || (a->tried < a->cells) != (a->why[0] != 0)) {
            printf(
                "%s: tested.rows.h says %u cells, %u tried, %u experiments, '%s'; it is "
                "%u, %u, %u, '%s'\n",
                x86_rows[row].id, b->cells, b->tried, b->experiments,
                b->why != NULL ? b->why : "nothing", a->cells, a->tried, a->experiments,
                a->why);
            wrong++;
        }
    }
    if (wrong != 0) {
        printf("make it anew: x86_diff -l >src/virt/isa/instrument/tested.rows.h\n");
    }
    return wrong;
}

static const char head[] =
    "/* tested.rows.h - which rows are compared with the host's processor, how many of\n"
    " * their cells, and in how many experiments of one instruction each run of\n"
    " * `make check` makes with each executor; why the others are not.  Random sequences\n"
    " * and the kept cases come on top.  Made by `tests/virt/isa/x86/diff` (x86_diff -l),\n"
    " * whose test compares.\n"
    " *\n"
    " *   X86_TESTED(id, cells, tried, experiments, \"why not all are tried\") */\n";

void table_print(const struct make *m)
{
    static struct tested rows[X86_ROW_COUNT];
    unsigned row;

    count_rows(m, rows);
    (void)fputs(head, stdout);
    for (row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        printf("X86_TESTED(%s, %u, %u, %u, \"%s\")\n", x86_rows[row].id, rows[row].cells,
               rows[row].tried, rows[row].experiments, rows[row].why);
    }
    printf("#undef X86_TESTED\n");
}
