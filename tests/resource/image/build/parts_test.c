/* Ignore files, merged views, package sources. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/build/ignore.h"
#include "resource/image/build/sources.h"
#include "resource/image/build/view.h"
#include "tests/base/check.h"

static void patterns_match_part_by_part(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool yes;
    } rows[] = {
        {"a", "a", true},
        {"a", "b", false},
        {"a", "a/b", false},
        {"*", "a", true},
        {"*", "a/b", false},
        {"*/b", "a/b", true},
        {"*.o", "x.o", true},
        {"*.o", "d/x.o", false},
        {"**/*.o", "x.o", true},
        {"**/*.o", "d/e/x.o", true},
        {"a/**", "a/b/c", true},
        {"a/**/z", "a/z", true},
        {"a/**/z", "a/b/c/z", true},
        {"**", "x", true},
        {"a?[bc]", "axc", true},
        {"a?[bc]", "axd", false},
        {"**/x/**", "x", true},
        {"a/**/b/**/c", "a/b/x/b/y/c", true},
        {"**/a/**/b", "a/a/x/b/b", true},
        {"**/a/**/b", "a/a/x/b/c", false},
        {"a/**/**", "a", true},
        {"a/**/b", "a", false},
        /* as quick as any other: each "**" doubled the work once */
        {"**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b",
         "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
         false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(ignore_match(rows[i].pattern, rows[i].path), rows[i].yes);
    }
}

static void the_last_rule_decides(void **state)
{
    struct ignore g = {0};

    (void)state;
    assert_int_equal(
        ignore_parse("# words\n/build/\n  *.log  \r\n!keep.log\n./d//x\n\n!\n", &g), 0);
    assert_true(ignore_has(&g, "build"));
    assert_true(ignore_has(&g, "build/deep/file"));
    assert_true(ignore_has(&g, "a.log"));
    assert_false(ignore_has(&g, "keep.log"));
    assert_false(ignore_has(&g, "src/a.log"));
    assert_true(ignore_has(&g, "d/x"));
    assert_false(ignore_has(&g, "d"));
    assert_true(g.has_exceptions);
    ignore_fini(&g);
}

/* ---- views ---- */

struct dirs {
    char top[64];
    struct strv list;
    struct view v;
};

static void put(const struct dirs *d, const char *path, const char *text)
{
    char full[200];

    (void)str_print(full, sizeof full, "%s/%s", d->top, path);
    if (text == NULL) {
        assert_int_equal(file_make_dirs(full, 0755), 0);
    } else if (text[0] == '>') {
        assert_int_equal(symlink(text + 1, full), 0);
    } else {
        assert_int_equal(file_replace(AT_FDCWD, full, text, strlen(text), 0644, false),
                         0);
    }
}

static void make_dirs(struct dirs *d)
{
    *d = (struct dirs){0};
    (void)strcpy(d->top, "/tmp/strata-view-XXXXXX");
    assert_non_null(mkdtemp(d->top));
    put(d, "hi/d", NULL);
    put(d, "lo/d/sub", NULL);
    put(d, "lo/usr/lib", NULL);
    put(d, "hi/d/new", "new");
    put(d, "hi/d/both", "high");
    put(d, "lo/d/both", "low");
    put(d, "lo/d/old", "old");
    put(d, "lo/lib", ">usr/lib");
    put(d, "lo/abs", ">/usr/../../lib/x");
    put(d, "lo/loop", ">loop");
    put(d, "lo/out", ">../../../etc/passwd");
    strv_addf(&d->list, "%s/hi", d->top);
    strv_addf(&d->list, "%s/lo", d->top);
}

static void end_dirs(struct dirs *d)
{
    view_close(&d->v);
    strv_fini(&d->list);
    assert_int_equal(file_remove_tree(AT_FDCWD, d->top), 0);
}

static void assert_at(struct dirs *d, const char *path, const char *at, bool exists)
{
    struct view_entry x;

    assert_int_equal(view_find(&d->v, path, true, &x), 0);
    assert_string_equal(x.path, at);
    assert_int_equal(x.exists, exists);
}

static void links_stay_inside(void **state)
{
    struct dirs d;
    struct view_entry x;
    struct err e = {0};

    (void)state;
    make_dirs(&d);
    assert_int_equal(view_open(&d.v, &d.list, true, &e), 0);
    assert_at(&d, "/lib/new/file", "usr/lib/new/file", false);
    assert_at(&d, "lib", "usr/lib", true);
    assert_at(&d, "abs", "usr/lib/x", false);
    assert_at(&d, "out", "etc/passwd", false);
    assert_at(&d, "../../d/./sub/../both", "d/both", true);
    assert_int_equal(view_find(&d.v, "loop", true, &x), -ELOOP);
    assert_int_equal(view_find(&d.v, "d/both/x", true, &x), -ENOTDIR);
    assert_int_equal(view_find(&d.v, "lib", false, &x), 0);
    assert_true(S_ISLNK(x.st.st_mode));
    end_dirs(&d);
}

