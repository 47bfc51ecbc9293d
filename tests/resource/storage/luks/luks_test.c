/* luks_test.c - LUKS against the tools of others: qemu-img (version 1) and cryptsetup
 * (both), in both directions; slots, damage, power cuts. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/luks/luks.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define DATA_BYTES (256u * 1024)
#define FILE_BYTES (18u * 1024 * 1024)

static const struct luks_secret right = {"correct horse", 13};
static const struct luks_secret other = {"battery staple", 14};
static const struct luks_secret wrong = {"incorrect", 9};
static const struct luks_cost cheap = {.pbkdf2 = true, .rounds = 1000};

struct world {
    struct loop *loop;
    char dir[64];
    unsigned version;
};

/* A file of the test's folder as a disk. */
static struct blk *open_file(struct world *w, const char *name)
{
    struct leaf_file_options o = {.label = "luks"};
    struct blk *b = NULL;
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", w->dir, name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0);
    must(lseek(fd, 0, SEEK_END) > 0 || ftruncate(fd, FILE_BYTES) == 0);
    must_be_0(leaf_file_create(w->loop, fd, &o, &b, NULL));
    return b;
}

/* The exit status of a command in the test's folder. */
static int shell(struct world *w, const char *command)
{
    char line[1024];

    (void)snprintf(line, sizeof line, "cd '%s' && { %s; } >log 2>&1", w->dir, command);
    return WEXITSTATUS(system(line));
}

static void must_run(struct world *w, const char *command)
{
    if (shell(w, command) != 0) {
        (void)fprintf(stderr, "failed: %s\n", command);
        (void)shell(w, "cat log >/dev/tty");
        abort();
    }
}

static void need(const char *program)
{
    char line[128];

    (void)snprintf(line, sizeof line, "command -v %s >/dev/null 2>&1", program);
    if (system(line) != 0) {
        print_message("skipped: %s is not installed\n", program);
        skip();
    }
}

static void fill_pattern(char *room, unsigned seed)
{
    for (unsigned i = 0; i < DATA_BYTES; i++) {
        room[i] = (char)(i * 7 + i / 512 + seed);
    }
}

/* Write, or read and compare, the pattern through the disk in clear. */
static void use_disk(struct world *w, const char *name, const struct luks_secret *s,
                     bool writes)
{
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_ALL};
    char *room = malloc(DATA_BYTES);
    char *got = malloc(DATA_BYTES);
    struct blk *disk = NULL;
    struct err e = {0};

    if (luks_disk_create(w->loop, open_file(w, name), NULL, s, &disk, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        abort();
    }
    must_be_0(blk_attach(&edge, disk, NULL));
    fill_pattern(room, 1);
    if (writes) {
        must_be_0(blk_write(disk, room, DATA_BYTES, 0, 0));
        must_be_0(blk_flush(disk));
    }
    must_be_0(blk_read(disk, got, DATA_BYTES, 0));
    must(memcmp(room, got, DATA_BYTES) == 0);
    blk_detach(&edge);
    free(room);
    free(got);
}

static void write_pattern_file(struct world *w, const char *name)
{
    char *room = malloc(DATA_BYTES);
    char path[128];
    FILE *f;

    fill_pattern(room, 1);
    (void)snprintf(path, sizeof path, "%s/%s", w->dir, name);
    f = fopen(path, "w");
    must(f != NULL && fwrite(room, 1, DATA_BYTES, f) == DATA_BYTES && fclose(f) == 0);
    free(room);
}

