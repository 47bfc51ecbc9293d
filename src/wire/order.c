/* order.c - arguments as one JSON object. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "wire/wire.h"

static json_t *list_to_json(const char *const *items, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(list, json_string(items[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* 0 and "none" of an item whose default is "none" say nothing; of one without a
 * default, "none" is an order (-1) to take a limit away. */
static json_t *number_to_json(const struct wire_item *item, uint64_t value)
{
    bool has_default = *wire_text(item->fallback) != 0;
    if (value == WIRE_NONE) {
        return has_default ? json_null() : json_integer(-1);
    }
    if (value == 0 && !has_default) {
        return json_null();
    }
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *word_to_json(const struct wire_item *item, unsigned value)
{
    if (value < item->first_word) {
        return json_null();
    }
    return json_string(wire_word(item->words, value - item->first_word));
}

/* An option whose default is a label only ("auto (by rights)") is left to the
 * one who knows it better. */
static json_t *text_to_json(const struct wire_item *item, const char *text)
{
    bool untouched =
        text != NULL && *wire_text(item->label) != 0 && text == wire_text(item->fallback);
    return text == NULL || untouched ? json_null() : json_string(text);
}

static json_t *item_to_json(const struct wire_item *item, const char *args)
{
    const void *at = args + item->at;
    if ((item->flags & WIRE_MANY) != 0) {
        size_t n;
        const char **items;
        memcpy(&n, args + item->count_at, sizeof n);
        memcpy(&items, at, sizeof items);
        return n == 0 ? json_null() : list_to_json(items, n);
    }

    union {
        uint64_t number;
        int64_t when;
        unsigned word;
        int signal;
        bool flag;
        const char *text;
    } v;

    switch ((enum wire_type)item->type) {
    case WIRE_SIZE:
    case WIRE_DURATION:
    case WIRE_CPUS:
    case WIRE_U64:
        memcpy(&v.number, at, sizeof v.number);
        return number_to_json(item, v.number);
    case WIRE_WHEN:
        memcpy(&v.when, at, sizeof v.when);
        return v.when == 0 ? json_null() : json_integer(v.when);
    case WIRE_SIGNAL:
        memcpy(&v.signal, at, sizeof v.signal);
        return v.signal == 0 ? json_null() : json_integer(v.signal);
    case WIRE_ONE_OF:
        memcpy(&v.word, at, sizeof v.word);
        return word_to_json(item, v.word);
    case WIRE_BOOL:
        memcpy(&v.flag, at, sizeof v.flag);
        return v.flag ? json_true() : json_null();
    default:
        memcpy(&v.text, at, sizeof v.text);
        return text_to_json(item, v.text);
    }
}

/* "cpu-weight" -> "cpu_weight", "COMMAND" -> "command". */
static void member_name(const struct wire_item *item, char out[WIRE_MEMBER_BYTES])
{
    const char *from =
        wire_text((item->flags & WIRE_POSITIONAL) != 0 ? item->value : item->name);
    size_t i = 0;
    for (; from[i] != 0 && i < WIRE_MEMBER_BYTES - 1; i++) {
        char c = from[i];
        if (c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        }
        out[i] = c == '-' ? '_' : c;
    }
    out[i] = 0;
}

int wire_order(enum wire_op_id op, const void *args, json_t **ret, struct err *e)
{
    const struct wire_op *row = &wire_op_table[op];
    SCOPED(scope_json) json_t *order = json_object();
    for (unsigned i = 0; i < row->n_items; i++) {
        const struct wire_item *item = &wire_items[row->first_item + i];
        char name[WIRE_MEMBER_BYTES];
        member_name(item, name);
        json_t *value = item_to_json(item, args);
        if (value == NULL) {
            return err_set(e, -EINVAL, "'%s' is not valid UTF-8", name);
        }
        if (json_is_null(value)) {
            continue;
        }
        if (json_object_set_new(order, name, value) < 0) {
            return err_set(e, -ENOMEM, "out of memory");
        }
    }
    *ret = json_incref(order);
    return 0;
}
