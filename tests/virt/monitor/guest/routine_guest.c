/* routine_guest.c - a multiboot kernel that executes every privileged and I/O instruction, and
 * uses every register, leaf and call of its monitor, once, and looks at what its machine has
 * become by it (Intel SDM volumes 2 and 3A; Linux, Documentation/virt/kvm/x86).  It prints
 * "ok NAME" or "bad NAME" for each, names of rows of the processor's table or of the monitor's,
 * and leaves by OUT_IB_EAX. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VECTOR_TIMER 0x40
#define VECTOR_CALL  0x41
#define UD           7 /* `faulted`: a vector, plus one */
#define GP           14
#define APIC         0xfee00000u
#define X2APIC       0x800u
#define PAGED        0x800000u
#define STAR_BASES   0xc0000081u
#define EFER         0xc0000080u

void kernel_main(void);
extern const uint8_t on_fault_0[], on_timer[], on_call[], on_sysenter[], on_syscall[],
    on_ud_64[];
volatile uint32_t resume_at, faulted, ticks, calls, saved_stack, level_cs;
volatile uint64_t kernel_gs, now_gs;

static uint64_t idt[0x42];
uint64_t idt_64[16] __attribute__((aligned(16)));
static uint64_t gdt[12] = {
    0,
    UINT64_C(0x00cf9b000000ffff), /* 08: code, data of level 0 */
    UINT64_C(0x00cf93000000ffff),
    UINT64_C(0x00cffb000000ffff), /* 18: ... of level 3 */
    UINT64_C(0x00cff3000000ffff),
    UINT64_C(0x00affb000000ffff), /* 28: code of 64 bits, level 3 */
    UINT64_C(0x00af9b000000ffff), /* 30: ... level 0, and its data */
    UINT64_C(0x00cf93000000ffff),
    UINT64_C(0x0000820000000007), /* 40: a local table */
    UINT64_C(0x0000890000000067), /* 48: a task */
};

struct table {
    uint16_t limit;
    uint32_t base;
    uint32_t high;
} __attribute__((packed));

struct table idt_64_at;
uint8_t stack[8192] __attribute__((aligned(16)));
uint8_t user_stack[4096] __attribute__((aligned(16)));
uint32_t area[1024] __attribute__((aligned(4096)));
static uint32_t page_a[1024] __attribute__((aligned(4096)));
static uint32_t page_b[1024] __attribute__((aligned(4096)));
static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t pages[1024] __attribute__((aligned(4096)));
uint64_t top_64[512] __attribute__((aligned(4096)));
static uint64_t second_64[512] __attribute__((aligned(4096)));
static uint64_t third_64[512] __attribute__((aligned(4096)));

__asm__(".section .text.unlikely, \"ax\"\n.balign 4\n"
        ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
        ".global kernel_start\n"
        "kernel_start: cli\n cld\n mov $stack + 8192, %esp\n call kernel_main\n"
        ".text\n"
        ".balign 16\non_fault_0:\n.set n, 0\n.rept 32\n.balign 16\n"
        " movl $n + 1, faulted\n jmp on_fault\n.set n, n + 1\n.endr\n"
        "on_fault: mov %ebp, %esp\n jmp *resume_at\n"
        "on_timer: incl ticks\n movl $0, 0xfee000b0\n iret\n"
        "on_call: incl calls\n push %eax\n push %ecx\n push %edx\n"
        " mov $0x80b, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr\n"
        " pop %edx\n pop %ecx\n pop %eax\n iret\n"
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

/* Goes on behind `code` when that faults.  What it names in memory is global. */
#define TRY(code, ...)                                                                   \
    ({                                                                                   \
        faulted = 0;                                                                     \
        __asm__ volatile("push %%ebp\n movl $1f, resume_at\n mov %%esp, %%ebp\n" code    \
                         "\n1: pop %%ebp\n" __VA_ARGS__);                                \
    })

static void put_gate(unsigned vector, const uint8_t *to)
{
    uint32_t at = (uint32_t)to;

    idt[vector] = (at & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32 |
                  (uint64_t)(at >> 16) << 48;
}

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                     : "a"(leaf), "c"(subleaf));
}

