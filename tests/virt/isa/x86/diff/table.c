/* table.c - what is tried of each row, as the table that `strata isa coverage` shows has
 * it (src/virt/isa/instrument/tested.rows.h). */
#include <stdio.h>
#include <string.h>

#include "make.h"

struct tested {
    unsigned cells, tried;
    const char *why; /* not all of them */
};

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
        } else {
            rows[cell->cell.row].why = cell->excluded;
        }
    }
}

unsigned table_check(const struct make *m)
{
    static const struct tested table[X86_ROW_COUNT] = {
#define X86_TESTED(id, cells, tried, why) [X86_R_##id] = {cells, tried, why},
#include "virt/isa/instrument/tested.rows.h"
    };
    static struct tested rows[X86_ROW_COUNT];
    unsigned row, wrong = 0;

    count_rows(m, rows);
    for (row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        const struct tested *a = &rows[row], *b = &table[row];

        wrong += a->cells != b->cells || a->tried != b->tried || b->why == NULL ||
                 strcmp(a->why, b->why) != 0 || (a->tried < a->cells) != (a->why[0] != 0);
    }
    return wrong;
}

void table_print(const struct make *m)
{
    static struct tested rows[X86_ROW_COUNT];
    unsigned row;

    count_rows(m, rows);
    for (row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        printf("X86_TESTED(%s, %u, %u, \"%s\")\n", x86_rows[row].id, rows[row].cells,
               rows[row].tried, rows[row].why);
    }
}
