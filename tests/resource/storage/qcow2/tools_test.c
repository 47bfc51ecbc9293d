/* tools_test.c - what images hold besides data, with QEMU's tools as the other side. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "host/loop/loop.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/files.h"
#include "tests/resource/storage/qcow2/judge.h"

#define MIB (1024u * 1024)

static void need_tools(void)
{
    if (!judge_is_there()) {
        print_message("skipped: qemu-img is not installed\n");
        skip();
    }
    assert_int_equal(judge_run("rm -f image base middle top data"), 0);
}

struct test {
    struct loop *loop;
    struct blk *disk;
    struct blk_edge edge;
};

static int start(void **state)
{
    static struct test t;

    t = (struct test){0};
    *state = &t;
    return loop_create(LOOP_DRIVER_AUTO, &t.loop, NULL);
}

static int stop(void **state)
{
    loop_destroy(((struct test *)*state)->loop);
    return 0;
}

/* 0 or -errno, and `e` says why. */
static int try_open(struct test *t, const char *name, bool read_only,
                    const struct qcow2_open_options *o, struct err *e)
{
    struct file_source s = file_source_of(t->loop, 0);
    int r = file_open_image(&s, name, read_only, o, &t->disk, e);

    if (r == 0) {
        t->edge = (struct blk_edge){.user = "test",
                                    .uses = read_only ? BLK_USE_READ : BLK_USE_ALL};
        must_be_0(blk_attach(&t->edge, t->disk, e));
    }
    return r;
}

