/* compare.c - two ends of one experiment, and how to show them. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "make.h"
#include "virt/isa/x86/cpu.h"

static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                      "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                      "r12", "r13", "r14", "r15"};

static bool differ(char *text, unsigned bytes, const char *what, uint64_t native,
                   uint64_t ours)
{
    if (native == ours) {
        return false;
    }
    snprintf(text, bytes, "%s: native %" PRIx64 ", ours %" PRIx64, what, native, ours);
    return true;
}

static bool bytes_differ(char *text, unsigned bytes, const char *what, const uint8_t *a,
                         const uint8_t *b, unsigned n)
{
    unsigned i;
    uint64_t x = 0, y = 0;
    char name[40];

    for (i = 0; i < n && a[i] == b[i]; i++) {
    }
    if (i == n) {
        return false;
    }
    i &= ~7u;
    memcpy(&x, a + i, n - i < 8 ? n - i : 8);
    memcpy(&y, b + i, n - i < 8 ? n - i : 8);
    snprintf(name, sizeof name, "%s+%u", what, i);
    return differ(text, bytes, name, x, y);
}

static bool fpu_differs(char *text, unsigned bytes, const struct job_fpu *a,
                        const struct job_fpu *b)
{
    unsigned i;
    char name[16];

    if (bytes_differ(text, bytes, "fcw/fsw", a->legacy, b->legacy, 4) ||
        bytes_differ(text, bytes, "ftw", a->legacy + 4, b->legacy + 4, 1) ||
        bytes_differ(text, bytes, "mxcsr", a->legacy + 24, b->legacy + 24, 4)) {
        return true;
    }
    for (i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "st%u", i);
        if (bytes_differ(text, bytes, name, a->legacy + 32 + 16 * i,
                         b->legacy + 32 + 16 * i, 10)) {
            return true;
        }
    }
    for (i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "xmm%u", i);
        if (bytes_differ(text, bytes, name, a->legacy + 160 + 16 * i,
                         b->legacy + 160 + 16 * i, 16)) {
            return true;
        }
        snprintf(name, sizeof name, "ymm%u high", i);
        if (bytes_differ(text, bytes, name, a->ymm_high[i], b->ymm_high[i], 16)) {
            return true;
        }
    }
    return false;
}

/* The instruction that the job ended at. */
static const struct x86_row_info *last_row(const struct job *j)
{
    struct x86_insn i;
    unsigned at = (unsigned)(j->end.rip - j->start.rip);

    if (at >= JOB_CODE_BYTES ||
        x86_decode(j->code + at, JOB_CODE_BYTES - at, (enum x86_code_mode)j->mode, &i) !=
            X86_DECODED) {
        return &x86_rows[X86_INVALID];
    }
    return &x86_rows[i.row];
}

/* Where processors differ, and the manual leaves it open. */
enum open_question {
    OPEN_CHUNKS = 1, /* an access in several pieces: which piece is reported, and how */
    OPEN_MMX = 4, /* an MMX instruction that faults: some have set TOP and tags by then */
    OPEN_PE = 8,  /* an unmasked over- or underflow: is the unseen result inexact */
    OPEN_ORDER = 32, /* CMPS with two bad operands: which one is reported */
    OPEN_POPA = 64,  /* POPA that faults: what it has popped may stay in the registers
                     * (SDM volume 3A, 6.5, the note on faults without restart) */
    OPEN_HALF = 16, /* 80-bit and BCD stores over a page's end: is the first part there */
};

/* Of these the interpreter knows. */
static bool is_precise(const char *mnemonic)
{
    static const char *const known[] = {"add", "sub",      "mul",
                                        "div", "cvtsd2ss", "cvtpd2ps"};

    mnemonic += *mnemonic == 'v' ? 1 : 0;
    for (unsigned n = 0; n < sizeof known / sizeof known[0]; n++) {
        if (strncmp(mnemonic, known[n], strlen(known[n])) == 0) {
            return strncmp(mnemonic, "addsub", 6) != 0;
        }
    }
    return false;
}

