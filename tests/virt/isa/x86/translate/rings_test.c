/* rings_test.c - the four rings: a guest that goes inward by call gates and outward by
 * far returns, and at each ring tries what rings decide; on both engines.  What is
 * expected is worked out by the rules of SDM volume 3A, 5.5 to 5.9, below.
 * rows: HYP-21 */
#include <string.h>

#include "engines.h"

#define GDT     0x1000u /* of machine.c, and behind its entries: */
#define CODE_0  0x20u   /* code of ring r at CODE_0 + 16 r, data 8 behind it */
#define GATE_0  0x60u   /* call gate of level 3 to ring r (0, 1, 2) at GATE_0 + 8 r */
#define GATE_01 0x78u   /* call gate of level 1 to ring 0 */
#define TASK    0x80u
#define LIMIT   0x87u
#define TSS     0x3000u

/* What the guest writes. */
#define TRAPS  0x60000u /* by ring */
#define RAN    0x60100u /* by probe and ring: went without a trap */
#define SILENT 0x60700u /* by ring: POPF could set IF */
#define PATH   0x60800u /* rings in the order in which they were entered */
#define PATH_N 0x607f0u

/* edx: the ring; ebp: where a trap goes on. */
CODE(rings, ".code32",
     ".macro probe n, insn:vararg\n mov $(0x10000+9f-rings), %ebp\n \\insn\n"
     "incl 0x60100+16*\\n(,%edx,4)\n 9:\n .endm\n"
     ".macro enter\n mov %cs, %dx\n and $3, %edx\n mov 0x607f0, %eax\n"
     "mov %dl, 0x60800(%eax)\n incl 0x607f0\n .endm\n"
     /* ring 0 first, then outward to ring 3 */
     "mov $0x5b, %eax\n mov %eax, %ds\n enter\n call body\n"
     "push $0x5b\n push $0x78000\n push $0x53\n push $(0x10000+ring3-rings)\n lret\n"
     "ring3: enter\n call body\n lcall $0x73, $0\n enter\n ud2\n"
     "ring2: enter\n call body\n lcall $0x6a, $0\n enter\n lret\n"
     "ring1: enter\n call body\n lcall $0x61, $0\n enter\n lret\n"
     "ring0: enter\n call body\n lret\n"
     "inner: lret\n"
     /* all of the probes, at any ring */
     "body: xor %eax, %eax\n"
     "probe 0, mov %cr0, %eax\n xor %eax, %eax\n probe 1, lldt %ax\n probe 2, cli\n"
     "probe 3, in $0x10, %al\n probe 4, invlpg (%esp)\n probe 5, mov %eax, %dr0\n"
     "mov $0x28, %eax\n probe 6, mov %eax, %es\n mov $0x38, %eax\n"
     "probe 7, mov %eax, %es\n mov $0x48, %eax\n probe 8, mov %eax, %es\n"
     "mov $0x58, %eax\n probe 9, mov %eax, %es\n"
     "mov $0x2b, %eax\n probe 10, mov %eax, %es\n mov $0x3b, %eax\n"
     "probe 11, mov %eax, %es\n mov $0x5b, %eax\n probe 12, mov %eax, %es\n"
     "mov $0x28, %eax\n probe 13, mov %eax, %ss\n mov $0x39, %eax\n"
     "probe 14, mov %eax, %ss\n mov $0x4a, %eax\n probe 15, mov %eax, %ss\n"
     "mov $0x5b, %eax\n probe 16, mov %eax, %ss\n"
     "probe 17, lcall $0x78, $0\n probe 18, lcall $0x20, $(0x10000+inner-rings)\n"
     "probe 19, lcall $0x40, $(0x10000+inner-rings)\n"
     "pushf\n orl $0x200, (%esp)\n popf\n pushf\n pop %eax\n shr $9, %eax\n"
     "and $1, %eax\n mov %eax, 0x60700(,%edx,4)\n pushf\n andl $0xfffffdff, (%esp)\n"
     "popf\n ret\n"
     /* the handler of #GP, at ring 0 */
     "trap: push %ds\n push %ebx\n mov $0x28, %ebx\n mov %ebx, %ds\n"
     "mov 16(%esp), %ebx\n and $3, %ebx\n incl 0x60000(,%ebx,4)\n mov %ebp, 12(%esp)\n"
     "pop %ebx\n pop %ds\n add $4, %esp\n iret\n")

CODE(places, ".code32",
     ".long ring0-rings, ring1-rings, ring2-rings, inner-rings, trap-rings")

static uint64_t gate(unsigned kind, unsigned level, unsigned selector, uint64_t to)
{
    return (to & 0xffff) | (uint64_t)selector << 16 |
           (uint64_t)(0x80 | level << 5 | kind) << 40 | (to >> 16) << 48;
}