static void open_it(struct test *t, const char *name)
{
    struct err e = {0};

    if (try_open(t, name, false, NULL, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        abort();
    }
}

static void write_it(struct test *t, uint64_t off, size_t bytes, int pattern)
{
    char *room = malloc(bytes);

    memset(room, pattern, bytes);
    must_be_0(blk_write(t->disk, room, bytes, off, 0));
    free(room);
}

static bool reads(struct test *t, uint64_t off, size_t bytes, int pattern)
{
    char *room = malloc(bytes);
    bool so = true;

    must_be_0(blk_read(t->disk, room, bytes, off));
    for (size_t i = 0; i < bytes; i++) {
        so = so && room[i] == (char)pattern;
    }
    free(room);
    return so;
}

/* ---- bitmaps ---- */

static int our_bitmaps(void *arg)
{
    struct test *t = arg;
    struct qcow2_create_options o = {.size_bytes = 64 * MIB};
    struct err e = {0};

    file_create_image(t->loop, "image", &o);
    open_it(t, "image");
    must_be_0(qcow2_bitmap_create(t->disk, "live", 65536, true, &e));
    must_be_0(qcow2_bitmap_create(t->disk, "copy", 4096, false, &e));
    must(qcow2_bitmap_create(t->disk, "copy", 4096, false, &e) == -EEXIST);
    err_clear(&e);
    write_it(t, 10 * MIB, 65536, 1);
    write_it(t, 20 * MIB + 4096, 4096, 2);
    must_be_0(blk_zero(t->disk, 30 * MIB, MIB, 0));
    must_be_0(qcow2_bitmap_merge(t->disk, "copy", "live", &e));
    blk_detach(&t->edge);
    return 0;
}

static int our_bitmaps_again(void *arg)
{
    struct test *t = arg;
    struct qcow2_bitmap_info info;
    struct err e = {0};
    uint64_t n;
    bool dirty;

    open_it(t, "image");
    must(qcow2_bitmap_count(t->disk) == 3);
    must_be_0(qcow2_bitmap_range(t->disk, "live", 0, &n, &dirty, &e));
    must(n == 5 * MIB && !dirty); /* QEMU wrote there */
    must_be_0(qcow2_bitmap_range(t->disk, "live", 5 * MIB, &n, &dirty, &e));
    must(n == 65536 && dirty);
    must_be_0(qcow2_bitmap_range(t->disk, "theirs", 5 * MIB, &n, &dirty, &e));
    must(n == 32768 && dirty);
    must_be_0(qcow2_bitmap_range(t->disk, "copy", 30 * MIB, &n, &dirty, &e));
    must(n == MIB && dirty);
    must_be_0(qcow2_bitmap_range(t->disk, "copy", 31 * MIB, &n, &dirty, &e));
    must(n == 33 * MIB && !dirty);
    qcow2_bitmap_get(t->disk, 0, &info);
    must(strcmp(info.name, "live") == 0 && info.enabled && !info.inconsistent);
    must(info.granularity_bytes == 65536 && info.dirty_bytes == 3 * 65536 + MIB);
    must_be_0(qcow2_bitmap_delete(t->disk, "live", &e));
    must_be_0(blk_resize(t->disk, 30 * MIB + 65536 + 512, &e));
    must_be_0(qcow2_bitmap_range(t->disk, "copy", 30 * MIB, &n, &dirty, &e));
    must(n == 65536 + 512 && dirty);
    must_be_0(blk_resize(t->disk, 100 * MIB, &e));
    must_be_0(qcow2_bitmap_clear(t->disk, "theirs", &e));
    must_be_0(qcow2_bitmap_enable(t->disk, "theirs", true, &e));
    write_it(t, 99 * MIB, 512, 2);
    blk_detach(&t->edge);
    return 0;
}

static void bitmaps_are_shared_with_qemu(void **state)
{
    struct test *t = *state;

    need_tools();
    assert_int_equal(loop_do(t->loop, our_bitmaps, t), 0);
    assert_int_equal(judge_check("image"), 0);
    assert_int_equal(judge_run("qemu-img bitmap --add -g 32768 image theirs && "
                               "qemu-io -c 'write 5M 512' image >io.log 2>&1"),
                     0);
    assert_int_equal(judge_check("image"), 0);
    if (judge_run("command -v nbdinfo >/dev/null") == 0) {
        assert_int_equal(judge_run("nbdinfo --map=qemu:dirty-bitmap:copy -- "
                                   "[ qemu-nbd -r -f qcow2 -B copy image ] >map.log && "
                                   "grep -q '31457280 *1048576 *1 ' map.log && "
                                   "grep -q '10485760 *65536 *1 ' map.log"),
                         0);
    }
    assert_int_equal(loop_do(t->loop, our_bitmaps_again, t), 0);
    assert_int_equal(judge_check("image"), 0);
    assert_int_equal(judge_run("nbdinfo --map=qemu:dirty-bitmap:theirs -- "
                               "[ qemu-nbd -r -f qcow2 -B theirs image ] >map.log && "
                               "grep -q '103809024 *32768 *1 ' map.log"),
                     0);
}

static int leave_in_use(void *arg)
{
    struct test *t = arg;
    struct qcow2_create_options o = {.size_bytes = 64 * MIB};
    struct err e = {0};

    file_create_image(t->loop, "image", &o);
    open_it(t, "image");
    must_be_0(qcow2_bitmap_create(t->disk, "live", 65536, true, &e));
    must_be_0(qcow2_bitmap_create(t->disk, "kept", 65536, false, &e));
    write_it(t, 0, 512, 1);
    must_be_0(blk_flush(t->disk));
    must(judge_run("cp image copy") == 0); /* as the power left it */
    blk_detach(&t->edge);
    return 0;
}

static int find_in_use(void *arg)
{
    struct test *t = arg;
    struct qcow2_bitmap_info info;
    struct err e = {0};
    uint64_t n;
    bool dirty;

    open_it(t, "copy");
    qcow2_bitmap_get(t->disk, 0, &info);
    must(info.inconsistent && !info.enabled);
    must(qcow2_bitmap_range(t->disk, "live", 0, &n, &dirty, &e) == -EUCLEAN);
    err_clear(&e);
    must_be_0(qcow2_bitmap_range(t->disk, "kept", 0, &n, &dirty, &e));
    must(!dirty && n == 64 * MIB);
    must_be_0(qcow2_bitmap_delete(t->disk, "live", &e));
    blk_detach(&t->edge);
    return 0;
}

static void a_bitmap_in_use_is_not_believed(void **state)
{
    struct test *t = *state;

    need_tools();
    assert_int_equal(loop_do(t->loop, leave_in_use, t), 0);
    assert_int_equal(judge_run("qemu-img info copy | grep -q in-use"), 0);
    assert_int_equal(judge_run("qemu-img info image | grep -q in-use"), 1);
    assert_int_equal(loop_do(t->loop, find_in_use, t), 0);
    assert_int_equal(judge_check("copy"), 0);
}

/* ---- chains ---- */

static int make_loop(void *arg)
{
    struct test *t = arg;
    struct qcow2_create_options o = {
        .size_bytes = MIB, .backing_name = "image", .backing_format = "qcow2"};
    struct err e = {0};

    file_create_image(t->loop, "image", &o);
    must(try_open(t, "image", true, NULL, &e) == -ELOOP);
    must(strstr(e.text, "stand on each other") != NULL);
    err_clear(&e);
    o.backing_name = "/etc/passwd";
    o.backing_format = "raw";
    file_create_image(t->loop, "image", &o);
    must(try_open(t, "image", true, NULL, &e) == -EACCES);
    must(strstr(e.text, "/etc/passwd") != NULL);
    return 0;
}

static void chains_that_do_not_end_are_refused(void **state)
{
    struct test *t = *state;

    assert_int_equal(loop_do(t->loop, make_loop, t), 0);
}

static int climb(void *arg)
{
    struct test *t = arg;
    struct qcow2_create_options o = {.size_bytes = MIB, .cluster_bytes = 4096};
    struct err e = {0};
    char name[16];
    char below[16];

    file_create_image(t->loop, "chain0", &o);
    open_it(t, "chain0");
    write_it(t, 0, MIB, 7);
    blk_detach(&t->edge);
    for (unsigned i = 1; i < QCOW2_CHAIN_MOST; i++) {
        (void)snprintf(below, sizeof below, "chain%u", i - 1);
        (void)snprintf(name, sizeof name, "chain%u", i);
        o.backing_name = below;
        o.backing_format = "qcow2";
        file_create_image(t->loop, name, &o);
    }
    must_be_0(try_open(t, name, false, NULL, &e));
    must(reads(t, 0, 65536, 7));
    write_it(t, 4096 + 512, 512, 9);
    must(reads(t, 4096, 512, 7) && reads(t, 4608, 512, 9) && reads(t, 5120, 4096, 7));
    blk_detach(&t->edge);
    return 0;
}

static void a_chain_may_be_256_images_long(void **state)
{
    struct rlimit files = {1024, 1024};
    struct test *t = *state;

    (void)getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2 * QCOW2_CHAIN_MOST) {
        skip();
    }
    assert_int_equal(loop_do(t->loop, climb, t), 0);
}

