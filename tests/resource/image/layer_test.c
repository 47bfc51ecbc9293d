/* layer_test.c - layers made here and unpacked here, and what stops an unpacking. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <zlib.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/pack/pack.h"
#include "tests/base/check.h"
#include "tests/resource/image/craft.h"

/* An image whose one layer is `bytes`; its diff id is `diff`, or right when NULL. */
static int put_raw(struct image_store *s, const void *bytes, size_t len, const char *type,
                   const char *diff, struct image *ret)
{
    SCOPED(scope_json) json_t *config = json_pack("{s:s}", "os", "linux");
    struct image_layer l = {0};
    struct image_desc d;
    int r = pack_put_bytes(s, type, bytes, len, &l.blob, NULL);

    (void)str_print(l.diff_id, sizeof l.diff_id, "%s",
                    diff != NULL ? diff : l.blob.digest);
    r = r < 0 ? r : pack_put_image(s, config, &l, 1, &d, NULL);
    return r < 0 ? r : image_find(s, d.digest, ret, NULL);
}

static bool is_empty(const char *dir, const char *sub)
{
    SCOPED(scope_free) char *path = NULL;

    assert_true(asprintf(&path, "%s/%s", dir, sub) > 0);
    return rmdir(path) == 0;
}

static void a_wrong_diff_id_leaves_nothing(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = NULL;
    SCOPED(str_fini) struct str tar = {0};
    struct err e = {0};
    struct image img;

    (void)state;
    assert_int_equal(image_store_open(dir, &s, NULL), 0);
    craft_entry(&tar, "f", '0', "", "x");
    craft_end(&tar);
    assert_int_equal(
        put_raw(s, tar.data, tar.len, PACK_TYPE_LAYER,
                "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852"
                "b855",
                &img),
        0);
    assert_int_equal(pack_unpack(&(struct pack){.store = s}, &img, &e), -EBADMSG);
    assert_non_null(strstr(e.text, img.layers[0].blob.digest));
    assert_true(is_empty(dir, "layers"));
    image_fini(&img);
    image_store_close(s);
    craft_remove(dir);
}

static void a_decompression_bomb_is_stopped(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = NULL;
    SCOPED(scope_free) uint8_t *zeros = calloc(1, 8u << 20);
    SCOPED(scope_free) uint8_t *gz = malloc(1u << 20);
    z_stream z = {0};
    struct err e = {0};
    struct image img;

    (void)state;
    assert_int_equal(image_store_open(dir, &s, NULL), 0);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = zeros;
    z.avail_in = 8u << 20;
    z.next_out = gz;
    z.avail_out = 1u << 20;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(put_raw(s, gz, z.total_out, PACK_TYPE_LAYER_GZ, NULL, &img), 0);
    assert_int_equal(
        pack_unpack(&(struct pack){.store = s, .max_bytes = 1u << 20}, &img, &e), -EFBIG);
    assert_non_null(strstr(e.text, "more than 1048576 bytes"));
    /* Cut off in the middle. */
    image_fini(&img);
    e = (struct err){0};
    assert_int_equal(put_raw(s, gz, z.total_out / 2, PACK_TYPE_LAYER_GZ, NULL, &img), 0);
    assert_int_equal(pack_unpack(&(struct pack){.store = s}, &img, &e), -EBADMSG);
    assert_non_null(strstr(e.text, "gzip"));
    assert_true(is_empty(dir, "layers"));
    (void)deflateEnd(&z);
    image_fini(&img);
    image_store_close(s);
    craft_remove(dir);
}

