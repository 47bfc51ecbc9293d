/* Pushes that break and go on, against a registry that breaks them; and through a proxy
 * that cuts connections, to the registry that Debian packages.  rows: OSL-08 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/registry/registry.h"
#include "servers.h"
#include "tests/base/check.h"

#define BIG_BYTES (5u << 20)

struct fixture {
    struct server server, proxy;
    char dir[64], state[80];
    struct image_store *store;
    struct registry r;
    struct err e;
};

/* An image of one layer that does not compress. */
static void make_image(struct fixture *f)
{
    struct pack p = {.store = f->store};
    struct image_layer layer;
    struct image_desc desc;
    struct pack_layer *l = NULL;
    SCOPED(scope_free) char *bytes = malloc(BIG_BYTES);
    struct pack_entry file = {
        .path = "large", .type = '-', .mode = 0644, .fd = -1, .size = BIG_BYTES};
    SCOPED(scope_json)
    json_t *config = json_pack("{s:s,s:s}", "architecture", "amd64", "os", "linux");
    uint32_t x = 1;

    for (size_t i = 0; i < BIG_BYTES; i++) {
        x = x * 1664525 + 1013904223;
        bytes[i] = (char)(x >> 24);
    }
    file.bytes = bytes;
    assert_int_equal(pack_layer_begin(&p, PACK_GZIP, &l, &f->e), 0);
    assert_int_equal(pack_layer_add(l, &file, &f->e), 0);
    assert_int_equal(pack_layer_commit(l, &layer, &f->e), 0);
    assert_int_equal(pack_put_image(f->store, config, &layer, 1, &desc, &f->e), 0);
    assert_int_equal(image_tag_desc(f->store, &desc, "mine:1", &f->e), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    *state = f;
    f->server.in = f->proxy.in = -1;
    make_dir(f->dir);
    (void)str_print(f->state, sizeof f->state, "%s/state", f->dir);
    assert_int_equal(file_make_dirs(f->state, 0700), 0);
    if (!have_program("python3")) {
        print_message("skipped: python3 is not installed\n");
        return 0;
    }
    assert_int_equal(image_store_open(f->state, &f->store, &f->e), 0);
    f->r = (struct registry){
        .store = f->store, .attempts = 4, .backoff_ms = 10, .stall_seconds = 5};
    make_image(f);
    return start_fake(&f->server);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    stop_server(&f->proxy);
    stop_server(&f->server);
    image_store_close(f->store);
    remove_dir(f->dir);
    free(f);
    return 0;
}

static struct fixture *get(void **state)
{
    struct fixture *f = *state;

    if (f->store == NULL) {
        skip();
    }
    return f;
}

static int push_to(struct fixture *f, unsigned port, const char *repo)
{
    char ref[128];
    struct registry_push p = {.image = "mine:1", .ref = ref};
    struct image_desc desc;

    (void)str_print(ref, sizeof ref, "127.0.0.1:%u/%s", port, repo);
    err_clear(&f->e);
    if (registry_push(&f->r, &p, &desc, &f->e) < 0) {
        print_message("%s\n", f->e.text);
    }
    return f->e.code;
}

static long sent(struct fixture *f)
{
    return ask_stat(&f->server, "put_bytes");
}

static void assert_pushed(struct fixture *f, const char *repo)
{
    if (push_to(f, f->server.port[0], repo) < 0) {
        fail_msg("%s", f->e.text);
    }
    print_message("%s: %ld bytes of %u sent\n", repo, sent(f), BIG_BYTES);
}

static void a_dropped_push_goes_on_where_it_broke(void **state)
{
    struct fixture *f = get(state);

    assert_pushed(f, "drops"); /* at each 1.5 MiB, as often as there are attempts */
    assert_true(sent(f) >= (long)BIG_BYTES && sent(f) < (long)BIG_BYTES + (1 << 20));
}

static void pieces_that_break_go_on_too(void **state)
{
    struct fixture *f = get(state);

    f->r.chunk_bytes = 2u << 20;
    assert_pushed(f, "drops");
    assert_true(sent(f) < (long)BIG_BYTES + (1 << 20));
}

static void an_upload_that_was_forgotten_begins_anew(void **state)
{
    struct fixture *f = get(state);

    assert_pushed(f, "forgets");
    assert_true(sent(f) > (long)BIG_BYTES + (1 << 20));
}

static void a_lost_answer_does_not_send_all_again(void **state)
{
    struct fixture *f = get(state);

    assert_pushed(f, "silent");
    assert_true(sent(f) < (long)BIG_BYTES + (1 << 20));
}

static void a_busy_registry_is_asked_again(void **state)
{
    struct fixture *f = get(state);

    assert_pushed(f, "busy");
}

static void a_registry_that_lost_a_piece_gets_it_again(void **state)
{
    struct fixture *f = get(state);

    f->r.chunk_bytes = 2u << 20;
    assert_pushed(f, "outoforder");
}

/* Says that it has more than it got: it notices itself, and nothing is claimed. */
static void a_registry_that_miscounts_gets_no_image(void **state)
{
    struct fixture *f = get(state);

    assert_int_equal(push_to(f, f->server.port[0], "lies"), -EPROTO);
    assert_non_null(strstr(f->e.text, "DIGEST_INVALID"));
}

static void a_push_that_never_moves_ends(void **state)
{
    struct fixture *f = get(state);

    assert_int_equal(push_to(f, f->server.port[0], "never"), -ECONNABORTED);
    assert_true(sent(f) < 100000);
}

/* Forward and back again is no progress. */
static void a_push_that_goes_in_circles_ends(void **state)
{
    struct fixture *f = get(state);

    assert_true(push_to(f, f->server.port[0], "rewinds") < 0);
    assert_true(sent(f) < 12l * (1 << 20));
}

static void a_login_does_not_go_where_the_upload_goes(void **state)
{
    struct fixture *f = get(state);
    char path[96], host[64];

    (void)str_print(path, sizeof path, "%s/auth.json", f->dir);
    (void)str_print(host, sizeof host, "127.0.0.1:%u", f->server.port[0]);
    f->r.auth_file = path;
    assert_int_equal(registry_login(&f->r, host, "ann", "secret", &f->e), 0);
    assert_pushed(f, "elsewhere");
    assert_int_equal(ask_stat(&f->server, "foreign_auth"), 0);
}

/* ---- identity tokens ---- */

static void write_logins(struct fixture *f, char path[96], const char *token)
{
    SCOPED(scope_free) char *text = NULL;

    (void)str_print(path, 96, "%s/auth.json", f->dir);
    assert_true(asprintf(&text,
                         "{\"auths\":{\"127.0.0.1:%u\":{\"auth\":\"PHRva2VuPjo=\","
                         "\"identitytoken\":\"%s\"}}}",
                         f->server.port[0], token) > 0);
    assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), 0600, false), 0);
    f->r.auth_file = path;
}