static int flatten_it(void *arg)
{
    struct test *t = arg;
    struct qcow2_info info;
    struct err e = {0};
    uint64_t at = 0;

    open_it(t, "top");
    must(reads(t, 0, MIB, 1) && reads(t, 3 * MIB, MIB, 2) && reads(t, 5 * MIB, MIB, 0));
    must_be_0(qcow2_flatten(t->disk, &at, 2 * MIB, &e)); /* and then it is interrupted */
    must(at >= 2 * MIB && at < 8 * MIB);
    write_it(t, 3 * MIB, 512, 3);
    at = 0;
    while (at < 8 * MIB) {
        must_be_0(qcow2_flatten(t->disk, &at, 3 * MIB, &e));
    }
    qcow2_info(t->disk, &info);
    must(info.backing_name == NULL);
    must(reads(t, 0, MIB, 1) && reads(t, 3 * MIB, 512, 3));
    must(reads(t, 3 * MIB + 512, MIB - 512, 2) && reads(t, 5 * MIB, MIB, 0));
    blk_detach(&t->edge);
    return 0;
}

static void a_flattened_image_stands_alone(void **state)
{
    static const char *const kinds[] = {"compat=v3", "extended_l2=on", "compat=0.10",
                                        "cluster_size=512"};
    struct test *t = *state;

    need_tools();
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            judge_run(
                "qemu-img create -q -f qcow2 base 6M && "
                "qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 3M 1M' base >io.log && "
                "qemu-img create -q -f qcow2 -b base -F qcow2 -o %s top 8M && "
                "qemu-io -c 'write -P 1 4K 1K' top >io.log",
                kinds[i]),
            0);
        assert_int_equal(loop_do(t->loop, flatten_it, t), 0);
        assert_int_equal(judge_run("rm base"), 0);
        assert_int_equal(judge_check("top"), 0);
        assert_int_equal(
            judge_run("qemu-io -c 'read -P 1 0 1M' -c 'read -P 2 3146240 1048064' "
                      "-c 'read -P 0 4M 4M' top >io.log && "
                      "! grep -q failed io.log"),
            0);
    }
}

