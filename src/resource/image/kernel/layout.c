/* layout.c - an unpacked kernel as a file that can be mapped.
 *
 *     0      ELF header, program headers, notes          one page
 *     4096   the first segment, the second ...           each on a page, with the offset
 *                                                        of its address inside the page
 *
 * Sections, symbols and what a build appends (relocations) are left out: nobody boots
 * them.  System V ABI, ELF-64 Object File Format, version 1.5, parts 1 and 5. */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/image/kernel/bzimage.h"

#define PAGE          4096u
#define SEGMENTS_MOST 32
#define PVH_OWNER     "Xen"
#define PVH_NOTE      18u /* Xen, public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY */
#define OUR_OWNER     "Strata"
#define OUR_NOTE      1u
#define SETUP_MOST    (0x290u - BZIMAGE_SETUP_AT)
#define PAYLOAD_AT    (0x248u - BZIMAGE_SETUP_AT) /* its offset and length */
#define PAYLOAD_BYTES 8u

struct layout {
    const uint8_t *elf;
    size_t bytes;
    Elf64_Ehdr head;
    Elf64_Phdr in[SEGMENTS_MOST];  /* LOAD segments as they are */
    Elf64_Phdr out[SEGMENTS_MOST]; /* and as they will be */
    unsigned n;
    uint8_t note[PAGE]; /* all notes, aligned to 4 */
    size_t note_bytes;
    uint64_t end; /* of the file that is made */
};

static int damaged(struct err *e)
{
    return err_set(e, -EBADMSG, "what it unpacks to is no ELF file for x86-64");
}

static uint64_t align_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) / to * to;
}

static int add_note(struct layout *l, const char *owner, uint32_t type, const void *desc,
                    size_t bytes)
{
    Elf64_Nhdr h = {.n_namesz = (Elf64_Word)strlen(owner) + 1,
                    .n_descsz = (Elf64_Word)bytes,
                    .n_type = type};
    size_t desc_at = l->note_bytes + sizeof h + align_up(h.n_namesz, 4);

    if (desc_at + bytes + 4 > sizeof l->note) {
        return -EBADMSG;
    }
    memcpy(l->note + l->note_bytes, &h, sizeof h);
    memcpy(l->note + l->note_bytes + sizeof h, owner, h.n_namesz);
    memcpy(l->note + desc_at, desc, bytes);
    l->note_bytes = desc_at + align_up(bytes, 4);
    return 0;
}

/* The entry of PVH among the notes of one segment, once. */
static int keep_pvh(struct layout *l, const Elf64_Phdr *s)
{
    uint64_t at = s->p_offset;
    uint64_t end = s->p_offset + s->p_filesz;

    while (end - at > sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr h;
        uint64_t name_at = at + sizeof h;
        uint64_t desc_at;

        memcpy(&h, l->elf + at, sizeof h);
        desc_at = name_at + align_up(h.n_namesz, 4);
        if (desc_at > end || h.n_descsz > end - desc_at) {
            return 0;
        }
        if (h.n_type == PVH_NOTE && h.n_namesz == sizeof PVH_OWNER &&
            memcmp(l->elf + name_at, PVH_OWNER, sizeof PVH_OWNER) == 0 &&
            (h.n_descsz == 4 || h.n_descsz == 8)) {
            return add_note(l, PVH_OWNER, PVH_NOTE, l->elf + desc_at, h.n_descsz);
        }
        at = desc_at + align_up(h.n_descsz, 4);
        if (at > end) {
            return 0;
        }
    }
    return 0;
}

