/* steps_guest.c - a multiboot kernel that notes all that could differ between two runs of it: where
 * interrupts come and at what time, counters and clocks, random numbers by instruction and by
 * device, how long a disk takes and in which order it answers.  It prints a digest of all.
 *
 * Slot 1 is a virtio disk, slot 2 a virtio entropy device (VIRTIO 1.2, 4.1, 5.2, 5.4). */
#include <stddef.h>
#include <stdint.h>

#define TICK_VECTOR 0x20
#define ROUNDS      48u
#define CELLS       4096u
#define BATCH       6u  /* requests to the disk at once */
#define RING        64u /* descriptors */
#define PIT_DIVISOR 1193u

void kernel_main(void);
void note_tick(const uint32_t *frame);
extern const uint8_t on_tick[];
extern uint8_t rewritten[];

struct desc {
    uint64_t at;
    uint32_t bytes;
    uint16_t flags, next;
};

struct avail {
    uint16_t flags, idx, ring[RING], event;
};

struct used {
    uint16_t flags, idx;

    struct {
        uint32_t id, bytes;
    } ring[RING];

    uint16_t event;
};

struct queue {
    struct desc desc[RING];
    struct avail avail;
    struct used used __attribute__((aligned(4)));
    uint32_t notify;
    uint16_t seen;
};

struct head {
    uint32_t type, reserved;
    uint64_t sector;
};

static uint64_t idt[64];
static uint64_t gdt[3] = {0, UINT64_C(0x00cf9b000000ffff), UINT64_C(0x00cf93000000ffff)};
static uint32_t cells[CELLS];
static struct queue disk __attribute__((aligned(4096)));
static struct queue rng __attribute__((aligned(4096)));
static struct head heads[BATCH];
static uint8_t data[BATCH][65536], status[BATCH], numbers[64];
static volatile uint32_t ticks, digest = 1;
uint8_t stack[8192] __attribute__((aligned(16)));

