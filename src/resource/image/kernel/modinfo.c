/* modinfo.c - what a module says of itself: "key=value" texts, each with a NUL behind, in
 * the section .modinfo (Linux, include/linux/moduleparam.h, __MODULE_INFO). */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "resource/image/kernel/modules.h"

static int read_section(const uint8_t *file, size_t bytes, const Elf64_Ehdr *h,
                        unsigned i, Elf64_Shdr *ret)
{
    uint64_t at = h->e_shoff + (uint64_t)i * sizeof *ret;

    if (at > bytes || bytes - at < sizeof *ret) {
        return -EBADMSG;
    }
    memcpy(ret, file + at, sizeof *ret);
    if (ret->sh_type != SHT_NOBITS &&
        (ret->sh_offset > bytes || ret->sh_size > bytes - ret->sh_offset)) {
        return -EBADMSG;
    }
    return 0;
}

/* .modinfo, or -EBADMSG. */
static int find_section(const uint8_t *file, size_t bytes, Elf64_Shdr *ret)
{
    Elf64_Ehdr h;
    Elf64_Shdr names;

    if (bytes < sizeof h) {
        return -EBADMSG;
    }
    memcpy(&h, file, sizeof h);
    if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
        h.e_shoff > bytes || h.e_shentsize != sizeof(Elf64_Shdr) ||
        h.e_shstrndx >= h.e_shnum ||
        read_section(file, bytes, &h, h.e_shstrndx, &names) < 0 ||
        names.sh_type != SHT_STRTAB) {
        return -EBADMSG;
    }
    for (unsigned i = 0; i < h.e_shnum; i++) {
        static const char name[] = ".modinfo";

        if (read_section(file, bytes, &h, i, ret) < 0) {
            return -EBADMSG;
        }
        if (ret->sh_type == SHT_PROGBITS && ret->sh_name < names.sh_size &&
            names.sh_size - ret->sh_name >= sizeof name &&
            memcmp(file + names.sh_offset + ret->sh_name, name, sizeof name) == 0) {
            return 0;
        }
    }
    return -EBADMSG;
}

static void add_words(const char *text, size_t len, struct strv *ret)
{
    size_t at = 0;

    while (at < len) {
        size_t n = 0;

        while (at + n < len && text[at + n] != ' ' && text[at + n] != ',') {
            n++;
        }
        if (n > 0) {
            strv_addf(ret, "%.*s", (int)n, text + at);
        }
        at += n + 1;
    }
}

int modinfo_words(const uint8_t *file, size_t bytes, const char *key, struct strv *ret)
{
    size_t key_len = strlen(key);
    Elf64_Shdr s;
    size_t at = 0;
    int r = find_section(file, bytes, &s);

    while (r == 0 && at < s.sh_size) {
        const char *text = (const char *)file + s.sh_offset + at;
        size_t len = strnlen(text, s.sh_size - at);

        if (len > key_len && memcmp(text, key, key_len) == 0 && text[key_len] == '=') {
            add_words(text + key_len + 1, len - key_len - 1, ret);
        }
        at += len + 1;
    }
    return r < 0 ? r : strv_failed(ret) ? -ENOMEM : 0;
}
