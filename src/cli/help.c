/* help.c - what --help prints. */
#include "cli/help.h"

#include <string.h>

#include "base/str.h"

#define OPTION_COLUMN 30 /* where the help of an option begins */
#define NAME_COLUMN   22 /* where the help of a command begins */

/* Write `text` word by word from column `at`, further lines from `indent`. */
static void wrap(FILE *out, const char *text, int at, int indent)
{
    bool first = true;
    while (*text != 0) {
        int len = (int)strcspn(text, " \n");
        if (len > 0) {
            if (!first && at + 1 + len > HELP_COLUMNS) {
                (void)fprintf(out, "\n%*s", indent, "");
                at = indent;
            } else if (!first) {
                (void)fputc(' ', out);
                at++;
            }
            (void)fprintf(out, "%.*s", len, text);
            at += len;
            first = false;
        }
        text += len;
        text += *text != 0;
    }
    (void)fputc('\n', out);
}

/* "  NAME   help", the help in its column or on the next line. */
static void entry(FILE *out, const char *name, const char *help, int column)
{
    int at = fprintf(out, "  %s", name);
    if (at + 2 > column) {
        (void)fprintf(out, "\n%*s", column, "");
    } else {
        (void)fprintf(out, "%*s", column - at, "");
    }
    wrap(out, help, column, column);
}

static void item_entry(FILE *out, const struct wire_item *item)
{
    struct str name = {0}, help = {0};
    const char *value = wire_text(item->value);
    bool argument = (item->flags & WIRE_POSITIONAL) != 0;
    const char *shown = wire_text(item->label);
    if (argument) {
        str_add(&name, value);
    } else {
        str_addf(&name, item->letter != 0 ? "-%c, " : "    ", item->letter);
        str_addf(&name, "--%s%s%s", wire_text(item->name), *value != 0 ? " " : "", value);
    }
    if (*shown == 0) {
        shown = wire_text(item->fallback);
    }
    str_add(&help, wire_text(item->help));
    if (!argument && (item->flags & WIRE_MANY) != 0) {
        str_add(&help, "; may be repeated");
    }
    if (*shown != 0) {
        str_addf(&help, " [%s]", shown);
    }
    entry(out, str_text(&name), str_text(&help), OPTION_COLUMN);
    str_fini(&name);
    str_fini(&help);
}

static void items(FILE *out, const struct wire_item *from, unsigned n, bool arguments,
                  const char *title)
{
    bool titled = false;
    for (unsigned i = 0; i < n; i++) {
        if (((from[i].flags & WIRE_POSITIONAL) != 0) != arguments) {
            continue;
        }
        if (!titled) {
            (void)fprintf(out, "\n%s:\n", title);
            titled = true;
        }
        item_entry(out, &from[i]);
    }
}

static void group(FILE *out, const char *name, const char *title)
{
    (void)fprintf(out, "\n%s:\n", title);
    for (unsigned i = 0; i < WIRE_OP_COUNT; i++) {
        const struct wire_op *op = &wire_op_table[i];
        if (strcmp(wire_text(op->group), name) == 0) {
            entry(out, wire_text(op->name), wire_text(op->help), NAME_COLUMN);
        }
    }
}

void help_program(FILE *out)
{
    static const char *const groups[][2] = {
        {"guest", "Guests"},
        {"snapshot", "Snapshots of a guest's disk"},
        {"image", "Images"},
        {"network", "Networks"},
        {"volume", "Volumes"},
        {"pool", "Pools"},
        {"isa", "Instruments of the processor"},
        {"debug", "Machines looked into"},
        {"host", "This host"},
    };
    (void)fputs("Usage: strata [OPTION...] COMMAND [ARGUMENT...]\n"
                "Run anything, anywhere Linux runs.\n",
                out);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        group(out, groups[i][0], groups[i][1]);
    }
    items(out, wire_items, wire_n_globals, false, "Options");
    (void)fputs("\n'strata COMMAND --help' explains a command.\n", out);
}

void help_noun(FILE *out, const char *noun)
{
    size_t len = strlen(noun);
    (void)fprintf(out, "Usage: strata %s COMMAND [ARGUMENT...]\n\nCommands:\n", noun);
    for (unsigned i = 0; i < WIRE_OP_COUNT; i++) {
        const char *name = wire_text(wire_op_table[i].name);
        if (strncmp(name, noun, len) == 0 && name[len] == ' ') {
            entry(out, name + len + 1, wire_text(wire_op_table[i].help), NAME_COLUMN);
        }
    }
}

static void exits(FILE *out, const char *text)
{
    if (*text != 0) {
        (void)fputs("\nExit codes:\n", out);
    }
    while (*text != 0) {
        size_t len = strcspn(text, "\n");
        size_t tab = strcspn(text, "\t");
        char code[8], help[256];
        if (str_print(code, sizeof code, "%.*s", (int)tab, text) == 0 &&
            str_print(help, sizeof help, "%.*s", (int)(len - tab - 1), text + tab + 1) ==
                0) {
            entry(out, code, help, 7);
        }
        text += len + (text[len] != 0);
    }
}

/* Paragraphs are parted by empty lines. */
static void paragraphs(FILE *out, const char *text)
{
    while (*text != 0) {
        const char *end = strstr(text, "\n\n");
        size_t len = end != NULL ? (size_t)(end - text) : strlen(text);
        struct str one = {0};
        str_add_bytes(&one, text, len);
        (void)fputc('\n', out);
        wrap(out, str_text(&one), 0, 0);
        str_fini(&one);
        text += len + (end != NULL ? 2 : 0);
    }
}

void help_op(FILE *out, enum wire_op_id id)
{
    const struct wire_op *op = &wire_op_table[id];
    const struct wire_item *from = wire_items + op->first_item;
    const char *help = wire_text(op->help);
    (void)fputs("Usage: ", out);
    wrap(out, wire_text(op->usage), 7, 9);
    (void)fprintf(out, "%c%s.\n",
                  *help >= 'a' && *help <= 'z' ? *help - 'a' + 'A' : *help, help + 1);
    paragraphs(out, wire_text(op->text));
    items(out, from, op->n_items, true, "Arguments");
    items(out, from, op->n_items, false, "Options");
    items(out, wire_items, wire_n_globals, false, "Global options");
    exits(out, wire_text(op->exits));
    (void)fputs("\nSee also: ", out);
    wrap(out, wire_text(op->see), 10, 10);
}
