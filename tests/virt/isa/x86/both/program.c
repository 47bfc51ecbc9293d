/* program.c - random programs: instructions of all rows, between pieces that keep them
 * going - pointers made anew, loops, calls, stores to the code, changes of page tables
 * and of the machine's registers. */
#include <string.h>

#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/encode.h"
#include "world.h"

#define ROOM 40u /* bytes that one piece may have */

struct program {
    struct world *w;
    struct draw *d;
    uint8_t *code;
    unsigned at;
    enum x86_code_mode mode;
};

static enum x86_code_mode code_mode_of(enum world_mode m)
{
    return m == WORLD_LONG          ? X86_CODE64
           : m >= WORLD_PROTECTED32 ? X86_CODE32
                                    : X86_CODE16;
}

static void put(struct program *p, const void *from, unsigned n)
{
    memcpy(p->code + p->at, from, n);
    p->at += n;
}

static void put_bytes(struct program *p, uint64_t v, unsigned n)
{
    put(p, &v, n);
}

/* Linear addresses in 32- and 64-bit code; offsets in 16-bit code. */
static uint32_t base_of(const struct program *p, uint32_t linear)
{
    return p->mode == X86_CODE16 ? linear & 0xffff : linear;
}

static uint32_t code_address(struct program *p)
{
    struct world *w = p->w;
    uint32_t at = draw_one_in(p->d, 4) || w->starts == 0
                      ? draw_below(p->d, WORLD_CODE_BYTES)
                      : w->start[draw_below(p->d, w->starts)];
    uint32_t alias =
        p->w->mode >= WORLD_PAGED32 && draw_one_in(p->d, 4) ? WORLD_ALIAS : 0;

    return base_of(p, WORLD_CODE + alias + at);
}

static uint32_t data_address(struct program *p)
{
    uint32_t at = draw_below(p->d, 8 * 4096);

    at = draw_one_in(p->d, 3) ? (at & ~4095u) - 4 + at % 8 : at & ~31u;
    return base_of(p, WORLD_DATA + (at & 0x7fff));
}

/* mov r, imm of the mode's own size */
static void move(struct program *p, unsigned reg, uint32_t v)
{
    put_bytes(p, 0xb8 | reg, 1);
    put_bytes(p, v, p->mode == X86_CODE16 ? 2 : 4);
}

static void new_pointers(struct program *p)
{
    static const uint8_t regs[] = {X86_RBX, X86_RSI, X86_RDI, X86_RBX};

    move(p, regs[draw_below(p->d, 4)],
         draw_one_in(p->d, 6) ? code_address(p) : data_address(p));
    if (draw_one_in(p->d, 8)) {
        move(p, X86_RSP, base_of(p, WORLD_STACK3 - 0x4000 - draw_below(p->d, 64) * 4));
    }
}

/* Back to an instruction not far ahead, a few times. */
static void loop(struct program *p)
{
    static const uint8_t dec16[] = {0x49}, dec64[] = {0xff, 0xc9};
    unsigned back = 1 + draw_below(p->d, p->w->starts > 12 ? 12 : p->w->starts + 1);
    int32_t to = p->w->starts < back ? 0 : (int32_t)p->w->start[p->w->starts - back];
    bool is_loop = draw_one_in(p->d, 4);
    int32_t distance;

    if (!is_loop && p->mode == X86_CODE64) {
        put(p, dec64, 2);
    } else if (!is_loop) {
        put(p, dec16, 1);
    }
    distance = to - (int32_t)(p->at + 2);
    if (distance >= -128) {
        put_bytes(p, is_loop ? 0xe2 : 0x75, 1);
        put_bytes(p, (uint8_t)distance, 1);
    }
}

