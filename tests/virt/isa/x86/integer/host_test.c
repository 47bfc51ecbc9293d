/* host_test.c - every integer row against the host's processor, in its register form
 * and with memory at [rsi].
 *
 * Random bytes that decode to a row of ours are executed by both.  On an Intel
 * processor all flags must agree, elsewhere those that the row does not call
 * undefined.  The operand in memory has the same address for both.
 * rows: ISA-02 CON-09 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "native.h"
#include "tests/base/check.h"
#include "tests/base/vendor.h"
#include "tests/virt/isa/x86/interpret/machine.h"
#include "virt/isa/x86/flags.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

#define TRIES      3000000u
#define DATA_BYTES 64u
#define OPERAND    (MACHINE_DATA + 32)

static uint64_t seed = 0x9e3779b97f4a7c15u;
static unsigned seen[X86_ROW_COUNT];
static unsigned failed[X86_ROW_COUNT]; /* the first of each row is shown */

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1du;
}

/* Numbers near the edges of all sizes, small ones, and any. */
static uint64_t operand(void)
{
    uint64_t v = random64();

    switch (random64() % 6) {
    case 0:
        return v;
    case 1:
        return v & 0x7f;
    case 2:
        return (UINT64_C(1) << (v & 63)) - (v >> 8 & 1);
    case 3:
        return -(v >> 32 & 0xff);
    case 4:
        return v >> (v & 63);
    default:
        return (uint64_t)((int64_t)v >> (v & 63));
    }
}

static uint64_t undefined_flags(const struct x86_row_info *row)
{
    static const char letters[] = "OSZAPC";
    static const uint32_t bits[] = {X86_OF_BIT, X86_SF,     X86_ZF,
                                    X86_AF,     X86_PF_BIT, X86_CF};
    const char *u = strstr(row->flags, "U:");
    uint64_t mask = 0;

    for (u = u == NULL ? "" : u + 2; *u != '\0' && *u != ' '; u++) {
        const char *at = strchr(letters, *u);

        mask |= at == NULL ? 0 : bits[at - letters];
    }
    return mask;
}

static bool names_stack(const struct x86_insn *i, unsigned reg)
{
    return reg == X86_RSP && (i->size != X86_8 || i->has_rex);
}

/* Rows that touch nothing but registers, flags and an operand at [rsi]. */
static bool is_testable(const struct x86_insn *i)
{
    bool is_ours = (i->row >= X86_R_ADD_EB_GB && i->row <= X86_R_RORX) ||
                   (i->row >= X86_R_LAHF && i->row <= X86_R_STD);

    if (!is_ours || i->row == X86_R_MOV_EV_SW || i->row == X86_R_MOV_SW_EW ||
        i->row == X86_R_XLAT || i->row == X86_R_RDRAND || i->row == X86_R_RDSEED ||
        (i->row >= X86_R_MOV_AL_OB && i->row <= X86_R_MOV_OV_RAX) ||
        (x86_rows[i->row].attributes & X86_A_ENDS)) {
        return false;
    }
    if (i->is_memory) {
        return i->base == X86_RSI && i->index == X86_ZERO && i->disp == 0 &&
               i->address == X86_64 && i->segment == X86_DS && i->row != X86_R_BT_EV_GV &&
               i->row != X86_R_BTS_EV_GV && i->row != X86_R_BTR_EV_GV &&
               i->row != X86_R_BTC_EV_GV && i->reg != X86_RSP && i->vvvv != X86_RSP;
    }
    return !i->lock && !names_stack(i, i->reg) && !names_stack(i, i->rm) &&
           i->rm != X86_RSP && i->reg != X86_RSP && i->vvvv != X86_RSP;
}

static unsigned random_vex(uint8_t *b)
{
    unsigned map = 2 + random64() % 2;
    static const uint8_t opcodes[] = {0xf2, 0xf3, 0xf5, 0xf6, 0xf7, 0xf0};

    b[0] = 0xc4;
    b[1] = (uint8_t)((random64() & 0xe0) | map);
    b[2] = (uint8_t)(random64() & 0xfb);
    b[3] = opcodes[random64() % sizeof opcodes];
    return 4;
}

