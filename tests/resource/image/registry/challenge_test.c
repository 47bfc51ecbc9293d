/* The reader of WWW-Authenticate. */
#include "resource/image/registry/challenge.h"

#include <errno.h>
#include <string.h>

#include "tests/base/check.h"

static void bearer_is_read_with_its_parameters(void **state)
{
    struct challenge c;

    (void)state;
    assert_int_equal(challenge_parse("Bearer realm=\"https://auth.docker.io/token\","
                                     "service=\"registry.docker.io\",scope=\"repository:"
                                     "library/busybox:pull,push\"",
                                     &c),
                     0);
    assert_int_equal(c.kind, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "https://auth.docker.io/token");
    assert_string_equal(c.service, "registry.docker.io");
    assert_string_equal(c.scope, "repository:library/busybox:pull,push");
}

static void the_strongest_of_several_wins(void **state)
{
    struct challenge c;

    (void)state;
    assert_int_equal(
        challenge_parse(
            "Basic realm=\"x\", Negotiate abc==, bearer Realm = \"https://r\"", &c),
        0);
    assert_int_equal(c.kind, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "https://r");
    assert_int_equal(challenge_parse("BASIC realm=x", &c), 0);
    assert_int_equal(c.kind, CHALLENGE_BASIC);
    assert_int_equal(challenge_parse("Negotiate", &c), 0);
    assert_int_equal(c.kind, CHALLENGE_NONE);
    assert_int_equal(challenge_parse("", &c), 0);
    assert_int_equal(c.kind, CHALLENGE_NONE);
}

static void quotes_may_hide_commas_and_quotes(void **state)
{
    struct challenge c;

    (void)state;
    assert_int_equal(challenge_parse("Bearer realm=\"https://a,b\\\"c\",x=y", &c), 0);
    assert_string_equal(c.realm, "https://a,b\"c");
}

static void what_is_no_challenge_is_refused(void **state)
{
    static const char *const bad[] = {"Bearer",
                                      "Bearer realm=\"x",
                                      "Bearer realm=\"a\nb\"",
                                      "\"",
                                      "Bearer realm=\"x\\",
                                      "Bearer service=\"no realm\"",
                                      "Bearer realm=\"a\" realm=\"b\" ;"};
    char longer[2048];
    struct challenge c;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(challenge_parse(bad[i], &c), -EINVAL);
    }
    memset(longer, 'x', sizeof longer);
    memcpy(longer, "Bearer realm=", 13);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(challenge_parse(longer, &c), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bearer_is_read_with_its_parameters),
        cmocka_unit_test(the_strongest_of_several_wins),
        cmocka_unit_test(quotes_may_hide_commas_and_quotes),
        cmocka_unit_test(what_is_no_challenge_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
