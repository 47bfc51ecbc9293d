/* store_test.c - names, blobs and layers of the store; two commands at once. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/pack/pack.h"
#include "tests/base/check.h"
#include "tests/resource/image/craft.h"

#define EMPTY "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static struct image_store *open_store(const char *dir)
{
    struct image_store *s = NULL;

    assert_int_equal(image_store_open(dir, &s, NULL), 0);
    return s;
}

/* An image of one layer that holds one file. */
static struct image_desc put_image(struct image_store *s, const char *file)
{
    struct pack p = {.store = s};
    struct pack_entry x = {
        .path = file, .type = '-', .mode = 0644, .fd = -1, .bytes = "x", .size = 1};
    SCOPED(scope_json)
    json_t *config =
        json_pack("{s:s,s:s,s:{s:[s],s:[s],s:s,s:{s:{}},s:{s:s}}}", "architecture",
                  "amd64", "os", "linux", "config", "Env", "A=1", "Cmd", file, "User",
                  "7", "ExposedPorts", "80/tcp", "Labels", "k", "v");
    struct pack_layer *l = NULL;
    struct image_layer layer;
    struct image_desc desc;

    assert_int_equal(pack_layer_begin(&p, PACK_GZIP, &l, NULL), 0);
    assert_int_equal(pack_layer_add(l, &x, NULL), 0);
    assert_int_equal(pack_layer_commit(l, &layer, NULL), 0);
    assert_int_equal(pack_put_image(s, config, &layer, 1, &desc, NULL), 0);
    return desc;
}

static void a_named_image_is_found_with_its_settings(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc d = put_image(s, "run");
    char shorter[20];
    struct image img;

    (void)state;
    assert_int_equal(image_tag_desc(s, &d, "box", NULL), 0);
    assert_int_equal(image_find(s, "box:latest", &img, NULL), 0);
    assert_string_equal(img.name, "box:latest");
    assert_string_equal(img.manifest.digest, d.digest);
    assert_string_equal(img.env.items[0], "A=1");
    assert_string_equal(img.cmd.items[0], "run");
    assert_string_equal(img.user, "7");
    assert_string_equal(img.exposed.items[0], "80/tcp");
    assert_string_equal(json_string_value(json_object_get(img.labels, "k")), "v");
    assert_int_equal(img.n_layers, 1);
    assert_string_equal(img.layers[0].chain, img.layers[0].diff_id);
    image_fini(&img);
    (void)snprintf(shorter, sizeof shorter, "%.12s", d.digest + 7);
    assert_int_equal(image_find(s, shorter, &img, NULL), 0);
    image_fini(&img);
    assert_int_equal(image_find(s, d.digest, &img, NULL), 0);
    image_fini(&img);
    image_store_close(s);
    craft_remove(dir);
}

static void an_unknown_name_is_answered_with_the_nearest(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc d = put_image(s, "run");
    struct err e = {0};
    struct image img;

    (void)state;
    assert_int_equal(image_tag_desc(s, &d, "busybox", NULL), 0);
    assert_int_equal(image_find(s, "busibox", &img, &e), -ENOENT);
    assert_non_null(strstr(e.text, "'busybox:latest'"));
    image_store_close(s);
    craft_remove(dir);
}

static void a_blob_of_the_wrong_content_is_not_stored(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct pack_blob *b = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(pack_blob_begin(s, EMPTY, &b, NULL), 0);
    assert_int_equal(pack_blob_write(b, "x", 1, NULL), 0);
    assert_int_equal(pack_blob_commit(b, NULL, NULL, &e), -EBADMSG);
    assert_non_null(strstr(e.text, EMPTY));
    assert_false(pack_blob_has(s, EMPTY, NULL));
    assert_int_equal(pack_blob_begin(s, EMPTY, &b, NULL), 0);
    assert_int_equal(pack_blob_size(b), 0);
    assert_int_equal(pack_blob_commit(b, NULL, NULL, NULL), 0);
    assert_true(pack_blob_has(s, EMPTY, NULL));
    image_store_close(s);
    craft_remove(dir);
}

