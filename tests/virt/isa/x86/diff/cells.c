/* cells.c - every row x operand form x mode that can be tried on this host, and for
 * each that cannot the reason. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "make.h"
#include "tests/base/vendor.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/system/system.h"

struct reason {
    const char *words; /* mnemonics, separated by spaces */
    const char *why;
};

static const struct reason reasons[] = {
    {"syscall sysenter sysret sysexit int int1 icebp",
     "enters the host's kernel: tests of system/ cover it"},
    {"cpuid rdtsc rdtscp rdpid rdpmc rdrand rdseed xgetbv vmcall vmmcall",
     "depends on the host's processor or time"},
    {"sgdt sidt sldt str smsw", "the host's kernel answers in its place (UMIP)"},
    {"lar lsl verr verw", "reads the host's descriptor tables"},
    {"callf jmpf retf iret iretd iretq lds les lfs lgs lss",
     "loads the host's descriptors: tests of system/ cover it"},
    {"xsave xsave64 xsavec xsavec64 xsaveopt xsaveopt64 xsaves xsaves64 xrstor xrstor64 "
     "xrstors xrstors64",
     "the host has more components and its own tracking of them: tests of vector/ cover it"},
    {"monitor mwait", "the host's kernel may allow or refuse it"},
    {"xsetbv invpcid", "the host's hypervisor may answer in its place"},
};

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    const char *at = words;

    while ((at = strstr(at, word)) != NULL) {
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0)) {
            return true;
        }
        at += n;
    }
    return false;
}

static const char *why_excluded(const struct x86_row_info *row,
                                const struct x86_model *model)
{
    unsigned i;

    for (i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (has_word(reasons[i].words, row->mnemonic)) {
            return reasons[i].why;
        }
    }
    if (!x86_model_has(model, row->feature)) {
        return "not in the CPUID model that is tried";
    }
    if (strstr(row->operands, "Sw") == row->operands ||
        strstr(row->operands, "Ap") != NULL || strstr(row->operands, "Mp") != NULL) {
        return "loads the host's descriptors: tests of system/ cover it";
    }
    if (strcmp(row->mnemonic, "pop") == 0 &&
        (strstr(row->operands, "S") == row->operands + 1 || row->operands[1] == 'S')) {
        return "loads the host's descriptors: tests of system/ cover it";
    }
    return NULL;
}

static uint32_t flag_of(char letter)
{
    switch (letter) {
    case 'O':
        return X86_OF_BIT;
    case 'S':
        return X86_SF;
    case 'Z':
        return X86_ZF;
    case 'A':
        return X86_AF;
    case 'P':
        return X86_PF_BIT;
    case 'C':
        return X86_CF;
    default:
        return 0;
    }
}

/* "W:OSZ U:A R:C": the flags after `kind`. */
static uint32_t flags_of(const char *text, char kind)
{
    const char *at = text;
    uint32_t f = 0;

    while (*at != 0) {
        if (at[0] == kind && at[1] == ':') {
            for (at += 2; *at != 0 && *at != ' '; at++) {
                f |= flag_of(*at);
            }
        } else {
            at++;
        }
    }
    return f;
}

static void add_row(struct make *m, enum x86_row row, enum x86_code_mode mode,
                    const struct x86_model *model)
{
    const struct x86_row_info *info = &x86_rows[row];
    struct x86_cell cells[X86_CELLS_MAX];
    unsigned n = x86_cells(row, cells), i;

    for (i = 0; i < n; i++) {
        if (cells[i].mode == mode) {
            m->cell[m->cells++] = (struct make_cell){
                .cell = cells[i],
                .written = flags_of(info->flags, 'W'),
                .undefined = vendor_is_intel() ? 0 : flags_of(info->flags, 'U'),
                .read = flags_of(info->flags, 'R'),
                .excluded = why_excluded(info, model),
            };
        }
    }
}

int make_init(struct make *m, const struct x86_model *model)
{
    unsigned mode, row;

    memset(m, 0, sizeof *m);
    m->cell = calloc((size_t)X86_ROW_COUNT * X86_CELLS_MAX, sizeof *m->cell);
    if (m->cell == NULL) {
        return -ENOMEM;
    }
    for (mode = 0; mode < X86_CODE_MODE_COUNT; mode++) {
        m->first[mode] = m->cells;
        for (row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
            add_row(m, row, mode, model);
        }
        m->end[mode] = m->cells;
    }
    return 0;
}

void make_fini(struct make *m)
{
    free(m->cell);
    m->cell = NULL;
}
