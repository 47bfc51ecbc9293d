/* kernel.c - what the bare kernel does for its one program.
 *
 * The program is the first multiboot module: a static ELF of either Linux-like
 * layout.  It gets 4 KiB pages of its own, a stack, SSE and (where there is) AVX,
 * and two system calls of Linux, write and exit; two more of our own make and switch
 * address spaces, and one gives a window that is paged on demand, with fewer frames than
 * pages: memory of two tiers, of which the second is only copied to and from.
 * Everything else ends with a line on the serial port.
 *
 *   physical           linear                          what
 *   0 .. 4 MiB         the same                        the kernel (supervisor)
 *   0 .. 1 GiB         DIRECT + physical               all memory (supervisor)
 *   behind the module  where the program's ELF says    the program and its stack */
#include <stddef.h>
#include <stdint.h>

#define DIRECT      UINT64_C(0xffff800000000000)
#define PAGE_BYTES  4096u
#define STACK_TOP   UINT64_C(0x70000000)
#define STACK_BYTES (64u * PAGE_BYTES)
#define KERNEL_END  UINT64_C(0x400000)
#define USER_END    UINT64_C(0x800000000000)

#define COM1       0x3f8
#define COM1_LINE  0x3fd /* bit 5: room for a byte */
#define DEBUG_EXIT 0xf4  /* QEMU's isa-debug-exit */

#define CALL_WRITE    1
#define CALL_EXIT     60
#define CALL_WRITE_32 4 /* numbers of i386 */
#define CALL_EXIT_32  1
#define CALL_SPACES   0x5354a
#define CALL_SPACE    0x5354b
#define CALL_PAGED    0x5354c
#define SPACES_MAX    8
#define PAGED_MAX     512
#define ENOSYS_HERE   (-38)
#define EINVAL_HERE   (-22)

#define PTE_P  UINT64_C(1)
#define PTE_W  UINT64_C(2)
#define PTE_U  UINT64_C(4)
#define PTE_A  UINT64_C(0x20)
#define PTE_D  UINT64_C(0x40)
#define PTE_PS UINT64_C(0x80)
#define PTE_NX (UINT64_C(1) << 63)

#define CR4_OSFXSR     (UINT64_C(1) << 9)
#define CR4_OSXMMEXCPT (UINT64_C(1) << 10)
#define CR4_PCIDE      (UINT64_C(1) << 17)
#define CR4_OSXSAVE    (UINT64_C(1) << 18)
#define CR0_WP         (UINT64_C(1) << 16)
#define CPUID_PCID     (1u << 17) /* leaf 1, ECX */
#define CPUID_XSAVE    (1u << 26)
#define CPUID_AVX      (1u << 28)
#define CR3_KEEP       (UINT64_C(1) << 63) /* what PCID's TLB entries are kept */

struct multiboot {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
};

struct multiboot_module {
    uint32_t start, end, string, reserved;
};

/* ELF-64 (System V ABI, 4). */
struct elf {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum;
};

