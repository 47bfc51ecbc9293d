/* snap_guest.c - a multiboot kernel whose module says what it does:
 *
 *   w ROUNDS  compute, with timer interrupts, in memory, vector registers and rewritten code;
 *             print the result, leave by the debug-exit port
 *   g ROUNDS  the same without vector registers: a /dev/kvm may emulate ring 0, and not those
 *   r         reset by each way in turn, count in CMOS, leave
 *   l         reset without end
 *   c         print, then cause a triple fault
 *   h         halt, interrupts open, nothing to wait for
 *   s         spin, interrupts closed */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snap_work.h"

#define TICK_VECTOR 0x20
#define CMOS_COUNT  0x50

void kernel_main(const uint32_t *info);
extern const uint8_t on_tick[];
extern uint8_t rewritten[];

static uint64_t idt[64];
static uint64_t gdt[3] = {0, UINT64_C(0x00cf9b000000ffff), UINT64_C(0x00cf93000000ffff)};
static uint32_t cells[WORK_CELLS];
uint8_t stack[8192] __attribute__((aligned(16)));
volatile uint32_t ticks;

__asm__(
    ".section .boot, \"ax\"\n.balign 4\n"
    ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
    ".global kernel_start\n"
    "kernel_start: cli\n cld\n mov $stack + 8192, %esp\n push %ebx\n"
    "mov %cr4, %eax\n or $0x600, %eax\n mov %eax, %cr4\n"
    "call kernel_main\n"
    ".text\n"
    "on_tick: push %eax\n incl ticks\n mov $0x20, %al\n out %al, $0x20\n pop %eax\n iret\n"
    ".data\n.balign 16\n"
    "rewritten: mov $0, %eax\n ret\n"
    ".section .note.GNU-stack, \"\", @progbits\n.text\n");

void *memset(void *to, int value, size_t n)
{
    void *t = to;

    __asm__ volatile("rep stosb" : "+D"(t), "+c"(n) : "a"(value) : "memory");
    return to;
}

static void out(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static uint8_t in(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void print(const char *text)
{
    while (*text != '\0') {
        out(0x3f8, (uint8_t)*text++);
    }
}

static void print_number(const char *what, uint32_t v)
{
    print(what);
    for (int shift = 28; shift >= 0; shift -= 4) {
        out(0x3f8, (uint8_t) "0123456789abcdef"[v >> shift & 15]);
    }
    print("\n");
}

static void load_tables(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) g = {sizeof gdt - 1, (uint32_t)gdt},
                              i = {sizeof idt - 1, (uint32_t)idt};

    uint32_t at = (uint32_t)on_tick;

    idt[TICK_VECTOR] = (at & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32 |
                       (uint64_t)(at >> 16) << 48;
    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n1: mov $16, %%eax\n mov %%eax, %%ds\n"
                     "mov %%eax, %%es\n mov %%eax, %%ss\n lidt %1"
                     :
                     : "m"(g), "m"(i)
                     : "eax", "memory");
}

static void start_timer(void)
{
    static const uint8_t words[] = {0x11, TICK_VECTOR, 4, 1};

    __asm__ volatile(
        "rdmsr\n and $~0x800, %%eax\n wrmsr" /* no local APIC: INTR as it is */
        :
        : "c"(0x1b)
        : "eax", "edx");
    out(0x20, words[0]);
    for (unsigned n = 1; n < 4; n++) {
        out(0x21, words[n]);
    }
    out(0x21, 0xfe);
    out(0x43, 0x34);
    out(0x40, 11932 & 0xff); /* 100 Hz */
    out(0x40, 11932 >> 8);
    __asm__ volatile("sti");
}

static void work(uint32_t rounds, bool has_vectors)
{
    uint32_t state = 1;
    uint32_t sum = 0;
    uint32_t (*call)(void) = (uint32_t(*)(void))(uintptr_t)rewritten;

    load_tables();
    start_timer();
    if (has_vectors) {
        __asm__ volatile("pxor %%xmm5, %%xmm5" : :);
    }
    print("begin\n");
    for (uint32_t round = 1; round <= rounds; round++) {
        uint32_t v = work_constant(round);

        for (unsigned n = 0; n < 4; n++) {
            rewritten[1 + n] = (uint8_t)(v >> (n * 8));
        }
        state = work_round(cells, state) ^ call();
        sum += state;
        if (has_vectors) {
            __asm__ volatile("movd %0, %%xmm6\n paddd %%xmm6, %%xmm5" : : "r"(state));
        }
    }
    if (has_vectors) {
        __asm__ volatile("movd %%xmm5, %0" : "=r"(sum));
    }
    for (uint32_t since = ticks; ticks == since;) {
        __asm__ volatile("hlt");
    }
    print_number("hash ", state);
    print_number("sum ", sum);
    out(0xf4, 0);
}

static void triple_fault(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) none = {0, 0};

    __asm__ volatile("lidt %0\n int3" : : "m"(none));
}

static void reset(void)
{
    uint8_t count;

    out(0x70, CMOS_COUNT);
    count = in(0x71);
    out(0x70, CMOS_COUNT);
    out(0x71, (uint8_t)(count + 1));
    print_number("start ", count);
    if (cells[count] != 0) {
        print("memory was not cleared\n");
    }
    cells[count + 1] = 1;
    switch (count) {
    case 0:
        out(0xcf9, 6);
        break;
    case 1:
        out(0x64, 0xfe);
        break;
    case 2:
        out(0x92, 1);
        break;
    case 3:
        triple_fault();
        break;
    default:
        out(0xf4, 0);
        break;
    }
    print("it went on\n");
}

void kernel_main(const uint32_t *info)
{
    const uint32_t *module = (const void *)(uintptr_t)info[6];
    const char *word = (const void *)(uintptr_t)module[0];
    uint32_t rounds = 0;

    for (const char *c = word + 1; *c >= '0' && *c <= '9'; c++) {
        rounds = rounds * 10 + (uint32_t)(*c - '0');
    }
    switch (*word) {
    case 'w':
    case 'g':
        work(rounds, *word == 'w');
        break;
    case 'r':
        reset();
        break;
    case 'l':
        print("again\n");
        out(0xcf9, 6);
        break;
    case 'c':
        print("crash\n");
        triple_fault();
        break;
    case 'h':
        __asm__ volatile("sti");
        break;
    default:
        break;
    }
    for (;;) {
        if (*word == 'h') {
            __asm__ volatile("hlt");
        }
    }
}