static bool has(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
    uint32_t r[4];

    cpuid(leaf, subleaf, r);
    return (r[reg] >> bit & 1) != 0;
}

static uint64_t read_msr(uint32_t msr)
{
    uint32_t low = 0, high = 0;

    TRY("rdmsr", : "+a"(low), "+d"(high) : "c"(msr) : "memory");
    return (uint64_t)high << 32 | low;
}

static bool write_msr(uint32_t msr, uint64_t v)
{
    TRY("wrmsr", : : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr) : "memory");
    return faulted == 0;
}

static uint32_t flags(void)
{
    uint32_t f;

    __asm__ volatile("pushfl\n pop %0" : "=r"(f));
    return f;
}

static uint32_t cr(unsigned n)
{
    uint32_t v;

    switch (n) {
    case 0:
        __asm__ volatile("mov %%cr0, %0" : "=r"(v));
        break;
    case 2:
        __asm__ volatile("mov %%cr2, %0" : "=r"(v));
        break;
    default:
        __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    }
    return v;
}

static void set_cr4(uint32_t v)
{
    __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}

/* ---- instructions ---- */

static void try_tables(void)
{
    static struct table g = {sizeof gdt - 1, (uint32_t)gdt, 0},
                        i = {sizeof idt - 1, (uint32_t)idt, 0}, seen, other;
    uint32_t selector;

    for (unsigned v = 0; v < 32; v++) {
        put_gate(v, on_fault_0 + v * 16);
    }
    put_gate(VECTOR_TIMER, on_timer);
    put_gate(VECTOR_CALL, on_call);
    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n1: mov $16, %%eax\n mov %%eax, %%ds\n"
                     "mov %%eax, %%es\n mov %%eax, %%ss\n lidt %1"
                     :
                     : "m"(g), "m"(i)
                     : "eax", "memory");
    other = g;
    other.limit -= 8;
    __asm__ volatile("lgdt %1\n sgdt %0\n lgdt %2" : "=m"(seen) : "m"(other), "m"(g));
    tell("LGDT", seen.limit == other.limit && seen.base == other.base);
    other = i;
    other.limit -= 8;
    __asm__ volatile("lidt %1\n sidt %0\n lidt %2" : "=m"(seen) : "m"(other), "m"(i));
    tell("LIDT", seen.limit == other.limit && seen.base == other.base);
    gdt[8] |= (uint64_t)((uint32_t)gdt & 0xffffff) << 16;
    gdt[9] |= (uint64_t)((uint32_t)area & 0xffffff) << 16;
    TRY("lldt %%ax\n sldt %%ax", : "=a"(selector) : "a"(0x40));
    tell("LLDT", faulted == 0 && (selector & 0xffff) == 0x40);
    TRY("ltr %%ax\n str %%ax", : "=a"(selector) : "a"(0x48) : "memory");
    tell("LTR", faulted == 0 && (selector & 0xffff) == 0x48 &&
                    (gdt[9] >> 40 & 0xff) == 0x8b); /* busy */
}

