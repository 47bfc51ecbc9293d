/* Pulls against a fake registry, good and hostile.  rows: OSL-08 SEC-03 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/image/registry/registry.h"
#include "servers.h"
#include "tests/base/check.h"

#define LAYER_BYTES (2u << 20)

struct fixture {
    struct server server;
    char dir[64];
    struct image_store *store;
    struct registry r;
    struct err e;
    int exists, downloads; /* words of progress */
};

static void note(void *arg, const char *what, const char *object, uint64_t done,
                 uint64_t total)
{
    struct fixture *f = arg;

    assert_true(done <= total);
    assert_true(strncmp(object, "sha256:", 7) == 0);
    f->exists += strcmp(what, "exists") == 0;
    f->downloads += strcmp(what, "download") == 0 && done == total;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    make_dir(f->dir);
    *state = f;
    if (!have_program("python3")) {
        print_message("skipped: python3 is not installed\n");
        return 0;
    }
    assert_int_equal(image_store_open(f->dir, &f->store, &f->e), 0);
    f->r = (struct registry){.store = f->store,
                             .attempts = 4,
                             .backoff_ms = 10,
                             .stall_seconds = 2,
                             .progress = note,
                             .arg = f};
    return start_fake(&f->server);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

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

static int pull_from(struct fixture *f, const char *repo, const char *platform)
{
    char ref[128];
    struct registry_pull p = {.ref = ref, .platform = platform};
    struct image_desc desc;

    (void)str_print(ref, sizeof ref, "127.0.0.1:%u/%s", f->server.port[0], repo);
    err_clear(&f->e);
    return registry_pull(&f->r, &p, &desc, &f->e);
}

static void a_pulled_image_is_complete_and_named(void **state)
{
    struct fixture *f = get(state);
    char ref[128];
    struct image img;

    assert_int_equal(pull_from(f, "good:v1", NULL), 0);
    (void)str_print(ref, sizeof ref, "127.0.0.1:%u/good:v1", f->server.port[0]);
    assert_int_equal(image_find(f->store, ref, &img, &f->e), 0);
    assert_int_equal(img.n_layers, 4);
    assert_string_equal(img.env.items[0], "A=amd64");
    image_fini(&img);
    assert_int_equal(count_blobs(f->dir), 6);
    assert_int_equal(count_parts(f->dir), 0);
    assert_int_equal(f->downloads, 5 + 0);
    assert_true(ask_stat(&f->server, "most") > 1); /* layers came at the same time */
}

static void what_is_there_is_not_fetched_again(void **state)
{
    struct fixture *f = get(state);
    long bytes;

    assert_int_equal(pull_from(f, "good", NULL), 0);
    bytes = ask_stat(&f->server, "blob_bytes");
    assert_int_equal(pull_from(f, "redirect:again", NULL), 0);
    assert_int_equal(ask_stat(&f->server, "blob_bytes"), bytes);
    assert_int_equal(f->exists, 5);
}

static void an_interrupted_pull_is_continued_by_the_next(void **state)
{
    struct fixture *f = get(state);
    long size = 0;

    f->r.attempts = 1;
    assert_int_equal(pull_from(f, "cutonce", NULL), -ECONNABORTED);
    assert_non_null(strstr(f->e.text, "cutonce"));
    assert_int_equal(count_parts(f->dir), 1);
    assert_int_equal(pull_from(f, "cutonce", NULL), 0);
    assert_int_equal(count_parts(f->dir), 0);
    /* Random bytes are not compressible: the layer is a bit more than its file. */
    size = ask_stat(&f->server, "blob_bytes");
    assert_true(size >= 3 * (long)LAYER_BYTES && size < 3 * (long)LAYER_BYTES + 8192);
}

static void a_broken_connection_is_taken_up_in_the_same_pull(void **state)
{
    struct fixture *f = get(state);
    long size;

    assert_int_equal(pull_from(f, "cut", NULL), 0); /* breaks at every second MiB */
    size = ask_stat(&f->server, "blob_bytes");
    assert_true(size >= 3 * (long)LAYER_BYTES && size < 3 * (long)LAYER_BYTES + 8192);
}

static void a_server_without_ranges_sends_all_again(void **state)
{
    struct fixture *f = get(state);

    assert_int_equal(pull_from(f, "norange", NULL), 0);
    assert_true(ask_stat(&f->server, "blob_bytes") > 4 * (long)LAYER_BYTES);
}

static void another_part_than_asked_is_refused(void **state)
{
    struct fixture *f = get(state);

    assert_int_equal(pull_from(f, "late", NULL), -EPROTO);
    assert_int_equal(count_parts(f->dir), 0);
}

static void passing_failures_are_tried_again(void **state)
{
    struct fixture *f = get(state);

    assert_int_equal(pull_from(f, "flaky", NULL), 0);
}

static void lasting_failures_end(void **state)
{
    struct fixture *f = get(state);
    long before = ask_stat(&f->server, "requests");

    assert_int_equal(pull_from(f, "down", NULL), -EAGAIN);
    assert_non_null(strstr(f->e.text, "503"));
    assert_true(ask_stat(&f->server, "requests") - before < 10);
}

static void a_hostile_registry_leaves_an_error_and_nothing_else(void **state)
{
    static const struct {
        const char *repo;
        int code;
        const char *says;
    } rows[] = {
        {"wrongdigest", -EBADMSG, "wrong content"},
        {"wrongconfig", -EBADMSG, "wrong content"},
        {"short", -EBADMSG, "ends after"},
        {"long", -EBADMSG, "longer than"},
        {"endless", -EBADMSG, "longer than"},
        {"gone", -ENOENT, "404"},
        {"hugemanifest", -EFBIG, "4 MiB"},
        {"hugeheaders", -EFBIG, "headers"},
        {"badjson", -EINVAL, "manifest"},
        {"notobject", -EINVAL, "manifest"},
        {"schema1", -EPROTONOSUPPORT, "schema 1"},
        {"artifact", -EPROTONOSUPPORT, "not an image"},
        {"baddigest", -EINVAL, "digest"},
        {"badsize", -EINVAL, "size"},
        {"fewlayers", -EINVAL, "layers"},
        {"liar", -EBADMSG, "digest"},
        {"loop", -ELOOP, "redirects more than"},
        {"nowhere", -ECONNABORTED, "file"},
        {"realm", -EPROTO, "token server"},
        {"brokentoken", -EPROTO, "no token"},
        {"nobody", -EPROTO, "log in"},
        {"basic", -EACCES, "strata image login"},
        {"token", -EACCES, "strata image login"},
        {"forbidden", -EACCES, "go  [31m away"},
        {"indexindex", -EPROTONOSUPPORT, "another index"},
    };
    struct fixture *f = get(state);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int r = pull_from(f, rows[i].repo, NULL);

        if (strcmp(rows[i].repo, "realm") == 0) {
            /* No name service here knows it; with a login it is not even asked. */
            assert_int_not_equal(r, 0);
        } else {
            if (r != rows[i].code || strstr(f->e.text, rows[i].says) == NULL) {
                print_message("%s: %d %s\n", rows[i].repo, r, f->e.text);
            }
            assert_int_equal(r, rows[i].code);
            assert_non_null(strstr(f->e.text, rows[i].says));
        }
        assert_non_null(strstr(f->e.text, rows[i].repo));
        assert_non_null(strstr(f->e.text, "cannot pull '127.0.0.1:"));
        assert_int_equal(count_parts(f->dir), 0);
        assert_int_equal(count_blobs(f->dir), 0);
    }
}