struct elf_segment {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct elf_32 {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version, entry, phoff, shoff, flags;
    uint16_t ehsize, phentsize, phnum;
};

struct elf_segment_32 {
    uint32_t type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

#define ELF_LOAD  1
#define ELF_CLASS 4 /* index in ident */
#define ELF_32    1
#define ELF_64    2
#define ELF_X     1
#define ELF_W     2

extern uint64_t boot_pml4[];
extern const uint8_t kernel_gates[], kernel_syscall[], kernel_int80[], kernel_page[];
_Noreturn void kernel_enter(uint64_t rip, uint64_t rsp);
_Noreturn void kernel_enter_32(uint64_t rip, uint64_t rsp);
_Noreturn void kernel_main(uint32_t multiboot);
int64_t kernel_call_32(uint64_t number, uint64_t a, uint64_t b, uint64_t c);
int64_t kernel_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c);
_Noreturn void kernel_fault(uint64_t vector, uint64_t error, uint64_t rip, uint64_t cr2);

void kernel_page_fault(uint64_t error, uint64_t rip, uint64_t cr2);

static uint64_t next_free; /* physical, whole pages */
static uint64_t memory_end;
static uint64_t program_space; /* CR3 */
static uint64_t spaces[SPACES_MAX];
static uint64_t space_count;
static int is_32; /* the program */
static int has_pcid;

static inline void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void set_msr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

static inline void set_cr3(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

static void *direct(uint64_t physical)
{
    return (void *)(uintptr_t)(DIRECT + physical);
}

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

static void print(const char *text, uint64_t n)
{
    for (; n > 0; n--) {
        while ((in8(COM1_LINE) & 0x20) == 0) {
        }
        out8(COM1, (uint8_t)*text++);
    }
}

static void say(const char *text)
{
    uint64_t n = 0;

    while (text[n] != 0) {
        n++;
    }
    print(text, n);
}

static void say_hex(const char *what, uint64_t v)
{
    char digits[16];
    int i;

    for (i = 15; i >= 0; i--, v >>= 4) {
        digits[i] = "0123456789abcdef"[v & 15];
    }
    say(what);
    print(digits, 16);
}

static _Noreturn void leave(uint32_t code)
{
    static const uint8_t no_table[10];

    __asm__ volatile("outl %0, %1" : : "a"(code), "Nd"((uint16_t)DEBUG_EXIT));
    __asm__ volatile("lidt %0\n\tint3" : : "m"(no_table)); /* triple fault */
    for (;;) {
        __asm__ volatile("cli\n\thlt");
    }
}

static _Noreturn void give_up(const char *why)
{
    say("kernel: ");
    say(why);
    say("\n");
    leave(254);
}

_Noreturn void kernel_fault(uint64_t vector, uint64_t error, uint64_t rip, uint64_t cr2)
{
    say_hex("kernel: exception ", vector);
    say_hex(" error ", error);
    say_hex(" rip ", rip);
    say_hex(" cr2 ", cr2);
    say("\n");
    leave(255);
}

static uint64_t new_page(void)
{
    uint64_t page = next_free;

    next_free += PAGE_BYTES;
    if (next_free > memory_end) {
        give_up("out of memory");
    }
    memset(direct(page), 0, PAGE_BYTES);
    return page;
}

/* The slot of `linear` in its page table, under `space`; tables are made on the way. */
static uint64_t *slot_of(uint64_t space, uint64_t linear)
{
    uint64_t table = space;
    int level;

    for (level = 3;; level--) {
        uint64_t *slot = (uint64_t *)direct(table) + ((linear >> (12 + 9 * level)) & 511);

        if (level == 0) {
            return slot;
        }
        if ((*slot & PTE_P) == 0) {
            *slot = new_page() | PTE_P | PTE_W | PTE_U;
        }
        table = *slot & UINT64_C(0xffffffffff000);
    }
}

/* The kernel's part is the same in each: its 4 MiB by two large pages, and the map of
 * all memory. */
static uint64_t new_space(void)
{
    uint64_t pml4 = new_page(), pdpt = new_page(), pd = new_page();
    uint64_t *slot = direct(pd);

    ((uint64_t *)direct(pml4))[0] = pdpt | PTE_P | PTE_W | PTE_U;
    ((uint64_t *)direct(pml4))[256] = boot_pml4[256];
    ((uint64_t *)direct(pdpt))[0] = pd | PTE_P | PTE_W | PTE_U;
    slot[0] = 0 | PTE_P | PTE_W | PTE_PS;
    slot[1] = KERNEL_END / 2 | PTE_P | PTE_W | PTE_PS;
    return pml4;
}

static void map_new(uint64_t space, uint64_t linear, uint64_t bits)
{
    uint64_t *slot = slot_of(space, linear);

    if ((*slot & PTE_P) == 0) {
        *slot = new_page() | PTE_P | PTE_U | bits;
    } else { /* two segments on one page: what both may */
        *slot = (*slot | (bits & PTE_W)) & ~(bits & PTE_NX ? 0 : PTE_NX);
    }
}

static void copy_in(uint64_t space, uint64_t linear, const uint8_t *from, uint64_t n)
{
    while (n > 0) {
        uint64_t in_page = linear % PAGE_BYTES, part = PAGE_BYTES - in_page;
        uint64_t page = *slot_of(space, linear) & UINT64_C(0xffffffffff000);

        part = part < n ? part : n;
        memcpy((uint8_t *)direct(page) + in_page, from, part);
        linear += part;
        from += part;
        n -= part;
    }
}

static void load_segment(const uint8_t *file, uint64_t bytes, const struct elf_segment *s)
{
    uint64_t bits = (s->flags & ELF_W ? PTE_W : 0) | (s->flags & ELF_X ? 0 : PTE_NX);
    uint64_t at = s->vaddr & ~UINT64_C(0xfff), end = s->vaddr + s->memsz;

    if (s->vaddr < KERNEL_END || end > USER_END || end < s->vaddr ||
        s->filesz > s->memsz || s->offset > bytes || s->filesz > bytes - s->offset) {
        give_up("the program's segments lie where they cannot");
    }
    for (; at < end; at += PAGE_BYTES) {
        map_new(program_space, at, bits);
    }
    copy_in(program_space, s->vaddr, file + s->offset, s->filesz);
}

static uint64_t load_program_32(const uint8_t *file, uint64_t bytes)
{
    const struct elf_32 *h = (const void *)file;
    unsigned i;

    if (h->phentsize != sizeof(struct elf_segment_32) || h->phoff > bytes ||
        h->phnum > (bytes - h->phoff) / sizeof(struct elf_segment_32)) {
        give_up("the program is no static ELF");
    }
    for (i = 0; i < h->phnum; i++) {
        const struct elf_segment_32 *s = (const void *)(file + h->phoff + i * sizeof *s);
        const struct elf_segment wide = {s->type,  s->flags,  s->offset, s->vaddr,
                                         s->paddr, s->filesz, s->memsz,  s->align};

        if (s->type == ELF_LOAD && s->memsz > 0) {
            load_segment(file, bytes, &wide);
        }
    }
    return h->entry;
}

static uint64_t load_program_64(const uint8_t *file, uint64_t bytes)
{
    const struct elf *h = (const void *)file;
    unsigned i;

    if (h->phentsize != sizeof(struct elf_segment) || h->phoff > bytes ||
        h->phnum > (bytes - h->phoff) / sizeof(struct elf_segment)) {
        give_up("the program is no static ELF");
    }
    for (i = 0; i < h->phnum; i++) {
        const struct elf_segment *s = (const void *)(file + h->phoff + i * sizeof *s);

        if (s->type == ELF_LOAD && s->memsz > 0) {
            load_segment(file, bytes, s);
        }
    }
    return h->entry;
}

static uint64_t load_program(const uint8_t *file, uint64_t bytes)
{
    unsigned i;

    if (bytes < sizeof(struct elf) || file[0] != 0x7f || file[1] != 'E' ||
        file[2] != 'L' || file[3] != 'F' ||
        (file[ELF_CLASS] != ELF_64 && file[ELF_CLASS] != ELF_32)) {
        give_up("the program is no static ELF");
    }
    is_32 = file[ELF_CLASS] == ELF_32;
    for (i = PAGE_BYTES; i <= STACK_BYTES; i += PAGE_BYTES) {
        map_new(program_space, STACK_TOP - i, PTE_W | PTE_NX);
    }
    return is_32 ? load_program_32(file, bytes) : load_program_64(file, bytes);
}

/* A copy of the program's space that shares all of its page tables but the one for
 * the 2 MiB at `base`, which lies in a page directory of its own. */
static uint64_t copy_space(uint64_t base)
{
    uint64_t pml4 = new_page(), pdpt = new_page(), pd = new_page();
    uint64_t giga = base >> 30;
    const uint64_t *from = direct(program_space);
    const uint64_t *from_pdpt = direct(from[0] & UINT64_C(0xffffffffff000));

    memcpy(direct(pml4), from, PAGE_BYTES);
    memcpy(direct(pdpt), from_pdpt, PAGE_BYTES);
    if ((from_pdpt[giga] & PTE_P) != 0) {
        memcpy(direct(pd), direct(from_pdpt[giga] & UINT64_C(0xffffffffff000)),
               PAGE_BYTES);
    }
    ((uint64_t *)direct(pml4))[0] = pdpt | PTE_P | PTE_W | PTE_U;
    ((uint64_t *)direct(pdpt))[giga] = pd | PTE_P | PTE_W | PTE_U;
    ((uint64_t *)direct(pd))[(base >> 21) & 511] = 0;
    return pml4;
}

static int64_t make_spaces(uint64_t base, uint64_t pages, uint64_t count)
{
    uint64_t i, page;

    if (count == 0 || count > SPACES_MAX || pages > 512 || base < UINT64_C(1) << 30 ||
        base >= UINT64_C(1) << 39 || base % (UINT64_C(1) << 21) != 0) {
        return EINVAL_HERE;
    }
    for (i = 0; i < count; i++) {
        uint64_t pml4 = copy_space(base);

        for (page = 0; page < pages; page++) {
            map_new(pml4, base + page * PAGE_BYTES, PTE_W | PTE_NX);
        }
        spaces[i] = pml4 | (has_pcid ? i + 1 : 0);
    }
    space_count = count;
    return 0;
}

static int64_t use_space(uint64_t n)
{
    if (n >= space_count) {
        return EINVAL_HERE;
    }
    set_cr3(spaces[n] | (has_pcid ? CR3_KEEP : 0));
    return 0;
}

/* The window that is paged. */
static struct {
    uint64_t base, pages, frames;
    uint64_t used;             /* frames that hold a page */
    uint64_t hand;             /* the frame that is looked at next for room */
    uint64_t frame[PAGED_MAX]; /* physical */
    uint64_t holds[PAGED_MAX]; /* which page, by frame */
    uint64_t slow[PAGED_MAX];  /* physical, in the second tier, by page; 0: all zeros */
} paged;

static int64_t make_paged(uint64_t base, uint64_t pages, uint64_t frames)
{
    uint64_t i;

    if (paged.pages != 0 || pages == 0 || pages > PAGED_MAX || frames == 0 ||
        frames > pages || base < UINT64_C(1) << 30 || base >= UINT64_C(1) << 39 ||
        base % PAGE_BYTES != 0) {
        return EINVAL_HERE;
    }
    paged.base = base;
    paged.pages = pages;
    paged.frames = frames;
    for (i = 0; i < frames; i++) {
        paged.frame[i] = new_page();
    }
    return 0;
}

static uint64_t *paged_slot(uint64_t page)
{
    return slot_of(program_space, paged.base + page * PAGE_BYTES);
}

static void forget_page(uint64_t page)
{
    __asm__ volatile("invlpg (%0)"
                     :
                     : "r"((uintptr_t)(paged.base + page * PAGE_BYTES))
                     : "memory");
}

/* A frame whose page was not used for a round of the hand (the clock algorithm); what
 * was written goes to the second tier. */
static uint64_t free_frame(void)
{
    for (;; paged.hand = (paged.hand + 1) % paged.frames) {
        uint64_t page = paged.holds[paged.hand], *slot = paged_slot(page);
        uint64_t entry = *slot;

        if ((entry & PTE_A) != 0) {
            *slot = entry & ~PTE_A;
            forget_page(page);
            continue;
        }
        *slot = 0;
        forget_page(page);
        if ((entry & PTE_D) != 0) {
            paged.slow[page] = paged.slow[page] != 0 ? paged.slow[page] : new_page();
            memcpy(direct(paged.slow[page]), direct(paged.frame[paged.hand]), PAGE_BYTES);
        }
        return paged.hand;
    }
}

void kernel_page_fault(uint64_t error, uint64_t rip, uint64_t cr2)
{
    uint64_t page = (cr2 - paged.base) / PAGE_BYTES, frame;
    uint8_t *bytes;

    if (cr2 < paged.base || page >= paged.pages || (error & 1) != 0) {
        kernel_fault(14, error, rip, cr2);
    }
    frame = paged.used < paged.frames ? paged.used++ : free_frame();
    bytes = direct(paged.frame[frame]);
    if (paged.slow[page] != 0) {
        memcpy(bytes, direct(paged.slow[page]), PAGE_BYTES);
    } else {
        memset(bytes, 0, PAGE_BYTES);
    }
    paged.holds[frame] = page;
    /* What came from the second tier and goes unwritten need not go back. */
    *paged_slot(page) = paged.frame[frame] | PTE_P | PTE_W | PTE_U | PTE_NX;
}

int64_t kernel_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    switch (number) {
    case CALL_WRITE:
        if (b < KERNEL_END || b >= USER_END || c > USER_END - b) {
            return EINVAL_HERE;
        }
        print((const char *)(uintptr_t)b, c);
        return (int64_t)c;
    case CALL_EXIT:
        leave((uint32_t)a & 0xff);
    case CALL_SPACES:
        return make_spaces(a, b, c);
    case CALL_SPACE:
        return use_space(a);
    case CALL_PAGED:
        return make_paged(a, b, c);
    default:
        return ENOSYS_HERE;
    }
}

int64_t kernel_call_32(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    number = number == CALL_WRITE_32  ? CALL_WRITE
             : number == CALL_EXIT_32 ? CALL_EXIT
                                      : number;
    return kernel_call(number, a, b, c);
}

static void set_gate(uint64_t gate[2], const uint8_t *code, uint64_t kind)
{
    uint64_t to = (uintptr_t)code;

    gate[0] = (to & 0xffff) | UINT64_C(8) << 16 | kind << 32 | (to >> 16 & 0xffff) << 48;
    gate[1] = to >> 32;
}

static void set_gates(void)
{
    static uint64_t idt[0x81][2];

    static struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof idt - 1, 0};

