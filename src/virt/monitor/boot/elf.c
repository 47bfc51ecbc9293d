/* elf.c - the segments of an ELF file to their physical addresses (System V ABI, ELF-64
 * Object File Format, version 1.5, parts 1 and 5). */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/monitor/boot/private.h"

#define SEGMENTS_MOST 64

static int load_segment(struct mem *m, const uint8_t *file, size_t bytes,
                        const Elf64_Phdr *h, struct err *e)
{
    if (h->p_offset > bytes || h->p_filesz > bytes - h->p_offset ||
        h->p_memsz < h->p_filesz || h->p_paddr + h->p_memsz < h->p_paddr) {
        return err_set(e, -EINVAL, "cannot load an ELF file: a segment is not inside it");
    }
    if (mem_write(m, h->p_paddr, file + h->p_offset, h->p_filesz) != 0 ||
        (h->p_memsz > 0 && (mem_find(m, h->p_paddr + h->p_memsz - 1) == NULL ||
                            mem_find(m, h->p_paddr + h->p_memsz - 1)->host == NULL))) {
        return err_set(e, -ENOMEM, "cannot load an ELF file: there is too little memory");
    }
    return 0; /* the rest is zeros: nothing was there before */
}

int elf_load(struct mem *m, const uint8_t *file, size_t bytes, struct elf_loaded *ret,
             struct err *e)
{
    Elf64_Ehdr h;
    struct elf_loaded out = {0};

    if (bytes < sizeof h) {
        return err_set(e, -EINVAL, "cannot load an ELF file: it is cut");
    }
    memcpy(&h, file, sizeof h);
    if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
        h.e_machine != EM_X86_64 || h.e_phentsize != sizeof(Elf64_Phdr) ||
        h.e_phnum > SEGMENTS_MOST || h.e_phoff > bytes ||
        (uint64_t)h.e_phnum * sizeof(Elf64_Phdr) > bytes - h.e_phoff) {
        return err_set(e, -EINVAL, "cannot load an ELF file: it is not one for x86-64");
    }
    for (unsigned i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr s;
        int r;

        memcpy(&s, file + h.e_phoff + (size_t)i * sizeof s, sizeof s);
        if (s.p_type != PT_LOAD) {
            continue;
        }
        r = load_segment(m, file, bytes, &s, e);
        if (r != 0) {
            return r;
        }
        out.end = s.p_paddr + s.p_memsz > out.end ? s.p_paddr + s.p_memsz : out.end;
    }
    out.entry = h.e_entry;
    *ret = out;
    return 0;
}
