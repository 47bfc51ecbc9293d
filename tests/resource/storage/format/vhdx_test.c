/* vhdx_test.c - logs that were not written back, and differencing disks.
 *
 * QEMU leaves a log behind when it is ended in the middle, and repairs a copy of the
 * image for comparison.  Nobody here makes differencing disks: one is made by hand from
 * an image of QEMU's, as [MS-VHDX] 2.5 and 2.6 say. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "host/loop/loop.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/format/image.h"

#define MIB        ((uint64_t)1 << 20)
#define SIZE_BYTES (24 * MIB)
#define METADATA   (3 * MIB) /* where QEMU puts it, and the table of blocks */
#define TABLE      (2 * MIB)
#define ITEMS      (METADATA + 65536)
#define LOCATOR    (ITEMS + 4096)

struct task {
    struct images *images;
    const char *name;
    const char *raw;
    int answer;
    struct err e;
};

static int read_all(void *arg)
{
    struct task *t = arg;
    struct blk *disk = NULL;

    t->answer = images_open(t->images, "vhdx", t->name, true, &disk, &t->e);
    if (t->answer == 0) {
        images_compare(t->images, disk, t->raw);
        blk_drop(disk);
    }
    return 0;
}

static void expect(struct images *s, const char *name, const char *raw)
{
    struct task t = {.images = s, .name = name, .raw = raw};

    assert_int_equal(loop_do(s->loop, read_all, &t), 0);
    assert_string_equal(t.e.text, "");
    assert_int_equal(t.answer, 0);
}

static void expect_refused(struct images *s, const char *name, int code, const char *why)
{
    struct task t = {.images = s, .name = name};

    assert_int_equal(loop_do(s->loop, read_all, &t), 0);
    assert_int_equal(t.answer, code);
    if (strstr(t.e.text, why) == NULL) {
        print_error("'%s' does not say '%s'\n", t.e.text, why);
    }
    assert_non_null(strstr(t.e.text, why));
}

static int open_file(struct images *s, const char *name)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", s->dir, name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void put(int fd, const void *bytes, size_t n, uint64_t at)
{
    assert_int_equal(pwrite(fd, bytes, n, (off_t)at), (ssize_t)n);
}

static void put64(int fd, uint64_t x, uint64_t at)
{
    x = htole64(x);
    put(fd, &x, sizeof x, at);
}

#define WRITES " -c 'write -P 1 1M 3M' -c 'write -P 2 9000k 64k' -c 'write -P 3 20M 1M'"

/* QEMU writes its log back at once and says so in the headers; take that back.  The last
 * entry is the whole log. */
static void make_log_current(int fd)
{
    static unsigned char header[4096];
    unsigned char entry[4096];
    unsigned char next[4096];
    unsigned found = 0;
    uint32_t sum;

    for (uint64_t at = MIB; at < 2 * MIB; at += sizeof next) {
        assert_int_equal(pread(fd, next, sizeof next, (off_t)at), sizeof next);
        if (memcmp(next, "loge", 4) == 0) {
            memcpy(entry, next, sizeof entry);
            found++;
        }
    }
    assert_true(found > 1);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t header_at = i == 0 ? 65536 : 131072;

        assert_int_equal(pread(fd, header, sizeof header, (off_t)header_at),
                         sizeof header);
        memcpy(header + 48, entry + 32, 16);
        memset(header + 4, 0, 4);
        sum = htole32(crc32c(0, header, sizeof header));
        memcpy(header + 4, &sum, 4);
        put(fd, header, sizeof header, header_at);
    }
}

static void a_log_is_laid_over_the_file(void **state)
{
    struct images *s = *state;
    static char zeros[4096];
    int fd;

    if (!images_have_qemu(s)) {
        skip();
    }
    assert_int_equal(
        images_shell(s, "truncate -s 24M a.raw && qemu-io -f raw" WRITES " a.raw >>log"),
        0);
    assert_int_equal(images_shell(s, "qemu-img create -f vhdx -o block_size=1M d 24M "
                                     ">>log"),
                     0);
    (void)images_shell(s, "ulimit -c 0; qemu-io -f vhdx" WRITES " -c abort d >>log 2>&1");
    expect(s, "d", "a.raw");

    fd = open_file(s, "d"); /* as if the table had not been written any more */
    make_log_current(fd);
    put(fd, zeros, sizeof zeros, TABLE);
    (void)close(fd);
    assert_int_equal(images_shell(s, "cp d e && qemu-img check -r all -f vhdx e >>log && "
                                     "qemu-img compare -q -f raw -F vhdx a.raw e"),
                     0);
    expect(s, "d", "a.raw"); /* not changed by reading it, either */
    expect(s, "d", "a.raw");

    assert_int_equal(images_shell(s, "cp d e && dd if=/dev/zero of=e bs=1M seek=1 "
                                     "count=1 conv=notrunc status=none"),
                     0);
    expect_refused(s, "e", -EUCLEAN, "log is not clean");
}

/* ---- differencing ---- */

static const unsigned char locator_id[16] = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3,
                                             0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8,
                                             0x48, 0x34, 0xab, 0x0c};
static const unsigned char locator_type[16] = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1,
                                               0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8,
                                               0xe9, 0x44, 0x59, 0x13};

static size_t put_wide(unsigned char *to, const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++) {
        to[2 * i] = (unsigned char)text[i];
        to[2 * i + 1] = 0;
    }
    return 2 * n;
}

