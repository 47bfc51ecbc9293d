/* hostile_guest.c - a multiboot kernel of 64 bits that executes every privileged instruction and
 * malformed ones, in code of 16, 32 and 64 bits, at level 0 and level 3, round by round, until
 * somebody stops it.
 *
 * Each round starts from the same tables and control registers, with random registers and one
 * case of the module: an instruction of the processor's table as it is, with bits turned and
 * prefixes put before it, or random bytes.  It ends behind the instruction (a jump of level 0,
 * INT3 of level 3), by an exception, or by the timer.  What cannot be come back from - tables
 * that were thrown away, a wait with interrupts closed, devices switched off - the test ends:
 * the kernel begins anew with another seed.
 *
 * Source: Intel SDM volume 3A, chapters 3, 5, 6 and 10.8; multiboot specification 0.6.96. */
#include <stdbool.h>
#include <stdint.h>

#include "hostile.h"

#define CODE      0x400000u /* two megabytes that programs may use: code, then data */
#define DATA      0x500000u
#define APIC      0xfee00000u
#define APIC_BASE 0x1b
#define VECTOR    0x40
#define TSS       0x48
#define TIMER_NS  100000 /* of a round; the APIC's timer counts nanoseconds here */

#define ENDED_JUMP 256 /* beside vectors: the instruction is behind us */

void kernel_main(const uint32_t *info);
void kernel_round(uint64_t vector, const uint64_t *pushed);
_Noreturn void enter(void);
extern const uint8_t stubs[], ended[], header[], _end[];

struct table {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

uint64_t gdt[14] __attribute__((aligned(16))) = {
    0,
    UINT64_C(
        0x00af9b000000ffff), /* 08: level 0: code of 64 bits, data, code of 32, of 16 */
    UINT64_C(0x00cf93000000ffff),
    UINT64_C(0x00cf9b000000ffff), /* 18 */
    UINT64_C(0x008f9b000000ffff), /* 20 */
    UINT64_C(0x00cffb000000ffff), /* 28: level 3: code of 32, data, code of 64, of 16 */
    UINT64_C(0x00cff3000000ffff),
    UINT64_C(0x00affb000000ffff), /* 38 */
    UINT64_C(0x008ffb000000ffff), /* 40 */
    0,
    0, /* 48: the task */
    UINT64_C(0x0000820000000007),
    0, /* 58: a local table */
    0,
};
uint64_t idt[512] __attribute__((aligned(16)));
struct table gdt_at, idt_at;
uint64_t top[512] __attribute__((aligned(4096)));
uint64_t second[512] __attribute__((aligned(4096)));
uint64_t third[4][512] __attribute__((aligned(4096)));
uint32_t task[26] __attribute__((aligned(16)));
uint8_t stack[16384] __attribute__((aligned(16)));
static uint8_t event_stack[4096] __attribute__((aligned(16)));
uint64_t regs[16]; /* of the round: RAX, RCX, ... as they are numbered */
uint64_t frame[5]; /* RIP, CS, RFLAGS, RSP, SS */
uint64_t data_seg; /* DS and ES */
uint64_t good_cr4, good_apic;

static struct hostile_stats *const stats = (void *)(uintptr_t)HOSTILE_STATS_AT;
static const struct hostile_order *order;
static uint64_t seed;

static struct {
    uint32_t number, bytes;
    bool is_user, is_whole; /* at level 3; a privileged one as the table has it */
} now;

/* Into 64 bits, where the tables are made anew by C. */
__asm__(
    ".section .text.unlikely, \"ax\"\n.balign 4\n.code32\n"
    ".global header\nheader: .long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)\n"
    ".long header, header, 0, _end, kernel_start\n"
    ".global kernel_start\n"
    "kernel_start: cli\n cld\n mov $stack + 16384, %esp\n mov %ebx, %esi\n"
    "movl $second + 7, top\n"
    "mov $third + 7, %eax\n mov $second, %edi\n mov $4, %ecx\n"
    "1: mov %eax, (%edi)\n add $4096, %eax\n add $8, %edi\n loop 1b\n"
    "mov $0x83, %eax\n mov $third, %edi\n mov $2048, %ecx\n"
    "2: mov %eax, (%edi)\n add $0x200000, %eax\n add $8, %edi\n loop 2b\n"
    "orl $4, third + 16\n" /* CODE */
    "mov $0x620, %eax\n mov %eax, %cr4\n mov $top, %eax\n mov %eax, %cr3\n"
    "mov $0xc0000080, %ecx\n mov $0x901, %eax\n xor %edx, %edx\n wrmsr\n"
    "mov $0x80000033, %eax\n mov %eax, %cr0\n"
    "lgdt early\n ljmp $8, $3f\n"
    "early: .word 111\n .long gdt\n"
    ".code64\n3: mov $16, %eax\n mov %eax, %ss\n mov %esi, %edi\n call kernel_main\n");

/* A round ends here, whatever is left; the next one begins. */
__asm__(
    ".text\n"
    ".balign 16\nstubs:\n.set n, 0\n.rept 256\n.balign 16\n"
    " pushq $n\n jmp event\n.set n, n + 1\n.endr\n"
    "event: popq %rdi\n mov %rsp, %rsi\n jmp settle\n"
    "ended: mov $256, %edi\n"
    "settle: cli\n mov $stack + 16384, %esp\n"
    "lgdt gdt_at\n lidt idt_at\n"
    "mov $top, %eax\n mov %rax, %cr3\n"
    "mov $0x80000033, %eax\n mov %rax, %cr0\n"
    "mov good_cr4, %rax\n mov %rax, %cr4\n"
    "mov $0xc0000080, %ecx\n mov $0xd01, %eax\n xor %edx, %edx\n wrmsr\n"
    "mov $16, %eax\n mov %eax, %ss\n pushq $2\n popfq\n cld\n"
    "xor %eax, %eax\n mov %rax, %cr8\n mov %eax, %fs\n mov %eax, %gs\n lldt %ax\n"
    "mov $0x400, %eax\n mov %rax, %dr7\n"
    "andb $~2, gdt + 0x4d\n mov $0x48, %eax\n ltr %ax\n"
    "jmp kernel_round\n"
    ".global enter\nenter: mov data_seg, %eax\n mov %eax, %ds\n mov %eax, %es\n"
    "pushq frame + 32\n pushq frame + 24\n pushq frame + 16\n pushq frame + 8\n"
    "pushq frame\n"
    "mov regs, %rax\n mov regs + 8, %rcx\n mov regs + 16, %rdx\n mov regs + 24, %rbx\n"
    "mov regs + 40, %rbp\n mov regs + 48, %rsi\n mov regs + 56, %rdi\n"
    "mov regs + 64, %r8\n mov regs + 72, %r9\n mov regs + 80, %r10\n"
    "mov regs + 88, %r11\n mov regs + 96, %r12\n mov regs + 104, %r13\n"
    "mov regs + 112, %r14\n mov regs + 120, %r15\n iretq\n"
    ".section .note.GNU-stack, \"\", @progbits\n.text\n");

static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint32_t below(uint32_t n)
{
    return (uint32_t)(next() >> 33) % n;
}

static uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static void write_msr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr));
}

