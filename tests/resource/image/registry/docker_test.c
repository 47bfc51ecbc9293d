/* Push and pull with the registry that Debian packages, skopeo as the second
 * opinion.  rows: OSL-08 SEC-05 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/registry/registry.h"
#include "servers.h"
#include "tests/base/check.h"

#define BIG_BYTES (5u << 20)

struct fixture {
    struct server server;
    char dir[64], state[80], other[80], auth[96];
    struct image_store *store, *second; /* of two hosts */
    struct registry r;
    struct err e;
    int exists, mounted, uploads;
};

static void note(void *arg, const char *what, const char *object, uint64_t done,
                 uint64_t total)
{
    struct fixture *f = arg;

    (void)object;
    f->exists += strcmp(what, "exists") == 0;
    f->mounted += strcmp(what, "mount") == 0;
    f->uploads += strcmp(what, "upload") == 0 && done == total;
}

/* An image of one small and one large layer, named `name`. */
static void make_image(struct fixture *f, const char *name)
{
    struct pack p = {.store = f->store};
    struct image_layer layers[2];
    struct image_desc desc;
    char *bytes = malloc(BIG_BYTES);
    uint32_t x = 1;

    for (size_t i = 0; i < BIG_BYTES; i++) {
        x = x * 1664525 + 1013904223;
        bytes[i] = (char)(x >> 24);
    }
    for (int i = 0; i < 2; i++) {
        struct pack_layer *l = NULL;
        struct pack_entry file = {.path = i == 0 ? "small" : "large",
                                  .type = '-',
                                  .mode = 0644,
                                  .fd = -1,
                                  .bytes = bytes,
                                  .size = i == 0 ? 100 : BIG_BYTES};

        assert_int_equal(pack_layer_begin(&p, PACK_GZIP, &l, &f->e), 0);
        assert_int_equal(pack_layer_add(l, &file, &f->e), 0);
        assert_int_equal(pack_layer_commit(l, &layers[i], &f->e), 0);
    }
    free(bytes);
    {
        SCOPED(scope_json)
        json_t *config = json_pack("{s:s,s:s,s:{s:[s]}}", "architecture", "amd64", "os",
                                   "linux", "config", "Env", "MARK=strata");

        assert_int_equal(pack_put_image(f->store, config, layers, 2, &desc, &f->e), 0);
    }
    assert_int_equal(image_tag_desc(f->store, &desc, name, &f->e), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    *state = f;
    make_dir(f->dir);
    (void)str_print(f->state, sizeof f->state, "%s/state", f->dir);
    (void)str_print(f->other, sizeof f->other, "%s/other", f->dir);
    (void)str_print(f->auth, sizeof f->auth, "%s/auth.json", f->dir);
    (void)mkdir(f->state, 0700);
    (void)mkdir(f->other, 0700);
    if (!have_program("docker-registry")) {
        print_message("skipped: docker-registry is not installed\n");
        return 0;
    }
    assert_int_equal(image_store_open(f->state, &f->store, &f->e), 0);
    assert_int_equal(image_store_open(f->other, &f->second, &f->e), 0);
    f->r = (struct registry){
        .store = f->store, .backoff_ms = 50, .progress = note, .arg = f};
    make_image(f, "mine:1");
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    stop_server(&f->server);
    image_store_close(f->store);
    image_store_close(f->second);
    remove_dir(f->dir);
    free(f);
    return 0;
}

static struct fixture *get(void **state, const char *also)
{
    struct fixture *f = *state;

    if (f->store == NULL || (also != NULL && !have_program(also))) {
        if (also != NULL) {
            print_message("skipped: '%s' or docker-registry is not installed\n", also);
        }
        skip();
    }
    return f;
}

static void print_ref(const struct fixture *f, const char *repo, char out[128])
{
    (void)str_print(out, 128, "127.0.0.1:%u/%s", f->server.port[0], repo);
}

static int push_to(struct fixture *f, const char *image, const char *repo)
{
    char ref[128];
    struct registry_push p = {.image = image, .ref = ref};
    struct image_desc desc;

    print_ref(f, repo, ref);
    err_clear(&f->e);
    return registry_push(&f->r, &p, &desc, &f->e);
}

static int pull_to(struct fixture *f, struct image_store *store, const char *repo)
{
    char ref[128];
    struct registry_pull p = {.ref = ref};
    struct image_desc desc;
    struct registry r = f->r;

    print_ref(f, repo, ref);
    err_clear(&f->e);
    r.store = store;
    return registry_pull(&r, &p, &desc, &f->e);
}

static void assert_same(struct fixture *f, const char *name, const char *repo)
{
    char ref[128];
    struct image a, b;

    print_ref(f, repo, ref);
    assert_int_equal(image_find(f->store, name, &a, &f->e), 0);
    assert_int_equal(image_find(f->second, ref, &b, &f->e), 0);
    assert_string_equal(a.manifest.digest, b.manifest.digest);
    image_fini(&a);
    image_fini(&b);
}

static void what_is_pushed_comes_back_the_same(void **state)
{
    struct fixture *f = get(state, NULL);
    char digest_ref[200], ref[128];
    struct image img;

    assert_int_equal(start_docker(&f->server, f->dir, NULL, NULL, NULL), 0);
    assert_int_equal(push_to(f, "mine:1", "team/app:v1"), 0);
    assert_int_equal(f->uploads, 3);
    assert_int_equal(pull_to(f, f->second, "team/app:v1"), 0);
    assert_same(f, "mine:1", "team/app:v1");
    f->exists = f->uploads = 0;
    assert_int_equal(push_to(f, "mine:1", "team/app:v2"), 0); /* only the manifest */
    assert_int_equal(f->exists, 3);
    assert_int_equal(f->uploads, 0);
    assert_int_equal(image_find(f->store, "mine:1", &img, &f->e), 0);
    (void)str_print(digest_ref, sizeof digest_ref, "team/app@%s", img.manifest.digest);
    image_fini(&img);
    assert_int_equal(pull_to(f, f->second, digest_ref), 0);
    assert_int_equal(pull_to(f, f->second, "team/none:v1"), -ENOENT);
    print_ref(f, "team/none:v1", ref);
    assert_non_null(strstr(f->e.text, ref));
}

static void large_blobs_go_in_pieces(void **state)
{
    struct fixture *f = get(state, NULL);

    f->r.chunk_bytes = 1 << 20;
    assert_int_equal(start_docker(&f->server, f->dir, NULL, NULL, NULL), 0);
    assert_int_equal(push_to(f, "mine:1", "pieces"), 0);
    assert_int_equal(pull_to(f, f->second, "pieces"), 0);
    assert_same(f, "mine:1", "pieces");
}

static void blobs_of_a_sister_repository_are_mounted(void **state)
{
    struct fixture *f = get(state, NULL);
    char ref[128];

    assert_int_equal(start_docker(&f->server, f->dir, NULL, NULL, NULL), 0);
    assert_int_equal(push_to(f, "mine:1", "first"), 0);
    print_ref(f, "first", ref);
    assert_int_equal(image_tag(f->store, "mine:1", ref, &f->e), 0);
    f->uploads = 0;
    assert_int_equal(push_to(f, ref, "second"), 0);
    assert_int_equal(f->mounted, 3);
    assert_int_equal(f->uploads, 0);
}

static void skopeo_reads_ours_and_we_read_its(void **state)
{
    struct fixture *f = get(state, "skopeo");
    char ref[160], dir[128], back[160];
    const char *take[] = {
        "skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", ref, dir, NULL};
    const char *give[] = {"skopeo",
                          "copy",
                          "--insecure-policy",
                          "--dest-tls-verify=false",
                          "--format=v2s2",
                          dir,
                          back,
                          NULL};

    assert_int_equal(start_docker(&f->server, f->dir, NULL, NULL, NULL), 0);
    assert_int_equal(push_to(f, "mine:1", "ours"), 0);
    (void)str_print(ref, sizeof ref, "docker://127.0.0.1:%u/ours", f->server.port[0]);
    (void)str_print(back, sizeof back, "docker://127.0.0.1:%u/theirs", f->server.port[0]);
    (void)str_print(dir, sizeof dir, "oci:%s/copy:x", f->dir);
    assert_int_equal(run_program(take), 0);
    assert_int_equal(run_program(give), 0);
    assert_int_equal(pull_to(f, f->second, "theirs"), 0);
    {
        char name[128];
        struct image img;

        print_ref(f, "theirs", name);
        assert_int_equal(image_find(f->second, name, &img, &f->e), 0);
        assert_string_equal(img.manifest.media_type,
                            "application/vnd.docker.distribution.manifest.v2+json");
        assert_string_equal(img.env.items[0], "MARK=strata");
        assert_int_equal(img.n_layers, 2);
        image_fini(&img);
    }
}

static void a_password_is_asked_for_and_checked(void **state)
{
    struct fixture *f = get(state, "htpasswd");
    char file[96], host[64];
    const char *argv[] = {"htpasswd", "-Bbc", file, "ann", "secret", NULL};

    (void)str_print(file, sizeof file, "%s/htpasswd", f->dir);
    assert_int_equal(run_program(argv), 0);
    assert_int_equal(start_docker(&f->server, f->dir, file, NULL, NULL), 0);
    (void)str_print(host, sizeof host, "127.0.0.1:%u", f->server.port[0]);
    f->r.auth_file = f->auth;
    assert_int_equal(push_to(f, "mine:1", "closed"), -EACCES);
    assert_non_null(strstr(f->e.text, "strata image login"));
    err_clear(&f->e);
    assert_int_equal(registry_login(&f->r, host, "ann", "wrong", &f->e), -EACCES);
    assert_int_equal(push_to(f, "mine:1", "closed"), -EACCES); /* it was not kept */
    err_clear(&f->e);
    assert_int_equal(registry_login(&f->r, host, "ann", "secret", &f->e), 0);
    assert_int_equal(push_to(f, "mine:1", "closed"), 0);
    assert_int_equal(pull_to(f, f->second, "closed"), 0);
    assert_int_equal(registry_logout(f->auth, host, &f->e), 0);
    assert_int_equal(push_to(f, "mine:1", "closed"), -EACCES);
}

static void certificates_are_checked_unless_told_otherwise(void **state)
{
    struct fixture *f = get(state, "openssl");
    char cert[96], key[96], cas[80], ca[96];
    const char *argv[] = {"openssl",
                          "req",
                          "-x509",
                          "-newkey",
                          "ec",
                          "-pkeyopt",
                          "ec_paramgen_curve:P-256",
                          "-nodes",
                          "-days",
                          "1",
                          "-subj",
                          "/CN=test",
                          "-addext",
                          "subjectAltName=IP:127.0.0.1",
                          "-keyout",
                          key,
                          "-out",
                          cert,
                          NULL};
    const char *copy[] = {"cp", cert, ca, NULL};

    (void)str_print(cert, sizeof cert, "%s/cert.pem", f->dir);
    (void)str_print(key, sizeof key, "%s/key.pem", f->dir);
    (void)str_print(cas, sizeof cas, "%s/cas", f->dir);
    (void)str_print(ca, sizeof ca, "%s/our.crt", cas);
    assert_int_equal(run_program(argv), 0);
    assert_int_equal(mkdir(cas, 0700), 0);
    assert_int_equal(run_program(copy), 0);
    assert_int_equal(start_docker(&f->server, f->dir, NULL, cert, key), 0);
    assert_int_not_equal(push_to(f, "mine:1", "tls"), 0);
    assert_non_null(strstr(f->e.text, "--tls-verify=false"));
    f->r.ca = cas;
    assert_int_equal(push_to(f, "mine:1", "tls"), 0);
    f->r.ca = ca;
    assert_int_equal(pull_to(f, f->second, "tls"), 0);
    f->r.ca = NULL;
    f->r.insecure = true;
    assert_int_equal(push_to(f, "mine:1", "tls:2"), 0);
    f->r.ca = "/nonexistent";
    assert_int_equal(push_to(f, "mine:1", "tls:2"), -ENOENT);
}

static void a_registry_that_is_not_there_is_named(void **state)
{
    struct fixture *f = get(state, NULL);

    f->server.port[0] = 9; /* discard: nobody listens */
    f->r.attempts = 2;
    f->r.backoff_ms = 1;
    assert_int_equal(pull_to(f, f->second, "x"), -ECONNABORTED);
    assert_non_null(strstr(f->e.text, "127.0.0.1:9/x"));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(what_is_pushed_comes_back_the_same),
        T(large_blobs_go_in_pieces),
        T(blobs_of_a_sister_repository_are_mounted),
        T(skopeo_reads_ours_and_we_read_its),
        T(a_password_is_asked_for_and_checked),
        T(certificates_are_checked_unless_told_otherwise),
        T(a_registry_that_is_not_there_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
