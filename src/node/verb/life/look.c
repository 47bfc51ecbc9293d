/* look.c - machines looked at: registers, memory, addresses. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/verb/life/private.h"

#define LINE_BYTES  16u
#define PIECE_BYTES 8192u
#define MOST_BYTES  (UINT64_C(1) << 20)

struct look {
    struct node *n;
    struct guest g;
    const json_t *order;
    uint64_t address;
};

static int read_address(const json_t *order, uint64_t *ret, struct err *e)
{
    const char *text = json_string_value(json_object_get(order, "address"));
    char *end;

    if (text == NULL) {
        return 0;
    }
    errno = 0;
    *ret = strtoull(text, &end, 0);
    return errno == 0 && end != text && *end == '\0' && isdigit((unsigned char)*text)
               ? 0
               : err_set(e, -EINVAL, "'%s' is no address", text);
}

static int ask(struct look *l, const char *what, uint64_t at, uint64_t bytes,
               json_t **ret, struct err *e)
{
    const json_t *cpu = json_object_get(l->order, "cpu");
    bool physical = json_is_true(json_object_get(l->order, "physical"));
    SCOPED(scope_json) json_t *arg = NULL;
    struct far_question q = {.verb = FAR_LOOK};
    char text[24];

    (void)str_print(text, sizeof text, "%" PRIx64, at);
    arg = json_pack("{s:s, s:s, s:I}", "what", what, "address", text, "bytes",
                    (json_int_t)bytes);
    if (!physical) {
        (void)json_object_set_new(arg, "cpu", json_integer(json_integer_value(cpu)));
    }
    q.arg = arg;
    return life_ask(l->n, &l->g, &q, ret, e);
}

static void add_name(const struct look *l, json_t *to)
{
    (void)json_object_set_new(to, "name", json_string(guest_text(&l->g, "name")));
}

static int look_at_registers(struct look *l, json_t **ret, struct err *e)
{
    const json_t *cpu = json_object_get(l->order, "cpu");
    int r = ask(l, "registers", 0, 0, ret, e);

    if (r == 0) {
        add_name(l, *ret);
        (void)json_object_set_new(*ret, "cpu", json_integer(json_integer_value(cpu)));
    }
    return r;
}

static int look_at_address(struct look *l, json_t **ret, struct err *e)
{
    int r = ask(l, "address", l->address, 0, ret, e);
    char text[24];

    if (r == 0) {
        (void)str_print(text, sizeof text, "0x%" PRIx64, l->address);
        add_name(l, *ret);
        (void)json_object_set_new(*ret, "address", json_string(text));
    }
    return r;
}

/* `digits` of at most sixteen bytes as a row. */
static json_t *row_of(uint64_t at, const char *digits, size_t n)
{
    char address[24], bytes[3 * LINE_BYTES + 1] = "", text[LINE_BYTES + 1] = "";

    (void)str_print(address, sizeof address, "0x%" PRIx64, at);
    for (size_t i = 0; i < n; i++) {
        const char pair[3] = {digits[2 * i], digits[2 * i + 1], '\0'};
        int c = (int)strtol(pair, NULL, 16);

        (void)str_print(bytes + 3 * i, 4, "%s ", pair);
        text[i] = (char)(c >= ' ' && c < 0x7f ? c : '.');
    }
    bytes[3 * n - 1] = '\0';
    return json_pack("{s:s, s:s, s:s}", "address", address, "bytes", bytes, "text", text);
}

static int look_at_memory(struct look *l, json_t **ret, struct err *e)
{
    uint64_t left = (uint64_t)json_integer_value(json_object_get(l->order, "length"));
    uint64_t at = l->address;
    SCOPED(scope_json) json_t *rows = json_array();
    int r = left <= MOST_BYTES ? 0 : err_set(e, -ERANGE, "at most 1M at once");

    while (r == 0 && left > 0) {
        uint64_t n = left < PIECE_BYTES ? left : PIECE_BYTES;
        SCOPED(scope_json) json_t *piece = NULL;
        const char *digits;

        r = ask(l, "memory", at, n, &piece, e);
        digits = json_string_value(json_object_get(piece, "bytes"));
        if (r == 0 && (digits == NULL || strlen(digits) != 2 * n)) {
            r = err_set(e, -EIO, "the machine's answer is not what was asked for");
        }
        for (uint64_t i = 0; r == 0 && i < n; i += LINE_BYTES) {
            (void)json_array_append_new(
                rows,
                row_of(at + i, digits + 2 * i, n - i < LINE_BYTES ? n - i : LINE_BYTES));
        }
        at += n;
        left -= n;
    }
    if (r == 0) {
        *ret = json_incref(rows);
    }
    return r;
}

/* ---- exits by time ---- */

static int ask_trace(struct look *l, const char *what, uint64_t v, json_t **ret,
                     struct err *e)
{
    SCOPED(scope_json) json_t *arg = json_pack("{s:I}", what, (json_int_t)v);
    const struct far_question q = {.verb = FAR_TRACE, .arg = arg};

    return life_ask(l->n, &l->g, &q, ret, e);
}

static int take_exits(struct look *l, json_t *rows, struct err *e)
{
    size_t before;
    int r;

    do {
        SCOPED(scope_json) json_t *piece = NULL;

        before = json_array_size(rows);
        r = ask_trace(l, "from", before, &piece, e);
        (void)json_array_extend(rows, json_object_get(piece, "exits"));
    } while (r == 0 && json_array_size(rows) > before);
    return r;
}

static int look_at_exits(struct look *l, json_t **ret, struct err *e)
{
    uint64_t ms = (uint64_t)json_integer_value(json_object_get(l->order, "time"));
    uint64_t most = (uint64_t)json_integer_value(json_object_get(l->order, "most"));
    const struct timespec t = {.tv_sec = (time_t)(ms / 1000),
                               .tv_nsec = (long)(ms % 1000) * 1000000};
    SCOPED(scope_json) json_t *end = json_pack("{s:b}", "end", 1);
    const struct far_question q = {.verb = FAR_TRACE, .arg = end};
    SCOPED(scope_json) json_t *rows = json_array();
    int r = ask_trace(l, "begin", most, NULL, e);

    if (r < 0) {
        return r;
    }
    (void)nanosleep(&t, NULL);
    r = take_exits(l, rows, e);
    (void)life_ask(l->n, &l->g, &q, NULL, NULL);
    if (r == 0) {
        *ret = json_incref(rows);
    }
    return r;
}

int node_guest_look(struct node *n, const char *what, const json_t *order, json_t **ret,
                    struct err *e)
{
    const char *guest = json_string_value(json_object_get(order, "guest"));
    struct look l = {.n = n, .order = order};
    struct guest_status st;
    int r = life_find(n, guest, "look at", &l.g, &st, e);

    if (r < 0) {
        return r;
    }
    r = read_address(order, &l.address, e);
    if (r == 0 && strcmp(what, "memory") == 0) {
        r = look_at_memory(&l, ret, e);
    } else if (r == 0 && strcmp(what, "trace") == 0) {
        r = look_at_exits(&l, ret, e);
    } else if (r == 0) {
        r = strcmp(what, "regs") == 0 ? look_at_registers(&l, ret, e)
                                      : look_at_address(&l, ret, e);
    }
    if (r < 0) {
        err_wrap(e, "cannot look at guest '%s'", guest_text(&l.g, "name"));
    }
    guest_fini(&l.g);
    return r;
}