static void layers_are_merged(void **state)
{
    struct dirs d;
    struct view_entry x;
    struct strv names = {0};
    struct err e = {0};
    char text[8] = "";
    SCOPED(scope_close) int fd = -1;

    (void)state;
    make_dirs(&d);
    assert_int_equal(view_open(&d.v, &d.list, true, &e), 0);
    assert_int_equal(view_find(&d.v, "d", true, &x), 0);
    assert_int_equal(view_list(&d.v, &x, &names), 0);
    assert_int_equal(names.n, 4);
    assert_string_equal(names.items[0], "both");
    assert_string_equal(names.items[3], "sub");
    strv_fini(&names);
    assert_int_equal(view_find(&d.v, "d/both", true, &x), 0);
    fd = view_open_file(&d.v, &x);
    assert_int_equal(read(fd, text, 7), 4);
    assert_string_equal(text, "high");
    end_dirs(&d);
}

static void whiteouts_and_opaque_directories_hide(void **state)
{
    struct dirs d;
    struct view_entry x;
    struct err e = {0};
    char path[100];

    (void)state;
    make_dirs(&d);
    (void)str_print(path, sizeof path, "%s/hi/d/old", d.top);
    if (mknod(path, S_IFCHR, makedev(0, 0)) < 0) {
        end_dirs(&d);
        print_message("skipped: no whiteout can be made here\n");
        skip();
    }
    assert_int_equal(view_open(&d.v, &d.list, true, &e), 0);
    assert_at(&d, "d/old", "d/old", false);
    assert_at(&d, "d/sub", "d/sub", true);
    (void)str_print(path, sizeof path, "%s/hi/d", d.top);
    if (setxattr(path, "trusted.overlay.opaque", "y", 1, 0) == 0) {
        assert_at(&d, "d/sub", "d/sub", false);
        assert_at(&d, "d/new", "d/new", true);
        assert_int_equal(view_find(&d.v, "d", true, &x), 0);
        assert_false(x.on[1]);
    }
    end_dirs(&d);
}

/* ---- package sources ---- */

static void the_hosts_sources_serve_another_suite(void **state)
{
    static const char text[] =
        "Types: deb deb-src\n"
        "# a comment\n"
        "URIs: http://mirror/debian\n"
        "Suites: bookworm bookworm-updates\n"
        "Components: main contrib\n"
        "Signed-By: /k.gpg\n"
        "\n"
        "Types: deb\nURIs: http://x/\nSuites: bookworm\nComponents: main\nEnabled: no\n"
        "\n"
        "Types: deb\nURIs: https://third\nSuites: nodistro\nComponents: main\n"
        "\n"
        "Types: deb\nURIs: http://sec\nSuites: bookworm-security\nComponents: main\n";
    struct str out = {0};

    (void)state;
    sources_convert(text, false, "bookworm", "trixie", &out);
    assert_string_equal(str_text(&out),
                        "Types: deb\nURIs: http://mirror/debian\n"
                        "Suites: trixie trixie-updates\nComponents: main contrib\n"
                        "Signed-By: /k.gpg\n\n"
                        "Types: deb\nURIs: http://sec\nSuites: trixie-security\n"
                        "Components: main\n\n");
    str_fini(&out);
}

static void the_old_form_is_read_too(void **state)
{
    static const char text[] =
        "deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main non-free # x\n"
        "deb-src http://m/debian bookworm main\n"
        "deb https://third cloud-sdk-bookworm main\n"
        "deb [broken http://m bookworm main\n"
        "deb\ndeb http://m\ndeb http://m bookworm\n";
    struct str out = {0};

    (void)state;
    sources_convert(text, true, "bookworm", "bookworm", &out);
    assert_non_null(strstr(str_text(&out), "URIs: http://m/debian\nSuites: bookworm\n"
                                           "Components: main non-free"));
    assert_non_null(strstr(str_text(&out), "Signed-By: /k.gpg"));
    assert_null(strstr(str_text(&out), "third"));
    str_fini(&out);
}

static void without_sources_debians_own_serve(void **state)
{
    struct str out = {0};
    struct err e = {0};

    (void)state;
    assert_int_equal(sources_read("/nonexistent", "", "trixie", &out, &e), 0);
    assert_non_null(strstr(str_text(&out), "http://deb.debian.org/debian\n"));
    assert_non_null(strstr(str_text(&out), "trixie-security"));
    str_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_part_by_part),
        cmocka_unit_test(the_last_rule_decides),
        cmocka_unit_test(links_stay_inside),
        cmocka_unit_test(layers_are_merged),
        cmocka_unit_test(whiteouts_and_opaque_directories_hide),
        cmocka_unit_test(the_hosts_sources_serve_another_suite),
        cmocka_unit_test(the_old_form_is_read_too),
        cmocka_unit_test(without_sources_debians_own_serve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