/* With a modrm byte for a register, or for [rsi]. */
static void random_bytes(uint8_t b[X86_INSN_BYTES_MAX], bool is_memory)
{
    uint64_t r = random64();
    unsigned n = 0;

    for (unsigned k = 0; k < X86_INSN_BYTES_MAX; k++) {
        b[k] = (uint8_t)random64();
    }
    if (r % 8 == 0) {
        n = random_vex(b);
    } else {
        if (is_memory && (r >> 28 & 3) == 0) {
            b[n++] = 0xf0;
        }
        if (r >> 8 & 1) {
            b[n++] = 0x66;
        }
        if ((r >> 9 & 7) == 0) {
            b[n++] = r >> 12 & 1 ? 0xf2 : 0xf3;
        }
        if (r >> 13 & 1) {
            b[n++] = (uint8_t)(0x40 | (r >> 16 & 15));
        }
        if (r >> 14 & 1) {
            b[n++] = 0x0f;
        }
        if ((r >> 20 & 15) == 0) {
            b[n++] = 0x0f;
            b[n++] = 0x38;
            b[n++] = (uint8_t)(0xf0 + (r >> 24 & 7));
        } else {
            n++; /* any opcode */
        }
    }
    b[n] = is_memory ? (b[n] & 0x38) | 6 : b[n] | 0xc0;
}

static void show(const char *what, const uint8_t *bytes, const struct x86_insn *i,
                 const struct native_state *in, const struct native_state *host,
                 const struct x86_cpu *c)
{
    char text[128];

    if (failed[i->row]++ > 0) {
        return;
    }
    x86_disassemble(i, 0, text, sizeof text);
    printf("%s: %s:", what, text);
    for (unsigned k = 0; k < i->length; k++) {
        printf(" %02x", bytes[k]);
    }
    printf("\n  flags in %03lx host %03lx ours %03lx\n", (unsigned long)in->flags,
           (unsigned long)host->flags, (unsigned long)c->r.rflags);
    for (unsigned r = 0; r < 16; r++) {
        if (host->gpr[r] != c->r.gpr[r] || r < 4) {
            printf("  r%u in %lx host %lx ours %lx\n", r, (unsigned long)in->gpr[r],
                   (unsigned long)host->gpr[r], (unsigned long)c->r.gpr[r]);
        }
    }
}

static bool run_ours(struct x86_cpu *c, const struct native_state *in,
                     const struct x86_insn *i)
{
    for (unsigned r = 0; r < 16; r++) {
        c->r.gpr[r] = in->gpr[r];
    }
    c->r.rflags = in->flags | 2;
    c->flags_lazy = false;
    if (random64() & 1) {
        x86_flags_unpack(c);
    }
    if (setjmp(c->unwind) != 0) {
        return false;
    }
    i->run(c, i);
    x86_flags_pack(c);
    return true;
}

/* The bytes around the operand, for both; NULL `host`: there are none. */
struct data {
    uint8_t *host;
    uint8_t *guest;
};

static void fill_data(const struct data *d)
{
    for (unsigned n = 0; d->host != NULL && n < DATA_BYTES; n += 8) {
        uint64_t v = operand();

        memcpy(d->host + n, &v, 8);
        memcpy(d->guest + n, &v, 8);
    }
}

static uint64_t first_operand(const struct data *d)
{
    uint64_t v;

    memcpy(&v, d->host + 32, 8);
    return v;
}

/* Double shifts of 16 bits by more, and an XCHG that REP makes a PAUSE, or not. */
static bool is_open(const struct x86_insn *i)
{
    const char *name = x86_rows[i->row].mnemonic;
    bool is_double = strcmp(name, "shld") == 0 || strcmp(name, "shrd") == 0;

    return (is_double && i->size == X86_16) ||
           (strcmp(name, "xchg") == 0 && i->repeat == 0xf3);
}

static void compare(struct x86_cpu *c, const uint8_t *bytes, const struct x86_insn *i,
                    bool is_exact, const struct data *d)
{
    struct native_state in = {.flags = 0};
    struct native_state host;
    uint64_t mask = 0xcd5 & ~(is_exact ? 0 : undefined_flags(&x86_rows[i->row]));
    bool is_done;

    if (!is_exact && is_open(i)) {
        return;
    }
    for (unsigned r = 0; r < 16; r++) {
        in.gpr[r] = r == 4 ? 0 : operand();
    }
    in.flags = random64() & 0x8d5;
    fill_data(d);
    if (d->host != NULL) {
        in.gpr[X86_RSI] = OPERAND;
        in.gpr[X86_RAX] = random64() & 1 ? first_operand(d) : in.gpr[X86_RAX];
        in.gpr[X86_RDX] = random64() & 1 ? in.gpr[X86_RAX] >> 32 : in.gpr[X86_RDX];
    }
    host = in;
    is_done = native_run(&host, bytes, i->length);
    if (run_ours(c, &in, i) != is_done) {
        show("fault", bytes, i, &in, &host, c);
        return;
    }
    if (!is_done) {
        assert_int_equal(c->fault.vector, X86_DE);
        return;
    }
    if (((host.flags ^ c->r.rflags) & mask) != 0 ||
        memcmp(host.gpr, c->r.gpr, sizeof host.gpr) != 0 ||
        (d->host != NULL && memcmp(d->host, d->guest, DATA_BYTES) != 0)) {
        show("differs", bytes, i, &in, &host, c);
    }
}

