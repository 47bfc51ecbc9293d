/* allocator_guest.c - a multiboot kernel that asks for more than its machine was given: places
 * of devices over other devices and over memory, memory behind its own, processors that are not
 * there, interrupt lines that are none.  It prints "ok WHAT" or "bad WHAT" for each; at
 * "processors" it waits for one that comes, starts it, and lets it go when it is asked back.
 * Sources: PCI 3.0, 6.2.5; QEMU docs/specs/acpi_cpu_hotplug, acpi_mem_hotplug; Intel SDM 3A,
 * 11.6; Intel 82093AA. */
#include <stdbool.h>
#include <stdint.h>

#define RAM_END    0x1000000u /* as the test says */
#define IOAPIC     0xfec00000u
#define APIC       0xfee00000u
#define ECAM       0xe0000000u
#define FREE       0xd0000000u
#define PLUG_CPUS  0xcd8
#define PLUG_RAM   0xa00
#define PLUG_SLOTS 0xae00
#define TRAMPOLINE 0x8000u
#define CAME       (*(volatile uint16_t *)0x9000)
#define SPIN       20000000u
#define SELECT     0 /* virtio 1.2, 4.1.4.3: device_feature_select, which keeps its value */

void kernel_main(void);
uint8_t stack[8192] __attribute__((aligned(16)));

__asm__(".section .text.unlikely, \"ax\"\n.balign 4\n"
        ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
        ".global kernel_start\n"
        "kernel_start: cli\n cld\n mov $stack + 8192, %esp\n call kernel_main\n"
        ".section .note.GNU-stack, \"\", @progbits\n.text\n");

static void print(const char *text)
{
    while (*text != '\0') {
        __asm__ volatile("outb %0, %w1" : : "a"(*text++), "Nd"(0x3f8));
    }
}

static void tell(const char *name, bool is_right)
{
    print(is_right ? "ok " : "bad ");
    print(name);
    print("\n");
}

static void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static uint32_t in32(uint16_t port)
{
    uint32_t v;

    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)address;
}

static uint32_t config(unsigned slot, unsigned reg)
{
    out32(0xcf8, 0x80000000u | slot << 11 | reg);
    return in32(0xcfc);
}

static void set_config(unsigned slot, unsigned reg, uint32_t v)
{
    out32(0xcf8, 0x80000000u | slot << 11 | reg);
    out32(0xcfc, v);
}

/* ---- places ---- */

/* The register with the common part of virtio: the one that keeps what is selected. */
static unsigned find_bar(unsigned slot)
{
    set_config(slot, 4, 2);
    for (unsigned reg = 0x10; reg < 0x28; reg += 4) {
        uint32_t base = config(slot, reg) & ~15u;

        if (base >= FREE - 0x10000000u && base < ECAM) {
            *at(base + SELECT) = slot;
            if (*at(base + SELECT) == slot) {
                return reg;
            }
        }
    }
    return 0;
}

static void try_places(void)
{
    unsigned one = find_bar(1), two = find_bar(2);
    uint32_t first = config(1, one) & ~15u, second = config(2, two) & ~15u;
    uint32_t entries;

    tell("devices", one != 0 && two != 0 && *at(first) == 1 && *at(second) == 2);
    set_config(1, one, FREE);
    tell("a free place", *at(FREE) == 1 && *at(first) == 0xffffffff);
    *at(IOAPIC) = 1;
    entries = *at(IOAPIC + 16);
    set_config(1, one, IOAPIC);
    *at(IOAPIC) = 1;
    tell("over the I/O APIC", *at(IOAPIC + 16) == entries && *at(FREE) == 0xffffffff);
    set_config(1, one, ECAM);
    tell("over configuration space", *at(ECAM) == config(0, 0));
    set_config(1, one, second);
    tell("over another device", *at(second) == 2);
    set_config(2, two, FREE);
    tell("where another device was", *at(second) == 1 && *at(FREE) == 2);
    entries = *at(APIC + 0x30);
    set_config(1, one, APIC);
    tell("over the local APIC", *at(APIC + 0x30) == entries && *at(APIC) == 0);
    *at(0x800000) = 0x12345678;
    set_config(1, one, 0x800000);
    tell("over memory", *at(0x800000) == 0x12345678);
    set_config(1, one, first);
    tell("back again", *at(first) == 1 && *at(0x800000) == 0x12345678);
}

