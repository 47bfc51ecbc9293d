/* kernel32.c - a kernel of 32 bits: protected mode, two levels of 4 KiB pages, one program
 * at level 3, the first multiboot module, with the calls write and exit of i386.  Nothing
 * in it needs more than an i686.
 *
 * Before the program it asks for long mode and says what it gets: CPUID's bit, and what
 * EFER, CR4.PAE and the bit LME come to. */
#include <stddef.h>
#include <stdint.h>

#define PAGE    4096u
#define MEMORY  0x4000000u /* what is mapped as it is, for the kernel alone */
#define STACK   0x70000000u
#define STACKS  64u /* pages */
#define USER_CS 0x1b
#define USER_DS 0x23
#define TASK    0x28
#define PTE     3u
#define PTE_U   7u

struct frame {
    uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax, vector, error, eip, cs, flags;
};

void kernel_main(const uint32_t *info);
void kernel_event(struct frame *f);
extern const uint8_t gate_0[], gate_1[], gate_call[], past_efer[];

static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t low[MEMORY / PAGE] __attribute__((aligned(4096)));
static uint64_t idt[129], gdt[6];
static uint32_t task[26];
static uint8_t kernel_stack[8192] __attribute__((aligned(16)));
static uint32_t next_free;
static int efer_faulted;

__asm__(".section .boot, \"ax\"\n.balign 4\n"
        ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
        ".global kernel_start\n"
        "kernel_start: cli\n cld\n mov $kernel_stack + 8192, %esp\n push %ebx\n"
        "call kernel_main\n"
        ".text\n.balign 16\n"
        "gate_0: vector = 0\n.rept 32\n.balign 16\n"
        ".if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)\n.else\n"
        "push $0\n.endif\n push $vector\n jmp common\n vector = vector + 1\n.endr\n"
        "gate_call: push $0\n push $0x80\n"
        "common: pusha\n push %esp\n cld\n call kernel_event\n pop %eax\n popa\n"
        "add $8, %esp\n iret\n"
        ".section .note.GNU-stack, \"\", @progbits\n.text\n");

