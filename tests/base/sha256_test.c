/* SHA-256: the examples of NIST and lengths around every block edge. */
#include "base/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_sum(const void *bytes, size_t len, const char *want)
{
    uint8_t sum[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    struct sha256 s;

    sha256_sum(bytes, len, sum);
    sha256_hex(sum, hex);
    assert_string_equal(hex, want);
    sha256_init_portable(&s);
    sha256_add(&s, bytes, len);
    sha256_end(&s, sum);
    sha256_hex(sum, hex);
    assert_string_equal(hex, want);
}

/* NIST CSRC, "Example values", SHA256.pdf; FIPS 180-2 appendix B. */
static void nist_examples_agree(void **state)
{
    char *million = malloc(1000000);

    (void)state;
    expect_sum("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_sum("abc", 3,
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_sum("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_non_null(million);
    memset(million, 'a', 1000000);
    expect_sum(million, 1000000,
               "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

/* SHA256 additional test vectors of NIST CSRC: zero bytes of lengths that are
 * one under, at and over the place where the length field still fits. */
static void lengths_around_the_padding_agree(void **state)
{
    static const uint8_t zero[1000];

    (void)state;
    expect_sum(zero, 55,
               "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7");
    expect_sum(zero, 56,
               "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb");
    expect_sum(zero, 57,
               "65a16cb7861335d5ace3c60718b5052e44660726da4cd13bb745381b235a1785");
    expect_sum(zero, 64,
               "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b");
    expect_sum(zero, 1000,
               "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53");
}

static void pieces_of_any_size_give_the_same_sum(void **state)
{
    uint8_t bytes[300];
    uint8_t whole[SHA256_BYTES];
    uint8_t parts[SHA256_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 37);
    }
    sha256_sum(bytes, sizeof bytes, whole);
    for (size_t piece = 1; piece < 130; piece++) {
        struct sha256 s;

        sha256_init(&s);
        for (size_t at = 0; at < sizeof bytes; at += piece) {
            size_t rest = sizeof bytes - at;

            sha256_add(&s, bytes + at, piece < rest ? piece : rest);
        }
        sha256_end(&s, parts);
        assert_memory_equal(whole, parts, SHA256_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nist_examples_agree),
        cmocka_unit_test(lengths_around_the_padding_agree),
        cmocka_unit_test(pieces_of_any_size_give_the_same_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