static int rebase_it(void *arg)
{
    struct test *t = arg;
    struct qcow2_info info;
    struct err e = {0};

    open_it(t, "top");
    must_be_0(qcow2_rebase(t->disk, "middle", "raw", &e));
    qcow2_info(t->disk, &info);
    must(strcmp(info.backing_name, "middle") == 0);
    blk_detach(&t->edge);
    open_it(t, "top");
    must(reads(t, 0, 4096, 7) && reads(t, 4096, 4096, 8));
    blk_detach(&t->edge);
    return 0;
}

static void a_rebased_image_names_another_file(void **state)
{
    struct test *t = *state;

    need_tools();
    assert_int_equal(judge_run("truncate -s 1M base && head -c 1M /dev/zero | "
                               "tr '\\000' '\\010' >middle && "
                               "qemu-img create -q -f qcow2 -b base -F raw top && "
                               "qemu-io -c 'write -P 7 0 4K' -c 'write -P 8 4K 60K' top "
                               ">io.log"),
                     0);
    assert_int_equal(loop_do(t->loop, rebase_it, t), 0);
    assert_int_equal(judge_run("qemu-img info top | grep -q 'backing file: middle' && "
                               "qemu-io -c 'read -P 8 4K 1020K' top | grep -vq failed"),
                     0);
    assert_int_equal(judge_check("top"), 0);
}

/* ---- size ---- */

static int resize_it(void *arg)
{
    struct test *t = arg;
    struct err e = {0};

    open_it(t, "top");
    must(reads(t, 0, 512, 5));
    must_be_0(blk_resize(t->disk, 2 * MIB + 512, &e)); /* the base is longer */
    must_be_0(blk_resize(t->disk, 7 * MIB + 1024, &e));
    must(reads(t, 2 * MIB, 512, 5) && reads(t, 2 * MIB + 512, 5 * MIB, 0));
    write_it(t, 7 * MIB, 1024, 6);
    blk_detach(&t->edge);
    return 0;
}

static void new_room_reads_zeros_over_a_longer_base(void **state)
{
    static const char *const kinds[] = {"compat=v3", "extended_l2=on", "compat=0.10",
                                        "cluster_size=512"};
    struct test *t = *state;

    need_tools();
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            judge_run("head -c 6M /dev/zero | tr '\\000' '\\005' >base && "
                      "qemu-img create -q -f qcow2 -b base -F raw -o %s top 4M",
                      kinds[i]),
            0);
        assert_int_equal(loop_do(t->loop, resize_it, t), 0);
        assert_int_equal(judge_check("top"), 0);
        assert_int_equal(judge_run("qemu-io -c 'read -P 5 0 2097664' "
                                   "-c 'read -P 0 2097664 5242368' "
                                   "-c 'read -P 6 7M 1K' top >io.log && "
                                   "! grep -q failed io.log"),
                         0);
    }
}

/* ---- encryption ---- */

struct toy {
    struct qcow2_crypt crypt; /* first */
    uint64_t at;
    uint64_t bytes;
};

