/* guest.c - what the oracle's kernel asks the processor, and prints on COM1.
 *
 * Each line is a question of one kind with all its cases, a character each: '.' it
 * went; the vector as a letter ('a' 0 ... 'n' 13 #GP); of a page fault the error code
 * ('A' 0, 'B' 1 ...).  Behind them a hexadecimal hash tells the rest: other error codes,
 * CR2, values, accessed and dirty bits.
 *
 * Not asked, since QEMU 7.2 is known to be more lenient than the manual (guest.S of
 * x86/system asks some of it): CR0 without PE or PG, CR4 without PAE in 64-bit mode; IRET to a null SS of
 * another level, to an absent SS (#SS, not #NP), to code with both L and D; LAR and LSL of types that
 * 64-bit mode does not have; reserved bits of CR0 and CR4,
 * NW without CD. */
#include <stdint.h>

#define PTE_P    UINT64_C(1)
#define PTE_W    UINT64_C(2)
#define PTE_U    UINT64_C(4)
#define PTE_A    UINT64_C(0x20)
#define PTE_D    UINT64_C(0x40)
#define PTE_PS   UINT64_C(0x80)
#define PTE_NX   (UINT64_C(1) << 63)
#define PTE_RSVD (UINT64_C(1) << 51)

#define USER_CODE UINT64_C(0x40000000)
#define TEST      UINT64_C(0x40200000)
#define CR0_WP    UINT64_C(0x10000)
#define CR0_AM    UINT64_C(0x40000)
#define CR4_SMEP  UINT64_C(0x100000)
#define CR4_SMAP  UINT64_C(0x200000)
#define EFER      0xc0000080u
#define EFER_NXE  0x800u
#define FLAG_AC   UINT64_C(0x40000)

extern uint64_t boot_pml4[], boot_pdpt[], gdt[], fault[3], left;
extern const uint8_t gates[], gate_81[], code_read[], code_write[], code_jump[],
    code_end[];
extern const uint8_t code_lar[], code_lsl[], code_verr[], code_verw[], code_ds[],
    code_ss[], code_lldt[], code_wrmsr[], code_rdmsr[], code_cr0[], code_cr4[],
    code_cr3[], code_dr7[], code_dr6[], code_iret[];
int attempt_kernel(const void *code, uint64_t a, uint64_t b);
int attempt_user(const void *code, uint64_t a, uint64_t b);
_Noreturn void kernel_main(void);

static uint64_t pd_user[512] __attribute__((aligned(4096)));
static uint64_t pt_user[512] __attribute__((aligned(4096)));
static uint64_t pt_test[512] __attribute__((aligned(4096)));
static uint8_t page_code[4096] __attribute__((aligned(4096)));
static uint8_t page_stack[4096] __attribute__((aligned(4096)));
static uint8_t page_test[4096] __attribute__((aligned(4096)));
static uint64_t hash;

static inline void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void put(char c)
{
    uint8_t status;

    do {
        __asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((uint16_t)0x3fd));
    } while ((status & 0x20) == 0);
    out8(0x3f8, (uint8_t)c);
}

static void say(const char *text)
{
    while (*text != 0) {
        put(*text++);
    }
}

static void say_hex(uint64_t v, int digits)
{
    while (digits-- > 0) {
        put("0123456789abcdef"[(v >> (4 * digits)) & 15]);
    }
}

static void mix(uint64_t v)
{
    hash = (hash ^ v) * UINT64_C(0x100000001b3);
    hash ^= hash >> 29;
}

static void begin(const char *what)
{
    say(what);
    hash = 1;
}

static void finish(void)
{
    put(' ');
    say_hex(hash, 16);
    put('\n');
}

/* One case: its character, and the rest into the hash. */
static void note(int faulted)
{
    if (fault[0] == 14 && (fault[1] & 8) != 0) {
        fault[1] |=
            1; /* a reserved bit counts in present entries only; QEMU leaves P out */
    }
    put(!faulted         ? '.'
        : fault[0] == 14 ? (char)('A' + (fault[1] & 31))
                         : (char)('a' + fault[0]));
    if (faulted) {
        mix(fault[0] << 32 | fault[1]);
        mix(fault[0] == 14 ? fault[2] : 0);
    }
}