    unsigned i;

    for (i = 0; i < 32; i++) {
        set_gate(idt[i], kernel_gates + 16 * i, 0x8e00);
    }
    set_gate(idt[14], kernel_page, 0x8e00);
    set_gate(idt[0x80], kernel_int80, 0xee00); /* for level 3 */
    pointer.base = (uintptr_t)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
    set_msr(0xc0000081, UINT64_C(0x13) << 48 | UINT64_C(8) << 32); /* STAR */
    set_msr(0xc0000082, (uintptr_t)kernel_syscall);                /* LSTAR */
    set_msr(0xc0000084, 0x700);                                    /* SFMASK */
}

static void set_features(void)
{
    uint32_t a = 1, b, c = 0, d;
    uint64_t cr4, cr0;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    has_pcid = (c & CPUID_PCID) != 0;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | (has_pcid ? CR4_PCIDE : 0) |
           (c & CPUID_XSAVE ? CR4_OSXSAVE : 0);
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
    __asm__ volatile("mov %0, %%cr0\n\tfninit" : : "r"(cr0 | CR0_WP));
    if ((c & CPUID_XSAVE) != 0) {
        __asm__ volatile("xsetbv" : : "c"(0), "a"(c & CPUID_AVX ? 7 : 3), "d"(0));
    }
}

_Noreturn void kernel_main(uint32_t multiboot)
{
    const struct multiboot *info = direct(multiboot);
    const struct multiboot_module *module = direct(info->mods_addr);
    uint64_t entry;

    set_gates();
    if ((info->flags & 9) != 9 || info->mods_count == 0) {
        give_up("no program was given");
    }
    next_free = ((uint64_t)module->end + PAGE_BYTES - 1) & ~UINT64_C(0xfff);
    next_free = next_free < KERNEL_END ? KERNEL_END : next_free;
    memory_end = ((uint64_t)info->mem_upper + 1024) * 1024;
    memory_end = memory_end > UINT64_C(1) << 30 ? UINT64_C(1) << 30 : memory_end;
    program_space = new_space();
    entry = load_program(direct(module->start), module->end - module->start);
    set_features();
    set_cr3(program_space);
    if (is_32) {
        kernel_enter_32(entry, STACK_TOP - 64);
    }
    kernel_enter(entry, STACK_TOP - 64);
}
