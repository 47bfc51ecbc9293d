/* output.c - results: a table for people, JSON for programs, from one schema. */
#include "cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/scope.h"
#include "base/units.h"

#define MAX_COLUMNS  24
#define COLUMN_GAP   3
#define DIGEST_SHOWN 19 /* "sha256:" and twelve digits */

/* Bytes as they are, but for what a terminal would obey. */
static void add_clean(struct str *cell, const char *text)
{
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        bool obeyed = c < 0x20 || c == 0x7f ||
                      (c == 0xc2 && ((unsigned char)text[1] & 0xe0) == 0x80);
        char kept = obeyed ? '?' : *text;
        str_add_bytes(cell, &kept, 1);
    }
}

static void add_value(struct str *cell, const json_t *value);

static void add_members(struct str *cell, const json_t *object)
{
    const char *key, *sep = "";
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        str_add(cell, sep);
        add_clean(cell, key);
        str_add(cell, "=");
        add_value(cell, value);
        sep = ", ";
    }
}

/* A value of a type that the schema does not say more about. */
static void add_value(struct str *cell, const json_t *value)
{
    size_t i;
    json_t *item;
    switch (json_typeof(value)) {
    case JSON_STRING:
        add_clean(cell, json_string_value(value));
        break;
    case JSON_INTEGER:
        str_addf(cell, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        str_addf(cell, "%.3g", json_real_value(value));
        break;
    case JSON_TRUE:
        str_add(cell, "yes");
        break;
    case JSON_FALSE:
        str_add(cell, "no");
        break;
    case JSON_ARRAY:
        json_array_foreach(value, i, item)
        {
            str_add(cell, i > 0 ? ", " : "");
            add_value(cell, item);
        }
        break;
    case JSON_OBJECT:
        add_members(cell, value);
        break;
    case JSON_NULL:
        break;
    }
}

static void add_age(struct str *cell, const char *text, int64_t now_ns)
{
    int64_t when;
    char age[UNITS_TEXT_BYTES];
    if (*text == 0) {
        return;
    }
    if (units_parse_time(text, &when) < 0 || when > now_ns) {
        add_clean(cell, text);
        return;
    }
    uint64_t ms = (uint64_t)(now_ns - when) / 1000000;
    units_print_duration(ms - ms % 1000, age);
    str_addf(cell, "%s ago", ms < 1000 ? "0s" : age);
}

static bool add_number(struct str *cell, enum wire_field_type type, const json_t *value)
{
    char text[UNITS_TEXT_BYTES];
    if (!json_is_number(value)) {
        return false;
    }
    double number = json_number_value(value);
    uint64_t whole = number > 0 ? (uint64_t)number : 0;
    switch (type) {
    case WIRE_FIELD_SIZE:
        units_print_size(whole, text);
        str_add(cell, text);
        return true;
    case WIRE_FIELD_DURATION:
        units_print_duration(whole, text);
        str_add(cell, text);
        return true;
    case WIRE_FIELD_CPUS:
        str_addf(cell, "%.3g", number / 1000);
        return true;
    case WIRE_FIELD_PERCENT:
        str_addf(cell, "%.1f%%", number);
        return true;
    default:
        return false;
    }
}

void output_cell(const struct wire_field *f, const json_t *object, int64_t now_ns,
                 struct str *cell)
{
    const json_t *value = json_object_get(object, wire_text(f->name));
    const char *text = json_string_value(value);
    enum wire_field_type type = (enum wire_field_type)f->type;
    if (value == NULL || add_number(cell, type, value)) {
        return;
    }
    if (text != NULL && type == WIRE_FIELD_TIME) {
        add_age(cell, text, now_ns);
    } else if (text != NULL && type == WIRE_FIELD_DIGEST && strlen(text) > DIGEST_SHOWN) {
        char cut[DIGEST_SHOWN + 1];
        memcpy(cut, text, DIGEST_SHOWN);
        cut[DIGEST_SHOWN] = 0;
        add_clean(cell, cut);
    } else {
        add_value(cell, value);
    }
}

/* Characters, not bytes, of a UTF-8 text. */
static size_t text_columns(const char *text)
{
    size_t n = 0;
    for (; *text != 0; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

/* The fields with a title, in order; at most MAX_COLUMNS. */
static size_t columns_of(const struct wire_op *op, const struct wire_field *ret[])
{
    size_t n = 0;
    for (unsigned i = 0; i < op->n_fields && n < MAX_COLUMNS; i++) {
        const struct wire_field *f = &wire_fields[op->first_field + i];
        if (*wire_text(f->title) != 0) {
            ret[n++] = f;
        }
    }
    return n;
}

/* One line; the last cell is not padded. */
static void print_line(FILE *out, char **cells, const size_t *widths, size_t n)
{
    size_t last = n;
    while (last > 0 && *cells[last - 1] == 0) {
        last--;
    }
    for (size_t i = 0; i < last; i++) {
        size_t have = text_columns(cells[i]);
        int pad = i + 1 < last ? (int)(widths[i] - have + COLUMN_GAP) : 0;
        (void)fprintf(out, "%s%*s", cells[i], pad, "");
    }
    (void)fputc('\n', out);
}

static int print_table(const struct output *o, const struct wire_op *op,
                       const json_t *list)
{
    const struct wire_field *columns[MAX_COLUMNS];
    size_t n = columns_of(op, columns);
    size_t widths[MAX_COLUMNS] = {0};
    struct strv cells = {0};
    size_t row, i;
    json_t *object;
    for (i = 0; i < n; i++) {
        strv_add(&cells, wire_text(columns[i]->title));
    }
    json_array_foreach(list, row, object)
    {
        for (i = 0; i < n; i++) {
            struct str cell = {0};
            output_cell(columns[i], object, o->now_ns, &cell);
            strv_add(&cells, str_text(&cell));
            str_fini(&cell);
        }
    }
    bool lost = strv_failed(&cells);
    for (i = 0; i < cells.n && !lost; i++) {
        size_t have = text_columns(cells.items[i]);
        widths[i % n] = have > widths[i % n] ? have : widths[i % n];
    }
    for (i = 0; i < cells.n && !lost; i += n) {
        print_line(o->out, cells.items + i, widths, n);
    }
    strv_fini(&cells);
    return lost ? -ENOMEM : 0;
}

static void print_first_fields(const struct output *o, const struct wire_op *op,
                               const json_t *list)
{
    size_t row;
    json_t *object;
    json_array_foreach(list, row, object)
    {
        struct str cell = {0};
        const json_t *value =
            json_object_get(object, wire_text(wire_fields[op->first_field].name));
        if (value != NULL) {
            add_value(&cell, value);
        }
        (void)fprintf(o->out, "%s\n", str_text(&cell));
        str_fini(&cell);
    }
}

/* Members below each other, "key: value"; lists of objects are numbered by "-". */
static void print_tree(FILE *out, const json_t *value, int depth)
{
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            struct str text = {0};
            bool nested = (json_is_object(item) && json_object_size(item) > 0) ||
                          (json_is_array(item) && json_array_size(item) > 0);
            add_clean(&text, key);
            str_add(&text, nested ? ":" : ": ");
            if (!nested) {
                add_value(&text, item);
            }
            (void)fprintf(out, "%*s%s\n", depth * 2, "", str_text(&text));
            str_fini(&text);
            if (nested) {
                print_tree(out, item, depth + 1);
            }
        }
        return;
    }
    json_array_foreach(value, i, item)
    {
        struct str text = {0};
        add_value(&text, item);
        (void)fprintf(out, "%*s- %s\n", depth * 2, "", str_text(&text));
        str_fini(&text);
    }
}

/* The fields of the schema with their units, each on its own line. */
static void print_fields(const struct output *o, const struct wire_op *op,
                         const json_t *object)
{
    const struct wire_field *columns[MAX_COLUMNS];
    size_t n = columns_of(op, columns);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(object, wire_text(columns[i]->name));
        struct str cell = {0};
        if (value == NULL || json_is_null(value)) {
            continue;
        }
        if (json_is_object(value) || json_is_array(value)) {
            (void)fprintf(o->out, "%s:\n", wire_text(columns[i]->name));
            print_tree(o->out, value, 1);
            continue;
        }
        output_cell(columns[i], object, o->now_ns, &cell);
        (void)fprintf(o->out, "%s: %s\n", wire_text(columns[i]->name), str_text(&cell));
        str_fini(&cell);
    }
}

