/* lift.c - the table of rows, and one instruction through it. */
#include "virt/isa/x86/lift/lift.h"

#include <assert.h>
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "virt/isa/x86/lift/private.h"

static struct ir_global word_at(const char *name, size_t offset)
{
    return (struct ir_global){
        .name = name, .offset = (uint32_t)offset, .type = IR_I64, .pin = IR_NO_PIN};
}

/* What changes with the privilege. */
static void add_sides(struct ir_global *table, const struct lift_places *at)
{
    static const char *const names[2][LIFT_SIDE_WORDS] = {
        {"system_tlb", "system_jumps", "system_link", "system_cs", "system_ss",
         "system_usual"},
        {"users_tlb", "users_jumps", "users_link", "users_cs", "users_ss",
         "users_usual"}};

    for (unsigned n = 0; n < LIFT_SIDE_WORDS; n++) {
        table[LIFT_SYSTEM + n] = word_at(names[0][n], at->system + n * sizeof(uint64_t));
        table[LIFT_USERS + n] = word_at(names[1][n], at->users + n * sizeof(uint64_t));
    }
    table[LIFT_JUMPS] = word_at("jumps", at->jumps);
    table[LIFT_LINK] = word_at("link", at->link);
    table[LIFT_CPL] = word_at("cpl", offsetof(struct x86_cpu, r.cpl));
    table[LIFT_CPL].type = IR_I8;
}

/* Those that are no more than a word of the processor's struct. */
static void add_more(struct ir_global *table)
{
    static const struct {
        enum lift_global n;
        const char *name;
        size_t offset;
    } words[] = {
        {LIFT_X87_IP, "x87_ip", offsetof(struct x86_cpu, r.fpu.fip)},
        {LIFT_RFLAGS, "rflags", offsetof(struct x86_cpu, r.rflags)},
        {LIFT_IRQ, "irq", offsetof(struct x86_cpu, irq_pending)},
        {LIFT_KERNEL_GS, "kernel_gs", offsetof(struct x86_cpu, r.msr.kernel_gs_base)},
        {LIFT_GS_READ, "gs_read", offsetof(struct x86_cpu, read_base[X86_GS])},
        {LIFT_GS_WRITE, "gs_write", offsetof(struct x86_cpu, write_base[X86_GS])},
        {LIFT_CR2, "cr2", offsetof(struct x86_cpu, r.cr2)},
        {LIFT_CR3, "cr3", offsetof(struct x86_cpu, r.cr3)},
        {LIFT_SFMASK, "sfmask", offsetof(struct x86_cpu, r.msr.sfmask)},
        {LIFT_LSTAR, "lstar", offsetof(struct x86_cpu, r.msr.lstar)},
        {LIFT_CS, "cs", offsetof(struct x86_cpu, r.seg[X86_CS])},
        {LIFT_CS_BASE, "cs_base", offsetof(struct x86_cpu, r.seg[X86_CS].base)},
        {LIFT_SS, "ss", offsetof(struct x86_cpu, r.seg[X86_SS])},
        {LIFT_SS_BASE, "ss_base", offsetof(struct x86_cpu, r.seg[X86_SS].base)},
        {LIFT_TLB, "tlb", offsetof(struct x86_cpu, tlb)},
        {LIFT_USUAL, "usual", offsetof(struct x86_cpu, usual_addend)},
        {LIFT_FS_BASE, "fs_base", offsetof(struct x86_cpu, r.seg[X86_FS].base)},
        {LIFT_GS_BASE, "gs_base", offsetof(struct x86_cpu, r.seg[X86_GS].base)},
    };

    for (size_t n = 0; n < sizeof words / sizeof words[0]; n++) {
        table[words[n].n] = word_at(words[n].name, words[n].offset);
    }
}

void lift_globals(struct ir_global ret_table[LIFT_GLOBALS], const struct lift_places *at,
                  const uint8_t pins[16])
{
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                          "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                          "r12", "r13", "r14", "r15"};
    unsigned n;

    for (n = 0; n < 16; n++) {
        ret_table[n] = (struct ir_global){
            .name = names[n],
            .offset = (uint32_t)(offsetof(struct x86_cpu, r.gpr) + sizeof(uint64_t) * n),
            .type = IR_I64,
            .pin = pins[n]};
    }
    ret_table[LIFT_FLAGS] = (struct ir_global){
        .name = "flags", .offset = at->flags, .type = IR_FLAGS_TYPE, .pin = IR_NO_PIN};
    add_more(ret_table);
    add_sides(ret_table, at);
}

