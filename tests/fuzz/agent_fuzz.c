/* agent_fuzz.c - any bytes are frames of the agent, or no frames; what is read of a command
 * can be written again. */
#include <assert.h>
#include <string.h>

#include "tests/fuzz/target.h"
#include "virt/agent/frame/frame.h"

static void check_exec(const struct frame *f)
{
    static const char *list[FRAME_ARGS_MOST + 2];
    static uint8_t out[FRAME_BYTES_MOST];
    struct frame_exec x;

    if (frame_get_exec(f, list, &x) == 0) {
        assert(frame_put_exec(&x, out, sizeof out) == (int)f->len);
        assert(memcmp(out, f->bytes, f->len) == 0);
    }
}

static void check_words(const uint8_t *data, size_t size)
{
    char text[512], again[2048];
    char *list[16];
    int n;

    size = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, data, size);
    text[size] = '\0';
    n = frame_get_words(text, list, 15);
    if (n > 0) {
        assert(list[n] == NULL);
        assert(frame_put_words((const char *const *)list, again, sizeof again) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;
    size_t used = 0;
    uint16_t a, b;
    int64_t v;
    int32_t w;

    check_words(data, size);
    while (frame_take(data, size, &f, &used) == 1) {
        assert(used <= size && f.len + FRAME_HEAD_BYTES == used);
        check_exec(&f);
        (void)frame_get_i32(&f, &w);
        (void)frame_get_i64(&f, &v);
        (void)frame_get_size(&f, &a, &b);
        data += used;
        size -= used;
    }
    return 0;
}
