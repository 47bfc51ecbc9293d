/* detect_guest.c - a multiboot kernel that looks for marks of a hypervisor, as programs do that
 * want to know: what CPUID says, hypercalls, registers and ports of known ones, makers of PCI
 * functions and of ACPI tables, and where the processor's tables lie.  It prints each mark
 * that it finds, then "done", and switches off. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VECTOR_UD 6
#define VECTOR_GP 13

void kernel_main(void);
extern const uint8_t on_fault[];
volatile uint32_t resume_at, faulted;

static uint64_t idt[32];
static uint64_t gdt[3] = {0, UINT64_C(0x00cf9b000000ffff), UINT64_C(0x00cf93000000ffff)};
uint8_t stack[8192] __attribute__((aligned(16)));

/* The handler goes on at `resume_at`; an error code lies below or not, the stack is kept. */
__asm__(".section .boot, \"ax\"\n.balign 4\n"
        ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
        ".global kernel_start\n"
        "kernel_start: cli\n cld\n mov $stack + 8192, %esp\n call kernel_main\n"
        ".text\n"
        "on_fault: movl $1, faulted\n mov %ebp, %esp\n jmp *resume_at\n"
        ".section .note.GNU-stack, \"\", @progbits\n.text\n");

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

static void print(const char *text)
{
    while (*text != '\0') {
        out8(0x3f8, (uint8_t)*text++);
    }
}

static void mark(const char *what)
{
    print("mark: ");
    print(what);
    print("\n");
}

/* Whether one instruction of three bytes, with these registers, faults. */
#define FAULTS(instruction, a, c)                                                        \
    ({                                                                                   \
        uint32_t ignored_a = (a), ignored_c = (c);                                       \
                                                                                         \
        faulted = 0;                                                                     \
        __asm__ volatile(                                                                \
            "push %%ebp\n movl $1f, resume_at\n mov %%esp, %%ebp\n" instruction          \
            "\n1: pop %%ebp\n"                                                           \
            : "+a"(ignored_a), "+c"(ignored_c)                                           \
            :                                                                            \
            : "edx", "memory");                                                          \
        faulted != 0;                                                                    \
    })

static void load_tables(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) g = {sizeof gdt - 1, (uint32_t)gdt},
                              i = {sizeof idt - 1, (uint32_t)idt}, seen;

    uint32_t at = (uint32_t)on_fault;

    for (unsigned v = 0; v < 32; v++) {
        idt[v] = (at & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32 |
                 (uint64_t)(at >> 16) << 48;
    }
    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n1: mov $16, %%eax\n mov %%eax, %%ds\n"
                     "mov %%eax, %%es\n mov %%eax, %%ss\n lidt %1"
                     :
                     : "m"(g), "m"(i)
                     : "eax", "memory");
    __asm__ volatile("sidt %0" : "=m"(seen));
    if (seen.base != i.base || seen.limit != i.limit) {
        mark("the interrupt table lies elsewhere");
    }
    __asm__ volatile("sgdt %0" : "=m"(seen));
    if (seen.base != g.base || seen.limit != g.limit) {
        mark("the descriptor table lies elsewhere");
    }
}

static void ask_cpuid(void)
{
    uint32_t a = 1, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if ((c >> 31 & 1) != 0) {
        mark("CPUID says that there is one");
    }
    for (uint32_t leaf = 0x40000000; leaf < 0x40010000; leaf += 0x100) {
        a = leaf;
        c = 0;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        if (a >= leaf && a < leaf + 0x100) {
            mark("CPUID has its leaves");
        }
    }
}

static void ask_instructions(void)
{
    static const uint32_t registers[] = {0x4b564d00, 0x4b564d01, 0x4b564d04, 0x11,
                                         0x12,       0x40000000, 0x40000001};

    if (!FAULTS(".byte 0x0f, 0x01, 0xc1", 1, 0)) {
        mark("VMCALL is answered");
    }
    if (!FAULTS(".byte 0x0f, 0x01, 0xd9", 1, 0)) {
        mark("VMMCALL is answered");
    }
    for (unsigned i = 0; i < sizeof registers / sizeof registers[0]; i++) {
        if (!FAULTS("rdmsr; nop", 0, registers[i])) {
            mark("a register of a hypervisor");
        }
    }
    if (FAULTS("rdmsr; nop", 0, 0x1b)) {
        mark("there is no local APIC"); /* the test of the test: faults are not all */
    }
}

static void ask_ports(void)
{
    static const uint16_t ports[] = {0x505, 0x510, 0x511, 0x402, 0xf4, 0xf5};

    for (unsigned i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        if (in8(ports[i]) != 0xff) {
            mark("a port of a hypervisor");
        }
    }
}

static void ask_pci(void)
{
    static const uint16_t makers[] = {0x1af4, 0x1b36, 0x1234, 0x15ad,
                                      0x80ee, 0x5853, 0x1414};

    for (uint32_t f = 0; f < 256; f++) {
        uint32_t v;

        __asm__ volatile("outl %0, %w1" : : "a"(0x80000000u | f << 8), "Nd"(0xcf8));
        __asm__ volatile("inl %w1, %0" : "=a"(v) : "Nd"(0xcfc));
        for (unsigned i = 0; i < sizeof makers / sizeof makers[0]; i++) {
            if ((v & 0xffff) == makers[i]) {
                mark("a PCI function of a hypervisor's maker");
            }
        }
    }
}

/* Where firmware leaves what it says of the board. */
static void ask_names(void)
{
    static const char *const names[] = {"STRATA", "BOCHS ", "QEMU", "KVMKVM",
                                        "VBOX",   "VMWARE", "Xen",  "BXPC"};

    for (uint32_t at = 0xe0000; at < 0xffff0; at++) {
        for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
            const char *c = names[i];
            const char *p = (const char *)at;

            while (*c != '\0' && *c == *p) {
                c++;
                p++;
            }
            if (*c == '\0') {
                mark(names[i]);
                at += 6;
            }
        }
    }
}

void kernel_main(void)
{
    load_tables();
    ask_cpuid();
    ask_instructions();
    ask_ports();
    ask_pci();
    ask_names();
    print("done\n");
    __asm__ volatile("outw %w0, %w1" : : "a"(0x2000 | 5 << 10), "Nd"(0x604));
    for (;;) {
    }
}