static unsigned open_questions(const struct job *j)
{
    static const char *const chunks[] = {"fnsave",   "fnstenv", "frstor",
                                         "fldenv",   "fxsave",  "fxrstor",
                                         "vmaskmov", "maskmov", "vpmaskmov"};
    const struct x86_row_info *row = last_row(j);
    unsigned q = 0, n;

    if (j->vector == 3 || row->mnemonic == NULL) {
        return 0;
    }
    for (n = 0; n < sizeof chunks / sizeof chunks[0]; n++) {
        q |= strncmp(row->mnemonic, chunks[n], strlen(chunks[n])) == 0 ? OPEN_CHUNKS : 0;
    }
    if (strpbrk(row->operands, "PQN") != NULL) {
        q |= OPEN_MMX;
    }
    if (strncmp(row->mnemonic, "cmps", 4) == 0 && strpbrk(row->operands, "XY") != NULL) {
        q |= OPEN_ORDER;
    }
    q |= strncmp(row->mnemonic, "popa", 4) == 0 ? OPEN_POPA : 0;
    if (strcmp(row->mnemonic, "fstp") == 0 || strcmp(row->mnemonic, "fbstp") == 0) {
        q |= OPEN_HALF;
    }
    if (!is_precise(row->mnemonic) && j->vector == X86_XM &&
        (j->end.fpu.legacy[24] & 0x18) != 0) {
        q |= OPEN_PE;
    }
    return q;
}

static bool is_access_fault(int vector)
{
    return vector == X86_GP || vector == X86_SS_FAULT || vector == X86_PF;
}

static bool is_operand_fault(int vector)
{
    return is_access_fault(vector) || vector == X86_AC;
}

/* The parts that an open question is about become alike. */
static void settle(unsigned q, const struct job *native, struct job *ours)
{
    if ((q & OPEN_CHUNKS) != 0 && is_access_fault(native->vector) &&
        is_access_fault(ours->vector) && native->end.rip == ours->end.rip) {
        ours->vector = native->vector;
        ours->error = native->error;
        ours->address = native->address;
    }
    if ((q & OPEN_ORDER) != 0 && is_operand_fault(native->vector) &&
        is_operand_fault(ours->vector)) {
        ours->vector = native->vector;
        ours->error = native->error;
        ours->address = native->address;
    }
    if ((q & OPEN_POPA) != 0 && is_operand_fault(native->vector)) {
        uint64_t rsp = ours->end.gpr[X86_RSP];

        memcpy(ours->end.gpr, native->end.gpr, sizeof ours->end.gpr);
        ours->end.gpr[X86_RSP] = rsp;
    }
    if ((q & OPEN_HALF) != 0) {
        memcpy(ours->end.stack, native->end.stack, sizeof ours->end.stack);
        memcpy(ours->end.data, native->end.data, sizeof ours->end.data);
    }
    if ((q & OPEN_MMX) != 0) {
        memcpy(ours->end.fpu.legacy + 2, native->end.fpu.legacy + 2, 3);
        memcpy(ours->end.fpu.legacy + 32, native->end.fpu.legacy + 32, 128);
    }
    if ((q & OPEN_PE) != 0) {
        ours->end.fpu.legacy[24] = (uint8_t)((ours->end.fpu.legacy[24] & ~0x20u) |
                                             (native->end.fpu.legacy[24] & 0x20u));
    }
}

/* MASKMOVDQU and MASKMOVQ where the mask chooses no byte at a bad address: processors may
 * look there or not (SDM volume 2, MASKMOVDQU, "a mask of all 0s"). */
static bool is_masked_fault(const struct job *native, const struct job *ours)
{
    const struct x86_row_info *row = last_row(native);

    return is_access_fault(native->vector) &&
           (ours->vector != native->vector || ours->end.rip != native->end.rip) &&
           row->mnemonic != NULL &&
           (strncmp(row->mnemonic, "maskmov", 7) == 0 ||
            strcmp(row->mnemonic, "vmaskmovdqu") == 0);
}