static enum operand_place place_of(char letter)
{
    switch (letter) {
    case 'E':
    case 'M':
    case 'R':
        return AT_E;
    case 'G':
        return AT_G;
    case 'Z':
        return AT_Z;
    case 'I':
    case 'J':
        return AT_I;
    case 'O':
        return AT_O;
    case 'B':
        return AT_B;
    default:
        return AT_OTHER;
    }
}

static uint8_t size_of(char letter)
{
    switch (letter) {
    case 'b':
        return X86_8;
    case 'w':
        return X86_16;
    case 'd':
        return X86_32;
    case 'q':
        return X86_64;
    default: /* v y z s: the instruction's own */
        return SIZE_OF_INSN;
    }
}

/* One operand of the row's text, "Ev" or "AL"; [implied] ones are not taken. */
static struct operand parse_operand(const char *text, size_t n)
{
    struct operand o = {.place = AT_OTHER, .size = SIZE_OF_INSN};

    if (n == 2 && strncmp(text, "AL", 2) == 0) {
        o = (struct operand){.place = AT_A, .size = X86_8};
    } else if (n == 2 && strncmp(text, "CL", 2) == 0) {
        o = (struct operand){.place = AT_CL, .size = X86_8};
    } else if (n == 3 && strncmp(text, "rAX", 3) == 0) {
        o.place = AT_A;
    } else if (n == 1 && text[0] == '1') {
        o.place = AT_ONE;
    } else if (n == 2 && isupper(text[0]) && islower(text[1]) && text[1] != 'p') {
        o.place = (uint8_t)place_of(text[0]);
        o.size = size_of(text[1]);
    } else if (n == 1 && text[0] == 'M') {
        o.place = AT_E;
    }
    return o;
}

static void parse_operands(struct lift_row *row, const char *text)
{
    unsigned n = 0;

    while (*text != 0 && strcmp(text, "-") != 0 && n < LIFT_OPERANDS) {
        size_t bytes = strcspn(text, ",");

        row->operand[n++] = parse_operand(text, bytes);
        text += bytes + (text[bytes] == ',' ? 1 : 0);
    }
}

static uint32_t flag_bits(const char *text, const char *kinds)
{
    static const char letters[] = "OSZAPC";
    static const uint32_t bits[] = {X86_OF_BIT, X86_SF,     X86_ZF,
                                    X86_AF,     X86_PF_BIT, X86_CF};
    uint32_t f = 0;

    while (*text != 0) {
        bool counts = text[1] == ':' && strchr(kinds, text[0]) != NULL;

        text += text[1] == ':' ? 2 : 0;
        for (; *text != 0 && *text != ' '; text++) {
            const char *at = strchr(letters, *text);

            f |= counts && at != NULL ? bits[at - letters] : 0;
        }
        text += *text == ' ' ? 1 : 0;
    }
    return f;
}

#define INDEX_HEADS 256
#define INDEX_NAMES 512

/* The names of all tables, by a few of their letters. */
struct index {
    uint16_t head[INDEX_HEADS]; /* place and 1; 0: none */
    uint16_t next[INDEX_NAMES];
    const struct lift_name *name[INDEX_NAMES];
    unsigned count;
};

static unsigned letters_of(const char *mnemonic)
{
    size_t n = strlen(mnemonic);

    return ((uint8_t)mnemonic[0] + (uint8_t)mnemonic[n / 2] * 7u +
            (uint8_t)mnemonic[n - 1] * 31u + (unsigned)n) %
           INDEX_HEADS;
}

static void add_table(struct index *x, const struct lift_name *n)
{
    for (; n->mnemonic != NULL; n++) {
        uint16_t *head = &x->head[letters_of(n->mnemonic)];

        assert(x->count < INDEX_NAMES);
        x->name[x->count] = n;
        x->next[x->count] = *head;
        *head = (uint16_t)++x->count;
    }
}

