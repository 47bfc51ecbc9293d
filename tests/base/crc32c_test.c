/* crc32c_test.c - the sums that RFC 3720, B.4 lists, in pieces and at odd places. */
#include <string.h>

#include "base/crc32c.h"
#include "tests/base/check.h"

static void the_sums_of_the_rfc(void **state)
{
    uint8_t buf[32] = {0};

    (void)state;
    assert_int_equal(crc32c(0, buf, 32), 0x8a9136aa);
    memset(buf, 0xff, 32);
    assert_int_equal(crc32c(0, buf, 32), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++) {
        buf[i] = (uint8_t)i;
    }
    assert_int_equal(crc32c(0, buf, 32), 0x46dd794e);
    for (unsigned i = 0; i < 32; i++) {
        buf[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, buf, 32), 0x113fdb5c);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
}

static void pieces_make_the_same_sum(void **state)
{
    uint8_t buf[100];

    (void)state;
    for (unsigned i = 0; i < sizeof buf; i++) {
        buf[i] = (uint8_t)(i * 37);
    }
    for (size_t cut = 0; cut <= sizeof buf; cut++) {
        uint32_t part = crc32c(0, buf, cut);

        assert_int_equal(crc32c(part, buf + cut, sizeof buf - cut),
                         crc32c(0, buf, sizeof buf));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sums_of_the_rfc),
        cmocka_unit_test(pieces_make_the_same_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
