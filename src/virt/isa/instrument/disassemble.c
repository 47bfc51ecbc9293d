/* disassemble.c - a file's code as text: raw bytes, or the executable segments of an
 * ELF (System V ABI, 4 and 5), whose class then says the mode. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "virt/isa/instrument/private.h"
#include "virt/isa/x86/x86.h"

#define ELF_64    2 /* ident[4] */
#define ELF_LOAD  1
#define ELF_X     1
#define BYTES_ROW 11 /* shown beside the text; longer instructions push it right */

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t v = 0;

    while (bytes-- > 0) {
        v = v << 8 | at[bytes];
    }
    return v;
}

static void print_line(uint64_t at, const uint8_t *bytes, unsigned n, const char *text)
{
    unsigned i;

    (void)printf("%8" PRIx64 "  ", at);
    for (i = 0; i < n; i++) {
        (void)printf("%02x ", bytes[i]);
    }
    (void)printf("%*s%s\n", n < BYTES_ROW ? (int)(BYTES_ROW - n) * 3 : 0, "", text);
}

static void print_code(const uint8_t *code, size_t bytes, uint64_t at,
                       enum x86_code_mode mode)
{
    size_t done = 0;

    while (done < bytes) {
        unsigned have = bytes - done < X86_INSN_BYTES_MAX ? (unsigned)(bytes - done)
                                                          : X86_INSN_BYTES_MAX;
        struct x86_insn i;
        char text[160] = "(bad)";
        unsigned n = 1;

        if (x86_decode(code + done, have, mode, &i) == X86_DECODED &&
            i.row != X86_INVALID) {
            (void)x86_disassemble(&i, at + done, text, sizeof text);
            n = i.length;
        }
        print_line(at + done, code + done, n, text);
        done += n;
    }
}

static int print_elf(const uint8_t *f, size_t bytes, struct err *e)
{
    bool is_64 = f[4] == ELF_64;
    uint64_t offset = is_64 ? get(f + 32, 8) : get(f + 28, 4);
    uint64_t each = is_64 ? 56 : 32, n = is_64 ? get(f + 56, 2) : get(f + 44, 2);
    uint64_t i;

    if (offset > bytes || n > (bytes - offset) / each) {
        return err_set(e, -EINVAL, "the file's headers are cut off");
    }
    for (i = 0; i < n; i++) {
        const uint8_t *p = f + offset + i * each;
        uint64_t flags = is_64 ? get(p + 4, 4) : get(p + 24, 4);
        uint64_t from = is_64 ? get(p + 8, 8) : get(p + 4, 4);
        uint64_t at = is_64 ? get(p + 16, 8) : get(p + 8, 4);
        uint64_t len = is_64 ? get(p + 32, 8) : get(p + 16, 4);

        if (get(p, 4) != ELF_LOAD || (flags & ELF_X) == 0) {
            continue;
        }
        if (from > bytes || len > bytes - from) {
            return err_set(e, -EINVAL, "a segment is not in the file");
        }
        print_code(f + from, len, at, is_64 ? X86_CODE64 : X86_CODE32);
    }
    return 0;
}

static enum x86_code_mode mode_of(const char *text)
{
    return text == NULL || strcmp(text, "64") == 0 ? X86_CODE64
           : strcmp(text, "32") == 0               ? X86_CODE32
                                                   : X86_CODE16;
}

int instrument_disassemble(const json_t *request, json_t **ret, int *ret_code,
                           struct err *e)
{
    const char *file = NULL, *at = NULL, *mode = NULL;
    SCOPED(scope_free) uint8_t *bytes = NULL;
    uint64_t address = 0;
    size_t len = 0;
    int r = json_want_str(request, "", "file", &file, e);

    (void)ret;
    (void)ret_code;
    r = r < 0 ? r : json_opt_str(request, "", "at", &at, e);
    r = r < 0 ? r : json_opt_str(request, "", "mode", &mode, e);
    if (r == 0 && at != NULL) {
        r = instrument_address(at, &address, e);
    }
    r = r < 0 ? r : instrument_read(file, &bytes, &len, e);
    if (r < 0) {
        return r;
    }
    if (len >= 64 && memcmp(bytes, "\177ELF", 4) == 0) {
        return print_elf(bytes, len, e);
    }
    print_code(bytes, len, address, mode_of(mode));
    return 0;
}
