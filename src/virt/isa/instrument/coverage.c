/* coverage.c - the rows of the instruction set, and how each is executed. */
#include <errno.h>

#include "base/err.h"
#include "virt/isa/instrument/private.h"
#include "virt/isa/x86/encode.h"
#include "virt/isa/x86/lift/lift.h"
#include "virt/isa/x86/x86.h"

static const char *const privileges[] = {
    [X86_USER] = "user", [X86_SYSTEM] = "system", [X86_IO] = "io"};
static const char *const sensitivities[] = {[X86_INNOCUOUS] = "innocuous",
                                            [X86_CONTROL] = "control",
                                            [X86_BEHAVIOUR] = "behaviour"};

/* What of a row is compared with the host's processor. */
static const struct {
    unsigned cells, tried, experiments;
    const char *why;
} tested[X86_ROW_COUNT] = {

#define X86_TESTED(id, cells, tried, experiments, why)                                   \
    [X86_R_##id] = {cells, tried, experiments, why},
#include "virt/isa/instrument/tested.rows.h"
};

static json_t *describe(const struct lift *l, enum x86_row row)
{
    static const char *const features[] = {
#define X86_FEATURE(id, name, leaf, subleaf, reg, bit) [X86_F_##id] = name,
#include "virt/isa/x86/rows/features.rows.h"
    };
    const struct x86_row_info *info = &x86_rows[row];
    struct x86_cell cells[X86_CELLS_MAX];

    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:s}", "row", info->id,
        "mnemonic", info->mnemonic, "encoding", info->encoding, "feature",
        features[info->feature], "privilege", privileges[info->privilege], "sensitivity",
        sensitivities[info->sensitivity], "cells", (json_int_t)x86_cells(row, cells),
        "translated", lift_way_of(l, row), "tested", (json_int_t)tested[row].tried,
        "experiments", (json_int_t)tested[row].experiments, "untested", tested[row].why);
}

int instrument_coverage(const json_t *request, json_t **ret, int *ret_code, struct err *e)
{
    struct lift *l = lift_create();
    json_t *list = json_array();
    unsigned row;
    int r = 0;

    (void)request;
    (void)ret_code;
    for (row = X86_INVALID + 1; l != NULL && row < X86_ROW_COUNT && r == 0; row++) {
        r = json_array_append_new(list, describe(l, row));
    }
    if (l == NULL || list == NULL || r != 0) {
        lift_destroy(l);
        json_decref(list);
        return err_set(e, -ENOMEM, "out of memory");
    }
    lift_destroy(l);
    *ret = list;
    return 0;
}