static void try_ports(void)
{
    uint32_t v = 0x5a;
    void *at = area;

    __asm__ volatile("outb %%al, $0x21\n mov $0, %%al\n inb $0x21, %%al" : "+a"(v));
    tell("OUT_IB_AL", v == 0x5a);
    tell("IN_AL_IB", v == 0x5a);
    v = 0xa5;
    __asm__ volatile("outb %%al, %w1\n mov $0, %%al\n inb %w1, %%al"
                     : "+a"(v)
                     : "d"(0x21));
    tell("OUT_DX_AL", v == 0xa5);
    tell("IN_AL_DX", v == 0xa5);
    v = 0x80001234;
    __asm__ volatile("outl %%eax, %w1\n xor %%eax, %%eax\n inl %w1, %%eax"
                     : "+a"(v)
                     : "d"(0xcf8));
    tell("OUT_DX_EAX", v == 0x80001234);
    tell("IN_EAX_DX", v == 0x80001234);
    __asm__ volatile("inl $0xe0, %%eax" : "=a"(v)); /* nobody is there */
    tell("IN_EAX_IB", v == 0xffffffff);
    area[0] = 0x80005678;
    __asm__ volatile("outsl" : "+S"(at) : "d"(0xcf8) : "memory");
    area[0] = 0;
    at = area;
    __asm__ volatile("insl" : "+D"(at) : "d"(0xcf8) : "memory");
    tell("OUTS_Z", area[0] == 0x80005678 && at == area + 1);
    tell("INS_Z", area[0] == 0x80005678 && at == area + 1);
    area[0] = 0xff;
    at = area;
    __asm__ volatile("outsb" : "+S"(at) : "d"(0x21) : "memory");
    area[0] = 0;
    at = area;
    __asm__ volatile("insb" : "+D"(at) : "d"(0x21) : "memory");
    tell("OUTS_B", area[0] == 0xff && at == (uint8_t *)area + 1);
    tell("INS_B", area[0] == 0xff && at == (uint8_t *)area + 1);
    __asm__ volatile("outb %%al, $0xa1" : : "a"(0xff)); /* no line interrupts */
}

static void apic(uint32_t reg, uint32_t v)
{
    *(volatile uint32_t *)(APIC + reg) = v;
}

static void try_waiting(void)
{
    uint32_t a = (uint32_t)area, c = 0, d = 0, first;

    __asm__ volatile("sti");
    tell("STI", (flags() & 0x200) != 0);
    __asm__ volatile("cli");
    tell("CLI", (flags() & 0x200) == 0);
    apic(0xf0, 0x1ff);
    apic(0x320, VECTOR_TIMER);
    apic(0x3e0, 0xb);
    apic(0x380, 20000000); /* 20 ms */
    first = ticks;
    __asm__ volatile("sti\n hlt\n cli" : : : "memory");
    tell("HLT", first == 0 && ticks == 1);
    TRY("monitor", : "+a"(a), "+c"(c), "+d"(d));
    tell("MONITOR", (faulted == 0 || faulted == UD) && a == (uint32_t)area && c == 0);
    a = 0;
    TRY("mwait", : "+a"(a), "+c"(c));
    tell("MWAIT", (faulted == 0 || faulted == UD) && a == 0 && c == 0);
}

static void try_registers(void)
{
    uint32_t v = 0x12345000, low = 3, high = 0;

    __asm__ volatile("mov %0, %%cr2" : : "r"(v));
    tell("MOV_C_R", cr(2) == v);
    tell("MOV_R_C", cr(2) == v && (cr(0) & 1) == 1);
    __asm__ volatile("mov %1, %%dr0\n mov %%dr0, %0" : "=r"(v) : "r"(0x1234567));
    tell("MOV_D_R", v == 0x1234567);
    tell("MOV_R_D", v == 0x1234567);
    __asm__ volatile("lmsw %w0" : : "r"((cr(0) & 0xffff) | 8));
    tell("LMSW", (cr(0) & 8) != 0);
    __asm__ volatile("clts");
    tell("CLTS", (cr(0) & 8) == 0);
    tell("WRMSR", write_msr(0x174, 8));
    tell("RDMSR", read_msr(0x174) == 8 && (read_msr(0xffff), faulted == GP));
    if (has(1, 0, 2, 26)) {
        set_cr4(cr(4) | 1u << 18 | 1u << 9);
    }
    TRY("xsetbv", : : "a"(low), "d"(high), "c"(0));
    if (has(1, 0, 2, 26)) {
        low = 0;
        TRY("xgetbv", : "=a"(low), "=d"(high) : "c"(0));
        tell("XSETBV", faulted == 0 && low == 3);
    } else {
        tell("XSETBV", faulted == UD);
    }
    if (has(7, 0, 1, 20)) {
        TRY("stac", :);
        tell("STAC", faulted == 0 && (flags() >> 18 & 1) == 1);
        TRY("clac", :);
        tell("CLAC", faulted == 0 && (flags() >> 18 & 1) == 0);
    } else {
        TRY("stac", :);
        tell("STAC", faulted == UD);
        TRY("clac", :);
        tell("CLAC", faulted == UD);
    }
}