static int toy_start(struct qcow2_crypt *c, struct blk *file, uint64_t off,
                     uint64_t bytes, struct err *e)
{
    struct toy *t = (struct toy *)c;
    char magic[512];

    (void)e;
    t->at = off;
    t->bytes = bytes;
    must_be_0(blk_read(file, magic, sizeof magic, off));
    return memcmp(magic, "LUKS\xba\xbe", 6) == 0 ? 0 : -EINVAL;
}

/* Depends on the place of each sector, as real ones do. */
static int toy_turn(struct qcow2_crypt *c, void *buf, size_t bytes, uint64_t at)
{
    uint8_t *p = buf;

    (void)c;
    for (size_t i = 0; i < bytes; i++) {
        p[i] ^= (uint8_t)(0xa5 + (at + i) / 512 * 7);
    }
    return 0;
}

static int encrypt_it(void *arg)
{
    struct test *t = arg;
    struct toy toy = {.crypt = {toy_start, toy_turn, toy_turn}};
    struct qcow2_open_options o = {.crypt = &toy.crypt};
    struct err e = {0};

    must(try_open(t, "image", false, NULL, &e) == -EACCES);
    must(strstr(e.text, "no key") != NULL);
    err_clear(&e);
    must_be_0(try_open(t, "image", false, &o, &e));
    must(toy.at > 0 && toy.bytes > 592);
    write_it(t, 65536 - 512, 1024, 9);
    write_it(t, MIB, 3 * 65536 + 512, 8);
    must_be_0(blk_zero(t->disk, MIB + 65536, 65536, 0));
    must(reads(t, 0, 65536 - 512, 0) && reads(t, 65536 - 512, 1024, 9));
    blk_detach(&t->edge);
    must_be_0(try_open(t, "image", true, &o, &e));
    must(reads(t, 65536 - 512, 1024, 9) && reads(t, 65536 + 512, 65536 - 512, 0));
    must(reads(t, MIB, 65536, 8) && reads(t, MIB + 65536, 65536, 0));
    must(reads(t, MIB + 2 * 65536, 65536 + 512, 8));
    blk_detach(&t->edge);
    return 0;
}

static int refuse_aes(void *arg)
{
    struct test *t = arg;
    struct err e = {0};

    must(try_open(t, "image", true, NULL, &e) == -EOPNOTSUPP);
    must(strstr(e.text, "AES") != NULL);
    return 0;
}

static void data_passes_through_the_key(void **state)
{
    struct test *t = *state;

    need_tools();
    assert_int_equal(
        judge_run("for i in 1 2 3 4 5 6; do " /* QEMU may fail to measure its time */
                  "qemu-img create -q -f qcow2 --object secret,id=s,data=abc "
                  "-o encrypt.format=luks,encrypt.key-secret=s,"
                  "encrypt.iter-time=200 image 4M && break; done"),
        0);
    assert_int_equal(loop_do(t->loop, encrypt_it, t), 0);
    assert_int_equal(
        judge_run("qemu-img check -q --object secret,id=s,data=abc --image-opts "
                  "driver=qcow2,file.filename=image,encrypt.key-secret=s"),
        0);
    assert_int_equal(judge_run("qemu-img create -q -f qcow2 image 1M && "
                               "printf '\\001' | dd of=image bs=1 seek=35 conv=notrunc "
                               "2>/dev/null"),
                     0);
    assert_int_equal(loop_do(t->loop, refuse_aes, t), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bitmaps_are_shared_with_qemu, start, stop),
        cmocka_unit_test_setup_teardown(a_bitmap_in_use_is_not_believed, start, stop),
        cmocka_unit_test_setup_teardown(chains_that_do_not_end_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_chain_may_be_256_images_long, start, stop),
        cmocka_unit_test_setup_teardown(a_flattened_image_stands_alone, start, stop),
        cmocka_unit_test_setup_teardown(a_rebased_image_names_another_file, start, stop),
        cmocka_unit_test_setup_teardown(new_room_reads_zeros_over_a_longer_base, start,
                                        stop),
        cmocka_unit_test_setup_teardown(data_passes_through_the_key, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
