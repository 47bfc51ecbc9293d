/* image.c - any bytes as the file of an image. */
#include "tests/fuzz/image.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "contract/blk_source.h"
#include "host/loop/loop.h"
#include "resource/storage/format/format.h"
#include "resource/storage/leaf/leaf.h"

#define DEPTH_MOST 3
#define READ_BYTES 65536
#define READS_MOST 48

struct world {
    struct blk_source source;
    struct loop *loop;
    const char *format;
    const struct image_part *parts;
    unsigned count;
    uint64_t size;
    unsigned depth;
};

static struct blk *make_file(struct world *w)
{
    struct blk *b = NULL;
    char block[512];

    if (leaf_memory_create(loop_strands(w->loop), (w->size + 511) & ~(uint64_t)511, 512,
                           &b, NULL) != 0) {
        return NULL;
    }
    for (unsigned i = 0; i < w->count; i++) {
        const struct image_part *p = &w->parts[i];

        for (size_t at = 0; at < p->bytes; at += sizeof block) {
            size_t n = p->bytes - at < sizeof block ? p->bytes - at : sizeof block;

            memset(block, 0, sizeof block);
            memcpy(block, p->data + at, n);
            (void)blk_write(b, block, sizeof block, p->at + at, 0);
        }
    }
    return b;
}

static int open_image(struct world *w, const char *format, struct blk **ret,
                      struct err *e)
{
    struct format_open_options o = {.read_only = true, .source = &w->source};
    struct blk *file = make_file(w);

    return file == NULL ? -ENOMEM : format_find(format, e)->open(file, &o, ret, e);
}

static int open_named(struct blk_source *source, const char *name, const char *format,
                      bool read_only, struct blk **ret, struct err *e)
{
    struct world *w = (struct world *)source;
    int r;

    assert(name[0] != '\0' && read_only);
    if (w->depth == DEPTH_MOST) {
        return err_set(e, -ELOOP, "too deep");
    }
    w->depth++;
    r = open_image(w, format, ret, e);
    w->depth--;
    return r;
}

static void read_some(struct blk *b)
{
    char *room = malloc(READ_BYTES);
    uint64_t at = 0;

    for (unsigned i = 0; i < READS_MOST && at < blk_size(b); i++) {
        uint64_t n = blk_size(b) - at < READ_BYTES ? blk_size(b) - at : READ_BYTES;
        struct blk_extent x;

        (void)blk_read(b, room, (size_t)n, at);
        if (blk_status(b, at, blk_size(b) - at, &x) == 0) {
            assert(x.bytes > 0 && x.bytes <= blk_size(b) - at);
            at += i % 2 == 0 ? x.bytes : n; /* both along it and inside */
        } else {
            at += n;
        }
    }
    free(room);
}

static int open_and_read(void *arg)
{
    struct err e = {0};
    struct blk *b = NULL;
    struct world *w = arg;
    int r = open_image(w, w->format, &b, &e);

    assert(r == 0 || (e.code != 0 && e.text[0] != '\0'));
    if (r == 0) {
        read_some(b);
        blk_drop(b);
    }
    return 0;
}

void image_fuzz(const char *format, const struct image_part *parts, unsigned count,
                uint64_t size)
{
    struct world w = {.source = {.open = open_named},
                      .format = format,
                      .parts = parts,
                      .count = count,
                      .size = size};

    if (loop_create(LOOP_DRIVER_CREW, &w.loop, NULL) == 0) {
        (void)loop_do(w.loop, open_and_read, &w);
        loop_destroy(w.loop);
    }
}