static void an_identity_token_gets_tokens_by_a_form(void **state)
{
    struct fixture *f = get(state);
    char path[96];

    write_logins(f, path, "long/lived+token");
    assert_pushed(f, "identity");
    assert_true(ask_stat(&f->server, "refreshed") >= 1);
    assert_int_equal(ask_stat(&f->server, "tokens"), 0);
}

static void a_refused_identity_token_is_named_and_not_shown(void **state)
{
    struct fixture *f = get(state);
    char path[96];

    write_logins(f, path, "revoked-one");
    assert_int_equal(push_to(f, f->server.port[0], "identity"), -EACCES);
    assert_non_null(strstr(f->e.text, "identity token of '127.0.0.1:"));
    assert_null(strstr(f->e.text, "revoked-one"));
}

/* ---- the registry that Debian packages ---- */

static void docker_registry_takes_a_push_that_is_cut(void **state)
{
    struct fixture *f = get(state);
    struct registry_pull p;
    struct image_desc desc;
    char ref[128];

    if (!have_program("docker-registry")) {
        print_message("skipped: docker-registry is not installed\n");
        skip();
    }
    stop_server(&f->server);
    f->server = (struct server){.in = -1};
    assert_int_equal(start_docker(&f->server, f->dir, NULL, NULL, NULL), 0);
    assert_int_equal(start_cutter(&f->proxy, f->server.port[0], 3), 0);
    f->r.chunk_bytes = 2u << 20;
    if (push_to(f, f->proxy.port[0], "team/cut:1") < 0) {
        fail_msg("%s", f->e.text);
    }
    assert_int_equal(ask_stat(&f->proxy, "cuts"), 3);
    (void)str_print(ref, sizeof ref, "127.0.0.1:%u/team/cut:1", f->server.port[0]);
    p = (struct registry_pull){.ref = ref};
    assert_int_equal(registry_pull(&f->r, &p, &desc, &f->e), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_dropped_push_goes_on_where_it_broke),
        T(pieces_that_break_go_on_too),
        T(an_upload_that_was_forgotten_begins_anew),
        T(a_lost_answer_does_not_send_all_again),
        T(a_busy_registry_is_asked_again),
        T(a_registry_that_lost_a_piece_gets_it_again),
        T(a_registry_that_miscounts_gets_no_image),
        T(a_push_that_never_moves_ends),
        T(a_push_that_goes_in_circles_ends),
        T(a_login_does_not_go_where_the_upload_goes),
        T(an_identity_token_gets_tokens_by_a_form),
        T(a_refused_identity_token_is_named_and_not_shown),
        T(docker_registry_takes_a_push_that_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