static void format_file(struct world *w, const char *name, struct luks_format o)
{
    struct blk *b = open_file(w, name);
    struct err e = {0};

    o.cost = cheap;
    if (luks_format(w->loop, b, &o, &right, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        abort();
    }
    blk_drop(b);
}

#define QEMU "--object secret,id=s,file=pass --image-opts driver=luks,key-secret=s,"

static int agree_with_qemu(void *arg)
{
    struct world *w = arg;

    must_run(w, "printf 'correct horse' >pass");
    write_pattern_file(w, "clear");
    for (unsigned key_bytes = 32; key_bytes <= 64; key_bytes += 32) {
        format_file(w, "ours",
                    (struct luks_format){.version = 1, .key_bytes = key_bytes});
        use_disk(w, "ours", &right, true);
        must_run(w, "qemu-img convert " QEMU "file.filename=ours -O raw back");
        must_run(w, "cmp -n 262144 clear back && rm ours back");
    }
    /* Now and then QEMU cannot measure the processor time of its key derivation. */
    must_run(w, "for i in 1 2 3 4 5 6; do "
                "qemu-img create -f luks --object secret,id=s,file=pass "
                "-o key-secret=s,iter-time=200 theirs 2M && break; done");
    must_run(w, "qemu-img convert -n --object secret,id=s,file=pass -f raw clear "
                "--target-image-opts driver=luks,key-secret=s,file.filename=theirs");
    use_disk(w, "theirs", &right, false);
    return 0;
}

static int agree_with_cryptsetup(void *arg)
{
    struct world *w = arg;
    char line[512];

    must_run(w, "printf 'correct horse' >pass; printf 'battery staple' >pass2");
    for (unsigned version = 1; version <= 2; version++) {
        struct luks *k = NULL;
        struct blk *b;

        format_file(w, "ours", (struct luks_format){.version = version});
        must_run(w, "cryptsetup luksDump ours");
        must_run(w, "cryptsetup open --test-passphrase -d pass ours");
        must(shell(w, "cryptsetup open --test-passphrase -d pass2 ours") != 0);
        must_run(w, "cryptsetup luksAddKey --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "
                    "-d pass ours pass2");
        use_disk(w, "ours", &other, true);
        b = open_file(w, "ours"); /* their key goes, a new one of ours comes */
        must_be_0(luks_open(w->loop, b, &k, NULL));
        must(luks_unlock(k, &other, NULL) == 1);
        must_be_0(luks_remove_key(k, 1, NULL));
        must(luks_add_key(k, &other, &cheap, NULL) == 1);
        luks_close(k);
        blk_drop(b);
        must_run(w, "cryptsetup open --test-passphrase -d pass2 ours");
        must_run(w, "cryptsetup luksRemoveKey -q ours pass");
        use_disk(w, "ours", &other, false);
        must_run(w, "rm ours");
        (void)snprintf(line, sizeof line,
                       "truncate -s 18M theirs && cryptsetup luksFormat -q --type luks%u "
                       "--pbkdf pbkdf2 --pbkdf-force-iterations 1000 -d pass theirs",
                       version);
        must_run(w, line);
        use_disk(w, "theirs", &right, true);
        must_run(w, "rm theirs");
    }
    must_run(w, "truncate -s 18M theirs && cryptsetup luksFormat -q --type luks2 "
                "--sector-size 4096 --pbkdf argon2id --pbkdf-memory 1024 "
                "--pbkdf-force-iterations 4 --pbkdf-parallel 2 -d pass theirs");
    use_disk(w, "theirs", &right, true);
    return 0;
}

/* ---- in memory ---- */

struct memory {
    struct blk *disk;
    struct blk_edge keep;
};

static struct blk *new_memory(struct world *w, struct memory *m, uint64_t bytes)
{
    must_be_0(leaf_memory_create(loop_strands(w->loop), bytes, 512, &m->disk, NULL));
    m->keep = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&m->keep, m->disk, NULL));
    return m->disk;
}

static void format_memory(struct world *w, struct blk *b, unsigned version)
{
    struct luks_format o = {.version = version, .cost = cheap};

    must_be_0(luks_format(w->loop, b, &o, &right, NULL));
}

static int unlocks(struct world *w, struct blk *b, const struct luks_secret *s)
{
    struct luks *k = NULL;
    struct err e = {0};
    int r = luks_open(w->loop, b, &k, &e);

    if (r == 0) {
        r = luks_unlock(k, s, &e);
    }
    must((r < 0) == (e.text[0] != '\0'));
    luks_close(k);
    return r;
}

