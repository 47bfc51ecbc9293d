/* calls.c - a multiboot kernel with one program at level 3, which makes two system calls by
 * INT 0x80, reads and writes the kernel's memory directly, and ends by a third call.  The kernel
 * prints what became of each; calls.sh follows both instruction by instruction.
 *
 * Source: Intel SDM volume 3A, 4.7, 5.8.2, 6.12 and 6.15. */
#include <stdint.h>

#define CALL_VECTOR 0x80
#define USER_PAGE   0x400000u
#define CALLS       3

void kernel_main(void);
void page_fault(uint32_t *frame);
uint32_t call_end(uint32_t a, uint32_t b);
uint32_t call_print(uint32_t a, uint32_t b);
uint32_t call_add(uint32_t a, uint32_t b);
extern const uint8_t on_call[], on_page_fault[], program[], program_end[],
    program_read_done[], program_write_done[];

/* What a call's number leads to. */
uint32_t (*const call_table[CALLS])(uint32_t a, uint32_t b) = {call_end, call_print,
                                                               call_add};

volatile uint32_t secret = 0x5ec4e7;
uint8_t stack[8192] __attribute__((aligned(16)));
static uint8_t call_stack[8192] __attribute__((aligned(16)));
static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t task[26];
static uint64_t idt[256];
static uint64_t gdt[6] = {
    0,
    UINT64_C(0x00cf9b000000ffff), /* 08: code, data of level 0 */
    UINT64_C(0x00cf93000000ffff),
    UINT64_C(0x00cffb000000ffff), /* 18: ... of level 3 */
    UINT64_C(0x00cff3000000ffff),
    0, /* 28: the task, for its stack of level 0 */
};

struct table {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

__asm__(
    ".section .text.unlikely, \"ax\"\n.balign 4\n"
    ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
    ".global kernel_start\n"
    "kernel_start: cli\n cld\n mov $stack + 8192, %esp\n call kernel_main\n"
    ".text\n"
    /* The gate of INT 0x80: number in EAX, arguments in EBX and ECX. */
    ".global on_call, on_call_bad, on_call_back\n"
    "on_call: push %ecx\n push %ebx\n cmp $3, %eax\n jae on_call_bad\n"
    " call *call_table(,%eax,4)\n"
    "on_call_back: add $8, %esp\n iret\n"
    "on_call_bad: mov $-38, %eax\n jmp on_call_back\n"
    ".global on_page_fault\n"
    "on_page_fault: pushal\n lea 32(%esp), %eax\n push %eax\n call page_fault\n"
    " pop %eax\n popal\n add $4, %esp\n iret\n"
    /* What runs at level 3, at USER_PAGE; its names are where it is copied from. */
    ".section .rodata\n"
    ".global program, program_print, program_add, program_wrong, program_read\n"
    ".global program_read_done, program_write, program_write_done, program_last, program_end\n"
    "program: mov $1, %eax\n mov $'u', %ebx\n"
    "program_print: int $0x80\n mov $2, %eax\n mov $20, %ebx\n mov $22, %ecx\n"
    "program_add: int $0x80\n mov %eax, %ebx\n mov $1, %eax\n int $0x80\n"
    " mov $77, %eax\n"
    "program_wrong: int $0x80\n"
    " neg %eax\n mov %eax, %ebx\n mov $1, %eax\n int $0x80\n"
    "program_read: mov secret, %esi\n"
    "program_read_done: nop\n"
    "program_write: movl $0, secret\n"
    "program_write_done: xor %eax, %eax\n"
    "program_last: int $0x80\n hlt\n"
    "program_end:\n"
    ".section .note.GNU-stack, \"\", @progbits\n.text\n");

static void print(const char *text)
{
    while (*text != '\0') {
        __asm__ volatile("outb %0, %w1" : : "a"(*text++), "Nd"(0x3f8));
    }
}

static void print_number(const char *what, uint32_t v)
{
    char digits[] = "00000000\n";

    for (int n = 7; n >= 0; n--, v >>= 4) {
        digits[n] = "0123456789abcdef"[v & 15];
    }
    print(what);
    print(digits);
}

/* ---- the calls ---- */

uint32_t call_end(uint32_t a, uint32_t b)
{
    (void)a;
    (void)b;
    print_number("secret ", secret);
    __asm__ volatile("outl %0, $0xf4" : : "a"(21));
    for (;;) {
    }
}

uint32_t call_print(uint32_t a, uint32_t b)
{
    (void)b;
    print_number("program ", a);
    return 0;
}

uint32_t call_add(uint32_t a, uint32_t b)
{
    return a + b;
}

/* `frame`: error code, EIP, CS, ...  The program goes on behind what it tried. */
void page_fault(uint32_t *frame)
{
    uint32_t at;

    __asm__ volatile("mov %%cr2, %0" : "=r"(at));
    print_number("fault at ", at);
    print_number("error ", frame[0]);
    frame[1] = USER_PAGE + (uint32_t)((frame[0] & 2) != 0 ? program_write_done - program
                                                          : program_read_done - program);
}

/* ---- the start ---- */

static void put_gate(unsigned vector, const uint8_t *to, uint32_t level)
{
    uint32_t at = (uint32_t)to;

    idt[vector] = (at & 0xffff) | UINT64_C(8) << 16 |
                  (uint64_t)(0x8e00 | level << 13) << 32 | (uint64_t)(at >> 16) << 48;
}

void kernel_main(void)
{
    static struct table g = {sizeof gdt - 1, (uint32_t)gdt},
                        i = {sizeof idt - 1, (uint32_t)idt};
    uint32_t base = (uint32_t)task;
    volatile uint8_t *to = (volatile uint8_t *)USER_PAGE;

    gdt[5] = 103 | (uint64_t)(base & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
             (uint64_t)(base >> 24) << 56;
    task[1] = (uint32_t)(call_stack + sizeof call_stack);
    task[2] = 0x10;
    task[25] = 104 << 16;
    put_gate(CALL_VECTOR, on_call, 3);
    put_gate(14, on_page_fault, 0);
    for (const uint8_t *from = program; from < program_end; from++) {
        *to++ = *from;
    }
    for (uint32_t n = 0; n < 4; n++) {
        directory[n] = n << 22 | (n == USER_PAGE >> 22 ? 0x87 : 0x83);
    }
    __asm__ volatile(
        "lgdt %0\n lidt %1\n ljmp $8, $1f\n"
        "1: mov $0x10, %%eax\n mov %%eax, %%ss\n mov $0x28, %%eax\n ltr %%ax\n"
        "mov %2, %%cr3\n mov %%cr4, %%eax\n or $0x10, %%eax\n mov %%eax, %%cr4\n"
        "mov %%cr0, %%eax\n or $0x80000000, %%eax\n mov %%eax, %%cr0\n"
        "mov $0x23, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n"
        "push $0x23\n push %3\n push $2\n push $0x1b\n push %4\n iret"
        :
        : "m"(g), "m"(i), "r"(directory), "r"(USER_PAGE + 0x10000), "i"(USER_PAGE)
        : "eax", "memory");
    __builtin_unreachable();
}