static void try_compact_state(void)
{
    bool offered = has(0xd, 1, 0, 3);

    for (unsigned i = 0; i < 1024; i++) {
        area[i] = 0;
    }
    TRY("xsaves area", : : "a"(3), "d"(0) : "memory");
    /* XCOMP_BV, SDM volume 1, 13.4.2. */
    tell("XSAVES", offered ? faulted == 0 && area[131] == 0x80000000 : faulted == UD);
    TRY("xrstors area", : : "a"(3), "d"(0) : "memory");
    tell("XRSTORS", offered ? faulted == 0 : faulted == UD);
}

static void try_caches(void)
{
    volatile uint32_t *paged = (volatile uint32_t *)PAGED;
    static uint32_t all[4];
    bool right;

    area[0] = 0x77;
    __asm__ volatile("wbinvd" : : : "memory");
    tell("WBINVD", *(volatile uint32_t *)area == 0x77);
    __asm__ volatile("invd" : : : "memory");
    tell("INVD", *(volatile uint32_t *)area == 0x77);
    for (uint32_t n = 0; n < 1024; n++) {
        directory[n] = n << 22 | 0x83;
    }
    directory[PAGED >> 22] = (uint32_t)pages | 3;
    pages[0] = (uint32_t)page_a | 3;
    page_a[0] = 0xa;
    page_b[0] = 0xb;
    set_cr4(cr(4) | 1u << 4);
    __asm__ volatile("mov %0, %%cr3\n mov %%cr0, %%eax\n or $0x80000000, %%eax\n"
                     "mov %%eax, %%cr0"
                     :
                     : "r"(directory)
                     : "eax", "memory");
    right = *paged == 0xa;
    pages[0] = (uint32_t)page_b | 3;
    __asm__ volatile("invlpg (%0)" : : "r"(paged) : "memory");
    tell("INVLPG", right && *paged == 0xb);
    pages[0] = (uint32_t)page_a | 3;
    TRY("invpcid (%0), %1", : : "r"(all), "r"(2) : "memory");
    tell("INVPCID", has(7, 0, 1, 10) ? faulted == 0 && *paged == 0xa : faulted == UD);
    __asm__ volatile("mov %%cr0, %%eax\n and $0x7fffffff, %%eax\n mov %%eax, %%cr0"
                     :
                     :
                     : "eax", "memory");
}

static void try_sysexit(void)
{
    (void)write_msr(0x175, (uint32_t)stack + 2048);
    (void)write_msr(0x176, (uint32_t)on_sysenter);
    __asm__ volatile(
        "push %%ebp\n mov %%esp, saved_stack\n mov $1f, %%edx\n"
        "mov $user_stack + 4096, %%ecx\n sysexit\n"
        "1: mov %%cs, %%eax\n sysenter\n"
        "on_sysenter: mov saved_stack, %%esp\n mov %%eax, level_cs\n pop %%ebp"
        :
        :
        : "eax", "ecx", "edx", "memory", "cc");
    tell("SYSEXIT", level_cs == 0x1b);
}

