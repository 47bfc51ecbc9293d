/* bare_test.c - bare code on each engine: loading, ports, starts and ends.
 * rows: ISA-02 CON-09 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "contract/cpu.h"
#include "virt/isa/bare/bare.h"

#define MEMORY (UINT64_C(4) << 20)
#define KERNEL 0x100000u

static const char *const engines[] = {"interpret", "translate"};

struct seen {
    char text[64];
    size_t len;
    unsigned traced;
    char first[64];
};

static void print(void *who, const char *bytes, size_t n)
{
    struct seen *s = who;

    assert_true(s->len + n < sizeof s->text);
    memcpy(s->text + s->len, bytes, n);
    s->len += n;
}

static void trace(void *who, const struct x86_regs *r, const char *text)
{
    struct seen *s = who;

    (void)r;
    if (s->traced++ == 0) {
        (void)snprintf(s->first, sizeof s->first, "%s", text);
    }
}

static struct bare *make(const char *engine, unsigned cpus, struct seen *s)
{
    struct bare_options o = {
        .engine = engine, .cpus = cpus, .memory_bytes = MEMORY, .print = print, .who = s};
    struct bare *b = NULL;
    struct err e = {0};
    int r = bare_create(&o, &b, &e);

    if (r == -ENOTSUP) {
        return NULL; /* this host lets nobody make code */
    }
    assert_int_equal(r, 0);
    return b;
}

/* A multiboot kernel of one segment that holds headers and code. */
static size_t make_kernel(uint8_t file[512], const void *code, size_t bytes)
{
    uint32_t *word = (uint32_t *)(void *)file;
    uint16_t *half = (uint16_t *)(void *)file;

    memset(file, 0, 512);
    memcpy(file, "\177ELF\1\1\1", 7);
    half[8] = 2;
    half[9] = 3;
    word[6] = KERNEL + 0x100; /* entry */
    word[7] = 52;
    half[21] = 32;
    half[22] = 1;
    word[13] = 1; /* PT_LOAD, all of the file */
    word[15] = KERNEL;
    word[16] = KERNEL;
    word[17] = 512;
    word[18] = 512;
    word[24] = 0x1badb002; /* at 96 */
    word[26] = 0u - 0x1badb002u;
    memcpy(file + 0x100, code, bytes);
    return 512;
}

static void flat_code_prints_and_ends_with_its_code(void **state)
{
    /* mov dx, 0x3f8; mov al, 'h'; out dx, al; mov al, 'i'; out dx, al;
     * mov al, 21; out 0xf4, al */
    static const uint8_t code[] = {0xba, 0xf8, 0x03, 0xb0, 'h',  0xee, 0xb0,
                                   'i',  0xee, 0xb0, 21,   0xe6, 0xf4};
    unsigned i, exit_code;
    enum bare_end end;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct seen s = {0};
        struct bare *b = make(engines[i], 1, &s);
        struct cpu_counters c;

        if (b == NULL) {
            continue;
        }
        assert_int_equal(bare_load_flat(b, code, sizeof code, 0x7c00, NULL), 0);
        assert_int_equal(bare_run(b, &end, &exit_code, NULL), 0);
        assert_int_equal(end, BARE_EXITED);
        assert_int_equal(exit_code, 43);
        assert_int_equal(s.len, 2);
        assert_memory_equal(s.text, "hi", 2);
        bare_count(b, &c);
        assert_true(c.interpreted + c.translated + c.optimised >= 7);
        assert_string_equal(bare_engine(b), engines[i]);
        bare_destroy(b);
    }
}