static void make_rings(struct machine *m)
{
    struct x86_regs r;
    uint32_t at[5];
    unsigned n;

    memcpy(at, places, sizeof at);
    for (n = 0; n < 4; n++) {
        machine_poke(m, GDT + CODE_0 + 16 * n, 0x00cf9b000000ffff | (uint64_t)n << 45, 8);
        machine_poke(m, GDT + CODE_0 + 8 + 16 * n, 0x00cf93000000ffff | (uint64_t)n << 45,
                     8);
    }
    for (n = 0; n < 3; n++) {
        machine_poke(m, GDT + GATE_0 + 8 * n,
                     gate(0xc, 3, CODE_0 + 16 * n + n, MACHINE_CODE + at[n]), 8);
        machine_poke(m, TSS + 4 + 8 * n, 0x70000 + 0x2000 * n, 4);
        machine_poke(m, TSS + 8 + 8 * n, CODE_0 + 8 + 16 * n + n, 4);
    }
    machine_poke(m, GDT + GATE_01, gate(0xc, 1, CODE_0, MACHINE_CODE + at[3]), 8);
    machine_poke(m, TSS + 0x66, 0x68, 2); /* no map of ports */
    machine_poke(m, MACHINE_IDT + X86_GP * 8, gate(0xe, 0, CODE_0, MACHINE_CODE + at[4]),
                 8);
    machine_put(m, MACHINE_CODE, rings, (uint64_t)(rings_end - rings));
    machine_regs(m, &r);
    r.gdtr.limit = LIMIT;
    r.seg[X86_CS].selector = CODE_0;
    r.seg[X86_SS].selector = CODE_0 + 8;
    r.seg[X86_TR] =
        (struct x86_segment){.selector = TASK, .attr = 0x8b, .base = TSS, .limit = 0x67};
    machine_set(m, &r);
}

/* What goes without a trap, by rings: bit n is ring n. */
static const struct {
    const char *what;
    unsigned rings;
} probes[] = {
    {"MOV from CR0", 1},
    {"LLDT", 1},
    {"CLI, IOPL 0", 1},
    {"IN, IOPL 0 and no map", 1},
    {"INVLPG", 1},
    {"MOV to DR0", 1},
    {"data of ring 0", 1},
    {"data of ring 1", 3},
    {"data of ring 2", 7},
    {"data of ring 3", 15},
    {"data of ring 0 for a caller of ring 3", 0},
    {"data of ring 1 for a caller of ring 3", 0},
    {"data of ring 3 for a caller of ring 3", 15},
    {"stack of ring 0", 1},
    {"stack of ring 1", 2},
    {"stack of ring 2", 4},
    {"stack of ring 3", 8},
    {"a call gate of level 1", 3},
    {"a call to code of ring 0", 1},
    {"a call to code of ring 2", 4},
};

#define PROBES (sizeof probes / sizeof *probes)

/* Ring 0 goes through the probes twice, each other ring once. */
static void assert_probes(struct machine *m)
{
    unsigned ring, n;

    for (ring = 0; ring < 4; ring++) {
        unsigned times = ring == 0 ? 2 : 1, traps = 0;

        for (n = 0; n < PROBES; n++) {
            bool goes = (probes[n].rings >> ring & 1) != 0;
            uint64_t went = machine_peek(m, RAN + 16 * n + 4 * ring, 4);

            if (went != (goes ? times : 0)) {
                fail_msg("%s, at ring %u: went %u times", probes[n].what, ring,
                         (unsigned)went);
            }
            traps += goes ? 0 : times;
        }
        assert_int_equal(machine_peek(m, TRAPS + 4 * ring, 4), traps);
        assert_int_equal(machine_peek(m, SILENT + 4 * ring, 4), ring == 0);
    }
}

static void each_ring_may_do_what_it_may_and_traps_else(void **state)
{
    static const uint8_t path[] = {0, 3, 2, 1, 0, 1, 2, 3};
    uint8_t went[sizeof path];
    struct x86_regs r;
    struct machine m;
    unsigned engine, seen = 0;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_FLAT32, (enum engine)engine)) {
            continue;
        }
        make_rings(&m);
        while (assert_int_equal(cpu_run(m.cpu[0], 100000), 0), machine_get(&m, &r),
               !r.halted) {
            assert_int_equal(m.seen[CPU_EXIT_SHUTDOWN], 0);
            assert_true(m.exit_count < 100);
        }
        assert_int_equal(machine_vector(&m, &r), X86_UD);
        assert_int_equal(machine_peek(&m, 0x70000 - 16, 4), CODE_0 + 16 * 3 + 3);
        assert_int_equal(machine_peek(&m, PATH_N, 4), sizeof path);
        assert_int_equal(mem_read(m.mem, PATH, went, sizeof went), 0);
        assert_memory_equal(went, path, sizeof path);
        assert_probes(&m);
        machine_fini(&m);
        seen++;
    }
    assert_true(seen > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_ring_may_do_what_it_may_and_traps_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