static int print_shape(const struct output *o, const struct wire_op *op,
                       const json_t *list)
{
    size_t i;
    json_t *object;
    if (o->quiet || op->shape == WIRE_SHAPE_QUIET) {
        print_first_fields(o, op, list);
        return 0;
    }
    if (op->shape != WIRE_SHAPE_TREE) {
        return print_table(o, op, list);
    }
    json_array_foreach(list, i, object)
    {
        if (i > 0) {
            (void)fputc('\n', o->out);
        }
        print_fields(o, op, object);
    }
    return 0;
}

static int print_json(const struct output *o, const json_t *value, size_t flags)
{
    if (json_dumpf(value, o->out, flags | JSON_ENCODE_ANY) < 0) {
        return -EIO;
    }
    (void)fputc('\n', o->out);
    return fflush(o->out) == 0 ? 0 : -EIO;
}

int output_result(const struct output *o, enum wire_op_id id, const json_t *result)
{
    const struct wire_op *op = &wire_op_table[id];
    if (o->json) {
        return print_json(o, result, JSON_INDENT(2));
    }
    if (op->n_fields == 0) {
        return 0;
    }
    json_t *list = json_is_array(result) ? json_incref((json_t *)(uintptr_t)result)
                                         : json_pack("[O]", result);
    int r = list == NULL ? -ENOMEM : print_shape(o, op, list);
    json_decref(list);
    return r == 0 && fflush(o->out) != 0 ? -EIO : r;
}

int output_event(const struct output *o, enum wire_op_id id, const json_t *event)
{
    const struct wire_op *op = &wire_op_table[id];
    const struct wire_field *columns[MAX_COLUMNS];
    size_t n = columns_of(op, columns);
    if (o->json) {
        return print_json(o, event, JSON_COMPACT);
    }
    for (size_t i = 0; i < n; i++) {
        struct str cell = {0};
        struct wire_field plain = *columns[i];
        if (plain.type == WIRE_FIELD_TIME) {
            plain.type = WIRE_FIELD_STRING; /* a history is read by its clock */
        }
        output_cell(&plain, event, o->now_ns, &cell);
        (void)fprintf(o->out, "%s%s", cell.len > 0 && i > 0 ? " " : "", str_text(&cell));
        str_fini(&cell);
    }
    (void)fputc('\n', o->out);
    return fflush(o->out) == 0 ? 0 : -EIO;
}