static void transfer(struct program *p)
{
    unsigned size = p->mode == X86_CODE16 ? 2 : 4;
    unsigned kind = draw_below(p->d, 6);
    uint32_t to = code_address(p);

    switch (kind) {
    case 0: /* call, jmp */
    case 1:
        put_bytes(p, kind == 0 ? 0xe8 : 0xe9, 1);
        put_bytes(p, to - base_of(p, WORLD_CODE) - (p->at + size), size);
        break;
    case 2:
        put_bytes(p, draw_one_in(p->d, 3) ? 0xc3 : 0x90, 1);
        break;
    case 3:
    case 4: /* jmp, call by register */
        move(p, X86_RDX, to);
        put_bytes(p, kind == 3 ? 0xe2ff : 0xd2ff, 2);
        break;
    default: /* push and ret */
        put_bytes(p, 0x68, 1);
        put_bytes(p, to, size);
        put_bytes(p, 0xc3, 1);
        break;
    }
}

/* mov byte/word [address], imm: to code, mostly. */
static void store_to_code(struct program *p)
{
    bool is_byte = draw_one_in(p->d, 2);
    uint32_t to = code_address(p);
    unsigned size = p->mode == X86_CODE16 ? 2 : 4;

    if (draw_one_in(p->d, 3) && to >= base_of(p, WORLD_CODE) + size) {
        to -= size; /* most often of another's end: an immediate */
    }
    if (p->mode == X86_CODE16) {
        put_bytes(p, 0x2e, 1); /* CS: in protected mode that faults, also good */
    }
    put_bytes(p, is_byte ? 0xc6 : 0xc7, 1);
    if (p->mode == X86_CODE64) {
        put_bytes(p, 0x2504, 2);
    } else {
        put_bytes(p, p->mode == X86_CODE16 ? 0x06 : 0x05, 1);
    }
    put_bytes(p, to, p->mode == X86_CODE64 ? 4 : size);
    if (is_byte) {
        put_bytes(p, draw_one_in(p->d, 2) ? 0x90 : draw_word(p->d), 1);
    } else {
        put_bytes(p, draw_one_in(p->d, 2) ? 0x90909090 : draw_word(p->d), size);
    }
}

/* A repeated string instruction over the end of a page, of data or of code; forwards or
 * backwards. */
static void strings(struct program *p)
{
    static const uint8_t ops[] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6,
                                  0xa7, 0xae, 0xaf, 0xa4, 0xaa, 0xab};
    uint32_t end = draw_below(p->d, 8) * 4096 + 4096 - draw_below(p->d, 96);
    uint32_t base = draw_one_in(p->d, 4)   ? WORLD_CODE
                    : draw_one_in(p->d, 4) ? WORLD_DATA + WORLD_ALIAS
                                           : WORLD_DATA;

    base = p->w->mode < WORLD_PAGED32 && base > WORLD_DATA ? WORLD_DATA : base;
    move(p, X86_RDI, base_of(p, base + (end & 0x7fff)));
    if (draw_one_in(p->d, 2)) {
        move(p, X86_RSI,
             draw_one_in(p->d, 6) ? code_address(p) : base_of(p, WORLD_DATA + end));
    }
    move(p, X86_RCX, draw_below(p->d, draw_one_in(p->d, 8) ? 2000 : 120));
    if (draw_one_in(p->d, 3)) {
        put_bytes(p, draw_one_in(p->d, 2) ? 0xfd : 0xfc, 1); /* std, cld */
    }
    put_bytes(p, draw_one_in(p->d, 4) ? 0xf2 : 0xf3, 1);
    if (p->mode == X86_CODE64 && draw_one_in(p->d, 2)) {
        put_bytes(p, 0x48, 1);
    }
    put_bytes(p, ops[draw_below(p->d, sizeof ops)], 1);
}

/* A round of a loop that walks through memory: it ends in the middle of a page, or
 * faults there where the next one is missing; or walks over its own code. */