static int use_slots(void *arg)
{
    struct world *w = arg;
    struct memory m;
    struct blk *b = new_memory(w, &m, FILE_BYTES);
    struct luks *k = NULL;
    struct luks_info info;
    struct err e = {0};

    for (w->version = 1; w->version <= 2; w->version++) {
        format_memory(w, b, w->version);
        must(unlocks(w, b, &right) == 0 && unlocks(w, b, &wrong) == -EACCES);
        must_be_0(luks_open(w->loop, b, &k, NULL));
        must(luks_add_key(k, &other, &cheap, NULL) == -EINVAL); /* locked */
        must(luks_unlock(k, &right, NULL) == 0);
        must(luks_remove_key(k, 0, &e) == -EBUSY);
        for (unsigned i = 1; i < 8; i++) {
            must(luks_add_key(k, &other, &cheap, NULL) == (int)i);
        }
        if (w->version == 1) {
            must(luks_add_key(k, &other, &cheap, NULL) == -ENOSPC);
        }
        luks_info(k, &info);
        must(info.slots == 0xff && info.version == w->version);
        for (unsigned i = 1; i < 8; i++) {
            must_be_0(luks_remove_key(k, i, NULL));
        }
        must(luks_remove_key(k, 1, NULL) == -ENOENT);
        must(unlocks(w, b, &other) == -EACCES);
        must(luks_change_key(k, &wrong, &other, &cheap, NULL) == -EACCES);
        must(luks_change_key(k, &right, &other, &cheap, NULL) == 1);
        luks_close(k);
        must(unlocks(w, b, &right) == -EACCES && unlocks(w, b, &other) == 1);
    }
    blk_detach(&m.keep);
    return 0;
}

/* A cut at any write of a change: the old or the new secret opens, or both. */
static int cut_changes(void *arg)
{
    struct world *w = arg;
    struct filter_fault_plan plan = {.seed = 1, .holds_back = true};

    for (unsigned n = 0; n < 16; n++) {
        struct memory m;
        struct blk_edge edge = {.user = "test", .uses = BLK_USE_ALL, .lets = BLK_USE_ALL};
        struct blk *b = new_memory(w, &m, FILE_BYTES);
        struct blk *cut = NULL;
        struct luks *k = NULL;

        format_memory(w, b, 1 + n % 2);
        plan.seed = n + 1;
        must_be_0(filter_fault_create(w->loop, b, &plan, &cut, NULL));
        must_be_0(blk_attach(&edge, cut, NULL));
        must_be_0(luks_open(w->loop, cut, &k, NULL));
        must(luks_unlock(k, &right, NULL) == 0);
        filter_fault_cut_after(cut, n / 2);
        (void)luks_change_key(k, &right, &other, &cheap, NULL);
        if (!filter_fault_is_cut(cut)) {
            filter_fault_cut(cut);
        }
        luks_close(k);
        blk_detach(&edge);
        must(unlocks(w, b, &right) >= 0 || unlocks(w, b, &other) >= 0);
        blk_detach(&m.keep);
    }
    return 0;
}

static void spoil_by(struct blk *b, uint64_t off, int bits)
{
    char room[512];

    must_be_0(blk_read(b, room, sizeof room, off / 512 * 512));
    room[off % 512] ^= (char)bits;
    must_be_0(blk_write(b, room, sizeof room, off / 512 * 512, 0));
}

static void spoil(struct blk *b, uint64_t off)
{
    spoil_by(b, off, 1);
}