static void a_kernel_gets_its_module_and_what_multiboot_says(void **state)
{
    /* cmp eax, 0x2badb002; jne bad; mov eax, [ebx+24]; mov eax, [eax];
     * mov eax, [eax]; out 0xf4, eax; bad: hlt */
    static const uint8_t code[] = {0x3d, 0x02, 0xb0, 0xad, 0x2b, 0x75, 0x09, 0x8b, 0x43,
                                   0x18, 0x8b, 0x00, 0x8b, 0x00, 0xe7, 0xf4, 0xf4};
    uint8_t file[512];
    size_t bytes = make_kernel(file, code, sizeof code);
    unsigned i, exit_code;
    enum bare_end end;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct seen s = {0};
        struct bare *b = make(engines[i], 1, &s);

        if (b == NULL) {
            continue;
        }
        assert_int_equal(
            bare_load_multiboot(b, file, bytes, (const uint8_t *)"\x2a\0\0\0", 4, NULL),
            0);
        assert_int_equal(bare_run(b, &end, &exit_code, NULL), 0);
        assert_int_equal(end, BARE_EXITED);
        assert_int_equal(exit_code, 85);
        bare_destroy(b);
    }
}

static void processors_start_one_by_one_with_their_numbers(void **state)
{
    /* start: mov eax, next; mov edx, 0xf8; out dx, eax; hlt
     * next (+0x20): lock add [counter], ebx; cmp ebx, 3; je last; start the next; hlt
     * last (+0x40): mov eax, [counter]; out 0xf4, eax */
    static const uint8_t code[0x80] = {
        0xb8, 0x20,          0x01, 0x10, 0x00, 0xe7, 0xf8, 0xf4, [0x20] = 0xf0,
        0x01, 0x1d,          0x00, 0x02, 0x20, 0x00, 0x83, 0xfb, 0x03,
        0x74, 0x14,          0xb8, 0x20, 0x01, 0x10, 0x00, 0xe7, 0xf8,
        0xf4, [0x40] = 0xa1, 0x00, 0x02, 0x20, 0x00, 0xe7, 0xf4};
    uint8_t file[512];
    size_t bytes = make_kernel(file, code, sizeof code);
    unsigned i, exit_code;
    enum bare_end end;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct seen s = {0};
        struct bare *b = make(engines[i], 4, &s);

        if (b == NULL) {
            continue;
        }
        assert_int_equal(bare_load_multiboot(b, file, bytes, NULL, 0, NULL), 0);
        assert_int_equal(bare_run(b, &end, &exit_code, NULL), 0);
        assert_int_equal(end, BARE_EXITED);
        assert_int_equal(exit_code, 2 * (1 + 2 + 3) + 1);
        bare_destroy(b);
    }
}

static void halts_and_triple_faults_end_the_run(void **state)
{
    static const uint8_t halt[] = {0xfa, 0xf4};
    static const uint8_t fault[] = {0x0f, 0x01, 0x1e, 0x00, 0x60, 0xcc}; /* lidt; int3 */
    unsigned i, exit_code;
    enum bare_end end;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct seen s = {0};
        struct bare *b = make(engines[i], 1, &s);

        if (b == NULL) {
            continue;
        }
        assert_int_equal(bare_load_flat(b, halt, sizeof halt, 0x1000, NULL), 0);
        assert_int_equal(bare_run(b, &end, &exit_code, NULL), 0);
        assert_int_equal(end, BARE_HALTED);
        bare_destroy(b);
        b = make(engines[i], 1, &s);
        assert_int_equal(bare_load_flat(b, fault, sizeof fault, 0x1000, NULL), 0);
        assert_int_equal(bare_run(b, &end, &exit_code, NULL), 0);
        assert_int_equal(end, BARE_SHUTDOWN);
        bare_destroy(b);
    }
}

static void *stop_soon(void *b)
{
    (void)usleep(20000);
    bare_stop(b);
    return NULL;
}