static void a_part_is_taken_up_again_unless_someone_writes_it(void **state)
{
    /* SHA-256 of "abc": FIPS 180-2, appendix B.1. */
    const char *abc = "sha256:"
                      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct pack_blob *b = NULL, *other = NULL;

    (void)state;
    assert_int_equal(pack_blob_begin(s, abc, &b, NULL), 0);
    assert_int_equal(pack_blob_write(b, "ab", 2, NULL), 0);
    pack_blob_abort(b, true);
    assert_int_equal(pack_blob_begin(s, abc, &b, NULL), 0);
    assert_int_equal(pack_blob_size(b), 2);
    assert_int_equal(pack_blob_begin(s, abc, &other, NULL), 0);
    assert_int_equal(pack_blob_size(other), 0);
    assert_int_equal(pack_blob_write(other, "abc", 3, NULL), 0);
    assert_int_equal(pack_blob_write(b, "c", 1, NULL), 0);
    assert_int_equal(pack_blob_commit(b, NULL, NULL, NULL), 0);
    assert_int_equal(pack_blob_commit(other, NULL, NULL, NULL), 0);
    image_store_close(s);
    craft_remove(dir);
}

static int keep_guest(void *arg, struct strv *ret, struct err *e)
{
    const struct image_desc *guest = arg;

    (void)e;
    strv_add(ret, guest->digest);
    return 0;
}

static int keep_fails(void *arg, struct strv *ret, struct err *e)
{
    (void)arg, (void)ret;
    return err_set(e, -EIO, "the guests cannot be read");
}

static void prune_removes_nothing_when_guests_are_unknown(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc d = put_image(s, "a");
    struct image_pruned n;
    struct err e = {0};
    struct image img;

    (void)state;
    assert_int_equal(image_prune(s, keep_fails, NULL, &n, &e), -EIO);
    assert_non_null(strstr(e.text, "nothing was removed"));
    assert_int_equal(image_find(s, d.digest, &img, NULL), 0);
    image_fini(&img);
    image_store_close(s);
    craft_remove(dir);
}

/* Adds, names, unpacks and forgets images without rest; 0 when all went well. */
static int add_for_a_while(const char *dir, int who)
{
    struct image_store *s = NULL;
    int r = image_store_open(dir, &s, NULL);

    for (int i = 0; i < 25 && r == 0; i++) {
        struct pack p = {.store = s};
        struct image_desc d;
        struct image img;
        char name[24];

        (void)snprintf(name, sizeof name, "n%d-%d", who, i);
        r = image_hold(s, NULL);
        if (r == 0) {
            d = put_image(s, name);
            r = image_tag_desc(s, &d, name, NULL);
            image_release(s);
        }
        r = r < 0 ? r : image_find(s, name, &img, NULL);
        if (r == 0) {
            r = pack_unpack(&p, &img, NULL);
            image_fini(&img);
        }
        if (r == 0 && i % 2 == 1) {
            r = image_delete(s, name, NULL);
        }
    }
    image_store_close(s);
    return r;
}

static void prune_beside_those_who_add_takes_nothing_that_is_named(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct pack p = {.store = s};
    SCOPED(strv_fini) struct strv faults = {0};
    uint64_t blobs = 0, pruned = 0;
    int left = 3, status;

    (void)state;
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            _exit(add_for_a_while(dir, i) == 0 ? 0 : 1);
        }
    }
    while (left > 0) {
        struct image_pruned n;
        int r = image_prune(s, NULL, NULL, &n, NULL);

        assert_true(r == 0 || r == -EBUSY);
        pruned += r == 0 ? n.blobs : 0;
        if (waitpid(-1, &status, WNOHANG) > 0) {
            assert_int_equal(status, 0);
            left--;
        }
    }
    assert_true(pruned > 0);
    assert_int_equal(pack_verify(&p, &faults, &blobs, NULL), 0);
    assert_int_equal(faults.n, 0);
    image_store_close(s);
    craft_remove(dir);
}

static void what_is_held_is_not_pruned(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir), *other = open_store(dir);
    struct image_pruned n;

    (void)state;
    assert_int_equal(image_hold(s, NULL), 0);
    assert_int_equal(image_hold(s, NULL), 0);
    image_release(s);
    assert_int_equal(image_prune(other, NULL, NULL, &n, NULL), -EBUSY);
    image_release(s);
    assert_int_equal(image_prune(other, NULL, NULL, &n, NULL), 0);
    image_store_close(other);
    image_store_close(s);
    craft_remove(dir);
}