static void walk(struct program *p)
{
    static const uint8_t ops[] = {0x01, 0x03, 0x29, 0x2b, 0x31, 0x33, 0x39, 0x3b,
                                  0x87, 0x89, 0x8b, 0x8b, 0x89, 0x11, 0x1b};
    uint32_t begin = p->at, to;
    uint8_t step = (uint8_t)(1u << draw_below(p->d, 8));
    unsigned n = 1 + draw_below(p->d, 3);

    move(p, X86_RCX, 2 + draw_below(p->d, 120));
    move(p, X86_RBX,
         draw_one_in(p->d, 8) ? base_of(p, WORLD_CODE + p->at + 64) : data_address(p));
    begin = p->at;
    for (; n > 0; n--) { /* op [rbx + disp8], eax or the like */
        put_bytes(p, ops[draw_below(p->d, sizeof ops)] - draw_one_in(p->d, 4), 1);
        put_bytes(p, p->mode == X86_CODE16 ? 0x47 : 0x43, 1);
        put_bytes(p, draw_below(p->d, 32), 1);
    }
    if (p->mode == X86_CODE64) {
        put_bytes(p, 0x48, 1);
    }
    put_bytes(p, 0xc383, 2); /* add rbx, step */
    put_bytes(p, step, 1);
    if (draw_one_in(p->d, 2)) {
        put_bytes(p, 0xe2, 1); /* loop */
    } else {
        put_bytes(p, p->mode == X86_CODE64 ? 0xc9ff : 0x49,
                  p->mode == X86_CODE64 ? 2 : 1);
        put_bytes(p, 0x75, 1);
    }
    to = begin - (p->at + 1);
    put_bytes(p, to & 0xff, 1);
}

/* A store close to what executes now: to the bytes that follow soon, that were a moment
 * ago, or beside them in the same page. */
static void store_beside(struct program *p)
{
    uint32_t at = p->at + draw_below(p->d, 160) - 60;
    unsigned kind = draw_below(p->d, 3);

    at = base_of(p, WORLD_CODE + (at & (WORLD_CODE_BYTES - 1)));
    move(p, X86_RDI, at);
    if (p->mode == X86_CODE16) {
        put_bytes(p, 0x2e, 1);
    }
    if (kind == 0) { /* mov [rdi], al */
        put_bytes(p, p->mode == X86_CODE16 ? 0x0588 : 0x0788, 2);
    } else if (kind == 1) { /* inc byte [rdi] */
        put_bytes(p, p->mode == X86_CODE16 ? 0x05fe : 0x07fe, 2);
    } else { /* mov byte [rdi], nop */
        put_bytes(p, p->mode == X86_CODE16 ? 0x9005c6 : 0x9007c6, 3);
    }
}

/* Another page behind a linear one, or other rights; then perhaps a flush. */
static void change_tables(struct program *p)
{
    static const uint8_t flush[] = {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8};
    bool is_long = p->w->mode >= WORLD_COMPATIBILITY;
    uint32_t table = is_long                   ? WORLD_PT64
                     : p->w->mode == WORLD_PAE ? WORLD_PTPAE
                                               : WORLD_PT32;
    unsigned bytes = table == WORLD_PT32 ? 4 : 8;
    uint32_t page = 0x20 + draw_below(p->d, 0x58);
    uint32_t to = draw_one_in(p->d, 3) ? page : 0x20 + draw_below(p->d, 0x18);

    if (p->mode == X86_CODE16) {
        return;
    }
    put_bytes(p, 0xc7, 1);
    put_bytes(p, p->mode == X86_CODE64 ? 0x2504 : 0x05, p->mode == X86_CODE64 ? 2 : 1);
    put_bytes(p, table + page * bytes, 4);
    put_bytes(p, to << 12 | (draw_one_in(p->d, 3) ? draw_below(p->d, 256) : 7), 4);
    if (draw_one_in(p->d, 2)) {
        put(p, flush, sizeof flush);
    } else if (draw_one_in(p->d, 2)) { /* invlpg [page] */
        put_bytes(p, 0x010f, 2);
        put_bytes(p, p->mode == X86_CODE64 ? 0x253c : 0x3d,
                  p->mode == X86_CODE64 ? 2 : 1);
        put_bytes(p, page << 12, 4);
    }
}

