/* speed.c - how many guest instructions the translator translates in a second: this
 * program's own code, piece by piece, as 64-bit code of a guest. */
#include <stdio.h>
#include <time.h>

#include "tests/base/check.h"
#include "tests/virt/isa/x86/interpret/machine.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/private.h"
#include "virt/isa/x86/translate/translate.h"

extern const uint8_t __executable_start[], etext[];

#define ROUNDS 20

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* All pieces of [at, at + bytes); returns how many instructions they had. */
static uint64_t translate_all(struct translate_cpu *t, gpa at, uint64_t bytes)
{
    const struct mem_region *r = mem_find(t->x.mem, at);
    uint64_t insns = 0, done = 0;

    while (done < bytes) {
        struct unit *u =
            trace_translate(t, at + done, r->host + (at + done - r->base), at + done);
        unsigned n;

        assert_non_null(u);
        insns += u->insns;
        for (n = 0; n < u->insns; n++) {
            done += unit_pieces(u)[n].bytes;
        }
        done += u->insns == 0;
    }
    return insns;
}

int main(void)
{
    const uint8_t *from = (const uint8_t *)(uintptr_t)main;
    uint64_t bytes = (uint64_t)(etext - from), insns = 0, units;
    const struct translate_options o = {.code_bytes = 64u << 20};
    struct machine m;
    struct cpu *c = NULL;
    struct x86_regs r;
    double took = 0;
    unsigned n;
    gpa page;

    bytes = bytes > 0x100000 ? 0x100000 : bytes & ~UINT64_C(0xfff);
    machine_init(&m, MACHINE_LONG, "host-like");
    machine_regs(&m, &r);
    machine_put(&m, 0x400000, from, bytes);
    if (translate_create(m.mem, x86_model_find("host-like"), &m.env, &o, &c, NULL) != 0) {
        return 77;
    }
    assert_int_equal(cpu_set(c, &r, NULL), 0);
    for (page = 0; page < bytes; page += MEM_PAGE_BYTES) {
        assert_int_equal(mem_flag_page(m.mem, 0x400000 + page, MEM_CODE), 0);
    }
    for (n = 0; n < ROUNDS; n++) {
        struct translate_cpu *t = translate_of(x86_of(c));
        double start = now();

        insns += translate_all(t, 0x400000, bytes);
        took += now() - start;
        unit_drop_all(t);
    }
    units = x86_of(c)->count.blocks;
    printf("%.2f million instructions a second, %.0f ns a unit of %.1f\n",
           (double)insns / took * 1e-6, took * 1e9 / (double)units,
           (double)insns / (double)units);
    cpu_destroy(c);
    machine_fini(&m);
    return 0;
}
