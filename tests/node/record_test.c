/* record_test.c - guests in the store: found, kept whole over versions, claimed once. */
#include "node/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "contract/kv.h"
#include "tests/node/fixture.h"

#define ID     "0123456789ab"
#define OTHER  "0123ffffffff"
#define RACERS 8

static void what_a_newer_version_wrote_is_kept(void **state)
{
    const struct fixture *f = *state;
    struct guest g = {0};
    struct err e = {0};

    fixture_put_guest(f, ID,
                      "{\"schema\":2,\"id\":\"" ID
                      "\",\"name\":\"web\",\"config\":{\"new-"
                      "option\":[1,{}]},\"colour\":{\"r\":1}}");
    assert_int_equal(guest_load(f->n, ID, &g, &e), 0);
    (void)json_object_set_new(g.record, "desired", json_string("running"));
    assert_int_equal(guest_save(f->n, &g, &e), 0);
    assert_int_equal(guest_reload(f->n, &g, &e), 0);
    assert_string_equal(guest_text(&g, "desired"), "running");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(g.record, "colour"), "r")), 1);
    assert_int_equal(json_array_size(json_object_get(guest_config(&g), "new-option")), 2);
    guest_fini(&g);
}

static void what_an_older_version_left_out_is_no_error(void **state)
{
    const struct fixture *f = *state;
    struct guest_status st = {.state = GUEST_CREATED};
    struct guest g = {0};
    struct err e = {0};

    fixture_put_guest(f, ID, "{\"id\":\"" ID "\"}");
    assert_int_equal(guest_load(f->n, ID, &g, &e), 0);
    assert_string_equal(guest_text(&g, "name"), "");
    assert_null(guest_config(&g));
    json_decref(guest_describe(&g, &st));
    json_decref(guest_inspection(f->n, &g, &st));
    guest_fini(&g);
}

static void damaged_records_are_told_and_others_listed(void **state)
{
    static const char *const bad[] = {"", "{", "[]", "null", "7", "\"text\"", "{} {}"};
    const struct fixture *f = *state;
    struct guest g = {0};
    json_t *all = NULL;

    fixture_put_guest(f, OTHER, "{\"id\":\"" OTHER "\",\"name\":\"good\"}");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};

        fixture_put_guest(f, ID, bad[i]);
        assert_int_equal(guest_load(f->n, ID, &g, &e), -EINVAL);
        assert_non_null(strstr(e.text, ID));
        assert_int_equal(guest_all(f->n, &all, &e), 0);
        assert_int_equal(json_array_size(all), 1);
        json_decref(all);
    }
}

static void members_of_the_wrong_kind_do_not_break_what_shows_them(void **state)
{
    static const char *const records[] = {
        "{\"name\":7,\"config\":[],\"network\":\"x\",\"created\":{}}",
        "{\"name\":\"w\",\"config\":{\"label\":[\"no-equals\",7,\"\"],\"disk\":4}}",
        "{\"config\":{\"label\":\"k=v\",\"disk\":[]},\"image_config\":{\"labels\":[1]}}",
        "{\"last\":[],\"userns\":7,\"network\":{\"addr4\":{},\"publish\":3}}",
        "{\"last\":{\"exit_code\":\"x\",\"started\":7},\"desired\":[]}"};
    const struct fixture *f = *state;

    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        struct guest_status st = {0};
        struct guest g = {0};
        struct err e = {0};

        fixture_put_guest(f, ID, records[i]);
        assert_int_equal(guest_load(f->n, ID, &g, &e), 0);
        (void)guest_state_now(f->n, &g, &st, &e);
        json_decref(guest_describe(&g, &st));
        json_decref(guest_inspection(f->n, &g, &st));
        json_decref(guest_limits(&g));
        guest_fini(&g);
    }
}

static void a_changed_record_is_not_overwritten(void **state)
{
    const struct fixture *f = *state;
    struct guest one = {0};
    struct guest two = {0};
    struct err e = {0};

    fixture_put_guest(f, ID, "{\"name\":\"web\"}");
    assert_int_equal(guest_load(f->n, ID, &one, &e), 0);
    assert_int_equal(guest_load(f->n, ID, &two, &e), 0);
    assert_int_equal(guest_save(f->n, &one, &e), 0);
    assert_int_equal(guest_save(f->n, &two, &e), -EAGAIN);
    assert_non_null(strstr(e.text, "changed by another command"));
    guest_fini(&one);
    guest_fini(&two);
}