static void fill_index(struct index *x)
{
    const struct lift_name *const tables[] = {
        lift_integer_names,  lift_shift_names,    lift_bit_names,
        lift_exchange_names, lift_multiply_names, lift_flag_names,
        lift_loop_names,     lift_control_names,  lift_system_names};
    unsigned t;

    memset(x->head, 0, sizeof x->head);
    x->count = 0;
    for (t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        add_table(x, tables[t]);
    }
}

static const struct lift_name *find_name(const struct index *x, const char *mnemonic)
{
    unsigned n = x->head[letters_of(mnemonic)];

    while (n != 0 && strcmp(x->name[n - 1]->mnemonic, mnemonic) != 0) {
        n = x->next[n - 1];
    }
    return n != 0 ? x->name[n - 1] : NULL;
}

/* A full immediate or displacement, and a form that only reads it. */
static bool is_soft_row(const struct x86_row_info *info)
{
    static const char *const names[] = {"add", "or",   "and",  "sub",  "xor", "cmp",
                                        "mov", "test", "imul", "call", "jmp"};
    unsigned n;

    for (n = 0; n < sizeof names / sizeof names[0]; n++) {
        if (strcmp(info->mnemonic, names[n]) == 0) {
            return strstr(info->operands, "Iz") != NULL ||
                   strstr(info->operands, "Iv") != NULL ||
                   strcmp(info->operands, "Jz") == 0;
        }
    }
    return false;
}

/* BT and its kin, and rotations, leave O as it is where the manual leaves it open. */
static bool leaves_o(const struct x86_row_info *info)
{
    return strncmp(info->mnemonic, "bt", 2) == 0 || strcmp(info->mnemonic, "rol") == 0 ||
           strcmp(info->mnemonic, "ror") == 0;
}

/* ... and all flags stay where a count may be 0. */
static bool keeps_open(const struct x86_row_info *info)
{
    return leaves_o(info) || strstr(info->flags, "M:") != NULL;
}

static void fill_row(struct lift_row *row, const struct x86_row_info *info,
                     const struct lift_name *n)
{
    parse_operands(row, info->operands);
    row->reads = flag_bits(info->flags, "R");
    row->writes = flag_bits(info->flags, keeps_open(info) ? "W" : "WU");
    row->touches = flag_bits(info->flags, "WUM");
    row->writes_by_constant = flag_bits(info->flags, leaves_o(info) ? "WM" : "WUM");
    row->ends = (info->attributes & X86_A_ENDS) != 0;
    row->is_vector = lift_vector_row(&row->vector, info);
    row->is_x87 = lift_x87_row(&row->x87, info);
    row->uses_stack = strncmp(info->mnemonic, "push", 4) == 0 ||
                      (strncmp(info->mnemonic, "pop", 3) == 0 &&
                       strcmp(info->mnemonic, "popcnt") != 0) ||
                      strcmp(info->mnemonic, "leave") == 0;
    row->is_loud = row->uses_stack || strstr(info->mnemonic, "div") != NULL ||
                   strcmp(info->mnemonic, "xlat") == 0 || info->privilege != X86_USER;
    if (n != NULL) {
        row->fn = n->fn;
        row->detail = n->detail;
        row->is_soft = is_soft_row(info);
    }
    if (row->operand[0].place == AT_OTHER || row->operand[1].place == AT_OTHER) {
        row->fn = NULL; /* segment, control and vector registers */
    }
    if (strcmp(info->operands, "Ry,Cy") == 0) {
        row->fn = lift_from_control;
    }
}

struct lift *lift_create(void)
{
    struct lift *l = fault_calloc(1, sizeof *l);
    struct index names;
    unsigned row;

    fill_index(&names);
    for (row = X86_INVALID + 1; l != NULL && row < X86_ROW_COUNT; row++) {
        fill_row(&l->row[row], &x86_rows[row], find_name(&names, x86_rows[row].mnemonic));
    }
    return l;
}

void lift_destroy(struct lift *l)
{
    free(l);
}