static void change_machine(struct program *p)
{
    static const char *const pieces[] = {
        "\xfa",     "\xfb",     "\xfb\xf4", "\x9c\x9d", "\xcc",     "\xcd\x40",
        "\x0f\x05", "\x0f\x0b", "\x0f\x09", "\x0f\xa2", "\x0f\x31", "\xe6\x80",
        "\xe4\x60", "\x0f\x06", "\xcf",     "\x0f\x34", "\x0f\x35", "\x0f\x07",
        "\xcb",     "\x0f\x77", "\xdb\xe3", "\x9b",
    };
    static const uint32_t msrs[] = {0xc0000080, 0xc0000082, 0x277, 0x1b,
                                    0xc0000100, 0xc0000101, 0x10,  0x174};
    const char *piece = pieces[draw_below(p->d, sizeof pieces / sizeof pieces[0])];

    switch (draw_below(p->d, 6)) {
    case 0: /* rdmsr; wrmsr */
        put_bytes(p, 0x66, p->mode == X86_CODE16);
        put_bytes(p, 0xb9, 1);
        put_bytes(p, msrs[draw_below(p->d, 8)], 4);
        put_bytes(p, 0x320f, 2);
        put_bytes(p, 0x300f, 2);
        break;
    case 1: /* flip a bit of CR0 or CR4 */
        put_bytes(p, draw_one_in(p->d, 2) ? 0xc0200f : 0xe0200f, 3);
        put_bytes(p, 0xf0ba0f | (draw_one_in(p->d, 2) ? 0 : 0x80000), 3);
        p->code[p->at - 1] = 0xf8; /* btc eax, bit */
        put_bytes(
            p, draw_one_in(p->d, 2) ? 16 + draw_below(p->d, 6) : 1 + draw_below(p->d, 3),
            1);
        put_bytes(p, p->code[p->at - 5] == 0xc0 ? 0xc0220f : 0xe0220f, 3);
        break;
    case 2: /* mov ds, fs, ss ... */
        move(p, X86_RAX, draw_below(p->d, 24) * 8 + draw_below(p->d, 4));
        put_bytes(p, 0x8e, 1);
        put_bytes(p, 0xc0 | draw_below(p->d, 6) << 3, 1);
        break;
    default:
        put(p, piece, piece[0] == 0 ? 1 : (unsigned)strlen(piece));
        break;
    }
}

static void pick_memory(struct program *p, struct x86_form *f)
{
    static const uint8_t bases[] = {X86_RBX, X86_RSI, X86_RDI,
                                    X86_RBX, X86_RSP, X86_ZERO};
    static const uint8_t segments[] = {0x64, 0x65, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e};

    f->base = bases[draw_below(p->d, p->mode == X86_CODE16 ? 4 : 6)];
    f->index = p->mode != X86_CODE16 && draw_one_in(p->d, 6) ? X86_RCX : X86_ZERO;
    f->scale = f->index == X86_ZERO ? 0 : (uint8_t)draw_below(p->d, 4);
    f->disp = (int64_t)draw_below(p->d, 96) - 48;
    f->disp &= draw_one_in(p->d, 2) ? ~(int64_t)15 : -1;
    if (f->base == X86_ZERO && f->index == X86_ZERO) {
        f->disp = data_address(p);
    }
    if (draw_one_in(p->d, 12)) {
        f->segment = segments[draw_below(p->d, sizeof segments)];
    }
}

/* What only the host knows would differ. */
static bool is_open(unsigned row)
{
    return strncmp(x86_rows[row].mnemonic, "rdrand", 6) == 0 ||
           strncmp(x86_rows[row].mnemonic, "rdseed", 6) == 0;
}

/* Those of integers, which come first, as often as all others. */
static unsigned draw_row(struct draw *d)
{
    return 1 + draw_below(d, draw_one_in(d, 2) ? X86_R_RORX : X86_ROW_COUNT - 1);
}

/* Registers that pointers are in stay so, mostly. */
static uint8_t draw_register(struct program *p)
{
    uint8_t r = (uint8_t)draw_below(p->d, p->mode == X86_CODE64 ? 16 : 8);
    bool points = r == X86_RSP || r == X86_RBX || r == X86_RSI || r == X86_RDI;

    return points && !draw_one_in(p->d, r == X86_RSP ? 16 : 4)
               ? (uint8_t)(draw_one_in(p->d, 2) ? X86_RAX : X86_RDX)
               : r;
}

