/* three_test.c - three virtual processors out of one: their threads share one CPU of the
 * host, and all count to the end.
 *
 * The first to end notes how far the others have come.  The host shares its CPU fairly
 * but in slices, so a longer count is tried until all three end within a tenth of each
 * other; no clock is read.
 * rows: CON-05 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "virt/isa/bare/bare.h"

#define CPUS   3
#define MEMORY (UINT64_C(4) << 20)
#define TRIES  7

/* A multiboot kernel: starts the others, waits for all, counts, notes.  ebx: number.
 *
 *   200000  counts, 64 bytes apart        200304  how many came, 200308: ended
 *   200200  what CPUID says is its number, as far apart
 *   200300  how far to count              200400  the counts when the first ended */
__asm__(
    ".pushsection .rodata\n.code32\n.balign 4\n"
    "three: .long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)\n"
    ".long 0x100000, 0x100000, 0x100000 + three_end - three, 0x201000\n"
    ".long 0x100000 + boot - three\n"
    "target: .long 0\n"
    "boot: xor %ebx, %ebx\n"
    "mov 0x100000 + target - three, %eax\n mov %eax, 0x200300\n"
    "mov $0x100000 + enter - three, %eax\n out %eax, $0xf8\n out %eax, $0xf8\n"
    "enter: mov %ebx, %esp\n shl $12, %esp\n add $0x301000, %esp\n"
    "mov %ebx, %ebp\n shl $6, %ebp\n"
    "mov $1, %eax\n push %ebx\n cpuid\n mov %ebx, %esi\n pop %ebx\n shr $24, %esi\n"
    "mov %esi, 0x200200(%ebp)\n"
    "lea 0x30(%ebx), %eax\n mov $0x3f8, %edx\n out %al, %dx\n" /* its digit */
    "lock incl 0x200304\n 1: pause\n cmpl $3, 0x200304\n jb 1b\n"
    "mov 0x200300, %ecx\n"
    "2: incl 0x200000(%ebp)\n dec %ecx\n jnz 2b\n"
    "mov $1, %eax\n lock xadd %eax, 0x200308\n test %eax, %eax\n jnz 3f\n"
    "mov 0x200000, %eax\n mov %eax, 0x200400\n"
    "mov 0x200040, %eax\n mov %eax, 0x200404\n"
    "mov 0x200080, %eax\n mov %eax, 0x200408\n"
    "3: cmp $2, %eax\n je 4f\n hlt\n"
    /* the last prints what was noted and what stands there, as raw words */
    "4: mov $0x3f8, %edx\n mov $0x200000, %esi\n call say\n mov $0x200040, %esi\n"
    "call say\n mov $0x200080, %esi\n call say\n mov $0x200400, %esi\n call say\n"
    "call say\n call say\n mov $0x200200, %esi\n call say\n mov $0x200240, %esi\n"
    "call say\n mov $0x200280, %esi\n call say\n mov $20, %eax\n out %eax, $0xf4\n hlt\n"
    "say: mov $4, %ecx\n 5: lodsb\n out %al, %dx\n dec %ecx\n jnz 5b\n ret\n"
    "three_end:\n.code64\n.popsection\n");
extern const uint8_t three[], three_end[], target[];

struct seen {
    char text[64];
    size_t len;
    pid_t thread[CPUS]; /* that printed the digit of a processor */
    int host_cpu[CPUS];
};

static void print(void *who, const char *bytes, size_t n)
{
    struct seen *s = who;

    assert_int_equal(n, 1);
    assert_true(s->len < sizeof s->text);
    if (s->len < CPUS) {
        s->thread[s->len] = gettid();
        s->host_cpu[s->len] = sched_getcpu();
    }
    s->text[s->len++] = *bytes;
}

struct counts {
    uint32_t end[CPUS], noted[CPUS], number[CPUS];
};

/* False: this host lets nobody make code. */
static bool count_to(const char *engine, uint32_t to, struct counts *ret)
{
    struct seen s = {.len = 0};
    struct bare_options o = {.engine = engine,
                             .cpus = CPUS,
                             .memory_bytes = MEMORY,
                             .print = print,
                             .who = &s};
    uint8_t file[1024];
    size_t bytes = (size_t)(three_end - three);
    enum bare_end end = BARE_STOPPED;
    struct bare *b = NULL;
    unsigned code = 0, n;
    int r = bare_create(&o, &b, NULL);

    if (r == -ENOTSUP) {
        return false;
    }
    assert_int_equal(r, 0);
    assert_true(bytes <= sizeof file);
    memcpy(file, three, bytes);
    memcpy(file + (target - three), &to, sizeof to);
    assert_int_equal(bare_load_multiboot(b, file, bytes, NULL, 0, NULL), 0);
    assert_int_equal(bare_run(b, &end, &code, NULL), 0);
    bare_destroy(b);
    assert_int_equal(end, BARE_EXITED);
    assert_int_equal(code, 41);
    assert_int_equal(s.len, CPUS + sizeof *ret);
    memcpy(ret, s.text + CPUS, sizeof *ret);
    for (n = 0; n < CPUS; n++) {
        if (s.host_cpu[n] != s.host_cpu[0] || s.thread[n] == s.thread[(n + 1) % CPUS]) {
            fail_msg("processor %c: thread %d on CPU %d of the host", s.text[n],
                     (int)s.thread[n], s.host_cpu[n]);
        }
        assert_non_null(memchr(s.text, '0' + (int)n, CPUS));
    }
    return true;
}

/* How far the slowest was behind, in parts of a thousand. */
static unsigned behind(const struct counts *c, uint32_t to)
{
    uint32_t least = to;
    unsigned n;

    for (n = 0; n < CPUS; n++) {
        least = c->noted[n] < least ? c->noted[n] : least;
    }
    return (unsigned)((uint64_t)(to - least) * 1000 / to);
}

static void pin(void)
{
    cpu_set_t may, one;
    int n = 0;

    assert_int_equal(sched_getaffinity(0, sizeof may, &may), 0);
    while (!CPU_ISSET(n, &may)) {
        n++;
    }
    CPU_ZERO(&one);
    CPU_SET(n, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
}

static void three_count_on_one_and_end_together(void **state)
{
    static const struct {
        const char *name;
        uint32_t to;
    } engines[] = {{"interpret", 400000}, {"translate", 20000000}};

    unsigned i, n, try;

    (void)state;
    pin();
    for (i = 0; i < 2; i++) {
        uint32_t to = engines[i].to;
        struct counts c;

        for (try = 0;; try++, to *= 2) {
            if (!count_to(engines[i].name, to, &c)) {
                return;
            }
            for (n = 0; n < CPUS; n++) {
                assert_int_equal(c.end[n], to);
                assert_int_equal(c.number[n], n);
            }
            print_message("%s: to %u; when the first ended: %u %u %u\n", engines[i].name,
                          to, c.noted[0], c.noted[1], c.noted[2]);
            if (behind(&c, to) <= 100) {
                break;
            }
            assert_true(try < TRIES);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_count_on_one_and_end_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
