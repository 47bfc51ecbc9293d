/* debug.c - the host's debugger: breakpoints, steps, watched bytes.
 *
 * A page with a breakpoint has no window (code.h), so that each of its instructions is
 * looked for, one at a time, here; other pages execute as ever.  What stands at a
 * breakpoint is a block whose one routine exits.  The guest sees nothing of it.
 *
 * A step is an instruction that `x86_between` executes, and remembered until it is called
 * again: an exception that came instead has been delivered then. */
#include "virt/isa/x86/interpret/debug.h"

#include "virt/isa/x86/memory/memory.h"

static uint64_t linear_of(const struct x86_cpu *c, uint64_t rip)
{
    return c->code_mode == X86_CODE64 ? rip : (uint32_t)(rip + c->r.seg[X86_CS].base);
}

bool x86_debug_breaks(const struct x86_cpu *c, uint64_t rip)
{
    uint64_t at = linear_of(c, rip);

    for (unsigned n = 0; n < c->debug->breaks; n++) {
        if (c->debug->break_at[n] == at) {
            return true;
        }
    }
    return false;
}

bool x86_debug_page(const struct x86_cpu *c, uint64_t rip)
{
    uint64_t at = linear_of(c, rip);

    for (unsigned n = 0; n < c->debug->breaks; n++) {
        if ((c->debug->break_at[n] ^ at) < MEM_PAGE_BYTES) {
            return true;
        }
    }
    return false;
}

void x86_debug_stop(struct x86_cpu *c)
{
    struct cpu_exit x = {.kind = CPU_EXIT_DEBUG,
                         .value = CPU_DEBUG_BREAK,
                         .address = linear_of(c, c->r.gpr[X86_RIP])};

    x86_exit(c, &x);
}

void x86_debug_report(struct x86_cpu *c)
{
    struct cpu_exit x = {.kind = CPU_EXIT_DEBUG, .value = CPU_DEBUG_STEP};

    if (!c->is_hit && !c->is_stepped) {
        return;
    }
    if (c->is_hit) {
        x.value = CPU_DEBUG_WATCH;
        x.address = c->hit_at;
    }
    c->is_hit = c->is_stepped = false;
    x86_exit(c, &x);
}

void x86_interpret_debug(struct cpu *base, const struct cpu_debug *d)
{
    struct x86_cpu *c = x86_of(base);

    c->debug = d;
    c->is_hit = c->is_stepped = false;
    x86_tlb_flush_all(c, true); /* tags of watched pages; generated code by address */
}