static void an_endless_loop_is_stopped_from_outside(void **state)
{
    static const uint8_t loop[] = {0xeb, 0xfe};
    unsigned i, exit_code;
    enum bare_end end;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct seen s = {0};
        struct bare *b = make(engines[i], 1, &s);
        pthread_t thread;

        if (b == NULL) {
            continue;
        }
        assert_int_equal(bare_load_flat(b, loop, sizeof loop, 0x1000, NULL), 0);
        assert_int_equal(pthread_create(&thread, NULL, stop_soon, b), 0);
        assert_int_equal(bare_run(b, &end, &exit_code, NULL), 0);
        assert_int_equal(end, BARE_STOPPED);
        (void)pthread_join(thread, NULL);
        bare_destroy(b);
    }
}

static void a_trace_names_each_instruction(void **state)
{
    static const uint8_t code[] = {0x31, 0xc0, 0x90, 0xf4}; /* xor ax, ax; nop; hlt */
    struct seen s = {0};
    struct bare_options o = {
        .engine = "interpret", .memory_bytes = MEMORY, .trace = trace, .who = &s};
    struct bare *b = NULL;
    unsigned exit_code;
    enum bare_end end;

    (void)state;
    assert_int_equal(bare_create(&o, &b, NULL), 0);
    assert_int_equal(bare_load_flat(b, code, sizeof code, 0x7c00, NULL), 0);
    assert_int_equal(bare_run(b, &end, &exit_code, NULL), 0);
    assert_int_equal(s.traced, 3);
    assert_non_null(strstr(s.first, "xor"));
    bare_destroy(b);
}

/* Each word of the headers is replaced, and the file is cut at each length: loaded or
 * refused, with a text, and nothing else. */
static void damaged_kernels_are_refused(void **state)
{
    static const uint32_t words[] = {0, 0xffffffff, 0x7fffffff, 0x100000, 0x1badb002};
    uint8_t file[512], damaged[512];
    size_t bytes = make_kernel(file, "\xf4", 1), at, i;
    struct seen s = {0};
    struct bare *b = make("interpret", 1, &s);
    struct err e = {0};

    (void)state;
    assert_int_equal(bare_load_multiboot(b, file, 90, NULL, 0, &e), -EINVAL);
    assert_true(e.text[0] != '\0');
    for (at = 0; at < bytes; at++) {
        uint8_t *cut = malloc(at + 1);

        memcpy(cut, file, at);
        assert_int_not_equal(bare_load_multiboot(b, cut, at, NULL, 0, NULL), 0);
        free(cut);
    }
    for (at = 0; at + 4 <= 0x80; at += 2) {
        for (i = 0; i < sizeof words / sizeof *words; i++) {
            memcpy(damaged, file, sizeof file);
            memcpy(damaged + at, &words[i], 4);
            (void)bare_load_multiboot(b, damaged, bytes, NULL, 0, NULL);
        }
    }
    bare_destroy(b);
}

static void what_cannot_be_made_is_refused_by_name(void **state)
{
    struct bare_options o = {.engine = "fly"};
    struct bare *b = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(bare_create(&o, &b, &e), -EINVAL);
    assert_non_null(strstr(e.text, "'fly'"));
    o = (struct bare_options){.model = "z80", .engine = "interpret"};
    err_clear(&e);
    assert_int_equal(bare_create(&o, &b, &e), -EINVAL);
    assert_non_null(strstr(e.text, "'z80'"));
    o = (struct bare_options){.engine = "interpret", .cpus = BARE_CPUS_MAX + 1};
    assert_int_equal(bare_create(&o, &b, NULL), -EINVAL);
    o = (struct bare_options){.engine = "interpret", .memory_bytes = 4097};
    assert_int_not_equal(bare_create(&o, &b, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flat_code_prints_and_ends_with_its_code),
        cmocka_unit_test(a_kernel_gets_its_module_and_what_multiboot_says),
        cmocka_unit_test(processors_start_one_by_one_with_their_numbers),
        cmocka_unit_test(halts_and_triple_faults_end_the_run),
        cmocka_unit_test(an_endless_loop_is_stopped_from_outside),
        cmocka_unit_test(a_trace_names_each_instruction),
        cmocka_unit_test(damaged_kernels_are_refused),
        cmocka_unit_test(what_cannot_be_made_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
