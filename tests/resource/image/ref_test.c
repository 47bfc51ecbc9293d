/* ref_test.c - references to images, by the grammar of the distribution specification. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/image/image.h"
#include "tests/base/check.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void good_references_come_apart(void **state)
{
    static const struct {
        const char *text, *registry, *path, *tag, *digest;
    } t[] = {
        {"busybox", "", "busybox", "latest", ""},
        {"debian:bookworm", "", "debian", "bookworm", ""},
        {"library/debian", "", "library/debian", "latest", ""},
        {"localhost/x:1", "localhost", "x", "1", ""},
        {"localhost:5000/a/b:V_1.0-x", "localhost:5000", "a/b", "V_1.0-x", ""},
        {"ghcr.io/a/b_c/d-e", "ghcr.io", "a/b_c/d-e", "latest", ""},
        {"[::1]:5000/x", "[::1]:5000", "x", "latest", ""},
        {"x@sha256:" HEX, "", "x", "", "sha256:" HEX},
        {"r.io:1/x:t@sha256:" HEX, "r.io:1", "x", "t", "sha256:" HEX},
        {"a__b", "", "a__b", "latest", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct image_ref r;

        assert_int_equal(image_ref_parse(t[i].text, &r, NULL), 0);
        assert_string_equal(r.registry, t[i].registry);
        assert_string_equal(r.path, t[i].path);
        assert_string_equal(r.tag, t[i].tag);
        assert_string_equal(r.digest, t[i].digest);
    }
}

static void bad_references_are_refused_with_a_reason(void **state)
{
    static const char *const bad[] = {
        "",
        ":tag",
        "/x",
        "x/",
        "a//b",
        "Upper",
        "x:",
        "x:.tag",
        "x:a/b:",
        "a___b",
        "-a",
        "a.",
        "x@sha256",
        "x@md5:00",
        "x@sha256:0",
        "../etc",
        "a/../b",
        "x y",
        "r.io:/x",
        "[::1/x",
        "r.io:99999999/x",
        "x@sha256:" HEX "0",
    };
    char longest[700];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct image_ref r;
        struct err e = {0};

        assert_int_equal(image_ref_parse(bad[i], &r, &e), -EINVAL);
        assert_non_null(strstr(e.text, "is not the name of an image"));
    }
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t n = 256; n < sizeof longest; n += 100) {
        struct image_ref r;

        longest[n] = '\0';
        assert_int_equal(image_ref_parse(longest, &r, NULL), -EINVAL);
        longest[n] = 'a';
    }
}

static void a_name_has_no_digest_and_always_a_tag(void **state)
{
    struct image_ref r;
    char name[IMAGE_NAME_BYTES];

    (void)state;
    assert_int_equal(image_ref_parse("r.io/x@sha256:" HEX, &r, NULL), 0);
    assert_int_equal(image_ref_name(&r, name), 0);
    assert_string_equal(name, "r.io/x:latest");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_references_come_apart),
        cmocka_unit_test(bad_references_are_refused_with_a_reason),
        cmocka_unit_test(a_name_has_no_digest_and_always_a_tag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