static void instruction(struct program *p)
{
    struct x86_cell cells[X86_CELLS_MAX];
    uint8_t bytes[X86_INSN_BYTES_MAX];
    unsigned row = draw_row(p->d), n;
    const struct x86_row_info *info = &x86_rows[row];
    const struct x86_cell *c;
    struct x86_form f;
    int length;

    n = x86_cells((enum x86_row)row, cells);
    c = &cells[draw_below(p->d, n == 0 ? 1 : n)];
    if (n == 0 || c->mode != p->mode || is_open(row) ||
        (info->privilege != X86_USER && !draw_one_in(p->d, 6))) {
        return;
    }
    x86_form_of_cell(&f, c);
    f.reg = draw_register(p);
    f.rm = draw_register(p);
    f.vvvv = (uint8_t)draw_below(p->d, p->mode == X86_CODE64 ? 16 : 8);
    f.imm = draw_one_in(p->d, 2) ? draw_below(p->d, 256) : draw_word(p->d);
    f.imm8 = (uint8_t)draw_below(p->d, 8);
    f.has_rex = p->mode == X86_CODE64 && draw_one_in(p->d, 4);
    if (c->is_memory) {
        pick_memory(p, &f);
    }
    if ((info->attributes & X86_A_LOCK) != 0 && c->is_memory && draw_one_in(p->d, 6)) {
        f.lock = true;
    }
    if ((info->attributes & X86_A_REP) != 0 && draw_one_in(p->d, 2)) {
        f.repeat = draw_one_in(p->d, 2) ? 0xf2 : 0xf3;
        move(p, X86_RCX, draw_below(p->d, 300));
    }
    if (strstr(info->operands, "J") != NULL) {
        f.imm = draw_below(p->d, 24);
    }
    length = x86_encode((enum x86_row)row, &f, bytes);
    put(p, bytes, (unsigned)length);
}

static void piece(struct program *p)
{
    unsigned kind = draw_below(p->d, 100);

    if (p->w->starts < WORLD_INSNS_MOST) {
        p->w->start[p->w->starts++] = p->at;
    }
    if (kind < 12) {
        new_pointers(p);
    } else if (kind < 18) {
        loop(p);
    } else if (kind < 21) {
        transfer(p);
    } else if (kind < 23) {
        store_to_code(p);
    } else if (kind < 25) {
        change_tables(p);
    } else if (kind < 29) {
        change_machine(p);
    } else if (kind < 31) {
        move(p, X86_RCX, draw_below(p->d, 60));
    } else if (kind < 33) {
        strings(p);
    } else if (kind < 36) {
        walk(p);
    } else if (kind < 38) {
        store_beside(p);
    } else {
        instruction(p);
    }
    if (p->w->is_raw && draw_one_in(p->d, 3)) {
        put_bytes(p, draw_word(p->d), 1 + draw_below(p->d, 8));
    }
}

void program_make(struct world *w, uint8_t *code)
{
    struct program p = {
        .w = w, .d = &w->draw, .code = code, .mode = code_mode_of(w->mode)};
    unsigned most = draw_one_in(p.d, 2) ? 300 + draw_below(p.d, 8000) : WORLD_CODE_BYTES;

    w->starts = 0;
    memset(code, 0x90, WORLD_CODE_BYTES);
    while (p.at < most && p.at < WORLD_CODE_BYTES - ROOM) {
        piece(&p);
        if (draw_one_in(p.d, 200)) { /* so that some pages begin inside an instruction */
            p.at = ((p.at | 4095) - draw_below(p.d, 8)) & (WORLD_CODE_BYTES - 1);
            p.at = p.at < WORLD_CODE_BYTES - ROOM ? p.at : 0;
            most = most > 8000 ? most - 4000 : 0;
        }
    }
}