static int refuse_damage(void *arg)
{
    struct world *w = arg;
    struct memory m;
    struct blk *b = new_memory(w, &m, FILE_BYTES);
    struct blk *disk = NULL;

    must(unlocks(w, b, &right) == -EUCLEAN);
    format_memory(w, b, 2);
    spoil(b, 5000); /* the JSON of the first copy */
    must(unlocks(w, b, &right) == 0);
    spoil(b, 16384 + 5000);
    must(unlocks(w, b, &right) == -EUCLEAN);
    spoil(b, 5000);
    must(unlocks(w, b, &right) == 0);
    spoil(b, 40000); /* the key material */
    must(unlocks(w, b, &right) == -EACCES);
    format_memory(w, b, 1);
    spoil(b, 9); /* the cipher's name */
    must(unlocks(w, b, &right) == -EOPNOTSUPP);
    spoil(b, 9);
    spoil(b, 166); /* other rounds, another digest */
    must(unlocks(w, b, &right) == -EACCES);
    spoil(b, 166);
    spoil_by(b, 164, 0x40); /* 2^30 rounds */
    must(unlocks(w, b, &right) == -EUCLEAN);
    spoil_by(b, 164, 0x40);
    spoil_by(b, 208 + 4, 0x40); /* for the slot */
    must(unlocks(w, b, &right) == -EUCLEAN);
    spoil_by(b, 208 + 4, 0x40);
    must(unlocks(w, b, &right) == 0);
    spoil(b, 105); /* the data lies 32 MiB further */
    must(luks_disk_create(w->loop, b, NULL, &right, &disk, NULL) == -EUCLEAN);
    spoil(b, 105);
    must_be_0(blk_resize(b, 512, NULL));
    must(unlocks(w, b, &right) == -EUCLEAN);
    blk_detach(&m.keep);
    return 0;
}

static int keep_header_apart(void *arg)
{
    struct world *w = arg;
    struct memory head;
    struct memory data;
    struct luks_format o = {.detached = true, .cost = cheap, .sector_bytes = 4096};
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_ALL};
    struct blk *h = new_memory(w, &head, FILE_BYTES);
    struct blk *d = new_memory(w, &data, DATA_BYTES);
    struct blk *disk = NULL;
    char *room = calloc(1, DATA_BYTES);

    must_be_0(luks_format(w->loop, h, &o, &right, NULL));
    must(luks_disk_create(w->loop, d, h, &wrong, &disk, NULL) == -EACCES);
    must(luks_disk_create(w->loop, h, NULL, &right, &disk, NULL) == -EUCLEAN);
    must_be_0(luks_disk_create(w->loop, d, h, &right, &disk, NULL));
    must_be_0(blk_attach(&edge, disk, NULL));
    must(blk_size(disk) == DATA_BYTES && blk_block_bytes(disk) == 4096);
    must_be_0(blk_write(disk, room, 8192, 0, 0));
    must_be_0(blk_read(d, room, 8192, 0));
    must(memcmp(room, room + 4096, 4096) != 0); /* zeros look like noise, each other */
    blk_detach(&edge);
    blk_detach(&head.keep);
    blk_detach(&data.keep);
    free(room);
    return 0;
}

static void in_a_loop(int (*fn)(void *arg))
{
    struct world w = {.dir = "/var/tmp/luks-test-XXXXXX"};

    must(mkdtemp(w.dir) != NULL);
    must_be_0(loop_create(LOOP_DRIVER_AUTO, &w.loop, NULL));
    must_be_0(loop_do(w.loop, fn, &w));
    loop_destroy(w.loop);
    (void)shell(&w, "rm -f *");
    must_be_0(rmdir(w.dir));
}

static void qemu_agrees_on_version_1(void **state)
{
    (void)state;
    need("qemu-img");
    in_a_loop(agree_with_qemu);
}

static void cryptsetup_agrees_on_both(void **state)
{
    (void)state;
    need("cryptsetup");
    in_a_loop(agree_with_cryptsetup);
}

static void keys_come_and_go(void **state)
{
    (void)state;
    in_a_loop(use_slots);
}

static void a_cut_leaves_a_key(void **state)
{
    (void)state;
    in_a_loop(cut_changes);
}

static void damage_is_an_error(void **state)
{
    (void)state;
    in_a_loop(refuse_damage);
}

static void a_header_may_lie_elsewhere(void **state)
{
    (void)state;
    in_a_loop(keep_header_apart);
}

