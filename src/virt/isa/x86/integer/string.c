/* string.c - MOVS, STOS, LODS, CMPS, SCAS, with and without repeat prefixes.
 *
 * A repeated instruction works in runs: as many elements as lie in the pages at hand
 * (`x86_span`), or one element by the ordinary way.  After each run rSI, rDI and rCX
 * are what they would be between two elements, so a fault in the next one needs no
 * repair: it finds the instruction half done and restartable, as the manual has it
 * (SDM volume 2, REP).  After RUN_LIMIT elements, with somebody waiting, or in single
 * steps, the routine returns with `next_rip` on the instruction itself.
 *
 * The flags of CMPS and SCAS are written when the repetition ends, or is stepped;
 * after a fault they are those from before (SDM, same place).
 *
 * An overlapping forward copy must be made element by element, as the guest may want
 * the pattern that this gives. */
#include "virt/isa/x86/integer/operand.h"

#define RUN_LIMIT 65536u /* elements in one call: bounds the wait of an interrupt */

struct string {
    uint64_t count;    /* elements left */
    uint64_t mask;     /* of addresses */
    int64_t step;      /* bytes from one element to the next */
    enum x86_seg from; /* of the source; the destination's is ES */
    unsigned limit;    /* elements until somebody may wait */
    bool repeats;
};

ALWAYS struct string begin(const struct x86_cpu *c, const struct x86_insn *i,
                           unsigned bits)
{
    bool is_down = c->r.rflags & X86_DF_BIT;
    uint64_t mask = x86_address_mask(i);

    return (struct string){
        .count = i->repeat ? c->r.gpr[X86_RCX] & mask : 1,
        .mask = mask,
        .step = is_down ? -(int64_t)(bits / 8) : (int64_t)(bits / 8),
        .from = (enum x86_seg)i->segment,
        .limit = c->wants & X86_WANT_TRAP ? 1 : RUN_LIMIT,
        .repeats = i->repeat != 0,
    };
}

/* Elements that the next run may have. */
ALWAYS uint64_t run_limit(const struct string *s)
{
    return s->count < s->limit ? s->count : s->limit;
}

ALWAYS void move_on(struct x86_cpu *c, const struct x86_insn *i, const struct string *s,
                    unsigned reg, uint64_t n)
{
    x86_set_address(c, i, reg, c->r.gpr[reg] + n * (uint64_t)s->step);
}

/* `n` elements are done: count them.  Returns whether to go on at once.  What comes
 * between two elements finds RF set (SDM volume 3B, 18.3.1.1); it goes when the
 * instruction goes on. */
ALWAYS bool again(struct x86_cpu *c, const struct x86_insn *i, struct string *s,
                  uint64_t n)
{
    if (!s->repeats) {
        return false;
    }
    s->count -= n;
    x86_set_address(c, i, X86_RCX, s->count);
    if (s->count == 0) {
        return false;
    }
    s->limit -= (unsigned)n;
    if (s->limit == 0 || x86_is_awaited(c)) {
        c->next_rip = c->r.gpr[X86_RIP];
        c->r.rflags |= x86_is_awaited(c) ? X86_RF : 0;
        return false;
    }
    return true;
}

ALWAYS uint64_t address(const struct x86_cpu *c, const struct string *s, unsigned reg)
{
    return c->r.gpr[reg] & s->mask;
}

/* A run of elements side by side in host memory; NULL bytes: none. */
struct span {
    uint8_t *at;
    uint64_t count;
};

ALWAYS struct span span_at(struct x86_cpu *c, const struct string *s, enum x86_seg seg,
                           unsigned reg, unsigned bits, bool is_write)
{
    struct span p = {.at = NULL};

    p.count =
        x86_span(c, seg, address(c, s, reg), bits / 8, is_write, s->step < 0, &p.at);
    return p;
}

ALWAYS void copy_elements(uint8_t *to, const uint8_t *from, int64_t step, uint64_t n,
                          unsigned bits)
{
    if (step > 0 && (to <= from || to >= from + n * (bits / 8))) {
        memmove(to, from, n * (bits / 8));
        return;
    }
    for (; n > 0; n--, to += step, from += step) {
        x86_poke(to, x86_peek(from, bits), bits);
    }
}

/* The element's order: the source is read, then the destination is looked at. */
ALWAYS uint64_t move_run(struct x86_cpu *c, const struct string *s, unsigned bits)
{
    uint64_t n = run_limit(s);

    if (n > 1) {
        struct span from = span_at(c, s, s->from, X86_RSI, bits, false);
        struct span to = {.at = NULL};

        n = from.count < n ? from.count : n;
        if (n > 0) {
            to = span_at(c, s, X86_ES, X86_RDI, bits, true);
            n = to.count < n ? to.count : n;
        }
        if (n > 0) {
            copy_elements(to.at, from.at, s->step, n, bits);
            return n;
        }
    }
    x86_store(c, X86_ES, address(c, s, X86_RDI),
              x86_load(c, s->from, address(c, s, X86_RSI), bits), bits);
    return 1;
}

