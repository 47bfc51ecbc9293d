/* elf.c - the segments of an ELF file to their physical addresses, and what its notes say
 * (System V ABI, ELF-64 Object File Format, version 1.5, parts 1 and 5). */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/monitor/boot/private.h"

#define SEGMENTS_MOST 64

bool elf_is(const uint8_t *file, size_t bytes)
{
    return bytes >= sizeof(Elf64_Ehdr) && memcmp(file, ELFMAG, SELFMAG) == 0 &&
           file[EI_CLASS] == ELFCLASS64 && boot_get16(file + 18) == EM_X86_64;
}

/* The program header `i`, its range inside the file; -ENOENT behind the last. */
static int segment(const uint8_t *file, size_t bytes, unsigned i, Elf64_Phdr *ret)
{
    Elf64_Ehdr h;

    memcpy(&h, file, sizeof h);
    if (h.e_phentsize != sizeof *ret || h.e_phnum > SEGMENTS_MOST || h.e_phoff > bytes ||
        (uint64_t)h.e_phnum * sizeof *ret > bytes - h.e_phoff) {
        return -EINVAL;
    }
    if (i >= h.e_phnum) {
        return -ENOENT;
    }
    memcpy(ret, file + h.e_phoff + (size_t)i * sizeof *ret, sizeof *ret);
    return ret->p_offset > bytes || ret->p_filesz > bytes - ret->p_offset ? -EINVAL : 0;
}

static int load_segment(struct mem *m, const uint8_t *file, const Elf64_Phdr *h,
                        struct err *e)
{
    if (h->p_memsz < h->p_filesz || h->p_paddr + h->p_memsz < h->p_paddr) {
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
    struct elf_loaded out = {0};
    Elf64_Phdr s;
    Elf64_Ehdr h;
    int r = 0;

    for (unsigned i = 0; (r = segment(file, bytes, i, &s)) == 0; i++) {
        if (s.p_type != PT_LOAD) {
            continue;
        }
        r = load_segment(m, file, &s, e);
        if (r != 0) {
            return r;
        }
        out.end = s.p_paddr + s.p_memsz > out.end ? s.p_paddr + s.p_memsz : out.end;
    }
    if (r != -ENOENT || out.end == 0) {
        return err_set(e, -EINVAL, "cannot load an ELF file: it is cut or damaged");
    }
    memcpy(&h, file, sizeof h);
    out.entry = h.e_entry;
    *ret = out;
    return 0;
}

static size_t align4(size_t v)
{
    return (v + 3) & ~(size_t)3;
}

/* The note among `bytes` of notes. */
static const uint8_t *search(const uint8_t *at, size_t bytes, const struct elf_note *want,
                             size_t *ret_bytes)
{
    size_t owner = strlen(want->owner) + 1;

    while (bytes > sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr n;
        size_t name, all;

        memcpy(&n, at, sizeof n);
        name = sizeof n + align4(n.n_namesz);
        all = name + align4(n.n_descsz);
        if (name > bytes || n.n_descsz > bytes - name) {
            return NULL;
        }
        if (n.n_type == want->type && n.n_namesz == owner &&
            memcmp(at + sizeof n, want->owner, owner) == 0) {
            *ret_bytes = n.n_descsz;
            return at + name;
        }
        all = all > bytes ? bytes : all;
        at += all;
        bytes -= all;
    }
    return NULL;
}

const uint8_t *elf_note(const uint8_t *file, size_t bytes, const struct elf_note *want,
                        size_t *ret_bytes)
{
    const uint8_t *found = NULL;
    Elf64_Phdr s;

    for (unsigned i = 0; found == NULL && segment(file, bytes, i, &s) == 0; i++) {
        if (s.p_type == PT_NOTE) {
            found = search(file + s.p_offset, s.p_filesz, want, ret_bytes);
        }
    }
    return found;
}
