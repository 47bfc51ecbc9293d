/* dump.c - memory and registers as an ELF core file, for debuggers.
 *
 * One note NT_PRSTATUS for each vCPU, as threads 1.. of a process; memory region by region at
 * its physical addresses; and, where processor 0 is in long mode, the system's half of its
 * address space at the addresses that its own code uses.  Those segments lie over the same
 * bytes of the file.  Pages of zeros are holes.
 *
 * Sources: System V ABI, "Program Loading" (core files follow Linux fs/binfmt_elf.c);
 * struct elf_prstatus of <sys/procfs.h>; Intel SDM 3A, 4.5 (4-level paging). */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "virt/monitor/private.h"

#define RANGES_MOST 4096u      /* of the address space; what is beyond is left out */
#define STEPS_MOST  (4u << 20) /* entries looked at: tables may lead to each other */
#define ENTRIES     512u
#define PRESENT     UINT64_C(1)
#define LARGE       UINT64_C(0x80)
#define FRAME       UINT64_C(0x000ffffffffff000)
#define LONG_MODE   UINT64_C(0x400) /* EFER.LMA */
#define FIRST_HIGH  256u            /* the first entry of the system's half */
#define BLOCK_BYTES (UINT64_C(1) << 20)

struct range {
    uint64_t linear, at, bytes; /* `at`: physical */
};

struct dump {
    struct machine *m;
    int fd;
    struct range range[RANGES_MOST];
    unsigned ranges, steps;
};

static int put(int fd, const void *bytes, size_t n, uint64_t at)
{
    const char *from = bytes;

    while (n > 0) {
        ssize_t done = pwrite(fd, from, n, (off_t)at);

        if (done < 0) {
            return -errno;
        }
        from += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

/* ---- the address space ---- */

static bool is_ram(const struct mem_region *r)
{
    return r != NULL && r->host != NULL;
}

static uint64_t entry(const struct dump *d, uint64_t table, unsigned i)
{
    uint64_t at = (table & FRAME) + i * 8u;
    const struct mem_region *r = mem_find(d->m->mem, at);
    uint64_t v = 0;

    if (is_ram(r)) {
        memcpy(&v, r->host + (at - r->base), sizeof v);
    }
    return v;
}

/* [linear, +bytes) shows the RAM from `at` on; put to the last range where it follows. */
static void add_range(struct dump *d, uint64_t linear, uint64_t at, uint64_t bytes)
{
    const struct mem_region *r = mem_find(d->m->mem, at);
    struct range *last = d->ranges > 0 ? &d->range[d->ranges - 1] : NULL;

    if (!is_ram(r)) {
        return;
    }
    if (bytes > r->base + r->bytes - at) {
        bytes = r->base + r->bytes - at;
    }
    if (last != NULL && last->linear + last->bytes == linear &&
        last->at + last->bytes == at && mem_find(d->m->mem, last->at) == r) {
        last->bytes += bytes;
    } else if (d->ranges < RANGES_MOST) {
        d->range[d->ranges++] = (struct range){linear, at, bytes};
    }
}

static void walk(struct dump *d, uint64_t table, unsigned level, uint64_t linear)
{
    unsigned shift = 12 + 9 * level;

    unsigned count = level == 3 ? ENTRIES - FIRST_HIGH : ENTRIES;

    for (unsigned n = 0; n < count && d->ranges < RANGES_MOST && d->steps < STEPS_MOST;
         n++) {
        unsigned i = level == 3 ? ENTRIES - 1 - n : n; /* from the kernel's text down */
        uint64_t v = entry(d, table, i);
        uint64_t here = linear | (uint64_t)i << shift;

        d->steps++;
        if (level == 3) { /* bit 47 goes on to the top */
            here |= UINT64_C(0xffff) << 48;
        }
        if ((v & PRESENT) == 0) {
            continue;
        }
        if (level == 0 || (level < 3 && (v & LARGE) != 0)) {
            uint64_t bytes = UINT64_C(1) << shift;

            add_range(d, here, v & FRAME & ~(bytes - 1), bytes);
        } else {
            walk(d, v, level - 1, here);
        }
    }
}

/* ---- registers ---- */

static void fill_status(const struct x86_regs *r, unsigned index,
                        struct elf_prstatus *ret)
{
    struct user_regs_struct u = {.r15 = r->gpr[X86_R15],
                                 .r14 = r->gpr[X86_R14],
                                 .r13 = r->gpr[X86_R13],
                                 .r12 = r->gpr[X86_R12],
                                 .rbp = r->gpr[X86_RBP],
                                 .rbx = r->gpr[X86_RBX],
                                 .r11 = r->gpr[X86_R11],
                                 .r10 = r->gpr[X86_R10],
                                 .r9 = r->gpr[X86_R9],
                                 .r8 = r->gpr[X86_R8],
                                 .rax = r->gpr[X86_RAX],
                                 .rcx = r->gpr[X86_RCX],
                                 .rdx = r->gpr[X86_RDX],
                                 .rsi = r->gpr[X86_RSI],
                                 .rdi = r->gpr[X86_RDI],
                                 .orig_rax = UINT64_MAX, /* no system call */
                                 .rip = r->gpr[X86_RIP],
                                 .cs = r->seg[X86_CS].selector,
                                 .eflags = r->rflags,
                                 .rsp = r->gpr[X86_RSP],
                                 .ss = r->seg[X86_SS].selector,
                                 .fs_base = r->seg[X86_FS].base,
                                 .gs_base = r->seg[X86_GS].base,
                                 .ds = r->seg[X86_DS].selector,
                                 .es = r->seg[X86_ES].selector,
                                 .fs = r->seg[X86_FS].selector,
                                 .gs = r->seg[X86_GS].selector};

    memset(ret, 0, sizeof *ret);
    ret->pr_pid = (pid_t)index + 1;
    _Static_assert(sizeof u == sizeof ret->pr_reg, "the kernel's layout");
    memcpy(&ret->pr_reg, &u, sizeof u);
}

struct note {
    Elf64_Nhdr head;
    char name[8];                             /* "CORE" and padding */
    char status[sizeof(struct elf_prstatus)]; /* follows without a gap */
};

static int put_notes(struct dump *d, uint64_t at)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < d->m->cpus; i++) {
        struct note n = {
            .head = {.n_namesz = 5, .n_descsz = sizeof n.status, .n_type = NT_PRSTATUS},
            .name = "CORE"};
        struct elf_prstatus status;
        struct x86_regs regs = {0};

        cpu_get(d->m->vcpu[i].cpu, &regs);
        if (i == 0 && (regs.msr.efer & LONG_MODE) != 0) {
            walk(d, regs.cr3, 3, 0);
        }
        fill_status(&regs, i, &status);
        memcpy(n.status, &status, sizeof status);
        r = put(d->fd, &n, sizeof n, at + i * sizeof n);
    }
    return r;
}