static void put_pair(unsigned char *item, unsigned i, uint32_t *end, const char *key,
                     const char *value)
{
    unsigned char *pair = item + 20 + i * 12;
    uint32_t key_at = *end;
    uint32_t value_at = key_at + (uint32_t)put_wide(item + key_at, key);
    uint16_t bytes[2] = {htole16((uint16_t)(2 * strlen(key))),
                         htole16((uint16_t)(2 * strlen(value)))};

    *end = value_at + (uint32_t)put_wide(item + value_at, value);
    key_at = htole32(key_at);
    value_at = htole32(value_at);
    memcpy(pair, &key_at, 4);
    memcpy(pair + 4, &value_at, 4);
    memcpy(pair + 8, bytes, 4);
}

/* The GUID that the parent has for its contents, as text. */
static void read_linkage(struct images *s, const char *parent, char *to)
{
    unsigned char h[2][64];
    int fd = open_file(s, parent);
    uint64_t first;
    uint64_t second;
    const unsigned char *g;

    assert_int_equal(pread(fd, h[0], 64, 65536), 64);
    assert_int_equal(pread(fd, h[1], 64, 131072), 64);
    (void)close(fd);
    memcpy(&first, h[0] + 8, 8);
    memcpy(&second, h[1] + 8, 8);
    g = h[le64toh(second) > le64toh(first)] + 32;
    (void)sprintf(
        to, "{%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x}",
        g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12],
        g[13], g[14], g[15]);
}

/* Make the image `name` one that is based on another. */
static void base_on(struct images *s, const char *name, const char *parent,
                    const char *linkage)
{
    unsigned char item[1024] = {0};
    unsigned char entry[32] = {0};
    uint32_t end = 20 + 2 * 12;
    uint32_t numbers[3];
    uint16_t count;
    uint32_t flags = htole32(2); /* has a parent */
    int fd = open_file(s, name);

    memcpy(item, locator_type, 16);
    item[18] = 2;
    put_pair(item, 0, &end, "parent_linkage", linkage);
    put_pair(item, 1, &end, "relative_path", parent);
    put(fd, item, end, LOCATOR);
    assert_int_equal(pread(fd, &count, 2, METADATA + 10), 2);
    memcpy(entry, locator_id, 16);
    numbers[0] = htole32((uint32_t)(LOCATOR - METADATA));
    numbers[1] = htole32(end);
    numbers[2] = htole32(4);
    memcpy(entry + 16, numbers, sizeof numbers);
    put(fd, entry, sizeof entry, METADATA + 32 + 32 * le16toh(count));
    count = htole16((uint16_t)(le16toh(count) + 1));
    put(fd, &count, 2, METADATA + 10);
    put(fd, &flags, 4, ITEMS + 4); /* QEMU's first item: the parameters */
    (void)close(fd);
}

/* Block 1 is here, of block 2 the sectors 3 to 10, block 4 reads zeros. */
static void change_blocks(struct images *s, const char *name, const char *raw)
{
    char *block = malloc(MIB);
    unsigned char bits[2] = {0xf8, 0x07};
    int fd = open_file(s, name);
    int model = open_file(s, raw);

    memset(block, 'n', MIB);
    assert_int_equal(ftruncate(fd, (off_t)(16 * MIB)), 0);
    put64(fd, 10 * MIB | 6, TABLE + 8);
    put(fd, block, MIB, 10 * MIB);
    put(model, block, MIB, MIB);
    put64(fd, 11 * MIB | 7, TABLE + 16);
    put64(fd, 12 * MIB | 6, TABLE + (uint64_t)4096 * 8); /* the bitmap of the chunk */
    put(fd, bits, 2, 12 * MIB + (2 * 2048) / 8);
    put(fd, block, MIB, 11 * MIB);
    put(model, block, 8 * 512, 2 * MIB + 3 * 512);
    put64(fd, 2, TABLE + 32);
    memset(block, 0, MIB);
    put(model, block, MIB, 4 * MIB);
    free(block);
    (void)close(fd);
    (void)close(model);
}

static void differences_are_laid_over_the_parent(void **state)
{
    struct images *s = *state;
    char linkage[64];

    if (!images_have_qemu(s)) {
        skip();
    }
    images_fill(s, "a.raw", SIZE_BYTES, 8);
    assert_int_equal(
        images_shell(s, "qemu-img convert -f raw -O vhdx -o block_size=1M "
                        "a.raw parent.vhdx && qemu-img create -f vhdx -o "
                        "block_size=1M,block_state_zero=off d 24M >>log && cp d loop && "
                        "cp d old"),
        0);
    read_linkage(s, "parent.vhdx", linkage);
    base_on(s, "d", "parent.vhdx", linkage);
    expect(s, "d", "a.raw");
    change_blocks(s, "d", "a.raw");
    expect(s, "d", "a.raw");

    base_on(s, "loop", "loop", linkage);
    expect_refused(s, "loop", -ELOOP, "too deep");
    base_on(s, "old", "parent.vhdx", "{00112233-4455-6677-8899-aabbccddeeff}");
    expect_refused(s, "old", -EUCLEAN, "was changed since");
    s->deny = true;
    expect_refused(s, "d", -EACCES, "not allowed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_log_is_laid_over_the_file, images_start,
                                        images_stop),
        cmocka_unit_test_setup_teardown(differences_are_laid_over_the_parent,
                                        images_start, images_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