static void claims_are_all_or_nothing(void **state)
{
    const struct fixture *f = *state;
    const char *const first[] = {"/x/1", "/x/2"};
    const char *const second[] = {"/x/3", "/x/2"};
    struct record_claims c = {0};
    struct kv_items items;
    struct kv *kv;
    struct err e = {0};

    assert_int_equal(record_claim(f->n, first, 2, ID, NULL, &e), 0);
    assert_int_equal(record_claim(f->n, second, 2, OTHER, NULL, &e), -EEXIST);
    assert_int_equal(e.code, 0);
    strv_add(&c.take, "/x/4");
    strv_add(&c.need, "/x/9"); /* is not there */
    assert_int_equal(record_add(f->n, &c, OTHER, "{}", &e), -EEXIST);
    assert_int_equal(node_kv(f->n, &kv, &e), 0);
    assert_int_equal(kv_list(kv, "/", &items, &e), 0);
    assert_int_equal(items.n, 2);
    kv_items_fini(&items);
    assert_int_equal(record_release(f->n, first, 2, &e), 0);
    assert_int_equal(record_release(f->n, first, 2, &e), 0); /* again is fine */
    assert_int_equal(record_claim(f->n, second, 2, OTHER, NULL, &e), 0);
    record_claims_fini(&c);
}

static void too_many_claims_are_refused(void **state)
{
    const struct fixture *f = *state;
    struct record_claims c = {0};
    struct err e = {0};

    for (int i = 0; i <= RECORD_KEYS_MOST; i++) {
        strv_addf(&c.take, "/x/%d", i);
    }
    assert_int_equal(record_add(f->n, &c, ID, "{}", &e), -E2BIG);
    record_claims_fini(&c);
}

static void all_that_could_be_claimed_is_given_back_at_once(void **state)
{
    const struct fixture *f = *state;
    struct record_claims c = {0};
    struct kv_items items;
    struct kv *kv;
    struct err e = {0};

    for (int i = 0; i < RECORD_KEYS_MOST; i++) {
        strv_addf(&c.take, "/x/%d", i);
    }
    assert_int_equal(record_add(f->n, &c, ID, "{}", &e), 0);
    strv_add(&c.take, "/guests/" ID);
    assert_int_equal(
        record_release(f->n, (const char *const *)c.take.items, c.take.n, &e), 0);
    assert_int_equal(node_kv(f->n, &kv, &e), 0);
    assert_int_equal(kv_list(kv, "/", &items, &e), 0);
    assert_int_equal(items.n, 0);
    kv_items_fini(&items);
    record_claims_fini(&c);
}

static void a_free_number_is_found(void **state)
{
    const struct fixture *f = *state;
    const char *const keys[] = {"/n/000016", "/n/000017", "/n/000019"};
    unsigned slot = 0;
    struct err e = {0};

    assert_int_equal(record_free_number(f->n, "/n/", 16, 19, &slot, &e), 0);
    assert_int_equal(slot, 16);
    assert_int_equal(record_claim(f->n, keys, 3, ID, NULL, &e), 0);
    assert_int_equal(record_free_number(f->n, "/n/", 16, 19, &slot, &e), 0);
    assert_int_equal(slot, 18);
    assert_int_equal(record_free_number(f->n, "/n/", 16, 17, &slot, &e), -ENOSPC);
}

/* A process of its own, with its own store: 0 when it got the key. */
static pid_t race(const struct fixture *f, int gate)
{
    pid_t pid = fork();

    if (pid == 0) {
        const struct node_options o = {.state = f->dir, .program = "/x", .libexec = "/x"};
        const char *const keys[] = {"/owners/disk/private"};
        struct node *n = NULL;
        char go;
        int r = node_open(&o, &n, NULL);

        (void)!read(gate, &go, 1);
        if (r == 0) {
            r = record_claim(n, keys, 1, ID, NULL, NULL);
        }
        _exit(r == 0 ? 0 : r == -EEXIST ? 1 : 2);
    }
    return pid;
}

static void of_racing_processes_one_gets_the_key(void **state)
{
    const struct fixture *f = *state;
    int gate[2];
    int codes[3] = {0};
    pid_t pids[RACERS];

    assert_int_equal(pipe(gate), 0);
    for (int i = 0; i < RACERS; i++) {
        pids[i] = race(f, gate[0]);
    }
    (void)close(gate[0]);
    assert_int_equal(write(gate[1], "goooooooo", RACERS), RACERS);
    (void)close(gate[1]);
    for (int i = 0; i < RACERS; i++) {
        int status = 0;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 3);
        codes[WEXITSTATUS(status)] += 1;
    }
    assert_int_equal(codes[0], 1);
    assert_int_equal(codes[1], RACERS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_newer_version_wrote_is_kept, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(what_an_older_version_left_out_is_no_error,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(damaged_records_are_told_and_others_listed,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(
            members_of_the_wrong_kind_do_not_break_what_shows_them, fixture_begin,
            fixture_end),
        cmocka_unit_test_setup_teardown(a_changed_record_is_not_overwritten,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(claims_are_all_or_nothing, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(too_many_claims_are_refused, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(all_that_could_be_claimed_is_given_back_at_once,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(a_free_number_is_found, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(of_racing_processes_one_gets_the_key,
                                        fixture_begin, fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