/* Accesses whose alignment processors check in ways of their own when EFLAGS.AC is set
 * (SDM volume 3A, 6.15, "Alignment Check"): images of the floating-point unit, and
 * vectors by elements.  Gathers may also stop between elements for a single step. */
static bool is_own_alignment(const struct job *native, const struct job *ours)
{
    static const char *const own[] = {"fnsave",    "fnstenv",  "frstor",  "fldenv",
                                      "fxsave",    "fxrstor",  "maskmov", "gather",
                                      "vcvtps2ph", "vcvtph2ps"};
    const struct job *ends[] = {native, ours};
    unsigned n, e;

    for (e = 0; e < 2; e++) {
        const struct x86_row_info *row = last_row(ends[e]);

        for (n = 0; n < sizeof own / sizeof own[0] && row->mnemonic != NULL; n++) {
            if (ends[e]->vector == X86_AC && strstr(row->mnemonic, own[n]) != NULL) {
                return true;
            }
        }
    }
    return native->vector == X86_DB && last_row(native)->mnemonic != NULL &&
           strstr(last_row(native)->mnemonic, "gather") != NULL;
}

bool compare_jobs(const struct job *native, struct job *ours, uint32_t undefined,
                  char *text, unsigned bytes)
{
    const struct job_state *a = &native->end, *b = &ours->end;
    unsigned i;

    if (is_masked_fault(native, ours) || is_own_alignment(native, ours)) {
        return false;
    }
    settle(open_questions(native), native, ours);

    if (differ(text, bytes, "exception", (uint64_t)native->vector,
               (uint64_t)ours->vector) ||
        differ(text, bytes, "rip", a->rip, b->rip)) {
        return true;
    }
    if (native->vector == X86_PF &&
        differ(text, bytes, "fault address", native->address, ours->address)) {
        return true;
    }
    if (native->vector != 3 &&
        differ(text, bytes, "error code", native->error, ours->error)) {
        return true;
    }
    for (i = 0; i < 16; i++) {
        /* What a return to a stack of 16 bits leaves above ESP is the kernel's. */
        bool is_half = i == X86_RSP && native->mode != X86_CODE64;

        if (differ(text, bytes, names[i], is_half ? (uint32_t)a->gpr[i] : a->gpr[i],
                   is_half ? (uint32_t)b->gpr[i] : b->gpr[i])) {
            return true;
        }
    }
    return differ(text, bytes, "flags", a->rflags & ~(uint64_t)undefined,
                  b->rflags & ~(uint64_t)undefined) ||
           fpu_differs(text, bytes, &a->fpu, &b->fpu) ||
           bytes_differ(text, bytes, "data", a->data, b->data, sizeof a->data) ||
           bytes_differ(text, bytes, "stack", a->stack, b->stack, sizeof a->stack);
}

void print_job(const struct job *j)
{
    unsigned at = 0, i;
    char text[96];

    while (at < j->code_bytes) {
        struct x86_insn insn;

        if (x86_decode(j->code + at, JOB_CODE_BYTES - at, (enum x86_code_mode)j->mode,
                       &insn) != X86_DECODED ||
            insn.length == 0) {
            break;
        }
        x86_disassemble(&insn, j->start.rip + at, text, sizeof text);
        printf("    %08x ", (unsigned)j->start.rip + at);
        for (i = 0; i < insn.length; i++) {
            printf(" %02x", j->code[at + i]);
        }
        printf("%*s%s\n", insn.length < 12 ? 3 * (12 - insn.length) : 1, "", text);
        at += insn.length;
    }
    for (i = 0; i < 16; i++) {
        printf("%s%-3s %016" PRIx64, i % 4 == 0 ? "\n    " : "  ", names[i],
               j->start.gpr[i]);
    }
    printf("\n    flags %" PRIx64 " fcw %02x%02x fsw %02x%02x ftw %02x mxcsr %02x%02x\n",
           j->start.rflags, j->start.fpu.legacy[1], j->start.fpu.legacy[0],
           j->start.fpu.legacy[3], j->start.fpu.legacy[2], j->start.fpu.legacy[4],
           j->start.fpu.legacy[25], j->start.fpu.legacy[24]);
}
