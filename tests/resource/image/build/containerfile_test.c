/* The reader of Containerfiles.  rows: OSL-08 */
#include "resource/image/build/containerfile.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "tests/base/check.h"

static int parse(const char *text, struct containerfile *f, struct err *e)
{
    err_clear(e);
    return containerfile_parse("C", text, strlen(text), f, e);
}

static void lines_are_joined_and_comments_dropped(void **state)
{
    struct containerfile f;
    struct err e = {0};

    (void)state;
    assert_int_equal(parse("# syntax=x\n\nFROM a\n"
                           "run echo one \\\n"
                           "  # between\n"
                           "\n"
                           "  two \\  \n"
                           "  three # not a comment\n"
                           "CMD [\"x\", \"y z\"]\r\n",
                           &f, &e),
                     0);
    assert_int_equal(f.n, 3);
    assert_int_equal(f.items[1].verb, CONTAINERFILE_RUN);
    assert_int_equal(f.items[1].line, 4);
    assert_string_equal(f.items[1].rest, "echo one   two   three # not a comment");
    assert_true(f.items[2].json);
    assert_int_equal(f.items[2].list.n, 2);
    assert_string_equal(f.items[2].list.items[1], "y z");
    assert_int_equal(f.items[2].line, 9);
    containerfile_fini(&f);
}

static void the_escape_character_can_be_chosen(void **state)
{
    struct containerfile f;
    struct err e = {0};

    (void)state;
    assert_int_equal(parse("# escape=`\nFROM a\nRUN dir c:\\ `\n x\n", &f, &e), 0);
    assert_string_equal(f.items[1].rest, "dir c:\\  x");
    containerfile_fini(&f);
    /* Behind another line it is a comment. */
    assert_int_equal(parse("FROM a\n# escape=`\nRUN x \\\n y\n", &f, &e), 0);
    assert_string_equal(f.items[1].rest, "x  y");
    containerfile_fini(&f);
    assert_int_equal(parse("# escape=x\nFROM a\n", &f, &e), -EINVAL);
}

static void here_documents_belong_to_their_instruction(void **state)
{
    struct containerfile f;
    struct err e = {0};

    (void)state;
    assert_int_equal(parse("FROM a\n"
                           "RUN <<EOF\n"
                           "# inside\n"
                           "echo \\\n"
                           "EOF\n"
                           "COPY <<-'one' <<two /etc/\n"
                           "\tA $x\n"
                           "\tone\n"
                           "B\n"
                           "two\n"
                           "RUN cat <<< word && echo '<<no'\n"
                           "USER me\n",
                           &f, &e),
                     0);
    assert_int_equal(f.n, 5);
    assert_int_equal(f.items[1].n_docs, 1);
    assert_string_equal(f.items[1].docs[0].text, "# inside\necho \\\n");
    assert_false(f.items[1].docs[0].plain);
    assert_int_equal(f.items[2].n_docs, 2);
    assert_true(f.items[2].docs[0].plain);
    assert_string_equal(f.items[2].docs[0].text, "A $x\n");
    assert_string_equal(f.items[2].docs[1].text, "B\n");
    assert_int_equal(f.items[3].n_docs, 0);
    assert_int_equal(f.items[4].line, 12);
    containerfile_fini(&f);
    assert_int_equal(parse("FROM a\nRUN <<EOF\nx\n", &f, &e), -EINVAL);
    assert_string_equal(e.text, "C:2: a here-document does not end: no line is EOF");
}

static void flags_are_taken_off(void **state)
{
    struct containerfile f;
    struct err e = {0};

    (void)state;
    assert_int_equal(parse("FROM --platform=linux/amd64 a AS b\n"
                           "COPY --from=b --chown=1:2 [\"a b\", \"/\"]\n"
                           "RUN --mount=type=cache,target=/x --network=none make --all\n",
                           &f, &e),
                     0);
    assert_int_equal(f.items[0].flags.n, 1);
    assert_string_equal(f.items[0].flags.items[0], "platform=linux/amd64");
    assert_string_equal(f.items[0].rest, "a AS b");
    assert_int_equal(f.items[1].flags.n, 2);
    assert_true(f.items[1].json);
    assert_string_equal(f.items[2].rest, "make --all");
    containerfile_fini(&f);
}