ALWAYS void movs(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    struct string s = begin(c, i, bits);
    uint64_t n;

    (void)is_memory;
    if (s.count == 0) {
        return;
    }
    do {
        n = move_run(c, &s, bits);
        move_on(c, i, &s, X86_RSI, n);
        move_on(c, i, &s, X86_RDI, n);
    } while (again(c, i, &s, n));
}

ALWAYS uint64_t store_run(struct x86_cpu *c, const struct string *s, unsigned bits)
{
    uint64_t n = run_limit(s);
    uint64_t v = x86_zero_extend(c->r.gpr[X86_RAX], bits);

    if (n > 1) {
        struct span to = span_at(c, s, X86_ES, X86_RDI, bits, true);

        n = to.count < n ? to.count : n;
        if (n > 0 && bits == 8 && s->step > 0) {
            memset(to.at, (int)v, n);
            return n;
        }
        for (uint64_t k = 0; k < n; k++) {
            x86_poke(to.at + (int64_t)k * s->step, v, bits);
        }
        if (n > 0) {
            return n;
        }
    }
    x86_store(c, X86_ES, address(c, s, X86_RDI), v, bits);
    return 1;
}

ALWAYS void stos(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    struct string s = begin(c, i, bits);
    uint64_t n;

    (void)is_memory;
    if (s.count == 0) {
        return;
    }
    do {
        n = store_run(c, &s, bits);
        move_on(c, i, &s, X86_RDI, n);
    } while (again(c, i, &s, n));
}

ALWAYS void lods(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    struct string s = begin(c, i, bits);

    (void)is_memory;
    if (s.count == 0) {
        return;
    }
    do {
        x86_set_low(&c->r.gpr[X86_RAX],
                    x86_load(c, s.from, address(c, &s, X86_RSI), bits), bits);
        move_on(c, i, &s, X86_RSI, 1);
    } while (again(c, i, &s, 1));
}

ALWAYS void compare_flags(struct x86_cpu *c, uint64_t a, uint64_t b, unsigned bits)
{
    x86_flags_sub(c, a, b, x86_sign_extend(a - b, bits), bits);
}

/* REPE goes on while equal, REPNE while not. */
ALWAYS bool goes_on(const struct x86_insn *i, uint64_t a, uint64_t b)
{
    return (a == b) == (i->repeat == 0xf3);
}

/* Compare until a pair ends it, or the run does: the elements done, and the last
 * pair. */
struct compared {
    uint64_t count;
    uint64_t a;
    uint64_t b;
};

ALWAYS struct compared compare_run(struct x86_cpu *c, const struct x86_insn *i,
                                   const struct string *s, bool is_scan, unsigned bits)
{
    uint64_t n = run_limit(s);
    uint64_t a = x86_zero_extend(c->r.gpr[X86_RAX], bits);
    uint64_t b;

    if (n > 1) {
        struct span left = {.count = n};
        struct span right = {.at = NULL};

        if (!is_scan) {
            left = span_at(c, s, s->from, X86_RSI, bits, false);
        }
        if (left.count > 0) {
            right = span_at(c, s, X86_ES, X86_RDI, bits, false);
        }
        n = left.count < n ? left.count : n;
        n = right.count < n ? right.count : n;
        for (uint64_t k = 0; k < n; k++) {
            int64_t at = (int64_t)k * s->step;

            a = is_scan ? a : x86_peek(left.at + at, bits);
            b = x86_peek(right.at + at, bits);
            if (k + 1 == n || !goes_on(i, a, b)) {
                return (struct compared){k + 1, a, b};
            }
        }
    }
    if (!is_scan) {
        a = x86_load(c, s->from, address(c, s, X86_RSI), bits);
    }
    b = x86_load(c, X86_ES, address(c, s, X86_RDI), bits);
    return (struct compared){1, a, b};
}

ALWAYS void compare(struct x86_cpu *c, const struct x86_insn *i, bool is_scan,
                    unsigned bits)
{
    struct string s = begin(c, i, bits);
    struct compared p;
    bool is_going;

    if (s.count == 0) {
        return;
    }
    do {
        p = compare_run(c, i, &s, is_scan, bits);
        if (!is_scan) {
            move_on(c, i, &s, X86_RSI, p.count);
        }
        move_on(c, i, &s, X86_RDI, p.count);
        is_going = again(c, i, &s, p.count);
        if (s.repeats && !goes_on(i, p.a, p.b)) {
            c->next_rip = c->r.gpr[X86_RIP] + i->length;
            c->r.rflags &= ~(uint64_t)X86_RF;
            break;
        }
    } while (is_going);
    if (c->next_rip !=
        c->r.gpr[X86_RIP]) { /* between elements the flags are the old ones */
        compare_flags(c, p.a, p.b, bits);
    }
}

ALWAYS void cmps(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    (void)is_memory;
    compare(c, i, false, bits);
}

ALWAYS void scas(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    (void)is_memory;
    compare(c, i, true, bits);
}

X86_FAMILY_REG(movs)
X86_FAMILY_REG(stos)
X86_FAMILY_REG(lods)
X86_FAMILY_REG(cmps)
X86_FAMILY_REG(scas)