/* 64 bits, and back: what they found lies in globals.  `area` is saved at the end. */
static void go_long(void)
{
    uint32_t at = (uint32_t)on_ud_64;

    idt_64[12] = (at & 0xffff) | UINT64_C(0x30) << 16 | UINT64_C(0x8e00) << 32 |
                 (uint64_t)(at >> 16) << 48;
    idt_64_at = (struct table){sizeof idt_64 - 1, (uint32_t)idt_64, 0};
    top_64[0] = (uint32_t)second_64 | 7;
    for (uint64_t n = 0; n < 512; n++) {
        second_64[n] = n == 0 ? (uint32_t)third_64 | 7 : 0;
        third_64[n] = n << 21 | 0x87;
    }
    (void)write_msr(STAR_BASES, UINT64_C(0x0018003000000000));
    (void)write_msr(STAR_BASES + 1, (uint32_t)on_syscall);
    level_cs = 0;
    faulted = 0;
    __asm__ volatile(
        "pushal\n mov %%esp, saved_stack\n"
        "mov %%cr4, %%eax\n or $0x20, %%eax\n mov %%eax, %%cr4\n"
        "mov $top_64, %%eax\n mov %%eax, %%cr3\n"
        "mov $0xc0000080, %%ecx\n rdmsr\n or $0x101, %%eax\n wrmsr\n"
        "mov %%cr0, %%eax\n or $0x80000000, %%eax\n mov %%eax, %%cr0\n"
        "ljmp $0x30, $1f\n"
        ".code64\n1: xor %%r15d, %%r15d\n lidt idt_64_at(%%r15d)\n"
        "mov $0xc0000101, %%ecx\n mov $0x1111, %%eax\n xor %%edx, %%edx\n wrmsr\n"
        "mov $0xc0000102, %%ecx\n mov $0x2222, %%eax\n wrmsr\n"
        "swapgs\n"
        "rdmsr\n mov %%eax, kernel_gs(%%r15d)\n"
        "mov $0xc0000101, %%ecx\n rdmsr\n mov %%eax, now_gs(%%r15d)\n"
        "mov $2f, %%ecx\n mov $2, %%r11d\n sysretq\n"
        "2: mov %%cs, %%ebx\n syscall\n"
        "on_syscall: mov %%ebx, level_cs(%%r15d)\n mov saved_stack(%%r15d), %%esp\n"
        "mov $3, %%eax\n xor %%edx, %%edx\n movl $3f, resume_at(%%r15d)\n xsaves64 area(%%r15d)\n 3:\n"
        "movl $4f, resume_at(%%r15d)\n mov $3, %%eax\n xor %%edx, %%edx\n xrstors64 area(%%r15d)\n 4:\n"
        "mov saved_stack(%%r15d), %%esp\n pushq $8\n mov $5f, %%eax\n push %%rax\n lretq\n"
        "on_ud_64: incl faulted(%%r15d)\n mov resume_at(%%r15d), %%eax\n jmp *%%rax\n"
        ".code32\n5: mov $16, %%eax\n mov %%eax, %%ss\n mov saved_stack, %%esp\n"
        "mov %%cr0, %%eax\n and $0x7fffffff, %%eax\n mov %%eax, %%cr0\n"
        "mov $0xc0000080, %%ecx\n rdmsr\n and $~0x101, %%eax\n wrmsr\n"
        "mov %%cr4, %%eax\n and $~0x20, %%eax\n mov %%eax, %%cr4\n popal"
        :
        :
        : "memory", "cc");
}

static void try_long(void)
{
    static struct table i = {sizeof idt - 1, (uint32_t)idt, 0};
    bool offered = has(0xd, 1, 0, 3);

    for (unsigned n = 0; n < 1024; n++) {
        area[n] = 0;
    }
    go_long();
    __asm__ volatile("lidt %0" : : "m"(i));
    tell("SWAPGS", now_gs == 0x2222 && kernel_gs == 0x1111);
    tell("SYSRET", level_cs == 0x2b);
    tell("XSAVES64", offered ? faulted == 0 && area[131] == 0x80000000 : faulted == 2);
    tell("XRSTORS64", faulted == (offered ? 0 : 2));
}

/* ---- the monitor's own ---- */

static int32_t call(uint32_t n, uint32_t b, uint32_t c, uint32_t d, uint32_t s)
{
    int32_t r;

    __asm__ volatile(".byte 0x0f, 0x01, 0xc1"
                     : "=a"(r)
                     : "a"(n), "b"(b), "c"(c), "d"(d), "S"(s)
                     : "memory");
    return r;
}