static void what_was_packed_comes_out_again(void **state)
{
    static const enum pack_coding codings[] = {PACK_PLAIN, PACK_GZIP, PACK_ZSTD};

    char *dir = craft_dir();
    struct image_store *s = NULL;
    SCOPED(scope_free) char *from = NULL, *to = NULL, *cmd = NULL;
    char first[IMAGE_DIGEST_BYTES] = "";

    (void)state;
    assert_int_equal(image_store_open(dir, &s, NULL), 0);
    assert_true(asprintf(&from, "%s/from", dir) > 0);
    /* Made and compared by other programs. */
    assert_true(
        asprintf(&cmd,
                 "mkdir -p %s/d/e && cd %s && seq 400000 > d/big && ln d/big d/hard "
                 "&& ln -s nowhere l && mkfifo p && chmod 4711 d/big && : > d/empty "
                 "&& : > $(printf 'n%%.0s' $(seq 200)) && chmod 1777 d/e",
                 from, from) > 0);
    assert_int_equal(system(cmd), 0);
    for (size_t i = 0; i < 3; i++) {
        SCOPED(scope_close) int fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        SCOPED(scope_json) json_t *config = json_pack("{s:s}", "os", "linux");
        struct pack p = {.store = s};
        struct image_layer l;
        struct image_desc d;
        struct image img;

        assert_int_equal(pack_layer_from_dir(&p, fd, NULL, codings[i], &l, NULL), 0);
        if (i > 0) {
            assert_string_equal(l.diff_id, first);
        }
        memcpy(first, l.diff_id, sizeof first);
        assert_int_equal(pack_put_image(s, config, &l, 1, &d, NULL), 0);
        assert_int_equal(image_find(s, d.digest, &img, NULL), 0);
        assert_int_equal(pack_unpack(&p, &img, NULL), 0);
        free(cmd);
        free(to);
        assert_true(asprintf(&to, "%s/layers/%s", dir, img.layers[0].chain + 7) > 0);
        assert_true(
            asprintf(&cmd,
                     "cmp %s/d/big %s/fs/d/big && cd %s && find . -mindepth 1 "
                     "-printf '%%P %%y %%m %%n %%l %%Ts\\n' | sort > ../a && cd %s/fs && "
                     "find . -mindepth 1 -printf '%%P %%y %%m %%n %%l %%Ts\\n' | sort | "
                     "cmp - %s/a && rm -r %s",
                     from, to, from, to, dir, to) > 0);
        assert_int_equal(system(cmd), 0);
        image_fini(&img);
    }
    image_store_close(s);
    craft_remove(dir);
}

static void a_full_disk_is_named_and_leaves_nothing(void **state)
{
    char *dir = craft_dir();
    struct image_store *s = NULL;
    SCOPED(str_fini) struct str tar = {0};
    SCOPED(scope_free) char *data = calloc(1, (2u << 20) + 1), *layers = NULL;
    struct err e = {0};
    struct image img;

    (void)state;
    assert_int_equal(image_store_open(dir, &s, NULL), 0);
    image_store_close(s);
    assert_true(asprintf(&layers, "%s/layers", dir) > 0);
    if (mount("none", layers, "tmpfs", 0, "size=1m,nr_inodes=20") < 0) {
        craft_remove(dir);
        print_message("mounting a small file system needs root\n");
        skip();
    }
    assert_int_equal(image_store_open(dir, &s, NULL), 0);
    for (int i = 0; i < 2; i++) {
        memset(data, 'x', 2u << 20);
        data[i == 0 ? 2u << 20 : 1] = '\0';
        str_fini(&tar);
        for (int k = 0; k < (i == 0 ? 1 : 30); k++) {
            char name[20];

            (void)snprintf(name, sizeof name, "file%d", k);
            craft_entry(&tar, name, '0', "", data);
        }
        craft_end(&tar);
        e = (struct err){0};
        assert_int_equal(put_raw(s, tar.data, tar.len, PACK_TYPE_LAYER, NULL, &img), 0);
        assert_int_equal(pack_unpack(&(struct pack){.store = s}, &img, &e), -ENOSPC);
        assert_non_null(strstr(e.text, "entry 'file"));
        assert_non_null(strstr(e.text, img.layers[0].blob.digest));
        image_fini(&img);
    }
    image_store_close(s);
    {
        SCOPED(scope_free) char *find = NULL;

        assert_true(asprintf(&find, "test -z \"$(ls -A %s)\"", layers) > 0);
        assert_int_equal(system(find), 0);
    }
    assert_int_equal(umount(layers), 0);
    craft_remove(dir);
}

/* Else ext4 puts a layer where another was deleted, and is ten times slower there. */
static void layers_are_spread_over_the_disk(void **state)
{
    char *dir = craft_dir();
    SCOPED(scope_free) char *layers = NULL;
    SCOPED(str_fini) struct str tar = {0};
    SCOPED(scope_close) int fd = -1;
    struct image_store *s = NULL;
    struct image img;
    struct statfs fs;
    int flags = 0;

    (void)state;
    assert_int_equal(image_store_open(dir, &s, NULL), 0);
    craft_entry(&tar, "f", '0', "", "x");
    craft_end(&tar);
    assert_int_equal(put_raw(s, tar.data, tar.len, PACK_TYPE_LAYER, NULL, &img), 0);
    assert_int_equal(pack_unpack(&(struct pack){.store = s}, &img, NULL), 0);
    assert_true(asprintf(&layers, "%s/layers", dir) > 0);
    fd = open(layers, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fstatfs(fd, &fs), 0);
    if (fs.f_type == EXT4_SUPER_MAGIC) {
        assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
        assert_true((flags & FS_TOPDIR_FL) != 0);
    }
    image_fini(&img);
    image_store_close(s);
    craft_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_diff_id_leaves_nothing),
        cmocka_unit_test(a_decompression_bomb_is_stopped),
        cmocka_unit_test(what_was_packed_comes_out_again),
        cmocka_unit_test(a_full_disk_is_named_and_leaves_nothing),
        cmocka_unit_test(layers_are_spread_over_the_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
