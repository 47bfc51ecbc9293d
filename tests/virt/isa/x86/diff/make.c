/* make.c - random experiments.
 *
 * Registers begin as pointers (rbx, rsi, rdi at the data's border, rbp at its end,
 * rsp in the stack), small counts (rcx, rdx) and interesting numbers.  Memory operands
 * use the pointers, most of the time; destinations avoid them, most of the time.  What
 * goes astray faults alike on both sides.  An instruction that reads a flag which the
 * one before left undefined is not chosen. */
#include <string.h>

#include "make.h"
#include "virt/isa/x86/cpu.h"

uint64_t random_next(struct random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static bool one_in(struct random *r, unsigned n)
{
    return random_below(r, n) == 0;
}

static uint64_t interesting(struct random *r)
{
    static const uint64_t kept[] = {0,
                                    1,
                                    2,
                                    0x7f,
                                    0x80,
                                    0xff,
                                    0x7fff,
                                    0x8000,
                                    0xffff,
                                    0x7fffffff,
                                    0x80000000,
                                    0xffffffff,
                                    0x100000000,
                                    0x7fffffffffffffff,
                                    0x8000000000000000,
                                    0xffffffffffffffff};
    uint64_t v = random_next(r);

    switch (random_below(r, 4)) {
    case 0:
        return kept[v % (sizeof kept / sizeof kept[0])];
    case 1:
        return v & 0xff;
    case 2:
        return (uint64_t)(int64_t)(int32_t)v;
    default:
        return v;
    }
}

static uint64_t floating(struct random *r, bool single)
{
    static const uint64_t doubles[] = {
        0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
        0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff4000000000001,
        0x0000000000000001, 0x000fffffffffffff, 0x4024000000000000, 0x43e0000000000000};
    static const uint32_t singles[] = {0x00000000, 0x80000000, 0x3f800000, 0xbf800000,
                                       0x7f800000, 0xff800000, 0x7fc00000, 0x7fa00001,
                                       0x00000001, 0x007fffff, 0x41200000, 0x4f000000};
    uint64_t v = random_next(r);

    if (one_in(r, 3)) {
        return v;
    }
    if (single) {
        return singles[v % 12] | (uint64_t)singles[(v >> 8) % 12] << 32;
    }
    return one_in(r, 2) ? doubles[v % 12] : 0x3f00000000000000 + (v & 0x00ffffffffffffff);
}

static void fill_bytes(struct random *r, uint8_t *to, unsigned bytes)
{
    unsigned i;

    for (i = 0; i + 8 <= bytes; i += 8) {
        uint64_t v = one_in(r, 2) ? interesting(r) : floating(r, one_in(r, 2));

        memcpy(to + i, &v, 8);
    }
}

static void start_fpu(struct random *r, struct job_fpu *f)
{
    uint16_t fcw = 0x037f, fsw = (uint16_t)(random_below(r, 8) << 11);
    uint32_t mxcsr = 0x1f80;
    uint8_t tags = one_in(r, 2) ? 0xff : (uint8_t)random_next(r);
    unsigned i;

    memset(f, 0, sizeof *f);
    if (one_in(r, 4)) {
        fcw = (uint16_t)((fcw & 0x00ff) | random_below(r, 16) << 8);
    }
    if (one_in(r, 4)) {
        mxcsr |=
            random_below(r, 4) << 13 | random_below(r, 2) << 15 | random_below(r, 2) << 6;
    }
    if (one_in(r, 16)) { /* unmask something */
        mxcsr &= ~(random_below(r, 64) << 7);
        fcw = (uint16_t)(fcw & ~random_below(r, 64));
    }
    fsw |= (uint16_t)(random_below(r, 16) & 7) << 8;
    memcpy(f->legacy, &fcw, 2);
    memcpy(f->legacy + 2, &fsw, 2);
    f->legacy[4] = tags;
    memcpy(f->legacy + 24, &mxcsr, 4);
    for (i = 0; i < 8; i++) {
        union {
            long double ld;
            uint8_t byte[16];
        } u = {0};

        uint64_t v = floating(r, false);
        double d;

        memcpy(&d, &v, 8);
        u.ld = one_in(r, 3) ? (long double)(int32_t)random_next(r) : (long double)d;
        if (one_in(r, 12)) {
            v = random_next(r);
            memcpy(u.byte, &v, 8);
            memcpy(u.byte + 8, &v, 2);
        }
        memcpy(f->legacy + 32 + 16 * i, u.byte, 10);
    }
    fill_bytes(r, f->legacy + 160, 256);
    fill_bytes(r, f->ymm_high[0], sizeof f->ymm_high);
}

static uint64_t near_pointer(struct random *r, uint64_t to)
{
    uint64_t off = random_below(r, 128) - 64u;

    return to + (one_in(r, 2) ? off & ~UINT64_C(31) : off);
}

/* Pointers as code of that mode has them. */
static void start_pointers(struct random *r, struct job *j)
{
    uint64_t data = j->mode == X86_CODE16 ? JOB_DATA : 0;
    uint64_t stack = j->mode == X86_CODE16 ? JOB_STACK : 0;
    struct job_state *s = &j->start;

    s->gpr[X86_RBX] = near_pointer(r, JOB_DATA_BORDER) - data;
    s->gpr[X86_RSI] = near_pointer(r, JOB_DATA_BORDER) - data;
    s->gpr[X86_RDI] = near_pointer(r, JOB_DATA_BORDER) - data;
    s->gpr[X86_RSP] =
        (one_in(r, 8) ? near_pointer(r, JOB_STACK_TOP) : JOB_STACK_TOP) - stack;
    s->gpr[X86_RBP] = one_in(r, 2) || j->mode == X86_CODE16
                          ? JOB_STACK_TOP + 8 - stack
                          : JOB_DATA_END - 1 - random_below(r, 80);
    s->rip = j->mode == X86_CODE16 ? 0 : JOB_CODE;
}

static void start_flags(struct random *r, struct job_state *s)
{
    s->rflags = 0x202 | (random_next(r) & X86_ARITHMETIC);
    s->rflags |= one_in(r, 8) ? X86_DF_BIT : 0;
    s->rflags |= one_in(r, 12) ? X86_AC_BIT : 0;
    s->rflags |= one_in(r, 32) ? X86_TF : 0;
}

static void start_state(struct random *r, struct job *j)
{
    struct job_state *s = &j->start;
    unsigned i;

    for (i = 0; i < 16; i++) {
        s->gpr[i] = interesting(r);
    }
    s->gpr[X86_RCX] = one_in(r, 3) ? interesting(r) : random_below(r, 20);
    s->gpr[X86_RDX] = one_in(r, 3) ? interesting(r) : random_below(r, 9);
    s->gpr[X86_R14] = one_in(r, 2) ? JOB_DATA_READ_ONLY + 64 : interesting(r);
    s->gpr[X86_R15] =
        one_in(r, 4) ? UINT64_C(0x7fffffffffc0) + random_below(r, 128) : interesting(r);
    start_pointers(r, j);
    for (i = 0; i < 8 && j->mode != X86_CODE64; i++) {
        s->gpr[i] = (uint32_t)s->gpr[i];
    }
    start_flags(r, s);
    start_fpu(r, &s->fpu);
    fill_bytes(r, s->data, sizeof s->data);
    fill_bytes(r, s->stack, sizeof s->stack);
}

static bool is_vector(const struct x86_row_info *info)
{
    return strpbrk(info->operands, "VWUHL") != NULL;
}

/* Low three bits of rbx, rsp, rbp, rsi, rdi: kept as pointers. */
static bool is_pointer(unsigned reg)
{
    return reg == X86_RBX || (reg >= X86_RSP && reg <= X86_RDI) || reg == X86_R14;
}

static uint8_t pick_register(struct random *r, bool legacy, bool any)
{
    unsigned reg;

    do {
        reg = random_below(r, legacy ? 8 : 16);
    } while (!any && is_pointer(reg) && !one_in(r, 16));
    return (uint8_t)reg;
}

/* [bx+si] and its seven kin: the only ones with 16-bit addresses. */
static void pick_memory16(struct random *r, struct x86_form *f)
{
    static const uint8_t pairs[9][2] = {
        {X86_RBX, X86_ZERO}, {X86_RSI, X86_ZERO},  {X86_RDI, X86_ZERO},
        {X86_RBP, X86_ZERO}, {X86_ZERO, X86_ZERO}, {X86_RBX, X86_RSI},
        {X86_RBX, X86_RDI},  {X86_RBP, X86_RSI},   {X86_RBP, X86_RDI}};
    unsigned n = random_below(r, 9);

    f->base = pairs[n][0];
    f->index = pairs[n][1];
    f->scale = 0;
    if (n >= 5) { /* two pointers: one of them is taken back */
        f->disp -= JOB_PAGE;
    } else if (n == 4) {
        f->disp += JOB_PAGE;
    }
}

/* An address inside FS or GS, or around their limits. */
static void pick_override(struct random *r, const struct make_cell *c, struct x86_form *f)
{
    bool is_fs = one_in(r, 2);
    int64_t limit = c->cell.mode == X86_CODE64 || one_in(r, 2) ? JOB_PAGE
                    : is_fs                                    ? JOB_FS_LIMIT
                                                               : JOB_GS_LIMIT;

    f->segment = is_fs ? 0x64 : 0x65;
    f->base = X86_ZERO;
    f->index = f->address == X86_16 || !one_in(r, 4) ? X86_ZERO : X86_RCX;
    f->scale = 0;
    f->disp = limit + (int64_t)random_below(r, 64) - 32;
}

static void pick_memory(struct random *r, const struct make_cell *c, bool vector,
                        struct x86_form *f)
{
    static const uint8_t bases[] = {X86_RBX, X86_RSI, X86_RDI, X86_RBP, X86_RBX,
                                    X86_RSI, X86_RSP, X86_R14, X86_R15, X86_ZERO};
    bool legacy = c->cell.mode != X86_CODE64;
    unsigned most = one_in(r, 12) ? 10 : legacy ? 7 : 8;

    f->base = bases[random_below(r, most)];
    if (legacy && f->base >= X86_R8 && f->base != X86_ZERO) {
        f->base = X86_RDI;
    }
    f->index = one_in(r, 6) ? (one_in(r, 2) ? X86_RCX : X86_RDX) : X86_ZERO;
    f->scale = f->index == X86_ZERO ? 0 : (uint8_t)random_below(r, 4);
    f->disp = (int64_t)random_below(r, 96) - 48;
    if (vector && !one_in(r, 3)) {
        f->disp &= ~(int64_t)15;
    }
    if (f->base == X86_ZERO && c->cell.mode != X86_CODE16) {
        f->disp = JOB_DATA_BORDER + (int64_t)random_below(r, 64) - 32;
    }
}

static bool is_address16(const struct x86_form *f)
{
    return f->address == X86_16 || (f->address == X86_8 && f->mode == X86_CODE16);
}

static void pick_address(struct random *r, const struct make_cell *c, bool vector,
                         bool may_override, struct x86_form *f)
{
    if (one_in(r, 10)) {
        f->address = f->mode == X86_CODE32 ? X86_16 : X86_32;
    }
    pick_memory(r, c, vector, f);
    if (is_address16(f)) {
        pick_memory16(r, f);
    }
    if (may_override && one_in(r, 10)) {
        pick_override(r, c, f);
    }
}

static void pick_operands(struct random *r, const struct make_cell *c, bool may_override,
                          struct x86_form *f)
{
    const struct x86_row_info *info = &x86_rows[c->cell.row];
    bool legacy = c->cell.mode != X86_CODE64;
    bool vector = is_vector(info);

    x86_form_of_cell(f, &c->cell);
    f->reg = pick_register(r, legacy, vector);
    f->rm = pick_register(r, legacy, vector);
    f->vvvv = pick_register(r, legacy, vector);
    f->imm = one_in(r, 2) ? random_below(r, 256) : interesting(r);
    f->imm8 = (uint8_t)random_below(r, legacy ? 8 : 16);
    f->has_rex = !legacy && one_in(r, 4);
    if (c->cell.is_memory) {
        pick_address(r, c, vector, may_override, f);
    }
    if ((info->attributes & X86_A_REP) != 0 && one_in(r, 2)) {
        f->repeat = one_in(r, 2) ? 0xf2 : 0xf3;
    }
    if ((info->attributes & X86_A_LOCK) != 0 && c->cell.is_memory && one_in(r, 6)) {
        f->lock = true;
    }
    if (strstr(info->operands, "J") != NULL) {
        f->imm = 0;
    }
}

/* The operand is at a pointer that `place_registers` moves; outside 64-bit mode, what
 * has no canonical form has a limit. */
static void place_operand(struct random *r, enum make_place place, bool may_override,
                          struct x86_form *f)
{
    if (!f->is_memory) {
        return;
    }
    f->address = X86_8;
    f->base = X86_RBX;
    f->index = X86_ZERO;
    f->scale = 0;
    f->disp = 0;
    f->segment = 0;
    if (place == MAKE_BEYOND && f->mode != X86_CODE64 && may_override) {
        f->segment = 0x64;
        f->base = X86_ZERO;
        f->disp = JOB_FS_LIMIT + 1 - (int64_t)random_below(r, 4);
    }
}

/* Bytes of the memory operand, from its name in the text; 0: it has none. */
static unsigned operand_bytes(const struct job *j)
{
    static const struct {
        const char *name;
        unsigned bytes;
    } names[] = {{"BYTE PTR", 1},  {"XMMWORD", 16},  {"YMMWORD", 32}, {"QWORD PTR", 8},
                 {"DWORD PTR", 4}, {"FWORD PTR", 6}, {"TBYTE", 10},   {"WORD PTR", 2}};
    struct x86_insn i;
    char text[96];

    if (x86_decode(j->code, j->code_bytes, (enum x86_code_mode)j->mode, &i) !=
        X86_DECODED) {
        return 0;
    }
    x86_disassemble(&i, 0, text, sizeof text);
    for (unsigned n = 0; n < sizeof names / sizeof names[0]; n++) {
        const char *found = strstr(text, names[n].name);

        if (found != NULL && !(names[n].bytes == 1 && found > text && found[-1] == 'T')) {
            return names[n].bytes;
        }
    }
    return strchr(text, '[') != NULL ? 16 : 0;
}

/* Move the pointers; returns the place that the operand really has. */
static enum make_place place_registers(struct random *r, enum make_place place,
                                       struct job *j)
{
    uint64_t data = j->mode == X86_CODE16 ? JOB_DATA : 0;
    unsigned bytes = operand_bytes(j);
    uint64_t at;

    switch (place) {
    case MAKE_CROSSING:
        at = JOB_DATA_BORDER - (bytes < 2 ? 1 : 1 + random_below(r, bytes - 1));
        break;
    case MAKE_UNALIGNED:
        at = JOB_DATA_BORDER - 128 + 2 * random_below(r, 32) + 1;
        break;
    case MAKE_BEYOND:
        at = (UINT64_C(1) << 47) + data - (one_in(r, 2) ? 0 : bytes / 2);
        at = j->mode == X86_CODE64 ? at : JOB_DATA_BORDER;
        break;
    case MAKE_UNMAPPED:
        at = JOB_DATA_END - bytes / 2;
        break;
    case MAKE_READ_ONLY:
        at = JOB_DATA_READ_ONLY + 64;
        break;
    default:
        return MAKE_ANYWHERE;
    }
    j->start.gpr[X86_RBX] = at - data;
    j->start.gpr[X86_RSI] = at - data;
    j->start.gpr[X86_RDI] = at - data;
    return bytes == 0 || (bytes == 1 && place <= MAKE_UNALIGNED) ? MAKE_ANYWHERE : place;
}

/* Something that a taken branch skips: add one to rdx, in a known length. */
static unsigned put_marker(uint8_t *at, bool legacy)
{
    static const uint8_t lea64[] = {0x48, 0x8d, 0x52, 0x01};
    static const uint8_t lea32[] = {0x8d, 0x52, 0x01};

    memcpy(at, legacy ? lea32 : lea64, legacy ? 3 : 4);
    return legacy ? 3 : 4;
}

/* Appends one instruction of that cell; false: it does not fit or has no such form. */
static bool append(struct random *r, const struct make *m, const struct make_cell *c,
                   enum make_place place, struct job *j)
{
    bool branch = strstr(x86_rows[c->cell.row].operands, "J") != NULL;
    uint8_t bytes[X86_INSN_BYTES_MAX];
    struct x86_form f;
    int n;

    pick_operands(r, c, m->has_segments, &f);
    if (place != MAKE_ANYWHERE) {
        place_operand(r, place, m->has_segments, &f);
    }
    if (branch) {
        f.imm = j->mode == X86_CODE64 ? 4 : 3;
    }
    n = x86_encode(c->cell.row, &f, bytes);
    if (n == 0 || j->code_bytes + (unsigned)n + 8 > JOB_CODE_BYTES) {
        return false;
    }
    memcpy(j->code + j->code_bytes, bytes, (size_t)n);
    j->code_bytes = (uint8_t)(j->code_bytes + n);
    if (branch) {
        j->code_bytes = (uint8_t)(j->code_bytes + put_marker(j->code + j->code_bytes,
                                                             j->mode != X86_CODE64));
    }
    return true;
}

void make_begin(struct random *r, enum x86_code_mode mode, struct job *j,
                struct recipe *recipe)
{
    memset(recipe, 0, sizeof *recipe);
    memset(j->code, 0xcc, sizeof j->code);
    j->code_bytes = 0;
    j->mode = (uint8_t)mode;
    start_state(r, j);
}

void make_note(const struct make *m, struct recipe *recipe, unsigned cell)
{
    const struct make_cell *c = &m->cell[cell];

    recipe->cell[recipe->count++] = cell;
    recipe->undefined = (recipe->undefined & ~c->written) | c->undefined;
    recipe->ever |= recipe->undefined;
}

void make_sequence(const struct make *m, struct random *r, enum x86_code_mode mode,
                   unsigned count, struct job *j, struct recipe *ret_recipe)
{
    unsigned tries = 0;

    make_begin(r, mode, j, ret_recipe);
    while (ret_recipe->count < count && tries++ < 200) {
        unsigned n = m->first[mode] + random_below(r, m->end[mode] - m->first[mode]);
        const struct make_cell *c = &m->cell[n];

        if (c->excluded == NULL && (c->read & ret_recipe->undefined) == 0 &&
            append(r, m, c, MAKE_ANYWHERE, j)) {
            make_note(m, ret_recipe, n);
        }
    }
}

void make_single(const struct make *m, struct random *r, unsigned cell,
                 enum make_place place, struct job *j, struct recipe *ret_recipe)
{
    unsigned tries;

    make_begin(r, m->cell[cell].cell.mode, j, ret_recipe);
    for (tries = 0; tries < 20; tries++) {
        if (append(r, m, &m->cell[cell], place, j)) {
            make_note(m, ret_recipe, cell);
            ret_recipe->place = place_registers(r, place, j);
            return;
        }
    }
}