__asm__(".section .boot, \"ax\"\n.balign 4\n"
        ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
        ".global kernel_start\n"
        "kernel_start: cli\n cld\n mov $stack + 8192, %esp\n call kernel_main\n"
        ".text\n"
        "on_tick: pusha\n push %esp\n call note_tick\n pop %eax\n popa\n iret\n"
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

static void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static uint8_t in(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static uint32_t tsc(void)
{
    uint32_t low;

    __asm__ volatile("rdtsc" : "=a"(low) : : "edx");
    return low;
}

static void fold(uint32_t v)
{
    digest = (digest ^ v) * 16777619u + (digest >> 13);
}

/* EIP is behind the eight registers. */
void note_tick(const uint32_t *frame)
{
    ticks++;
    fold(frame[8]);
    fold(tsc());
    out(0x20, 0x20);
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

static void start_ticks(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) g = {sizeof gdt - 1, (uint32_t)gdt},
                              i = {sizeof idt - 1, (uint32_t)idt};

    static const uint8_t words[] = {0x11, TICK_VECTOR, 4, 1};
    uint32_t at = (uint32_t)on_tick;

    idt[TICK_VECTOR] = (at & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32 |
                       (uint64_t)(at >> 16) << 48;
    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n1: mov $16, %%eax\n mov %%eax, %%ds\n"
                     "mov %%eax, %%es\n mov %%eax, %%ss\n lidt %1"
                     :
                     : "m"(g), "m"(i)
                     : "eax", "memory");
    __asm__ volatile("rdmsr\n and $~0x800, %%eax\n wrmsr" : : "c"(0x1b) : "eax", "edx");
    out(0x20, words[0]);
    for (unsigned n = 1; n < 4; n++) {
        out(0x21, words[n]);
    }
    out(0x21, 0xfe);
    out(0x43, 0x34);
    out(0x40, PIT_DIVISOR & 0xff);
    out(0x40, PIT_DIVISOR >> 8);
    __asm__ volatile("sti");
}

/* ---- virtio ---- */

static volatile uint8_t *reg8(uint32_t at)
{
    return (volatile uint8_t *)at;
}

static volatile uint16_t *reg16(uint32_t at)
{
    return (volatile uint16_t *)at;
}

static volatile uint32_t *reg32(uint32_t at)
{
    return (volatile uint32_t *)at;
}

static void set_config(unsigned slot, unsigned reg, uint32_t v)
{
    out32(0xcf8, 0x80000000u | slot << 11 | reg);
    out32(0xcfc, v);
}

/* One queue, no interrupts. */
static void start_device(unsigned slot, struct queue *q)
{
    uint32_t base = 0xc8000000u + slot * 0x100000;

    set_config(slot, 0x20, base);
    set_config(slot, 0x24, 0);
    set_config(slot, 4, 6);
    *reg8(base + 20) = 3;
    *reg32(base + 8) = 1;
    *reg32(base + 12) = 1; /* VERSION_1 */
    *reg8(base + 20) = 11;
    *reg16(base + 22) = 0;
    *reg16(base + 24) = RING;
    *reg32(base + 32) = (uint32_t)q->desc;
    *reg32(base + 36) = 0;
    *reg32(base + 40) = (uint32_t)&q->avail;
    *reg32(base + 44) = 0;
    *reg32(base + 48) = (uint32_t)&q->used;
    *reg32(base + 52) = 0;
    q->notify = base + 0x3000 + *reg16(base + 30) * 4u;
    *reg16(base + 28) = 1;
    *reg8(base + 20) = 15;
}

static void offer(struct queue *q, uint16_t first)
{
    q->avail.ring[q->avail.idx % RING] = first;
    __asm__ volatile("" : : : "memory");
    q->avail.idx++;
}

/* Until that many are there; how long that took, and their order. */
static void await(struct queue *q, unsigned n)
{
    uint32_t looks = 0;

    __asm__ volatile("" : : : "memory");
    *reg16(q->notify) = 0;
    while ((uint16_t)(*(volatile uint16_t *)&q->used.idx - q->seen) < n) {
        looks++;
    }
    fold(looks);
    for (; n > 0; n--) {
        fold(q->used.ring[q->seen % RING].id);
        fold(q->used.ring[q->seen % RING].bytes);
        q->seen++;
    }
}

static void ask_for_numbers(void)
{
    rng.desc[0] = (struct desc){(uint32_t)numbers, sizeof numbers, 2, 0};
    offer(&rng, 0);
    await(&rng, 1);
    for (unsigned i = 0; i < sizeof numbers; i++) {
        fold(numbers[i]);
    }
}

/* Requests of very different sizes, at once. */
static void ask_disk(uint32_t type)
{
    for (unsigned i = 0; i < BATCH; i++) {
        struct desc *d = &disk.desc[i * 3];
        uint32_t bytes = i % 2 == 0 ? sizeof data[i] : 512;

        heads[i] = (struct head){.type = type, .sector = i * 128};
        d[0] = (struct desc){(uint32_t)&heads[i], 16, 1, (uint16_t)(i * 3 + 1)};
        d[1] = (struct desc){(uint32_t)data[i], bytes, (uint16_t)(type == 0 ? 3 : 1),
                             (uint16_t)(i * 3 + 2)};
        d[2] = (struct desc){(uint32_t)&status[i], 1, 2, 0};
        data[i][0] = (uint8_t)digest;
        offer(&disk, (uint16_t)(i * 3));
    }
    await(&disk, BATCH);
    for (unsigned i = 0; i < BATCH; i++) {
        fold(status[i] << 8 | data[i][0]);
    }
}

/* ---- what it does ---- */

static void compute(uint32_t round)
{
    uint32_t (*call)(void) = (uint32_t(*)(void))(uintptr_t)rewritten;
    uint32_t state = round;

    for (unsigned n = 0; n < 4; n++) {
        rewritten[1 + n] = (uint8_t)(round * 0x9e3779b9u >> (n * 8));
    }
    for (uint32_t i = 0; i < CELLS; i++) {
        state = state * 1664525u + 1013904223u;
        cells[i] = (cells[i] ^ state) + (cells[i] >> 7);
        state += cells[state >> 20];
    }
    fold(state ^ call());
}

static void read_clocks(void)
{
    uint32_t random = 0;

    fold(tsc());
    __asm__ volatile("1: rdrand %0\n jnc 1b" : "=r"(random) : : "cc");
    fold(random);
    out(0x43, 0);
    fold(in(0x40));
    fold(in(0x40));
    for (unsigned i = 0; i < 10; i++) { /* seconds to year */
        out(0x70, (uint8_t)i);
        fold(in(0x71));
    }
}

void kernel_main(void)
{
    start_ticks();
    start_device(1, &disk);
    start_device(2, &rng);
    print("begin\n");
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        compute(round);
        read_clocks();
        if (round % 4 == 0) {
            ask_for_numbers();
            ask_disk(1);
            ask_disk(0);
        }
        if (round % 5 == 0) {
            __asm__ volatile("hlt");
        }
    }
    __asm__ volatile("cli");
    print_number("ticks ", ticks);
    print_number("digest ", digest);
    out(0xf4, 0);
}