static struct lift_out by_routine(struct work *w)
{
    ir_add(w->g, &(struct ir_insn){.op = IR_ROUTINE,
                                   .aux = w->i->length,
                                   .imm = (uint64_t)(uintptr_t)w->i,
                                   .map = lift_map(w)});
    if (w->row->ends) { /* anything may have changed: the engine looks */
        ir_add(w->g, &(struct ir_insn){.op = IR_LEAVE, .aux = IR_LEAVE_BEHIND});
        return (struct lift_out){.end = LIFT_ENDED};
    }
    return (struct lift_out){.end = LIFT_GOES_ON};
}

/* To a memory operand: one to the stack is of another. */
static bool is_store(const struct ir_insn *i)
{
    switch (i->op) {
    case IR_NATIVE:
        return ((const struct ir_native *)(uintptr_t)i->imm)->writes_memory;
    case IR_STORE:
        return i->aux != X86_SS;
    case IR_LOAD:
        return i->access.for_write;
    default:
        return i->op == IR_ATOMIC || i->op == IR_CAS;
    }
}

/* Outside 64-bit mode code segments can be read, and not written: such a store is its
 * routine's, which faults. */
static bool is_refused(const struct work *w, uint32_t before)
{
    uint32_t n;

    if (w->i->segment != X86_CS || w->i->mode == X86_CODE64) {
        return false;
    }
    for (n = before; n < w->g->insns; n++) {
        if (is_store(&w->g->insn[n])) {
            return true;
        }
    }
    return false;
}

static bool lift_form(struct work *w)
{
    return w->i->address != X86_16 &&
           ((w->row->fn != NULL && w->row->fn(w, w->row->detail)) ||
            (w->row->is_vector && lift_vector(w)) || (w->row->is_x87 && lift_x87(w)));
}

struct lift_out lift_insn(const struct lift *l, struct ir_region *g,
                          const struct lift_in *in)
{
    struct work w = {.l = l,
                     .g = g,
                     .in = in,
                     .i = in->insn,
                     .row = &l->row[in->insn->row],
                     .out = {.end = LIFT_GOES_ON}};
    uint32_t before = g->insns, maps = g->maps;

    if (in->insn->row == X86_INVALID) {
        return (struct lift_out){.end = LIFT_CANNOT};
    }
    if (lift_form(&w) && !is_refused(&w, before)) {
        return w.out;
    }
    /* Nothing of a form that gave up half-way may stay. */
    ir_rewind(g, before, maps);
    return by_routine(&w);
}

static uint8_t size_of_first(const struct lift_row *row, const struct x86_insn *i)
{
    return row->operand[0].size == SIZE_OF_INSN ? i->size : row->operand[0].size;
}

void lift_flags_of(const struct lift *l, const struct x86_insn *i, uint32_t *ret_reads,
                   uint32_t *ret_writes)
{
    const struct lift_row *row = &l->row[i->row];
    bool by_constant = row->operand[1].place == AT_I || row->operand[2].place == AT_I;

    *ret_reads = row->reads;
    *ret_writes = row->writes;
    /* Shifts by a known count write what by others they may not; rotations leave O. */
    if (by_constant && row->reads == 0 &&
        (i->imm & (size_of_first(row, i) == X86_64 ? 63 : 31)) != 0) {
        *ret_writes = row->writes_by_constant;
    }
}

unsigned lift_soft_bytes(const struct lift *l, const struct x86_insn *i)
{
    bool is_near = i->row == X86_R_JMP_JZ || i->row == X86_R_CALL_JZ;

    if (!l->row[i->row].is_soft || i->lock || i->address == X86_16 || i->size < X86_32 ||
        (is_near && i->size != (i->mode == X86_CODE64 ? X86_64 : X86_32))) {
        return 0;
    }
    return i->row == X86_R_MOV_ZV_IV && i->size == X86_64 ? 8 : 4;
}

bool lift_is_quiet(const struct lift *l, const struct x86_insn *i)
{
    const struct lift_row *row = &l->row[i->row];

    return row->fn != NULL && !row->ends && !i->is_memory && !row->is_loud &&
           row->operand[0].place != AT_O && row->operand[1].place != AT_O;
}

const char *lift_way_of(const struct lift *l, enum x86_row row)
{
    const struct lift_row *at = &l->row[row];

    return at->fn != NULL ? "form" : at->is_vector || at->is_x87 ? "native" : "routine";
}

uint32_t lift_flags_touched(const struct lift *l, const struct x86_insn *i)
{
    return l->row[i->row].touches;
}
