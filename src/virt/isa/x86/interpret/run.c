/* run.c - the loop: blocks of decoded instructions, one routine after the other.
 *
 * Between the instructions of a block only `wants` is looked at; between blocks also
 * the kicks and the budget.  What either of them means is event.c's.
 *
 * A fault arrives by `longjmp` from any depth of a routine; the instructions of the
 * block before the one that faulted are counted by their lengths.  A repeated string
 * instruction counts when it ends, and once for each 65,536 elements on the way, so
 * that a budget bounds it too. */
#include <stdatomic.h>

#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/system/system.h"

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS const struct x86_block *find(struct x86_cpu *c, uint64_t rip)
{
    const struct x86_code *code = c->code;
    uint64_t offset = rip - code->window_base;

    if (__builtin_expect(offset < code->window_end, 1)) {
        uint32_t slot = __atomic_load_n(&code->page->slot[offset], __ATOMIC_RELAXED);
        const struct x86_block *b = (const void *)(code->arena + slot);

        if (__builtin_expect(slot != 0 && offset + b->bytes <= code->window_end, 1)) {
            return b;
        }
    }
    return x86_code_find(c, rip);
}

/* The end of a block that is more than a near branch. */
static void end_block(struct x86_cpu *c, const struct x86_block *b)
{
    if (b->end == BLOCK_CONTROL) {
        c->wants |= X86_WANT_RELOAD;
    } else if (b->end == BLOCK_REPEAT && c->next_rip == c->r.gpr[X86_RIP] &&
               x86_is_awaited(c)) {
        c->budget++; /* interrupted, and not because it was long */
    }
}

/* One block, or its first `most` instructions. */
ALWAYS void execute(struct x86_cpu *c, unsigned most)
{
    uint64_t rip = c->code_mode == X86_CODE64 ? c->next_rip : (uint32_t)c->next_rip;
    const struct x86_block *b = find(c, rip);
    const struct x86_insn *i = b->insn;
    unsigned n = b->count < most ? b->count : most;
    unsigned left;

    if (__builtin_expect(n > c->budget, 0)) {
        n = (unsigned)c->budget;
    }
    left = n;
    c->code->block = b;
    c->code->entry = rip;
    do {
        c->r.gpr[X86_RIP] = rip;
        rip += i->length;
        c->next_rip = rip;
        i->run(c, i);
        i++;
    } while (--left != 0 && c->wants == 0);
    c->budget -= n - left;
    if (__builtin_expect(b->end > BLOCK_BRANCH, 0) && n - left == b->count) {
        end_block(c, b);
    }
}

void x86_execute(struct x86_cpu *c, unsigned most)
{
    execute(c, most);
    x86_settle(c);
}

/* The instruction at gpr[X86_RIP] faulted: count those of its block before it. */
static void count_done(struct x86_cpu *c)
{
    const struct x86_block *b = c->code->block;
    uint64_t at = c->code->entry;

    for (unsigned n = 0; b != NULL && n < b->count && at != c->r.gpr[X86_RIP]; n++) {
        at += b->insn[n].length;
        c->budget--;
    }
    c->code->block = NULL;
}

/* Instructions of the block under way are taken from the budget behind it. */
uint64_t x86_interpret_left(const struct cpu *base)
{
    const struct x86_cpu *c = (const struct x86_cpu *)base;
    const struct x86_block *b = c->code->block;
    uint64_t at = c->code->entry;
    uint64_t left = c->budget;

    for (unsigned n = 0; b != NULL && n < b->count && at != c->r.gpr[X86_RIP]; n++) {
        at += b->insn[n].length;
        left--;
    }
    return left;
}

void x86_interpret_fault(struct x86_cpu *c)
{
    x86_settle(c);
    count_done(c);
    c->next_rip = c->r.gpr[X86_RIP];
    c->dr6_pending = 0;
    c->is_hit = false;
    c->wants |= X86_WANT_RELOAD;
    x86_deliver(c, X86_EVENT_FAULT, c->fault.vector);
}

/* Apart from the function that calls setjmp, so that `c` stays in a register. */
static __attribute__((noinline)) void loop(struct x86_cpu *c)
{
    for (;;) {
        if (__builtin_expect((c->wants | atomic_load_explicit(&c->base.kicks,
                                                              memory_order_relaxed)) != 0,
                             0)) {
            if (x86_between(c)) {
                return;
            }
            continue;
        }
        if (__builtin_expect(c->budget == 0, 0)) {
            return;
        }
        execute(c, UINT8_MAX);
    }
}

void x86_interpret_begin(struct x86_cpu *c, uint64_t budget)
{
    c->budget = budget;
    c->budget_at_fault = budget + 1; /* none yet */
    c->next_rip = c->r.gpr[X86_RIP];
    c->leave_code = 0;
    c->wants |= X86_WANT_RELOAD;
    c->code->block = NULL;
    x86_share_run(c, true);
}

int x86_interpret_end(struct x86_cpu *c)
{
    struct cpu_exit x = {.kind = CPU_EXIT_BUDGET};

    x86_settle(c);
    c->r.gpr[X86_RIP] = c->code_mode == X86_CODE64 ? c->next_rip : (uint32_t)c->next_rip;
    c->code->block = NULL;
    x86_share_run(c, false);
    x86_flags_pack(c);
    if (c->budget == 0 && !(c->wants & X86_WANT_LEAVE)) {
        x86_exit(c, &x);
    }
    c->wants &= ~(uint32_t)X86_WANT_LEAVE;
    return c->leave_code;
}

int x86_interpret_run(struct cpu *base, uint64_t budget)
{
    struct x86_cpu *c = x86_of(base);

    x86_interpret_begin(c, budget);
    if (setjmp(c->unwind) != 0) {
        x86_interpret_fault(c);
    }
    loop(c);
    c->count.interpreted += budget - c->budget;
    return x86_interpret_end(c);
}