static void apic(uint32_t reg, uint32_t v)
{
    *(volatile uint32_t *)(uintptr_t)(APIC + reg) = v;
}

/* Also out of what a round made of it: to x2APIC mode there is no way back but by "off". */
static void set_timer(void)
{
    write_msr(APIC_BASE, good_apic & ~UINT64_C(0xc00));
    write_msr(APIC_BASE, good_apic);
    apic(0xf0, 0x1ff);
    apic(0x320, VECTOR);
    apic(0x3e0, 0xb);
}

static void make_tables(void)
{
    uint64_t base = (uintptr_t)task;

    for (unsigned v = 0; v < 256; v++) {
        uint64_t to = (uintptr_t)stubs + v * 16;

        idt[v * 2] = (to & 0xffff) | UINT64_C(8) << 16 | UINT64_C(1) << 32 |
                     (v == 3 ? UINT64_C(0xee00) : UINT64_C(0x8e00)) << 32 |
                     (to >> 16 & 0xffff) << 48;
        idt[v * 2 + 1] = 0;
    }
    gdt[TSS / 8] = 103 | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40;
    gdt[TSS / 8 + 1] = 0;
    task[9] = (uint32_t)(uintptr_t)(event_stack + sizeof event_stack); /* IST 1 */
    task[25] = 104 << 16; /* no map of ports */
    gdt_at = (struct table){sizeof gdt - 1, (uintptr_t)gdt};
    idt_at = (struct table){sizeof idt - 1, (uintptr_t)idt};
}

/* ---- a round ---- */

static uint64_t choose_value(void)
{
    static const uint32_t known[] = {
        0x80000033, 0x80010033, 0x620,      0x6f8,      0x1b,       0x10,       0x277,
        0xc0000080, 0xc0000081, 0xc0000100, 0xc0000102, 0xfee00900, 0x6e0,      0x808,
        0x830,      0x83f,      0x4b564d00, 0x4b564d03, 0x11,       0x3f8,      0x20,
        0x21,       0x40,       0x43,       0x60,       0x70,       0xcf8,      0xcfc,
        0x80000800, 0x604,      0xfee00300, 0xfee00380, 0xfec00000, 0x48,       0x58,
        0x38,       0x7,        0xd01,      0x100,      0x40000000, 0xffffffff,
    };

    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        return DATA + below(0x80000);
    case 3:
        return below(0x1000);
    case 4:
        return next();
    case 5:
        return (uint32_t)next();
    case 6:
        return (uintptr_t)top;
    default:
        return known[below(sizeof known / sizeof known[0])];
    }
}

static void choose_registers(unsigned mode)
{
    static const uint8_t code[2][3] = {{0x20, 0x18, 0x08}, {0x43, 0x2b, 0x3b}};

    for (unsigned n = 0; n < 16; n++) {
        regs[n] = choose_value();
    }
    frame[0] = CODE;
    frame[1] = code[now.is_user][mode];
    frame[2] = (next() & 0x240cd5) | 0x202 | (below(16) == 0 ? 0x100 : 0);
    frame[3] = DATA + 0x80000 + below(0x1000);
    frame[4] = now.is_user ? 0x33 : 0x10;
    data_seg = frame[4];
}

