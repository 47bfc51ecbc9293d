/* x86_decode_fuzz.c - any bytes decode in each mode, the same each time and however
 * many bytes follow; a piece of an instruction asks for more until it is whole. */
#include <assert.h>
#include <string.h>

#include "tests/fuzz/target.h"
#include "virt/isa/x86/x86.h"

#define READ_MOST 40

/* The text always fits what it says, and is never empty. */
static void print(const struct x86_insn *i)
{
    char text[200];
    char little[8];
    int n = x86_disassemble(i, 0x401000, text, sizeof text);

    assert(n > 0 && (size_t)n < sizeof text && strlen(text) == (size_t)n);
    assert(x86_disassemble(i, 0x401000, little, sizeof little) == n);
    assert(strncmp(text, little, strlen(little)) == 0);
}

static void check_whole(const uint8_t *data, unsigned size, enum x86_code_mode mode,
                        const struct x86_insn *i)
{
    uint8_t other[READ_MOST];
    struct x86_insn again;

    assert(i->length >= 1 && i->length <= X86_INSN_BYTES_MAX && i->length <= size);
    assert(i->row < X86_ROW_COUNT && i->mode == (uint8_t)mode && i->run == NULL);
    assert(i->row == X86_INVALID || i->address >= X86_16);
    assert(i->address <= X86_64 && i->reg < 16 && i->rm < 16);
    memset(other, 0xff, sizeof other); /* what follows does not matter */
    memcpy(other, data, i->length);
    assert(x86_decode(other, sizeof other, mode, &again) == X86_DECODED);
    assert(memcmp(i, &again, sizeof again) == 0);
    assert(x86_decode(other, i->length, mode, &again) == X86_DECODED);
    assert(memcmp(i, &again, sizeof again) == 0);
    for (unsigned have = 0; have < i->length; have++) {
        assert(x86_decode(data, have, mode, &again) == X86_NEED_MORE);
    }
    print(i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned have = size < READ_MOST ? (unsigned)size : READ_MOST;

    for (int mode = 0; mode < X86_CODE_MODE_COUNT; mode++) {
        struct x86_insn i;
        struct x86_insn more;

        switch (x86_decode(data, have, (enum x86_code_mode)mode, &i)) {
        case X86_DECODED:
            check_whole(data, have, (enum x86_code_mode)mode, &i);
            break;
        case X86_NEED_MORE:
            assert(have < X86_INSN_BYTES_MAX);
            break;
        case X86_TOO_LONG:
            assert(have >= X86_INSN_BYTES_MAX);
            assert(x86_decode(data, X86_INSN_BYTES_MAX, (enum x86_code_mode)mode,
                              &more) == X86_TOO_LONG);
            break;
        }
    }
    return 0;
}