static int take_segment(struct layout *l, const Elf64_Phdr *s, struct err *e)
{
    if (s->p_offset > l->bytes || s->p_filesz > l->bytes - s->p_offset ||
        s->p_filesz > s->p_memsz || s->p_paddr + s->p_memsz < s->p_paddr) {
        return damaged(e);
    }
    if (s->p_type == PT_NOTE) {
        return keep_pvh(l, s) < 0 ? damaged(e) : 0;
    }
    if (s->p_type != PT_LOAD || s->p_memsz == 0) {
        return 0;
    }
    if (l->n == SEGMENTS_MOST) {
        return damaged(e);
    }
    l->in[l->n] = *s;
    l->out[l->n] = *s;
    l->out[l->n].p_align = PAGE;
    l->out[l->n].p_offset = align_up(l->end, PAGE) + s->p_paddr % PAGE;
    l->end = l->out[l->n].p_offset + s->p_filesz;
    l->n++;
    return l->end > (uint64_t)BZIMAGE_PLAIN_MOST ? damaged(e) : 0;
}

static int take(struct layout *l, struct err *e)
{
    const Elf64_Ehdr *h = &l->head;

    if (l->bytes < sizeof *h) {
        return damaged(e);
    }
    memcpy(&l->head, l->elf, sizeof l->head);
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64 ||
        h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64 ||
        h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phoff > l->bytes ||
        (uint64_t)h->e_phnum * sizeof(Elf64_Phdr) > l->bytes - h->e_phoff) {
        return damaged(e);
    }
    l->end = PAGE;
    for (unsigned i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr s;
        int r;

        memcpy(&s, l->elf + h->e_phoff + (size_t)i * sizeof s, sizeof s);
        r = take_segment(l, &s, e);
        if (r < 0) {
            return r;
        }
    }
    return l->n == 0 ? damaged(e) : 0;
}

/* The first page. */
static int put_head(const struct layout *l, uint8_t *out)
{
    Elf64_Ehdr h = l->head;
    Elf64_Phdr note = {.p_type = PT_NOTE,
                       .p_flags = PF_R,
                       .p_offset = sizeof h + (l->n + 1) * sizeof note,
                       .p_filesz = l->note_bytes,
                       .p_memsz = l->note_bytes,
                       .p_align = 4};

    if (note.p_offset + note.p_filesz > PAGE) {
        return -EBADMSG;
    }
    h.e_type = ET_EXEC;
    h.e_phoff = sizeof h;
    h.e_phnum = (Elf64_Half)(l->n + 1);
    h.e_shoff = 0;
    h.e_shnum = 0;
    h.e_shstrndx = 0;
    memcpy(out, &h, sizeof h);
    memcpy(out + sizeof h, &note, sizeof note);
    memcpy(out + sizeof h + sizeof note, l->out, l->n * sizeof l->out[0]);
    memcpy(out + note.p_offset, l->note, l->note_bytes);
    return 0;
}

/* The header without what it says of the payload: there is none any more. */
static int add_setup(struct layout *l, const struct bzimage *b)
{
    uint8_t setup[SETUP_MOST];
    size_t n = b->setup_bytes < sizeof setup ? b->setup_bytes : sizeof setup;

    memcpy(setup, b->setup, n);
    if (n >= PAYLOAD_AT + PAYLOAD_BYTES) {
        memset(setup + PAYLOAD_AT, 0, PAYLOAD_BYTES);
    }
    return add_note(l, OUR_OWNER, OUR_NOTE, setup, n);
}

int bzimage_layout(const struct bzimage *b, const uint8_t *elf, size_t bytes,
                   uint8_t **ret, size_t *ret_bytes, struct err *e)
{
    struct layout l = {.elf = elf, .bytes = bytes};
    uint64_t whole;
    uint8_t *out;
    int r = take(&l, e);

    if (r < 0) {
        return r;
    }
    if (add_setup(&l, b) < 0) {
        return damaged(e);
    }
    whole = align_up(l.end, PAGE);
    out = fault_calloc(1, whole);
    if (out == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    for (unsigned i = 0; i < l.n; i++) {
        memcpy(out + l.out[i].p_offset, elf + l.in[i].p_offset, l.in[i].p_filesz);
    }
    if (put_head(&l, out) < 0) {
        free(out);
        return damaged(e);
    }
    *ret = out;
    *ret_bytes = whole;
    return 0;
}