static void put_ending(uint8_t *to, unsigned mode)
{
    uint64_t target = (uintptr_t)ended;

    if (now.is_user) {
        *to = 0xcc;
    } else if (mode == 2) {
        to[0] = 0xff;
        to[1] = 0x25;
        *(uint32_t *)(to + 2) = 0;
        *(uint64_t *)(to + 6) = target;
    } else {
        *to = 0x66;
        to += mode == 0;
        *to = 0xea;
        *(uint32_t *)(to + 1) = (uint32_t)target;
        *(uint16_t *)(to + 5) = 8;
    }
}

/* An instruction with prefixes before it and bits turned. */
static uint32_t put_damaged(uint8_t *to, const struct hostile_case *c)
{
    static const uint8_t prefix[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64,
                                     0x40, 0x48, 0x4f, 0xc4, 0xc5, 0x0f};
    uint32_t n = 0;

    for (unsigned more = below(4); more > 0; more--) {
        to[n++] = prefix[below(sizeof prefix)];
    }
    for (unsigned i = 0; i < c->bytes; i++) {
        to[n++] = c->code[i] ^ (below(6) == 0 ? (uint8_t)(1 << below(8)) : 0);
    }
    return n;
}

static uint32_t put_random(uint8_t *to)
{
    uint32_t n = 1 + below(15);

    for (uint32_t i = 0; i < n; i++) {
        to[i] = (uint8_t)next();
    }
    return n;
}

static void put_code(void)
{
    uint8_t *to = (uint8_t *)(uintptr_t)CODE;
    unsigned kind = below(8);
    const struct hostile_case *c;
    unsigned mode;

    now.is_whole = kind < 4;
    now.is_user = kind > 2 && kind < 7;
    now.number = below(now.is_whole ? order->privileged : order->cases);
    c = &order->one[now.number];
    mode = c->mode;
    if (now.is_whole) {
        stats->tried[now.is_user][now.number / 64] |= UINT64_C(1) << now.number % 64;
    }
    if (kind < 5) {
        now.bytes = c->bytes;
        for (uint32_t i = 0; i < now.bytes; i++) {
            to[i] = c->code[i];
        }
    } else if (kind == 5 || below(2) == 0) {
        now.bytes = put_damaged(to, c);
    } else {
        mode = below(3);
        now.bytes = put_random(to);
    }
    put_ending(to + now.bytes, mode);
    choose_registers(mode);
}

/* The kernel itself is damaged: it would fault in every round from here on. */
static _Noreturn void give_up(void)
{
    static const struct table none = {0, 0};

    __asm__ volatile("lidt %0\n int3" : : "m"(none));
    __builtin_unreachable();
}

static void note(uint64_t vector, uint64_t rip)
{
    bool is_behind = vector == ENDED_JUMP ||
                     (vector == 3 && now.is_user && rip == CODE + now.bytes + 1);

    stats->completed += is_behind;
    stats->illegal += vector == 6;
    stats->faults += vector < 32 && vector != 6 && !is_behind;
    stats->interrupts += vector >= 32 && vector < ENDED_JUMP;
    if (is_behind && now.is_user && now.is_whole) {
        stats->escaped++;
        stats->last_case = now.number;
    }
    stats->rounds++;
    stats->check = hostile_check(stats);
}

/* Where an event came from; `pushed` may begin with an error code. */
static uint64_t find_rip(uint64_t vector, const uint64_t *pushed)
{
    const uint32_t with_code = 0x60227d00; /* 8, 10 to 14, 17, 21, 29, 30 */

    return vector == ENDED_JUMP ? 0 : pushed[vector < 32 && (with_code >> vector & 1)];
}

void kernel_round(uint64_t vector, const uint64_t *pushed)
{
    uint64_t rip = find_rip(vector, pushed);

    if (rip >= (uintptr_t)header && rip < (uintptr_t)_end && vector < 32) {
        give_up();
    }
    note(vector, rip);
    if (vector >= 32 && vector < ENDED_JUMP) {
        apic(0xb0, 0);
    }
    if (read_msr(APIC_BASE) != good_apic) {
        set_timer();
    }
    put_code();
    apic(0x380, TIMER_NS);
    enter();
}

void kernel_main(const uint32_t *info)
{
    const uint32_t *module = (const uint32_t *)(uintptr_t)info[6];

    order = (const void *)(uintptr_t)module[0];
    seed = order->seed;
    __asm__ volatile("mov %%cr4, %0" : "=r"(good_cr4));
    good_apic = read_msr(APIC_BASE);
    make_tables();
    set_timer();
    write_msr(0xc0000081, UINT64_C(0x0028000800000000));
    write_msr(0xc0000082, (uintptr_t)ended);
    __asm__ volatile("outb %%al, $0x21\n outb %%al, $0xa1" : : "a"(0xff));
    /* The first round begins as every other: behind one that was none. */
    __asm__ volatile("jmp ended" : : : "memory");
    __builtin_unreachable();
}