static void try_calls(void)
{
    bool right = call(1, 0, 0, 0, 0) == 0 && call(99, 0, 0, 0, 0) == -1000;

    area[0] = area[2] = 0;
    right = call(9, (uint32_t)area, 0, 0, 0) == 0 && area[0] != 0 && right; /* seconds */
    right = call(5, 0, 1, 0, 0) == 0 && call(11, 1, 0, 0, 0) == 0 && right;
    __asm__ volatile("sti");
    right = call(10, 1, 0, 0, VECTOR_CALL) == 1 && right;
    for (unsigned n = 0; calls == 0 && n < 100000000; n++) {
    }
    __asm__ volatile("cli");
    tell("hypercall", right && calls == 1);
}

static void try_apic(void)
{
    uint64_t base = read_msr(0x1b);

    tell("APIC base", (base & 0xfffff900) == (APIC | 0x900) &&
                          write_msr(0x1b, base | 0x400) &&
                          read_msr(0x1b) == (base | 0x400));
    tell("APIC registers", write_msr(X2APIC + 8, 0x20) && read_msr(X2APIC + 8) == 0x20 &&
                               write_msr(X2APIC + 8, 0) && read_msr(X2APIC + 2) == 0 &&
                               !write_msr(X2APIC + 2, 1));
    (void)write_msr(X2APIC + 0x32, 0x40000 | VECTOR_TIMER);
    tell("APIC deadline", write_msr(0x6e0, UINT64_C(0x7000000000000000)) &&
                              read_msr(0x6e0) == UINT64_C(0x7000000000000000) &&
                              write_msr(0x6e0, 0) && read_msr(0x6e0) == 0);
}

/* What it names is filled, and read back as it was written. */
static bool fills(uint32_t msr, uint32_t value, const volatile uint32_t *what)
{
    area[0] = area[1] = area[2] = area[8] = 0;
    return write_msr(msr, value) && read_msr(msr) == value && *what != 0;
}

static void try_interface(void)
{
    uint32_t at = (uint32_t)area;

    tell("platform", read_msr(0x17) == 0 && faulted == 0 && !write_msr(0x17, 1));
    tell("clock, old number", fills(0x11, at, &area[1]) &&
                                  fills(0x12, at | 1, &area[0]) && write_msr(0x12, 0));
    tell("KVM's interface",
         fills(0x4b564d00, at, &area[1]) && fills(0x4b564d01, at | 1, &area[0]) &&
             write_msr(0x4b564d01, 0) && write_msr(0x4b564d03, at | 1) &&
             read_msr(0x4b564d03) == (at | 1) && write_msr(0x4b564d03, 0) &&
             write_msr(0x4b564d04, at | 1) && read_msr(0x4b564d04) == (at | 1) &&
             write_msr(0x4b564d04, 0) && !write_msr(0x4b564d02, 1) && faulted == GP);
}

static void try_leaves(void)
{
    uint32_t r[4];

    cpuid(1, 0, r);
    tell("CPUID features", (r[2] >> 31 & 1) == 1 && (r[2] >> 3 & 1) == 0);
    cpuid(0xb, 1, r);
    tell("CPUID topology", (r[2] & 0xff) == 1 && r[3] == 0);
    cpuid(0x15, 0, r);
    tell("CPUID crystal", r[0] == 1 && r[1] == 1 && r[2] == 1000000000); /* software */
    cpuid(0x40000000, 0, r);
    tell("CPUID interface", r[1] == 0x4b4d564b && r[2] == 0x564b4d56 && r[3] == 0x4d);
    cpuid(0x40000010, 0, r);
    tell("CPUID timing", r[0] == 1000000 && r[1] == 1000000);
}

void kernel_main(void)
{
    try_tables();
    try_ports();
    try_waiting();
    try_registers();
    try_compact_state();
    try_caches();
    try_sysexit();
    try_long();
    try_leaves();
    try_apic();
    try_calls();
    try_interface();
    print("done\n");
    __asm__ volatile("outl %0, $0xf4" : : "a"(0x2b));
    for (;;) {
    }
}