static void try_all(unsigned tries, const struct data *d, unsigned rows_wanted)
{
    const struct x86_model *model = x86_model_find("host-like");
    bool is_exact = vendor_is_intel();
    struct machine m;
    struct x86_regs r;
    unsigned rows = 0;

    memset(seen, 0, sizeof seen);
    memset(failed, 0, sizeof failed);
    native_begin();
    machine_init(&m, MACHINE_LONG, "host-like");
    machine_regs(&m, &r);
    machine_set(&m, &r);
    for (unsigned t = 0; t < tries; t++) {
        struct data both = {.host = d->host};
        uint8_t bytes[X86_INSN_BYTES_MAX];
        struct x86_insn i;

        random_bytes(bytes, d->host != NULL);
        if (x86_decode(bytes, sizeof bytes, X86_CODE64, &i) != X86_DECODED ||
            !is_testable(&i) || i.is_memory != (d->host != NULL)) {
            continue;
        }
        both.guest = mem_find(m.mem, MACHINE_DATA)->host + MACHINE_DATA;
        interpret_bind(model, true, &i);
        compare(x86_of(m.cpu[0]), bytes, &i, is_exact, &both);
        seen[i.row]++;
    }
    for (unsigned n = 0; n < X86_ROW_COUNT; n++) {
        rows += seen[n] != 0;
        if (failed[n] != 0) {
            fail_msg("%s: %u of %u differ", x86_rows[n].id, failed[n], seen[n]);
        }
    }
    print_message("%u rows\n", rows);
    assert_true(rows >= rows_wanted);
    machine_fini(&m);
}

static void every_register_form_agrees_with_the_host(void **state)
{
    const struct data none = {.host = NULL};

    (void)state;
    try_all(TRIES, &none, 230);
}

static void every_memory_form_agrees_with_the_host(void **state)
{
    struct data d;
    void *wanted = (void *)(uintptr_t)MACHINE_DATA;

    (void)state;
    d.host = mmap(wanted, 4096, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (d.host != wanted) {
        print_message("the host has no page at the guest's address\n");
        skip();
    }
    try_all(TRIES, &d, 170);
    munmap(d.host, 4096);
}

/* All values of AX and the two flags that are read. */
static void decimal_adjustments_agree_with_the_host(void **state)
{
    static const uint8_t codes[][2] = {
        {0x27},       {0x2f},       {0x37},       {0x3f},       {0xd4, 0x0a},
        {0xd5, 0x0a}, {0xd4, 0x07}, {0xd5, 0xf3}, {0xd4, 0x00}, {0xd6}};
    struct x86_cpu *c = fault_aligned(_Alignof(struct x86_cpu), sizeof *c);
    bool is_exact = vendor_is_intel();

    (void)state;
    memset(failed, 0, sizeof failed);
    native_begin();
    c->code_mode = X86_CODE32;
    for (unsigned n = 0; n < sizeof codes / sizeof codes[0]; n++) {
        struct x86_insn i;
        uint64_t mask;

        assert_int_equal(x86_decode(codes[n], 2, X86_CODE32, &i), X86_DECODED);
        interpret_bind(x86_model_find("i686"), true, &i);
        mask = 0xcd5 & ~(is_exact ? 0 : undefined_flags(&x86_rows[i.row]));
        for (uint32_t k = 0; k < 4 * 65536; k++) {
            struct native_state in = {.flags = (k & 1) | (k & 2) << 3};
            struct native_state host;
            bool is_done;

            in.gpr[0] = k >> 2 | 0xabcd0000;
            host = in;
            is_done = native_run32(&host, codes[n], i.length);
            if (run_ours(c, &in, &i) != is_done ||
                (is_done && (((host.flags ^ c->r.rflags) & mask) != 0 ||
                             host.gpr[0] != c->r.gpr[0]))) {
                show("differs", codes[n], &i, &in, &host, c);
            }
        }
    }
    for (unsigned n = 0; n < X86_ROW_COUNT; n++) {
        assert_int_equal(failed[n], 0);
    }
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_register_form_agrees_with_the_host),
        cmocka_unit_test(every_memory_form_agrees_with_the_host),
        cmocka_unit_test(decimal_adjustments_agree_with_the_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
