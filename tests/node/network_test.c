/* network_test.c - a network goes only while no guest has an address of it. */
#include "node/net/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract/kv.h"
#include "tests/node/fixture.h"

#define ID     "0123456789ab"
#define ROUNDS 40

static const char record[] = "{\"name\":\"lan\",\"driver\":\"bridge\",\"subnet\":"
                             "\"10.90.0.0/24\",\"gateway\":\"10.90.0.1\"}";

static void put_network(struct node *n)
{
    struct kv *kv;
    struct err e = {0};

    assert_int_equal(node_kv(n, &kv, &e), 0);
    assert_int_equal(kv_put(kv, "/networks/lan", kv_text(record), NULL, &e), 0);
}

static size_t keys_below(struct node *n, const char *prefix)
{
    struct kv_items items;
    struct kv *kv;
    size_t count;
    struct err e = {0};

    assert_int_equal(node_kv(n, &kv, &e), 0);
    assert_int_equal(kv_list(kv, prefix, &items, &e), 0);
    count = items.n;
    kv_items_fini(&items);
    return count;
}

static int claim(struct node *n, const char *wanted, struct err *e)
{
    struct net_plan p = {.spec = {.name = "lan", .driver = NETWORK_BRIDGE}};

    (void)network_cidr_parse("10.90.0.0/24", &p.spec.subnet4);
    (void)network_ip_parse("10.90.0.1", &p.spec.gateway4);
    return net_claim_address(n, &p, ID, wanted, e);
}

static void a_network_that_is_used_stays(void **state)
{
    const struct fixture *f = *state;
    struct err e = {0};

    put_network(f->n);
    assert_int_equal(claim(f->n, NULL, &e), 0);
    assert_int_equal(net_forget(f->n, "lan", &e), -EBUSY);
    assert_non_null(strstr(e.text, "a guest was put on it"));
    assert_int_equal(keys_below(f->n, "/networks/lan"), 1);
}

static void no_address_is_given_of_a_network_that_is_gone(void **state)
{
    const struct fixture *f = *state;
    struct err e = {0};

    put_network(f->n);
    assert_int_equal(net_forget(f->n, "lan", &e), 0);
    assert_int_equal(claim(f->n, NULL, &e), -ENOENT);
    assert_string_equal(e.text, "network 'lan' was deleted meanwhile");
    err_clear(&e);
    assert_int_equal(claim(f->n, "10.90.0.9", &e), -ENOENT);
    assert_int_equal(keys_below(f->n, "/addresses/"), 0);
}

static void a_taken_address_is_still_told_from_that(void **state)
{
    const struct fixture *f = *state;
    struct err e = {0};

    put_network(f->n);
    assert_int_equal(claim(f->n, "10.90.0.9", &e), 0);
    assert_int_equal(claim(f->n, "10.90.0.9", &e), -EADDRINUSE);
    err_clear(&e);
    assert_int_equal(claim(f->n, NULL, &e), 0);
    assert_int_equal(keys_below(f->n, "/addresses/lan/"), 2);
}

/* A process of its own with its own store; 0: it got what it wanted. */
static pid_t race(const struct fixture *f, bool create, int gate)
{
    pid_t pid = fork();

    if (pid == 0) {
        const struct node_options o = {.state = f->dir, .program = "/x", .libexec = "/x"};
        struct node *n = NULL;
        char go;
        int r = node_open(&o, &n, NULL);

        (void)!read(gate, &go, 1);
        if (r == 0) {
            r = create ? claim(n, NULL, NULL) : net_forget(n, "lan", NULL);
        }
        _exit(r == 0 ? 0 : r == -EBUSY || r == -ENOENT ? 1 : 2);
    }
    return pid;
}

static void of_creating_and_deleting_at_once_one_wins(void **state)
{
    const struct fixture *f = *state;
    struct node_options o = {.state = f->dir, .program = "/x", .libexec = "/x"};

    for (int i = 0; i < ROUNDS; i++) {
        int codes[2] = {0};
        int gate[2];
        pid_t pids[2];
        struct node *n = NULL;
        struct kv *kv;

        assert_int_equal(node_open(&o, &n, NULL), 0); /* no store over a fork */
        put_network(n);
        assert_int_equal(node_kv(n, &kv, NULL), 0);
        assert_int_equal(
            kv_delete(kv, (struct kv_span){"/addresses/", "/addresses0"}, NULL, NULL), 0);
        node_close(n);
        assert_int_equal(pipe(gate), 0);
        for (int k = 0; k < 2; k++) {
            pids[k] = race(f, (k + i) % 2 == 0, gate[0]);
        }
        assert_int_equal(write(gate[1], "go", 2), 2);
        for (int k = 0; k < 2; k++) {
            int status = 0;

            assert_int_equal(waitpid(pids[k], &status, 0), pids[k]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
            codes[k] = WEXITSTATUS(status);
        }
        (void)close(gate[0]);
        (void)close(gate[1]);
        assert_int_equal(codes[0] + codes[1], 1);
        assert_int_equal(node_open(&o, &n, NULL), 0);
        assert_int_equal(keys_below(n, "/networks/lan"),
                         keys_below(n, "/addresses/lan/"));
        node_close(n);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_begin, fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_network_that_is_used_stays),
        T(no_address_is_given_of_a_network_that_is_gone),
        T(a_taken_address_is_still_told_from_that),
        T(of_creating_and_deleting_at_once_one_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
