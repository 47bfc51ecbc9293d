/* virtualizable.c - is the instruction set virtualizable, in the sense of Popek and
 * Goldberg (Formal Requirements for Virtualizable Third Generation Architectures, 1974)?
 * Computed by running each row, in each of its forms, and looking.
 *
 *   privileged   does what it does at level 0, traps at level 3
 *   sensitive    control: changes privileged state without a trap, at level 0 or 3;
 *                behaviour: what a program gets from it depends on privileged state,
 *                or on the level itself
 *   critical     sensitive, and in some form not trapped at level 3
 *
 * Their theorem asks that no instruction be critical.  A result that differs by a trap
 * does not count: the trap is what a monitor needs.  What loads and stores see through
 * paging and segments is Popek's and Goldberg's relocation and does not count either,
 * nor do the selectors that the x87 keeps of its last instruction.
 *
 * Random numbers are told from dependence by running everything twice. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "virt/isa/instrument/experiment.h"
#include "virt/isa/instrument/private.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/encode.h"

/* Surroundings of level 3 in which a trap may come or go. */
enum {
    AT_PLAIN, /* IOPL 0, nothing set */
    AT_UMIP,
    AT_TSD,
    AT_IOPL,
    AT_PCE,
    AT_V86,
    AT_V86_IOPL,
    PLACES
};

static const struct {
    const char *name;
    uint64_t cr4;
    uint8_t iopl;
    bool v86;
} places[PLACES] = {
    {"level3", 0, 0, false},        {"umip", X86_CR4_UMIP, 0, false},
    {"tsd", X86_CR4_TSD, 0, false}, {"iopl3", 0, 3, false},
    {"pce", X86_CR4_PCE, 0, false}, {"v86", 0, 0, true},
    {"v86_iopl3", 0, 3, true},
};

struct finding {
    uint32_t changes, depends; /* parts: bits by number */
    unsigned ran;              /* forms that level 0 executes */
    unsigned passed[PLACES];   /* of those, the ones that do not trap there */
    unsigned ran_v86;
    bool critical_at[PLACES]; /* a sensitive form passes there */
    bool goes_wrong;          /* in a guest's kernel at level 3, see `is_wrong` */
};

struct form_run {
    struct experiment *x;
    uint8_t bytes[X86_INSN_BYTES_MAX];
    unsigned count;
    uint8_t mode;
    unsigned preset;
};

static bool run_at(const struct form_run *f, unsigned level, unsigned place,
                   uint32_t varied, struct experiment_outcome *o)
{
    struct experiment_place p = {.mode = f->mode,
                                 .level = (uint8_t)level,
                                 .v86 = places[place].v86,
                                 .iopl = places[place].iopl,
                                 .cr4 = places[place].cr4,
                                 .preset = f->preset,
                                 .varied = varied};

    return experiment_run(f->x, &p, f->bytes, f->count, o) == 0 && !o->trapped;
}

/* What a program can see of it.  Selectors in memory and registers are its result;
 * segment registers themselves are not, they differ by level from the start. */
static bool same_result(const struct experiment_outcome *a,
                        const struct experiment_outcome *b)
{
    const uint64_t visible = X86_ARITHMETIC | X86_DF_BIT;
    struct x86_fpu fa = a->regs.fpu, fb = b->regs.fpu;

    fa.fcs = fa.fds = fb.fcs = fb.fds = 0;
    return memcmp(a->regs.gpr, b->regs.gpr, sizeof a->regs.gpr) == 0 &&
           ((a->regs.rflags ^ b->regs.rflags) & visible) == 0 &&
           memcmp(&fa, &fb, sizeof fa) == 0 &&
           memcmp(a->data, b->data, sizeof a->data) == 0 &&
           memcmp(a->stack, b->stack, sizeof a->stack) == 0;
}

/* Which parts its result at that level depends on. */
static uint32_t dependence(const struct form_run *f, unsigned level,
                           const struct experiment_outcome *usual)
{
    const uint32_t all = (1u << PART_COUNT) - 1, alone = 1u << PART_XCR0;
    struct experiment_outcome other;
    uint32_t depends = 0;
    unsigned part;

    if (!run_at(f, level, AT_PLAIN, 0, &other) || !same_result(usual, &other)) {
        return 0; /* random */
    }
    if (run_at(f, level, AT_PLAIN, all & ~alone, &other) && same_result(usual, &other) &&
        run_at(f, level, AT_PLAIN, alone, &other) && same_result(usual, &other)) {
        return 0;
    }
    for (part = PART_LEVEL + 1; part < PART_OUTSIDE; part++) {
        if (run_at(f, level, AT_PLAIN, 1u << part, &other) &&
            !same_result(usual, &other)) {
            depends |= 1u << part;
        }
    }
    return depends;
}

/* What it changes at level 0 when flags and CR0 are not as usual (CLI, CLTS). */
static uint32_t changes_varied(const struct form_run *f)
{
    struct experiment_outcome o;

    return run_at(f, 0, AT_PLAIN, 1u << PART_FLAGS | 1u << PART_CR0, &o) ? o.changed : 0;
}

