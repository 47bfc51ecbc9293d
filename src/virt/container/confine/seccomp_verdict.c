/* seccomp_verdict.c - what a filter says to a call, found without making it.
 *
 * A run of the classic BPF machine over the filter's instructions: only those that a
 * seccomp filter may have (kernel/seccomp.c, seccomp_check_filter, Linux 6.1).
 * Jumps go forward only, so each run ends. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <string.h>

#include "virt/container/confine/seccomp_private.h"

#if defined(__aarch64__)
#    define NATIVE AUDIT_ARCH_AARCH64
#else
#    define NATIVE AUDIT_ARCH_X86_64
#endif

struct machine {
    uint32_t a, x;
    uint32_t mem[BPF_MEMWORDS];
};

static uint32_t compute(const struct sock_filter *i, const struct machine *m)
{
    uint32_t by = BPF_SRC(i->code) == BPF_X ? m->x : i->k;

    switch (BPF_OP(i->code)) {
    case BPF_ADD:
        return m->a + by;
    case BPF_SUB:
        return m->a - by;
    case BPF_MUL:
        return m->a * by;
    case BPF_DIV:
        return by != 0 ? m->a / by : 0;
    case BPF_OR:
        return m->a | by;
    case BPF_AND:
        return m->a & by;
    case BPF_XOR:
        return m->a ^ by;
    case BPF_LSH:
        return by < 32 ? m->a << by : 0;
    case BPF_RSH:
        return by < 32 ? m->a >> by : 0;
    default: /* BPF_NEG */
        return 0U - m->a;
    }
}

static uint32_t jump(const struct sock_filter *i, const struct machine *m)
{
    uint32_t by = BPF_SRC(i->code) == BPF_X ? m->x : i->k;
    bool yes = BPF_OP(i->code) == BPF_JEQ   ? m->a == by
               : BPF_OP(i->code) == BPF_JGT ? m->a > by
               : BPF_OP(i->code) == BPF_JGE ? m->a >= by
                                            : (m->a & by) != 0;

    return BPF_OP(i->code) == BPF_JA ? i->k : yes ? i->jt : i->jf;
}

/* One that is neither a jump nor a return. */
static void step(const struct sock_filter *i, const struct seccomp_data *d,
                 struct machine *m)
{
    uint32_t *to = BPF_CLASS(i->code) == BPF_LDX ? &m->x : &m->a;

    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
    case BPF_LDX:
        if (BPF_MODE(i->code) == BPF_ABS && i->k <= sizeof *d - sizeof *to) {
            memcpy(to, (const char *)d + i->k, sizeof *to);
        } else if (BPF_MODE(i->code) == BPF_MEM) {
            *to = m->mem[i->k % BPF_MEMWORDS];
        } else {
            *to = BPF_MODE(i->code) == BPF_LEN ? (uint32_t)sizeof *d : i->k;
        }
        break;
    case BPF_ST:
        m->mem[i->k % BPF_MEMWORDS] = m->a;
        break;
    case BPF_STX:
        m->mem[i->k % BPF_MEMWORDS] = m->x;
        break;
    case BPF_ALU:
        m->a = compute(i, m);
        break;
    default: /* BPF_MISC */
        *(BPF_MISCOP(i->code) == BPF_TAX ? &m->x : &m->a) =
            BPF_MISCOP(i->code) == BPF_TAX ? m->a : m->x;
    }
}

uint32_t seccomp_filter_verdict(const struct seccomp_filter *f,
                                const struct seccomp_data *d)
{
    struct machine m = {0};

    for (uint32_t at = 0; at < f->n; at++) {
        const struct sock_filter *i = &f->insns[at];

        if (BPF_CLASS(i->code) == BPF_RET) {
            return BPF_RVAL(i->code) == BPF_A ? m.a : i->k;
        }
        if (BPF_CLASS(i->code) == BPF_JMP) {
            at += jump(i, &m);
        } else {
            step(i, d, &m);
        }
    }
    return SECCOMP_RET_KILL_PROCESS; /* the kernel does not load such a filter */
}

bool seccomp_filter_allows(const struct seccomp_filter *f, long call)
{
    struct seccomp_data d = {.nr = (int)call, .arch = NATIVE};
    uint32_t action = seccomp_filter_verdict(f, &d) & SECCOMP_RET_ACTION_FULL;

    return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}