static void a_stalled_registry_is_given_up(void **state)
{
    struct fixture *f = get(state);

    f->r.attempts = 1;
    f->r.stall_seconds = 1;
    assert_int_equal(pull_from(f, "slow", NULL), -ETIMEDOUT);
}

static void a_part_with_wrong_bytes_is_fetched_anew(void **state)
{
    struct fixture *f = get(state);
    struct image img;
    struct pack_blob *b = NULL;
    char digest[IMAGE_DIGEST_BYTES];

    assert_int_equal(pull_from(f, "good", NULL), 0);
    {
        char ref[128];

        (void)str_print(ref, sizeof ref, "127.0.0.1:%u/good", f->server.port[0]);
        assert_int_equal(image_find(f->store, ref, &img, &f->e), 0);
        memcpy(digest, img.layers[0].blob.digest, sizeof digest);
        image_fini(&img);
    }
    image_store_close(f->store);
    remove_dir(f->dir);
    assert_int_equal(image_store_open(f->dir, &f->store, &f->e), 0);
    f->r.store = f->store;
    assert_int_equal(pack_blob_begin(f->store, digest, &b, &f->e), 0);
    assert_int_equal(pack_blob_write(b, "garbage", 7, &f->e), 0);
    pack_blob_abort(b, true);
    assert_int_equal(count_parts(f->dir), 1);
    assert_int_equal(pull_from(f, "good", NULL), 0);
    assert_int_equal(count_parts(f->dir), 0);
}