void *memset(void *to, int value, size_t n)
{
    void *t = to;

    __asm__ volatile("rep stosb" : "+D"(t), "+c"(n) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    void *t = to;

    __asm__ volatile("rep movsb" : "+D"(t), "+S"(from), "+c"(n) : : "memory");
    return to;
}

static void print(const char *text, uint32_t n)
{
    for (; n > 0; n--) {
        __asm__ volatile("outb %0, %1" : : "a"(*text++), "d"((uint16_t)0x3f8));
    }
}

static void say(const char *text)
{
    uint32_t n = 0;

    while (text[n] != 0) {
        n++;
    }
    print(text, n);
}

static _Noreturn void leave(uint32_t code)
{
    for (;;) {
        __asm__ volatile("outl %0, $0xf4" : : "a"(code));
    }
}

static uint32_t new_page(void)
{
    uint32_t page = next_free;

    next_free += PAGE;
    if (next_free > MEMORY) {
        say("kernel32: out of memory\n");
        leave(254);
    }
    return (uint32_t)(uintptr_t)memset((void *)(uintptr_t)page, 0, PAGE);
}

/* The page behind a program's address, as the kernel sees it. */
static uint8_t *page_of(uint32_t linear)
{
    uint32_t *table;

    if ((directory[linear >> 22] & 1) == 0) {
        directory[linear >> 22] = new_page() | PTE_U;
    }
    table = (void *)(uintptr_t)(directory[linear >> 22] & ~0xfffu);
    if ((table[linear >> 12 & 1023] & 1) == 0) {
        table[linear >> 12 & 1023] = new_page() | PTE_U;
    }
    return (uint8_t *)(uintptr_t)(table[linear >> 12 & 1023] & ~0xfffu) + linear % PAGE;
}

/* ELF-32 (System V ABI, 4). */
static uint32_t load(const uint8_t *file)
{
    const uint32_t *head = (const void *)file;
    const uint16_t *half = (const void *)file;
    uint32_t i, n;

    for (i = 0; i < half[22]; i++) {
        const uint32_t *s = (const void *)(file + head[7] + i * 32);

        for (n = 0; s[0] == 1 && n < s[5]; n++) {
            uint8_t *to = page_of(s[2] + n);

            if (n < s[4]) {
                *to = file[s[1] + n];
            }
        }
    }
    for (i = 1; i <= STACKS; i++) {
        (void)page_of(STACK - i * PAGE);
    }
    return head[6];
}

void kernel_event(struct frame *f)
{
    if (f->vector == 0x80 && f->eax == 4) {
        print((const char *)(uintptr_t)f->ecx, f->edx);
        f->eax = f->edx;
    } else if (f->vector == 0x80 && f->eax == 1) {
        leave(f->ebx & 0xff);
    } else if (f->vector == 0x80) {
        f->eax = (uint32_t)-38;
    } else if (f->vector == 13 && f->cs == 8 && !efer_faulted) {
        efer_faulted = 1;
        f->eip += 2; /* WRMSR */
    } else {
        char text[] = "kernel32: exception 00\n";

        text[20] = (char)('0' + f->vector / 10);
        text[21] = (char)('0' + f->vector % 10);
        say(text);
        leave(255);
    }
}

static void ask_for_long_mode(void)
{
    uint32_t a = 0x80000001, b, c, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    say((d >> 29 & 1) != 0 ? "long mode: in CPUID, " : "long mode: not in CPUID, ");
    __asm__ volatile("wrmsr" : : "c"(0xc0000080), "a"(0x100), "d"(0) : "memory");
    if (!efer_faulted) {
        __asm__ volatile("wrmsr" : : "c"(0xc0000080), "a"(0), "d"(0) : "memory");
    }
    say(efer_faulted ? "EFER faults\n" : "EFER is taken\n");
}

static void set_tables(void)
{
    static struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) g = {sizeof gdt - 1, 0}, i = {sizeof idt - 1, 0};

    uint32_t n, at = (uint32_t)(uintptr_t)task;

    gdt[1] = 0x00cf9b000000ffff;
    gdt[2] = 0x00cf93000000ffff;
    gdt[3] = 0x00cffb000000ffff;
    gdt[4] = 0x00cff3000000ffff;
    gdt[5] = 0x67 | (uint64_t)(at & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
             (uint64_t)(at >> 24) << 56;
    task[1] = (uint32_t)(uintptr_t)(kernel_stack + sizeof kernel_stack);
    task[2] = 0x10;
    task[25] = 0x680000;
    for (n = 0; n < 129; n++) {
        uint32_t to = (uint32_t)(uintptr_t)(n < 32 ? gate_0 + 16 * n : gate_call);

        if (n < 32 || n == 128) {
            idt[n] = (to & 0xffff) | 8 << 16 | (uint64_t)(n < 32 ? 0x8e : 0xee) << 40 |
                     (uint64_t)(to >> 16) << 48;
        }
    }
    g.base = (uint32_t)(uintptr_t)gdt;
    i.base = (uint32_t)(uintptr_t)idt;
    __asm__ volatile("lgdt %0\n\tlidt %1\n\tljmp $8, $1f\n1:\tmov %2, %%ds\n\t"
                     "mov %2, %%es\n\tmov %2, %%ss\n\tltr %w3"
                     :
                     : "m"(g), "m"(i), "r"(0x10), "r"(TASK)
                     : "memory");
}

void kernel_main(const uint32_t *info)
{
    const uint32_t *module = (const void *)(uintptr_t)info[6];
    uint32_t n, entry;

    set_tables();
    next_free = (module[1] + PAGE - 1) & ~(PAGE - 1);
    next_free = next_free < 0x400000 ? 0x400000 : next_free;
    for (n = 0; n < MEMORY / PAGE; n++) {
        low[n] = n * PAGE | PTE;
    }
    for (n = 0; n < MEMORY >> 22; n++) {
        directory[n] = (uint32_t)(uintptr_t)(low + n * 1024) | PTE;
    }
    ask_for_long_mode();
    entry = load((const uint8_t *)(uintptr_t)module[0]);
    __asm__ volatile("mov %0, %%cr3\n\tmov %%cr0, %%eax\n\tor $0x80010020, %%eax\n\t"
                     "mov %%eax, %%cr0\n\tfninit\n\t"
                     "mov %1, %%ds\n\tmov %1, %%es\n\t"
                     "push %1\n\tpush %2\n\tpush $2\n\tpush %3\n\tpush %4\n\tiret"
                     :
                     : "r"(directory), "r"(USER_DS), "r"(STACK - 64), "i"(USER_CS),
                       "r"(entry)
                     : "eax", "memory");
}