/* Segments as they are loaded, but for their level. */
static bool same_segments(const struct x86_regs *a, const struct x86_regs *b)
{
    const uint16_t level = 3u << X86_ATTR_DPL_SHIFT;
    unsigned s;

    for (s = X86_ES; s <= X86_GS; s++) {
        if (a->seg[s].base != b->seg[s].base || a->seg[s].limit != b->seg[s].limit ||
            ((a->seg[s].attr ^ b->seg[s].attr) & ~level) != 0) {
            return false;
        }
    }
    return true;
}

/* Has what `wanted` did to privileged state not been done? */
static bool is_dropped(const struct experiment_outcome *wanted,
                       const struct experiment_outcome *got)
{
    const uint32_t apart = 1u << PART_LEVEL | 1u << PART_SEGMENTS;
    const uint64_t flags = X86_IF | X86_IOPL;

    return (wanted->changed & ~got->changed & ~apart) != 0 ||
           ((wanted->changed >> PART_FLAGS & 1) != 0 &&
            ((wanted->regs.rflags ^ got->regs.rflags) & flags) != 0) ||
           ((wanted->changed >> PART_SEGMENTS & 1) != 0 &&
            !same_segments(&wanted->regs, &got->regs));
}

/* Plain trap-and-emulate: a guest's kernel that believes it is at level 0 runs at level 3,
 * with the monitor's tables and registers instead of its own.  What traps, the monitor
 * puts right.  What does not must have done what level 0 does, and it is wrong if its
 * result is another, a change of privileged state was dropped, or the kernel wanted a
 * trap (`wanted` is NULL). */
static bool is_wrong(const struct form_run *f, const struct experiment_outcome *wanted)
{
    const uint32_t tables = 1u << PART_GDT | 1u << PART_IDT | 1u << PART_LDT |
                            1u << PART_TASK | 1u << PART_CR0 | 1u << PART_MSR |
                            1u << PART_XCR0 | 1u << PART_MODEL;
    const uint32_t monitors[] = {tables, tables | 1u << PART_FLAGS};
    struct experiment_outcome got, again;
    unsigned n;

    for (n = 0; n < 2; n++) {
        if (run_at(f, 3, AT_PLAIN, monitors[n], &got) &&
            (wanted == NULL || is_dropped(wanted, &got) ||
             (!same_result(wanted, &got) && run_at(f, 3, AT_PLAIN, monitors[n], &again) &&
              same_result(&got, &again)))) {
            return true;
        }
    }
    return false;
}

static void look_at_places(const struct form_run *f, struct finding *to, bool sensitive)
{
    struct experiment_outcome o;
    unsigned place;

    for (place = AT_PLAIN; place < AT_V86; place++) {
        if (run_at(f, 3, place, 0, &o)) {
            to->passed[place]++;
            to->critical_at[place] |= sensitive;
        }
    }
    if (f->mode != X86_CODE16) {
        return;
    }
    to->ran_v86++;
    for (; place < PLACES; place++) {
        if (run_at(f, 3, place, 0, &o)) {
            to->passed[place]++;
        }
    }
}

/* One form with one preset, at both levels. */
static void look(const struct form_run *f, struct finding *to)
{
    struct experiment_outcome system, user, again;
    bool runs0 = run_at(f, 0, AT_PLAIN, 0, &system);
    bool runs3 = run_at(f, 3, AT_PLAIN, 0, &user);
    uint32_t changes = (runs0 ? system.changed : 0) | (runs3 ? user.changed : 0);
    uint32_t depends = runs3   ? dependence(f, 3, &user)
                       : runs0 ? dependence(f, 0, &system)
                               : 0;

    if (runs0 && runs3 && !same_result(&system, &user) &&
        run_at(f, 3, AT_PLAIN, 0, &again) && same_result(&user, &again)) {
        depends |= 1u << PART_LEVEL;
    }
    changes |= changes_varied(f);
    if (!to->goes_wrong && (changes | depends) != 0) {
        to->goes_wrong = is_wrong(f, runs0 ? &system : NULL);
    }
    to->changes |= changes;
    to->depends |= depends;
    if (runs0 || runs3) {
        to->ran++;
        look_at_places(f, to, (changes | depends) != 0);
    }
}

static bool encode(enum x86_row row, const struct x86_cell *cell, unsigned preset,
                   struct form_run *f)
{
    struct x86_form form;

    x86_form_of_cell(&form, cell);
    form.rm = EXPERIMENT_OPERAND;
    form.reg = row == X86_R_MOV_EV_SW   ? X86_CS
               : row == X86_R_MOV_SW_EW ? X86_DS
               : row == X86_R_MOV_C_R || row == X86_R_MOV_R_C || row == X86_R_MOV_D_R ||
                       row == X86_R_MOV_R_D
                   ? 0
                   : X86_RDX;
    if (cell->is_memory && form.imm8 == 0) {
        form.base = EXPERIMENT_ADDRESS;
        form.index = X86_ZERO;
    }
    form.imm = row == X86_R_INT ? 0x80
               : row == X86_R_JMP_AP || row == X86_R_CALL_AP
                   ? 0x8800 | (preset == 3 ? UINT64_C(0x08) : UINT64_C(0x5b)) << 32
                   : 1;
    f->mode = cell->mode;
    f->preset = preset;
    f->count = (unsigned)x86_encode(row, &form, f->bytes);
    return f->count != 0;
}

