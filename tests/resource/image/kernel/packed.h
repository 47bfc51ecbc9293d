/* packed.h - kernels made by hand: a small ELF file inside a bzImage, in any packing. */
#ifndef TESTS_RESOURCE_IMAGE_KERNEL_PACKED_H
#define TESTS_RESOURCE_IMAGE_KERNEL_PACKED_H

#include <elf.h>
#include <libdeflate.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/str.h"

enum packing {
    PACKING_GZIP,
    PACKING_ZSTD,
    PACKING_XZ,
    PACKING_LZ4,
    PACKING_BZIP2, /* is not known */
    PACKING_COUNT
};

#define ELF_TEXT  0x3000u /* bytes of its first segment */
#define ELF_PVH   0x1234567u
#define ELF_ENTRY 0x1000000u

/* Two LOAD segments at odd offsets of the file, a note of PVH, and junk behind. */
static inline void packed_elf(struct str *out)
{
    const struct {
        Elf64_Nhdr h;
        char owner[4];
        uint32_t entry;
    } note = {{4, 4, 18}, "Xen", ELF_PVH};

    Elf64_Ehdr h = {.e_type = ET_EXEC,
                    .e_machine = EM_X86_64,
                    .e_version = 1,
                    .e_entry = ELF_ENTRY,
                    .e_phoff = sizeof h,
                    .e_ehsize = sizeof h,
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = 3};
    Elf64_Phdr p[3] = {
        {PT_LOAD, PF_R | PF_X, 0x333, 0xffffffff81000000, ELF_ENTRY, ELF_TEXT, ELF_TEXT,
         1},
        {PT_LOAD, PF_R, 0x333 + ELF_TEXT, 0, ELF_ENTRY + ELF_TEXT + 0x10, 0x100, 0x9000,
         1},
        {PT_NOTE, PF_R, sizeof h + sizeof p, 0, 0, sizeof note, sizeof note, 4}};
    char byte = 0;

    memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = ELFCLASS64;
    h.e_ident[EI_DATA] = ELFDATA2LSB;
    h.e_ident[EI_VERSION] = 1;
    str_add_bytes(out, &h, sizeof h);
    str_add_bytes(out, p, sizeof p);
    str_add_bytes(out, &note, sizeof note);
    for (unsigned i = 0; out->len < 0x333 + ELF_TEXT + 0x100 + 777; i++) {
        byte = (char)(i % 251 ^ i >> 8);
        str_add_bytes(out, &byte, 1);
    }
}

static inline size_t packed_lz4(const struct str *in, char *out, size_t room)
{
    static const uint8_t magic[] = {0x02, 0x21, 0x4c, 0x18};
    int n = LZ4_compress_default(in->data, out + 8, (int)in->len, (int)room - 8);
    uint32_t head = (uint32_t)n;

    memcpy(out, magic, sizeof magic);
    memcpy(out + 4, &head, sizeof head);
    return (size_t)n + 8;
}

static inline size_t packed_xz(const struct str *in, char *out, size_t room)
{
    size_t n = 0;

    (void)lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, (const uint8_t *)in->data,
                                  in->len, (uint8_t *)out, &n, room);
    return n;
}

static inline size_t packed_gzip(const struct str *in, char *out, size_t room)
{
    struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
    size_t n = libdeflate_gzip_compress(c, in->data, in->len, out, room);

    libdeflate_free_compressor(c);
    return n;
}

/* The payload, and - as a kernel's build does - its plain size behind it. */
static inline void packed_payload(const struct str *in, enum packing how, struct str *out)
{
    size_t room = in->len + 65536;
    char *to = calloc(1, room);
    uint32_t size = (uint32_t)in->len;
    size_t n = how == PACKING_GZIP   ? packed_gzip(in, to, room)
               : how == PACKING_ZSTD ? ZSTD_compress(to, room, in->data, in->len, 3)
               : how == PACKING_XZ   ? packed_xz(in, to, room)
               : how == PACKING_LZ4  ? packed_lz4(in, to, room)
                                     : 64;

    if (how == PACKING_BZIP2) {
        memcpy(to, "BZh91AY&SY", 10);
    }
    str_add_bytes(out, to, n);
    if (how != PACKING_GZIP) { /* gzip ends with it anyway */
        str_add_bytes(out, &size, sizeof size);
    }
    free(to);
}

/* Linux, Documentation/arch/x86/boot.rst: one setup sector beside the boot sector. */
static inline void packed_bzimage(const struct str *payload, struct str *out)
{
    uint8_t head[1024] = {0};
    uint32_t offset = 16, bytes = (uint32_t)payload->len, size = 0x20000;
    uint64_t preferred = ELF_ENTRY;

    head[0x1f1] = 1;
    head[0x1fe] = 0x55;
    head[0x1ff] = 0xaa;
    head[0x200] = 0xeb;
    head[0x201] = 0x6a;
    memcpy(head + 0x202, "HdrS\x0f\x02", 6);
    head[0x20e] = 0x80; /* its version's text is at 0x280 */
    memcpy(head + 0x280, "9.9.9-test (x) #1", 18);
    head[0x236] = 1;
    head[0x239] = 8;
    memcpy(head + 0x22c, "\xff\xff\xff\x7f", 4);
    memcpy(head + 0x248, &offset, 4);
    memcpy(head + 0x24c, &bytes, 4);
    memcpy(head + 0x258, &preferred, 8);
    memcpy(head + 0x260, &size, 4);
    str_add_bytes(out, head, sizeof head);
    str_add_bytes(out, head, offset);
    str_add_bytes(out, payload->data, payload->len);
}

#endif