static void the_platform_is_chosen_from_an_index(void **state)
{
    struct fixture *f = get(state);
    char ref[128];
    struct image img;

    (void)str_print(ref, sizeof ref, "127.0.0.1:%u/index", f->server.port[0]);
    assert_int_equal(pull_from(f, "index", "linux/arm64"), 0);
    assert_int_equal(image_find(f->store, ref, &img, &f->e), 0);
    assert_string_equal(img.arch, "arm64");
    image_fini(&img);
    assert_int_equal(pull_from(f, "index", "linux/amd64"), 0);
    assert_int_equal(image_find(f->store, ref, &img, &f->e), 0);
    assert_string_equal(img.arch, "amd64");
    image_fini(&img);
    assert_int_equal(pull_from(f, "index", "linux/s390x"), -ENOENT);
    assert_non_null(strstr(f->e.text, "linux/arm64, linux/amd64"));
}

static void a_login_is_kept_private_and_used(void **state)
{
    struct fixture *f = get(state);
    char path[96], host[64];

    (void)str_print(path, sizeof path, "%s/auth.json", f->dir);
    (void)str_print(host, sizeof host, "127.0.0.1:%u", f->server.port[0]);
    f->r.auth_file = path;
    assert_int_equal(pull_from(f, "opentoken", NULL), 0); /* tokens for everyone */
    assert_int_equal(registry_login(&f->r, host, "ann", "secret", &f->e), 0);
    assert_int_equal(pull_from(f, "token", NULL), 0);
    assert_int_equal(ask_stat(&f->server, "tokens"), 2); /* one per pull, not per blob */
    assert_int_equal(registry_login(&f->r, host, "ann", "wrong", &f->e), 0);
    assert_int_equal(pull_from(f, "token2", NULL), -EACCES);
    assert_non_null(strstr(f->e.text, "is refused"));
    assert_null(strstr(f->e.text, "wrong"));
}

static void a_login_is_not_told_to_others(void **state)
{
    struct fixture *f = get(state);
    char path[96], host[64];

    (void)str_print(path, sizeof path, "%s/auth.json", f->dir);
    (void)str_print(host, sizeof host, "127.0.0.1:%u", f->server.port[0]);
    f->r.auth_file = path;
    assert_int_equal(registry_login(&f->r, host, "ann", "secret", &f->e), 0);
    assert_int_equal(pull_from(f, "redirect", NULL), 0);
    assert_int_equal(ask_stat(&f->server, "foreign_auth"), 0);
    assert_int_equal(pull_from(f, "realm", NULL), -EPROTO);
    assert_non_null(strstr(f->e.text, "outside its domain"));
}

static void a_short_name_needs_a_registry(void **state)
{
    struct fixture *f = get(state);
    struct registry_pull p = {.ref = "busybox"};
    struct image_desc desc;

    err_clear(&f->e);
    assert_int_equal(registry_pull(&f->r, &p, &desc, &f->e), -EINVAL);
    assert_non_null(strstr(f->e.text, "docker.io/library/busybox"));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_pulled_image_is_complete_and_named),
        T(what_is_there_is_not_fetched_again),
        T(an_interrupted_pull_is_continued_by_the_next),
        T(a_broken_connection_is_taken_up_in_the_same_pull),
        T(a_server_without_ranges_sends_all_again),
        T(another_part_than_asked_is_refused),
        T(passing_failures_are_tried_again),
        T(lasting_failures_end),
        T(a_hostile_registry_leaves_an_error_and_nothing_else),
        T(a_stalled_registry_is_given_up),
        T(a_part_with_wrong_bytes_is_fetched_anew),
        T(the_platform_is_chosen_from_an_index),
        T(a_login_is_kept_private_and_used),
        T(a_login_is_not_told_to_others),
        T(a_short_name_needs_a_registry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