/* ---- memory, interrupt lines ---- */

static void try_memory(void)
{
    bool right = true;

    for (uint32_t a = RAM_END; a < FREE - 0x10000000u; a += 0x1000000) {
        *at(a) = 0x5a5a5a5a;
        right = *at(a) == 0xffffffff && right;
    }
    for (uint32_t slot = 0; slot < 40; slot++) {
        out32(PLUG_RAM, slot);
        out8(PLUG_RAM + 0x14, 0xff);
        out32(PLUG_RAM + 8, 0x10000000);
        out32(PLUG_RAM, slot);
        right = in32(PLUG_RAM + 8) == 0 && (in8(PLUG_RAM + 0x14) & 1) == 0 && right;
    }
    tell("memory", right);
}

static void try_lines(void)
{
    bool right = true;

    for (uint32_t reg = 0x40; reg < 0x100; reg++) {
        *at(IOAPIC) = reg;
        *at(IOAPIC + 16) = 0x31 + reg;
        *at(IOAPIC) = reg;
        right = *at(IOAPIC + 16) != 0x31 + reg && right;
    }
    *at(IOAPIC) = 1;
    *at(IOAPIC + 16) = 0xffffffff;
    tell("lines", right && (*at(IOAPIC + 16) >> 16 & 0xff) == 23);
}

/* ---- processors ---- */

static uint8_t cpu_status(uint32_t n)
{
    out32(PLUG_CPUS, n);
    return in8(PLUG_CPUS + 4);
}

static void let_go(uint32_t n)
{
    out32(PLUG_CPUS, n);
    out8(PLUG_CPUS + 4, 8);
}

static void wait(void)
{
    for (volatile uint32_t n = 0; n < 1000000; n++) {
    }
}

static void start(uint32_t n)
{
    *at(APIC + 0x310) = n << 24;
    *at(APIC + 0x300) = 0x4500;
    *at(APIC + 0x310) = n << 24;
    *at(APIC + 0x300) = 0x4600 | TRAMPOLINE >> 12;
    wait();
}

static void try_processors(void)
{
    static const uint8_t code[] = {0xf0, 0xff, 0x06, 0x00,
                                   0x90, /* lock inc word [0x9000] */
                                   0xfa, 0xf4, 0xeb, 0xfc};
    volatile uint8_t *to = (volatile uint8_t *)TRAMPOLINE;

    for (unsigned i = 0; i < sizeof code; i++) {
        to[i] = code[i];
    }
    CAME = 0;
    for (uint32_t n = 1; n < 16; n++) {
        start(n);
    }
    tell("processors that are not there", CAME == 0 && cpu_status(1) == 0);
    let_go(0);
    let_go(1);
    out32(PLUG_SLOTS + 8, 2); /* the device in slot 1 */
    tell("a device that nobody wants back", config(1, 0) != 0xffffffff);
    tell("the last processor stays", (cpu_status(0) & 1) == 1);
    print("processors\n");
    for (uint32_t n = 0; (cpu_status(1) & 1) == 0 && n < SPIN; n++) {
    }
    start(1);
    for (uint32_t n = 0; CAME == 0 && n < SPIN; n++) {
    }
    start(2);
    tell("one that came", CAME == 1);
    let_go(1); /* nobody asked for it */
    tell("one that nobody wants back", (cpu_status(1) & 1) == 1);
    print("enough\n");
    for (uint32_t n = 0; (cpu_status(1) & 4) == 0 && n < SPIN; n++) {
    }
    let_go(1);
    tell("one that is asked back", cpu_status(1) == 0);
}

void kernel_main(void)
{
    *at(APIC + 0xf0) = 0x1ff;
    try_places();
    try_memory();
    try_lines();
    try_processors();
    print("done\n");
    __asm__ volatile("outw %w0, %w1" : : "a"(0x2000 | 5 << 10), "Nd"(0x604));
    for (;;) {
    }
}
