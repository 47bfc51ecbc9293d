/* Which way big reads go: by what is faster for this client, as often as not. */
#include "resource/storage/nbd/private.h"
#include "tests/base/check.h"

#define READ_BYTES 262144u
#define GIB        ((uint64_t)1 << 30)

/* What a read takes each way, in nanoseconds. */
struct client {
    uint64_t pages;
    uint64_t copied;
    uint64_t
        slow_in; /* once in about so many reads the host is busy elsewhere; 0: never */
};

static uint64_t now = 1;
static uint64_t dice = 1;

static uint64_t roll(void)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return dice >> 33;
}

/* How many hundredths of that many bytes were sent from the page cache. */
static unsigned serve(struct pages_choice *p, const struct client *c, uint64_t bytes)
{
    uint64_t reads = bytes / READ_BYTES;
    uint64_t by_pages = 0;

    for (uint64_t i = 0; i < reads; i++) {
        bool pages = nbd_pages_wanted(p, READ_BYTES, now);

        by_pages += pages;
        now += pages ? c->pages : c->copied;
        now += c->slow_in > 0 && roll() % c->slow_in == 0 ? 4000000 : 0;
    }
    return (unsigned)(by_pages * 100 / reads);
}

static void a_client_gets_what_is_faster_for_it(void **state)
{
    const struct client takes_pages = {50000, 100000, 0};
    const struct client takes_copies = {200000, 100000, 0};
    const struct client same = {100000, 99000, 0};
    struct pages_choice p[3] = {{0}};

    (void)state;
    assert_true(serve(&p[0], &takes_pages, 8 * GIB) >= 95);
    assert_true(serve(&p[1], &takes_copies, 8 * GIB) <= 5);
    assert_true(serve(&p[2], &same, 8 * GIB) >= 95); /* which costs the server least */
}

static void a_busy_host_does_not_mislead(void **state)
{
    const struct client takes_copies = {200000, 100000, 100};
    const struct client takes_pages = {50000, 100000, 100};
    struct pages_choice p[2] = {{0}};

    (void)state;
    assert_true(serve(&p[0], &takes_copies, 32 * GIB) <= 10);
    assert_true(serve(&p[1], &takes_pages, 32 * GIB) >= 90);
}

static void a_client_that_changes_is_followed(void **state)
{
    const struct client before = {50000, 100000, 0};
    const struct client after = {200000, 100000, 0};
    struct pages_choice p = {0};

    (void)state;
    (void)serve(&p, &before, 4 * GIB);
    (void)serve(&p, &after, 8 * GIB); /* no more than twice as much as there was */
    assert_true(serve(&p, &after, 8 * GIB) <= 5);
}

/* Few reads, then none for long: what passes meanwhile is nobody's. */
static void pauses_do_not_count(void **state)
{
    const struct client takes_copies = {200000, 100000, 0};
    struct pages_choice p = {0};

    (void)state;
    for (unsigned i = 0; i < 400; i++) {
        (void)serve(&p, &takes_copies, 16u << 20);
        now += 1000000000u;
    }
    assert_true(serve(&p, &takes_copies, 4 * GIB) <= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_gets_what_is_faster_for_it),
        cmocka_unit_test(a_busy_host_does_not_mislead),
        cmocka_unit_test(a_client_that_changes_is_followed),
        cmocka_unit_test(pauses_do_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