/* ---- memory ---- */

static bool is_zero(const uint8_t *p)
{
    return *(const uint64_t *)(const void *)p == 0 &&
           memcmp(p, p + 8, MEM_PAGE_BYTES - 8) == 0;
}

static int put_region(struct dump *d, const struct mem_region *r, uint64_t at)
{
    uint64_t run = 0;
    int result = 0;

    for (uint64_t done = 0; result == 0 && done <= r->bytes; done += MEM_PAGE_BYTES) {
        bool is_there = done < r->bytes &&
                        mem_present(d->m->mem, r, r->base + done) == 0 &&
                        !is_zero(r->host + done);

        if (run > 0 && (!is_there || run == BLOCK_BYTES)) {
            result = put(d->fd, r->host + done - run, run, at + done - run);
            run = 0;
        }
        run += is_there ? MEM_PAGE_BYTES : 0;
    }
    return result;
}

/* Where the byte at `at` lies in the file; `first`: where memory begins in it. */
static uint64_t place(const struct dump *d, uint64_t at, uint64_t first)
{
    const struct mem *mem = d->m->mem;

    for (unsigned i = 0; i < mem->region_count; i++) {
        const struct mem_region *r = &mem->region[i];

        if (is_ram(r) && at >= r->base && at - r->base < r->bytes) {
            return first + (at - r->base);
        }
        first += is_ram(r) ? r->bytes : 0;
    }
    return 0;
}

static Elf64_Phdr segment(uint64_t linear, uint64_t at, uint64_t bytes, uint64_t offset)
{
    return (Elf64_Phdr){.p_type = PT_LOAD,
                        .p_flags = PF_R | PF_W | PF_X,
                        .p_offset = offset,
                        .p_vaddr = linear,
                        .p_paddr = at,
                        .p_filesz = bytes,
                        .p_memsz = bytes,
                        .p_align = MEM_PAGE_BYTES};
}

/* Heads, notes, memory, in this order; the heads are written last. */
static int write_all(struct dump *d)
{
    const struct mem *mem = d->m->mem;
    uint64_t notes =
        sizeof(Elf64_Ehdr) + (1 + MEM_REGIONS_MAX + RANGES_MOST) * sizeof(Elf64_Phdr);
    uint64_t notes_bytes = d->m->cpus * sizeof(struct note);
    uint64_t first = (notes + notes_bytes + MEM_PAGE_BYTES - 1) & ~(MEM_PAGE_BYTES - 1);
    Elf64_Ehdr head = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
                       .e_type = ET_CORE,
                       .e_machine = EM_X86_64,
                       .e_version = 1,
                       .e_phoff = sizeof head,
                       .e_ehsize = sizeof head,
                       .e_phentsize = sizeof(Elf64_Phdr)};
    Elf64_Phdr p = {
        .p_type = PT_NOTE, .p_offset = notes, .p_filesz = notes_bytes, .p_align = 4};
    uint64_t end = first;
    int r = put_notes(d, notes);

    r = r == 0 ? put(d->fd, &p, sizeof p, sizeof head + head.e_phnum++ * sizeof p) : r;
    for (unsigned i = 0; r == 0 && i < mem->region_count; i++) {
        const struct mem_region *region = &mem->region[i];

        if (is_ram(region)) {
            p = segment(region->base, region->base, region->bytes, end);
            r = put(d->fd, &p, sizeof p, sizeof head + head.e_phnum++ * sizeof p);
            r = r == 0 ? put_region(d, region, end) : r;
            end += region->bytes;
        }
    }
    for (unsigned i = 0; r == 0 && i < d->ranges; i++) {
        const struct range *a = &d->range[i];

        p = segment(a->linear, a->at, a->bytes, place(d, a->at, first));
        r = put(d->fd, &p, sizeof p, sizeof head + head.e_phnum++ * sizeof p);
    }
    r = r == 0 && ftruncate(d->fd, (off_t)end) < 0 ? -errno : r;
    return r == 0 ? put(d->fd, &head, sizeof head, 0) : r;
}

int machine_dump(struct machine *m, int fd, struct err *e)
{
    struct dump *d = fault_calloc(1, sizeof *d);
    int r = d == NULL ? err_set(e, -ENOMEM, "out of memory") : machine_pause(m, e);

    if (r == 0) {
        d->m = m;
        d->fd = fd;
        r = write_all(d);
        r = r < 0 ? err_sys(e, r, "cannot write the core file") : 0;
        (void)machine_resume(m, NULL);
    }
    free(d);
    return r;
}