static void mistakes_are_named_with_their_line(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"FROM a\nCOPPY x y\n", "C:2: 'COPPY' is no instruction; did you mean 'COPY'?"},
        {"FROM a\n\n\nRUN\n", "C:4: RUN needs something behind it"},
        {"", "C: it has no instruction"},
        {"# only words\n", "C: it has no instruction"},
    };
    struct containerfile f;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(rows[i].text, &f, &e), -EINVAL);
        assert_string_equal(e.text, rows[i].says);
    }
    err_clear(&e);
    assert_int_equal(containerfile_parse("C", "FROM a\0b\n", 9, &f, &e), -EINVAL);
}

static int parse_some(void *arg)
{
    static const char text[] = "FROM a\nRUN --mount=x <<E\nhi\nE\nCMD [\"a\",\"b\"]\n";
    struct containerfile f;
    int r = containerfile_parse("C", text, sizeof text - 1, &f, arg);

    if (r == 0) {
        containerfile_fini(&f);
    }
    return r;
}

static void no_memory_is_survived(void **state)
{
    (void)state;
    assert_true(check_each_allocation(parse_some, NULL, -ENOMEM) > 2);
}

/* ---- words ---- */

static const char *lookup(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "a") == 0       ? "A"
           : strcmp(name, "empty") == 0 ? ""
           : strcmp(name, "two") == 0   ? "x y"
                                        : NULL;
}

static void words_are_expanded_as_the_shell_would(void **state)
{
    static const char *const rows[][2] = {
        {"plain", "plain"},
        {"$a$a/${a}b", "AA/Ab"},
        {"${none:-x}${none-y}${empty:-z}${empty-w}", "xyz"},
        {"${a:+set}${none:+no}${empty:+no}${empty+yes}", "setyes"},
        {"${none:-${a}-${none:-deep}}", "A-deep"},
        {"'$a' \"$a\" \\$a", "$a A $a"},
        {"\"a\\b\\\"\\$\"", "a\\b\"$"},
        {"a$", "a$"},
        {"$1", "$1"},
        {"\\", "\\"},
        {"${none:-'}'}", "}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str out = {0};
        struct err e = {0};

        assert_int_equal(words_expand(rows[i][0], '\\', lookup, NULL, &out, &e), 0);
        assert_string_equal(str_text(&out), rows[i][1]);
        str_fini(&out);
    }
}

static void what_is_not_supported_is_refused(void **state)
{
    static const char *const bad[] = {"${a",    "${}", "${zz:?x}", "${zz?}",
                                      "${a%x}", "'a",  "\"a",      "${a:-x"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct str out = {0};
        struct err e = {0};

        assert_int_equal(words_expand(bad[i], '\\', lookup, NULL, &out, &e), -EINVAL);
        str_fini(&out);
    }
}

static void pairs_come_in_both_forms(void **state)
{
    struct strv v = {0};
    struct err e = {0};

    (void)state;
    assert_int_equal(
        words_pairs("A=b  C='d e' F=\"$two\" G=$two\\ z", '\\', lookup, NULL, &v, &e), 0);
    assert_int_equal(v.n, 8);
    assert_string_equal(v.items[3], "d e");
    assert_string_equal(v.items[5], "x y");
    assert_string_equal(v.items[7], "x y z");
    strv_fini(&v);
    assert_int_equal(words_pairs("OLD form of $a", '\\', lookup, NULL, &v, &e), 0);
    assert_string_equal(v.items[0], "OLD");
    assert_string_equal(v.items[1], "form of A");
    strv_fini(&v);
    assert_int_equal(words_pairs("A=b C", '\\', lookup, NULL, &v, &e), -EINVAL);
    strv_fini(&v);
    err_clear(&e);
    assert_int_equal(words_pairs("ALONE", '\\', lookup, NULL, &v, &e), -EINVAL);
    strv_fini(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_joined_and_comments_dropped),
        cmocka_unit_test(the_escape_character_can_be_chosen),
        cmocka_unit_test(here_documents_belong_to_their_instruction),
        cmocka_unit_test(flags_are_taken_off),
        cmocka_unit_test(mistakes_are_named_with_their_line),
        cmocka_unit_test(no_memory_is_survived),
        cmocka_unit_test(words_are_expanded_as_the_shell_would),
        cmocka_unit_test(what_is_not_supported_is_refused),
        cmocka_unit_test(pairs_come_in_both_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