static void prune_keeps_what_names_and_guests_need(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc named = put_image(s, "a"), guest = put_image(s, "b"),
                      lost = put_image(s, "c");
    SCOPED(strv_fini) struct strv dirs = {0};
    struct pack p = {.store = s};
    struct image_pruned n;
    struct image img;

    (void)state;
    assert_int_equal(image_tag_desc(s, &named, "a", NULL), 0);
    assert_int_equal(image_find(s, lost.digest, &img, NULL), 0);
    assert_int_equal(pack_unpack(&p, &img, NULL), 0);
    image_fini(&img);
    assert_int_equal(image_find(s, guest.digest, &img, NULL), 0);
    assert_int_equal(image_layer_dirs(s, &img, &dirs, NULL), 1);
    assert_int_equal(pack_unpack(&p, &img, NULL), 0);
    assert_int_equal(image_prune(s, keep_guest, &guest, &n, NULL), 0);
    assert_int_equal(n.blobs, 3);
    assert_int_equal(n.layers, 1);
    assert_int_equal(image_layer_dirs(s, &img, &dirs, NULL), 0);
    assert_int_equal(dirs.n, 1);
    image_fini(&img);
    assert_int_equal(image_find(s, lost.digest, &img, NULL), -ENOENT);
    image_store_close(s);
    craft_remove(dir);
}

static void prune_waits_for_nobody_who_adds(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir), *other = open_store(dir);
    struct pack_blob *b = NULL;
    struct image_pruned n;

    (void)state;
    assert_int_equal(pack_blob_begin(s, NULL, &b, NULL), 0);
    assert_int_equal(image_prune(other, NULL, NULL, &n, NULL), -EBUSY);
    pack_blob_abort(b, false);
    assert_int_equal(image_prune(other, NULL, NULL, &n, NULL), 0);
    image_store_close(other);
    image_store_close(s);
    craft_remove(dir);
}

static void names_given_by_many_processes_are_all_there(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc d = put_image(s, "a");
    char name[40];
    struct image img;

    (void)state;
    for (int i = 0; i < 8; i++) {
        if (fork() == 0) {
            struct image_store *mine = NULL;
            int r = image_store_open(dir, &mine, NULL);

            for (int k = 0; k < 10 && r == 0; k++) {
                (void)snprintf(name, sizeof name, "n%d-%d", i, k);
                r = image_tag_desc(mine, &d, name, NULL);
            }
            _exit(r == 0 ? 0 : 1);
        }
    }
    for (int i = 0; i < 8; i++) {
        int status = -1;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    for (int i = 0; i < 80; i++) {
        (void)snprintf(name, sizeof name, "n%d-%d", i / 10, i % 10);
        assert_int_equal(image_find(s, name, &img, NULL), 0);
        image_fini(&img);
    }
    image_store_close(s);
    craft_remove(dir);
}

static void commands_that_race_leave_one_layer(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc d = put_image(s, "a");
    SCOPED(scope_free) char *count = NULL, *stale = NULL;

    (void)state;
    assert_true(asprintf(&stale, "%s/layers/.new-0123456789abcdef/fs", dir) > 0);
    assert_int_equal(file_make_dirs(stale, 0700), 0); /* a killed command's */
    for (int i = 0; i < 6; i++) {
        if (fork() == 0) {
            struct pack p = {0};
            struct image img;
            int r = image_store_open(dir, &p.store, NULL);

            r = r < 0 ? r : image_find(p.store, d.digest, &img, NULL);
            _exit(r < 0 || pack_unpack(&p, &img, NULL) < 0 ? 1 : 0);
        }
    }
    for (int i = 0; i < 6; i++) {
        int status = -1;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_true(asprintf(&count, "test $(ls -A %s/layers | wc -l) = 1", dir) > 0);
    assert_int_equal(system(count), 0);
    image_store_close(s);
    craft_remove(dir);
}

static void a_layer_unsynced_at_a_power_cut_is_unpacked_anew(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc d = put_image(s, "a");
    SCOPED(scope_free) char *link = NULL, *file = NULL;
    struct pack p = {.store = s};
    struct strv dirs = {0};
    struct image img;

    (void)state;
    assert_int_equal(image_find(s, d.digest, &img, NULL), 0);
    assert_int_equal(pack_unpack(&p, &img, NULL), 0);
    assert_false(pack_is_settled(&p));
    assert_true(asprintf(&link, "%s/layers/%s/boot", dir, img.layers[0].chain + 7) > 0);
    assert_true(asprintf(&file, "%s/layers/%s/fs/a", dir, img.layers[0].chain + 7) > 0);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("another-boot", link), 0);
    assert_int_equal(truncate(file, 0), 0);
    assert_int_equal(image_layer_dirs(s, &img, &dirs, NULL), 1);
    assert_int_equal(pack_unpack(&p, &img, NULL), 0);
    assert_int_equal(image_layer_dirs(s, &img, &dirs, NULL), 0);
    pack_settle(&p);
    assert_true(pack_is_settled(&p));
    {
        struct stat st;

        assert_int_equal(stat(file, &st), 0);
        assert_int_equal(st.st_size, 1);
    }
    strv_fini(&dirs);
    image_fini(&img);
    image_store_close(s);
    craft_remove(dir);
}

/* Changed behind the store's back, with the same length. */
static void a_damaged_manifest_is_not_used(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc d = put_image(s, "a");
    SCOPED(scope_free) char *path = NULL;
    struct err e = {0};
    struct image img;
    FILE *f;

    (void)state;
    assert_int_equal(image_tag_desc(s, &d, "a", NULL), 0);
    assert_true(asprintf(&path, "%s/images/blobs/sha256/%s", dir, d.digest + 7) > 0);
    assert_int_equal(chmod(path, 0644), 0);
    f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0);
    (void)fputs("\n", f);
    (void)fclose(f);
    assert_int_equal(image_find(s, "a", &img, &e), -EBADMSG);
    assert_non_null(strstr(e.text, "is damaged"));
    image_store_close(s);
    craft_remove(dir);
}

