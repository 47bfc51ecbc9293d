/* image.c - image files for tests of formats. */
#include "tests/resource/storage/format/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/format/format.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define PIECE_MOST (3u << 20)
#define DEPTH_MOST 8

static int open_named(struct blk_source *source, const char *name, const char *format,
                      bool read_only, struct blk **ret_disk, struct err *e)
{
    struct images *s = (struct images *)source;
    int r;

    if (s->deny || strchr(name, '/') != NULL) {
        return err_set(e, -EACCES, "cannot use '%s': not allowed here", name);
    }
    if (s->depth == DEPTH_MOST) {
        return err_set(e, -ELOOP, "cannot use '%s': too deep", name);
    }
    s->depth++;
    r = images_open(s, format, name, read_only, ret_disk, e);
    s->depth--;
    return r;
}

int images_start(void **state)
{
    static struct images s;

    s = (struct images){.source = {.open = open_named}};
    (void)strcpy(s.dir, "/var/tmp/format-test-XXXXXX");
    assert_non_null(mkdtemp(s.dir));
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &s.loop, NULL), 0);
    *state = &s;
    return 0;
}

int images_stop(void **state)
{
    struct images *s = *state;

    loop_destroy(s->loop);
    return images_shell(s, "cd / && rm -r '%s'", s->dir);
}

int images_shell(struct images *s, const char *format, ...)
{
    char line[4096];
    int n = snprintf(line, sizeof line, "cd '%s' && exec 2>>log && ", s->dir);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    return WEXITSTATUS(system(line));
}

bool images_have_qemu(struct images *s)
{
    if (images_shell(s, "command -v qemu-img >>log && command -v qemu-io >>log") == 0) {
        return true;
    }
    print_message("skipped: qemu-img is not installed\n");
    return false;
}

void images_fill(struct images *s, const char *name, uint64_t bytes, uint64_t seed)
{
    char path[256];
    uint64_t random = seed * 2 + 1;
    static unsigned char data[300000];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", s->dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    for (unsigned i = 0; i < 40; i++) {
        uint64_t n = suite_random(&random) % (i % 4 == 0 ? 3 : 585) + 1;
        uint64_t at = suite_random(&random) % (bytes / 512) * 512;

        n = n * 512 < bytes - at ? n * 512 : bytes - at;
        for (uint64_t k = 0; k < n; k++) {
            data[k] =
                i % 3 == 0 ? (unsigned char)i : (unsigned char)suite_random(&random);
        }
        assert_int_equal(pwrite(fd, data, n, (off_t)at), (ssize_t)n);
    }
    (void)close(fd);
}

struct blk *images_file(struct images *s, const char *name, bool read_only)
{
    struct leaf_file_options o = {
        .label = name, .read_only = read_only, .grows = !read_only};
    struct blk *disk = NULL;
    struct err e = {0};
    char path[512];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", s->dir, name);
    fd = open(path, (read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0600);
    if (fd < 0) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
    }
    must(fd >= 0);
    must_be_0(leaf_file_create(s->loop, fd, &o, &disk, &e));
    return disk;
}

int images_open(struct images *s, const char *format, const char *name, bool read_only,
                struct blk **ret, struct err *e)
{
    struct format_open_options o = {
        .label = name, .read_only = read_only, .source = &s->source};
    const struct format_row *row = format_find(format, e);
    int r;

    must(row != NULL);
    r = row->open(images_file(s, name, read_only), &o, ret, e);
    must(r == 0 || e == NULL || (e->code == r && e->text[0] != '\0'));
    return r;
}

static void compare_piece(struct blk *disk, int fd, const char *raw, uint64_t at,
                          size_t n)
{
    char *ours = malloc(n);
    char *theirs = calloc(1, n);

    must_be_0(blk_read(disk, ours, n, at));
    must(pread(fd, theirs, n, (off_t)at) >= 0);
    if (memcmp(ours, theirs, n) != 0) {
        (void)fprintf(stderr, "%s differs in %zu bytes at %llu\n", raw, n,
                      (unsigned long long)at);
    }
    must(memcmp(ours, theirs, n) == 0);
    free(ours);
    free(theirs);
}

static void compare_extents(struct blk *disk, int fd)
{
    uint64_t at = 0;

    while (at < blk_size(disk)) {
        struct blk_extent x;

        must_be_0(blk_status(disk, at, blk_size(disk) - at, &x));
        must(x.bytes > 0 && x.bytes <= blk_size(disk) - at);
        for (uint64_t k = 0; (x.state & BLK_DATA) == 0 && k < x.bytes; k += 512) {
            char block[512] = {0};

            must(pread(fd, block, sizeof block, (off_t)(at + k)) >= 0);
            must(block[0] == 0 && memcmp(block, block + 1, 511) == 0);
        }
        at += x.bytes;
    }
}

void images_compare(struct images *s, struct blk *disk, const char *raw)
{
    char path[512];
    uint64_t random = 99;
    uint64_t block = blk_block_bytes(disk);
    uint64_t at = 0;
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", s->dir, raw);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd >= 0);
    while (at < blk_size(disk)) {
        uint64_t n = (suite_random(&random) % (PIECE_MOST / block) + 1) * block;

        n = suite_random(&random) % 3 == 0 ? block : n;
        n = n < blk_size(disk) - at ? n : blk_size(disk) - at;
        compare_piece(disk, fd, raw, at, (size_t)n);
        at += n;
    }
    compare_extents(disk, fd);
    (void)close(fd);
}
