/* kernel_fuzz.c - any bytes are a kernel, an ELF file, a module; or an error. */
#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "resource/image/kernel/bzimage.h"
#include "resource/image/kernel/modules.h"
#include "resource/image/kernel/unpack.h"
#include "tests/fuzz/target.h"

#define ROOM_MOST (1u << 20)

static void lay_out(const struct bzimage *b, const uint8_t *elf, size_t size)
{
    struct err e = {0};
    uint8_t *file = NULL;
    size_t n = 0;
    int r = bzimage_layout(b, elf, size, &file, &n, &e);

    assert((r < 0) == (e.text[0] != '\0'));
    assert(r < 0 || n % 4096 == 0);
    free(file);
}

static void unpack(const uint8_t *in, size_t size, size_t room, const struct bzimage *b)
{
    struct unpack u = {.format = unpack_recognize(in, size),
                       .in = in,
                       .bytes = size,
                       .room = room > ROOM_MOST ? ROOM_MOST : room};
    int64_t n;

    if (u.format == NULL) {
        return;
    }
    u.out = malloc(u.room + 1);
    if (u.out != NULL && unpack_init(&u) == 0) {
        n = unpack_run(&u);
        assert(n <= (int64_t)u.room);
        if (n > 0 && b != NULL) {
            lay_out(b, u.out, (size_t)n);
        }
    }
    unpack_fini(&u);
    free(u.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bzimage none = {.setup = data, .setup_bytes = 0};
    struct strv words = {0};
    struct bzimage b;

    if (bzimage_is(data, size) && bzimage_read(data, size, &b, NULL) == 0) {
        unpack(b.payload, b.payload_bytes, b.plain_bytes, &b);
    }
    unpack(data, size, ROOM_MOST, NULL);
    lay_out(&none, data, size);
    (void)modinfo_words(data, size, "depends", &words);
    strv_fini(&words);
    return 0;
}