static void damage_is_found_by_verify(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = open_store(dir);
    struct image_desc d = put_image(s, "a");
    SCOPED(strv_fini) struct strv faults = {0};
    SCOPED(scope_free) char *path = NULL;
    struct pack p = {.store = s};
    uint64_t blobs = 0;
    FILE *f;

    (void)state;
    assert_int_equal(image_tag_desc(s, &d, "a", NULL), 0);
    assert_int_equal(pack_verify(&p, &faults, &blobs, NULL), 0);
    assert_int_equal(blobs, 3);
    assert_int_equal(faults.n, 0);
    assert_true(asprintf(&path, "%s/images/blobs/sha256/%s", dir, d.digest + 7) > 0);
    assert_int_equal(chmod(path, 0644), 0);
    f = fopen(path, "a");
    assert_non_null(f);
    (void)fputs(" ", f);
    (void)fclose(f);
    assert_int_equal(pack_verify(&p, &faults, &blobs, NULL), 0);
    assert_int_equal(faults.n, 2); /* its digest, and its size in the index */
    image_store_close(s);
    craft_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_named_image_is_found_with_its_settings),
        cmocka_unit_test(an_unknown_name_is_answered_with_the_nearest),
        cmocka_unit_test(a_blob_of_the_wrong_content_is_not_stored),
        cmocka_unit_test(a_part_is_taken_up_again_unless_someone_writes_it),
        cmocka_unit_test(prune_keeps_what_names_and_guests_need),
        cmocka_unit_test(prune_waits_for_nobody_who_adds),
        cmocka_unit_test(prune_removes_nothing_when_guests_are_unknown),
        cmocka_unit_test(prune_beside_those_who_add_takes_nothing_that_is_named),
        cmocka_unit_test(what_is_held_is_not_pruned),
        cmocka_unit_test(a_damaged_manifest_is_not_used),
        cmocka_unit_test(names_given_by_many_processes_are_all_there),
        cmocka_unit_test(commands_that_race_leave_one_layer),
        cmocka_unit_test(a_layer_unsynced_at_a_power_cut_is_unpacked_anew),
        cmocka_unit_test(damage_is_found_by_verify),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
