/* frame.c - frames put together and taken apart; no byte is trusted.
 *
 * EXEC: u16 flags, rows, columns, count of arguments, count of variables; then texts with a
 * NUL behind each: user, working directory, arguments, variables. */
#include "virt/agent/frame/frame.h"

#include <errno.h>
#include <string.h>

#define EXEC_NUMBERS 5
#define EXEC_HEAD    (2 * EXEC_NUMBERS)

static uint32_t get(const uint8_t *at, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = bytes; i-- > 0;) {
        v = v << 8 | at[i];
    }
    return v;
}

static void put(uint8_t *at, uint32_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(v >> 8 * i);
    }
}

int frame_take(const uint8_t *bytes, size_t n, struct frame *ret, size_t *ret_used)
{
    uint32_t len;

    if (n < FRAME_HEAD_BYTES) {
        return 0;
    }
    len = get(bytes, 4);
    if (len > FRAME_BYTES_MOST || bytes[4] == 0 || bytes[4] >= FRAME_TYPE_COUNT) {
        return -EPROTO;
    }
    if (n - FRAME_HEAD_BYTES < len) {
        return 0;
    }
    *ret = (struct frame){bytes[4], len, bytes + FRAME_HEAD_BYTES};
    *ret_used = FRAME_HEAD_BYTES + len;
    return 1;
}

void frame_put_head(uint8_t out[FRAME_HEAD_BYTES], enum frame_type type, uint32_t len)
{
    put(out, len, 4);
    out[4] = (uint8_t)type;
}

struct writer {
    uint8_t *out;
    size_t room, at;
};

static int put_text(struct writer *w, const char *text)
{
    size_t n = strlen(text) + 1;

    if (n > w->room - w->at) {
        return -E2BIG;
    }
    memcpy(w->out + w->at, text, n);
    w->at += n;
    return 0;
}

static int put_list(struct writer *w, const char *const *list, unsigned *ret_count)
{
    int r = 0;

    *ret_count = 0;
    while (r == 0 && list != NULL && list[*ret_count] != NULL) {
        r = put_text(w, list[*ret_count]);
        *ret_count += 1;
    }
    return r;
}

int frame_put_exec(const struct frame_exec *x, uint8_t *out, size_t room)
{
    struct writer w = {out, room < FRAME_BYTES_MOST ? room : FRAME_BYTES_MOST, EXEC_HEAD};
    unsigned args = 0, vars = 0;
    int r;

    if (room < EXEC_HEAD) {
        return -E2BIG;
    }
    r = put_text(&w, x->user != NULL ? x->user : "");
    r = r < 0 ? r : put_text(&w, x->workdir != NULL ? x->workdir : "");
    r = r < 0 ? r : put_list(&w, x->argv, &args);
    r = r < 0 ? r : put_list(&w, x->env, &vars);
    if (r < 0 || args + vars > FRAME_ARGS_MOST) {
        return -E2BIG;
    }
    put(out, x->flags, 2);
    put(out + 2, x->rows, 2);
    put(out + 4, x->columns, 2);
    put(out + 6, args, 2);
    put(out + 8, vars, 2);
    return (int)w.at;
}

/* The next text of the frame, or NULL. */
static const char *next(const struct frame *f, size_t *at)
{
    const char *text = (const char *)f->bytes + *at;
    size_t left = f->len - *at;
    size_t n = strnlen(text, left);

    if (n == left) {
        return NULL;
    }
    *at += n + 1;
    return text;
}

static int get_list(const struct frame *f, size_t *at, unsigned count, const char **list)
{
    for (unsigned i = 0; i < count; i++) {
        list[i] = next(f, at);
        if (list[i] == NULL) {
            return -EPROTO;
        }
    }
    list[count] = NULL;
    return 0;
}

int frame_get_exec(const struct frame *f, const char **list, struct frame_exec *ret)
{
    struct frame_exec x = {0};
    size_t at = EXEC_HEAD;
    unsigned args, vars;

    if (f->len < EXEC_HEAD) {
        return -EPROTO;
    }
    x.flags = (uint16_t)get(f->bytes, 2);
    x.rows = (uint16_t)get(f->bytes + 2, 2);
    x.columns = (uint16_t)get(f->bytes + 4, 2);
    args = get(f->bytes + 6, 2);
    vars = get(f->bytes + 8, 2);
    x.user = next(f, &at);
    x.workdir = x.user != NULL ? next(f, &at) : NULL;
    if (x.workdir == NULL || args == 0 || args + vars > FRAME_ARGS_MOST ||
        get_list(f, &at, args, list) < 0 || get_list(f, &at, vars, list + args + 1) < 0 ||
        at != f->len) {
        return -EPROTO;
    }
    x.argv = list;
    x.env = list + args + 1;
    *ret = x;
    return 0;
}

int frame_get_i32(const struct frame *f, int32_t *ret)
{
    if (f->len != 4) {
        return -EPROTO;
    }
    *ret = (int32_t)get(f->bytes, 4);
    return 0;
}

int frame_get_i64(const struct frame *f, int64_t *ret)
{
    if (f->len != 8) {
        return -EPROTO;
    }
    *ret = (int64_t)((uint64_t)get(f->bytes + 4, 4) << 32 | get(f->bytes, 4));
    return 0;
}

int frame_get_size(const struct frame *f, uint16_t *ret_rows, uint16_t *ret_columns)
{
    if (f->len != 4) {
        return -EPROTO;
    }
    *ret_rows = (uint16_t)get(f->bytes, 2);
    *ret_columns = (uint16_t)get(f->bytes + 2, 2);
    return 0;
}