/* IEEE 1619-2007, annex B, vector 4: its first 32 bytes. */
static void the_cipher_is_that_of_the_standard(void **state)
{
    static const uint8_t key[32] = {0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45,
                                    0x23, 0x53, 0x60, 0x28, 0x74, 0x71, 0x35, 0x26,
                                    0x31, 0x41, 0x59, 0x26, 0x53, 0x58, 0x97, 0x93,
                                    0x23, 0x84, 0x62, 0x64, 0x33, 0x83, 0x27, 0x95};
    static const uint8_t sum[32] = {0x27, 0xa7, 0x47, 0x9b, 0xef, 0xa1, 0xd4, 0x76,
                                    0x48, 0x9f, 0x30, 0x8c, 0xd4, 0xcf, 0xa6, 0xe2,
                                    0xa9, 0x6e, 0x4b, 0xbe, 0x32, 0x08, 0xff, 0x25,
                                    0x28, 0x7d, 0xd3, 0x81, 0x96, 0x16, 0xe8, 0x9c};
    struct luks_cipher *c = NULL;
    uint8_t room[512];

    (void)state;
    for (unsigned i = 0; i < sizeof room; i++) {
        room[i] = (uint8_t)i;
    }
    assert_int_equal(luks_cipher_create(key, 31, 512, 0, &c), -EINVAL);
    assert_int_equal(luks_cipher_create(key, 32, 512, 0, &c), 0);
    assert_int_equal(luks_encrypt(c, room, room, sizeof room, 0), 0);
    assert_memory_equal(room, sum, sizeof sum);
    assert_int_equal(luks_decrypt(c, room, room, sizeof room, 0), 0);
    assert_int_equal(room[511], 255);
    assert_int_equal(luks_encrypt(c, room, room, 100, 0), -EINVAL);
    luks_cipher_destroy(c);
}

/* ---- the suite: the header is in memory of its own ---- */

#define HEAD_BYTES (1024u * 1024)

/* The first time a header is made; later the same one is there. */
static int put_header(struct loop *l, struct blk *h, uint32_t sector_bytes, struct err *e)
{
    static char kept[2][HEAD_BYTES];
    char *mine = kept[sector_bytes == 4096];
    struct luks_format o = {
        .detached = true, .cost = cheap, .sector_bytes = sector_bytes};
    int r;

    if (mine[0] != 0) {
        return blk_write(h, mine, HEAD_BYTES, 0, 0);
    }
    r = luks_format(l, h, &o, &right, e);
    return r == 0 ? blk_read(h, mine, HEAD_BYTES, 0) : r;
}

static int make_with(struct loop *l, struct blk **take_lower, uint32_t sector_bytes,
                     bool fresh, struct blk **ret_disk, struct err *e)
{
    struct blk *h = NULL;
    int r = leaf_memory_create(loop_strands(l), FILE_BYTES, 512, &h, e);

    if (r == 0) {
        r = put_header(l, h, sector_bytes, e);
    }
    if (r != 0) {
        blk_drop(take_lower[0]);
        blk_drop(h);
        return r;
    }
    r = luks_disk_create(l, take_lower[0], h, &right, ret_disk, e);
    blk_drop(h);
    if (r == 0 && fresh) { /* zeros are noise below */
        r = blk_zero(*ret_disk, 0, blk_size(*ret_disk), 0);
        if (r != 0) {
            blk_drop(*ret_disk);
        }
    }
    return r;
}

static int make_512(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return make_with(l, take_lower, 512, true, ret_disk, e);
}

static int open_512(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return make_with(l, take_lower, 512, false, ret_disk, e);
}

static int make_4096(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                     struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return make_with(l, take_lower, 4096, true, ret_disk, e);
}

static int open_4096(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                     struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return make_with(l, take_lower, 4096, false, ret_disk, e);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "luks", .lowers = 1, .make = make_512, .open = open_512},
        {.name = "luks, 4096",
         .lowers = 1,
         .power_rounds = 20,
         .make = make_4096,
         .open = open_4096},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cipher_is_that_of_the_standard),
        cmocka_unit_test(qemu_agrees_on_version_1),
        cmocka_unit_test(cryptsetup_agrees_on_both),
        cmocka_unit_test(keys_come_and_go),
        cmocka_unit_test(a_cut_leaves_a_key),
        cmocka_unit_test(damage_is_an_error),
        cmocka_unit_test(a_header_may_lie_elsewhere),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed != 0 ? failed : suite_main(disks, sizeof disks / sizeof disks[0]);
}
