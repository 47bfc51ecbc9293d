/* help_test.c - help fits the line and names every option and command. */
#include <stdlib.h>
#include <string.h>

#include "cli/help.h"
#include "tests/base/check.h"

/* What `print` writes; the caller frees it. */
static char *capture(void (*print)(FILE *, unsigned), unsigned arg)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    print(f, arg);
    (void)fclose(f);
    return text;
}

static void print_op(FILE *f, unsigned op)
{
    help_op(f, (enum wire_op_id)op);
}

static void print_program(FILE *f, unsigned unused)
{
    (void)unused;
    help_program(f);
}

static void print_image(FILE *f, unsigned unused)
{
    (void)unused;
    help_noun(f, "image");
}

static void assert_fits(const char *text)
{
    for (const char *at = text; *at != 0;) {
        size_t len = strcspn(at, "\n");
        if (len > HELP_COLUMNS) {
            fail_msg("%zu columns: %.*s", len, (int)len, at);
        }
        if (len > 0 && at[len - 1] == ' ') {
            fail_msg("blank at the end: %.*s", (int)len, at);
        }
        at += len + (at[len] != 0);
    }
}

static void every_command_fits_79_columns_and_names_its_options(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WIRE_OP_COUNT; i++) {
        char *text = capture(print_op, i);
        const struct wire_op *op = &wire_op_table[i];
        assert_fits(text);
        for (unsigned k = 0; k < op->n_items; k++) {
            const struct wire_item *item = &wire_items[op->first_item + k];
            const char *name = wire_text(
                (item->flags & WIRE_POSITIONAL) != 0 ? item->value : item->name);
            assert_non_null(strstr(text, name));
        }
        free(text);
    }
}

static void the_program_and_its_nouns_fit_and_name_every_command(void **state)
{
    (void)state;
    char *text = capture(print_program, 0);
    assert_fits(text);
    for (unsigned i = 0; i < WIRE_OP_COUNT; i++) {
        assert_non_null(strstr(text, wire_text(wire_op_table[i].name)));
        assert_non_null(strstr(text, wire_text(wire_op_table[i].help)));
    }
    free(text);
    text = capture(print_image, 0);
    assert_fits(text);
    assert_non_null(strstr(text, "\n  build "));
    assert_null(strstr(text, "rename"));
    free(text);
}

static void a_default_stands_in_brackets(void **state)
{
    (void)state;
    char *text = capture(print_op, WIRE_OP_RUN);
    assert_non_null(strstr(text, "[10M]"));
    assert_non_null(strstr(text, "  -m, --memory SIZE"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_fits_79_columns_and_names_its_options),
        cmocka_unit_test(the_program_and_its_nouns_fit_and_name_every_command),
        cmocka_unit_test(a_default_stands_in_brackets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