static void find(struct experiment *x, enum x86_row row, struct finding *to)
{
    struct x86_cell cells[X86_CELLS_MAX];
    unsigned n = x86_cells(row, cells), i, preset;
    struct form_run f = {.x = x};

    *to = (struct finding){.ran = 0};
    for (i = 0; i < n; i++) {
        for (preset = 0; preset < EXPERIMENT_PRESETS; preset++) {
            if (encode(row, &cells[i], preset, &f)) {
                look(&f, to);
            }
        }
    }
}

static bool is_sensitive(const struct finding *f)
{
    return (f->changes | f->depends) != 0;
}

static const char *verdict_of(const struct finding *f)
{
    return f->ran == 0                                   ? "not executed"
           : is_sensitive(f) && f->critical_at[AT_PLAIN] ? "critical"
           : f->passed[AT_PLAIN] == 0                    ? "privileged"
           : is_sensitive(f)                             ? "sensitive"
                                                         : "innocuous";
}

/* Segments have their hidden parts from tables that the supervisor made: to load one is
 * no control. */
static const char *kind_of(const struct finding *f)
{
    return (f->changes & ~(1u << PART_SEGMENTS)) != 0 ? "control"
           : is_sensitive(f)                          ? "behaviour"
                                                      : "innocuous";
}

static void parts_of(uint32_t bits, char text[128])
{
    size_t n = 0;
    unsigned part;

    text[0] = '\0';
    for (part = 0; part < PART_COUNT; part++) {
        if ((bits >> part & 1) != 0) {
            n += (size_t)snprintf(text + n, n < 128 ? 128 - n : 0, "%s%s",
                                  n != 0 ? "," : "", experiment_parts[part]);
        }
    }
}

/* "all", "some" or "none" of the forms trap there; "" where none can be. */
static const char *traps_at(const struct finding *f, unsigned place)
{
    unsigned ran = places[place].v86 ? f->ran_v86 : f->ran;

    return ran == 0                 ? ""
           : f->passed[place] == 0  ? "all"
           : f->passed[place] < ran ? "some"
                                    : "none";
}

static const char *declared_of(const struct x86_row_info *info)
{
    static const char *const names[] = {[X86_INNOCUOUS] = "innocuous",
                                        [X86_CONTROL] = "control",
                                        [X86_BEHAVIOUR] = "behaviour"};

    return names[info->sensitivity];
}

static json_t *row_of(enum x86_row row, const struct finding *f)
{
    const struct x86_row_info *info = &x86_rows[row];
    char changes[128], depends[128];
    json_t *out;
    unsigned place;

    parts_of(f->changes, changes);
    parts_of(f->depends, depends);
    out =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "row", info->id, "mnemonic",
                  info->mnemonic, "verdict", verdict_of(f), "changes", changes, "depends",
                  depends, "deprivileged", f->goes_wrong ? "wrong" : "right", "kind",
                  kind_of(f), "declared", declared_of(info));
    for (place = 0; place < PLACES; place++) {
        (void)json_object_set_new(out, places[place].name,
                                  json_string(traps_at(f, place)));
    }
    return out;
}

struct tally {
    unsigned rows, sensitive, privileged, critical, critical_umip;
};

static void count(struct tally *t, const struct finding *f)
{
    t->rows += f->ran != 0;
    t->sensitive += is_sensitive(f);
    t->privileged += f->ran != 0 && f->passed[AT_PLAIN] == 0;
    t->critical += f->critical_at[AT_PLAIN];
    t->critical_umip += f->critical_at[AT_UMIP];
}

int instrument_virtualizable(const json_t *request, json_t **ret, int *ret_code,
                             struct err *e)
{
    struct tally t = {0};
    struct experiment *x = NULL;
    json_t *rows = json_array();
    bool all = false;
    unsigned row;
    int r = json_opt_bool(request, "", "all", &all, e);

    r = r < 0 ? r : experiment_create(&x, e);
    for (row = X86_INVALID + 1; row < X86_ROW_COUNT && r == 0; row++) {
        struct finding f;

        find(x, (enum x86_row)row, &f);
        count(&t, &f);
        if (all || is_sensitive(&f) || (f.ran != 0 && f.passed[AT_PLAIN] == 0)) {
            (void)json_array_append_new(rows, row_of((enum x86_row)row, &f));
        }
    }
    experiment_destroy(x);
    if (r < 0) {
        json_decref(rows);
        return r;
    }
    *ret_code = 0;
    *ret = json_pack("{s:o, s:b, s:b, s:i, s:i, s:i, s:i, s:i}", "instructions", rows,
                     "virtualizable", t.critical == 0, "virtualizable_umip",
                     t.critical_umip == 0, "rows", t.rows, "sensitive", t.sensitive,
                     "privileged", t.privileged, "critical", t.critical, "critical_umip",
                     t.critical_umip);
    return 0;
}