static uint64_t get_cr0(void)
{
    uint64_t v;

    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}

static uint64_t get_cr4(void)
{
    uint64_t v;

    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

static uint64_t get_msr(uint32_t msr)
{
    uint32_t a, d;

    __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr));
    return a | (uint64_t)d << 32;
}

static void set_msr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

static void flush(uint64_t at)
{
    __asm__ volatile("invlpg (%0)" : : "r"(at) : "memory");
}

static void set_gate(uint64_t *idt, unsigned vector, const uint8_t *to, uint64_t kind)
{
    uint64_t at = (uintptr_t)to;

    idt[2 * vector] = (at & 0xffff) | UINT64_C(8) << 16 | kind << 32 | (at >> 16) << 48;
    idt[2 * vector + 1] = 0;
}

static void set_gates(void)
{
    static uint64_t idt[2 * 0x82];

    static struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer;

    unsigned i;

    for (i = 0; i < 32; i++) {
        set_gate(idt, i, gates + 16 * i, 0x8e00);
    }
    set_gate(idt, 0x81, gate_81, 0xee00);
    pointer.limit = sizeof idt - 1;
    pointer.base = (uintptr_t)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void map_pages(void)
{
    unsigned i;

    boot_pdpt[1] = (uintptr_t)pd_user | PTE_P | PTE_W | PTE_U;
    pd_user[0] = (uintptr_t)pt_user | PTE_P | PTE_W | PTE_U;
    pt_user[0] = (uintptr_t)page_code | PTE_P | PTE_W | PTE_U;
    pt_user[1] = (uintptr_t)page_stack | PTE_P | PTE_W | PTE_U;
    for (i = 0; code_read + i < code_end; i++) {
        page_code[i] = code_read[i];
    }
}

/* The code at the test page: for level 0 a return, for level 3 INT 81, as rsi says. */
static void write_test_page(uint64_t user)
{
    page_test[0] = user ? 0xcd : 0xc3;
    page_test[1] = 0x81;
}

struct access {
    const char *name;
    const uint8_t *code;
};

static const struct access accesses[] = {
    {"read", code_read}, {"write", code_write}, {"fetch", code_jump}};

static int attempt_access(unsigned kind, uint64_t user, uint64_t at)
{
    write_test_page(user);
    return user
               ? attempt_user((const void *)(USER_CODE + (uintptr_t)(accesses[kind].code -
                                                                     code_read)),
                              at, 1)
               : attempt_kernel(accesses[kind].code, at, 0);
}

/* All rights at two levels, by the bits of `n`. */
static void sweep_rights(unsigned kind, uint64_t user)
{
    unsigned n, m;

    for (n = 0; n < 32; n++) {
        uint64_t pte = (uintptr_t)page_test | (n & 1 ? PTE_P : 0) | (n & 2 ? PTE_W : 0) |
                       (n & 4 ? PTE_U : 0) | (n & 8 ? PTE_NX : 0) |
                       (n & 16 ? PTE_RSVD : 0);

        for (m = 0; m < 8; m++) {
            int faulted;
            uint64_t pde = (uintptr_t)pt_test | PTE_P | (m & 1 ? PTE_W : 0) |
                           (m & 2 ? PTE_U : 0) | (m & 4 ? PTE_NX : 0);

            pt_test[0] = pte;
            pd_user[1] = pde;
            flush(TEST);
            faulted = attempt_access(kind, user, TEST);
            note(faulted);
            mix(faulted ? 0 : (pt_test[0] ^ pte) << 1 ^ pd_user[1] ^ pde);
        }
    }
}

/* ... and at one, for a page of 2 MiB. */
static void sweep_large(unsigned kind, uint64_t user)
{
    unsigned n;

    for (n = 0; n < 32; n++) {
        uint64_t at = (uintptr_t)page_test & ~UINT64_C(0x1fffff);
        uint64_t pde = at | PTE_PS | (n & 1 ? PTE_P : 0) | (n & 2 ? PTE_W : 0) |
                       (n & 4 ? PTE_U : 0) | (n & 8 ? PTE_NX : 0) |
                       (n & 16 ? UINT64_C(0x2000) : 0);

        int faulted;

        pd_user[1] = pde;
        flush(TEST);
        faulted = attempt_access(kind, user, TEST + ((uintptr_t)page_test & 0x1fffff));
        note(faulted);
        mix(faulted ? 0 : pd_user[1] ^ pde);
    }
}

static void say_setting(uint64_t cr0, uint64_t cr4, uint64_t efer, uint64_t ac)
{
    say(cr0 & CR0_WP ? " WP" : "");
    say(cr4 & CR4_SMEP ? " SMEP" : "");
    say(cr4 & CR4_SMAP ? " SMAP" : "");
    say(efer & EFER_NXE ? " NXE" : "");
    say(ac ? " AC" : "");
    put(' ');
}

static void sweep_setting(unsigned n)
{
    uint64_t cr0 = (get_cr0() & ~CR0_WP) | (n & 1 ? CR0_WP : 0);
    uint64_t cr4 = (get_cr4() & ~(CR4_SMEP | CR4_SMAP)) | (n & 2 ? CR4_SMEP : 0) |
                   (n & 4 ? CR4_SMAP : 0);
    uint64_t efer = (get_msr(EFER) & ~(uint64_t)EFER_NXE) | (n & 8 ? EFER_NXE : 0);
    uint64_t ac = n & 16 ? FLAG_AC : 0;
    unsigned kind;

    set_msr(EFER, efer);
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
    for (kind = 0; kind < 6; kind++) {
        begin(accesses[kind % 3].name);
        say(kind < 3 ? " 0" : " 3");
        say_setting(cr0, cr4, efer, ac);
        __asm__ volatile("pushfq\n\tandq $~0x40000, (%%rsp)\n\torq %0, (%%rsp)\n\tpopfq"
                         :
                         : "r"(ac)
                         : "cc", "memory");
        sweep_rights(kind % 3, kind / 3);
        finish();
        begin("  of 2 MiB ");
        sweep_large(kind % 3, kind / 3);
        finish();
    }
}

static uint64_t has_smap_smep(void)
{
    uint32_t a = 7, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (b >> 7 & 1) & (b >> 20 & 1);
}

/* Descriptors of all types, levels and presence. */
static void sweep_descriptors(void)
{
    static const struct access insns[] = {{"lar", code_lar},   {"lsl", code_lsl},
                                          {"verr", code_verr}, {"verw", code_verw},
                                          {"mov ds", code_ds}, {"mov ss", code_ss},
                                          {"lldt", code_lldt}};
    unsigned i, rpl, type;

    for (i = 0; i < sizeof insns / sizeof *insns; i++) {
        for (rpl = 0; rpl < 4; rpl++) {
            begin(insns[i].name);
            put((char)('0' + rpl));
            put(' ');
            for (type = 0; type < 256; type++) {
                int faulted;

                if (i < 2 && (type & 0x1f) < 6 && (type & 0x1f) != 2) {
                    put('_');
                    continue;
                }

                gdt[10] = UINT64_C(0x00cf00000000ffff) | (uint64_t)type << 40;
                gdt[11] = 0;
                faulted = attempt_kernel(insns[i].code, 0x50 | rpl, 0);
                if (i < 4 && (left >> 32 & 1) == 0) {
                    put('0'); /* ZF */
                } else {
                    note(faulted);
                }
                mix(faulted ? 0
                            : left & UINT64_C(0x1fff0ffff)); /* LAR: 16 .. 19 are open */
                mix(gdt[10]);
            }
            finish();
        }
    }
    __asm__ volatile("lldt %w0" : : "r"(0));
}

static void sweep_iret(void)
{
    static const uint16_t selectors[] = {0, 8, 0xb, 0x10, 0x13, 0x18, 0x50, 0x58, 0x3ff8};
    const unsigned n = sizeof selectors / sizeof *selectors;
    unsigned cs, ss;

    gdt[10] = UINT64_C(0x00af9f000000ffff); /* 50: conforming code */
    gdt[11] = UINT64_C(0x00af1b000000ffff); /* 58: absent code */
    for (cs = 0; cs < n; cs++) {
        begin("iret ");
        say_hex(selectors[cs], 4);
        put(' ');
        for (ss = 0; ss < n; ss++) {
            int faulted = attempt_kernel(code_iret,
                                         selectors[cs] | (uint64_t)selectors[ss] << 16 |
                                             UINT64_C(0x3002) << 32,
                                         0);

            note(faulted);
            mix(faulted ? 0 : left);
        }
        finish();
    }
}

/* Writes with each bit turned; what was there comes back. */
static void sweep_bits(const char *what, const uint8_t *code, uint64_t now, uint64_t skip)
{
    unsigned bit;

    begin(what);
    for (bit = 0; bit < 64; bit++) {
        int faulted;

        if ((skip >> bit & 1) != 0) {
            put('_');
            continue;
        }
        faulted = attempt_kernel(code, now ^ UINT64_C(1) << bit, 0);
        note(faulted);
        if (!faulted) {
            (void)attempt_kernel(code, now, 0);
        }
    }
    finish();
}

static void sweep_msrs(void)
{
    static const uint32_t msrs[] = {0x10,       0x174,      0x175,      0x176,
                                    0x277,      0xc0000081, 0xc0000082, 0xc0000083,
                                    0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
                                    0xc0000103, 0x12345};
    static const uint64_t values[] = {0,
                                      0x7fff,
                                      UINT64_C(0x00007fffffffffff),
                                      UINT64_C(0xffff800000000000),
                                      UINT64_C(0x0000800000000000),
                                      UINT64_C(0x0007040600070406),
                                      UINT64_C(0x0207040600070406),
                                      UINT64_C(0xffffffff00000000),
                                      ~UINT64_C(0)};
    unsigned i, v;

    for (i = 0; i < sizeof msrs / sizeof *msrs; i++) {
        int faulted = attempt_kernel(code_rdmsr, msrs[i], 0);
        uint64_t before = left;

        begin("msr ");
        say_hex(msrs[i], 8);
        put(' ');
        note(faulted);
        for (v = 0; v < sizeof values / sizeof *values; v++) {
            note(attempt_kernel(code_wrmsr, msrs[i], values[v]));
            if (msrs[i] != 0x10 && attempt_kernel(code_rdmsr, msrs[i], 0) == 0) {
                mix(left);
            }
        }
        (void)attempt_kernel(code_wrmsr, msrs[i], before);
        finish();
    }
}

/* Addresses that are not canonical, at both ends. */
static void sweep_addresses(void)
{
    static const uint64_t addresses[] = {
        UINT64_C(0x00007fffffffffff), UINT64_C(0x0000800000000000),
        UINT64_C(0xffff7fffffffffff), UINT64_C(0xffff800000000000),
        UINT64_C(0x8000000000000000), UINT64_C(0x40400000)};
    unsigned i, kind;

    for (kind = 0; kind < 3; kind++) {
        begin(accesses[kind].name);
        put(' ');
        for (i = 0; i < sizeof addresses / sizeof *addresses; i++) {
            note(attempt_kernel(accesses[kind].code, addresses[i], 0));
        }
        finish();
    }
}

_Noreturn void kernel_main(void)
{
    unsigned n, smap = has_smap_smep() ? 1 : 0;

    set_gates();
    map_pages();
    for (n = 0; n < 32; n++) {
        if ((n & 6) == 0 || smap) {
            sweep_setting(n);
        }
    }
    set_msr(EFER, get_msr(EFER) | EFER_NXE);
    __asm__ volatile("mov %0, %%cr4" : : "r"(get_cr4() & ~(CR4_SMEP | CR4_SMAP)));
    sweep_descriptors();
    sweep_iret();
    sweep_bits("CR0 ", code_cr0, get_cr0(), ~UINT64_C(0x4005002e));
    sweep_bits("CR4 ", code_cr4, get_cr4(), ~UINT64_C(0x79f));
    sweep_bits("CR3 ", code_cr3, (uintptr_t)boot_pml4, UINT64_C(0xfffffffffffff000));
    sweep_bits("DR7 ", code_dr7, 0x400, UINT64_C(0xffffffff));
    sweep_bits("DR6 ", code_dr6, 0xffff0ff0, UINT64_C(0xffffffff));
    sweep_msrs();
    sweep_addresses();
    __asm__ volatile("outl %0, %1" : : "a"(0), "Nd"((uint16_t)0xf4));
    __asm__ volatile("lidt 0\n\tint3");
    for (;;) {
    }
}
